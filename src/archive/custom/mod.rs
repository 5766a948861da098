//! The custom format: one file with a table of contents and one block of data per entry.

pub mod read;
mod write;

pub use write::Writer;

const BLOCK_DATA: u8 = 1;
const BLOCK_LARGE_OBJECTS: u8 = 3;
