//! An archive becomes a database again.

pub mod graph;
