//! Restores that can be undone: a new database is loaded and proved beside the live one, then both names change
//! hands in one transaction.

pub mod kept;
pub mod live;
mod lock;
pub mod marker;
pub mod recover;
pub mod swap;
pub mod target;
pub mod undo;
pub mod watch;
