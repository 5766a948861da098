//! Makes one stream of segments that were compressed apart.

use bytes::Bytes;
use flate2::Crc;

use super::compression::{Algorithm, Codec, Frame};
use super::segment::{Check, SegmentEnd};

/// What stands around and after the segments of one stream.
#[derive(Debug)]
pub struct Joiner {
    codec: Codec,
    len: u64,
    adler: u32,
    crc: Crc,
}

impl Joiner {
    /// A stream without segments yet.
    #[must_use]
    pub fn new(codec: Codec) -> Self {
        Joiner {
            codec,
            len: 0,
            adler: 1,
            crc: Crc::new(),
        }
    }

    /// What stands before the first segment.
    #[must_use]
    pub fn header(&self) -> Option<Bytes> {
        match (self.codec.compression.algorithm, self.codec.frame) {
            (Algorithm::Gzip, Frame::Zlib) => Some(Bytes::from_static(&[0x78, 0x9c])),
            // DEFLATE, no flags, no time, no extra flags, Unix.
            (Algorithm::Gzip, Frame::Gzip) => Some(Bytes::from_static(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3])),
            _ => None,
        }
    }

    /// Takes note of the next segment, in the order of the stream.
    pub fn add(&mut self, end: &SegmentEnd) {
        match &end.check {
            Check::None => {}
            Check::Adler32(adler) => self.adler = combine_adler(self.adler, *adler, end.len),
            Check::Crc32(crc) => self.crc.combine(crc),
        }
        self.len += end.len;
    }

    /// What stands after the last segment.
    #[must_use]
    pub fn trailer(&self) -> Option<Bytes> {
        if self.codec.compression.algorithm != Algorithm::Gzip {
            return None;
        }
        // An empty last block: no segment knows that it is the last one.
        let mut trailer = vec![3, 0];
        match self.codec.frame {
            Frame::Zlib => trailer.extend_from_slice(&self.adler.to_be_bytes()),
            Frame::Gzip => {
                trailer.extend_from_slice(&self.crc.sum().to_le_bytes());
                // gzip keeps the length modulo 2^32.
                trailer.extend_from_slice(&(self.len as u32).to_le_bytes());
            }
        }
        Some(Bytes::from(trailer))
    }
}

/// Adler-32 of two byte strings one after the other, from that of each and the length of the second.
///
/// Adler-32 is a pair of sums modulo 65521: `a = 1 + Σ bytes` and `b = Σ a` after each byte. Put after the
/// first string, each of the second's `len` values of `a` is higher by `a1 - 1`.
fn combine_adler(first: u32, second: u32, len: u64) -> u32 {
    const MODULUS: u64 = 65521;
    let split = |adler: u32| (u64::from(adler & 0xffff), u64::from(adler >> 16));
    let ((a1, b1), (a2, b2)) = (split(first), split(second));
    let above = (a1 + MODULUS - 1) % MODULUS;
    let a = (above + a2) % MODULUS;
    let b = (b1 + b2 + (len % MODULUS) * above) % MODULUS;
    ((b << 16) | a) as u32
}

#[cfg(test)]
mod tests {
    use super::super::decode::decode;
    use super::super::{Chunks, Compression, SegmentCompressor};
    use super::*;

    /// What one stream of `segments` decompresses to.
    fn round_trip(specification: &str, frame: Frame, segments: &[&[u8]]) -> Vec<u8> {
        let codec = Codec {
            compression: specification.parse::<Compression>().unwrap(),
            frame,
        };
        let mut joiner = Joiner::new(codec);
        let mut stream = joiner.header().unwrap_or_default().to_vec();
        let mut compressor = SegmentCompressor::new(&codec, &Chunks::default()).unwrap();
        for segment in segments {
            for part in segment.chunks(70_000) {
                compressor.push(part).unwrap();
                stream.extend(std::iter::from_fn(|| compressor.chunk()).flatten());
            }
            let (rest, end) = compressor.finish().unwrap();
            stream.extend(rest.concat());
            joiner.add(&end);
        }
        stream.extend(joiner.trailer().unwrap_or_default());
        decode(codec.compression.algorithm, frame, &stream).unwrap()
    }

    #[test]
    fn joined_segments_are_one_stream() {
        let mut state = 1u64;
        let noise: Vec<u8> = (0..300_000)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 56) as u8
            })
            .collect();
        let text = b"one row\tof text\n".repeat(50_000);
        let segments: [&[u8]; 5] = [&text, b"", &noise, b"x", &text[..70_001]];
        let whole = segments.concat();
        for specification in ["none", "gzip", "gzip:1", "gzip:9", "lz4", "zstd", "zstd:level=1,long"] {
            for frame in [Frame::Zlib, Frame::Gzip] {
                assert!(round_trip(specification, frame, &segments) == whole, "{specification}");
                assert_eq!(round_trip(specification, frame, &[]), b"", "{specification}");
            }
        }
    }
}
