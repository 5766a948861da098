//! Reading a folder.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;

use super::TOC;
use crate::archive::custom;
use crate::archive::data::{DataFile, LargeObjects, ObjectFile, Rows};
use crate::archive::source::Source;
use crate::archive::wire::{FormatCode, Toc};
use crate::error::Result;
use crate::seal::Algorithm;

/// The files of a directory archive.
pub struct Contents {
    folder: PathBuf,
    files: Vec<String>,
}

impl Contents {
    /// Reads the table of contents of `folder`.
    ///
    /// # Errors
    /// There is none, or it is damaged.
    pub async fn open(folder: &Path) -> Result<(Toc, Self)> {
        let source = Source::file(&folder.join(TOC)).context("this folder is no archive")?;
        let (mut toc, _) = custom::read::toc(&source).await?;
        if toc.head.format != FormatCode::Files {
            bail!("{TOC} is not of a directory archive");
        }
        let contents = Contents {
            folder: folder.to_owned(),
            files: std::mem::take(&mut toc.files),
        };
        Ok((toc, contents))
    }

    fn path(&self, at: usize) -> Result<PathBuf> {
        let name = &self.files[at];
        ensure!(!name.is_empty(), "the archive has no data of this entry");
        inside(&self.folder, name)
    }

    /// The rows of the entry at `at`.
    ///
    /// # Errors
    /// Their file is not there.
    pub fn rows(&self, at: usize) -> Result<Rows> {
        Rows::file(data_file(&self.path(at)?)?)
    }

    /// The large objects of the entry at `at`.
    ///
    /// # Errors
    /// Their list is not there or damaged.
    pub async fn large_objects(&self, at: usize) -> Result<LargeObjects> {
        let source = Source::file(&self.path(at)?)?;
        let list = source.read(0..source.len()).await?;
        let mut files = Vec::new();
        for (oid, name) in object_list(&list)? {
            files.push((oid, ObjectFile::Path(inside(&self.folder, &name)?)));
        }
        Ok(LargeObjects::files(files))
    }
}

/// A table of contents must not lead out of its folder.
fn inside(folder: &Path, name: &str) -> Result<PathBuf> {
    let is_plain = !name.contains(['/', '\\', '\0']) && name != ".." && name != ".";
    ensure!(
        is_plain,
        "the archive is damaged: {name:?} is no name of a file of an archive"
    );
    Ok(folder.join(name))
}

/// The large objects and their files that a list names, one a line.
pub(in crate::archive) fn object_list(list: &Bytes) -> Result<Vec<(u32, String)>> {
    let text = std::str::from_utf8(list).context("the list of large objects is damaged")?;
    let line = |line: &str| {
        let (oid, name) = line.split_once(' ').context("the list of large objects is damaged")?;
        Ok((
            oid.parse().context("the list of large objects is damaged")?,
            name.to_owned(),
        ))
    };
    text.lines().map(line).collect()
}

/// The file at `path`, or what it is called when it is compressed.
pub(in crate::archive) fn data_file(path: &Path) -> Result<DataFile> {
    for algorithm in [Algorithm::None, Algorithm::Gzip, Algorithm::Lz4, Algorithm::Zstd] {
        let mut name = path.as_os_str().to_owned();
        name.push(algorithm.suffix());
        let candidate = PathBuf::from(name);
        if candidate.exists() {
            let source = Source::file(&candidate)?;
            return Ok(DataFile {
                range: 0..source.len(),
                source,
                algorithm,
            });
        }
    }
    bail!("{} is missing", path.display())
}
