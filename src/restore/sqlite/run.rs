//! The restore from end to end. Until the last step the live database is not touched, and that step is one transaction.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::last_step::{Ended, LastStep};
use super::origin::{Content, Origin, Proven};
use super::plan::{Mode, Plan};
use super::watch::{Event, Step, Watch};
use crate::backup;
use crate::clock::Clock;
use crate::config::value::Span;
use crate::engine::sqlite::failure::folder;
use crate::engine::sqlite::location::Location;
use crate::engine::sqlite::lock::JobLock;
use crate::engine::sqlite::tables::MAIN;
use crate::engine::sqlite::unchanged::{Fence, State};
use crate::engine::sqlite::{open, put_tables, scratch};
use crate::error::{Exit, Fail, Result, exit_of};
use crate::job::Job;
use crate::manifest::{BackupId, InPlace, Kind, Table};
use crate::shelf::{Hold, Shelf};

/// How many safety snapshots are taken, because somebody wrote to the database after each. From the second on writers wait
/// meanwhile, so another one is hardly ever needed.
const SNAPSHOTS: u32 = 5;

/// How often it is looked whether a run has ended.
const LOOK: Duration = Duration::from_millis(100);

/// What a person asks for.
pub struct Request<'a> {
    /// What is restored.
    pub origin: Origin<'a>,
    /// The job whose database is restored to, and whose store gets the safety snapshot.
    pub job: &'a Job,
    /// Its database.
    pub location: &'a Location,
    /// How it becomes a database.
    pub mode: Mode,
    /// The only tables of it that are restored; none of a whole one.
    pub tables: Vec<String>,
    /// Whether it takes a restore back.
    pub back: bool,
    /// Whether the live database is backed up first.
    pub safety: bool,
    /// How long the locks of others are waited for.
    pub wait: Duration,
    /// How long a backup of the job that is under way is waited for.
    pub turn: Duration,
    /// The time.
    pub clock: Clock,
    /// Whom it tells what it does.
    pub watch: Watch,
    /// Cancels it, until the last step.
    pub cancel: CancellationToken,
}

/// A restore that is decided and not begun.
pub struct Prepared<'a> {
    request: Request<'a>,
    /// What will happen.
    pub plan: Plan,
    content: Content,
}

/// What a restore has ready before its last step.
struct Ready {
    proven: Proven,
    /// The only tables that are put; none of all.
    names: Vec<String>,
}

/// What the last step came to.
struct Replaced {
    safety: Option<Safety>,
    away: Duration,
    aside: Option<PathBuf>,
}

/// The safety snapshot of what is replaced.
struct Safety {
    id: BackupId,
    /// Where it is.
    shelves: Vec<Shelf>,
}

/// How a restore went.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// The file that holds the backup now.
    pub path: PathBuf,
    /// The backup; `None` when a file was restored.
    pub backup: Option<BackupId>,
    /// The safety snapshot of what was replaced.
    pub safety: Option<BackupId>,
    /// Where a file that was no database any more was set aside.
    pub aside: Option<PathBuf>,
    /// How many tables were compared.
    pub tables: u64,
    /// How many rows.
    pub rows: u64,
    /// How long nobody else could write, in milliseconds.
    pub away_ms: u64,
    /// How long it all took, in seconds.
    pub seconds: f64,
    /// How long each step took.
    pub steps: Vec<crate::steps::Timed>,
}

impl<'a> Prepared<'a> {
    /// Finds what is to be restored, looks at what is there, and plans.
    ///
    /// # Errors
    /// There is no such backup or file. What is in the way of the restore itself is in the plan.
    pub async fn new(request: Request<'a>) -> Result<Prepared<'a>> {
        crate::engine::sqlite::check_version()?;
        let (content, warnings) = Content::find(&request.origin, request.job).await?;
        let tables = match request.back {
            true => content.replaced_tables(),
            false => request.tables.clone(),
        };
        let mut plan = Plan::new(
            &request.job.name,
            &content,
            request.location.path(),
            &request.mode,
            tables,
            request.safety,
        )?;
        plan.warnings.extend(warnings);
        if let Origin::Backup { from_other, .. } = &request.origin {
            let here = crate::engine::sqlite::named(request.location);
            plan.compare(content.source(), &here, *from_other);
        }
        Ok(Prepared { request, plan, content })
    }

    /// Does what was planned.
    ///
    /// # Errors
    /// Whatever keeps the backup from being restored. Then the live database is what it was.
    pub async fn run(&self) -> Result<Outcome> {
        self.plan.check()?;
        let begun = Instant::now();
        let watch = &self.request.watch;
        let above = folder(&self.plan.path);
        watch.step(Step::Recover).await;
        for left in scratch::tidy(above, &self.plan.database) {
            watch.warn(format!("removed {}, which a killed restore had left", left.display()));
        }
        let until = self.request.clock.now() + self.request.job.keep_replaced;
        let holds = self.content.hold(until).await;
        let done = self.unless_cancelled(self.work(above)).await;
        if done.is_err() {
            release(holds).await;
        }
        let Ready { proven, names } = done?;
        let is_put = |table: &&Table| names.is_empty() || names.contains(&table.name);
        let tables = proven.tables().iter().filter(is_put);
        let (tables, rows) = tables.fold((0, 0), |(tables, rows), it| (tables + 1, rows + it.rows));
        let shelf = proven.shelf();
        let Replaced { safety, away, aside } = self.replace(proven, names).await?;
        self.content.proved(shelf, self.request.clock.now()).await;
        watch.step(Step::Done).await;
        Ok(Outcome {
            path: self.plan.path.clone(),
            backup: self.content.backup(),
            safety: safety.map(|safety| safety.id),
            aside,
            tables,
            rows,
            away_ms: u64::try_from(away.as_millis()).unwrap_or(u64::MAX),
            seconds: begun.elapsed().as_secs_f64(),
            steps: watch.times(),
        })
    }

    async fn unless_cancelled<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            done = work => done,
            () = self.request.cancel.cancelled() => {
                Err(Fail::new(Exit::Interrupted, "the restore was cancelled, and nothing was changed").into())
            }
        }
    }

    /// Everything before the live database is touched.
    async fn work(&self, above: &Path) -> Result<Ready> {
        let watch = &self.request.watch;
        watch.step(Step::Unpack).await;
        watch.tell(Event::Total(self.content.archive_bytes()));
        let read = |bytes| watch.tell(Event::Done(bytes));
        let proving = || watch.tell(Event::Step(Step::Prove));
        let warn = |text| watch.warn(text);
        let unpacked = self
            .content
            .unpack(above, &self.plan.database, &read, &proving, &warn)
            .await;
        let proven = unpacked.context("nothing was changed")?;
        watch.step(Step::Prove).await;
        let names = match self.request.back {
            true => self.plan.tables.clone(),
            false => put_tables::check(proven.scratch.path(), &self.plan.tables).context("nothing was changed")?,
        };
        Ok(Ready { proven, names })
    }

    /// Remembers beside the safety snapshot whether anything was replaced: an undo goes by that.
    async fn record(&self, safety: &Option<Safety>, replaced: bool) {
        let Some(safety) = safety else {
            return;
        };
        for shelf in &safety.shelves {
            if let Err(error) = shelf.record_restore(safety.id, replaced).await {
                let how = if replaced { "completed" } else { "failed" };
                let text = format!("that the restore {how} cannot be remembered in {shelf}: {error:#}");
                self.request.watch.warn(text);
            }
        }
    }

    /// Takes the safety snapshot and then the last step, which changes nothing where others have written in between: so nothing
    /// that was ever committed is in neither of them.
    async fn replace(&self, mut proven: Proven, names: Vec<String>) -> Result<Replaced> {
        let watch = &self.request.watch;
        for attempt in 0..SNAPSHOTS {
            let (safety, state) = match self.wants_safety() {
                true => {
                    let backed_up = self.unless_cancelled(self.back_up(&names, attempt > 0)).await;
                    let (safety, state) = backed_up.context("nothing was changed")?;
                    (Some(safety), Some(state))
                }
                false => (None, None),
            };
            // From here on nothing can be interrupted: the file is the old one or the new one.
            watch.step(Step::Put).await;
            let put = self.put(proven, names.clone(), state).await;
            self.record(&safety, matches!(put, Ok(Ended::Done { .. }))).await;
            proven = match put? {
                Ended::Done { away, aside } => return Ok(Replaced { safety, away, aside }),
                Ended::Written(proven) => *proven,
            };
            tracing::info!("others wrote to the database after its safety snapshot was begun, so another one is taken");
        }
        let message = format!(
            "others write to {} without a pause, so that no safety snapshot has all of it; nothing was changed",
            self.plan.path.display()
        );
        Err(Fail::new(Exit::Unreachable, message)
            .hint("stop what writes to it, and try again")
            .into())
    }

    fn wants_safety(&self) -> bool {
        let live = self.plan.replaces.as_ref();
        let is_whole = live.is_some_and(|live| live.broken.is_none() && live.bytes > 0);
        is_whole && self.request.mode == Mode::Replace && self.request.safety
    }

    /// Backs up what is live, and tells the state before that. With `fenced`, nobody can write meanwhile.
    async fn back_up(&self, names: &[String], fenced: bool) -> Result<(Safety, State)> {
        let watch = &self.request.watch;
        watch.step(Step::Safety).await;
        self.await_turn().await?;
        let (path, wait) = (self.plan.path.clone(), self.request.wait);
        let begin = move || -> Result<(Option<Fence>, State)> {
            let fence = if fenced { Some(Fence::raise(&path, wait)?) } else { None };
            Ok((fence, State::of(&path, wait)?))
        };
        let (_fence, state) = tokio::task::spawn_blocking(begin).await??;
        // An undo puts back the same tables, and leaves all others alone.
        let tables: Vec<_> = names.iter().map(|name| (MAIN.to_owned(), name.clone())).collect();
        let label = match self.content.backup() {
            Some(id) => format!("before the restore of {id}"),
            None => "before the restore of a file".to_owned(),
        };
        let request = backup::Request {
            label: Some(label),
            in_place: (!tables.is_empty()).then_some(InPlace { transaction: 0, tables }),
            protect: self.content.backup().into_iter().collect::<BTreeSet<_>>(),
            clock: self.request.clock.clone(),
            cancel: self.request.cancel.clone(),
            ..backup::Request::new(self.request.job, Kind::Safety)
        };
        let report = backup::run(&request).await.context("the safety snapshot failed")?;
        let id = report.manifest.id;
        for (store, why) in report.lacking() {
            watch.warn(format!("the safety snapshot {id} has no copy in {store}: {why}"));
        }
        let until = self.request.clock.now() + self.request.job.keep_replaced;
        let mut shelves = Vec::new();
        for store in report.stores() {
            let shelf = Shelf::new(self.request.job, self.request.job.destination(store)?);
            // It is also young; to hold it is a second belt.
            let _ = shelf.hold(id, until).await;
            shelves.push(shelf);
        }
        Ok((Safety { id, shelves }, state))
    }

    /// Waits for a run of the job that is under way.
    async fn await_turn(&self) -> Result<()> {
        let until = Instant::now() + self.request.turn;
        let mut told = false;
        loop {
            let free = JobLock::take(&open::find(&self.plan.path)?, &self.request.job.name).map(drop);
            match free {
                Err(error) if exit_of(&error) == Exit::Busy && Instant::now() < until => {
                    if !std::mem::replace(&mut told, true) {
                        let limit = Span::seconds(self.request.turn.as_secs());
                        let text = format!("{error:#}: waiting until it has ended, for {limit} at most");
                        self.request.watch.warn(text);
                    }
                    tokio::time::sleep(LOOK).await;
                }
                free => return free,
            }
        }
    }

    /// The last step: the file becomes what was proven.
    async fn put(&self, proven: Proven, names: Vec<String>, state: Option<State>) -> Result<Ended> {
        let last = LastStep {
            path: self.plan.path.clone(),
            rights: self.content.rights(),
            at: self.request.clock.now(),
            is_new: self.request.mode != Mode::Replace,
            is_broken: self.plan.replaces.as_ref().is_some_and(|live| live.broken.is_some()),
            job: self.request.job.name.clone(),
            wait: self.request.wait,
            names,
            back: self.request.back,
        };
        let watch = self.request.watch.clone();
        tokio::task::spawn_blocking(move || last.run(proven, state, &watch)).await?
    }
}

async fn release(holds: Vec<(Shelf, Hold)>) {
    for (shelf, hold) in holds {
        // Otherwise it ends by itself.
        let _ = shelf.unhold(&hold).await;
    }
}
