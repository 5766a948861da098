//! In what two states of a database differ: two backups, a backup and the live database, or a file. Nothing is restored.
//!
//! Each side is read into a `side::Side`, whichever engine it is of; what is compared are values.

mod compare;
mod copy_text;
mod lines;
mod postgres;
pub mod report;
mod rows;
mod run;
mod side;
mod sorted;
mod sqlite;

pub use report::{Change, Contents, Diff, Named, ObjectChange, RowChange, RowsDiff, TableChange};
pub use run::{Request, Which, diff};
