//! What requests are answered from: the status, which is looked up at most every so often, however many ask.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::Utc;
use tokio::sync::Mutex as AsyncMutex;

use crate::clock::Clock;
use crate::job::{Job, KnownDatabases, ServerJobs};
use crate::replaced::Kept;
use crate::watch::history::Recorder;
use crate::watch::status::{Asked, Status, status};

/// How long a status is good enough: buckets bill for their lists.
const GOOD_FOR: Duration = Duration::from_secs(20);

/// How long an answer waits for a look that takes long, where there is an earlier one: whoever collects metrics waits for ten seconds.
const SOON: Duration = Duration::from_secs(9);

/// How often servers are asked: each time is a connection.
const SERVERS_EVERY: Duration = Duration::from_secs(900);

/// How long the scheduler may do nothing before it counts as stuck.
const LONGEST_BEAT: i64 = 300;

/// What the daemon is about.
#[derive(Clone, Default)]
struct Subject {
    jobs: Vec<Arc<Job>>,
    sections: Vec<(ServerJobs, KnownDatabases)>,
    recorder: Recorder,
    /// Grows whenever something may look different.
    version: u64,
}

/// The daemon, as requests see it.
pub struct View {
    clock: Clock,
    subject: Arc<Mutex<Subject>>,
    beat: AtomicI64,
    looked: Arc<AsyncMutex<Looked>>,
    last: Arc<Mutex<Option<Arc<Status>>>>,
}

/// What was seen.
#[derive(Default)]
struct Looked {
    status: Option<(Instant, u64, Arc<Status>)>,
    /// When servers were asked for the databases that restores replaced, and what they said.
    asked: Option<Instant>,
    kept: BTreeMap<String, Option<Vec<Kept>>>,
}

impl View {
    /// Of nothing yet.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        View {
            beat: AtomicI64::new(Utc::now().timestamp()),
            clock,
            subject: Arc::default(),
            looked: Arc::default(),
            last: Arc::default(),
        }
    }

    /// From now on it is about these jobs.
    pub fn adopt(&self, jobs: Vec<Arc<Job>>, sections: Vec<(ServerJobs, KnownDatabases)>, recorder: Recorder) {
        let mut subject = self.subject.lock().unwrap_or_else(PoisonError::into_inner);
        *subject = Subject {
            jobs,
            sections,
            recorder,
            version: subject.version + 1,
        };
    }

    /// Something happened: what was looked up is old.
    pub fn changed(&self) {
        self.subject.lock().unwrap_or_else(PoisonError::into_inner).version += 1;
    }

    /// The scheduler is alive.
    pub fn beat(&self) {
        self.beat.store(Utc::now().timestamp(), Ordering::Relaxed);
    }

    /// Why nobody should rely on the daemon now, if so.
    pub async fn trouble(&self) -> Option<String> {
        let idle = Utc::now().timestamp() - self.beat.load(Ordering::Relaxed);
        if idle > LONGEST_BEAT {
            return Some(format!("the scheduler has not moved for {idle} s"));
        }
        let status = self.status().await;
        let unread = |job: &crate::watch::status::JobStatus| job.stores.iter().all(|store| store.error.is_some());
        let none = !status.jobs.is_empty() && status.jobs.iter().all(unread);
        none.then(|| "no store of any job can be read".to_owned())
    }

    /// What is remembered.
    #[must_use]
    pub fn recorder(&self) -> Recorder {
        self.subject
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .recorder
            .clone()
    }

    /// The status of all jobs. What takes long goes on when nobody waits any more, so that the next one has it.
    pub async fn status(&self) -> Arc<Status> {
        let (subject, looked, last) = (
            Arc::clone(&self.subject),
            Arc::clone(&self.looked),
            Arc::clone(&self.last),
        );
        let clock = self.clock.clone();
        let mut looking = tokio::spawn(async move {
            // Whoever comes while somebody looks waits for the same answer.
            let mut looked = looked.lock().await;
            let subject = subject.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let found = looked.status(subject, &clock).await;
            *last.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&found));
            found
        });
        let last = || self.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let found = match tokio::time::timeout(SOON, &mut looking).await {
            Ok(found) => found.ok(),
            Err(_) => match last() {
                Some(last) => Some(last),
                None => looking.await.ok(),
            },
        };
        match found.or_else(last) {
            Some(found) => found,
            // A look that panicked is a bug of ours.
            None => std::future::pending().await,
        }
    }
}

impl Looked {
    async fn status(&mut self, subject: Subject, clock: &Clock) -> Arc<Status> {
        if let Some((at, version, found)) = &self.status
            && *version == subject.version
            && at.elapsed() < GOOD_FOR
        {
            return Arc::clone(found);
        }
        let jobs: Vec<&Job> = subject.jobs.iter().map(AsRef::as_ref).collect();
        let servers = self.asked.is_none_or(|asked| asked.elapsed() > SERVERS_EVERY);
        let asked = Asked {
            history: subject.recorder.history().map(AsRef::as_ref),
            now: clock.now(),
            servers,
            sections: &subject.sections,
        };
        let mut found = status(&jobs, asked).await;
        if servers {
            self.asked = Some(Instant::now());
            self.kept = found
                .jobs
                .iter()
                .map(|job| (job.job.clone(), job.kept.clone()))
                .collect();
        } else {
            for job in &mut found.jobs {
                job.kept = self.kept.get(&job.job).cloned().flatten();
            }
        }
        let found = Arc::new(found);
        self.status = Some((Instant::now(), subject.version, Arc::clone(&found)));
        found
    }
}
