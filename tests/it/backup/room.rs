//! A backup that leaves room for others: its threads give way, and it stands still while replicas are behind.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use super::House;
use super::killed::paused_at;
use crate::support::{Run, Server};

/// What a thread of a process is called, how nice it is, and the hundredths of a second that it has computed.
struct Thread {
    name: String,
    nice: i64,
    ticks: u64,
}

fn threads(pid: u32) -> Vec<Thread> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let stats = tasks.filter_map(|task| fs::read_to_string(task.unwrap().path().join("stat")).ok());
    let thread = |stat: String| {
        let (head, rest) = stat.rsplit_once(") ").unwrap();
        let fields: Vec<&str> = rest.split(' ').collect();
        let number = |field: usize| fields[field - 3].parse::<i64>().unwrap();
        Thread {
            name: head.split_once('(').unwrap().1.to_owned(),
            nice: number(19),
            ticks: (number(14) + number(15)).cast_unsigned(),
        }
    };
    stats.map(thread).collect()
}

#[test]
fn what_a_nice_job_computes_is_less_urgent() {
    let house = House::new();
    house.server.psql(
        "app",
        "CREATE TABLE noise AS SELECT gen_random_uuid() AS id, gen_random_uuid() AS other FROM generate_series(1, 300000)",
    );
    let ours = |child: &Child| {
        let threads = threads(child.id());
        let first = threads.iter().find(|thread| thread.name == "snapback").unwrap().nice;
        (first, threads)
    };
    let end = |mut child: Child| {
        child.kill().unwrap();
        child.wait().unwrap();
    };
    house.configure("nice = 4\n");
    let child = paused_at(&house, "verify");
    let (first, threads) = ours(&child);
    let (nice, others): (Vec<_>, Vec<_>) = threads.iter().partition(|thread| thread.nice == (first + 4).min(19));
    let ticks = |threads: &[&Thread]| threads.iter().map(|thread| thread.ticks).sum::<u64>();
    assert!(!nice.is_empty() && others.iter().all(|thread| thread.nice == first));
    assert!(
        ticks(&nice) > 2 * ticks(&others),
        "{} of {} ticks",
        ticks(&nice),
        ticks(&nice) + ticks(&others)
    );
    end(child);
    // Without the key all threads are as urgent as the process.
    house.configure("");
    let child = paused_at(&house, "verify");
    let (first, threads) = ours(&child);
    assert!(threads.iter().all(|thread| thread.nice == first));
    end(child);
    // A whole run on such threads makes the same backup.
    house.configure("nice = 19\n");
    house.backup();
    house.run(&["verify", "app", "latest", "--full"]).ok();
    house.configure("nice = 20\n");
    let refused = house.run(&["config", "check"]).code(2);
    assert!(
        refused.stderr.contains("jobs.app.nice: must be from 0"),
        "{}",
        refused.stderr
    );
}

/// A primary whose database takes some seconds to be read, and its standby.
fn pair(keys: &str) -> (House, Server) {
    // A standby of the packages for other majors cannot follow: they find the libpq of 15.
    let house = House::of(15);
    house.server.psql(
        "app",
        "CREATE TABLE noise AS SELECT gen_random_uuid() AS id, gen_random_uuid() AS other FROM generate_series(1, 500000)",
    );
    let standby = house.server.standby();
    house.configure(&format!(
        "max_upload_rate = \"2MiB\"\n{keys}\n[jobs.app.dump]\ncompress = \"none\"\njobs = 1\n[daemon]\nstate = \"state\"\n"
    ));
    (house, standby)
}

/// The standby replays nothing more, and there is something to replay.
fn fall_behind(house: &House, standby: &Server) {
    let begun = Instant::now();
    while house.server.psql(
        "app",
        "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'",
    ) != "1"
    {
        assert!(begun.elapsed() < Duration::from_secs(60), "the standby does not follow");
        std::thread::sleep(Duration::from_millis(50));
    }
    standby.psql("postgres", "SELECT pg_wal_replay_pause()");
    while standby.psql("postgres", "SELECT pg_get_wal_replay_pause_state()") != "paused" {
        assert!(begun.elapsed() < Duration::from_secs(30));
        std::thread::sleep(Duration::from_millis(50));
    }
    house.server.psql("app", "INSERT INTO customer VALUES (5000, 'late')");
}

/// A running backup, and what it says until it has said `wanted`.
fn backup_until(house: &House, wanted: &str) -> (Child, BufReader<std::process::ChildStderr>) {
    let mut command = house.command(&["backup"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap());
    let mut all = String::new();
    while !all.contains(wanted) {
        assert!(said.read_line(&mut all).unwrap() > 0, "never said {wanted:?}: {all}");
    }
    (child, said)
}

#[test]
fn a_backup_stands_still_while_a_replica_is_behind() {
    let (house, standby) = pair("max_replica_lag = \"1s\"\nstall_timeout = \"3s\"\nattempts = 1");
    fall_behind(&house, &standby);
    // A pause is no stall; but one that has not helped ends, and the backup with it: whole.
    let (child, _said) = backup_until(&house, "goes on although the replica walreceiver");
    let run = Run::from(child.wait_with_output().unwrap());
    assert_eq!(run.code, Some(0), "{}", run.stderr);

    house.configure(
        "max_upload_rate = \"2MiB\"\nmax_replica_lag = \"1s\"\nstall_timeout = \"10m\"\n[jobs.app.dump]\ncompress = \"none\"\njobs = 1\n\
         [daemon]\nstate = \"state\"\n",
    );
    let (child, _said) = backup_until(&house, "paused: the replica walreceiver");
    let read = || {
        let status = &house.run(&["--json", "status"]).stdout;
        let status: serde_json::Value = serde_json::from_str(status).unwrap();
        status["jobs"][0]["running"][0]["reached"].clone()
    };
    let begun = Instant::now();
    // What was read ahead is written down to the history a moment later; then nothing more moves.
    let still = loop {
        let before = read();
        std::thread::sleep(Duration::from_secs(3));
        let now = read();
        if before["done"] == now["done"] && now["step"].as_str().is_some_and(|step| step.ends_with(", paused")) {
            break now;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{before} {now}");
    };
    assert!(still["done"].as_u64() < still["total"].as_u64(), "{still}");
    standby.psql("postgres", "SELECT pg_wal_replay_resume()");
    let run = Run::from(child.wait_with_output().unwrap());
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    house.run(&["verify", "app", "latest", "--full"]).ok();
}

#[test]
fn a_role_that_may_not_see_replicas_is_told_so_and_its_backup_is_made() {
    let (house, standby) = pair("max_replica_lag = \"1s\"");
    house
        .server
        .psql("app", "CREATE ROLE saver LOGIN IN ROLE pg_read_all_data");
    fall_behind(&house, &standby);
    let file = house.dir.path().join("snapback.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(
        &file,
        text.replace("postgres@", "saver@")
            .replace("user=postgres", "user=saver"),
    )
    .unwrap();
    let run = house.run(&["backup"]).ok();
    let told = "the role may not see how far 1 of the replicas are; `GRANT pg_monitor TO` it";
    assert_eq!(run.stderr.matches(told).count(), 1, "{}", run.stderr);
    assert!(!run.stderr.contains("paused"), "{}", run.stderr);
}
