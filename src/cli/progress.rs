//! Progress for a person who waits: a bar with a rate on a terminal, nothing otherwise.

use std::fmt;
use std::io::IsTerminal as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use indicatif::{HumanBytes, HumanDuration, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use super::terminal;
use crate::{printable, redact};

/// How often the bar moves though nothing happens.
const TICK: Duration = Duration::from_millis(200);

/// Columns from which on rate and remaining time are shown, and from which on there is a bar as well.
const ROOM_FOR_RATE: usize = 60;
const ROOM_FOR_BAR: usize = 76;
const BAR: usize = 12;

/// A bar that knows what is being done and how far it is; cheap to clone, all clones are the same bar. Nothing is drawn
/// before the first step.
#[derive(Clone)]
pub struct Progress {
    bar: ProgressBar,
    look: Look,
    drawn: Arc<AtomicBool>,
}

/// What a person gets to see.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Look {
    /// Nothing: nobody looks, or a program does.
    Nothing,
    /// A line for each step: on a terminal that can only print.
    Lines,
    /// A line that is drawn again and again.
    Bar,
}

impl Progress {
    /// A bar on standard error, if that is a terminal and `wanted`.
    #[must_use]
    pub fn new(wanted: bool) -> Self {
        let bar = ProgressBar::no_length();
        bar.set_draw_target(ProgressDrawTarget::hidden());
        Progress {
            bar,
            look: match wanted && std::io::stderr().is_terminal() {
                false => Look::Nothing,
                true if terminal::can_redraw() => Look::Bar,
                true => Look::Lines,
            },
            drawn: Arc::default(),
        }
    }

    /// Begins a step that shows no amounts until [`Progress::total`].
    pub fn step(&self, text: &str) {
        match self.look {
            Look::Nothing => return,
            Look::Lines => return super::to_stderr(&clean(text)),
            Look::Bar => {}
        }
        self.bar.set_style(style("{spinner} {wide_msg} {elapsed}"));
        self.bar.set_position(0);
        self.bar.set_message(clean(text));
        if !self.drawn.swap(true, Ordering::Relaxed) {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
            self.bar.enable_steady_tick(TICK);
        }
    }

    /// Says how many bytes there are to go in this step.
    pub fn total(&self, bytes: u64) {
        if self.look != Look::Bar {
            return;
        }
        self.bar.set_position(0);
        self.bar.set_length(bytes);
        self.bar
            .set_style(style("{spinner} {wide_msg} {amounts}").with_key("amounts", amounts));
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
        self.suspend(|| super::to_stderr(&format!("snapback: warning: {}", printable::line(text))));
    }

    /// Does something that needs the terminal for itself: nothing is drawn meanwhile.
    pub fn suspend<T>(&self, work: impl FnOnce() -> T) -> T {
        self.bar.suspend(work)
    }

    /// Removes the bar.
    pub fn end(&self) {
        self.bar.finish_and_clear();
    }
}

/// How far a step is, in as many columns as the terminal has to spare at this moment.
fn amounts(state: &ProgressState, out: &mut dyn fmt::Write) {
    let (done, total) = (state.pos(), state.len().unwrap_or(0));
    let room = terminal::error_width();
    let mut text = format!("{}/{}", HumanBytes(done), HumanBytes(total));
    if room >= ROOM_FOR_RATE {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a rate for people
        let rate = state.per_sec() as u64;
        text.push_str(&format!(" {}/s", HumanBytes(rate)));
        if total > done && rate > 0 {
            text.push_str(&format!(" {:#} left", HumanDuration(state.eta())));
        }
    }
    if room >= ROOM_FOR_BAR {
        let filled = (state.fraction() * BAR as f32).clamp(0.0, BAR as f32) as usize;
        text = format!("{}{} {text}", "█".repeat(filled), "░".repeat(BAR - filled));
    }
    // A bar that cannot be drawn is no reason to fail.
    let _ = out.write_str(&text);
}

/// A step as people may see it, in one line.
fn clean(text: &str) -> String {
    printable::line(&redact::secrets(text)).into_owned()
}

fn style(template: &str) -> ProgressStyle {
    // The templates are constants; a mistake in one would show in the first run by hand.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
