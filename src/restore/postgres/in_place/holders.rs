//! Sessions that hold what a restore in place needs.

use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Row};

use crate::engine::postgres::any_text::AnyText;
use crate::error::Result;

/// A session, or a prepared transaction, which has none.
pub struct Holder {
    /// Number of its server process.
    pub pid: i32,
    application: String,
    user: String,
}

impl Holder {
    /// Of a row with the number of the process, its `application_name` and its role.
    ///
    /// # Errors
    /// They are not there.
    pub fn of(row: &Row) -> Result<Holder> {
        Ok(Holder {
            pid: row.try_get(0)?,
            application: row.try_get::<_, AnyText>(1)?.0,
            user: row.try_get::<_, AnyText>(2)?.0,
        })
    }

    /// Ends the session; says whether there was one. It stays where the role may not do that.
    ///
    /// # Errors
    /// The server does not answer.
    pub async fn end(&self, client: &Client) -> Result<bool> {
        let ended = client
            .query_one("SELECT pg_catalog.pg_terminate_backend($1)", &[&self.pid])
            .await;
        match ended {
            Ok(row) => Ok(row.try_get(0)?),
            Err(error) if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// All of them, for people.
#[must_use]
pub fn names(holders: &[Holder]) -> String {
    let name = |holder: &Holder| match holder.pid {
        0 => "a prepared transaction".to_owned(),
        pid => format!("{:?} (role {}, process {pid})", holder.application, holder.user),
    };
    holders.iter().map(name).collect::<Vec<_>>().join(", ")
}
