//! Encryption in the format of age (<https://age-encryption.org/v1>): what comes out opens with the stock `age`.
//!
//! An age file is a header, in which a random file key is wrapped for each recipient, and a payload in chunks of
//! 64 KiB, each sealed apart. The `age` crate makes and reads headers, since all that knows keys is in there. The
//! payload is ours (`stream`), for two things that the crate does not do: an archive's table of contents is
//! sealed last although it comes first, and any range can be opened without reading the rest.

mod header;
mod keys;
mod small;
mod stream;

pub use header::{Opener, locked};
pub use keys::{Identities, Recipient, Recipients, brief, generate};
pub use small::{open_text, seal_bytes, seal_text};
pub use stream::{Sealed, Sealer};

/// What every age file begins with: how one is recognised.
pub const MAGIC: &[u8] = b"age-encryption.org/v1\n";

#[cfg(test)]
mod tests;
