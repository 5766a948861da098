//! Two hosts with networks of their own, one configuration, one database: each backup is made once.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::until;
use crate::support::{Run, Server, snapback};

#[track_caller]
fn ip(words: &str) -> Run {
    Run::of(Command::new("ip").args(words.split(' ')))
}

/// The address of the server, which this machine has as long as this lives.
struct Address;

impl Address {
    fn take() -> Address {
        ip("addr add 10.213.0.1/32 dev lo").ok();
        Address
    }
}

impl Drop for Address {
    fn drop(&mut self) {
        let _ = Command::new("ip")
            .args(["addr", "del", "10.213.0.1/32", "dev", "lo"])
            .status();
    }
}

/// A host: a network with one cable to the server's, and a name.
struct Host {
    name: String,
    daemon: Child,
}

impl Host {
    /// Lays the cable and starts the daemon there.
    fn start(number: u8, config: &Path, folder: &Path) -> Host {
        let name = format!("sb{}-{number}", std::process::id());
        let (near, far) = (
            format!("sb{number}n{}", std::process::id()),
            format!("sb{number}f{}", std::process::id()),
        );
        ip(&format!("netns add {name}")).ok();
        ip(&format!("link add {near} type veth peer name {far} netns {name}")).ok();
        ip(&format!("addr add 10.213.{number}.1/24 dev {near}")).ok();
        ip(&format!("link set {near} up")).ok();
        ip(&format!("-n {name} addr add 10.213.{number}.2/24 dev {far}")).ok();
        ip(&format!("-n {name} link set {far} up")).ok();
        ip(&format!("-n {name} link set lo up")).ok();
        // The server has one address, whichever cable leads there.
        ip(&format!("-n {name} route add 10.213.0.1/32 via 10.213.{number}.1")).ok();
        let log = fs::File::create(folder.join(format!("log-{number}"))).unwrap();
        let program = snapback();
        let mut daemon = Command::new("ip");
        daemon.args(["netns", "exec", &name, "unshare", "--uts"]);
        daemon.args(["sh", "-c", "hostname \"$0\" && exec \"$@\"", &format!("host-{number}")]);
        daemon
            .arg(program.get_program())
            .arg("--config")
            .arg(config)
            .arg("serve");
        for (name, value) in program.get_envs() {
            match value {
                Some(value) => daemon.env(name, value),
                None => daemon.env_remove(name),
            };
        }
        daemon.env("XDG_STATE_HOME", folder.join(format!("state-{number}")));
        let daemon = daemon.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        Host {
            name,
            daemon: daemon.spawn().unwrap(),
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // The programs before it have become the daemon.
        let _ = Command::new("kill").arg(self.daemon.id().to_string()).status();
        let _ = self.daemon.wait();
        let _ = Command::new("ip").args(["netns", "del", &self.name]).status();
    }
}

/// Of each host: the lines of its log that say so.
fn lines(folder: &Path, what: &str) -> [usize; 2] {
    [1, 2].map(|number| {
        let log = fs::read_to_string(folder.join(format!("log-{number}"))).unwrap();
        log.lines().filter(|line| line.contains(what)).count()
    })
}

#[test]
#[ignore = "makes networks: tests/run --full"]
fn two_daemons_with_one_configuration_make_each_backup_once() {
    let dir = tempfile::tempdir().unwrap();
    let _address = Address::take();
    let server = Server::start_with(15, &["listen_addresses=10.213.0.1"]);
    fs::write(
        Path::new(server.host()).join("data/pg_hba.conf"),
        "local all all trust\nhost all all 10.213.0.0/16 trust\n",
    )
    .unwrap();
    server.psql("postgres", "SELECT pg_reload_conf()");
    server.create_database("app");
    server.psql("app", "CREATE TABLE t AS SELECT g AS id FROM generate_series(1, 100) g");
    let config = dir.path().join("config.toml");
    let store = dir.path().join("store");
    fs::write(
        &config,
        format!(
            "[stores.default]\npath = '{}'\n[jobs.app]\nurl = 'postgresql://postgres@10.213.0.1/app'\nschedule = '*/3 * * * * *'\n\
             [jobs.app.retention]\nkeep_last = 1000\n",
            store.display()
        ),
    )
    .unwrap();
    let hosts = [1, 2].map(|number| Host::start(number, &config, dir.path()));
    let manifests = || {
        let Ok(entries) = fs::read_dir(store.join("app")) else {
            return BTreeSet::new();
        };
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.ends_with(".json")).collect::<BTreeSet<_>>()
    };
    until("a dozen backups", || (manifests().len() >= 12).then_some(()));
    // One host dies in the middle of it, and the other goes on alone.
    let [first, second] = hosts;
    drop(first);
    let kept = manifests().len();
    until("backups of the one that is left", || {
        (manifests().len() >= kept + 3).then_some(())
    });
    drop(second);

    // Every third second has one backup at most: `app_20261120T020000Z.json` was due at a second that three divides.
    let mut seen = BTreeSet::new();
    for name in manifests() {
        let (minute, second) = (&name[..17], name[17..19].parse::<u32>().unwrap());
        assert!(seen.insert((minute.to_owned(), second / 3)), "twice: {:?}", manifests());
    }
    let [one, other] = lines(dir.path(), "backed up");
    assert_eq!(one + other, manifests().len());
    let [skipped_by_one, skipped_by_other] = lines(dir.path(), "skipped");
    assert!(skipped_by_one + skipped_by_other > 0, "they never met");
    assert_eq!(lines(dir.path(), "ERROR"), [0, 0]);
}
