//! One table of an archive: where its rows are, and what they are made of.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::columns::{self, Type};
use crate::archive::belonging::{Name, by_id, name_of, relation_of};
use crate::archive::toc::{DumpId, Entry};
use crate::error::{Exit, Fail};
use crate::extract::name::{self, choose};
use crate::sql::quote::Quote;

/// A table whose rows are wanted.
#[derive(Debug)]
pub struct Table<'a> {
    /// Schema and name.
    pub name: Name,
    /// The columns that are stored, in their order.
    pub columns: Vec<Column>,
    /// The entries with its rows: of a partitioned table those of its partitions.
    pub parts: Vec<&'a Entry>,
    /// One of its columns is `GENERATED ALWAYS AS IDENTITY`.
    pub overriding: bool,
    /// The columns of its primary key.
    pub key: Option<Vec<String>>,
}

/// A column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type.
    pub kind: Type,
}

impl<'a> Table<'a> {
    /// The table that `word` means among `entries`.
    ///
    /// # Errors
    /// There is none, or several, or its rows were left out.
    pub fn find(word: &str, entries: &'a [Entry], quote: &Quote) -> Result<Table<'a>, Fail> {
        let mut seen = HashSet::new();
        let mut all: Vec<(Name, &Entry)> = Vec::new();
        // Tables of an extension have rows only.
        for desc in ["TABLE", "TABLE DATA", "FOREIGN TABLE"] {
            for entry in entries.iter().filter(|entry| entry.desc == desc) {
                if desc != "FOREIGN TABLE" && seen.insert(name_of(entry)) {
                    all.push((name_of(entry), entry));
                }
            }
        }
        let named = |(name, _): &(Name, &Entry)| name::Name {
            kind: "TABLE".to_owned(),
            schema: Some(name.0.clone()),
            names: vec![name.1.clone()],
            shown: quote.qualified(&name.0, &name.1),
        };
        let (name, entry) = choose(word, "table", &all, named)?;
        let ids: HashMap<DumpId, &Entry> = entries.iter().map(by_id).collect();
        let parts = parts(name, entry, entries, &ids);
        let shown = quote.qualified(&name.0, &name.1);
        if parts.is_empty() && !is_partitioned(entry) {
            let message = format!("the backup has no rows of {shown}");
            return Err(Fail::new(Exit::NotFound, message).hint(
                "the job leaves them out (dump.exclude_table_data), or the table is an unlogged one of a standby",
            ));
        }
        let mut table = Table {
            columns: stored_columns(entry, &parts, &ids),
            name: name.clone(),
            parts,
            overriding: false,
            key: None,
        };
        if entry.desc == "TABLE" {
            let of_it = |it: &&Entry| it.dependencies.contains(&entry.dump_id);
            table.overriding = entries
                .iter()
                .filter(of_it)
                .any(|it| it.desc == "SEQUENCE" && it.defn.contains(" ADD GENERATED ALWAYS AS IDENTITY"));
            table.key = primary_key(entry, entries);
        }
        Ok(table)
    }
}

/// The entries with the rows of the table, or of its partitions and theirs.
fn parts<'a>(name: &Name, entry: &'a Entry, entries: &'a [Entry], ids: &HashMap<DumpId, &'a Entry>) -> Vec<&'a Entry> {
    let mut tables = HashSet::from([name.clone()]);
    let attached: Vec<&Entry> = entries.iter().filter(|it| it.desc == "TABLE ATTACH").collect();
    let mut left = vec![entry];
    while let Some(parent) = left.pop() {
        let of_it = attached
            .iter()
            .filter(|it| it.dependencies.contains(&parent.dump_id) && name_of(it) != name_of(parent));
        for attach in of_it {
            if tables.insert(name_of(attach)) {
                let partition = attach.dependencies.iter().filter_map(|id| ids.get(id));
                left.extend(partition.filter(|it| name_of(it) == name_of(attach)));
            }
        }
    }
    let rows = entries.iter().filter(|it| it.desc == "TABLE DATA" && it.has_data);
    rows.filter(|it| tables.contains(&name_of(it))).collect()
}

fn is_partitioned(entry: &Entry) -> bool {
    entry.desc == "TABLE" && entry.defn.contains("\nPARTITION BY ")
}

/// In the order of the table itself; its partitions may have another.
fn stored_columns(entry: &Entry, parts: &[&Entry], ids: &HashMap<DumpId, &Entry>) -> Vec<Column> {
    let types = match entry.desc.as_str() {
        "TABLE" => columns::types(entry, ids),
        _ => HashMap::new(),
    };
    let defined: Vec<String> = columns::of_definition(&entry.defn).into_iter().map(|it| it.0).collect();
    let names = match parts.first() {
        None => defined,
        Some(first) => {
            let copied = columns::of_copy(&first.copy_stmt);
            let stored: HashSet<&String> = copied.iter().collect();
            let ordered: Vec<String> = defined.into_iter().filter(|name| stored.contains(name)).collect();
            match is_partitioned(entry) && ordered.len() == copied.len() {
                true => ordered,
                false => copied,
            }
        }
    };
    let column = |name: String| Column {
        kind: types.get(&name).copied().unwrap_or(Type::Other),
        name,
    };
    names.into_iter().map(column).collect()
}

fn primary_key(table: &Entry, entries: &[Entry]) -> Option<Vec<String>> {
    let relations = BTreeMap::from([by_id(table)]);
    let constraints = entries.iter().filter(|it| it.desc == "CONSTRAINT");
    let of_it = constraints.filter(|it| relation_of(it, &relations).is_some());
    of_it.filter_map(|it| columns::of_primary_key(&it.defn)).next()
}
