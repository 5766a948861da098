//! Restores that can be undone: a new database is loaded and proved beside the live one, then both names change
//! hands in one transaction. Where no database may be created, one transaction replaces what is in it.

mod advice;
mod analyse;
mod changes;
mod create;
pub mod in_place;
pub mod kept;
pub mod live;
mod loading;
pub mod location;
mod lock;
pub mod marker;
pub mod needs;
pub mod new_roles;
mod null_sink;
pub mod origin;
pub mod outcome;
pub mod plan;
mod pooled;
mod properties;
mod prove;
pub mod recover;
pub mod run;
pub mod script;
pub mod selection;
mod subject;
pub mod survey;
pub mod swap;
pub mod target;
mod tolerated;
pub mod trial;
pub mod undo;
pub mod unpack;
pub mod watch;
