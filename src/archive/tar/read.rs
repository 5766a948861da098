//! Reading a tar file.

use std::collections::HashMap;
use std::ops::Range;

use anyhow::{Context as _, bail, ensure};

use super::{BLOCK, header, padding};
use crate::archive::data::{DataFile, LargeObjects, ObjectFile, Rows};
use crate::archive::directory::{self, TOC};
use crate::archive::source::Source;
use crate::archive::toc::DumpId;
use crate::archive::wire::{FormatCode, Input, Toc};
use crate::error::Result;
use crate::seal::Algorithm;

/// Whether `source` starts as a tar file does.
///
/// # Errors
/// Reading fails.
pub async fn is_tar(source: &Source) -> Result<bool> {
    Ok(source.len() >= BLOCK && member(source, 0).await?.is_some())
}

/// The file whose header is at `at`; `None` when there is no header.
async fn member(source: &Source, at: u64) -> Result<Option<(String, u64)>> {
    let block = source.read(at..at + BLOCK).await?;
    let block: &[u8; 512] = block.as_ref().try_into().context("a block has 512 bytes")?;
    Ok(header::decode(block))
}

/// The files of a tar archive.
pub struct Contents {
    source: Source,
    members: HashMap<String, Range<u64>>,
    files: Vec<String>,
}

impl Contents {
    /// Finds the files and reads the table of contents.
    ///
    /// # Errors
    /// There is none, or the tar file is damaged or cut.
    pub async fn open(source: Source) -> Result<(Toc, Self)> {
        let members = members(&source).await?;
        let toc = members
            .get(TOC)
            .context("this tar file is no archive: it has no toc.dat")?;
        let bytes = source.read(toc.clone()).await?;
        let mut toc = Toc::read(&mut Input::new(&bytes, 4))?;
        if toc.head.format != FormatCode::Files {
            bail!("{TOC} is not of a tar archive");
        }
        let contents = Contents {
            source,
            members,
            files: std::mem::take(&mut toc.files),
        };
        Ok((toc, contents))
    }

    fn range(&self, name: &str) -> Result<Range<u64>> {
        let range = self.members.get(name);
        Ok(range
            .with_context(|| format!("{name:?} is missing in the tar file"))?
            .clone())
    }

    /// The rows of the entry at `at`.
    ///
    /// # Errors
    /// Their file is not there.
    pub fn rows(&self, at: usize) -> Result<Rows> {
        Rows::file(DataFile {
            source: self.source.clone(),
            range: self.range(&self.files[at])?,
            algorithm: Algorithm::None,
        })
    }

    /// The large objects of the entry `id` at `at`.
    ///
    /// # Errors
    /// Their list is not there or damaged.
    pub async fn large_objects(&self, at: usize, id: DumpId) -> Result<LargeObjects> {
        // pg_dump's own table of contents has names that do not exist for these.
        let names = [&self.files[at], &format!("blobs_{id}.toc"), "blobs.toc"];
        let found = names.iter().find_map(|name| self.members.get(*name));
        let range = found
            .context("the list of large objects is missing in the tar file")?
            .clone();
        let list = self.source.read(range).await?;
        let mut files = Vec::new();
        for (oid, name) in directory::object_list(&list)? {
            files.push((oid, ObjectFile::Member(self.source.clone(), self.range(&name)?)));
        }
        Ok(LargeObjects::files(files))
    }
}

async fn members(source: &Source) -> Result<HashMap<String, Range<u64>>> {
    let mut members = HashMap::new();
    let mut at = 0;
    while at + BLOCK <= source.len() {
        let Some((name, len)) = member(source, at).await? else {
            break;
        };
        let start = at + BLOCK;
        ensure!(len <= source.len() - start, "the tar file ends within {name:?}");
        members.insert(name, start..start + len);
        at = start + len + padding(len);
    }
    Ok(members)
}
