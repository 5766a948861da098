//! Writing the tar format. A tar file says how long a file is before the file, so each goes to a temporary
//! file first, as in pg_dump.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::sync::Arc;

use anyhow::Context as _;
use bytes::Bytes;

use super::{file_name, header, padding, script};
use crate::archive::Header;
use crate::archive::directory::{self, TOC};
use crate::archive::options::RestoreOptions;
use crate::archive::output::Output;
use crate::archive::toc::{DumpId, Entry};
use crate::error::Result;
use crate::seal::{Codec, SegmentEnd};
use crate::sql::quote::Quote;

/// What stays in memory of one file.
const IN_MEMORY: usize = 1 << 20;
const STEP: usize = 256 << 10;

/// Bytes of the tar format, call by call. See [`crate::archive::writer`] for the order of calls.
pub struct Writer {
    files: directory::Writer,
    options: RestoreOptions,
    quote: Quote,
    member: Option<Member>,
    time: i64,
    notes: Vec<String>,
}

/// A file that is being collected.
struct Member {
    name: String,
    memory: Vec<u8>,
    spill: Option<File>,
    len: u64,
}

/// The bytes of a file that was too large for memory.
pub struct Spooled {
    file: File,
    left: u64,
}

impl Spooled {
    /// The next bytes; none at the end.
    ///
    /// # Errors
    /// Reading the temporary file fails.
    pub fn read(&mut self) -> Result<Option<Bytes>> {
        let mut bytes = vec![0; STEP.min(usize::try_from(self.left)?)];
        self.file.read_exact(&mut bytes).context("reading a temporary file")?;
        self.left -= bytes.len() as u64;
        Ok((!bytes.is_empty()).then(|| bytes.into()))
    }
}

/// Output that waits to be taken.
pub(in crate::archive) enum Pending {
    /// To hand out as it is.
    Ready(Output),
    /// To read back from a temporary file.
    Spooled(Spooled),
}

impl From<Output> for Pending {
    fn from(output: Output) -> Self {
        Pending::Ready(output)
    }
}

type Queue = VecDeque<Pending>;

impl Writer {
    /// A writer of `entries`, all of which it keeps.
    #[must_use]
    pub fn new(entries: Arc<Vec<Entry>>, options: RestoreOptions, quote: Quote) -> Self {
        Writer {
            files: directory::Writer::new(entries, Codec::NONE),
            options,
            quote,
            member: None,
            time: 0,
            notes: Vec::new(),
        }
    }

    /// The entries that have data, in order.
    #[must_use]
    pub fn data(&self) -> Vec<DumpId> {
        self.files.data()
    }

    /// Starts the archive: its table of contents is the first file.
    pub(in crate::archive) fn begin(&mut self, header: &Header, out: &mut Queue) {
        self.time = header.created.and_utc().timestamp();
        let toc = self.files.toc(header, file_name);
        self.put_whole(TOC, toc, out);
    }

    /// Does `call` on the files, and collects what it makes.
    ///
    /// # Errors
    /// Those of `call`; or a temporary file cannot be written.
    pub(in crate::archive) fn run(
        &mut self,
        call: impl FnOnce(&mut directory::Writer, &mut VecDeque<Output>) -> Result<()>,
        out: &mut Queue,
    ) -> Result<()> {
        let mut made = VecDeque::new();
        call(&mut self.files, &mut made)?;
        for output in made {
            match output {
                Output::File(name) => {
                    self.end_member(out)?;
                    self.member = Some(Member {
                        name,
                        memory: Vec::new(),
                        spill: None,
                        len: 0,
                    });
                }
                Output::Bytes(bytes) => {
                    let member = self.member.as_mut().context("bytes before the first file")?;
                    member.write(&bytes)?;
                }
            }
        }
        Ok(())
    }

    /// Takes what `pg_dump -v` says of the script.
    pub fn notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }

    /// Ends a segment of the stream.
    pub fn end_segment(&mut self, end: &SegmentEnd) {
        self.files.end_segment(end);
    }

    /// Ends the archive with the script and two empty blocks.
    ///
    /// # Errors
    /// Data is missing.
    pub(in crate::archive) fn finish(&mut self, header: &Header, out: &mut Queue) -> Result<()> {
        self.files.check_complete()?;
        self.end_member(out)?;
        let (script, notes) = script::text(header, self.files.entries(), &self.options, self.quote)?;
        self.notes = notes;
        self.put_whole(script::NAME, script.into(), out);
        out.push_back(Pending::Ready(Output::Bytes(vec![0; 1024].into())));
        Ok(())
    }

    fn put_whole(&self, name: &str, bytes: Bytes, out: &mut Queue) {
        let len = bytes.len() as u64;
        let start = Bytes::copy_from_slice(&header::encode(name, len, self.time));
        let end = Bytes::from(vec![0; usize::try_from(padding(len)).unwrap_or(0)]);
        let filled = [start, bytes, end].into_iter().filter(|bytes| !bytes.is_empty());
        out.extend(filled.map(|bytes| Pending::Ready(Output::Bytes(bytes))));
    }

    fn end_member(&mut self, out: &mut Queue) -> Result<()> {
        let Some(member) = self.member.take() else {
            return Ok(());
        };
        let Some(mut file) = member.spill else {
            self.put_whole(&member.name, member.memory.into(), out);
            return Ok(());
        };
        file.write_all(&member.memory).context("writing a temporary file")?;
        file.rewind().context("reading a temporary file")?;
        let start = header::encode(&member.name, member.len, self.time);
        out.push_back(Pending::Ready(Output::Bytes(Bytes::copy_from_slice(&start))));
        let left = member.len;
        out.push_back(Pending::Spooled(Spooled { file, left }));
        let padding = usize::try_from(padding(left))?;
        if padding > 0 {
            out.push_back(Pending::Ready(Output::Bytes(vec![0; padding].into())));
        }
        Ok(())
    }
}

impl Member {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.len += bytes.len() as u64;
        self.memory.extend_from_slice(bytes);
        if self.memory.len() < IN_MEMORY {
            return Ok(());
        }
        if self.spill.is_none() {
            self.spill = Some(tempfile::tempfile().context("creating a temporary file")?);
        }
        if let Some(file) = &mut self.spill {
            file.write_all(&self.memory).context("writing a temporary file")?;
            self.memory.clear();
        }
        Ok(())
    }
}
