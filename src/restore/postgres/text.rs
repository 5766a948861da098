//! Whether the text of a script is in the encoding that the script says: found out before anything is touched, with the
//! line. The server would only say so in the middle of the restore.

use crate::archive::script::Statement;
use crate::error::{Exit, Fail, Result};

/// The text that was looked at so far.
#[derive(Debug, Default)]
pub struct Text {
    /// The bytes of a character that the next piece goes on with.
    begun: Vec<u8>,
    /// The first line that is not UTF-8, in a script that does not say what it is in.
    unsaid: Option<String>,
}

/// Bytes of text that are shown before those that are wrong.
const SHOWN: usize = 20;

impl Text {
    /// Looks at a statement in `encoding`.
    ///
    /// # Errors
    /// It says that it is UTF-8 and is not.
    pub fn statement(&mut self, statement: &Statement, encoding: Option<&str>) -> Result<()> {
        self.look(&statement.text, encoding, statement.line)
    }

    /// Looks at rows in `encoding`; `reached` is the line that is next.
    ///
    /// # Errors
    /// As for statements.
    pub fn rows(&mut self, rows: &[u8], encoding: Option<&str>, reached: u64) -> Result<()> {
        let first = reached.saturating_sub(lines(rows));
        let joined = match self.begun.is_empty() {
            true => None,
            false => Some([std::mem::take(&mut self.begun).as_slice(), rows].concat()),
        };
        let rows = joined.as_deref().unwrap_or(rows);
        let whole = match std::str::from_utf8(rows) {
            // A long row comes in pieces.
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            _ => rows.len(),
        };
        let (rows, begun) = rows.split_at(whole);
        self.begun = begun.to_vec();
        self.look(rows, encoding, first)
    }

    /// The rows of a table are over.
    pub fn end_of_rows(&mut self) {
        self.begun.clear();
    }

    /// What a person should know.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        let place = self.unsaid.as_ref()?;
        Some(format!(
            "the script does not say what its text is in, and {place}: it is taken for text in the encoding of the database; \
             --encoding says otherwise"
        ))
    }

    fn look(&mut self, text: &[u8], encoding: Option<&str>, first: u64) -> Result<()> {
        let is_utf8 = encoding.is_none_or(|name| {
            let name = name.to_ascii_uppercase();
            matches!(name.as_str(), "UTF8" | "UTF-8" | "UNICODE")
        });
        if !is_utf8 || (encoding.is_none() && self.unsaid.is_some()) {
            return Ok(());
        }
        let Err(error) = std::str::from_utf8(text) else {
            return Ok(());
        };
        let place = place(text, error.valid_up_to(), first);
        if encoding.is_none() {
            self.unsaid = Some(place);
            return Ok(());
        }
        let message = format!("the script says that it is UTF-8, but {place}");
        Err(Fail::new(Exit::Damaged, message)
            .hint("if it is in another encoding, name that: --encoding LATIN1, --encoding WIN1252; otherwise copy it again")
            .into())
    }
}

fn place(text: &[u8], at: usize, first: u64) -> String {
    let (before, wrong) = text.split_at(at);
    let line = first + lines(before);
    let start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let before = String::from_utf8_lossy(&before[start..]);
    let shown: Vec<char> = before.chars().rev().take(SHOWN).collect();
    let shown: String = shown.into_iter().rev().collect();
    let wrong = wrong.first().copied().unwrap_or_default();
    format!("line {line} has the byte 0x{wrong:02x} after {shown:?}, which is none")
}

fn lines(text: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', text).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_utf8_is_told_with_its_line() {
        let mut text = Text::default();
        // A character that comes in two pieces is whole.
        text.rows("a\ncaf\u{e9}".as_bytes().split_at(6).0, Some("UTF8"), 3)
            .unwrap();
        text.rows(b"\xa9\n", Some("UTF8"), 4).unwrap();
        let error = text.rows(b"b\nc\tcaf\xe9\nd\n", Some("UTF8"), 9).unwrap_err();
        let message = error.to_string();
        assert!(
            message.contains("line 7 has the byte 0xe9 after \"c\\tcaf\""),
            "{message}"
        );
        text.rows(b"caf\xe9\n", Some("LATIN1"), 9).unwrap();
        assert_eq!(text.warning(), None);
        text.rows(b"caf\xe9\n", None, 9).unwrap();
        assert!(text.warning().unwrap().contains("line 8"));
    }
}
