//! The table of contents as `pg_restore -l` prints it.

use std::fmt::Write as _;

use super::Header;
use super::options::RestoreOptions;
use super::plain::sanitize;
use super::required::required;
use super::toc::Entry;
use crate::raw_text;
use crate::seal::Algorithm;

/// The facts about an archive that the head of a list shows and that [`Header`] does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Version of the archive format: 1.`minor`.
    pub minor: u8,
    /// `CUSTOM`, `DIRECTORY` or `TAR`.
    pub format: &'static str,
    /// How data is compressed.
    pub compression: Algorithm,
    /// The level, where the archive says it: all that pg_restore up to 15 shows.
    pub level: Option<i32>,
    /// Size of integers in bytes.
    pub int_size: u8,
    /// Size of file offsets in bytes.
    pub offset_size: u8,
}

impl Facts {
    /// As pg_restore of the server's major says it.
    fn compression(&self, header: &Header) -> String {
        let major = header.server_version.split(|c: char| !c.is_ascii_digit()).next();
        let is_old = major
            .and_then(|major| major.parse::<u32>().ok())
            .is_some_and(|major| major < 16);
        match self.level.filter(|_| is_old) {
            Some(level) => level.to_string(),
            None => self.compression.name().to_owned(),
        }
    }
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
        facts.compression(header),
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
    raw_text::encode(&out).into_owned()
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
