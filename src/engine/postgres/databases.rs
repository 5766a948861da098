//! Which databases a server has: for jobs that are about all of them.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Context as _;

use super::any_text::AnyText;
use super::connect::{self, Dsn};
use super::marker;
use crate::error::{Exit, Result, exit_of};

/// How long the server may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Databases through which a server is asked, where the one of the URL is not there.
const DOORS: [&str; 2] = ["postgres", "template1"];

/// The databases that somebody can connect to, but for templates, and for those that a restore or a drill has made or set aside.
///
/// # Errors
/// The server cannot be reached, or does not answer.
pub async fn list(dsn: &Dsn) -> Result<Vec<String>> {
    let answer = tokio::time::timeout(PATIENCE, ask(dsn)).await;
    answer.context("the server does not answer")?
}

async fn ask(dsn: &Dsn) -> Result<Vec<String>> {
    let mut session = connect::connect(dsn).await;
    for door in DOORS {
        match &session {
            Err(error) if exit_of(error) == Exit::NotFound => {
                session = connect::connect(&dsn.with_database(door)).await
            }
            _ => break,
        }
    }
    let session = session?;
    let marked = marker::all(session.client()).await?;
    let marked: BTreeSet<String> = marked.into_iter().map(|marked| marked.name).collect();
    // A limit of -2 is what an interrupted DROP DATABASE leaves.
    let sql = "SELECT datname::text FROM pg_catalog.pg_database \
               WHERE datallowconn AND NOT datistemplate AND datconnlimit <> -2 ORDER BY 1";
    let mut names = Vec::new();
    for row in session.client().query(sql, &[]).await? {
        let name = row.try_get::<_, AnyText>(0)?.0;
        if !marked.contains(&name) {
            names.push(name);
        }
    }
    Ok(names)
}
