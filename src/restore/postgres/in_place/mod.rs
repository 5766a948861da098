//! A restore where no database may be created: one transaction removes what is there, loads the backup, proves it and
//! commits. Until then others cannot use the tables, and whatever fails or is killed, the server rolls it all back.
//!
//! Writers are kept out before the safety snapshot is taken, so that it has every write that was ever committed.

mod clear;
pub mod commit;
mod dependents;
pub mod event_triggers;
mod fence;
mod holders;
mod refill;
mod replacement;
pub mod survey;
mod tables;
mod waiting;

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::advice::explain;
use super::analyse;
use super::new_roles;
use super::origin::{Body, Content, Expected};
use super::outcome::Outcome;
use super::plan::Obstacle;
use super::prove::{Proof, prove_within};
use super::run::{Prepared, unless};
use super::selection::without;
use super::watch::Step;
use crate::archive::belonging;
pub use crate::archive::belonging::Name;
use crate::archive::options::RestoreOptions;
use crate::archive::reader::Reader;
use crate::archive::toc::Entry;
use crate::engine::postgres::connect::session::{NEVER_TIMED_OUT, Session};
use crate::engine::postgres::connect::{Dsn, connect};
use crate::engine::postgres::load::Load;
use crate::engine::postgres::load::missing::Missing;
use crate::engine::postgres::restore_lock::{self, Lock};
use crate::engine::postgres::snapshot::OWN_ENCODING;
use crate::engine::postgres::target::run;
use crate::error::{Fail, Result};
use crate::manifest::{BackupId, InPlace};
use clear::clear;
use event_triggers::EventTriggers;
use fence::{Against, Fence};
use replacement::Replacement;
pub use tables::Tables;
use tables::Way;

/// What is in the transaction, before it is committed.
struct Replaced {
    /// Its number.
    transaction: u64,
    safety: Option<BackupId>,
    proof: Proof,
    missing: Vec<Missing>,
    ended: usize,
    locked: Instant,
}

/// How long a rollback may take before it is left to the server.
const ROLLBACK: Duration = Duration::from_secs(60);

impl Prepared<'_> {
    /// Restores in place.
    ///
    /// # Errors
    /// Whatever keeps the backup from being restored. Nothing has changed then.
    pub(super) async fn run_in_place(&mut self) -> Result<Outcome> {
        let begun = Instant::now();
        let cancel = self.request.cancel.clone();
        let begin = async {
            let lock = restore_lock::take(self.target.anywhere(&self.database).await?, &self.database).await?;
            let expected = self.check().await?;
            let session = Arc::new(connect(&self.target.dsn(&self.database)).await?);
            Ok::<_, anyhow::Error>((lock, expected, session))
        };
        let begun_with = unless(&cancel, begin).await;
        let (lock, expected, session) = begun_with.map_err(|error| explain(error, "nothing was changed"))?;
        // Before writers are kept out: they shall not wait for a backup.
        self.await_turn().await?;
        let replaced = self.until(self.replace(&session, &expected, &lock)).await;
        let replaced = replaced.and_then(|it| self.went_without(it.missing.clone()).map(|()| it));
        let replaced = match replaced {
            Ok(replaced) => replaced,
            Err(error) => return Err(give_up(&session, error).await),
        };
        self.request.watch.step(Step::Commit).await;
        self.commit(&session, replaced.transaction).await?;
        let away = replaced.locked.elapsed();
        drop(session);
        self.after().await;
        Ok(Outcome {
            database: self.database.clone(),
            backup: self.content.backup(),
            safety: replaced.safety,
            kept: None,
            away_ms: u64::try_from(away.as_millis()).unwrap_or(u64::MAX),
            ended: replaced.ended,
            proof: replaced.proof,
            missing: replaced.missing,
            created_roles: self.plan.created_roles(),
            seconds: begun.elapsed().as_secs_f64(),
            steps: self.request.watch.times(),
        })
    }

    /// Does all but the commit.
    async fn replace(&self, session: &Arc<Session>, expected: &Expected, lock: &Lock) -> Result<Replaced> {
        let (watch, client) = (&self.request.watch, session.client());
        let Body::Archive(reader) = &self.content.body else {
            anyhow::bail!("plain SQL cannot be restored in place");
        };
        run(
            client,
            &format!(
                "BEGIN ISOLATION LEVEL READ COMMITTED, READ WRITE; SET LOCAL search_path TO '';\n{OWN_ENCODING};\n\
                 {NEVER_TIMED_OUT}"
            ),
        )
        .await?;
        let transaction = commit::number(client).await?;
        watch.step(Step::Lock).await;
        let locked = Instant::now();
        let tables = self.chosen.as_ref().filter(|_| self.part);
        let tables = tables.map(|chosen| Tables::of(chosen, reader.entries(), &self.new_tables, &self.request.options));
        let only = match &tables {
            Some(tables) => Some(tables.locked(client).await?),
            None => None,
        };
        let mut fence = Fence::new(client, only);
        fence.close(Against::Writers, watch).await?;
        let in_place = InPlace {
            transaction,
            tables: tables.iter().flat_map(Tables::all).cloned().collect(),
        };
        let safety = self.back_up(Some(in_place)).await?;
        if !self.plan.new_roles.is_empty() {
            watch.step(Step::Roles).await;
            new_roles::create(client, &self.plan.new_roles, watch).await?;
        }
        watch.step(Step::Remove).await;
        fence.close(Against::All, watch).await?;
        let dsn = self.target.dsn(&self.database);
        let work = async {
            let mut triggers = EventTriggers::default();
            let worked = match &tables {
                Some(tables) => {
                    self.replace_tables(session, &dsn, expected, tables, &mut triggers)
                        .await
                }
                None => self.rebuild(session, &dsn, reader, expected, &mut triggers).await,
            };
            worked.map_err(|error| triggers.explain(error))
        };
        let beside = self.target.session(&self.database).await?;
        let ((proof, missing), ended) = waiting::bounded(client, &beside, watch, work).await?;
        lock.assert_held().await?;
        Ok(Replaced {
            transaction,
            safety,
            proof,
            missing,
            ended: fence.ended + ended,
            locked,
        })
    }

    /// Removes what is there, loads the backup, and proves it.
    async fn rebuild(
        &self,
        session: &Arc<Session>,
        dsn: &Dsn,
        reader: &Arc<Reader>,
        expected: &Expected,
        triggers: &mut EventTriggers,
    ) -> Result<(Proof, Vec<Missing>)> {
        let watch = &self.request.watch;
        triggers.switch_off(session.client()).await?;
        let kept = clear(session, dsn).await?;
        let load = self
            .load_of(reader, self.request.options.clone(), dsn, expected, 1)
            .within(session, &kept.there(reader.entries()));
        self.give_public(session.client()).await?;
        self.load_all(&load, session.client()).await?;
        triggers.switch_on(session.client()).await?;
        watch.step(Step::Prove).await;
        let missing = load.missing();
        let (expected, entries) = without(&missing, expected, &self.provable(self.entries()));
        let dump = &self.content.dump;
        let (proof, mut besides) = prove_within(session, dsn, &expected, &entries, self.entries(), dump, watch).await?;
        besides.retain(|what| !missing.iter().any(|it| it.what == *what));
        for what in besides {
            watch.warn(format!("still there, as this role may not take it away: {what}"));
        }
        Ok((proof, missing))
    }

    /// Replaces single tables, in the way that their definitions allow now that nobody can change them.
    async fn replace_tables(
        &self,
        session: &Arc<Session>,
        dsn: &Dsn,
        expected: &Expected,
        tables: &Tables,
        triggers: &mut EventTriggers,
    ) -> Result<(Proof, Vec<Missing>)> {
        let Body::Archive(reader) = &self.content.body else {
            anyhow::bail!("of plain SQL no part can be chosen");
        };
        let (way, obstacles) = tables.way(session, dsn, reader.entries()).await?;
        refuse(&obstacles)?;
        triggers.switch_off(session.client()).await?;
        let load = |options| {
            self.load_of(reader, options, dsn, expected, 1)
                .within(session, &HashSet::new())
        };
        let (entries, missing) = match way {
            Way::Rows => {
                let load = load(refill::load_options(tables, &self.request.options));
                self.refill(session, tables, &load).await?;
                triggers.switch_on(session.client()).await?;
                (refill::entries(tables), load.missing())
            }
            Way::Whole(_, replacement) => {
                let load = load(replacement.load_options(tables, &self.request.options));
                let mut missing = self.exchange(session, tables, &replacement, &load).await?;
                missing.extend(load.missing());
                triggers.switch_on(session.client()).await?;
                replacement.prove(session, dsn, tables, &missing).await?;
                (self.provable(&replacement.proven(tables)), missing)
            }
        };
        self.request.watch.step(Step::Prove).await;
        if tables.names().is_empty() {
            return Ok((Proof::default(), missing));
        }
        let request = tables.dump(&self.content.dump);
        let watch = &self.request.watch;
        let (expected, entries) = without(&missing, expected, &entries);
        let (proof, _) = prove_within(session, dsn, &expected, &entries, &entries, &request, watch).await?;
        Ok((proof, missing))
    }

    /// Replaces the rows of tables.
    async fn refill(&self, session: &Session, tables: &Tables, load: &Load) -> Result<()> {
        let client = session.client();
        let again = refill::clear(client, tables).await?;
        self.request.watch.step(Step::Data).await;
        load.rows().await?;
        refill::finish(client, tables, &again).await
    }

    /// Replaces tables with all that belongs to them.
    async fn exchange(
        &self,
        session: &Session,
        tables: &Tables,
        whole: &Replacement,
        load: &Load,
    ) -> Result<Vec<Missing>> {
        let watch = &self.request.watch;
        let foreign_keys = whole.remove(session, tables).await?;
        watch.step(Step::PreData).await;
        load.definitions().await?;
        whole.make_definitions(session).await?;
        watch.step(Step::Data).await;
        load.rows().await?;
        watch.step(Step::Privileges).await;
        load.privileges().await?;
        whole.finish(session, tables, &foreign_keys).await
    }

    /// What can only be done when all is committed, and what must not fail the restore any more.
    async fn after(&self) {
        let watch = &self.request.watch;
        if self.part {
            return watch.step(Step::Done).await;
        }
        if self.chosen.is_none() && self.missing.is_empty() {
            self.content.proved(self.request.clock.now()).await;
        }
        watch.step(Step::Analyse).await;
        let jobs = self.request.jobs.unwrap_or(self.request.job.dump.jobs);
        let brought = analyse::brought(self.entries());
        if let Err(error) =
            analyse::analyse(&self.target, &self.database, jobs, (brought, &<_>::default()), watch).await
        {
            watch.warn(format!("statistics could not be gathered, run ANALYZE: {error:#}"));
        }
        watch.step(Step::Done).await;
    }
}

/// Lets `options` take of the safety snapshot `content` what its restore in place had replaced; returns the tables that
/// were not there before, which go.
pub fn take_back(content: &Content, options: &mut RestoreOptions) -> BTreeSet<Name> {
    let tables = content.in_place().map(|it| it.tables.as_slice()).unwrap_or_default();
    if tables.is_empty() {
        return BTreeSet::new();
    }
    let entries = content.entries().iter();
    let of_tables = entries.filter(|it| matches!(it.desc.as_str(), "TABLE" | "TABLE DATA"));
    let of_them: Vec<&Entry> = of_tables
        .filter(|it| tables.contains(&belonging::name_of(it)))
        .collect();
    options.selection.list = Some(of_them.iter().map(|entry| entry.dump_id).collect());
    let mut new: BTreeSet<Name> = tables.iter().cloned().collect();
    for entry in of_them {
        new.remove(&belonging::name_of(entry));
    }
    new
}

/// What has come into the way since the plan.
fn refuse(obstacles: &[Obstacle]) -> Result<(), Fail> {
    obstacles.first().map_or(Ok(()), |it| {
        Err(Fail::new(it.exit, it.what.clone()).hint(it.hint.clone()))
    })
}

/// Rolls back, and says how things stand.
async fn give_up(session: &Session, error: anyhow::Error) -> anyhow::Error {
    // What the session is at may take long, and nobody needs it any more.
    let rolled_back = async {
        session.canceller().cancel().await?;
        session.run("ROLLBACK").await
    };
    match tokio::time::timeout(ROLLBACK, rolled_back).await {
        Ok(Ok(())) => explain(error, "the restore failed, and nothing was changed"),
        _ => explain(
            error,
            "the restore failed; the server rolls all of it back as soon as it sees that the connection is gone",
        ),
    }
}
