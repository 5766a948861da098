//! Where a file lies that is restored: on this machine, or in a bucket.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::unpack::{Dump, Unpacked, unpack};
use crate::archive::source::Source;
use crate::error::{Exit, Fail, Result};
use crate::store::Store;
use crate::stored;

/// A place of a file.
#[derive(Clone)]
pub enum Location {
    /// A file, or the folder of a directory archive.
    Local(PathBuf),
    /// An object of a store, which is read where it is: an archive by ranges, a script from its start to its end.
    Object {
        /// The folder of its bucket.
        store: Arc<dyn Store>,
        /// Its name there.
        name: String,
    },
    /// What came out of a packed file.
    Unpacked {
        /// Where the packed file is.
        from: Box<Location>,
        /// What was in it.
        unpacked: Arc<Unpacked>,
    },
}

impl Location {
    /// The same dump without what it is packed in: zip, tar, bzip2, xz, UTF-16. Of several files in it `member` is taken. What is
    /// encrypted stays as it is: nothing is decrypted into a file.
    ///
    /// # Errors
    /// It cannot be read or unpacked, it holds no dump, or several and no `member` is named.
    pub async fn unpacked(self, member: Option<&str>) -> Result<Location> {
        if self.folder().is_some() {
            return Ok(self);
        }
        let source = self.source().await?;
        if stored::is_sealed(&source).await? {
            return Ok(self);
        }
        let unpacked = unpack(source, &self.to_string(), member).await?;
        if let (Some(member), true) = (member, unpacked.layers.is_empty()) {
            let message = format!("{self} is no zip or tar file, so there is no {member:?} in it");
            return Err(Fail::new(Exit::Usage, message).hint("leave out --member").into());
        }
        Ok(match unpacked.layers.is_empty() {
            true => self,
            false => Location::Unpacked {
                from: Box::new(self),
                unpacked: Arc::new(unpacked),
            },
        })
    }

    /// What was taken off, for people: `zip, tar`. Empty where nothing was.
    #[must_use]
    pub fn packing(&self) -> String {
        match self {
            Location::Unpacked { unpacked, .. } => unpacked.layers.join(", "),
            Location::Local(_) | Location::Object { .. } => String::new(),
        }
    }

    /// The file, to be read.
    ///
    /// # Errors
    /// There is none, or it cannot be read.
    pub async fn source(&self) -> Result<Source> {
        let source = match self {
            Location::Local(path) if std::fs::metadata(path).is_ok_and(|file| !file.is_file()) => Err(anyhow::anyhow!(
                "it is no regular file, and what is restored is read more than once"
            )),
            Location::Local(path) => Source::file(path),
            Location::Unpacked { unpacked, .. } => match &unpacked.dump {
                Dump::File(source) => Ok(source.clone()),
                Dump::Folder(_) => Err(anyhow::anyhow!("it is a folder")),
            },
            Location::Object { store, name } => match store.stat(name).await? {
                Some(_) => return stored::source(Arc::clone(store), name).await,
                None => Err(anyhow::anyhow!("there is no such object")),
            },
        };
        source.map_err(|error| Fail::new(Exit::NotFound, format!("cannot read {self}: {}", error.root_cause())).into())
    }

    /// The folder that it is.
    #[must_use]
    pub fn folder(&self) -> Option<&Path> {
        match self {
            Location::Local(path) if path.is_dir() => Some(path),
            Location::Local(_) | Location::Object { .. } => None,
            Location::Unpacked { unpacked, .. } => match &unpacked.dump {
                Dump::Folder(folder) => Some(folder.path()),
                Dump::File(_) => None,
            },
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Location::Local(path) => path.display().fmt(f),
            Location::Object { store, name } => write!(f, "{store}/{name}"),
            Location::Unpacked { from, .. } => from.fmt(f),
        }
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
