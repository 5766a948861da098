//! A database file takes the place of a live one, or becomes a new one: plan, unpack beside, prove, safety snapshot, put.

pub mod file;
pub mod origin;
pub mod plan;
pub mod put;
pub mod run;
mod script;
pub mod watch;

use std::path::PathBuf;

use super::failure::folder;
use super::location::Location;
use super::scratch;

/// Removes what killed restores left beside the database at `location`; returns what that was.
#[must_use]
pub fn tidy(location: &Location) -> Vec<PathBuf> {
    let path = std::fs::canonicalize(location.path()).unwrap_or_else(|_| location.path().to_owned());
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    scratch::tidy(folder(&path), &name)
}
