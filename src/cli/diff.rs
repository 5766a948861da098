//! `snapback diff`: in what two states of a database differ.

use std::path::PathBuf;
use std::process::ExitCode;

use super::output;
use super::progress::Progress;
use super::restore::location;
use super::terminal;
use crate::cli::Globals;
use crate::config::Config;
use crate::diff::{self, Change, Contents, Diff, ObjectChange, RowsDiff, TableChange, Which};
use crate::error::{Exit, Fail, Result};
use crate::job::Job;
use crate::names::Names;

/// Options of `snapback diff`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Job, and the two states: backups (latest, an id or its beginning, a label) or `live`
    #[arg(value_name = "JOB] [A] [B", num_args = 0..=3)]
    words: Vec<String>,
    /// Compare a file as the state before: an archive of pg_dump, a database of SQLite
    #[arg(long, value_name = "FILE")]
    from: Option<String>,
    /// Only these tables and what belongs to them: NAME or SCHEMA.NAME, * and ? stand for any text; may be repeated
    #[arg(long = "table", short = 't', value_name = "NAME")]
    tables: Vec<String>,
    /// Only these schemas; may be repeated
    #[arg(long = "schema", short = 'n', value_name = "NAME")]
    schemas: Vec<String>,
    /// Compare definitions only
    #[arg(long)]
    schema_only: bool,
    /// Compare the tables that differ row by row: by primary key where there is one
    #[arg(long, conflicts_with = "schema_only")]
    rows: bool,
    /// Show the first N rows that differ of each table
    #[arg(long, value_name = "N", default_value_t = 0, requires = "rows")]
    show: usize,
    /// Exit with 11 when they differ
    #[arg(long)]
    exit_code: bool,
}

/// Runs the verb.
///
/// # Errors
/// One of the states is not there or cannot be read.
pub async fn run(globals: &Globals, mut args: Args) -> Result<ExitCode> {
    let mut named = args.words.first().cloned();
    let config = globals.config_for(&mut named).await?;
    let (job, states) = states(&config, named, &mut args.words)?;
    let (before, after) = sides(&config, job, args.from.as_deref(), &states)?;
    let progress = Progress::new(!globals.json);
    let step = |text: &str| progress.step(text);
    let warn = |text: String| progress.warn(&text);
    let request = diff::Request {
        job,
        live: None,
        before,
        after,
        names: Names {
            tables: args.tables,
            schemas: args.schemas,
        },
        schema_only: args.schema_only,
        rows: args.rows,
        show: args.show,
        step: &step,
        warn: &warn,
    };
    let found = diff::diff(&request).await;
    progress.end();
    let found = found?;
    match globals.json {
        true => output::json(&found)?,
        false => print(&found)?,
    }
    match found.differ && args.exit_code {
        true => Ok(super::code(Exit::Differs)),
        false => Ok(ExitCode::SUCCESS),
    }
}

/// The job that the first word names, and the words after it.
fn states<'a>(config: &'a Config, named: Option<String>, words: &mut Vec<String>) -> Result<(&'a Job, Vec<String>)> {
    let is_job = named
        .as_deref()
        .is_some_and(|named| config.jobs.iter().any(|job| job.name == named));
    let job = match is_job || (words.len() > 2 || config.jobs.len() != 1) {
        true => config.job(named.as_deref())?,
        false => config.job(None)?,
    };
    let skip = usize::from(is_job);
    Ok((job, words.drain(..).skip(skip).collect()))
}

/// The two states that are meant: the newest backup and the live database where nothing is said.
fn sides(config: &Config, job: &Job, from: Option<&str>, states: &[String]) -> Result<(Which, Which)> {
    let which = |word: &String| match word.as_str() {
        "live" => Which::Live,
        word => Which::Backup(word.to_owned()),
    };
    let file = match from {
        None => None,
        Some(from) if job.source.engine().is_postgres() => Some(Which::Archive(location(config, from)?)),
        Some(from) => Some(Which::File(PathBuf::from(from))),
    };
    match (file, states) {
        (Some(file), []) => Ok((file, Which::Live)),
        (Some(file), [after]) => Ok((file, which(after))),
        (Some(_), _) => Err(
            Fail::new(Exit::Usage, "--from is one of the two states, and two more are named")
                .hint("name only one beside it")
                .into(),
        ),
        (None, []) => Ok((Which::Backup("latest".to_owned()), Which::Live)),
        (None, [before]) => Ok((which(before), Which::Live)),
        (None, [before, after, ..]) => Ok((which(before), which(after))),
    }
}

fn print(found: &Diff) -> Result<()> {
    output::coloured(&text(found), terminal::has_colour_output())
}

/// A line, and whether it is of something new (`+`), of something that is gone (`-`), or neither.
pub type Line = (char, String);

/// The comparison as lines.
pub fn text(found: &Diff) -> Vec<Line> {
    let mut lines = vec![
        ('-', format!("--- {}", found.before.title())),
        ('+', format!("+++ {}", found.after.title())),
    ];
    lines.extend(body(found));
    lines
}

/// The same without the names of both sides.
pub fn body(found: &Diff) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut plain = |text: String| lines.push((' ', text));
    for note in &found.notes {
        plain(format!("Note: {note}"));
    }
    for change in &found.extensions {
        let version = |value: &Option<String>| value.clone().unwrap_or_default();
        plain(format!(
            "extension {}: version {} -> {}",
            change.name,
            version(&change.before),
            version(&change.after)
        ));
    }
    for object in &found.objects {
        lines.extend(object_lines(object));
    }
    for table in found.differing() {
        lines.extend(table_lines(table));
    }
    let mut plain = |text: String| lines.push((' ', text));
    for change in &found.sequences {
        let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".to_owned());
        plain(format!(
            "sequence {}: {} -> {}",
            change.name,
            value(&change.before),
            value(&change.after)
        ));
    }
    if let Some(change) = &found.large_objects {
        plain(format!(
            "large objects: {} -> {}, {}",
            output::count(change.before.count),
            output::count(change.after.count),
            if change.before.hash == change.after.hash {
                "same contents"
            } else {
                "other contents"
            }
        ));
    }
    plain(summary(found));
    lines
}

/// How much differs, in one line.
pub fn summary(found: &Diff) -> String {
    let differing = found.differing().count();
    let same = found.tables.len() - differing;
    match found.differ {
        false => format!("no difference ({} compared)", output::plural(same as u64, "table")),
        true => format!(
            "{} and {} differ, {} the same",
            output::plural(found.objects.len() as u64, "object"),
            output::plural(differing as u64, "table"),
            match same {
                1 => "1 table is".to_owned(),
                same => format!("{} tables are", output::count(same as u64)),
            }
        ),
    }
}

fn object_lines(object: &ObjectChange) -> Vec<Line> {
    let name = match &object.schema {
        Some(schema) => format!("{schema}.{}", object.name),
        None => object.name.clone(),
    };
    let (sign, word) = match object.change {
        Change::Added => ('+', "added"),
        Change::Removed => ('-', "removed"),
        Change::Changed => (' ', "changed"),
    };
    let mut lines = vec![(sign, format!("{} {name} {word}", object.kind))];
    lines.extend(object.diff.lines().map(|line| {
        let sign = line.chars().next().filter(|sign| "+-".contains(*sign)).unwrap_or(' ');
        (sign, format!("    {line}"))
    }));
    lines
}

fn table_lines(table: &TableChange) -> Vec<Line> {
    let rows = |rows: u64| output::plural(rows, "row");
    let text = match (table.rows_before, table.rows_after) {
        (None, after) => {
            return vec![(
                '+',
                format!("rows of {}: new, {}", table.full_name(), rows(after.unwrap_or(0))),
            )];
        }
        (Some(before), None) => return vec![('-', format!("rows of {}: gone, {}", table.full_name(), rows(before)))],
        (Some(before), Some(after)) if before == after => rows(after),
        (Some(before), Some(after)) => format!("{} -> {}", rows(before), rows(after)),
    };
    let columns = table
        .columns
        .as_ref()
        .map_or_else(String::new, |columns| format!(" (compared by {})", columns.join(", ")));
    let contents = match (table.contents, table.rows_before == table.rows_after) {
        (Contents::Unknown, _) => ", contents cannot be compared",
        (_, true) => ", other contents",
        (_, false) => "",
    };
    let mut lines = vec![(' ', format!("rows of {}: {text}{contents}{columns}", table.full_name()))];
    if let Some(rows) = &table.rows {
        lines.extend(row_lines(rows));
    }
    lines
}

fn row_lines(rows: &RowsDiff) -> Vec<Line> {
    let by = match rows.key.as_slice() {
        [] => "no primary key".to_owned(),
        key => format!("by {}", key.join(", ")),
    };
    let count = output::count;
    let mut lines = vec![(
        ' ',
        format!(
            "    {} added, {} removed, {} changed ({by})",
            count(rows.added),
            count(rows.removed),
            count(rows.changed)
        ),
    )];
    for row in &rows.shown {
        let mut line = |sign: char, row: &Vec<Option<String>>| {
            let values = rows.columns.iter().zip(row);
            let values = values.map(|(column, value)| format!("{column}={}", value.as_deref().unwrap_or("NULL")));
            lines.push((sign, format!("    {sign}{}", values.collect::<Vec<_>>().join(" "))));
        };
        row.before.iter().for_each(|row| line('-', row));
        row.after.iter().for_each(|row| line('+', row));
    }
    lines
}
