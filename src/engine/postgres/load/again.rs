//! What was dropped is made again from its own entries, inside the transaction that dropped it.

use std::sync::Arc;

use anyhow::Context as _;

use super::missing::{Missing, is_derived, is_refused, why};
use super::name_of;
use crate::archive::options::RestoreOptions;
use crate::archive::plain::Script;
use crate::archive::required::{Pass, pass};
use crate::archive::toc::Entry;
use crate::engine::postgres::connect::session::Session;
use crate::error::Result;
use crate::raw_text;
use crate::sql::quote::Quote;

/// Runs the statements of `entries`, which were read of the database that `session` is in: definitions, then
/// privileges, then what needs these. Planner statistics are left to an ANALYZE. The session is in the encoding of the
/// database. Returns the materialized views that could not be refreshed.
///
/// # Errors
/// Something cannot be made any more: the error names it, and the transaction has failed.
pub async fn make_again(session: &Session, entries: &[Entry], quote: Quote) -> Result<Vec<Missing>> {
    let client = session.client();
    // They were written as the session writes of itself, and not as what was loaded since.
    client.batch_execute("RESET lc_monetary").await?;
    let options = RestoreOptions {
        comments: false,
        ..RestoreOptions::default()
    };
    let entries = Arc::new(entries.to_vec());
    let mut script = Script::new(Arc::clone(&entries), options, quote);
    let mut missing = Vec::new();
    for turn in [Pass::Main, Pass::Acl, Pass::PostAcl] {
        for (at, entry) in entries.iter().enumerate() {
            if pass(entry) != turn || entry.desc == "STATISTICS DATA" {
                continue;
            }
            let sql = raw_text::decode(&script.definition(at));
            let derived = is_derived(entry);
            if derived {
                client.batch_execute("SAVEPOINT derived").await?;
            }
            match client.batch_execute(&sql).await.map_err(anyhow::Error::from) {
                Err(error) if derived && is_refused(&error) => {
                    client.batch_execute("ROLLBACK TO SAVEPOINT derived").await?;
                    let view = Missing::definition(entry, "", &raw_text::encode(&sql), why(&error));
                    // Its number is one of another archive.
                    missing.push(Missing { entry: None, ..view });
                }
                made => made.with_context(|| format!("making {} again", name_of(entry)))?,
            }
            if derived {
                client.batch_execute("RELEASE SAVEPOINT derived").await?;
            }
        }
    }
    Ok(missing)
}
