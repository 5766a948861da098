//! The configuration as people write it: the example, the precedence, and every way to get it wrong.

use std::fs;
use std::path::Path;

use chrono::{DateTime, Utc};
use snapback::config::{Config, Environment, raw};
use snapback::error::{Exit, exit_of};

fn now() -> DateTime<Utc> {
    "2026-11-20T00:00:00Z".parse().unwrap()
}

fn environment(pairs: &[(&str, &str)]) -> Environment {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

fn load(text: &str, variables: &[(&str, &str)]) -> snapback::error::Result<Config> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("snapback.toml");
    fs::write(&file, text).unwrap();
    Config::load(Some(&file), &environment(variables), now())
}

const SMALL: &str = "[stores.default]\npath = \"b\"\n[jobs.app]\nurl = \"postgresql://db/app\"\n";

/// The example with every key in force: those that stand there as comments too.
fn example() -> (String, String) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("config.example.toml");
    let text = fs::read_to_string(file).unwrap();
    let is_key = |line: &str| {
        let key = line.trim_start_matches("# ").split(" = ").next().unwrap_or_default();
        line.contains(" = ") && !key.is_empty() && key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
    };
    let is_section = |line: &str| line.starts_with("# [") && line.ends_with(']');
    let uncomment = |line: &&str| is_key(line) || is_section(line);
    let uncommented = text
        .lines()
        .map(|line| line.strip_prefix("# ").filter(|_| uncomment(&line)).unwrap_or(line))
        .collect::<Vec<_>>()
        .join("\n");
    (text, uncommented)
}

/// All keys of a value, in all its tables.
fn keys(value: &serde_json::Value, found: &mut Vec<String>) {
    if let Some(table) = value.as_object() {
        for (key, value) in table {
            if !value.is_object() {
                found.push(key.clone());
            }
            keys(value, found);
        }
    }
}

#[test]
fn the_example_loads_and_has_every_key() {
    let (text, every_key) = example();
    load(&text, &[]).unwrap();
    // Only one of three ways to give a password is allowed at a time, a key of KMS goes with KMS, a passphrase with no
    // recipients, and a server without a database's url.
    let one_password: Vec<&str> = every_key
        .lines()
        .filter(|line| !line.starts_with("password =") && !line.starts_with("password_credential ="))
        .filter(|line| !line.starts_with("server_url ="))
        .filter(|line| !line.starts_with("sse_kms_key_id =") && !line.starts_with("passphrase_file ="))
        .collect();
    load(&one_password.join("\n"), &[]).unwrap();

    let job = raw::Job {
        retention: Some(raw::Retention::default()),
        encryption: Some(raw::Encryption::default()),
        ..raw::Job::default()
    };
    let store = raw::Store {
        s3: Some(Default::default()),
        retention: Some(raw::Retention::default()),
        ..raw::Store::default()
    };
    let whole = raw::Raw {
        stores: [("default".to_owned(), store)].into(),
        jobs: [("app".to_owned(), job)].into(),
        ..raw::Raw::default()
    };
    let mut all = Vec::new();
    keys(&serde_json::to_value(whole).unwrap(), &mut all);
    assert!(all.len() > 30, "{all:?}");
    for key in all {
        let stands_there = every_key.lines().any(|line| line.starts_with(&format!("{key} = ")));
        assert!(stands_there, "config.example.toml lacks {key}");
    }
}

#[test]
fn the_defaults_in_the_example_are_the_defaults() {
    let (_, every_key) = example();
    let example: toml::Table = toml::from_str(&every_key).unwrap();
    let defaults = toml::Table::try_from(raw::Raw::default()).unwrap();
    for section in ["log", "daemon"] {
        for (key, default) in defaults[section].as_table().unwrap() {
            assert_eq!(&example[section][key], default, "{section}.{key}");
        }
    }
    let job = toml::Table::try_from(raw::Job::default()).unwrap();
    let dump = job["dump"].as_table().unwrap();
    for (key, default) in dump {
        assert_eq!(&example["jobs"]["app"]["dump"][key], default, "dump.{key}");
    }
    let encryption = toml::Table::try_from(raw::Encryption::default()).unwrap();
    assert_eq!(
        example["jobs"]["app"]["encryption"]["encrypt_manifest"],
        encryption["encrypt_manifest"]
    );
    for key in ["stores", "run_missed", "globals", "prune"] {
        assert_eq!(example["jobs"]["app"][key], job[key], "{key}");
    }
}

#[test]
fn environment_beats_file() {
    let config = load(
        SMALL,
        &[
            ("SNAPBACK__LOG__LEVEL", "debug"),
            ("SNAPBACK__DAEMON__MAX_CONCURRENT_JOBS", "5"),
            ("SNAPBACK__JOBS__APP__PASSWORD", "0123"),
            ("SNAPBACK__JOBS__APP__PRUNE", "false"),
            ("SNAPBACK__JOBS__APP__DUMP__SCHEMAS", "a, b"),
            ("SNAPBACK__JOBS__APP__RETENTION__KEEP_WITHIN", "4w"),
            ("SNAPBACK_CONFIG", "/nonexistent: the named file goes first"),
        ],
    )
    .unwrap();
    assert_eq!(
        (config.raw.log.level.as_str(), config.raw.daemon.max_concurrent_jobs),
        ("debug", 5)
    );
    let job = config.job(Some("app")).unwrap();
    assert_eq!(job.source.dsn().unwrap().password.unwrap().expose(), "0123");
    assert_eq!(job.dump.options.include_schemas, ["a", "b"]);
    assert_eq!(
        job.destinations[0].policy.keep_within,
        Some(chrono::TimeDelta::weeks(4))
    );
    assert_eq!(job.destinations[0].policy.keep_last, 0);
    assert!(!job.prune);
}

#[test]
fn database_url_alone_is_enough() {
    let dir = tempfile::tempdir().unwrap();
    let none = dir.path().join("none.toml");
    fs::write(&none, "").unwrap();
    let url = [("DATABASE_URL", "postgresql://db/app")];
    // An empty file stands for none: what lies about in the current folder must not matter here.
    let error = Config::load(Some(&none), &environment(&url), now()).unwrap_err();
    assert!(format!("{error:#}").contains("jobs.app.store"), "{error:#}");
    let config = Config::load(None, &environment(&url), now()).unwrap();
    for (database, name) in [
        ("app", "app"),
        ("My%20App_2", "my-app_2"),
        ("-a", "a"),
        ("%C3%BC", "database"),
        ("default", "default"),
    ] {
        let url = format!("postgresql://db/{database}");
        let config = Config::load(None, &environment(&[("DATABASE_URL", &url)]), now()).unwrap();
        assert_eq!(config.jobs[0].name, name);
    }
    assert_eq!(
        config.job(None).unwrap().destinations[0].to_string(),
        "default (backups)"
    );
    assert_eq!(
        config.job(None).unwrap().destinations[0].policy,
        snapback::retention::Policy::default()
    );
}

#[test]
fn what_is_wrong_is_named() {
    let cases = [
        ("[log]\nlevle = \"info\"", "levle"),
        ("[log]\nlevel = \"=,=\"", "log.level"),
        ("[log]\nformat = \"xml\"", "xml"),
        ("[jobs.app]\nretention.keep_lats = 3", "keep_lats"),
        ("[jobs.app]\nretention.keep_last = \"ten\"", "keep_last"),
        ("[jobs.app]\nretention.keep_last = -1", "keep_last"),
        ("[jobs.app]\nretention = {}", "jobs.app.retention"),
        ("[jobs.app]\nretention.keep_last = 0", "jobs.app.retention"),
        ("[jobs.app]\nretention = { keep_last = 3, minimum = 0 }", "minimum"),
        ("[jobs.app]\nretention.keep_within = \"soon\"", "soon"),
        ("[jobs.app]\nschedule = \"0 0 31 2 *\"", "jobs.app.schedule"),
        ("[jobs.app]\nschedule = \"often\"", "jobs.app.schedule"),
        ("[jobs.app]\ntime_zone = \"Mars/Olympus\"", "jobs.app.time_zone"),
        ("[jobs.app]\nstore = \"elsewhere\"", "jobs.app.store"),
        ("[jobs.app]\ntimeout = 5", "timeout"),
        ("[jobs.app]\nurl = \"postgresql://db:port/app\"", "jobs.app.url"),
        ("[jobs.app]\ndump.compress = \"zip\"", "jobs.app.dump.compress"),
        ("[jobs.app]\ndump.jobs = 1000", "jobs.app.dump.jobs"),
        (
            "[jobs.app]\npassword = \"a\"\npassword_file = \"b\"",
            "jobs.app.password",
        ),
        (
            "[jobs.app]\npassword_credential = \"a\"",
            "jobs.app.password_credential",
        ),
        ("[jobs.app.encryption]", "jobs.app.encryption.recipients"),
        (
            "[jobs.app.encryption]\nidentity_file = \"k\"",
            "jobs.app.encryption.recipients",
        ),
        (
            "[jobs.app.encryption]\nrecipients = []\nrecipients_file = \"r\"",
            "jobs.app.encryption.recipients",
        ),
        (
            "[jobs.app.encryption]\nrecipients = \"age1x\"",
            "jobs.app.encryption.recipients",
        ),
        (
            "[jobs.app.encryption]\nrecipients_file = \"r\"\npassphrase_file = \"p\"",
            "jobs.app.encryption.passphrase_file",
        ),
        ("[jobs.\"../app\"]\n", "jobs.../app"),
        ("[stores.default]\npath = \"\"", "stores.default.path"),
        ("[stores.b]\n", "path"),
        (
            "[stores.b]\npath = \"b\"\nmax_upload_rate = \"fast\"",
            "max_upload_rate",
        ),
        ("[stores.b.s3]\nbucket = \"b\"\nattempts = 0", "stores.b.s3.attempts"),
        ("[stores.b.s3]\nbucket = \"b\"\ntimeout = \"0s\"", "stores.b.s3.timeout"),
        ("[daemon]\nmax_concurrent_jobs = 0", "daemon.max_concurrent_jobs"),
        ("[daemon]\nnotify = [\"\"]", "daemon.notify"),
        ("[daemon]\nnotify_on = \"mail\"", "notify_on"),
        ("[daemon]\nshutdown_timeout = \"200y\"", "hundred years"),
        ("this is no TOML", "snapback.toml"),
    ];
    for (text, named) in cases {
        let text = if text.contains("stores.default") {
            text.to_owned()
        } else {
            format!("{text}\n[stores.default]\npath = \"b\"\n")
        };
        let error = load(&text, &[]).unwrap_err();
        let message = format!("{error:#}");
        assert!(message.contains(named), "{text}\ngives {message}");
        assert_eq!(exit_of(&error), Exit::Usage, "{message}");
    }
}

#[test]
fn a_job_is_found_by_name_or_because_it_is_the_only_one() {
    let one = load(SMALL, &[]).unwrap();
    assert_eq!(one.job(None).unwrap().name, "app");
    assert_eq!(exit_of(&one.job(Some("apq")).unwrap_err()), Exit::NotFound);
    let pick = |config: &Config, a, b| {
        config
            .job_and_backup(a, b)
            .map(|(job, id)| (job.name.clone(), id.to_owned()))
    };
    let app = |id: &str| ("app".to_owned(), id.to_owned());
    assert_eq!(pick(&one, None, None).unwrap(), app("latest"));
    assert_eq!(pick(&one, Some("app"), None).unwrap(), app("latest"));
    assert_eq!(
        pick(&one, Some("20261120T020000Z"), None).unwrap(),
        app("20261120T020000Z")
    );
    assert_eq!(pick(&one, Some("app"), Some("latest")).unwrap(), app("latest"));
    assert_eq!(
        pick(&one, Some("before-migration"), None).unwrap(),
        app("before-migration")
    );

    let two = load(&format!("{SMALL}[jobs.b]\nurl = \"postgresql://db/b\"\n"), &[]).unwrap();
    assert_eq!(exit_of(&two.job(None).unwrap_err()), Exit::Usage);
    assert_eq!(
        exit_of(&two.job_and_backup(Some("latest"), None).unwrap_err()),
        Exit::NotFound
    );
}

#[test]
fn a_password_file_is_read_when_it_is_needed() {
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("secret");
    let text = format!("{SMALL}password_file = \"{}\"\n", secret.display());
    let config = load(&text, &[]).unwrap();
    let source = &config.jobs[0].source;
    assert_eq!(exit_of(&source.dsn().unwrap_err()), Exit::Usage);
    fs::write(&secret, "hush\n").unwrap();
    assert_eq!(source.dsn().unwrap().password.unwrap().expose(), "hush");
}

#[test]
fn all_mistakes_are_told_with_their_places() {
    let text = "[log]\nlevle = \"info\"\n[stores.default]\npath = \"b\"\nretention.keep_lats = 3\n\n[jobs.app]\n\
                url = \"mysql://u:hush@db/app\"\nschedule = \"30 25 * * *\"\ndump = { jobs = 1000, compres = \"x\" }\n\
                [jobs.b]\ntimeout = 5\n";
    let variables = [
        ("SNAPBACK__JOBS__APP__PRUNE", "perhaps"),
        ("SNAPBACK__JOBS__APP__SHEDULE", "@daily"),
    ];
    let error = load(text, &variables).unwrap_err();
    let message = format!("{error:#}");
    for part in [
        "the configuration has 10 mistakes",
        "snapback.toml:2:1: log.levle: there is no key \"levle\" in [log] (the nearest one is level)",
        "snapback.toml:5:11: stores.default.retention.keep_lats",
        "snapback.toml:8:1: jobs.app.url: MySQL is not supported",
        "snapback.toml:9:1: jobs.app.schedule: \"30 25 * * *\" is not a schedule: the hour is from 0 to 23, and 25 is not",
        "snapback.toml:10:10: jobs.app.dump.jobs: must be at most 64",
        "snapback.toml:10:23: jobs.app.dump.compres",
        "snapback.toml:12:1: jobs.b.timeout",
        "the variable SNAPBACK__JOBS__APP__PRUNE: jobs.app.prune",
        "the variable SNAPBACK__JOBS__APP__SHEDULE: jobs.app.shedule: there is no key \"shedule\" in [jobs.app] \
         (the nearest one is schedule)",
    ] {
        assert!(message.contains(part), "{part}\nis not in {message}");
    }
    assert!(
        !message.contains("hush") && message.contains("jobs.b.url: no database is named"),
        "{message}"
    );
}
