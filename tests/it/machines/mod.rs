//! Whole machines: a Debian that systemd runs, a container's file system, hosts with networks of their own. They need root, and
//! what `tests/servers --full` installs.

mod container;
mod hosts;
mod rpm;
mod systemd;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::support::Run;
use crate::support::server::cache_dir;

/// A copy of the Debian that `tests/servers --full` makes.
fn debian(folder: &Path) -> PathBuf {
    let template = cache_dir().join("debian-12");
    assert!(
        template.exists(),
        "there is no Debian to copy: run tests/servers --full as root"
    );
    let root = folder.join("root");
    Run::of(
        Command::new("cp")
            .args(["-a", "--reflink=auto"])
            .arg(template)
            .arg(&root),
    )
    .ok();
    root
}

/// `systemd-nspawn` for a root, which needs no systemd around it.
fn nspawn(root: &Path) -> Command {
    let mut command = Command::new("systemd-nspawn");
    command.args([
        "--quiet",
        "--register=no",
        "--keep-unit",
        "--private-network",
        "--directory",
    ]);
    command.arg(root);
    command
}

/// A running Debian whose first process is systemd. It ends when it is dropped.
struct Machine {
    root: PathBuf,
    nspawn: Child,
    /// Its systemd, as it is called out here.
    init: String,
    _folder: TempDir,
}

impl Machine {
    fn boot() -> Machine {
        // In memory nothing waits for disks, but not every machine has the room.
        let folder = tempfile::Builder::new().prefix("sb").tempdir_in("/var/tmp").unwrap();
        let root = debian(folder.path());
        let log = fs::File::create(folder.path().join("console")).unwrap();
        let nspawn = nspawn(&root)
            .arg("--boot")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut machine = Machine {
            root,
            nspawn,
            init: String::new(),
            _folder: folder,
        };
        let children = format!("/proc/{0}/task/{0}/children", machine.nspawn.id());
        machine.init = until("a first process", || {
            let children = fs::read_to_string(&children).unwrap_or_default();
            children.split_whitespace().next().map(str::to_owned)
        });
        until("a system that runs", || {
            let said = machine.run(&["systemctl", "is-system-running"]).stdout;
            (said == "running\n").then_some(())
        });
        machine
    }

    /// A program in the machine, as root.
    fn run(&self, words: &[&str]) -> Run {
        let mut enter = Command::new("nsenter");
        enter.args(["--target", &self.init, "--all", "--", "env", "-i"]);
        enter.args([
            "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
            "LC_ALL=C.UTF-8",
            "DEBIAN_FRONTEND=noninteractive",
        ]);
        Run::of(enter.args(words).stdin(Stdio::null()))
    }

    /// Lines for a shell in the machine, as root.
    fn shell(&self, lines: &str) -> Run {
        self.run(&["sh", "-c", lines])
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Where a file of the machine lies out here.
    fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// What systemd says of a unit.
    #[track_caller]
    fn shows(&self, unit: &str, property: &str) -> String {
        let shown = self
            .run(&["systemctl", "show", "--value", "--property", property, unit])
            .ok();
        shown.stdout.trim_end().to_owned()
    }

    /// What a unit has written so far.
    fn journal(&self, unit: &str) -> String {
        self.run(&["journalctl", "--no-pager", "--output=cat", "--unit", unit])
            .ok()
            .stdout
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // systemd-nspawn takes this as the wish that the machine shuts down, and takes its mounts away.
        let _ = Command::new("kill").arg(self.nspawn.id().to_string()).status();
        let _ = self.nspawn.wait();
    }
}

/// Waits until something is there.
#[track_caller]
fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "there is never {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}
