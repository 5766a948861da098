//! What a database has besides its contents: settings, privileges, limits, labels. A new one gets them in two turns: its
//! settings before the rows, which may depend on them, and all else when it is whole.

use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::watch::Watch;
use crate::engine::postgres::target::{Target, run};
use crate::error::Result;
use crate::sql::tokens::{Token, Tokens};

/// Statements about a database. They are for a session in another one, as far as their texts are in every encoding.
#[derive(Debug, Default)]
pub struct Properties {
    /// Settings under which it is loaded: checks, indexes and materialized views may be what they make of them.
    pub settings: Vec<String>,
    /// What would be in the way until then.
    pub rest: Vec<String>,
    /// The encoding of their texts; without one it is that of the database.
    pub encoding: Option<String>,
}

/// Where statements about a database are run.
pub struct Place<'a> {
    /// A session in another one.
    pub outside: &'a Client,
    /// The server.
    pub target: &'a Target,
    /// The database.
    pub database: &'a str,
}

/// Settings that change who loads, or whether anything can be.
const IN_THE_WAY: [&str; 5] = [
    "default_transaction_read_only",
    "event_triggers",
    "role",
    "session_replication_role",
    "tablespace",
];

impl Properties {
    /// Adds a statement.
    pub fn push(&mut self, statement: String) {
        match parameter(&statement) {
            Some(name) if !IN_THE_WAY.contains(&name.to_lowercase().as_str()) => self.settings.push(statement),
            _ => self.rest.push(statement),
        }
    }
}

/// The parameter that `ALTER DATABASE` or `ALTER ROLE … IN DATABASE` sets.
fn parameter(sql: &str) -> Option<String> {
    let is = |token: &Token, word: &str| matches!(token, Token::Word(it) if it.eq_ignore_ascii_case(word));
    let mut tokens = Tokens::new(sql);
    tokens.next().filter(|token| is(token, "ALTER"))?;
    tokens.find(|token| is(token, "SET"))?;
    match tokens.next()? {
        Token::Word(name) | Token::Quoted(name) => Some(name),
        Token::Text(_) | Token::Other(_) => None,
    }
}

/// Runs `statements` about a database, whose texts are in `encoding`.
///
/// # Errors
/// Whatever the server says, but for what only a role with more rights may set, and for settings that this server does
/// not know: these are told to `watch`.
pub async fn apply(at: &Place<'_>, statements: &[String], encoding: Option<&str>, watch: &Watch) -> Result<()> {
    let inside = match statements.iter().all(|it| it.is_ascii()) {
        true => None,
        false => Some(at.target.session_in(at.database, encoding).await?),
    };
    for statement in statements {
        let client = inside.as_ref().filter(|_| !statement.is_ascii()).unwrap_or(at.outside);
        let Err(error) = run(client, statement).await else {
            continue;
        };
        let code = error
            .chain()
            .find_map(|cause| cause.downcast_ref::<tokio_postgres::Error>())
            .and_then(tokio_postgres::Error::code);
        let why = match code {
            Some(&SqlState::INSUFFICIENT_PRIVILEGE) => "this role may not repeat a property of the database",
            Some(
                &(SqlState::UNDEFINED_OBJECT | SqlState::INVALID_PARAMETER_VALUE | SqlState::CANT_CHANGE_RUNTIME_PARAM),
            ) if parameter(statement).is_some() => "the server does not take a setting of the database",
            _ => return Err(error),
        };
        watch.warn(format!("{why}: {}: {error:#}", statement.trim_end()));
    }
    Ok(())
}

/// The statements of a definition that pg_dump wrote, one by one; those of another role's session stay together.
#[must_use]
pub fn split(sql: &str) -> Vec<&str> {
    let (mut all, mut start) = (Vec::new(), 0);
    let mut tokens = Tokens::new(sql);
    while let Some(token) = tokens.next() {
        if token != Token::Other(';') {
            continue;
        }
        let end = sql.len() - tokens.rest().len();
        let statement = sql[start..end].trim_start();
        let borrowed = statement.starts_with("SET ") && !statement.contains("RESET SESSION AUTHORIZATION");
        if !borrowed {
            all.push(statement);
            start = end;
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_definition_comes_apart_at_the_ends_of_its_statements() {
        let sql = "ALTER DATABASE \"a;b\" SET x TO 'it''s; \\';\nGRANT CONNECT ON DATABASE d TO r;\n\
                   SET SESSION AUTHORIZATION r;\nGRANT CONNECT ON DATABASE d TO s;\nRESET SESSION AUTHORIZATION;\n";
        assert_eq!(
            split(sql),
            [
                "ALTER DATABASE \"a;b\" SET x TO 'it''s; \\';",
                "GRANT CONNECT ON DATABASE d TO r;",
                "SET SESSION AUTHORIZATION r;\nGRANT CONNECT ON DATABASE d TO s;\nRESET SESSION AUTHORIZATION;"
            ]
        );
    }

    #[test]
    fn settings_come_before_the_rows_unless_they_are_in_the_way() {
        let mut properties = Properties::default();
        let (before, after) = (
            [
                "ALTER DATABASE \"set\" SET work_mem TO '8MB'",
                "ALTER ROLE r IN DATABASE d SET \"app.tenant\" TO 'x';",
            ],
            [
                "ALTER DATABASE d SET \"role\" TO 'x'",
                "ALTER DATABASE d CONNECTION LIMIT 0",
                "GRANT SET ON PARAMETER work_mem TO r",
            ],
        );
        for statement in before.iter().chain(&after) {
            properties.push((*statement).to_owned());
        }
        assert_eq!(
            (properties.settings, properties.rest),
            (before.map(str::to_owned).to_vec(), after.map(str::to_owned).to_vec())
        );
    }
}
