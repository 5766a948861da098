//! The PostgreSQL engine: reads a database as pg_dump reads it, and loads one.

mod answer;
pub mod any_text;
pub mod catalog;
pub mod checkup;
pub mod connect;
pub mod dump;
pub mod foreseen;
pub mod globals;
pub mod identity;
pub mod job_lock;
pub mod load;
pub mod marker;
pub mod options;
pub mod order;
pub mod output;
pub mod progress;
pub mod recover;
mod requests;
pub mod restore_lock;
pub mod rows;
pub mod server;
pub mod snapshot;
pub mod spelling;
pub mod target;
pub mod warning;
pub mod watch;
mod workers;
