//! `restore.sql`: the script by which an unpacked tar archive can be restored without pg_restore.

use std::sync::Arc;

use anyhow::Context as _;

use super::file_name;
use crate::archive::Header;
use crate::archive::options::RestoreOptions;
use crate::archive::plain;
use crate::archive::toc::Entry;
use crate::error::Result;
use crate::raw_text;
use crate::sql::quote::Quote;

/// The name of the script.
pub(super) const NAME: &str = "restore.sql";

const NOTE: &str = "--\n-- NOTE:\n--\n-- File paths need to be edited. Search for $$PATH$$ and\n\
                    -- replace it with the path to the directory containing\n-- the extracted data files.\n--\n";

/// The script for `entries`, and what `pg_dump -v` says of it.
pub(super) fn text(
    header: &Header,
    entries: &Arc<Vec<Entry>>,
    options: &RestoreOptions,
    quote: Quote,
) -> Result<(Vec<u8>, Vec<String>)> {
    let options = RestoreOptions {
        clean: true,
        ..options.clone()
    };
    let mut writer = plain::Writer::new(Arc::clone(entries), options, quote);
    let mut out = NOTE.as_bytes().to_vec();
    out.extend_from_slice(&writer.begin(header));
    for id in writer.data().to_vec() {
        let entry = entries.iter().find(|entry| entry.dump_id == id);
        let entry = entry.context("data of an entry that does not exist")?;
        let before = writer.begin_data(id)?;
        let after = writer.end_data()?;
        if entry.is_large_objects() {
            // The statements around large objects make no sense here, nor do they in pg_dump's script.
            out.extend_from_slice(before.strip_suffix(b"BEGIN;\n\n").unwrap_or(&before));
            out.extend_from_slice(load(entry, &file_name(entry)).as_bytes());
        } else {
            out.extend_from_slice(&before);
            out.extend_from_slice(&raw_text::encode(&load(entry, &file_name(entry))));
            out.extend_from_slice(&after);
        }
    }
    out.extend_from_slice(&writer.finish(header.created)?);
    Ok((out, writer.notes()))
}

/// The statement that loads the rows of `entry`, in place of the COPY that waits for them.
fn load(entry: &Entry, file: &str) -> String {
    match entry.copy_stmt.strip_suffix(" FROM stdin;\n") {
        Some(copy) => format!("\\.\n{copy} FROM '$$PATH$$/{file}';\n\n"),
        None => format!("\\i $$PATH$$/{file}\n\n"),
    }
}
