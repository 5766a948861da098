//! Writing the custom format.

use std::sync::Arc;

use anyhow::{Context as _, ensure};
use bytes::Bytes;

use super::{BLOCK_DATA, BLOCK_LARGE_OBJECTS};
use crate::archive::Header;
use crate::archive::toc::{DumpId, Entry};
use crate::archive::wire::{self, FormatCode, Place};
use crate::error::Result;
use crate::seal::{Codec, Joiner, SegmentEnd};

/// Bytes of the custom format, call by call. See [`crate::archive::writer`] for the order of calls.
pub struct Writer {
    entries: Arc<Vec<Entry>>,
    places: Vec<Place>,
    minor: u8,
    codec: Codec,
    /// How many bytes were made so far.
    position: u64,
    open: Option<Open>,
    next_data: usize,
}

/// The data block that is being written.
struct Open {
    large_objects: bool,
    /// The compressed stream: of the whole block, or of one large object.
    stream: Option<Joiner>,
}

impl Writer {
    /// A writer of `entries`, all of which it keeps.
    ///
    /// # Errors
    /// Text is longer than the format can say.
    pub fn new(entries: Arc<Vec<Entry>>, codec: Codec) -> Result<Self> {
        let longest = entries
            .iter()
            .map(|entry| entry.defn.len().max(entry.drop_stmt.len()))
            .max();
        ensure!(
            longest.unwrap_or(0) <= i32::MAX as usize,
            "a definition is longer than 2 GiB"
        );
        let place = |entry: &Entry| match entry.has_data {
            true => Place::Unknown,
            false => Place::NoData,
        };
        Ok(Writer {
            places: entries.iter().map(place).collect(),
            minor: wire::version(&entries, codec.compression.algorithm),
            entries,
            codec,
            position: 0,
            open: None,
            next_data: 0,
        })
    }

    /// All entries.
    #[must_use]
    pub fn entries(&self) -> Arc<Vec<Entry>> {
        Arc::clone(&self.entries)
    }

    /// The entries that have data, in order.
    #[must_use]
    pub fn data(&self) -> Vec<DumpId> {
        let with_data = self.entries.iter().filter(|entry| entry.has_data);
        with_data.map(|entry| entry.dump_id).collect()
    }

    /// Header and table of contents, with the offsets that are known by now; its length never changes.
    #[must_use]
    pub fn head(&self, header: &Header) -> Bytes {
        let mut out = Vec::new();
        let compression = self.codec.compression;
        wire::put_header(&mut out, header, self.minor, FormatCode::Custom, compression);
        wire::put_int(&mut out, i32::try_from(self.entries.len()).unwrap_or(i32::MAX));
        for (entry, place) in self.entries.iter().zip(&self.places) {
            wire::put_entry(&mut out, entry, self.minor);
            wire::put_place(&mut out, *place);
        }
        Bytes::from(out)
    }

    /// Starts the archive.
    pub fn begin(&mut self, header: &Header) -> Bytes {
        let head = self.head(header);
        self.made(head)
    }

    /// Starts the data block of `id`.
    ///
    /// # Errors
    /// Another block is open, or `id` is not the next entry with data.
    pub fn begin_data(&mut self, id: DumpId) -> Result<Bytes> {
        ensure!(self.open.is_none(), "the data of two entries at once");
        let next = self.entries[self.next_data..].iter().position(|entry| entry.has_data);
        let at = self.next_data + next.context("no entry with data is left")?;
        let entry = &self.entries[at];
        ensure!(entry.dump_id == id, "the data of entry {id} comes out of turn");
        let large_objects = entry.is_large_objects();
        self.places[at] = Place::At(self.position);
        self.next_data = at + 1;
        let mut out = vec![if large_objects { BLOCK_LARGE_OBJECTS } else { BLOCK_DATA }];
        wire::put_int(&mut out, id);
        self.open = Some(Open {
            large_objects,
            stream: None,
        });
        if !large_objects {
            self.begin_stream(&mut out)?;
        }
        Ok(self.made(out))
    }

    /// Starts a large object.
    ///
    /// # Errors
    /// No block of large objects is open.
    pub fn begin_object(&mut self, oid: u32) -> Result<Bytes> {
        let open = self.open.as_ref().context("no data was begun")?;
        ensure!(
            open.large_objects && open.stream.is_none(),
            "a large object where none can be"
        );
        let mut out = Vec::new();
        // An OID is written as the integer of the same 32 bits.
        wire::put_int(&mut out, oid.cast_signed());
        self.begin_stream(&mut out)?;
        Ok(self.made(out))
    }

    fn begin_stream(&mut self, out: &mut Vec<u8>) -> Result<()> {
        let stream = Joiner::new(self.codec);
        if let Some(header) = stream.header() {
            put_chunk(out, &header)?;
        }
        if let Some(open) = &mut self.open {
            open.stream = Some(stream);
        }
        Ok(())
    }

    /// What stands before `bytes`, which are the next chunk.
    ///
    /// # Errors
    /// No stream is open, or the chunk is empty or beyond 2 GiB.
    pub fn chunk(&mut self, bytes: &Bytes) -> Result<Bytes> {
        let open = self.open.as_ref().context("no data was begun")?;
        ensure!(open.stream.is_some() && !bytes.is_empty(), "a chunk where none can be");
        let mut out = Vec::with_capacity(5);
        wire::put_int(&mut out, i32::try_from(bytes.len()).context("a chunk beyond 2 GiB")?);
        self.position += bytes.len() as u64;
        Ok(self.made(out))
    }

    /// Ends a segment of the stream.
    pub fn end_segment(&mut self, end: &SegmentEnd) {
        if let Some(stream) = self.open.as_mut().and_then(|open| open.stream.as_mut()) {
            stream.add(end);
        }
    }

    /// Ends a large object.
    ///
    /// # Errors
    /// None is open.
    pub fn end_object(&mut self) -> Result<Bytes> {
        let mut out = Vec::new();
        self.end_stream(&mut out)?;
        Ok(self.made(out))
    }

    fn end_stream(&mut self, out: &mut Vec<u8>) -> Result<()> {
        let stream = self.open.as_mut().and_then(|open| open.stream.take());
        let stream = stream.context("no data was begun")?;
        if let Some(trailer) = stream.trailer() {
            put_chunk(out, &trailer)?;
        }
        wire::put_int(out, 0);
        Ok(())
    }

    /// Ends the block.
    ///
    /// # Errors
    /// None is open, or one of its large objects was not ended.
    pub fn end_data(&mut self) -> Result<Bytes> {
        let open = self.open.as_ref().context("no data was begun")?;
        let mut out = Vec::new();
        if open.large_objects {
            ensure!(open.stream.is_none(), "a large object was not ended");
            wire::put_int(&mut out, 0);
        } else {
            self.end_stream(&mut out)?;
        }
        self.open = None;
        Ok(self.made(out))
    }

    /// Ends the archive.
    ///
    /// # Errors
    /// The data of an entry is missing.
    pub fn finish(&mut self) -> Result<()> {
        let missing = self.entries[self.next_data..].iter().find(|entry| entry.has_data);
        if let Some(entry) = missing {
            anyhow::bail!("the data of entry {} is missing", entry.dump_id);
        }
        ensure!(self.open.is_none(), "the data of the last entry was not ended");
        Ok(())
    }

    fn made(&mut self, bytes: impl Into<Bytes>) -> Bytes {
        let bytes = bytes.into();
        self.position += bytes.len() as u64;
        bytes
    }
}

fn put_chunk(out: &mut Vec<u8>, bytes: &[u8]) -> Result<()> {
    wire::put_int(out, i32::try_from(bytes.len()).context("a chunk beyond 2 GiB")?);
    out.extend_from_slice(bytes);
    Ok(())
}
