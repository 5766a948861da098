//! The engines: what knows a kind of database from inside. The set is closed: [`source`] tells of which kind a database is,
//! and [`database`] asks whichever it is.

pub mod database;
pub mod postgres;
pub mod source;
pub mod sqlite;
