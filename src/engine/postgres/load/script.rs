//! A script becomes a database: its statements one after the other on one connection, as psql runs them with
//! `ON_ERROR_STOP`, its rows counted.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context as _;
use bytes::Bytes;
use futures_util::SinkExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, SimpleQueryMessage};

use super::Progress;
use super::encoding::Encoding;
use super::missing::{Failed, Missing, SKIPPED, Tolerance, is_refused, why};
use super::rows::probe;
use super::session::{SETTINGS, code, index_settings};
use crate::archive::options::RestoreOptions;
use crate::archive::script::{Adapted, CopyOptions, Kind, Piece, Script, Statement};
use crate::engine::postgres::any_text::AnyText;
use crate::engine::postgres::connect::{Dsn, connect};
use crate::error::{Exit, Fail, Result};
use crate::sql::quote::Quote;

/// What of a script is run, and where.
pub struct ScriptLoad {
    /// The script.
    pub script: Script,
    /// The database whose statements are run; `None`: those before any `\connect`.
    pub section: Option<String>,
    /// What of it is left out, or made otherwise.
    pub options: Arc<RestoreOptions>,
    /// The database that they are run in.
    pub dsn: Dsn,
    /// Hears how it goes on.
    pub progress: Arc<dyn Progress>,
    /// The failures that it goes past.
    pub tolerance: Tolerance,
}

/// What was run.
#[derive(Debug, Default)]
pub struct Loaded {
    /// Statements.
    pub statements: u64,
    /// Statements that were left out as asked.
    pub left_out: u64,
    /// Rows that the server took in, by the OID of the table.
    pub rows: BTreeMap<u32, u64>,
    /// What it went on without.
    pub missing: Vec<Missing>,
}

/// Pieces that wait for the server, at most.
const AHEAD: usize = 16;
/// Kilobytes of pieces that wait for it. One that is larger, a statement of many megabytes, waits alone.
const ROOM: u32 = 4 << 10;
const ROOM_UNIT: usize = 1 << 10;
/// Bytes of INSERT statements that are sent together, about.
const BATCH_BYTES: usize = 256 << 10;

impl ScriptLoad {
    /// Runs it.
    ///
    /// # Errors
    /// A statement failed, with its line; or the script is damaged.
    pub async fn run(self) -> Result<Loaded> {
        let (sender, mut pieces) = mpsc::channel(AHEAD);
        let (script, section, options) = (self.script, self.section, self.options);
        let (role, merges) = (options.role.clone(), !options.role_map.is_empty());
        let runtime = tokio::runtime::Handle::current();
        // Decompressing and splitting keeps a thread busy while the server works.
        tokio::task::spawn_blocking(move || {
            if let Err(error) = runtime.block_on(pump(&script, section.as_deref(), options, &sender)) {
                // Nobody listens any more when the load has failed already.
                let _ = runtime.block_on(sender.send(Err(error)));
            }
        });
        let mut session = Session::open(&self.dsn, role, self.progress, self.tolerance).await?;
        session.merges = merges;
        while let Some(piece) = pieces.recv().await {
            let (encoding, piece, _room) = piece?;
            match piece {
                Piece::Statement(statement, Kind::Copy(table)) => {
                    session.flush().await?;
                    session.use_encoding(encoding);
                    session.copy(&statement, &table, &mut pieces).await?;
                }
                Piece::Statement(statement, kind) => {
                    session.use_encoding(encoding);
                    session.statement(statement, kind).await?;
                }
                Piece::LeftOut(_) => session.loaded.left_out += 1,
                Piece::Connect(_) => session.begin_again().await?,
                Piece::Comment(_) | Piece::Rows(..) | Piece::EndOfRows | Piece::Prints(..) => {}
            }
        }
        session.flush().await?;
        Ok(session.loaded)
    }
}

/// A piece, the client encoding that it is in, and the room that it takes until it was run.
type InEncoding = (Option<Arc<str>>, Piece, OwnedSemaphorePermit);

/// How many units of room `piece` takes: at most what there is.
fn room_of(piece: &Piece) -> u32 {
    let bytes = match piece {
        Piece::Statement(statement, _) => statement.text.len(),
        Piece::Rows(text, _) => text.len(),
        Piece::Comment(_) | Piece::Connect(_) | Piece::LeftOut(_) | Piece::EndOfRows | Piece::Prints(..) => 0,
    };
    u32::try_from(bytes / ROOM_UNIT).unwrap_or(ROOM).min(ROOM)
}

/// Reads the script and hands on what is of the `wanted` database.
async fn pump(
    script: &Script,
    wanted: Option<&str>,
    options: Arc<RestoreOptions>,
    sender: &mpsc::Sender<Result<InEncoding>>,
) -> Result<()> {
    let mut reading = Adapted::new(script.read()?, options);
    let room = Arc::new(Semaphore::new(ROOM as usize));
    let (mut section, mut encoding): (Option<String>, Option<Arc<str>>) = (None, None);
    while let Some(piece) = reading.next().await? {
        if let Piece::Connect(database) = &piece {
            section = Some(database.clone());
        }
        if section.as_deref() != wanted || !is_run(&piece) {
            continue;
        }
        if encoding.as_deref() != reading.encoding() {
            encoding = reading.encoding().map(Arc::from);
        }
        let taken = Arc::clone(&room).acquire_many_owned(room_of(&piece)).await?;
        if sender.send(Ok((encoding.clone(), piece, taken))).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// Statements about what all databases share, and about the database itself, are not run: it is there already,
/// under another name, and others are not to be touched.
fn is_run(piece: &Piece) -> bool {
    !matches!(
        piece,
        Piece::Comment(_) | Piece::Prints(..) | Piece::Statement(_, Kind::Cluster | Kind::Database(_))
    )
}

/// The one connection.
struct Session {
    client: Client,
    /// The role that all is made as.
    role: Option<String>,
    progress: Arc<dyn Progress>,
    tolerance: Tolerance,
    /// Roles become others.
    merges: bool,
    server_encoding: String,
    encoding: Encoding,
    loaded: Loaded,
    /// The script has created nothing yet.
    untouched: bool,
    /// INSERTs for one table that wait to be sent together.
    inserts: Vec<Statement>,
    /// Bytes of them.
    waiting: usize,
    /// The table that is being filled, by its name in the script.
    table: Option<(String, u32)>,
    /// By the name of a table, the place in the list of what is missing of its first INSERT that failed, and how many did.
    inserts_missing: BTreeMap<String, (usize, u64)>,
}

impl Session {
    async fn open(
        dsn: &Dsn,
        role: Option<String>,
        progress: Arc<dyn Progress>,
        tolerance: Tolerance,
    ) -> Result<Session> {
        let client = connect(dsn).await?.into_client();
        let row = client
            .query_one("SELECT pg_catalog.current_setting('server_encoding')", &[])
            .await?;
        let server_encoding: String = row.try_get(0)?;
        let session = Session {
            encoding: Encoding::of_server(&server_encoding),
            client,
            role,
            progress,
            tolerance,
            merges: false,
            server_encoding,
            loaded: Loaded::default(),
            untouched: true,
            inserts: Vec::new(),
            waiting: 0,
            table: None,
            inserts_missing: BTreeMap::new(),
        };
        session.prepare().await?;
        Ok(session)
    }

    async fn prepare(&self) -> Result<()> {
        // A script of pg_dump sets these itself; the role's or the database's own may be others.
        let timeouts = "SET statement_timeout = 0; SET lock_timeout = 0";
        let role = self
            .role
            .as_deref()
            .map(|role| format!("; SET ROLE {}", Quote::standard(14).id(role)));
        let encoding = self.encoding.of_session();
        let settings = format!(
            "SET client_encoding = '{encoding}'; {SETTINGS}; {timeouts}; {}{}",
            index_settings(1),
            role.unwrap_or_default()
        );
        let prepared = self.client.batch_execute(&settings).await;
        prepared.context("preparing the session of the load")
    }

    /// What `\connect` to the same database does: a session without a past.
    async fn begin_again(&mut self) -> Result<()> {
        self.flush().await?;
        self.client.batch_execute("DISCARD ALL").await?;
        self.prepare().await
    }

    fn use_encoding(&mut self, encoding: Option<Arc<str>>) {
        let name = encoding.as_deref().unwrap_or(&self.server_encoding);
        if self.encoding.name != name {
            self.encoding.name = name.to_owned();
        }
    }

    async fn statement(&mut self, statement: Statement, kind: Kind) -> Result<()> {
        self.progress.loaded(statement.text.len() as u64);
        self.loaded.statements += 1;
        match kind {
            Kind::Insert(table) => return self.insert(statement, table).await,
            // It says what the bytes of the script are; this session always sends UTF-8.
            Kind::Setting { name, .. } if name == "client_encoding" => return self.flush().await,
            _ => {}
        }
        self.flush().await?;
        // A table may mean another one from here on.
        self.table = None;
        // A view that others need is made empty before it is dropped.
        let creates = |what: &[u8]| statement.text.starts_with(what);
        self.untouched &= !creates(b"CREATE ") || creates(b"CREATE OR REPLACE VIEW ");
        if is_refresh(&statement) && self.tolerance.skip_refresh {
            self.loaded.missing.push(missing(&statement, SKIPPED.to_owned()));
            return Ok(());
        }
        let outcome = self.send(&statement.text).await;
        match outcome.or_else(|error| self.pass_over(&statement, &kind, error)) {
            Ok(()) => Ok(()),
            Err(error) => self.go_without(&statement, error).await.map(drop),
        }
    }

    /// Goes on without what `statement` makes, which failed with `error`, where that is allowed. Returns it.
    async fn go_without(&mut self, statement: &Statement, error: anyhow::Error) -> Result<&mut Missing> {
        let derived = is_refresh(statement) || only_owner_is_refused(statement, &error);
        let allowed = self.tolerance.keep_going || derived;
        if !allowed || !is_refused(&error) {
            return Err(error);
        }
        if self.client.batch_execute("SELECT 1").await.is_err() {
            let message = "a statement failed in a transaction of the script, which loses all that came before in it";
            let hint = "take the BEGIN and the COMMIT around it out of the script, then --keep-going passes it over";
            return Err(error.context(Fail::new(Exit::Failure, message).hint(hint)));
        }
        let all = &mut self.loaded.missing;
        all.push(Missing {
            derived,
            ..missing(statement, why(&error))
        });
        all.last_mut().context("nothing is missing")
    }

    /// The same of INSERTs, of which only the first into each table is kept.
    async fn go_without_row(&mut self, insert: &Statement, table: &str, error: anyhow::Error) -> Result<()> {
        let known = self.inserts_missing.get(table).copied();
        let missing = self.go_without(insert, error).await?;
        missing.what = format!("{}, rows of {table}", missing.what);
        missing.rows = true;
        match known {
            None => {
                let at = self.loaded.missing.len() - 1;
                self.inserts_missing.insert(table.to_owned(), (at, 1));
            }
            Some((at, count)) => {
                self.loaded.missing.pop();
                self.inserts_missing.insert(table.to_owned(), (at, count + 1));
                if let Some(first) = self.loaded.missing.get_mut(at) {
                    let start = first.what.split(" (and ").next().unwrap_or_default().to_owned();
                    first.what = format!("{start} (and {count} INSERTs more)");
                }
            }
        }
        Ok(())
    }

    async fn send(&self, sql: &[u8]) -> Result<()> {
        let sql = self.encoding.text(&self.client, sql).await?;
        Ok(self.client.batch_execute(&sql).await?)
    }

    /// Takes a failure for none where the statement was not needed.
    fn pass_over(&self, statement: &Statement, kind: &Kind, error: anyhow::Error) -> Result<()> {
        let code = code(&error);
        let missing = [
            SqlState::UNDEFINED_TABLE,
            SqlState::UNDEFINED_OBJECT,
            SqlState::UNDEFINED_FUNCTION,
            SqlState::UNDEFINED_COLUMN,
            SqlState::INVALID_SCHEMA_NAME,
        ];
        // `pg_dump --clean` begins by dropping what a new database does not have.
        if self.untouched && *kind == Kind::Drop && code.is_some_and(|code| missing.contains(code)) {
            return Ok(());
        }
        let newer_setting = matches!(kind, Kind::Setting { .. }) && code == Some(&SqlState::UNDEFINED_OBJECT);
        let comment =
            statement.text.starts_with(b"COMMENT ON EXTENSION ") && code == Some(&SqlState::INSUFFICIENT_PRIVILEGE);
        // Two roles became one, and a server has one for each.
        let second_mapping = statement.text.starts_with(b"CREATE USER MAPPING ")
            && self.merges
            && code == Some(&SqlState::DUPLICATE_OBJECT);
        let error = error.context(Failed(place(statement)));
        if newer_setting || comment || second_mapping {
            self.progress.tolerated(format!("{error:#}"));
            return Ok(());
        }
        Err(error)
    }

    /// Keeps an INSERT back until there are enough for the same table.
    async fn insert(&mut self, statement: Statement, table: String) -> Result<()> {
        if self.table.as_ref().is_none_or(|(name, _)| *name != table) {
            self.flush().await?;
            self.table = None;
            let found = self.find(&table).await.with_context(|| Failed(place(&statement)));
            if let Err(error) = found {
                return self.go_without_row(&statement, &table, error).await;
            }
        }
        self.waiting += statement.text.len();
        self.inserts.push(statement);
        if self.waiting < BATCH_BYTES {
            return Ok(());
        }
        self.flush().await
    }

    /// Finds out which table a name means now.
    async fn find(&mut self, table: &str) -> Result<()> {
        let name = crate::raw_text::encode(table);
        let found = AnyText(self.encoding.text(&self.client, &name).await?);
        let row = self
            .client
            .query_one("SELECT $1::text::pg_catalog.regclass::pg_catalog.oid", &[&found])
            .await?;
        self.table = Some((table.to_owned(), row.try_get(0)?));
        Ok(())
    }

    /// Sends the INSERTs that wait.
    async fn flush(&mut self) -> Result<()> {
        self.waiting = 0;
        let waiting = std::mem::take(&mut self.inserts);
        let (Some(first), Some(last)) = (waiting.first(), waiting.last()) else {
            return Ok(());
        };
        let sent = match waiting.as_slice() {
            // It may be a large one.
            [only] => self.send_inserts(&only.text).await,
            several => {
                let texts: Vec<&[u8]> = several.iter().map(|insert| insert.text.as_ref()).collect();
                self.send_inserts(&texts.concat()).await
            }
        };
        let Err(error) = sent else {
            return Ok(());
        };
        if self.client.is_closed() {
            return Err(error);
        }
        // They failed and were rolled back as a whole: one by one it shows which it is.
        let table = self.table.as_ref().map(|(name, _)| name.clone()).unwrap_or_default();
        let mut failed = false;
        for insert in &waiting {
            if let Err(error) = self.send_inserts(&insert.text).await {
                if code(&error) == Some(&SqlState::IN_FAILED_SQL_TRANSACTION) {
                    break;
                }
                let error = error.context(Failed(place(insert)));
                self.go_without_row(insert, &table, error).await?;
                failed = true;
            }
        }
        if failed {
            return Ok(());
        }
        Err(error.context(format!("lines {} to {}", first.line, last.line)))
    }

    async fn send_inserts(&mut self, sql: &[u8]) -> Result<()> {
        let sql = self.encoding.text(&self.client, sql).await?;
        let rows = self.client.simple_query(&sql).await?;
        let rows = rows.iter().filter_map(|message| match message {
            SimpleQueryMessage::CommandComplete(rows) => Some(*rows),
            _ => None,
        });
        let rows = rows.sum();
        self.took(rows);
        Ok(())
    }

    /// Counts rows of the table that is being filled.
    fn took(&mut self, rows: u64) {
        let Some((_, table)) = &self.table else { return };
        *self.loaded.rows.entry(*table).or_default() += rows;
    }

    async fn copy(
        &mut self,
        statement: &Statement,
        table: &str,
        pieces: &mut mpsc::Receiver<Result<InEncoding>>,
    ) -> Result<()> {
        self.loaded.statements += 1;
        let mut ended = false;
        let rows = self.copy_rows(statement, table, pieces, &mut ended).await;
        match rows.with_context(|| Failed(place(statement))) {
            Ok(rows) => self.took(rows),
            Err(error) => {
                self.table = None;
                let missing = self.go_without(statement, error).await?;
                missing.what = format!("{}, rows of {table}", missing.what);
                missing.rows = true;
                while !ended {
                    ended = !matches!(
                        pieces.recv().await.context("the script ended")??,
                        (_, Piece::Rows(..), _)
                    );
                }
            }
        }
        Ok(())
    }

    async fn copy_rows(
        &mut self,
        statement: &Statement,
        table: &str,
        pieces: &mut mpsc::Receiver<Result<InEncoding>>,
        ended: &mut bool,
    ) -> Result<u64> {
        self.find(table).await?;
        let sql = self.encoding.text(&self.client, &statement.text).await?;
        if self.tolerance.keep_going
            && let Some(probe) = probe(&sql)
        {
            self.client.batch_execute(&probe).await?;
        }
        let copy = sql.trim_end_matches(|c: char| c == ';' || c.is_whitespace());
        let options = CopyOptions::of(copy).context("it is no COPY from stdin")?;
        let copy = match self.encoding.name.as_str() {
            "UTF8" => copy.to_owned(),
            name => options.with_encoding(copy, name),
        };
        let sink = self.client.copy_in::<_, Bytes>(&copy).await?;
        tokio::pin!(sink);
        let mut sent = 0;
        while let (_, Piece::Rows(text, rows), _room) = pieces.recv().await.context("the script ended")?? {
            sent += rows;
            self.progress.loaded(text.len() as u64);
            sink.send(text).await?;
        }
        *ended = true;
        let rows = sink.finish().await?;
        // With options a row may be several lines, or a line no row.
        if rows == sent || !options.none {
            return Ok(rows);
        }
        let message = format!("the server took {rows} rows of {sent}");
        Err(Fail::new(Exit::Damaged, message).into())
    }
}

fn is_refresh(statement: &Statement) -> bool {
    statement.text.starts_with(b"REFRESH MATERIALIZED VIEW ")
}

/// Whether an event trigger was not given to its owner, who is no superuser here: it fires all the same.
fn only_owner_is_refused(statement: &Statement, error: &anyhow::Error) -> bool {
    let text = &statement.text;
    text.starts_with(b"ALTER EVENT TRIGGER ")
        && text.windows(10).any(|part| part == b" OWNER TO ")
        && code(error) == Some(&SqlState::INSUFFICIENT_PRIVILEGE)
}

/// What a statement of a script would have made.
fn missing(statement: &Statement, why: String) -> Missing {
    Missing {
        what: place(statement),
        why,
        sql: crate::raw_text::decode(&statement.text).trim().to_owned(),
        rows: false,
        derived: is_refresh(statement),
        entry: None,
        owned: None,
    }
}

fn place(statement: &Statement) -> String {
    format!("line {}: {}", statement.line, statement.name())
}
