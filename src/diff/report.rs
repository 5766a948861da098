//! What a comparison found, as people and programs read it.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::manifest::{BackupId, LargeObjects};

/// In what two states of a database differ.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Diff {
    /// Whether they do.
    pub differ: bool,
    /// The state before.
    pub before: Named,
    /// The state after.
    pub after: Named,
    /// Objects that were added, removed or changed: tables, indexes, grants, settings and all else that has a definition.
    pub objects: Vec<ObjectChange>,
    /// All tables that have rows, on either side.
    pub tables: Vec<TableChange>,
    /// Sequences that stand elsewhere.
    pub sequences: Vec<ValueChange>,
    /// Extensions with another version.
    pub extensions: Vec<ValueChange>,
    /// The large objects, where they differ.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub large_objects: Option<LargeObjectsChange>,
    /// What a person should know of the comparison.
    pub notes: Vec<String>,
}

/// A state of a database.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Named {
    /// `backup`, `live` or `file`.
    pub kind: &'static str,
    /// The backup.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<BackupId>,
    /// Its label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The database, or the file.
    pub of: String,
    /// As of when it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<DateTime<Utc>>,
}

impl Named {
    /// What a person calls it.
    #[must_use]
    pub fn title(&self) -> String {
        match (&self.id, &self.label) {
            (Some(id), Some(label)) => format!("backup {id} \"{label}\""),
            (Some(id), None) => format!("backup {id}"),
            (None, _) if self.kind == "live" => format!("live {}", self.of),
            (None, _) => self.of.clone(),
        }
    }
}

/// How something differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// It is only in the state after.
    Added,
    /// It is only in the state before.
    Removed,
    /// It is in both, and not the same.
    Changed,
}

/// An object that is not the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ObjectChange {
    /// Its type, as `pg_restore -l` and `sqlite_schema` name it.
    pub kind: String,
    /// Its schema, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
    /// Its name.
    pub name: String,
    /// How it differs.
    pub change: Change,
    /// The lines of its definition that differ, with `-` and `+` before them.
    pub diff: String,
}

/// The rows of a table on both sides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TableChange {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Of a partition the partitioned table at the root.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partition_of: Option<String>,
    /// Its rows before; none where it was not there.
    pub rows_before: Option<u64>,
    /// Its rows after; none where it is gone.
    pub rows_after: Option<u64>,
    /// Whether it has the same contents.
    pub contents: Contents,
    /// The only columns that were compared, where the table has not the same on both sides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub columns: Option<Vec<String>>,
    /// How its rows differ, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<RowsDiff>,
}

impl TableChange {
    /// Whether anything about its rows is not the same.
    #[must_use]
    pub fn differs(&self) -> bool {
        self.contents != Contents::Same
    }

    /// Schema and name.
    #[must_use]
    pub fn full_name(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }
}

/// Whether two tables have the same rows, in whatever order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Contents {
    /// They have.
    Same,
    /// They have not, or only one of them is there.
    Different,
    /// They have no column in common, or nobody knows what one of them holds.
    Unknown,
}

/// A value that is not the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ValueChange {
    /// Whose.
    pub name: String,
    /// The value before; none where there was none.
    pub before: Option<String>,
    /// The value after.
    pub after: Option<String>,
}

/// All large objects together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LargeObjectsChange {
    /// Before.
    pub before: LargeObjects,
    /// After.
    pub after: LargeObjects,
}

/// How the rows of a table differ.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RowsDiff {
    /// The columns by which rows were taken for the same one; none where the table has no primary key on both sides.
    pub key: Vec<String>,
    /// Rows that are only in the state after.
    pub added: u64,
    /// Rows that are only in the state before.
    pub removed: u64,
    /// Rows with the same key and other values.
    pub changed: u64,
    /// The columns of the rows that are shown.
    pub columns: Vec<String>,
    /// The first of them.
    pub shown: Vec<RowChange>,
}

/// A row that is not the same. Values are as COPY or SQL writes them; `None` is NULL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RowChange {
    /// How it differs.
    pub change: Change,
    /// The row before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Vec<Option<String>>>,
    /// The row after.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Vec<Option<String>>>,
}

impl Diff {
    /// Says whether anything differs, once all is known.
    pub fn conclude(&mut self) {
        self.differ = !self.objects.is_empty()
            || !self.sequences.is_empty()
            || !self.extensions.is_empty()
            || self.large_objects.is_some()
            || self.differing().next().is_some();
    }

    /// The tables that differ.
    pub fn differing(&self) -> impl Iterator<Item = &TableChange> {
        self.tables.iter().filter(|table| table.differs())
    }

    /// Tables that are gone or have fewer rows, each with its rows before and after. Partitions count together with all others
    /// of their root. `may_lose` says of which that is fine.
    #[must_use]
    pub fn lost(&self, may_lose: &dyn Fn(&str, &str) -> bool) -> Vec<(String, u64, Option<u64>)> {
        let mut sums: BTreeMap<String, (u64, Option<u64>)> = BTreeMap::new();
        for table in self.tables.iter().filter(|table| !may_lose(&table.schema, &table.name)) {
            let root = table.partition_of.clone();
            let allowed = root.as_deref().and_then(|root| root.split_once('.'));
            if allowed.is_some_and(|(schema, name)| may_lose(schema, name)) {
                continue;
            }
            let sum = sums
                .entry(root.unwrap_or_else(|| table.full_name()))
                .or_insert((0, None));
            sum.0 += table.rows_before.unwrap_or(0);
            sum.1 = match (sum.1, table.rows_after) {
                (None, after) => after,
                (before, None) => before,
                (Some(before), Some(after)) => Some(before + after),
            };
        }
        let gone = self.tables.iter().filter(|table| table.rows_before.is_some());
        let before: Vec<String> = gone
            .map(|table| table.partition_of.clone().unwrap_or_else(|| table.full_name()))
            .collect();
        let is_lost = |(name, (before_rows, after)): &(String, (u64, Option<u64>))| {
            before.contains(name) && after.is_none_or(|after| after < *before_rows)
        };
        let lost = sums.into_iter().filter(is_lost);
        lost.map(|(name, (before, after))| (name, before, after)).collect()
    }
}
