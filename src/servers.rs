//! Which databases a section for a whole server is about now: what the server has, and what the stores still have of those that it
//! has no more.

use std::collections::BTreeSet;

use crate::engine::postgres::databases;
use crate::error::Result;
use crate::job::{KnownDatabases, ServerJobs, trouble};
use crate::shelf::Stock;

/// Looks which databases `server` is about. Where the server does not tell, they are those that have backups.
pub async fn look(server: &ServerJobs) -> KnownDatabases {
    let asked = async { databases::list(&server.template.source.dsn()?).await };
    let (listed, shelves): (Result<Vec<String>>, BTreeSet<String>) = futures_util::join!(asked, shelves(server));
    let mut known = KnownDatabases::default();
    let named = server.named().map(str::to_owned);
    match listed {
        Ok(listed) => {
            let there: BTreeSet<String> = listed.into_iter().filter(|it| server.wants(it)).chain(named).collect();
            let jobs: BTreeSet<String> = there.iter().map(|database| server.job_name(database)).collect();
            known.gone = stored(server, shelves.difference(&jobs)).await;
            known.databases = there.into_iter().collect();
        }
        Err(error) => {
            let stored = stored(server, shelves.iter()).await;
            let there: BTreeSet<String> = stored.into_iter().chain(named).collect();
            known.databases = there.into_iter().collect();
            known.trouble = Some(trouble(&error));
        }
    }
    known
}

/// The names of all jobs of the section that have a folder in a store. A store that cannot be read has none.
async fn shelves(server: &ServerJobs) -> BTreeSet<String> {
    let prefix = server.prefix();
    let reading =
        server
            .template
            .destinations
            .iter()
            .map(async |destination| match destination.store.folders(&prefix).await {
                Ok(folders) => folders,
                Err(error) => {
                    tracing::warn!(job = server.name(), "{destination}: {error:#}");
                    Vec::new()
                }
            });
    futures_util::future::join_all(reading)
        .await
        .concat()
        .into_iter()
        .collect()
}

/// The databases of jobs that have backups, and that the section is about.
async fn stored(server: &ServerJobs, jobs: impl Iterator<Item = &String>) -> Vec<String> {
    let mut databases = Vec::new();
    for job in jobs {
        let database = match server.database_of(job) {
            Some(database) => Some(database.to_owned()),
            None => saved_database(server, job).await,
        };
        databases.extend(database.filter(|it| server.wants(it) && server.job_name(it) == *job));
    }
    databases
}

/// The database that the newest backup of a job is of, where its name does not tell.
async fn saved_database(server: &ServerJobs, job: &str) -> Option<String> {
    let read = async {
        let stock = Stock::of_other(job, &server.template).await?;
        match stock.ids().first() {
            Some(id) => stock.summary(*id).await,
            None => Ok(None),
        }
    };
    match read.await {
        Ok(summary) => summary.map(|it| it.source.database),
        Err(error) => {
            tracing::warn!(job, "it is not known which database it is of: {error:#}");
            None
        }
    }
}
