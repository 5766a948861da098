//! Writing headers and entries.

use chrono::{Datelike as _, NaiveDateTime, Timelike as _};

use super::{FormatCode, MAGIC, Place};
use crate::archive::Header;
use crate::archive::toc::Entry;
use crate::raw_text;
use crate::seal::{Algorithm, Compression};

/// Appends an integer.
pub fn put_int(out: &mut Vec<u8>, value: i32) {
    out.push(u8::from(value < 0));
    out.extend_from_slice(&value.unsigned_abs().to_le_bytes());
}

/// Appends a string or the absence of one.
pub fn put_text(out: &mut Vec<u8>, text: Option<&str>) {
    match text {
        Some(text) => {
            let bytes = raw_text::encode(text);
            put_int(out, i32::try_from(bytes.len()).unwrap_or(i32::MAX));
            out.extend_from_slice(&bytes);
        }
        None => put_int(out, -1),
    }
}

/// Appends an offset.
pub fn put_place(out: &mut Vec<u8>, place: Place) {
    let (flag, at) = match place {
        Place::Unknown => (1, 0),
        Place::At(at) => (2, at),
        Place::NoData => (3, 0),
    };
    out.push(flag);
    out.extend_from_slice(&at.to_le_bytes());
}

/// Appends the header.
pub fn put_header(out: &mut Vec<u8>, header: &Header, minor: u8, format: FormatCode, compression: Compression) {
    out.extend_from_slice(MAGIC);
    // Version 1.minor-0, integers of 4 bytes, offsets of 8.
    out.extend_from_slice(&[1, minor, 0, 4, 8, format as u8]);
    match (minor >= 15, compression.algorithm) {
        (true, Algorithm::None) => out.push(0),
        (true, Algorithm::Gzip) => out.push(1),
        (true, Algorithm::Lz4) => out.push(2),
        (true, Algorithm::Zstd) => out.push(3),
        (false, Algorithm::None) => put_int(out, 0),
        (false, _) => put_int(out, compression.level.unwrap_or(-1)),
    }
    put_time(out, header.created);
    put_text(out, Some(&header.database));
    put_text(out, Some(&header.server_version));
    put_text(out, Some(&header.dumper_version));
}

/// Appends a time as C's `struct tm`.
fn put_time(out: &mut Vec<u8>, time: NaiveDateTime) {
    let number = |number: u32| i32::try_from(number).unwrap_or(0);
    put_int(out, number(time.second()));
    put_int(out, number(time.minute()));
    put_int(out, number(time.hour()));
    put_int(out, number(time.day()));
    put_int(out, number(time.month0()));
    put_int(out, time.year() - 1900);
    // Whether daylight saving time was in force: the reader's to find out.
    put_int(out, -1);
}

/// Appends what all formats say of an entry; what only one says comes after it.
pub fn put_entry(out: &mut Vec<u8>, entry: &Entry, minor: u8) {
    put_int(out, entry.dump_id);
    put_int(out, i32::from(entry.has_data));
    put_text(out, Some(&entry.table_oid.to_string()));
    put_text(out, Some(&entry.oid.to_string()));
    put_text(out, Some(&entry.tag));
    put_text(out, Some(&entry.desc));
    put_int(out, entry.section as i32);
    put_text(out, Some(&entry.defn));
    put_text(out, Some(&entry.drop_stmt));
    put_text(
        out,
        Some(&entry.copy_stmt)
            .filter(|text| !text.is_empty())
            .map(String::as_str),
    );
    put_text(out, entry.namespace.as_deref());
    put_text(out, entry.tablespace.as_deref());
    put_text(out, entry.tableam.as_deref());
    if minor >= 16 {
        put_int(out, i32::from(entry.relkind));
    }
    put_text(out, entry.owner());
    // Whether the table has OIDs, which no table has any more.
    put_text(out, Some("false"));
    for dependency in &entry.dependencies {
        put_text(out, Some(&dependency.to_string()));
    }
    put_text(out, None);
}
