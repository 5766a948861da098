//! `snapback extract`: a part of a backup, without a restore.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use serde::Serialize;
use tempfile::NamedTempFile;

use super::backup::cancelled_by_signals;
use super::job_and_backup::JobAndBackup;
use super::output::{self, Table};
use crate::cli::Globals;
use crate::error::{Exit, Fail, Result};
use crate::extract::format::Format;
use crate::extract::key::Key;
use crate::extract::{Found, Opened};
use crate::manifest::BackupId;

/// Options of `snapback extract`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    which: JobAndBackup,
    #[command(flatten)]
    part: Part,
    /// How rows are written: copy, csv (with a line of names), insert, json [default: copy]
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
    /// Only the row with this primary key; a key of several columns is repeated, or has commas
    #[arg(long, value_name = "VALUE", allow_hyphen_values = true)]
    where_key: Vec<String>,
    /// File to write to, which must not be there yet [default: standard output]
    #[arg(short, long, value_name = "FILE", conflicts_with = "archive")]
    output: Option<PathBuf>,
}

/// What is wanted.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Part {
    /// The rows of this table: NAME or SCHEMA.NAME
    #[arg(short, long, value_name = "NAME")]
    table: Option<String>,
    /// The statements that define this object; of a table also its indexes, constraints and triggers
    #[arg(long, value_name = "NAME")]
    definition: Option<String>,
    /// What there is in the backup, as `pg_restore -l` lists it
    #[arg(short, long)]
    list: bool,
    /// Roles and tablespaces
    #[arg(long)]
    globals: bool,
    /// All of the database as plain SQL
    #[arg(long)]
    sql: bool,
    /// The archive itself, decrypted, into this file (`-` is standard output)
    #[arg(long, value_name = "FILE")]
    archive: Option<PathBuf>,
}

/// What programs read of what was written to a file.
#[derive(Serialize)]
struct Report<'a> {
    job: &'a str,
    backup: BackupId,
    /// The table whose rows were written.
    #[serde(skip_serializing_if = "Option::is_none")]
    table: Option<String>,
    /// How many they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    rows: Option<u64>,
    file: &'a Path,
    bytes: u64,
}

/// What was written.
#[derive(Default)]
struct Written {
    table: Option<String>,
    rows: Option<u64>,
}

/// Runs the verb.
///
/// # Errors
/// There is no such backup, or it has no such part.
pub async fn run(globals: &Globals, mut args: Args) -> Result<ExitCode> {
    if args.part.table.is_none() && (args.format.is_some() || !args.where_key.is_empty()) {
        let message = "--format and --where-key are about the rows of a table";
        return Err(Fail::new(Exit::Usage, message).hint("name it with --table").into());
    }
    let config = globals.config_for(&mut args.which.job).await?;
    let (job, which) = args.which.find(&config)?;
    let found = Found::find(job, which).await?;
    if args.part.list && globals.json {
        list_as_json(&found).await?;
        return Ok(ExitCode::SUCCESS);
    }
    let path = args.output.as_deref().or(args.part.archive.as_deref());
    let path = path.filter(|path| *path != Path::new("-"));
    let mut out = Out::create(path)?;
    let cancel = cancelled_by_signals()?;
    let written = tokio::select! {
        written = write(&args, &found, &mut out) => written,
        () = cancel.cancelled() => Err(Fail::new(Exit::Interrupted, "interrupted: what was written is not all").into()),
    };
    let written = match written {
        // Whoever reads it has seen enough.
        Err(error) if path.is_none() && is_broken_pipe(&error) => return Ok(ExitCode::SUCCESS),
        written => written?,
    };
    let Some((path, bytes)) = out.finish()? else {
        return Ok(ExitCode::SUCCESS);
    };
    let report = Report {
        job: &job.name,
        backup: found.id(),
        table: written.table,
        rows: written.rows,
        file: &path,
        bytes,
    };
    if globals.json {
        output::json(&report)?;
    } else {
        output::line(&describe(&report))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn describe(report: &Report<'_>) -> String {
    let what = match (&report.table, report.rows) {
        (Some(table), Some(rows)) => format!("{} of {table}", output::plural(rows, "row")),
        _ => output::bytes(report.bytes),
    };
    format!(
        "wrote {what} from backup {} to {}",
        report.backup,
        report.file.display()
    )
}

async fn write(args: &Args, found: &Found, out: &mut Out) -> Result<Written> {
    let Part {
        table,
        definition,
        globals,
        sql,
        archive,
        ..
    } = &args.part;
    if archive.is_some() {
        found.archive(out).await?;
        return Ok(Written::default());
    }
    if *globals {
        out.write_all(&found.globals().await?)?;
        return Ok(Written::default());
    }
    let opened = found.open().await?;
    if let Some(word) = table {
        let (format, values) = (args.format.unwrap_or_default(), args.where_key.as_slice());
        let (rows, table, key) = match &opened {
            Opened::Postgres(archive) => archive.table(word, format, values, out).await?,
            Opened::Sqlite(database) => database.table(word, format, values, out)?,
        };
        if let (Some(key), 0) = (&key, rows) {
            return Err(no_row(&table, key, found.id()).into());
        }
        return Ok(Written {
            table: Some(table),
            rows: Some(rows),
        });
    }
    match (&opened, definition) {
        (Opened::Postgres(archive), Some(word)) => out.write_all(&archive.definition(word)?)?,
        (Opened::Sqlite(database), Some(word)) => out.write_all(database.definition(word)?.as_bytes())?,
        (Opened::Postgres(archive), None) if *sql => archive.script(chrono::Local::now().naive_local(), out).await?,
        (Opened::Sqlite(database), None) if *sql => database.script(out)?,
        (Opened::Postgres(archive), None) => out.write_all(&archive.list())?,
        (Opened::Sqlite(database), None) => {
            let mut list = Table::new(&["TYPE", "NAME", "TABLE"]);
            for object in database.objects()? {
                list.row([object.kind, object.name, object.table]);
            }
            writeln!(out, "{}", list.render())?;
        }
    }
    Ok(Written::default())
}

fn no_row(table: &str, key: &Key, id: BackupId) -> Fail {
    Fail::new(
        Exit::NotFound,
        format!("backup {id} has no row with {} in {table}", key.describe()),
    )
    .hint("values are compared as the server writes them; an older backup may have it: `snapback list`")
}

async fn list_as_json(found: &Found) -> Result<()> {
    match found.open().await? {
        Opened::Postgres(archive) => output::json(&archive.objects()),
        Opened::Sqlite(database) => output::json(&database.objects()?),
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let found = error.chain().find_map(|cause| cause.downcast_ref::<io::Error>());
    found.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Where the part goes: standard output, or a file that appears when it is complete.
enum Out {
    Stdout(BufWriter<io::Stdout>),
    File {
        path: PathBuf,
        file: BufWriter<NamedTempFile>,
        bytes: u64,
    },
    /// A pipe or a device.
    Stream(BufWriter<File>),
}

impl Out {
    fn create(path: Option<&Path>) -> Result<Out> {
        let Some(path) = path else {
            return Ok(Out::Stdout(BufWriter::new(io::stdout())));
        };
        match std::fs::metadata(path) {
            Ok(found) if found.is_file() => {
                let message = format!("{} exists already, and nothing is overwritten", path.display());
                return Err(Fail::new(Exit::Usage, message).hint("name another file").into());
            }
            Ok(found) if found.is_dir() => {
                return Err(Fail::new(Exit::Usage, format!("{} is a folder, and not a file", path.display())).into());
            }
            Ok(_) => {
                let file = File::options().write(true).open(path);
                let file = file.with_context(|| format!("opening {}", path.display()))?;
                return Ok(Out::Stream(BufWriter::new(file)));
            }
            Err(_) => {}
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        // Nobody else may read it, as nobody else may read a backup.
        let file = NamedTempFile::new_in(folder).with_context(|| format!("making a file in {}", folder.display()))?;
        Ok(Out::File {
            path: path.to_owned(),
            file: BufWriter::new(file),
            bytes: 0,
        })
    }

    /// Makes the file appear; returns which, and its size.
    fn finish(mut self) -> Result<Option<(PathBuf, u64)>> {
        match self.flush() {
            Err(error) if matches!(self, Out::Stdout(_)) && error.kind() == io::ErrorKind::BrokenPipe => {
                return Ok(None);
            }
            flushed => flushed?,
        }
        let Out::File { path, file, bytes } = self else {
            return Ok(None);
        };
        let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.persist_noclobber(&path)
            .map_err(|error| error.error)
            .with_context(|| format!("making {}", path.display()))?;
        Ok(Some((path, bytes)))
    }
}

impl Write for Out {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        match self {
            Out::Stdout(out) => out.write(text),
            Out::Stream(out) => out.write(text),
            Out::File { file, bytes, .. } => {
                let written = file.write(text)?;
                *bytes += written as u64;
                Ok(written)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Out::Stdout(out) => out.flush(),
            Out::Stream(out) => out.flush(),
            Out::File { file, .. } => file.flush(),
        }
    }
}
