//! What of an archive a restore is about, when it is not all of it: what is loaded, what the server must have for it,
//! and what is proven.

use std::collections::{BTreeSet, HashSet};

use super::in_place::Name;
use super::origin::{Body, Content, Expected};
use crate::archive::options::RestoreOptions;
use crate::archive::required::required;
use crate::archive::toc::{DumpId, Entry};
use crate::engine::postgres::load::missing::Missing;
use crate::error::{Exit, Fail, Result};

/// The entries that are restored, among them those of the database itself.
///
/// # Errors
/// [`Exit::NotFound`]: something is named that the archive does not have, or nothing is left.
fn chosen(entries: &[Entry], options: &RestoreOptions) -> Result<Vec<Entry>> {
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
        .map(|(entry, _)| entry.clone())
        .collect();
    if chosen.iter().all(|entry| entry.desc.starts_with("DATABASE")) {
        let message = "these options leave nothing of the backup to restore";
        return Err(Fail::new(Exit::NotFound, message).into());
    }
    Ok(chosen)
}

/// The entries that are restored of `content`; `None`: all, as they are.
///
/// # Errors
/// [`Exit::NotFound`]: something is named that the archive does not have, or nothing is left. Or a part is wanted of a script.
pub fn choose(content: &Content, options: &RestoreOptions, new_tables: &BTreeSet<Name>) -> Result<Option<Vec<Entry>>> {
    match &content.body {
        // Then there is nothing to restore, but something to drop.
        _ if !new_tables.is_empty() && options.selection.list == Some(Vec::new()) => Ok(Some(Vec::new())),
        Body::Archive(_) if !options.is_part() && !options.changes() => Ok(None),
        Body::Script(_) if !options.is_part() => Ok(None),
        _ => chosen(content.selectable()?, options).map(Some),
    }
}

/// What of `expected` must be there when only `chosen` was restored of `all` entries.
#[must_use]
pub fn narrow(expected: Expected, chosen: &[Entry], all: &[Entry]) -> Expected {
    let rows = |schema: &str, name: &str| {
        chosen
            .iter()
            .any(|entry| entry.desc == "TABLE DATA" && entry.tag == name && entry.namespace.as_deref() == Some(schema))
    };
    let objects = |entries: &[Entry]| entries.iter().filter(|entry| entry.desc.starts_with("BLOB")).count();
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

/// The same without what is `missing`: all else must be there.
#[must_use]
pub fn without(missing: &[Missing], expected: &Expected, entries: &[Entry]) -> (Expected, Vec<Entry>) {
    let gone: HashSet<DumpId> = missing.iter().filter_map(|it| it.entry).collect();
    let there = entries.iter().filter(|entry| !gone.contains(&entry.dump_id));
    let mut there: Vec<Entry> = there.cloned().collect();
    let others: HashSet<DumpId> = missing.iter().filter_map(|it| it.owned).collect();
    for entry in there.iter_mut().filter(|entry| others.contains(&entry.dump_id)) {
        entry.owner.clear();
    }
    (narrow(expected.clone(), &there, entries), there)
}

/// The entries that the proof looks for. Privileges that were granted by nobody's will but an owner's, who is another
/// one now, may have become the default ones; so may those between two roles that have become one.
#[must_use]
pub fn provable(chosen: &[Entry], options: &RestoreOptions, merged: bool) -> Vec<Entry> {
    let lost = |entry: &Entry| match entry.desc.as_str() {
        "ACL" => options.no_owner || merged,
        "DEFAULT ACL" => merged,
        _ => false,
    };
    chosen.iter().filter(|entry| !lost(entry)).cloned().collect()
}
