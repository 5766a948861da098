//! One run of a job at a time: a lock on the database file itself, of the kind that SQLite does not use (`flock`). It makes no
//! file, and ends with its process however that ends.
//!
//! The file that it is on stays open until this process ends: to close it would end SQLite's own locks of this process on
//! the same file, and with them the snapshot that another job may be reading.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use rustix::fs::{FlockOperation, flock};

use super::open::Found;
use super::users;
use crate::error::{Exit, Fail, Result};

/// The files that this process has opened for locks, by their numbers, and the job that has each.
static FILES: LazyLock<Mutex<HashMap<(u64, u64), Entry>>> = LazyLock::new(Mutex::default);

struct Entry {
    file: File,
    job: Option<String>,
}

fn files() -> MutexGuard<'static, HashMap<(u64, u64), Entry>> {
    FILES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The lock, held until this is dropped.
#[derive(Debug)]
pub struct JobLock {
    key: (u64, u64),
}

/// Reads what SQLite has no call for through the file that stays open.
///
/// # Errors
/// It cannot be opened.
pub(super) fn with_file<T>(found: &Found, read: impl FnOnce(&File) -> T) -> Result<T> {
    let mut files = files();
    Ok(read(&entry(&mut files, found)?.file))
}

fn entry<'a>(files: &'a mut HashMap<(u64, u64), Entry>, found: &Found) -> Result<&'a mut Entry, Fail> {
    match files.entry((found.metadata.dev(), found.metadata.ino())) {
        std::collections::hash_map::Entry::Occupied(entry) => Ok(entry.into_mut()),
        std::collections::hash_map::Entry::Vacant(place) => Ok(place.insert(Entry {
            file: open_file(found)?,
            job: None,
        })),
    }
}

impl JobLock {
    /// Takes the lock of the database for a run of `job`.
    ///
    /// # Errors
    /// [`Exit::Busy`]: a run is under way, here or in another process. Or the file cannot be opened.
    pub fn take(found: &Found, job: &str) -> Result<JobLock> {
        let key = (found.metadata.dev(), found.metadata.ino());
        let mut files = files();
        // A database that was deleted must not take room on the disk for as long as this process lives.
        files.retain(|_, entry| entry.job.is_some() || entry.file.metadata().is_ok_and(|it| it.nlink() > 0));
        let busy = |by: &str| {
            Fail::new(
                Exit::Busy,
                format!("a run on {} is under way{by}", found.path.display()),
            )
            .hint("wait until it has ended; two runs on one database never overlap")
        };
        let entry = entry(&mut files, found)?;
        if let Some(other) = &entry.job {
            return Err(busy(&format!(" (job {other} of this process)")).into());
        }
        // Across a network this lock would be one of SQLite's kind on the whole file, and keep everybody out.
        if found.network().is_none() && flock(&entry.file, FlockOperation::NonBlockingLockExclusive).is_err() {
            let by = users::flock_holder(found.inode()).map_or_else(String::new, |by| format!(" ({by})"));
            return Err(busy(&by).into());
        }
        entry.job = Some(job.to_owned());
        Ok(JobLock { key })
    }
}

fn open_file(found: &Found) -> Result<File, Fail> {
    File::open(&found.path).map_err(|error| {
        let exit = match error.kind() {
            std::io::ErrorKind::PermissionDenied => Exit::Permission,
            _ => Exit::Failure,
        };
        Fail::new(exit, format!("cannot open {}: {error}", found.path.display()))
            .hint("run as a user who may read the database")
    })
}

impl Drop for JobLock {
    fn drop(&mut self) {
        if let Some(entry) = files().get_mut(&self.key) {
            entry.job = None;
            // It also ends with the process.
            let _ = flock(&entry.file, FlockOperation::Unlock);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::open;
    use super::*;

    #[test]
    fn only_one_run_has_it_and_then_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.db");
        rusqlite::Connection::open(&path)
            .unwrap()
            .execute_batch("CREATE TABLE t (a)")
            .unwrap();
        let found = open::find(&path).unwrap();
        let lock = JobLock::take(&found, "app").unwrap();
        let error = JobLock::take(&found, "other").unwrap_err();
        assert!(error.to_string().contains("job app of this process"), "{error}");
        drop(lock);
        let _lock = JobLock::take(&found, "other").unwrap();
        // Another process opens the file anew.
        let elsewhere = File::open(&path).unwrap();
        assert!(flock(&elsewhere, FlockOperation::NonBlockingLockExclusive).is_err());
        let names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
        assert_eq!(names.len(), 1, "it makes no file");
    }
}
