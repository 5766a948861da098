//! The engines: what knows a kind of database from inside. The set is closed; [`source`] asks whichever it is.

pub mod postgres;
pub mod source;
pub mod sqlite;
