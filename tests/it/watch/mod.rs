//! What an operator sees and is told: history, status, page, metrics, notices, hooks.

mod axe;
mod doctor;
mod history;
mod http;
mod notices;
mod numbers;
mod openapi;
mod schedules;
mod silent;
mod status;
mod week;

use std::fs;
use std::process::Child;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::sqlite::Site;
use crate::support::{Run, snapback};

/// A folder with databases of SQLite, a job for each of `names`, and `more` in the configuration.
pub fn site(names: &[&str], more: &str) -> Site {
    let site = Site::new();
    for name in names {
        site.python(
            &format!("{name}.db"),
            "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT); INSERT INTO t VALUES (1, 'a'), (2, 'b');",
        );
    }
    write(&site, names, "", more);
    site
}

/// Writes the configuration anew: `of_job` are keys of each job.
pub fn write(site: &Site, names: &[&str], of_job: &str, more: &str) {
    let mut text = format!("{more}\n[daemon]\nstate = \"state\"\n[stores.default]\npath = \"backups\"\n");
    for name in names {
        text.push_str(&format!("[jobs.{name}]\nurl = \"{name}.db\"\n{of_job}\n"));
    }
    fs::write(site.path("snapback.toml"), text).unwrap();
}

/// The answer of `--json`, whatever the exit code is.
pub fn json(site: &Site, arguments: &[&str]) -> (Option<i32>, Value) {
    let mut all = vec!["--json"];
    all.extend(arguments);
    let Run { code, stdout, stderr } = site.snapback(&all);
    let value = serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}{stderr}"));
    (code, value)
}

/// A daemon in a site; ended when it is dropped.
pub struct Served(pub Child);

impl Served {
    pub fn start(site: &Site) -> Served {
        Served::with(site, &[])
    }

    /// The same with more in the environment.
    pub fn with(site: &Site, environment: &[(&str, &str)]) -> Served {
        let log = fs::File::create(site.path("log")).unwrap();
        let mut command = snapback();
        command.current_dir(site.dir.path()).arg("serve").stderr(log);
        command.envs(environment.iter().copied());
        Served(command.spawn().unwrap())
    }

    /// Ends it as systemd does.
    pub fn end(mut self) {
        Run::of(std::process::Command::new("kill").arg(self.0.id().to_string())).ok();
        assert!(self.0.wait().unwrap().success());
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits until something is there.
#[track_caller]
pub fn wait_for<T>(what: &str, look: impl Fn() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what} never came");
        std::thread::sleep(Duration::from_millis(50));
    }
}
