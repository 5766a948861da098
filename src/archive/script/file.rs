//! The file that a script is in: how it is compressed, and whether it is text at all.

use super::Reading;
use crate::archive::data::{DataFile, Rows};
use crate::archive::source::Source;
use crate::error::{Exit, Fail, Result};
use crate::seal::Algorithm;

/// A script that can be read, again and again.
#[derive(Clone)]
pub struct Script {
    source: Source,
    algorithm: Algorithm,
    /// What its text is in, whatever it says itself.
    encoding: Option<String>,
}

/// What the magic numbers of compressed files are.
const MAGIC: [(&[u8], Algorithm); 3] = [
    (&[0x1F, 0x8B], Algorithm::Gzip),
    (&[0x28, 0xB5, 0x2F, 0xFD], Algorithm::Zstd),
    (&[0x04, 0x22, 0x4D, 0x18], Algorithm::Lz4),
];

impl Script {
    /// Recognises how `source` is compressed, and that it is text.
    ///
    /// # Errors
    /// It is something else, or cannot be read.
    pub async fn open(source: Source) -> Result<Script> {
        let start = source.read(0..source.len().min(4)).await?;
        let magic = MAGIC.iter().find(|(magic, _)| start.starts_with(magic));
        let script = Script {
            source,
            algorithm: magic.map_or(Algorithm::None, |(_, algorithm)| *algorithm),
            encoding: None,
        };
        let first = script.text()?.next().await?.unwrap_or_default();
        script.check(&first)?;
        Ok(script)
    }

    /// How it is compressed.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Reads it from its start.
    ///
    /// # Errors
    /// There is no memory for the decompression.
    pub fn read(&self) -> Result<Reading> {
        let text = self.text()?;
        Ok(match &self.encoding {
            Some(encoding) => Reading::in_encoding(text, encoding),
            None => Reading::new(text),
        })
    }

    /// The same, read as text in `encoding` whatever it says itself.
    #[must_use]
    pub fn in_encoding(self, encoding: Option<String>) -> Script {
        Script { encoding, ..self }
    }

    fn text(&self) -> Result<Rows> {
        Rows::file(DataFile {
            source: self.source.clone(),
            range: 0..self.source.len(),
            algorithm: self.algorithm,
        })
    }

    fn check(&self, start: &[u8]) -> Result<()> {
        let begins = |all: &[&[u8]]| all.iter().any(|magic| start.starts_with(magic));
        let (what, hint) = match start {
            [] => ("it is empty", "look for the error that whoever made it met"),
            _ if begins(&[b"PGDMP"]) || start.get(257..262) == Some(b"ustar") => (
                "it is a compressed archive of pg_dump",
                "unpack it first: only plain SQL is read compressed as a whole",
            ),
            _ if begins(&[b"age-encryption.org/", b"-----BEGIN "]) => ("it is encrypted", "decrypt it first"),
            _ if begins(&[b"BZh", b"\xFD7zXZ\0", b"PK\x03\x04"]) => (
                "it is packed in a way that is not read here",
                "unpack it first, or pack it by gzip, zstd or lz4",
            ),
            [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] => {
                ("it is text in UTF-16", "turn it into UTF-8: iconv -f UTF-16 -t UTF-8")
            }
            _ if start.contains(&0) => (
                "it is neither an archive of pg_dump nor SQL text",
                "pg_dump's custom, directory, tar and plain formats can be restored, the last also as .gz, .zst and .lz4",
            ),
            _ => return Ok(()),
        };
        Err(Fail::new(Exit::Damaged, format!("this cannot be restored: {what}"))
            .hint(hint)
            .into())
    }
}
