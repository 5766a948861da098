//! An archive that lies in a store, as something that [`crate::archive`] can read: neither side knows the other. One
//! that is sealed is opened range by range on the way; nothing is ever opened into a file.

mod sealing;

use std::ops::Range;
use std::sync::Arc;

use anyhow::Context as _;
use async_trait::async_trait;
use bytes::Bytes;

use crate::archive::source::{Ranges, Source};
use crate::error::Result;
use crate::job::Keys;
use crate::manifest::Manifest;
use crate::seal::age::{Identities, MAGIC, Opener, locked};
use crate::shelf::Shelf;
use crate::store::Store;

pub use sealing::{Receipt, Sealing};

struct Object {
    store: Arc<dyn Store>,
    path: String,
}

#[async_trait]
impl Ranges for Object {
    async fn read(&self, range: Range<u64>) -> Result<Bytes> {
        self.store.read(&self.path, range).await
    }
}

/// The object at `path` of `store`, as it lies there.
///
/// # Errors
/// There is none.
pub async fn source(store: Arc<dyn Store>, path: &str) -> Result<Source> {
    let meta = store.stat(path).await?;
    let meta = meta.with_context(|| format!("{path} is not in {store}"))?;
    let path = path.to_owned();
    Ok(Source::ranges(Arc::new(Object { store, path }), meta.size))
}

struct Sealed {
    source: Source,
    opener: Opener,
    name: String,
}

#[async_trait]
impl Ranges for Sealed {
    async fn read(&self, range: Range<u64>) -> Result<Bytes> {
        let sealed = self.source.read(self.opener.sealed(&range)?).await?;
        let opened = self.opener.open(&range, &sealed);
        opened.with_context(|| format!("opening {}", self.name))
    }
}

/// What is in `sealed`, which people know as `name` and which was sealed for `recipients`, as far as that is known.
///
/// # Errors
/// [`crate::error::Exit::NoKey`]: none of `identities` fits. [`crate::error::Exit::Damaged`]: it is no age file any more.
pub async fn open(sealed: Source, name: &str, recipients: &[String], identities: &Identities) -> Result<Source> {
    let mut outcome = Ok(None);
    for step in Opener::HEADER_STEPS {
        let start = sealed.read(0..step.min(sealed.len())).await?;
        outcome = Opener::new(&start, sealed.len(), identities);
        // What cannot be read may only be longer than what was read of it.
        if outcome.is_ok() || step >= sealed.len() {
            break;
        }
    }
    let opener = outcome.with_context(|| format!("opening {name}"))?;
    let opener = opener.ok_or_else(|| locked(name, recipients, identities))?;
    let len = opener.plain_len();
    let name = name.to_owned();
    let opened = Sealed {
        source: sealed,
        opener,
        name,
    };
    Ok(Source::ranges(Arc::new(opened), len))
}

/// The archive of a backup.
///
/// # Errors
/// There is none, or it is sealed and cannot be opened ([`open`]).
pub async fn archive(shelf: &Shelf, manifest: &Manifest, keys: &Keys) -> Result<Source> {
    file(shelf, manifest, &manifest.archive.name, keys).await
}

/// Roles and tablespaces of a backup, if it has them and they are not longer than `limit` bytes.
///
/// # Errors
/// As [`archive`].
pub async fn globals(shelf: &Shelf, manifest: &Manifest, keys: &Keys, limit: u64) -> Result<Option<Bytes>> {
    let Some(globals) = manifest.globals.as_ref().filter(|file| file.bytes <= limit) else {
        return Ok(None);
    };
    let source = file(shelf, manifest, &globals.name, keys).await?;
    source.read(0..source.len()).await.map(Some)
}

async fn file(shelf: &Shelf, manifest: &Manifest, name: &str, keys: &Keys) -> Result<Source> {
    let path = shelf.file_path(name);
    let source = source(Arc::clone(shelf.store()), &path).await?;
    match &manifest.encryption {
        Some(encryption) => open(source, &path, &encryption.recipients, &keys.read()?).await,
        None => Ok(source),
    }
}

/// Opens the details of a manifest that are sealed.
///
/// # Errors
/// [`crate::error::Exit::NoKey`]: none of `keys` fits.
pub fn unseal(manifest: &mut Manifest, keys: &Keys) -> Result<()> {
    match manifest.is_sealed() {
        true => manifest.unseal(&keys.read()?),
        false => Ok(()),
    }
}

/// Whether `source` is encrypted.
///
/// # Errors
/// It cannot be read.
pub async fn is_sealed(source: &Source) -> Result<bool> {
    let start = source.read(0..source.len().min(MAGIC.len() as u64)).await?;
    Ok(start == MAGIC)
}

/// `source`, which people know as `name`, opened if it is sealed.
///
/// # Errors
/// It cannot be read, or is sealed and cannot be opened ([`open`]).
pub async fn opened(source: Source, name: &str, keys: &Keys) -> Result<Source> {
    match is_sealed(&source).await? {
        true => open(source, name, &[], &keys.read()?).await,
        false => Ok(source),
    }
}
