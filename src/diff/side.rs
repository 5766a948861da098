//! One of the two states that are compared, as both engines tell it.

use std::collections::BTreeMap;

use super::report::Named;
use crate::manifest::LargeObjects;

/// Schema and name of a table.
pub type TableName = (String, String);

/// A state of a database, without its rows.
#[derive(Clone, Debug, Default)]
pub struct Side {
    /// What it is.
    pub named: Named,
    /// All that has a definition.
    pub objects: Vec<Object>,
    /// The tables that have rows.
    pub tables: BTreeMap<TableName, Table>,
    /// Where each sequence stands.
    pub sequences: BTreeMap<TableName, String>,
    /// Extensions with their versions, where they are known.
    pub extensions: Option<BTreeMap<String, String>>,
    /// The large objects, where they are known.
    pub large_objects: Option<LargeObjects>,
}

/// What has a definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Its type.
    pub kind: String,
    /// Its schema.
    pub schema: Option<String>,
    /// Its name.
    pub name: String,
    /// Its definition.
    pub definition: String,
    /// The table that it is, or that it belongs to.
    pub table: Option<TableName>,
}

/// The rows of a table, all together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// How many there are.
    pub rows: u64,
    /// Their hash, where it is known.
    pub hash: Option<String>,
    /// The columns that went into the hash, in their order.
    pub hashed: Vec<String>,
    /// All columns that are stored.
    pub columns: Vec<String>,
    /// The columns of its primary key.
    pub key: Vec<String>,
    /// Of a partition the partitioned table at the root.
    pub partition_of: Option<String>,
}
