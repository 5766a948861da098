//! Which backup a word on a command line means: `latest`, an id or its beginning, or a label.
//!
//! It means the same to every verb. `latest` is the newest backup of the job's database that is whole as far as is known and
//! was not taken by a restore of what it replaced. Where a folder has no backup of that database, it is the newest of the
//! database of that name on another server, or else of any, and the verb says so.

use std::collections::BTreeSet;

use crate::engine::postgres::identity;
use crate::error::{Exit, Fail, Result};
use crate::job::Job;
use crate::manifest::{BackupId, Identity, Kind, Source};
use crate::shelf::{Copy, Stock};

/// The backup that was meant.
pub struct Found {
    /// Its copies, those first that are whole as far as is known, the nearest first.
    pub copies: Vec<Copy>,
    /// What a person should know of the choice.
    pub notes: Vec<String>,
    /// Newer ones that were passed over as damaged.
    pub passed: Vec<BackupId>,
}

impl Found {
    /// Says in the log what a person should know of the choice.
    #[must_use]
    pub fn warned(self) -> Vec<Copy> {
        for note in &self.notes {
            tracing::warn!("{note}");
        }
        self.copies
    }
}

/// A backup to choose from.
#[derive(Clone, Debug)]
struct Candidate<'a> {
    id: BackupId,
    kind: Kind,
    label: Option<&'a str>,
    source: &'a Source,
    whole: bool,
}

/// A choice, and what is to be said of it.
#[derive(Debug, PartialEq, Eq)]
struct Choice {
    id: BackupId,
    notes: Vec<String>,
    passed: Vec<BackupId>,
}

/// Why nothing was chosen.
#[derive(Debug, PartialEq, Eq)]
enum Miss {
    /// There is nothing of the kind.
    Nothing(String),
    /// There is too much of it.
    Ambiguous(String),
}

/// How short the beginning of an id may be.
const SHORTEST: usize = 4;

/// How many ids an error lists.
const LISTED: usize = 10;

/// The backup of `job` that `which` means; `of` names another database whose backups are meant instead.
///
/// # Errors
/// There is no such backup, or there are several.
pub async fn find(stock: &Stock, job: &Job, which: &str, of: Option<&str>) -> Result<Found> {
    if let Ok(id) = which.parse() {
        return Ok(Found {
            copies: stock.get(id)?,
            notes: Vec::new(),
            passed: Vec::new(),
        });
    }
    let candidates = candidates(stock);
    let here = here(job, &candidates, which).await;
    match choose(&candidates, which, &here, of) {
        Ok(Choice { id, notes, passed }) => Ok(Found {
            copies: stock.get(id)?,
            notes,
            passed,
        }),
        Err(Miss::Nothing(what)) => Err(stock.not_found(&what)),
        Err(Miss::Ambiguous(what)) => Err(Fail::new(Exit::Usage, what)
            .hint(format!(
                "name one by its whole id; `snapback list {}` shows them",
                job.name
            ))
            .into()),
    }
}

/// All backups, the newest first.
fn candidates(stock: &Stock) -> Vec<Candidate<'_>> {
    let candidate = |id| {
        let copies: Vec<_> = stock.copies(id).map(|(_, backup)| backup).collect();
        let manifest = &copies.first()?.manifest;
        Some(Candidate {
            id,
            kind: manifest.kind,
            label: manifest.label.as_deref(),
            source: &manifest.source,
            whole: copies.iter().any(|backup| backup.is_whole()),
        })
    };
    stock.ids().into_iter().filter_map(candidate).collect()
}

/// The database of `job`. Its server is only asked where the URL does not tell its backups from others': most backups are
/// looked for when the server is lost.
async fn here(job: &Job, candidates: &[Candidate<'_>], which: &str) -> Identity {
    let by_url = job.source.identity();
    let mut meant = candidates.iter().filter(|it| is_meant(it, which));
    let first = meant.next();
    let is_plain = first.is_none_or(|first| {
        by_url.difference(first.source).is_none() && meant.all(|it| it.source.same_database(first.source))
    });
    if is_plain {
        return by_url;
    }
    let asked = async { identity::ask(&job.source.dsn()?).await };
    match asked.await {
        Ok(here) => here,
        Err(error) => {
            tracing::info!("backups are told apart by host and name, as the server cannot be asked: {error:#}");
            by_url
        }
    }
}

fn is_meant(candidate: &Candidate<'_>, which: &str) -> bool {
    match which {
        "latest" => candidate.kind != Kind::Safety,
        label => candidate.label == Some(label),
    }
}

fn choose(all: &[Candidate<'_>], which: &str, here: &Identity, of: Option<&str>) -> Result<Choice, Miss> {
    let is_of = |it: &&Candidate<'_>| of.is_none_or(|name| it.source.database == name);
    let meant: Vec<&Candidate<'_>> = all.iter().filter(|it| is_meant(it, which)).filter(is_of).collect();
    let whose = of.map_or_else(String::new, |name| format!(" of database {name:?}"));
    if meant.is_empty() {
        return match which {
            "latest" => Err(Miss::Nothing(format!("no backup that is whole{whose}"))),
            word => by_beginning(all, word),
        };
    }
    // What was asked for by name is not weighed by what is here.
    let distance = |it: &Candidate<'_>| of.is_none().then(|| distance(here, it.source));
    let nearest = meant.iter().map(|it| distance(it)).min();
    let near: Vec<&Candidate<'_>> = meant.into_iter().filter(|it| Some(distance(it)) == nearest).collect();
    let whole = near.iter().find(|it| it.whole);
    let chosen = match (which, whole, near.first()) {
        (_, Some(chosen), _) => chosen,
        ("latest", None, _) | (_, None, None) => {
            return Err(Miss::Nothing(format!("no backup that is whole{whose}")));
        }
        // A label names it, and the error of what is done with it says what is wrong.
        (_, None, Some(chosen)) => chosen,
    };
    let passed: Vec<BackupId> = near.iter().map(|it| it.id).take_while(|id| *id != chosen.id).collect();
    let mut notes = Vec::new();
    if !passed.is_empty() {
        let passed: Vec<String> = passed.iter().map(BackupId::to_string).collect();
        notes.push(format!(
            "passed over as damaged: {}; {} is the newest before",
            passed.join(", "),
            chosen.id
        ));
    }
    if which != "latest" && near.len() > 1 {
        notes.push(format!(
            "{} backups have the label {which:?}: {} is the newest",
            near.len(),
            chosen.id
        ));
    }
    if of.is_none() && !here.difference(chosen.source).is_none() {
        let source = chosen.source;
        notes.push(format!(
            "there is no backup of {here}; {} is one of {source}",
            chosen.id
        ));
    }
    Ok(Choice {
        id: chosen.id,
        notes,
        passed,
    })
}

/// How far the database of a backup is from the one that is here, the nearest first.
fn distance(here: &Identity, source: &Source) -> u8 {
    let difference = here.difference(source);
    match difference.database {
        false if difference.is_none() => 0,
        // The server with this identifier under another address.
        false if !difference.server => 1,
        false => 2,
        true => 3,
    }
}

fn by_beginning(all: &[Candidate<'_>], word: &str) -> Result<Choice, Miss> {
    let beginning = word.to_ascii_uppercase();
    let is_id = beginning.len() >= SHORTEST
        && beginning
            .bytes()
            .all(|byte| byte.is_ascii_digit() || b"TZ".contains(&byte));
    let ids: BTreeSet<BackupId> = match is_id {
        true => all
            .iter()
            .map(|it| it.id)
            .filter(|id| id.to_string().starts_with(&beginning))
            .collect(),
        false => BTreeSet::new(),
    };
    let mut newest_first = ids.iter().rev();
    match (newest_first.next(), ids.len()) {
        (Some(id), 1) => Ok(Choice {
            id: *id,
            notes: Vec::new(),
            passed: Vec::new(),
        }),
        (None, _) => Err(Miss::Nothing(format!(
            "no backup {word:?}, neither by id, nor by the beginning of one, nor by label,"
        ))),
        (Some(_), count) => {
            let mut listed: Vec<String> = ids.iter().rev().take(LISTED).map(BackupId::to_string).collect();
            if count > LISTED {
                listed.push(format!("and {} more", count - LISTED));
            }
            Err(Miss::Ambiguous(format!(
                "{word:?} is the beginning of {count} ids: {}",
                listed.join(", ")
            )))
        }
    }
}

#[cfg(test)]
mod tests;
