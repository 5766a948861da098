//! The examples in deploy/guard are what their readers take - YAML, make - and their lines really guard a migration.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::Command;

use serde_json::Value;

use crate::restore::project;
use crate::sqlite::Site;
use crate::support::{Run, snapback};

/// A YAML file as Python's parser reads it.
fn yaml(name: &str) -> Value {
    const PROGRAM: &str = "import json, sys, yaml; print(json.dumps(yaml.safe_load(open(sys.argv[1]).read())))";
    let mut python = Command::new("/usr/bin/python3");
    python
        .args(["-c", PROGRAM])
        .arg(project(&format!("deploy/guard/{name}")));
    serde_json::from_str(&Run::of(&mut python).ok().stdout).unwrap()
}

/// A folder with a database, a program `alembic` that changes it, and all that the examples expect around them.
fn site() -> Site {
    let site = Site::with("CREATE TABLE t (a); INSERT INTO t VALUES (1)");
    let programs = site.path("programs");
    std::fs::create_dir(&programs).unwrap();
    symlink(env!("CARGO_BIN_EXE_snapback"), programs.join("snapback")).unwrap();
    let alembic = programs.join("alembic");
    let script = "#!/bin/sh\ntest \"$*\" = 'upgrade head' && sqlite3 \"${DATABASE_URL#sqlite:///}\" 'INSERT INTO t VALUES (2)'\n";
    std::fs::write(&alembic, script).unwrap();
    std::fs::set_permissions(&alembic, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::write(
        site.path("snapback.toml"),
        "[stores.default]\npath = 'backups'\n[jobs.app]\nurl = 'sqlite:///app.db'\n",
    )
    .unwrap();
    site
}

fn in_site(site: &Site, program: &str) -> Command {
    let mut command = Command::new(program);
    // What `snapback()` leaves out of the environment.
    for (name, value) in snapback().get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let path = format!("{}:{}", site.path("programs").display(), std::env::var("PATH").unwrap());
    command
        .current_dir(site.dir.path())
        .env("PATH", path)
        .env("DATABASE_URL", "sqlite:///app.db")
        .env("SNAPBACK_CONFIG", site.path("snapback.toml"))
        .env("CI_COMMIT_SHORT_SHA", "abc1234");
    command
}

/// Runs a line of an example, and says how many rows there are then.
#[track_caller]
fn run(site: &Site, line: &str) -> String {
    assert!(line.contains("snapback"), "{line}");
    Run::of(in_site(site, "sh").args(["-ec", line])).ok();
    site.shell("app.db", "SELECT count(*) FROM t")
}

#[test]
fn the_workflow_of_github_rehearses_and_migrates() {
    let site = site();
    let steps = &yaml("github-actions.yml")["jobs"]["migrate"]["steps"];
    let lines: Vec<&str> = steps
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|step| step["run"].as_str())
        .collect();
    let [rehearse, migrate] = lines[..] else {
        panic!("{lines:?}")
    };
    assert_eq!(run(&site, rehearse), "1");
    assert_eq!(run(&site, &migrate.replace("${{ github.sha }}", "abc1234")), "2");
    assert!(site.snapback(&["list", "app"]).ok().stdout.contains("abc1234"));
}

#[test]
fn the_pipeline_of_gitlab_rehearses_and_migrates() {
    let site = site();
    let pipeline = yaml("gitlab-ci.yml");
    for (job, rows) in [("rehearse", "1"), ("migrate", "2")] {
        assert!(pipeline["stages"].as_array().unwrap().contains(&pipeline[job]["stage"]));
        let [line] = &pipeline[job]["script"].as_array().unwrap()[..] else {
            panic!("{}", pipeline[job])
        };
        assert_eq!(run(&site, line.as_str().unwrap()), rows, "{job}");
    }
    let report = std::fs::read_to_string(site.path("guard.json")).unwrap();
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!((&report["exit"], &report["failure"]), (&0.into(), &Value::Null));
}

#[test]
fn the_job_of_kubernetes_migrates() {
    let site = site();
    let job = yaml("kubernetes-job.yml");
    assert_eq!((&job["apiVersion"], &job["kind"]), (&"batch/v1".into(), &"Job".into()));
    let container = &job["spec"]["template"]["spec"]["containers"][0];
    let words = ["command", "args"]
        .iter()
        .flat_map(|key| container[key].as_array().unwrap());
    let words: Vec<&str> = words.map(|word| word.as_str().unwrap()).collect();
    assert_eq!(words[0], "snapback");
    let program = site.path("programs/snapback");
    Run::of(in_site(&site, program.to_str().unwrap()).args(&words[1..])).ok();
    assert_eq!(site.shell("app.db", "SELECT count(*) FROM t"), "2");
}

#[test]
fn the_makefile_rehearses_and_migrates() {
    let site = site();
    std::fs::copy(project("deploy/guard/Makefile"), site.path("Makefile")).unwrap();
    std::fs::remove_file(site.path("snapback.toml")).unwrap();
    let git = "git init -q && git -c user.name=a -c user.email=a@b commit -q --allow-empty -m one";
    Run::of(in_site(&site, "sh").args(["-ec", git])).ok();
    for (target, rows) in [("rehearse", "1"), ("migrate", "2")] {
        let dry = Run::of(in_site(&site, "make").args(["-n", target])).ok().stdout;
        assert!(dry.contains("-- alembic upgrade head"), "{dry}");
        // Here the database is the one job that DATABASE_URL makes.
        let mut make = in_site(&site, "make");
        Run::of(make.env_remove("SNAPBACK_CONFIG").arg(target)).ok();
        assert_eq!(site.shell("app.db", "SELECT count(*) FROM t"), rows, "{target}");
    }
}
