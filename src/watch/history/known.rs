//! What stores have said already: summaries of manifests and records of failures, which never change. They are known by when
//! they were written and how large they are, so that a listing tells whether they are still the same.

use std::collections::BTreeMap;

use rusqlite::params;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::History;
use crate::error::Result;
use crate::manifest::{BackupId, Part};
use crate::shelf::{Inventory, Known, Names, Shelf};

/// How the two kinds are called in the table.
const MANIFEST: &str = "manifest";
const FAILURE: &str = "failure";

/// One row.
struct Row {
    id: String,
    part: String,
    size: i64,
    modified: i64,
    text: String,
}

impl History {
    /// What is known already of what `names` lists.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn known(&self, shelf: &Shelf, names: &Names) -> Result<Known> {
        let mut known = Known::default();
        for row in self.rows(&key(shelf))? {
            let Ok(id) = row.id.parse::<BackupId>() else { continue };
            let part = if row.part == MANIFEST {
                Part::Manifest
            } else {
                Part::Failure
            };
            let stamp = names.stamp(part, id);
            if stamp
                .is_none_or(|(size, time)| (size.cast_signed(), time.timestamp_millis()) != (row.size, row.modified))
            {
                continue;
            }
            match part {
                Part::Manifest => insert(&mut known.summaries, id, &row.text),
                _ => insert(&mut known.failures, id, &row.text),
            }
        }
        Ok(known)
    }

    /// Remembers what was found in a shelf, and forgets what is there no more.
    ///
    /// # Errors
    /// The file cannot be written to.
    pub fn remember(&self, shelf: &Shelf, names: &Names, found: &Inventory) -> Result<()> {
        let key = key(shelf);
        let mut wanted = BTreeMap::new();
        for backup in &found.backups {
            add(&mut wanted, names, Part::Manifest, backup.summary.id, &backup.summary)?;
        }
        for failure in &found.failures {
            add(&mut wanted, names, Part::Failure, failure.id, failure)?;
        }
        let mut gone = Vec::new();
        for row in self.rows(&key)? {
            let at = (row.id, row.part);
            match wanted.get(&at) {
                Some((size, modified, text)) if (*size, *modified) == (row.size, row.modified) && *text == row.text => {
                    wanted.remove(&at);
                }
                Some(_) => {}
                None => gone.push(at),
            }
        }
        if gone.is_empty() && wanted.is_empty() {
            return Ok(());
        }
        let mut database = self.database();
        let change = database.transaction()?;
        for (id, part) in gone {
            change.execute(
                "DELETE FROM known WHERE shelf = ?1 AND id = ?2 AND part = ?3",
                params![key, id, part],
            )?;
        }
        for ((id, part), (size, modified, text)) in wanted {
            change.execute(
                "INSERT OR REPLACE INTO known (shelf, id, part, size, modified, text) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                params![key, id, part, size, modified, text],
            )?;
        }
        Ok(change.commit()?)
    }

    fn rows(&self, shelf: &str) -> Result<Vec<Row>> {
        let database = self.database();
        let mut found = database.prepare("SELECT id, part, size, modified, text FROM known WHERE shelf = ?1")?;
        let rows = found.query_map([shelf], |row| {
            Ok(Row {
                id: row.get(0)?,
                part: row.get(1)?,
                size: row.get(2)?,
                modified: row.get(3)?,
                text: row.get(4)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

/// What tells a shelf from all others: the store by its address, not by its name in some configuration.
fn key(shelf: &Shelf) -> String {
    format!("{} {}", shelf.file_path(""), shelf.store())
}

fn insert<T: DeserializeOwned>(known: &mut BTreeMap<BackupId, T>, id: BackupId, text: &str) {
    // What an older version has written is read from the store again.
    if let Ok(value) = serde_json::from_str(text) {
        known.insert(id, value);
    }
}

type Wanted = BTreeMap<(String, String), (i64, i64, String)>;

fn add(wanted: &mut Wanted, names: &Names, part: Part, id: BackupId, value: &impl Serialize) -> Result<()> {
    if let Some((size, time)) = names.stamp(part, id) {
        let name = if part == Part::Manifest { MANIFEST } else { FAILURE };
        let row = (
            size.cast_signed(),
            time.timestamp_millis(),
            serde_json::to_string(value)?,
        );
        wanted.insert((id.to_string(), name.to_owned()), row);
    }
    Ok(())
}
