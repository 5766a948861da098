//! What must be true after the command: questions in SQL, and programs.

use std::time::Duration;

use serde::Serialize;
use tokio_postgres::SimpleQueryMessage;

use crate::engine::postgres::connect::connect;
use crate::engine::sqlite::open;
use crate::error::Result;
use crate::job::{Job, SourceConfig};

/// A check.
#[derive(Clone, Debug)]
pub enum Check {
    /// SQL whose first value must be true. It cannot change anything.
    Sql(String),
    /// A command line for the shell that must succeed.
    Command(String),
}

/// How a check went.
#[derive(Clone, Debug, Serialize)]
pub struct Checked {
    /// What was asked.
    pub check: String,
    /// Whether it was true.
    pub passed: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

impl Check {
    /// Asks the database of `job`.
    pub(super) async fn ask(&self, job: &Job, environment: &[(String, String)]) -> Checked {
        let (check, answer) = match self {
            Check::Sql(sql) => (sql, ask_sql(job, sql).await),
            Check::Command(line) => (line, ask_command(line, environment).await),
        };
        let why = match answer {
            Ok(why) => why,
            Err(error) => Some(format!("{error:#}")),
        };
        Checked {
            check: check.clone(),
            passed: why.is_none(),
            why,
        }
    }
}

/// Why the answer is not true; `None` when it is.
async fn ask_sql(job: &Job, sql: &str) -> Result<Option<String>> {
    let answer = match &job.source {
        SourceConfig::Postgres(connection) => {
            let session = connect(&connection.dsn()?).await?;
            session.run("BEGIN READ ONLY").await?;
            let messages = session.client().simple_query(sql).await?;
            messages.iter().find_map(|message| match message {
                SimpleQueryMessage::Row(row) => Some(row.get(0).map(str::to_owned)),
                _ => None,
            })
        }
        SourceConfig::Sqlite(location) => {
            let (path, sql) = (location.path().to_owned(), sql.to_owned());
            let ask = move || -> Result<Option<Option<String>>> {
                let open = open::for_reading(&open::find(&path)?, Duration::from_secs(10))?;
                let mut statement = open.prepare(&sql)?;
                let mut rows = statement.query([])?;
                let Some(row) = rows.next()? else { return Ok(None) };
                use rusqlite::types::ValueRef;
                Ok(Some(match row.get_ref(0)? {
                    ValueRef::Null => None,
                    ValueRef::Integer(number) => Some(number.to_string()),
                    ValueRef::Real(number) => Some(number.to_string()),
                    ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
                }))
            };
            tokio::task::spawn_blocking(ask).await??
        }
    };
    Ok(match answer {
        None => Some("no row came back".to_owned()),
        Some(None) => Some("the answer is NULL".to_owned()),
        Some(Some(answer)) if is_true(&answer) => None,
        Some(Some(answer)) => Some(format!("the answer is {answer}")),
    })
}

fn is_true(answer: &str) -> bool {
    let answer = answer.to_ascii_lowercase();
    matches!(answer.as_str(), "t" | "true" | "yes" | "on") || answer.parse::<f64>().is_ok_and(|number| number != 0.0)
}

async fn ask_command(line: &str, environment: &[(String, String)]) -> Result<Option<String>> {
    let mut command = tokio::process::Command::new("sh");
    command.args(["-c", line]).envs(environment.iter().cloned());
    // Standard output is for the report.
    let output = command.stdin(std::process::Stdio::null()).output().await?;
    if output.status.success() {
        return Ok(None);
    }
    let said = String::from_utf8_lossy(if output.stderr.is_empty() {
        &output.stdout
    } else {
        &output.stderr
    });
    let last = said.trim().lines().next_back().unwrap_or_default().to_owned();
    Ok(Some(format!("{} {last}", output.status).trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn truth_is_what_both_engines_call_so() {
        for answer in ["t", "true", "1", "2", "0.5"] {
            assert!(is_true(answer), "{answer}");
        }
        for answer in ["f", "false", "0", "0.0", "", "text"] {
            assert!(!is_true(answer), "{answer}");
        }
    }
}
