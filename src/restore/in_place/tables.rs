//! Single tables in place: their rows are replaced by those of the backup, when their definition is still the same.
//!
//! What is built on a table - views, indexes, constraints, privileges - stays as it is. Foreign keys from and to it are
//! taken away and made anew, which checks them; triggers do not fire.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use tokio_postgres::Client;

use crate::archive::options::RestoreOptions;
use crate::archive::selection::Selection;
use crate::archive::toc::{DumpId, Entry};
use crate::error::{Exit, Fail, Result};
use crate::postgres::connect::Dsn;
use crate::postgres::dump::{self, entries_within};
use crate::postgres::options::DumpOptions;
use crate::postgres::session::Session;
use crate::restore::plan::Obstacle;
use crate::restore::target::{quoted, run};

/// The tables that a selection names, and what of the archive is restored for them.
pub struct Tables {
    /// Schema and name of each.
    names: BTreeSet<(String, String)>,
    /// Their definitions, rows, and the values of the sequences that belong to them.
    pub entries: Vec<Entry>,
}

/// Foreign keys from and to tables, the topmost of those that partitions inherit.
const FOREIGN_KEYS: &str = "\
WITH RECURSIVE up AS (
    SELECT oid, conparentid FROM pg_catalog.pg_constraint
    WHERE contype = 'f' AND (conrelid = ANY ($1) OR confrelid = ANY ($1))
    UNION SELECT p.oid, p.conparentid FROM up JOIN pg_catalog.pg_constraint p ON p.oid = up.conparentid)
SELECT c.conrelid, c.confrelid,
    pg_catalog.format('ALTER TABLE %s DROP CONSTRAINT %I', c.conrelid::pg_catalog.regclass, c.conname),
    pg_catalog.format('ALTER TABLE %s ADD CONSTRAINT %I %s', c.conrelid::pg_catalog.regclass, c.conname,
        pg_catalog.pg_get_constraintdef(c.oid))
    || COALESCE(pg_catalog.format('; COMMENT ON CONSTRAINT %I ON %s IS %L', c.conname, c.conrelid::pg_catalog.regclass,
        pg_catalog.obj_description(c.oid, 'pg_constraint')), '')
FROM pg_catalog.pg_constraint c WHERE c.conparentid = 0 AND c.oid IN (SELECT oid FROM up) ORDER BY c.oid";

/// Triggers of tables, with what makes each what it is now.
const TRIGGERS: &str = "\
SELECT pg_catalog.format('ALTER TABLE ONLY %s DISABLE TRIGGER %I', tgrelid::pg_catalog.regclass, tgname),
    pg_catalog.format('ALTER TABLE ONLY %s %s TRIGGER %I', tgrelid::pg_catalog.regclass,
        CASE tgenabled WHEN 'R' THEN 'ENABLE REPLICA' WHEN 'A' THEN 'ENABLE ALWAYS' ELSE 'ENABLE' END, tgname)
FROM pg_catalog.pg_trigger WHERE tgrelid = ANY ($1) AND NOT tgisinternal AND tgenabled <> 'D' ORDER BY oid";

impl Tables {
    /// Finds them among the entries that were `chosen` of `all`.
    #[must_use]
    pub fn of(chosen: &[Entry], all: &[Entry]) -> Tables {
        let mut names = BTreeSet::new();
        let mut ids: HashSet<DumpId> = HashSet::new();
        for entry in chosen.iter().filter(|entry| entry.desc == "TABLE") {
            names.insert((entry.namespace.clone().unwrap_or_default(), entry.tag.clone()));
            ids.insert(entry.dump_id);
        }
        let of_tables = |entry: &&Entry| entry.dependencies.iter().any(|id| ids.contains(id));
        let sequences: HashSet<_> = all
            .iter()
            .filter(|entry| matches!(entry.desc.as_str(), "SEQUENCE" | "SEQUENCE OWNED BY"))
            .filter(of_tables)
            .map(|entry| (&entry.namespace, &entry.tag))
            .collect();
        let is_part = |entry: &&Entry| match entry.desc.as_str() {
            "TABLE" => ids.contains(&entry.dump_id),
            "TABLE DATA" => of_tables(entry),
            "SEQUENCE SET" => sequences.contains(&(&entry.namespace, &entry.tag)),
            _ => false,
        };
        Tables {
            entries: all.iter().filter(is_part).cloned().collect(),
            names,
        }
    }

    /// What keeps the rows from being replaced.
    ///
    /// # Errors
    /// The server does not answer.
    pub async fn obstacles(&self, session: &Arc<Session>, dsn: &Dsn, chosen: &[Entry]) -> Result<Vec<Obstacle>> {
        let mut found = Vec::new();
        // What belongs to a table is chosen along with it, and stays as it is.
        let along = [
            "TABLE",
            "TABLE DATA",
            "ACL",
            "COMMENT",
            "SCHEMA",
            "SECURITY LABEL",
            "STATISTICS DATA",
        ];
        let others = chosen
            .iter()
            .filter(|entry| !entry.desc.starts_with("DATABASE") && !along.contains(&entry.desc.as_str()));
        let others: Vec<_> = others.map(|entry| format!("{} {}", entry.desc, entry.tag)).collect();
        if !others.is_empty() {
            let what = format!("only rows of tables are replaced in place, not {}", others.join(", "));
            found.push(Obstacle::new(
                Exit::Usage,
                what,
                "name tables with --table, or restore the part with --mode new",
            ));
        }
        session.run("BEGIN READ ONLY").await?;
        let (live, _) = entries_within(session, dsn).await?;
        session.run("ROLLBACK").await?;
        if let Err(fail) = self.check(&live) {
            found.push(Obstacle::new(fail.exit, fail.message, fail.hint.unwrap_or_default()));
        }
        Ok(found)
    }

    /// Makes sure that the tables are defined as in the backup.
    ///
    /// # Errors
    /// They are not; or the backup has no rows of one.
    pub fn check(&self, live: &[Entry]) -> Result<(), Fail> {
        let live: BTreeMap<_, &str> = definitions(live).collect();
        let rows: HashSet<_> = self
            .entries
            .iter()
            .filter(|entry| entry.desc == "TABLE DATA")
            .map(name_of)
            .collect();
        let mut differ = Vec::new();
        for (name, defn) in definitions(&self.entries) {
            let why = match live.get(&name) {
                _ if !rows.contains(&Some(name)) => "has no rows of its own: name its partitions",
                Some(now) if *now == defn => continue,
                Some(_) => "is defined otherwise now",
                None => "does not exist now",
            };
            differ.push(format!("{}.{} {why}", name.0, name.1));
        }
        if differ.is_empty() {
            return Ok(());
        }
        let message = format!("only rows are replaced in place: {}", differ.join(", "));
        Err(Fail::new(Exit::Failure, message)
            .hint("restore them beside with --mode new --as NAME, and copy from there what is missed"))
    }

    /// The tables, those that a foreign key joins to them, and the partitions of these.
    ///
    /// # Errors
    /// The server does not answer.
    pub async fn locked(&self, client: &Client) -> Result<Vec<u32>> {
        let mut joined = self.oids(client).await?;
        for row in client.query(FOREIGN_KEYS, &[&joined.clone()]).await? {
            joined.extend([row.try_get::<_, u32>(0)?, row.try_get(1)?]);
        }
        let rows = client
            .query(
                "SELECT DISTINCT t.it::pg_catalog.oid FROM pg_catalog.unnest($1::pg_catalog.oid[]) AS o (id), \
                 LATERAL (SELECT o.id::pg_catalog.regclass UNION SELECT relid FROM pg_catalog.pg_partition_tree(o.id)) \
                 AS t (it) ORDER BY 1",
                &[&joined],
            )
            .await?;
        rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
    }

    async fn oids(&self, client: &Client) -> Result<Vec<u32>> {
        let (schemas, names): (Vec<&str>, Vec<&str>) = self.names.iter().map(|(a, b)| (a.as_str(), b.as_str())).unzip();
        let rows = client
            .query(
                "SELECT c.oid FROM ROWS FROM (pg_catalog.unnest($1::text[]), pg_catalog.unnest($2::text[])) AS w (schema, name) \
                 JOIN pg_catalog.pg_namespace n ON n.nspname = w.schema \
                 JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = w.name ORDER BY c.oid",
                &[&schemas, &names],
            )
            .await?;
        rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
    }

    /// Empties the tables, and returns the statements that make again what was taken away for that.
    ///
    /// # Errors
    /// The role does not own one of them.
    pub async fn clear(&self, client: &Client) -> Result<Vec<String>> {
        let own = self.oids(client).await?;
        let mut again = Vec::new();
        for row in client.query(TRIGGERS, &[&own]).await? {
            run(client, row.try_get(0)?).await?;
            again.push(row.try_get(1)?);
        }
        for row in client.query(FOREIGN_KEYS, &[&own]).await? {
            run(client, row.try_get(2)?).await?;
            again.push(row.try_get(3)?);
        }
        // A value that is set is not rolled back, but for that of a sequence that was restarted in the transaction.
        for sequence in self.entries.iter().filter(|entry| entry.desc == "SEQUENCE SET") {
            if let Some((schema, name)) = name_of(sequence) {
                let restart = format!("ALTER SEQUENCE {}.{} RESTART", quoted(schema), quoted(name));
                run(client, &restart).await?;
            }
        }
        run(client, &format!("TRUNCATE {}", self.list("ONLY "))).await?;
        Ok(again)
    }

    /// Makes again what was taken away, and gathers statistics.
    ///
    /// # Errors
    /// A foreign key does not hold any more.
    pub async fn finish(&self, client: &Client, again: &[String]) -> Result<()> {
        for statement in again {
            run(client, statement).await?;
        }
        run(client, &format!("ANALYZE {}", self.list(""))).await
    }

    /// Their names, for people.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.names
            .iter()
            .map(|(schema, name)| format!("{schema}.{name}"))
            .collect()
    }

    fn list(&self, only: &str) -> String {
        let name = |(schema, name): &(String, String)| format!("{only}{}.{}", quoted(schema), quoted(name));
        self.names.iter().map(name).collect::<Vec<_>>().join(", ")
    }

    /// The options that load the rows and set the sequences.
    #[must_use]
    pub fn load_options(&self) -> RestoreOptions {
        RestoreOptions {
            schema: false,
            selection: Selection {
                list: Some(self.entries.iter().map(|entry| entry.dump_id).collect()),
                ..Selection::default()
            },
            ..RestoreOptions::default()
        }
    }

    /// A dump of these tables alone, for the proof.
    #[must_use]
    pub fn dump(&self, request: &dump::Request) -> dump::Request {
        let pattern = |(schema, name): &(String, String)| format!("{}.{}", quoted(schema), quoted(name));
        dump::Request {
            options: DumpOptions {
                include_tables: self.names.iter().map(pattern).collect(),
                ..request.options.clone()
            },
            ..request.clone()
        }
    }
}

fn definitions(entries: &[Entry]) -> impl Iterator<Item = ((&str, &str), &str)> {
    let tables = entries.iter().filter(|entry| entry.desc == "TABLE");
    tables.filter_map(|entry| Some((name_of(entry)?, entry.defn.as_str())))
}

fn name_of(entry: &Entry) -> Option<(&str, &str)> {
    Some((entry.namespace.as_deref()?, entry.tag.as_str()))
}
