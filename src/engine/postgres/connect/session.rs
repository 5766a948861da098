//! One connection inside the dump's snapshot, and the queries that it answers.

use futures_util::TryStreamExt as _;
use tokio_postgres::types::{ToSql, Type};

use super::{Brake, Canceller, Held, Refused};
use crate::engine::postgres::answer::Answer;
pub use crate::engine::postgres::answer::Row;
use crate::engine::postgres::any_text::AnyText;
use crate::engine::postgres::requests::Requests;
use crate::error::Result;

/// What keeps the server from ending a transaction that idles on purpose; not every version has all of it.
pub const NEVER_TIMED_OUT: &str = "\
SET LOCAL idle_in_transaction_session_timeout TO 0;
SET LOCAL statement_timeout TO 0;
SELECT pg_catalog.set_config(name, '0', true) FROM pg_catalog.pg_settings WHERE name = 'transaction_timeout'";

/// A connected client that answers the engine's queries.
pub struct Session {
    client: tokio_postgres::Client,
    canceller: Canceller,
    brake: Brake,
    requests: Requests,
    major: u32,
}

/// A query with its parameters: `$1`, `$2` … in order.
#[derive(Clone, Debug)]
pub struct Query {
    sql: String,
    params: Vec<Param>,
    /// Sessions may share it, each with a part of the OIDs of `$1`.
    divisible: bool,
}

#[derive(Clone, Debug)]
enum Param {
    Oids(Vec<u32>),
    Text(AnyText),
    Texts(Vec<AnyText>),
}

impl Query {
    /// A query without parameters yet.
    pub fn new(sql: impl Into<String>) -> Self {
        Query {
            sql: sql.into(),
            params: Vec::new(),
            divisible: false,
        }
    }

    /// Adds a parameter of type `oid[]`.
    #[must_use]
    pub fn oids(mut self, oids: impl IntoIterator<Item = u32>) -> Self {
        self.params.push(Param::Oids(oids.into_iter().collect()));
        self
    }

    /// Says that several sessions may answer the query, each for a part of the OIDs of `$1`: its rows are ordered by
    /// them first, so that the parts one after the other are the whole.
    #[must_use]
    pub fn divisible(mut self) -> Self {
        self.divisible = true;
        self
    }

    /// The same query in parts that follow each other, each with about its share of the OIDs; a query that is not
    /// divisible is one part.
    #[must_use]
    pub fn divide(mut self, shares: &[usize]) -> Vec<Query> {
        let total: usize = shares.iter().sum();
        let Some(Param::Oids(oids)) = self.params.first_mut().filter(|_| self.divisible && total > 0) else {
            return vec![self];
        };
        let mut oids = std::mem::take(oids);
        oids.sort_unstable();
        let (mut parts, mut share_end, mut from) = (Vec::new(), 0, 0);
        for share in shares {
            share_end += share;
            let to = oids.len() * share_end / total;
            let mut part = self.clone();
            if let (Some(Param::Oids(own)), Some(slice)) = (part.params.first_mut(), oids.get(from..to)) {
                own.extend_from_slice(slice);
            }
            parts.push(part);
            from = to;
        }
        parts
    }

    /// Adds a parameter of type `text`.
    #[must_use]
    pub fn text(mut self, text: impl Into<String>) -> Self {
        self.params.push(Param::Text(AnyText(text.into())));
        self
    }

    /// Adds a parameter of type `text[]`.
    #[must_use]
    pub fn texts(mut self, texts: impl IntoIterator<Item = String>) -> Self {
        self.params.push(Param::Texts(texts.into_iter().map(AnyText).collect()));
        self
    }
}

impl Param {
    fn typed(&self) -> (&(dyn ToSql + Sync), Type) {
        match self {
            Param::Oids(oids) => (oids, Type::OID_ARRAY),
            Param::Text(text) => (text, Type::TEXT),
            Param::Texts(texts) => (texts, Type::TEXT_ARRAY),
        }
    }
}

impl Session {
    /// Wraps a client that is connected to a server of the version `major`; [`super::connect`] makes them.
    #[must_use]
    pub fn new(client: tokio_postgres::Client, canceller: Canceller, brake: Brake, major: u32) -> Self {
        Session {
            client,
            canceller,
            brake,
            requests: Requests::default(),
            major,
        }
    }

    /// The client itself, for COPY and control statements.
    #[must_use]
    pub fn client(&self) -> &tokio_postgres::Client {
        &self.client
    }

    /// The client alone, for what is not about a dump.
    #[must_use]
    pub fn into_client(self) -> tokio_postgres::Client {
        self.client
    }

    /// Cancels what this session's server process is doing.
    #[must_use]
    pub fn canceller(&self) -> &Canceller {
        &self.canceller
    }

    /// Lets the server wait with what it sends, until what is returned is dropped.
    pub fn read_no_further(&self) -> Held {
        self.brake.hold()
    }

    /// Runs `query` in one round trip; calls that are awaited together are pipelined.
    ///
    /// # Errors
    /// Whatever the server says.
    pub async fn rows(&self, query: &Query) -> Result<Vec<Row>> {
        let request = self.requests.begin();
        let answer = self.answer(query).await;
        request.tell(answer).await
    }

    async fn answer(&self, query: &Query) -> Result<Vec<Row>> {
        let params: Vec<_> = query.params.iter().map(Param::typed).collect();
        let refused = |error| self.refused(error, &query.sql);
        let rows = self.client.query_typed_raw(&query.sql, params).await;
        let mut rows = std::pin::pin!(rows.map_err(refused)?);
        let mut answer = Answer::default();
        while let Some(row) = rows.try_next().await.map_err(refused)? {
            answer.push(&row)?;
        }
        Ok(answer.rows())
    }

    /// Runs one or more statements that return no rows.
    ///
    /// # Errors
    /// Whatever the server says.
    pub async fn run(&self, sql: &str) -> Result<()> {
        let request = self.requests.begin();
        let ran = self.client.batch_execute(sql).await;
        request.tell(ran.map_err(|error| self.refused(error, sql))).await
    }

    /// An error of the server with the statement that it is the answer to.
    pub fn refused(&self, error: tokio_postgres::Error, statement: &str) -> anyhow::Error {
        Refused::because(error, statement, self.major)
    }

    /// An error of the server that came in the middle of the rows of `table`.
    pub fn refused_rows(&self, error: tokio_postgres::Error, statement: &str, table: &str) -> anyhow::Error {
        Refused::because_of_rows(error, statement, self.major, table)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_query_are_the_whole_in_the_order_of_the_oids() {
        let query = Query::new("SELECT").oids([5, 3, 9, 1, 7]);
        assert_eq!(query.clone().divide(&[2, 3]).len(), 1, "it did not say that it may");
        let parts = query.divisible().divide(&[2, 3, 3]);
        let oids: Vec<_> = parts
            .iter()
            .map(|part| match part.params.first() {
                Some(Param::Oids(oids)) => oids.clone(),
                _ => Vec::new(),
            })
            .collect();
        assert_eq!(oids, [vec![1], vec![3, 5], vec![7, 9]]);
    }
}
