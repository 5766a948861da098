//! A database file takes the place of a live one, or becomes a new one.

pub mod put;
