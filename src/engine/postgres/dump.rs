//! One dump, from connection to finished archive.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio_util::task::AbortOnDropHandle;

use super::awake::Awake;
use super::catalog::object::{Object, Oid};
use super::catalog::sessions::Sessions;
use super::catalog::{Catalog, Kind, dependency, emit, large_object, lock, preflight, schema, table_data};
use super::connect::session::Session;
use super::connect::{self, Dsn};
use super::options::{DumpOptions, Inserts};
use super::output::Target;
use super::progress::{Progress, Silent};
use super::server::Server;
use super::sizes::{self, Sizes};
use super::snapshot::{self, Encoding, SessionOptions};
use super::spelling::Spelling;
use super::warning::Warning;
use super::workers::{self, Workers};
use super::{identity, order, rows, watch};
use crate::archive::options::Sections;
use crate::archive::summary::{count, schema_hash};
use crate::archive::toc::Entry;
use crate::archive::{Format, Header, RestoreOptions, Writer};
use crate::error::Result;
use crate::manifest::{self, Source, Written};
use crate::names::Names;
use crate::seal::Compression;
use crate::sql::quote::Quote;
use crate::store::Upload;

/// What to dump, how, and in which form. The default is `pg_dump -Fc`.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// What to dump.
    pub options: DumpOptions,
    /// How its sessions are set up.
    pub session: SessionOptions,
    /// The form of the archive.
    pub format: Format,
    /// `-Z`.
    pub compress: Compression,
    /// `--section`.
    pub sections: Sections,
    /// `-S`, `--superuser`: who disables triggers in the plain format.
    pub superuser: Option<String>,
    /// `--restrict-key`: a fixed key instead of a random one.
    pub restrict_key: Option<String>,
    /// `-v`: more comments in the plain format.
    pub verbose: bool,
    /// Connections were asked for, as many as pg_dump opens: `-v` tells of them, and of each item that is finished.
    pub parallel: bool,
    /// Connections that read rows at the same time; 0 counts as 1.
    pub jobs: usize,
    /// Cancels the dump when its locks make others wait for longer.
    pub max_lock_wait: Option<Duration>,
    /// The order in which the values of rows are read, where it is not the tables' own.
    pub columns: Arc<ColumnOrder>,
    /// Of these columns only those are read that a table has, also where it has more; else such a table is read in its own
    /// order.
    pub common_columns: bool,
    /// The tables whose rows are read, where these are not all; the others are as if they had none.
    pub rows_of: Option<Names>,
    /// Tables by schema and name whose rows are not read, as if they had none.
    pub skip_rows_of: Arc<HashSet<(String, String)>>,
    /// Rows and large objects are only hashed, and nothing is written: the entries are in [`Dumped::toc`].
    pub hash_only: bool,
}

/// The columns of tables by schema and name, in the order in which an archive has their values.
pub type ColumnOrder = HashMap<(String, String), Vec<String>>;

/// The order of columns that `entries` have their rows in.
#[must_use]
pub fn column_order(entries: &[Entry]) -> ColumnOrder {
    let rows = entries.iter().filter(|entry| entry.desc == "TABLE DATA");
    let order = rows.filter_map(|entry| {
        let name = (entry.namespace.clone()?, entry.tag.clone());
        Some((name, entry.copy_columns()?))
    });
    order.collect()
}

impl Request {
    /// The key of `\restrict`, for formats in which the pg_dump of the server's release writes one.
    ///
    /// # Errors
    /// There are no random numbers to make one of.
    pub fn key(&self, server: &Server) -> Result<Option<String>> {
        let restricts = match self.format {
            Format::Plain => server.has_restrict(),
            Format::Tar => server.has_restrict_in_tar(),
            Format::Custom | Format::Directory => false,
        };
        match (restricts, &self.restrict_key) {
            (false, _) => Ok(None),
            (true, Some(key)) => Ok(Some(key.clone())),
            (true, None) => random_key().map(Some),
        }
    }

    /// Whether the rows of the table `name` of `schema` are read.
    pub(super) fn reads(&self, schema: &str, name: &str) -> bool {
        let asked_for = self.rows_of.as_ref().is_none_or(|names| names.has(schema, name));
        asked_for
            && (self.skip_rows_of.is_empty() || !self.skip_rows_of.contains(&(schema.to_owned(), name.to_owned())))
    }

    /// How sessions to `dsn` are set up: where the request names no encoding, the connection may.
    #[must_use]
    pub fn session_options(&self, dsn: &Dsn) -> SessionOptions {
        let mut options = self.session.clone();
        if options.encoding == Encoding::Own {
            options.encoding = match &dsn.client_encoding {
                Some(encoding) => Encoding::Named(encoding.clone()),
                None if dsn.encoding_as_set => Encoding::AsSet,
                None => Encoding::Own,
            };
        }
        options
    }
}

/// What a finished dump says of itself.
#[derive(Clone, Debug)]
pub struct Dumped {
    /// The database that was dumped.
    pub source: Source,
    /// How its values are written.
    pub spelling: Spelling,
    /// `none`, `gzip`, `lz4` or `zstd`.
    pub compression: String,
    /// How many entries of each type the archive has.
    pub entries: BTreeMap<String, u64>,
    /// The tables whose rows it has.
    pub tables: Vec<manifest::Table>,
    /// The large objects that it has, all together.
    pub large_objects: manifest::LargeObjects,
    /// The extensions with their versions.
    pub extensions: BTreeMap<String, String>,
    /// Whose schema `public` is, where no entry tells (see [`schema::untold_owner`]).
    pub public_owner: Option<String>,
    /// SHA-256 (hex) of all definitions.
    pub schema_hash: String,
    /// What the dump warned of.
    pub warnings: Vec<Warning>,
    /// Size and digests of what was written, to compare with what is read back.
    pub written: Written,
    /// The entries of a dump that only hashes, in the order of an archive; else none.
    pub toc: Arc<Vec<Entry>>,
}

/// Tables whose details are worth more sessions: to connect them takes as long as to read a few hundred tables.
const WORTH_HELP: usize = 500;
/// Dumps the database of `dsn` into `upload` as one object, and makes it durable.
///
/// # Errors
/// Anything that keeps the archive from being complete and right. The upload is aborted then: nothing
/// appears under its name.
pub async fn dump(dsn: &Dsn, request: &Request, upload: Box<dyn Upload>, progress: &dyn Progress) -> Result<Dumped> {
    dump_to(dsn, request, Target::one(upload), progress).await
}

/// The same into any target; the directory format needs a folder.
///
/// # Errors
/// As [`dump`].
pub async fn dump_to(dsn: &Dsn, request: &Request, mut target: Target, progress: &dyn Progress) -> Result<Dumped> {
    match run(dsn, request, &mut target, progress).await {
        Ok((head, dumped)) => {
            let written = target.finish(head).await.context("finishing the archive")?;
            Ok(Dumped { written, ..dumped })
        }
        Err(error) => {
            if let Err(also) = target.abort().await {
                tracing::warn!("what was written of the failed dump could not be removed: {also:#}");
            }
            Err(error)
        }
    }
}

async fn run(
    dsn: &Dsn,
    request: &Request,
    target: &mut Target,
    progress: &dyn Progress,
) -> Result<(bytes::Bytes, Dumped)> {
    progress.step("connecting");
    let leader = Arc::new(connect::connect(dsn).await?);
    let setup = request.session_options(dsn);
    let server = snapshot::begin(&leader, &setup).await?;
    let watch = match request.max_lock_wait {
        Some(limit) => Some(watch::start(dsn, &leader, limit).await?),
        None => None,
    };
    let run = Run {
        dsn,
        leader: &leader,
        setup,
        request,
        progress,
    };
    let work = run.read(server, target);
    match &watch {
        Some(watch) => watch.guard(work).await,
        None => work.await,
    }
}

/// Dumps over one session that is in a transaction, and so sees what that has done. Its settings are as before then.
///
/// # Errors
/// As [`dump`]; the transaction has failed then.
pub async fn dump_within(
    session: &Arc<Session>,
    dsn: &Dsn,
    request: &Request,
    upload: Box<dyn Upload>,
) -> Result<Dumped> {
    let request = Request {
        jobs: 1,
        ..request.clone()
    };
    let mut target = Target::one(upload);
    let (run, server) = within(session, dsn, &request, request.session_options(dsn)).await?;
    let (head, dumped) = run.read(server, &mut target).await?;
    session.run(LEAVE).await?;
    let written = target.finish(head).await?;
    Ok(Dumped { written, ..dumped })
}

/// Ends the settings and locks of a dump inside a transaction.
const LEAVE: &str = "ROLLBACK TO SAVEPOINT dump; RELEASE SAVEPOINT dump";

/// The entries of the database that a session is in, as its transaction sees it, with the dependencies that an archive
/// has, and how their text is quoted; in the encoding of the database.
///
/// # Errors
/// As [`dump_within`].
pub async fn entries_within(session: &Arc<Session>, dsn: &Dsn) -> Result<(Vec<Entry>, Quote)> {
    let request = Request::default();
    let (run, server) = within(session, dsn, &request, SessionOptions::default()).await?;
    let (mut cat, _) = run.catalogs(server, &mut Workers::new(dsn, &run.setup, 1)).await?;
    let mut entries = run.entries(&mut cat)?;
    dependency::reduce(&cat, &mut entries, &restore_options(&cat, &request)?);
    session.run(LEAVE).await?;
    Ok((entries, cat.quote()))
}

/// Begins what [`LEAVE`] ends.
async fn within<'a>(
    session: &'a Arc<Session>,
    dsn: &'a Dsn,
    request: &'a Request,
    setup: SessionOptions,
) -> Result<(Run<'a>, Server)> {
    session.run("SAVEPOINT dump").await?;
    let server = snapshot::join(session, &setup).await?;
    let run = Run {
        dsn,
        leader: session,
        setup,
        request,
        progress: &Silent,
    };
    Ok((run, server))
}

/// A dump whose leading session is in its transaction.
struct Run<'a> {
    dsn: &'a Dsn,
    leader: &'a Arc<Session>,
    setup: SessionOptions,
    request: &'a Request,
    progress: &'a dyn Progress,
}

impl Run<'_> {
    /// Reads the catalogs, and which database it is. Nothing waits that can be asked for at the same time.
    async fn catalogs(&self, server: Server, workers: &mut Workers<'_>) -> Result<(Catalog, Source)> {
        let leader: &Session = self.leader;
        let mut cat = Catalog::new(server, options(self.request));
        let (source, (), ()) = futures_util::try_join!(
            identity::read(leader),
            workers.export(leader),
            cat.read_identities(leader, self.progress)
        )?;
        let tables = cat.tables().filter(|(_, table)| table.interesting).count();
        let sessions = if tables < WORTH_HELP { 1 } else { workers.jobs };
        futures_util::try_join!(
            lock::tables(&cat, leader, self.request.sections.data),
            workers.connect(sessions)
        )?;
        let helpers = workers.connected.as_slice();
        cat.read_details(Sessions { leader, helpers }, self.progress).await?;
        Ok((cat, source))
    }

    /// What the archive will have, in its order.
    fn entries(&self, cat: &mut Catalog) -> Result<Vec<Entry>> {
        let sorted = order::sort(cat)?;
        self.progress.known(cat);
        emit::entries(cat, &sorted)
    }

    async fn read(&self, server: Server, target: &mut Target) -> Result<(bytes::Bytes, Dumped)> {
        let (leader, request, progress) = (self.leader, self.request, self.progress);
        progress.step("reading the catalogs");
        let mut workers = Workers::new(self.dsn, &self.setup, request.jobs);
        let (mut cat, source) = self.catalogs(server, &mut workers).await?;
        // The server opens each table for it, while the entries are made here.
        let sizes = sizes::ask(leader, &cat, request);
        let mut entries = self.entries(&mut cat)?;
        let restore = restore_options(&cat, request)?;
        if request.format != Format::Plain {
            dependency::reduce(&cat, &mut entries, &restore);
        }
        let (counts, schema_hash) = (count(&entries), schema_hash(&entries));
        let spelling = cat.server.spelling.within(&cat, &entries);
        let public_owner = schema::untold_owner(&cat);
        let extensions = extensions(&cat);
        let mut writer = writer(&cat, entries, request, &restore)?;
        progress.step("reading rows");
        let (plan, ()) = futures_util::try_join!(plan(leader, &cat, &writer, (request, progress), sizes), async {
            workers.early_for_rows(writer.data().len()).await
        })?;
        let sessions = workers.for_rows(leader, &plan).await?;
        // All that the rows need of the catalogs is in the plan.
        let warnings = std::mem::take(&mut cat.warnings);
        drop(cat);
        if !request.hash_only {
            begin_archive(&mut writer, target, plan.bytes, progress).await?;
        }
        // One that has nothing left to read holds the snapshot for the others.
        let awake: Vec<Awake> = sessions.iter().map(Awake::keep).collect();
        let contents = rows::run(plan, &sessions, &mut writer, target, progress).await;
        drop(awake);
        let contents = match contents {
            Ok(contents) => contents,
            Err(error) => {
                workers::cancel(&sessions).await;
                return Err(error);
            }
        };
        progress.step("finishing");
        let (head, toc) = match request.hash_only {
            true => (bytes::Bytes::new(), writer.entries().unwrap_or_default()),
            false => (end_archive(&mut writer, target, progress).await?, Arc::default()),
        };
        let dumped = Dumped {
            source,
            spelling,
            compression: request.compress.algorithm.name().to_owned(),
            entries: counts,
            tables: contents.tables,
            large_objects: contents.large_objects,
            extensions,
            public_owner,
            schema_hash,
            warnings,
            written: Written::default(),
            toc,
        };
        Ok((head, dumped))
    }
}

/// Carries the start of the archive, which may be rewritten at its end; data of about `bytes` bytes comes after it.
async fn begin_archive(writer: &mut Writer, target: &mut Target, bytes: u64, progress: &dyn Progress) -> Result<()> {
    writer.begin()?;
    progress.notes(writer.notes());
    let head = writer.head();
    target.expect(&head, bytes);
    target.carry(writer).await?;
    if !head.is_empty() {
        target.head_ends();
    }
    Ok(())
}

/// Carries the end of the archive; what comes back takes the place of its start.
async fn end_archive(writer: &mut Writer, target: &mut Target, progress: &dyn Progress) -> Result<bytes::Bytes> {
    writer.finish(chrono::Local::now().naive_local())?;
    progress.notes(writer.notes());
    target.carry(writer).await?;
    target.write_waiting().await?;
    Ok(writer.head())
}

/// An archive always can restore the database itself; text only when that is asked for.
fn options(request: &Request) -> DumpOptions {
    let mut options = request.options.clone();
    options.create |= request.format != Format::Plain;
    options
}

/// What the archive holds of the database, and how its text is printed.
fn restore_options(cat: &Catalog, request: &Request) -> Result<RestoreOptions> {
    Ok(RestoreOptions {
        sections: request.sections,
        superuser: request.superuser.clone(),
        restrict_key: request.key(&cat.server)?,
        verbose: request.verbose,
        finished_items: request.parallel,
        ..cat.options.for_printing()
    })
}

fn writer(cat: &Catalog, entries: Vec<Entry>, request: &Request, options: &RestoreOptions) -> Result<Writer> {
    let header = Header {
        created: chrono::Local::now().naive_local(),
        database: cat.server.database.clone(),
        server_version: cat.server.version.clone(),
        dumper_version: format!("{} (Snapback {})", cat.server.number(), env!("CARGO_PKG_VERSION")),
    };
    Writer::new(request.format, header, entries, options, cat.quote(), request.compress)
}

/// A key for `\restrict` that nobody who wrote into the database could have known: from the system's random source.
///
/// # Errors
/// The system gives none.
pub fn random_key() -> Result<String> {
    let mut bytes = [0; 32];
    let source = rustls::crypto::ring::default_provider().secure_random;
    source
        .fill(&mut bytes)
        .map_err(|_| anyhow::anyhow!("the system gives no random numbers for the key of \\restrict"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// What is to be read for each entry that has data, in the order of the archive.
async fn plan(
    leader: &Session,
    cat: &Catalog,
    writer: &Writer,
    (request, progress): (&Request, &dyn Progress),
    sizes: AbortOnDropHandle<Result<Sizes>>,
) -> Result<rows::Plan> {
    let mut data = Vec::new();
    for id in writer.data() {
        let object = cat.get(id).context("rows of an unknown object")?;
        let one = match &object.kind {
            Kind::TableData(it) => rows_of(cat, it, request)?,
            Kind::LargeObjectData => rows::Data::Objects(large_object::data_oids(cat, object)),
            _ => anyhow::bail!("entry {id} has no rows"),
        };
        data.push((id, one));
    }
    let tables: Vec<Oid> = data.iter().filter_map(|(_, data)| table_oid(data)).collect();
    preflight::unchanged(leader, &tables).await?;
    // A superuser may do everything.
    let objects: Vec<Oid> = data.iter().flat_map(|(_, data)| large_objects(data)).copied().collect();
    if !objects.is_empty() && !cat.server.superuser {
        preflight::large_objects(leader, cat.server.major(), &objects).await?;
    }
    let sizes = sizes.await.context("asking for the sizes of tables")??;
    let bytes = sizes.tell(data.iter_mut().map(|(_, data)| data));
    progress.expect(bytes);
    Ok(rows::Plan {
        data,
        bytes,
        hash_only: request.hash_only,
        inserts: cat.options.inserts.map(|inserts| Inserts {
            rows: inserts.rows.max(1),
            ..inserts
        }),
        quote: cat.quote(),
    })
}

/// Where the rows of a table come from, in the order that is asked for.
fn rows_of(cat: &Catalog, it: &table_data::TableData, request: &Request) -> Result<rows::Data> {
    let mut source = table_data::source(cat, it)?;
    if !request.reads(&source.schema, &source.name) {
        return Ok(rows::Data::Unread(Box::new(source)));
    }
    let order = &request.columns;
    if !order.is_empty()
        && let Some(columns) = order.get(&(source.schema.clone(), source.name.clone()))
    {
        match request.common_columns {
            true => source.read_common(columns, &cat.quote()),
            false => source.read_in_order(columns, &cat.quote()),
        }
    }
    Ok(rows::Data::Rows(Box::new(source), 0))
}

/// The extensions, by name, with their versions.
fn extensions(cat: &Catalog) -> BTreeMap<String, String> {
    let version = |object: &Object| match &object.kind {
        Kind::Extension(it) => Some((object.name.clone(), it.extversion.clone())),
        _ => None,
    };
    cat.objects().filter_map(version).collect()
}

fn large_objects(data: &rows::Data) -> &[Oid] {
    match data {
        rows::Data::Rows(..) | rows::Data::Unread(_) => &[],
        rows::Data::Objects(oids) => oids,
    }
}

fn table_oid(data: &rows::Data) -> Option<Oid> {
    match data {
        rows::Data::Rows(source, _) => Some(source.oid),
        rows::Data::Unread(_) | rows::Data::Objects(_) => None,
    }
}
