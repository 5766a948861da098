//! Objects that were taken out of their extension (`ALTER EXTENSION … DROP`). pg_dump writes them like any others, and the
//! extension brings them along when it is created anew: `pg_restore` fails at them, and goes on.

use std::sync::Arc;

use tokio_postgres::error::SqlState;

use super::name_of;
use super::session::{Loader, code};
use crate::archive::toc::Entry;
use crate::error::Result;
use crate::sql::quote::Quote;

impl Loader {
    /// Makes the object of the entry at `at`, whose statements failed with `error`, in place of the one that an extension has
    /// brought along, which is taken out of the extension as it was where it was backed up. Says whether that was it.
    ///
    /// # Errors
    /// The connection is gone.
    pub(super) async fn in_place_of_member(&mut self, at: usize, error: &anyhow::Error) -> Result<bool> {
        if !is_there_already(error) || self.client().is_closed() {
            return Ok(false);
        }
        let entries = Arc::clone(self.archive.reader.entries());
        let entry = &entries[at];
        let drop = entry.drop_stmt.trim();
        let Some(object) = drop.strip_prefix("DROP ") else {
            return Ok(false);
        };
        let quote = Quote::standard(self.major);
        for extension in entries.iter().filter(|entry| entry.desc == "EXTENSION") {
            let out = format!("ALTER EXTENSION {} DROP {object}\n", quote.id(&extension.tag));
            for sql in self.ways_to_replace(at, &out, drop, &entry.defn) {
                match self.run(&sql).await {
                    Ok(()) => {
                        self.tell_member(entry, &extension.tag);
                        return Ok(true);
                    }
                    Err(error) if self.client().is_closed() => return Err(error),
                    Err(_) => {}
                }
            }
        }
        self.script.reconnected();
        Ok(false)
    }

    /// Statements that put the object of the entry at `at` in the place of a member. Where others of the extension depend on it, it
    /// can only be replaced, if at all.
    fn ways_to_replace(&mut self, at: usize, out: &str, drop: &str, definition: &str) -> Vec<Vec<u8>> {
        self.script.reconnected();
        let anew = self.script.definition(at);
        let mut ways = vec![[out.as_bytes(), drop.as_bytes(), b"\n", &anew].concat()];
        if let Some(definition) = replacing(definition) {
            self.script.reconnected();
            let (_, owner) = self.script.definition_and_owner(at);
            self.script.reconnected();
            let replaced = self.script.definition_as(at, &definition);
            ways.push([out.as_bytes(), &replaced, &owner].concat());
        }
        ways
    }

    fn tell_member(&self, entry: &Entry, extension: &str) {
        self.archive.progress.told(format!(
            "{} came along with the extension {extension}, of which it was no part where it was backed up: it was taken out of the \
             extension, and is what was backed up",
            name_of(entry)
        ));
    }
}

/// Whether there is an object of that name.
fn is_there_already(error: &anyhow::Error) -> bool {
    let codes = [
        SqlState::DUPLICATE_TABLE,
        SqlState::DUPLICATE_FUNCTION,
        SqlState::DUPLICATE_OBJECT,
        SqlState::DUPLICATE_SCHEMA,
    ];
    code(error).is_some_and(|code| codes.contains(code))
}

/// The definition in a form that replaces an object on which others of the extension depend.
fn replacing(definition: &str) -> Option<String> {
    let kinds = ["FUNCTION ", "PROCEDURE ", "VIEW ", "AGGREGATE "];
    let rest = definition.strip_prefix("CREATE ")?;
    let replaces = kinds.iter().any(|kind| rest.starts_with(kind));
    replaces.then(|| format!("CREATE OR REPLACE {rest}"))
}
