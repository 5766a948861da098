//! Keeps a session from reading ahead.
//!
//! The driver reads what the server sends and hands it out message by message; some wait in between. A message may be
//! a row of hundreds of megabytes, and then the rows that wait are too many. Who has enough of them holds the brake: nothing
//! is read from the socket until it is let go, and the server waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Context;

use futures_util::task::AtomicWaker;

/// The brake of one session; clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct Brake(Arc<State>);

#[derive(Debug, Default)]
struct State {
    holders: AtomicUsize,
    reader: AtomicWaker,
}

/// Nothing is read while this is there.
#[must_use]
pub struct Held(Arc<State>);

impl Brake {
    /// Holds it.
    pub fn hold(&self) -> Held {
        self.0.holders.fetch_add(1, Ordering::AcqRel);
        Held(Arc::clone(&self.0))
    }

    /// Whether whoever reads has to wait; then it is woken when it may go on.
    pub(super) fn stops(&self, cx: &mut Context<'_>) -> bool {
        let held = || self.0.holders.load(Ordering::Acquire) > 0;
        if !held() {
            return false;
        }
        self.0.reader.register(cx.waker());
        // It may have been let go just before.
        held()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.holders.fetch_sub(1, Ordering::AcqRel);
        self.0.reader.wake();
    }
}
