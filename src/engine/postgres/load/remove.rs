//! The opposite of a load: what a database holds goes, by pg_dump's own drop statements in its own order.

use anyhow::Context as _;

use crate::archive::options::RestoreOptions;
use crate::archive::plain::Script;
use crate::archive::toc::Entry;
use crate::engine::postgres::connect::session::Session;
use crate::error::Result;
use crate::raw_text;
use crate::sql::quote::Quote;

/// Drops what `entries` describe, which were read of the database that `session` is in, inside its transaction. The session is in the
/// encoding of the database.
///
/// # Errors
/// Something cannot be dropped: it is another role's. The transaction has failed then.
pub async fn remove(session: &Session, mut entries: Vec<Entry>, quote: Quote) -> Result<()> {
    // These go with their tables, and those of partitions cannot go before.
    entries.retain(|entry| !matches!(entry.desc.as_str(), "CONSTRAINT" | "INDEX"));
    entries.iter_mut().for_each(cascade);
    let client = session.client();
    let options = RestoreOptions {
        clean: true,
        // Dropping a base type takes its functions along, which have drop statements of their own.
        if_exists: true,
        ..RestoreOptions::default()
    };
    let sql = Script::new(entries.into(), options, quote).drops();
    let sql = raw_text::decode(&sql);
    client.batch_execute(&sql).await.context("removing what is there")
}

/// Lets a drop take along what depends on the object: all of it goes anyway, and some of it depends on each other.
fn cascade(entry: &mut Entry) {
    let statement = &mut entry.drop_stmt;
    let takes_it = statement.starts_with("DROP ") && !statement.starts_with("DROP USER MAPPING");
    if takes_it && !statement.contains(" CASCADE;") && statement.matches(';').count() == 1 {
        *statement = statement.replace(';', " CASCADE;");
    }
}
