//! Where characters end in the bytes of an encoding.
//!
//! Encodings that no server stores but clients may ask for have ASCII bytes inside of characters: the second byte of a
//! SJIS character may be a backslash. Who quotes or unescapes such text must step over whole characters.

use crate::error::{Exit, Fail, Result};
use crate::nearest::nearest;

/// How the bytes of an encoding form characters, as far as ASCII bytes in them are concerned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Characters {
    /// A byte of ASCII always is a character: every encoding that a server can have.
    #[default]
    AsciiApart,
    /// A byte with the high bit begins a pair: BIG5, GBK, UHC.
    Pairs,
    /// Pairs as well, but for the half-width katakana, which are single bytes: SJIS and SHIFT_JIS_2004.
    ShiftJis,
    /// Pairs, or four bytes when the second one is a digit: GB18030.
    Gb18030,
    /// Pairs, or three bytes after 0x8F (PostgreSQL counts JOHAB as it counts EUC).
    Johab,
}

/// The encodings that a client of PostgreSQL may name.
const NAMES: [&str; 42] = [
    "BIG5",
    "EUC_CN",
    "EUC_JIS_2004",
    "EUC_JP",
    "EUC_KR",
    "EUC_TW",
    "GB18030",
    "GBK",
    "ISO_8859_5",
    "ISO_8859_6",
    "ISO_8859_7",
    "ISO_8859_8",
    "JOHAB",
    "KOI8R",
    "KOI8U",
    "LATIN1",
    "LATIN10",
    "LATIN2",
    "LATIN3",
    "LATIN4",
    "LATIN5",
    "LATIN6",
    "LATIN7",
    "LATIN8",
    "LATIN9",
    "MULE_INTERNAL",
    "SHIFT_JIS_2004",
    "SJIS",
    "SQL_ASCII",
    "UHC",
    "UTF8",
    "WIN1250",
    "WIN1251",
    "WIN1252",
    "WIN1253",
    "WIN1254",
    "WIN1255",
    "WIN1256",
    "WIN1257",
    "WIN1258",
    "WIN866",
    "WIN874",
];

/// PostgreSQL's name of the encoding that a person calls `name`.
///
/// # Errors
/// There is none such; the nearest one is named.
pub fn known(name: &str) -> Result<String> {
    let plain = |name: &str| name.to_ascii_uppercase().replace(['-', '_', ' '], "");
    let other = match plain(name).as_str() {
        "ISO88591" => "LATIN1",
        "ISO88592" => "LATIN2",
        "ISO885915" => "LATIN9",
        "WINDOWS1250" | "CP1250" => "WIN1250",
        "WINDOWS1251" | "CP1251" => "WIN1251",
        "WINDOWS1252" | "CP1252" => "WIN1252",
        "SHIFTJIS" => "SJIS",
        "UNICODE" => "UTF8",
        _ => name,
    };
    if let Some(known) = NAMES.iter().find(|known| plain(known) == plain(other)) {
        return Ok((*known).to_owned());
    }
    let hint = match nearest(&name.to_ascii_uppercase(), NAMES) {
        Some(meant) => format!("did you mean {meant}?"),
        None => format!("PostgreSQL knows {}", NAMES.join(", ")),
    };
    Err(Fail::new(Exit::Usage, format!("there is no encoding {name:?}"))
        .hint(hint)
        .into())
}

impl Characters {
    /// Those of an encoding by PostgreSQL's name of it, as `client_encoding` shows it.
    #[must_use]
    pub fn of(encoding: &str) -> Self {
        match encoding {
            "BIG5" | "GBK" | "UHC" => Characters::Pairs,
            "SJIS" | "SHIFT_JIS_2004" => Characters::ShiftJis,
            "GB18030" => Characters::Gb18030,
            "JOHAB" => Characters::Johab,
            _ => Characters::AsciiApart,
        }
    }

    /// How many bytes the first character of `text` has: at least 1, and never more than there are, but for an
    /// empty text.
    #[must_use]
    pub fn first(self, text: &[u8]) -> usize {
        let (first, second) = match text {
            [first, second, ..] if *first >= 0x80 => (*first, *second),
            _ => return 1,
        };
        let length = match self {
            Characters::AsciiApart => 1,
            Characters::Pairs => 2,
            Characters::ShiftJis if (0xA1..=0xDF).contains(&first) => 1,
            Characters::ShiftJis => 2,
            Characters::Gb18030 if second.is_ascii_digit() => 4,
            Characters::Gb18030 => 2,
            Characters::Johab if first == 0x8F => 3,
            Characters::Johab => 2,
        };
        length.min(text.len())
    }

    /// `text` with `escape` asked before each character of one byte: whether that byte is doubled.
    pub fn double(self, text: &[u8], escape: impl Fn(u8) -> bool, out: &mut Vec<u8>) {
        let mut rest = text;
        while let Some(byte) = rest.first() {
            let (character, after) = rest.split_at(self.first(rest));
            if character.len() == 1 && escape(*byte) {
                out.push(*byte);
            }
            out.extend_from_slice(character);
            rest = after;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_inside_of_a_character_is_not_one() {
        for (encoding, text, lengths) in [
            ("UTF8", b"a\xc3\xa9\\".as_slice(), [1, 1, 1, 1].as_slice()),
            ("BIG5", b"\xa5\x5c\x5c", &[2, 1]),
            ("SJIS", b"\x95\x5c\xb1\x5c", &[2, 1, 1]),
            ("GB18030", b"\x81\x30\x81\x30\x5c\x81\x5c", &[4, 1, 2]),
            ("JOHAB", b"\x8f\x5c\x5c\x5c\xd0", &[3, 1, 1]),
        ] {
            let characters = Characters::of(encoding);
            let mut rest = text;
            let mut found = Vec::new();
            while !rest.is_empty() {
                found.push(characters.first(rest));
                rest = &rest[characters.first(rest)..];
            }
            assert_eq!(found, lengths, "{encoding}");
        }
    }
}
