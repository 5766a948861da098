//! Single tables in place that are defined otherwise than in the backup, or are gone: they are dropped, and made from
//! the backup with all that belongs to them. What others have built on them is made again as it is now.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use tokio_postgres::Client;

use super::clear::without_default_privileges;
use super::dependents::Dependents;
use super::tables::{Tables, foreign_keys};
use crate::archive::belonging::{belonging, is_attached, name_of};
use crate::archive::options::RestoreOptions;
use crate::archive::selection::Selection;
use crate::archive::toc::{DumpId, Entry, Section};
use crate::engine::postgres::any_text::{AnyText, texts};
use crate::engine::postgres::connect::Dsn;
use crate::engine::postgres::connect::session::Session;
use crate::engine::postgres::dump::entries_within;
use crate::engine::postgres::load::missing::Missing;
use crate::engine::postgres::load::{make_again, remove};
use crate::engine::postgres::target::{quoted, run};
use crate::error::{Exit, Fail, Result};
use crate::restore::postgres::plan::Obstacle;
use crate::sql::quote::Quote;

/// What is done to the database around the tables.
pub struct Replacement {
    quote: Quote,
    /// The tables as they are now.
    drop: Vec<Entry>,
    /// What goes with them, and is made again.
    again: Vec<Entry>,
    /// All of the database that is not theirs, which must be the same afterwards.
    rest: BTreeSet<Thing>,
    /// What makes it impossible.
    pub obstacles: Vec<Obstacle>,
    /// What the backup has built on the tables, and the database has not: nobody makes that again.
    pub missing: Vec<String>,
}

/// What tells objects apart: type, schema, name, owner, definition.
type Thing = (String, String, String, String, String);

/// Types of entries that a table needs to be there, when they are not its own.
const NEEDED: [&str; 9] = [
    "TABLE",
    "SCHEMA",
    "TYPE",
    "DOMAIN",
    "FUNCTION",
    "SEQUENCE",
    "EXTENSION",
    "COLLATION",
    "FOREIGN TABLE",
];
/// Types of entries that share one space of names.
const RELATIONS: [&str; 6] = [
    "TABLE",
    "VIEW",
    "MATERIALIZED VIEW",
    "SEQUENCE",
    "INDEX",
    "FOREIGN TABLE",
];

impl Replacement {
    /// Finds out what else it takes to replace `tables` of the archive with the entries `all`, in the database whose
    /// entries are `live`.
    ///
    /// # Errors
    /// The server does not answer.
    pub async fn plan(
        client: &Client,
        tables: &Tables,
        all: &[Entry],
        (live, quote): (Vec<Entry>, Quote),
    ) -> Result<Replacement> {
        let own = belonging(&tables.all().cloned().collect(), &live);
        let oids = tables.oids(client).await?;
        let dependents = Dependents::read(client, &oids, &live, &own).await?;
        let mut obstacles = Vec::new();
        obstacles.extend(lost(&dependents));
        obstacles.extend(built_on_new(client, tables, &oids, &live, &own).await?);
        obstacles.extend(subscribed(client, &oids).await?);
        obstacles.extend(lacking(tables, all, &live));
        obstacles.extend(taken(tables, &live, &own));
        let pick = |wanted: &dyn Fn(&Entry) -> bool| live.iter().filter(|it| wanted(it)).cloned().collect::<Vec<_>>();
        let drop = pick(&|it| it.desc == "TABLE" && own.contains(&it.dump_id));
        let AnyText(me) = client.query_one("SELECT CURRENT_USER::text", &[]).await?.try_get(0)?;
        let again = pick(&|it| match it.desc.as_str() {
            // How the text of the others is to be read.
            "STDSTRINGS" => true,
            // They are taken away for as long as something is made.
            "DEFAULT ACL" => it.owner == me,
            _ => dependents.again.contains(&it.dump_id),
        });
        obstacles.extend(foreign(client, drop.iter().chain(&again)).await?);
        Ok(Replacement {
            quote,
            drop,
            again,
            missing: missing(tables, all, &live),
            rest: rest(&live, &own),
            obstacles,
        })
    }

    /// What is made again, for people.
    #[must_use]
    pub fn made_again(&self) -> Vec<String> {
        let silent = |it: &Entry| is_attached(it) || matches!(it.desc.as_str(), "STDSTRINGS" | "DEFAULT ACL" | "RULE");
        self.again.iter().filter(|it| !silent(it)).map(named).collect()
    }

    /// Removes the tables and what depends on them. Returns the statements that make the foreign keys of others again.
    ///
    /// # Errors
    /// The role does not own all of that.
    pub async fn remove(&self, session: &Session, tables: &Tables) -> Result<Vec<String>> {
        let client = session.client();
        let own = tables.oids(client).await?;
        let mut again = Vec::new();
        for key in foreign_keys(client, &own).await? {
            run(client, &key.drop).await?;
            if !own.contains(&key.of) {
                again.push(key.add);
            }
        }
        // What is made next gets only the privileges that its own statements give.
        run(client, &without_default_privileges(OURS)).await?;
        remove(session, self.drop.clone(), self.quote).await?;
        Ok(again)
    }

    /// The options that load all that belongs to the tables, besides those `options` that were asked for.
    #[must_use]
    pub fn load_options(&self, tables: &Tables, options: &RestoreOptions) -> RestoreOptions {
        RestoreOptions {
            selection: Selection {
                list: Some(
                    tables
                        .entries
                        .iter()
                        .filter(|it| !joins(it, tables))
                        .map(|it| it.dump_id)
                        .collect(),
                ),
                ..Selection::default()
            },
            ..options.clone()
        }
    }

    /// Makes again what indexes and policies of the tables may need: views and functions.
    ///
    /// # Errors
    /// Something does not fit the tables as they are in the backup.
    pub async fn make_definitions(&self, session: &Session) -> Result<()> {
        let made = self.make(session, |entry| {
            entry.section == Section::PreData || entry.desc == "STDSTRINGS"
        });
        made.await.map(drop)
    }

    /// Makes the rest again, and gathers statistics. Returns the materialized views that could not be refreshed.
    ///
    /// # Errors
    /// Something does not fit the tables as they are in the backup, or a foreign key does not hold any more.
    pub async fn finish(&self, session: &Session, tables: &Tables, foreign_keys: &[String]) -> Result<Vec<Missing>> {
        // A partition takes the indexes of its table when it joins that, unless it has equal ones by then.
        let joining: Vec<Entry> = tables.entries.iter().filter(|it| joins(it, tables)).cloned().collect();
        make_again(session, &joining, self.quote).await?;
        let missing = self.make(session, |entry| entry.section != Section::PreData).await?;
        let client = session.client();
        for statement in foreign_keys {
            run(client, statement).await?;
        }
        if !tables.names().is_empty() {
            run(client, &format!("ANALYZE {}", tables.list("", |_| true))).await?;
        }
        for view in self.again.iter().filter(|it| it.desc == "MATERIALIZED VIEW") {
            let (schema, name) = name_of(view);
            run(client, &format!("ANALYZE {}.{}", quoted(&schema), quoted(&name))).await?;
        }
        Ok(missing)
    }

    /// What the dump of the tables proves too; it has no statistics objects.
    #[must_use]
    pub fn proven(&self, tables: &Tables) -> Vec<Entry> {
        let shown = tables.entries.iter().filter(|entry| entry.desc != "STATISTICS");
        shown.filter(|it| !it.tag.starts_with("STATISTICS ")).cloned().collect()
    }

    async fn make(&self, session: &Session, wanted: impl Fn(&Entry) -> bool) -> Result<Vec<Missing>> {
        let entries: Vec<Entry> = self.again.iter().filter(|it| wanted(it)).cloned().collect();
        make_again(session, &entries, self.quote).await.map_err(|error| {
            let message = "what others built on the tables does not fit them as they are in the backup";
            error.context(
                Fail::new(Exit::Failure, message)
                    .hint("drop what is named here first, or restore the tables beside with --mode new --as NAME"),
            )
        })
    }

    /// Makes sure that the tables have what the backup has of them, and that all that is not theirs is as it was; but for
    /// what is known to be `missing`.
    ///
    /// # Errors
    /// [`Exit::Damaged`]: something is not.
    pub async fn prove(&self, session: &Arc<Session>, dsn: &Dsn, tables: &Tables, missing: &[Missing]) -> Result<()> {
        let (now, _) = entries_within(session, dsn).await?;
        let there: HashSet<_> = now.iter().map(|entry| (&entry.desc, name_of(entry))).collect();
        let known = |id| missing.iter().any(|it| it.entry == Some(id));
        let wanted = tables
            .entries
            .iter()
            .filter(|it| !is_attached(it) && !known(it.dump_id));
        let lacking = wanted.filter(|it| !there.contains(&(&it.desc, name_of(it))));
        let lacking = lacking.map(|it| format!("{} is missing", named(it)));
        let rest_now = rest(&now, &belonging(&tables.all().cloned().collect(), &now));
        let left = |thing: &&Thing| {
            let name = format!("{} {}.{}", thing.0, thing.1, thing.2);
            !missing.iter().any(|it| it.entry.is_none() && it.what == name)
        };
        let gone = self.rest.difference(&rest_now).filter(left);
        // Others may create something meanwhile, but nobody may get privileges by what was made again.
        let come = rest_now.difference(&self.rest).filter(|thing| thing.0 == "ACL");
        let changed = gone.chain(come);
        let changed = changed.map(|it| format!("{} {}.{} would not be as it was", it.0, it.1, it.2));
        let differences: BTreeSet<_> = changed.chain(lacking).collect();
        if differences.is_empty() {
            return Ok(());
        }
        let differences: Vec<_> = differences.into_iter().collect();
        let message = format!("the tables cannot be replaced exactly: {}", differences.join("; "));
        Err(Fail::new(Exit::Damaged, message)
            .hint("nothing was changed; restore the tables beside with --mode new --as NAME")
            .into())
    }
}

/// Whether an entry makes something a part of a table that stays.
fn joins(entry: &Entry, tables: &Tables) -> bool {
    let own = |id| tables.entries.iter().any(|it| it.dump_id == id);
    matches!(entry.desc.as_str(), "TABLE ATTACH" | "INDEX ATTACH") && !entry.dependencies.iter().all(|id| own(*id))
}

/// Default privileges of the role that creates all that is made.
const OURS: &str = "a.defaclrole = (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = CURRENT_USER)";

fn named(entry: &Entry) -> String {
    match &entry.namespace {
        Some(schema) => format!("{} {schema}.{}", entry.desc, entry.tag),
        None => format!("{} {}", entry.desc, entry.tag),
    }
}

fn lost(dependents: &Dependents) -> Option<Obstacle> {
    let names: Vec<_> = dependents.lost.iter().map(String::as_str).collect();
    (!names.is_empty()).then(|| {
        Obstacle::new(
            Exit::Failure,
            format!(
                "what depends on the tables could not be made again as it is: {}",
                names.join(", ")
            ),
            "name tables among it with --table too, drop the rest first, or restore beside with --mode new --as NAME",
        )
    })
}

/// What others have built on tables that go, and nothing comes in their place.
async fn built_on_new(
    client: &Client,
    tables: &Tables,
    all: &[u32],
    live: &[Entry],
    own: &HashSet<DumpId>,
) -> Result<Option<Obstacle>> {
    let new = tables.new_oids(client).await?;
    if new.is_empty() {
        return Ok(None);
    }
    let dependents = Dependents::read(client, &new, live, own).await?;
    let again = live
        .iter()
        .filter(|it| dependents.again.contains(&it.dump_id) && !is_attached(it));
    let mut names: Vec<String> = again.map(named).chain(dependents.lost).collect();
    for key in foreign_keys(client, &new).await? {
        if new.contains(&key.to) && !all.contains(&key.of) {
            names.push(key.name);
        }
    }
    Ok((!names.is_empty()).then(|| {
        Obstacle::new(
            Exit::Failure,
            format!(
                "tables that were not there before would be dropped, but something is built on them: {}",
                names.join(", ")
            ),
            "drop it first, if it is not needed any more",
        )
    }))
}

/// Subscriptions that fill the tables: they would forget a table that is dropped, and nothing depends on that.
async fn subscribed(client: &Client, oids: &[u32]) -> Result<Option<Obstacle>> {
    let query = "SELECT DISTINCT s.subname::text FROM pg_catalog.pg_subscription_rel r \
                 JOIN pg_catalog.pg_subscription s ON s.oid = r.srsubid WHERE r.srrelid = ANY ($1) ORDER BY 1";
    let rows = client.query(query, &[&oids]).await?;
    let names = rows
        .iter()
        .map(|row| Ok(row.try_get(0)?))
        .collect::<Result<Vec<String>>>()?;
    Ok((!names.is_empty()).then(|| {
        Obstacle::new(
            Exit::Failure,
            format!(
                "subscriptions fill the tables, and would forget them: {}",
                names.join(", ")
            ),
            "drop the subscription first and create it anew afterwards, or restore beside with --mode new --as NAME",
        )
    }))
}

/// What the tables of the backup are made of and is not there.
fn lacking(tables: &Tables, all: &[Entry], live: &[Entry]) -> Option<Obstacle> {
    let own: HashSet<DumpId> = tables.entries.iter().map(|entry| entry.dump_id).collect();
    let needed: HashSet<DumpId> = tables
        .entries
        .iter()
        .flat_map(|entry| entry.dependencies.clone())
        .collect();
    let there: HashSet<_> = live.iter().map(|entry| (&entry.desc, name_of(entry))).collect();
    let lacking: Vec<String> = all
        .iter()
        .filter(|it| needed.contains(&it.dump_id) && !own.contains(&it.dump_id))
        .filter(|it| NEEDED.contains(&it.desc.as_str()) && !there.contains(&(&it.desc, name_of(it))))
        .map(named)
        .collect();
    (!lacking.is_empty()).then(|| {
        Obstacle::new(
            Exit::Failure,
            format!(
                "the tables of the backup need what is not there now: {}",
                lacking.join(", ")
            ),
            "name tables among it with --table too, create the rest first, or restore beside with --mode new --as NAME",
        )
    })
}

/// Names that the tables of the backup need and something else has.
fn taken(tables: &Tables, live: &[Entry], own: &HashSet<DumpId>) -> Option<Obstacle> {
    let relations = |entry: &&Entry| RELATIONS.contains(&entry.desc.as_str());
    let wanted: HashSet<_> = tables.entries.iter().filter(relations).map(name_of).collect();
    let taken: Vec<String> = live
        .iter()
        .filter(relations)
        .filter(|it| !own.contains(&it.dump_id) && wanted.contains(&name_of(it)))
        .map(named)
        .collect();
    (!taken.is_empty()).then(|| {
        Obstacle::new(
            Exit::Failure,
            format!(
                "something else has the names that the tables of the backup need: {}",
                taken.join(", ")
            ),
            "rename or drop it first, or restore beside with --mode new --as NAME",
        )
    })
}

/// Owners of what is dropped that the role may not act for.
async fn foreign(client: &Client, entries: impl Iterator<Item = &Entry>) -> Result<Option<Obstacle>> {
    let owners: BTreeSet<&str> = entries.map(|entry| entry.owner.as_str()).collect();
    let owners = AnyText::all(owners);
    let query = "SELECT rolname::text FROM pg_catalog.pg_roles WHERE rolname = ANY ($1) \
                 AND NOT pg_catalog.pg_has_role(oid, 'USAGE') ORDER BY 1";
    let rows = client.query(query, &[&owners]).await?;
    let foreign = texts(&rows)?;
    Ok((!foreign.is_empty()).then(|| {
        Obstacle::new(
            Exit::Permission,
            format!("this role may not drop what belongs to: {}", foreign.join(", ")),
            "grant it these roles, or restore as a superuser",
        )
    }))
}

/// What the backup has built on the tables and the database has not.
fn missing(tables: &Tables, all: &[Entry], live: &[Entry]) -> Vec<String> {
    let own: HashSet<DumpId> = tables.entries.iter().map(|entry| entry.dump_id).collect();
    let there: HashSet<_> = live.iter().map(|entry| (&entry.desc, name_of(entry))).collect();
    all.iter()
        .filter(|it| !own.contains(&it.dump_id) && it.dependencies.iter().any(|id| own.contains(id)))
        .filter(|it| !it.defn.is_empty() && !there.contains(&(&it.desc, name_of(it))))
        .map(named)
        .collect()
}

/// What must be the same afterwards. Sequences and large objects may change while they are not locked.
fn rest(entries: &[Entry], own: &HashSet<DumpId>) -> BTreeSet<Thing> {
    let moves = |entry: &Entry| {
        matches!(entry.desc.as_str(), "SEQUENCE SET" | "STATISTICS DATA")
            || entry.desc.starts_with("BLOB")
            || entry.tag.starts_with("LARGE OBJECT")
    };
    let kept = entries.iter().filter(|it| !own.contains(&it.dump_id) && !moves(it));
    kept.map(|it| {
        let (schema, name) = name_of(it);
        (it.desc.clone(), schema, name, it.owner.clone(), it.defn.clone())
    })
    .collect()
}
