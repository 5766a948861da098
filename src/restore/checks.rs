//! The operator's checks of a database that a drill restored: SQL that must give true.

use serde::Serialize;

/// How a check went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// The SQL.
    pub sql: String,
    /// Whether it gave true.
    pub passed: bool,
    /// What it gave instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instead: Option<String>,
}

impl Checked {
    /// A check that gave `answer` in the first column of its first row; `None` is NULL.
    #[must_use]
    pub fn gave(sql: &str, answer: Option<&str>) -> Self {
        // PostgreSQL writes t, SQLite 1.
        let passed = matches!(answer, Some("t" | "true" | "1"));
        Checked {
            sql: sql.to_owned(),
            passed,
            instead: (!passed).then(|| format!("gave {}", answer.unwrap_or("NULL"))),
        }
    }

    /// A check that gave no row.
    #[must_use]
    pub fn gave_nothing(sql: &str) -> Self {
        Checked::failed(sql, "gave no row")
    }

    /// A check that could not be run.
    #[must_use]
    pub fn failed(sql: &str, why: impl Into<String>) -> Self {
        Checked {
            sql: sql.to_owned(),
            passed: false,
            instead: Some(why.into()),
        }
    }
}
