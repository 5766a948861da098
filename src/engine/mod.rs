//! The engines: what knows a kind of database from inside.

pub mod postgres;
pub mod sqlite;
