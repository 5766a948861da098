//! Progress for a person who waits: a bar with a rate on a terminal, nothing otherwise.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::{printable, redact};

/// A bar that knows what is being done and how far it is; cheap to clone, all clones are the same bar.
#[derive(Clone)]
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// A bar on standard error, if that is a terminal and `wanted`.
    #[must_use]
    pub fn new(wanted: bool) -> Self {
        let bar = ProgressBar::no_length();
        if wanted && std::io::stderr().is_terminal() {
            bar.enable_steady_tick(Duration::from_millis(200));
        } else {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        Progress { bar }
    }

    /// Begins a step that shows no amounts until [`Progress::total`].
    pub fn step(&self, text: &str) {
        self.bar.set_style(style("{spinner} {msg} ({elapsed})"));
        self.bar.set_position(0);
        self.bar
            .set_message(printable::line(&redact::secrets(text)).into_owned());
    }

    /// Says how many bytes there are to go in this step.
    pub fn total(&self, bytes: u64) {
        self.bar.set_position(0);
        self.bar.set_length(bytes);
        self.bar.set_style(style(
            "{spinner} {msg} [{bar:30}] {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} eta {eta}",
        ));
    }

    /// So many more bytes are done.
    pub fn add(&self, bytes: u64) {
        // What is to come is an estimate, and one that was too low shall not look finished.
        if self
            .bar
            .length()
            .is_some_and(|length| self.bar.position() + bytes > length)
        {
            self.bar.inc_length(bytes);
        }
        self.bar.inc(bytes);
    }

    /// Warns, above the bar; also where there is no bar.
    pub fn warn(&self, text: &str) {
        self.bar
            .suspend(|| super::to_stderr(&format!("snapback: warning: {}", printable::line(text))));
    }

    /// Removes the bar.
    pub fn end(&self) {
        self.bar.finish_and_clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    // The templates are constants; a mistake in one would show in the first run by hand.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
