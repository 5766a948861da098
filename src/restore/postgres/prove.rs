//! The proof: the new database is dumped to nowhere by the same engine that made the backup, and what comes out
//! is compared - every object, every sequence, the rows of every table.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Serialize;

use super::null_sink::NullSink;
use super::origin::Expected;
use super::watch::Watch;
use crate::archive::required::LOAD_VIA_ROOT;
use crate::archive::toc::Entry;
use crate::engine::postgres::connect::session::Session;
use crate::engine::postgres::connect::{Dsn, connect};
use crate::engine::postgres::dump::{Dumped, Request, column_order, dump, dump_within, entries_within};
use crate::engine::postgres::load::{early, make_again};
use crate::engine::postgres::progress::Silent;
use crate::engine::postgres::snapshot::OWN_ENCODING;
use crate::error::{Exit, Fail, Result};
use crate::manifest::{LargeObjects, Table};
use crate::row_hash::RowHash;
use crate::seal::Compression;
use crate::sql::quote::Quote;

/// What was compared and found equal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Proof {
    /// Tables whose rows are as many as they should be, and of a backup the same by their content hashes.
    pub tables: usize,
    /// Their rows.
    pub rows: u64,
    /// Tables among them whose rows were read back while others were loaded and indexes built.
    pub read_while_loading: usize,
    /// Objects of the archive that are there.
    pub objects: usize,
    /// Sequences that stand where they stood.
    pub sequences: usize,
    /// Large objects whose contents are the manifest's.
    pub large_objects: u64,
    /// Statements of a script that were run, none of which failed.
    pub statements: u64,
    /// Statements of a script that were left out, as asked.
    pub left_out: u64,
}

/// Compares the database of `dsn` with the rows that are `expected` and with `entries`; tells `watch` what is as good as
/// equal. Rows that were `read` already, and are what they should be, are not read again.
///
/// # Errors
/// [`Exit::Damaged`]: something is missing or different. Or the database cannot be read.
pub async fn prove(
    dsn: &Dsn,
    expected: &Expected,
    entries: &[Entry],
    (request, read): (&Request, &BTreeMap<early::Name, RowHash>),
    watch: &Watch,
) -> Result<Proof> {
    let (proven, open): (Vec<_>, Vec<_>) = expected
        .tables
        .iter()
        .cloned()
        .partition(|table| is_proven(table, read));
    let read_while_loading = proven.len();
    let request = Request {
        skip_rows_of: Arc::new(proven.into_iter().map(|table| (table.schema, table.name)).collect()),
        ..comparable(request, entries)
    };
    let dumped = dump(dsn, &request, Box::new(NullSink), &Silent).await?;
    let open = Expected {
        tables: open,
        ..expected.clone()
    };
    let mut compared = compare(&dumped, &dumped.toc, &open, entries);
    if !compared.privileges.is_empty() {
        let session = Arc::new(connect(dsn).await?);
        session.run(&format!("BEGIN; {OWN_ENCODING}")).await?;
        compared.without_effect(&session, dsn, watch).await?;
    }
    let proof = compared.judge(expected, entries)?;
    Ok(Proof {
        read_while_loading,
        ..proof
    })
}

/// The same over a session, as its transaction sees the database. Says also what is there and not among the `known` entries.
///
/// # Errors
/// As [`prove`].
pub async fn prove_within(
    session: &Arc<Session>,
    dsn: &Dsn,
    expected: &Expected,
    entries: &[Entry],
    known: &[Entry],
    request: &Request,
    watch: &Watch,
) -> Result<(Proof, Vec<String>)> {
    let dumped = dump_within(session, dsn, &comparable(request, entries), Box::new(NullSink)).await?;
    let mut compared = compare(&dumped, &dumped.toc, expected, entries);
    compared.without_effect(session, dsn, watch).await?;
    let proof = compared.judge(expected, entries)?;
    let known: BTreeSet<_> = known.iter().map(key).collect();
    let besides = dumped
        .toc
        .iter()
        .filter(|entry| counts(entry) && !known.contains(&key(entry)));
    Ok((proof, besides.map(name_of).collect()))
}

/// Whether the rows that were `read` are those of `table`.
fn is_proven(table: &Table, read: &BTreeMap<early::Name, RowHash>) -> bool {
    let found = read.get(&(table.schema.clone(), table.name.clone()));
    found.is_some_and(|found| found.rows == table.rows && found.hash() == table.hash)
}

/// What is not as it was.
struct Compared {
    differences: Vec<String>,
    /// Entries that are missing and only give privileges.
    privileges: Vec<Entry>,
}

impl Compared {
    /// Passes over privileges that are missing though their statements have run, because these change nothing: what an
    /// extension's script grants is told apart by its owner, who may have been another one; and a role that does not own
    /// schema `public` gives nothing of it. It is tried in the transaction of the session, and taken back.
    async fn without_effect(&mut self, session: &Arc<Session>, dsn: &Dsn, watch: &Watch) -> Result<()> {
        if self.privileges.is_empty() {
            return Ok(());
        }
        session.run("SAVEPOINT again").await?;
        let tried = async {
            make_again(session, &self.privileges, Quote::standard(18)).await?;
            entries_within(session, dsn).await
        };
        let tried = tried.await;
        session
            .run("ROLLBACK TO SAVEPOINT again; RELEASE SAVEPOINT again")
            .await?;
        // What cannot be tried counts as missing.
        let Ok((now, _)) = tried else { return Ok(()) };
        let now: BTreeSet<_> = now.iter().map(key).collect();
        self.privileges.retain(|entry| {
            let effective = now.contains(&key(entry));
            if !effective {
                let name = name_of(entry);
                watch.warn(format!(
                    "{name}: its statements change nothing here, where the owner may be another one"
                ));
            }
            effective
        });
        Ok(())
    }

    fn judge(self, expected: &Expected, entries: &[Entry]) -> Result<Proof> {
        let missing = self
            .privileges
            .iter()
            .map(|entry| format!("{} is missing", name_of(entry)));
        let differences: Vec<String> = self.differences.into_iter().chain(missing).collect();
        if differences.is_empty() {
            return Ok(Proof {
                tables: expected.tables.len(),
                rows: expected.tables.iter().map(|table| table.rows).sum(),
                objects: entries.iter().filter(|entry| counts(entry)).count(),
                sequences: entries.iter().filter(|entry| entry.desc == "SEQUENCE SET").count(),
                large_objects: expected.large_objects.as_ref().map_or(0, |objects| objects.count),
                ..Proof::default()
            });
        }
        // All are named: who has to help himself needs to know each of them.
        let message = format!(
            "the restored database is not what was backed up: {}",
            differences.join("; ")
        );
        Err(Fail::new(Exit::Damaged, message)
            .hint(
                "nothing was replaced, and the backup is still there: `snapback verify --full` tells whether it is whole. If \
                 it is, something in the database changed what was loaded - a trigger, a rule, a function - or this is a \
                 fault of Snapback; pg_restore reads the archive too",
            )
            .into())
    }
}

/// A dump that nobody reads, of rows in the order of columns that those of the archive have.
fn comparable(request: &Request, entries: &[Entry]) -> Request {
    Request {
        compress: Compression::NONE,
        max_lock_wait: None,
        columns: Arc::new(column_order(entries)),
        hash_only: true,
        ..request.clone()
    }
}

fn compare(dumped: &Dumped, found: &[Entry], expected: &Expected, entries: &[Entry]) -> Compared {
    let mut differences = tables(expected, &dumped.tables, entries);
    differences.extend(large_objects(expected.large_objects.as_ref(), &dumped.large_objects));
    let (others, privileges) = objects(entries, found);
    differences.extend(others);
    Compared {
        differences,
        privileges,
    }
}

/// Tables of the manifest that are not there or have other rows. Partitions whose rows were loaded through their
/// root are compared as one, because which of them a row goes to may depend on the database (hashes of enums do).
fn tables(wanted: &Expected, found: &[Table], entries: &[Entry]) -> Vec<String> {
    let roots = roots(entries);
    let mixed = mixed(entries);
    let found = contents(found, &roots);
    let hashes = wanted.hashes;
    let differ = |(name, wanted): (String, RowHash)| match found.get(&name) {
        None => Some(format!("table {name} is missing")),
        Some(it) if it.rows != wanted.rows => {
            let rows = if it.rows == 1 { "row" } else { "rows" };
            Some(format!(
                "table {name} has {} {rows} instead of {}",
                it.rows, wanted.rows
            ))
        }
        Some(it) if hashes && !mixed.contains(name.as_str()) && it.hash() != wanted.hash() => {
            Some(format!("table {name} has other rows"))
        }
        Some(_) => None,
    };
    contents(&wanted.tables, &roots)
        .into_iter()
        .filter_map(differ)
        .collect()
}

/// Whether the large objects are others; backups that do not tell what they were prove nothing of them.
fn large_objects(wanted: Option<&LargeObjects>, found: &LargeObjects) -> Option<String> {
    let wanted = wanted?;
    if wanted.count != found.count {
        return Some(format!(
            "there are {} large objects instead of {}",
            found.count, wanted.count
        ));
    }
    (wanted.hash != found.hash).then(|| "large objects have other contents".to_owned())
}

type Name<'a> = (&'a str, &'a str);

/// The root, as the archive names it, of each table whose rows go through one.
fn roots(entries: &[Entry]) -> BTreeMap<Name<'_>, &str> {
    let through_root = entries.iter().filter_map(|entry| {
        let root = entry.defn.strip_prefix(LOAD_VIA_ROOT)?;
        Some(((entry.namespace.as_deref()?, entry.tag.as_str()), root.trim_end()))
    });
    through_root.collect()
}

/// Roots whose partitions have their columns in different orders: a row that came into another partition has another text,
/// so that only rows can be counted.
fn mixed(entries: &[Entry]) -> BTreeSet<&str> {
    let mut orders: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut mixed = BTreeSet::new();
    for entry in entries {
        let Some(root) = entry.defn.strip_prefix(LOAD_VIA_ROOT).map(str::trim_end) else {
            continue;
        };
        let columns = entry.copy_columns().unwrap_or_default();
        if *orders.entry(root).or_insert_with(|| columns.clone()) != columns {
            mixed.insert(root);
        }
    }
    mixed
}

/// Rows and hashes by table, or by the root of tables that have one.
fn contents(tables: &[Table], roots: &BTreeMap<Name<'_>, &str>) -> BTreeMap<String, RowHash> {
    let mut contents: BTreeMap<String, RowHash> = BTreeMap::new();
    for table in tables {
        let name = match roots.get(&(table.schema.as_str(), table.name.as_str())) {
            Some(root) => (*root).to_owned(),
            None => format!("{}.{}", table.schema, table.name),
        };
        *contents.entry(name).or_default() += RowHash::known(table.rows, table.bytes, &table.hash);
    }
    contents
}

/// Objects of the archive that are not there, constraints that lost their validity, and sequences that stand
/// elsewhere; and privileges that are not there.
fn objects(wanted: &[Entry], found: &[Entry]) -> (Vec<String>, Vec<Entry>) {
    let found: BTreeMap<_, &Entry> = found.iter().map(|entry| (key(entry), entry)).collect();
    let mut seen = BTreeSet::new();
    let (mut differences, mut privileges) = (Vec::new(), Vec::new());
    for entry in wanted.iter().filter(|entry| counts(entry) && seen.insert(key(entry))) {
        let name = name_of(entry);
        match found.get(&key(entry)) {
            None if matches!(entry.desc.as_str(), "ACL" | "DEFAULT ACL") => privileges.push(entry.clone()),
            None => differences.push(format!("{name} is missing")),
            Some(it) if entry.desc == "SEQUENCE SET" && it.defn != entry.defn => {
                differences.push(format!("sequence {} stands elsewhere", entry.tag));
            }
            Some(it) if is_invalid(it) && !is_invalid(entry) => differences.push(format!("{name} is not valid")),
            Some(it) if is_owned(entry) && it.owner != entry.owner => {
                differences.push(format!("{name} belongs to {} instead of {}", it.owner, entry.owner));
            }
            Some(_) => {}
        }
    }
    (differences, privileges)
}

/// Whether the entry says who owns something. What is left out of it is not compared, and neither are schemas and the like,
/// which may have been there before.
fn is_owned(entry: &Entry) -> bool {
    let owned = [
        "AGGREGATE",
        "DOMAIN",
        "FOREIGN TABLE",
        "FUNCTION",
        "MATERIALIZED VIEW",
        "PROCEDURE",
        "SEQUENCE",
        "TABLE",
        "TYPE",
        "VIEW",
    ];
    !entry.owner.is_empty() && owned.contains(&entry.desc.as_str())
}

fn name_of(entry: &Entry) -> String {
    match &entry.namespace {
        Some(schema) => format!("{} {schema}.{}", entry.desc, entry.tag),
        None => format!("{} {}", entry.desc, entry.tag),
    }
}

type Key<'a> = (&'a str, Option<&'a str>, &'a str);

fn key(entry: &Entry) -> Key<'_> {
    (&entry.desc, entry.namespace.as_deref(), &entry.tag)
}

/// Whether the entry is about something in the database, and not about the database or the archive.
fn counts(entry: &Entry) -> bool {
    let about_archive = matches!(entry.desc.as_str(), "ENCODING" | "STDSTRINGS" | "SEARCHPATH");
    // The planner's statistics are nobody's data, and change with every index that is built.
    let statistics = entry.desc == "STATISTICS DATA";
    // The comment on an extension is only its owner's to change, and privileges may have been the default's.
    let tolerated = entry.desc == "COMMENT" && entry.tag.starts_with("EXTENSION ");
    !about_archive
        && !statistics
        && !tolerated
        && !entry.desc.starts_with("DATABASE")
        && !entry.tag.starts_with("DATABASE ")
}

fn is_invalid(entry: &Entry) -> bool {
    entry.desc.ends_with("CONSTRAINT") && entry.defn.trim_end().ends_with("NOT VALID;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::toc::Section;

    fn exactly(tables: &[Table]) -> Expected {
        Expected {
            tables: tables.to_vec(),
            large_objects: None,
            hashes: true,
        }
    }

    fn table(name: &str, rows: u64, hash: u128) -> Table {
        Table {
            schema: "public".to_owned(),
            name: name.to_owned(),
            partition_of: None,
            rows,
            bytes: 0,
            hash: format!("{hash:032x}"),
        }
    }

    #[test]
    fn rows_that_differ_are_named() {
        let wanted = [table("a", 1, 10), table("b", 2, 11), table("c", 3, 12)];
        let found = [table("b", 1, 11), table("c", 3, 13)];
        assert_eq!(
            tables(&exactly(&wanted), &found, &[]),
            [
                "table public.a is missing",
                "table public.b has 1 row instead of 2",
                "table public.c has other rows"
            ]
        );
        assert!(tables(&exactly(&wanted), &wanted, &[]).is_empty());
    }

    #[test]
    fn partitions_that_share_a_root_are_compared_as_one() {
        let rows = |name: &str| {
            let mut entry = Entry::new(1, "TABLE DATA", name, Section::Data);
            entry.namespace = Some("public".to_owned());
            entry.defn = format!("{LOAD_VIA_ROOT}public.root");
            entry
        };
        let entries = [rows("a"), rows("b")];
        let wanted = [table("a", 1, 10), table("b", 1, u128::MAX)];
        assert!(tables(&exactly(&wanted), &[table("a", 2, 9), table("b", 0, 0)], &entries).is_empty());
        let others = [table("a", 2, 8), table("b", 0, 0)];
        let differ = tables(&exactly(&wanted), &others, &entries);
        assert_eq!(differ, ["table public.root has other rows"]);
        // Where their columns are in different orders, a row that moved is another text.
        let [mut a, b] = entries;
        a.copy_stmt = "COPY public.root (x, y) FROM stdin;\n".to_owned();
        let fewer = [table("a", 1, 8), table("b", 0, 0)];
        let mixed = [a, b];
        assert!(tables(&exactly(&wanted), &others, &mixed).is_empty());
        let differ = tables(&exactly(&wanted), &fewer, &mixed);
        assert_eq!(differ, ["table public.root has 1 row instead of 2"]);
    }

    #[test]
    fn objects_that_differ_are_named() {
        let with = |desc: &str, defn: &str| {
            let mut entry = Entry::new(1, desc, "it", Section::PostData);
            entry.defn = defn.to_owned();
            entry
        };
        let owned = |desc: &str, owner: &str| {
            let mut entry = with(desc, "");
            entry.owner = owner.to_owned();
            entry
        };
        let wanted = [
            with("SEQUENCE SET", "SELECT pg_catalog.setval('s', 4, true);\n"),
            with("INDEX", ""),
            with("FK CONSTRAINT", "ALTER TABLE a ADD CONSTRAINT it;\n"),
            with("DATABASE", ""),
            owned("TABLE", "boss"),
            owned("VIEW", ""),
        ];
        assert!(objects(&wanted, &wanted).0.is_empty());
        let found = [
            owned("TABLE", "other"),
            owned("VIEW", "other"),
            with("SEQUENCE SET", "SELECT pg_catalog.setval('s', 1, true);\n"),
            with("FK CONSTRAINT", "ALTER TABLE a ADD CONSTRAINT it NOT VALID;\n"),
        ];
        assert_eq!(
            objects(&wanted, &found).0,
            [
                "sequence it stands elsewhere",
                "INDEX it is missing",
                "FK CONSTRAINT it is not valid",
                "TABLE it belongs to other instead of boss"
            ]
        );
    }
}
