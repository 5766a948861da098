//! Parts of backups: rows, one row, a definition, all as SQL, compared with what psql, pg_dump, pg_restore and SQLite's shell
//! make of the same database.

mod files;
mod postgres;
mod s3;
mod sqlite;
