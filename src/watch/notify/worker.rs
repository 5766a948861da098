//! The side of the daemon that tells: it decides which channel wants to hear what, and tries again as long as it takes. Nothing
//! waits for it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use super::channel::{Channel, Way};
use super::digest::{digest, is_due};
use super::news::{News, Notice};
use super::queue::Waiting;
use super::send::{ping, send};
use crate::clock::Clock;
use crate::error::Result;
use crate::redact;
use crate::shelf::this_process;
use crate::watch::history::{History, Outcome, Recorder, Run, Verb};
use crate::watch::status::Status;

/// How often it is looked whether something is due.
const EVERY: Duration = Duration::from_millis(500);

/// How often it is looked what other processes have run.
const LISTEN_EVERY: Duration = Duration::from_secs(3);

/// The first and the longest wait between two attempts; each is three times the one before.
const WAITS: [i64; 2] = [10, 3600];

/// After so many attempts the other channels hear that one reaches nobody.
const TELL_OTHERS: u32 = 4;

/// What nobody was told within this time is not told any more.
const OLDEST: TimeDelta = TimeDelta::days(3);

/// The channels that tell of `notice`.
fn told_of(channels: &[Channel], notice: &Notice, failures: u32) -> Vec<String> {
    let wanting = channels.iter().filter(|channel| channel.wants(notice, failures));
    wanting.map(|channel| channel.name.clone()).collect()
}

/// What the worker is told.
enum Word {
    /// Other channels, and another history.
    Adopt(Vec<Channel>, Recorder),
    /// A run begins.
    Begun(Box<Run>),
    /// A run has ended.
    Ended(Box<Run>),
    /// How all jobs are.
    Status(Arc<Status>),
    /// Nothing more comes.
    End,
}

/// Tells somebody, on the side.
pub struct Notifier {
    teller: Teller,
    task: JoinHandle<()>,
}

/// What says what there is to tell.
#[derive(Clone)]
pub struct Teller(mpsc::UnboundedSender<Word>);

impl Teller {
    /// A run begins.
    pub fn begun(&self, run: Run) {
        self.say(Word::Begun(Box::new(run)));
    }

    /// A run has ended.
    pub fn ended(&self, run: Run) {
        self.say(Word::Ended(Box::new(run)));
    }

    /// How all jobs are.
    pub fn status(&self, status: Arc<Status>) {
        self.say(Word::Status(status));
    }

    fn say(&self, word: Word) {
        // When the worker has ended nobody is told any more.
        let _ = self.0.send(word);
    }
}

impl Notifier {
    /// Of nothing yet.
    #[must_use]
    pub fn start(clock: Clock) -> Self {
        let (words, heard) = mpsc::unbounded_channel();
        let worker = Worker::new(clock);
        Notifier {
            teller: Teller(words),
            task: tokio::spawn(worker.run(heard)),
        }
    }

    /// What says what there is to tell.
    #[must_use]
    pub fn teller(&self) -> Teller {
        self.teller.clone()
    }

    /// These are the channels from now on.
    pub fn adopt(&self, channels: Vec<Channel>, recorder: Recorder) {
        self.teller.say(Word::Adopt(channels, recorder));
    }

    /// Tells what it can within `time`; the rest waits in the history.
    pub async fn end(self, time: Duration) {
        self.teller.say(Word::End);
        if tokio::time::timeout(time, self.task).await.is_err() {
            tracing::warn!("notices are on their way, and the daemon ends: what is not told yet waits in the history");
        }
    }
}

/// What is known of a job between two runs.
#[derive(Default)]
struct Before {
    /// Failures in a row.
    failures: u32,
    /// The last one was no good one.
    troubled: bool,
    /// It was told that it is not fresh.
    stale: bool,
}

struct Worker {
    clock: Clock,
    channels: Vec<Channel>,
    recorder: Recorder,
    jobs: BTreeMap<String, Before>,
    /// What waits where there is no history.
    memory: Vec<(DateTime<Utc>, Waiting)>,
    /// When each channel last told a summary, where there is no history.
    digested: BTreeMap<String, DateTime<Utc>>,
    next: i64,
    /// Runs of other processes that ended until then were heard of.
    heard: DateTime<Utc>,
    /// When it was last looked for more of them.
    looked: Instant,
}

impl Worker {
    fn new(clock: Clock) -> Self {
        Worker {
            channels: Vec::new(),
            recorder: Recorder::default(),
            jobs: BTreeMap::new(),
            memory: Vec::new(),
            digested: BTreeMap::new(),
            next: 0,
            heard: clock.now(),
            looked: Instant::now(),
            clock,
        }
    }

    async fn run(mut self, mut heard: mpsc::UnboundedReceiver<Word>) {
        // Also where there is always more to hear.
        let mut look = tokio::time::interval(EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                word = heard.recv() => match word {
                    // What is due is tried once more.
                    None | Some(Word::End) => return self.deliver().await,
                    Some(word) => self.hear(word).await,
                },
                _ = look.tick() => {
                    self.hear_of_others();
                    self.deliver().await;
                }
            }
        }
    }

    fn history(&self) -> Option<Arc<History>> {
        self.recorder.history().cloned()
    }

    async fn hear(&mut self, word: Word) {
        match word {
            Word::Adopt(channels, recorder) => {
                self.channels = channels;
                self.recorder = recorder;
            }
            Word::Begun(run) => self.start(&run).await,
            Word::Ended(run) => self.ended(&run),
            Word::Status(status) => self.status(&status),
            Word::End => {}
        }
    }

    /// Monitors hear that a run begins: that it never ends is what they raise an alarm for.
    async fn start(&self, run: &Run) {
        let now = self.clock.now();
        let mut notice = Notice::new(News::Success, &run.job, "backup begins", "", now);
        notice.run = serde_json::to_value(run).unwrap_or_default();
        for channel in &self.channels {
            if let Way::Ping(Some(url)) = &channel.way
                && channel.wants(&notice, 0)
                && let Ok(url) = url.text()
                && let Err(error) = ping(&url, "/start", &notice).await
            {
                tracing::info!(channel = channel.name, "a ping was lost: {error:#}");
            }
        }
    }

    /// What others run on this machine is news too: a restore by hand, a backup by a timer.
    fn hear_of_others(&mut self) {
        let Some(history) = self.history().filter(|_| self.looked.elapsed() >= LISTEN_EVERY) else {
            return;
        };
        self.looked = Instant::now();
        for run in history.ended_after(self.heard).unwrap_or_default() {
            self.heard = self.heard.max(run.ended.unwrap_or(self.heard));
            if run.by != this_process() {
                self.ended(&run);
            }
        }
    }

    fn ended(&mut self, run: &Run) {
        let before = self.jobs.entry(run.job.clone()).or_default();
        let Some(notice) = Notice::of_run(run, before.troubled) else {
            return;
        };
        if matches!(run.verb, Verb::Backup | Verb::Discover) {
            let bad = matches!(run.outcome, Outcome::Failed | Outcome::Killed);
            before.failures = if bad { before.failures + 1 } else { 0 };
            before.troubled = bad || run.outcome == Outcome::Incomplete;
        }
        let failures = match run.verb {
            Verb::Backup | Verb::Discover => before.failures,
            _ => u32::MAX,
        };
        self.tell(&notice, failures);
    }

    fn status(&mut self, status: &Status) {
        for job in &status.jobs {
            let before = self.jobs.entry(job.job.clone()).or_default();
            let known = std::mem::replace(&mut before.stale, !job.fresh);
            let notice = match (job.fresh, known) {
                (true, true) => {
                    let message = format!("{} has a fresh, proven backup again", job.job);
                    Notice::new(
                        News::Recovered,
                        &job.job,
                        &format!("{}: fresh again", job.job),
                        &message,
                        status.at,
                    )
                }
                (true, false) => continue,
                (false, _) => {
                    let why = job.why.clone().unwrap_or_default();
                    let message = format!("{} has no fresh, proven backup: {why}", job.job);
                    Notice::new(
                        News::NotFresh,
                        &job.job,
                        &format!("{}: no fresh backup", job.job),
                        &message,
                        status.at,
                    )
                }
            };
            self.tell(&notice, u32::MAX);
        }
        self.digests(status);
    }

    /// Summaries whose time has come.
    fn digests(&mut self, status: &Status) {
        let now = self.clock.now();
        for channel in self.channels.clone() {
            let Some(schedule) = &channel.digest else { continue };
            let name = News::Digest.name();
            let told = self.history().map(|history| history.told(&channel.name, "", name));
            let told = told.and_then(|told| told.ok().flatten());
            let told = told.or_else(|| self.digested.get(&channel.name).copied());
            // The first one is due at the first time that comes after the channel.
            if told.is_some_and(|last| !is_due(schedule, last, now)) {
                continue;
            }
            if let Some(last) = told {
                self.enqueue(&channel.name, &digest(&channel, status, last));
            }
            self.digested.insert(channel.name.clone(), now);
            if let Some(history) = self.history()
                && let Err(error) = history.tells(&channel.name, "", name, now)
            {
                tracing::debug!(
                    channel = channel.name,
                    "it is not noted that a summary was told: {error:#}"
                );
            }
        }
    }

    /// Lets all channels tell that want to.
    fn tell(&mut self, notice: &Notice, failures: u32) {
        let channels = self.channels.clone();
        for channel in channels.iter().filter(|channel| channel.wants(notice, failures)) {
            if !self.is_told(channel, notice) {
                self.enqueue(&channel.name, notice);
            }
        }
    }

    /// Whether `channel` has told it, and is not to say it again yet. What is well again ends that.
    fn is_told(&self, channel: &Channel, notice: &Notice) -> bool {
        let Some(history) = self.history() else { return false };
        let (name, job, news) = (channel.name.as_str(), notice.job.as_str(), notice.news.name());
        let now = self.clock.now();
        let done = match notice.news {
            News::Recovered | News::Success => history.forget_told(name, job, None).map(|()| false),
            news if !news.is_trouble() => Ok(false),
            news => history.told(name, job, news.name()).and_then(|told| {
                let again = match (told, channel.remind_every) {
                    (None, _) => true,
                    (Some(at), Some(every)) => now - at >= every,
                    // Each failure is one, but that a backup is not fresh is said once.
                    (Some(_), None) => news != News::NotFresh,
                };
                if again {
                    history.tells(name, job, news.name(), now)?;
                }
                Ok(!again)
            }),
        };
        done.unwrap_or_else(|error| {
            tracing::debug!(channel = name, job, news, "it is not known what was told: {error:#}");
            false
        })
    }

    fn enqueue(&mut self, channel: &str, notice: &Notice) {
        let now = self.clock.now();
        let kept = self.history().map(|history| history.enqueue(channel, notice, now));
        if let Some(Ok(())) = kept {
            return;
        }
        self.next += 1;
        let waiting = Waiting {
            number: -self.next,
            channel: channel.to_owned(),
            attempts: 0,
            made: now,
            notice: notice.clone(),
        };
        self.memory.push((now, waiting));
    }

    /// Tries all that is due, each channel on its own.
    async fn deliver(&mut self) {
        let now = self.clock.now();
        let mut due: Vec<Waiting> = self
            .memory
            .iter()
            .filter(|(at, _)| *at <= now)
            .map(|(_, it)| it.clone())
            .collect();
        if let Some(history) = self.history() {
            due.extend(history.due(now).unwrap_or_default());
        }
        let mut of_channel: BTreeMap<String, Vec<Waiting>> = BTreeMap::new();
        for waiting in due {
            of_channel.entry(waiting.channel.clone()).or_default().push(waiting);
        }
        let channels = self.channels.clone();
        let trying = of_channel.into_iter().map(|(name, waiting)| {
            let channel = channels.iter().find(|channel| channel.name == name);
            async move {
                let mut tried = Vec::new();
                for waiting in waiting {
                    let Some(channel) = channel else {
                        // It is in the configuration no more.
                        tried.push((waiting, Ok(())));
                        continue;
                    };
                    let sent = send(channel, &waiting.notice, now).await;
                    let failed = sent.is_err();
                    tried.push((waiting, sent));
                    if failed {
                        break;
                    }
                }
                tried
            }
        });
        for (waiting, sent) in futures_util::future::join_all(trying).await.into_iter().flatten() {
            self.tried(&waiting, sent, now);
        }
    }

    fn tried(&mut self, waiting: &Waiting, sent: Result<()>, now: DateTime<Utc>) {
        let Err(error) = sent else { return self.forget(waiting) };
        let error = redact::secrets(&format!("{error:#}")).into_owned();
        let (channel, attempts) = (waiting.channel.as_str(), waiting.attempts + 1);
        if now - waiting.made > OLDEST {
            tracing::error!(
                channel,
                job = waiting.notice.job,
                "nobody was told, and will not be any more: {error}"
            );
            return self.forget(waiting);
        }
        tracing::warn!(
            channel,
            job = waiting.notice.job,
            attempts,
            "nobody was told yet: {error}"
        );
        let [first, longest] = WAITS;
        let wait = first
            .saturating_mul(3_i64.saturating_pow(attempts.saturating_sub(1).min(12)))
            .min(longest);
        let due = now + TimeDelta::seconds(wait);
        match self.memory.iter_mut().find(|(_, other)| other.number == waiting.number) {
            Some((at, other)) => {
                *at = due;
                other.attempts = attempts;
            }
            None => {
                if let Some(history) = self.history() {
                    let _ = history.delay(waiting.number, attempts, due);
                }
            }
        }
        if attempts == TELL_OTHERS && waiting.notice.news != News::ChannelDown {
            let message = format!("the channel {channel} reaches nobody: {error}");
            let notice = Notice::new(
                News::ChannelDown,
                "",
                &format!("{channel} reaches nobody"),
                &message,
                now,
            );
            let others: Vec<String> = told_of(&self.channels, &notice, u32::MAX);
            for other in others.iter().filter(|other| *other != channel) {
                self.enqueue(other, &notice);
            }
        }
    }

    fn forget(&mut self, waiting: &Waiting) {
        self.memory.retain(|(_, other)| other.number != waiting.number);
        if let Some(history) = self.history().filter(|_| waiting.number > 0) {
            let _ = history.dequeue(waiting.number);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use chrono_tz::Tz;

    use super::*;
    use crate::schedule::Schedule;
    use crate::watch::status::FORMAT;

    #[test]
    fn a_summary_is_told_once_at_each_of_its_times_in_its_zone() {
        let time: Arc<Mutex<DateTime<Utc>>> = Arc::new(Mutex::new("2026-10-22T12:00:00Z".parse().unwrap()));
        let clock = Clock::new({
            let time = Arc::clone(&time);
            move || *time.lock().unwrap()
        });
        let schedule = Schedule::parse("0 8 * * MON", Tz::Europe__Berlin, clock.now()).unwrap();
        let mut worker = Worker::new(clock.clone());
        worker.channels = vec![Channel {
            name: "team".to_owned(),
            way: Way::Command(vec!["true".to_owned()]),
            on: [News::Digest].into(),
            jobs: ["app".to_owned()].into(),
            remind_every: None,
            after_failures: 1,
            digest: Some(schedule),
        }];
        let mut told_at = |text: &str| {
            *time.lock().unwrap() = text.parse().unwrap();
            worker.status(&Status {
                format: FORMAT,
                at: clock.now(),
                sentence: String::new(),
                fresh: true,
                servers: Vec::new(),
                jobs: Vec::new(),
            });
            worker
                .memory
                .drain(..)
                .map(|(_, waiting)| waiting.notice.news)
                .collect::<Vec<_>>()
        };
        // A channel that is new has nothing to catch up with.
        assert_eq!(told_at("2026-10-22T12:00:00Z"), []);
        // Summer time ended on the 25th.
        assert_eq!(told_at("2026-10-26T06:59:59Z"), []);
        assert_eq!(told_at("2026-10-26T07:00:20Z"), [News::Digest]);
        assert_eq!(told_at("2026-10-26T07:01:20Z"), []);
        // The machine was off for three weeks: one summary is enough.
        assert_eq!(told_at("2026-11-18T12:00:00Z"), [News::Digest]);
        assert_eq!(told_at("2026-11-18T12:01:00Z"), []);
    }
}
