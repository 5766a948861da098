//! Opens both sides, compares them, and reads rows only where hashes do not tell enough.

use std::path::PathBuf;

use anyhow::Context as _;
use chrono::Utc;

use super::compare::{common, compare};
use super::copy_text::{self, Each};
use super::postgres::{HowLive, Known, Postgres};
use super::report::{Contents, Diff, Named};
use super::rows::Compared;
use super::side::{Side, TableName};
use super::sqlite::Sqlite;
use crate::archive::reader::Reader;
use crate::engine::postgres::progress::Silent;
use crate::engine::sqlite::scratch::{self, Scratch};
use crate::engine::sqlite::unpack::unpack;
use crate::engine::sqlite::{self};
use crate::error::{Exit, Fail, Result};
use crate::find::find;
use crate::job::{Job, SourceConfig};
use crate::manifest::Manifest;
use crate::names::Names;
use crate::restore::postgres::location::Location;
use crate::restore::sqlite::file::DumpFile;
use crate::seal::Algorithm;
use crate::shelf::{Copy, Stock};
use crate::{stored, verify};

/// A state that a person names.
#[derive(Clone, Debug)]
pub enum Which {
    /// A backup: `latest`, an id or its beginning, a label.
    Backup(String),
    /// The live database.
    Live,
    /// A file that somebody has: of PostgreSQL an archive.
    Archive(Location),
    /// A file that somebody has: of SQLite a database or its SQL text.
    File(PathBuf),
}

/// What is compared, and how.
pub struct Request<'a> {
    /// The job.
    pub job: &'a Job,
    /// Whose database the live one is, where it is not the job's.
    pub live: Option<&'a Job>,
    /// The state before.
    pub before: Which,
    /// The state after.
    pub after: Which,
    /// The tables and schemas that are compared.
    pub names: Names,
    /// Only definitions are compared.
    pub schema_only: bool,
    /// Rows of tables that differ are compared one by one.
    pub rows: bool,
    /// How many of them are shown of each table.
    pub show: usize,
    /// Who hears what is being done.
    pub step: &'a (dyn Fn(&str) + Send + Sync),
    /// Who hears what a person should know.
    pub warn: &'a (dyn Fn(String) + Send + Sync),
}

/// A side that was opened.
pub enum Opened {
    /// Of PostgreSQL.
    Postgres(Box<Postgres>),
    /// Of SQLite.
    Sqlite(Box<Sqlite>),
}

/// Compares two states of a database.
///
/// # Errors
/// One of them is not there or cannot be read.
pub async fn diff(request: &Request<'_>) -> Result<Diff> {
    let (mut before, mut after) = open(request).await?;
    if request.schema_only {
        for opened in [&mut before, &mut after] {
            let side = opened.side_mut();
            side.tables.clear();
            side.sequences.clear();
            side.large_objects = None;
        }
    }
    let mut diff = compare(before.side(), after.side(), &request.names);
    if let (Opened::Postgres(before), Opened::Postgres(after)) = (&before, &after)
        && before.spelling != after.spelling
        && before.spelling.is_some()
        && after.spelling.is_some()
    {
        diff.notes.push(
            "values are written in other ways on both sides (encoding, time zone, digits of floats): equal rows may look \
             different"
                .to_owned(),
        );
    }
    for table in &mut diff.tables {
        let name = (table.schema.clone(), table.name.clone());
        let (Some(old), Some(new)) = (before.side().tables.get(&name), after.side().tables.get(&name)) else {
            continue;
        };
        let columns = common(old, new);
        let known = old.hash.is_some() && new.hash.is_some() && !columns.is_empty();
        if table.contents == Contents::Unknown && known {
            (request.step)(&format!("comparing {}.{}", name.0, name.1));
            let (one, other) = (before.hash(&name, &columns).await?, after.hash(&name, &columns).await?);
            table.contents = if one == other {
                Contents::Same
            } else {
                Contents::Different
            };
        }
        if request.rows && table.differs() && !columns.is_empty() {
            (request.step)(&format!("comparing the rows of {}.{}", name.0, name.1));
            let is_key = !old.key.is_empty() && old.key == new.key && old.key.iter().all(|it| columns.contains(it));
            let compared = Compared {
                name: &name,
                key: if is_key { old.key.clone() } else { Vec::new() },
                columns,
                show: request.show,
            };
            table.rows = Some(compared.compare(&before, &after).await?);
        }
    }
    diff.conclude();
    Ok(diff)
}

impl Opened {
    /// What is known of it without reading rows.
    pub fn side(&self) -> &Side {
        match self {
            Opened::Postgres(it) => &it.side,
            Opened::Sqlite(it) => &it.side,
        }
    }

    fn side_mut(&mut self) -> &mut Side {
        match self {
            Opened::Postgres(it) => &mut it.side,
            Opened::Sqlite(it) => &mut it.side,
        }
    }

    /// Hands each row of a table to `each`, with the values of these columns.
    pub async fn rows(&self, name: &TableName, columns: &[String], each: &mut Each<'_>) -> Result<()> {
        match self {
            Opened::Postgres(it) => it.rows(name, columns, each).await,
            Opened::Sqlite(it) => it.rows(name, columns, each),
        }
    }

    /// A value as a person reads it; `None` for NULL.
    pub fn plain(&self, value: &[u8]) -> Option<String> {
        match self {
            Opened::Postgres(_) => copy_text::plain(value),
            Opened::Sqlite(_) if value == b"NULL" => None,
            Opened::Sqlite(_) => Some(String::from_utf8_lossy(value).into_owned()),
        }
    }

    /// The hash of a table's rows by these columns.
    async fn hash(&self, name: &TableName, columns: &[String]) -> Result<String> {
        let known = self.side().tables.get(name).filter(|table| table.hashed == columns);
        match (known.and_then(|table| table.hash.clone()), self) {
            (Some(hash), _) => Ok(hash),
            (None, Opened::Postgres(it)) => it.hash(name, columns).await,
            (None, Opened::Sqlite(it)) => it.hash(name, columns),
        }
    }
}

/// Opens both sides, the live one last: it is read as the other one was.
async fn open(request: &Request<'_>) -> Result<(Opened, Opened)> {
    if let (Which::Live, Which::Live) = (&request.before, &request.after) {
        let message = "the live database is on both sides";
        return Err(Fail::new(Exit::Usage, message)
            .hint("name a backup: snapback diff JOB latest live")
            .into());
    }
    match &request.job.source {
        SourceConfig::Postgres(_) => {
            let swapped = matches!(request.before, Which::Live);
            let (first, second) = match swapped {
                true => (&request.after, &request.before),
                false => (&request.before, &request.after),
            };
            let first = open_postgres(request, first, None).await?;
            let second = open_postgres(request, second, Some(&first)).await?;
            let (first, second) = (Opened::Postgres(Box::new(first)), Opened::Postgres(Box::new(second)));
            Ok(if swapped { (second, first) } else { (first, second) })
        }
        SourceConfig::Sqlite(_) => {
            let (before, after) = (
                open_sqlite(request, &request.before).await?,
                open_sqlite(request, &request.after).await?,
            );
            // Definitions are only unpacked where they differ; hashes of rows are in the manifest.
            let same = before.schema_hash() == after.schema_hash() && !request.rows;
            Ok((before.opened(request, same).await?, after.opened(request, same).await?))
        }
    }
}

async fn open_postgres(request: &Request<'_>, which: &Which, other: Option<&Postgres>) -> Result<Postgres> {
    let job = request.job;
    match which {
        Which::Live => {
            (request.step)("reading the live database");
            let job = request.live.unwrap_or(job);
            let dsn = job.source.dsn()?;
            let named = Named {
                kind: "live",
                of: job.source.identity().to_string(),
                at: Some(Utc::now()),
                ..Named::default()
            };
            let how = HowLive {
                dump: &job.dump,
                other,
                names: &request.names,
                schema_only: request.schema_only,
            };
            Postgres::live(&dsn, named, &how, &Silent).await
        }
        Which::Backup(id) => {
            let copies = copies(request, id).await?;
            nearest(request, copies, async |copy| {
                let source = stored::archive(&copy.shelf, &copy.manifest, &job.keys).await?;
                let reader = Reader::from_source(source).await?;
                let manifest = &copy.manifest;
                let known = Known {
                    named: named(manifest),
                    tables: manifest.tables.clone(),
                    extensions: manifest.extensions.clone(),
                    large_objects: manifest.large_objects.clone(),
                    spelling: manifest.spelling.clone(),
                };
                Ok(Postgres::archive(reader, known, other))
            })
            .await
        }
        Which::Archive(place) => {
            (request.step)("reading the file");
            let opened = read_file(request, place).await;
            let (reader, known) = opened.with_context(|| format!("reading {place}"))?;
            Ok(Postgres::archive(reader, known, other))
        }
        Which::File(path) => Err(wrong_engine(&path.display().to_string())),
    }
}

async fn read_file(request: &Request<'_>, place: &Location) -> Result<(Reader, Known)> {
    let place = place.clone().unpacked(None).await?;
    let reader = match place.folder() {
        Some(folder) => Reader::open(folder).await?,
        None => {
            let source = stored::opened(place.source().await?, &place.to_string(), &request.job.keys).await?;
            if !Reader::is_archive(&source).await? {
                let message = "it is no archive of pg_dump: of plain SQL nothing is known before it is run";
                return Err(Fail::new(Exit::Usage, message)
                    .hint("restore it with --mode new, and compare that database")
                    .into());
            }
            Reader::from_source(source).await?
        }
    };
    let contents = match request.schema_only {
        true => None,
        false => Some(verify::contents(&reader).await?),
    };
    let known = Known {
        named: Named {
            kind: "file",
            of: place.to_string(),
            ..Named::default()
        },
        large_objects: contents.as_ref().map(|it| it.large_objects.clone()),
        tables: contents.map(|it| it.tables).unwrap_or_default(),
        extensions: None,
        spelling: None,
    };
    Ok((reader, known))
}

/// A side of SQLite, of which maybe nothing was unpacked yet.
enum Found {
    Ready(Box<Sqlite>),
    Backup(Vec<Copy>, Box<Sqlite>),
}

impl Found {
    fn schema_hash(&self) -> &str {
        match self {
            Found::Ready(it) | Found::Backup(_, it) => &it.schema_hash,
        }
    }

    async fn opened(self, request: &Request<'_>, same: bool) -> Result<Opened> {
        let (copies, known) = match self {
            Found::Ready(mut it) => {
                if same {
                    it.as_known();
                }
                return Ok(Opened::Sqlite(it));
            }
            Found::Backup(_, known) if same => return Ok(Opened::Sqlite(known)),
            Found::Backup(copies, known) => (copies, known),
        };
        (request.step)("unpacking the backup");
        let scratch = nearest(request, copies, async |copy| {
            let source = stored::archive(&copy.shelf, &copy.manifest, &request.job.keys).await?;
            let algorithm = Algorithm::named(&copy.manifest.compression).unwrap_or_default();
            let scratch = temporary(&format!("{}-{}", request.job.name, copy.manifest.id))?;
            Ok(unpack(source, algorithm, scratch, &|_| ()).await?.0)
        })
        .await?;
        let named = known.side.named.clone();
        let opened = Sqlite::unpacked(scratch, Some(*known), named, &request.names).await?;
        Ok(Opened::Sqlite(Box::new(opened)))
    }
}

/// A file where temporary files go; what killed comparisons left of it goes first.
fn temporary(name: &str) -> Result<Scratch> {
    let folder = std::env::temp_dir();
    let left = scratch::tidy(&folder, name);
    tracing::debug!(left = left.len(), "looked for what killed comparisons left");
    Scratch::create(&folder, name)
}

async fn open_sqlite(request: &Request<'_>, which: &Which) -> Result<Found> {
    let SourceConfig::Sqlite(location) = &request.live.unwrap_or(request.job).source else {
        anyhow::bail!("the job is not one of SQLite");
    };
    match which {
        Which::Live => {
            (request.step)("reading the live database");
            let found = sqlite::open::find(location.path())?;
            let named = Named {
                kind: "live",
                of: found.path.display().to_string(),
                at: Some(Utc::now()),
                ..Named::default()
            };
            let read = Sqlite::live(&found, request.job, named, &request.names, request.schema_only);
            Ok(Found::Ready(Box::new(read.await?)))
        }
        Which::Backup(id) => {
            let copies = copies(request, id).await?;
            let mut manifest = (*copies.first().context("the backup has no copy")?.manifest).clone();
            stored::unseal(&mut manifest, &request.job.keys)?;
            let known = Sqlite::known(&manifest, named(&manifest));
            Ok(Found::Backup(copies, Box::new(known)))
        }
        Which::File(path) => {
            (request.step)("reading the file");
            let file = DumpFile::find(path)?;
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let left = scratch::tidy(&std::env::temp_dir(), &name);
            tracing::debug!(left = left.len(), "looked for what killed comparisons left");
            let scratch = file
                .unpack(&std::env::temp_dir(), &name, &request.job.keys, &|_| ())
                .await?;
            let named = Named {
                kind: "file",
                of: file.name(),
                ..Named::default()
            };
            let opened = Sqlite::unpacked(scratch, None, named, &request.names).await?;
            Ok(Found::Ready(Box::new(opened)))
        }
        Which::Archive(place) => Err(wrong_engine(&place.to_string())),
    }
}

fn wrong_engine(what: &str) -> anyhow::Error {
    Fail::new(
        Exit::Usage,
        format!("{what} is of another kind of database than the job's"),
    )
    .into()
}

/// The copies of a backup, the best first.
async fn copies(request: &Request<'_>, id: &str) -> Result<Vec<Copy>> {
    let job = request.job;
    let stock = Stock::for_backup(job, id).await?;
    for (_, error) in &stock.unreachable {
        (request.warn)(format!("{error:#}"));
    }
    let found = find(&stock, job, id, None).await?;
    for note in found.notes {
        (request.warn)(note);
    }
    let engine = found.copies.first().map(|copy| copy.manifest.source.engine);
    if engine.is_some_and(|engine| engine != job.source.engine()) {
        return Err(wrong_engine(&format!("backup {id}")));
    }
    Ok(found.copies)
}

/// What `open` makes of the first copy that can be opened.
async fn nearest<T>(request: &Request<'_>, copies: Vec<Copy>, open: impl AsyncFn(&Copy) -> Result<T>) -> Result<T> {
    let mut failed = None;
    for mut copy in copies {
        let opened = match stored::unseal(&mut copy.manifest, &request.job.keys) {
            Ok(()) => open(&copy).await,
            Err(error) => Err(error),
        };
        match opened {
            Ok(opened) => return Ok(opened),
            Err(error) => {
                let error = error.context(format!("reading backup {} in {}", copy.manifest.id, copy.shelf));
                if failed.is_some() {
                    (request.warn)(format!("passing over a copy: {error:#}"));
                }
                failed.get_or_insert(error);
            }
        }
    }
    Err(failed.unwrap_or_else(|| anyhow::anyhow!("the backup has no copy")))
}

fn named(manifest: &Manifest) -> Named {
    Named {
        kind: "backup",
        id: Some(manifest.id),
        label: manifest.label.clone(),
        of: manifest.source.to_string(),
        at: Some(manifest.started),
    }
}
