//! A database file takes the place of a live one, or becomes a new one: plan, unpack beside, prove, safety snapshot, put.

pub mod drill;
pub mod file;
mod last_step;
pub mod origin;
pub mod plan;
pub mod run;
pub mod undo;
pub mod watch;
