//! The directory format: a folder with `toc.dat` and one file per entry with data.

mod read;
mod write;

pub use read::Contents;
pub(super) use read::{data_file, object_list};
pub use write::Writer;

use super::toc::Entry;

/// The name of the table of contents, also in tar archives.
pub(super) const TOC: &str = "toc.dat";

/// The name of the file of an entry with data. Version 1.`minor` of the format decides whether there can be
/// more than one entry of large objects.
pub(super) fn file_name(entry: &Entry, minor: u8) -> String {
    match entry.is_large_objects() {
        true if minor < 16 => "blobs.toc".to_owned(),
        true => format!("blobs_{}.toc", entry.dump_id),
        false => format!("{}.dat", entry.dump_id),
    }
}

/// The name of the file of a large object.
pub(super) fn object_file_name(oid: u32) -> String {
    format!("blob_{oid}.dat")
}
