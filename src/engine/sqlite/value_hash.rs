//! The hash of some values, each with its type and its length, so that no two different lists of values are alike.

use rusqlite::types::ValueRef;
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

/// Up to this many bytes are put together and hashed at once, in a third of the time that many small pieces take.
const SHORT: usize = 16 << 10;

/// Hashes the values of one row after another.
#[derive(Default)]
pub struct ValueHash {
    short: Vec<u8>,
    /// Of values that are longer, only the state of their hash is kept.
    long: Option<Box<Xxh3>>,
}

impl ValueHash {
    /// Takes in a value; returns how many bytes it has.
    pub fn add(&mut self, value: ValueRef<'_>) -> u64 {
        match value {
            ValueRef::Null => self.framed(0, b""),
            ValueRef::Integer(number) => self.framed(1, &number.to_le_bytes()),
            ValueRef::Real(number) => self.framed(2, &number.to_bits().to_le_bytes()),
            ValueRef::Text(text) => self.framed(3, text),
            ValueRef::Blob(bytes) => self.framed(4, bytes),
        }
    }

    fn framed(&mut self, kind: u8, bytes: &[u8]) -> u64 {
        let length = bytes.len() as u64;
        let mut frame = [kind; 9];
        frame[1..].copy_from_slice(&length.to_le_bytes());
        self.update(&frame);
        self.update(bytes);
        length
    }

    fn update(&mut self, bytes: &[u8]) {
        match &mut self.long {
            None if self.short.len() + bytes.len() <= SHORT => self.short.extend_from_slice(bytes),
            long => {
                let hash = long.get_or_insert_default();
                hash.update(&self.short);
                hash.update(bytes);
                self.short.clear();
            }
        }
    }

    /// The hash of what was taken in; the next values begin anew.
    pub fn take(&mut self) -> u128 {
        let hash = match self.long.take() {
            None => xxh3_128(&self.short),
            Some(long) => long.digest128(),
        };
        self.short.clear();
        hash
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_xxh3_of_types_lengths_and_bytes_whatever_the_length() {
        let mut hash = ValueHash::default();
        for length in [0, 1, 239, 240, 241, SHORT - 27, SHORT - 26, SHORT, 3 * SHORT, 5] {
            let blob = vec![7u8; length];
            assert_eq!(hash.add(ValueRef::Integer(-2)), 8);
            assert_eq!(hash.add(ValueRef::Blob(&blob)), length as u64);
            hash.add(ValueRef::Null);
            let mut expected = Xxh3::new();
            expected.update(&[1]);
            expected.update(&8u64.to_le_bytes());
            expected.update(&(-2i64).to_le_bytes());
            expected.update(&[4]);
            expected.update(&(length as u64).to_le_bytes());
            expected.update(&blob);
            expected.update(&[0; 9]);
            assert_eq!(hash.take(), expected.digest128(), "{length}");
        }
    }
}
