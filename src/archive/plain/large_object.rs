//! Large objects as statements: created and granted in bulk, written piece by piece.

use std::fmt::Write as _;

use bytes::Bytes;

use super::Script;
use crate::archive::toc::Entry;

/// How many bytes of a large object one statement writes.
pub(super) const PIECE: usize = 16384;

/// The statements that write `bytes` to the open large object.
pub(super) fn lowrite(bytes: &[u8], std_strings: bool) -> Bytes {
    let escape = if std_strings { "\\x" } else { "\\\\x" };
    let mut out = Vec::with_capacity(bytes.len() * 2 + 64);
    for piece in bytes.chunks(PIECE) {
        out.extend_from_slice(b"SELECT pg_catalog.lowrite(0, '");
        out.extend_from_slice(escape.as_bytes());
        for byte in piece {
            out.push(b"0123456789abcdef"[usize::from(byte >> 4)]);
            out.push(b"0123456789abcdef"[usize::from(byte & 15)]);
        }
        out.extend_from_slice(b"');\n");
    }
    Bytes::from(out)
}

impl Script {
    pub(super) fn open_large_object(&mut self, oid: u32) {
        // 131072 is INV_WRITE.
        self.print(&format!("SELECT pg_catalog.lo_open('{oid}', 131072);\n"));
    }

    pub(super) fn close_large_object(&mut self) {
        self.print("SELECT pg_catalog.lo_close(0);\n\n");
    }

    /// Prints a statement for each large object that a `BLOB METADATA` entry lists, one OID a line.
    pub(super) fn for_each_large_object(&mut self, entry: &Entry, before: &str, after: &str) {
        for oid in entry.defn.lines().filter(|line| !line.is_empty()) {
            let _ = writeln!(self.out, "{before}{oid}{after};");
        }
        self.print("\n");
    }

    /// Prints the privileges of a group of large objects: the entry has them for one of the group.
    pub(super) fn print_large_object_acls(&mut self, entry: &Entry) {
        let entries = std::sync::Arc::clone(&self.entries);
        let group = entry
            .dependencies
            .first()
            .and_then(|id| entries.iter().find(|entry| entry.dump_id == *id));
        let Some(group) = group.filter(|group| group.desc == "BLOB METADATA") else {
            return;
        };
        for statement in statements(&entry.defn) {
            match split_at_oid(statement) {
                Some((before, after)) => self.for_each_large_object(group, before, after),
                None => self.print(&format!("{statement};\n")),
            }
        }
    }
}

/// The statements of `text` without their semicolons; one within double quotes ends nothing.
fn statements(text: &str) -> Vec<&str> {
    let mut quoted = false;
    text.split(|c| {
        quoted ^= c == '"';
        c == ';' && !quoted
    })
    .map(str::trim_start)
    .filter(|statement| !statement.is_empty())
    .collect()
}

/// What stands before and after the OID of `LARGE OBJECT n`.
fn split_at_oid(statement: &str) -> Option<(&str, &str)> {
    const WORDS: &str = "LARGE OBJECT ";
    let at = statement.find(WORDS)? + WORDS.len();
    let (before, rest) = statement.split_at(at);
    Some((before, rest.trim_start_matches(|c: char| c.is_ascii_digit())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_is_split_around_the_number() {
        let text = "GRANT SELECT ON LARGE OBJECT 12 TO \"a;b\";\nREVOKE ALL ON LARGE OBJECT 12 FROM c;\n";
        let split: Vec<_> = statements(text).into_iter().filter_map(split_at_oid).collect();
        assert_eq!(
            split,
            [
                ("GRANT SELECT ON LARGE OBJECT ", " TO \"a;b\""),
                ("REVOKE ALL ON LARGE OBJECT ", " FROM c"),
            ]
        );
    }

    #[test]
    fn bytes_are_written_in_pieces() {
        assert_eq!(
            lowrite(b"hi", true).as_ref(),
            b"SELECT pg_catalog.lowrite(0, '\\x6869');\n"
        );
        let two = lowrite(&[0; PIECE + 1], false);
        assert_eq!(two.iter().filter(|b| **b == b'\n').count(), 2);
        assert!(two.starts_with(b"SELECT pg_catalog.lowrite(0, '\\\\x00"));
    }
}
