//! How the values in the rows of a PostgreSQL backup are written. Text and hashes of rows can only be compared when both
//! were written in the same way.

use serde::{Deserialize, Serialize};

/// Settings by which equal values become equal text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spelling {
    /// `client_encoding`.
    pub encoding: String,
    /// `extra_float_digits`.
    pub extra_float_digits: String,
    /// `TimeZone`, in which `timestamptz` is written.
    pub time_zone: String,
    /// `bytea_output`.
    pub bytea_output: String,
    /// `lc_monetary`, where there are values of the type `money`: not every server has every locale.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lc_monetary: Option<String>,
}
