//! The requests that a session has sent and not answered yet.
//!
//! Queries are sent ahead, and when one fails, the server refuses those behind it: "current transaction is aborted". Whoever
//! awaits several of them may hear of any first. So a refusal waits until all that was sent before is answered: what is
//! told is why the first one failed.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;
use tokio_postgres::error::SqlState;

use crate::error::Result;

/// Those of one session.
#[derive(Debug, Default)]
pub(super) struct Requests {
    open: Mutex<Open>,
    answered: Notify,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    numbers: BTreeSet<u64>,
}

/// One of them, until it is answered or nobody wants its answer any more.
pub(super) struct Request<'a> {
    all: &'a Requests,
    number: u64,
}

impl Requests {
    /// Takes note of a request that is about to be sent.
    pub(super) fn begin(&self) -> Request<'_> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let number = open.next;
        open.next += 1;
        open.numbers.insert(number);
        Request { all: self, number }
    }
}

impl Request<'_> {
    /// Hands the answer on: a mere consequence of an earlier failure only when that was told.
    pub(super) async fn tell<T>(self, answer: Result<T>) -> Result<T> {
        if answer.as_ref().is_err_and(is_consequence) {
            self.all_before().await;
        }
        answer
    }

    async fn all_before(&self) {
        loop {
            let mut answered = pin!(self.all.answered.notified());
            answered.as_mut().enable();
            let first = {
                let open = self.all.open.lock().unwrap_or_else(PoisonError::into_inner);
                open.numbers.first().copied()
            };
            if first.is_none_or(|first| first >= self.number) {
                return;
            }
            answered.await;
        }
    }
}

impl Drop for Request<'_> {
    fn drop(&mut self) {
        let mut open = self.all.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.numbers.remove(&self.number);
        drop(open);
        self.all.answered.notify_waiters();
    }
}

fn is_consequence(error: &anyhow::Error) -> bool {
    // A connection is closed when the server has said why to the request that it was at.
    let mut causes = error.chain();
    causes
        .find_map(|cause| cause.downcast_ref::<tokio_postgres::Error>())
        .is_some_and(|error| error.is_closed() || error.code() == Some(&SqlState::IN_FAILED_SQL_TRANSACTION))
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    #[tokio::test]
    async fn who_came_later_waits_until_all_before_are_answered() {
        let requests = Requests::default();
        {
            let (first, second, third) = (requests.begin(), requests.begin(), requests.begin());
            let mut waiting = pin!(second.all_before());
            assert!(waiting.as_mut().now_or_never().is_none());
            drop(third);
            assert!(waiting.as_mut().now_or_never().is_none());
            drop(first);
            assert!(waiting.now_or_never().is_some());
        }
        assert!(requests.begin().all_before().now_or_never().is_some());
    }
}
