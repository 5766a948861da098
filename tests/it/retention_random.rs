//! Ten thousand random steps of runs, failures, kills, checks, pins, clock jumps and prunings, over two jobs with two
//! stores each: nothing ever deletes the last good backup of a job, what a person or a restore wants to keep, or anything that
//! is not the job's. What is good is known from a book that the test keeps of all that it did, and not from the program.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use snapback::clock::Clock;
use snapback::config::Config;
use snapback::job::{Destination, Job};
use snapback::manifest::{BackupId, Depth, Kind, Manifest, Part};
use snapback::prune::InOneStore;
use snapback::shelf::{Check, Claim, Failure, Inventory, Pin, Shelf};
use snapback::store::{Local, put};
use tempfile::TempDir;

use crate::support::faulty::{Faulty, Op};

/// So many histories of so many steps: in a long one the damaged and the foreign ones pile up, which only costs time.
const HISTORIES: u64 = 100;
const STEPS: usize = 100;

/// Two jobs, the name of one the beginning of the other's.
const CONFIG: &str = r#"
[stores.near]
path = "near"
[stores.far]
path = "far"
[stores.far.retention]
keep_last = 1
[jobs.a]
url = "postgresql://db/a"
stores = ["near", "far"]
retention = { keep_last = 2, keep_daily = 3, minimum = 2 }
[jobs.a_b]
url = "postgresql://db/b"
stores = ["near", "far"]
retention = { keep_within = "3d", keep_weekly = 2 }
"#;

/// What the test knows of a backup.
struct Known {
    kind: Kind,
    database: u32,
    /// Its archive is as it was written.
    whole: bool,
    /// The depth of a failed look that none as thorough has refuted.
    failed: Option<Depth>,
    pinned: bool,
    held_until: Option<DateTime<Utc>>,
}

impl Known {
    fn is_good(&self) -> bool {
        self.whole && self.failed.is_none()
    }
}

/// A run or a copy that was killed before it had a manifest.
struct Dead {
    database: u32,
    begun: DateTime<Utc>,
    copied: bool,
}

/// What is in one store of one job.
#[derive(Default)]
struct Book {
    backups: BTreeMap<BackupId, Known>,
    dead: BTreeMap<BackupId, Dead>,
}

impl Book {
    /// The newest good backup; with `limit` the newest that is not from the future.
    fn newest_good(&self, limit: Option<DateTime<Utc>>) -> Option<BackupId> {
        let is_past = |id: &BackupId| limit.is_none_or(|limit| id.time() <= limit);
        let good = self.backups.iter().filter(|(id, it)| it.is_good() && is_past(id));
        good.map(|(id, _)| *id).next_back()
    }
}

struct World {
    dir: TempDir,
    jobs: Vec<Job>,
    random: fastrand::Rng,
    now: DateTime<Utc>,
    /// Which database each job backs up: it moves now and then.
    databases: [u32; 2],
    /// By job and store.
    books: BTreeMap<(String, String), Book>,
}

impl World {
    fn new(seed: u64) -> World {
        // Where there is a file system in memory, making things durable costs nothing.
        let dir = tempfile::tempdir_in("/dev/shm")
            .or_else(|_| tempfile::tempdir())
            .unwrap();
        let file = dir.path().join("snapback.toml");
        std::fs::write(&file, CONFIG).unwrap();
        let now = "2026-11-20T02:00:00Z".parse().unwrap();
        let config = Config::load(Some(&file), &Default::default(), now).unwrap();
        for name in [
            "near/a/notes.txt",
            "near/a/a_20200101T000000Z.dump.bak",
            "far/stranger/x",
            "near/a_c",
        ] {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "a stranger's").unwrap();
        }
        World {
            dir,
            jobs: config.jobs,
            random: fastrand::Rng::with_seed(seed),
            now,
            databases: [1, 2],
            books: BTreeMap::new(),
        }
    }

    fn any<T: Clone>(&mut self, of: &[T]) -> Option<T> {
        (!of.is_empty()).then(|| of[self.random.usize(..of.len())].clone())
    }

    fn book(&mut self, job: &Job, store: &str) -> &mut Book {
        self.books.entry((job.name.clone(), store.to_owned())).or_default()
    }

    async fn step(&mut self) -> usize {
        let place = self.random.usize(..2);
        let job = self.jobs[place].clone();
        let destination = job.destinations[self.random.usize(..2)].clone();
        let shelf = Shelf::new(&job, &destination);
        self.now += TimeDelta::minutes(self.random.i64(1..900));
        let id = {
            let ids: Vec<BackupId> = self.book(&job, &destination.name).backups.keys().copied().collect();
            self.any(&ids)
        };
        match (self.random.u32(..100), id) {
            (0..36, _) => self.run(&job, place).await,
            (36..42, _) => self.failed_run(&shelf).await,
            (42..50, Some(id)) => self.look(&job, &shelf, id).await,
            (50..55, Some(id)) => self.damage(&job, &shelf, id),
            (55..65, Some(id)) => self.pin(&job, &shelf, id).await,
            (65..69, Some(id)) => self.hold(&job, &shelf, id).await,
            // The clock goes wrong, or right again.
            (69..72, _) => self.now += TimeDelta::days(self.random.i64(-400..400)),
            (72..74, _) => self.databases[place] = self.random.u32(1..1000),
            _ => return self.prune(&job, &destination, id).await,
        }
        0
    }

    /// A run, which may be killed at any point, and may lose a store. Or a copy, which holds no lock.
    async fn run(&mut self, job: &Job, place: usize) {
        let (copied, lost) = (self.random.u32(..10) == 0, self.random.usize(..12));
        let kinds = [Kind::Scheduled, Kind::Scheduled, Kind::Manual, Kind::Safety];
        let kind = self.any(&kinds).unwrap();
        // After the claim, after the archive, after the manifest, not at all.
        let killed = self.random.usize(..20);
        let database = self.databases[place];
        for (number, destination) in job.destinations.iter().enumerate() {
            let shelf = Shelf::new(job, destination);
            if !copied {
                self.clean(job, &shelf, database).await;
            }
            if number == lost {
                continue;
            }
            let mut claim = Claim {
                id: BackupId::at(self.now),
                source: manifest(job, BackupId::at(self.now), kind, database).source,
                started: self.now,
                by: "the test".to_owned(),
                copied,
            };
            while !shelf.claim(&claim).await.unwrap() {
                claim.id = claim.id.next();
            }
            let (id, begun) = (claim.id, self.now);
            let book = self.book(job, &destination.name);
            if killed > 0 {
                let path = shelf.path(Part::Archive, id);
                put(shelf.store().as_ref(), &path, Bytes::from_static(b"archive"))
                    .await
                    .unwrap();
            }
            if killed < 2 || copied {
                let dead = Dead {
                    database,
                    begun,
                    copied,
                };
                book.dead.insert(id, dead);
                continue;
            }
            shelf.publish(&manifest(job, id, kind, database)).await.unwrap();
            let known = Known {
                kind,
                database,
                whole: true,
                failed: None,
                pinned: false,
                held_until: None,
            };
            book.backups.insert(id, known);
            if killed > 2 {
                shelf.release(id).await.unwrap();
            }
        }
    }

    /// What a run does first: what the dead of the same database have left goes, and nothing else.
    async fn clean(&mut self, job: &Job, shelf: &Shelf, database: u32) {
        let (now, before) = (self.now, self.files());
        let source = manifest(job, BackupId::at(now), Kind::Manual, database).source;
        shelf.clean(&source, now).await.unwrap();
        let after = self.files();
        let folder = format!("{}/{}/", shelf.place(), job.name);
        let book = self.book(job, shelf.place());
        for path in before.difference(&after) {
            let is_claim_or_mark = path.ends_with(".run") || path.ends_with(".removal");
            let name = path
                .strip_prefix(&folder)
                .unwrap_or_else(|| panic!("{path} was cleaned"));
            let is_of = |id: &BackupId| name.starts_with(&format!("{}_{id}.", job.name));
            assert!(
                is_claim_or_mark || !book.backups.keys().any(is_of),
                "{path} was cleaned"
            );
            let dead = book.dead.iter().find(|(id, _)| is_of(id));
            let may_live = |dead: &Dead| dead.copied && (now - dead.begun).abs() < TimeDelta::days(1);
            if let Some((_, dead)) = dead {
                assert!(dead.database == database && !may_live(dead), "{path} is another's");
            }
        }
        book.dead.retain(|id, dead| {
            let claim = format!("{folder}{}_{id}.run", job.name);
            assert!(
                after.contains(&claim) || !after.contains(&claim.replace(".run", ".dump")),
                "the archive of {claim} is left for good"
            );
            let stays = dead.database != database || (dead.copied && (now - dead.begun).abs() < TimeDelta::days(1));
            assert_eq!(after.contains(&claim), stays, "{claim}");
            stays
        });
    }

    async fn failed_run(&mut self, shelf: &Shelf) {
        let failure = Failure {
            id: BackupId::at(self.now),
            kind: Kind::Scheduled,
            failed: self.now,
            error: "made to fail".to_owned(),
            full: self.random.u32(..4) == 0,
        };
        shelf.record_failure(&failure).await.unwrap();
    }

    async fn look(&mut self, job: &Job, shelf: &Shelf, id: BackupId) {
        let (passes, depth) = (self.random.bool(), self.any(&[Depth::Quick, Depth::Full]).unwrap());
        let problems = if passes { Vec::new() } else { vec!["odd".to_owned()] };
        let check = Check {
            checksums: Vec::new(),
            id,
            at: self.now,
            depth,
            problems,
            by: "verify".to_owned(),
        };
        shelf.record_check(&check).await.unwrap();
        let known = self.book(job, shelf.place()).backups.get_mut(&id).unwrap();
        known.failed = match passes {
            true => known.failed.filter(|failed| *failed > depth),
            false => known.failed.max(Some(depth)),
        };
    }

    fn damage(&mut self, job: &Job, shelf: &Shelf, id: BackupId) {
        let file = self.dir.path().join(shelf.place()).join(shelf.path(Part::Archive, id));
        match self.random.bool() {
            true => drop(std::fs::remove_file(file)),
            false => std::fs::write(file, "cut").unwrap(),
        }
        self.book(job, shelf.place()).backups.get_mut(&id).unwrap().whole = false;
    }

    async fn pin(&mut self, job: &Job, shelf: &Shelf, id: BackupId) {
        let pinned = self.random.u32(..3) == 0;
        let pin = Pin {
            id,
            at: Some(self.now),
            reason: None,
        };
        match pinned {
            true => shelf.pin(&pin).await.map(drop).unwrap(),
            false => shelf.unpin(id).await.unwrap(),
        }
        self.book(job, shelf.place()).backups.get_mut(&id).unwrap().pinned = pinned;
    }

    async fn hold(&mut self, job: &Job, shelf: &Shelf, id: BackupId) {
        let until = self.now + TimeDelta::days(1);
        shelf.hold(id, until).await.unwrap();
        let known = self.book(job, shelf.place()).backups.get_mut(&id).unwrap();
        known.held_until = known.held_until.max(Some(until));
    }

    /// Prunes, perhaps only until it is killed or the store fails; returns how many backups are gone.
    async fn prune(&mut self, job: &Job, destination: &Destination, protect: Option<BackupId>) -> usize {
        let shelf = Shelf::new(job, destination);
        let before = self.files();
        let inventory = shelf.inventory().await.unwrap();
        let newest = self.book(job, &destination.name).backups.keys().next_back().copied();
        let last_failure = inventory.failures.iter().max_by_key(|failure| failure.id);
        let last_run_failed = last_failure.is_some_and(|failure| Some(failure.id) > newest && !failure.full);
        let mut failing = destination.clone();
        if self.random.u32(..4) == 0 {
            let local = Local::new(self.dir.path().join(&destination.name));
            failing.store = Arc::new(Faulty::new(local, Op::Delete, self.random.usize(..6)));
        }
        let now = self.now;
        let pruning = InOneStore {
            job,
            destination: &failing,
            protect: &protect.into_iter().collect(),
            kept: Some(&BTreeSet::new()),
            clock: &Clock::new(move || now),
            force: false,
        };
        let done = pruning.run(inventory.into_summaries(), false).await;
        let (outcome, pruned) = (done.failed.map_or(Ok(()), Err), done.pruned);
        // Whenever it stops, what is left is a history without a hole.
        assert!(pruned.deleted.is_sorted(), "{:?}", pruned.deleted);
        let after = self.files();
        let left: BTreeSet<BackupId> = ids(&shelf.inventory().await.unwrap());
        let folder = format!("{}/{}/", destination.name, job.name);
        let book = self.book(job, &destination.name);
        let gone: Vec<BackupId> = book.backups.keys().filter(|id| !left.contains(id)).copied().collect();
        assert!(
            gone.is_empty() || !last_run_failed,
            "after a failed run {gone:?} were deleted"
        );
        judge(book, &gone, now, protect, destination);
        if outcome.is_ok() && destination.policy.keep_last == 1 && !last_run_failed {
            all_that_expired_is_gone(book, now, protect);
        }
        let names: Vec<String> = gone.iter().map(|id| format!("{folder}{}_{id}.", job.name)).collect();
        for path in before.difference(&after) {
            let is_its = names.iter().any(|name| path.starts_with(name));
            let is_record = path.starts_with(&folder) && path.ends_with(".failed");
            // A deletion that was killed before leaves a mark that the next one takes away.
            let is_mark = path.starts_with(&folder) && path.ends_with(".removal");
            assert!(is_its || is_record || is_mark, "{path} was deleted; gone are {gone:?}");
        }
        gone.len()
    }

    /// All files, of all jobs and strangers.
    fn files(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        collect(self.dir.path(), self.dir.path(), &mut found);
        found
    }
}

fn collect(root: &Path, folder: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => collect(root, &path, found),
            false => drop(found.insert(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned())),
        }
    }
}

fn ids(inventory: &Inventory) -> BTreeSet<BackupId> {
    inventory.backups.iter().map(|backup| backup.summary.id).collect()
}

/// Makes sure that only what may go is gone, and takes it out of the book.
fn judge(book: &mut Book, gone: &[BackupId], now: DateTime<Utc>, protect: Option<BackupId>, destination: &Destination) {
    // What is so little ahead of the clock is not from the future.
    let limit = now + TimeDelta::hours(1);
    let Some(newest) = book.newest_good(Some(limit)) else {
        assert!(gone.is_empty(), "{gone:?} were deleted, and nothing good was there");
        return;
    };
    let database = book.backups[&newest].database;
    let is_weighed = |id: &BackupId, it: &Known| it.is_good() && it.database == database && id.time() <= limit;
    let had = book.backups.iter().filter(|(id, it)| is_weighed(id, it)).count();
    for id in gone {
        let it = book.backups.remove(id).unwrap();
        assert!(
            is_weighed(id, &it),
            "{id} in {destination} is not to be judged, and was deleted"
        );
        assert!(*id < newest, "{id} in {destination} was the newest, and was deleted");
        let wanted = it.pinned || protect == Some(*id) || it.held_until.is_some_and(|until| until > now);
        assert!(!wanted, "{id} in {destination} was wanted, and was deleted");
    }
    assert!(
        had - gone.len() >= had.min(destination.policy.minimum as usize),
        "fewer than the minimum"
    );
}

/// With `keep_last = 1` there is little that may stay: otherwise a retention that deletes next to nothing would pass.
fn all_that_expired_is_gone(book: &Book, now: DateTime<Utc>, protect: Option<BackupId>) {
    let limit = now + TimeDelta::hours(1);
    let Some(newest) = book.newest_good(Some(limit)) else {
        return;
    };
    let database = book.backups[&newest].database;
    let mut last = None;
    for (id, it) in book.backups.iter().rev() {
        let wanted = it.pinned || protect == Some(*id) || it.held_until.is_some_and(|until| until > now);
        if !it.is_good() || it.database != database || id.time() > limit {
            continue;
        }
        let stays = match it.kind {
            Kind::Safety => newest.time() - id.time() <= TimeDelta::days(7),
            _ => last.replace(*id).is_none(),
        };
        assert!(stays || wanted || *id == newest, "no rule keeps {id}, and it is there");
    }
}

fn manifest(job: &Job, id: BackupId, kind: Kind, database: u32) -> Manifest {
    serde_json::from_value(serde_json::json!({
        "format_version": 1, "id": id, "job": job.name, "kind": kind,
        "source": {"host": "db", "port": 5432, "database": format!("d{database}"), "system_identifier": 1,
                   "database_oid": database, "server_version_num": 150000, "server_version": "15.0"},
        "started": id.time(), "finished": id.time(), "snapback": "0",
        "archive": {"name": Part::Archive.name(&job.name, id), "bytes": 7, "sha256": ""},
        "compression": "gzip", "entries": {}, "tables": [], "schema_hash": "",
        "verified": [{"how": "written", "at": id.time()}],
    }))
    .unwrap()
}

#[tokio::test]
async fn no_random_history_loses_the_last_good_backup_or_anything_of_anothers() {
    let seed = std::env::var("SNAPBACK_SEED").map_or(20_261_121, |seed| seed.parse().unwrap());
    println!("SNAPBACK_SEED={seed}");
    let mut deleted = 0;
    for history in 0..HISTORIES {
        let mut world = World::new(seed + history);
        for _ in 0..STEPS {
            deleted += world.step().await;
        }
    }
    assert!(deleted > 500, "so few deletions ({deleted}) prove nothing");
}

#[tokio::test]
async fn what_is_pinned_while_a_pruning_is_under_way_stays() {
    let mut world = World::new(1);
    let job = world.jobs[0].clone();
    let destination = job.destinations[1].clone();
    let shelf = Shelf::new(&job, &destination);
    let taken =
        |day: i64| BackupId::at("2026-11-01T02:00:00Z".parse::<DateTime<Utc>>().unwrap() + TimeDelta::days(day));
    for day in 0..4 {
        let path = shelf.path(Part::Archive, taken(day));
        put(shelf.store().as_ref(), &path, Bytes::from_static(b"archive"))
            .await
            .unwrap();
        shelf
            .publish(&manifest(&job, taken(day), Kind::Scheduled, 1))
            .await
            .unwrap();
    }
    world.now = taken(5).time();
    // The clock is asked for the plan, and then before each deletion: the second backup is pinned before the first goes.
    let (now, asked) = (world.now, AtomicUsize::new(0));
    let pin = world.dir.path().join("far").join(shelf.path(Part::Pin, taken(1)));
    let clock = Clock::new(move || {
        if asked.fetch_add(1, Ordering::SeqCst) == 1 {
            std::fs::write(&pin, "").unwrap();
        }
        now
    });
    let pruning = InOneStore {
        job: &job,
        destination: &destination,
        protect: &BTreeSet::new(),
        kept: Some(&BTreeSet::new()),
        clock: &clock,
        force: false,
    };
    let done = pruning.run(BTreeMap::new(), false).await;
    assert!(done.failed.is_none());
    assert_eq!(done.pruned.deleted, [taken(0), taken(2)]);
    assert_eq!(ids(&shelf.inventory().await.unwrap()), [taken(1), taken(3)].into());
}
