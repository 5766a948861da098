//! The named steps of a long run, and who is told when one is reached: a backup and a restore share it.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};

/// Declares the steps of a run: an enum whose values have a name (for `--pause-at` and reports) and a text for people.
macro_rules! steps {
    ($(#[$about:meta])* $of:literal, $($(#[$doc:meta])* $step:ident = $name:literal, $text:literal;)+) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Step {
            $($(#[$doc])* $step,)+
        }

        impl Step {
            /// What happens in the step, for people.
            #[must_use]
            pub fn describe(self) -> &'static str {
                match self {
                    $(Step::$step => $text,)+
                }
            }
        }

        impl std::fmt::Display for Step {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(match self {
                    $(Step::$step => $name,)+
                })
            }
        }

        impl std::str::FromStr for Step {
            type Err = $crate::error::Fail;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $($name => Ok(Step::$step),)+
                    _ => Err($crate::error::Fail::new(
                        $crate::error::Exit::Usage,
                        format!("{text:?} is not a step of {}", $of),
                    )),
                }
            }
        }
    };
}
pub(crate) use steps;

/// What a run tells.
#[derive(Clone, Debug, PartialEq)]
pub enum Event<S> {
    /// A step begins.
    Step(S),
    /// How much there is to read or to load in this step, about, in bytes.
    Total(u64),
    /// So many more bytes of it are done.
    Done(u64),
    /// Something that a person should know and that does not stop the run.
    Warning(String),
    /// It waits on purpose, or goes on.
    Paused(bool),
}

/// How long a step took.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Timed {
    /// Its name.
    pub step: String,
    /// In seconds.
    pub seconds: f64,
}

/// Whom a run tells what it does.
pub struct Watch<S> {
    report: Arc<dyn Fn(Event<S>) + Send + Sync>,
    pause_at: Option<S>,
    begun: Arc<Mutex<Vec<(S, Instant)>>>,
    moved: Arc<Mutex<Instant>>,
}

impl<S: Copy> Clone for Watch<S> {
    fn clone(&self) -> Self {
        Watch {
            report: Arc::clone(&self.report),
            pause_at: self.pause_at,
            begun: Arc::clone(&self.begun),
            moved: Arc::clone(&self.moved),
        }
    }
}

impl<S: Copy + PartialEq + fmt::Display> Watch<S> {
    /// Tells `report`, which must not block.
    pub fn new(report: impl Fn(Event<S>) + Send + Sync + 'static) -> Self {
        Watch {
            report: Arc::new(report),
            pause_at: None,
            begun: Arc::default(),
            moved: Arc::new(Mutex::new(Instant::now())),
        }
    }

    /// Tells nobody.
    #[must_use]
    pub fn silent() -> Self {
        Watch::new(|_| ())
    }

    /// The same, but it stops at `step` for ever, or until SIGUSR1 comes: tests kill it there, or what it talks to.
    #[must_use]
    pub fn pausing_at(mut self, step: Option<S>) -> Self {
        self.pause_at = step;
        self
    }

    /// Says that `step` is reached.
    pub async fn step(&self, step: S) {
        // Before anybody hears that it is reached: the signal would end a process that does not wait for it yet.
        let paused = (self.pause_at == Some(step)).then(|| signal(SignalKind::user_defined1()));
        tracing::debug!(%step, "reached");
        self.begun().push((step, Instant::now()));
        self.tell(Event::Step(step));
        match paused {
            Some(Ok(mut goes_on)) => _ = goes_on.recv().await,
            Some(Err(_)) => std::future::pending::<()>().await,
            None => {}
        }
    }

    /// How long each step took that has ended because another one began.
    #[must_use]
    pub fn times(&self) -> Vec<Timed> {
        let begun = self.begun();
        let ended = begun.iter().zip(begun.iter().skip(1));
        let timed = ended.map(|((step, at), (_, then))| Timed {
            step: step.to_string(),
            seconds: (*then - *at).as_secs_f64(),
        });
        timed.collect()
    }

    fn begun(&self) -> std::sync::MutexGuard<'_, Vec<(S, Instant)>> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells something.
    pub fn tell(&self, event: Event<S>) {
        *self.moved.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        (self.report)(event);
    }

    /// How long it has told nothing: no step began, and no byte moved.
    #[must_use]
    pub fn idle(&self) -> Duration {
        self.moved.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    /// Warns.
    pub fn warn(&self, text: impl Into<String>) {
        self.tell(Event::Warning(text.into()));
    }
}

#[cfg(test)]
mod tests {
    steps! {
        /// Steps.
        "a walk",
        /// The left foot.
        Left = "left", "lifting the left foot";
        /// The right foot.
        Right = "right", "lifting the right foot";
    }

    #[test]
    fn a_step_is_known_by_its_name() {
        for step in [Step::Left, Step::Right] {
            assert_eq!(step.to_string().parse::<Step>().unwrap(), step);
        }
        assert_eq!(Step::Right.describe(), "lifting the right foot");
        let error = "hop".parse::<Step>().unwrap_err();
        assert_eq!(error.message, "\"hop\" is not a step of a walk");
    }
}
