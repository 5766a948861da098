//! The content hash of a table: equal means the same rows, whatever their physical order.
//!
//! Each COPY row (its text without the line feed) is hashed to 128 bits with XXH3; the hash of the table is
//! the sum of them, modulo 2^128. So the parts of a table that was read in parallel add up, and a restored
//! table has the hash of its original though its rows lie elsewhere. Large objects are summed up in the same
//! way: each counts as a row, whose text is its OID (four bytes, little-endian) and its contents.

use std::fmt;
use std::ops::AddAssign;

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
        for row in rows.split_inclusive(|byte| *byte == b'\n') {
            self.rows += 1;
            let row = row.strip_suffix(b"\n").unwrap_or(row);
            self.sum = self.sum.wrapping_add(xxh3_128(row));
        }
    }

    /// Takes in a row of so many `bytes` that was hashed by its values.
    pub fn add(&mut self, bytes: u64, hash: u128) {
        self.rows += 1;
        self.bytes += bytes;
        self.sum = self.sum.wrapping_add(hash);
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
