//! SQL text as psql runs it - what pg_dump and pg_dumpall write in plain format, and what others wrote like it -
//! read piece by piece, so that its size does not matter.
//!
//! Of psql's own commands those are understood that dumps have - `\connect`, `\encoding`, `\restrict`, `\unrestrict`, the
//! `\.` after the rows of a COPY - and, of what people write, `\if` of a plain truth value, `\g` and `\;`. What only prints
//! is left out. Everything else is refused with the number of its line.

mod adapted;
mod command;
mod conditions;
mod copy;
mod fate;
mod file;
mod lexer;
mod reach;
mod rows;
mod statement;

use anyhow::Context as _;
use bytes::{Bytes, BytesMut};
use memchr::memchr_iter;

use super::data::Rows;
use super::toc::Entry;
use crate::error::{Exit, Fail, Result};
use crate::raw_text;
use crate::sql::encoding::Characters;
use command::{Command, Ending};
use conditions::Conditions;
use lexer::{End, Lexer};
use rows::Copying;

pub use adapted::Adapted;
pub use copy::CopyOptions;
pub use fate::{tablespaces, without_roles};
pub use file::Script;
pub use reach::{Reach, of_insert, reach, reach_of};
pub use statement::{Kind, Statement};

/// A part of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// A line of comment between statements, without `--`.
    Comment(String),
    /// `\connect`: what follows is of this database.
    Connect(String),
    /// A statement, and what it is about.
    Statement(Statement, Kind),
    /// Rows of the COPY before it: so many ends of rows are in it.
    Rows(Bytes, u64),
    /// The end of those rows.
    EndOfRows,
    /// A statement that the options leave out, by the number of its line.
    LeftOut(u64),
    /// What only prints, by the number of its line: it is not run.
    Prints(u64, String),
}

/// What to do about a script that only psql understands.
const REFUSED: &str = "change that in the file, or let psql run it into a new database and restore from a dump of that";

/// A script that is being read.
pub struct Reading {
    text: Rows,
    /// All text was taken in.
    last: bool,
    /// Text that was not handed out yet.
    buffer: BytesMut,
    /// In so much of it there is no line feed. What was looked at is not looked at again: a line may have many megabytes.
    without_end: usize,
    /// Number of the line that the buffer begins in.
    line: u64,
    lexer: Lexer,
    encoding: Option<String>,
    /// The encoding is this one, whatever the script says.
    encoding_is_known: bool,
    conditions: Conditions,
    rows: Option<Copying>,
}

impl Reading {
    /// Reads decompressed text.
    #[must_use]
    pub fn new(text: Rows) -> Reading {
        Reading {
            text,
            last: false,
            buffer: BytesMut::new(),
            without_end: 0,
            line: 1,
            lexer: Lexer::default(),
            encoding: None,
            encoding_is_known: false,
            conditions: Conditions::default(),
            rows: None,
        }
    }

    /// Reads text whose encoding is `name`, whatever it says itself.
    #[must_use]
    pub fn in_encoding(text: Rows, name: &str) -> Reading {
        let mut reading = Reading::new(text);
        reading.use_encoding(name.to_owned());
        reading.encoding_is_known = true;
        reading
    }

    /// Reads the INSERT statements that are the rows of an entry, in an archive with these `entries`.
    #[must_use]
    pub fn of_entry(rows: Rows, entries: &[Entry]) -> Reading {
        let says = |desc: &str| entries.iter().find(|entry| entry.desc == desc);
        let mut reading = Reading::new(rows);
        if let Some(name) = says("ENCODING").and_then(|entry| entry.defn.split('\'').nth(1)) {
            reading.use_encoding(name.to_owned());
        }
        reading.lexer.escapes = says("STDSTRINGS").is_some_and(|entry| entry.defn.contains("off"));
        reading
    }

    /// The client encoding that was set last; `None`: the database's own.
    #[must_use]
    pub fn encoding(&self) -> Option<&str> {
        self.encoding.as_deref()
    }

    /// The number of the line that was reached.
    #[must_use]
    pub fn line(&self) -> u64 {
        self.line
    }

    /// The next piece; `None` at the end.
    ///
    /// # Errors
    /// It is cut or damaged, or has something that only psql understands: the message has the line.
    pub async fn next(&mut self) -> Result<Option<Piece>> {
        if self.rows.is_some() {
            return self.next_rows().await.map(Some);
        }
        loop {
            let piece = self.between_rows().await?;
            match piece {
                // What a condition leaves out is not even looked at.
                Some(_) if !self.conditions.hold() => {}
                Some(Piece::Statement(statement, _)) => return self.take_note(statement).await.map(Some),
                Some(piece) => return Ok(Some(piece)),
                None => {
                    self.conditions.end()?;
                    return Ok(None);
                }
            }
        }
    }

    /// The next piece that is no row.
    async fn between_rows(&mut self) -> Result<Option<Piece>> {
        loop {
            self.skip_space();
            match self.buffer.as_ref() {
                [] | [b'-' | b'\xEF'] if !self.last => self.fill().await?,
                [] => return Ok(None),
                // Only the first line may begin like this.
                [0xEF, 0xBB, 0xBF, ..] if self.line == 1 => drop(self.take(3)),
                [b'-', b'-', ..] => {
                    let line = self.take_line().await?;
                    let comment = raw_text::decode(line.get(2..).unwrap_or_default());
                    return Ok(Some(Piece::Comment(comment.trim().to_owned())));
                }
                [b'\\', ..] => {
                    let line = self.line;
                    let text = raw_text::decode(&self.take_line().await?);
                    if let Some(piece) = self.command(&text, line).with_context(|| format!("line {line}"))? {
                        return Ok(Some(piece));
                    }
                }
                _ => match self.statement().await? {
                    // What stands before a statement is a statement of its own to the lexer.
                    Piece::Statement(statement, _) if statement.text.starts_with(b"/*") => {}
                    piece => return Ok(Some(piece)),
                },
            }
        }
    }

    /// Does what a command of psql says.
    fn command(&mut self, text: &str, line: u64) -> Result<Option<Piece>> {
        let command = match command::parse(text) {
            // psql does not look at it either.
            Err(_) if !self.conditions.hold() => return Ok(None),
            command => command?,
        };
        match command {
            Command::If(holds) => self.conditions.begin(line, holds),
            Command::ElseIf(holds) => self.conditions.otherwise(holds)?,
            Command::Else => self.conditions.otherwise(true)?,
            Command::EndIf => self.conditions.over()?,
            _ if !self.conditions.hold() => {}
            Command::Connect(database) => {
                self.lexer = Lexer::default();
                self.encoding = self.encoding.take().filter(|_| self.encoding_is_known);
                if let Some(known) = self.encoding.clone() {
                    self.lexer.characters = characters(&known);
                }
                return Ok(Some(Piece::Connect(database)));
            }
            Command::Encoding(name) => self.use_encoding(name),
            Command::Prints(what) => return Ok(Some(Piece::Prints(line, what))),
            Command::Nothing => {}
        }
        Ok(None)
    }

    /// The statement or comment that the buffer begins with, whatever it is about.
    async fn statement(&mut self) -> Result<Piece> {
        loop {
            let end = self.lexer.end(&self.buffer, self.last);
            let end = end.with_context(|| {
                let before = self.buffer.get(..self.lexer.position()).unwrap_or_default();
                format!("line {}", self.line + lines(before))
            })?;
            let (line, rows) = (self.line, self.lexer.rows().max(1));
            match end {
                Some(End::Own(end)) => {
                    let text = self.take(end);
                    return Ok(Piece::Statement(Statement { line, text, rows }, Kind::Other));
                }
                Some(End::Command(at)) => {
                    let text = self.take(at);
                    return self.ended_by_command(Statement { line, text, rows }).await;
                }
                None => {}
            }
            if self.last {
                return Err(cut(format!(
                    "the statement that begins in line {} has no end",
                    self.line
                )));
            }
            self.fill().await?;
        }
    }

    /// A statement whose end is `\;`, `\g` or the like. psql sends what stands before `\;` with what follows it.
    async fn ended_by_command(&mut self, statement: Statement) -> Result<Piece> {
        while self.buffer.len() < 2 && !self.last {
            self.fill().await?;
        }
        let ending = match self.buffer.as_ref() {
            [b'\\', b';', ..] => {
                self.take(2);
                Ending::Run
            }
            _ => {
                let line = self.line;
                let text = raw_text::decode(&self.take_line().await?);
                command::ending(&text).with_context(|| format!("line {line}"))?
            }
        };
        match ending {
            Ending::Run => {
                let text = [statement.text.trim_ascii_end(), b";"].concat().into();
                Ok(Piece::Statement(Statement { text, ..statement }, Kind::Other))
            }
            Ending::Describe(what) => Ok(Piece::Prints(statement.line, what)),
        }
    }

    /// Heeds what a statement says about those that follow it.
    async fn take_note(&mut self, statement: Statement) -> Result<Piece> {
        let kind = statement.kind();
        match &kind {
            Kind::Setting { name, value } if name == "client_encoding" => {
                self.use_encoding(value.clone());
            }
            Kind::Setting { name, value } if name == "standard_conforming_strings" => {
                self.lexer.escapes = value.eq_ignore_ascii_case("off");
            }
            Kind::Copy(_) => {
                let binary = CopyOptions::of(&statement.decoded()).is_some_and(|options| options.binary);
                if binary || !self.take_line().await?.trim_ascii().is_empty() {
                    return Err(refused_copy(statement.line));
                }
                self.rows = Some(Copying {
                    line: statement.line,
                    inside: false,
                });
            }
            Kind::CopyOut => return Ok(Piece::Prints(statement.line, "COPY … TO stdout".to_owned())),
            _ => {}
        }
        Ok(Piece::Statement(statement, kind))
    }

    fn use_encoding(&mut self, name: String) {
        if !self.encoding_is_known {
            self.lexer.characters = characters(&name);
            self.encoding = Some(name);
        }
    }

    /// Takes more text in.
    async fn fill(&mut self) -> Result<()> {
        match self.text.next().await {
            Ok(Some(text)) => self.buffer.extend_from_slice(&text),
            Ok(None) => self.last = true,
            Err(error) => return Err(cut(format!("{error:#} after line {}", self.line))),
        }
        Ok(())
    }

    /// Passes over what is between two statements.
    fn skip_space(&mut self) {
        let is_space = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b';' | b'\x0B');
        let len = self.buffer.iter().position(|byte| !is_space(byte));
        self.take(len.unwrap_or(self.buffer.len()));
    }

    /// The rest of the line, without its end.
    async fn take_line(&mut self) -> Result<Bytes> {
        loop {
            if let Some(end) = self.end_of_line(0) {
                let line = self.take(end);
                return Ok(line.slice(..end - 1));
            }
            if self.last {
                return Ok(self.take(self.buffer.len()));
            }
            self.fill().await?;
        }
    }

    fn take(&mut self, len: usize) -> Bytes {
        self.without_end = self.without_end.saturating_sub(len);
        let taken = self.buffer.split_to(len).freeze();
        self.line += lines(&taken);
        taken
    }
}

fn characters(encoding: &str) -> Characters {
    Characters::of(&encoding.to_ascii_uppercase().replace('-', ""))
}

fn lines(text: &[u8]) -> u64 {
    memchr_iter(b'\n', text).count() as u64
}

fn refused_copy(line: u64) -> anyhow::Error {
    let message = format!("line {line}: rows in binary format, or in the line of their COPY, are not read");
    Fail::new(Exit::Usage, message).hint(REFUSED).into()
}

fn cut(message: String) -> anyhow::Error {
    Fail::new(Exit::Damaged, format!("the script is cut or damaged: {message}"))
        .hint("copy it again from where it was made, or look for the error that stopped the dump")
        .into()
}

#[cfg(test)]
mod tests;
