//! What a release is: the same commit gives the same files, and each is what others take it for.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::restore::project;
use crate::support::server::cache_dir;
use crate::support::{Run, snapback};

/// A program that stands for the built one, which is large: it starts it.
pub fn stand_in(folder: &Path) -> PathBuf {
    let program = folder.join("snapback");
    fs::write(
        &program,
        format!("#!/bin/sh\nexec {} \"$@\"\n", env!("CARGO_BIN_EXE_snapback")),
    )
    .unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    program
}

fn release(binary: &Path, folder: &Path) {
    let mut make = Command::new(project("deploy/release"));
    make.arg("--binary").arg(binary).arg(folder);
    make.env("SOURCE_DATE_EPOCH", "1764400000")
        .env("SNAPBACK_COMMIT", "0123456789");
    Run::of(&mut make).ok();
}

/// The file of a release that ends so.
fn file(folder: &Path, end: &str) -> PathBuf {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut paths = paths.filter(|path| path.to_str().unwrap().ends_with(end));
    paths.next().unwrap_or_else(|| panic!("no {end}"))
}

#[test]
fn the_same_program_gives_the_same_release() {
    let dir = tempfile::tempdir().unwrap();
    let binary = stand_in(dir.path());
    let (one, two) = (dir.path().join("one"), dir.path().join("the other one"));
    release(&binary, &one);
    Run::of(Command::new("touch").args(["-d", "2020-01-01"]).arg(&binary)).ok();
    release(&binary, &two);
    let sums = fs::read_to_string(one.join("SHA256SUMS")).unwrap();
    assert_eq!(sums, fs::read_to_string(two.join("SHA256SUMS")).unwrap());
    Run::of(
        Command::new("sha256sum")
            .args(["--check", "--strict", "SHA256SUMS"])
            .current_dir(&one),
    )
    .ok();
    for end in [".deb", ".rpm", ".tar.gz", ".cdx.json"] {
        let name = file(&one, end).file_name().unwrap().to_str().unwrap().to_owned();
        assert!(sums.contains(&name), "{sums}");
    }

    let list = Run::of(
        Command::new("tar")
            .arg("--list")
            .arg("--file")
            .arg(file(&one, ".tar.gz")),
    )
    .ok()
    .stdout;
    for part in [
        "/snapback\n",
        "/man/snapback.1\n",
        "/completions/snapback.zsh\n",
        "/systemd/snapback.service\n",
        "/LICENSE\n",
    ] {
        assert!(list.contains(part), "{part}: {list}");
    }
    rpm_has_the_same_as_the_package(&one);
    bill_names_what_is_in_the_program(&file(&one, ".cdx.json"));
}

/// The RPM has what the Debian package has, and is installed as it says.
fn rpm_has_the_same_as_the_package(folder: &Path) {
    let (deb, rpm) = (file(folder, ".deb"), file(folder, ".rpm"));
    let said = Run::of(Command::new("rpm").args(["--query", "--package", "--info"]).arg(&rpm))
        .ok()
        .stdout;
    assert!(
        said.contains(env!("CARGO_PKG_VERSION")) && said.contains("Apache-2.0"),
        "{said}"
    );
    let asked = Run::of(
        Command::new("rpm")
            .args(["--query", "--package", "--requires"])
            .arg(&rpm),
    )
    .ok()
    .stdout;
    assert!(
        asked.contains("ca-certificates\n") && asked.contains("tzdata\n"),
        "{asked}"
    );

    let root = folder.join("root");
    fs::create_dir(&root).unwrap();
    let scratch = format!("--root={}", root.display());
    let in_root = |words: &[&str]| Run::of(Command::new("rpm").arg(&scratch).args(words)).ok();
    in_root(&["--initdb"]);
    // There is nothing else in that root: neither what it needs, nor a shell for its scripts. machines/rpm.rs runs those.
    in_root(&["--install", "--nodeps", "--noscripts", rpm.to_str().unwrap()]);
    in_root(&["--verify", "--nodeps", "--noscripts", "snapback"]);
    let program = root.join("usr/bin/snapback");
    let version = Run::of(Command::new(&program).arg("--version")).ok().stdout;
    assert!(version.contains(env!("CARGO_PKG_VERSION")), "{version}");

    let tree = folder.join("tree");
    Run::of(Command::new("dpkg-deb").arg("-x").arg(&deb).arg(&tree)).ok();
    let files = |root: &Path| {
        let found = Run::of(Command::new("find").args([".", "-type", "f"]).current_dir(root))
            .ok()
            .stdout;
        let wanted = |path: &&str| {
            // The database of installed packages lies elsewhere where rpm is Debian's.
            !path.contains("rpm")
                && !path.contains("/doc/")
                && !path.contains("/licenses/")
                && !path.contains("/lintian/")
        };
        // Zsh looks in another folder outside of Debian.
        let paths = found
            .lines()
            .filter(wanted)
            .map(|path| path.replace("site-functions", "vendor-completions"));
        paths.collect::<BTreeSet<_>>()
    };
    assert_eq!(files(&root), files(&tree));
    let configuration = in_root(&["--query", "--configfiles", "snapback"]).stdout;
    assert_eq!(configuration, "/etc/snapback/config.toml\n");
}

fn bill_names_what_is_in_the_program(path: &Path) {
    let validate = "import sys\n\
                    from cyclonedx.schema import SchemaVersion\n\
                    from cyclonedx.validation.json import JsonStrictValidator\n\
                    sys.exit(str(JsonStrictValidator(SchemaVersion.V1_5).validate_str(sys.stdin.read()) or '') or 0)";
    let check = |text: &str, folder: &Path| {
        let input = folder.join("bill.json");
        fs::write(&input, text).unwrap();
        let mut python = Command::new("python3");
        python.env("PYTHONPATH", cache_dir().join("cyclonedx-11.12.0"));
        Run::of(python.args(["-c", validate]).stdin(fs::File::open(&input).unwrap()))
    };
    let dir = tempfile::tempdir().unwrap();
    let text = fs::read_to_string(path).unwrap();
    check(&text, dir.path()).ok();
    // The check is one that can fail.
    check(&text.replace("\"purl\"", "\"curl\""), dir.path()).code(1);

    let bill: Value = serde_json::from_str(&text).unwrap();
    let components = bill["components"].as_array().unwrap();
    let version = |name: &str| {
        let component = components.iter().find(|component| component["name"] == name);
        component.map(|component| component["version"].as_str().unwrap())
    };
    let said: Value = serde_json::from_str(&Run::of(snapback().args(["--json", "version"])).ok().stdout).unwrap();
    assert_eq!(version("sqlite"), said["sqlite"].as_str());
    assert_eq!(
        Some(format!("rustls {} (ring)", version("rustls").unwrap()).as_str()),
        said["tls"].as_str()
    );
    assert!(version("tokio-postgres").is_some());
    // Neither what only tests need, nor what only compiles.
    assert_eq!(
        (version("s3s"), version("insta"), version("syn"), version("cc")),
        (None, None, None, None)
    );
    for component in components {
        assert!(component["licenses"][0]["expression"].is_string(), "{component}");
    }
}

#[test]
#[ignore = "builds two releases: tests/run --full"]
fn the_same_commit_gives_the_same_bytes_wherever_it_lies() {
    let dir = tempfile::Builder::new().prefix("sb").tempdir_in("/var/tmp").unwrap();
    let auditable = cache_dir().join("cargo-auditable-0.7.7/bin");
    let path = format!("{}:{}", auditable.display(), std::env::var("PATH").unwrap());
    let made = ["here", "somewhere/else with a name"].map(|place| {
        let clone = dir.path().join(place.replace(' ', "-"));
        let source = project("");
        Run::of(Command::new("git").args(["clone", "--quiet"]).arg(source).arg(&clone)).ok();
        let mut make = Command::new(clone.join("deploy/release"));
        make.env("PATH", &path)
            .env_remove("CARGO_TARGET_DIR")
            .env_remove("SOURCE_DATE_EPOCH")
            .env_remove("SNAPBACK_COMMIT");
        Run::of(make.arg(clone.join("dist")).current_dir(&clone)).ok();
        clone.join("dist")
    });
    let sums = made
        .each_ref()
        .map(|folder| fs::read_to_string(folder.join("SHA256SUMS")).unwrap());
    assert_eq!(sums[0], sums[1]);

    // The program says which commit it is of, has no symbols, and those that it has lost are beside it.
    let tree = dir.path().join("tree");
    Run::of(
        Command::new("dpkg-deb")
            .arg("-x")
            .arg(file(&made[0], ".deb"))
            .arg(&tree),
    )
    .ok();
    let program = tree.join("usr/bin/snapback");
    // Others may commit meanwhile.
    let here = dir.path().join("here");
    let head = Run::of(Command::new("git").args(["rev-parse", "HEAD"]).current_dir(here))
        .ok()
        .stdout;
    let said: Value =
        serde_json::from_str(&Run::of(Command::new(&program).args(["--json", "version"])).ok().stdout).unwrap();
    assert_eq!(said["commit"], head.trim());
    let text = fs::read(&program).unwrap();
    let names_a_folder = memchr::memmem::find(&text, dir.path().to_str().unwrap().as_bytes());
    assert_eq!(
        names_a_folder, None,
        "the program names the folder that it was built in"
    );
    assert!(text.len() <= 25 << 20, "{} bytes", text.len());
    names_its_crates(&program, dir.path());
    let symbols = dir.path().join("snapback.debug");
    let packed = fs::File::open(file(&made[0], ".debug.gz")).unwrap();
    Run::of(
        Command::new("sh")
            .args(["-c", "gzip -d > \"$0\""])
            .arg(&symbols)
            .stdin(packed),
    )
    .ok();
    let lines = Run::of(Command::new("readelf").args(["--sections", "--wide"]).arg(&symbols))
        .ok()
        .stdout;
    assert!(lines.contains(".debug_line"), "{lines}");
    let lint = Run::of(
        Command::new("lintian")
            .args(["--allow-root", "--fail-on", "error,warning"])
            .arg(file(&made[0], ".deb")),
    );
    lint.ok();
}

/// As cargo-auditable's format has it: JSON, compressed by zlib, in a section of its own.
fn names_its_crates(program: &Path, folder: &Path) {
    let section = folder.join("dep-v0");
    let dump = format!(".dep-v0={}", section.display());
    Run::of(
        Command::new("objcopy")
            .args(["--dump-section", &dump])
            .arg(program)
            .arg("/dev/null"),
    )
    .ok();
    let packed = fs::File::open(&section).unwrap();
    let audited: Value = serde_json::from_reader(flate2::read::ZlibDecoder::new(packed)).unwrap();
    let packages = audited["packages"].as_array().unwrap();
    let named = |name: &str| packages.iter().any(|package| package["name"] == name);
    assert!(named("snapback") && named("tokio-postgres"), "{audited}");
    // What only tests need is not in it.
    assert!(!named("insta"), "{audited}");
}

#[test]
#[ignore = "needs cargo-deny: tests/run --full"]
fn licences_sources_and_twofold_crates_are_those_that_are_allowed() {
    let deny = Command::new(cache_dir().join("cargo-deny-0.20.2"))
        .args(["--offline", "check", "licenses", "bans", "sources"])
        .current_dir(project(""))
        .output()
        .unwrap();
    Run::from(deny).ok();
}
