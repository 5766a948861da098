//! Whether a new database can have the extensions that a backup needs: some can only be created in the one database that a
//! setting of the server names. That is tried before anything is done, in a short-lived database of the kind that the
//! restore would make, so that what a kill leaves is found and removed as ever.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use tokio_postgres::Client;

use super::create::create;
use super::live::{self, Live};
use super::needs::Needs;
use crate::archive::options::RestoreOptions;
use crate::archive::toc::{Entry, Section};
use crate::engine::postgres::connect::connect;
use crate::engine::postgres::load;
use crate::engine::postgres::marker::{self, Marker, State};
use crate::engine::postgres::recover::drop_database;
use crate::engine::postgres::restore_lock;
use crate::engine::postgres::target::{READ_WRITE, Target, UNTIMED, quoted, run};
use crate::error::Result;

/// What is tried, and where.
pub struct Trial<'a> {
    /// The server.
    pub target: &'a Target,
    /// The live name.
    pub database: &'a str,
    /// What has it.
    pub live: Option<&'a Live>,
    /// What is restored.
    pub entries: &'a [Entry],
    /// What it needs; of a script its entries do not tell.
    pub needs: &'a Needs,
    /// How it is restored.
    pub options: &'a RestoreOptions,
    /// The time.
    pub now: DateTime<Utc>,
}

/// An extension that the server does not create in a new database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Its name.
    pub extension: String,
    /// The server's reason.
    pub why: String,
}

/// Tries. Where nothing needs an extension, or the database is being restored already, nothing is refused.
///
/// # Errors
/// The server does not answer, or the short-lived database cannot be dropped.
pub async fn refused(trial: &Trial<'_>) -> Result<Vec<Refused>> {
    let Trial { target, database, .. } = trial;
    // It is in every new database.
    if trial.needs.extensions.iter().all(|name| name == "plpgsql") {
        return Ok(Vec::new());
    }
    let Some(_lock) = restore_lock::try_take(target.outside(database).await?, database).await? else {
        return Ok(Vec::new());
    };
    let client = target.outside(database).await?;
    if let Some(stuck) = never_drops(&client).await? {
        // Nothing can be tried there, as what was made could not be dropped.
        return Ok(match trial.needs.extensions.iter().any(|name| name == FAILOVER) {
            true => vec![stuck],
            false => Vec::new(),
        });
    }
    run(&client, UNTIMED).await?;
    run(&client, READ_WRITE).await?;
    let taken = live::names(&client).await?;
    let name = marker::name(database, "restoring", trial.now, |name| taken.contains(name));
    let tried = trial.run(&client, &name).await;
    drop_database(&client, &name).await?;
    let refused = tried?.into_iter();
    Ok(refused.map(|(extension, why)| Refused { extension, why }).collect())
}

/// An extension whose workers never answer when the server asks them to let go of the files of a database, as it does since 15.
const FAILOVER: &str = "pgautofailover";

/// Why no database is ever dropped on this server.
async fn never_drops(client: &Client) -> Result<Option<Refused>> {
    let workers = "SELECT 1 FROM pg_catalog.pg_stat_activity WHERE backend_type LIKE 'pg_auto_failover%' \
        AND pg_catalog.current_setting('server_version_num')::int4 >= 150000 LIMIT 1";
    let found = client.query_opt(workers, &[]).await?;
    Ok(found.map(|_| Refused {
        extension: FAILOVER.to_owned(),
        why:
            "its workers keep the server from ever ending a DROP DATABASE, which a restore into a new database may need"
                .to_owned(),
    }))
}

impl Trial<'_> {
    async fn run(&self, client: &Client, name: &str) -> Result<Vec<(String, String)>> {
        if let Err(error) = create(client, name, self.live, self.entries).await {
            // The restore will tell it: its owner may be a role that it is to create.
            tracing::debug!("which extensions a new database can have was not tried: {error:#}");
            return Ok(Vec::new());
        }
        let marker = Marker {
            snapback: marker::VERSION,
            state: State::Unfinished,
            of: self.database.to_owned(),
            at: self.now,
            job: String::new(),
            backup: None,
            safety: None,
            comment: None,
        };
        run(client, &marker.statement(&quoted(name))).await?;
        let session = connect(&self.target.dsn(name)).await?;
        load::refused_extensions(&session, &self.extensions(), self.options).await
    }

    /// The extensions and the schemas that they are in.
    fn extensions(&self) -> Vec<Entry> {
        let known: BTreeSet<&str> = self
            .entries
            .iter()
            .filter(|it| it.desc == "EXTENSION")
            .map(|it| &*it.tag)
            .collect();
        if !known.is_empty() {
            return self.entries.to_vec();
        }
        let of_script = |name: &String| {
            let mut entry = Entry::new(1, "EXTENSION", name, Section::PreData);
            entry.defn = format!("CREATE EXTENSION IF NOT EXISTS {} CASCADE;\n", quoted(name));
            entry
        };
        self.needs.extensions.iter().map(of_script).collect()
    }
}
