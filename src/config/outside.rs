//! What is wrong with a configuration that only a look at the machine tells: files that are not there, folders that cannot be.

use std::io;
use std::path::Path;

use rustix::fs::{Access, access};

use super::Config;
use super::mistakes::{Mistake, Mistakes};
use crate::error::Result;

impl Config {
    /// Looks for what the first run at night would fail for, and nobody would see.
    ///
    /// # Errors
    /// There is no job, a folder cannot be made, or a file with recipients cannot be read: all that is found.
    pub fn check_outside(&self) -> Result<()> {
        let mut mistakes = Mistakes::default();
        if self.jobs.is_empty() && self.servers.is_empty() {
            let hint = "write a section [jobs.NAME] with its url, or set DATABASE_URL";
            mistakes.add(Mistake::new("jobs", "there is none, so nothing is backed up").hint(Some(hint.to_owned())));
        }
        for (name, store) in &self.raw.stores {
            let Some(path) = &store.path else { continue };
            match room(path) {
                Ok(()) => {}
                // The service may run as somebody else.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    tracing::warn!(
                        "the store {name} ({}) cannot be written to by whoever runs this",
                        path.display()
                    );
                }
                Err(error) => mistakes.add(Mistake::new(
                    &format!("stores.{name}.path"),
                    format!("the folder {} cannot be made: {error}", path.display()),
                )),
            }
        }
        for job in &self.jobs {
            if let Some(encryption) = &job.encryption {
                let key = format!("jobs.{}.encryption", job.name);
                mistakes.keep_about(&key, encryption.recipients());
            }
        }
        mistakes.end(Some(()))
    }
}

/// Whether a folder is there and can be written to, or could be made.
fn room(path: &Path) -> io::Result<()> {
    let made = path
        .ancestors()
        .find(|folder| folder.as_os_str().is_empty() || folder.symlink_metadata().is_ok());
    let made = made
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    if !std::fs::metadata(made)?.is_dir() {
        let message = format!("{} is no folder", made.display());
        return Err(io::Error::new(io::ErrorKind::NotADirectory, message));
    }
    access(made, Access::WRITE_OK | Access::EXEC_OK)?;
    if made == path {
        return Ok(());
    }
    // Some file systems are for nobody's folders, whatever the rights say: only trying tells.
    tempfile::Builder::new()
        .prefix(".snapback-")
        .tempdir_in(made)
        .map(|_| ())
}
