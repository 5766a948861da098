//! A filter that only watches: size and SHA-256 of what passes.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

/// Size and SHA-256 of the bytes so far.
#[derive(Clone, Default)]
pub struct Digest {
    hasher: Sha256,
    bytes: u64,
}

impl Digest {
    /// Of no bytes yet.
    #[must_use]
    pub fn new() -> Self {
        Digest::default()
    }

    /// Takes note of `bytes`.
    pub fn update(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
    }

    /// How many bytes passed.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The SHA-256 in hex.
    #[must_use]
    pub fn hex(self) -> String {
        self.hasher.finalize().iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Digest;

    #[test]
    fn the_digest_is_that_of_all_bytes() {
        let mut digest = Digest::new();
        digest.update(b"a");
        digest.update(b"bc");
        assert_eq!(digest.bytes(), 3);
        assert_eq!(
            digest.hex(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
