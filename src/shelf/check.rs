//! How backups did whenever they were looked at: one small object per look, never changed.
//!
//! The name says when, how thoroughly and whether it passed, so that listing needs no further request; the text
//! has what was wrong.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{Copy, Names, RECORD_LIMIT, Shelf};
use crate::error::Result;
use crate::manifest::{BackupId, Depth, Manifest};
use crate::store::{self, Taken};

/// How many looks at a backup are remembered.
const CHECKS_KEPT: usize = 10;

/// A look at a backup, as its record has it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Check {
    /// The backup.
    pub id: BackupId,
    /// When.
    pub at: DateTime<Utc>,
    /// How thoroughly.
    pub depth: Depth,
    /// What was wrong; nothing when the backup is good.
    pub problems: Vec<String>,
    /// What looked: `verify`, `restore`, or the `copy` that made it.
    pub by: String,
    /// What the store said of the files when they were found good: where it still does, they are unchanged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checksums: Vec<String>,
}

/// A look at a backup, as the record's name has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Mark {
    /// When, to the second.
    pub at: DateTime<Utc>,
    /// How thoroughly.
    pub depth: Depth,
    /// Whether it was good.
    pub passed: bool,
}

impl Mark {
    /// `<job>_<id>.<time>.<depth>-passed` or `…-failed`.
    fn name(self, job: &str, id: BackupId) -> String {
        let outcome = if self.passed { "passed" } else { "failed" };
        // Ids have the format of a time to the second.
        format!("{job}_{id}.{}.{}-{outcome}", BackupId::at(self.at), self.depth)
    }

    /// The backup and the look that a name is about.
    pub(super) fn parse(job: &str, name: &str) -> Option<(BackupId, Mark)> {
        let rest = name.strip_prefix(job)?.strip_prefix('_')?;
        let mut parts = rest.split('.');
        let (id, at, how) = (parts.next()?, parts.next()?, parts.next()?);
        let (depth, outcome) = how.split_once('-')?;
        let mark = Mark {
            at: at.parse::<BackupId>().ok()?.time(),
            depth: [Depth::Quick, Depth::Full]
                .into_iter()
                .find(|known| known.to_string() == depth)?,
            passed: match outcome {
                "passed" => true,
                "failed" => false,
                _ => return None,
            },
        };
        parts.next().is_none().then_some((id.parse().ok()?, mark))
    }
}

impl From<&Check> for Mark {
    fn from(check: &Check) -> Self {
        Mark {
            at: check.at,
            depth: check.depth,
            passed: check.problems.is_empty(),
        }
    }
}

/// `mark` at a later second than all of `marks`, the newest of which is last: names must be in the order of the looks.
fn after(marks: &[Mark], mark: Mark) -> Mark {
    let next = marks.last().map(|newest| newest.at + chrono::TimeDelta::seconds(1));
    Mark {
        at: next.map_or(mark.at, |next| next.max(mark.at)),
        ..mark
    }
}

/// The newest failure that no later look of at least the same depth has refuted; `marks` has the newest last.
pub(super) fn standing_failure(marks: &[Mark]) -> Option<&Mark> {
    let is_refuted = |place: usize, failure: &Mark| {
        let mut later = marks.iter().skip(place + 1);
        later.any(|mark| mark.passed && mark.depth >= failure.depth)
    };
    let mut failures = marks.iter().enumerate().filter(|(_, mark)| !mark.passed);
    failures
        .rfind(|(place, failure)| !is_refuted(*place, failure))
        .map(|(_, failure)| failure)
}

/// Which of `marks`, the newest last, may be forgotten: the oldest of many, but no failure that still stands.
fn forgettable(marks: &[Mark]) -> Vec<Mark> {
    let standing = standing_failure(marks);
    let old = marks.iter().take(marks.len().saturating_sub(CHECKS_KEPT));
    old.filter(|mark| Some(*mark) != standing).copied().collect()
}

impl Shelf {
    /// Remembers a look at a backup.
    ///
    /// # Errors
    /// The store fails.
    pub async fn record_check(&self, check: &Check) -> Result<()> {
        let mut text = serde_json::to_vec_pretty(check)?;
        text.push(b'\n');
        let mut marks = self.names_of(check.id).await?.checks(check.id).to_vec();
        let mark = loop {
            let mark = after(&marks, Mark::from(check));
            let path = self.file_path(&mark.name(&self.job, check.id));
            match store::put(self.store.as_ref(), &path, Bytes::from(text.clone())).await {
                Ok(_) => break mark,
                Err(error) if error.is::<Taken>() => marks.push(mark),
                Err(error) => return Err(error),
            }
        };
        marks.push(mark);
        for mark in forgettable(&marks) {
            let path = self.file_path(&mark.name(&self.job, check.id));
            self.store.delete(&path).await?;
        }
        Ok(())
    }

    /// What a look at the backup `id` found.
    ///
    /// # Errors
    /// The store fails, or the record is damaged.
    pub async fn check_record(&self, id: BackupId, mark: Mark) -> Result<Check> {
        let path = self.file_path(&mark.name(&self.job, id));
        let text = store::get(self.store.as_ref(), &path, RECORD_LIMIT).await?;
        Ok(serde_json::from_slice(&text)?)
    }

    /// Forgets all looks at a backup that is gone.
    pub(super) async fn forget_checks(&self, id: BackupId, names: &Names) -> Result<()> {
        for mark in names.checks(id) {
            self.store.delete(&self.file_path(&mark.name(&self.job, id))).await?;
        }
        Ok(())
    }
}

impl Copy {
    /// The manifest, with what the store said of the files when it was last found good: of copies the manifest itself does
    /// not know that, and it never changes.
    pub async fn known(&self) -> Manifest {
        let mut manifest = (*self.manifest).clone();
        if let Some(mark) = self.backup.checks.iter().rev().find(|mark| mark.passed)
            // Without the record more is read, and nothing is wrong.
            && let Ok(check) = self.shelf.check_record(manifest.id, *mark).await
        {
            for file in manifest.globals.iter_mut().chain([&mut manifest.archive]) {
                file.checksums.extend(check.checksums.iter().cloned());
            }
        }
        manifest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(day: u32, depth: Depth, passed: bool) -> Mark {
        let at = format!("2026-11-{day:02}T03:04:05Z").parse().unwrap();
        Mark { at, depth, passed }
    }

    #[test]
    fn names_say_all() {
        let id: BackupId = "20261120T020000Z".parse().unwrap();
        for (depth, passed) in [(Depth::Quick, true), (Depth::Full, false)] {
            let mark = mark(21, depth, passed);
            assert_eq!(Mark::parse("a_b", &mark.name("a_b", id)), Some((id, mark)));
            assert_eq!(Mark::parse("a", &mark.name("a_b", id)), None);
        }
        assert_eq!(
            mark(21, Depth::Full, false).name("app", id),
            "app_20261120T020000Z.20261121T030405Z.full-failed"
        );
        for name in [
            "app_20261120T020000Z.json",
            "app_20261120T020000Z.20261121T030405Z.full-failed.x",
            "app_20261120T020000Z.20261121T030405Z.deep-failed",
        ] {
            assert_eq!(Mark::parse("app", name), None);
        }
    }

    #[test]
    fn each_look_has_a_second_of_its_own() {
        let first = mark(2, Depth::Quick, true);
        assert_eq!(after(&[], first), first);
        let second = after(&[first], Mark { passed: false, ..first });
        assert_eq!((second.at - first.at).num_seconds(), 1);
        // Also when the clock was set back.
        assert!(after(&[second], mark(1, Depth::Quick, true)).at > second.at);
        let next_day = mark(3, Depth::Quick, true);
        assert_eq!(after(&[first, second], next_day), next_day);
    }

    #[test]
    fn a_failure_stands_until_a_look_as_thorough_passes() {
        let failed = mark(2, Depth::Full, false);
        assert_eq!(standing_failure(&[mark(1, Depth::Full, true)]), None);
        assert_eq!(standing_failure(&[failed, mark(3, Depth::Quick, true)]), Some(&failed));
        assert_eq!(standing_failure(&[failed, mark(3, Depth::Full, true)]), None);
        let again = mark(4, Depth::Quick, false);
        assert_eq!(
            standing_failure(&[failed, mark(3, Depth::Full, true), again]),
            Some(&again)
        );
    }

    #[test]
    fn old_looks_are_forgotten_but_no_failure_that_stands() {
        let mut marks = vec![mark(1, Depth::Full, true), mark(2, Depth::Full, false)];
        marks.extend((3..14).map(|day| mark(day, Depth::Quick, true)));
        assert_eq!(forgettable(&marks), [marks[0], marks[2]]);
        assert!(forgettable(&marks[..10]).is_empty());
    }
}
