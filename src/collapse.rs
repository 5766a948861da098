//! Whether a database has collapsed since the backup before: a backup of one that somebody emptied is whole, and
//! worth nothing. Whoever is told in time still has the backups from before.

use std::collections::BTreeMap;

use crate::manifest::{BackupId, Manifest, Source, Table};
use crate::shelf::{Inventory, Shelf};

/// Fewer rows than this share of those before, in percent, are too few.
const SHARE: u64 = 50;

/// A table that had at least so many rows, and has fewer than this share of them, in percent, was emptied. Smaller ones come
/// and go.
const TABLE: (u64, u64) = (1_000, 5);

/// How many tables are named; the rest is counted.
const NAMED: usize = 5;

/// The newest backup of `source` that any of the shelves has.
#[must_use]
pub fn before<'a>(
    found: impl IntoIterator<Item = (&'a Shelf, &'a Inventory)>,
    source: &Source,
) -> Option<(&'a Shelf, BackupId)> {
    let newest = |(shelf, inventory): (&'a Shelf, &'a Inventory)| {
        let mut backups = inventory.backups.iter();
        let backup = backups.find(|backup| backup.summary.source.same_database(source))?;
        Some((shelf, backup.summary.id))
    };
    found.into_iter().filter_map(newest).max_by_key(|(_, id)| *id)
}

/// What is much less than in the backup `before`, in words for people; nothing when all is well. The partitions of a table
/// count together: old ones are dropped as new ones come.
#[must_use]
pub fn signs(before: &Manifest, now: &Manifest) -> Vec<String> {
    let mut signs: Vec<String> = fewer_rows(before, now).into_iter().collect();
    if before.is_sealed() {
        // Without names there are only numbers.
        signs.extend(fewer_tables(before, now));
        return signs;
    }
    let (had, has) = (sizes(before), sizes(now));
    let missing: Vec<String> = had.keys().filter(|name| !has.contains_key(*name)).cloned().collect();
    if !missing.is_empty() {
        signs.push(format!(
            "tables of backup {} are missing: {}",
            before.id,
            named(&missing)
        ));
    }
    let (enough, share) = TABLE;
    let emptied: Vec<String> = had
        .iter()
        .filter_map(|(name, had)| Some((name, had, has.get(name)?)))
        .filter(|(_, had, has)| **had >= enough && has.saturating_mul(100) < had.saturating_mul(share))
        .map(|(name, had, has)| format!("{name} ({has} of {had})"))
        .collect();
    // Where all are, that has been said.
    if !emptied.is_empty() && now.rows() > 0 {
        signs.push(format!(
            "nearly all rows of backup {} are gone from {}",
            before.id,
            named(&emptied)
        ));
    }
    signs
}

fn fewer_rows(before: &Manifest, now: &Manifest) -> Option<String> {
    let (had, has) = (before.rows(), now.rows());
    if has == 0 && had > 0 {
        return Some(format!(
            "all tables are empty: backup {} has {}",
            before.id,
            number(had, "row")
        ));
    }
    let share = has.saturating_mul(100) / had.max(1);
    (share < SHARE && had > 0).then(|| {
        let id = before.id;
        format!(
            "there {} only {}, {share} % of the {had} in backup {id}",
            be(has),
            number(has, "row")
        )
    })
}

fn fewer_tables(before: &Manifest, now: &Manifest) -> Option<String> {
    let (had, has, id) = (before.table_count(), now.table_count(), before.id);
    (has < had).then(|| {
        format!(
            "there {} only {} of the {had} in backup {id}",
            be(has),
            number(has, "table")
        )
    })
}

fn be(number: u64) -> &'static str {
    if number == 1 { "is" } else { "are" }
}

fn number(number: u64, one: &str) -> String {
    format!("{number} {one}{}", if number == 1 { "" } else { "s" })
}

/// The rows of each table, of all partitions of one together, by `schema.name`.
fn sizes(manifest: &Manifest) -> BTreeMap<String, u64> {
    let mut sizes = BTreeMap::new();
    for table in &manifest.tables {
        *sizes.entry(whole(table)).or_default() += table.rows;
    }
    sizes
}

/// The table that people think of: that of a partition.
fn whole(table: &Table) -> String {
    let own = || format!("{}.{}", table.schema, table.name);
    table.partition_of.clone().unwrap_or_else(own)
}

/// The first few, and how many more there are.
fn named(names: &[String]) -> String {
    let mut text = names.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    let more = names.len().saturating_sub(NAMED);
    if more > 0 {
        text.push_str(&format!(" and {more} more"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A manifest with these tables, each with so many rows; `tree/leaf` is a partition.
    fn manifest(tables: &[(&str, u64)]) -> Manifest {
        let table = |(name, rows): &(&str, u64)| {
            let (tree, name) = name
                .split_once('/')
                .map_or((None, *name), |(tree, leaf)| (Some(tree), leaf));
            let tree = tree.map(|tree| format!("public.{tree}"));
            serde_json::json!({"schema": "public", "name": name, "partition_of": tree, "rows": rows, "bytes": 0, "hash": ""})
        };
        let tables: Vec<_> = tables.iter().map(table).collect();
        serde_json::from_value(serde_json::json!({
            "format_version": 1, "id": "20261120T020000Z", "job": "app", "kind": "scheduled",
            "source": {"host": "db", "port": 5432, "database": "app", "system_identifier": 1, "database_oid": 2,
                       "server_version_num": 150000, "server_version": "15.0"},
            "started": "2026-11-20T02:00:00Z", "finished": "2026-11-20T02:00:01Z", "snapback": "0",
            "archive": {"name": "a", "bytes": 1, "sha256": ""}, "compression": "gzip", "entries": {},
            "tables": tables, "schema_hash": "",
        }))
        .unwrap()
    }

    #[test]
    fn only_a_collapse_is_one() {
        let before = manifest(&[("a", 900), ("b", 100)]);
        for fine in [
            &[("a", 900), ("b", 100)][..],
            &[("a", 400), ("b", 100)],
            &[("a", 0), ("b", 9000)],
            &[("a", 900), ("b", 100), ("c", 0)],
        ] {
            assert_eq!(signs(&before, &manifest(fine)), Vec::<String>::new());
        }
        let collapses: [(&[(&str, u64)], &str); 3] = [
            (
                &[("a", 0), ("b", 0)],
                "all tables are empty: backup 20261120T020000Z has 1000 rows",
            ),
            (
                &[("a", 499), ("b", 0)],
                "there are only 499 rows, 49 % of the 1000 in backup 20261120T020000Z",
            ),
            (
                &[("a", 1000)],
                "tables of backup 20261120T020000Z are missing: public.b",
            ),
        ];
        for (tables, sign) in collapses {
            assert_eq!(signs(&before, &manifest(tables)), [sign]);
        }
        let many: Vec<String> = (1..=7).map(|n| format!("t{n}")).collect();
        let many: Vec<(&str, u64)> = many.iter().map(|name| (name.as_str(), 0)).collect();
        let [sign] = &signs(&manifest(&many), &manifest(&[]))[..] else {
            panic!("one sign")
        };
        assert!(sign.ends_with("public.t5 and 2 more"), "{sign}");
    }

    #[test]
    fn a_table_that_lost_nearly_all_is_named_though_the_total_hardly_changes() {
        let before = manifest(&[("orders", 120_000), ("events", 9_000_000), ("queue", 999)]);
        let now = |orders, queue| manifest(&[("orders", orders), ("events", 9_000_000), ("queue", queue)]);
        assert_eq!(signs(&before, &now(6_000, 0)), Vec::<String>::new());
        assert_eq!(
            signs(&before, &now(5_999, 0)),
            ["nearly all rows of backup 20261120T020000Z are gone from public.orders (5999 of 120000)"]
        );
    }

    #[test]
    fn partitions_may_go_while_their_tree_stands() {
        let before = manifest(&[("events/e1", 50_000), ("events/e2", 50_000), ("orders", 500_000)]);
        let rolled = manifest(&[("events/e2", 50_000), ("events/e3", 10), ("orders", 500_000)]);
        assert_eq!(signs(&before, &rolled), Vec::<String>::new());
        let emptied = manifest(&[("events/e3", 10), ("orders", 500_000)]);
        assert_eq!(
            signs(&before, &emptied),
            ["nearly all rows of backup 20261120T020000Z are gone from public.events (10 of 100000)"]
        );
        let gone = manifest(&[("orders", 500_000)]);
        assert_eq!(
            signs(&before, &gone),
            ["tables of backup 20261120T020000Z are missing: public.events"]
        );
    }

    #[test]
    fn a_database_that_was_always_empty_has_not_collapsed() {
        assert!(signs(&manifest(&[("a", 0)]), &manifest(&[("a", 0)])).is_empty());
    }
}
