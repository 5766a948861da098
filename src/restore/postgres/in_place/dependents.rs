//! What goes when tables are dropped with all that depends on them, and whether it can be made again as it is.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use tokio_postgres::Client;

use crate::archive::belonging::is_attached;
use crate::archive::toc::{DumpId, Entry};
use crate::engine::postgres::any_text::AnyText;
use crate::error::Result;

/// What depends on tables, directly or not, as the catalogs have it: objects and what they are to people. Foreign keys
/// are left out, which are taken away before. What is a part of something that goes needs no statement of its own.
const DEPENDENTS: &str = "\
WITH RECURSIVE gone (classid, objid) AS (
    SELECT 'pg_catalog.pg_class'::pg_catalog.regclass::pg_catalog.oid, o FROM pg_catalog.unnest($1::pg_catalog.oid[]) AS t (o)
    UNION
    SELECT d.classid, d.objid FROM gone g, LATERAL (
        SELECT classid, objid FROM pg_catalog.pg_depend WHERE refclassid = g.classid AND refobjid = g.objid
        UNION ALL SELECT refclassid, refobjid FROM pg_catalog.pg_depend
            WHERE classid = g.classid AND objid = g.objid AND deptype = 'i') d
    WHERE NOT (d.classid = 'pg_catalog.pg_constraint'::pg_catalog.regclass AND EXISTS (
        SELECT FROM pg_catalog.pg_constraint c WHERE c.oid = d.objid AND c.contype = 'f')))
SELECT g.classid, g.objid, pg_catalog.pg_describe_object(g.classid, g.objid, 0), EXISTS (
    SELECT FROM pg_catalog.pg_depend d JOIN gone o ON o.classid = d.refclassid AND o.objid = d.refobjid
    WHERE d.classid = g.classid AND d.objid = g.objid AND d.deptype IN ('a', 'i', 'P', 'S'))
FROM gone g WHERE NOT (g.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND g.objid = ANY ($1)) ORDER BY 1, 2";

/// The types of entries whose own statements make them again exactly.
const AGAIN: [&str; 9] = [
    "VIEW",
    "MATERIALIZED VIEW",
    "FUNCTION",
    "PROCEDURE",
    "INDEX",
    "RULE",
    "TRIGGER",
    "POLICY",
    "PUBLICATION TABLE",
];

/// An object that goes.
struct Gone {
    /// Catalog and number.
    id: (u32, u32),
    what: String,
    /// It is a part of another object that goes.
    is_part: bool,
}

/// What else goes with tables.
#[derive(Default)]
pub struct Dependents {
    /// The entries that make it again.
    pub again: HashSet<DumpId>,
    /// What cannot be made again as it is, for people.
    pub lost: BTreeSet<String>,
}

impl Dependents {
    /// Asks what depends on the tables with the numbers `oids`, of whose database `live` are the entries and `own` those
    /// that belong to the tables.
    ///
    /// # Errors
    /// The server does not answer.
    pub async fn read(client: &Client, oids: &[u32], live: &[Entry], own: &HashSet<DumpId>) -> Result<Dependents> {
        let mut gone = Vec::new();
        for row in client.query(DEPENDENTS, &[&oids]).await? {
            gone.push(Gone {
                id: (row.try_get(0)?, row.try_get(1)?),
                what: row.try_get::<_, AnyText>(2)?.0,
                is_part: row.try_get(3)?,
            });
        }
        Ok(Dependents::of(&gone, live, own))
    }

    fn of(gone: &[Gone], live: &[Entry], own: &HashSet<DumpId>) -> Dependents {
        let entries: BTreeMap<(u32, u32), Vec<&Entry>> = live.iter().fold(BTreeMap::new(), |mut all, entry| {
            let same: &mut Vec<_> = all.entry((entry.table_oid, entry.oid)).or_default();
            same.push(entry);
            all
        });
        let mut found = Dependents::default();
        for object in gone {
            let of_it = entries.get(&object.id).map(Vec::as_slice).unwrap_or_default();
            let others = of_it.iter().filter(|entry| !own.contains(&entry.dump_id));
            let (again, lost): (Vec<&Entry>, Vec<&Entry>) = others.partition(|entry| is_made_again(entry, object));
            found.again.extend(again.iter().map(|entry| entry.dump_id));
            if !lost.is_empty() || (of_it.is_empty() && !object.is_part) {
                found.lost.insert(object.what.clone());
            }
        }
        let about = |entry: &&Entry| is_attached(entry) && entry.dependencies.iter().any(|id| found.again.contains(id));
        let attached: Vec<_> = live.iter().filter(about).map(|entry| entry.dump_id).collect();
        found.again.extend(attached);
        found
    }
}

/// Whether the statements of an entry make what it is of again, exactly.
fn is_made_again(entry: &Entry, object: &Gone) -> bool {
    // The default of a view's column has an entry of its own.
    AGAIN.contains(&entry.desc.as_str()) || is_attached(entry) || (entry.desc == "DEFAULT" && object.is_part)
}
