//! What was written of an archive.

use super::{File, Head};

/// Digests of what was written, by which it is recognised later. Where the start of an archive comes first and is written
/// last, the digest of the whole cannot be known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Size of the whole.
    pub bytes: u64,
    /// How many bytes at the start are the head.
    pub head_bytes: u64,
    /// SHA-256 (hex) of the head, as it was rewritten.
    pub head_sha256: String,
    /// SHA-256 (hex) of what follows the head.
    pub body_sha256: String,
}

impl Written {
    /// What a manifest says of it, under the name `name`.
    #[must_use]
    pub fn file(&self, name: &str) -> File {
        let head = || Head {
            bytes: self.head_bytes,
            sha256: self.head_sha256.clone(),
        };
        File {
            name: name.to_owned(),
            bytes: self.bytes,
            sha256: self.body_sha256.clone(),
            head: (self.head_bytes > 0).then(head),
            checksums: Vec::new(),
        }
    }
}
