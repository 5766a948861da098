//! The kinds of work, each from little to much.

use std::fs;
use std::time::{Duration, Instant};

use crate::Bench;
use crate::chart::{Kind, Point};
use crate::common::{self, Measured, measure};
use crate::support::{Relay, Run, high_water, snapback};

const BOTH: [&str; 4] = ["backup", "restore", "pg_dump", "pg_restore"];

/// These amounts, as far as the scale goes.
fn amounts(all: &[f64]) -> Vec<f64> {
    let most = all.iter().copied().fold(0.0, f64::max) * common::scale();
    all.iter().copied().filter(|amount| *amount <= most).collect()
}

/// So many MB of rows with two indexes.
fn mb_of_rows(mb: f64) -> Vec<String> {
    let rows = (mb * 4100.0) as u64;
    vec![
        format!(
            "CREATE TABLE wide (id int PRIMARY KEY, name text, email text, note text, amount numeric(12,2), created timestamptz); \
             INSERT INTO wide SELECT g, 'Person ' || md5(g::text), md5((g * 7 % 9999991)::text) || '@example.com', \
                 repeat(substr(md5((g % 1000)::text), 1, 12) || ' ', 8), (g % 100000) / 7.0, \
                 '2024-01-01'::timestamptz + g * interval '13 s' FROM generate_series(1, {rows}) g"
        ),
        "CREATE INDEX ON wide (email)".to_owned(),
    ]
}

/// All four, and how much memory Snapback had.
fn both(bench: &Bench, x: f64) -> Point {
    let runs = [
        bench.snapback(&["backup", "app"]),
        bench.restore("2"),
        bench.pg_dump(),
        bench.pg_restore("2"),
    ];
    Point::of(x, 2, &runs)
}

pub fn size(bench: &Bench) -> Kind {
    let point = |mb: f64| {
        bench.make(&mb_of_rows(mb));
        both(bench, mb)
    };
    Kind {
        name: "The size of a database",
        of: "MB",
        lines: BOTH.to_vec(),
        points: amounts(&[10.0, 100.0, 1000.0, 4000.0]).into_iter().map(point).collect(),
    }
}

pub fn tables(bench: &Bench) -> Kind {
    let point = |tables: f64| {
        // A transaction has no more locks than that.
        let step = 1000;
        let sql = (0..tables as u64).step_by(step).map(|from| {
            let to = (from + step as u64).min(tables as u64);
            format!(
                "DO $$ BEGIN FOR i IN {from}..{to} - 1 LOOP \
                     EXECUTE format('CREATE TABLE t%s (id int PRIMARY KEY, name text NOT NULL, at timestamptz DEFAULT now())', i); \
                     EXECUTE format('INSERT INTO t%s SELECT g, md5(g::text) FROM generate_series(1, 20) g', i); \
                 END LOOP; END $$"
            )
        });
        bench.make(&sql.collect::<Vec<_>>());
        both(bench, tables)
    };
    Kind {
        name: "How many tables a database has",
        of: "tables of 20 rows",
        lines: BOTH.to_vec(),
        points: amounts(&[10.0, 100.0, 1000.0, 10_000.0])
            .into_iter()
            .map(point)
            .collect(),
    }
}

pub fn jobs(bench: &Bench) -> Kind {
    bench.make(&mb_of_rows(1000.0 * common::scale()));
    bench.pg_dump();
    bench.snapback(&["backup", "app"]);
    let point = |jobs: f64| {
        let number = format!("{jobs:.0}");
        let out = bench.at("out");
        let dump = |mut command: std::process::Command| {
            let _ = fs::remove_dir_all(&out);
            command.args(bench.server.connection_args("app"));
            measure(command.args(["-Fd", "-j", &number, "-f"]).arg(&out))
        };
        let mut ours = snapback();
        ours.arg("dump");
        let runs = [
            dump(ours),
            bench.restore(&number),
            dump(bench.server.tool("pg_dump")),
            bench.pg_restore(&number),
        ];
        Point::of(jobs, 2, &runs)
    };
    Kind {
        name: "How many connections work at once (two processors)",
        of: "-j",
        lines: vec!["dump -Fd", "restore", "pg_dump -Fd", "pg_restore"],
        points: [1.0, 2.0, 4.0, 8.0].into_iter().map(point).collect(),
    }
}

pub fn rows(bench: &Bench) -> Kind {
    let total = 200e6 * common::scale();
    let point = |width: f64| {
        let rows = (total / width) as u64;
        // The text of a row does not compress in the table.
        let pieces = (width / 32.0).ceil() as u64;
        bench.make(&[
            "CREATE TABLE t (v text); ALTER TABLE t ALTER v SET STORAGE EXTERNAL".to_owned(),
            format!(
                "INSERT INTO t SELECT left(CASE {pieces} WHEN 1 THEN md5(g::text) ELSE \
                     (SELECT string_agg(md5((g * {pieces} + p)::text), '') FROM generate_series(1, {pieces}) p) END, {width}) \
                 FROM generate_series(1, {rows}) g"
            ),
        ]);
        both(bench, width)
    };
    Kind {
        name: "How long a row is",
        of: "bytes of a row",
        lines: BOTH.to_vec(),
        points: [10.0, 100.0, 1e4, 1e6, 5e7].into_iter().map(point).collect(),
    }
}

pub fn network(bench: &Bench) -> Kind {
    let mut sql = mb_of_rows(20.0);
    sql.push(
        "DO $$ BEGIN FOR i IN 1..200 LOOP \
             EXECUTE format('CREATE TABLE t%s AS SELECT g, md5(g::text) FROM generate_series(1, 20) g', i); \
         END LOOP; END $$"
            .to_owned(),
    );
    bench.make(&sql);
    let point = |ms: f64| {
        let far = Relay::at(&bench.server, Duration::from_secs_f64(ms / 2e3));
        let url = |database| format!("postgresql://postgres@/{database}?host={}&port=5432", far.host());
        bench.configure(&url("app"));
        let runs = [
            bench.snapback(&["backup", "app"]),
            bench.restore("2"),
            bench.stock("pg_dump", &url("app"), &["-Fc", "-f", "theirs.dump"]),
            {
                bench.server.create_database("copy");
                let run = bench.stock("pg_restore", &url("copy"), &["-j", "2", "theirs.dump"]);
                bench.server.psql("postgres", "DROP DATABASE copy");
                run
            },
        ];
        Point::of(ms, 2, &runs)
    };
    Kind {
        name: "How far away the server is (201 tables, 20 MB)",
        of: "ms there and back",
        lines: BOTH.to_vec(),
        points: [1.0, 10.0, 30.0, 100.0].into_iter().map(point).collect(),
    }
}

pub fn backups(bench: &Bench) -> Kind {
    bench.make(&mb_of_rows(1.0));
    let mut made = 0;
    let mut point = |backups: f64| {
        while made < backups as u64 {
            Run::of(snapback().current_dir(bench.folder.path()).args(["backup", "app"])).ok();
            made += 1;
        }
        let runs = [
            bench.snapback(&["list", "app"]),
            bench.snapback(&["prune", "app", "--dry-run"]),
            bench.snapback(&["backup", "app"]),
        ];
        made += 1;
        Point::of(backups, 3, &runs)
    };
    Kind {
        name: "How many backups a store has",
        of: "backups",
        lines: vec!["list", "prune --dry-run", "backup"],
        points: amounts(&[10.0, 100.0, 500.0, 2000.0])
            .into_iter()
            .map(&mut point)
            .collect(),
    }
}

/// So many jobs that are due at once, in one `serve`: how long until the last one has its backup.
pub fn daemon(bench: &Bench) -> Kind {
    let point = |jobs: f64| {
        bench.make(&mb_of_rows(1.0));
        let mut config = "[stores.default]\npath = \"backups\"\n".to_owned();
        for job in 0..jobs as u64 {
            let url = bench.server.url("app");
            config += &format!("\n[jobs.j{job}]\nurl = \"{url}\"\nschedule = \"* * * * *\"\n");
        }
        fs::write(bench.at("snapback.toml"), config).unwrap();
        let mut serve = snapback();
        let mut serve = serve
            .current_dir(bench.folder.path())
            .arg("serve")
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let (mut first, mut peak) = (None, 0);
        let wall = loop {
            std::thread::sleep(Duration::from_millis(50));
            peak = peak.max(high_water(serve.id()));
            let has_one = |job: &u64| {
                let folder = bench.at("backups").join(format!("j{job}"));
                fs::read_dir(folder).is_ok_and(|files| {
                    files
                        .flatten()
                        .any(|file| file.file_name().to_str().is_some_and(|name| name.ends_with(".json")))
                })
            };
            let started = (0..jobs as u64).any(|job| bench.at("backups").join(format!("j{job}")).exists());
            if started && first.is_none() {
                first = Some(Instant::now());
            }
            if (0..jobs as u64).all(|job| has_one(&job)) {
                break first.unwrap().elapsed();
            }
        };
        Run::of(std::process::Command::new("kill").arg(serve.id().to_string())).ok();
        serve.wait().unwrap();
        let run = Measured {
            wall,
            peak_kib: peak,
            processor_seconds: 0.0,
            server_seconds: 0.0,
            stdout: String::new(),
        };
        Point::of(jobs, 1, &[run])
    };
    Kind {
        name: "How many jobs are due at once in one daemon",
        of: "jobs",
        lines: vec!["until the last backup"],
        points: amounts(&[1.0, 10.0, 50.0, 200.0]).into_iter().map(point).collect(),
    }
}
