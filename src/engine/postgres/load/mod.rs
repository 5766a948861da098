//! An archive becomes a database again: definitions one after the other, then rows over several connections
//! with indexes and constraints as soon as their tables are ready, then privileges.
//!
//! Every statement must succeed. The few whose failure loses nothing are named in `session` and told; `missing` says
//! what a load goes on without, and keeps a list of it.

mod again;
mod binary;
mod definitions;
pub mod early;
mod encoding;
pub mod graph;
mod in_order;
mod inserts;
mod items;
mod keys;
mod lock_mode;
mod members;
pub mod missing;
mod objects;
mod partitions;
mod remove;
mod rows;
pub mod script;
mod search_path;
mod session;
mod side_effects;
mod stream;
mod trial;
mod urgency;
mod work;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use anyhow::Context as _;

use crate::archive::options::RestoreOptions;
use crate::archive::reader::Reader;
use crate::archive::required::{Pass, Required, pass, required};
use crate::archive::toc::{DumpId, Entry, Section};
use crate::engine::postgres::connect::Dsn;
use crate::engine::postgres::connect::session::Session;
use crate::engine::postgres::spelling::Spelling;
use crate::error::Result;
pub use again::make_again;
use definitions::Stretch;
use early::Early;
use graph::Graph;
use keys::Keys;
use missing::{List, Missing, SKIPPED, Tolerance};
use partitions::Partitions;
pub use remove::remove;
use session::Loader;
pub use trial::refused_extensions;
use work::{Spread, Work};

/// Hears how a load goes on; called from several tasks.
pub trait Progress: Send + Sync {
    /// So many more bytes of rows were sent.
    fn loaded(&self, bytes: u64);
    /// A statement failed that loses nothing.
    fn tolerated(&self, what: String);
    /// Something was restored in another way than it should have been.
    fn told(&self, what: String);
}

/// One archive on its way into one database.
pub struct Load {
    archive: Archive,
    serial: Vec<usize>,
    parallel: Vec<usize>,
    privileges: Vec<usize>,
    last: Vec<usize>,
    /// What is done with large tables as soon as their rows are in.
    early: Option<early::Wanted>,
}

/// What every session of a load shares.
#[derive(Clone)]
struct Archive {
    reader: Arc<Reader>,
    options: RestoreOptions,
    required: Arc<[Required]>,
    dsn: Dsn,
    /// Connections at once.
    jobs: usize,
    progress: Arc<dyn Progress>,
    /// Bytes of COPY text per entry, where they are known.
    weights: Arc<HashMap<DumpId, u64>>,
    /// How its values are written.
    spelling: Option<Spelling>,
    /// The only session, when all is done in its transaction.
    within: Option<Arc<Session>>,
    /// The failures that it goes past.
    tolerance: Tolerance,
    /// What it went on without.
    missing: List,
    /// Foreign keys that are there before the rows.
    keys: Arc<Keys>,
}

impl Load {
    /// Prepares to load what `options` want of the archive into the database of `dsn`, with up to `jobs`
    /// connections at once.
    pub fn new(
        reader: Arc<Reader>,
        options: RestoreOptions,
        dsn: Dsn,
        jobs: usize,
        weights: HashMap<DumpId, u64>,
        progress: Arc<dyn Progress>,
    ) -> Self {
        let options = RestoreOptions {
            comments: false,
            ..options
        };
        let required = required(reader.entries(), &options);
        let mut load = Load {
            serial: Vec::new(),
            parallel: Vec::new(),
            privileges: Vec::new(),
            last: Vec::new(),
            early: None,
            archive: Archive {
                reader,
                options,
                required: required.into(),
                dsn,
                jobs: jobs.max(1),
                progress,
                weights: Arc::new(weights),
                spelling: None,
                within: None,
                tolerance: Tolerance::default(),
                missing: List::default(),
                keys: Arc::default(),
            },
        };
        load.sort_out();
        load
    }

    /// Says how the values are written, which the settings of the database and the role may not be.
    #[must_use]
    pub fn spelled(mut self, spelling: Option<Spelling>) -> Self {
        self.archive.spelling = spelling;
        self
    }

    /// Says what failures it goes past.
    #[must_use]
    pub fn tolerating(mut self, tolerance: Tolerance) -> Self {
        self.archive.tolerance = tolerance;
        if tolerance.skip_refresh {
            let (entries, missing) = (Arc::clone(self.archive.reader.entries()), self.archive.missing.clone());
            self.last.retain(|at| {
                let refreshes = entries[*at].desc == "MATERIALIZED VIEW DATA";
                if refreshes {
                    missing.add(Missing::definition(
                        &entries[*at],
                        "",
                        entries[*at].defn.as_bytes(),
                        SKIPPED.to_owned(),
                    ));
                }
                !refreshes
            });
        }
        self
    }

    /// Has rows read back, and statistics gathered, while the rest is loaded.
    #[must_use]
    pub fn early(mut self, wanted: early::Wanted) -> Self {
        self.early = Some(wanted);
        self
    }

    /// What it went on without, so far.
    #[must_use]
    pub fn missing(&self) -> Vec<Missing> {
        self.archive.missing.all()
    }

    /// Loads over this one session, inside the transaction that it is in, and leaves out what is there already.
    #[must_use]
    pub fn within(mut self, session: &Arc<Session>, there: &HashSet<DumpId>) -> Self {
        self.archive.within = Some(Arc::clone(session));
        let entries = Arc::clone(self.archive.reader.entries());
        let missing = |at: &usize| !there.contains(&entries[*at].dump_id);
        for list in [
            &mut self.serial,
            &mut self.parallel,
            &mut self.privileges,
            &mut self.last,
        ] {
            list.retain(missing);
        }
        self
    }

    /// What runs when. Comments and the like have no section: those that stand before all rows run where they
    /// stand, later ones when what they are about is there.
    fn sort_out(&mut self) {
        let mut after_rows = false;
        let entries = Arc::clone(self.archive.reader.entries());
        for at in self.archive.options.selection.order(&entries) {
            let entry = &entries[at];
            if !self.archive.required[at].wanted() {
                continue;
            }
            after_rows |= matches!(entry.section, Section::Data | Section::PostData);
            let list = match (pass(entry), entry.section) {
                (Pass::Acl, _) => &mut self.privileges,
                (Pass::PostAcl, _) => &mut self.last,
                (Pass::Main, Section::PreData) => &mut self.serial,
                (Pass::Main, Section::None) if !after_rows => &mut self.serial,
                (Pass::Main, _) => &mut self.parallel,
            };
            list.push(at);
        }
        // Refreshing a materialized view would fire them.
        self.last
            .sort_by_key(|at| entries[*at].desc != "MATERIALIZED VIEW DATA");
    }

    /// Creates everything that must exist before rows do.
    ///
    /// # Errors
    /// A statement failed.
    pub async fn definitions(&self) -> Result<()> {
        let mut loader = Loader::open(&self.archive).await?;
        if self.archive.within.is_some() || self.archive.jobs == 1 {
            loader.run_all(&self.serial).await?;
            return self.step_back().await;
        }
        let mut others = Vec::new();
        let serial = self.partitions().others(&self.serial);
        for stretch in definitions::stretches(self.archive.reader.entries(), &serial) {
            match stretch {
                Stretch::InOrder(entries) => loader.run_all(&entries).await?,
                Stretch::Beside(entries) => definitions::run_beside(&mut loader, &mut others, &entries).await?,
            }
        }
        Ok(())
    }

    /// The partitions that are made beside the rows.
    fn partitions(&self) -> Partitions {
        let archive = &self.archive;
        if archive.within.is_some() || archive.jobs == 1 || archive.tolerance.keep_going {
            return Partitions::default();
        }
        Partitions::choose(archive.reader.entries(), &self.serial, &self.parallel)
    }

    /// Takes a session that others use too back from the role that all is made as.
    async fn step_back(&self) -> Result<()> {
        match &self.archive.within {
            Some(session) if self.archive.options.role.is_some() => session.run("RESET ROLE").await,
            _ => Ok(()),
        }
    }

    /// Loads rows, and builds what needs them. Tells what else was done with them meanwhile.
    ///
    /// # Errors
    /// A statement failed, or the archive is damaged.
    pub async fn rows(&self) -> Result<early::Done> {
        let mut loader = Loader::open(&self.archive).await?;
        let entries = self.archive.reader.entries();
        let partitions = self.partitions();
        let mut parallel: Vec<usize> = partitions.all.iter().map(|(table, _)| *table).collect();
        parallel.extend(&self.parallel);
        let keys = Arc::new(Keys::read(&loader, entries, &self.parallel).await?);
        loader.archive.keys = Arc::clone(&keys);
        if self.archive.within.is_some() {
            self.rows_in_order(loader).await?;
            self.step_back().await?;
            return Ok(early::Done::default());
        }
        let weights = &self.archive.weights;
        let analysed = match (&self.early, &self.archive.options.role) {
            (Some(wanted), None) => early::analysed(&self.archive.reader, &self.parallel, wanted, weights),
            _ => Vec::new(),
        };
        let weight = |at: usize| self.weight(&entries[at]);
        let mut earlier = keys.earlier.clone();
        for (id, others) in &partitions.earlier {
            earlier.entry(*id).or_default().extend(others);
        }
        let graph = Graph::new(entries, &parallel, &analysed, &earlier, weight);
        let spread = Spread {
            jobs: self.archive.jobs as u64,
            total: weights.values().sum(),
            objects: self
                .parallel
                .iter()
                .filter(|at| entries[**at].is_large_objects())
                .count() as u64,
            minimal_wal: session::has_minimal_wal(loader.client()).await?,
            // What one connection could not load is missing as a whole.
            whole: self.archive.tolerance.keep_going,
        };
        let archive = loader.archive.clone();
        let early = Early::decide(&loader, self.early.as_ref()).await?;
        drop(loader);
        let work = Arc::new(Work::new((graph, partitions), spread, Arc::clone(weights), early));
        let mut workers = tokio::task::JoinSet::new();
        for _ in 0..work.connections(parallel.len()) {
            let (archive, work) = (archive.clone(), Arc::clone(&work));
            workers.spawn(async move { work.run(&archive).await });
        }
        // The set ends the others when it is dropped at the first error.
        while let Some(outcome) = workers.join_next().await {
            outcome.context("a task of the load ended")??;
        }
        work.early.end(&Loader::open(&archive).await?).await
    }

    fn weight(&self, entry: &Entry) -> u64 {
        self.archive.weights.get(&entry.dump_id).copied().unwrap_or(0)
    }

    /// Grants privileges, then refreshes materialized views and creates event triggers.
    ///
    /// # Errors
    /// A statement failed.
    pub async fn privileges(&self) -> Result<()> {
        let mut loader = Loader::open(&self.archive).await?;
        loader.run_all(&self.privileges).await?;
        for at in &self.last {
            loader.run_all(&[*at]).await?;
        }
        self.step_back().await
    }
}

/// An entry as messages name it.
fn name_of(entry: &Entry) -> String {
    match &entry.namespace {
        Some(schema) => format!("{} {schema}.{}", entry.desc, entry.tag),
        None => format!("{} {}", entry.desc, entry.tag),
    }
}
