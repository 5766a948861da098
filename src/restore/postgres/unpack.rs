//! What people pack their dumps in, taken off before a restore: zip, tar, bzip2, xz, and gzip, zstd and lz4 around an archive;
//! and UTF-16, which PowerShell's `>` writes. What is unpacked goes to a file without a name in the folder of temporary
//! files, so that nothing is left of it whatever happens. Only an archive in directory format needs a folder there.

mod members;

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use encoding_rs::{DecoderResult, Encoding, UTF_16BE, UTF_16LE};
use tempfile::TempDir;
use tokio::runtime::Handle;

use crate::archive::source::Source;
use crate::error::{Exit, Fail, Result};

/// How many wrappings are taken off: more of them are no dump but a trap.
const LAYERS: usize = 5;

/// As much of a file as tells what it is.
const HEAD: usize = 1024;

/// How much is read at once.
const STEP: usize = 1 << 20;

/// What stays free in the folder of temporary files, in bytes.
const RESERVE: u64 = 256 << 20;

/// How much is written between two looks at what is free, in bytes.
const LOOK: u64 = 16 << 20;

/// What came out.
pub struct Unpacked {
    /// The dump.
    pub dump: Dump,
    /// What was taken off, the outermost first.
    pub layers: Vec<&'static str>,
}

/// A dump as it can be read.
pub enum Dump {
    /// One file.
    File(Source),
    /// An archive in directory format. The folder goes with this value.
    Folder(TempDir),
}

/// What a file is packed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Packing {
    Gzip,
    Zstd,
    Lz4,
    Bzip2,
    Xz,
    Zip,
    Tar,
    Utf16(&'static Encoding),
}

impl Packing {
    /// What a file that begins with `head` is packed in.
    fn of(head: &[u8]) -> Option<Packing> {
        let begins: [(&[u8], Packing); 8] = [
            (&[0x1F, 0x8B], Packing::Gzip),
            (&[0x28, 0xB5, 0x2F, 0xFD], Packing::Zstd),
            (&[0x04, 0x22, 0x4D, 0x18], Packing::Lz4),
            (b"BZh", Packing::Bzip2),
            (b"\xFD7zXZ\0", Packing::Xz),
            (b"PK\x03\x04", Packing::Zip),
            (&[0xFF, 0xFE], Packing::Utf16(UTF_16LE)),
            (&[0xFE, 0xFF], Packing::Utf16(UTF_16BE)),
        ];
        let found = begins.iter().find(|(magic, _)| head.starts_with(magic));
        let is_tar = || head.get(257..262) == Some(b"ustar") && !head.starts_with(b"toc.dat\0");
        found.map(|(_, packing)| *packing).or(is_tar().then_some(Packing::Tar))
    }

    fn name(self) -> &'static str {
        match self {
            Packing::Gzip => "gzip",
            Packing::Zstd => "zstd",
            Packing::Lz4 => "lz4",
            Packing::Bzip2 => "bzip2",
            Packing::Xz => "xz",
            Packing::Zip => "zip",
            Packing::Tar => "tar",
            Packing::Utf16(_) => "UTF-16",
        }
    }
}

/// Takes off what `source` is packed in. Of several files in it `member` is taken. Plain SQL in gzip, zstd or lz4 stays as it
/// is: it is read packed.
///
/// # Errors
/// It is damaged, packed too often, or too large for the folder of temporary files; it holds no dump, or several and no
/// `member` is named.
pub async fn unpack(source: Source, name: &str, member: Option<&str>) -> Result<Unpacked> {
    let (handle, file) = (Handle::current(), name.to_owned());
    let member = member.map(str::to_owned);
    let work = move || {
        Unpacking {
            handle,
            file,
            member,
            layers: Vec::new(),
        }
        .run(source)
    };
    tokio::task::spawn_blocking(work).await?
}

struct Unpacking {
    handle: Handle,
    file: String,
    member: Option<String>,
    layers: Vec<&'static str>,
}

impl Unpacking {
    fn run(mut self, mut source: Source) -> Result<Unpacked> {
        loop {
            let head = head(&mut self.reader(&source)).with_context(|| self.file.clone())?;
            let Some(packing) = Packing::of(&head).filter(|packing| self.must_go(*packing, &source)) else {
                return self.end(Dump::File(source));
            };
            self.layers.push(packing.name());
            if self.layers.len() > LAYERS {
                return Err(self.damaged("it is packed more than five times"));
            }
            let folder = std::env::temp_dir();
            source = match packing {
                Packing::Zip => match members::of_zip(&self, self.reader(&source))? {
                    Dump::File(source) => source,
                    folder @ Dump::Folder(_) => return self.end(folder),
                },
                Packing::Tar => match members::of_tar(&self, self.reader(&source))? {
                    Dump::File(source) => source,
                    folder @ Dump::Folder(_) => return self.end(folder),
                },
                Packing::Utf16(encoding) => self.spool(&folder, |out| recode(self.reader(&source), encoding, out))?,
                packing => self.spool(&folder, |out| copy(&mut decoder(packing, self.reader(&source))?, out))?,
            };
        }
    }

    /// Whether the packing keeps the dump from being read. Text that is packed by gzip, zstd or lz4 is read as it is.
    fn must_go(&self, packing: Packing, source: &Source) -> bool {
        match packing {
            Packing::Gzip | Packing::Zstd | Packing::Lz4 => {
                let inside = decoder(packing, self.reader(source)).and_then(|mut inside| Ok(head(&mut inside)?));
                // What is damaged is told by whoever reads it.
                inside.is_ok_and(|head| {
                    head.starts_with(b"PGDMP") || head.starts_with(b"toc.dat\0") || Packing::of(&head).is_some()
                })
            }
            _ => true,
        }
    }

    fn end(self, dump: Dump) -> Result<Unpacked> {
        Ok(Unpacked {
            dump,
            layers: self.layers,
        })
    }

    fn reader(&self, source: &Source) -> SourceReader {
        let inner = Positioned {
            source: source.clone(),
            handle: self.handle.clone(),
            at: 0,
        };
        BufReader::with_capacity(STEP, inner)
    }

    /// What `write` writes, in a file without a name.
    fn spool(&self, folder: &Path, write: impl FnOnce(&mut Bounded) -> Result<()>) -> Result<Source> {
        let file = tempfile::tempfile_in(folder).with_context(|| format!("unpacking into {}", folder.display()))?;
        let mut out = Bounded::new(file, folder);
        write(&mut out).map_err(|error| self.explain(error))?;
        Ok(Source::opened(out.file)?)
    }

    fn explain(&self, error: anyhow::Error) -> anyhow::Error {
        match error.downcast::<Fail>() {
            Ok(fail) => fail.into(),
            Err(error) => self.damaged(&format!("it is damaged or cut: {error:#}")),
        }
    }

    fn damaged(&self, why: &str) -> anyhow::Error {
        let message = format!("{} cannot be unpacked: {why}", self.file);
        Fail::new(Exit::Damaged, message)
            .hint("look for another copy of the file, or unpack it by hand to see what is in it")
            .into()
    }
}

type SourceReader = BufReader<Positioned>;

/// Reads a source from any position, on a thread that may wait.
struct Positioned {
    source: Source,
    handle: Handle,
    at: u64,
}

impl Read for Positioned {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let end = self.source.len().min(self.at.saturating_add(out.len() as u64));
        if end <= self.at {
            return Ok(0);
        }
        let read = self.handle.block_on(self.source.read(self.at..end));
        let bytes = read.map_err(|error| io::Error::other(format!("{error:#}")))?;
        let read = bytes.len().min(out.len());
        out[..read].copy_from_slice(&bytes[..read]);
        self.at += read as u64;
        Ok(read)
    }
}

impl Seek for Positioned {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(from) => self.source.len().checked_add_signed(from),
            SeekFrom::Current(from) => self.at.checked_add_signed(from),
        };
        self.at = target.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.at)
    }
}

/// A file that grows until its folder is nearly full: what a few bytes unpack to may be more than there is room for.
pub(super) struct Bounded {
    file: File,
    folder: PathBuf,
    written: u64,
    looked: u64,
}

impl Bounded {
    pub(super) fn new(file: File, folder: &Path) -> Self {
        Bounded {
            file,
            folder: folder.to_owned(),
            written: 0,
            looked: 0,
        }
    }

    fn add(&mut self, bytes: &[u8]) -> Result<()> {
        if self.written == 0 || self.written - self.looked >= LOOK {
            self.looked = self.written;
            let room = rustix::fs::statvfs(&self.folder).context("asking what is free")?;
            if room.f_bavail.saturating_mul(room.f_frsize) < RESERVE {
                return Err(self.full());
            }
        }
        self.file.write_all(bytes).map_err(|error| match error.kind() {
            io::ErrorKind::StorageFull => self.full(),
            _ => error.into(),
        })?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    fn full(&self) -> anyhow::Error {
        let message = format!(
            "there is no room to unpack it in {}: {} were written",
            self.folder.display(),
            indicatif::HumanBytes(self.written)
        );
        Fail::new(Exit::Failure, message)
            .hint("set TMPDIR to a folder with more room; a small file that unpacks to very much may be a trap")
            .into()
    }
}

/// The first bytes.
fn head(from: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(HEAD);
    from.take(HEAD as u64).read_to_end(&mut head)?;
    Ok(head)
}

fn decoder(packing: Packing, from: SourceReader) -> Result<Box<dyn Read>> {
    Ok(match packing {
        Packing::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(from)),
        Packing::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(from)?),
        Packing::Lz4 => Box::new(lz4_flex::frame::FrameDecoder::new(from)),
        Packing::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(from)),
        Packing::Xz => Box::new(liblzma::bufread::XzDecoder::new_multi_decoder(from)),
        Packing::Zip | Packing::Tar | Packing::Utf16(_) => anyhow::bail!("{} is no compression", packing.name()),
    })
}

/// Copies all that is left of `from`.
pub(super) fn copy(from: &mut impl Read, out: &mut Bounded) -> Result<()> {
    let mut bytes = vec![0; STEP];
    loop {
        match from.read(&mut bytes)? {
            0 => return Ok(()),
            read => out.add(&bytes[..read])?,
        }
    }
}

/// Turns UTF-16 into UTF-8. Who writes UTF-16 ends lines by two characters; pg_dump ends them by one.
fn recode(mut from: SourceReader, encoding: &'static Encoding, out: &mut Bounded) -> Result<()> {
    let mut decoder = encoding.new_decoder_with_bom_removal();
    let (mut bytes, mut text) = (vec![0; STEP], String::with_capacity(3 * STEP + 64));
    let mut returned = false;
    loop {
        let read = from.read(&mut bytes)?;
        let (result, _) = decoder.decode_to_string_without_replacement(&bytes[..read], &mut text, read == 0);
        anyhow::ensure!(result == DecoderResult::InputEmpty, "it is not UTF-16 throughout");
        // A line's end may be cut in two.
        let whole = if returned { format!("\r{text}") } else { text.clone() };
        returned = read > 0 && whole.ends_with('\r');
        let whole = whole.strip_suffix('\r').filter(|_| returned).unwrap_or(&whole);
        out.add(whole.replace("\r\n", "\n").as_bytes())?;
        text.clear();
        if read == 0 {
            return Ok(());
        }
    }
}
