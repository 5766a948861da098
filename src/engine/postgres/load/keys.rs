//! Foreign keys that are there before the rows: those among the tables in which extensions keep what was configured, for
//! `CREATE EXTENSION` makes them whole. An archive keeps their order, but names no dependency.

use std::collections::{HashMap, HashSet};

use super::session::Loader;
use crate::archive::toc::{DumpId, Entry};
use crate::engine::postgres::any_text::AnyText;
use crate::error::Result;

/// What foreign keys ask of the order of rows.
#[derive(Debug, Default)]
pub(super) struct Keys {
    /// Rows that must be there before those of an entry.
    pub(super) earlier: HashMap<DumpId, Vec<DumpId>>,
    /// Entries of tables that a foreign key is of or refers to.
    concerned: HashSet<DumpId>,
    /// Entries of tables that refer to themselves.
    of_itself: HashSet<DumpId>,
}

const KEYS: &str = "SELECT n.nspname::text, c.relname::text, rn.nspname::text, r.relname::text \
    FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_class c ON c.oid = k.conrelid \
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace JOIN pg_catalog.pg_class r ON r.oid = k.confrelid \
    JOIN pg_catalog.pg_namespace rn ON rn.oid = r.relnamespace WHERE k.contype = 'f'";

impl Keys {
    /// Reads those of the database that `loader` is in, as far as rows of the entries at `wanted` are concerned.
    pub(super) async fn read(loader: &Loader, entries: &[Entry], wanted: &[usize]) -> Result<Keys> {
        // The session is in the encoding of the archive, and so are the names.
        let rows = loader.client().query(KEYS, &[]).await?;
        let mut found = Vec::new();
        for row in rows {
            let name = |at| -> Result<String> { Ok(row.try_get::<_, AnyText>(at)?.0) };
            found.push(((name(0)?, name(1)?), (name(2)?, name(3)?)));
        }
        Ok(Keys::of(&found, entries, wanted))
    }

    fn of(found: &[(Name, Name)], entries: &[Entry], wanted: &[usize]) -> Keys {
        let data = wanted.iter().map(|at| &entries[*at]);
        let data = data.filter(|entry| entry.desc == "TABLE DATA");
        // With their place in the archive.
        let data: HashMap<(&str, &str), (usize, DumpId)> = data
            .enumerate()
            .filter_map(|(place, it)| Some(((it.namespace.as_deref()?, it.tag.as_str()), (place, it.dump_id))))
            .collect();
        let mut keys = Keys::default();
        for ((schema, table), (other_schema, other)) in found {
            let of = data.get(&(schema.as_str(), table.as_str()));
            let to = data.get(&(other_schema.as_str(), other.as_str()));
            keys.concerned.extend(of.iter().chain(&to).map(|(_, id)| id));
            match (of, to) {
                (Some((_, id)), Some((_, other))) if id == other => {
                    keys.of_itself.insert(*id);
                }
                // Where two refer to each other, the archive's order decides.
                (Some((place, id)), Some((earlier, other))) if earlier < place => {
                    keys.earlier.entry(*id).or_default().push(*other);
                }
                _ => {}
            }
        }
        keys
    }

    /// Whether a foreign key is of the table whose rows `entry` are, or refers to it.
    pub(super) fn concern(&self, entry: &Entry) -> bool {
        self.concerned.contains(&entry.dump_id)
    }

    /// Whether rows of `entry` refer to others of them.
    pub(super) fn of_itself(&self, entry: &Entry) -> bool {
        self.of_itself.contains(&entry.dump_id)
    }
}

type Name = (String, String);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::toc::Section;

    #[test]
    fn the_archive_decides_between_tables_that_refer_to_each_other() {
        let rows = |id, name: &str| {
            let mut entry = Entry::new(id, "TABLE DATA", name, Section::Data);
            entry.namespace = Some("s".to_owned());
            entry
        };
        let entries = [rows(1, "a"), rows(2, "b"), rows(3, "c")];
        let name = |name: &str| ("s".to_owned(), name.to_owned());
        let found = [
            (name("a"), name("b")),
            (name("b"), name("a")),
            (name("c"), name("c")),
            (name("c"), name("elsewhere")),
        ];
        let keys = Keys::of(&found, &entries, &[0, 1, 2]);
        assert_eq!(keys.earlier, HashMap::from([(2, vec![1])]));
        assert!(keys.of_itself(&entries[2]) && !keys.of_itself(&entries[0]));
        assert!(entries.iter().all(|entry| keys.concern(entry)));
    }
}
