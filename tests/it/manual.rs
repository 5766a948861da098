//! The commands of the manual do what it says. Blocks marked `sh sqlite` or `sh postgres` are run in their order in one folder;
//! what a reader need not see - the disaster, the look at what came of it - stands in comments with the same mark.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::restore::project;
use crate::support::{Run, Server, bin_dir, snapback};

const SAMPLE: &str = "CREATE TABLE customers (id integer PRIMARY KEY, name text);
CREATE TABLE orders (id integer PRIMARY KEY, customer integer REFERENCES customers, total real);
INSERT INTO customers VALUES (1, 'Ada'), (2, 'Grace');
INSERT INTO orders VALUES (4711, 1, 10), (4712, 2, 20), (4713, 2, 30);";

fn pages() -> Vec<PathBuf> {
    let entries = fs::read_dir(project("docs"))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    // A folder has the charts of a page.
    let mut pages: Vec<PathBuf> = entries.filter(|path| path.is_file()).collect();
    pages.push(project("README.md"));
    pages.sort();
    pages
}

/// What a page has for the shell, of blocks and comments that are marked so; nothing, if it has none.
fn script(page: &str, mark: &str) -> String {
    let (block, comment) = (format!("```sh {mark}"), format!("<!-- sh {mark}"));
    let mut script = String::new();
    let mut end = None;
    for line in page.lines() {
        match end {
            Some(last) if line == last => end = None,
            Some(_) => script += &format!("{line}\n"),
            None if line == block => end = Some("```"),
            None if line == comment => end = Some("-->"),
            None => {}
        }
    }
    assert!(end.is_none(), "a block does not end");
    script
}

/// Runs a script that stops at the first command that fails, with `snapback` on its path.
#[track_caller]
fn run(script: &str, folder: &Path, first: Option<&Path>, environment: &[(&str, &str)]) -> Run {
    let mut path = vec![Path::new(env!("CARGO_BIN_EXE_snapback")).parent().unwrap().to_owned()];
    path.extend(first.map(Path::to_owned));
    path.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap()));
    let program = snapback();
    let mut shell = Command::new("bash");
    for (name, value) in program.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell
        .args(["-euxo", "pipefail", "-c", script])
        .env("PATH", std::env::join_paths(path).unwrap())
        .envs(environment.iter().copied())
        .current_dir(folder)
        .stdin(Stdio::null());
    Run::of(&mut shell)
}

/// Runs the pages that have something for `mark`, each in a folder and with a database of its own.
fn each_page(mark: &str, mut run: impl FnMut(&str, &Path) -> Run) -> Vec<String> {
    let mut names = Vec::new();
    for path in pages() {
        let script = script(&fs::read_to_string(&path).unwrap(), mark);
        if script.is_empty() {
            continue;
        }
        let folder = tempfile::tempdir().unwrap();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let ran = run(&script, folder.path());
        assert_eq!(ran.code, Some(0), "{name}:\n{}\n{}", ran.stdout, ran.stderr);
        names.push(name);
    }
    names
}

#[test]
fn the_commands_for_sqlite_do_what_the_pages_say() {
    let ran = each_page("sqlite", |script, folder| {
        let made = format!("sqlite3 app.db \"{SAMPLE}\"\n");
        run(&(made + script), folder, None, &[])
    });
    for page in ["runbooks.md", "quick-starts.md", "moving-here.md", "stored-format.md"] {
        assert!(ran.iter().any(|name| name == page), "{ran:?}");
    }
}

#[test]
fn the_commands_for_postgres_do_what_the_pages_say() {
    let ran = each_page("postgres", |script, folder| {
        let server = Server::start(18);
        server.create_database("app");
        server.psql("app", SAMPLE);
        let url = server.url("app");
        let environment = [
            ("DATABASE_URL", url.as_str()),
            ("PGHOST", server.host()),
            ("PGPORT", "5432"),
            ("PGUSER", "postgres"),
        ];
        run(script, folder, Some(&bin_dir(18)), &environment)
    });
    for page in ["runbooks.md", "quick-starts.md", "moving-here.md"] {
        assert!(ran.iter().any(|name| name == page), "{ran:?}");
    }
}

#[test]
fn links_of_the_manual_lead_somewhere_and_its_index_has_every_page() {
    let index = fs::read_to_string(project("docs/README.md")).unwrap();
    for path in pages() {
        let text = fs::read_to_string(&path).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(
            name == "README.md" || index.contains(&format!("({name})")),
            "the index lacks {name}"
        );
        for link in text.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()) {
            let (file, place) = link.split_once('#').unwrap_or((link, ""));
            if file.contains("://") {
                continue;
            }
            let target = match file {
                "" => path.clone(),
                file => path.parent().unwrap().join(file),
            };
            assert!(target.exists(), "{}: {link}", path.display());
            if place.is_empty() {
                continue;
            }
            let heads = fs::read_to_string(target).unwrap();
            let found = heads.lines().filter(|line| line.starts_with('#')).any(|line| {
                let line = line.trim_start_matches('#').trim().to_lowercase();
                line.replace(' ', "-")
                    .replace(|c: char| c != '-' && !c.is_alphanumeric(), "")
                    == place
            });
            assert!(found, "{}: {link}", path.display());
        }
    }
}

#[test]
fn the_readme_can_be_read_in_one_go() {
    let lines = fs::read_to_string(project("README.md")).unwrap().lines().count();
    assert!(lines <= 150, "README.md has {lines} lines: move details to docs/");
}
