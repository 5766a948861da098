//! What only many runs show: memory that grows, and what kills leave behind. Short here; `SNAPBACK_RUNS=10000` and
//! `SNAPBACK_SOAK=2000` make them long, `SNAPBACK_PROGRAM` names another build of the program, as one that is optimised.

use std::collections::BTreeSet;
use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::sqlite::Site;
use crate::support::s3::S3Server;
use crate::support::{Run, Server, snapback};
use crate::watch::{Served, json, site, wait_for, write};

/// How often, where nothing else is wanted.
fn times(variable: &str, usual: usize) -> usize {
    std::env::var(variable).map_or(usual, |times| times.parse().unwrap())
}

/// The memory that a process has now, in KiB.
fn memory(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().split(' ').next().unwrap().parse().unwrap()
}

#[test]
fn the_memory_of_serve_stays_where_it_was_after_the_first_runs() {
    let runs = times("SNAPBACK_RUNS", 200);
    let names = ["a", "b", "c", "d"];
    let site = site(&names, "");
    write(&site, &names, "schedule = \"* * * * * *\"\nretention.keep_last = 2", "");
    let served = Served::start(&site);
    let pid = served.0.id();
    let done = || -> usize {
        let run = site.snapback(&["--json", "history"]).ok();
        run.stdout
            .lines()
            .filter(|line| line.contains("\"outcome\":\"ok\""))
            .count()
    };
    let (begun, limit) = (Instant::now(), Duration::from_secs(120 + runs as u64));
    let until = |wanted: usize| {
        while done() < wanted {
            assert!(begun.elapsed() < limit, "only {} runs", done());
            std::thread::sleep(Duration::from_millis(500));
        }
        memory(pid)
    };
    let (first, last) = (until(100), until(runs));
    println!("{first} KiB after 100 runs, {last} KiB after {runs}");
    assert!(
        last < first + (16 << 10),
        "{first} KiB after 100 runs, {last} KiB after {runs}"
    );
    served.end();
}

#[test]
fn serve_has_the_settings_of_the_allocator_unless_somebody_has_decided_otherwise() {
    let site = site(&["app"], "");
    write(&site, &["app"], "schedule = \"0 0 1 1 *\"", "");
    for (given, own, trims) in [(&[] as &[_], "2", true), (&[("MALLOC_ARENA_MAX", "7")], "7", false)] {
        let served = Served::with(&site, given);
        wait_for("the daemon", || {
            fs::read_to_string(site.path("log"))
                .ok()?
                .contains("serving")
                .then_some(())
        });
        // It is the same process, as whoever started it needs it to be.
        let of_process = |file| fs::read_to_string(format!("/proc/{}/{file}", served.0.id())).unwrap();
        let environment = of_process("environ");
        let has = |setting: &str| environment.split('\0').any(|it| it.starts_with(setting));
        assert!(has(&format!("MALLOC_ARENA_MAX={own}")) && has("MALLOC_TRIM_THRESHOLD_=") == trims);
        assert!(of_process("cmdline").ends_with("snapback\0serve\0") && of_process("comm") == "snapback\n");
        served.end();
        fs::remove_file(site.path("log")).unwrap();
    }
}

/// The ids of the backups of a job, with nothing that is not as it should be.
fn listed(site: &Site, job: &str) -> BTreeSet<String> {
    let (code, listed) = json(site, &["list", job]);
    assert_eq!(code, Some(0), "{listed:#}");
    let job = &listed[0];
    for key in ["claims", "unreadable"] {
        assert_eq!(job[key], Value::Array(Vec::new()), "{key}: {listed:#}");
    }
    let backups = job["backups"].as_array().unwrap().iter();
    backups
        .map(|backup| backup["id"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn kills_and_restarts_lose_double_and_leak_nothing() {
    let rounds = times("SNAPBACK_SOAK", 16);
    let seed = times("SNAPBACK_SEED", fastrand::usize(..1 << 30)) as u64;
    println!("SNAPBACK_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut server = Server::start(16);
    server.create_database("shop");
    server.psql(
        "shop",
        "CREATE TABLE t AS SELECT i AS id, md5(i::text) AS text FROM generate_series(1, 20000) i",
    );
    let (mut s3, site) = (S3Server::start(), Site::new());
    site.python(
        "app.db",
        "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT); INSERT INTO t (v) VALUES ('a'), ('b');",
    );
    let text = format!(
        "{}[stores.near]\npath = \"backups\"\n[daemon]\nstate = \"state\"\n\
         [jobs.shop]\nurl = \"{}\"\nstores = [\"near\", \"default\"]\nretention.keep_last = 1000000\n\
         [jobs.app]\nurl = \"app.db\"\nstores = [\"near\", \"default\"]\nretention.keep_last = 1000000\n",
        s3.config(""),
        server.url("shop"),
    );
    fs::write(site.path("snapback.toml"), text).unwrap();
    let jobs = ["shop", "app"];
    // What a run said that ended well is there for ever.
    let mut promised: Vec<BTreeSet<String>> = vec![BTreeSet::new(); jobs.len()];
    for _ in 0..rounds {
        let number = random.usize(..jobs.len());
        let mut command = snapback();
        command.current_dir(site.dir.path()).args(["backup", jobs[number]]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let killed = random.u8(..3) > 0;
        if killed {
            std::thread::sleep(Duration::from_millis(random.u64(..1500)));
            let _ = child.kill();
        }
        let (crash, store_crash) = (random.u8(..8) == 0, random.u8(..8) == 0);
        if !killed && (crash || store_crash) {
            std::thread::sleep(Duration::from_millis(random.u64(..600)));
        }
        if crash {
            server.crash_and_restart();
        }
        if store_crash {
            s3.crash_and_restart();
        }
        let run = Run::from(child.wait_with_output().unwrap());
        match run.code {
            Some(0) => drop(promised[number].insert(run.stdout.trim().to_owned())),
            code => assert!(killed || crash || store_crash, "{code:?}: {}", run.stderr),
        }
    }
    for (job, promised) in jobs.iter().zip(&mut promised) {
        // The next run clears away what the killed ones have left.
        promised.insert(site.snapback(&["backup", job]).ok().stdout.trim().to_owned());
        let there = listed(&site, job);
        assert!(promised.is_subset(&there), "{promised:?} {there:?}");
        // Killed after its manifest was written: it is whole all the same.
        site.snapback(&["verify", job, "--all", "--full"]).ok();
        let mut names: Vec<String> = fs::read_dir(site.path(&format!("backups/{job}")))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.retain(|name| !there.iter().any(|id| name.contains(id)) && !name.ends_with(".failed"));
        assert!(names.is_empty(), "{names:?}");
    }
    assert!(s3.unfinished().is_empty());
    let sessions = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'snapback%'";
    let begun = Instant::now();
    while server.psql("postgres", sessions) != "0" {
        assert!(begun.elapsed() < Duration::from_secs(30), "sessions stay on the server");
        std::thread::sleep(Duration::from_millis(100));
    }
    // Nothing of the history goes on.
    let history = site.snapback(&["--json", "history"]).ok().stdout;
    assert!(!history.contains("\"outcome\":\"running\""), "{history}");
}
