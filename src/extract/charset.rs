//! Text of a database's encoding as UTF-8, which JSON must be, and back, to look for a key.

use std::borrow::Cow;

use encoding_rs::Encoding;

/// An encoding of PostgreSQL.
#[derive(Clone, Copy, Debug)]
pub enum Charset {
    /// UTF-8, and SQL_ASCII, where nobody knows better.
    Utf8,
    /// LATIN1: each byte is the character of that number.
    Latin1,
    /// One that is known by tables.
    Table(&'static Encoding),
    /// One that is not known here.
    Unknown,
}

impl Charset {
    /// The encoding that PostgreSQL calls `name`.
    #[must_use]
    pub fn of(name: &str) -> Self {
        let label = match name {
            "UTF8" | "SQL_ASCII" => return Charset::Utf8,
            "LATIN1" => return Charset::Latin1,
            "LATIN2" => "iso-8859-2",
            "LATIN3" => "iso-8859-3",
            "LATIN4" => "iso-8859-4",
            "LATIN6" => "iso-8859-10",
            "LATIN7" => "iso-8859-13",
            "LATIN8" => "iso-8859-14",
            "LATIN9" => "iso-8859-15",
            "LATIN10" => "iso-8859-16",
            "ISO_8859_5" => "iso-8859-5",
            "ISO_8859_6" => "iso-8859-6",
            "ISO_8859_7" => "iso-8859-7",
            "ISO_8859_8" => "iso-8859-8",
            "KOI8R" => "koi8-r",
            "KOI8U" => "koi8-u",
            "WIN866" => "ibm866",
            "WIN874" => "windows-874",
            "WIN1250" => "windows-1250",
            "WIN1251" => "windows-1251",
            "WIN1252" => "windows-1252",
            "WIN1253" => "windows-1253",
            "WIN1254" => "windows-1254",
            "WIN1255" => "windows-1255",
            "WIN1256" => "windows-1256",
            "WIN1257" => "windows-1257",
            "WIN1258" => "windows-1258",
            "EUC_JP" => "euc-jp",
            "EUC_KR" | "UHC" => "euc-kr",
            "EUC_CN" | "GBK" => "gbk",
            "GB18030" => "gb18030",
            "BIG5" => "big5",
            "SJIS" => "shift_jis",
            _ => return Charset::Unknown,
        };
        Encoding::for_label(label.as_bytes()).map_or(Charset::Unknown, Charset::Table)
    }

    /// `text` as UTF-8; what is none of its characters becomes U+FFFD.
    #[must_use]
    pub fn decode(self, text: &[u8]) -> Cow<'_, str> {
        match self {
            Charset::Latin1 => text.iter().map(|byte| char::from(*byte)).collect(),
            Charset::Table(table) => table.decode_without_bom_handling(text).0,
            Charset::Utf8 | Charset::Unknown => String::from_utf8_lossy(text),
        }
    }

    /// `text` in this encoding; a character that it does not have becomes something that no value is.
    #[must_use]
    pub fn encode(self, text: &str) -> Cow<'_, [u8]> {
        match self {
            Charset::Latin1 => text.chars().map(|c| u8::try_from(u32::from(c)).unwrap_or(0)).collect(),
            Charset::Table(table) => table.encode(text).0,
            Charset::Utf8 | Charset::Unknown => Cow::Borrowed(text.as_bytes()),
        }
    }
}
