//! The definition of one object in pg_dump's words, with what comes and goes with it.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;

use crate::archive::RestoreOptions;
use crate::archive::belonging::{belonging_to, by_id, is_attached, is_relation, relation_of};
use crate::archive::plain::Writer;
use crate::archive::selection::Selection;
use crate::archive::toc::{DumpId, Entry};
use crate::error::Fail;
use crate::extract::name::{Name, choose};
use crate::sql::quote::Quote;

/// Entries that belong to others, or to none.
const NO_OBJECTS: [&str; 18] = [
    "ACL",
    "ACL LANGUAGE",
    "BLOB",
    "BLOB METADATA",
    "BLOBS",
    "COMMENT",
    "DATABASE PROPERTIES",
    "ENCODING",
    "INDEX ATTACH",
    "MATERIALIZED VIEW DATA",
    "ROW SECURITY",
    "SEARCHPATH",
    "SECURITY LABEL",
    "SEQUENCE OWNED BY",
    "SEQUENCE SET",
    "STATISTICS DATA",
    "STDSTRINGS",
    "TABLE ATTACH",
];

/// The text that defines the object which `word` means.
///
/// # Errors
/// There is none, or several.
pub fn text(word: &str, entries: &Arc<Vec<Entry>>, quote: Quote) -> Result<Bytes, Fail> {
    let relations: BTreeMap<DumpId, &Entry> = entries.iter().filter(|it| is_relation(it)).map(by_id).collect();
    let is_object = |entry: &&Entry| !entry.defn.is_empty() && !NO_OBJECTS.contains(&entry.desc.as_str());
    let objects: Vec<&Entry> = entries
        .iter()
        .filter(is_object)
        .filter(|it| it.desc != "TABLE DATA")
        .collect();
    let object = choose(word, "object", &objects, |entry| name(entry, &relations, &quote))?;
    let wanted = with_belongings(object, entries);
    let list = entries.iter().map(|it| it.dump_id).filter(|id| wanted.contains(id));
    let options = RestoreOptions {
        data: false,
        statistics: false,
        // The database itself is nobody's part.
        create: object.desc == "DATABASE",
        selection: Selection {
            list: Some(list.collect()),
            ..Selection::default()
        },
        ..RestoreOptions::default()
    };
    Ok(Writer::new(Arc::clone(entries), options, quote).definitions())
}

fn with_belongings(object: &Entry, entries: &[Entry]) -> HashSet<DumpId> {
    let id = object.dump_id;
    if !is_relation(object) {
        let attached = |it: &&Entry| is_attached(it) && it.dependencies.contains(&id);
        let attached = entries.iter().filter(attached).map(|it| it.dump_id);
        return attached.chain([id]).collect();
    }
    let mut own = belonging_to(HashSet::from([id]), entries);
    // An index of a partition is attached where the partition is defined.
    let has_index = |attach: &Entry| {
        let of_it = entries
            .iter()
            .filter(|it| own.contains(&it.dump_id) && it.namespace == attach.namespace);
        of_it.clone().any(|it| match it.desc.as_str() {
            "INDEX" => it.tag == attach.tag,
            "CONSTRAINT" => it
                .tag
                .strip_suffix(&attach.tag)
                .is_some_and(|table| table.ends_with(' ')),
            _ => false,
        })
    };
    let elsewhere = |it: &&Entry| match it.desc.as_str() {
        "INDEX ATTACH" => !has_index(it),
        // A refresh makes rows.
        desc => desc == "MATERIALIZED VIEW DATA",
    };
    let elsewhere: Vec<DumpId> = entries.iter().filter(elsewhere).map(|it| it.dump_id).collect();
    own.retain(|id| !elsewhere.contains(id));
    own
}

fn name(entry: &Entry, relations: &BTreeMap<DumpId, &Entry>, quote: &Quote) -> Name {
    let mut names = vec![entry.tag.clone()];
    let arguments = entry
        .tag
        .find('(')
        .filter(|_| matches!(entry.desc.as_str(), "FUNCTION" | "PROCEDURE" | "AGGREGATE" | "OPERATOR"));
    let mut shown = quote.id(&entry.tag).into_owned();
    if let Some(at) = arguments {
        names.push(entry.tag[..at].to_owned());
        // The tag has its quotes where they must be.
        shown.clone_from(&entry.tag);
    } else if let Some(relation) = relation_of(entry, relations) {
        // A constraint or a trigger: the table goes before its name.
        let own = entry.tag[relation.tag.len()..].trim_start();
        names.push(own.to_owned());
        shown.clone_from(&entry.tag);
    }
    if let Some(schema) = &entry.namespace {
        shown = format!("{}.{shown}", quote.id(schema));
    }
    Name {
        kind: entry.desc.clone(),
        schema: entry.namespace.clone(),
        names,
        shown,
    }
}
