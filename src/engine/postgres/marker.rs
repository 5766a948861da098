//! How databases that a restore made or set aside are told apart from others: by their comment.
//!
//! The server is the only witness of a restore that was killed, so what a database is stands on the
//! database itself, written in the same transaction that makes it so. Names are for people.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tokio_postgres::Client;

use super::target::literal;
use crate::engine::postgres::any_text::AnyText;
use crate::error::Result;
use crate::manifest::BackupId;

/// What a marked database is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// A restore is loading it, or was killed while it did.
    Unfinished,
    /// It was live until a restore or an undo replaced it.
    Kept,
    /// A drill has restored a backup into it, to drop it again, or was killed while it did.
    Drill,
}

/// The comment of a database that is not (or no longer) live.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    /// Version of this format.
    pub snapback: u32,
    /// What the database is.
    pub state: State,
    /// The live name that it is to take, or had.
    pub of: String,
    /// When it was created, or set aside.
    pub at: DateTime<Utc>,
    /// The job whose backup was restored.
    pub job: String,
    /// The backup that was restored (for `Kept`: that replaced it).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<BackupId>,
    /// The safety snapshot of what it holds; without one it may be the only copy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub safety: Option<BackupId>,
    /// The comment that it had when it was live, and gets back when it is live again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

/// A database with its marker.
#[derive(Clone, Debug)]
pub struct Marked {
    /// Its name now.
    pub name: String,
    /// Its OID.
    pub oid: u32,
    /// Its size in bytes, where the role may ask for it.
    pub size: Option<i64>,
    /// What it is.
    pub marker: Marker,
}

/// Version of the comment's format.
pub const VERSION: u32 = 1;

impl Marker {
    /// The statement that marks `database` (quoted).
    #[must_use]
    pub fn statement(&self, database: &str) -> String {
        // A marker has nothing that JSON cannot hold, so the fallback is never reached.
        let json = serde_json::to_string(self).unwrap_or_default();
        format!("COMMENT ON DATABASE {database} IS {}", literal(&in_ascii(&json)))
    }

    /// Reads a marker.
    fn parse(comment: &str) -> Option<Marker> {
        serde_json::from_str::<Marker>(comment)
            .ok()
            .filter(|marker| marker.snapback <= VERSION)
    }
}

/// JSON without any character that some encoding lacks: the comment of a database lies beside those of all others, and in the
/// encoding of none.
fn in_ascii(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        match c.is_ascii() {
            true => text.push(c),
            false => text.extend(c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}"))),
        }
    }
    text
}

/// All marked databases of the server whose live name is `of`, the newest first.
///
/// # Errors
/// The server does not answer.
pub async fn list(client: &Client, of: &str) -> Result<Vec<Marked>> {
    let mut found: Vec<_> = all(client).await?;
    found.retain(|marked| marked.marker.of == of);
    Ok(found)
}

/// All marked databases of the server, the newest first.
///
/// # Errors
/// The server does not answer.
pub async fn all(client: &Client) -> Result<Vec<Marked>> {
    // The comments of other databases may be in any encoding: only their bytes are compared.
    let rows = client
        .query(
            "SELECT datname::text, oid, \
             CASE WHEN pg_catalog.has_database_privilege(oid, 'CONNECT') THEN pg_catalog.pg_database_size(oid) END, \
             pg_catalog.shobj_description(oid, 'pg_database') FROM pg_catalog.pg_database \
             WHERE pg_catalog.shobj_description(oid, 'pg_database') COLLATE \"C\" BETWEEN '{' AND '{~'",
            &[],
        )
        .await?;
    let mut found = Vec::new();
    for row in rows {
        let comment: Option<AnyText> = row.try_get(3)?;
        if let Some(marker) = comment.and_then(|it| Marker::parse(&it.0)) {
            found.push(Marked {
                name: row.try_get::<_, AnyText>(0)?.0,
                oid: row.try_get(1)?,
                size: row.try_get(2)?,
                marker,
            });
        }
    }
    found.sort_by(|a, b| b.marker.at.cmp(&a.marker.at).then_with(|| b.name.cmp(&a.name)));
    Ok(found)
}

/// `<database>_<what>_<UTC time>`, shortened so that PostgreSQL's 63 bytes hold it: what is cut off is the end
/// of the database's own name, which the marker has in full. When it is taken, a number is added.
#[must_use]
pub fn name(database: &str, what: &str, at: DateTime<Utc>, taken: impl Fn(&str) -> bool) -> String {
    let stamp = format!("_{what}_{}", BackupId::at(at));
    let mut suffix = stamp.clone();
    let mut number = 1;
    loop {
        let mut end = database.len().min(MAX_NAME - suffix.len());
        while !database.is_char_boundary(end) {
            end -= 1;
        }
        let name = format!("{}{suffix}", &database[..end]);
        if !taken(&name) {
            return name;
        }
        number += 1;
        suffix = format!("{stamp}_{number}");
    }
}

/// NAMEDATALEN - 1: a longer name would be cut by the server, silently.
pub const MAX_NAME: usize = 63;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raw_text;

    fn time() -> DateTime<Utc> {
        "2026-11-20T02:00:00Z".parse().unwrap()
    }

    #[test]
    fn names_fit_and_do_not_collide() {
        assert_eq!(name("app", "before", time(), |_| false), "app_before_20261120T020000Z");
        let taken = |name: &str| name == "app_before_20261120T020000Z";
        assert_eq!(name("app", "before", time(), taken), "app_before_20261120T020000Z_2");
        let long = name(&"ü".repeat(31), "restoring", time(), |_| false);
        assert!(
            long.len() <= 63 && long.ends_with("_restoring_20261120T020000Z"),
            "{long}"
        );
    }

    #[test]
    fn a_marker_survives_the_comment() {
        let marker = Marker {
            snapback: VERSION,
            state: State::Kept,
            of: "it's \\ \"odd\"".to_owned(),
            at: time(),
            job: "app".to_owned(),
            backup: Some(BackupId::at(time())),
            safety: None,
            // The byte is no UTF-8.
            comment: Some(raw_text::decode(b"ours: \xc3\xa9 \xe9")),
        };
        let statement = marker.statement("\"x\"");
        assert!(
            statement.is_ascii() && statement.starts_with("COMMENT ON DATABASE \"x\" IS E'{"),
            "{statement}"
        );
        let json = in_ascii(&serde_json::to_string(&marker).unwrap());
        assert_eq!(Marker::parse(&json), Some(marker));
        assert_eq!(Marker::parse("{\"name\": \"somebody else's\"}"), None);
    }
}
