//! One segment of a stream, compressed apart from the others.
//!
//! Segments of one table are read and compressed on several threads; [`super::Joiner`] makes one stream of
//! them. So a DEFLATE segment ends on a byte boundary and refers to nothing before itself, and a zstd or
//! LZ4 segment is a frame of its own.

use std::io::Write as _;

use anyhow::Context as _;
use bytes::Bytes;
use flate2::{Compress, Crc, FlushCompress, Status};
use lz4_flex::frame::{BlockSize, FrameEncoder, FrameInfo};
use zstd::bulk::Compressor;
use zstd::stream::raw::{CParameter, Encoder, InBuffer, Operation as _, OutBuffer};

use super::chunks::{CHUNK, Chunks};
use super::compression::{Algorithm, Codec, Compression, Frame};
use crate::error::Result;

/// What a [`super::Joiner`] must know of a segment that ended.
#[derive(Debug)]
pub struct SegmentEnd {
    /// Uncompressed length.
    pub len: u64,
    pub(super) check: Check,
}

/// The checksum of a segment's uncompressed bytes, of the kind that its frame wants.
#[derive(Debug)]
pub(super) enum Check {
    None,
    Adler32(u32),
    Crc32(Crc),
}

/// Compresses one segment after the other.
pub struct SegmentCompressor {
    method: Method,
    /// What was compressed; the first `taken` bytes were handed out.
    out: Vec<u8>,
    taken: usize,
    len: u64,
    has_zlib_header: bool,
    chunks: Chunks,
}

enum Method {
    None,
    Zlib(Compress),
    Gzip(Compress, Crc),
    Lz4(Box<FrameEncoder<Vec<u8>>>),
    Zstd(Encoder<'static>),
}

/// zlib's header is two bytes; it belongs to the whole stream, so the joiner writes it.
const ZLIB_HEADER: usize = 2;

impl SegmentCompressor {
    /// Starts a segment, whose bytes are handed out in buffers of `chunks`.
    ///
    /// # Errors
    /// The zstd library refuses a parameter or has no memory.
    pub fn new(codec: &Codec, chunks: &Chunks) -> Result<Self> {
        let compression = &codec.compression;
        let method = match (compression.algorithm, codec.frame) {
            (Algorithm::None, _) => Method::None,
            (Algorithm::Gzip, Frame::Zlib) => Method::Zlib(Compress::new(level(compression), true)),
            (Algorithm::Gzip, Frame::Gzip) => Method::Gzip(Compress::new(level(compression), false), Crc::new()),
            (Algorithm::Lz4, _) => Method::Lz4(Box::new(lz4_encoder())),
            (Algorithm::Zstd, _) => Method::Zstd(zstd_encoder(compression)?),
        };
        Ok(SegmentCompressor {
            has_zlib_header: matches!(method, Method::Zlib(_)),
            method,
            out: Vec::new(),
            taken: 0,
            len: 0,
            chunks: chunks.clone(),
        })
    }

    /// Compresses `bytes`; [`SegmentCompressor::chunk`] has what is ready then.
    ///
    /// # Errors
    /// The library fails, which it does only without memory.
    pub fn push(&mut self, bytes: &[u8]) -> Result<()> {
        self.len += bytes.len() as u64;
        match &mut self.method {
            Method::None => self.out.extend_from_slice(bytes),
            Method::Zlib(deflate) => run_deflate(deflate, bytes, &mut self.out, FlushCompress::None)?,
            Method::Gzip(deflate, crc) => {
                crc.update(bytes);
                run_deflate(deflate, bytes, &mut self.out, FlushCompress::None)?;
            }
            Method::Lz4(encoder) => {
                encoder.write_all(bytes)?;
                self.out.append(encoder.get_mut());
            }
            Method::Zstd(encoder) => run_zstd(encoder, bytes, &mut self.out)?,
        }
        self.drop_header();
        Ok(())
    }

    /// The next chunk that is full.
    pub fn chunk(&mut self) -> Option<Bytes> {
        let Some(full) = self.out.get(self.taken..self.taken + CHUNK) else {
            // What is left moves once for all that went, not once for each: there may be much of both.
            self.out.drain(..std::mem::take(&mut self.taken));
            return None;
        };
        self.taken += CHUNK;
        Some(self.chunks.copy(full))
    }

    /// Compresses a segment that is all there.
    ///
    /// # Errors
    /// As [`SegmentCompressor::push`].
    pub fn whole(segment: &[u8], codec: &Codec, chunks: &Chunks) -> Result<(Vec<Bytes>, SegmentEnd)> {
        if codec.compression.algorithm == Algorithm::Zstd {
            let check = Check::None;
            let len = segment.len() as u64;
            return Ok((
                whole_zstd(segment, &codec.compression, chunks)?,
                SegmentEnd { len, check },
            ));
        }
        let mut compressor = SegmentCompressor::new(codec, chunks)?;
        let mut done = Vec::new();
        // In pieces, so that what is compressed moves on into the buffers that go round.
        for piece in segment.chunks(256 << 10) {
            compressor.push(piece)?;
            done.extend(std::iter::from_fn(|| compressor.chunk()));
        }
        let (rest, end) = compressor.finish()?;
        done.extend(rest);
        Ok((done, end))
    }

    fn drop_header(&mut self) {
        if self.has_zlib_header && self.out.len() >= ZLIB_HEADER {
            self.out.drain(..ZLIB_HEADER);
            self.has_zlib_header = false;
        }
    }

    /// Ends the segment: the last of its bytes, in chunks none of which is empty, and what joins it to the others. What is pushed
    /// then is of the next one: to start a compressor takes longer than to compress a small table.
    ///
    /// # Errors
    /// As [`SegmentCompressor::push`].
    pub fn finish(&mut self) -> Result<(Vec<Bytes>, SegmentEnd)> {
        let check = match &mut self.method {
            Method::None => Check::None,
            Method::Zlib(deflate) => {
                run_deflate(deflate, &[], &mut self.out, FlushCompress::Sync)?;
                // All bytes are out. What ending the stream adds is no part of the segment, but it ends with
                // the checksum, which the library has computed on the way.
                let mut end = Vec::with_capacity(64);
                run_deflate(deflate, &[], &mut end, FlushCompress::Finish)?;
                let adler = end.last_chunk().context("the compressor ended without a checksum")?;
                Check::Adler32(u32::from_be_bytes(*adler))
            }
            Method::Gzip(deflate, crc) => {
                run_deflate(deflate, &[], &mut self.out, FlushCompress::Sync)?;
                Check::Crc32(std::mem::take(crc))
            }
            Method::Lz4(encoder) => {
                encoder.try_finish().context("ending an LZ4 frame")?;
                self.out.append(encoder.get_mut());
                Check::None
            }
            Method::Zstd(encoder) => {
                end_zstd(encoder, &mut self.out)?;
                Check::None
            }
        };
        self.drop_header();
        let rest = self.out[self.taken..]
            .chunks(CHUNK)
            .map(|bytes| self.chunks.copy(bytes))
            .collect();
        let end = SegmentEnd { len: self.len, check };
        self.begin()?;
        Ok((rest, end))
    }

    /// Makes ready for the next segment, which refers to nothing of this one.
    fn begin(&mut self) -> Result<()> {
        match &mut self.method {
            Method::None => {}
            Method::Zlib(deflate) => {
                deflate.reset();
                self.has_zlib_header = true;
            }
            Method::Gzip(deflate, crc) => {
                deflate.reset();
                crc.reset();
            }
            Method::Lz4(encoder) => **encoder = lz4_encoder(),
            Method::Zstd(encoder) => encoder.reinit().context("starting zstd")?,
        }
        self.out.clear();
        (self.taken, self.len) = (0, 0);
        Ok(())
    }
}

fn level(compression: &Compression) -> flate2::Compression {
    match compression.level.map(u32::try_from) {
        Some(Ok(level)) => flate2::Compression::new(level.min(9)),
        // zlib-rs at 4 writes what zlib writes at its default of 6, no larger than zlib, in a sixth less time than at 6.
        _ => flate2::Compression::new(4),
    }
}

/// Runs the compressor until it has taken `input` and given what `flush` asks for.
fn run_deflate(deflate: &mut Compress, mut input: &[u8], out: &mut Vec<u8>, flush: FlushCompress) -> Result<()> {
    loop {
        out.reserve(input.len() / 2 + 4096);
        let before = deflate.total_in();
        let status = deflate.compress_vec(input, out, flush).context("compressing")?;
        let taken = usize::try_from(deflate.total_in() - before)?;
        input = &input[taken..];
        let has_room = out.len() < out.capacity();
        if input.is_empty() && (has_room || status == Status::StreamEnd) {
            return Ok(());
        }
    }
}

fn lz4_encoder() -> FrameEncoder<Vec<u8>> {
    let info = FrameInfo::new().block_size(BlockSize::Max256KB);
    FrameEncoder::with_frame_info(info, Vec::new())
}

fn zstd_encoder(compression: &Compression) -> Result<Encoder<'static>> {
    let mut encoder = Encoder::new(compression.level.unwrap_or(0)).context("starting zstd")?;
    if compression.long {
        encoder
            .set_parameter(CParameter::EnableLongDistanceMatching(true))
            .context("zstd's long-distance mode")?;
    }
    Ok(encoder)
}

/// The library copies nothing where it has all of a segment, and room for what becomes of it.
fn whole_zstd(segment: &[u8], compression: &Compression, chunks: &Chunks) -> Result<Vec<Bytes>> {
    let mut compressor = Compressor::new(compression.level.unwrap_or(0)).context("starting zstd")?;
    if compression.long {
        compressor
            .set_parameter(CParameter::EnableLongDistanceMatching(true))
            .context("zstd's long-distance mode")?;
    }
    let mut out = Vec::with_capacity(zstd::zstd_safe::compress_bound(segment.len()));
    compressor
        .compress_to_buffer(segment, &mut out)
        .context("compressing")?;
    Ok(out.chunks(CHUNK).map(|bytes| chunks.copy(bytes)).collect())
}

fn run_zstd(encoder: &mut Encoder<'static>, input: &[u8], out: &mut Vec<u8>) -> Result<()> {
    let mut input = InBuffer::around(input);
    while input.pos() < input.src.len() {
        let at = out.len();
        out.reserve(ZSTD_STEP);
        encoder
            .run(&mut input, &mut OutBuffer::around_pos(out, at))
            .context("compressing")?;
    }
    Ok(())
}

fn end_zstd(encoder: &mut Encoder<'static>, out: &mut Vec<u8>) -> Result<()> {
    loop {
        let at = out.len();
        out.reserve(ZSTD_STEP);
        let left = encoder
            .finish(&mut OutBuffer::around_pos(out, at), true)
            .context("ending a zstd frame")?;
        if left == 0 {
            return Ok(());
        }
    }
}

/// Room for one step of the zstd library, a little above a block.
const ZSTD_STEP: usize = 160 << 10;
