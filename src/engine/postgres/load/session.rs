//! One connection of a load: its settings, and the statements of entries.

use std::sync::Arc;

use anyhow::Context as _;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::missing::{Failed, Missing, is_derived, is_refused, is_view_of_itself, only_owner_is_refused, why};
use super::{Archive, name_of, search_path};
use crate::archive::plain::Script;
use crate::archive::toc::{self, Entry};
use crate::engine::postgres::connect::connect;
use crate::engine::postgres::connect::session::Session;
use crate::error::{Exit, Fail, Result};
use crate::raw_text;
use crate::sql::quote::Quote;

/// One connection of a load.
pub(super) struct Loader {
    pub(super) archive: Archive,
    pub(super) session: Arc<Session>,
    pub(super) script: Script,
    /// Archive and database are both in UTF-8.
    pub(super) all_utf8: bool,
    /// The server's major version.
    pub(super) major: u32,
}

/// Statements that are sent together, at most.
pub(super) const BATCH: usize = 100;
/// Bytes of statements that are sent together, about.
const BATCH_BYTES: usize = 256 << 10;
/// How often a statement is tried that lost to another of this same load.
const ATTEMPTS: u32 = 4;

/// Settings that no role's or database's own may change. Nothing of a database that is not live yet must be
/// durable before the swap, whose commit is.
pub(super) const SETTINGS: &str = "SET synchronous_commit = off; \
    SET idle_session_timeout = 0; \
    SET default_transaction_read_only = off; SET default_transaction_isolation = 'read committed'; \
    SET DateStyle = 'ISO'; SET IntervalStyle = 'postgres'; SET array_nulls = on; SET transform_null_equals = off";

/// The role that makes things in this session, where its name reads the same in all encodings.
const ROLE: &str = "SELECT CASE WHEN current_user ~ '^[a-zA-Z0-9_]+$' THEN current_user::text END";

/// Room and helpers for building indexes. What the server may have is not known but by what its administrator
/// gave to `shared_buffers`: all connections together take about as much again. Nothing is set lower than it was.
pub(super) fn index_settings(jobs: usize) -> String {
    format!(
        "SELECT pg_catalog.set_config('maintenance_work_mem', GREATEST(m.setting::int8, 131072, \
         LEAST(pg_catalog.pg_size_bytes(pg_catalog.current_setting('shared_buffers')) / 1024 / {jobs}, \
         1048576))::text || 'kB', false), \
         pg_catalog.set_config('max_parallel_maintenance_workers', GREATEST(w.setting::int8, {})::text, false) \
         FROM pg_catalog.pg_settings m, pg_catalog.pg_settings w \
         WHERE m.name = 'maintenance_work_mem' AND w.name = 'max_parallel_maintenance_workers'",
        jobs.min(8) - 1
    )
}

/// Whether the server logs as little as it can.
pub(super) async fn has_minimal_wal(client: &Client) -> Result<bool> {
    let row = client
        .query_one("SELECT pg_catalog.current_setting('wal_level')", &[])
        .await?;
    Ok(row.try_get::<_, &str>(0)? == "minimal")
}

impl Loader {
    /// Connects.
    pub(super) async fn open(archive: &Archive) -> Result<Loader> {
        let session = match &archive.within {
            Some(session) => Arc::clone(session),
            None => Arc::new(connect(&archive.dsn).await?),
        };
        let row = session
            .client()
            .query_one(
                "SELECT pg_catalog.current_setting('server_version_num'), \
                 pg_catalog.current_setting('server_encoding')",
                &[],
            )
            .await?;
        let version: String = row.try_get(0)?;
        let major = version.parse::<u32>()? / 10_000;
        let quote = Quote::standard(major);
        let entries = archive.reader.entries();
        let encoding = toc::encoding(entries).unwrap_or("UTF8");
        let mut loader = Loader {
            script: Script::new(entries.clone(), archive.options.clone(), quote),
            all_utf8: encoding == "UTF8" && row.try_get::<_, &str>(1)? == "UTF8",
            archive: archive.clone(),
            session,
            major,
        };
        let settings = loader.script.session_settings();
        let settings = raw_text::decode(&settings);
        // Its text is sent as it is: not all that is in an encoding can become UTF-8.
        let encoding = format!("SET client_encoding = {}", quote.literal(encoding));
        // A load inside a transaction ends with a commit that counts.
        let durable = if archive.within.is_some() { "on" } else { "off" };
        loader
            .client()
            .batch_execute(&format!(
                "{settings}\n{encoding}; {SETTINGS}; SET synchronous_commit = {durable};\n{}",
                index_settings(archive.jobs)
            ))
            .await
            .context("preparing a session of the load")?;
        loader.read_as_written().await?;
        if let Some(role) = loader.client().query_one(ROLE, &[]).await?.try_get(0)? {
            loader.script.run_by(role);
        }
        Ok(loader)
    }

    /// Lets the session read values as they were written.
    async fn read_as_written(&self) -> Result<()> {
        let spelling = self.archive.spelling.as_ref();
        let Some(set) = spelling.and_then(|spelling| spelling.for_reading(&Quote::standard(14))) else {
            return Ok(());
        };
        let Err(error) = self.client().batch_execute(&set).await else {
            return Ok(());
        };
        let message = format!("the server lacks the locale that the values of the type money are written in: {set}");
        let fail = Fail::new(Exit::Failure, message).hint(
            "install the locale on the machine of the server (on Debian with locale-gen or localedef) and restart it",
        );
        Err(anyhow::Error::from(error).context(fail))
    }

    /// Runs the definitions of the entries at `all` in their order, many at a time.
    pub(super) async fn run_all(&mut self, all: &[usize]) -> Result<()> {
        let mut rest = all;
        while !rest.is_empty() {
            let (batch, sql) = self.batch(&mut rest);
            if let Err(error) = self.run(&sql).await {
                self.one_by_one(batch, error).await?;
            }
        }
        Ok(())
    }

    /// The same for as much of it as goes. Tells what does not.
    pub(super) async fn run_what_goes(&mut self, all: &[usize]) -> Result<Vec<usize>> {
        let (mut rest, mut failed) = (all, Vec::new());
        while !rest.is_empty() {
            let (batch, sql) = self.batch(&mut rest);
            let Err(error) = self.run(&sql).await else { continue };
            if self.client().is_closed() {
                return Err(error);
            }
            self.script.reconnected();
            failed.extend_from_slice(batch);
        }
        Ok(failed)
    }

    /// Runs another definition of the entry at `at`.
    pub(super) async fn run_as(&mut self, at: usize, definition: &str) -> Result<()> {
        let sql = self.script.definition_as(at, definition);
        let ran = self.run(&sql).await;
        if ran.is_err() {
            self.script.reconnected();
        }
        ran
    }

    /// Takes the first entries from `rest` that are sent together, with their statements.
    fn batch<'a>(&mut self, rest: &mut &'a [usize]) -> (&'a [usize], Vec<u8>) {
        let (mut count, mut sql) = (0, Vec::new());
        while count < rest.len() && count < BATCH && sql.len() < BATCH_BYTES {
            let definition = self.script.definition(rest[count]);
            match sql.is_empty() {
                // It may be a large one alone.
                true => sql = definition.into(),
                false => sql.extend_from_slice(&definition),
            }
            count += 1;
        }
        let (batch, after) = rest.split_at(count);
        *rest = after;
        (batch, sql)
    }

    /// Runs entries again whose batch failed, and was rolled back as a whole: this time it shows which it is.
    async fn one_by_one(&mut self, batch: &[usize], first: anyhow::Error) -> Result<()> {
        if self.client().is_closed() {
            return Err(first);
        }
        for at in batch {
            let mut attempt = 1;
            while let Err(error) = self.run_one(*at).await {
                let entry = &self.archive.reader.entries()[*at];
                if is_tolerated(entry, &error) {
                    self.archive
                        .progress
                        .tolerated(format!("{}: {error:#}", name_of(entry)));
                    break;
                }
                if self.in_place_of_member(*at, &error).await? {
                    break;
                }
                if attempt == ATTEMPTS || code(&error) != Some(&SqlState::T_R_DEADLOCK_DETECTED) {
                    self.go_without(*at, error).await?;
                    break;
                }
                attempt += 1;
            }
        }
        Ok(())
    }

    async fn run_one(&mut self, at: usize) -> Result<()> {
        // Settings that the failed statement made were rolled back with it.
        self.script.reconnected();
        let sql = self.script.definition(at);
        self.run_somehow(at, &sql).await
    }

    /// Runs statements of the entry at `at`, where they need it under the search path of the database.
    async fn run_somehow(&self, at: usize, sql: &[u8]) -> Result<()> {
        let ran = self.run(sql).await;
        let Err(error) = ran else { return Ok(()) };
        if !search_path::is_lost(&error) || self.client().is_closed() {
            return Err(error);
        }
        let sql = [
            search_path::OF_DATABASE.as_bytes(),
            b";\n",
            sql,
            b";\n",
            search_path::NONE.as_bytes(),
        ]
        .concat();
        // What is told is the error of the first time.
        if self.run(&sql).await.is_err() {
            return Err(error);
        }
        self.tell_search_path(&self.archive.reader.entries()[at], &error);
        Ok(())
    }

    /// Goes on without the entry at `at`, whose statements failed with `error`, where that is allowed: without what is
    /// only computed from the rows or of no use always, without all else when a person says so. As `pg_restore` does, the
    /// object is made all the same when it only cannot be given to its owner.
    async fn go_without(&mut self, at: usize, error: anyhow::Error) -> Result<()> {
        let entries = Arc::clone(self.archive.reader.entries());
        let entry = &entries[at];
        let keep_going = self.archive.tolerance.keep_going;
        let context = || Failed(format!("restoring {}", name_of(entry)));
        if self.client().is_closed() || !is_refused(&error) {
            return Err(error.context(context()));
        }
        self.script.reconnected();
        let (definition, owner) = self.script.definition_and_owner(at);
        let sent = self.sent(&raw_text::decode(&[&definition[..], &owner].concat()));
        let useless = is_view_of_itself(entry, &sent, &error) || self.archive.missing.is_about_useless(entry);
        let whose = only_owner_is_refused(entry, &error);
        if !keep_going && !useless && !whose && !is_derived(entry) {
            return Err(error.context(context()));
        }
        let missing = match (keep_going || whose) && !owner.is_empty() {
            false => Missing::definition(entry, "", &definition, why(&error)),
            true => match self.run_somehow(at, &definition).await {
                Err(error) if !keep_going => return Err(error.context(context())),
                Err(error) => Missing::definition(entry, "", &[&definition[..], &owner].concat(), why(&error)),
                Ok(()) => match self.run(&owner).await {
                    Ok(()) => return Ok(()),
                    Err(error) if !is_refused(&error) => return Err(error.context(context())),
                    Err(error) => Missing::definition(entry, ", its owner", &owner, why(&error)),
                },
            },
        };
        self.archive.missing.add(missing.useless(useless || whose));
        Ok(())
    }

    pub(super) async fn run(&self, sql: &[u8]) -> Result<()> {
        let sent = self.sent(&raw_text::decode(sql));
        let ran = self.client().batch_execute(&sent).await;
        if ran.is_err() && self.archive.within.is_some() && !self.client().is_closed() {
            self.client()
                .batch_execute("ROLLBACK TO SAVEPOINT entries; RELEASE SAVEPOINT entries")
                .await?;
        }
        Ok(ran?)
    }

    /// Statements as the server gets them. In a transaction, what failed must not take along what came before it: some of
    /// it is tried again, or tolerated.
    fn sent(&self, sql: &str) -> String {
        match self.archive.within {
            None => sql.to_owned(),
            Some(_) => format!("SAVEPOINT entries;\n{sql};\nRELEASE SAVEPOINT entries"),
        }
    }

    pub(super) fn client(&self) -> &Client {
        self.session.client()
    }
}

/// The statements whose failure loses nothing that a database needs: the comment on an extension, which only
/// its owner may change, and which the extension brought along.
fn is_tolerated(entry: &Entry, error: &anyhow::Error) -> bool {
    entry.desc == "COMMENT"
        && entry.tag.starts_with("EXTENSION ")
        && code(error) == Some(&SqlState::INSUFFICIENT_PRIVILEGE)
}

pub(super) fn code(error: &anyhow::Error) -> Option<&SqlState> {
    error
        .chain()
        .find_map(|cause| cause.downcast_ref::<tokio_postgres::Error>())
        .and_then(tokio_postgres::Error::code)
}
