//! Where a file lies that is restored: on this machine, or in a bucket.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

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
}

impl Location {
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
            Location::Object { store, name } => match store.stat(name).await? {
                Some(_) => return stored::source(Arc::clone(store), name).await,
                None => Err(anyhow::anyhow!("there is no such object")),
            },
        };
        source.map_err(|error| Fail::new(Exit::NotFound, format!("cannot read {self}: {error:#}")).into())
    }

    /// The folder that it is.
    #[must_use]
    pub fn folder(&self) -> Option<&PathBuf> {
        match self {
            Location::Local(path) if path.is_dir() => Some(path),
            _ => None,
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Location::Local(path) => path.display().fmt(f),
            Location::Object { store, name } => write!(f, "{store}/{name}"),
        }
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
