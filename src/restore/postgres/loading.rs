//! An archive on its way into a database: what all kinds of restore do alike.

use std::sync::Arc;

use anyhow::Context as _;
use tokio_postgres::Client;

use super::in_place::event_triggers::EventTriggers;
use super::origin::Expected;
use super::plan::Mode;
use super::prove::{Proof, prove};
use super::run::{New, Prepared};
use super::selection::without;
use super::watch::{Event, Step, Watch};
use super::{analyse, script};
use crate::archive::options::RestoreOptions;
use crate::archive::reader::Reader;
use crate::engine::postgres::any_text::AnyText;
use crate::engine::postgres::connect::Dsn;
use crate::engine::postgres::load::early;
use crate::engine::postgres::load::missing::Missing;
use crate::engine::postgres::load::script::ScriptLoad;
use crate::engine::postgres::load::{self, Load};
use crate::engine::postgres::target::{UNTIMED, quoted, run};
use crate::error::{Exit, Fail, Result};

impl Prepared<'_> {
    /// The load of an archive into the database of `dsn`, with up to `jobs` connections; tells how much it is.
    pub(super) fn load_of(
        &self,
        reader: &Arc<Reader>,
        options: RestoreOptions,
        dsn: &Dsn,
        expected: &Expected,
        jobs: usize,
    ) -> Load {
        let watch = &self.request.watch;
        let weights = expected.weights(reader.entries());
        watch.tell(Event::Total(weights.values().sum()));
        let teller = Arc::new(Teller(watch.clone()));
        let load = Load::new(Arc::clone(reader), options, dsn.clone(), jobs, weights, teller);
        let (schemas, names) = analyse::brought(reader.entries());
        let name = |(schema, name): (&str, &str)| (schema.to_owned(), name.to_owned());
        load.spelled(self.content.dump.session.spelling.clone())
            .tolerating(self.request.tolerance)
            .early(early::Wanted {
                session: self.content.dump.session_options(dsn),
                brought: schemas.into_iter().zip(names).map(name).collect(),
            })
    }

    /// Takes note of what a load went on without, and refuses where that would replace what is live and nobody has said
    /// that it may.
    pub(super) fn went_without(&mut self, missing: Vec<Missing>) -> Result<()> {
        self.missing = missing;
        let refused: Vec<_> = self.missing.iter().filter(|it| !it.derived).collect();
        if refused.is_empty() || self.request.accept_missing || matches!(self.request.mode, Mode::New(_)) {
            return Ok(());
        }
        let names: Vec<_> = refused.iter().take(NAMED).map(|it| it.what.as_str()).collect();
        let more = match refused.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let names = names.join(", ");
        let message = format!("all that could be restored is proven, but this is missing: {names}{more}");
        Err(Fail::new(Exit::Incomplete, message)
            .hint(
                "to replace what is live all the same: restore again with --keep-going --accept-missing; what is missing \
                 can be made afterwards with the SQL that is listed",
            )
            .into())
    }

    /// Loads an archive by its sections, over several connections, and proves it.
    pub(super) async fn load(&self, reader: &Arc<Reader>, new: &New<'_>, jobs: usize) -> Result<(Proof, Vec<Missing>)> {
        let watch = &self.request.watch;
        let dsn = self.target.dsn(new.name);
        let load = self.load_of(reader, self.request.options.clone(), &dsn, new.expected, jobs);
        let inside = self.target.session(new.name).await?;
        run(&inside, UNTIMED).await?;
        if self.content.public_owner().is_some() {
            self.give_public(&inside).await?;
        }
        let early = self.load_all(&load, &inside).await?;
        drop(inside);
        watch.step(Step::Analyse).await;
        let brought = analyse::brought(self.entries());
        analyse::analyse(&self.target, new.name, jobs, (brought, &early.analysed), watch).await?;
        watch.step(Step::Prove).await;
        let provable = self.chosen.as_ref().map(|chosen| self.provable(chosen));
        let (entries, missing) = (provable.as_deref().unwrap_or(reader.entries()), load.missing());
        let request = &self.content.dump;
        let proof = match missing.is_empty() {
            true => prove(&dsn, new.expected, entries, (request, &early.read), watch).await?,
            false => {
                let (expected, entries) = without(&missing, new.expected, entries);
                prove(&dsn, &expected, &entries, (request, &early.read), watch).await?
            }
        };
        Ok((proof, missing))
    }

    /// Runs a script from its first statement to its last, and proves it.
    pub(super) async fn run_script(
        &self,
        script: &script::Contents,
        database: &str,
        jobs: usize,
    ) -> Result<(Proof, Vec<Missing>)> {
        let watch = &self.request.watch;
        watch.tell(Event::Total(script.bytes));
        watch.step(Step::Data).await;
        let load = ScriptLoad {
            script: script.script.clone(),
            section: script.section.clone(),
            options: Arc::clone(self.content.options()),
            dsn: self.target.dsn(database),
            progress: Arc::new(Teller(watch.clone())),
            tolerance: self.request.tolerance,
        };
        let loaded = load.run().await.with_context(|| format!("running {}", self.content))?;
        watch.step(Step::Analyse).await;
        analyse::analyse(&self.target, database, jobs, (<_>::default(), &<_>::default()), watch).await?;
        watch.step(Step::Prove).await;
        let proof = script.prove(&loaded, &self.target, database).await?;
        Ok((proof, loaded.missing))
    }

    /// Gives schema `public` to the role that it belonged to, which before 15 no archive tells. Where this role may not do
    /// that, it is told.
    pub(super) async fn give_public(&self, client: &Client) -> Result<()> {
        let Some(owner) = self.content.public_owner().filter(|_| self.chosen.is_none()) else {
            return Ok(());
        };
        let name = AnyText(owner.to_owned());
        let Some(row) = client.query_opt(MAY_GIVE_PUBLIC, &[&name]).await? else {
            return Ok(());
        };
        if row.try_get::<_, Option<bool>>(0)? == Some(true) {
            return run(client, &format!("ALTER SCHEMA public OWNER TO {}", quoted(owner))).await;
        }
        self.request.watch.warn(format!(
            "schema public belonged to {owner:?}, and this role may not give it away: ALTER SCHEMA public OWNER TO {} as a \
             superuser does",
            quoted(owner)
        ));
        Ok(())
    }

    /// Loads by section: definitions, rows with indexes and constraints, privileges. `client` is in the database. Event
    /// triggers that extensions brought along are off meanwhile: those of periods forbid what is not whole yet.
    pub(super) async fn load_all(&self, load: &Load, client: &Client) -> Result<early::Done> {
        let watch = &self.request.watch;
        watch.step(Step::PreData).await;
        load.definitions().await?;
        let mut triggers = EventTriggers::default();
        triggers.switch_off(client).await?;
        watch.step(Step::Data).await;
        let early = load.rows().await?;
        watch.step(Step::Privileges).await;
        load.privileges().await?;
        triggers.switch_on(client).await?;
        Ok(early)
    }
}

/// What is missing and named in a message, at most; all is listed with its SQL.
const NAMED: usize = 5;

/// Whether schema `public` can be given to a role; no row where it is not there, or is that role's already.
const MAY_GIVE_PUBLIC: &str = "\
SELECT pg_catalog.pg_has_role(n.nspowner, 'USAGE') AND pg_catalog.pg_has_role(r.oid, 'MEMBER')
    AND pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE')
FROM pg_catalog.pg_namespace n LEFT JOIN pg_catalog.pg_roles r ON r.rolname = $1
WHERE n.nspname = 'public' AND r.oid IS DISTINCT FROM n.nspowner";

/// Hands on what the load tells.
pub(super) struct Teller(pub(super) Watch);

impl load::Progress for Teller {
    fn loaded(&self, bytes: u64) {
        self.0.tell(Event::Done(bytes));
    }

    fn tolerated(&self, what: String) {
        self.0.warn(format!("passed over: {what}"));
    }

    fn told(&self, what: String) {
        self.0.warn(what);
    }
}
