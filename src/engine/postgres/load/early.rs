//! What is done with a table as soon as its rows are in, while others are loaded and indexes built: its rows are read back and
//! hashed, as the proof of a restore wants them. Of large ones the planner's statistics are gathered too. Small ones are read by
//! the session that has just loaded them together: it knows them already, which another one would take longer to learn than to
//! read them. What lies between is quicker done after the load.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use futures_util::StreamExt as _;

use super::items::{Pages, Task};
use super::rows::{own_table, target};
use super::session::Loader;
use super::side_effects;
use crate::archive::reader::Reader;
use crate::archive::toc::{DumpId, Entry};
use crate::engine::postgres::connect::session::{Query, Session};
use crate::engine::postgres::snapshot::{self, SessionOptions};
use crate::error::Result;
use crate::row_hash::RowHash;

/// Bytes of rows that make a table large.
const LARGE: u64 = 8 << 20;
/// Pages that are read back at a time: 32 MiB, so that nothing waits long for the end of it.
const PART_PAGES: u64 = 4096;

/// Schema and name of a table.
pub type Name = (String, String);

/// What a load is asked to do early.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// How the sessions that wrote the archive were set up: rows that are read back so have the same text.
    pub session: SessionOptions,
    /// Tables whose statistics the archive brings along.
    pub brought: BTreeSet<Name>,
}

/// What was done early.
#[derive(Clone, Debug, Default)]
pub struct Done {
    /// The rows of tables as they were read back, unless code of the database could have changed them since.
    pub read: BTreeMap<Name, RowHash>,
    /// Tables whose statistics are gathered.
    pub analysed: BTreeSet<Name>,
}

/// Reading back and gathering statistics, for all connections of a load.
pub(super) struct Early {
    session: Option<SessionOptions>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// By the place of the entry: what was read so far, and how many parts are missing.
    read: HashMap<usize, (RowHash, usize)>,
    analysed: Vec<usize>,
}

impl Early {
    /// Decides what is done early: nothing is read back where code of the database could change it afterwards.
    pub(super) async fn decide(loader: &Loader, wanted: Option<&Wanted>) -> Result<Early> {
        let any_rows = loader.archive.weights.values().any(|weight| *weight > 0);
        let session = match wanted {
            Some(wanted) if any_rows && !side_effects::possible(loader.client()).await? => Some(wanted.session.clone()),
            _ => None,
        };
        Ok(Early {
            session,
            state: Mutex::default(),
        })
    }

    /// Into how many parts the rows of the entry at `at`, which are in, are read back; none where they are not read early.
    pub(super) async fn parts(&self, loader: &Loader, at: usize) -> Result<Vec<Pages>> {
        let reader = &loader.archive.reader;
        let entry = &reader.entries()[at];
        if self.session.is_none() || !loader.is_large(entry) || own_table(reader, entry).is_none() {
            return Ok(Vec::new());
        }
        let Some((table, _)) = target(entry) else {
            return Ok(Vec::new());
        };
        let query = Query::new(PAGES).text(table);
        let rows = loader.session.rows(&query).await?;
        // Another access method knows no pages.
        let pages = rows.first().map_or(Ok(None), |row| row.opt_long("pages"))?;
        let parts = cut(pages.and_then(|pages| u64::try_from(pages).ok()).unwrap_or(0));
        self.state().read.insert(at, (RowHash::default(), parts.len()));
        Ok(parts)
    }

    /// Does a task that restores nothing. What cannot be done now is left for later, which tells why.
    pub(super) async fn run(&self, loader: &Loader, task: Task) -> Result<()> {
        match task {
            Task::Entry(_) => Ok(()),
            Task::Analyse(at) => self.analyse(loader, at).await,
            Task::ReadBack(at, pages) => self.read_back(loader, at, pages).await,
        }
    }

    async fn analyse(&self, loader: &Loader, at: usize) -> Result<()> {
        let entry = &loader.archive.reader.entries()[at];
        let Some((table, _)) = target(entry) else { return Ok(()) };
        let analyse = format!("BEGIN; SET LOCAL vacuum_cost_delay = 0; ANALYZE {table}; COMMIT");
        if loader.session.run(&analyse).await.is_ok() {
            self.state().analysed.push(at);
            return Ok(());
        }
        loader.session.run("ROLLBACK").await
    }

    async fn read_back(&self, loader: &Loader, at: usize, pages: Pages) -> Result<()> {
        let entry = &loader.archive.reader.entries()[at];
        let (Some(setup), Some((table, columns))) = (&self.session, target(entry)) else {
            return Ok(());
        };
        let read = async {
            snapshot::begin(&loader.session, setup).await?;
            hash(&loader.session, &copy_out(table, columns, pages)).await
        };
        let read = read.await;
        loader.session.run("ROLLBACK").await.context("reading rows back")?;
        let mut state = self.state();
        match read {
            Ok(hash) => {
                if let Some((sum, missing)) = state.read.get_mut(&at) {
                    *sum += hash;
                    *missing -= 1;
                }
            }
            Err(error) => {
                tracing::debug!("{table} is read back after the load: {error:#}");
                state.read.remove(&at);
            }
        }
        Ok(())
    }

    /// Reads back what the session has just loaded of small tables, the entries at `few`.
    pub(super) async fn read_few(&self, loader: &Loader, few: &[usize]) -> Result<()> {
        let Some(setup) = &self.session else { return Ok(()) };
        let reader = &loader.archive.reader;
        let tables = few.iter().filter_map(|at| {
            let entry = &reader.entries()[*at];
            own_table(reader, entry)?;
            let (table, columns) = target(entry)?;
            Some((*at, copy_out(table, columns, None)))
        });
        let tables: Vec<_> = tables.collect();
        let read = async {
            snapshot::begin(&loader.session, setup).await?;
            // One is asked for without waiting for the one before it.
            let hashes = tables.iter().map(|(_, copy)| hash(&loader.session, copy));
            futures_util::future::try_join_all(hashes).await
        };
        let read = read.await;
        loader.session.run("ROLLBACK").await.context("reading rows back")?;
        match read {
            Ok(hashes) => {
                let read = tables.iter().zip(hashes).map(|((at, _), hash)| (*at, (hash, 0)));
                self.state().read.extend(read);
            }
            Err(error) => tracing::debug!("small tables are read back after the load: {error:#}"),
        }
        Ok(())
    }

    /// What was done. Rows count only where nothing can have changed them after they were read.
    pub(super) async fn end(&self, loader: &Loader) -> Result<Done> {
        let entries = loader.archive.reader.entries();
        let changed = self.session.is_some() && side_effects::possible(loader.client()).await?;
        let state = self.state();
        let read = state.read.iter().filter(|(_, (_, missing))| *missing == 0 && !changed);
        Ok(Done {
            read: read
                .filter_map(|(at, (hash, _))| Some((name(&entries[*at])?, *hash)))
                .collect(),
            analysed: state.analysed.iter().filter_map(|at| name(&entries[*at])).collect(),
        })
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The entries among `loaded` of whose tables statistics are gathered early. Whoever makes the tables as another role need
/// not be allowed to.
pub(super) fn analysed(
    reader: &Reader,
    loaded: &[usize],
    wanted: &Wanted,
    weights: &HashMap<DumpId, u64>,
) -> Vec<usize> {
    let is_wanted = |at: &usize| {
        let entry = &reader.entries()[*at];
        let large = weights.get(&entry.dump_id).is_some_and(|weight| *weight >= LARGE);
        let brought = name(entry).is_some_and(|name| wanted.brought.contains(&name));
        large && !brought && own_table(reader, entry).is_some()
    };
    loaded.iter().copied().filter(is_wanted).collect()
}

impl Loader {
    fn is_large(&self, entry: &Entry) -> bool {
        self.archive
            .weights
            .get(&entry.dump_id)
            .is_some_and(|weight| *weight >= LARGE)
    }
}

fn name(entry: &Entry) -> Option<Name> {
    Some((entry.namespace.clone()?, entry.tag.clone()))
}

/// How many pages a table has; none where it has no heap.
const PAGES: &str = "\
SELECT CASE WHEN a.amname = 'heap' \
    THEN pg_catalog.pg_relation_size(c.oid) / pg_catalog.current_setting('block_size')::int8 END AS pages
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_am a ON a.oid = c.relam
WHERE c.oid = $1::pg_catalog.regclass";

fn cut(pages: u64) -> Vec<Pages> {
    let count = pages / PART_PAGES;
    if count < 2 {
        return vec![None];
    }
    // The end of the last part is open.
    let part = |at| Some((at * PART_PAGES, (at + 1 < count).then_some((at + 1) * PART_PAGES)));
    (0..count).map(part).collect()
}

/// The rows of a table as text, with the columns of the archive in its order.
fn copy_out(table: &str, columns: &str, pages: Pages) -> String {
    let Some((from, to)) = pages else {
        return format!("COPY {table} ({columns}) TO stdout");
    };
    let end = to.map_or_else(String::new, |to| format!(" AND ctid < '({to},0)'"));
    format!("COPY (SELECT {columns} FROM ONLY {table} WHERE ctid >= '({from},0)'{end}) TO stdout")
}

/// The hash of the rows that a COPY gives.
async fn hash(session: &Arc<Session>, copy: &str) -> Result<RowHash> {
    let mut rows = std::pin::pin!(session.client().copy_out(copy).await?);
    let mut hash = RowHash::default();
    while let Some(row) = rows.next().await {
        hash.update(&row?);
    }
    Ok(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_all_of_a_table() {
        assert_eq!(cut(0), [None]);
        assert_eq!(cut(2 * PART_PAGES - 1), [None]);
        assert_eq!(
            cut(3 * PART_PAGES - 1),
            [Some((0, Some(PART_PAGES))), Some((PART_PAGES, None))]
        );
        assert_eq!(
            copy_out("s.t", "a, b", Some((3, None))),
            "COPY (SELECT a, b FROM ONLY s.t WHERE ctid >= '(3,0)') TO stdout"
        );
    }
}
