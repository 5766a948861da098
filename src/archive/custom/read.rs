//! Reading the custom format: the table of contents, and where each block of data is.

use std::collections::HashMap;
use std::ops::Range;

use anyhow::{Context as _, bail, ensure};

use super::{BLOCK_DATA, BLOCK_LARGE_OBJECTS};
use crate::archive::source::{Cursor, Source};
use crate::archive::toc::DumpId;
use crate::archive::wire::{self, Input, Place, Toc};
use crate::error::Result;

/// What is read first; a longer table of contents takes more rounds, each twice as long.
const FIRST_READ: u64 = 256 << 10;

/// Reads the table of contents at the start of `source`; also, where it ends.
///
/// # Errors
/// There is none, or it is damaged or cut.
pub async fn toc(source: &Source) -> Result<(Toc, u64)> {
    let mut len = FIRST_READ.min(source.len());
    loop {
        let bytes = source.read(0..len).await?;
        let mut input = Input::new(&bytes, 4);
        match Toc::read(&mut input) {
            Ok(toc) => return Ok((toc, input.position() as u64)),
            Err(wire::Error::Incomplete) if len < source.len() => len = (len * 2).min(source.len()),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Finds the blocks of an archive whose table of contents does not say where they are, because it was
/// written to a pipe: walks over all of them from `start` on.
///
/// # Errors
/// The blocks are damaged.
pub async fn find_blocks(source: &Source, start: u64, int_size: u8) -> Result<HashMap<DumpId, u64>> {
    let mut blocks = HashMap::new();
    let mut cursor = BlockCursor::new(source.clone(), start..source.len(), int_size);
    while cursor.remaining() > 0 {
        let at = cursor.position();
        let (kind, id) = cursor.block().await?;
        blocks.insert(id, at);
        if kind == BlockKind::Rows {
            cursor.skip_chunks().await?;
        } else {
            while cursor.object().await?.is_some() {
                cursor.skip_chunks().await?;
            }
        }
    }
    Ok(blocks)
}

/// What a block holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockKind {
    /// One stream.
    Rows,
    /// A stream per large object.
    LargeObjects,
}

/// Reads blocks and their chunks.
pub struct BlockCursor {
    cursor: Cursor,
    int_size: u8,
}

impl BlockCursor {
    /// Reads from `range.start` on.
    #[must_use]
    pub fn new(source: Source, range: Range<u64>, int_size: u8) -> Self {
        BlockCursor {
            cursor: Cursor::new(source, range),
            int_size,
        }
    }

    /// The underlying bytes.
    pub fn bytes(&mut self) -> &mut Cursor {
        &mut self.cursor
    }

    fn position(&self) -> u64 {
        self.cursor.position()
    }

    fn remaining(&self) -> u64 {
        self.cursor.remaining()
    }

    /// Reads the start of a block.
    ///
    /// # Errors
    /// None starts here.
    pub async fn block(&mut self) -> Result<(BlockKind, DumpId)> {
        let kind = match self.cursor.peek(1).await?.first() {
            Some(&BLOCK_DATA) => BlockKind::Rows,
            Some(&BLOCK_LARGE_OBJECTS) => BlockKind::LargeObjects,
            Some(other) => bail!("the archive is damaged: a block of unknown type {other}"),
            None => bail!("the archive ends too early"),
        };
        self.cursor.skip(1)?;
        Ok((kind, self.item(|input| input.int()).await?))
    }

    /// Reads the OID of the next large object; `None` after the last.
    ///
    /// # Errors
    /// The archive is damaged or cut.
    pub async fn object(&mut self) -> Result<Option<u32>> {
        let oid = self.item(|input| input.oid()).await?;
        Ok((oid != 0).then_some(oid))
    }

    /// Reads the length of the next chunk; `None` after the last.
    ///
    /// # Errors
    /// The archive is damaged or cut.
    pub async fn chunk(&mut self) -> Result<Option<u64>> {
        let len = self.item(|input| input.int()).await?;
        let len = u64::try_from(len).context("the archive is damaged: a chunk of negative length")?;
        ensure!(len <= self.remaining(), "the archive ends too early");
        Ok((len > 0).then_some(len))
    }

    async fn skip_chunks(&mut self) -> Result<()> {
        while let Some(len) = self.chunk().await? {
            self.cursor.skip(len)?;
        }
        Ok(())
    }

    /// Reads one number, whose length is known.
    async fn item<T>(&mut self, read: fn(&mut Input<'_>) -> Result<T, wire::Error>) -> Result<T> {
        let len = usize::from(self.int_size) + 1;
        let mut input = Input::new(self.cursor.peek(len).await?, self.int_size);
        let value = read(&mut input)?;
        self.cursor.skip(len as u64)?;
        Ok(value)
    }
}

/// Where the data of each entry is, as far as the archive tells.
///
/// # Errors
/// The blocks are damaged.
pub async fn places(source: &Source, toc: &Toc, end: u64) -> Result<Vec<Place>> {
    let is_unknown = |place: &Place| *place == Place::Unknown;
    if !toc.places.iter().any(is_unknown) {
        return Ok(toc.places.clone());
    }
    let blocks = find_blocks(source, end, toc.head.int_size).await?;
    let found = toc.entries.iter().zip(&toc.places).map(|(entry, place)| match place {
        Place::Unknown => blocks.get(&entry.dump_id).map_or(Place::NoData, |at| Place::At(*at)),
        place => *place,
    });
    Ok(found.collect())
}
