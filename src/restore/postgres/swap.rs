//! Two names change hands in one transaction.
//!
//! The fence is the lock that renaming takes on the live database: from then on a new session waits at the
//! door, before it can do anything, while the ones inside are ended. Nothing of it is committed until both
//! names have changed, so whatever is killed and whenever - this process, its connection, the server - the
//! live database is open under its name, old or new. A fence by `ALLOW_CONNECTIONS false` would have to be
//! committed first, and a kill would leave the door shut.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::watch::{Step, Watch};
use crate::engine::postgres::any_text::AnyText;
use crate::engine::postgres::marker::Marker;
use crate::engine::postgres::target::{Target, literal, quoted, run};
use crate::error::{Exit, Fail, Result};
use crate::raw_text;

/// What changes hands.
#[derive(Debug)]
pub struct Swap<'a> {
    /// The name that applications use.
    pub live: &'a str,
    /// The database that is to have it.
    pub incoming: &'a str,
    /// The comment that the incoming one is to have.
    pub comment: Option<Comment<'a>>,
    /// Where the live one goes; `None` when there is none.
    pub aside: Option<Aside<'a>>,
}

/// What gives the database its comment under its live name.
#[derive(Debug)]
pub struct Comment<'a> {
    /// The statement.
    pub sql: String,
    /// Its encoding; without one it is that of the database.
    pub encoding: Option<&'a str>,
}

impl Comment<'_> {
    /// The comment `text` of the database `live`.
    #[must_use]
    pub fn of(live: &str, text: Option<&str>) -> Option<Self> {
        let sql = format!("COMMENT ON DATABASE {} IS {}", quoted(live), literal(text?));
        Some(Comment { sql, encoding: None })
    }
}

/// The new name of what was live, and what its comment will say.
#[derive(Debug)]
pub struct Aside<'a> {
    /// Its OID: the one that was looked at when the restore was planned.
    pub oid: u32,
    /// Its new name.
    pub name: &'a str,
    /// What it is from now on.
    pub marker: &'a Marker,
}

/// How a swap went.
#[derive(Clone, Debug)]
pub struct Swapped {
    /// How long no new session was let in.
    pub away: Duration,
    /// How many sessions were ended.
    pub ended: usize,
}

/// How often the swap is tried: each time the server itself waits five seconds for sessions to leave.
const ATTEMPTS: u32 = 4;
/// Between two looks at who is still inside.
const LOOK: Duration = Duration::from_millis(20);
/// How long a server may take to be back, when it alone knows whether the swap was committed.
const PATIENCE: Duration = Duration::from_secs(60);

/// Swaps.
///
/// # Errors
/// The live database could not be had for itself within the bound, or was replaced meanwhile. Then nothing
/// has changed, and it is open.
pub async fn swap(target: &Target, swap: &Swap<'_>, watch: &Watch) -> Result<Swapped> {
    let renamer = target.outside(swap.live).await?;
    let bouncer = target.outside(swap.live).await?;
    watch.step(Step::Fence).await;
    let incoming = oid_of(&renamer, swap.incoming)
        .await?
        .with_context(|| format!("database {:?} is gone", swap.incoming))?;
    let (early, late) = match may_say(&renamer, swap).await? {
        true => (swap.comment.as_ref(), None),
        false => (None, swap.comment.as_ref()),
    };
    let mut sessions = Sessions::default();
    let mut attempt = 1;
    let away = loop {
        let began = Instant::now();
        let swapped = try_swap(&renamer, &bouncer, swap, incoming, early, &mut sessions, watch).await;
        let away = began.elapsed();
        match swapped {
            Ok(()) => break away,
            Err(error) if attempt < ATTEMPTS && somebody_inside(&error) => {
                renamer.batch_execute("ROLLBACK").await?;
                attempt += 1;
            }
            Err(error) => {
                // The transaction ends with its session in any case. What is not known when the session broke is
                // whether it was committed before: then the names tell.
                let _ = renamer.batch_execute("ROLLBACK").await;
                if renamer.is_closed() && has_happened(target, swap, incoming, &error).await? {
                    break began.elapsed();
                }
                return Err(sessions.explain(error, swap.live));
            }
        }
    };
    if let Some(comment) = late {
        comment.say(target, swap.live, watch).await;
    }
    Ok(Swapped {
        away,
        ended: sessions.ended.len(),
    })
}

async fn try_swap(
    renamer: &Client,
    bouncer: &Client,
    swap: &Swap<'_>,
    incoming: u32,
    comment: Option<&Comment<'_>>,
    sessions: &mut Sessions,
    watch: &Watch,
) -> Result<()> {
    // With this commit all that was loaded becomes durable, whatever the role's default is. Should this process
    // stall while it holds the door, the server gives up by itself.
    run(
        renamer,
        "BEGIN ISOLATION LEVEL READ COMMITTED, READ WRITE; SET LOCAL synchronous_commit = on; SET LOCAL lock_timeout = '5s'; SET LOCAL statement_timeout = '15s'; \
         SET LOCAL idle_in_transaction_session_timeout = '5s'; \
         SELECT pg_catalog.set_config(name, '0', true) FROM pg_catalog.pg_settings WHERE name = 'transaction_timeout'",
    )
    .await?;
    sessions.end_all(bouncer, incoming).await?;
    if let Some(aside) = &swap.aside {
        still_the_same(renamer, swap.live, aside.oid).await?;
        rename(renamer, bouncer, aside.oid, swap.live, aside.name, sessions).await?;
        run(renamer, &aside.marker.statement(&quoted(aside.name))).await?;
    }
    let live = quoted(swap.live);
    run(
        renamer,
        &format!(
            "ALTER DATABASE {} RENAME TO {live}; COMMENT ON DATABASE {live} IS NULL",
            quoted(swap.incoming)
        ),
    )
    .await?;
    if let Some(comment) = comment {
        run(renamer, &comment.sql).await?;
    }
    watch.step(Step::Rename).await;
    run(renamer, "COMMIT").await
}

/// Whether the comment can come with the swap, whose session is in another database: the encodings must not differ.
async fn may_say(renamer: &Client, swap: &Swap<'_>) -> Result<bool> {
    let Some(comment) = swap.comment.as_ref().filter(|it| !it.sql.is_ascii()) else {
        return Ok(true);
    };
    let utf8 = "SELECT pg_catalog.bool_and(pg_catalog.pg_encoding_to_char(encoding) = 'UTF8') FROM pg_catalog.pg_database \
        WHERE datname IN (pg_catalog.current_database(), $1)";
    let row = renamer.query_one(utf8, &[&AnyText(swap.incoming.to_owned())]).await?;
    let text = std::str::from_utf8(&raw_text::encode(&comment.sql)).is_ok();
    Ok(text && comment.encoding.is_none_or(|it| it == "UTF8") && row.try_get(0)?)
}

impl Comment<'_> {
    /// Sets it from inside the database, which is live by now: this cannot fail its restore.
    async fn say(&self, target: &Target, live: &str, watch: &Watch) {
        let said = async {
            let inside = target.session_in(live, self.encoding).await?;
            run(&inside, &self.sql).await
        };
        if let Err(error) = said.await {
            let sql = self.sql.trim_end();
            watch.warn(format!(
                "the comment of the database could not be set: {sql}: {error:#}"
            ));
        }
    }
}

/// Renames a database while everybody inside is ended.
async fn rename(
    renamer: &Client,
    bouncer: &Client,
    oid: u32,
    name: &str,
    to: &str,
    sessions: &mut Sessions,
) -> Result<()> {
    let statement = format!("ALTER DATABASE {} RENAME TO {}", quoted(name), quoted(to));
    let renamed = run(renamer, &statement);
    tokio::pin!(renamed);
    loop {
        sessions.end_all(bouncer, oid).await?;
        tokio::select! {
            result = &mut renamed => return result,
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

/// The connection broke, and the server could not be asked whether the swap was committed before.
#[derive(Debug, thiserror::Error)]
#[error("whether the names were swapped is not known: the server cannot be asked ({0})")]
pub struct Unknown(String);

/// Whether the incoming database has the live name, after the session broke with `error`. A server that restarts
/// is given a while.
async fn has_happened(target: &Target, swap: &Swap<'_>, incoming: u32, error: &anyhow::Error) -> Result<bool> {
    let look = async || {
        let client = target.outside(swap.live).await?;
        oid_of(&client, swap.live).await
    };
    let begun = Instant::now();
    loop {
        match look().await {
            Ok(oid) => return Ok(oid == Some(incoming)),
            Err(_) if begun.elapsed() < PATIENCE => tokio::time::sleep(LOOK).await,
            Err(also) => {
                let fail = Fail::new(Exit::Unreachable, format!("swapping {:?}: {error:#}", swap.live))
                    .hint("once the server is back, `snapback list` shows whether a replaced database is kept");
                return Err(anyhow::Error::new(Unknown(format!("{also:#}"))).context(fail));
            }
        }
    }
}

async fn oid_of(client: &Client, name: &str) -> Result<Option<u32>> {
    let row = client
        .query_opt("SELECT oid FROM pg_catalog.pg_database WHERE datname = $1", &[&name])
        .await?;
    Ok(row.map(|row| row.try_get(0)).transpose()?)
}

async fn still_the_same(client: &Client, live: &str, oid: u32) -> Result<()> {
    if oid_of(client, live).await? == Some(oid) {
        return Ok(());
    }
    Err(Fail::new(
        Exit::Failure,
        format!("database {live:?} was dropped, renamed or replaced by somebody else meanwhile"),
    )
    .hint("nothing was swapped; look at what is there now, then start again")
    .into())
}

/// Whether trying again may help.
fn somebody_inside(error: &anyhow::Error) -> bool {
    let code = error
        .chain()
        .find_map(|cause| cause.downcast_ref::<tokio_postgres::Error>())
        .and_then(tokio_postgres::Error::code);
    matches!(
        code,
        Some(&(SqlState::OBJECT_IN_USE | SqlState::LOCK_NOT_AVAILABLE | SqlState::QUERY_CANCELED))
    )
}

/// Who was inside.
#[derive(Default)]
struct Sessions {
    ended: BTreeSet<i32>,
    /// By pid. They are not tried again: each refusal is an error in the server's log.
    refused: BTreeMap<i32, String>,
}

impl Sessions {
    /// Ends every session in the database; those that this role may not end are remembered.
    async fn end_all(&mut self, bouncer: &Client, oid: u32) -> Result<()> {
        if !self.refused.is_empty() {
            return self.end_each(bouncer, oid).await;
        }
        // In the list, not in the condition: there the server might end a session before it looks where it is.
        let all = "SELECT pid, pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity WHERE datid = $1";
        match bouncer.query(all, &[&oid]).await {
            Ok(ended) => {
                for row in ended {
                    self.ended.insert(row.try_get(0)?);
                }
                Ok(())
            }
            Err(error) if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => self.end_each(bouncer, oid).await,
            Err(error) => Err(error).context("ending sessions"),
        }
    }

    /// The same one by one, where some of them are not this role's to end.
    async fn end_each(&mut self, bouncer: &Client, oid: u32) -> Result<()> {
        let refused: Vec<i32> = self.refused.keys().copied().collect();
        let inside = bouncer
            .query(
                "SELECT pid, COALESCE(usename, '')::text, COALESCE(application_name, '') \
                 FROM pg_catalog.pg_stat_activity WHERE datid = $1 AND pid <> ALL ($2)",
                &[&oid, &refused],
            )
            .await?;
        for row in inside {
            let pid: i32 = row.try_get(0)?;
            let end = "SELECT pg_catalog.pg_terminate_backend($1)";
            match bouncer.query_one(end, &[&pid]).await {
                Ok(_) => {
                    self.ended.insert(pid);
                }
                Err(error) if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => {
                    let (user, program): (String, String) = (row.try_get(1)?, row.try_get(2)?);
                    self.refused.insert(pid, format!("{user} ({program})"));
                }
                Err(error) => return Err(error).context("ending sessions"),
            }
        }
        Ok(())
    }

    fn explain(&self, error: anyhow::Error, live: &str) -> anyhow::Error {
        if !somebody_inside(&error) {
            return error.context(format!("swapping {live:?}"));
        }
        let message = format!("database {live:?} could not be had for the swap: somebody is still inside");
        let fail = if self.refused.is_empty() {
            Fail::new(Exit::Failure, message).hint("stop the applications, or end prepared transactions, and try again")
        } else {
            let users: BTreeSet<&str> = self.refused.values().map(String::as_str).collect();
            let users: Vec<&str> = users.into_iter().collect();
            Fail::new(Exit::Permission, message).hint(format!(
                "this role may not end the sessions of {}: grant it pg_signal_backend, or stop them",
                users.join(", ")
            ))
        };
        error.context(fail)
    }
}
