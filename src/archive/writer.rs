//! Writing an archive, whatever its format.
//!
//! [`Writer`] does no I/O. Each call may make output, which the holder takes with [`Writer::output`] until
//! there is none, and carries to where the archive goes:
//!
//! ```text
//! begin
//! for each of data():
//!     begin_data, then for rows:           { chunk… end_segment }…
//!                 for large objects: { begin_object, { chunk… end_segment }…, end_object }…
//!     end_data
//! finish
//! head      (replaces the start of the archive, where that can be rewritten)
//! ```
//!
//! Rows come with their end: `\.` and three line feeds after COPY text. Chunks are compressed by
//! [`crate::seal::SegmentCompressor`] with [`Writer::codec`], wherever that runs; this joins them.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use chrono::NaiveDateTime;

use super::options::RestoreOptions;
use super::required::required;
use super::toc::{DumpId, Entry};
use super::{Format, Header, custom, plain};
use crate::error::Result;
use crate::postgres::quote::Quote;
use crate::seal::{Codec, Compression, Frame, Joiner, SegmentCompressor, SegmentEnd};

/// What a [`Writer`] wants to be carried away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Bytes to append; never empty.
    Bytes(Bytes),
    /// What follows goes into a new file of this name (only the directory format).
    File(String),
}

/// An archive that is being written.
pub struct Writer {
    form: Form,
    header: Header,
    codec: Codec,
    queue: VecDeque<Output>,
}

enum Form {
    Custom(custom::Writer),
    Plain(plain::Writer, Option<(SegmentCompressor, Joiner)>),
}

impl Writer {
    /// A writer of what `options` want of `entries`, which must be in the order of the archive.
    ///
    /// For archives (all but plain) pg_dump forces `--create`: without it an archive could not restore the
    /// database itself. The other options that only concern text do not change an archive.
    ///
    /// # Errors
    /// The format cannot be written with `compression`.
    pub fn new(
        format: Format,
        header: Header,
        entries: Vec<Entry>,
        options: &RestoreOptions,
        quote: Quote,
        compression: Compression,
    ) -> Result<Self> {
        let kept = |options: &RestoreOptions| -> Arc<[Entry]> {
            let required = required(&entries, options);
            let wanted = entries.iter().zip(required).filter(|(_, it)| it.wanted() || it.special);
            wanted.map(|(entry, _)| entry.clone()).collect()
        };
        let mut codec = Codec {
            compression,
            frame: Frame::Zlib,
        };
        let form = match format {
            Format::Custom => Form::Custom(custom::Writer::new(kept(options), codec)?),
            Format::Plain => {
                codec = Codec::NONE;
                let text = plain::Writer::new(entries.into(), options.clone(), quote);
                Form::Plain(text, text_compressor(compression)?)
            }
            Format::Directory | Format::Tar => anyhow::bail!("this format is not there yet"),
        };
        Ok(Writer {
            form,
            header,
            codec,
            queue: VecDeque::new(),
        })
    }

    /// The entries whose rows or large objects must come, in this order.
    #[must_use]
    pub fn data(&self) -> Vec<DumpId> {
        match &self.form {
            Form::Custom(custom) => custom.data(),
            Form::Plain(plain, _) => plain.data().to_vec(),
        }
    }

    /// How the chunks must be compressed.
    #[must_use]
    pub fn codec(&self) -> Codec {
        self.codec
    }

    /// Takes the next output; `None` until the next call makes some.
    pub fn output(&mut self) -> Option<Output> {
        self.queue.pop_front()
    }

    /// Starts the archive.
    ///
    /// # Errors
    /// Compression fails.
    pub fn begin(&mut self) -> Result<()> {
        let bytes = match &mut self.form {
            Form::Custom(custom) => custom.begin(&self.header),
            Form::Plain(plain, compressor) => {
                let text = plain.begin(&self.header);
                let start = compressor.as_ref().and_then(|(_, joiner)| joiner.header());
                self.queue.extend(start.map(Output::Bytes));
                text
            }
        };
        self.put(bytes)
    }

    /// Starts the rows or large objects of an entry.
    ///
    /// # Errors
    /// It is not the next of [`Writer::data`].
    pub fn begin_data(&mut self, id: DumpId) -> Result<()> {
        let bytes = match &mut self.form {
            Form::Custom(custom) => custom.begin_data(id)?,
            Form::Plain(plain, _) => plain.begin_data(id)?,
        };
        self.put(bytes)
    }

    /// Starts one large object of the entry.
    ///
    /// # Errors
    /// No entry of large objects is being written.
    pub fn begin_object(&mut self, oid: u32) -> Result<()> {
        let bytes = match &mut self.form {
            Form::Custom(custom) => custom.begin_object(oid)?,
            Form::Plain(plain, _) => plain.begin_object(oid),
        };
        self.put(bytes)
    }

    /// Appends bytes that were compressed with [`Writer::codec`].
    ///
    /// # Errors
    /// Nothing was begun, or the chunk is too large for the format.
    pub fn chunk(&mut self, bytes: Bytes) -> Result<()> {
        match &mut self.form {
            Form::Custom(custom) => {
                let frame = custom.chunk(&bytes)?;
                self.put(frame)?;
                self.put(bytes)
            }
            Form::Plain(plain, _) => {
                let text = plain.chunk(bytes);
                self.put(text)
            }
        }
    }

    /// Ends a segment of compressed chunks.
    pub fn end_segment(&mut self, end: &SegmentEnd) {
        match &mut self.form {
            Form::Custom(custom) => custom.end_segment(end),
            Form::Plain(..) => {}
        }
    }

    /// Ends a large object.
    ///
    /// # Errors
    /// None was begun.
    pub fn end_object(&mut self) -> Result<()> {
        let bytes = match &mut self.form {
            Form::Custom(custom) => custom.end_object()?,
            Form::Plain(plain, _) => plain.end_object(),
        };
        self.put(bytes)
    }

    /// Ends the rows or large objects of an entry.
    ///
    /// # Errors
    /// None were begun.
    pub fn end_data(&mut self) -> Result<()> {
        let bytes = match &mut self.form {
            Form::Custom(custom) => custom.end_data()?,
            Form::Plain(plain, _) => plain.end_data()?,
        };
        self.put(bytes)
    }

    /// Ends the archive.
    ///
    /// # Errors
    /// Rows are missing.
    pub fn finish(&mut self, now: NaiveDateTime) -> Result<()> {
        match &mut self.form {
            Form::Custom(custom) => custom.finish()?,
            Form::Plain(plain, _) => {
                let text = plain.finish(now)?;
                self.put(text)?;
            }
        }
        if let Form::Plain(_, compressor) = &mut self.form
            && let Some((compressor, mut joiner)) = compressor.take()
        {
            let (rest, end) = compressor.finish()?;
            joiner.add(&end);
            self.queue
                .extend(rest.into_iter().chain(joiner.trailer()).map(Output::Bytes));
        }
        Ok(())
    }

    /// What the start of the archive must be replaced by now that all offsets are known; empty when
    /// nothing changes. Where that is not possible (a pipe), the archive is readable all the same, from its
    /// start to its end.
    #[must_use]
    pub fn head(&self) -> Bytes {
        match &self.form {
            Form::Custom(custom) => custom.head(&self.header),
            Form::Plain(..) => Bytes::new(),
        }
    }

    fn put(&mut self, bytes: Bytes) -> Result<()> {
        let bytes = match &mut self.form {
            Form::Plain(_, Some((compressor, _))) => compressor.push(&bytes)?.unwrap_or_default(),
            _ => bytes,
        };
        if !bytes.is_empty() {
            self.queue.push_back(Output::Bytes(bytes));
        }
        Ok(())
    }
}

/// A compressor for text as a whole, which is a file that the usual tools can unpack.
fn text_compressor(compression: Compression) -> Result<Option<(SegmentCompressor, Joiner)>> {
    if compression == Compression::NONE {
        return Ok(None);
    }
    let codec = Codec {
        compression,
        frame: Frame::Gzip,
    };
    Ok(Some((SegmentCompressor::new(&codec)?, Joiner::new(codec))))
}
