//! Writing the directory format: which bytes go into which file.

use std::collections::VecDeque;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use bytes::Bytes;

use super::{TOC, file_name, object_file_name};
use crate::archive::Header;
use crate::archive::output::Output;
use crate::archive::toc::{DumpId, Entry};
use crate::archive::wire::{self, FormatCode};
use crate::error::Result;
use crate::seal::{Codec, Joiner, SegmentEnd};

/// Files of the directory format, call by call. See [`crate::archive::writer`] for the order of calls.
pub struct Writer {
    entries: Arc<Vec<Entry>>,
    minor: u8,
    codec: Codec,
    open: Option<usize>,
    stream: Option<Joiner>,
    object_list: String,
    next_data: usize,
}

impl Writer {
    /// A writer of `entries`, all of which it keeps.
    #[must_use]
    pub fn new(entries: Arc<Vec<Entry>>, codec: Codec) -> Self {
        let minor = wire::version(&entries, codec.compression.algorithm);
        Writer {
            entries,
            minor,
            codec,
            open: None,
            stream: None,
            object_list: String::new(),
            next_data: 0,
        }
    }

    /// The table of contents, in which the file of an entry is called as `name` has it.
    #[must_use]
    pub fn toc(&self, header: &Header, name: impl Fn(&Entry) -> String) -> Bytes {
        let mut out = Vec::new();
        wire::put_header(&mut out, header, self.minor, FormatCode::Files, self.codec.compression);
        wire::put_int(&mut out, i32::try_from(self.entries.len()).unwrap_or(i32::MAX));
        for entry in self.entries.iter() {
            let file = match entry.has_data {
                true => name(entry),
                false => String::new(),
            };
            wire::put_entry(&mut out, entry, self.minor);
            wire::put_text(&mut out, Some(&file));
        }
        Bytes::from(out)
    }

    /// The entries that have data, in order.
    #[must_use]
    pub fn data(&self) -> Vec<DumpId> {
        let with_data = self.entries.iter().filter(|entry| entry.has_data);
        with_data.map(|entry| entry.dump_id).collect()
    }

    /// Starts the data of `id`.
    ///
    /// # Errors
    /// Other data is open, or `id` is not the next entry with data.
    pub fn begin_data(&mut self, id: DumpId, out: &mut VecDeque<Output>) -> Result<()> {
        ensure!(self.open.is_none(), "the data of two entries at once");
        let next = self.entries[self.next_data..].iter().position(|entry| entry.has_data);
        let at = self.next_data + next.context("no entry with data is left")?;
        ensure!(
            self.entries[at].dump_id == id,
            "the data of entry {id} comes out of turn"
        );
        self.next_data = at + 1;
        self.open = Some(at);
        if !self.entries[at].is_large_objects() {
            self.begin_file(&file_name(&self.entries[at], self.minor), out);
        }
        Ok(())
    }

    fn begin_file(&mut self, name: &str, out: &mut VecDeque<Output>) {
        let suffix = self.codec.compression.algorithm.suffix();
        out.push_back(Output::File(format!("{name}{suffix}")));
        let stream = Joiner::new(self.codec);
        out.extend(stream.header().map(Output::Bytes));
        self.stream = Some(stream);
    }

    /// Starts a large object.
    ///
    /// # Errors
    /// No entry of large objects is open.
    pub fn begin_object(&mut self, oid: u32, out: &mut VecDeque<Output>) -> Result<()> {
        let at = self.open.context("no data was begun")?;
        let can = self.entries[at].is_large_objects() && self.stream.is_none();
        ensure!(can, "a large object where none can be");
        let name = object_file_name(oid);
        self.object_list.push_str(&format!("{oid} {name}\n"));
        self.begin_file(&name, out);
        Ok(())
    }

    /// Appends a compressed chunk.
    ///
    /// # Errors
    /// No file is open.
    pub fn chunk(&mut self, bytes: Bytes, out: &mut VecDeque<Output>) -> Result<()> {
        ensure!(self.stream.is_some(), "a chunk where none can be");
        out.push_back(Output::Bytes(bytes));
        Ok(())
    }

    /// Ends a segment of the stream.
    pub fn end_segment(&mut self, end: &SegmentEnd) {
        if let Some(stream) = &mut self.stream {
            stream.add(end);
        }
    }

    /// Ends a large object.
    ///
    /// # Errors
    /// None is open.
    pub fn end_object(&mut self, out: &mut VecDeque<Output>) -> Result<()> {
        let stream = self.stream.take().context("no data was begun")?;
        out.extend(stream.trailer().map(Output::Bytes));
        Ok(())
    }

    /// Ends the data of an entry.
    ///
    /// # Errors
    /// None is open.
    pub fn end_data(&mut self, out: &mut VecDeque<Output>) -> Result<()> {
        let at = self.open.take().context("no data was begun")?;
        if !self.entries[at].is_large_objects() {
            return self.end_object(out);
        }
        ensure!(self.stream.is_none(), "a large object was not ended");
        // The list is never compressed.
        out.push_back(Output::File(file_name(&self.entries[at], self.minor)));
        let list = std::mem::take(&mut self.object_list);
        if !list.is_empty() {
            out.push_back(Output::Bytes(list.into()));
        }
        Ok(())
    }

    /// Fails unless all data was written.
    ///
    /// # Errors
    /// The data of an entry is missing.
    pub fn check_complete(&self) -> Result<()> {
        let missing = self.entries[self.next_data..].iter().find(|entry| entry.has_data);
        if let Some(entry) = missing {
            anyhow::bail!("the data of entry {} is missing", entry.dump_id);
        }
        ensure!(self.open.is_none(), "the data of the last entry was not ended");
        Ok(())
    }

    /// Ends the archive with its table of contents: a folder without one is no archive.
    ///
    /// # Errors
    /// Data is missing.
    pub fn finish(&mut self, header: &Header, out: &mut VecDeque<Output>) -> Result<()> {
        self.check_complete()?;
        out.push_back(Output::File(TOC.to_owned()));
        out.push_back(Output::Bytes(self.toc(header, |entry| file_name(entry, self.minor))));
        Ok(())
    }

    /// The entries, all of which the archive keeps.
    pub(in crate::archive) fn entries(&self) -> &Arc<Vec<Entry>> {
        &self.entries
    }
}
