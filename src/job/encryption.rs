//! Encryption of a job's backups: whom they are sealed for, and the keys that open them. Files are read when they are
//! needed, as those of passwords are.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::error::{Exit, Fail, Result};
use crate::seal::age::{Identities, Recipient, Recipients};

use super::first_line;

/// `[jobs.NAME.encryption]`: what makes backups encrypted.
#[derive(Clone, Debug)]
pub struct Encryption {
    /// Whom backups are sealed for.
    pub to: EncryptFor,
    /// Whether the manifest's details are sealed as well.
    pub encrypt_manifest: bool,
}

/// Whom backups are sealed for.
#[derive(Clone, Debug)]
pub enum EncryptFor {
    /// Those who have the secret key of one of these.
    Keys {
        /// Those that the configuration names.
        given: Vec<Recipient>,
        /// A file that names more.
        file: Option<PathBuf>,
    },
    /// Those who know what is in the file.
    Passphrase(PathBuf),
}

impl Encryption {
    /// Whom backups are sealed for now.
    ///
    /// # Errors
    /// A file cannot be read, or does not hold what it should.
    pub fn recipients(&self) -> Result<Recipients> {
        match &self.to {
            EncryptFor::Passphrase(file) => {
                let passphrase = first_line("passphrase file", file)?;
                Ok(Recipients::Passphrase(passphrase.expose().to_owned().into()))
            }
            EncryptFor::Keys { given, file: None } => Ok(Recipients::Keys(given.clone())),
            EncryptFor::Keys {
                given,
                file: Some(file),
            } => {
                let what = "recipients file";
                let named = Recipient::parse_lines(&text(what, file)?).map_err(|fail| wrong(what, file, fail))?;
                if named.is_empty() {
                    return Err(wrong(what, file, Fail::new(Exit::Usage, "it names nobody")).into());
                }
                Ok(Recipients::Keys([given.clone(), named].concat()))
            }
        }
    }
}

/// Where the keys are that open backups; nowhere on a machine that only makes them.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    /// Files with secret keys.
    pub identity_files: Vec<PathBuf>,
    /// A file whose first line is a passphrase.
    pub passphrase_file: Option<PathBuf>,
}

impl Keys {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.identity_files.is_empty() && self.passphrase_file.is_none()
    }

    /// Reads them.
    ///
    /// # Errors
    /// A file cannot be read, or holds no key. The error never shows what it holds.
    pub fn read(&self) -> Result<Identities> {
        let mut identities = Identities::default();
        for file in &self.identity_files {
            let what = "identity file";
            identities
                .add_file(&text(what, file)?)
                .map_err(|fail| wrong(what, file, fail))?;
        }
        if let Some(file) = &self.passphrase_file {
            let passphrase = first_line("passphrase file", file)?;
            identities.add_passphrase(passphrase.expose().to_owned().into());
        }
        Ok(identities)
    }

    /// The files that others than their owner may read.
    pub fn exposed(&self) -> impl Iterator<Item = &Path> {
        let files = self.identity_files.iter().chain(&self.passphrase_file);
        files.map(PathBuf::as_path).filter(|file| {
            let mode = std::fs::metadata(file).map(|meta| meta.permissions().mode());
            mode.is_ok_and(|mode| mode & 0o077 != 0)
        })
    }
}

fn text(what: &str, file: &Path) -> Result<String, Fail> {
    std::fs::read_to_string(file).map_err(|error| {
        Fail::new(
            Exit::Usage,
            format!("cannot read the {what} {}: {error}", file.display()),
        )
    })
}

/// The same failure, with the file that it is about.
fn wrong(what: &str, file: &Path, fail: Fail) -> Fail {
    Fail {
        message: format!("the {what} {}: {}", file.display(), fail.message),
        ..fail
    }
}
