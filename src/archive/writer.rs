//! Writing an archive, whatever its format.
//!
//! [`Writer`] does no I/O (but for the tar format's temporary files). Each call may make output, which the holder takes with [`Writer::output`] until
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

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use chrono::NaiveDateTime;

use super::options::RestoreOptions;
use super::output::Output;
use super::required::required;
use super::tar::Pending;
use super::toc::{DumpId, Entry};
use super::{Format, Header, custom, directory, plain, tar};
use crate::error::{Exit, Fail, Result};
use crate::seal::{Chunks, Codec, Compression, Frame, Joiner, SegmentCompressor, SegmentEnd};
use crate::sql::quote::Quote;

/// An archive that is being written.
pub struct Writer {
    form: Form,
    header: Header,
    codec: Codec,
    queue: VecDeque<Pending>,
    notes: Notes,
}

/// What `pg_dump -v` says of the data of entries, when it begins and when it ends, and what there is to say now.
#[derive(Default)]
struct Notes {
    begun: HashMap<DumpId, String>,
    finished: HashMap<DumpId, String>,
    open: Option<DumpId>,
    now: Vec<String>,
}

enum Form {
    Custom(custom::Writer),
    Directory(directory::Writer),
    Tar(Box<tar::Writer>),
    Plain(Box<plain::Writer>, Option<Compressor>),
}

/// Compresses text as a whole.
struct Compressor {
    segment: SegmentCompressor,
    joiner: Joiner,
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
        let codec = codec(format, compression)?;
        let notes = match options.verbose {
            true => Notes::new(&entries, quote.major, options.finished_items),
            false => Notes::default(),
        };
        let form = match format {
            Format::Custom => Form::Custom(custom::Writer::new(kept(entries, options), codec)?),
            Format::Directory => Form::Directory(directory::Writer::new(kept(entries, options), codec)),
            Format::Tar => Form::Tar(Box::new(tar::Writer::new(
                kept(entries, options),
                options.clone(),
                quote,
            ))),
            Format::Plain => Form::Plain(
                Box::new(plain::Writer::new(entries.into(), options.clone(), quote)),
                Compressor::new(compression)?,
            ),
        };
        Ok(Writer {
            form,
            header,
            codec,
            queue: VecDeque::new(),
            notes,
        })
    }

    /// The entries whose rows or large objects must come, in this order.
    #[must_use]
    pub fn data(&self) -> Vec<DumpId> {
        match &self.form {
            Form::Custom(custom) => custom.data(),
            Form::Directory(directory) => directory.data(),
            Form::Tar(tar) => tar.data(),
            Form::Plain(plain, _) => plain.data().to_vec(),
        }
    }

    /// The entries, of the custom format.
    #[must_use]
    pub fn entries(&self) -> Option<Arc<Vec<Entry>>> {
        match &self.form {
            Form::Custom(custom) => Some(custom.entries()),
            _ => None,
        }
    }

    /// What `pg_dump -v` says of what was written since the last call; nothing without `verbose`.
    pub fn notes(&mut self) -> Vec<String> {
        self.take_plain_notes();
        std::mem::take(&mut self.notes.now)
    }

    fn take_plain_notes(&mut self) {
        match &mut self.form {
            Form::Plain(plain, _) => self.notes.now.append(&mut plain.notes()),
            Form::Tar(tar) => self.notes.now.append(&mut tar.notes()),
            Form::Custom(_) | Form::Directory(_) => {}
        }
    }

    /// How the chunks must be compressed.
    #[must_use]
    pub fn codec(&self) -> Codec {
        self.codec
    }

    /// Takes the next output; `None` until the next call makes some.
    ///
    /// # Errors
    /// A temporary file cannot be read.
    pub fn output(&mut self) -> Result<Option<Output>> {
        while let Some(pending) = self.queue.front_mut() {
            if let Pending::Spooled(file) = pending
                && let Some(bytes) = file.read()?
            {
                return Ok(Some(Output::Bytes(bytes)));
            }
            if let Some(Pending::Ready(output)) = self.queue.pop_front() {
                return Ok(Some(output));
            }
        }
        Ok(None)
    }

    /// Starts the archive.
    ///
    /// # Errors
    /// Compression fails.
    pub fn begin(&mut self) -> Result<()> {
        let bytes = match &mut self.form {
            Form::Custom(custom) => custom.begin(&self.header),
            // The table of contents of a folder is its last file.
            Form::Directory(_) => Bytes::new(),
            Form::Tar(tar) => {
                tar.begin(&self.header, &mut self.queue);
                Bytes::new()
            }
            Form::Plain(plain, compressor) => {
                let start = compressor.as_ref().and_then(|compressor| compressor.joiner.header());
                self.queue.extend(start.map(|bytes| Output::Bytes(bytes).into()));
                plain.begin(&self.header)
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
            _ => {
                self.in_files(|files, out| files.begin_data(id, out))?;
                Bytes::new()
            }
        };
        self.take_plain_notes();
        self.notes.now.extend(self.notes.begun.remove(&id));
        self.notes.open = Some(id);
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
            _ => return self.in_files(|files, out| files.begin_object(oid, out)),
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
            _ => self.in_files(|files, out| files.chunk(bytes, out)),
        }
    }

    /// Ends a segment of compressed chunks.
    pub fn end_segment(&mut self, end: &SegmentEnd) {
        match &mut self.form {
            Form::Custom(custom) => custom.end_segment(end),
            Form::Directory(directory) => directory.end_segment(end),
            Form::Tar(tar) => tar.end_segment(end),
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
            _ => return self.in_files(|files, out| files.end_object(out)),
        };
        self.put(bytes)
    }

    /// Ends the rows or large objects of an entry.
    ///
    /// # Errors
    /// None were begun.
    pub fn end_data(&mut self) -> Result<()> {
        let finished = self.notes.open.take().and_then(|id| self.notes.finished.remove(&id));
        self.notes.now.extend(finished);
        let bytes = match &mut self.form {
            Form::Custom(custom) => custom.end_data()?,
            Form::Plain(plain, _) => plain.end_data()?,
            _ => return self.in_files(directory::Writer::end_data),
        };
        self.put(bytes)
    }

    /// Ends the archive.
    ///
    /// # Errors
    /// Rows are missing.
    pub fn finish(&mut self, now: NaiveDateTime) -> Result<()> {
        match &mut self.form {
            Form::Custom(custom) => custom.finish(),
            Form::Directory(_) => {
                let header = self.header.clone();
                self.in_files(|files, out| files.finish(&header, out))
            }
            Form::Tar(tar) => tar.finish(&self.header, &mut self.queue),
            Form::Plain(plain, _) => {
                let text = plain.finish(now)?;
                self.put(text)?;
                self.end_compression()
            }
        }
    }

    /// What the start of the archive must be replaced by now that all offsets are known; empty when
    /// nothing changes. Where that is not possible (a pipe), the archive is readable all the same, from its
    /// start to its end.
    #[must_use]
    pub fn head(&self) -> Bytes {
        match &self.form {
            Form::Custom(custom) => custom.head(&self.header),
            _ => Bytes::new(),
        }
    }

    /// Does `call` on an archive of several files.
    fn in_files(
        &mut self,
        call: impl FnOnce(&mut directory::Writer, &mut VecDeque<Output>) -> Result<()>,
    ) -> Result<()> {
        match &mut self.form {
            Form::Directory(directory) => {
                let mut made = VecDeque::new();
                call(directory, &mut made)?;
                self.queue.extend(made.into_iter().map(Pending::from));
                Ok(())
            }
            Form::Tar(tar) => tar.run(call, &mut self.queue),
            Form::Custom(_) | Form::Plain(..) => Ok(()),
        }
    }

    fn put(&mut self, bytes: Bytes) -> Result<()> {
        if let Form::Plain(_, Some(compressor)) = &mut self.form {
            compressor.segment.push(&bytes)?;
            let chunks = std::iter::from_fn(|| compressor.segment.chunk());
            self.queue.extend(chunks.map(|chunk| Output::Bytes(chunk).into()));
        } else if !bytes.is_empty() {
            self.queue.push_back(Output::Bytes(bytes).into());
        }
        Ok(())
    }

    fn end_compression(&mut self) -> Result<()> {
        if let Form::Plain(_, compressor) = &mut self.form
            && let Some(Compressor {
                mut segment,
                mut joiner,
            }) = compressor.take()
        {
            let (rest, end) = segment.finish()?;
            joiner.add(&end);
            let last = rest.into_iter().chain(joiner.trailer());
            self.queue.extend(last.map(|bytes| Output::Bytes(bytes).into()));
        }
        Ok(())
    }
}

impl Notes {
    fn new(entries: &[Entry], major: u32, finished_items: bool) -> Self {
        let with_data = || entries.iter().filter(|entry| entry.has_data);
        let begun = |entry: &Entry| match entry.is_large_objects() {
            true if major >= 17 => Some(format!("saving large objects \"{}\"", entry.tag)),
            true => Some("saving large objects".to_owned()),
            // pg_dump is silent about rows that become INSERT.
            false if entry.copy_stmt.is_empty() => None,
            false => {
                let schema = entry.namespace.as_deref().unwrap_or_default();
                Some(format!("dumping contents of table \"{schema}.{}\"", entry.tag))
            }
        };
        let finished = |entry: &Entry| format!("finished item {} {} {}", entry.dump_id, entry.desc, entry.tag);
        let parallel = with_data().filter(|_| finished_items);
        Notes {
            begun: with_data()
                .filter_map(|entry| Some((entry.dump_id, begun(entry)?)))
                .collect(),
            finished: parallel.map(|entry| (entry.dump_id, finished(entry))).collect(),
            ..Notes::default()
        }
    }
}

/// How the data of each format is compressed.
fn codec(format: Format, compression: Compression) -> Result<Codec> {
    match format {
        Format::Custom => Ok(Codec {
            compression,
            frame: Frame::Zlib,
        }),
        Format::Directory => Ok(Codec {
            compression,
            frame: Frame::Gzip,
        }),
        // Plain text is compressed as a whole.
        Format::Plain => Ok(Codec::NONE),
        Format::Tar if compression == Compression::NONE => Ok(Codec::NONE),
        Format::Tar => Err(Fail::new(Exit::Usage, "compression is not supported by tar archive format").into()),
    }
}

/// The entries that an archive keeps: those that a restore under `options` could want. In place: there may be many.
fn kept(mut entries: Vec<Entry>, options: &RestoreOptions) -> Arc<Vec<Entry>> {
    let mut required = required(&entries, options).into_iter();
    entries.retain(|_| required.next().is_some_and(|it| it.wanted() || it.special));
    Arc::new(entries)
}

impl Compressor {
    /// A compressor for a file that the usual tools can unpack; `None` for no compression.
    fn new(compression: Compression) -> Result<Option<Self>> {
        if compression == Compression::NONE {
            return Ok(None);
        }
        let codec = Codec {
            compression,
            frame: Frame::Gzip,
        };
        Ok(Some(Compressor {
            segment: SegmentCompressor::new(&codec, &Chunks::default())?,
            joiner: Joiner::new(codec),
        }))
    }
}
