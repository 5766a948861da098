//! Which backup a word on a command line means: `latest`, an id or its beginning, or a label.
//!
//! It means the same to every verb. `latest` is the newest backup of the job's database that is whole as far as is known and
//! was not taken by a restore of what it replaced. Where a folder has no backup of that database, it is the newest of the
//! database of that name on another server, or else of any, and the verb says so.

use futures_util::future::join_all;

use crate::engine::postgres::identity;
use crate::error::{Exit, Fail, Result, exit_of};
use crate::job::Job;
use crate::manifest::{BackupId, Identity, Kind, Source};
use crate::shelf::{Backup, Copy, Names, Spot, Stock};

/// The backup that was meant.
pub struct Found {
    /// Its copies, those first that are whole as far as is known, the nearest first.
    pub copies: Vec<Copy>,
    /// What a person should know of the choice.
    pub notes: Vec<String>,
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

/// What a person said of backups of other databases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FromOther<'a> {
    /// Nothing: only a backup of the same database is restored over it.
    #[default]
    Refused,
    /// That it may be a backup of any.
    Any,
    /// That it is one of the database of this name.
    Named(&'a str),
}

impl<'a> FromOther<'a> {
    /// The database whose backups are looked for, where it was named.
    #[must_use]
    pub fn name(self) -> Option<&'a str> {
        match self {
            FromOther::Named(name) => Some(name),
            FromOther::Refused | FromOther::Any => None,
        }
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

/// The backup of `job` that `which` means; `of` names another database whose backups are meant instead. `stock` has at least the
/// names of what [`Stock::for_backup`] lists for `which`.
///
/// # Errors
/// There is no such backup, or there are several.
pub async fn find(stock: &Stock<Names>, job: &Job, which: &str, of: Option<&str>) -> Result<Found> {
    if let Some(id) = by_name(stock, which) {
        return Ok(Found {
            copies: stock.get(id).await?,
            notes: Vec::new(),
        });
    }
    if which == "latest" && of.is_none() {
        let walk = walk(stock, &job.source.identity()).await?;
        match walk.end {
            End::Whole(copies) => {
                let notes = told_of_passed(&walk.passed, copies.first().map(|copy| copy.backup.summary.id));
                return Ok(Found { copies, notes });
            }
            End::Nothing => return Err(stock.not_found(NONE_WHOLE)),
            End::Unclear => {}
        }
    }
    let opened = stock.opened().await?;
    let candidates = candidates(&opened);
    let here = here(job, &candidates, which).await;
    match choose(&candidates, which, &here, of) {
        Ok(Choice { id, notes }) => Ok(Found {
            copies: stock.get(id).await?,
            notes,
        }),
        Err(Miss::Nothing(what)) if which == "latest" => Err(stock.not_found(&what)),
        Err(Miss::Nothing(what)) => Err(Fail::new(Exit::NotFound, stock.not_found(&what).to_string())
            .hint(format!(
                "a backup is named by its id, which looks like 20261120T020000Z, the beginning of one, or its label; \
                 `snapback list {}` shows them",
                job.name
            ))
            .into()),
        Err(Miss::Ambiguous(what)) => Err(Fail::new(Exit::Usage, what)
            .hint(format!(
                "name one by its whole id; `snapback list {}` shows them",
                job.name
            ))
            .into()),
    }
}

/// Backups to look at.
#[derive(Default)]
pub struct ToLookAt {
    /// Which.
    pub ids: Vec<BackupId>,
    /// Copies of them that were opened to find them.
    opened: Vec<Copy>,
}

impl ToLookAt {
    fn of(passed: Vec<BackupId>, copies: Vec<Copy>) -> ToLookAt {
        let mut ids = passed;
        ids.extend(copies.first().map(|copy| copy.backup.summary.id));
        ToLookAt { ids, opened: copies }
    }

    /// The copy there, where it was opened already.
    pub fn take(&mut self, spot: &Spot) -> Option<Copy> {
        let is_it = |copy: &Copy| copy.shelf.place() == spot.store && copy.backup.summary.id == spot.id;
        let at = self.opened.iter().position(is_it)?;
        Some(self.opened.swap_remove(at))
    }
}

/// What is to be looked at for `which`: the backup that it means, and where that is `latest`, also the newer ones that it passes over
/// as damaged. Whoever is told by an exit code shall not believe that all is well because the one before is good, and one that
/// was mended is good again.
///
/// # Errors
/// As [`find`], but damage keeps none from being found.
pub async fn find_to_look_at(stock: &Stock<Names>, job: &Job, which: &str) -> Result<ToLookAt> {
    if let Some(id) = by_name(stock, which) {
        return match stock.ids().contains(&id) {
            true => Ok(ToLookAt::of(vec![id], Vec::new())),
            false => Err(stock.not_found(&format!("no backup {id}"))),
        };
    }
    if which != "latest" {
        let found = find(stock, job, which, None).await?;
        return Ok(ToLookAt::of(Vec::new(), found.warned()));
    }
    let walk = walk(stock, &job.source.identity()).await?;
    match walk.end {
        End::Whole(copies) => Ok(ToLookAt::of(walk.passed, copies)),
        End::Nothing if walk.passed.is_empty() => Err(stock.not_found(NONE_WHOLE)),
        End::Nothing => Ok(ToLookAt::of(walk.passed, Vec::new())),
        End::Unclear => {
            let opened = stock.opened().await?;
            let candidates = candidates(&opened);
            let here = here(job, &candidates, which).await;
            let near = nearest(&candidates, which, &here, None);
            let whole = near.iter().position(|it| it.whole).unwrap_or(near.len());
            if let Some(note) = near.first().and_then(|it| elsewhere(&here, it)) {
                tracing::warn!("{note}");
            }
            let ids = near.iter().take(whole + 1).map(|it| it.id).collect();
            Ok(ToLookAt::of(ids, Vec::new()))
        }
    }
}

/// What `latest` has not found.
const NONE_WHOLE: &str = "no backup that is whole";

/// How many backups are opened at once on the way back from the newest, after the first.
const LOOKED_AT: usize = 4;

/// The way back from the newest backup.
struct Walk {
    /// Those of the database that are damaged, and those whose manifest makes no sense.
    passed: Vec<BackupId>,
    end: End,
}

/// Where it ended.
enum End {
    /// At a whole one of the database.
    Whole(Vec<Copy>),
    /// There is none.
    Nothing,
    /// At one of another database, as far as the URL tells.
    Unclear,
}

/// Opens backups from the newest on until one is whole, as long as they are of the database that a URL tells: mostly the newest
/// is enough, and a far store answers slowly.
async fn walk(stock: &Stock<Names>, here: &Identity) -> Result<Walk> {
    let mut passed = Vec::new();
    let ids = stock.ids();
    let (first, others) = ids.split_at(ids.len().min(1));
    for ids in [first].into_iter().chain(others.chunks(LOOKED_AT)) {
        let opened = join_all(ids.iter().map(|id| stock.copies(*id))).await;
        for (id, copies) in ids.iter().zip(opened) {
            let mut copies = match copies {
                Err(error) if exit_of(&error) == Exit::Damaged => {
                    passed.push(*id);
                    continue;
                }
                copies => copies?,
            };
            let Some(first) = copies.first().map(|copy| &copy.backup.summary) else {
                continue;
            };
            if first.kind == Kind::Safety {
                continue;
            }
            let end = match here.difference(&first.source).is_none() {
                false => End::Unclear,
                true if copies.iter().any(|copy| is_good(&copy.backup)) => {
                    copies.sort_by_key(|copy| !copy.backup.is_whole());
                    End::Whole(copies)
                }
                true => {
                    passed.push(*id);
                    continue;
                }
            };
            return Ok(Walk { passed, end });
        }
    }
    let end = End::Nothing;
    Ok(Walk { passed, end })
}

/// Whether it is whole, and of a database that was.
fn is_good(backup: &Backup) -> bool {
    backup.is_whole() && !backup.summary.is_of_damaged()
}

/// The backup that a word means by the names in the stores alone: a whole id, or the beginning of one.
fn by_name(stock: &Stock<Names>, which: &str) -> Option<BackupId> {
    if let Ok(id) = which.parse() {
        return Some(id);
    }
    match beginning(stock.ids(), which).as_slice() {
        [id] => Some(*id),
        _ => None,
    }
}

/// The ids that begin with `word`, where it looks like the beginning of one.
fn beginning(ids: impl IntoIterator<Item = BackupId>, word: &str) -> Vec<BackupId> {
    let word = word.to_ascii_uppercase();
    let is_id = word.len() >= SHORTEST && word.bytes().all(|byte| byte.is_ascii_digit() || b"TZ".contains(&byte));
    let ids = ids.into_iter().filter(|id| is_id && id.to_string().starts_with(&word));
    ids.collect()
}

fn told_of_passed(passed: &[BackupId], chosen: Option<BackupId>) -> Vec<String> {
    let Some(chosen) = chosen.filter(|_| !passed.is_empty()) else {
        return Vec::new();
    };
    let passed: Vec<String> = passed.iter().map(BackupId::to_string).collect();
    let passed = passed.join(", ");
    vec![format!(
        "passed over as damaged: {passed}; {chosen} is the newest before"
    )]
}

/// All backups, the newest first.
fn candidates(stock: &Stock) -> Vec<Candidate<'_>> {
    let candidate = |id| {
        let copies: Vec<_> = stock.copies(id).map(|(_, backup)| backup).collect();
        let summary = &copies.first()?.summary;
        Some(Candidate {
            id,
            kind: summary.kind,
            label: summary.label.as_deref(),
            source: &summary.source,
            whole: copies.iter().any(|backup| is_good(backup)),
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
    if !job.source.engine().is_postgres() {
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
    let near = nearest(all, which, here, of);
    let whose = of.map_or_else(String::new, |name| format!(" of database {name:?}"));
    if near.is_empty() {
        return match which {
            "latest" => Err(Miss::Nothing(format!("no backup that is whole{whose}"))),
            word => by_beginning(all, word),
        };
    }
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
    let mut notes = told_of_passed(&passed, Some(chosen.id));
    if which != "latest" && near.len() > 1 {
        notes.push(format!(
            "{} backups have the label {which:?}: {} is the newest",
            near.len(),
            chosen.id
        ));
    }
    notes.extend(elsewhere(here, chosen).filter(|_| of.is_none()));
    Ok(Choice { id: chosen.id, notes })
}

/// The backups that a word other than an id can mean, the newest first: those whose database is the nearest to the one that is
/// here, or those `of` another one that was named.
fn nearest<'a, 'b>(all: &'a [Candidate<'b>], which: &str, here: &Identity, of: Option<&str>) -> Vec<&'a Candidate<'b>> {
    let is_of = |it: &&Candidate<'_>| of.is_none_or(|name| it.source.database == name);
    let meant: Vec<_> = all.iter().filter(|it| is_meant(it, which)).filter(is_of).collect();
    let distance = |it: &Candidate<'_>| of.is_none().then(|| distance(here, it.source));
    let nearest = meant.iter().map(|it| distance(it)).min();
    meant.into_iter().filter(|it| Some(distance(it)) == nearest).collect()
}

/// What is to be said of a backup that is not of the database that is here.
fn elsewhere(here: &Identity, chosen: &Candidate<'_>) -> Option<String> {
    let Candidate { id, source, .. } = chosen;
    let other = !here.difference(source).is_none();
    other.then(|| format!("there is no backup of {here}; {id} is one of {source}"))
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
    let ids = beginning(all.iter().map(|it| it.id), word);
    let mut newest_first = ids.iter();
    match (newest_first.next(), ids.len()) {
        (Some(id), 1) => Ok(Choice {
            id: *id,
            notes: Vec::new(),
        }),
        (None, _) => Err(Miss::Nothing(format!(
            "no backup {word:?}, neither by id, nor by the beginning of one, nor by label,"
        ))),
        (Some(_), count) => {
            let mut listed: Vec<String> = ids.iter().take(LISTED).map(BackupId::to_string).collect();
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
