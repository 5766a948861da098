//! What happens to bytes between an archive and a store: compression, encryption and digests.

pub mod age;
mod chunks;
pub mod compression;
pub mod decode;
pub mod digest;
pub mod join;
mod lz4;
pub mod segment;

pub use chunks::Chunks;
pub use compression::{Algorithm, Codec, Compression, Frame};
pub use decode::Decoder;
pub use digest::Digest;
pub use join::Joiner;
pub use segment::{SegmentCompressor, SegmentEnd};
