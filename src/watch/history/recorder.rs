//! Runs take note of themselves: when they begin, how far they are, how they end. A history that cannot be written keeps no run
//! from anything.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::{Facts, History, Outcome, Reached, Run, Verb};
use crate::clock::Clock;
use crate::error::{Result, exit_of};
use crate::shelf::this_process;
use crate::steps::Event;

/// What a step is called while it waits.
const PAUSED: &str = ", paused";

/// How often it is noted how far a run is.
const EVERY: Duration = Duration::from_secs(2);

/// Takes note of runs.
#[derive(Clone, Default)]
pub struct Recorder {
    history: Option<Arc<History>>,
    clock: Option<Clock>,
}

impl Recorder {
    /// Into the history in `file`, if there is to be one. What ended longer ago than `keep` is forgotten.
    #[must_use]
    pub fn open(file: Option<&Path>, keep: TimeDelta, clock: &Clock) -> Recorder {
        let history = file.and_then(|file| match History::open(file) {
            Ok(history) => Some(history),
            Err(error) => {
                tracing::info!("runs are not remembered: {error:#}");
                None
            }
        });
        if let Some(history) = &history {
            warn(history.trim(keep, clock.now()));
        }
        Recorder {
            history: history.map(Arc::new),
            clock: Some(clock.clone()),
        }
    }

    /// The history.
    #[must_use]
    pub fn history(&self) -> Option<&Arc<History>> {
        self.history.as_ref()
    }

    /// A run of `job` begins.
    #[must_use]
    pub fn begin(&self, job: &str, verb: Verb, facts: Facts) -> Recording {
        let now = self.clock.as_ref().map_or_else(Utc::now, Clock::now);
        let begun = self.history.as_ref().and_then(|history| {
            let run = warn(history.begin(job, verb, &facts, now))?;
            Some((Arc::clone(history), run))
        });
        let reached = Arc::new(Mutex::new(Reached::default()));
        let ticker = begun.clone().map(|(history, run)| {
            let reached = Arc::clone(&reached);
            tokio::spawn(async move {
                let mut before = Reached::default();
                loop {
                    tokio::time::sleep(EVERY).await;
                    let now = reached.lock().unwrap_or_else(PoisonError::into_inner).clone();
                    if now != before {
                        before.clone_from(&now);
                        let history = Arc::clone(&history);
                        // A disk may take its time.
                        let _ = tokio::task::spawn_blocking(move || warn(history.reached(run, &now))).await;
                    }
                }
            })
        });
        Recording {
            begun,
            job: job.to_owned(),
            verb,
            started: now,
            clock: self.clock.clone(),
            facts: Noted(Arc::new(Mutex::new(facts))),
            reached,
            ticker,
        }
    }

    /// Takes note of `running`, whose facts are what `facts` makes of it.
    ///
    /// # Errors
    /// As `running`.
    pub async fn record<T>(
        &self,
        job: &str,
        verb: Verb,
        running: impl Future<Output = Result<T>>,
        facts: impl FnOnce(&T) -> Facts,
    ) -> Result<T> {
        let recording = self.begin(job, verb, Facts::default());
        let outcome = running.await;
        let _ = recording.end(&outcome, facts);
        outcome
    }
}

/// What is known of a run, told while it runs.
#[derive(Clone, Default)]
pub struct Noted(Arc<Mutex<Facts>>);

impl Noted {
    /// All that is known now.
    pub fn set(&self, facts: Facts) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = facts;
    }

    fn facts(&self) -> Facts {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A run that takes note of itself.
pub struct Recording {
    begun: Option<(Arc<History>, i64)>,
    job: String,
    verb: Verb,
    started: DateTime<Utc>,
    clock: Option<Clock>,
    facts: Noted,
    reached: Arc<Mutex<Reached>>,
    ticker: Option<tokio::task::JoinHandle<()>>,
}

impl Recording {
    /// The run, as it is now.
    #[must_use]
    pub fn run(&self) -> Run {
        Run {
            run: self.begun.as_ref().map_or(0, |(_, run)| *run),
            job: self.job.clone(),
            verb: self.verb,
            outcome: Outcome::Running,
            started: self.started,
            ended: None,
            seconds: None,
            by: this_process(),
            reached: None,
            facts: self.facts.facts(),
        }
    }

    /// What the run is to tell what it does; `describe` says a step in words.
    pub fn watch<S, T>(&self, describe: T) -> impl Fn(&Event<S>) + Send + Sync + use<S, T>
    where
        S: Copy,
        T: Fn(S) -> &'static str + Send + Sync,
    {
        let reached = Arc::clone(&self.reached);
        move |event| {
            let mut reached = reached.lock().unwrap_or_else(PoisonError::into_inner);
            match event {
                Event::Step(step) => {
                    *reached = Reached {
                        step: describe(*step).to_owned(),
                        ..Reached::default()
                    };
                }
                Event::Total(total) => reached.total = *total,
                Event::Done(bytes) => reached.done += bytes,
                Event::Warning(_) => {}
                Event::Paused(paused) => {
                    let step = reached.step.trim_end_matches(PAUSED).to_owned();
                    reached.step = if *paused { step + PAUSED } else { step };
                }
            }
        }
    }

    /// What tells more of it.
    #[must_use]
    pub fn noted(&self) -> Noted {
        self.facts.clone()
    }

    /// The run ended so; what is known of it was noted.
    pub fn end_noted<T>(self, outcome: &Result<T>) {
        let facts = self.facts.facts();
        let _ = self.end(outcome, |_| facts);
    }

    /// The run ended so; what is known of one that did not fail is what `facts` makes of it.
    pub fn end<T>(mut self, outcome: &Result<T>, facts: impl FnOnce(&T) -> Facts) -> Run {
        let (outcome, facts) = match outcome {
            Ok(done) => {
                let facts = facts(done);
                match facts.lacking.is_empty() && facts.exit.is_none() {
                    true => (Outcome::Ok, facts),
                    false => (Outcome::Incomplete, facts),
                }
            }
            Err(error) => (Outcome::of(exit_of(error)), self.facts.facts().failed(error)),
        };
        let now = self.clock.as_ref().map_or_else(Utc::now, Clock::now);
        let run = Run {
            outcome,
            ended: Some(now),
            seconds: Some((now - self.started).as_seconds_f64()),
            facts: facts.redacted(),
            ..self.run()
        };
        if let Some((history, number)) = self.begun.take() {
            warn(history.end(number, outcome, &run.facts, now));
        }
        run
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        if let Some(ticker) = self.ticker.take() {
            ticker.abort();
        }
        // Who is dropped without an end was given up: a task that panicked, or a future that nobody waits for.
        if let Some((history, run)) = self.begun.take() {
            let now = self.clock.as_ref().map_or_else(Utc::now, Clock::now);
            warn(history.end(run, Outcome::Interrupted, &self.facts.facts(), now));
        }
    }
}

/// Says in the log that nothing is remembered, which nothing depends on.
fn warn<T>(written: Result<T>) -> Option<T> {
    match written {
        Ok(value) => Some(value),
        Err(error) => {
            tracing::warn!("the history is not written: {error:#}");
            None
        }
    }
}
