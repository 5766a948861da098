//! The summary of a manifest: all of it but what grows with the database. Lists and retention read those of a whole history,
//! so nothing else of a manifest's text is kept while it is read.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::{BackupId, File, InPlace, Kind, Manifest, Part, Source, Verification};
use crate::seal::Algorithm;

/// A manifest without its tables, entries and warnings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// [`super::FORMAT_VERSION`] of the writer.
    pub format_version: u32,
    /// Id within the job.
    pub id: BackupId,
    /// Job that it belongs to.
    pub job: String,
    /// Why it was taken.
    pub kind: Kind,
    /// A name that a person gave it.
    #[serde(default)]
    pub label: Option<String>,
    /// Of a safety snapshot: the restore in place that it was taken for.
    #[serde(default)]
    pub in_place: Option<InPlace>,
    /// The database that it is of.
    pub source: Source,
    /// When the export started.
    pub started: DateTime<Utc>,
    /// When the archive was complete.
    pub finished: DateTime<Utc>,
    /// The archive.
    pub archive: File,
    /// Roles and tablespaces, where the role could read them.
    #[serde(default)]
    pub globals: Option<File>,
    /// How both are encrypted, if they are.
    #[serde(default)]
    encryption: Option<Encryption>,
    /// How the archive is compressed.
    #[serde(default)]
    compression: String,
    /// What counts of an SQLite database.
    #[serde(default)]
    sqlite: Option<Sqlite>,
    /// What the tables come to.
    tables: Totals,
    /// The checks that the backup passed before its manifest was written.
    #[serde(default)]
    pub verified: Vec<Verification>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Encryption {
    /// What may be known of the details, where they are sealed.
    #[serde(default)]
    details: Option<Sealed>,
}

/// [`super::Sealed`] without what is sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Sealed {
    tables: u64,
    rows: u64,
    bytes: u64,
}

/// [`super::SqliteFacts`], as far as it decides what a backup is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Sqlite {
    #[serde(default)]
    damaged: bool,
}

/// What all tables of a backup come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
struct Totals {
    tables: u64,
    rows: u64,
    bytes: u64,
}

impl Totals {
    fn add(&mut self, rows: u64, bytes: u64) {
        self.tables += 1;
        self.rows = self.rows.saturating_add(rows);
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

impl<'de> Deserialize<'de> for Totals {
    /// Adds the tables up as they come, and keeps none. What a summary was written as is a map of their sums.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Table {
            rows: u64,
            bytes: u64,
        }
        struct Adding;
        impl<'de> Visitor<'de> for Adding {
            type Value = Totals;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of tables")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut sums: A) -> Result<Totals, A::Error> {
                let mut totals = Totals::default();
                while let Some((name, sum)) = sums.next_entry::<String, u64>()? {
                    match name.as_str() {
                        "tables" => totals.tables = sum,
                        "rows" => totals.rows = sum,
                        "bytes" => totals.bytes = sum,
                        _ => {}
                    }
                }
                Ok(totals)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut tables: A) -> Result<Totals, A::Error> {
                let mut totals = Totals::default();
                while let Some(table) = tables.next_element::<Table>()? {
                    totals.add(table.rows, table.bytes);
                }
                Ok(totals)
            }
        }
        deserializer.deserialize_any(Adding)
    }
}

impl Summary {
    /// How many tables there are, sealed or not.
    #[must_use]
    pub fn table_count(&self) -> u64 {
        self.totals().tables
    }

    /// All rows of all tables, sealed or not.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.totals().rows
    }

    /// Whether archive and globals are encrypted.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        self.encryption.is_some()
    }

    /// Whether the database was damaged already when it was saved.
    #[must_use]
    pub fn is_of_damaged(&self) -> bool {
        self.sqlite.is_some_and(|facts| facts.damaged)
    }

    /// What its archive is stored as.
    #[must_use]
    pub fn archive_part(&self) -> Part {
        let algorithm = Algorithm::named(&self.compression).unwrap_or_default();
        Part::archive(self.source.engine, algorithm, self.is_encrypted())
    }

    /// How long the export took, in seconds.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        (self.finished - self.started).as_seconds_f64()
    }

    fn totals(&self) -> Totals {
        let sealed = self.encryption.as_ref().and_then(|encryption| encryption.details);
        sealed.map_or(self.tables, |sealed| Totals {
            tables: sealed.tables,
            rows: sealed.rows,
            bytes: sealed.bytes,
        })
    }
}

impl From<&Manifest> for Summary {
    fn from(manifest: &Manifest) -> Self {
        let mut tables = Totals::default();
        for table in &manifest.tables {
            tables.add(table.rows, table.bytes);
        }
        let details = |encryption: &super::Encryption| {
            encryption.details.as_ref().map(|sealed| Sealed {
                tables: sealed.tables,
                rows: sealed.rows,
                bytes: sealed.bytes,
            })
        };
        Summary {
            format_version: manifest.format_version,
            id: manifest.id,
            job: manifest.job.clone(),
            kind: manifest.kind,
            label: manifest.label.clone(),
            in_place: manifest.in_place.clone(),
            source: manifest.source.clone(),
            started: manifest.started,
            finished: manifest.finished,
            archive: manifest.archive.clone(),
            globals: manifest.globals.clone(),
            encryption: manifest.encryption.as_ref().map(|encryption| Encryption {
                details: details(encryption),
            }),
            compression: manifest.compression.clone(),
            sqlite: manifest.sqlite.as_ref().map(|facts| Sqlite { damaged: facts.damaged }),
            tables,
            verified: manifest.verified.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(details: &serde_json::Value) -> Manifest {
        serde_json::from_value(serde_json::json!({
            "format_version": 1, "id": "20261120T020000Z", "job": "app", "kind": "manual", "label": "before",
            "source": { "host": "db", "port": 5432, "database": "app", "system_identifier": 7, "database_oid": 16384,
                        "server_version_num": 180_001, "server_version": "18.1" },
            "started": "2026-11-20T02:00:00Z", "finished": "2026-11-20T02:00:08Z", "snapback": "0",
            "archive": { "name": "a", "bytes": 1, "sha256": "" },
            "compression": "gzip", "entries": { "TABLE": 2 },
            "tables": [
                { "schema": "public", "name": "a", "rows": 3, "bytes": 30, "hash": "x" },
                { "schema": "public", "name": "b", "partition_of": "public.p", "rows": 4, "bytes": 40, "hash": "y" },
            ],
            "schema_hash": "", "warnings": ["w"], "verified": [{ "how": "written", "at": "2026-11-20T02:00:09Z" }],
            "encryption": details,
        }))
        .unwrap()
    }

    #[test]
    fn what_is_read_of_the_text_is_what_the_whole_manifest_says() {
        let sealed = serde_json::json!({ "recipients": ["age1x"], "details": { "tables": 9, "rows": 8, "bytes": 7, "age": "-" } });
        for (details, numbers) in [(serde_json::Value::Null, (2, 7)), (sealed, (9, 8))] {
            let whole = manifest(&details);
            let text = serde_json::to_vec_pretty(&whole).unwrap();
            let summary: Summary = serde_json::from_slice(&text).unwrap();
            assert_eq!(summary, Summary::from(&whole));
            let again: Summary = serde_json::from_str(&serde_json::to_string(&summary).unwrap()).unwrap();
            assert_eq!(again, summary);
            assert_eq!((summary.table_count(), summary.rows()), numbers);
            assert_eq!(
                (summary.table_count(), summary.rows()),
                (whole.table_count(), whole.rows())
            );
        }
    }
}
