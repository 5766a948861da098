//! What a restore goes on without: statements that failed and are no rows, or all that fail where a person says so.

use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use tokio_postgres::error::{ErrorPosition, SqlState};

use super::rows::end_of_name;
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
    /// Whether nobody lacks anything without it: it is only computed from rows and can be made at any time, or nobody could
    /// ever use it.
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

    /// The same of something that is of no use to anybody.
    pub(super) fn useless(self, useless: bool) -> Missing {
        Missing {
            derived: self.derived || useless,
            ..self
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

    /// Whether `entry` only says something about a view that nobody can use, or shows it.
    pub(super) fn is_about_useless(&self, entry: &Entry) -> bool {
        let about = ["ACL", "COMMENT", "DEFAULT", "RULE", "SECURITY LABEL", "TRIGGER", "VIEW"];
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let useless = |id: &DumpId| all.iter().any(|it| it.derived && it.entry == Some(*id));
        about.contains(&entry.desc.as_str()) && entry.dependencies.iter().any(useless)
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

/// Whether `entry` may be an event trigger that was not given to its owner, who is no superuser here: it fires all the same.
pub(super) fn only_owner_is_refused(entry: &Entry, error: &anyhow::Error) -> bool {
    entry.desc == "EVENT TRIGGER" && code(error) == Some(&SqlState::INSUFFICIENT_PRIVILEGE)
}

/// Whether `entry` is a view of itself, at whose name the server stopped in the statements `sent`: `CREATE OR REPLACE VIEW`
/// can make one, but nobody can create it again or read it.
pub(super) fn is_view_of_itself(entry: &Entry, sent: &str, error: &anyhow::Error) -> bool {
    let server = error.chain().find_map(|it| it.downcast_ref::<tokio_postgres::Error>());
    let server = server.and_then(tokio_postgres::Error::as_db_error);
    let at = match server.map(|it| (it.code(), it.position())) {
        Some((&SqlState::UNDEFINED_TABLE, Some(ErrorPosition::Original(at)))) => *at,
        _ => return false,
    };
    stops_at_itself(entry, sent, at)
}

/// Whether the view `entry` is named by itself at the character `at` of `sent`, counted from 1.
fn stops_at_itself(entry: &Entry, sent: &str, at: u32) -> bool {
    let Some(name) = entry.defn.strip_prefix("CREATE VIEW ").filter(|_| entry.desc == "VIEW") else {
        return false;
    };
    let name = end_of_name(name).map_or("", |end| &name[..end]);
    let mut rest = sent.chars().skip((at as usize).saturating_sub(1));
    let ends = |c: char| !c.is_alphanumeric() && !matches!(c, '_' | '$' | '.' | '"');
    !name.is_empty() && name.chars().all(|c| rest.next() == Some(c)) && rest.next().is_none_or(ends)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::toc::Section;

    #[test]
    fn settings_of_the_session_are_no_part_of_what_is_missing() {
        let sql =
            b"SET default_tablespace = '';\n\nSET default_table_access_method = heap;\n\nCREATE TABLE t (\n\n);\n\n\n";
        assert_eq!(statements(sql), "CREATE TABLE t (\n\n);");
        assert_eq!(statements(b"SET default_tablespace = x;\n"), "");
    }

    #[test]
    fn a_view_of_itself_is_known_by_its_name() {
        let mut view = Entry::new(1, "VIEW", "v", Section::PreData);
        view.defn = "CREATE VIEW s.v AS\n SELECT 'é', a.x, v.y\n   FROM (s.va a\n CROSS JOIN s.v);\n".to_owned();
        let at = |text: &str| u32::try_from(view.defn[..view.defn.find(text).unwrap()].chars().count()).unwrap() + 1;
        assert!(stops_at_itself(&view, &view.defn, at("s.v)")));
        assert!(!stops_at_itself(&view, &view.defn, at("s.va ")));
        let mut table = view.clone();
        table.desc = "TABLE".to_owned();
        assert!(!stops_at_itself(&table, &view.defn, at("s.v)")));
    }
}
