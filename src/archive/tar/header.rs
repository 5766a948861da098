//! The header block of a file within a tar file.

use std::ops::Range;

const NAME: Range<usize> = 0..100;
const MODE: Range<usize> = 100..108;
const UID: Range<usize> = 108..116;
const GID: Range<usize> = 116..124;
const SIZE: Range<usize> = 124..136;
const TIME: Range<usize> = 136..148;
const CHECKSUM: Range<usize> = 148..156;
const TYPE: usize = 156;
const MAGIC: Range<usize> = 257..265;

/// The largest size that eleven octal digits say; beyond, the size is in base 256.
const OCTAL_LIMIT: u64 = 1 << 33;

/// The header of a file, as pg_dump writes it: readable by its owner only.
pub(super) fn encode(name: &str, len: u64, time: i64) -> [u8; 512] {
    let mut block = [0; 512];
    put(&mut block, NAME, name.as_bytes());
    put(&mut block, MODE, b"0000600 ");
    put(&mut block, UID, b"0004000 ");
    put(&mut block, GID, b"0002000 ");
    if len < OCTAL_LIMIT {
        put(&mut block, SIZE, format!("{len:011o} ").as_bytes());
    } else {
        put(
            &mut block,
            SIZE,
            &[&[0x80, 0, 0, 0], len.to_be_bytes().as_slice()].concat(),
        );
    }
    put(&mut block, TIME, format!("{:011o} ", time.max(0)).as_bytes());
    block[TYPE] = b'0';
    put(&mut block, MAGIC, b"ustar\x0000");
    let checksum = checksum(&block);
    put(&mut block, CHECKSUM, format!("{checksum:06o} ").as_bytes());
    block
}

fn put(block: &mut [u8; 512], at: Range<usize>, bytes: &[u8]) {
    let len = bytes.len().min(at.len());
    block[at.start..at.start + len].copy_from_slice(&bytes[..len]);
}

/// The sum of all bytes, those of the checksum itself taken for spaces.
fn checksum(block: &[u8; 512]) -> u64 {
    let byte = |(at, byte): (usize, &u8)| u64::from(if CHECKSUM.contains(&at) { b' ' } else { *byte });
    block.iter().enumerate().map(byte).sum()
}

/// Name and size of the file that `block` is the header of; `None` when it is no header.
pub(super) fn decode(block: &[u8; 512]) -> Option<(String, u64)> {
    if number(&block[CHECKSUM])? != checksum(block) {
        return None;
    }
    let name = block[NAME].split(|byte| *byte == 0).next()?;
    let name = String::from_utf8(name.to_vec()).ok()?;
    Some((name, number(&block[SIZE])?))
}

fn number(field: &[u8]) -> Option<u64> {
    if let Some((0x80, magnitude)) = field.split_first() {
        let mut digits = magnitude.iter().skip_while(|digit| **digit == 0);
        return digits.try_fold(0u64, |value, digit| {
            value.checked_mul(256)?.checked_add(u64::from(*digit))
        });
    }
    let text = std::str::from_utf8(field).ok()?;
    u64::from_str_radix(text.trim_matches([' ', '\0']), 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_survive_also_beyond_eight_gigabytes() {
        for len in [0, 511, OCTAL_LIMIT - 1, OCTAL_LIMIT, 1 << 40] {
            assert_eq!(decode(&encode("2616.dat", len, 1)), Some(("2616.dat".to_owned(), len)));
        }
        let mut damaged = encode("2616.dat", 5, 1);
        damaged[0] = b'x';
        assert_eq!(decode(&damaged), None);
        assert_eq!(decode(&[0; 512]), None);
    }
}
