//! The tar format: the files of the directory format in one tar file, uncompressed, with a script for psql.

mod header;
mod read;
mod script;
mod write;

pub use read::{Contents, is_tar};
pub(in crate::archive) use write::Pending;
pub use write::{Spooled, Writer};

use super::toc::Entry;

const BLOCK: u64 = 512;

/// What the table of contents calls the file of an entry. pg_dump says this also of lists of large objects,
/// whose files it calls otherwise, as the directory format does.
fn file_name(entry: &Entry) -> String {
    format!("{}.dat", entry.dump_id)
}

/// How many zero bytes follow a file of `len` bytes.
fn padding(len: u64) -> u64 {
    len.next_multiple_of(BLOCK) - len
}
