//! A job that is less urgent than the rest of the process: its runs have threads of their own.
//!
//! A thread that gave way to others cannot take that back without a right that a service does not have, so threads are not lent.
//! All that a run computes is done by a runtime whose threads were made so: reading and hashing, compression, encryption, TLS. There
//! is one for each `nice`, and it stays: what its runs have connected to a bucket serves others too.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, Once, PoisonError};

use rustix::process::{getpid, getpriority_process, setpriority_process};
use tokio::runtime::{Builder, Runtime};
use tokio_util::task::AbortOnDropHandle;

use crate::error::Result;

/// The runtimes by their `nice`.
static RUNTIMES: Mutex<BTreeMap<u8, Arc<Runtime>>> = Mutex::new(BTreeMap::new());

/// The least urgent that a thread can be.
const NICEST: i32 = 19;

/// Does `work` on threads that are less urgent by `nice`. Dropped, it ends the work.
///
/// # Errors
/// Those of the work, or there are no such threads.
pub async fn run<T: Send + 'static>(nice: u8, work: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
    AbortOnDropHandle::new(runtime(nice)?.spawn(work)).await?
}

fn runtime(nice: u8) -> Result<Arc<Runtime>> {
    let mut runtimes = RUNTIMES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(runtime) = runtimes.get(&nice) {
        return Ok(Arc::clone(runtime));
    }
    // The first thread's: others may be less urgent already, and a new thread begins as the one that made it.
    let wanted = (getpriority_process(Some(getpid()))? + i32::from(nice)).min(NICEST);
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name(format!("snapback-nice{nice}"))
        .on_thread_start(move || give_way(wanted))
        .enable_all()
        .build()?;
    let runtime = Arc::new(runtime);
    runtimes.insert(nice, Arc::clone(&runtime));
    Ok(runtime)
}

/// Sets the priority of this thread.
fn give_way(wanted: i32) {
    static TOLD: Once = Once::new();
    if let Err(error) = setpriority_process(None, wanted) {
        TOLD.call_once(|| tracing::warn!("nice has no effect: the system does not let a thread give way: {error}"));
    }
}
