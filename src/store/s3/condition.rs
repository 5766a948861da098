//! Whether the server refuses to put an object over a name that is taken.
//!
//! That is asked for with every upload, but several servers accept the condition and ignore it. So it is tried once:
//! the first small object is put a second time, as it is.

use std::sync::{Mutex, PoisonError};

use super::super::Taken;
use crate::error::Result;

/// The condition: no object of any kind may be there.
pub const NONE: &str = "*";

/// What is known of the server.
#[derive(Default)]
pub struct Condition {
    enforced: Mutex<Option<bool>>,
}

impl Condition {
    /// Whether the server enforces it; `None` as long as it was not tried.
    pub fn is_enforced(&self) -> Option<bool> {
        *self.enforced.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Learns from what became of putting the same object again.
    pub fn learn(&self, again: &Result<()>) {
        let enforced = match again {
            Ok(()) => {
                tracing::info!("the S3 server ignores If-None-Match: a name is looked up before each upload instead");
                Some(false)
            }
            Err(error) if error.is::<Taken>() => Some(true),
            // Nothing was learned; the next upload tries again.
            Err(_) => None,
        };
        *self.enforced.lock().unwrap_or_else(PoisonError::into_inner) = enforced;
    }
}
