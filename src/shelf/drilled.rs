//! How drills of backups went: one small object per drill beside the backup, never changed. As of checks, the name says what a
//! list shows, and the text has the rest.

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::{Names, RECORD_LIMIT, Shelf};
use crate::error::Result;
use crate::manifest::BackupId;
use crate::redact;
use crate::store::{self, Taken};

/// How many drills of a backup are remembered.
const DRILLS_KEPT: usize = 10;

/// A drill, as its record has it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Drill {
    /// The backup that was restored.
    pub id: BackupId,
    /// When the drill ended.
    pub at: DateTime<Utc>,
    /// Whether all went well: it was restored and proven, and every check was true.
    pub passed: bool,
    /// What went wrong.
    pub problems: Vec<String>,
    /// How long it took from the first byte to the last check, in seconds.
    pub seconds: f64,
    /// Where it was restored.
    pub place: String,
    /// Tables that were compared with the manifest.
    pub tables: u64,
    /// Their rows.
    pub rows: u64,
    /// The operator's checks that were true.
    pub checks: usize,
}

/// A drill, as the record's name has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct DrillMark {
    /// When, to the second.
    pub at: DateTime<Utc>,
    /// Whether all went well.
    pub passed: bool,
    /// How long it took.
    pub seconds: u64,
}

impl DrillMark {
    /// `<job>_<id>.<time>.drill-passed-<seconds>` or `…-failed-…`.
    fn name(self, job: &str, id: BackupId) -> String {
        let outcome = if self.passed { "passed" } else { "failed" };
        format!("{job}_{id}.{}.drill-{outcome}-{}", BackupId::at(self.at), self.seconds)
    }

    /// The backup and the drill that a name is about.
    pub(super) fn parse(job: &str, name: &str) -> Option<(BackupId, DrillMark)> {
        let rest = name.strip_prefix(job)?.strip_prefix('_')?;
        let mut parts = rest.split('.');
        let (id, at, how) = (parts.next()?, parts.next()?, parts.next()?);
        let (outcome, seconds) = how.strip_prefix("drill-")?.split_once('-')?;
        let mark = DrillMark {
            at: at.parse::<BackupId>().ok()?.time(),
            passed: match outcome {
                "passed" => true,
                "failed" => false,
                _ => return None,
            },
            seconds: seconds.parse().ok()?,
        };
        parts.next().is_none().then_some((id.parse().ok()?, mark))
    }
}

impl From<&Drill> for DrillMark {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // the seconds of a run
    fn from(drill: &Drill) -> Self {
        DrillMark {
            // As names have it: of two in one second the later one gets the next.
            at: BackupId::at(drill.at).time(),
            passed: drill.passed,
            seconds: drill.seconds.round().max(0.0) as u64,
        }
    }
}

impl Shelf {
    /// Remembers a drill.
    ///
    /// # Errors
    /// The store fails.
    pub async fn record_drill(&self, drill: &Drill) -> Result<()> {
        let text = serde_json::to_string_pretty(drill)?;
        let text = Bytes::from(format!("{}\n", redact::json(&text)));
        let mut marks = self.names_of(drill.id).await?.drills(drill.id).to_vec();
        let mut mark = DrillMark::from(drill);
        loop {
            // Names are in the order of the drills, also where a clock was set back.
            if let Some(last) = marks.last().filter(|last| last.at >= mark.at) {
                mark.at = last.at + TimeDelta::seconds(1);
            }
            let path = self.file_path(&mark.name(&self.job, drill.id));
            match store::put(self.store.as_ref(), &path, text.clone()).await {
                Ok(_) => break,
                Err(error) if error.is::<Taken>() => marks.push(mark),
                Err(error) => return Err(error),
            }
        }
        let old = (marks.len() + 1).saturating_sub(DRILLS_KEPT);
        for mark in marks.iter().take(old) {
            self.store
                .delete(&self.file_path(&mark.name(&self.job, drill.id)))
                .await?;
        }
        Ok(())
    }

    /// How a drill of the backup `id` went.
    ///
    /// # Errors
    /// The store fails, or the record is damaged.
    pub async fn drill_record(&self, id: BackupId, mark: DrillMark) -> Result<Drill> {
        let path = self.file_path(&mark.name(&self.job, id));
        let text = store::get(self.store.as_ref(), &path, RECORD_LIMIT).await?;
        Ok(serde_json::from_slice(&text)?)
    }

    /// Forgets all drills of a backup that is gone.
    pub(super) async fn forget_drills(&self, id: BackupId, names: &Names) -> Result<()> {
        for mark in names.drills(id) {
            self.store.delete(&self.file_path(&mark.name(&self.job, id))).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_how_it_went() {
        let id: BackupId = "20261120T020000Z".parse().unwrap();
        for passed in [true, false] {
            let mark = DrillMark {
                at: "2026-11-21T03:04:05Z".parse().unwrap(),
                passed,
                seconds: 41,
            };
            assert_eq!(DrillMark::parse("a_b", &mark.name("a_b", id)), Some((id, mark)));
            assert_eq!(DrillMark::parse("a", &mark.name("a_b", id)), None);
        }
        for name in [
            "app_20261120T020000Z.20261121T030405Z.drill-passed",
            "app_20261120T020000Z.20261121T030405Z.drill-odd-3",
            "app_20261120T020000Z.20261121T030405Z.full-passed",
        ] {
            assert_eq!(DrillMark::parse("app", name), None, "{name}");
        }
    }

    #[test]
    fn the_time_of_a_mark_is_that_of_its_name() {
        let drill = Drill {
            id: "20261120T020000Z".parse().unwrap(),
            at: "2026-11-21T03:04:05.678Z".parse().unwrap(),
            passed: true,
            problems: Vec::new(),
            seconds: 0.4,
            place: String::new(),
            tables: 0,
            rows: 0,
            checks: 0,
        };
        let mark = DrillMark::from(&drill);
        assert_eq!(
            DrillMark::parse("app", &mark.name("app", drill.id)),
            Some((drill.id, mark))
        );
    }
}
