//! Text of any server encoding in a Rust `String`, without loss.
//!
//! PostgreSQL hands out bytes in the database's encoding, and a SQL_ASCII database holds any bytes
//! at all, while the engine builds statements with `String`. So bytes that are not UTF-8 are each
//! kept as one private character (U+10FF00 plus the byte) and turned back when they are written.
//! Decoding is total and injective: `encode(&decode(x)) == x` for every `x`.

use std::borrow::Cow;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

const BASE: u32 = 0x10_FF00;
/// What every private character begins with in UTF-8, and few others do.
const FIRST_BYTE: u8 = 0xF4;

/// Text of `bytes`; what is not UTF-8 is kept as private characters.
#[must_use]
pub fn decode(bytes: &[u8]) -> String {
    if let Ok(text) = std::str::from_utf8(bytes)
        && !may_have_kept(bytes)
    {
        return text.to_owned();
    }
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            // A character that this encoding uses itself must not be mistaken for a kept byte.
            if is_kept(c) {
                let mut buffer = [0; 4];
                text.extend(c.encode_utf8(&mut buffer).bytes().map(keep));
            } else {
                text.push(c);
            }
        }
        text.extend(chunk.invalid().iter().copied().map(keep));
    }
    text
}

/// The bytes that `text` was decoded from.
#[must_use]
pub fn encode(text: &str) -> Cow<'_, [u8]> {
    if !may_have_kept(text.as_bytes()) || !text.contains(is_kept) {
        return Cow::Borrowed(text.as_bytes());
    }
    let mut bytes = Vec::with_capacity(text.len());
    for c in text.chars() {
        if is_kept(c) {
            bytes.push((u32::from(c) & 0xFF) as u8);
        } else {
            let mut buffer = [0; 4];
            bytes.extend_from_slice(c.encode_utf8(&mut buffer).as_bytes());
        }
    }
    Cow::Owned(bytes)
}

/// The path whose bytes `text` was decoded from.
#[must_use]
pub fn path(text: &str) -> PathBuf {
    OsString::from_vec(encode(text).into_owned()).into()
}

/// Whether a look at every character is needed: nearly all text has none that are private.
fn may_have_kept(text: &[u8]) -> bool {
    text.contains(&FIRST_BYTE)
}

/// The byte that `c` stands for, if it is one that was no UTF-8.
#[must_use]
pub fn kept_byte(c: char) -> Option<u8> {
    is_kept(c).then_some((u32::from(c) & 0xFF) as u8)
}

fn is_kept(c: char) -> bool {
    u32::from(c) >= BASE
}

fn keep(byte: u8) -> char {
    char::from_u32(BASE + u32::from(byte)).unwrap_or(char::REPLACEMENT_CHARACTER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_string_survives() {
        let kept = "\u{10FFE9}".as_bytes();
        for bytes in [
            b"plain".as_slice(),
            "für".as_bytes(),
            b"caf\xe9",
            b"\xff\xfe\x00",
            kept,
            &[kept, b"\xe9"].concat(),
        ] {
            assert_eq!(encode(&decode(bytes)).as_ref(), bytes);
        }
    }
}
