//! The table of contents as `pg_restore -l` prints it.

use std::fmt::Write as _;

use super::options::RestoreOptions;
use super::plain::sanitize;
use super::required::required;
use super::toc::Entry;
use super::{Header, raw};

/// The facts about an archive that the head of a list shows and that [`Header`] does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Version of the archive format: 1.`minor`.
    pub minor: u8,
    /// `CUSTOM`, `DIRECTORY` or `TAR`.
    pub format: &'static str,
    /// `none`, `gzip`, `lz4` or `zstd`.
    pub compression: &'static str,
    /// Size of integers in bytes.
    pub int_size: u8,
    /// Size of file offsets in bytes.
    pub offset_size: u8,
}

/// The list that `pg_restore -l` prints of an archive.
#[must_use]
pub fn render(header: &Header, facts: &Facts, entries: &[Entry], options: &RestoreOptions) -> Vec<u8> {
    let mut out = format!(
        ";\n; Archive created at {}\n\
         ;     dbname: {}\n;     TOC Entries: {}\n;     Compression: {}\n;     Dump Version: 1.{}-0\n\
         ;     Format: {}\n;     Integer: {} bytes\n;     Offset: {} bytes\n\
         ;     Dumped from database version: {}\n;     Dumped by pg_dump version: {}\n\
         ;\n;\n; Selected TOC Entries:\n;\n",
        header.created.format("%Y-%m-%d %H:%M:%S"),
        sanitize(&header.database),
        entries.len(),
        facts.compression,
        facts.minor,
        facts.format,
        facts.int_size,
        facts.offset_size,
        header.server_version,
        header.dumper_version,
    );
    let required = required(entries, options);
    for at in options.selection.order(entries) {
        let entry = &entries[at];
        if required[at].wanted() || options.verbose {
            line(&mut out, entry);
        }
        if options.verbose && !entry.dependencies.is_empty() {
            out.push_str(";\tdepends on:");
            for dependency in &entry.dependencies {
                let _ = write!(out, " {dependency}");
            }
            out.push('\n');
        }
    }
    raw::encode(&out).into_owned()
}

fn line(out: &mut String, entry: &Entry) {
    let _ = writeln!(
        out,
        "{}; {} {} {} {} {} {}",
        entry.dump_id,
        entry.table_oid,
        entry.oid,
        entry.desc,
        entry.namespace.as_deref().map_or("-".into(), sanitize),
        sanitize(&entry.tag),
        sanitize(&entry.owner),
    );
}
