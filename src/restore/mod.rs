//! Restores, one folder for each engine.

pub mod postgres;
