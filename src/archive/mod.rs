//! pg_dump's archive formats: what lies in a backup, read beside write.

pub mod raw;
pub mod toc;
