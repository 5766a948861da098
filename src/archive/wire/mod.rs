//! How headers and tables of contents are spelled in bytes, the same in all archive formats.
//!
//! Integers are a sign byte and magnitude bytes, least first; strings an integer length (-1: none) and
//! bytes; offsets a flag and eight bytes.

mod get;
mod put;

use super::toc::Entry;
use crate::seal::Algorithm;

pub use get::{Error, Head, Input, Toc};
pub use put::{put_entry, put_header, put_int, put_place, put_text};

/// The archive format's own number in the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FormatCode {
    /// One file.
    Custom = 1,
    /// A tar file, or a folder of what would be in one: pg_dump tells them apart by what they are.
    Files = 3,
}

/// What begins every archive and every `toc.dat`.
pub const MAGIC: &[u8] = b"PGDMP";

/// Where an entry's data is, as its offset says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Somewhere: the archive could not be rewritten.
    Unknown,
    /// At this offset.
    At(u64),
    /// Nowhere: the entry has no data.
    NoData,
}

/// The oldest version of the format, 1.`minor`, that says all that `entries` and `algorithm` need: the older
/// it is, the more pg_restores read it.
#[must_use]
pub fn version(entries: &[Entry], algorithm: Algorithm) -> u8 {
    // Older readers would set a partitioned table's access method too early, and would run the list of large
    // objects as SQL.
    let needs_relkind =
        |entry: &Entry| (entry.relkind == b'p' && entry.tableam.is_some()) || entry.desc == "BLOB METADATA";
    if entries.iter().any(needs_relkind) {
        16
    } else if matches!(algorithm, Algorithm::Lz4 | Algorithm::Zstd) {
        15
    } else {
        14
    }
}
