//! What is there before the rows: the tables in which extensions keep what was configured, for `CREATE EXTENSION` makes them
//! whole, with their foreign keys and triggers. An archive keeps their order, but names no dependency. Their rows come before
//! all others, whose types may look things up in them, and none of their triggers fires at them.

use std::collections::{HashMap, HashSet};

use super::session::Loader;
use crate::archive::toc::{DumpId, Entry};
use crate::engine::postgres::any_text::AnyText;
use crate::error::Result;

/// What is asked of the order of rows, and of how they are loaded.
#[derive(Debug, Default)]
pub(super) struct Keys {
    /// Rows that must be there before those of an entry.
    pub(super) earlier: HashMap<DumpId, Vec<DumpId>>,
    /// Entries of tables that a foreign key is of or refers to.
    concerned: HashSet<DumpId>,
    /// Entries of tables that refer to themselves.
    of_itself: HashSet<DumpId>,
    /// Entries of tables that no entry makes, in the archive's order.
    configuration: Vec<DumpId>,
    /// By the entry of an extension's table, statements that switch its triggers off and on again.
    triggers: HashMap<DumpId, Switch>,
}

/// Switches triggers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Switch {
    pub(super) off: String,
    pub(super) on: String,
}

const KEYS: &str = "SELECT n.nspname::text, c.relname::text, rn.nspname::text, r.relname::text \
    FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_class c ON c.oid = k.conrelid \
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace JOIN pg_catalog.pg_class r ON r.oid = k.confrelid \
    JOIN pg_catalog.pg_namespace rn ON rn.oid = r.relnamespace WHERE k.contype = 'f'";

/// Triggers of extensions' tables, as far as this role may switch them.
const TRIGGERS: &str = "SELECT n.nspname::text, c.relname::text, \
    'ALTER TABLE ' || pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname) || ' ', \
    'TRIGGER ' || pg_catalog.quote_ident(t.tgname) || ';', t.tgenabled = 'A' \
    FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid \
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace JOIN pg_catalog.pg_depend d ON d.objid = c.oid \
    AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.deptype = 'e' AND d.objsubid = 0 \
    WHERE NOT t.tgisinternal AND t.tgenabled IN ('O', 'A') AND c.relkind = 'r' \
    AND pg_catalog.pg_has_role(c.relowner, 'USAGE') \
    AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_constraint k WHERE k.conrelid = c.oid AND k.condeferred)";

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
        let mut keys = Keys::of(&found, entries, wanted);
        for row in loader.client().query(TRIGGERS, &[]).await? {
            let text = |at| -> Result<String> { Ok(row.try_get::<_, AnyText>(at)?.0) };
            let (schema, name, (table, trigger)) = (text(0)?, text(1)?, (text(2)?, text(3)?));
            let always = if row.try_get(4)? { "ALWAYS " } else { "" };
            let rows = |entry: &&Entry| {
                keys.configuration.contains(&entry.dump_id)
                    && entry.tag == name
                    && entry.namespace.as_ref() == Some(&schema)
            };
            if let Some(entry) = entries.iter().find(rows) {
                let switch = keys.triggers.entry(entry.dump_id).or_default();
                switch.off.push_str(&format!("{table}DISABLE {trigger} "));
                switch.on.push_str(&format!("{table}ENABLE {always}{trigger} "));
            }
        }
        Ok(keys)
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
        keys.configuration_first(entries, wanted);
        keys
    }

    /// Lets the rows of tables that no entry makes come before those of all others.
    fn configuration_first(&mut self, entries: &[Entry], wanted: &[usize]) {
        let name = |entry: &Entry| (entry.namespace.clone(), entry.tag.clone());
        let made = entries.iter().filter(|it| it.desc.ends_with("TABLE"));
        let made: HashSet<_> = made.map(name).collect();
        let data = wanted.iter().map(|at| &entries[*at]);
        let (others, first): (Vec<_>, Vec<_>) = data
            .filter(|entry| entry.desc == "TABLE DATA")
            .partition(|entry| made.contains(&name(entry)));
        // An archive of rows alone makes no table at all.
        if !entries.iter().any(|entry| entry.desc == "EXTENSION") {
            return;
        }
        // One that needs rows of another kind of table stays where it is.
        let made: HashSet<DumpId> = others.iter().map(|entry| entry.dump_id).collect();
        let waits = |entry: &Entry| {
            self.earlier
                .get(&entry.dump_id)
                .is_some_and(|all| all.iter().any(|id| made.contains(id)))
        };
        let first = first.into_iter().filter(|entry| !waits(entry));
        let first: Vec<DumpId> = first.map(|entry| entry.dump_id).collect();
        for entry in others {
            self.earlier.entry(entry.dump_id).or_default().extend(&first);
        }
        self.configuration = first;
    }

    /// Statements that switch the triggers of the table off whose rows `entry` are, and on again.
    pub(super) fn switch(&self, entry: &Entry) -> Switch {
        self.triggers.get(&entry.dump_id).cloned().unwrap_or_default()
    }

    /// The entries at `wanted` with those first that come before all others.
    pub(super) fn in_order(&self, entries: &[Entry], wanted: &[usize]) -> Vec<usize> {
        let mut all = wanted.to_vec();
        all.sort_by_key(|at| !self.configuration.contains(&entries[*at].dump_id));
        all
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

    #[test]
    fn what_extensions_configured_comes_before_all_else() {
        let rows = |id, name: &str| {
            let mut entry = Entry::new(id, "TABLE DATA", name, Section::Data);
            entry.namespace = Some("s".to_owned());
            entry
        };
        let mut table = Entry::new(2, "TABLE", "a", Section::PreData);
        table.namespace = Some("s".to_owned());
        let extension = Entry::new(1, "EXTENSION", "x", Section::PreData);
        let entries = [extension, table, rows(3, "a"), rows(4, "formats"), rows(5, "needs_a")];
        let name = |name: &str| ("s".to_owned(), name.to_owned());
        let found = [(name("needs_a"), name("a"))];
        let keys = Keys::of(&found, &entries, &[2, 3, 4]);
        assert_eq!(keys.earlier, HashMap::from([(3, vec![4]), (5, vec![3])]));
        assert_eq!(keys.in_order(&entries, &[2, 3, 4]), [3, 2, 4]);
        // Rows alone are rows of tables that are there.
        assert_eq!(Keys::of(&[], &entries[1..], &[1, 2, 3]).earlier, HashMap::new());
    }
}
