//! The Debian package and the manual pages: what dpkg, man and groff make of them.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::restore::project;
use crate::support::{Run, snapback};

/// The built program without its debug symbols, as nobody packs those.
pub fn binary(folder: &Path) -> PathBuf {
    let binary = folder.join("snapback");
    let mut strip = Command::new("strip");
    Run::of(strip.arg("-o").arg(&binary).arg(env!("CARGO_BIN_EXE_snapback"))).ok();
    binary
}

/// A package, packed quickly.
#[track_caller]
pub fn package(binary: &Path, folder: &Path) -> PathBuf {
    fs::create_dir_all(folder).unwrap();
    let mut make = Command::new(project("deploy/package"));
    make.arg(binary).arg(folder).env("SOURCE_DATE_EPOCH", "1764400000");
    make.env("DPKG_DEB_COMPRESSOR_TYPE", "gzip")
        .env("DPKG_DEB_COMPRESSOR_LEVEL", "1");
    PathBuf::from(Run::of(&mut make).ok().stdout.trim())
}

fn dpkg(root: &Path, arguments: &[&str]) -> Run {
    let mut dpkg = Command::new("dpkg");
    dpkg.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    dpkg.arg(format!("--root={}", root.display()));
    // There is nothing else in the root, so what the package needs is not, and scripts run outside of it, with DPKG_ROOT.
    dpkg.args(["--force-depends", "--force-script-chrootless", "--force-confold"]);
    Run::of(dpkg.args(arguments))
}

/// The kind and mode of what the package has at a place.
fn mode(path: &Path) -> u32 {
    let met = fs::metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    met.permissions().mode() & 0o7777
}

#[test]
fn the_package_is_installed_upgraded_and_purged_and_the_backups_stay() {
    let dir = tempfile::tempdir().unwrap();
    let binary = binary(dir.path());
    let deb = package(&binary, &dir.path().join("one"));
    // The second is made from a binary of another time.
    Run::of(Command::new("touch").args(["-d", "2020-01-01"]).arg(&binary)).ok();
    let again = package(&binary, &dir.path().join("two"));
    assert!(
        fs::read(&deb).unwrap() == fs::read(&again).unwrap(),
        "the same binary gave other bytes"
    );

    Run::of(
        Command::new("lintian")
            .args(["--allow-root", "--fail-on", "error"])
            .arg(&deb),
    )
    .ok();

    let root = dir.path().join("root");
    for folder in [
        "var/lib/dpkg/info",
        "var/lib/dpkg/updates",
        "var/lib/dpkg/triggers",
        "var/lib/snapback/backups/app",
    ] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    fs::write(root.join("var/lib/dpkg/status"), "").unwrap();
    let backup = root.join("var/lib/snapback/backups/app/app_20261120T020000Z.dump");
    fs::write(&backup, "a backup").unwrap();
    dpkg(&root, &["--install", deb.to_str().unwrap()]).ok();

    for (file, wanted) in [
        ("usr/bin/snapback", 0o755),
        ("etc/snapback/config.toml", 0o640),
        ("etc/snapback", 0o750),
        ("var/lib/snapback", 0o700),
        ("usr/lib/systemd/system/snapback.service", 0o644),
        ("usr/lib/systemd/system/snapback-backup@.service", 0o644),
        ("usr/lib/systemd/system/snapback-backup@.timer", 0o644),
        ("usr/share/man/man1/snapback.1.gz", 0o644),
        ("usr/share/man/man5/snapback.toml.5.gz", 0o644),
        ("usr/share/bash-completion/completions/snapback", 0o644),
        ("usr/share/zsh/vendor-completions/_snapback", 0o644),
        ("usr/share/fish/vendor_completions.d/snapback.fish", 0o644),
    ] {
        assert_eq!(mode(&root.join(file)), wanted, "{file}");
    }
    // The user is in the files of that root only, and owns the folder.
    let users = fs::read_to_string(root.join("etc/passwd")).unwrap();
    let user: Vec<&str> = users
        .lines()
        .find(|line| line.starts_with("snapback:"))
        .unwrap()
        .split(':')
        .collect();
    let folder = fs::metadata(root.join("var/lib/snapback")).unwrap();
    assert_eq!(folder.uid().to_string(), user[2]);
    let config = fs::metadata(root.join("etc/snapback/config.toml")).unwrap();
    assert_eq!((config.uid(), config.gid().to_string().as_str()), (0, user[3]));
    dpkg(&root, &["--verify", "snapback"]).ok();

    // The program from there, and its units.
    let program = root.join("usr/bin/snapback");
    let said = Run::of(Command::new(&program).arg("--version")).ok().stdout;
    assert!(said.contains(env!("CARGO_PKG_VERSION")), "{said}");
    let config = root.join("etc/snapback/config.toml");
    // There is no job yet, and nothing else is wrong.
    let mut check = Command::new(&program);
    let check = Run::of(check.arg("--config").arg(&config).args(["config", "check"])).code(2);
    assert!(check.stderr.contains("jobs: there is none"), "{}", check.stderr);
    assert_eq!(check.stderr.matches("error").count(), 1, "{}", check.stderr);
    for unit in [
        "snapback.service",
        "snapback-backup@app.service",
        "snapback-backup@app.timer",
    ] {
        let folder = root.join("usr/lib/systemd/system");
        let template = fs::read_to_string(folder.join(unit.replace("@app", "@"))).unwrap();
        assert!(!template.contains("/usr/local"), "{template}");
        let place = dir.path().join(unit);
        fs::write(&place, template.replace("/usr/bin/snapback", program.to_str().unwrap())).unwrap();
        let run = Run::of(Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&place)).ok();
        assert!(!run.stderr.contains("snapback"), "{}", run.stderr);
    }

    // What an admin has written stays, and so does what a backup is.
    fs::write(&config, "[stores.default]\npath = '/srv/b'\n").unwrap();
    dpkg(&root, &["--install", again.to_str().unwrap()]).ok();
    assert!(fs::read_to_string(&config).unwrap().contains("/srv/b"));
    assert_eq!(mode(&config), 0o640);
    dpkg(&root, &["--remove", "snapback"]).ok();
    assert!(config.exists() && !program.exists());
    let said = dpkg(&root, &["--purge", "snapback"]).ok();
    assert!(said.stdout.contains("/var/lib/snapback stays"), "{}", said.stdout);
    assert!(!config.exists());
    assert_eq!(fs::read_to_string(&backup).unwrap(), "a backup");
}

/// All commands that `--help` names, with those in them.
fn verbs(before: &[&str]) -> Vec<String> {
    let help = Run::of(snapback().args(before).arg("--help")).ok().stdout;
    let Some((_, list)) = help.split_once("Commands:\n") else {
        return Vec::new();
    };
    let list = list.split("\n\n").next().unwrap();
    let names = list
        .lines()
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let names = names.map(|line| line.split_whitespace().next().unwrap().to_owned());
    names.filter(|name| name != "help").collect()
}

#[test]
fn every_verb_has_a_page_that_groff_takes_without_a_word() {
    let dir = tempfile::tempdir().unwrap();
    let pages = dir.path().join("man");
    Run::of(snapback().arg("man").arg(&pages)).ok();
    let names = verbs(&[]);
    assert!(names.len() >= 20, "{names:?}");
    let mut wanted = vec!["snapback.1".to_owned(), "snapback.toml.5".to_owned()];
    for name in &names {
        wanted.push(format!("snapback-{name}.1"));
        if name == "config" {
            wanted.extend(verbs(&[name]).iter().map(|inner| format!("snapback-config-{inner}.1")));
        }
    }
    wanted.sort();
    let mut found: Vec<String> = fs::read_dir(&pages)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    found.sort();
    assert_eq!(found, wanted);
    for name in &found {
        let run = Run::of(
            Command::new("groff")
                .args(["-man", "-K", "utf8", "-Tutf8", "-P-cbu", "-ww"])
                .arg(pages.join(name)),
        )
        .ok();
        assert_eq!(run.stderr, "", "{name}");
        assert!(run.stdout.contains("NAME"), "{name}: {}", run.stdout);
    }
    // What the example says of a key is on its page, whatever characters it has.
    let text = Run::of(
        Command::new("groff")
            .args(["-man", "-K", "utf8", "-Tutf8", "-P-cbu", "-rLL=400n"])
            .arg(pages.join("snapback.toml.5")),
    );
    let text = text.ok().stdout;
    for line in [
        "max_concurrent_jobs = 2",
        "[jobs.app.retention]",
        "tags = {}",
        "never fewer than this",
    ] {
        assert!(text.to_lowercase().contains(line), "{line}: {text}");
    }
}

#[test]
fn version_names_what_the_program_is_made_of() {
    let json = Run::of(snapback().args(["--json", "version"])).ok().stdout;
    let version: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(version["snapback"], env!("CARGO_PKG_VERSION"));
    let lock: toml::Table = toml::from_str(&fs::read_to_string(project("Cargo.lock")).unwrap()).unwrap();
    let packages = lock["package"].as_array().unwrap();
    let rustls = packages
        .iter()
        .find(|package| package["name"].as_str() == Some("rustls"))
        .unwrap();
    let tls = version["tls"].as_str().unwrap();
    assert_eq!(tls, format!("rustls {} (ring)", rustls["version"].as_str().unwrap()));
    let text = Run::of(snapback().arg("version")).ok().stdout;
    assert!(text.contains(tls) && text.contains("commit"), "{text}");
    let short = Run::of(snapback().arg("--version")).ok().stdout;
    assert_eq!(short.lines().count(), 1);
    assert!(short.contains(version["sqlite"].as_str().unwrap()), "{short}");
}
