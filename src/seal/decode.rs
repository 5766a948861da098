//! Decompression, fed with whatever pieces a reader has.

use anyhow::{Context as _, bail, ensure};
use flate2::{Decompress, FlushDecompress, Status};
use zstd::stream::raw::{Decoder as ZstdDecoder, InBuffer, Operation as _, OutBuffer};

use super::compression::{Algorithm, Frame};
use super::lz4;
use crate::error::Result;

/// Decompressed bytes are handed out in pieces of at most this size, whatever the input expands to.
const PIECE: usize = 64 << 10;

/// Decompresses one stream.
pub struct Decoder {
    method: Method,
    /// Whether the stream may end here.
    complete: bool,
    piece: Vec<u8>,
}

enum Method {
    None,
    Deflate(Decompress, Frame),
    Lz4(lz4::Decoder),
    Zstd(ZstdDecoder<'static>),
}

/// Takes decompressed bytes; an error of its own ends the decompression.
pub type Sink<'a> = &'a mut dyn FnMut(&[u8]) -> Result<()>;

impl Decoder {
    /// A decoder for a stream of `algorithm`.
    ///
    /// # Errors
    /// The zstd library has no memory.
    pub fn new(algorithm: Algorithm, frame: Frame) -> Result<Self> {
        let method = match algorithm {
            Algorithm::None => Method::None,
            Algorithm::Gzip => Method::Deflate(inflater(frame), frame),
            Algorithm::Lz4 => Method::Lz4(lz4::Decoder::default()),
            Algorithm::Zstd => Method::Zstd(ZstdDecoder::new().context("starting zstd")?),
        };
        Ok(Decoder {
            method,
            complete: matches!(algorithm, Algorithm::None | Algorithm::Lz4 | Algorithm::Zstd),
            piece: Vec::new(),
        })
    }

    /// Decompresses `input` and hands the result to `sink`.
    ///
    /// # Errors
    /// The stream is damaged, or whatever `sink` says.
    pub fn push(&mut self, input: &[u8], sink: Sink) -> Result<()> {
        if input.is_empty() {
            return Ok(());
        }
        match &mut self.method {
            Method::None => sink(input),
            Method::Deflate(inflate, frame) => {
                push_deflate(inflate, *frame, input, &mut self.piece, &mut self.complete, sink)
            }
            Method::Lz4(decoder) => decoder.push(input, sink),
            Method::Zstd(decoder) => push_zstd(decoder, input, &mut self.piece, &mut self.complete, sink),
        }
    }

    /// Says that the stream ends here.
    ///
    /// # Errors
    /// It does not end here: bytes are missing.
    pub fn finish(&self) -> Result<()> {
        let complete = match &self.method {
            Method::Lz4(decoder) => decoder.is_complete(),
            _ => self.complete,
        };
        ensure!(complete, "the compressed data ends too early");
        Ok(())
    }
}

fn inflater(frame: Frame) -> Decompress {
    match frame {
        Frame::Zlib => Decompress::new(true),
        Frame::Gzip => Decompress::new_gzip(15),
    }
}

fn push_deflate(
    inflate: &mut Decompress,
    frame: Frame,
    mut input: &[u8],
    piece: &mut Vec<u8>,
    complete: &mut bool,
    sink: Sink,
) -> Result<()> {
    piece.resize(PIECE, 0);
    loop {
        if *complete {
            match frame {
                // gzip files may be several streams one after the other.
                Frame::Gzip if !input.is_empty() => *inflate = inflater(frame),
                Frame::Zlib if !input.is_empty() => bail!("bytes follow the end of the compressed data"),
                _ => return Ok(()),
            }
        }
        let (before_in, before_out) = (inflate.total_in(), inflate.total_out());
        let status = inflate
            .decompress(input, piece, FlushDecompress::None)
            .context("the compressed data is damaged")?;
        let taken = usize::try_from(inflate.total_in() - before_in)?;
        let made = usize::try_from(inflate.total_out() - before_out)?;
        input = &input[taken..];
        *complete = status == Status::StreamEnd;
        if made > 0 {
            sink(&piece[..made])?;
        }
        if input.is_empty() && made < piece.len() && !*complete {
            return Ok(());
        }
        ensure!(taken > 0 || made > 0 || *complete, "the compressed data is damaged");
    }
}

fn push_zstd(
    decoder: &mut ZstdDecoder<'static>,
    input: &[u8],
    piece: &mut Vec<u8>,
    complete: &mut bool,
    sink: Sink,
) -> Result<()> {
    piece.resize(PIECE, 0);
    let mut input = InBuffer::around(input);
    loop {
        let before = input.pos();
        let mut output = OutBuffer::around(piece.as_mut_slice());
        let hint = decoder
            .run(&mut input, &mut output)
            .context("the compressed data is damaged")?;
        let made = output.pos();
        // Nothing more is expected exactly between two frames.
        *complete = hint == 0;
        if made > 0 {
            sink(&piece[..made])?;
        }
        if input.pos() == input.src.len() && made < piece.len() {
            return Ok(());
        }
        ensure!(input.pos() > before || made > 0, "the compressed data is damaged");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(algorithm: Algorithm, input: &[u8]) -> Result<Vec<u8>> {
        let mut decoder = Decoder::new(algorithm, Frame::Zlib)?;
        let mut out = Vec::new();
        decoder.push(input, &mut |bytes| {
            out.extend_from_slice(bytes);
            Ok(())
        })?;
        decoder.finish()?;
        Ok(out)
    }

    #[test]
    fn damage_and_truncation_are_errors() {
        let compressors: [(Algorithm, Vec<u8>); 3] = [
            (Algorithm::Gzip, {
                let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
                std::io::Write::write_all(&mut encoder, b"hello hello hello").unwrap();
                encoder.finish().unwrap()
            }),
            (Algorithm::Zstd, zstd::bulk::compress(b"hello hello hello", 3).unwrap()),
            (Algorithm::Lz4, {
                let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
                std::io::Write::write_all(&mut encoder, b"hello hello hello").unwrap();
                encoder.finish().unwrap()
            }),
        ];
        for (algorithm, bytes) in compressors {
            assert_eq!(decode(algorithm, &bytes).unwrap(), b"hello hello hello");
            for len in 1..bytes.len() {
                assert!(decode(algorithm, &bytes[..len]).is_err(), "{algorithm:?} cut at {len}");
            }
            assert!(decode(algorithm, b"no compressed data at all").is_err());
        }
    }
}
