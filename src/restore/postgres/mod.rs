//! Restores that can be undone: a new database is loaded and proved beside the live one, then both names change
//! hands in one transaction. Where no database may be created, one transaction replaces what is in it.

mod advice;
mod analyse;
mod beyond;
mod changes;
mod create;
pub mod drill;
pub mod in_place;
pub mod live;
mod loading;
pub mod location;
pub mod needs;
pub mod new_roles;
pub mod null_sink;
pub mod origin;
pub mod other;
pub mod outcome;
pub mod plan;
mod pooled;
mod prepare;
mod properties;
mod prove;
pub mod run;
pub mod script;
pub mod selection;
mod subject;
pub mod survey;
pub mod swap;
mod text;
mod tolerated;
pub mod trial;
pub mod turn;
pub mod undo;
pub mod unpack;
pub mod watch;
