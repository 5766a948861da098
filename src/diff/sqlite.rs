//! A side that is of SQLite: the live file in one transaction, or what was unpacked of a backup or a file.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use rusqlite::{Connection, InterruptHandle};

use super::copy_text::Each;
use super::report::Named;
use super::side::{Object, Side, Table, TableName};
use crate::engine::sqlite::failure::explain;
use crate::engine::sqlite::open::{self, Found};
use crate::engine::sqlite::scratch::Scratch;
use crate::engine::sqlite::snapshot::{self, Readers};
use crate::engine::sqlite::tables::{self, MAIN, Unread};
use crate::engine::sqlite::{facts, give_way};
use crate::error::Result;
use crate::job::Job;
use crate::manifest::{self, Manifest, SqliteFacts};
use crate::names::Names;

/// How long the locks of others are waited for where nothing is configured.
const WAIT: std::time::Duration = std::time::Duration::from_secs(10);

/// A side, and where its rows come from.
pub struct Sqlite {
    /// What is known without reading rows.
    pub side: Side,
    /// The hash of its definitions.
    pub schema_hash: String,
    open: Option<Mutex<Connection>>,
    _scratch: Option<Scratch>,
}

impl Sqlite {
    /// What a manifest tells: enough where both sides have the same definitions.
    pub fn known(manifest: &Manifest, named: Named) -> Sqlite {
        let facts = manifest.sqlite.clone().unwrap_or_default();
        let mut side = Side {
            named,
            objects: settings(&facts),
            ..Side::default()
        };
        for table in &manifest.tables {
            side.tables.insert(name(&table.name), of_manifest(table));
        }
        Sqlite {
            side,
            schema_hash: manifest.schema_hash.clone(),
            open: None,
            _scratch: None,
        }
    }

    /// What was unpacked; what the manifest of a backup says of its rows need not be read again.
    ///
    /// # Errors
    /// It is no database.
    pub async fn unpacked(scratch: Scratch, known: Option<Sqlite>, named: Named, names: &Names) -> Result<Sqlite> {
        let open = open::immutable(scratch.path())?;
        open.execute_batch("BEGIN")?;
        let (tables, names) = (known.map(|it| it.side.tables), names.clone());
        let (open, mut side, schema_hash) = read(open, Vec::new(), tables, names).await?;
        side.named = named;
        Ok(Sqlite {
            side,
            schema_hash,
            open: Some(Mutex::new(open)),
            _scratch: Some(scratch),
        })
    }

    /// The live file as of now. Writers that wait for us for too long end it.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn live(found: &Found, job: &Job, named: Named, names: &Names, schema_only: bool) -> Result<Sqlite> {
        let limit = job.dump.max_lock_wait;
        let more = match schema_only {
            true => 0,
            false => READERS.min(std::thread::available_parallelism().map_or(1, NonZero::get)) - 1,
        };
        let begin = || snapshot::readers(found, limit.unwrap_or(WAIT), more);
        let Readers {
            first: open,
            more: others,
            ..
        } = tokio::task::block_in_place(begin)?;
        let all = others.iter().chain([&open]);
        let stop: Vec<InterruptHandle> = all.map(Connection::get_interrupt_handle).collect();
        let (known, names) = (schema_only.then(Default::default), names.clone());
        let done = tokio::select! {
            done = read(open, others, known, names) => done,
            waited = give_way::waited_too_long(found, limit) => Err(waited.into()),
        };
        if done.is_err() {
            stop.iter().for_each(InterruptHandle::interrupt);
        }
        let (open, mut side, schema_hash) = done.map_err(|error| match error.downcast::<rusqlite::Error>() {
            Ok(error) => explain(error, &found.path),
            Err(error) => error,
        })?;
        side.named = named;
        Ok(Sqlite {
            side,
            schema_hash,
            open: Some(Mutex::new(open)),
            _scratch: None,
        })
    }

    /// Hands each row of a table to `each`, with the values of these columns.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn rows(&self, name: &TableName, columns: &[String], each: &mut Each<'_>) -> Result<()> {
        self.with(|open| tables::rows(open, &name.1, columns, &mut |values| each(values)))
    }

    /// The hash of a table's rows by these columns.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn hash(&self, name: &TableName, columns: &[String]) -> Result<String> {
        self.with(|open| Ok(tables::hash(open, &name.1, columns)?.hash))
    }

    fn with<T>(&self, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        let Some(open) = &self.open else {
            anyhow::bail!("{} was not unpacked", self.side.named.title());
        };
        tokio::task::block_in_place(|| work(&open.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

fn name(table: &str) -> TableName {
    (MAIN.to_owned(), table.to_owned())
}

/// All columns of a table whose definition is the same on both sides.
const ALL: &str = "*";

fn of_manifest(table: &manifest::Table) -> Table {
    Table {
        rows: table.rows,
        hash: Some(table.hash.clone()),
        hashed: vec![ALL.to_owned()],
        columns: vec![ALL.to_owned()],
        ..Table::default()
    }
}

type Tables = BTreeMap<TableName, Table>;

/// Reads definitions, and the rows of tables that are not `known`; these by all connections at once, of which all see the same.
async fn read(
    open: Connection,
    mut others: Vec<Connection>,
    known: Option<Tables>,
    names: Names,
) -> Result<(Connection, Side, String)> {
    tokio::task::spawn_blocking(move || {
        let definitions = tables::definitions(&open)?;
        let mut side = Side {
            objects: settings(&facts::read(&open)?),
            ..Side::default()
        };
        for found in tables::objects(&open)? {
            let Some(sql) = found.sql else { continue };
            // SQLite makes these itself.
            if found.name.starts_with("sqlite_") {
                continue;
            }
            side.objects.push(Object {
                kind: found.kind.to_ascii_uppercase(),
                schema: None,
                name: found.name,
                definition: sql,
                table: Some(name(&found.table)),
            });
        }
        let wanted = |table: &&String| known.is_none() && names.has(MAIN, table);
        let wanted: Vec<&String> = definitions.tables.iter().filter(wanted).collect();
        let mut hashed = hashes(&open, &mut others, &wanted)?;
        drop(others);
        for table in &definitions.tables {
            let columns = tables::stored_columns(&open, table)?;
            let mut found = match &known {
                Some(known) => known.get(&name(table)).cloned().unwrap_or_default(),
                None if !names.has(MAIN, table) => Table::default(),
                None => match hashed.remove(table) {
                    Some(hashed) => hashed,
                    None => continue,
                },
            };
            if found.hash.is_some() {
                found.hashed.clone_from(&columns);
            }
            found.columns = columns;
            found.key = tables::key(&open, table)?;
            side.tables.insert(name(table), found);
        }
        Ok((open, side, definitions.hash))
    })
    .await?
}

/// How many connections read at once.
const READERS: usize = 4;

/// The rows of these tables, counted and hashed: each connection takes the next one that none has taken. What cannot be read here
/// is left out: it has no hash in a manifest either.
fn hashes(open: &Connection, others: &mut [Connection], wanted: &[&String]) -> Result<BTreeMap<String, Table>> {
    let next = AtomicUsize::new(0);
    let take = |open: &Connection| -> rusqlite::Result<Vec<(String, Table)>> {
        let mut hashed = Vec::new();
        while let Some(table) = wanted.get(next.fetch_add(1, Ordering::Relaxed)) {
            match tables::table(open, table) {
                Ok(found) => hashed.push(((*table).clone(), of_manifest(&found.table(table)))),
                Err(Unread::Damaged(_) | Unread::NotProvable(_)) => {}
                Err(Unread::Failed(error)) => {
                    // The others need not go on.
                    next.store(wanted.len(), Ordering::Relaxed);
                    return Err(error);
                }
            }
        }
        Ok(hashed)
    };
    let parts = std::thread::scope(|scope| {
        let take = &take;
        let others: Vec<_> = others
            .iter_mut()
            .map(|other| scope.spawn(move || take(other)))
            .collect();
        let mut parts = vec![take(open)];
        let joined = others
            .into_iter()
            .map(|thread| thread.join().unwrap_or(Err(rusqlite::Error::InvalidQuery)));
        parts.extend(joined);
        parts
    });
    let mut hashed = BTreeMap::new();
    for part in parts {
        hashed.extend(part?);
    }
    Ok(hashed)
}

/// What the file says of itself, as the statements that would set it.
fn settings(facts: &SqliteFacts) -> Vec<Object> {
    let settings = [
        ("application_id", facts.application_id.to_string()),
        ("auto_vacuum", facts.auto_vacuum.to_string()),
        ("encoding", format!("'{}'", facts.encoding)),
        ("journal_mode", facts.journal_mode.clone()),
        ("page_size", facts.page_size.to_string()),
        ("user_version", facts.user_version.to_string()),
    ];
    let setting = |(name, value): (&str, String)| Object {
        kind: "PRAGMA".to_owned(),
        schema: None,
        name: name.to_owned(),
        definition: format!("PRAGMA {name} = {value};"),
        table: None,
    };
    settings.into_iter().map(setting).collect()
}

impl Sqlite {
    /// Lets it say no more than a manifest does: where the other side has the same definitions, and is a manifest's.
    pub fn as_known(&mut self) {
        self.side.objects.retain(|object| object.kind == "PRAGMA");
        for table in self.side.tables.values_mut() {
            table.hashed = vec![ALL.to_owned()];
            table.columns = vec![ALL.to_owned()];
            table.key.clear();
        }
    }
}
