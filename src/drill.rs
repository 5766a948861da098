//! A drill: a backup is restored where it is in nobody's way, proven against its manifest, looked at by the operator's checks, and
//! removed again. How it went stands beside the backup, so that a list shows what was really restored, and when.

use std::sync::Arc;
use std::time::Instant;

use chrono::TimeDelta;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::error::{Exit, Fail, Result, exit_of, hint_of};
use crate::job::{Job, SourceConfig};
use crate::manifest::{BackupId, Engine};
use crate::restore::checks::Checked;
use crate::restore::{postgres, sqlite};
use crate::shelf::{self, Hold, Shelf, Stock};
use crate::steps::{self, Timed};
use crate::watch::history::Facts;

/// How long a drill that was killed keeps its backup from being pruned.
const HELD: TimeDelta = TimeDelta::hours(12);

/// What a drill tells while it runs.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// What happens from now on.
    Step(&'static str),
    /// How much there is to do in this step, about, in bytes.
    Total(u64),
    /// So many more bytes of it are done.
    Done(u64),
    /// Something that a person should know.
    Warning(String),
}

/// Whom it tells, who must not block.
pub type Tell = Arc<dyn Fn(Event) + Send + Sync>;

/// What is asked for.
pub struct Request<'a> {
    /// The job.
    pub job: &'a Job,
    /// Which of its backups: `latest`, an id, a label.
    pub which: &'a str,
    /// Connections of the load; `None` takes as many as the job's dumps.
    pub jobs: Option<usize>,
    /// The time.
    pub clock: Clock,
    /// Whom it tells what it does.
    pub tell: Tell,
    /// Cancels it.
    pub cancel: CancellationToken,
    /// The step at which it stops until it is killed: for tests.
    pub pause_at: Option<&'a str>,
}

/// What a drill will do.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    /// The job.
    pub job: String,
    /// The backup.
    pub backup: Option<BackupId>,
    /// What it is of.
    pub engine: Engine,
    /// Where it is restored.
    pub place: String,
    /// What that takes, in bytes, about.
    pub needed: u64,
    /// What is free there, where that could be found out.
    pub free: Option<u64>,
    /// The checks that are run.
    pub checks: Vec<String>,
    /// What a person should know.
    pub warnings: Vec<String>,
    /// Why it cannot be done.
    pub obstacles: Vec<String>,
}

/// How a drill went.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The job.
    pub job: String,
    /// The backup.
    pub backup: BackupId,
    /// What it is of.
    pub engine: Engine,
    /// Where it was restored.
    pub place: String,
    /// Whether all went well.
    pub passed: bool,
    /// Tables that were compared with the manifest.
    pub tables: u64,
    /// Their rows.
    pub rows: u64,
    /// How the checks went.
    pub checks: Vec<Checked>,
    /// What went wrong.
    pub problems: Vec<String>,
    /// How long it took from the first byte to the last check.
    pub seconds: f64,
    /// How long each step took.
    pub steps: Vec<Timed>,
    #[serde(skip)]
    exit: Exit,
    #[serde(skip)]
    hint: Option<String>,
}

impl Report {
    /// What the history says of it.
    #[must_use]
    pub fn facts(&self) -> Facts {
        Facts {
            backup: Some(self.backup),
            rows: Some(self.rows),
            tables: Some(self.tables),
            ..Facts::default()
        }
    }

    /// The error of a drill that failed.
    ///
    /// # Errors
    /// It failed.
    pub fn outcome(&self) -> Result<(), Fail> {
        if self.passed {
            return Ok(());
        }
        let problems = self.problems.join("; ");
        let message = format!(
            "the drill of backup {} of job {} failed: {problems}",
            self.backup, self.job
        );
        let hint = self.hint.clone().unwrap_or_else(|| {
            format!(
                "nothing was changed; `snapback list {}` shows other backups, and a drill may name one",
                self.job
            )
        });
        Err(Fail::new(self.exit, message).hint(hint))
    }
}

/// A drill that is decided and not begun.
pub struct Drill<'a> {
    request: &'a Request<'a>,
    engine: Of<'a>,
}

enum Of<'a> {
    Postgres(Box<postgres::drill::Drill<'a>>, postgres::watch::Watch),
    Sqlite(Box<sqlite::drill::Drill<'a>>, sqlite::watch::Watch),
}

/// Where a job's backups are tried.
pub struct Place<'a> {
    at: std::borrow::Cow<'a, Job>,
    scratch: String,
}

impl<'a> Place<'a> {
    /// For a drill of `job` that begins now.
    ///
    /// # Errors
    /// A file with the password cannot be read, or the server cannot be reached.
    pub async fn of(job: &'a Job, clock: &Clock) -> Result<Place<'a>> {
        let at = job.for_drills();
        let scratch = match &job.for_restores().source {
            SourceConfig::Postgres(connection) => {
                postgres::drill::scratch_name(&at, &connection.dsn()?.database, clock.now()).await?
            }
            SourceConfig::Sqlite(_) => String::new(),
        };
        Ok(Place { at, scratch })
    }
}

impl<'a> Drill<'a> {
    /// Reads the backup and looks at the place where it is to be restored.
    ///
    /// # Errors
    /// There is no such backup, it cannot be read, or the server cannot be reached. What is in the way of the drill itself is in
    /// the plan.
    pub async fn prepare(request: &'a Request<'a>, place: &'a Place<'a>) -> Result<Drill<'a>> {
        let engine = match &request.job.source {
            SourceConfig::Postgres(_) => {
                let pause_at = request.pause_at.map(str::parse).transpose()?;
                let tell = Arc::clone(&request.tell);
                let watch = postgres::watch::Watch::new(move |event| {
                    tell(told(event, postgres::watch::Step::describe));
                });
                let watch = watch.pausing_at(pause_at);
                let asked = postgres::drill::Asked {
                    job: request.job,
                    at: &place.at,
                    id: request.which,
                    scratch: &place.scratch,
                    jobs: request.jobs,
                    clock: request.clock.clone(),
                    watch: watch.clone(),
                    cancel: request.cancel.clone(),
                };
                Of::Postgres(Box::new(postgres::drill::Drill::plan(&asked).await?), watch)
            }
            SourceConfig::Sqlite(_) => {
                let pause_at = request.pause_at.map(str::parse).transpose()?;
                let tell = Arc::clone(&request.tell);
                let watch = sqlite::watch::Watch::new(move |event| {
                    tell(told(event, sqlite::watch::Step::describe));
                });
                let drill = sqlite::drill::Drill::plan(request.job, request.which).await?;
                Of::Sqlite(Box::new(drill), watch.pausing_at(pause_at))
            }
        };
        Ok(Drill { request, engine })
    }

    /// What will happen.
    #[must_use]
    pub fn plan(&self) -> Plan {
        let (backup, place, needed, free, warnings, obstacles) = match &self.engine {
            Of::Postgres(drill, _) => {
                let plan = drill.planned();
                (
                    drill.backup(),
                    format!("{} on {}", plan.database, plan.server),
                    plan.space.needed,
                    plan.space.free,
                    plan.warnings.clone(),
                    plan.obstacles.iter().map(|it| it.what.clone()).collect(),
                )
            }
            Of::Sqlite(drill, _) => (
                drill.backup().ok(),
                format!("a temporary file in {}", drill.folder.display()),
                drill.needed,
                Some(drill.free),
                drill.warnings.clone(),
                drill.obstacle().map(|it| it.message).into_iter().collect(),
            ),
        };
        Plan {
            job: self.request.job.name.clone(),
            backup,
            engine: self.request.job.source.engine(),
            place,
            needed,
            free,
            checks: self.request.job.drill.checks.clone(),
            warnings,
            obstacles,
        }
    }

    /// Refuses where something is in the way.
    ///
    /// # Errors
    /// Something is.
    pub fn check(&self) -> Result<(), Fail> {
        match &self.engine {
            Of::Postgres(drill, _) => drill.planned().check().map_err(|fail| Fail {
                message: fail.message.replace("this restore", "this drill"),
                ..fail
            }),
            Of::Sqlite(drill, _) => drill.obstacle().map_or(Ok(()), Err),
        }
    }

    /// Does what was planned, and records how it went. A backup that does not pass is no error of the drill: the report says so.
    ///
    /// # Errors
    /// The drill could not be made: something is in the way, a server cannot be reached, there is no key, or it was cancelled.
    pub async fn run(&mut self) -> Result<Report> {
        self.check()?;
        let plan = self.plan();
        let backup = plan
            .backup
            .ok_or_else(|| Fail::new(Exit::NotFound, "there is no backup to try"))?;
        let holds = self.hold(backup).await;
        let begun = Instant::now();
        let outcome = match &mut self.engine {
            Of::Postgres(drill, _) => drill
                .run()
                .await
                .map(|done| (done.proof.tables as u64, done.proof.rows, done.checks, done.seconds)),
            Of::Sqlite(drill, watch) => {
                let done = drill.run(&self.request.clock, watch, &self.request.cancel).await;
                done.map(|done| (done.tables, done.rows, done.checks, done.seconds))
            }
        };
        for (shelf, hold) in holds {
            // It ends by itself.
            let _ = shelf.unhold(&hold).await;
        }
        let mut report = Report {
            job: plan.job,
            backup,
            engine: plan.engine,
            place: plan.place,
            passed: true,
            tables: 0,
            rows: 0,
            checks: Vec::new(),
            problems: Vec::new(),
            seconds: begun.elapsed().as_secs_f64(),
            steps: match &self.engine {
                Of::Postgres(_, watch) => watch.times(),
                Of::Sqlite(_, watch) => watch.times(),
            },
            exit: Exit::CheckFailed,
            hint: None,
        };
        match outcome {
            Ok((tables, rows, checks, seconds)) => {
                report.problems = checks.iter().filter_map(told_check).collect();
                (report.tables, report.rows, report.checks, report.seconds) = (tables, rows, checks, seconds);
            }
            Err(error) if is_of_surroundings(exit_of(&error)) => return Err(error),
            Err(error) => {
                report.exit = exit_of(&error);
                report.hint = hint_of(&error).map(str::to_owned);
                report.problems.push(format!("{error:#}"));
            }
        }
        report.passed = report.problems.is_empty();
        self.record(&report).await;
        Ok(report)
    }

    /// Keeps the backup from being pruned meanwhile. What cannot be written to is pruned by nobody.
    async fn hold(&self, backup: BackupId) -> Vec<(Shelf, Hold)> {
        let mut holds = Vec::new();
        if let Ok(stock) = Stock::for_backup(self.request.job, &backup.to_string()).await {
            for (shelf, names) in &stock.shelves {
                if names.ids().any(|id| id == backup)
                    && let Ok(hold) = shelf.hold(backup, self.request.clock.now() + HELD).await
                {
                    holds.push((shelf.clone(), hold));
                }
            }
        }
        holds
    }

    /// Remembers beside each copy of the backup how it went.
    async fn record(&self, report: &Report) {
        let id = report.backup.to_string();
        let recorded = async {
            let stock = Stock::for_backup(self.request.job, &id).await?;
            for copy in stock.copies(report.backup).await? {
                let mut drill = shelf::Drill {
                    id: report.backup,
                    at: self.request.clock.now(),
                    passed: report.passed,
                    problems: report.problems.clone(),
                    seconds: report.seconds,
                    place: report.place.clone(),
                    tables: report.tables,
                    rows: report.rows,
                    checks: report.checks.iter().filter(|it| it.passed).count(),
                };
                if copy.manifest.is_sealed() && !drill.problems.is_empty() {
                    // They may name tables, and records lie in the store in clear.
                    drill.problems = vec!["what was found may name tables: drill again to see it".to_owned()];
                }
                copy.shelf.record_drill(&drill).await?;
            }
            Ok::<_, anyhow::Error>(())
        };
        if let Err(error) = recorded.await {
            let text = format!("how the drill went cannot be remembered beside the backup: {error:#}");
            (self.request.tell)(Event::Warning(text));
        }
    }
}

/// Failures that say nothing of the backup.
fn is_of_surroundings(exit: Exit) -> bool {
    matches!(
        exit,
        Exit::Usage | Exit::Unreachable | Exit::Busy | Exit::Refused | Exit::NoKey | Exit::Interrupted
    )
}

fn told_check(check: &Checked) -> Option<String> {
    let instead = check.instead.as_deref().filter(|_| !check.passed)?;
    Some(format!("the check `{}` {instead}", check.sql))
}

fn told<S>(event: steps::Event<S>, describe: fn(S) -> &'static str) -> Event {
    match event {
        steps::Event::Step(step) => Event::Step(describe(step)),
        steps::Event::Total(bytes) => Event::Total(bytes),
        steps::Event::Done(bytes) => Event::Done(bytes),
        steps::Event::Warning(text) => Event::Warning(text),
        // Only backups wait for replicas.
        steps::Event::Paused(_) => Event::Done(0),
    }
}
