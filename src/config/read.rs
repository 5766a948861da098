//! File and environment into the raw configuration. Every key and every value is looked at by itself, so that all mistakes are
//! told at once, each with the line and column of the file or the variable that it is in.

use std::path::Path;

use serde::Deserialize as _;
use toml::de::{DeTable, DeValue};
use toml::{Spanned, Table, Value};

use super::mistakes::{Mistake, Mistakes, Places, place};
use super::raw::{self, Raw};
use super::{DEFAULT, Environment};
use crate::error::{Exit, Fail, Result};
use crate::nearest::nearest;

/// What variables of the environment begin with, in small letters.
const PREFIX: &str = "snapback__";

/// One value that was written somewhere.
struct Leaf {
    path: Vec<String>,
    value: Value,
}

/// Reads `file` and the environment, which wins. Mistakes that are found go on to those who look at what values mean.
///
/// # Errors
/// The file cannot be read, or is no TOML.
pub(super) fn read(file: Option<&Path>, environment: &Environment) -> Result<(Raw, Mistakes)> {
    let (mut places, mut leaves, mut mistakes) = (Places::new(), Vec::new(), Vec::new());
    if let Some(file) = file {
        let text = std::fs::read_to_string(file).map_err(|error| {
            Fail::new(
                Exit::Usage,
                format!("cannot read the configuration {}: {error}", file.display()),
            )
        })?;
        // Some editors begin a file with a mark that is no part of it.
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let (spans, wrong) = DeTable::parse_recoverable(text);
        if !wrong.is_empty() {
            let mut mistakes = Mistakes::default();
            for error in &wrong {
                let at = error.span().map_or(text.len(), |span| span.start);
                // Without the line itself, which may hold a password.
                mistakes.add(Mistake::new("", error.message()).at(place(file, text, at)));
            }
            return Err(mistakes.end::<Raw>(None).err().unwrap_or_else(unreadable));
        }
        find_places(spans.get_ref(), file, text, "", &mut places);
        flatten(toml::from_str::<Table>(text)?, &mut Vec::new(), &mut leaves);
    }
    let mut variables: Vec<Leaf> = environment
        .iter()
        .filter_map(|(name, value)| variable(name, value, &mut places))
        .collect();
    variables.sort_by(|one, other| one.path.cmp(&other.path));
    leaves.extend(variables);

    let schema = schema()?;
    let mut table = Table::new();
    for leaf in leaves {
        match understood(&leaf, &schema) {
            Ok(value) => insert(&mut table, &leaf.path, value),
            Err(mistake) => {
                mistakes.push(mistake);
                // The job is there all the same, and may have more mistakes.
                if let [jobs, job, key, ..] = leaf.path.as_slice()
                    && jobs == "jobs"
                    && key != "url"
                {
                    insert(&mut table, &[jobs.clone(), job.clone()], Value::Table(Table::new()));
                }
            }
        }
    }
    let mut all = Mistakes::new(places);
    mistakes.into_iter().for_each(|mistake| all.add(mistake));
    let raw = all.keep(merged(&table));
    Ok((raw.unwrap_or_default(), all))
}

/// The configuration that file and environment come to.
fn merged(table: &Table) -> Result<Raw> {
    let text = toml::to_string(table)?;
    config::Config::builder()
        .add_source(config::File::from_str(&text, config::FileFormat::Toml))
        .build()
        .and_then(config::Config::try_deserialize)
        .map_err(|error| Mistake::new("", error.to_string()).into())
}

fn unreadable() -> anyhow::Error {
    Fail::new(Exit::Usage, "the configuration cannot be read").into()
}

/// A variable's key and value.
fn variable(name: &str, value: &str, places: &mut Places) -> Option<Leaf> {
    let lower = name.to_lowercase();
    let path: Vec<String> = lower.strip_prefix(PREFIX)?.split("__").map(str::to_owned).collect();
    let path = canonical(path);
    places.insert(path.join("."), format!("the variable {name}"));
    Some(Leaf {
        path,
        value: Value::String(value.to_owned()),
    })
}

/// `store` is short for `stores`.
fn canonical(mut path: Vec<String>) -> Vec<String> {
    if let [jobs, _, key] = path.as_mut_slice()
        && jobs == "jobs"
        && key == "store"
    {
        "stores".clone_into(key);
    }
    path
}

/// Where every key of the file is.
fn find_places(table: &DeTable<'_>, file: &Path, text: &str, parent: &str, places: &mut Places) {
    for (key, value) in table {
        let name = match parent {
            "" => key.get_ref().to_string(),
            parent => format!("{parent}.{}", key.get_ref()),
        };
        let path = canonical(name.split('.').map(str::to_owned).collect()).join(".");
        // A section that is written twice begins where it is first.
        places
            .entry(path)
            .or_insert_with(|| place(file, text, key.span().start));
        find_in_value(value, file, text, &name, places);
    }
}

fn find_in_value(value: &Spanned<DeValue<'_>>, file: &Path, text: &str, name: &str, places: &mut Places) {
    if let DeValue::Table(table) = value.get_ref() {
        find_places(table, file, text, name, places);
    }
}

/// All values of a table, with their paths. A table without any is one itself.
fn flatten(table: Table, path: &mut Vec<String>, leaves: &mut Vec<Leaf>) {
    for (key, value) in table {
        path.push(key);
        match value {
            Value::Table(table) if !table.is_empty() => flatten(table, path, leaves),
            value => leaves.push(Leaf {
                path: canonical(path.clone()),
                value,
            }),
        }
        path.pop();
    }
}

/// Every key that there is, as JSON; sections that have names of their own have one example.
fn schema() -> Result<serde_json::Value> {
    let job = raw::Job {
        retention: Some(raw::Retention::default()),
        encryption: Some(raw::Encryption::default()),
        ..raw::Job::default()
    };
    let store = raw::Store {
        s3: Some(super::store::RawS3::default()),
        retention: Some(raw::Retention::default()),
        ..raw::Store::default()
    };
    let whole = Raw {
        stores: [(DEFAULT.to_owned(), store)].into(),
        jobs: [(DEFAULT.to_owned(), job)].into(),
        notify: [(DEFAULT.to_owned(), raw::Notify::default())].into(),
        ..Raw::default()
    };
    Ok(serde_json::to_value(whole)?)
}

/// The value of a leaf as its key wants it, or what is wrong with it.
fn understood(leaf: &Leaf, schema: &serde_json::Value) -> Result<Value, Mistake> {
    let key = leaf.path.join(".");
    let mut here = schema;
    for (depth, name) in leaf.path.iter().enumerate() {
        let Some(known) = here.as_object() else {
            return Err(Mistake::new(
                &key,
                format!("{} is no section", leaf.path[..depth].join(".")),
            ));
        };
        here = match known.get(name) {
            Some(next) => next,
            // Stores, jobs and channels have any name, and a tag of S3 has any key.
            None if depth == 1 && matches!(leaf.path[0].as_str(), "stores" | "jobs" | "notify") => &known[DEFAULT],
            None if known.is_empty() => &serde_json::Value::Null,
            None => return Err(unknown(&leaf.path[..=depth], known)),
        };
    }
    let mut first = None;
    for value in spellings(&leaf.value) {
        let mut alone = Table::new();
        insert(&mut alone, &leaf.path, value.clone());
        match Raw::deserialize(alone) {
            Ok(_) => return Ok(value),
            Err(error) => first = first.or(Some(error.message().trim().to_owned())),
        }
    }
    Err(Mistake::new(&key, first.unwrap_or_default()))
}

fn unknown(path: &[String], known: &serde_json::Map<String, serde_json::Value>) -> Mistake {
    let (name, section) = path
        .split_last()
        .map_or(("", &[][..]), |(name, section)| (name.as_str(), section));
    let meant = nearest(name, known.keys().map(String::as_str));
    let hint = meant.map(|meant| format!("the nearest one is {meant}"));
    let section = match section {
        [] => String::new(),
        section => format!(" in [{}]", section.join(".")),
    };
    Mistake::new(&path.join("."), format!("there is no key {name:?}{section}")).hint(hint)
}

/// A value as it was written, and as others might write it: the environment knows nothing but text.
fn spellings(value: &Value) -> Vec<Value> {
    let others: Vec<Option<Value>> = match value {
        Value::String(text) => {
            let text = text.trim();
            vec![
                text.to_ascii_lowercase().parse().ok().map(Value::Boolean),
                text.parse().ok().map(Value::Integer),
            ]
        }
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) => vec![Some(Value::String(value.to_string()))],
        Value::Datetime(_) | Value::Array(_) | Value::Table(_) => Vec::new(),
    };
    std::iter::once(value.clone())
        .chain(others.into_iter().flatten())
        .collect()
}

/// Puts a value where its path leads.
fn insert(table: &mut Table, path: &[String], value: Value) {
    match path {
        [] => {}
        [key] => match (table.get_mut(key), &value) {
            // An empty section takes nothing away.
            (Some(Value::Table(_)), Value::Table(_)) => {}
            _ => {
                table.insert(key.clone(), value);
            }
        },
        [key, rest @ ..] => {
            let section = table.entry(key.clone()).or_insert_with(|| Value::Table(Table::new()));
            if !section.is_table() {
                *section = Value::Table(Table::new());
            }
            if let Value::Table(section) = section {
                insert(section, rest, value);
            }
        }
    }
}
