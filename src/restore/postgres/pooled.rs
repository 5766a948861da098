//! Finds out that a pooler in between hands each transaction to another server session (PgBouncer's
//! `pool_mode = transaction`, the `-pooler` hosts of managed servers). A restore needs sessions of its own: its
//! locks and settings last longer than a transaction, and names change under it.

use tokio_postgres::Client;

use crate::engine::postgres::target::Target;
use crate::error::{Exit, Fail, Result};

/// Where the mark is set. A setting of an unknown class lives in the session and means nothing.
const MARK: &str = "snapback.session";

/// Makes sure that `client`, which is in `database`, has a server session of its own.
///
/// The mark that it sets there shows up in the transaction of another session, which is then given the same one;
/// poolers hand out the one that was used last.
///
/// # Errors
/// It has none, or the server does not answer.
pub async fn refuse(target: &Target, client: &Client) -> Result<()> {
    let mark = client.query_one("SELECT pg_catalog.current_database()", &[]).await?;
    let other = target.session(mark.try_get(0)?).await?;
    client.batch_execute(&format!("SET {MARK} TO marked")).await?;
    let seen = other
        .query_one(&format!("SELECT pg_catalog.current_setting('{MARK}', true)"), &[])
        .await?;
    let shared = seen.try_get::<_, Option<&str>>(0)? == Some("marked");
    client.batch_execute(&format!("RESET {MARK}")).await?;
    if !shared {
        return Ok(());
    }
    Err(Fail::new(
        Exit::Usage,
        format!("{target} is a connection pooler that shares server sessions between transactions, and a restore needs sessions of its own"),
    )
    .hint("name the server itself in the job's url, or a pool with pool_mode = session; managed servers have a direct host beside the pooled one")
    .into())
}
