//! What of an archive a restore is about, when it is not all of it: what is loaded, what the server must have for it,
//! and what is proven.

use super::create::tablespace;
use super::origin::Expected;
use crate::archive::options::RestoreOptions;
use crate::archive::required::required;
use crate::archive::toc::Entry;
use crate::error::{Exit, Fail, Result};

/// Whether `options` restore all of an archive as it is.
#[must_use]
pub fn is_whole(options: &RestoreOptions) -> bool {
    let left_out = [
        options.no_owner,
        options.no_privileges,
        options.no_tablespaces,
        options.no_table_access_method,
        options.no_comments,
        options.no_publications,
        options.no_security_labels,
        options.no_subscriptions,
        options.no_policies,
    ];
    options.selection.is_all()
        && options.schema
        && options.data
        && options.sections == Default::default()
        && !left_out.contains(&true)
}

/// The entries that are restored, among them those of the database itself, without what is not taken from them.
///
/// # Errors
/// [`Exit::NotFound`]: something is named that the archive does not have, or nothing is left.
pub fn chosen(entries: &[Entry], options: &RestoreOptions) -> Result<Vec<Entry>> {
    let unknown = options.selection.unknown(entries);
    if !unknown.is_empty() {
        let message = format!("the backup does not have {}", unknown.join(", "));
        return Err(Fail::new(Exit::NotFound, message)
            .hint("names are exact and without a schema, as `pg_restore -l` prints them")
            .into());
    }
    let with_database = RestoreOptions {
        create: true,
        ..options.clone()
    };
    let wanted = required(entries, &with_database);
    let chosen: Vec<Entry> = entries
        .iter()
        .zip(wanted)
        .filter(|(_, required)| required.wanted())
        .map(|(entry, _)| stripped(entry, options))
        .collect();
    if chosen.iter().all(|entry| entry.desc.starts_with("DATABASE")) {
        let message = "these options leave nothing of the backup to restore";
        return Err(Fail::new(Exit::NotFound, message).into());
    }
    Ok(chosen)
}

fn stripped(entry: &Entry, options: &RestoreOptions) -> Entry {
    let mut entry = entry.clone();
    if options.no_owner {
        entry.owner.clear();
    }
    if options.no_tablespaces {
        entry.tablespace = None;
        if entry.desc == "DATABASE"
            && let Some((_, without)) = tablespace(&entry.defn)
        {
            entry.defn = without;
        }
    }
    entry
}

/// What of `expected` must be there when only `chosen` was restored of `all` entries.
#[must_use]
pub fn narrow(expected: Expected, chosen: &[Entry], all: &[Entry]) -> Expected {
    let rows = |schema: &str, name: &str| {
        chosen
            .iter()
            .any(|entry| entry.desc == "TABLE DATA" && entry.tag == name && entry.namespace.as_deref() == Some(schema))
    };
    let objects = |entries: &[Entry]| entries.iter().filter(|entry| entry.is_large_objects()).count();
    Expected {
        tables: expected
            .tables
            .into_iter()
            .filter(|table| rows(&table.schema, &table.name))
            .collect(),
        // The manifest has one digest for all of them.
        large_objects: expected.large_objects.filter(|_| objects(chosen) == objects(all)),
        hashes: expected.hashes,
    }
}

/// The entries that the proof looks for. Privileges that were granted by nobody's will but an owner's, who is another
/// one now, may have become the default ones.
#[must_use]
pub fn provable(chosen: &[Entry], options: &RestoreOptions) -> Vec<Entry> {
    let kept = chosen.iter().filter(|entry| !options.no_owner || entry.desc != "ACL");
    kept.cloned().collect()
}
