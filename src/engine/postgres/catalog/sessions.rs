//! Who answers the queries of the catalogs: one session, and others in its snapshot when there is much to read.

use std::sync::Arc;

use tokio_postgres::error::SqlState;

use crate::engine::postgres::connect::session::{Query, Row, Session};
use crate::engine::postgres::connect::sql_state;
use crate::error::Result;

/// How much of a divisible query each helper does, and the leader, which has all the others to answer too.
const SHARES: [usize; 2] = [3, 2];

/// The leader, which holds the locks, and others that help where the server has most to do.
///
/// The server's functions that print definitions lock the table that they print of for a moment. A helper can wait
/// there behind someone who waits for the leader, and the leader's side waits for the helper: the server sees no
/// deadlock. So helpers do not wait for long, and what one did not answer the leader does, who has the locks.
#[derive(Clone, Copy)]
pub struct Sessions<'a> {
    /// Holds the locks.
    pub leader: &'a Session,
    /// Help.
    pub helpers: &'a [Arc<Session>],
}

impl<'a> Sessions<'a> {
    /// Lets the helpers begin.
    pub(super) async fn begin(self) -> Result<()> {
        self.tell_helpers("SAVEPOINT helping; SET LOCAL lock_timeout TO '1s'")
            .await
    }

    /// Brings the helpers back to where they began, also when they failed.
    pub(super) async fn end(self) -> Result<()> {
        self.tell_helpers("ROLLBACK TO SAVEPOINT helping; RELEASE SAVEPOINT helping")
            .await
    }

    async fn tell_helpers(self, sql: &str) -> Result<()> {
        let told = self.helpers.iter().map(|helper| helper.run(sql));
        futures_util::future::try_join_all(told).await?;
        Ok(())
    }

    /// Cuts a query into parts and says who answers which.
    pub(super) fn share(self, query: Query) -> Vec<(&'a Session, Query)> {
        let [of_helper, of_leader] = SHARES;
        let mut shares = vec![of_helper; self.helpers.len() + 1];
        shares[0] = of_leader;
        let all = std::iter::once(self.leader).chain(self.helpers.iter().map(AsRef::as_ref));
        all.zip(query.divide(&shares)).collect()
    }

    /// The rows of one part.
    pub(super) async fn rows(self, (session, query): &(&Session, Query)) -> Result<Vec<Row>> {
        match session.rows(query).await {
            Err(error) if !std::ptr::eq(*session, self.leader) && gave_way(&error) => self.leader.rows(query).await,
            answer => answer,
        }
    }
}

/// Whether a helper did not get a lock, or had failed to before.
fn gave_way(error: &anyhow::Error) -> bool {
    let code = sql_state(error);
    code == Some(&SqlState::LOCK_NOT_AVAILABLE) || code == Some(&SqlState::IN_FAILED_SQL_TRANSACTION)
}
