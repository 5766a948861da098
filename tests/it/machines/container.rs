//! The image without Docker: the steps of its file on the same Debian, then the program as Docker would run it.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::process::Command;

use super::{debian, nspawn};
use crate::restore::project;
use crate::support::{Run, Server};

/// The instructions of the image itself, those of the build before it left out; lines that go on are joined.
fn instructions() -> Vec<(String, String)> {
    let text = fs::read_to_string(project("deploy/Dockerfile"))
        .unwrap()
        .replace("\\\n", " ");
    let (_, image) = text.split_once("\nFROM debian:bookworm-slim\n").unwrap();
    let lines = image.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| line.split_once(' ').unwrap())
        .map(|(instruction, rest)| (instruction.to_owned(), rest.to_owned()))
        .collect()
}

fn words(list: &str) -> Vec<String> {
    serde_json::from_str(list).unwrap()
}

#[test]
#[ignore = "makes a root file system: tests/run --full"]
fn the_image_works_without_root_and_with_a_read_only_root() {
    let dir = tempfile::Builder::new().prefix("sb").tempdir_in("/var/tmp").unwrap();
    let root = debian(dir.path());
    let (mut user, mut volumes, mut entry, mut started) = (String::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut health, mut environment) = (Vec::new(), Vec::new());
    for (instruction, rest) in instructions() {
        match instruction.as_str() {
            "RUN" => {
                let mut run = nspawn(&root);
                // Packages come over the network of this machine.
                let arguments: Vec<_> = run.get_args().map(ToOwned::to_owned).collect();
                run = Command::new("systemd-nspawn");
                run.args(arguments.iter().filter(|argument| *argument != "--private-network"));
                Run::of(run.args([
                    "--pipe",
                    "--setenv=DEBIAN_FRONTEND=noninteractive",
                    "/bin/sh",
                    "-c",
                    &rest,
                ]))
                .ok();
            }
            "COPY" => {
                let place = rest.rsplit(' ').next().unwrap();
                let program = root.join(place.trim_start_matches('/'));
                Run::of(
                    Command::new("strip")
                        .arg("-o")
                        .arg(&program)
                        .arg(env!("CARGO_BIN_EXE_snapback")),
                )
                .ok();
            }
            "USER" => user = rest,
            "ENV" => environment.push(rest),
            "VOLUME" => volumes = words(&rest),
            "HEALTHCHECK" => health = words(rest.split_once("CMD ").unwrap().1),
            "ENTRYPOINT" => entry = words(&rest),
            "CMD" => started = words(&rest),
            _ => panic!("{instruction} {rest}"),
        }
    }
    // All that the image writes lies in its volumes, which belong to its user.
    let numbers = fs::read_to_string(root.join("etc/passwd")).unwrap();
    let line = numbers
        .lines()
        .find(|line| line.starts_with(&format!("{user}:")))
        .unwrap();
    let uid: u32 = line.split(':').nth(2).unwrap().parse().unwrap();
    assert_ne!(uid, 0);

    let server = Server::start(15);
    server.create_database("app");
    server.psql("app", "CREATE TABLE t AS SELECT 1 AS id");
    fs::set_permissions(server.host(), fs::Permissions::from_mode(0o755)).unwrap();
    let config = dir.path().join("config");
    fs::create_dir(&config).unwrap();
    fs::write(
        config.join("config.toml"),
        "[stores.default]\npath = '/backups'\n\
         [jobs.app]\nurl = 'postgresql://postgres@/app?host=/run/server&port=5432'\nschedule = '* * * * *'\n\
         [jobs.file]\nurl = 'sqlite:////backups/app.db'\nschedule = '0 2 * * *'\n",
    )
    .unwrap();
    // Docker makes the places of mounts itself.
    fs::create_dir(root.join("etc/snapback")).unwrap();
    // What Docker copies out of the image into a new volume, with its owner.
    let folders: Vec<_> = volumes
        .iter()
        .map(|volume| (volume, dir.path().join(volume.replace('/', "_"))))
        .collect();
    for (volume, folder) in &folders {
        Run::of(
            Command::new("cp")
                .arg("-a")
                .arg(root.join(volume.trim_start_matches('/')))
                .arg(folder),
        )
        .ok();
        assert_eq!(fs::metadata(folder).unwrap().uid(), uid, "{volume}");
    }
    let database = folders[0].1.join("app.db");
    Run::of(
        Command::new("sqlite3")
            .arg(&database)
            .arg("CREATE TABLE t (id); INSERT INTO t VALUES (1)"),
    )
    .ok();
    Run::of(Command::new("chown").arg(uid.to_string()).arg(&database)).ok();

    let container = |words: &[String]| {
        let mut run = nspawn(&root);
        run.args(["--read-only", "--pipe", "--as-pid2", "--user", &user]);
        run.args(environment.iter().map(|variable| format!("--setenv={variable}")));
        run.arg(format!("--bind-ro={}:/etc/snapback", config.display()));
        run.arg(format!("--bind={}:/run/server", server.host()));
        for (volume, folder) in &folders {
            run.arg(format!("--bind={}:{volume}", folder.display()));
        }
        run.args(&entry).args(words);
        run
    };
    let spoken = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let run = |text: &str| Run::of(&mut container(&spoken(text)));
    run("backup app --config /etc/snapback/config.toml").ok();
    // Without this, SQLite is not compiled as backups need it.
    run("backup file --config /etc/snapback/config.toml").ok();
    let history = folders[1].1.join("history.db");
    assert!(history.exists(), "the history is nowhere");
    let healthy = container(&health[1..]).output().unwrap();
    assert!(healthy.status.success(), "{healthy:?}");
    for (_, folder) in &folders {
        let others = Run::of(Command::new("find").arg(folder).args(["!", "-uid", &uid.to_string()])).ok();
        assert_eq!(others.stdout, "");
    }

    // As it is started: it serves until it is told to end, and then ends by itself.
    let mut serving = container(&started);
    let mut serving = serving.stderr(std::process::Stdio::piped()).spawn().unwrap();
    super::until("a run by the schedule", || {
        let runs = run("history app --json --config /etc/snapback/config.toml").stdout;
        runs.contains("\"scheduled\"").then_some(())
    });
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", serving.id())).unwrap();
    let init = children.trim();
    let inner = fs::read_to_string(format!("/proc/{init}/task/{init}/children")).unwrap();
    Run::of(Command::new("kill").arg(inner.trim())).ok();
    assert!(serving.wait().unwrap().success());
}
