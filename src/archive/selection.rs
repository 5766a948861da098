//! Which entries of an archive are wanted: pg_restore's selection by name (`-n`, `-t` and their kin) and by list (`-L`).

use std::collections::{HashMap, HashSet};

use super::toc::{DumpId, Entry};
use crate::error::{Exit, Fail};

/// What is wanted of an archive; the default is all of it. Names are exact, as pg_restore takes them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// `-n`, `--schema`.
    pub schemas: Vec<String>,
    /// `-N`, `--exclude-schema`.
    pub exclude_schemas: Vec<String>,
    /// `-t`, `--table`: tables, views, materialized views, foreign tables and sequences.
    pub tables: Vec<String>,
    /// `-I`, `--index`.
    pub indexes: Vec<String>,
    /// `-P`, `--function`: with the types of the arguments, as lists show it.
    pub functions: Vec<String>,
    /// `-T`, `--trigger`: table and trigger, as lists show it.
    pub triggers: Vec<String>,
    /// `-L`, `--use-list`: only these entries, in this order.
    pub list: Option<Vec<DumpId>>,
    /// The schemas of what is wanted come along, which pg_restore expects to be there.
    pub with_schemas: bool,
}

impl Selection {
    /// Whether nothing is left out.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.list.is_none() && !self.is_selective()
    }

    /// Whether something is selected by name: then what belongs to an object comes only along with it.
    #[must_use]
    pub(super) fn is_selective(&self) -> bool {
        !self.schemas.is_empty() || !self.exclude_schemas.is_empty() || self.is_by_type()
    }

    fn is_by_type(&self) -> bool {
        let lists = [&self.tables, &self.indexes, &self.functions, &self.triggers];
        lists.iter().any(|names| !names.is_empty())
    }

    /// The indexes of `entries` in the order of the restore: those of a list come last, as the list has them.
    #[must_use]
    pub fn order(&self, entries: &[Entry]) -> Vec<usize> {
        let Some(list) = &self.list else {
            return (0..entries.len()).collect();
        };
        let places: HashMap<DumpId, usize> = (0..).zip(list).map(|(place, id)| (*id, place)).collect();
        let mut order: Vec<usize> = (0..entries.len()).collect();
        // The sort is stable, and nothing comes before something.
        order.sort_by_key(|at| places.get(&entries[*at].dump_id));
        order
    }

    /// The entries of the list, where there is one.
    #[must_use]
    pub(super) fn listed(&self) -> Option<HashSet<DumpId>> {
        self.list.as_ref().map(|list| list.iter().copied().collect())
    }

    /// Whether an entry that stands for itself is selected by name.
    #[must_use]
    pub(super) fn takes(&self, entry: &Entry) -> bool {
        let has = |names: &[String], name: &str| names.iter().any(|wanted| wanted == name);
        let namespace = entry.namespace.as_deref();
        if !self.schemas.is_empty() && !namespace.is_some_and(|schema| has(&self.schemas, schema)) {
            return false;
        }
        if namespace.is_some_and(|schema| has(&self.exclude_schemas, schema)) {
            return false;
        }
        let names = match entry.desc.as_str() {
            _ if !self.is_by_type() => return true,
            "TABLE"
            | "TABLE DATA"
            | "VIEW"
            | "FOREIGN TABLE"
            | "MATERIALIZED VIEW"
            | "MATERIALIZED VIEW DATA"
            | "SEQUENCE"
            | "SEQUENCE SET" => &self.tables,
            "INDEX" => &self.indexes,
            "FUNCTION" | "AGGREGATE" | "PROCEDURE" => &self.functions,
            "TRIGGER" => &self.triggers,
            _ => return false,
        };
        has(names, &entry.tag)
    }

    /// The names that no entry of the archive has, with the option that gave each: they are mistyped.
    #[must_use]
    pub fn unknown(&self, entries: &[Entry]) -> Vec<String> {
        let known: HashSet<(&str, &str)> = entries
            .iter()
            .flat_map(|entry| {
                let kind = match entry.desc.as_str() {
                    "INDEX" => "--index",
                    "FUNCTION" | "AGGREGATE" | "PROCEDURE" => "--function",
                    "TRIGGER" => "--trigger",
                    _ => "--table",
                };
                let schema = entry.namespace.as_deref().map(|schema| ("--schema", schema));
                schema.into_iter().chain([(kind, entry.tag.as_str())])
            })
            .collect();
        let lists = [
            ("--schema", &self.schemas),
            ("--table", &self.tables),
            ("--index", &self.indexes),
            ("--function", &self.functions),
            ("--trigger", &self.triggers),
        ];
        let names = lists
            .iter()
            .flat_map(|(option, names)| names.iter().map(|name| (*option, name.as_str())));
        let mut unknown: Vec<_> = names
            .filter(|name| !known.contains(name))
            .map(|(option, name)| format!("{option} {name}"))
            .collect();
        let numbers: HashSet<DumpId> = entries.iter().map(|entry| entry.dump_id).collect();
        let listed = self.list.iter().flatten().filter(|id| !numbers.contains(id));
        unknown.extend(listed.map(|id| format!("entry {id} of the list")));
        unknown
    }
}

/// Reads a list as `pg_restore -l` prints and `-L` takes it: a number starts each line, and `;` a comment.
///
/// # Errors
/// A line is something else, or names an entry again. pg_restore only warns of it; but what is not restored by
/// mistake is missed too late.
pub fn parse_list(text: &str) -> Result<Vec<DumpId>, Fail> {
    let mut list = Vec::new();
    let mut seen = HashSet::new();
    for (number, line) in (1..).zip(text.lines()) {
        let entry = line.split(';').next().unwrap_or_default().trim();
        if entry.is_empty() {
            continue;
        }
        let digits = entry.find(|c: char| !c.is_ascii_digit()).unwrap_or(entry.len());
        let id: DumpId = entry[..digits].parse().unwrap_or(0);
        if id <= 0 || !seen.insert(id) {
            let message =
                format!("line {number} of the list is not the number of an entry that is new to it: {line:?}");
            return Err(Fail::new(Exit::Usage, message).hint("`pg_restore -l` prints such a list"));
        }
        list.push(id);
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_numbers_and_comments() {
        let list = "; head\n\n12; 1259 16 TABLE public t app\n; 13; off\n  3\r\n";
        assert_eq!(parse_list(list).unwrap(), [12, 3]);
        for bad in ["x", "0;", "1;\n1;", "99999999999;"] {
            assert!(parse_list(bad).is_err(), "{bad}");
        }
    }
}
