//! A trial: extensions are created in a transaction that is rolled back.

use std::sync::Arc;

use super::missing::{is_refused, why};
use crate::archive::options::RestoreOptions;
use crate::archive::plain::Script;
use crate::archive::toc::Entry;
use crate::engine::postgres::connect::session::Session;
use crate::error::Result;
use crate::raw_text;
use crate::sql::quote::Quote;

/// Which extensions among `entries` the server does not create in the database that `session` is in, each with its
/// reason. Nothing of it stays.
///
/// # Errors
/// The server does not answer.
pub async fn refused_extensions(
    session: &Session,
    entries: &[Entry],
    options: &RestoreOptions,
) -> Result<Vec<(String, String)>> {
    let client = session.client();
    let options = RestoreOptions {
        comments: false,
        ..options.clone()
    };
    let mut script = Script::new(Arc::new(entries.to_vec()), options, Quote::standard(14));
    // They say the encoding of the archive too.
    let settings = raw_text::decode(&script.session_settings());
    client.batch_execute(&format!("BEGIN;\n{settings}")).await?;
    let mut refused = Vec::new();
    for (at, entry) in entries.iter().enumerate() {
        // The schemas that they are in come before them.
        if !matches!(entry.desc.as_str(), "SCHEMA" | "EXTENSION") {
            continue;
        }
        script.reconnected();
        // The owners of schemas may come with the restore.
        let sql = raw_text::decode(&script.definition_and_owner(at).0);
        let nested = format!("SAVEPOINT trial;\n{sql};\nRELEASE SAVEPOINT trial");
        if let Err(error) = client.batch_execute(&nested).await.map_err(anyhow::Error::from) {
            if !is_refused(&error) {
                return Err(error);
            }
            client
                .batch_execute("ROLLBACK TO SAVEPOINT trial; RELEASE SAVEPOINT trial")
                .await?;
            if entry.desc == "EXTENSION" {
                refused.push((entry.tag.clone(), why(&error)));
            }
        }
    }
    client.batch_execute("ROLLBACK").await?;
    Ok(refused)
}
