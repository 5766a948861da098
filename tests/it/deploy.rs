//! What is in deploy/ and systemd/ is what the program, systemd and Docker take.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::restore::project;
use crate::support::{Run, snapback};

fn read(path: &str) -> String {
    fs::read_to_string(project(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Names of the files in a folder of the project that end so.
fn files(folder: &str, end: &str) -> Vec<String> {
    let names = fs::read_dir(project(folder)).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name.ends_with(end)).collect();
    names.sort();
    names
}

#[track_caller]
fn check(config: &Path) -> Run {
    Run::of(snapback().arg("--config").arg(config).args(["config", "check"])).ok()
}

#[test]
fn every_configuration_that_is_shown_is_one_that_the_program_takes() {
    let names = files("deploy", "config.toml");
    assert!(names.len() >= 3, "{names:?}");
    for name in names {
        let run = check(&project(&format!("deploy/{name}")));
        assert!(run.stdout.contains("app"), "{name}: {}", run.stdout);
    }
    let pages = [
        "README.md",
        "docs/service.md",
        "docs/encryption.md",
        "docs/quick-starts.md",
    ]
    .map(read);
    let pages = pages.concat();
    let shown: Vec<&str> = pages
        .split("```toml\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap())
        .collect();
    assert!(shown.len() >= 4, "the manual shows no configuration");
    for text in shown {
        // What stands for a longer key is no key; and a section of a job needs the rest of it.
        let text = text.replace(", \"ssh-ed25519 AAAA… anna@laptop\"", "");
        let dir = tempfile::tempdir().unwrap();
        let whole = match text.contains("[stores.default]") {
            true => text,
            false => format!("[stores.default]\npath = 'b'\n[jobs.app]\nurl = 'host=db'\n{text}"),
        };
        fs::write(dir.path().join("config.toml"), whole).unwrap();
        check(&dir.path().join("config.toml"));
    }
}

/// Runs a command line that starts the program, with a configuration that leads nowhere in the place of its own: whatever the
/// program says then, it has understood the command.
fn start(words: &[String]) -> Run {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("config.toml");
    fs::write(
        &config,
        "[stores.default]\npath = 'b'\n[jobs.app]\nurl = 'host=/nowhere'\n",
    )
    .unwrap();
    assert!(
        words.iter().any(|word| word == "/etc/snapback/config.toml"),
        "{words:?}"
    );
    let words = words
        .iter()
        .map(|word| word.replace("/etc/snapback/config.toml", config.to_str().unwrap()));
    Run::of(snapback().args(words))
}

const NOTHING_TO_SERVE: &str = "no job has a schedule";

#[test]
fn systemd_takes_the_units_and_the_program_what_they_start() {
    let dir = tempfile::tempdir().unwrap();
    let program = env!("CARGO_BIN_EXE_snapback");
    let names = files("systemd", "");
    assert_eq!(names.len(), 3, "{names:?}");
    for name in &names {
        let text = read(&format!("systemd/{name}"));
        fs::write(dir.path().join(name), text.replace("/usr/local/bin/snapback", program)).unwrap();
        for line in text.lines().filter_map(|line| line.strip_prefix("ExecStart=")) {
            let words: Vec<String> = line.split(' ').skip(1).map(|word| word.replace("%i", "app")).collect();
            let run = start(&words);
            let (code, said) = match words[0] == "serve" {
                true => (2, NOTHING_TO_SERVE),
                false => (4, "/nowhere"),
            };
            assert!(run.stderr.contains(said), "{name}: {}", run.stderr);
            run.code(code);
        }
    }
    for name in names {
        let unit = dir.path().join(name.replace('@', "@app"));
        if name.contains('@') {
            fs::copy(dir.path().join(&name), &unit).unwrap();
        }
        let run = Run::of(Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&unit)).ok();
        assert!(!run.stderr.contains("snapback"), "{}", run.stderr);
    }
}

/// The words of a JSON list of texts.
fn words(list: &str) -> Vec<String> {
    serde_json::from_str(list).unwrap()
}

#[test]
fn the_image_has_what_its_build_needs_and_starts_the_program() {
    let text = read("deploy/Dockerfile");
    let copied: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("COPY "))
        .filter(|line| !line.starts_with("--from"))
        .flat_map(|line| line.rsplit_once(' ').unwrap().0.split(' '))
        .collect();
    // Without the second SQLite is compiled without what backups of it are read by.
    for needed in ["src", ".cargo", "Cargo.lock"] {
        assert!(copied.contains(&needed), "{copied:?}");
    }
    let manifest: toml::Table = toml::from_str(&read("Cargo.toml")).unwrap();
    let targets = ["bin", "bench"].into_iter().flat_map(|kind| {
        let targets = manifest[kind].as_array().unwrap().iter();
        targets.map(move |target| match target.get("path") {
            Some(path) => path.as_str().unwrap().to_owned(),
            None => format!("{kind}es/{}", target["name"].as_str().unwrap()),
        })
    });
    // Cargo reads no manifest whose targets are not there, also of those that it does not build.
    for target in targets.chain(copied.iter().map(|path| (*path).to_owned())) {
        assert!(
            copied.iter().any(|path| Path::new(&target).starts_with(path)),
            "{target} is not copied"
        );
        let ignored = read(".dockerignore")
            .lines()
            .any(|line| Path::new(&format!("/{target}")).starts_with(line));
        assert!(!ignored, "{target} is ignored");
    }
    for path in copied {
        assert!(project(path).exists(), "{path} is not there");
    }
    let run = |prefix: &str| words(text.lines().find_map(|line| line.strip_prefix(prefix)).unwrap());
    assert_eq!(run("ENTRYPOINT "), ["snapback"]);
    assert!(start(&run("CMD ")).code(2).stderr.contains(NOTHING_TO_SERVE));
}

#[test]
fn the_compose_files_have_what_they_and_their_configurations_name() {
    let whole = read("deploy/compose.yml") + &read("deploy/compose.s3.yml");
    for (place, mount) in whole
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- ./")?.split_once(':'))
    {
        assert!(
            project(&format!("deploy/{place}")).exists(),
            "deploy/{place} is not there"
        );
        assert!(mount.starts_with("/etc/"), "{mount}");
    }
    let mut named = 0;
    for (config, compose) in [
        ("compose.config.toml", read("deploy/compose.yml")),
        ("compose.s3.config.toml", whole.clone()),
    ] {
        for secret in read(&format!("deploy/{config}")).split("/run/secrets/").skip(1) {
            let secret = secret.split('"').next().unwrap();
            assert!(
                compose.contains(&format!("  {secret}:\n    file: ./{secret}.txt\n")),
                "{secret}"
            );
            named += 1;
        }
        assert!(
            compose.contains(&format!("./{config}:/etc/snapback/config.toml:ro")),
            "{config}"
        );
    }
    assert!(named >= 4);
}

#[test]
fn what_aws_is_given_is_for_the_bucket_and_the_prefix_of_the_example() {
    let json = |name: &str| serde_json::from_str::<serde_json::Value>(&read(&format!("deploy/{name}"))).unwrap();
    let config: toml::Table = toml::from_str(&read("deploy/s3.config.toml")).unwrap();
    let s3 = &config["stores"]["default"]["s3"];
    let (bucket, prefix) = (s3["bucket"].as_str().unwrap(), s3["prefix"].as_str().unwrap());
    for statement in json("s3-policy.json")["Statement"].as_array().unwrap() {
        let (arn, lists) = (
            format!("arn:aws:s3:::{bucket}"),
            statement["Action"].to_string().contains("s3:List"),
        );
        let resource = statement["Resource"].as_str().unwrap();
        let of_objects = format!("{arn}/{prefix}/*");
        assert!(resource == of_objects || (lists && resource == arn), "{statement}");
    }
    for rule in json("s3-lifecycle.json")["Rules"].as_array().unwrap() {
        assert_eq!(
            (&rule["Filter"]["Prefix"], &rule["Status"]),
            (&format!("{prefix}/").into(), &"Enabled".into())
        );
    }
}

#[test]
fn the_demo_without_a_server_tells_its_story() {
    let mut demo = Command::new(project("deploy/demo-sqlite"));
    demo.env("SNAPBACK", env!("CARGO_BIN_EXE_snapback"))
        .env_remove("DATABASE_URL");
    let run = Run::of(&mut demo).ok();
    for told in [
        "is restorable",
        "INSERT INTO \"orders\"",
        "rehearsal on a copy of backup",
        "rows of main.orders: 1,000 rows -> 0 rows",
        "is live again",
        "0 added, 0 removed, 2 changed (by id)",
        "done: every row is there",
    ] {
        assert!(run.stdout.contains(told), "{}", run.stdout);
    }
    assert_eq!(
        run.stdout.matches("the database is what it was").count(),
        3,
        "{}",
        run.stdout
    );
}

#[test]
#[ignore = "takes two minutes: tests/run --full"]
fn the_demo_with_a_server_tells_its_story() {
    let backups = tempfile::tempdir().unwrap();
    let mut demo = Command::new(project("deploy/demo"));
    demo.env("SNAPBACK", env!("CARGO_BIN_EXE_snapback"))
        .env_remove("DATABASE_URL")
        .arg(backups.path());
    let run = Run::of(&mut demo).ok();
    for told in [
        "rehearsal on a copy of backup",
        "INDEX public.tasks_by_title added",
        "rows of public.task_logs: 105,000 rows -> 0 rows",
        "is live again",
        "every row is there again",
    ] {
        assert!(run.stdout.contains(told), "{told}: {}", run.stdout);
    }
}
