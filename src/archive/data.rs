//! The data of one entry, read piece by piece: decompressed on demand, never held as a whole.

use std::path::PathBuf;

use anyhow::{Context as _, bail, ensure};
use bytes::{Buf as _, Bytes};

use super::custom::read::{BlockCursor, BlockKind};
use super::source::{Cursor, Source};
use super::toc::DumpId;
use crate::error::Result;
use crate::seal::{Algorithm, Decoder, Frame};

/// How much compressed data is read in one go.
const STEP: u64 = 64 << 10;

/// Decompressed bytes of one stream.
struct Stream {
    decoder: Decoder,
    /// Compressed bytes that were not taken yet.
    input: Bytes,
    /// There may be more output without more input.
    more: bool,
    read_any: bool,
    ended: bool,
}

impl Stream {
    fn new(algorithm: Algorithm, frame: Frame) -> Result<Self> {
        Ok(Stream {
            decoder: Decoder::new(algorithm, frame)?,
            input: Bytes::new(),
            more: false,
            read_any: false,
            ended: false,
        })
    }

    /// The same for another stream, with what this one has allocated.
    fn again(self) -> Result<Self> {
        Ok(Stream {
            decoder: self.decoder.again()?,
            input: Bytes::new(),
            more: false,
            read_any: false,
            ended: false,
        })
    }

    /// Decompresses a piece of the input; empty when more input is needed.
    fn step(&mut self) -> Result<Bytes> {
        let mut out = Vec::new();
        while out.is_empty() && (self.more || !self.input.is_empty()) {
            let step = self.decoder.step(&self.input, &mut out)?;
            self.input.advance(step.taken);
            self.more = step.more;
        }
        // The end of a stream may be little in much room.
        Ok(match out.len() < out.capacity() / 4 {
            true => Bytes::copy_from_slice(&out),
            false => out.into(),
        })
    }

    fn end(&mut self) -> Result<()> {
        self.ended = true;
        // A stream without a byte is what no compression makes of nothing.
        if self.read_any { self.decoder.finish() } else { Ok(()) }
    }
}

/// The rows of an entry, as they would follow its COPY statement: `\.` and three line feeds included.
pub struct Rows {
    pieces: Pieces,
    stream: Stream,
}

/// Where compressed bytes come from.
enum Pieces {
    /// Chunks of a block; how much of the current one is left.
    Chunks { block: BlockCursor, left: u64 },
    /// All bytes of a file.
    Whole(Cursor),
}

impl Pieces {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        let bytes = match self {
            Pieces::Whole(cursor) => cursor.some(STEP).await?,
            Pieces::Chunks { block, left } => {
                if *left == 0 {
                    match block.chunk().await? {
                        Some(len) => *left = len,
                        None => return Ok(None),
                    }
                }
                let bytes = block.bytes().some((*left).min(STEP)).await?;
                ensure!(!bytes.is_empty(), "the archive ends too early");
                *left -= bytes.len() as u64;
                bytes
            }
        };
        Ok((!bytes.is_empty()).then_some(bytes))
    }
}

impl Rows {
    /// The rows in the block of `id` at `at`.
    pub(super) async fn custom(
        source: Source,
        at: u64,
        id: DumpId,
        int_size: u8,
        algorithm: Algorithm,
    ) -> Result<Self> {
        let block = open_block(source, at, id, int_size, BlockKind::Rows).await?;
        Ok(Rows {
            pieces: Pieces::Chunks { block, left: 0 },
            stream: Stream::new(algorithm, Frame::Zlib)?,
        })
    }

    /// The rows that are all of a file.
    pub(super) fn file(file: DataFile) -> Result<Self> {
        Ok(Rows {
            pieces: Pieces::Whole(Cursor::new(file.source, file.range)),
            stream: Stream::new(file.algorithm, Frame::Gzip)?,
        })
    }

    /// The next piece; `None` at the end.
    ///
    /// # Errors
    /// The archive is damaged or cut, or reading fails.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            let bytes = self.stream.step()?;
            if !bytes.is_empty() {
                return Ok(Some(bytes));
            }
            if self.stream.ended {
                return Ok(None);
            }
            match self.pieces.next().await? {
                Some(input) => {
                    self.stream.read_any = true;
                    self.stream.input = input;
                }
                None => self.stream.end()?,
            }
        }
    }
}

/// One file of a directory or tar archive.
pub(super) struct DataFile {
    pub source: Source,
    pub range: std::ops::Range<u64>,
    pub algorithm: Algorithm,
}

/// The large objects of an entry, one after the other.
pub struct LargeObjects {
    from: Objects,
    /// Bytes of the current object, unless they come from its block.
    current: Option<Rows>,
}

enum Objects {
    Block {
        block: Option<BlockCursor>,
        algorithm: Algorithm,
    },
    Files(std::vec::IntoIter<(u32, ObjectFile)>),
}

/// Where a large object of its own file is.
pub(super) enum ObjectFile {
    /// In a folder.
    Path(PathBuf),
    /// In a tar file.
    Member(Source, std::ops::Range<u64>),
}

impl LargeObjects {
    /// Those in the block of `id` at `at`.
    pub(super) async fn custom(
        source: Source,
        at: u64,
        id: DumpId,
        int_size: u8,
        algorithm: Algorithm,
    ) -> Result<Self> {
        let block = open_block(source, at, id, int_size, BlockKind::LargeObjects).await?;
        Ok(LargeObjects {
            from: Objects::Block {
                block: Some(block),
                algorithm,
            },
            current: None,
        })
    }

    /// Those that have a file each.
    pub(super) fn files(files: Vec<(u32, ObjectFile)>) -> Self {
        LargeObjects {
            from: Objects::Files(files.into_iter()),
            current: None,
        }
    }

    /// Goes on to the next large object and returns its OID; what was not read of the last is passed over.
    ///
    /// # Errors
    /// The archive is damaged or cut, or reading fails.
    pub async fn next_object(&mut self) -> Result<Option<u32>> {
        while self.next().await?.is_some() {}
        let last = self.current.take();
        match &mut self.from {
            Objects::Files(files) => {
                let Some((oid, file)) = files.next() else {
                    return Ok(None);
                };
                let file = match file {
                    ObjectFile::Path(path) => super::directory::data_file(&path)?,
                    ObjectFile::Member(source, range) => DataFile {
                        source,
                        range,
                        algorithm: Algorithm::None,
                    },
                };
                self.current = Some(Rows::file(file)?);
                Ok(Some(oid))
            }
            Objects::Block { block, algorithm } => {
                let mut used = None;
                if let Some(Rows {
                    pieces: Pieces::Chunks { block: back, .. },
                    stream,
                }) = last
                {
                    *block = Some(back);
                    used = Some(stream);
                }
                let Some(mut cursor) = block.take() else {
                    return Ok(None);
                };
                let Some(oid) = cursor.object().await? else {
                    return Ok(None);
                };
                let stream = match used {
                    Some(used) => used.again()?,
                    None => Stream::new(*algorithm, Frame::Zlib)?,
                };
                self.current = Some(Rows {
                    pieces: Pieces::Chunks { block: cursor, left: 0 },
                    stream,
                });
                Ok(Some(oid))
            }
        }
    }

    /// The next piece of the large object; `None` at its end.
    ///
    /// # Errors
    /// The archive is damaged or cut, or reading fails.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        match &mut self.current {
            Some(rows) => rows.next().await,
            None => Ok(None),
        }
    }
}

async fn open_block(source: Source, at: u64, id: DumpId, int_size: u8, kind: BlockKind) -> Result<BlockCursor> {
    let end = source.len();
    let mut block = BlockCursor::new(source, at..end, int_size);
    let found = block
        .block()
        .await
        .with_context(|| format!("reading the data of entry {id}"))?;
    if found != (kind, id) {
        bail!("the archive is damaged: the data of entry {id} is not where it should be");
    }
    Ok(block)
}
