//! Memory that a daemon gives back. glibc's allocator has an arena for each thread, as far as it can: what is free in one serves no other
//! thread, and what was large once is kept for good. After some runs that is most of what an idle daemon has. How it does that is
//! read from the environment when a program starts, so the daemon starts itself once more.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// What the allocator reads: few arenas, of which what is free at the end goes back to the system. Without the last one each large
/// buffer would be taken from the system anew, which costs a backup a tenth of its processor time.
const SETTINGS: [(&str, &str); 3] = [
    ("MALLOC_ARENA_MAX", "2"),
    ("MALLOC_TRIM_THRESHOLD_", "131072"),
    ("MALLOC_MMAP_THRESHOLD_", "33554432"),
];

/// Starts this program once more with `arguments`, in this process, unless that was done or somebody has decided otherwise.
/// Where it cannot be done, the daemon has more memory, and that is all.
pub fn limit(arguments: &[OsString]) {
    let decided = SETTINGS.iter().any(|(name, _)| std::env::var_os(name).is_some());
    if !cfg!(target_env = "gnu") || decided {
        return;
    }
    let (Ok(program), Some((name, rest))) = (std::env::current_exe(), arguments.split_first()) else {
        return;
    };
    // It only returns where it failed.
    let _ = Command::new(program).arg0(name).args(rest).envs(SETTINGS).exec();
}
