//! The rows of single tables that are defined as in the backup are replaced, in place.
//!
//! What is built on a table - views, indexes, constraints, privileges - stays as it is. Foreign keys from and to it are
//! taken away and made anew, which checks them; triggers do not fire.

use tokio_postgres::Client;

use super::tables::{Tables, foreign_keys};
use crate::archive::belonging::name_of;
use crate::archive::options::RestoreOptions;
use crate::archive::selection::Selection;
use crate::archive::toc::Entry;
use crate::engine::postgres::any_text::AnyText;
use crate::engine::postgres::target::{quoted, run};
use crate::error::Result;

/// Triggers of tables, with what makes each what it is now.
const TRIGGERS: &str = "\
SELECT pg_catalog.format('ALTER TABLE ONLY %s DISABLE TRIGGER %I', tgrelid::pg_catalog.regclass, tgname),
    pg_catalog.format('ALTER TABLE ONLY %s %s TRIGGER %I', tgrelid::pg_catalog.regclass,
        CASE tgenabled WHEN 'R' THEN 'ENABLE REPLICA' WHEN 'A' THEN 'ENABLE ALWAYS' ELSE 'ENABLE' END, tgname)
FROM pg_catalog.pg_trigger WHERE tgrelid = ANY ($1) AND NOT tgisinternal AND tgenabled <> 'D' ORDER BY oid";

/// Empties the tables, and returns the statements that make again what was taken away for that.
///
/// # Errors
/// The role does not own one of them.
pub async fn clear(client: &Client, tables: &Tables) -> Result<Vec<String>> {
    let own = tables.oids(client).await?;
    let mut again = Vec::new();
    for row in client.query(TRIGGERS, &[&own]).await? {
        let (AnyText(disable), AnyText(enable)) = (row.try_get(0)?, row.try_get(1)?);
        run(client, &disable).await?;
        again.push(enable);
    }
    for key in foreign_keys(client, &own).await? {
        run(client, &key.drop).await?;
        again.push(key.add);
    }
    // A value that is set is not rolled back, but for that of a sequence that was restarted in the transaction.
    for sequence in tables.entries.iter().filter(|entry| entry.desc == "SEQUENCE SET") {
        let (schema, name) = name_of(sequence);
        let restart = format!("ALTER SEQUENCE {}.{} RESTART", quoted(&schema), quoted(&name));
        run(client, &restart).await?;
    }
    let with_rows = tables.with_rows();
    let filled = tables.list("ONLY ", |name| with_rows.contains(name));
    run(client, &format!("TRUNCATE {filled}")).await?;
    Ok(again)
}

/// Makes again what was taken away, and gathers statistics.
///
/// # Errors
/// A foreign key does not hold any more.
pub async fn finish(client: &Client, tables: &Tables, again: &[String]) -> Result<()> {
    for statement in again {
        run(client, statement).await?;
    }
    run(client, &format!("ANALYZE {}", tables.list("", |_| true))).await
}

/// What of the archive is loaded and proven: rows, and the values of sequences. Owners stay as they are.
#[must_use]
pub fn entries(tables: &Tables) -> Vec<Entry> {
    let filled = |entry: &&Entry| matches!(entry.desc.as_str(), "TABLE" | "TABLE DATA" | "SEQUENCE SET");
    let filled = tables.entries.iter().filter(filled).cloned();
    filled
        .map(|entry| Entry {
            owner: String::new(),
            ..entry
        })
        .collect()
}

/// The options that load the rows and set the sequences, besides those `options` that were asked for.
#[must_use]
pub fn load_options(tables: &Tables, options: &RestoreOptions) -> RestoreOptions {
    RestoreOptions {
        schema: false,
        selection: Selection {
            list: Some(entries(tables).iter().map(|entry| entry.dump_id).collect()),
            ..Selection::default()
        },
        ..options.clone()
    }
}
