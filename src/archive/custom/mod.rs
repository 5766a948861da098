//! The custom format: one file with a table of contents and one block of data per entry.

mod write;

pub use write::Writer;
