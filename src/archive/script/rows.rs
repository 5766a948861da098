//! The rows below a COPY, as they stand: lines up to `\.`.

use memchr::memchr;

use super::{Piece, Reading, cut};
use crate::error::Result;

/// A piece of a row that is longer than this does not wait for its end.
const LONG_ROW: usize = 1 << 20;

/// Rows are being read.
pub(super) struct Copying {
    /// Line of the COPY.
    pub(super) line: u64,
    /// The buffer begins inside of a row.
    pub(super) inside: bool,
}

impl Reading {
    /// The next rows, or their end.
    pub(super) async fn next_rows(&mut self) -> Result<Piece> {
        loop {
            let (end, rows) = self.whole_rows();
            if end > 0 {
                self.line += rows;
                self.inside_row(false);
                self.without_end = 0;
                return Ok(Piece::Rows(self.buffer.split_to(end).freeze(), rows));
            }
            if self.at_marker() {
                self.take_line().await?;
                self.rows = None;
                return Ok(Piece::EndOfRows);
            }
            if self.last {
                let line = self.rows.as_ref().map_or(0, |rows| rows.line);
                return Err(cut(format!("the rows after the COPY in line {line} have no end")));
            }
            if self.buffer.len() > LONG_ROW {
                self.inside_row(true);
                self.without_end = 0;
                return Ok(Piece::Rows(self.buffer.split().freeze(), 0));
            }
            self.fill().await?;
        }
    }

    /// Where the whole rows end that the buffer begins with, and how many they are.
    fn whole_rows(&mut self) -> (usize, u64) {
        let inside = self.rows.as_ref().is_some_and(|rows| rows.inside);
        let (mut end, mut rows) = (0, 0);
        while let Some(next) = self.end_of_line(end) {
            let line = &self.buffer[end..next];
            if matches!(line, b"\\.\n" | b"\\.\r\n") && (end > 0 || !inside) {
                break;
            }
            end = next;
            rows += 1;
        }
        (end, rows)
    }

    /// Where the line ends that begins at `start`, after its line feed.
    pub(super) fn end_of_line(&mut self, start: usize) -> Option<usize> {
        let from = start.max(self.without_end);
        let end = memchr(b'\n', self.buffer.get(from..)?).map(|at| from + at + 1);
        if end.is_none() && start == 0 {
            self.without_end = self.buffer.len();
        }
        end
    }

    /// Whether the buffer begins with the line that ends the rows.
    fn at_marker(&self) -> bool {
        let inside = self.rows.as_ref().is_some_and(|rows| rows.inside);
        let marker = |end: &[u8]| self.buffer.starts_with(end);
        let at_end = self.last && self.buffer.trim_ascii_end() == b"\\.";
        !inside && (marker(b"\\.\n") || marker(b"\\.\r\n") || at_end)
    }

    fn inside_row(&mut self, inside: bool) {
        if let Some(rows) = &mut self.rows {
            rows.inside = inside;
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::archive::script::Script;
    use crate::archive::source::Source;

    #[tokio::test]
    async fn long_rows_are_not_held() {
        let long = "x".repeat(3 << 20);
        let text = format!("COPY t FROM stdin;\n{long}\n{long}\\.\n\\.\n");
        let script = Script::open(Source::memory(Bytes::copy_from_slice(text.as_bytes())))
            .await
            .unwrap();
        let mut reading = script.read().unwrap();
        let mut pieces = Vec::new();
        while let Some(piece) = reading.next().await.unwrap() {
            pieces.push(piece);
        }
        let mut counted = (0, 0);
        for piece in &pieces {
            if let Piece::Rows(text, rows) = piece {
                assert!(text.len() < 2 << 20);
                counted = (counted.0 + text.len(), counted.1 + rows);
            }
        }
        assert_eq!(counted, (text.len() - "COPY t FROM stdin;\n\\.\n".len(), 2));
        assert_eq!(pieces.last(), Some(&Piece::EndOfRows));
    }
}
