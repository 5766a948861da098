//! SQL text, as `.dump` of SQLite's shell writes it, becomes a database: read statement by statement, however long it is.

use std::io::{BufRead as _, BufReader};
use std::path::Path;

use anyhow::Context as _;
use rusqlite::Connection;
use rusqlite::limits::Limit;

use super::failure::ENCRYPTED;
use crate::error::{Exit, Fail, Result};

/// Runs the text of the file `from` into the database `into`. Blocks: not for async tasks.
///
/// # Errors
/// A statement fails, or it is no SQL: commands of the shell are refused.
pub fn run(from: &Path, into: &Path, name: &str) -> Result<()> {
    let open = Connection::open(into)?;
    // The text says what is in one database; it has no business in other files.
    open.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 0)?;
    open.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA temp_store = MEMORY;")?;
    let file = std::fs::File::open(from).with_context(|| format!("opening {}", from.display()))?;
    let mut reader = BufReader::with_capacity(256 << 10, file);
    let (mut splitter, mut pending, mut line, mut number) = (Splitter::default(), Vec::new(), Vec::new(), 0u64);
    let mut begun = 1;
    loop {
        line.clear();
        if reader.read_until(b'\n', &mut line)? == 0 {
            break;
        }
        number += 1;
        if splitter.is_between() && line.first() == Some(&b'.') {
            let message = format!("{name}, line {number}: commands of SQLite's shell are not run");
            return Err(Fail::new(Exit::Usage, message)
                .hint("take the lines that begin with a dot out of it; all else is SQL")
                .into());
        }
        splitter.take(&line);
        pending.extend_from_slice(&line);
        if splitter.is_between() {
            execute(&open, &pending, name, begun)?;
            pending.clear();
            begun = number + 1;
        }
    }
    execute(&open, &pending, name, begun)?;
    if !open.is_autocommit() {
        let message = format!("{name} ends within a transaction: it is cut");
        return Err(Fail::new(Exit::Damaged, message).into());
    }
    let tables: i64 = open.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if tables == 0 {
        let message = format!("{name} makes no table: it is empty, or ends with the ROLLBACK of a dump that failed");
        return Err(Fail::new(Exit::Damaged, message).into());
    }
    open.close().map_err(|(_, error)| error)?;
    Ok(())
}

fn execute(open: &Connection, text: &[u8], name: &str, line: u64) -> Result<()> {
    let text = std::str::from_utf8(text).map_err(|_| {
        Fail::new(
            Exit::Usage,
            format!(
                "{name}, line {line}: it is no UTF-8 text, so no dump of SQLite, and no database that can be read: it may be \
                 encrypted (SQLCipher)"
            ),
        )
        .hint(ENCRYPTED)
    })?;
    // PRAGMA answers with a row, which such a batch passes over.
    open.execute_batch(text)
        .map_err(|error| Fail::new(Exit::Damaged, format!("{name}, line {line}: {error}")).into())
}

/// Finds where statements end, as SQLite's own `sqlite3_complete` does: in a trigger only after END.
#[derive(Debug, Default)]
struct Splitter {
    state: State,
    within: Within,
    word: Vec<u8>,
    before: u8,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Between,
    Statement,
    Create,
    Trigger,
    TriggerSemicolon,
    TriggerEnd,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Within {
    #[default]
    Code,
    Quoted(u8),
    Line,
    Block,
}

impl Splitter {
    /// Whether a new statement may begin here.
    fn is_between(&self) -> bool {
        self.state == State::Between && self.within == Within::Code
    }

    fn take(&mut self, text: &[u8]) {
        for &byte in text {
            self.byte(byte);
            self.before = byte;
        }
    }

    fn byte(&mut self, byte: u8) {
        match self.within {
            Within::Quoted(end) if byte == end => self.within = Within::Code,
            Within::Line if byte == b'\n' => self.within = Within::Code,
            Within::Block if byte == b'/' && self.before == b'*' => self.within = Within::Code,
            Within::Code => self.code(byte),
            _ => {}
        }
    }

    fn code(&mut self, byte: u8) {
        if byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80 {
            self.word.push(byte.to_ascii_uppercase());
            return;
        }
        self.end_word();
        match byte {
            b'\'' | b'"' | b'`' => self.quote(byte),
            b'[' => self.quote(b']'),
            b'-' if self.before == b'-' => self.within = Within::Line,
            b'*' if self.before == b'/' => self.within = Within::Block,
            b';' => {
                self.state = match self.state {
                    State::Trigger | State::TriggerSemicolon => State::TriggerSemicolon,
                    _ => State::Between,
                }
            }
            // These may begin a comment.
            b'-' | b'/' => {}
            byte if byte.is_ascii_whitespace() => {}
            _ => self.other(),
        }
    }

    fn quote(&mut self, end: u8) {
        self.other();
        self.within = Within::Quoted(end);
    }

    fn other(&mut self) {
        self.state = match self.state {
            State::Between | State::Create | State::Statement => State::Statement,
            _ => State::Trigger,
        };
    }

    fn end_word(&mut self) {
        let word = std::mem::take(&mut self.word);
        if word.is_empty() {
            return;
        }
        self.state = match (self.state, word.as_slice()) {
            (State::Between, b"CREATE") => State::Create,
            (State::Between, b"EXPLAIN") => State::Between,
            (State::Create, b"TEMP" | b"TEMPORARY") => State::Create,
            (State::Create, b"TRIGGER") => State::Trigger,
            (State::TriggerSemicolon, b"END") => State::TriggerEnd,
            (State::Between | State::Create | State::Statement, _) => State::Statement,
            _ => State::Trigger,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_end_where_they_end() {
        let ends = |text: &str| {
            let mut splitter = Splitter::default();
            splitter.take(text.as_bytes());
            splitter.is_between()
        };
        for text in [
            "SELECT 1;\n",
            "INSERT INTO t VALUES ('a;\n''b');\n",
            "-- a comment; with one\nSELECT 1; -- and another\n",
            "/* ; */ SELECT \"a;b\", [c;d], `e;f`;",
            "CREATE TRIGGER x AFTER INSERT ON t BEGIN SELECT 1; SELECT 2; END;\n",
            "CREATE TEMP TRIGGER x AFTER INSERT ON t BEGIN SELECT CASE WHEN 1 THEN 2 END; END;",
            "",
            "\n\n",
        ] {
            assert!(ends(text), "{text}");
        }
        for text in [
            "SELECT 1\n",
            "INSERT INTO t VALUES ('a;\n",
            "CREATE TRIGGER x AFTER INSERT ON t BEGIN SELECT 1;\n",
            "/* ;\n",
        ] {
            assert!(!ends(text), "{text}");
        }
    }

    #[test]
    fn a_dump_becomes_a_database_and_nothing_else_is_done() {
        let folder = tempfile::tempdir().unwrap();
        let (sql, db) = (folder.path().join("a.sql"), folder.path().join("a.db"));
        let run = |text: &str| {
            let _ = std::fs::remove_file(&db);
            std::fs::write(&sql, text).unwrap();
            run(&sql, &db, "a.sql").map_err(|error| format!("{error:#}"))
        };
        run("PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\nCREATE TABLE t (a);\nINSERT INTO t VALUES('x\ny');\nCOMMIT;\n").unwrap();
        for (text, why) in [
            (".shell rm -rf /\n", "commands of SQLite's shell"),
            ("BEGIN;\nCREATE TABLE t (a);\n", "it is cut"),
            (
                "BEGIN;\nCREATE TABLE t (a);\nROLLBACK; -- due to errors\n",
                "makes no table",
            ),
            ("CREATE TABLE t (a);\nINSERT INTO u VALUES (1);\n", "line 2"),
            ("ATTACH '/tmp/other.db' AS o;\n", "line 1"),
        ] {
            let error = run(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
