//! A file that is only made for a while, beside the database that it is for or where temporary files go. Its maker keeps a
//! lock on it; what a killed one left has none any more, and goes with the next command.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Context as _;
use rustix::fs::{FlockOperation, RenameFlags, flock, renameat_with};

use super::failure::folder;
use super::location::Location;
use crate::error::{Exit, Fail, Result};

/// What such names have in them, after the name of the database.
const MARK: &str = ".snapback-";

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// Such a file; it is removed when this is dropped.
pub struct Scratch {
    path: PathBuf,
    file: File,
    is_kept: bool,
}

impl Scratch {
    /// Makes one in `folder` for the database `of`, readable by nobody else.
    ///
    /// # Errors
    /// The folder cannot be written to.
    pub fn create(folder: &Path, of: &str) -> Result<Scratch> {
        loop {
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let path = folder.join(format!(".{of}{MARK}{}-{number}", std::process::id()));
            let opened = OpenOptions::new()
                .read(true)
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&path);
            let file = match opened {
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => continue,
                opened => opened.map_err(|error| denied(folder, &error))?,
            };
            flock(&file, FlockOperation::NonBlockingLockExclusive)
                .with_context(|| format!("locking {}", path.display()))?;
            return Ok(Scratch {
                path,
                file,
                is_kept: false,
            });
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Makes it the file at `target`, where there is none.
    ///
    /// # Errors
    /// There is one, or the disk fails; then there is no new file.
    pub fn become_new(mut self, target: &Path) -> Result<()> {
        self.file.sync_all().context("writing to disk")?;
        let here = rustix::fs::CWD;
        match renameat_with(here, &self.path, here, target, RenameFlags::NOREPLACE) {
            Err(rustix::io::Errno::EXIST) => return Err(taken(target).into()),
            // File systems without this kind of renaming have links that do the same.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
                fs::hard_link(&self.path, target).map_err(|error| match error.kind() {
                    std::io::ErrorKind::AlreadyExists => anyhow::Error::from(taken(target)),
                    _ => anyhow::Error::from(error).context(format!("making {}", target.display())),
                })?;
                fs::remove_file(&self.path)?;
            }
            renamed => renamed.with_context(|| format!("making {}", target.display()))?,
        }
        self.is_kept = true;
        File::open(folder(target))
            .and_then(|folder| folder.sync_all())
            .with_context(|| format!("writing the folder of {} to disk", target.display()))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.is_kept
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!("{} is left behind: {error}", self.path.display());
        }
    }
}

fn denied(folder: &Path, error: &std::io::Error) -> Fail {
    let exit = match error.kind() {
        std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => Exit::Permission,
        std::io::ErrorKind::NotFound => Exit::NotFound,
        _ => Exit::Failure,
    };
    Fail::new(exit, format!("cannot make a file in {}: {error}", folder.display()))
}

/// The error of a file that is there where a new one is to be.
#[must_use]
pub fn taken(target: &Path) -> Fail {
    Fail::new(
        Exit::Usage,
        format!("{} exists already, and nothing is overwritten", target.display()),
    )
    .hint("name another file with --as, or restore into it without --mode new")
}

/// Removes what killed restores left beside the database at `location`; returns what that was.
#[must_use]
pub fn tidy_beside(location: &Location) -> Vec<PathBuf> {
    let path = fs::canonicalize(location.path()).unwrap_or_else(|_| location.path().to_owned());
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    tidy(folder(&path), &name)
}

/// Removes what killed commands left in `folder` of the database `of`; returns what that was.
#[must_use]
pub fn tidy(folder: &Path, of: &str) -> Vec<PathBuf> {
    let start = format!(".{of}{MARK}");
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let ours = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(&start));
    ours.map(|entry| entry.path())
        .filter(|path| is_left(path) && fs::remove_file(path).is_ok())
        .collect()
}

/// Whether nobody has the lock of such a file any more.
fn is_left(path: &Path) -> bool {
    File::open(path).is_ok_and(|file| flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nobody_has_any_more_is_tidied() {
        let folder = tempfile::tempdir().unwrap();
        let mine = Scratch::create(folder.path(), "app.db").unwrap();
        let left = folder.path().join(".app.db.snapback-1-1");
        let others = [".other.db.snapback-1-1", "app.db"].map(|name| folder.path().join(name));
        for path in others.iter().chain([&left]) {
            fs::write(path, "x").unwrap();
        }
        assert_eq!(tidy(folder.path(), "app.db"), [left]);
        assert!(mine.path().exists() && others.iter().all(|path| path.exists()));
        let path = mine.path().to_owned();
        drop(mine);
        assert!(!path.exists());
    }

    #[test]
    fn nothing_is_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("app.db");
        Scratch::create(folder.path(), "app.db")
            .unwrap()
            .become_new(&target)
            .unwrap();
        let error = Scratch::create(folder.path(), "app.db")
            .unwrap()
            .become_new(&target)
            .unwrap_err();
        assert!(error.to_string().contains("exists already"), "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
