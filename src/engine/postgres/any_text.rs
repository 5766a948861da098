//! Text of any encoding on its way from and to the driver, which takes and gives UTF-8 only.

use std::error::Error;

use bytes::BytesMut;
use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};

use crate::error::Result;
use crate::raw_text;

/// Text as [`raw_text`] keeps it: names may be in any encoding, and a SQL_ASCII database has any bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AnyText(pub String);

impl AnyText {
    /// Texts as a parameter of type `text[]`.
    pub fn all<'a>(texts: impl IntoIterator<Item = &'a str>) -> Vec<AnyText> {
        texts.into_iter().map(|text| AnyText(text.to_owned())).collect()
    }
}

/// Reads `text`, `name`, `varchar`, `pg_node_tree` and the like.
impl<'a> FromSql<'a> for AnyText {
    fn from_sql(_: &Type, bytes: &'a [u8]) -> std::result::Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(AnyText(raw_text::decode(bytes)))
    }

    fn accepts(ty: &Type) -> bool {
        matches!(
            *ty,
            Type::TEXT | Type::NAME | Type::VARCHAR | Type::BPCHAR | Type::UNKNOWN | Type::CSTRING
        )
    }
}

impl ToSql for AnyText {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> std::result::Result<IsNull, Box<dyn Error + Sync + Send>> {
        out.extend_from_slice(&raw_text::encode(&self.0));
        Ok(IsNull::No)
    }

    fn accepts(ty: &Type) -> bool {
        matches!(*ty, Type::TEXT | Type::NAME)
    }

    to_sql_checked!();
}

/// The first column of all rows, which is text.
///
/// # Errors
/// It is not.
pub fn texts(rows: &[Row]) -> Result<Vec<String>> {
    let text = |row: &Row| Ok(row.try_get::<_, AnyText>(0)?.0);
    rows.iter().map(text).collect()
}
