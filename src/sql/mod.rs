//! PostgreSQL's SQL as text: quoting, and where characters end in encodings.

pub mod encoding;
pub mod quote;
pub mod roles;
pub mod tokens;
