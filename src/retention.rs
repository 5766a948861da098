//! Which backups stay: a pure function of what there is, the policy and the situation.
//!
//! The policy is restic's, the rules around it are ours: only backups of the same source are weighed, ages
//! count from the newest success (so a stopped schedule or a wrong clock ages nothing away), the newest
//! verified backup and the minimum stay whatever the policy says, and nothing goes while the last run failed.

use std::collections::BTreeSet;
use std::fmt;

use chrono::{DateTime, Datelike as _, TimeDelta, Timelike as _, Utc};
use chrono_tz::Tz;
use serde::{Serialize, Serializer};

use crate::error::{Exit, Fail, Result};
use crate::manifest::{BackupId, Kind, Source};

/// How far ahead of the clock a backup may be before it counts as one from a wrong clock.
pub const CLOCK_TOLERANCE: TimeDelta = TimeDelta::hours(1);

/// What to keep: the union of all rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The newest so many.
    pub keep_last: u32,
    /// The newest of each of so many hours that have one; likewise the next four.
    pub keep_hourly: u32,
    /// Days.
    pub keep_daily: u32,
    /// ISO weeks.
    pub keep_weekly: u32,
    /// Months.
    pub keep_monthly: u32,
    /// Years.
    pub keep_yearly: u32,
    /// All that are at most so much older than the newest.
    pub keep_within: Option<TimeDelta>,
    /// Safety snapshots that are at most so much older than the newest backup; the other rules
    /// don't weigh these, so that they never displace a scheduled one.
    pub keep_safety: TimeDelta,
    /// The same for backups that were taken before a migration.
    pub keep_guard: TimeDelta,
    /// Never fewer than this; at least 1.
    pub minimum: u32,
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            keep_last: 10,
            ..Policy::none()
        }
    }
}

impl Policy {
    /// The policy without any rule: what a configuration starts from, and what [`plan`] refuses.
    #[must_use]
    pub fn none() -> Self {
        Policy {
            keep_last: 0,
            keep_hourly: 0,
            keep_daily: 0,
            keep_weekly: 0,
            keep_monthly: 0,
            keep_yearly: 0,
            keep_within: None,
            keep_safety: TimeDelta::days(7),
            keep_guard: TimeDelta::days(30),
            minimum: 1,
        }
    }

    /// Refuses a policy that would keep nothing.
    ///
    /// # Errors
    /// No rule keeps anything, or the minimum is 0.
    pub fn check(&self) -> Result<(), Fail> {
        if self.minimum == 0 {
            return Err(Fail::new(Exit::Usage, "minimum must be at least 1"));
        }
        let counts = self.buckets().iter().any(|bucket| bucket.left > 0);
        if counts || self.keep_within.is_some_and(|within| within > TimeDelta::zero()) {
            return Ok(());
        }
        Err(Fail::new(Exit::Usage, "the policy is empty and would keep nothing")
            .hint("set at least one of keep_last, keep_hourly, keep_daily, keep_weekly, keep_monthly, keep_yearly, keep_within"))
    }

    fn buckets(&self) -> [Bucket; 6] {
        let bucket = |rule, left| Bucket { rule, left, last: None };
        [
            bucket(Rule::Last, self.keep_last),
            bucket(Rule::Hourly, self.keep_hourly),
            bucket(Rule::Daily, self.keep_daily),
            bucket(Rule::Weekly, self.keep_weekly),
            bucket(Rule::Monthly, self.keep_monthly),
            bucket(Rule::Yearly, self.keep_yearly),
        ]
    }
}

/// A rule of the policy that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// `keep_last`.
    Last,
    /// `keep_hourly`.
    Hourly,
    /// `keep_daily`.
    Daily,
    /// `keep_weekly`.
    Weekly,
    /// `keep_monthly`.
    Monthly,
    /// `keep_yearly`.
    Yearly,
}

/// Why a backup stays, or goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A counting rule of the policy keeps it.
    Rule(Rule),
    /// `keep_within` keeps it.
    Within,
    /// `keep_safety` keeps it.
    Safety,
    /// `keep_guard` keeps it.
    Guard,
    /// A person pinned it.
    Pinned,
    /// A restore or another run needs it.
    InUse,
    /// It is the newest backup that was verified.
    NewestVerified,
    /// There would be fewer than the minimum.
    Minimum,
    /// It is of another database than the newest backup.
    OtherSource,
    /// Its archive is missing or has another size, or it failed a check: no good as a backup, and for a person to judge.
    Damaged,
    /// It is from the future, so the clock was or is wrong.
    Future,
    /// It is the safety snapshot of a replaced database that is kept: until that is dropped.
    KeptDatabase,
    /// It is a safety snapshot, and the server cannot be asked whether the replaced database is kept.
    ServerAway,
    /// The job's last run failed, so nothing is deleted.
    LastRunFailed,
    /// No rule keeps it: the one reason to go.
    Expired,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reason::Rule(Rule::Last) => "keep_last",
            Reason::Rule(Rule::Hourly) => "keep_hourly",
            Reason::Rule(Rule::Daily) => "keep_daily",
            Reason::Rule(Rule::Weekly) => "keep_weekly",
            Reason::Rule(Rule::Monthly) => "keep_monthly",
            Reason::Rule(Rule::Yearly) => "keep_yearly",
            Reason::Within => "keep_within",
            Reason::Safety => "keep_safety",
            Reason::Guard => "keep_guard",
            Reason::Pinned => "pinned",
            Reason::InUse => "in use",
            Reason::NewestVerified => "newest verified",
            Reason::Minimum => "minimum",
            Reason::OtherSource => "of another database",
            Reason::Damaged => "damaged",
            Reason::Future => "from the future",
            Reason::KeptDatabase => "its replaced database is kept",
            Reason::ServerAway => "the server cannot be asked whether its replaced database is kept",
            Reason::LastRunFailed => "the last run failed",
            Reason::Expired => "no rule keeps it",
        })
    }
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What retention weighs of one backup.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Its id, which is also its age.
    pub id: BackupId,
    /// Why it was taken.
    pub kind: Kind,
    /// Whether a person pinned it.
    pub pinned: bool,
    /// Whether a restore took it that kept the database it replaced.
    pub of_replaced: bool,
    /// Whether a restore could rely on it: its archive is there, it passed a check after it was written, and no
    /// later one failed.
    pub good: bool,
    /// The database that it is of.
    pub source: Source,
}

/// What else decides.
#[derive(Clone, Debug)]
pub struct Situation<'a> {
    /// The clock.
    pub now: DateTime<Utc>,
    /// Days, weeks and months are those of this time zone.
    pub zone: Tz,
    /// Whether the job's last run failed.
    pub last_run_failed: bool,
    /// Backups that a restore or another run needs.
    pub in_use: &'a BTreeSet<BackupId>,
    /// The safety snapshots of replaced databases that are kept; `None` where that is not known.
    pub kept: Option<&'a BTreeSet<BackupId>>,
}

/// What becomes of one backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// The backup.
    pub id: BackupId,
    /// Whether it stays.
    pub keep: bool,
    /// Why; never empty.
    pub reasons: Vec<Reason>,
}

/// Decides on every backup of a job, newest first.
///
/// # Errors
/// The policy is empty.
pub fn plan(backups: &[Candidate], policy: &Policy, situation: &Situation<'_>) -> Result<Vec<Verdict>> {
    policy.check()?;
    let mut backups: Vec<&Candidate> = backups.iter().collect();
    backups.sort_by_key(|backup| std::cmp::Reverse(backup.id));

    let is_future = |backup: &Candidate| backup.id.time() > situation.now + CLOCK_TOLERANCE;
    let newest = backups.iter().find(|b| b.good && !is_future(b)).copied();
    let set_aside = |backup: &Candidate| {
        let mut reasons = Vec::new();
        if newest.is_some_and(|newest| !newest.source.same_database(&backup.source)) {
            reasons.push(Reason::OtherSource);
        }
        if !backup.good {
            reasons.push(Reason::Damaged);
        }
        if is_future(backup) {
            reasons.push(Reason::Future);
        }
        reasons
    };
    let mut reasons: Vec<Vec<Reason>> = backups.iter().map(|backup| set_aside(backup)).collect();
    // Only these are weighed by the policy: all of one source, all good, none from the future.
    let weighed: Vec<usize> = (0..backups.len()).filter(|&i| reasons[i].is_empty()).collect();

    apply_policy(&backups, &weighed, policy, situation.zone, &mut reasons);
    for (backup, reasons) in backups.iter().zip(&mut reasons) {
        if backup.pinned {
            reasons.push(Reason::Pinned);
        }
        if situation.in_use.contains(&backup.id) {
            reasons.push(Reason::InUse);
        }
        match situation.kept {
            Some(kept) if kept.contains(&backup.id) => reasons.push(Reason::KeptDatabase),
            None if backup.of_replaced => reasons.push(Reason::ServerAway),
            _ => {}
        }
    }
    if let Some(&first) = weighed.first() {
        reasons[first].push(Reason::NewestVerified);
    }
    keep_minimum(&weighed, policy.minimum, &mut reasons);

    let decide = |(backup, mut reasons): (&Candidate, Vec<Reason>)| {
        if reasons.is_empty() && situation.last_run_failed {
            reasons.push(Reason::LastRunFailed);
        }
        let keep = !reasons.is_empty();
        if !keep {
            reasons.push(Reason::Expired);
        }
        Verdict {
            id: backup.id,
            keep,
            reasons,
        }
    };
    Ok(backups.into_iter().zip(reasons).map(decide).collect())
}

/// Gives the weighed backups, newest first, the reasons of the policy's rules.
fn apply_policy(backups: &[&Candidate], weighed: &[usize], policy: &Policy, zone: Tz, reasons: &mut [Vec<Reason>]) {
    let Some(&newest) = weighed.first() else { return };
    let age = |i: usize| backups[newest].id.time() - backups[i].id.time();
    let is_aside = |i: &usize| matches!(backups[*i].kind, Kind::Safety | Kind::Guard);
    let (aside, regular): (Vec<usize>, Vec<usize>) = weighed.iter().partition(|i| is_aside(i));

    for i in aside {
        let (within, reason) = match backups[i].kind {
            Kind::Guard => (policy.keep_guard, Reason::Guard),
            _ => (policy.keep_safety, Reason::Safety),
        };
        if age(i) <= within {
            reasons[i].push(reason);
        }
    }
    let mut buckets = policy.buckets();
    for &i in &regular {
        let oldest = regular.last() == Some(&i);
        for bucket in &mut buckets {
            if bucket.takes(backups[i].id.time().with_timezone(&zone), oldest) {
                reasons[i].push(Reason::Rule(bucket.rule));
            }
        }
        if policy.keep_within.is_some_and(|within| age(i) <= within) {
            reasons[i].push(Reason::Within);
        }
    }
}

/// Keeps the newest of those that would go, until there are `minimum`.
fn keep_minimum(weighed: &[usize], minimum: u32, reasons: &mut [Vec<Reason>]) {
    let kept = weighed.iter().filter(|&&i| !reasons[i].is_empty()).count();
    let missing = (minimum as usize).saturating_sub(kept);
    let going: Vec<usize> = weighed.iter().copied().filter(|&i| reasons[i].is_empty()).collect();
    for i in going.into_iter().take(missing) {
        reasons[i].push(Reason::Minimum);
    }
}

/// A counting rule on its way from the newest backup to the oldest.
struct Bucket {
    rule: Rule,
    left: u32,
    last: Option<(i32, u32, u32)>,
}

impl Bucket {
    /// Whether the rule keeps a backup of this time: the first of its hour, day and so on. The oldest backup is
    /// kept as well while the count is not used up, so that a young job has something to grow from.
    fn takes(&mut self, time: DateTime<Tz>, oldest: bool) -> bool {
        if self.left == 0 {
            return false;
        }
        let key = self.key(time);
        if key.is_some() && key == self.last && !oldest {
            return false;
        }
        self.last = key;
        self.left -= 1;
        true
    }

    fn key(&self, time: DateTime<Tz>) -> Option<(i32, u32, u32)> {
        match self.rule {
            Rule::Last => None,
            // The hour of the UTC offset's own clock repeats when summer time ends: that is one bucket too few
            // once a year, and harmless; the ordinal keeps days apart.
            Rule::Hourly => Some((time.year(), time.ordinal(), time.hour())),
            Rule::Daily => Some((time.year(), time.ordinal(), 0)),
            Rule::Weekly => Some((time.iso_week().year(), time.iso_week().week(), 0)),
            Rule::Monthly => Some((time.year(), time.month(), 0)),
            Rule::Yearly => Some((time.year(), 0, 0)),
        }
    }
}

#[cfg(test)]
mod tests;
