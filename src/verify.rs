//! Whether a backup still is what its manifest says: quickly by the checksums of its store, or its digest where
//! there are none, or in full by unpacking everything and counting and hashing every row again.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde::Serialize;

use crate::archive::data::Rows;
use crate::archive::reader::Reader;
use crate::archive::script::{Kind, Piece, Reading};
use crate::archive::summary::{count, schema_hash};
use crate::archive::toc::Entry;
use crate::engine::sqlite::proof;
use crate::error::{Exit, Fail, Result, damage, exit_of};
use crate::job::Keys;
use crate::manifest::{BackupId, Contents, Depth, Engine, LargeObjects, Manifest, Table};
use crate::row_hash::{ObjectHash, PieceHash, RowHash};
use crate::shelf::{Shelf, Spot};
use crate::stored;

/// What ends the rows of a table in an archive.
const END_OF_ROWS: &[u8] = b"\\.\n\n\n";

/// What was found.
#[derive(Clone, Debug, Serialize)]
pub struct Findings {
    /// The backup.
    pub id: BackupId,
    /// How thoroughly it was looked at.
    pub depth: Depth,
    /// Rows that were counted and hashed again.
    pub rows: u64,
    /// How many of the bytes were read: none where the stores' own checksums told enough.
    pub bytes_read: u64,
    /// What the stores say of the files.
    #[serde(skip)]
    pub checksums: Vec<String>,
    /// What is wrong; empty when the backup is good.
    pub problems: Vec<String>,
}

/// Which of `spots` to look at when only `percent` of them shall be, rounded up: those that nobody has looked at for the
/// longest time as thoroughly as `depth`, the newest first where nobody ever has. So sample after sample comes round to
/// every copy, which dice would not.
#[must_use]
pub fn sample(mut spots: Vec<Spot>, percent: u8, depth: Depth) -> Vec<Spot> {
    spots.sort_by_key(|spot| (spot.last_look(depth), Reverse(spot.id)));
    let wanted = (spots.len() * usize::from(percent)).div_ceil(100);
    spots.truncate(wanted);
    spots
}

/// Looks at a backup; `read` hears of the bytes as they are read. One that is encrypted can be looked at quickly without
/// `keys`; with them it is also tried whether they open it.
///
/// # Errors
/// The store fails, or `keys` do not open the backup. Damage is no error but a finding.
pub async fn verify(
    shelf: &Shelf,
    manifest: &Manifest,
    depth: Depth,
    keys: &Keys,
    read: &(dyn Fn(u64) + Send + Sync),
) -> Result<Findings> {
    let mut findings = Findings {
        id: manifest.id,
        depth,
        rows: 0,
        bytes_read: 0,
        checksums: Vec::new(),
        problems: Vec::new(),
    };
    for file in manifest.files() {
        let looked = match depth {
            Depth::Quick => shelf.check_quickly(file, read).await,
            Depth::Full => shelf.check(file, read).await,
        };
        let noted = looked.map(|looked| {
            findings.bytes_read += looked.read;
            findings.checksums.extend(looked.said);
        });
        findings.take(noted)?;
    }
    // An archive whose digest is wrong is damaged whatever is in it, but where it is helps to judge.
    if depth == Depth::Full {
        let unpacked = unpack(shelf, manifest, keys, &mut findings).await;
        findings.take(unpacked)?;
    } else if manifest.encryption.is_some() && !keys.is_empty() && findings.problems.is_empty() {
        findings.take(open(shelf, manifest, keys).await)?;
    }
    Ok(findings)
}

impl Findings {
    /// Damage is a problem that was found; anything else keeps us from looking.
    fn take(&mut self, outcome: Result<()>) -> Result<()> {
        match outcome {
            Err(error) if exit_of(&error) == Exit::Damaged => {
                self.problems.push(format!("{error:#}"));
                Ok(())
            }
            outcome => outcome,
        }
    }
}

/// Opens what is sealed, as far as that needs no reading.
async fn open(shelf: &Shelf, manifest: &Manifest, keys: &Keys) -> Result<()> {
    stored::unseal(&mut manifest.clone(), keys)?;
    stored::archive(shelf, manifest, keys).await.map(drop)
}

/// Reads everything in the archive and compares it with the manifest.
async fn unpack(shelf: &Shelf, manifest: &Manifest, keys: &Keys, findings: &mut Findings) -> Result<()> {
    let path = shelf.file_path(&manifest.archive.name);
    if shelf.store().stat(&path).await?.is_none() {
        return Ok(());
    }
    let mut manifest = manifest.clone();
    stored::unseal(&mut manifest, keys)?;
    let source = stored::archive(shelf, &manifest, keys).await?;
    if manifest.source.engine == Engine::Sqlite {
        let found = proof::verify(source, &manifest).await?;
        findings.rows += found.rows;
        findings.problems.extend(proof::differences(&found.contents, &manifest));
        return Ok(());
    }
    let reader = Reader::from_source(source)
        .await
        .map_err(|error| damage(&path, error))?;
    let entries = reader.entries();
    if count(entries) != manifest.entries {
        findings
            .problems
            .push("its table of contents has other entries than the manifest".to_owned());
    }
    if schema_hash(entries) != manifest.schema_hash {
        findings
            .problems
            .push("its definitions are not those of the manifest".to_owned());
    }
    let mut expected: BTreeMap<(&str, &str), &Table> = manifest
        .tables
        .iter()
        .map(|table| ((table.schema.as_str(), table.name.as_str()), table))
        .collect();
    let mut objects = RowHash::default();
    for entry in entries.iter().filter(|entry| entry.has_data) {
        let outcome = if entry.desc == "TABLE DATA" {
            let table = expected.remove(&(entry.namespace.as_deref().unwrap_or_default(), entry.tag.as_str()));
            compare(&reader, entry, table, findings).await
        } else {
            large_objects(&reader, entry, &mut objects).await
        };
        // Whatever keeps an entry from being unpacked, a restore would meet it too.
        let named = |error| damage(format_args!("{} {}", entry.desc, entry.tag), error);
        findings.take(outcome.map_err(named))?;
    }
    let objects = LargeObjects::of(&objects);
    if let Some(wanted) = manifest.large_objects.as_ref().filter(|wanted| **wanted != objects) {
        findings.problems.push(format!(
            "its large objects are {} with the hash {} instead of {} with {}",
            objects.count, objects.hash, wanted.count, wanted.hash
        ));
    }
    for (schema, name) in expected.keys() {
        findings
            .problems
            .push(format!("the rows of {schema}.{name} are not in the archive"));
    }
    Ok(())
}

/// Reads everything in an archive: what there is to know of each table's rows. Rows of one table in several
/// entries are one.
///
/// # Errors
/// [`Exit::Damaged`]: something cannot be unpacked.
pub async fn contents(reader: &Reader) -> Result<Contents> {
    let mut objects = RowHash::default();
    let mut tables: BTreeMap<(String, String), RowHash> = BTreeMap::new();
    for entry in reader.entries().iter().filter(|entry| entry.has_data) {
        let read = async {
            if entry.desc != "TABLE DATA" {
                return large_objects(reader, entry, &mut objects).await;
            }
            let name = (entry.namespace.clone().unwrap_or_default(), entry.tag.clone());
            let rows = reader.rows(entry.dump_id).await?;
            *tables.entry(name).or_default() += match entry.copy_stmt.is_empty() {
                true => inserts(Reading::of_entry(rows, reader.entries())).await?,
                false => hash(rows).await?,
            };
            Ok(())
        };
        read.await
            .map_err(|error| damage(format_args!("{} {}", entry.desc, entry.tag), error))?;
    }
    let table = |((schema, name), rows): ((String, String), RowHash)| Table {
        schema,
        name,
        partition_of: None,
        rows: rows.rows,
        bytes: rows.bytes,
        hash: rows.hash(),
    };
    Ok(Contents {
        tables: tables.into_iter().map(table).collect(),
        large_objects: LargeObjects::of(&objects),
    })
}

/// Counts and hashes the rows of one table.
async fn compare(reader: &Reader, entry: &Entry, table: Option<&Table>, findings: &mut Findings) -> Result<()> {
    let found = hash(reader.rows(entry.dump_id).await?).await?;
    findings.rows += found.rows;
    let Some(table) = table else {
        findings
            .problems
            .push(format!("the rows of {} are not in the manifest", entry.tag));
        return Ok(());
    };
    if (found.rows, found.bytes, found.hash()) != (table.rows, table.bytes, table.hash.clone()) {
        let problem = format!(
            "{}.{} has {found} instead of {} rows, {}",
            table.schema, table.name, table.rows, table.hash
        );
        findings.problems.push(problem);
    }
    Ok(())
}

/// The hash of an entry's rows, without what ends them.
async fn hash(mut rows: Rows) -> Result<RowHash> {
    let mut hash = PieceHash::default();
    // The last bytes may turn out to be the end, so they wait; of a row nothing else does, however long it is.
    let mut last = Vec::new();
    while let Some(piece) = rows.next().await? {
        let settled = (last.len() + piece.len()).saturating_sub(END_OF_ROWS.len());
        let (before, rest) = piece.split_at(settled.saturating_sub(last.len()));
        hash.update(&last[..settled.min(last.len())]);
        hash.update(before);
        last.drain(..settled.min(last.len()));
        last.extend_from_slice(rest);
    }
    if last != END_OF_ROWS {
        return Err(Fail::new(Exit::Damaged, "the rows do not end as rows do").into());
    }
    Ok(hash.finish())
}

/// Counts the rows of INSERT statements, which have no hash.
async fn inserts(mut reading: Reading) -> Result<RowHash> {
    let (mut rows, mut bytes) = (0, 0);
    while let Some(piece) = reading.next().await? {
        if let Piece::Statement(statement, Kind::Insert(_)) = piece {
            rows += statement.rows;
            bytes += statement.text.len() as u64;
        }
    }
    Ok(RowHash::known(rows, bytes, ""))
}

/// Adds the large objects of an entry to `sum`.
async fn large_objects(reader: &Reader, entry: &Entry, sum: &mut RowHash) -> Result<()> {
    let mut objects = reader.large_objects(entry.dump_id).await?;
    while let Some(oid) = objects.next_object().await? {
        let mut hash = ObjectHash::new(oid);
        while let Some(piece) = objects.next().await? {
            hash.update(&piece);
        }
        *sum += hash.finish();
    }
    Ok(())
}
