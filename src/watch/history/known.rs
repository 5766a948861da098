//! What stores have said already: summaries of manifests and records of failures, which never change. They are known by when
//! they were written and how large they are, so that a listing tells whether they are still the same.

use std::collections::{BTreeMap, BTreeSet};

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
            let understood = match part {
                Part::Manifest => insert(&mut known.summaries, id, &row.text),
                _ => insert(&mut known.failures, id, &row.text),
            };
            if !understood {
                self.forget(&key(shelf), &row)?;
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
        let there = self.stamps(&key)?;
        let mut wanted = Wanted::new();
        for backup in &found.backups {
            wanted.add(&there, names, Part::Manifest, backup.summary.id, &backup.summary)?;
        }
        for failure in &found.failures {
            wanted.add(&there, names, Part::Failure, failure.id, failure)?;
        }
        let Wanted { seen, new: wanted } = wanted;
        let gone: Vec<_> = there.into_keys().filter(|at| !seen.contains(at)).collect();
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

    /// When and how large everything was that is known of a shelf.
    fn stamps(&self, shelf: &str) -> Result<BTreeMap<At, (i64, i64)>> {
        let database = self.database();
        let mut found = database.prepare("SELECT id, part, size, modified FROM known WHERE shelf = ?1")?;
        let rows = found.query_map([shelf], |row| {
            Ok(((row.get(0)?, row.get(1)?), (row.get(2)?, row.get(3)?)))
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// What an older version has written, and nobody understands, is to be read from the store again.
    fn forget(&self, shelf: &str, row: &Row) -> Result<()> {
        self.database().execute(
            "DELETE FROM known WHERE shelf = ?1 AND id = ?2 AND part = ?3",
            params![shelf, row.id, row.part],
        )?;
        Ok(())
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

fn insert<T: DeserializeOwned>(known: &mut BTreeMap<BackupId, T>, id: BackupId, text: &str) -> bool {
    let value = serde_json::from_str(text).ok();
    let understood = value.is_some();
    known.extend(value.map(|value| (id, value)));
    understood
}

/// Which row it is: the id, and the kind.
type At = (String, String);

/// What is to be in the table.
#[derive(Default)]
struct Wanted {
    /// All of it.
    seen: BTreeSet<At>,
    /// What is not there yet, as size, time and text.
    new: BTreeMap<At, (i64, i64, String)>,
}

impl Wanted {
    fn new() -> Self {
        Wanted::default()
    }

    fn add(
        &mut self,
        there: &BTreeMap<At, (i64, i64)>,
        names: &Names,
        part: Part,
        id: BackupId,
        value: &impl Serialize,
    ) -> Result<()> {
        let Some((size, time)) = names.stamp(part, id) else {
            return Ok(());
        };
        let name = if part == Part::Manifest { MANIFEST } else { FAILURE };
        let (at, stamp) = (
            (id.to_string(), name.to_owned()),
            (size.cast_signed(), time.timestamp_millis()),
        );
        if there.get(&at) != Some(&stamp) {
            let row = (stamp.0, stamp.1, serde_json::to_string(value)?);
            self.new.insert(at.clone(), row);
        }
        self.seen.insert(at);
        Ok(())
    }
}
