//! Decompression, fed with whatever pieces a reader has.

use anyhow::{Context as _, bail, ensure};
use flate2::{Decompress, FlushDecompress, Status};
use zstd::stream::raw::{Decoder as ZstdDecoder, InBuffer, Operation as _, OutBuffer};

use super::compression::{Algorithm, Frame};
use super::lz4;
use crate::error::Result;

/// How much one step makes, about.
const PIECE: usize = 64 << 10;

/// Decompresses one stream, step by step: so what a few bytes expand to is never held as a whole.
pub struct Decoder {
    method: Method,
    /// Whether the stream may end here.
    complete: bool,
}

enum Method {
    None,
    Deflate(Inflate),
    Lz4(lz4::Decoder),
    Zstd(ZstdDecoder<'static>),
}

struct Inflate {
    state: Decompress,
    frame: Frame,
    /// Where a step puts its result first: the codec wants room that was written to before.
    room: Box<[u8]>,
}

/// What one step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// So many bytes of the input were taken.
    pub taken: usize,
    /// There may be more output without more input.
    pub more: bool,
}

impl Decoder {
    /// A decoder for a stream of `algorithm`.
    ///
    /// # Errors
    /// The zstd library has no memory.
    pub fn new(algorithm: Algorithm, frame: Frame) -> Result<Self> {
        let method = match algorithm {
            Algorithm::None => Method::None,
            Algorithm::Gzip => Method::Deflate(Inflate {
                state: inflater(frame),
                frame,
                room: vec![0; PIECE].into(),
            }),
            Algorithm::Lz4 => Method::Lz4(lz4::Decoder::default()),
            Algorithm::Zstd => Method::Zstd(ZstdDecoder::new().context("starting zstd")?),
        };
        Ok(Decoder {
            complete: !matches!(method, Method::Deflate(_)),
            method,
        })
    }

    /// The decoder again for another stream of the same algorithm.
    ///
    /// # Errors
    /// The zstd library has no memory.
    pub fn again(mut self) -> Result<Self> {
        match &mut self.method {
            Method::None => {}
            Method::Deflate(inflate) => inflate.restart(),
            Method::Lz4(decoder) => *decoder = lz4::Decoder::default(),
            Method::Zstd(decoder) => decoder.reinit().context("starting zstd")?,
        }
        self.complete = !matches!(self.method, Method::Deflate(_));
        Ok(self)
    }

    /// Decompresses some of `input` and appends the result to `out`: a `PIECE`, or an LZ4 block.
    ///
    /// # Errors
    /// The stream is damaged.
    pub fn step(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<Step> {
        match &mut self.method {
            Method::None => {
                let taken = input.len().min(PIECE);
                out.extend_from_slice(&input[..taken]);
                Ok(Step { taken, more: false })
            }
            Method::Deflate(inflate) => step_deflate(inflate, input, out, &mut self.complete),
            Method::Lz4(decoder) => {
                let taken = decoder.step(input, out)?;
                Ok(Step { taken, more: false })
            }
            Method::Zstd(decoder) => step_zstd(decoder, input, out, &mut self.complete),
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

impl Inflate {
    fn restart(&mut self) {
        match self.frame {
            Frame::Zlib => self.state.reset(true),
            // Only a new one expects the header of gzip.
            Frame::Gzip => self.state = inflater(self.frame),
        }
    }
}

fn step_deflate(inflate: &mut Inflate, input: &[u8], out: &mut Vec<u8>, complete: &mut bool) -> Result<Step> {
    if *complete {
        match inflate.frame {
            _ if input.is_empty() => return Ok(Step { taken: 0, more: false }),
            // gzip files may be several streams one after the other.
            Frame::Gzip => inflate.restart(),
            Frame::Zlib => bail!("bytes follow the end of the compressed data"),
        }
    }
    let Inflate { state, room, .. } = inflate;
    let (before_in, before_out) = (state.total_in(), state.total_out());
    let status = state
        .decompress(input, room, FlushDecompress::None)
        .context("the compressed data is damaged")?;
    let taken = usize::try_from(state.total_in() - before_in)?;
    let made = usize::try_from(state.total_out() - before_out)?;
    out.extend_from_slice(&room[..made]);
    *complete = status == Status::StreamEnd;
    let more = !*complete && made == room.len();
    let stuck = taken == 0 && made == 0 && !input.is_empty() && !*complete;
    ensure!(!stuck, "the compressed data is damaged");
    Ok(Step { taken, more })
}

fn step_zstd(decoder: &mut ZstdDecoder<'static>, input: &[u8], out: &mut Vec<u8>, complete: &mut bool) -> Result<Step> {
    if *complete && input.is_empty() {
        // The library would take this for the start of another frame.
        return Ok(Step { taken: 0, more: false });
    }
    out.reserve(PIECE);
    let mut input = InBuffer::around(input);
    let before = out.len();
    let mut output = OutBuffer::around_pos(out, before);
    let hint = decoder
        .run(&mut input, &mut output)
        .context("the compressed data is damaged")?;
    // Nothing more is expected exactly between two frames.
    *complete = hint == 0;
    let taken = input.pos();
    let stuck = taken == 0 && out.len() == before && !input.src.is_empty();
    ensure!(!stuck, "the compressed data is damaged");
    Ok(Step {
        taken,
        more: out.len() == out.capacity(),
    })
}

/// Decompresses a whole stream that is at hand.
///
/// # Errors
/// It is damaged, or does not end where the input does.
#[cfg(test)]
pub(super) fn decode(algorithm: Algorithm, frame: Frame, mut input: &[u8]) -> Result<Vec<u8>> {
    let mut decoder = Decoder::new(algorithm, frame)?;
    let mut out = Vec::new();
    let mut more = false;
    while more || !input.is_empty() {
        let step = decoder.step(&input[..input.len().min(1000)], &mut out)?;
        input = &input[step.taken..];
        more = step.more;
    }
    decoder.finish()?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_may_end_exactly_where_a_buffer_is_full() {
        let plain = vec![7u8; 4 * PIECE];
        let frame = zstd::bulk::compress(&plain, 3).unwrap();
        let frames = [frame.clone(), frame].concat();
        assert_eq!(decode(Algorithm::Zstd, Frame::Gzip, &frames).unwrap().len(), 8 * PIECE);
        let mut decoder = Decoder::new(Algorithm::Zstd, Frame::Gzip).unwrap();
        let (mut out, mut input, mut more, mut len) = (Vec::with_capacity(PIECE), &frames[..], false, 0);
        while more || !input.is_empty() {
            let step = decoder.step(input, &mut out).unwrap();
            input = &input[step.taken..];
            more = step.more;
            len += out.len();
            out.clear();
        }
        assert_eq!(len, 8 * PIECE);
        decoder.finish().unwrap();
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
            assert_eq!(decode(algorithm, Frame::Zlib, &bytes).unwrap(), b"hello hello hello");
            for len in 1..bytes.len() {
                assert!(
                    decode(algorithm, Frame::Zlib, &bytes[..len]).is_err(),
                    "{algorithm:?} cut at {len}"
                );
            }
            assert!(decode(algorithm, Frame::Zlib, b"no compressed data at all").is_err());
        }
    }
}
