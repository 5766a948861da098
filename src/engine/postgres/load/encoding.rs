//! The statements of a script, whose encoding may change from one to the next, over a session that sends one encoding.

use anyhow::Context as _;
use tokio_postgres::Client;

use crate::error::Result;
use crate::raw_text;

/// The encoding of a script, and whether the server knows how to convert it.
#[derive(Clone, Debug)]
pub(super) struct Encoding {
    /// `client_encoding` of the script.
    pub(super) name: String,
    /// The database takes any bytes, or those of an encoding that does not become UTF-8.
    pub(super) any_bytes: bool,
}

impl Encoding {
    /// That of a database whose encoding is `server`.
    pub(super) fn of_server(server: &str) -> Encoding {
        Encoding {
            name: server.to_owned(),
            any_bytes: matches!(server, "SQL_ASCII" | "MULE_INTERNAL"),
        }
    }

    /// The `client_encoding` of the session.
    pub(super) fn of_session(&self) -> &'static str {
        match self.any_bytes {
            true => "SQL_ASCII",
            false => "UTF8",
        }
    }

    /// Text in this encoding as the session sends it.
    pub(super) async fn text(&self, client: &Client, sql: &[u8]) -> Result<String> {
        let plain = sql.is_ascii() || self.name == "UTF8";
        if let (true, Ok(text)) = (plain, std::str::from_utf8(sql)) {
            return Ok(text.to_owned());
        }
        if self.any_bytes {
            return Ok(raw_text::decode(sql));
        }
        let row = client
            .query_one(
                "SELECT pg_catalog.convert_from($1, $2::text::name)",
                &[&sql, &self.name],
            )
            .await
            .with_context(|| format!("converting a statement from {}", self.name))?;
        Ok(row.try_get(0)?)
    }
}
