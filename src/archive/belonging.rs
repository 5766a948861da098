//! What belongs to a table among the entries of an archive, as far as it comes and goes with the table.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::toc::{DumpId, Entry};

/// Schema and name.
pub type Name = (String, String);

/// The entries of the tables called `names`: definitions, rows, what is built on them, and the sequences that their
/// columns own, with the comments, privileges and labels of all that. `entries` have an archive's dependencies.
///
/// Which of two tables a foreign key or a policy belongs to is known by its tag, which begins with the table's name.
#[must_use]
pub fn belonging(names: &BTreeSet<Name>, entries: &[Entry]) -> HashSet<DumpId> {
    let named = |it: &&Entry| it.desc == "TABLE" && names.contains(&name_of(it));
    let ours = entries.iter().filter(named).map(|it| it.dump_id).collect();
    belonging_to(ours, entries)
}

/// The same of the relations `ours`: tables, views, sequences.
#[must_use]
pub fn belonging_to(ours: HashSet<DumpId>, entries: &[Entry]) -> HashSet<DumpId> {
    let relations: BTreeMap<DumpId, &Entry> = entries.iter().filter(|it| is_relation(it)).map(by_id).collect();
    let names: HashSet<Name> = (ours.iter().filter_map(|id| relations.get(id)))
        .map(|it| name_of(it))
        .collect();
    let on_ours = |entry: &Entry| entry.dependencies.iter().any(|id| ours.contains(id));
    let sequences: HashSet<Name> = entries
        .iter()
        .filter(|it| matches!(it.desc.as_str(), "SEQUENCE" | "SEQUENCE OWNED BY") && on_ours(it))
        .map(name_of)
        .collect();
    let is_own = |entry: &Entry| match entry.desc.as_str() {
        "TABLE DATA" | "INDEX" | "STATISTICS" => on_ours(entry),
        "TABLE ATTACH" | "ROW SECURITY" => names.contains(&name_of(entry)),
        "SEQUENCE" | "SEQUENCE OWNED BY" | "SEQUENCE SET" => sequences.contains(&name_of(entry)),
        "CONSTRAINT" | "CHECK CONSTRAINT" | "FK CONSTRAINT" | "TRIGGER" | "RULE" | "POLICY" | "DEFAULT" => {
            relation_of(entry, &relations).is_some_and(|it| ours.contains(&it.dump_id))
        }
        _ => false,
    };
    let mut own = ours.clone();
    own.extend(entries.iter().filter(|it| is_own(it)).map(|it| it.dump_id));
    let attached: HashSet<DumpId> = entries
        .iter()
        .filter(|it| is_attached(it) && it.dependencies.iter().any(|id| own.contains(id)))
        .map(|it| it.dump_id)
        .collect();
    own.extend(attached);
    own
}

/// Whether an entry is something that has rows or looks as if it had.
#[must_use]
pub fn is_relation(entry: &Entry) -> bool {
    matches!(
        entry.desc.as_str(),
        "TABLE" | "VIEW" | "MATERIALIZED VIEW" | "FOREIGN TABLE" | "SEQUENCE"
    )
}

/// Whether an entry is about another one that it depends on, or ties it to another one.
#[must_use]
pub fn is_attached(entry: &Entry) -> bool {
    matches!(
        entry.desc.as_str(),
        "ACL" | "COMMENT" | "SECURITY LABEL" | "STATISTICS DATA" | "INDEX ATTACH" | "MATERIALIZED VIEW DATA"
    )
}

/// Schema and name that an entry has.
#[must_use]
pub fn name_of(entry: &Entry) -> Name {
    (entry.namespace.clone().unwrap_or_default(), entry.tag.clone())
}

/// An entry by its id.
#[must_use]
pub fn by_id(entry: &Entry) -> (DumpId, &Entry) {
    (entry.dump_id, entry)
}

/// The relation whose name the tag of an entry begins with, of those that it depends on; `relations` are by their ids.
#[must_use]
pub fn relation_of<'a>(entry: &Entry, relations: &BTreeMap<DumpId, &'a Entry>) -> Option<&'a Entry> {
    let named = |relation: &&&Entry| {
        let rest = entry.tag.strip_prefix(&relation.tag);
        entry.namespace == relation.namespace && rest.is_some_and(|rest| rest.starts_with(' '))
    };
    let depends = entry.dependencies.iter().filter_map(|id| relations.get(id));
    depends.filter(named).max_by_key(|it| it.tag.len()).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::toc::Section;

    #[test]
    fn a_foreign_key_belongs_to_the_table_that_has_it() {
        let entry = |id, desc: &str, tag: &str, dependencies: &[DumpId]| {
            let mut entry = Entry::new(id, desc, tag, Section::PostData);
            entry.namespace = Some("s".to_owned());
            entry.dependencies = dependencies.to_vec();
            entry
        };
        let entries = [
            entry(1, "TABLE", "a", &[]),
            entry(2, "TABLE", "a b", &[]),
            entry(3, "FK CONSTRAINT", "a b to a", &[2, 1]),
            entry(4, "FK CONSTRAINT", "a to b", &[1, 2]),
            entry(5, "COMMENT", "CONSTRAINT to a ON \"a b\"", &[3]),
            entry(6, "VIEW", "v", &[1]),
        ];
        let of = |name: &str| {
            let names = BTreeSet::from([("s".to_owned(), name.to_owned())]);
            let mut own: Vec<_> = belonging(&names, &entries).into_iter().collect();
            own.sort_unstable();
            own
        };
        assert_eq!(of("a"), [1, 4]);
        assert_eq!(of("a b"), [2, 3, 5]);
    }
}
