//! What a restore will do, decided before anything is done.

use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, Utc};
use rustix::fs::{Access, access};
use serde::Serialize;

use super::origin::{Content, Subject};
use crate::engine::sqlite::failure::{explain, folder, is_damage};
use crate::engine::sqlite::{open, unpack, users};
use crate::error::{Exit, Fail, Result};
use crate::find::FromOther;
use crate::manifest::{Identity, Source};

/// How a backup becomes a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Into the live file, or where it was if it is gone.
    Replace,
    /// Into a file that does not exist yet.
    New(PathBuf),
}

const REPLACE: &str = "replace";

/// What will happen.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    /// The job.
    pub job: String,
    /// `replace` or `new`.
    pub mode: &'static str,
    /// Name of the file, which is typed to confirm.
    pub database: String,
    /// The file, symbolic links followed.
    pub path: PathBuf,
    /// That what is restored is of another database, in one sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub other: Option<String>,
    /// What is restored.
    pub what: Subject,
    /// The only tables of it that are restored; none where it is restored as a whole.
    pub tables: Vec<String>,
    /// What is there now.
    pub replaces: Option<Live>,
    /// About how many bytes of room are needed beside it, and how many there are.
    pub needed: u64,
    /// Room that there is.
    pub free: Option<u64>,
    /// Whether what is there is backed up first.
    pub safety: bool,
    /// What a person should know.
    pub warnings: Vec<String>,
    /// What is in the way.
    pub obstacles: Vec<Obstacle>,
}

/// The database that is replaced.
#[derive(Clone, Debug, Serialize)]
pub struct Live {
    /// Its size, the log included.
    pub bytes: u64,
    /// When it was last written to.
    pub changed: Option<DateTime<Utc>>,
    /// How many tables it has, and rows in all of them.
    pub tables: Option<u64>,
    /// Rows.
    pub rows: Option<u64>,
    /// The processes that have it open.
    pub open_by: Vec<String>,
    /// Why it is no database that can be written to any more; then it is set aside.
    pub broken: Option<String>,
}

/// Something that keeps a restore from being done.
#[derive(Clone, Debug, Serialize)]
pub struct Obstacle {
    /// What.
    pub what: String,
    /// What to do about it.
    pub hint: String,
    #[serde(skip)]
    exit: Exit,
}

impl Plan {
    /// Plans the restore of `content` to `path` for `job`.
    ///
    /// # Errors
    /// The folder cannot be looked at.
    pub fn new(
        job: &str,
        content: &Content,
        path: &Path,
        mode: &Mode,
        tables: Vec<String>,
        safety: bool,
    ) -> Result<Plan> {
        let target = match mode {
            Mode::Replace => path,
            Mode::New(path) => path,
        };
        let path = real(target);
        let mut plan = Plan {
            job: job.to_owned(),
            mode: match mode {
                Mode::Replace => REPLACE,
                Mode::New(_) => "new",
            },
            database: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            other: None,
            replaces: None,
            needed: content.size(),
            free: unpack::room(folder(&path)).ok(),
            what: content.describe(),
            tables,
            safety,
            warnings: Vec::new(),
            obstacles: Vec::new(),
            path,
        };
        plan.look(mode);
        plan.warn();
        Ok(plan)
    }

    /// Notes whether what is restored is a backup of another database than the one that is `here`, and refuses it where
    /// nobody said that it is meant.
    pub fn compare(&mut self, source: Option<&Source>, here: &Identity, meant: FromOther<'_>) {
        let Some(source) = source.filter(|_| self.mode == REPLACE) else {
            return;
        };
        let difference = here.difference(source);
        if difference.is_none() {
            return;
        }
        let replaces = self.replaces.is_some();
        let verb = if replaces { "would replace" } else { "becomes" };
        let mut sentence = format!("a backup of {source} {verb} {}", self.path.display());
        if difference.address {
            sentence.push_str(", which is another file at the same path now");
        } else if replaces && meant == FromOther::Refused {
            let hint = format!(
                "if that is meant, add --from-other={}; if not, look which file is named, and `snapback list` which backups are \
                 of it",
                source.database
            );
            self.obstacle(Exit::Refused, sentence.clone(), &hint);
        }
        self.other = Some(sentence);
    }

    fn obstacle(&mut self, exit: Exit, what: String, hint: &str) {
        let hint = hint.to_owned();
        self.obstacles.push(Obstacle { what, hint, exit });
    }

    /// Looks at what is there.
    fn look(&mut self, mode: &Mode) {
        let (path, above) = (self.path.clone(), folder(&self.path).to_owned());
        if !above.is_dir() {
            let what = format!("there is no folder {}", above.display());
            return self.obstacle(Exit::NotFound, what, "make it first: the database goes into it");
        }
        if access(&above, Access::WRITE_OK).is_err() {
            let what = format!("{} may not be written to", above.display());
            self.obstacle(Exit::Permission, what, "run as the user whose database it is");
        }
        if path.exists() {
            if matches!(mode, Mode::New(_)) {
                let what = format!("{} exists already", path.display());
                return self.obstacle(Exit::Usage, what, "name another file with --as");
            }
            if access(&path, Access::WRITE_OK).is_err() {
                let what = format!("{} may not be written to", path.display());
                self.obstacle(Exit::Permission, what, "run as the user whose database it is");
            }
            let live = live(&path);
            if !self.tables.is_empty() && live.broken.is_some() {
                let what = format!(
                    "{} is no database any more, so no single table can be put into it",
                    path.display()
                );
                self.obstacle(Exit::Damaged, what, "restore the backup as a whole: leave out --table");
            }
            // What is replaced stays in a journal or a log until the new one is complete.
            self.needed += self.needed.max(live.bytes);
            if live.broken.is_some() && !live.open_by.is_empty() {
                let what = format!(
                    "{} is no database any more, and it is open in {}",
                    path.display(),
                    live.open_by.join(", ")
                );
                self.obstacle(
                    Exit::Unreachable,
                    what,
                    "stop what has it open: it can only be set aside when nobody has it",
                );
            }
            self.replaces = Some(live);
        } else if !self.tables.is_empty() && *mode == Mode::Replace {
            let what = format!(
                "there is no database {} that single tables could be put into",
                path.display()
            );
            self.obstacle(
                Exit::NotFound,
                what,
                "restore the backup as a whole, or add --mode new --as FILE",
            );
        }
        if let Some(free) = self.free.filter(|free| *free < self.needed) {
            let what = format!(
                "{} bytes are needed in {}, and {free} are free",
                self.needed,
                above.display()
            );
            self.obstacle(Exit::Failure, what, "make room");
        }
    }

    fn warn(&mut self) {
        if let Some(kind) = open::network(folder(&self.path)) {
            self.warnings.push(format!(
                "it is on {kind}: locks across a network are not to be relied upon, so nobody else should have it open"
            ));
        }
        if let Subject::Backup(backup) = &self.what {
            if backup.damaged {
                self.warnings
                    .push("the database was damaged already when this backup was taken".to_owned());
            }
            if let Some(from) = backup
                .path
                .as_ref()
                .filter(|from| self.mode == "replace" && Path::new(from) != self.path)
            {
                self.warnings.push(format!("the backup is of {from}"));
            }
        }
        match &self.replaces {
            Some(live) if live.broken.is_some() => self.warnings.push(
                "what is there cannot be backed up any more: it is set aside under another name, with what is beside it".to_owned(),
            ),
            Some(_) if !self.safety => self.warnings.push("what is there is lost: no safety snapshot was asked for".to_owned()),
            _ => {}
        }
    }

    /// Refuses a restore that cannot be done.
    ///
    /// # Errors
    /// Something is in the way.
    pub fn check(&self) -> Result<(), Fail> {
        match self.obstacles.first() {
            None => Ok(()),
            Some(first) => {
                let all: Vec<&str> = self.obstacles.iter().map(|it| it.what.as_str()).collect();
                Err(Fail::new(first.exit, all.join("; ")).hint(first.hint.clone()))
            }
        }
    }
}

/// `path` with symbolic links followed, also where there is no file at their end.
fn real(path: &Path) -> PathBuf {
    if let Ok(path) = std::fs::canonicalize(path) {
        return path;
    }
    let path = match std::fs::read_link(path) {
        Ok(to) => folder(path).join(to),
        Err(_) => path.to_owned(),
    };
    match (std::fs::canonicalize(folder(&path)), path.file_name()) {
        (Ok(folder), Some(name)) => folder.join(name),
        _ => path,
    }
}

/// What there is to know of the database at `path`.
fn live(path: &Path) -> Live {
    let metadata = std::fs::metadata(path).ok();
    let size = metadata.as_ref().map_or(0, std::fs::Metadata::len);
    let mut live = Live {
        bytes: size,
        changed: None,
        tables: None,
        rows: None,
        open_by: users::of(path),
        broken: None,
    };
    let newest = [path.to_owned(), beside(path, "-wal")].into_iter().filter_map(|it| {
        let metadata = std::fs::metadata(it).ok()?;
        Some(DateTime::<Utc>::from(metadata.modified().ok()?))
    });
    live.changed = newest.max();
    if size == 0 {
        // For SQLite an empty file is a database without tables.
        (live.tables, live.rows) = (Some(0), Some(0));
        return live;
    }
    live.bytes += std::fs::metadata(beside(path, "-wal")).map_or(0, |log| log.len());
    match count(path) {
        Ok((tables, rows)) => (live.tables, live.rows) = (Some(tables), rows),
        Err(error) if is_damage(&error) => live.broken = Some(explain(error, path).to_string()),
        Err(_) => {}
    }
    live
}

/// A file beside the database.
pub(super) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(ending);
    path.into()
}

/// How many tables and rows there are; rows only where they can be counted. An error means that it cannot be opened.
fn count(path: &Path) -> rusqlite::Result<(u64, Option<u64>)> {
    let Ok(found) = open::find(path) else {
        return Ok((0, None));
    };
    let Ok(open) = open::for_reading(&found, Duration::from_secs(1)) else {
        return first_page(path).map(|()| (0, None));
    };
    first_page(path)?;
    let mut statement = match open.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND rootpage > 0") {
        Ok(statement) => statement,
        Err(_) => return Ok((0, None)),
    };
    let names = statement
        .query_map([], |row| row.get::<_, String>(0))
        .and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let Ok(names) = names else {
        return Ok((0, None));
    };
    let rows = names.iter().try_fold(0, |sum: i64, name| {
        let sql = format!(
            "SELECT count(*) FROM main.{}",
            crate::engine::sqlite::tables::quoted(name)
        );
        open.query_row(&sql, [], |row| row.get::<_, i64>(0))
            .map(|rows| sum + rows)
    });
    Ok((names.len() as u64, rows.ok().and_then(|rows| u64::try_from(rows).ok())))
}

/// Whether SQLite takes the file for a database at all: what the backup API needs to write to it.
fn first_page(path: &Path) -> rusqlite::Result<()> {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE | rusqlite::OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let file = match rusqlite::Connection::open_with_flags(path, flags) {
        Err(error) if is_damage(&error) => return Err(error),
        Err(_) => return Ok(()),
        Ok(file) => file,
    };
    // Definitions that make no sense do not matter here: they are replaced.
    open::despite_schema(&file)?;
    match file.query_row("PRAGMA schema_version", [], |_| Ok(())) {
        Err(error) if is_damage(&error) => Err(error),
        _ => Ok(()),
    }
}
