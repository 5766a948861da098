//! Whether a database has collapsed since the backup before: a backup of one that somebody emptied is whole, and
//! worth nothing. Whoever is told in time still has the backups from before.

use std::collections::BTreeSet;

use crate::manifest::{Manifest, Source};
use crate::shelf::Shelf;

/// Fewer rows than this share of those before, in percent, are too few.
const SHARE: u64 = 50;

/// How many tables are named; the rest is counted.
const NAMED: usize = 5;

/// The newest backup of `source` in the first of `shelves` that can be read.
pub async fn before(shelves: impl Iterator<Item = &Shelf>, source: &Source) -> Option<Manifest> {
    for shelf in shelves {
        match shelf.newest(source).await {
            Ok(newest) => return newest,
            // The backup is what counts; that nothing can be compared is no reason to give it up.
            Err(error) => tracing::warn!("the backup before cannot be compared with: {error:#}"),
        }
    }
    None
}

/// What is much less than in the backup `before`, in words for people; nothing when all is well.
#[must_use]
pub fn signs(before: &Manifest, now: &Manifest) -> Vec<String> {
    let mut signs = Vec::new();
    let (had, has) = (before.rows(), now.rows());
    if has == 0 && had > 0 {
        signs.push(format!("all tables are empty: backup {} has {had} rows", before.id));
    } else if has.saturating_mul(100) < had.saturating_mul(SHARE) {
        let share = has.saturating_mul(100) / had.max(1);
        signs.push(format!(
            "there are only {has} rows, {share} % of the {had} in backup {}",
            before.id
        ));
    }
    if before.is_sealed() && now.table_count() < before.table_count() {
        signs.push(format!(
            "there are only {} tables of the {} in backup {}",
            now.table_count(),
            before.table_count(),
            before.id
        ));
        return signs;
    }
    let tables: BTreeSet<(&str, &str)> = names(now).collect();
    let missing: Vec<String> = names(before)
        .filter(|name| !tables.contains(name))
        .map(|(schema, name)| format!("{schema}.{name}"))
        .collect();
    if !missing.is_empty() {
        let more = missing.len().saturating_sub(NAMED);
        let mut named = missing.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
        if more > 0 {
            named.push_str(&format!(" and {more} more"));
        }
        signs.push(format!("tables of backup {} are missing: {named}", before.id));
    }
    signs
}

fn names(manifest: &Manifest) -> impl Iterator<Item = (&str, &str)> {
    let tables = manifest.tables.iter();
    tables.map(|table| (table.schema.as_str(), table.name.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A manifest with these tables, each with so many rows.
    fn manifest(tables: &[(&str, u64)]) -> Manifest {
        let tables: Vec<_> = tables
            .iter()
            .map(|(name, rows)| serde_json::json!({"schema": "public", "name": name, "rows": rows, "bytes": 0, "hash": ""}))
            .collect();
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
    fn a_database_that_was_always_empty_has_not_collapsed() {
        assert!(signs(&manifest(&[("a", 0)]), &manifest(&[("a", 0)])).is_empty());
    }
}
