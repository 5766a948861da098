//! Where what is restored comes from: a backup of a job, or a file that somebody has.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use chrono::{DateTime, Utc};

use super::beyond::Beyond;
use super::changes;
use super::location::Location;
use super::needs::Needs;
use super::other;
use super::{plan, script};
use crate::archive::options::RestoreOptions;
use crate::archive::reader::Reader;
use crate::archive::script::Script;
use crate::archive::toc::{DumpId, Entry};
use crate::engine::postgres::dump;
use crate::error::{Exit, Fail, Result, exit_of};
use crate::find::FromOther;
use crate::find::find;
use crate::job::{Job, Keys};
use crate::manifest::{BackupId, Depth, InPlace, LargeObjects, Manifest, Source, Table};
use crate::seal::Algorithm;
use crate::shelf::{Check, Copy, Shelf, Stock};
use crate::{stored, verify};

/// What a person names.
#[derive(Clone, Debug)]
pub enum Origin<'a> {
    /// A backup of a job.
    Backup {
        /// The job.
        job: &'a Job,
        /// `latest`, an id, its beginning, or a label.
        id: &'a str,
        /// Whether it may be one of another database than the job's.
        from_other: FromOther<'a>,
    },
    /// A dump that pg_dump or another program made.
    File {
        /// Where it is.
        place: Location,
        /// Which of the databases in it.
        database: Option<&'a str>,
    },
}

/// What is restored, opened but not yet read as a whole.
pub struct Content {
    /// Its definitions and its rows.
    pub body: Body,
    /// How the new database is dumped to compare it.
    pub dump: dump::Request,
    /// What a person should know of it before.
    pub warnings: Vec<String>,
    /// Roles that it names itself, where others are to take the place of some of them.
    pub named: BTreeSet<String>,
    /// What is left out of it, or made otherwise.
    options: Arc<RestoreOptions>,
    keys: Keys,
    from: From,
}

/// How it says what is restored.
pub enum Body {
    /// An archive: a table of contents, and rows.
    Archive(Arc<Reader>),
    /// SQL text.
    Script(Box<script::Contents>),
}

enum From {
    /// A copy of a backup, and those to take instead should it be damaged, the nearest first.
    Backup {
        shelf: Shelf,
        manifest: Box<Manifest>,
        others: Vec<Copy>,
    },
    File {
        place: Location,
        bytes: u64,
    },
}

/// What the new database must hold.
#[derive(Clone)]
pub struct Expected {
    /// The rows of each table.
    pub tables: Vec<Table>,
    /// The large objects; unknown of backups whose manifest does not tell.
    pub large_objects: Option<LargeObjects>,
    /// Whether the hashes of the rows count: those of another server's text may differ for equal rows.
    pub hashes: bool,
}

/// Globals files are small; a larger one is not read for the plan.
const GLOBALS_LIMIT: u64 = 16 << 20;

impl Content {
    /// Opens what `origin` names; a file that is encrypted with `keys`, a backup with those of its job. What `options`
    /// leave out or make otherwise is so in all that it says; what they select is not looked at.
    ///
    /// # Errors
    /// There is none such, or it cannot be read.
    pub async fn open(origin: &Origin<'_>, keys: &Keys, options: &RestoreOptions) -> Result<Content> {
        let options = Arc::new(options.clone());
        let shared = Arc::clone(&options);
        let mut content = match origin {
            Origin::Backup { job, id, from_other } => Content::of_backup(job, id, *from_other, shared).await?,
            Origin::File { place, database } => Content::of_file(place, *database, keys, shared).await?,
        };
        if options.encoding.is_some() && matches!(content.body, Body::Archive(_)) {
            let message = "--encoding is about plain SQL, and an archive knows its own encoding";
            return Err(Fail::new(Exit::Usage, message).hint("leave it out").into());
        }
        content.change()?;
        Ok(content)
    }

    /// Lets the entries of an archive be as the options want them; a script was read so.
    fn change(&mut self) -> Result<()> {
        match &self.body {
            Body::Archive(reader) if self.options.changes() => {
                let changed = changes::changed(reader.entries(), &self.options);
                self.named.extend(changed.named);
                self.warnings.extend(changed.warnings);
                self.body = Body::Archive(Arc::new(reader.with_entries(changed.entries)?));
            }
            Body::Archive(_) => {}
            Body::Script(script) => self.named.clone_from(&script.mapped),
        }
        Ok(())
    }

    /// Leaves the roles `without` out of policies and user mappings: the server lacks them.
    ///
    /// # Errors
    /// Never, as long as an archive has as many entries as before.
    pub fn leave_out_roles(&mut self, without: &BTreeSet<String>) -> Result<()> {
        let options = RestoreOptions {
            without_roles: without.clone(),
            // All else was done when it was opened.
            role_map: match &self.body {
                Body::Archive(_) => Default::default(),
                Body::Script(_) => self.options.role_map.clone(),
            },
            ..(*self.options).clone()
        };
        let opened = std::mem::replace(&mut self.options, Arc::new(options));
        self.change()?;
        self.options = Arc::new(RestoreOptions {
            without_roles: without.clone(),
            ..(*opened).clone()
        });
        Ok(())
    }

    /// What of it is left out, or made otherwise.
    #[must_use]
    pub fn options(&self) -> &Arc<RestoreOptions> {
        &self.options
    }

    async fn of_backup(
        job: &Job,
        id: &str,
        from_other: FromOther<'_>,
        options: Arc<RestoreOptions>,
    ) -> Result<Content> {
        let stock = Stock::for_backup(job, id).await?;
        let mut warnings = Vec::new();
        warnings.extend(stock.unreachable.iter().map(|(_, error)| format!("{error:#}")));
        let found = match find(&stock, job, id, from_other.name()).await {
            Err(error) if exit_of(&error) == Exit::NotFound => other::elsewhere(job, id, from_other, error).await?,
            found => found?,
        };
        warnings.extend(found.notes);
        let mut others = found.copies;
        let (copy, reader) = nearest(&mut others, &job.keys, &mut |text| warnings.push(text)).await?;
        let mut dump = job.dump.clone();
        dump.session.spelling.clone_from(&copy.manifest.spelling);
        Ok(Content {
            body: Body::Archive(Arc::new(reader)),
            dump,
            warnings,
            named: BTreeSet::new(),
            options,
            keys: job.keys.clone(),
            from: From::Backup {
                shelf: copy.shelf,
                manifest: copy.manifest,
                others,
            },
        })
    }

    async fn of_file(
        place: &Location,
        database: Option<&str>,
        keys: &Keys,
        options: Arc<RestoreOptions>,
    ) -> Result<Content> {
        let opened = Body::open(place, database, keys, &options).await;
        let (body, bytes) = opened.with_context(|| format!("reading {place}"))?;
        let warnings = match &body {
            Body::Script(script) => script.warnings.clone(),
            Body::Archive(reader) => Beyond::of_entries(reader.entries())
                .check(options.allow_server_programs)
                .with_context(|| format!("reading {place}"))?,
        };
        Ok(Content {
            body,
            dump: dump::Request::default(),
            warnings,
            named: BTreeSet::new(),
            options,
            keys: keys.clone(),
            from: From::File {
                place: place.clone(),
                bytes,
            },
        })
    }

    /// The entries of its table of contents; of a script those of the database itself.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        match &self.body {
            Body::Archive(reader) => reader.entries(),
            Body::Script(script) => &script.entries,
        }
    }

    /// The entries to choose a part from.
    ///
    /// # Errors
    /// A script has none: its statements are run as they come.
    pub fn selectable(&self) -> Result<&[Entry]> {
        match &self.body {
            Body::Archive(reader) => Ok(reader.entries()),
            Body::Script(_) => Err(Fail::new(
                Exit::Usage,
                "of plain SQL no part can be chosen: it is restored as a whole",
            )
            .hint("restore it with --mode new, and take the part out of the new database")
            .into()),
        }
    }

    /// What it takes for granted.
    #[must_use]
    pub fn needs(&self) -> Needs {
        match &self.body {
            Body::Archive(reader) => Needs::of(reader.entries()),
            Body::Script(script) => script.needs.clone(),
        }
    }

    /// The backup that it is.
    #[must_use]
    pub fn backup(&self) -> Option<BackupId> {
        match &self.from {
            From::Backup { manifest, .. } => Some(manifest.id),
            From::File { .. } => None,
        }
    }

    /// The database that it was made of, where it is a backup.
    #[must_use]
    pub fn source(&self) -> Option<&Source> {
        match &self.from {
            From::Backup { manifest, .. } => Some(&manifest.source),
            From::File { .. } => None,
        }
    }

    /// The role that schema `public` belonged to, where only the manifest tells.
    #[must_use]
    pub fn public_owner(&self) -> Option<&str> {
        match &self.from {
            From::Backup { manifest, .. } => manifest.public_owner.as_deref(),
            From::File { .. } => None,
        }
    }

    /// The restore in place that it is the safety snapshot of.
    #[must_use]
    pub fn in_place(&self) -> Option<&InPlace> {
        match &self.from {
            From::Backup { manifest, .. } => manifest.in_place.as_ref(),
            From::File { .. } => None,
        }
    }

    /// What the plan says of it.
    #[must_use]
    pub fn describe(&self) -> plan::Subject {
        match &self.from {
            From::Backup { manifest, .. } => plan::Subject::Backup(plan::Backup::of(manifest)),
            From::File { place, bytes } => plan::Subject::File(self.body.describe(place, *bytes)),
        }
    }

    /// What was warned of when it was backed up.
    pub fn warned(&self) -> impl Iterator<Item = String> {
        let warnings = match &self.from {
            From::Backup { manifest, .. } => manifest.warnings.as_slice(),
            From::File { .. } => &[],
        };
        warnings.iter().map(|text| format!("the backup warned: {text}"))
    }

    /// The globals file of a backup, where there is one, or what a script has like it: it only helps to say what
    /// is missing.
    pub async fn globals(&self) -> Option<String> {
        if let Body::Script(script) = &self.body {
            return Some(script.globals.clone());
        }
        let From::Backup { shelf, manifest, .. } = &self.from else {
            return None;
        };
        let text = stored::globals(shelf, manifest, &self.keys, GLOBALS_LIMIT)
            .await
            .ok()??;
        String::from_utf8(text.to_vec()).ok()
    }

    /// Takes note that all of it was restored and proven.
    pub async fn proved(&self, now: DateTime<Utc>) {
        self.proved_by("restore", now).await;
    }

    /// The same by a drill, or whatever did it.
    pub(super) async fn proved_by(&self, by: &str, now: DateTime<Utc>) {
        if let From::Backup { shelf, manifest, .. } = &self.from {
            remember(shelf, manifest.id, now, Vec::new(), by).await;
        }
    }

    /// Reads it once as a whole, before anything is touched. A backup is kept from being pruned `until` then; where
    /// a copy of it turns out to be damaged `now`, that is remembered, and the next one is taken with a warning.
    ///
    /// # Errors
    /// It is damaged.
    pub async fn check(
        &mut self,
        now: DateTime<Utc>,
        until: Option<DateTime<Utc>>,
        warn: &(dyn Fn(String) + Send + Sync),
    ) -> Result<Expected> {
        match &mut self.from {
            From::Backup {
                shelf,
                manifest,
                others,
            } => {
                while let Err(error) = check(shelf, manifest, until).await {
                    if exit_of(&error) == Exit::Damaged {
                        remember(shelf, manifest.id, now, vec![format!("{error:#}")], "restore").await;
                    }
                    if others.is_empty() {
                        return Err(error);
                    }
                    warn(format!("passing over the copy in {shelf}: {error:#}"));
                    let (copy, reader) = nearest(others, &self.keys, &mut |text| warn(text)).await?;
                    let entries = changes::changed(reader.entries(), &self.options).entries;
                    self.body = Body::Archive(Arc::new(reader.with_entries(entries)?));
                    (*shelf, *manifest) = (copy.shelf, copy.manifest);
                }
                Ok(Expected {
                    tables: manifest.tables.clone(),
                    large_objects: manifest.large_objects.clone(),
                    hashes: true,
                })
            }
            From::File { place, .. } => {
                let expected = self.body.check().await;
                expected.with_context(|| format!("reading {place}"))
            }
        }
    }
}

impl Body {
    /// Opens a file, whatever it is, and tells its size.
    async fn open(
        place: &Location,
        database: Option<&str>,
        keys: &Keys,
        options: &Arc<RestoreOptions>,
    ) -> Result<(Body, u64)> {
        if let Some(folder) = place.folder() {
            let reader = Reader::open(folder).await?;
            return Ok((Body::Archive(Arc::new(reader)), size(folder)));
        }
        let source = stored::opened(place.source().await?, &place.to_string(), keys).await?;
        let bytes = source.len();
        if Reader::is_archive(&source).await? {
            let reader = Reader::from_source(source).await?;
            return Ok((Body::Archive(Arc::new(reader)), bytes));
        }
        let script = Script::open(source).await?.in_encoding(options.encoding.clone());
        let contents = script::Contents::read(script, database, options).await?;
        Ok((Body::Script(Box::new(contents)), bytes))
    }

    fn describe(&self, place: &Location, bytes: u64) -> plan::File {
        let file = plan::File {
            name: place.to_string(),
            packing: place.packing(),
            bytes,
            ..plan::File::default()
        };
        match self {
            Body::Archive(reader) => plan::File {
                format: reader.facts().format.to_ascii_lowercase(),
                database: Some(reader.header().database.clone()),
                created: Some(reader.header().created),
                server_version: reader.header().server_version.clone(),
                ..file
            },
            Body::Script(script) => plan::File {
                format: match script.script.algorithm() {
                    Algorithm::None => "plain".to_owned(),
                    algorithm => format!("plain, {}", algorithm.name()),
                },
                database: script.section.clone(),
                server_version: script.server_version.clone(),
                tables: Some(script.tables),
                rows: Some(script.rows),
                data_bytes: Some(script.bytes),
                ..file
            },
        }
    }

    /// Reads an archive once as a whole; a script was read before the plan.
    async fn check(&self) -> Result<Expected> {
        let Body::Archive(reader) = self else {
            return Ok(Expected {
                tables: Vec::new(),
                large_objects: None,
                hashes: false,
            });
        };
        let contents = verify::contents(reader).await?;
        Ok(Expected {
            tables: contents.tables,
            large_objects: Some(contents.large_objects),
            hashes: false,
        })
    }
}

/// Holds a copy and reads it whole: a restore takes no store's word for what will be loaded.
async fn check(shelf: &Shelf, manifest: &Manifest, until: Option<DateTime<Utc>>) -> Result<()> {
    if let Some(until) = until {
        shelf.hold(manifest.id, until).await?;
    }
    shelf.check(&manifest.archive, &|_| ()).await.map(drop)
}

/// Remembers what a restore found out about a copy: a restore that was proven has proven its backup.
async fn remember(shelf: &Shelf, id: BackupId, at: DateTime<Utc>, problems: Vec<String>, by: &str) {
    let check = Check {
        id,
        at,
        depth: if problems.is_empty() { Depth::Full } else { Depth::Quick },
        problems,
        by: by.to_owned(),
        checksums: Vec::new(),
    };
    if let Err(error) = shelf.record_check(&check).await {
        tracing::warn!("the result of the check could not be recorded in {shelf}: {error:#}");
    }
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.from {
            From::Backup { manifest, .. } => manifest.id.fmt(f),
            From::File { place, .. } => place.fmt(f),
        }
    }
}

impl Expected {
    /// Bytes of rows by entry of the archive.
    #[must_use]
    pub fn weights(&self, entries: &[Entry]) -> HashMap<DumpId, u64> {
        let table = |table: &Table| ((table.schema.clone(), table.name.clone()), table.bytes);
        let tables: HashMap<_, _> = self.tables.iter().map(table).collect();
        let weight = |entry: &Entry| {
            let bytes = tables.get(&(entry.namespace.clone()?, entry.tag.clone()))?;
            Some((entry.dump_id, *bytes))
        };
        let rows = entries.iter().filter(|entry| entry.desc == "TABLE DATA");
        rows.filter_map(weight).collect()
    }
}

/// Takes the nearest copy that can be opened out of `copies`, and those before it, of which it warns.
async fn nearest(copies: &mut Vec<Copy>, keys: &Keys, warn: &mut (dyn FnMut(String) + Send)) -> Result<(Copy, Reader)> {
    let mut failed = None;
    while !copies.is_empty() {
        let mut copy = copies.remove(0);
        match open(&mut copy, keys).await {
            Ok(reader) => return Ok((copy, reader)),
            Err(error) => {
                warn(format!("passing over the copy in {}: {error:#}", copy.shelf));
                failed.get_or_insert(error);
            }
        }
    }
    Err(failed.unwrap_or_else(|| anyhow::anyhow!("the backup has no further copy")))
}

async fn open(copy: &mut Copy, keys: &Keys) -> Result<Reader> {
    let manifest = &mut copy.manifest;
    stored::unseal(manifest, keys)?;
    let source = stored::archive(&copy.shelf, manifest, keys).await?;
    let path = copy.shelf.file_path(&manifest.archive.name);
    let reader = Reader::from_source(source).await;
    reader.with_context(|| format!("reading {path} in {}", copy.shelf.store()))
}

/// Bytes of all files of a folder.
fn size(folder: &Path) -> u64 {
    let Ok(files) = std::fs::read_dir(folder) else { return 0 };
    let sizes = files.flatten().filter_map(|file| Some(file.metadata().ok()?.len()));
    sizes.sum()
}

/// Whether the backups of this job never have some of the database: a restore replaces the whole all the same.
pub(super) fn is_partial(job: &Job) -> bool {
    let options = &job.dump.options;
    let patterns = [
        &options.include_schemas,
        &options.exclude_schemas,
        &options.include_tables,
        &options.exclude_tables,
        &options.exclude_table_data,
    ];
    options.large_objects == Some(false) || patterns.iter().any(|patterns| !patterns.is_empty())
}
