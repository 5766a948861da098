//! What a run does to its files when the job's backups are encrypted.

use bytes::Bytes;

use crate::archive::source::Source;
use crate::error::{Exit, Fail, Result};
use crate::job::{Job, Keys};
use crate::manifest::{Encryption, Manifest, Part};
use crate::seal::age::{Recipients, seal_bytes};
use crate::shelf::Shelf;
use crate::store::Upload;
use crate::stored::{self, Receipt, Sealing};

/// Whom the files of a run are sealed for, if they are.
pub struct Seal(Option<Sealed>);

struct Sealed {
    recipients: Recipients,
    /// What opens backups on this machine.
    keys: Keys,
    encrypt_manifest: bool,
}

impl Seal {
    /// As `job` has it. Where keys are configured that shall open its backups, they are tried now, not after hours.
    ///
    /// # Errors
    /// A file cannot be read or is wrong. [`Exit::NoKey`]: the keys would not open what is sealed.
    pub async fn of(job: &Job) -> Result<Self> {
        let Some(encryption) = &job.encryption else {
            return Ok(Seal(None));
        };
        let recipients = encryption.recipients()?;
        let identities = job.keys.read()?;
        // A passphrase is what is sealed with, so it needs no trial.
        if !job.keys.identity_files.is_empty() {
            let probe = Source::memory(seal_bytes(&recipients, b"")?);
            let opened = stored::open(probe, "what this job backs up", &recipients.names(), &identities).await;
            opened.map_err(|error| {
                let hint = "add the public key of identity_file to the recipients, or take identity_file away: it only \
                            has to be where restores run";
                error.context(Fail::new(Exit::NoKey, "the backup could not be restored here").hint(hint))
            })?;
        }
        Ok(Seal(Some(Sealed {
            recipients,
            keys: job.keys.clone(),
            encrypt_manifest: encryption.encrypt_manifest,
        })))
    }

    /// What the archive of `job` is stored as.
    pub fn archive(&self, job: &Job) -> Part {
        Part::archive(job.source.engine(), job.dump.compress.algorithm, self.0.is_some())
    }

    /// What the globals are stored as.
    pub fn globals(&self) -> Part {
        Part::globals(self.0.is_some())
    }

    /// Seals what goes into `upload`.
    ///
    /// # Errors
    /// The recipients cannot be combined.
    pub fn upload(&self, upload: Box<dyn Upload>) -> Result<(Box<dyn Upload>, Receipt)> {
        match &self.0 {
            None => Ok((upload, Receipt::default())),
            Some(sealed) => {
                let (sealing, receipt) = Sealing::new(upload, &sealed.recipients)?;
                Ok((Box::new(sealing), receipt))
            }
        }
    }

    /// Seals a small file.
    ///
    /// # Errors
    /// The recipients cannot be combined.
    pub fn bytes(&self, plain: Bytes) -> Result<Bytes> {
        match &self.0 {
            None => Ok(plain),
            Some(sealed) => seal_bytes(&sealed.recipients, &plain),
        }
    }

    /// What a manifest says of it.
    pub fn describe(&self) -> Option<Encryption> {
        self.0.as_ref().map(|sealed| Encryption {
            recipients: sealed.recipients.names(),
            details: None,
        })
    }

    /// The manifest as it is stored.
    ///
    /// # Errors
    /// The recipients cannot be combined.
    pub fn manifest(&self, manifest: &Manifest) -> Result<Manifest> {
        match &self.0 {
            Some(sealed) if sealed.encrypt_manifest => manifest.seal(&sealed.recipients),
            _ => Ok(manifest.clone()),
        }
    }

    /// Whether the archive that `manifest` names can be opened, where keys are configured that should.
    ///
    /// # Errors
    /// It cannot.
    pub async fn check(&self, shelf: &Shelf, manifest: &Manifest) -> Result<()> {
        match &self.0 {
            Some(sealed) if !sealed.keys.is_empty() => {
                let opened = stored::archive(shelf, manifest, &sealed.keys).await;
                opened.map(drop)
            }
            _ => Ok(()),
        }
    }
}
