//! The restore from end to end. Until the last step the live database is not touched, and that step is one transaction.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::origin::{Content, Origin, Proven};
use super::plan::{Mode, Plan, beside};
use super::watch::{Event, Step, Watch};
use crate::backup;
use crate::clock::Clock;
use crate::engine::sqlite::failure::{explain, folder};
use crate::engine::sqlite::location::Location;
use crate::engine::sqlite::lock::JobLock;
use crate::engine::sqlite::scratch::{self, Scratch};
use crate::engine::sqlite::{open, put};
use crate::error::{Exit, Fail, Result};
use crate::job::Job;
use crate::manifest::{BackupId, Kind};
use crate::shelf::{Hold, Shelf};

/// How often the safety snapshot is taken again, because somebody wrote to the database after it.
const SNAPSHOTS: u32 = 3;

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
    /// Whether the live database is backed up first.
    pub safety: bool,
    /// How long the locks of others are waited for.
    pub wait: Duration,
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
    safety: Option<Safety>,
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
    pub steps: Vec<crate::watch::Timed>,
}

impl<'a> Prepared<'a> {
    /// Finds what is to be restored, looks at what is there, and plans.
    ///
    /// # Errors
    /// There is no such backup or file. What is in the way of the restore itself is in the plan.
    pub async fn new(request: Request<'a>) -> Result<Prepared<'a>> {
        crate::engine::sqlite::check_version()?;
        let (content, warnings) = Content::find(&request.origin, request.job).await?;
        let mut plan = Plan::new(
            &request.job.name,
            &content,
            request.location.path(),
            &request.mode,
            request.safety,
        )?;
        plan.warnings.extend(warnings);
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
        let (path, above) = (self.plan.path.as_path(), folder(&self.plan.path));
        watch.step(Step::Recover).await;
        for left in scratch::tidy(above, &self.plan.database) {
            watch.warn(format!("removed {}, which a killed restore had left", left.display()));
        }
        let until = self.request.clock.now() + self.request.job.keep_replaced;
        let holds = self.content.hold(until).await;
        let done = self.unless_cancelled(self.work(path, above)).await;
        if done.is_err() {
            release(holds).await;
        }
        let Ready { proven, safety } = done?;
        let (tables, rows) = (
            proven.tables().len() as u64,
            proven.tables().iter().map(|it| it.rows).sum(),
        );
        let shelf = proven.shelf();
        // From here on nothing can be interrupted: the file is the old one or the new one.
        watch.step(Step::Put).await;
        let put = self.put(proven.scratch).await;
        self.record(&safety, put.is_ok()).await;
        let (away, aside) = put?;
        self.content.proved(shelf, self.request.clock.now()).await;
        watch.step(Step::Done).await;
        Ok(Outcome {
            path: path.to_owned(),
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
    async fn work(&self, path: &Path, above: &Path) -> Result<Ready> {
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
        let is_whole = self
            .plan
            .replaces
            .as_ref()
            .is_some_and(|live| live.broken.is_none() && live.bytes > 0);
        let safety = match is_whole && self.request.mode == Mode::Replace && self.request.safety {
            true => Some(self.back_up(path).await.context("nothing was changed")?),
            false => None,
        };
        Ok(Ready { proven, safety })
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

    /// Backs up what is live, until nobody has written to it since.
    async fn back_up(&self, path: &Path) -> Result<Safety> {
        let watch = &self.request.watch;
        watch.step(Step::Safety).await;
        let mut last = None;
        for _ in 0..SNAPSHOTS {
            let before = Version::of(path)?;
            let label = match self.content.backup() {
                Some(id) => format!("before the restore of {id}"),
                None => "before the restore of a file".to_owned(),
            };
            let request = backup::Request {
                label: Some(label),
                protect: self.content.backup().into_iter().collect::<BTreeSet<_>>(),
                clock: self.request.clock.clone(),
                cancel: self.request.cancel.clone(),
                ..backup::Request::new(self.request.job, Kind::Safety)
            };
            let report = backup::run(&request).await.context("the safety snapshot failed")?;
            for (store, why) in report.lacking() {
                watch.warn(format!(
                    "the safety snapshot {} has no copy in {store}: {why}",
                    report.manifest.id
                ));
            }
            let until = self.request.clock.now() + self.request.job.keep_replaced;
            let mut shelves = Vec::new();
            for store in report.stores() {
                let shelf = Shelf::new(self.request.job, self.request.job.destination(store)?);
                // It is also young; to hold it is a second belt.
                let _ = shelf.hold(report.manifest.id, until).await;
                shelves.push(shelf);
            }
            // Somebody has written since the one before was taken, so nothing goes back to that.
            self.record(&last, false).await;
            last = Some(Safety {
                id: report.manifest.id,
                shelves,
            });
            if before.is_still(path)? {
                break;
            }
            tracing::info!("the database was written to while its safety snapshot was taken");
        }
        last.context("no safety snapshot was taken")
    }

    /// The last step: the file becomes what was proven.
    async fn put(&self, scratch: Scratch) -> Result<(Duration, Option<PathBuf>)> {
        let (path, wait, watch) = (self.plan.path.clone(), self.request.wait, self.request.watch.clone());
        let (rights, at) = (self.content.rights(), self.request.clock.now());
        let (is_new, broken) = (
            self.request.mode != Mode::Replace,
            self.plan.replaces.as_ref().is_some_and(|live| live.broken.is_some()),
        );
        let job = self.request.job.name.clone();
        let total = std::fs::metadata(scratch.path()).map_or(0, |file| file.len());
        watch.tell(Event::Total(total));
        tokio::task::spawn_blocking(move || {
            if is_new || !path.exists() {
                set_rights(&scratch, rights);
                // A log that lies there is of a database that is gone: SQLite would take it for one of the new file.
                let aside = set_aside(&path, at, &["-wal", "-shm", "-journal"])?;
                scratch.become_new(&path)?;
                return Ok((Duration::ZERO, aside));
            }
            if broken {
                set_rights(&scratch, rights);
                let aside = set_aside(&path, at, &["-wal", "-shm", "-journal", ""])?;
                scratch.become_new(&path)?;
                return Ok((Duration::ZERO, aside));
            }
            let _lock = match open::find(&path) {
                Ok(found) => Some(JobLock::take(&found, &job)?),
                // An empty file is no database yet.
                Err(_) => None,
            };
            let away = put::into_live(scratch.path(), &path, wait, &|bytes| watch.tell(Event::Done(bytes)))?;
            Ok((away, None))
        })
        .await?
    }
}

async fn release(holds: Vec<(Shelf, Hold)>) {
    for (shelf, hold) in holds {
        // Otherwise it ends by itself.
        let _ = shelf.unhold(&hold).await;
    }
}

/// Gives a new file the rights that the one had that was backed up, as far as this process may.
fn set_rights(scratch: &Scratch, rights: Option<(u32, u32, u32)>) {
    let (mode, owner) = match rights {
        Some((mode, uid, gid)) => (mode, Some((uid, gid))),
        None => (0o644, None),
    };
    if let Some((uid, gid)) = owner {
        // Only root may give files away, and for others it is theirs.
        let _ = std::os::unix::fs::fchown(scratch.file(), Some(uid), Some(gid));
    }
    if let Err(error) = scratch.file().set_permissions(std::fs::Permissions::from_mode(mode)) {
        tracing::warn!("the new file is readable by nobody else: {error}");
    }
}

/// Renames what lies at `path` with each of `endings`, the database itself last.
fn set_aside(path: &Path, at: DateTime<Utc>, endings: &[&str]) -> Result<Option<PathBuf>> {
    let aside = beside(path, &format!(".before-{}", at.format("%Y%m%dT%H%M%SZ")));
    let mut moved = None;
    for ending in endings {
        let (from, to) = (beside(path, ending), beside(&aside, ending));
        if from.exists() {
            std::fs::rename(&from, &to).with_context(|| format!("setting {} aside", from.display()))?;
            moved = Some(aside.clone());
        }
    }
    Ok(moved)
}

/// The state of a database that somebody may write to: a connection that sees whether others did.
struct Version {
    open: rusqlite::Connection,
    number: i64,
}

impl Version {
    fn of(path: &Path) -> Result<Version> {
        let open = open::for_reading(&open::find(path)?, Duration::from_secs(10))?;
        let number = number(&open).map_err(|error| explain(error, path))?;
        Ok(Version { open, number })
    }

    fn is_still(&self, path: &Path) -> Result<bool> {
        Ok(number(&self.open).map_err(|error| explain(error, path))? == self.number)
    }
}

fn number(open: &rusqlite::Connection) -> rusqlite::Result<i64> {
    open.query_row("PRAGMA data_version", [], |row| row.get(0))
}
