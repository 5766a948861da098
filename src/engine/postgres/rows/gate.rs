//! Bounds the compressed bytes that wait for their turn in the archive.
//!
//! Units (segments of tables) are read at the same time but stand in the archive in order. The unit whose
//! turn it is, the head, is written as it comes; what others have ready waits in memory, and all of that
//! together is bounded here. The head never waits for the others, so the line always moves.

use std::collections::HashMap;
use std::sync::{Condvar, Mutex, PoisonError};

/// What units other than the head may hold together.
const WAITING: usize = 24 << 20;
/// What the head may have on its way to the archive.
const HEAD: usize = 4 << 20;

/// The gate that chunks pass.
#[derive(Debug, Default)]
pub(super) struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    head: usize,
    /// Bytes that each unit holds, and all together.
    held: HashMap<usize, usize>,
    total: usize,
    closed: bool,
}

/// The run has failed: there is no point in going on.
#[derive(Debug, thiserror::Error)]
#[error("the dump was given up")]
pub(super) struct Closed;

impl Gate {
    /// Whether `bytes` of `unit` may be kept without waiting; they are then.
    pub(super) fn try_enter(&self, unit: usize, bytes: usize) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let room = !state.closed && state.has_room(unit, bytes);
        if room {
            state.add(unit, bytes);
        }
        room
    }

    /// Waits until `bytes` of `unit` may be kept. Blocks: not for async tasks, and for nobody who holds back what was let in before.
    pub(super) fn enter(&self, unit: usize, bytes: usize) -> Result<(), Closed> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut state = self
            .changed
            .wait_while(state, |state| !state.closed && !state.has_room(unit, bytes))
            .unwrap_or_else(PoisonError::into_inner);
        if state.closed {
            return Err(Closed);
        }
        state.add(unit, bytes);
        Ok(())
    }

    /// `bytes` of `unit` are written.
    pub(super) fn leave(&self, unit: usize, bytes: usize) {
        self.change(|state| {
            state.total = state.total.saturating_sub(bytes);
            if let Some(held) = state.held.get_mut(&unit) {
                *held = held.saturating_sub(bytes);
            }
        });
    }

    /// It is the turn of `unit`; all before it are written.
    pub(super) fn advance(&self, unit: usize) {
        self.change(|state| {
            state.head = unit;
            state.held.retain(|held, _| *held >= unit);
        });
    }

    /// Turns everyone away from now on.
    pub(super) fn close(&self) {
        self.change(|state| state.closed = true);
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
    }
}

impl State {
    fn add(&mut self, unit: usize, bytes: usize) {
        *self.held.entry(unit).or_default() += bytes;
        self.total += bytes;
    }

    fn has_room(&self, unit: usize, bytes: usize) -> bool {
        let head = self.held.get(&self.head).copied().unwrap_or_default();
        let (held, limit) = if unit == self.head {
            (head, HEAD)
        } else {
            (self.total - head, WAITING)
        };
        held == 0 || held + bytes <= limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_head_passes_a_full_gate() {
        let gate = Gate::default();
        gate.enter(1, WAITING).unwrap();
        gate.enter(0, HEAD).unwrap();
        let full = |unit| !gate.state.lock().unwrap().has_room(unit, 1);
        assert!(full(0) && full(1) && full(2));
        gate.leave(0, HEAD);
        assert!(!full(0) && full(2));
        gate.advance(1);
        assert!(full(1) && !full(2), "what waited is the head's now");
        gate.leave(1, WAITING);
        assert!(!full(1));
    }

    #[test]
    fn closing_sends_those_who_wait_away() {
        let gate = std::sync::Arc::new(Gate::default());
        gate.enter(1, WAITING).unwrap();
        let waits = std::thread::spawn({
            let gate = gate.clone();
            move || gate.enter(2, 1)
        });
        gate.close();
        assert!(waits.join().unwrap().is_err());
    }
}
