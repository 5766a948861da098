//! The rows of one answer, kept small: a large catalog has hundreds of thousands of them at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use tokio_postgres::types::{FromSql, Type};

use super::any_text::AnyText;
use crate::error::Result;

/// Bytes of values that are kept together: they are let go together, too.
const BLOCK: usize = 256 << 10;
/// The end of a value that is NULL.
const NULL: u32 = u32::MAX;

/// Rows as they arrive.
#[derive(Default)]
pub(super) struct Answer {
    blocks: Vec<Block>,
}

/// Values of some rows, one after the other.
struct Block {
    columns: Arc<[(Box<str>, Type)]>,
    bytes: Vec<u8>,
    /// Where each value lies in `bytes`; a NULL ends at [`NULL`].
    places: Vec<(u32, u32)>,
    /// The column that is likely to be asked for next: they are read in the order of the query.
    next: AtomicUsize,
}

/// A value as the server sent it.
struct Sent<'a>(&'a [u8]);

impl<'a> FromSql<'a> for Sent<'a> {
    fn from_sql(_: &Type, bytes: &'a [u8]) -> std::result::Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Sent(bytes))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

impl Answer {
    /// Adds a row.
    pub(super) fn push(&mut self, row: &tokio_postgres::Row) -> Result<()> {
        let block = match self.blocks.pop() {
            Some(block) if block.bytes.len() < BLOCK => block,
            full => {
                let columns = full.as_ref().map(|block| Arc::clone(&block.columns));
                self.blocks.extend(full);
                Block::new(columns.unwrap_or_else(|| columns_of(row)))
            }
        };
        self.blocks.push(block.with(row)?);
        Ok(())
    }

    /// The rows that were added.
    pub(super) fn rows(self) -> Vec<Row> {
        let blocks = self.blocks.into_iter().map(Arc::new);
        blocks
            .flat_map(|block| {
                let rows = block.places.len().checked_div(block.columns.len()).unwrap_or(0);
                (0..rows).map(move |at| Row {
                    block: Arc::clone(&block),
                    at,
                })
            })
            .collect()
    }
}

fn columns_of(row: &tokio_postgres::Row) -> Arc<[(Box<str>, Type)]> {
    let columns = row.columns().iter();
    columns
        .map(|column| (column.name().into(), column.type_().clone()))
        .collect()
}

impl Block {
    fn new(columns: Arc<[(Box<str>, Type)]>) -> Self {
        Block {
            columns,
            bytes: Vec::new(),
            places: Vec::new(),
            next: AtomicUsize::new(0),
        }
    }

    fn with(mut self, row: &tokio_postgres::Row) -> Result<Self> {
        for at in 0..self.columns.len() {
            let from = u32::try_from(self.bytes.len())?;
            let to = match row.try_get::<_, Option<Sent>>(at)? {
                None => NULL,
                Some(Sent(bytes)) => {
                    self.bytes.extend_from_slice(bytes);
                    u32::try_from(self.bytes.len())?
                }
            };
            self.places.push((from, to));
        }
        Ok(self)
    }

    /// Where the column `name` is, and its type.
    fn column(&self, name: &str) -> Option<(usize, &Type)> {
        let expected = self.next.load(Ordering::Relaxed);
        let is_it = |at: &usize| self.columns.get(*at).is_some_and(|(column, _)| **column == *name);
        let at = Some(expected)
            .filter(is_it)
            .or_else(|| (0..self.columns.len()).find(is_it))?;
        self.next.store(at + 1, Ordering::Relaxed);
        Some((at, &self.columns.get(at)?.1))
    }
}

/// One row; columns are asked for by name. A wrong name or type is an error, not a panic.
pub struct Row {
    block: Arc<Block>,
    at: usize,
}

impl Row {
    fn get<'a, T: FromSql<'a>>(&'a self, column: &str) -> Result<T> {
        self.nullable(column)?
            .with_context(|| format!("column {column} of a catalog query is NULL"))
    }

    fn nullable<'a, T: FromSql<'a>>(&'a self, column: &str) -> Result<Option<T>> {
        let block = &self.block;
        let Some((at, of_type)) = block.column(column) else {
            bail!("a catalog query has no column {column}");
        };
        if !T::accepts(of_type) {
            bail!("column {column} of a catalog query is a {of_type}");
        }
        let (from, to) = *block
            .places
            .get(self.at * block.columns.len() + at)
            .context("a row that is not there")?;
        if to == NULL {
            return Ok(None);
        }
        let bytes = block.bytes.get(from as usize..to as usize).unwrap_or_default();
        let value = T::from_sql(of_type, bytes).map_err(|error| anyhow::anyhow!(error));
        Ok(Some(
            value.with_context(|| format!("column {column} of a catalog query"))?,
        ))
    }

    /// A `text` or `name` that is never NULL.
    ///
    /// # Errors
    /// The column is missing, NULL or of another type: so for all of these.
    pub fn text(&self, column: &str) -> Result<String> {
        Ok(self.get::<AnyText>(column)?.0)
    }

    /// A `text` or `name` that may be NULL.
    pub fn opt_text(&self, column: &str) -> Result<Option<String>> {
        Ok(self.nullable::<AnyText>(column)?.map(|text| text.0))
    }

    /// A `text[]` or `name[]`; NULL is the empty list.
    pub fn texts(&self, column: &str) -> Result<Vec<String>> {
        let texts = self.nullable::<Vec<AnyText>>(column)?.unwrap_or_default();
        Ok(texts.into_iter().map(|text| text.0).collect())
    }

    /// A `text[]` or `name[]`; NULL is not the empty list.
    pub fn texts_or_null(&self, column: &str) -> Result<Option<Vec<String>>> {
        let texts = self.nullable::<Vec<AnyText>>(column)?;
        Ok(texts.map(|texts| texts.into_iter().map(|text| text.0).collect()))
    }

    /// A `text[]` whose elements may be NULL; NULL is the empty list.
    pub fn opt_texts(&self, column: &str) -> Result<Vec<Option<String>>> {
        let texts = self.nullable::<Vec<Option<AnyText>>>(column)?.unwrap_or_default();
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
