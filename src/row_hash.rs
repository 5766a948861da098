//! The content hash of a table: equal means the same rows, whatever their physical order.
//!
//! Each COPY row (its text without the line feed) is hashed to 128 bits with XXH3; the hash of the table is
//! the sum of them, modulo 2^128. So the parts of a table that was read in parallel add up, and a restored
//! table has the hash of its original though its rows lie elsewhere. Large objects are summed up in the same
//! way: each counts as a row, whose text is its OID (four bytes, little-endian) and its contents.

use std::fmt;
use std::ops::AddAssign;

use memchr::{memchr, memchr_iter, memrchr};
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

/// Rows, bytes and multiset hash of some COPY text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RowHash {
    /// Number of rows.
    pub rows: u64,
    /// Bytes of COPY text, line feeds included.
    pub bytes: u64,
    sum: u128,
}

impl RowHash {
    /// Takes in whole rows, each ended by a line feed, as COPY's text format has them.
    pub fn update(&mut self, rows: &[u8]) {
        self.bytes += rows.len() as u64;
        let mut start = 0;
        for end in memchr_iter(b'\n', rows) {
            self.add(xxh3_128(&rows[start..end]));
            start = end + 1;
        }
        if start < rows.len() {
            self.add(xxh3_128(&rows[start..]));
        }
    }

    fn add(&mut self, row: u128) {
        self.rows += 1;
        self.sum = self.sum.wrapping_add(row);
    }

    /// Takes in a row of so many `bytes` that was hashed by its values.
    pub fn add_row(&mut self, bytes: u64, hash: u128) {
        self.bytes += bytes;
        self.add(hash);
    }

    /// What a manifest says of some rows; a hash that is none counts as that of no rows.
    #[must_use]
    pub fn known(rows: u64, bytes: u64, hash: &str) -> Self {
        let sum = u128::from_str_radix(hash, 16).unwrap_or_default();
        RowHash { rows, bytes, sum }
    }

    /// The hash alone, as 32 hex digits.
    #[must_use]
    pub fn hash(&self) -> String {
        format!("{:032x}", self.sum)
    }
}

/// The hash of rows that come in pieces, cut anywhere: of a row that is longer than a piece nothing is kept but the
/// state of its hash.
#[derive(Default)]
pub struct PieceHash {
    hash: RowHash,
    /// Of the row whose end has not come yet.
    open: Option<Box<Xxh3>>,
}

impl PieceHash {
    /// Takes in the next piece.
    pub fn update(&mut self, mut piece: &[u8]) {
        if let Some(row) = &mut self.open {
            let end = memchr(b'\n', piece);
            let (rest, after) = piece.split_at(end.unwrap_or(piece.len()));
            row.update(rest);
            self.hash.bytes += rest.len() as u64;
            if end.is_none() {
                return;
            }
            self.hash.add(row.digest128());
            self.hash.bytes += 1;
            self.open = None;
            piece = &after[1..];
        }
        let whole = memrchr(b'\n', piece).map_or(0, |at| at + 1);
        let (rows, start) = piece.split_at(whole);
        self.hash.update(rows);
        if !start.is_empty() {
            let mut row = Box::new(Xxh3::new());
            row.update(start);
            self.hash.bytes += start.len() as u64;
            self.open = Some(row);
        }
    }

    /// The hash of all; what came after the last line feed counts as a row.
    #[must_use]
    pub fn finish(mut self) -> RowHash {
        if let Some(row) = self.open {
            self.hash.add(row.digest128());
        }
        self.hash
    }
}

/// The hash of one large object, whose contents come in pieces.
pub struct ObjectHash {
    hasher: Xxh3,
    bytes: u64,
}

impl ObjectHash {
    /// Of the large object `oid`, nothing of which was seen yet.
    #[must_use]
    pub fn new(oid: u32) -> Self {
        let mut hasher = Xxh3::new();
        hasher.update(&oid.to_le_bytes());
        ObjectHash { hasher, bytes: 0 }
    }

    /// Takes in the next piece of its contents.
    pub fn update(&mut self, piece: &[u8]) {
        self.bytes += piece.len() as u64;
        self.hasher.update(piece);
    }

    /// One large object, to be added to others.
    #[must_use]
    pub fn finish(self) -> RowHash {
        RowHash {
            rows: 1,
            bytes: self.bytes,
            sum: self.hasher.digest128(),
        }
    }
}

impl AddAssign for RowHash {
    fn add_assign(&mut self, other: Self) {
        self.rows += other.rows;
        self.bytes += other.bytes;
        self.sum = self.sum.wrapping_add(other.sum);
    }
}

impl fmt::Display for RowHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rows, {}", self.rows, self.hash())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(parts: &[&str]) -> RowHash {
        let mut hash = RowHash::default();
        for part in parts {
            hash.update(part.as_bytes());
        }
        hash
    }

    #[test]
    fn order_does_not_matter_but_rows_do() {
        assert_eq!(of(&["1\ta\n2\tb\n"]), of(&["2\tb\n", "1\ta\n"]));
        assert_ne!(of(&["1\ta\n2\tb\n"]).hash(), of(&["1\tb\n2\ta\n"]).hash());
        assert_ne!(of(&["1\n1\n"]).hash(), of(&["1\n"]).hash());
        assert_eq!(of(&["\n\n"]).rows, 2);
    }

    #[test]
    fn it_does_not_matter_where_pieces_are_cut() {
        let mut text = Vec::new();
        for len in [0, 1, 16, 17, 128, 129, 240, 241, 1024, 1025, 70_000] {
            text.extend((0..len).map(|n| b'a' + (n % 26) as u8));
            text.push(b'\n');
        }
        let mut random = fastrand::Rng::with_seed(1);
        for rows in [&text[..], &text[..text.len() - 1], b"", b"\n\n"] {
            let mut whole = RowHash::default();
            whole.update(rows);
            for most in [1, 2, 7, 300, 100_000] {
                let (mut hash, mut rest) = (PieceHash::default(), rows);
                while !rest.is_empty() {
                    let (piece, after) = rest.split_at(random.usize(1..=most).min(rest.len()));
                    hash.update(piece);
                    rest = after;
                }
                assert_eq!(hash.finish(), whole);
            }
        }
    }

    #[test]
    fn a_large_object_is_its_number_and_its_contents() {
        let of = |oid, pieces: &[&[u8]]| {
            let mut hash = ObjectHash::new(oid);
            for piece in pieces {
                hash.update(piece);
            }
            hash.finish()
        };
        assert_eq!(of(1, &[b"ab", b"c"]), of(1, &[b"abc"]));
        assert_ne!(of(1, &[b"abc"]).hash(), of(2, &[b"abc"]).hash());
        assert_ne!(of(1, &[b"abc"]).hash(), of(1, &[b"abd"]).hash());
        assert_eq!((of(1, &[]).rows, of(1, &[b"abc"]).bytes), (1, 3));
    }

    #[test]
    fn parts_add_up() {
        let mut sum = of(&["1\n"]);
        sum += of(&["2\n3\n"]);
        assert_eq!(sum, of(&["1\n2\n3\n"]));
    }
}
