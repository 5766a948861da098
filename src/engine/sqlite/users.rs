//! Which processes of this machine have a database file open, and which have locks on it: from `/proc`, as far as that
//! shows the processes of others. Nothing here opens the file: closing it again would end the locks of this process.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// The byte that a writer locks who waits for the readers of a database to leave.
const PENDING_BYTE: u64 = 0x4000_0000;

/// The processes that have the file at `path` open, but this one: `python3 (4711)`.
#[must_use]
pub fn of(path: &Path) -> Vec<String> {
    let Ok(file) = fs::metadata(path) else {
        return Vec::new();
    };
    let has_it = |pid: u32| {
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        let mut files = descriptors.filter_map(|entry| fs::metadata(entry.path()).ok());
        files.any(|open| (open.dev(), open.ino()) == (file.dev(), file.ino()))
    };
    let mut found: Vec<u32> = processes().filter(|pid| has_it(*pid)).collect();
    found.sort_unstable();
    found.into_iter().map(name).collect()
}

/// The processes that have a lock on the database at `path`, but this one.
#[must_use]
pub fn holders(path: &Path) -> Vec<String> {
    // In WAL mode the locks are on the -shm file.
    let mut shm = path.as_os_str().to_owned();
    shm.push("-shm");
    let files = [path, Path::new(&shm)];
    let inodes: Vec<u64> = files
        .iter()
        .filter_map(|it| Some(fs::metadata(it).ok()?.ino()))
        .collect();
    let mut found: Vec<u32> = locks(&fs::read_to_string("/proc/locks").unwrap_or_default())
        .filter(|lock| lock.is_posix && inodes.contains(&lock.inode) && lock.pid != std::process::id())
        .map(|lock| lock.pid)
        .collect();
    found.sort_unstable();
    found.dedup();
    found.into_iter().map(name).collect()
}

/// The process that waits for the readers of the database with this inode to leave, so that it can write.
#[must_use]
pub fn waiting_writer(inode: u64) -> Option<String> {
    let text = fs::read_to_string("/proc/locks").ok()?;
    let waits = |lock: &Lock| {
        let covers = lock.start <= PENDING_BYTE && PENDING_BYTE <= lock.end;
        lock.is_posix && lock.is_write && lock.inode == inode && covers && lock.pid != std::process::id()
    };
    let found = locks(&text).find(waits)?;
    Some(name(found.pid))
}

/// Who has the lock of a whole file (`flock`) on the file with this inode.
#[must_use]
pub fn flock_holder(inode: u64) -> Option<String> {
    let text = fs::read_to_string("/proc/locks").ok()?;
    let found = locks(&text).find(|lock| !lock.is_posix && lock.inode == inode)?;
    Some(name(found.pid))
}

/// A lock, as a line of `/proc/locks` has it.
struct Lock {
    is_posix: bool,
    is_write: bool,
    pid: u32,
    inode: u64,
    start: u64,
    end: u64,
}

fn locks(text: &str) -> impl Iterator<Item = Lock> + '_ {
    text.lines().filter_map(lock)
}

/// `1: POSIX  ADVISORY  WRITE 4711 08:01:1234 1073741824 1073741824`; one that is waited for has an arrow, and is none.
fn lock(line: &str) -> Option<Lock> {
    let mut words = line.split_whitespace().skip(1);
    let is_posix = match words.next()? {
        "POSIX" | "OFDLCK" => true,
        "FLOCK" => false,
        _ => return None,
    };
    let (_, access, pid) = (words.next()?, words.next()?, words.next()?);
    let inode = words.next()?.rsplit(':').next()?.parse().ok()?;
    let start = words.next()?.parse().ok()?;
    let end = words.next()?.parse().unwrap_or(u64::MAX);
    Some(Lock {
        is_posix,
        is_write: access == "WRITE",
        pid: pid.parse().ok()?,
        inode,
        start,
        end,
    })
}

fn processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let number = |entry: fs::DirEntry| entry.file_name().to_str()?.parse::<u32>().ok();
    entries.filter_map(number).filter(|pid| *pid != std::process::id())
}

fn name(pid: u32) -> String {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    match name.trim() {
        "" => format!("process {pid}"),
        name => format!("{name} ({pid})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_proc_locks_are_understood() {
        let text = "1: POSIX  ADVISORY  WRITE 4711 fd:00:1234 1073741824 1073741824\n\
                    2: FLOCK  ADVISORY  WRITE 4712 fd:00:1235 0 EOF\n\
                    2: -> FLOCK  ADVISORY  WRITE 4713 fd:00:1235 0 EOF\n\
                    3: LEASE  ACTIVE    READ  4714 fd:00:1236 0 EOF\n";
        let found: Vec<_> = locks(text)
            .map(|it| (it.is_posix, it.is_write, it.pid, it.inode, it.end))
            .collect();
        assert_eq!(
            found,
            [
                (true, true, 4711, 1234, PENDING_BYTE),
                (false, true, 4712, 1235, u64::MAX)
            ]
        );
    }
}
