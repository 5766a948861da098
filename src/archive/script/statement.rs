//! What a statement of a script is about, as far as a restore must know.

use bytes::Bytes;

use super::copy::CopyOptions;
use super::tokens::{Token, Tokens};
use crate::raw_text;

/// A statement as it stands in the file, in the client encoding of its place, with its semicolon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Number of the line that it begins in.
    pub line: u64,
    /// Its text.
    pub text: Bytes,
    /// How many rows it has, if it is an INSERT of VALUES.
    pub rows: u64,
}

/// What a statement is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Rows of this table follow.
    Copy(String),
    /// Rows are in it, for this table.
    Insert(String),
    /// A setting of the session.
    Setting {
        /// Its name in lower case; empty where a function sets it.
        name: String,
        /// The value, without quotes.
        value: String,
    },
    /// A database itself: its creation, properties, privileges, comment.
    Database(String),
    /// Roles, tablespaces and parameters, which belong to no database.
    Cluster,
    /// Something is removed.
    Drop,
    /// A transaction begins.
    Begin,
    /// A transaction ends.
    End,
    /// Rows go to the client.
    CopyOut,
    /// Anything else.
    Other,
}

/// The words that tell what a statement is about stand at its start.
const START: usize = 2000;
/// As many as `GRANT` may have before it says on what.
const WORDS: usize = 40;

impl Statement {
    /// What it is about.
    #[must_use]
    pub fn kind(&self) -> Kind {
        let start = raw_text::decode(&self.text[..self.text.len().min(START)]);
        match Tokens::new(&start).next().map(Token::upper).as_deref() {
            Some("COPY") => return self.copy(),
            Some("INSERT") => return Kind::Insert(name_after(&start, "INTO")),
            _ => {}
        }
        let words: Vec<String> = Tokens::new(&start).take(WORDS).map(Token::upper).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["SELECT", "PG_CATALOG", ".", "SET_CONFIG", ..] => Kind::Setting {
                name: String::new(),
                value: String::new(),
            },
            ["SELECT", "PG_CATALOG", ".", "LO_UNLINK", ..] => Kind::Drop,
            ["SET", "ROLE" | "SESSION" | "LOCAL" | "CONSTRAINTS" | "TRANSACTION", ..] => Kind::Other,
            ["SET", name, "=" | "TO", ..] => Kind::Setting {
                name: name.to_lowercase(),
                value: value_of(&start),
            },
            ["BEGIN" | "START", ..] => Kind::Begin,
            ["COMMIT" | "END" | "ROLLBACK", rest @ ..] if !rest.contains(&"SAVEPOINT") => Kind::End,
            _ => about_shared(&words, &start).unwrap_or(match words.as_slice() {
                ["DROP", ..] => Kind::Drop,
                ["ALTER", rest @ ..] if rest.contains(&"DROP") => Kind::Drop,
                _ => Kind::Other,
            }),
        }
    }

    /// Its text, for looking at it: see [`raw_text`].
    #[must_use]
    pub fn decoded(&self) -> String {
        raw_text::decode(&self.text)
    }

    /// How messages name it: the start of its first line, up to anything that may be data.
    #[must_use]
    pub fn name(&self) -> String {
        let start = String::from_utf8_lossy(&self.text[..self.text.len().min(100)]);
        let shown = start.split(['\n', '\'', '$', ';']).next().unwrap_or_default();
        let shown: String = shown
            .split(" VALUES")
            .next()
            .unwrap_or_default()
            .chars()
            .take(60)
            .collect();
        shown.trim().to_owned()
    }

    fn copy(&self) -> Kind {
        // A list of columns may be long; rows are no part of it.
        let sql = self.decoded();
        match CopyOptions::of(&sql) {
            Some(options) if options.from => Kind::Copy(name_after(&sql, "COPY")),
            Some(_) => Kind::CopyOut,
            None => Kind::Other,
        }
    }
}

/// Statements about what all databases share.
fn about_shared(words: &[&str], start: &str) -> Option<Kind> {
    const SHARED: [&str; 4] = ["ROLE", "USER", "GROUP", "TABLESPACE"];
    let database = || Some(Kind::Database(unquoted(&name_after(start, "DATABASE"))));
    match words {
        ["ALTER", "ROLE" | "USER", _, "IN", "DATABASE", ..] => database(),
        ["CREATE" | "ALTER" | "DROP", "USER", "MAPPING", ..] => None,
        ["CREATE" | "ALTER" | "DROP", "DATABASE", ..] | ["COMMENT", "ON", "DATABASE", ..] => database(),
        ["SECURITY", "LABEL", .., "ON", "DATABASE", _, "IS"] => database(),
        ["CREATE" | "ALTER" | "DROP", what, ..] | ["COMMENT", "ON", what, ..] if SHARED.contains(what) => {
            Some(Kind::Cluster)
        }
        ["ALTER", "SYSTEM", ..] | ["UPDATE", "PG_CATALOG", ".", "PG_DATABASE", ..] => Some(Kind::Cluster),
        ["GRANT" | "REVOKE", rest @ ..] => {
            let on = rest.iter().position(|word| *word == "ON");
            match on.and_then(|on| rest.get(on + 1)) {
                Some(&"DATABASE") => database(),
                Some(&("TABLESPACE" | "PARAMETER")) => Some(Kind::Cluster),
                // No object: a role is granted.
                None if rest.iter().any(|word| matches!(*word, "TO" | "FROM")) => Some(Kind::Cluster),
                _ => None,
            }
        }
        _ => None,
    }
}

/// The qualified name that follows `word`, as it is written; `ONLY`, `IF EXISTS` and the like are no part of it.
fn name_after(text: &str, word: &str) -> String {
    let mut tokens = Tokens::new(text);
    for token in tokens.by_ref() {
        if token.upper() == word {
            break;
        }
    }
    loop {
        let before = tokens.rest().trim_start();
        match tokens.next() {
            Some(Token::Word(word))
                if matches!(word.to_ascii_uppercase().as_str(), "ONLY" | "IF" | "NOT" | "EXISTS") => {}
            None => return String::new(),
            Some(_) => {
                while tokens.rest().starts_with('.') {
                    tokens.next();
                    tokens.next();
                }
                return before[..before.len() - tokens.rest().len()].to_owned();
            }
        }
    }
}

/// A single name without its quotes.
fn unquoted(name: &str) -> String {
    match Tokens::new(name).next() {
        Some(Token::Quoted(name)) => name,
        _ => name.to_lowercase(),
    }
}

/// The value of `SET name = value;` or `SET name TO value;`.
fn value_of(text: &str) -> String {
    let text = text.trim_end_matches(|c: char| c == ';' || c.is_whitespace());
    let value = match text.split_once('=') {
        Some((_, value)) => value,
        None => text.rsplit(char::is_whitespace).next().unwrap_or_default(),
    };
    value.trim().trim_matches('\'').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(text: &str) -> Kind {
        let text = Bytes::copy_from_slice(text.as_bytes());
        Statement { line: 1, text, rows: 0 }.kind()
    }

    #[test]
    fn statements_tell_what_they_are_about() {
        let setting = |name: &str, value: &str| Kind::Setting {
            name: name.to_owned(),
            value: value.to_owned(),
        };
        for (text, wanted) in [
            (
                "COPY public.\"odd \"\"t\" (a, \"FROM\") FROM stdin;",
                Kind::Copy("public.\"odd \"\"t\"".into()),
            ),
            ("copy t from STDIN ;", Kind::Copy("t".into())),
            ("COPY t FROM stdin WITH (FORMAT csv);", Kind::Copy("t".into())),
            ("COPY t (a) FROM stdin CSV HEADER;", Kind::Copy("t".into())),
            ("COPY t TO STDOUT;", Kind::CopyOut),
            ("COPY (SELECT a FROM stdin) TO stdout (FORMAT csv);", Kind::CopyOut),
            ("COPY t FROM '/tmp/stdin';", Kind::Other),
            (
                "INSERT INTO public.t (a) OVERRIDING SYSTEM VALUE VALUES (1);",
                Kind::Insert("public.t".into()),
            ),
            ("insert into t values (1);", Kind::Insert("t".into())),
            ("SET client_encoding = 'LATIN1';", setting("client_encoding", "LATIN1")),
            (
                "SET standard_conforming_strings TO off;",
                setting("standard_conforming_strings", "off"),
            ),
            ("SET SESSION AUTHORIZATION 'x';", Kind::Other),
            (
                "CREATE DATABASE \"my App\" WITH TEMPLATE = template0;",
                Kind::Database("my App".into()),
            ),
            ("DROP DATABASE IF EXISTS app;", Kind::Database("app".into())),
            (
                "ALTER ROLE r IN DATABASE app SET work_mem TO '1MB';",
                Kind::Database("app".into()),
            ),
            ("GRANT CONNECT ON DATABASE app TO r;", Kind::Database("app".into())),
            ("CREATE ROLE r;", Kind::Cluster),
            ("GRANT a TO b GRANTED BY c;", Kind::Cluster),
            ("GRANT SELECT ON TABLE public.t TO r;", Kind::Other),
            ("CREATE USER MAPPING FOR r SERVER s;", Kind::Other),
            ("ALTER TABLE IF EXISTS ONLY public.t DROP CONSTRAINT c;", Kind::Drop),
            ("DROP SCHEMA public;", Kind::Drop),
            ("BEGIN;", Kind::Begin),
            ("COMMIT;", Kind::End),
            ("CREATE TABLE public.t (a int);", Kind::Other),
        ] {
            assert_eq!(kind(text), wanted, "{text}");
        }
    }
}
