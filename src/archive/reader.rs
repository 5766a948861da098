//! Reading an archive, whatever its format.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail};

use super::data::{LargeObjects, Rows};
use super::list::Facts;
use super::source::Source;
use super::toc::{DumpId, Entry};
use super::wire::{FormatCode, Head, Place, Toc};
use super::{Header, custom, directory, tar};
use crate::error::{Exit, Fail, Result, is_classified};

/// An archive that is being read. Entries can be read in any order and by several tasks at once.
pub struct Reader {
    head: Arc<Head>,
    entries: Arc<Vec<Entry>>,
    /// Where each entry is.
    positions: Arc<HashMap<DumpId, usize>>,
    contents: Arc<Contents>,
}

enum Contents {
    Custom { source: Source, places: Vec<Place> },
    Directory(directory::Contents),
    Tar(tar::Contents),
}

impl Reader {
    /// Opens the archive at `path`, a file or a folder; which format it is shows in its contents.
    ///
    /// # Errors
    /// There is no archive, or it is damaged.
    pub async fn open(path: &Path) -> Result<Self> {
        let open = async {
            if path.is_dir() {
                let (toc, contents) = directory::Contents::open(path).await?;
                return Ok(Reader::new(toc, Contents::Directory(contents)));
            }
            Reader::from_source(Source::file(path)?).await
        };
        open.await
            .with_context(|| format!("reading the archive {}", path.display()))
    }

    /// Opens the archive (custom or tar) that `source` is.
    ///
    /// # Errors
    /// It is none, or it is damaged.
    pub async fn from_source(source: Source) -> Result<Self> {
        if tar::is_tar(&source).await? {
            let (toc, contents) = tar::Contents::open(source).await?;
            return Ok(Reader::new(toc, Contents::Tar(contents)));
        }
        let (toc, end) = custom::read::toc(&source).await.map_err(damaged)?;
        if toc.head.format != FormatCode::Custom {
            bail!("this is the table of contents of a directory archive: open its folder");
        }
        let places = custom::read::places(&source, &toc, end).await.map_err(damaged)?;
        Ok(Reader::new(toc, Contents::Custom { source, places }))
    }

    /// Whether `source` begins as a custom or tar archive does.
    ///
    /// # Errors
    /// Reading fails.
    pub async fn is_archive(source: &Source) -> Result<bool> {
        let start = source.read(0..source.len().min(5)).await?;
        Ok(start.as_ref() == b"PGDMP" || tar::is_tar(source).await?)
    }

    fn new(toc: Toc, contents: Contents) -> Self {
        Reader {
            head: Arc::new(toc.head),
            positions: positions(&toc.entries),
            entries: toc.entries.into(),
            contents: Arc::new(contents),
        }
    }

    /// The same archive with other definitions: as many entries, in the same order.
    ///
    /// # Errors
    /// They are not as many.
    pub fn with_entries(&self, entries: Vec<Entry>) -> Result<Self> {
        anyhow::ensure!(
            entries.len() == self.entries.len(),
            "an archive has other entries than before"
        );
        Ok(Reader {
            head: Arc::clone(&self.head),
            positions: positions(&entries),
            entries: entries.into(),
            contents: Arc::clone(&self.contents),
        })
    }

    /// What the archive says of the dump.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.head.header
    }

    /// The entries in their order.
    #[must_use]
    pub fn entries(&self) -> &Arc<Vec<Entry>> {
        &self.entries
    }

    /// What a list says of the archive beside its header.
    #[must_use]
    pub fn facts(&self) -> Facts {
        Facts {
            minor: self.head.minor,
            format: match *self.contents {
                Contents::Custom { .. } => "CUSTOM",
                Contents::Directory(_) => "DIRECTORY",
                Contents::Tar(_) => "TAR",
            },
            compression: self.head.algorithm,
            level: self.head.level,
            int_size: self.head.int_size,
            offset_size: self.head.offset_size,
        }
    }

    /// The rows of the entry `id`.
    ///
    /// # Errors
    /// It has none, or the archive is damaged.
    pub async fn rows(&self, id: DumpId) -> Result<Rows> {
        let at = self.position(id)?;
        match self.contents.as_ref() {
            Contents::Custom { source, places } => {
                let place = offset(places[at], id)?;
                Rows::custom(source.clone(), place, id, self.head.int_size, self.head.algorithm).await
            }
            Contents::Directory(contents) => contents.rows(at),
            Contents::Tar(contents) => contents.rows(at),
        }
        .map_err(damaged)
    }

    /// The large objects of the entry `id`.
    ///
    /// # Errors
    /// It has none, or the archive is damaged.
    pub async fn large_objects(&self, id: DumpId) -> Result<LargeObjects> {
        let at = self.position(id)?;
        match self.contents.as_ref() {
            Contents::Custom { source, places } => {
                let place = offset(places[at], id)?;
                LargeObjects::custom(source.clone(), place, id, self.head.int_size, self.head.algorithm).await
            }
            Contents::Directory(contents) => contents.large_objects(at).await,
            Contents::Tar(contents) => contents.large_objects(at, id).await,
        }
        .map_err(damaged)
    }

    /// The entry of this number.
    #[must_use]
    pub fn entry(&self, id: DumpId) -> Option<&Entry> {
        self.entries.get(*self.positions.get(&id)?)
    }

    fn position(&self, id: DumpId) -> Result<usize> {
        let at = self.positions.get(&id).copied();
        at.with_context(|| format!("the archive has no entry {id}"))
    }
}

/// Where each entry is; of two with one number the first counts.
fn positions(entries: &[Entry]) -> Arc<HashMap<DumpId, usize>> {
    let places = entries.iter().enumerate().rev();
    Arc::new(places.map(|(at, entry)| (entry.dump_id, at)).collect())
}

fn offset(place: Place, id: DumpId) -> Result<u64> {
    match place {
        Place::At(at) => Ok(at),
        Place::Unknown | Place::NoData => bail!("the archive has no data of entry {id}"),
    }
}

/// Whatever is wrong with the bytes of an archive is damage to those who run scripts, unless it says what else it is.
fn damaged(error: anyhow::Error) -> anyhow::Error {
    match is_classified(&error) {
        true => error,
        false => Fail::new(Exit::Damaged, format!("{error:#}")).into(),
    }
}
