use chrono::TimeZone as _;

use super::*;
use crate::manifest::Engine;

fn source(oid: u32) -> Source {
    Source {
        engine: Engine::Postgres,
        file: None,
        host: "db".into(),
        port: 5432,
        database: format!("app{oid}"),
        system_identifier: Some(7),
        database_oid: oid,
        server_version_num: 150_018,
        server_version: "15.18".into(),
    }
}

fn backup(time: DateTime<Utc>) -> Candidate {
    Candidate {
        id: BackupId::at(time),
        kind: Kind::Scheduled,
        pinned: false,
        of_replaced: false,
        good: true,
        source: source(1),
    }
}

fn at(day: u32, hour: u32) -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2026, 1, 1, 0, 0, 0).unwrap()
        + TimeDelta::days(i64::from(day))
        + TimeDelta::hours(i64::from(hour))
}

fn decide(
    backups: &[Candidate],
    policy: &Policy,
    now: DateTime<Utc>,
    in_use: &[BackupId],
    failed: bool,
) -> Vec<Verdict> {
    let in_use = in_use.iter().copied().collect();
    let situation = Situation {
        now,
        zone: Tz::UTC,
        last_run_failed: failed,
        in_use: &in_use,
        kept: Some(&BTreeSet::new()),
    };
    plan(backups, policy, &situation).unwrap()
}

fn kept(verdicts: &[Verdict]) -> Vec<BackupId> {
    verdicts.iter().filter(|v| v.keep).map(|v| v.id).collect()
}

fn last(n: u32) -> Policy {
    Policy {
        keep_last: n,
        ..Policy::none()
    }
}

#[test]
fn backups_of_guards_and_safety_snapshots_have_rules_of_their_own() {
    let of = |kind, day| Candidate {
        kind,
        ..backup(at(day, 2))
    };
    let policy = Policy {
        keep_safety: TimeDelta::days(7),
        keep_guard: TimeDelta::days(30),
        ..last(1)
    };
    let backups = [
        of(Kind::Guard, 0),
        of(Kind::Guard, 15),
        of(Kind::Safety, 16),
        of(Kind::Safety, 38),
        of(Kind::Scheduled, 40),
    ];
    let verdicts = decide(&backups, &policy, at(40, 3), &[], false);
    assert_eq!(kept(&verdicts), [4, 3, 1].map(|at| backups[at].id));
    assert_eq!(verdicts[3].reasons, [Reason::Guard]);
}

#[test]
fn keep_last_keeps_the_newest() {
    let backups: Vec<_> = (0..5).map(|day| backup(at(day, 2))).collect();
    let verdicts = decide(&backups, &last(2), at(5, 0), &[], false);
    assert_eq!(kept(&verdicts), [backups[4].id, backups[3].id]);
    assert_eq!(verdicts[0].reasons, [Reason::Rule(Rule::Last), Reason::NewestVerified]);
    assert_eq!(verdicts[4].reasons, [Reason::Expired]);
}

#[test]
fn days_weeks_and_months_are_counted_where_there_are_backups() {
    // Two a day for a hundred days.
    let backups: Vec<_> = (0..200).map(|half| backup(at(half / 2, half % 2 * 12))).collect();
    let policy = Policy {
        keep_daily: 3,
        keep_monthly: 2,
        ..Policy::none()
    };
    let verdicts = decide(&backups, &policy, at(100, 0), &[], false);
    // Day 99 is April 10th: its later backup, those of the two days before, and March 31st's.
    assert_eq!(
        kept(&verdicts),
        [at(99, 12), at(98, 12), at(97, 12), at(89, 12)].map(BackupId::at)
    );
}

#[test]
fn a_young_job_keeps_its_oldest_to_grow_from() {
    let backups: Vec<_> = (0..5).map(|hour| backup(at(0, hour))).collect();
    let kept_by = |days| {
        let policy = Policy {
            keep_daily: days,
            ..Policy::none()
        };
        kept(&decide(&backups, &policy, at(1, 0), &[], false))
    };
    assert_eq!(kept_by(1), [backups[4].id]);
    assert_eq!(kept_by(2), [backups[4].id, backups[0].id]);
}

#[test]
fn days_are_those_of_the_time_zone() {
    // 22:30 and 23:30 UTC are two days in Berlin in winter.
    let backups = [backup(at(0, 22)), backup(at(0, 23))];
    let in_use = BTreeSet::new();
    let mut situation = Situation {
        now: at(1, 0),
        zone: Tz::UTC,
        last_run_failed: false,
        in_use: &in_use,
        kept: Some(&BTreeSet::new()),
    };
    let policy = Policy {
        keep_daily: 1,
        ..Policy::none()
    };
    assert_eq!(kept(&plan(&backups, &policy, &situation).unwrap()).len(), 1);
    situation.zone = Tz::Europe__Berlin;
    let two = Policy {
        keep_daily: 2,
        ..policy
    };
    assert_eq!(kept(&plan(&backups, &two, &situation).unwrap()).len(), 2);
}

#[test]
fn within_counts_from_the_newest_backup_not_from_the_clock() {
    let backups: Vec<_> = (0..10).map(|day| backup(at(day, 0))).collect();
    let policy = Policy {
        keep_within: Some(TimeDelta::days(2)),
        ..Policy::none()
    };
    // A year without a backup ages nothing away.
    assert_eq!(kept(&decide(&backups, &policy, at(400, 0), &[], false)).len(), 3);
}

#[test]
fn nothing_goes_while_the_last_run_failed() {
    let backups: Vec<_> = (0..5).map(|day| backup(at(day, 0))).collect();
    let verdicts = decide(&backups, &last(1), at(5, 0), &[], true);
    assert!(verdicts.iter().all(|verdict| verdict.keep));
    assert_eq!(verdicts[1].reasons, [Reason::LastRunFailed]);
}

#[test]
fn pinned_used_foreign_damaged_and_future_backups_stay_and_are_not_counted() {
    let mut backups: Vec<_> = (0..8).map(|day| backup(at(day, 0))).collect();
    backups[0].pinned = true;
    backups[1].source = source(2);
    backups[2].good = false;
    backups[3].good = false;
    backups.push(backup(at(90, 0)));
    let verdicts = decide(&backups, &last(1), at(8, 0), &[backups[4].id], false);
    let gone: Vec<_> = verdicts.iter().filter(|v| !v.keep).map(|v| v.id).collect();
    assert_eq!(gone, [backups[6].id, backups[5].id]);
    assert!(
        verdicts
            .iter()
            .find(|v| v.id == backups[7].id)
            .unwrap()
            .reasons
            .contains(&Reason::Rule(Rule::Last))
    );
}

#[test]
fn safety_backups_displace_nothing_and_expire_by_age() {
    let mut backups: Vec<_> = (0..12).map(|day| backup(at(day, 0))).collect();
    for i in [1, 10] {
        backups[i].kind = Kind::Safety;
    }
    let verdicts = decide(&backups, &last(2), at(12, 0), &[], false);
    assert_eq!(kept(&verdicts), [backups[11].id, backups[10].id, backups[9].id]);
}

#[test]
fn the_minimum_is_made_up_of_the_newest() {
    let mut backups: Vec<_> = (0..6).map(|day| backup(at(day, 0))).collect();
    backups[4].good = false;
    let policy = Policy { minimum: 3, ..last(1) };
    let verdicts = decide(&backups, &policy, at(6, 0), &[], false);
    // The damaged one stays as well, and does not count.
    assert_eq!(
        kept(&verdicts),
        [backups[5].id, backups[4].id, backups[3].id, backups[2].id]
    );
    assert_eq!(verdicts[3].reasons, [Reason::Minimum]);
}

#[test]
fn an_empty_policy_is_refused() {
    for policy in [
        Policy::none(),
        Policy {
            minimum: 0,
            ..Policy::default()
        },
    ] {
        assert!(policy.check().is_err());
    }
    assert!(Policy::default().check().is_ok());
}

/// A day in the life of a job, at random.
struct World {
    rng: fastrand::Rng,
    now: DateTime<Utc>,
    backups: Vec<Candidate>,
    failed: bool,
}

impl World {
    fn step(&mut self) {
        match self.rng.u32(0..20) {
            0 => self.now += TimeDelta::days(self.rng.i64(-400..400)),
            1 => self.failed = true,
            2..12 => {
                self.failed = false;
                self.now += TimeDelta::minutes(self.rng.i64(1..3000));
                let mut new = backup(self.now);
                new.kind = *self.rng.choice(&[Kind::Scheduled, Kind::Manual, Kind::Safety]).unwrap();
                new.pinned = self.rng.u32(0..15) == 0;
                new.good = self.rng.u32(0..10) > 0;
                new.source = source(u32::from(self.rng.u32(0..12) == 0));
                if self.backups.iter().all(|old| old.id != new.id) {
                    self.backups.push(new);
                }
            }
            _ => self.prune(),
        }
    }

    fn prune(&mut self) {
        let policy = Policy {
            keep_last: self.rng.u32(0..4),
            keep_daily: self.rng.u32(0..4),
            keep_within: self.rng.bool().then(|| TimeDelta::days(self.rng.i64(1..30))),
            minimum: self.rng.u32(1..4),
            ..Policy::none()
        };
        if policy.check().is_err() {
            return;
        }
        let verdicts = decide(&self.backups, &policy, self.now, &[], self.failed);
        assert_eq!(verdicts.len(), self.backups.len());
        let gone = |backup: &Candidate| verdicts.iter().any(|v| v.id == backup.id && !v.keep);
        let deleted: Vec<&Candidate> = self.backups.iter().filter(|b| gone(b)).collect();
        if deleted.is_empty() {
            return;
        }
        assert!(!self.failed, "deleted while the last run failed");
        let in_time = |b: &&Candidate| b.good && b.id.time() <= self.now + CLOCK_TOLERANCE;
        let newest = self.backups.iter().filter(in_time).max_by_key(|b| b.id).unwrap();
        let left = self
            .backups
            .iter()
            .filter(|b| !gone(b) && b.good && b.source == newest.source);
        assert!(left.count() >= policy.minimum as usize, "fewer than the minimum");
        for backup in deleted {
            assert!(!backup.pinned && backup.good && backup.id < newest.id && backup.source == newest.source);
        }
        self.backups = self.backups.iter().filter(|b| !gone(b)).cloned().collect();
    }
}

#[test]
fn no_sequence_of_runs_failures_clock_jumps_and_prunes_loses_the_last_good_backup() {
    for seed in 0..20 {
        let mut world = World {
            rng: fastrand::Rng::with_seed(seed),
            now: at(0, 0),
            backups: Vec::new(),
            failed: false,
        };
        let mut had_good = false;
        for _ in 0..500 {
            world.step();
            let has_good = world.backups.iter().any(|backup| backup.good);
            assert!(has_good || !had_good, "seed {seed}");
            had_good = has_good;
        }
    }
}

#[test]
fn a_safety_snapshot_stays_as_long_as_its_replaced_database() {
    let backups = [at(30, 0), at(2, 0), at(1, 0), at(0, 0)].map(backup);
    let mut backups: Vec<Candidate> = backups.into();
    for snapshot in &mut backups[1..] {
        snapshot.kind = Kind::Safety;
    }
    // Of a restore in place there is no database besides.
    backups[1].of_replaced = true;
    backups[2].of_replaced = true;
    let (in_use, kept) = (BTreeSet::new(), BTreeSet::from([at(2, 0)].map(BackupId::at)));
    let mut situation = Situation {
        now: at(30, 1),
        zone: Tz::UTC,
        last_run_failed: false,
        in_use: &in_use,
        kept: Some(&kept),
    };
    let reasons = |situation: &Situation<'_>| {
        let verdicts = plan(&backups, &last(1), situation).unwrap();
        verdicts
            .into_iter()
            .skip(1)
            .map(|verdict| verdict.reasons)
            .collect::<Vec<_>>()
    };
    let expired = || vec![Reason::Expired];
    assert_eq!(reasons(&situation), [vec![Reason::KeptDatabase], expired(), expired()]);
    situation.kept = None;
    let unknown = || vec![Reason::ServerAway];
    assert_eq!(reasons(&situation), [unknown(), unknown(), expired()]);
}
