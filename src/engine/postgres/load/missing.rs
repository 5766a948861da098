//! What a restore goes on without: statements that failed and are no rows, or all that fail where a person says so.

use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

use super::session::code;
use crate::archive::toc::{DumpId, Entry};
use crate::raw_text;

/// What failures a restore goes past.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tolerance {
    /// It goes on after each statement that fails, and lists what is missing then.
    pub keep_going: bool,
    /// It refreshes no materialized views.
    pub skip_refresh: bool,
}

/// Something of an archive or a script that is not in the restored database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Missing {
    /// What it is: `INDEX public.i`, or the line of a script.
    pub what: String,
    /// Why it is missing.
    pub why: String,
    /// The statements that would make it.
    pub sql: String,
    /// Whether it is rows.
    pub rows: bool,
    /// Whether it is only computed from rows, and can be made at any time.
    pub derived: bool,
    /// Its entry in the archive, which is not there.
    #[serde(skip)]
    pub entry: Option<DumpId>,
    /// The entry in the archive that is there and belongs to another role.
    #[serde(skip)]
    pub owned: Option<DumpId>,
}

impl Missing {
    /// The definition of `entry`, or a part of it.
    pub(super) fn definition(entry: &Entry, part: &str, sql: &[u8], why: String) -> Missing {
        Missing {
            what: format!("{}{part}", super::name_of(entry)),
            why,
            sql: statements(sql),
            rows: false,
            derived: is_derived(entry),
            entry: part.is_empty().then_some(entry.dump_id),
            owned: (!part.is_empty()).then_some(entry.dump_id),
        }
    }

    /// The rows of `entry`.
    pub(super) fn rows(entry: &Entry, why: String) -> Missing {
        Missing {
            what: super::name_of(entry),
            why,
            sql: entry.copy_stmt.trim_end().to_owned(),
            rows: true,
            derived: false,
            entry: Some(entry.dump_id),
            owned: None,
        }
    }
}

/// Text for people; the settings before a statement, which each session of a load has anyway, are left out.
fn statements(sql: &[u8]) -> String {
    let text = raw_text::decode(sql);
    let is_setting = |line: &&str| line.is_empty() || line.starts_with("SET default_table");
    let lines: Vec<&str> = text.lines().skip_while(is_setting).collect();
    lines.join("\n").trim().to_owned()
}

/// In an error: a statement of an archive or a script failed, and which.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Failed(pub String);

/// What is missing so far; shared by the sessions of a load.
#[derive(Clone, Debug, Default)]
pub(super) struct List(Arc<Mutex<Vec<Missing>>>);

impl List {
    pub(super) fn add(&self, missing: Missing) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(missing);
    }

    pub(super) fn all(&self) -> Vec<Missing> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Whether the server refused a statement for what it says, and would take others. A full disk, a server that shuts
/// down, a limit that was reached are the same for all of them.
#[must_use]
pub fn is_refused(error: &anyhow::Error) -> bool {
    let others = ["08", "40", "53", "57", "58", "XX001", "XX002"];
    code(error).is_some_and(|code| !others.iter().any(|class| code.code().starts_with(class)))
}

/// Why a materialized view is missing that nobody wanted to be refreshed.
pub(super) const SKIPPED: &str = "not refreshed, as asked (--skip-refresh)";

/// What the server says, in one line.
pub(super) fn why(error: &anyhow::Error) -> String {
    let mut causes = error.chain();
    match causes.find_map(|cause| cause.downcast_ref::<tokio_postgres::Error>()?.as_db_error()) {
        Some(server) => match server.detail() {
            Some(detail) => format!("{} ({})", server.message(), detail.replace('\n', "; ")),
            None => server.message().to_owned(),
        },
        None => format!("{error:#}"),
    }
}

/// Whether a failure of this entry keeps nobody from their data: what it makes is computed from the rows.
pub(super) fn is_derived(entry: &Entry) -> bool {
    matches!(entry.desc.as_str(), "MATERIALIZED VIEW DATA" | "STATISTICS DATA")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_the_session_are_no_part_of_what_is_missing() {
        let sql =
            b"SET default_tablespace = '';\n\nSET default_table_access_method = heap;\n\nCREATE TABLE t (\n\n);\n\n\n";
        assert_eq!(statements(sql), "CREATE TABLE t (\n\n);");
        assert_eq!(statements(b"SET default_tablespace = x;\n"), "");
    }
}
