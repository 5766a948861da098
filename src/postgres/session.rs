//! One connection inside the dump's snapshot: bulk queries, and rows by column name.

use anyhow::Context as _;
use bytes::{Bytes, BytesMut};
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, WasNull, to_sql_checked};

use super::connect::Canceller;
use crate::archive::raw;
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
}

/// A query with its parameters: `$1`, `$2` … in order.
#[derive(Clone, Debug)]
pub struct Query {
    sql: String,
    params: Vec<Param>,
}

#[derive(Clone, Debug)]
enum Param {
    Oids(Vec<u32>),
    Text(RawText),
    Texts(Vec<RawText>),
}

/// Text that is sent in its own encoding.
#[derive(Clone, Debug)]
struct RawText(String);

impl ToSql for RawText {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> std::result::Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        out.extend_from_slice(&raw::encode(&self.0));
        Ok(IsNull::No)
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::TEXT
    }

    to_sql_checked!();
}

impl Query {
    /// A query without parameters yet.
    pub fn new(sql: impl Into<String>) -> Self {
        Query {
            sql: sql.into(),
            params: Vec::new(),
        }
    }

    /// Adds a parameter of type `oid[]`.
    #[must_use]
    pub fn oids(mut self, oids: impl IntoIterator<Item = u32>) -> Self {
        self.params.push(Param::Oids(oids.into_iter().collect()));
        self
    }

    /// Adds a parameter of type `text`.
    #[must_use]
    pub fn text(mut self, text: impl Into<String>) -> Self {
        self.params.push(Param::Text(RawText(text.into())));
        self
    }

    /// Adds a parameter of type `text[]`.
    #[must_use]
    pub fn texts(mut self, texts: impl IntoIterator<Item = String>) -> Self {
        self.params.push(Param::Texts(texts.into_iter().map(RawText).collect()));
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
    /// Wraps a connected client; [`super::connect::connect`] makes them.
    #[must_use]
    pub fn new(client: tokio_postgres::Client, canceller: Canceller) -> Self {
        Session { client, canceller }
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

    /// Runs `query` in one round trip; calls that are awaited together are pipelined.
    ///
    /// # Errors
    /// Whatever the server says.
    pub async fn rows(&self, query: &Query) -> Result<Vec<Row>> {
        let params: Vec<_> = query.params.iter().map(Param::typed).collect();
        let rows = self.client.query_typed(&query.sql, &params).await?;
        Ok(rows.into_iter().map(Row).collect())
    }

    /// Runs one or more statements that return no rows.
    ///
    /// # Errors
    /// Whatever the server says.
    pub async fn run(&self, sql: &str) -> Result<()> {
        Ok(self.client.batch_execute(sql).await?)
    }
}

/// One row; columns are asked for by name. A wrong name or type is an error, not a panic.
pub struct Row(tokio_postgres::Row);

/// Text of any encoding, as [`raw`] keeps it. Reads `text`, `name`, `varchar`, `pg_node_tree` and the like.
struct Text(String);

impl<'a> FromSql<'a> for Text {
    fn from_sql(_: &Type, bytes: &'a [u8]) -> std::result::Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Text(raw::decode(bytes)))
    }

    fn accepts(ty: &Type) -> bool {
        matches!(
            *ty,
            Type::TEXT | Type::NAME | Type::VARCHAR | Type::BPCHAR | Type::UNKNOWN | Type::CSTRING
        )
    }
}

impl Row {
    fn get<'a, T: FromSql<'a>>(&'a self, column: &str) -> Result<T> {
        self.0
            .try_get(column)
            .with_context(|| format!("column {column} of a catalog query"))
    }

    fn nullable<'a, T: FromSql<'a>>(&'a self, column: &str) -> Result<Option<T>> {
        match self.0.try_get(column) {
            Ok(value) => Ok(value),
            Err(error) if std::error::Error::source(&error).is_some_and(|e| e.is::<WasNull>()) => Ok(None),
            Err(error) => Err(error).with_context(|| format!("column {column} of a catalog query")),
        }
    }

    /// A `text` or `name` that is never NULL.
    ///
    /// # Errors
    /// The column is missing, NULL or of another type: so for all of these.
    pub fn text(&self, column: &str) -> Result<String> {
        Ok(self.get::<Text>(column)?.0)
    }

    /// A `text` or `name` that may be NULL.
    pub fn opt_text(&self, column: &str) -> Result<Option<String>> {
        Ok(self.nullable::<Text>(column)?.map(|text| text.0))
    }

    /// A `text[]` or `name[]`; NULL is the empty list.
    pub fn texts(&self, column: &str) -> Result<Vec<String>> {
        let texts = self.nullable::<Vec<Text>>(column)?.unwrap_or_default();
        Ok(texts.into_iter().map(|text| text.0).collect())
    }

    /// A `text[]` or `name[]`; NULL is not the empty list.
    pub fn texts_or_null(&self, column: &str) -> Result<Option<Vec<String>>> {
        let texts = self.nullable::<Vec<Text>>(column)?;
        Ok(texts.map(|texts| texts.into_iter().map(|text| text.0).collect()))
    }

    /// A `text[]` whose elements may be NULL; NULL is the empty list.
    pub fn opt_texts(&self, column: &str) -> Result<Vec<Option<String>>> {
        let texts = self.nullable::<Vec<Option<Text>>>(column)?.unwrap_or_default();
        Ok(texts.into_iter().map(|text| text.map(|text| text.0)).collect())
    }

    /// An `oid` (cast `regproc` and the like to `oid` in the query).
    pub fn oid(&self, column: &str) -> Result<u32> {
        self.get(column)
    }

    /// An `oid` that may be NULL.
    pub fn opt_oid(&self, column: &str) -> Result<Option<u32>> {
        self.nullable(column)
    }

    /// An `oid[]` or `oidvector`; NULL is the empty list.
    pub fn oids(&self, column: &str) -> Result<Vec<u32>> {
        Ok(self.nullable(column)?.unwrap_or_default())
    }

    /// A `boolean`.
    pub fn bool(&self, column: &str) -> Result<bool> {
        self.get(column)
    }

    /// A `boolean` that may be NULL.
    pub fn opt_bool(&self, column: &str) -> Result<Option<bool>> {
        self.nullable(column)
    }

    /// An `int4` (cast `int2` in the query).
    pub fn int(&self, column: &str) -> Result<i32> {
        self.get(column)
    }

    /// An `int4` that may be NULL.
    pub fn opt_int(&self, column: &str) -> Result<Option<i32>> {
        self.nullable(column)
    }

    /// An `int4[]`; NULL is the empty list.
    pub fn ints(&self, column: &str) -> Result<Vec<i32>> {
        Ok(self.nullable(column)?.unwrap_or_default())
    }

    /// An `int8`.
    pub fn long(&self, column: &str) -> Result<i64> {
        self.get(column)
    }

    /// An `int8` that may be NULL.
    pub fn opt_long(&self, column: &str) -> Result<Option<i64>> {
        self.nullable(column)
    }

    /// A `bytea`.
    pub fn bytes(&self, column: &str) -> Result<Bytes> {
        Ok(Bytes::copy_from_slice(self.get::<&[u8]>(column)?))
    }

    /// A `"char"`; NUL for the empty one.
    pub fn char(&self, column: &str) -> Result<char> {
        Ok(char::from(self.get::<i8>(column)?.cast_unsigned()))
    }
}
