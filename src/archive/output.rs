//! What a writer of archives hands out.

use bytes::Bytes;

/// What a [`super::Writer`] wants to be carried away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Bytes to append; never empty.
    Bytes(Bytes),
    /// What follows goes into a new file of this name (only the directory format).
    File(String),
}
