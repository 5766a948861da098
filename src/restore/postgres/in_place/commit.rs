//! The commit of a restore in place, and what became of it when the connection breaks over it.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio_postgres::Client;
use tokio_postgres::error::Severity;

use crate::engine::postgres::connect::session::Session;
use crate::engine::postgres::target::Target;
use crate::error::{Exit, Fail, Result};
use crate::restore::postgres::advice::explain;
use crate::restore::postgres::run::Prepared;

/// How long a server may take to be back, when it alone knows whether the restore was committed.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two questions to it.
const LOOK: Duration = Duration::from_millis(100);

/// The number of the transaction that `client` is in.
///
/// # Errors
/// The server does not answer.
pub async fn number(client: &Client) -> Result<u64> {
    let row = client
        .query_one("SELECT pg_catalog.pg_current_xact_id()::text", &[])
        .await?;
    Ok(row.try_get::<_, &str>(0)?.parse()?)
}

/// How the transaction `number` ended: `committed`, `aborted`, `in progress`, or unknown because it is long ago.
///
/// # Errors
/// The server does not answer, or never had so many transactions.
pub async fn status(client: &Client, number: u64) -> Result<Option<String>> {
    let row = client
        .query_one(
            "SELECT pg_catalog.pg_xact_status($1::text::xid8)",
            &[&number.to_string()],
        )
        .await
        .context("asking what became of a restore in place")?;
    Ok(row.try_get(0)?)
}

impl Prepared<'_> {
    /// Commits. When the connection breaks over it, the server is asked what became of the transaction `number`.
    ///
    /// # Errors
    /// It was not committed; or the server cannot be asked whether it was.
    pub(super) async fn commit(&self, session: &Session, number: u64) -> Result<()> {
        let Err(error) = session.client().batch_execute("COMMIT").await else {
            return Ok(());
        };
        let severity = error.as_db_error().and_then(|it| it.parsed_severity());
        let mut committed = Some(false);
        if severity != Some(Severity::Error) {
            let watch = &self.request.watch;
            watch.warn("the connection broke over the commit: asking the server what became of it");
            committed = tokio::select! {
                committed = ask(&self.target, &self.database, number) => committed,
                () = self.request.cancel.cancelled() => None,
            };
        }
        match committed {
            Some(true) => Ok(()),
            Some(false) => Err(explain(error.into(), "the restore failed, and nothing was changed")),
            None => Err(unknown(&self.database, number, &error)),
        }
    }
}

/// Whether the transaction was committed; `None` when the server does not say so in time.
async fn ask(target: &Target, database: &str, number: u64) -> Option<bool> {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        let asked = async { status(&target.session(database).await?, number).await };
        match tokio::time::timeout(PATIENCE, asked).await {
            Ok(Ok(Some(status))) if status == "committed" => return Some(true),
            Ok(Ok(Some(status))) if status == "aborted" => return Some(false),
            // The server may not have seen yet that the connection is gone.
            _ => tokio::time::sleep(LOOK).await,
        }
    }
    None
}

fn unknown(database: &str, number: u64, error: &tokio_postgres::Error) -> anyhow::Error {
    let message = format!(
        "whether {database:?} was restored is not known: the connection broke over the commit, and the server does not \
         say what became of it: {error}"
    );
    let hint =
        format!("once the server is back, this says whether it was committed: SELECT pg_xact_status('{number}')");
    Fail::new(Exit::Unreachable, message).hint(hint).into()
}
