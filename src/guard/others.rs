//! What others did while the command ran, as far as anybody can know: who else was there, and which tables have other rows
//! though their definitions are the same.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::diff::{Diff, ObjectChange};
use crate::engine::postgres::connect::connect;
use crate::engine::postgres::connect::session::Query;
use crate::engine::sqlite::users;
use crate::error::Result;
use crate::job::{Job, SourceConfig};

/// What is known of others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Others {
    /// Tables whose rows changed and whose definition did not: the command or others wrote to them.
    pub tables: Vec<String>,
    /// Sessions, or processes that have the file open.
    pub sessions: Vec<String>,
}

/// Who has the database open.
pub struct Sessions(BTreeSet<String>);

impl Sessions {
    /// Those of now; none where nobody knows.
    pub async fn of(job: &Job) -> Sessions {
        let found = match &job.source {
            SourceConfig::Sqlite(location) => Ok(users::of(location.path()).into_iter().collect()),
            SourceConfig::Postgres(_) => sessions(job).await,
        };
        Sessions(found.unwrap_or_else(|error| {
            tracing::debug!("who else is in the database is not known: {error:#}");
            BTreeSet::new()
        }))
    }
}

async fn sessions(job: &Job) -> Result<BTreeSet<String>> {
    let session = connect(&job.source.dsn()?).await?;
    let query = Query::new(
        "SELECT pg_catalog.format('%s%s (%s)', usename, \
                coalesce(' in ' || nullif(application_name, ''), ''), pid) AS who \
         FROM pg_catalog.pg_stat_activity \
         WHERE datname = pg_catalog.current_database() AND pid <> pg_catalog.pg_backend_pid() \
           AND backend_type = 'client backend' AND application_name NOT LIKE 'snapback%'",
    );
    let rows = session.rows(&query).await?;
    rows.iter().map(|row| row.text("who")).collect()
}

impl Others {
    /// What is known after the command, of those who were there `before` it too and of those who came.
    pub(super) async fn of(job: &Job, before: &Sessions, found: Option<&Diff>) -> Others {
        let now = Sessions::of(job).await;
        let sessions = before.0.union(&now.0).cloned().collect();
        let touched = |schema: &str, name: &str, object: &ObjectChange| {
            object.kind == "TABLE" && object.name == name && object.schema.as_deref().is_none_or(|it| it == schema)
        };
        let tables = found.map_or_else(Vec::new, |found| {
            let same = found.differing().filter(|table| {
                let mut objects = found.objects.iter();
                !objects.any(|object| touched(&table.schema, &table.name, object))
            });
            same.map(crate::diff::TableChange::full_name).collect()
        });
        Others { tables, sessions }
    }
}
