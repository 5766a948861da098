//! House rules that a reviewer would otherwise have to watch over.

use std::fs;
use std::path::{Path, PathBuf};

/// All Rust files below `dir`, relative to the project.
fn rust_files(dir: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(dir)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                files.push(path);
            }
        }
    }
    assert!(!files.is_empty(), "no Rust files in {dir}");
    files
}

#[test]
fn files_stay_short_enough_to_read() {
    const LIMIT: usize = 550;
    let long: Vec<_> = ["src", "tests"]
        .into_iter()
        .flat_map(rust_files)
        .map(|path| (fs::read_to_string(&path).unwrap().lines().count(), path))
        .filter(|(lines, _)| *lines > LIMIT)
        .collect();
    assert!(
        long.is_empty(),
        "files of more than {LIMIT} lines; split them by concept: {long:#?}"
    );
}

#[test]
fn layers_know_only_what_lies_below() {
    // The folder or file, and what it must never name: the flow of ARCHITECTURE.md, as a rule.
    let rules: &[(&str, &[&str])] = &[
        (
            "src/store",
            &[
                "crate::engine::postgres",
                "crate::archive",
                "crate::backup",
                "crate::restore::postgres",
                "crate::cli",
                "crate::daemon",
            ],
        ),
        (
            "src/seal",
            &[
                "crate::engine::postgres",
                "crate::store",
                "crate::backup",
                "crate::restore::postgres",
                "crate::cli",
                "crate::daemon",
            ],
        ),
        (
            "src/archive",
            &[
                "crate::store",
                "crate::backup",
                "crate::restore::postgres",
                "crate::cli",
                "crate::daemon",
            ],
        ),
        (
            "src/engine/postgres",
            &["crate::cli", "crate::daemon", "crate::retention", "crate::config"],
        ),
        (
            "src/engine/sqlite",
            &[
                "crate::engine::postgres",
                "crate::store::s3",
                "crate::shelf",
                "crate::backup",
                "crate::restore",
                "crate::cli",
                "crate::daemon",
                "crate::config",
            ],
        ),
        ("src/job", &["crate::cli", "crate::daemon", "crate::config"]),
        ("src/restore", &["crate::cli", "crate::daemon"]),
        ("src/daemon", &["crate::cli"]),
    ];
    for (dir, forbidden) in rules {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("{dir}.rs"));
        for path in rust_files(dir).into_iter().chain(file.exists().then_some(file)) {
            let text = fs::read_to_string(&path).unwrap();
            for name in *forbidden {
                let used = text
                    .lines()
                    .any(|line| line.contains(name) && !line.trim_start().starts_with("//"));
                assert!(!used, "{} names {name}", path.display());
            }
        }
    }
}

#[test]
fn the_fuzz_targets_are_locked_to_the_same_dependencies() {
    let parse = |path: &str| -> toml::Table {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
        toml::from_str(&text).unwrap()
    };
    let lock = parse("fuzz/Cargo.lock");
    let packages = lock["package"].as_array().unwrap();
    let ours = packages
        .iter()
        .find(|package| package["name"].as_str() == Some("snapback"))
        .unwrap();
    // A name goes with its version where there are several.
    let locked: Vec<&str> = ours["dependencies"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it.as_str().unwrap().split(' ').next().unwrap())
        .collect();
    let manifest = parse("Cargo.toml");
    let wanted: Vec<&str> = manifest["dependencies"]
        .as_table()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    let lacking: Vec<_> = wanted.into_iter().filter(|name| !locked.contains(name)).collect();
    assert!(
        lacking.is_empty(),
        "fuzz/Cargo.lock lacks {lacking:?}: cargo metadata --manifest-path fuzz/Cargo.toml"
    );
}

#[test]
fn retention_and_schedule_do_no_io() {
    for file in ["src/retention.rs", "src/schedule.rs"] {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
        for name in ["tokio", "std::fs", "Utc::now", "crate::store", "async fn"] {
            assert!(!text.contains(name), "{file} names {name}");
        }
    }
}
