//! Single tables in place: which they are, what of the archive belongs to them, and in which way they are replaced.
//!
//! Where they are defined as in the backup only their rows are replaced (`refill`), and what is built on them stays.
//! Else they are dropped and made anew (`replacement`).

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use tokio_postgres::Client;

use super::replacement::Replacement;
use crate::archive::belonging::{Name, belonging, name_of};
use crate::archive::options::RestoreOptions;
use crate::archive::required::required;
use crate::archive::selection::Selection;
use crate::archive::toc::Entry;
use crate::engine::postgres::any_text::AnyText;
use crate::engine::postgres::connect::Dsn;
use crate::engine::postgres::connect::session::Session;
use crate::engine::postgres::dump::{self, entries_within};
use crate::engine::postgres::options::DumpOptions;
use crate::engine::postgres::target::quoted;
use crate::error::{Exit, Result};
use crate::restore::postgres::plan::Obstacle;

/// The tables that a selection names, and what of the archive belongs to them.
pub struct Tables {
    names: BTreeSet<Name>,
    /// Those that go, and nothing comes in their place.
    new: BTreeSet<Name>,
    /// Definitions, rows, all that is built on them, and the sequences that their columns own.
    pub entries: Vec<Entry>,
}

/// How tables are replaced.
pub enum Way {
    /// Only their rows.
    Rows,
    /// As a whole, because these are defined otherwise now, or do not exist.
    Whole(Vec<String>, Box<Replacement>),
}

/// A foreign key, and the statements that drop it and make it again, which checks it.
pub struct ForeignKey {
    /// The table that has it.
    pub of: u32,
    /// The table that it points at.
    pub to: u32,
    /// What it is, for people.
    pub name: String,
    /// `ALTER TABLE … DROP CONSTRAINT`.
    pub drop: String,
    /// `ALTER TABLE … ADD CONSTRAINT`, with its comment.
    pub add: String,
}

/// Foreign keys from and to tables, the topmost of those that partitions inherit.
const FOREIGN_KEYS: &str = "\
WITH RECURSIVE up AS (
    SELECT oid, conparentid FROM pg_catalog.pg_constraint
    WHERE contype = 'f' AND (conrelid = ANY ($1) OR confrelid = ANY ($1))
    UNION SELECT p.oid, p.conparentid FROM up JOIN pg_catalog.pg_constraint p ON p.oid = up.conparentid)
SELECT c.conrelid, c.confrelid, pg_catalog.pg_describe_object('pg_catalog.pg_constraint'::pg_catalog.regclass, c.oid, 0),
    pg_catalog.format('ALTER TABLE %s DROP CONSTRAINT %I', c.conrelid::pg_catalog.regclass, c.conname),
    pg_catalog.format('ALTER TABLE %s ADD CONSTRAINT %I %s', c.conrelid::pg_catalog.regclass, c.conname,
        pg_catalog.pg_get_constraintdef(c.oid))
    || COALESCE(pg_catalog.format('; COMMENT ON CONSTRAINT %I ON %s IS %L', c.conname, c.conrelid::pg_catalog.regclass,
        pg_catalog.obj_description(c.oid, 'pg_constraint')), '')
FROM pg_catalog.pg_constraint c WHERE c.conparentid = 0 AND c.oid IN (SELECT oid FROM up) ORDER BY c.oid";

/// The foreign keys from and to the tables with the numbers `oids`.
///
/// # Errors
/// The server does not answer.
pub async fn foreign_keys(client: &Client, oids: &[u32]) -> Result<Vec<ForeignKey>> {
    let rows = client.query(FOREIGN_KEYS, &[&oids]).await?;
    let keys = rows.iter().map(|row| {
        let text = |at| Ok::<_, anyhow::Error>(row.try_get::<_, AnyText>(at)?.0);
        Ok(ForeignKey {
            of: row.try_get(0)?,
            to: row.try_get(1)?,
            name: text(2)?,
            drop: text(3)?,
            add: text(4)?,
        })
    });
    keys.collect()
}

impl Tables {
    /// Finds them among the entries that were `chosen` of `all`; `new` ones go. What `options` leave out of all tables does
    /// not belong to them.
    #[must_use]
    pub fn of(chosen: &[Entry], all: &[Entry], new: &BTreeSet<Name>, options: &RestoreOptions) -> Tables {
        let names = chosen
            .iter()
            .filter(|entry| entry.desc == "TABLE")
            .map(name_of)
            .collect();
        let own = belonging(&names, all);
        let unselected = RestoreOptions {
            selection: Selection::default(),
            ..options.clone()
        };
        let wanted = required(all, &unselected);
        Tables {
            entries: all
                .iter()
                .zip(wanted)
                .filter(|(entry, required)| own.contains(&entry.dump_id) && (required.wanted() || !options.changes()))
                .map(|(entry, _)| entry.clone())
                .collect(),
            names,
            new: new.clone(),
        }
    }

    /// How they are replaced in the database as it is now, and what is in the way of it. The session is in a transaction.
    ///
    /// # Errors
    /// The server does not answer.
    pub async fn way(&self, session: &Arc<Session>, dsn: &Dsn, all: &[Entry]) -> Result<(Way, Vec<Obstacle>)> {
        let live = entries_within(session, dsn).await?;
        let mut obstacles: Vec<_> = self.without_rows(all).into_iter().collect();
        let differ = self.differ(&live.0);
        if differ.is_empty() && self.new.is_empty() {
            return Ok((Way::Rows, obstacles));
        }
        let mut replacement = Replacement::plan(session.client(), self, all, live).await?;
        obstacles.append(&mut replacement.obstacles);
        Ok((Way::Whole(differ, Box::new(replacement)), obstacles))
    }

    /// The tables that are not as they are in the backup, for people.
    fn differ(&self, live: &[Entry]) -> Vec<String> {
        let live: BTreeMap<_, &str> = definitions(live).collect();
        let differs = |(name, defn): (Name, &str)| {
            let why = match live.get(&name) {
                Some(now) if *now == defn => return None,
                Some(_) => "is defined otherwise now",
                None => "does not exist now",
            };
            Some(format!("{}.{} {why}", name.0, name.1))
        };
        definitions(&self.entries).filter_map(differs).collect()
    }

    /// Tables that would be empty afterwards. A partitioned one has its rows in its partitions.
    fn without_rows(&self, all: &[Entry]) -> Option<Obstacle> {
        let with_rows = self.with_rows();
        let are_named = |root: &Entry| {
            let attached = |it: &&Entry| it.desc == "TABLE ATTACH" && it.dependencies.contains(&root.dump_id);
            let mut partitions = all
                .iter()
                .filter(attached)
                .map(name_of)
                .filter(|it| *it != name_of(root))
                .peekable();
            partitions.peek().is_some() && partitions.all(|it| self.names.contains(&it))
        };
        let empty: Vec<_> = self
            .entries
            .iter()
            .filter(|it| it.desc == "TABLE" && !with_rows.contains(&name_of(it)) && !are_named(it))
            .map(|it| format!("{}.{}", it.namespace.as_deref().unwrap_or_default(), it.tag))
            .collect();
        (!empty.is_empty()).then(|| {
            Obstacle::new(
                Exit::Failure,
                format!("the backup has no rows of its own for {}", empty.join(", ")),
                "of a partitioned table name all partitions too; otherwise restore beside with --mode new --as NAME",
            )
        })
    }

    /// Those that the archive has rows of.
    pub(super) fn with_rows(&self) -> HashSet<Name> {
        let rows = self.entries.iter().filter(|entry| entry.desc == "TABLE DATA");
        rows.map(name_of).collect()
    }

    /// The tables, those that a foreign key joins to them, and the partitions of these.
    ///
    /// # Errors
    /// The server does not answer.
    pub async fn locked(&self, client: &Client) -> Result<Vec<u32>> {
        let mut joined = self.oids(client).await?;
        let keys = foreign_keys(client, &joined).await?;
        joined.extend(keys.iter().flat_map(|key| [key.of, key.to]));
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

    /// The numbers of all, as far as they exist.
    ///
    /// # Errors
    /// The server does not answer.
    pub async fn oids(&self, client: &Client) -> Result<Vec<u32>> {
        oids(client, self.all()).await
    }

    /// The numbers of those that go, as far as they exist.
    ///
    /// # Errors
    /// The server does not answer.
    pub async fn new_oids(&self, client: &Client) -> Result<Vec<u32>> {
        oids(client, self.new.iter()).await
    }

    /// Schema and name of each, also of those that go.
    pub fn all(&self) -> impl Iterator<Item = &Name> {
        self.names.iter().chain(&self.new)
    }

    /// Schema and name of each that is replaced.
    #[must_use]
    pub fn names(&self) -> &BTreeSet<Name> {
        &self.names
    }

    /// The names of those that are `wanted`, for a statement, each after `only`.
    #[must_use]
    pub fn list(&self, only: &str, wanted: impl Fn(&Name) -> bool) -> String {
        let name = |(schema, name): &Name| format!("{only}{}.{}", quoted(schema), quoted(name));
        let wanted = self.names.iter().filter(|name| wanted(name));
        wanted.map(name).collect::<Vec<_>>().join(", ")
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

async fn oids(client: &Client, tables: impl Iterator<Item = &Name>) -> Result<Vec<u32>> {
    let (schemas, names): (Vec<&str>, Vec<&str>) = tables.map(|(a, b)| (a.as_str(), b.as_str())).unzip();
    let (schemas, names) = (AnyText::all(schemas), AnyText::all(names));
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

fn definitions(entries: &[Entry]) -> impl Iterator<Item = (Name, &str)> {
    let tables = entries.iter().filter(|entry| entry.desc == "TABLE");
    tables.map(|entry| (name_of(entry), entry.defn.as_str()))
}
