//! The restore from end to end, as named steps. Everything is decided before anything is done; until the swap
//! the live database is not touched.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::sync::Mutex;
use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;

use super::advice::explain;
use super::create::{Archived, create};
use super::in_place::Name;
use super::live::{self, Live};
use super::origin::{Body, Content, Expected, Origin};
use super::outcome::Outcome;
use super::plan::{Mode, Plan};
use super::properties::{self, Place};
use super::prove::Proof;
use super::selection::{narrow, provable};
use super::swap::{Aside, Comment, Swap, Unknown, swap};
use super::watch::{Step, Watch};
use crate::archive::options::RestoreOptions;
use crate::archive::toc::Entry;
use crate::backup;
use crate::clock::Clock;
use crate::engine::postgres::connect;
use crate::engine::postgres::load::missing::{Missing, Tolerance};
use crate::engine::postgres::marker::{self, Marker, State};
use crate::engine::postgres::recover;
use crate::engine::postgres::restore_lock::{self, Lock};
use crate::engine::postgres::target::{READ_WRITE, Target, UNTIMED, quoted, run};
use crate::error::{Exit, Fail, Result};
use crate::find::FromOther;
use crate::job::Job;
use crate::manifest::{BackupId, InPlace, Kind};
use crate::shelf::Shelf;

/// What a person asks for.
pub struct Request<'a> {
    /// What is restored.
    pub origin: Origin<'a>,
    /// The job whose database is restored to, and whose store gets the safety snapshot.
    pub job: &'a Job,
    /// How it becomes a database.
    pub mode: Mode<'a>,
    /// The live database of which the new one is only a copy for a while: from its first moment to its last it is marked as what
    /// the next command removes.
    pub copy_of: Option<&'a str>,
    /// What of it is restored, and how: a part of it only into a new database.
    pub options: RestoreOptions,
    /// Whether roles that the server lacks are created.
    pub create_roles: bool,
    /// It takes a restore in place back: of the safety snapshot only the tables are taken that were replaced then.
    pub back: bool,
    /// Whether the live database is backed up first.
    pub safety: bool,
    /// Whether an older server is tried.
    pub force: bool,
    /// Whether it may be a backup of another database.
    pub from_other: FromOther<'a>,
    /// How long it waits for a run of the job that is under way.
    pub wait: Duration,
    /// The failures that it goes past.
    pub tolerance: Tolerance,
    /// Whether what is live is replaced also where something of the backup is missing.
    pub accept_missing: bool,
    /// Connections of the load; `None` takes as many as the job's dumps.
    pub jobs: Option<usize>,
    /// The time.
    pub clock: Clock,
    /// Whom it tells what it does.
    pub watch: Watch,
    /// Cancels it, until the swap.
    pub cancel: CancellationToken,
}

/// A restore that is decided and not begun.
pub struct Prepared<'a> {
    pub(super) request: Request<'a>,
    /// What will happen.
    pub plan: Plan,
    pub(super) target: Target,
    pub(super) database: String,
    pub(super) content: Content,
    /// The entries that are restored, when they are not all.
    pub(super) chosen: Option<Vec<Entry>>,
    /// Whether what is left out was selected by name or kind, and not something that all of it can do without.
    pub(super) part: bool,
    /// Whether roles of the dump become one, and what one granted to the other is gone.
    pub(super) merged: bool,
    /// Tables that were not there before the restore in place that is taken back.
    pub(super) new_tables: BTreeSet<Name>,
    /// What it went on without, also where it failed for that.
    pub missing: Vec<Missing>,
    /// Taken while the safety snapshot is.
    pub(super) safety: Mutex<()>,
}

/// The database that is being made.
pub(super) struct New<'a> {
    pub(super) name: &'a str,
    pub(super) marker: &'a Marker,
    pub(super) expected: &'a Expected,
}

/// A restore that nobody else can disturb any more.
struct Alone {
    /// A session in another database.
    client: Client,
    /// What is replaced.
    live: Option<Live>,
    lock: Lock,
}

impl<'a> Prepared<'a> {
    fn is_new(&self) -> bool {
        matches!(self.request.mode, Mode::New(_))
    }

    /// The entries that are restored.
    pub(super) fn entries(&self) -> &[Entry] {
        self.chosen.as_deref().unwrap_or(self.content.entries())
    }

    /// The entries among those that are restored that the proof looks for.
    pub(super) fn provable(&self, chosen: &[Entry]) -> Vec<Entry> {
        provable(chosen, &self.request.options, self.merged)
    }

    /// Does what was planned.
    ///
    /// # Errors
    /// Whatever keeps the backup from being restored. Before the swap nothing has changed then, and the
    /// unfinished database is removed.
    pub async fn run(&mut self) -> Result<Outcome> {
        self.plan.check()?;
        if self.request.mode == Mode::InPlace {
            return self.run_in_place().await;
        }
        let begun = Instant::now();
        let begin = async {
            let alone = self.until(self.lock()).await?;
            let expected = self.check().await?;
            let safety = match &alone.live {
                // It hears itself that it is cancelled, and clears away what it began.
                Some(_) if !self.is_new() => {
                    self.await_turn().await?;
                    self.back_up(None).await?
                }
                _ => None,
            };
            let taken = live::names(&alone.client).await?;
            Ok::<_, anyhow::Error>((alone, expected, safety, taken))
        };
        let (Alone { client, live, lock }, expected, safety, taken) = begin
            .await
            .map_err(|error| explain(self.lost(error), "nothing was changed"))?;

        let now = self.request.clock.now();
        let marker = self.marker(State::Unfinished, now, safety, None);
        let incoming = marker::name(&self.database, "restoring", now, |name| taken.contains(name));
        let aside = marker::name(&self.database, "before", now, |name| taken.contains(name));
        let new = New {
            name: &incoming,
            marker: &marker,
            expected: &expected,
        };
        let build = async {
            self.create_roles(&client).await?;
            let (proof, missing) = self.build(&client, live.as_ref(), &new).await?;
            lock.assert_held().await?;
            Ok((proof, missing))
        };
        let built = self.until(build).await;
        let built = built.and_then(|(proof, missing)| self.went_without(missing).map(|()| proof));
        let finished = match built {
            Ok(proof) => self
                .swap_in(live.as_ref(), &incoming, &aside, safety)
                .await
                .map(|swapped| (proof, swapped)),
            Err(error) => Err(error),
        };
        let (proof, swapped) = match finished {
            Ok(finished) => finished,
            // Then nothing can be said of what is live, and nothing may be removed.
            Err(error) if error.is::<Unknown>() => return Err(error),
            Err(error) => return Err(self.give_up(&incoming, error).await),
        };
        // A part proves nothing of the rest.
        if self.chosen.is_none() && self.missing.is_empty() {
            self.content.proved(self.request.clock.now()).await;
        }
        self.request.watch.step(Step::Done).await;
        Ok(Outcome {
            database: self.database.clone(),
            backup: self.content.backup(),
            safety,
            kept: live.map(|_| aside),
            away_ms: u64::try_from(swapped.away.as_millis()).unwrap_or(u64::MAX),
            ended: swapped.ended,
            proof,
            missing: self.missing.clone(),
            created_roles: self.plan.created_roles(),
            seconds: begun.elapsed().as_secs_f64(),
            steps: self.request.watch.times(),
        })
    }

    /// Keeps others from restoring the same database, cleans up behind those who were killed, and looks at what
    /// is live.
    async fn lock(&self) -> Result<Alone> {
        let watch = &self.request.watch;
        let lock = restore_lock::take(self.target.outside(&self.database).await?, &self.database).await?;
        let client = self.target.outside(&self.database).await?;
        watch.step(Step::Recover).await;
        for leftover in recover::clean(&self.target, &client, &self.database).await? {
            watch.warn(leftover.to_string());
        }
        // It idles while the rows are loaded.
        run(&client, UNTIMED).await?;
        run(&client, READ_WRITE).await?;
        let live = Live::read(&client, &self.database).await?;
        if live.is_some() && self.is_new() {
            let message = format!("database {:?} was created meanwhile", self.database);
            return Err(Fail::new(Exit::Failure, message)
                .hint("choose another name with --as")
                .into());
        }
        Ok(Alone { client, live, lock })
    }

    /// Runs a part of the restore unless it is cancelled meanwhile.
    pub(super) async fn until<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let cancelled = async {
            self.request.cancel.cancelled().await;
            // A safety snapshot hears of that itself, and clears away what it began.
            drop(self.safety.lock().await);
        };
        tokio::select! {
            result = work => result,
            () = cancelled => Err(Fail::new(Exit::Interrupted, "the restore was cancelled").into()),
        }
    }

    /// For as long as people may want to go back, no pruning takes what this restore is made of.
    fn held_until(&self) -> chrono::DateTime<chrono::Utc> {
        self.request.clock.now() + self.request.job.keep_replaced
    }

    /// Makes sure that what is restored is whole.
    pub(super) async fn check(&mut self) -> Result<Expected> {
        let (now, until) = (self.request.clock.now(), self.held_until());
        let watch = &self.request.watch;
        let warn = |text| watch.warn(text);
        let check = async {
            watch.step(Step::Check).await;
            self.content.check(now, Some(until), &warn).await
        };
        let expected = unless(&self.request.cancel, check).await?;
        Ok(match self.chosen.as_ref().filter(|_| self.part) {
            Some(chosen) => narrow(expected, chosen, self.content.entries()),
            None => expected,
        })
    }

    /// Backs up what is live: before a swap, or before a restore in place.
    pub(super) async fn back_up(&self, in_place: Option<InPlace>) -> Result<Option<BackupId>> {
        let watch = &self.request.watch;
        if !self.request.safety {
            tracing::warn!("restoring {:?} without a safety snapshot, as asked", self.database);
            return Ok(None);
        }
        let paused = async {
            watch.step(Step::Safety).await;
            Ok(())
        };
        self.until(paused).await?;
        let _ends_by_itself = self.safety.lock().await;
        let request = backup::Request {
            label: Some(format!("before the restore of {}", self.content)),
            in_place,
            protect: self.content.backup().into_iter().collect::<BTreeSet<_>>(),
            clock: self.request.clock.clone(),
            cancel: self.request.cancel.clone(),
            ..backup::Request::new(self.request.job, Kind::Safety)
        };
        let report = backup::run(&request).await.context("the safety snapshot failed")?;
        let safety = report.manifest.id;
        for (store, why) in report.lacking() {
            watch.warn(format!("the safety snapshot {safety} has no copy in {store}: {why}"));
        }
        for store in report.stores() {
            let shelf = Shelf::new(self.request.job, self.request.job.destination(store)?);
            shelf.hold(safety, self.held_until()).await?;
        }
        Ok(Some(safety))
    }

    fn marker(
        &self,
        state: State,
        at: chrono::DateTime<chrono::Utc>,
        safety: Option<BackupId>,
        comment: Option<String>,
    ) -> Marker {
        Marker {
            snapback: marker::VERSION,
            state,
            of: self.request.copy_of.unwrap_or(&self.database).to_owned(),
            at,
            job: self.request.job.name.clone(),
            backup: self.content.backup(),
            safety,
            comment,
        }
    }

    /// Creates, loads, analyses and proves the new database. Tells also what it went on without.
    pub(super) async fn build(
        &self,
        client: &Client,
        live: Option<&Live>,
        new: &New<'_>,
    ) -> Result<(Proof, Vec<Missing>)> {
        let watch = &self.request.watch;
        watch.step(Step::Create).await;
        let live = live.filter(|_| !self.is_new());
        create(client, new.name, live, self.entries())
            .await
            .with_context(|| format!("creating the database {:?}", new.name))?;
        run(client, &new.marker.statement(&quoted(new.name))).await?;
        let properties = match live {
            Some(live) => live.properties(&quoted(new.name)),
            // Nobody knows better than the archive what the database was like.
            None => Archived::find(self.entries())?.properties(new.name),
        };
        let place = Place {
            outside: client,
            target: &self.target,
            database: new.name,
        };
        let encoding = properties.encoding.as_deref();
        properties::apply(&place, &properties.settings, encoding, watch).await?;
        let silent = self.entries().iter().any(|entry| entry.desc == "EVENT TRIGGER");
        if silent {
            set_event_triggers(client, new.name, "SET event_triggers TO off").await?;
        }

        let jobs = self.request.jobs.unwrap_or(self.request.job.dump.jobs);
        let proven = match &self.content.body {
            Body::Archive(reader) => self.load(reader, new, jobs).await?,
            Body::Script(script) => self.run_script(script, new.name, jobs).await?,
        };
        watch.step(Step::Properties).await;
        if silent {
            set_event_triggers(client, new.name, "RESET event_triggers").await?;
        }
        properties::apply(&place, &properties.rest, encoding, watch).await?;
        Ok(proven)
    }

    async fn swap_in(
        &self,
        live: Option<&Live>,
        incoming: &str,
        aside: &str,
        safety: Option<BackupId>,
    ) -> Result<super::swap::Swapped> {
        let kept = live.map(|live| self.marker(State::Kept, self.request.clock.now(), safety, live.comment.clone()));
        let copy = self.marker(State::Unfinished, self.request.clock.now(), None, None);
        let comment = match live {
            Some(live) => Comment::of(&self.database, live.comment.as_deref()),
            None if self.request.copy_of.is_some() => Some(Comment {
                sql: copy.statement(&quoted(&self.database)),
                encoding: None,
            }),
            None => Archived::find(self.entries())?.comment(&self.database),
        };
        let request = Swap {
            live: &self.database,
            incoming,
            comment,
            aside: live.zip(kept.as_ref()).map(|(live, marker)| Aside {
                oid: live.oid,
                name: aside,
                marker,
            }),
        };
        swap(&self.target, &request, &self.request.watch).await
    }

    /// Removes the unfinished database and says how things stand.
    /// The failure with the server that was lost, if one was.
    pub(super) fn lost(&self, error: anyhow::Error) -> anyhow::Error {
        connect::lost(error, &self.target.dsn(&self.database), "during the restore")
    }

    async fn give_up(&self, incoming: &str, error: anyhow::Error) -> anyhow::Error {
        let error = self.lost(error);
        let removed = async {
            let client = self.target.outside(&self.database).await?;
            recover::drop_unfinished(&self.target, &client, incoming).await
        };
        match removed.await {
            Ok(()) => explain(error, "the restore failed, and nothing was changed"),
            Err(also) => {
                let left = format!("{incoming:?} could not be removed ({also:#}): the next restore will");
                explain(
                    error,
                    format!("the restore failed; {:?} is as it was; {left}", self.database),
                )
            }
        }
    }
}

/// Keeps event triggers that were restored from firing at what follows, until all is proven: those of PostgreSQL 17 and
/// later may fire at each login, and change what is proven. Only superusers have some.
async fn set_event_triggers(client: &Client, database: &str, how: &str) -> Result<()> {
    let query = "SELECT 1 WHERE pg_catalog.current_setting('is_superuser') = 'on' AND \
                 pg_catalog.current_setting('server_version_num')::int >= 170000";
    if client.query_opt(query, &[]).await?.is_none() {
        return Ok(());
    }
    run(client, &format!("ALTER DATABASE {} {how}", quoted(database))).await
}

/// Does `work` unless it is cancelled meanwhile.
pub(super) async fn unless<T>(cancel: &CancellationToken, work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::select! {
        result = work => result,
        () = cancel.cancelled() => Err(Fail::new(Exit::Interrupted, "the restore was cancelled").into()),
    }
}
