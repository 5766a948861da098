//! A drill: a backup is restored into a scratch database beside all others, proven like every restore, looked at by the operator's
//! checks, and dropped. Nothing that is live is touched, and no restore waits for it.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use tokio_postgres::SimpleQueryMessage;
use tokio_util::sync::CancellationToken;

use super::live;
use super::origin::Origin;
use super::plan::{Mode, Obstacle, Plan};
use super::prove::Proof;
use super::run::{self, New, Prepared, Request};
use super::watch::{Step, Watch};
use crate::archive::RestoreOptions;
use crate::clock::Clock;
use crate::engine::postgres::load::missing::{Missing, Tolerance};
use crate::engine::postgres::marker::{self, Marker, State};
use crate::engine::postgres::recover::{self, DRILL, clean_drills, drill_lock};
use crate::engine::postgres::restore_lock::{self, Lock};
use crate::engine::postgres::target::{READ_WRITE, Target, UNTIMED, run as execute};
use crate::error::{Exit, Result};
use crate::find::FromOther;
use crate::job::Job;
use crate::manifest::BackupId;
use crate::restore::checks::Checked;

/// How long a scratch database may take to be dropped after a drill was cancelled.
const DROP_GRACE: Duration = Duration::from_secs(60);

/// What is asked for.
pub struct Asked<'a> {
    /// The job whose backup it is.
    pub job: &'a Job,
    /// The same, with the server that is restored to ([`Job::for_drills`]).
    pub at: &'a Job,
    /// Which backup.
    pub id: &'a str,
    /// The name of the scratch database ([`scratch_name`]).
    pub scratch: &'a str,
    /// Connections of the load; `None` takes as many as the job's dumps.
    pub jobs: Option<usize>,
    /// The time.
    pub clock: Clock,
    /// Whom it tells what it does.
    pub watch: Watch,
    /// Cancels it.
    pub cancel: CancellationToken,
}

/// A drill that is decided and not begun.
pub struct Drill<'a> {
    prepared: Prepared<'a>,
    /// The database that the job backs up.
    of: String,
    checks: &'a [String],
}

/// How a drill went.
pub struct Drilled {
    /// What was compared with the manifest.
    pub proof: Proof,
    /// What was left out because it is computed from the rest.
    pub missing: Vec<Missing>,
    /// How the operator's checks went.
    pub checks: Vec<Checked>,
    /// How long it took from the first byte to the last check.
    pub seconds: f64,
}

/// The name of a scratch database of `database` for a drill that begins at `now`, which nothing has on the server of `at`: one that
/// was killed in the same second may have left its own.
///
/// # Errors
/// The server cannot be reached.
pub async fn scratch_name(at: &Job, database: &str, now: DateTime<Utc>) -> Result<String> {
    let client = Target::new(at.source.dsn()?).outside(database).await?;
    let taken = live::names(&client).await?;
    Ok(marker::name(database, DRILL, now, |name| taken.contains(name)))
}

impl<'a> Drill<'a> {
    /// Reads the backup and the server, and plans. On another server than the job's own roles may be missing: owners and
    /// privileges are left out then, and the plan says so.
    ///
    /// # Errors
    /// There is no such backup, it cannot be read, or the server cannot be reached.
    pub async fn plan(asked: &Asked<'a>) -> Result<Drill<'a>> {
        let of = asked.job.for_restores().source.dsn()?.database;
        let mut prepared = Prepared::new(request(asked, RestoreOptions::default())).await?;
        let lacks_roles = !prepared.plan.missing_roles.is_empty()
            || prepared
                .plan
                .obstacles
                .iter()
                .any(|it| it.exit == Exit::Permission && it.passable);
        if lacks_roles && asked.job.drill.source.is_some() {
            let options = RestoreOptions {
                no_owner: true,
                no_privileges: true,
                ..RestoreOptions::default()
            };
            prepared = Prepared::new(request(asked, options)).await?;
            prepared
                .plan
                .warnings
                .push("owners and privileges are left out: the server of drill_url lacks their roles".to_owned());
        }
        let space = &prepared.plan.space;
        if let Some(free) = space.free.filter(|free| *free < space.needed) {
            let what = format!(
                "the scratch database takes about {} bytes, and the server has {free} free",
                space.needed
            );
            let hint = "make room, or name another server with drill_url";
            prepared.plan.obstacles.push(Obstacle::new(Exit::Failure, what, hint));
        }
        Ok(Drill {
            prepared,
            of,
            checks: &asked.job.drill.checks,
        })
    }

    /// What will happen.
    #[must_use]
    pub fn planned(&self) -> &Plan {
        &self.prepared.plan
    }

    /// Which backup.
    #[must_use]
    pub fn backup(&self) -> Option<BackupId> {
        self.prepared.content.backup()
    }

    /// Does what was planned. Whatever happens, the scratch database is dropped.
    ///
    /// # Errors
    /// Whatever keeps the backup from being restored and proven.
    pub async fn run(&mut self) -> Result<Drilled> {
        self.prepared.plan.check()?;
        let begun = Instant::now();
        let lock = self.prepared.until(self.alone()).await?;
        let done = self.restore().await;
        // Also where the drill was cancelled or has failed.
        self.prepared.request.watch.step(Step::Drop).await;
        let dropped = tokio::time::timeout(DROP_GRACE, self.drop_scratch()).await;
        drop(lock);
        let (proof, missing, checks, at) = done.map_err(|error| self.prepared.lost(error))?;
        dropped.context("dropping the scratch database takes too long: the next command drops it")??;
        if missing.is_empty() {
            self.prepared
                .content
                .proved_by("drill", self.prepared.request.clock.now())
                .await;
        }
        self.prepared.request.watch.step(Step::Done).await;
        Ok(Drilled {
            proof,
            missing,
            checks,
            seconds: (at - begun).as_secs_f64(),
        })
    }

    async fn alone(&self) -> Result<Lock> {
        let Prepared { target, request, .. } = &self.prepared;
        let lock = restore_lock::take(target.outside(&self.of).await?, &drill_lock(&self.of)).await;
        let lock = lock.with_context(|| format!("another drill of {:?} is under way", self.of))?;
        let client = target.outside(&self.of).await?;
        request.watch.step(Step::Recover).await;
        for leftover in clean_drills(target, &client, &self.of).await? {
            request.watch.warn(leftover.to_string());
        }
        Ok(lock)
    }

    async fn restore(&mut self) -> Result<(Proof, Vec<Missing>, Vec<Checked>, Instant)> {
        let prepared = &mut self.prepared;
        let (now, watch) = (prepared.request.clock.now(), prepared.request.watch.clone());
        let warn = |text| watch.warn(text);
        watch.step(Step::Check).await;
        let check = prepared.content.check(now, None, &warn);
        let expected = run::unless(&prepared.request.cancel, check).await?;
        let marker = Marker {
            snapback: marker::VERSION,
            state: State::Drill,
            of: self.of.clone(),
            at: now,
            job: prepared.request.job.name.clone(),
            backup: prepared.content.backup(),
            safety: None,
            comment: None,
        };
        let scratch = prepared.database.clone();
        let new = New {
            name: &scratch,
            marker: &marker,
            expected: &expected,
        };
        let prepared = &self.prepared;
        let work = async {
            let client = prepared.target.outside(&scratch).await?;
            execute(&client, UNTIMED).await?;
            execute(&client, READ_WRITE).await?;
            let (proof, missing) = prepared.build(&client, None, &new).await?;
            watch.step(Step::Checks).await;
            let checks = checks(&prepared.target, &scratch, self.checks).await?;
            Ok((proof, missing, checks, Instant::now()))
        };
        prepared.until(work).await
    }

    async fn drop_scratch(&self) -> Result<()> {
        let Prepared { target, database, .. } = &self.prepared;
        let client = target.outside(&self.of).await?;
        recover::drop_unfinished(target, &client, database).await
    }
}

fn request<'a>(asked: &Asked<'a>, options: RestoreOptions) -> Request<'a> {
    Request {
        origin: Origin::Backup {
            job: asked.job,
            id: asked.id,
            from_other: FromOther::Any,
        },
        job: asked.at,
        mode: Mode::New(asked.scratch),
        copy_of: None,
        options,
        create_roles: false,
        back: false,
        safety: false,
        force: false,
        from_other: FromOther::Any,
        wait: Duration::ZERO,
        tolerance: Tolerance::default(),
        accept_missing: false,
        jobs: asked.jobs,
        clock: asked.clock.clone(),
        watch: asked.watch.clone(),
        cancel: asked.cancel.clone(),
    }
}

/// Runs the checks, each in the session of a client of the restored database.
async fn checks(target: &Target, database: &str, checks: &[String]) -> Result<Vec<Checked>> {
    let mut all = Vec::new();
    for sql in checks {
        // One that sets something, or breaks its session, is no matter of the next.
        let session = target.session(database).await?;
        execute(&session, UNTIMED).await?;
        all.push(match session.simple_query(sql).await {
            Err(error) if error.is_closed() => return Err(error.into()),
            Err(error) => {
                let said = error
                    .as_db_error()
                    .map(|it| format!("{}: {}", it.severity(), it.message()));
                Checked::failed(sql, format!("failed: {}", said.unwrap_or_else(|| error.to_string())))
            }
            Ok(messages) => {
                let row = messages.iter().find_map(|message| match message {
                    SimpleQueryMessage::Row(row) => Some(row),
                    _ => None,
                });
                match row {
                    Some(row) if !row.is_empty() => Checked::gave(sql, row.get(0)),
                    _ => Checked::gave_nothing(sql),
                }
            }
        });
    }
    Ok(all)
}
