//! Which database a backup is of: another one's is never restored without a word, and `latest` is the newest of this one.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::restore::Site;
use crate::support::{Run, Server, snapback};

/// A site whose job `app` backs up the database `app`, on a server that also has `other`; each knows its name.
fn site() -> Site {
    let site = Site::new(15, "app");
    site.server.create_database("other");
    for database in ["app", "other"] {
        fill(&site.server, database);
    }
    site
}

fn fill(server: &Server, database: &str) {
    server.psql(
        database,
        &format!("CREATE TABLE who AS SELECT '{database}'::text AS name"),
    );
}

fn who(server: &Server, database: &str) -> String {
    server.psql(database, "SELECT name FROM who")
}

/// Changes the URL of the job to another database.
fn point_to(site: &Site, from: &str, to: &str) {
    site.reconfigure(&format!("dbname='{from}'"), &format!("dbname='{to}'"));
}

fn json(site: &Site, args: &[&str]) -> Value {
    let run = site.run(&[args, &["--json"]].concat()).ok();
    serde_json::from_str(&run.stdout).unwrap()
}

/// The backup that `latest` is.
fn latest(site: &Site) -> String {
    json(site, &["show", "app", "latest"])["id"]
        .as_str()
        .unwrap()
        .to_owned()
}

/// Fails the test unless the restore is refused because of the database, first of all and before anything is done.
#[track_caller]
fn refused(site: &Site, args: &[&str], sentence: &str) {
    let before = site.databases();
    let run = site.run(&[&["restore"], args].concat()).code(7);
    assert!(run.stderr.starts_with("Another database: "), "{}", run.stderr);
    let first = run.stderr.lines().next().unwrap();
    assert!(first.contains(sentence), "{first}");
    assert!(run.stderr.contains("In the way: a backup of app on"), "{}", run.stderr);
    assert!(run.stderr.contains("--from-other"), "{}", run.stderr);
    assert_eq!(site.databases(), before);
}

#[test]
fn in_one_folder_no_database_becomes_another() {
    let site = site();
    let folder = tempfile::tempdir().unwrap();
    let run = |database: &str, args: &[&str]| {
        let mut command = snapback();
        command.current_dir(folder.path()).args(args);
        Run::of(command.env("DATABASE_URL", site.server.url(database)))
    };
    run("app", &["backup"]).ok();
    let refused = run("other", &["restore", "latest", "--yes"]);
    assert!(
        refused.code == Some(3) && refused.stderr.contains("--from-other=app"),
        "{refused:?}"
    );
    assert_eq!(who(&site.server, "other"), "other");
    // Those who mean it get it, from where the other one's backups are.
    let third = |word: &[&str]| {
        site.server.psql("postgres", "DROP DATABASE IF EXISTS third");
        site.server.create_database("third");
        run("third", &[&["restore", "latest", "--yes"], word].concat())
    };
    for word in [&["--from-other"][..], &["--from-other=app"], &["--from-other", "app"]] {
        let restored = third(word).ok();
        assert!(
            restored.stderr.starts_with("Another database: a backup of app on"),
            "{}",
            restored.stderr
        );
        assert_eq!(who(&site.server, "third"), "app");
        run("third", &["undo", "--yes"]).ok();
        site.server.psql("postgres", "DROP DATABASE third");
        fs::remove_dir_all(folder.path().join("backups/third")).unwrap();
        let kept = "SELECT format('DROP DATABASE %I', datname) FROM pg_database WHERE datname LIKE 'third_before_%'";
        site.server.psql("postgres", &site.server.psql("postgres", kept));
    }
    third(&["--from-other=nobody"]).code(3);
    let of_its_own = run("other", &["backup"]).ok().stdout;
    site.server.psql("other", "UPDATE who SET name = 'lost'");
    run("app", &["backup"]).ok();
    run("other", &["restore", "latest", "--yes"]).ok();
    assert_eq!(who(&site.server, "other"), "other");
    let shown = run("other", &["show", "--json"]).ok();
    assert!(shown.stdout.contains(of_its_own.trim()), "{}", shown.stdout);
}

#[test]
fn without_a_configuration_the_job_is_called_after_its_database() {
    let server = Server::start(15);
    server.create_database("app");
    server.create_database("My.App");
    fill(&server, "app");
    let folder = tempfile::tempdir().unwrap();
    let run = |database: &str, args: &[&str]| {
        let mut command = snapback();
        command.current_dir(folder.path()).args(args);
        Run::of(command.env("DATABASE_URL", server.url(database)))
    };
    // What older versions did: one job that is called default.
    let file = folder.path().join("snapback.toml");
    let url = server.url("app");
    fs::write(
        &file,
        format!("[stores.default]\npath = \"backups\"\n[jobs.default]\nurl = \"{url}\"\n"),
    )
    .unwrap();
    let old = run("app", &["backup", "--label", "old"]).ok().stdout.trim().to_owned();
    fs::remove_file(&file).unwrap();
    assert!(run("app", &["list"]).ok().stdout.contains(&old));
    server.psql("app", "UPDATE who SET name = 'lost'");
    let restored = run("app", &["restore", "latest", "--yes"]).ok().stdout;
    assert_eq!(who(&server, "app"), "app");
    assert!(restored.contains("to take it back: snapback undo app"), "{restored}");
    run("app", &["undo", "app", "--yes"]).ok();
    assert_eq!(who(&server, "app"), "lost");
    for args in [
        &["verify", "old"][..],
        &["pin", "old"],
        &["unpin", &old],
        &["copy", "old", "--to", "default"],
        &["show", "--list"],
    ] {
        run("app", args).ok();
    }
    let new = run("app", &["backup"]).ok().stdout.trim().to_owned();
    assert!(folder.path().join(format!("backups/app/app_{new}.dump")).is_file());
    let listed = run("app", &["list"]).ok().stdout;
    assert!(listed.contains(&new) && listed.contains(&old), "{listed}");
    let pruned = run("app", &["prune"]).ok().stdout;
    assert!(
        pruned.contains("left alone: 1 backup from when the job was called default"),
        "{pruned}"
    );
    assert!(run("app", &["list"]).ok().stdout.contains(&old));
    assert!(run("app", &["show", "--json"]).ok().stdout.contains(&new));
    let odd = run("My.App", &["backup"]).ok().stdout.trim().to_owned();
    assert!(
        folder
            .path()
            .join(format!("backups/my-app/my-app_{odd}.json"))
            .is_file()
    );
    assert!(
        run("My.App", &["restore", "my-app", "latest", "--dry-run"])
            .ok()
            .stdout
            .contains("made of My.App on")
    );
}

#[test]
fn a_changed_url_does_not_make_one_database_another() {
    let site = site();
    let of_app = site.backup();
    point_to(&site, "app", "other");
    let sentence = format!(
        "a backup of app on socket {}/.s.PGSQL.5432 would replace other on",
        site.server.host()
    );
    for args in [
        &["app", "latest", "--yes"][..],
        &["app", &of_app, "--yes"],
        &["--yes"],
        &["app", &of_app, "--yes", "--mode", "in-place"],
        &["app", &of_app, "--yes", "--mode", "in-place", "-t", "who"],
        &["app", "--dry-run"],
    ] {
        // A plan that is only shown is on stdout.
        match args.contains(&"--dry-run") {
            true => {
                let run = site.run(&[&["restore"], args].concat()).code(7);
                assert!(
                    run.stdout.starts_with(&format!("Another database: {sentence}")),
                    "{}",
                    run.stdout
                );
            }
            false => refused(&site, args, &sentence),
        }
    }
    let wrong = site
        .run(&["restore", "app", &of_app, "--yes", "--from-other", "third"])
        .code(7);
    assert!(wrong.stderr.contains("this is a backup of app on"), "{}", wrong.stderr);
    assert_eq!(who(&site.server, "other"), "other");
    // What replaces nothing needs no word.
    site.restore(&[&of_app, "--mode", "new", "--as", "third"]);
    assert_eq!(who(&site.server, "third"), "app");

    let report = site.restore(&["latest", "--from-other=app"]);
    assert_eq!(report["plan"]["backup"]["source"]["database"], "app");
    assert!(
        report["plan"]["other"]["what"]
            .as_str()
            .unwrap()
            .starts_with("a backup of app on")
    );
    assert_eq!(who(&site.server, "other"), "app");
    site.run(&["undo", "app", "--yes"]).ok();
    assert_eq!(who(&site.server, "other"), "other");
    site.restore(&[&of_app, "--from-other"]);
    assert_eq!(who(&site.server, "other"), "app");
}

#[test]
fn latest_is_of_this_database_for_every_verb() {
    let site = site();
    let of_app = site.backup();
    point_to(&site, "app", "other");
    let of_other = site.backup();
    assert_eq!(latest(&site), of_other);
    let listed = site.run(&["list"]).ok().stdout;
    let line = |id: &str| listed.lines().find(|line| line.starts_with(id)).unwrap().to_owned();
    assert!(listed.lines().next().unwrap().contains(" DATABASE "), "{listed}");
    assert!(
        line(&of_app).contains(" app ") && line(&of_other).contains(" other "),
        "{listed}"
    );
    assert_eq!(json(&site, &["list"])[0]["backups"][0]["source"]["database"], "other");
    point_to(&site, "other", "app");
    // The safety snapshot of a restore is newer, and nobody's latest.
    let report = site.restore(&["latest"]);
    assert_eq!(report["plan"]["backup"]["id"], of_app);
    assert_eq!(latest(&site), of_app);
    for args in [&["verify"][..], &["verify", "app", "latest"], &["verify", "--full"]] {
        assert_eq!(json(&site, args)[0]["id"], of_app, "{args:?}");
    }
    let pinned = site.run(&["pin", "latest"]).ok();
    assert!(
        pinned.stdout.starts_with(&format!("{of_app} is pinned")),
        "{}",
        pinned.stdout
    );
    let unpinned = site.run(&["unpin"]).ok();
    assert!(
        unpinned.stdout.starts_with(&format!("{of_app} is not pinned")),
        "{}",
        unpinned.stdout
    );
    assert_eq!(json(&site, &["restore", "--dry-run"])["plan"]["backup"]["id"], of_app);
    let copied = site.run(&["copy", "latest", "--to", "default"]).ok();
    assert!(copied.stdout.contains(&of_app), "{}", copied.stdout);
    // The other one's is still there for those who name it, and what they mean is checked.
    let other = json(&site, &["restore", "latest", "--dry-run", "--from-other=other"]);
    assert_eq!(other["plan"]["backup"]["id"], of_other);
}

#[test]
fn another_server_is_another_database_until_somebody_says_that_it_moved() {
    let site = site();
    let of_app = site.backup();
    // Of another major version: servers of one are copies of one cluster in these tests, also their identifiers.
    let (new, copy) = (Server::start(16), Server::start(15));
    for server in [&new, &copy] {
        server.create_database("app");
        fill(server, "app");
        server.psql("app", "UPDATE who SET name = 'of the new server'");
    }
    let old_host = format!("host={}", site.server.host());
    for (server, why) in [
        (&new, "another server: its system identifier is"),
        (
            &copy,
            "its system identifier is the same: a standby, or a copy of that server",
        ),
    ] {
        let host = format!("host={}", server.host());
        site.reconfigure(&old_host, &host);
        let args = ["restore", "app", "latest", "--yes"];
        let run = site.run(&args).code(7);
        assert!(
            run.stderr.starts_with("Another database: a backup of app on"),
            "{}",
            run.stderr
        );
        assert!(run.stderr.contains(why), "{}", run.stderr);
        assert_eq!(who(server, "app"), "of the new server");
        site.run(&[&args[..], &["--from-other"]].concat()).ok();
        assert_eq!(who(server, "app"), "app");
        assert_eq!(json(&site, &["verify"])[0]["id"], of_app);
        // Where the database is not there yet, nothing is replaced, and it is only told.
        server.psql("postgres", "DROP DATABASE app");
        let run = site.run(&args).ok();
        assert!(run.stderr.contains("becomes app on"), "{}", run.stderr);
        site.reconfigure(&host, &old_host);
    }
    // And by --to, which names the target itself.
    new.psql("postgres", "CREATE DATABASE elsewhere");
    let to = new.url("elsewhere");
    site.run(&["restore", "app", "--to", &to, "--yes"]).code(7);
    new.psql("elsewhere", "CREATE TABLE who AS SELECT 'elsewhere'::text AS name");
    for mode in ["swap", "in-place"] {
        let args = [
            "restore",
            "app",
            "--to",
            &to,
            "--yes",
            "--from-other=app",
            "--mode",
            mode,
        ];
        let said = site.run(&args).ok().stdout;
        assert_eq!(who(&new, "elsewhere"), "app");
        // The command that is offered does it, in a shell.
        let back = said
            .lines()
            .find_map(|line| line.strip_prefix("to take it back: snapback "));
        let line = format!("exec \"$0\" {} --yes", back.unwrap());
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", &line, env!("CARGO_BIN_EXE_snapback")]);
        Run::of(shell.current_dir(site.folder()).env_clear()).ok();
        assert_eq!(who(&new, "elsewhere"), "elsewhere");
    }
}

#[test]
fn one_database_is_known_by_every_way_that_leads_to_it() {
    let site = site();
    let server = &site.server;
    let of_app = site.backup();
    // A restore by swap gives the name to another database of the server, and a rename the database to another name.
    site.restore(&["latest"]);
    let plan = json(&site, &["restore", "latest", "--dry-run"]);
    assert_eq!(
        (&plan["plan"]["backup"]["id"], &plan["plan"]["other"]),
        (&of_app.as_str().into(), &Value::Null)
    );
    let second = site.backup();
    server.psql("postgres", "ALTER DATABASE app RENAME TO app_renamed");
    point_to(&site, "app", "app_renamed");
    let plan = json(&site, &["restore", "latest", "--dry-run"]);
    assert_eq!(
        (&plan["plan"]["backup"]["id"], &plan["plan"]["other"]),
        (&second.as_str().into(), &Value::Null)
    );
    // A socket and its folder under another name.
    let link = site.folder().join("socket");
    std::os::unix::fs::symlink(server.host(), &link).unwrap();
    site.reconfigure(
        &format!("host={}", server.host()),
        &format!("host={},{}", link.display(), server.host()),
    );
    let plan = json(&site, &["restore", "latest", "--dry-run"]);
    assert_eq!(plan["plan"]["other"], Value::Null);
}

#[test]
fn where_the_identifier_is_kept_secret_name_and_host_tell() {
    let site = site();
    let server = &site.server;
    for database in ["postgres", "app", "other", "template1"] {
        server.psql(database, "REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC");
    }
    server.psql("postgres", "CREATE ROLE plain LOGIN CREATEDB NOINHERIT; GRANT postgres TO plain; ALTER DATABASE app OWNER TO plain; ALTER DATABASE other OWNER TO plain");
    for database in ["app", "other"] {
        server.psql(database, "ALTER TABLE who OWNER TO plain");
    }
    site.reconfigure("user=postgres", "user=plain");
    let of_app = site.backup();
    assert_eq!(json(&site, &["show"])["source"]["system_identifier"], Value::Null);
    let plan = json(&site, &["restore", "latest", "--dry-run"]);
    assert_eq!(plan["plan"]["other"], Value::Null);
    point_to(&site, "app", "other");
    refused(&site, &["app", &of_app, "--yes"], "would replace other on");
}

#[test]
fn what_is_left_of_a_lost_server_is_found_by_its_url() {
    let site = site();
    let of_app = site.backup();
    point_to(&site, "app", "other");
    let of_other = site.backup();
    // Nobody answers there any more.
    let gone = "port=5432 user=postgres dbname='other'";
    site.reconfigure(gone, "port=5433 user=postgres dbname='other'");
    old_manifests(&site.backups(), 5433);
    assert_eq!(latest(&site), of_other);
    assert_eq!(json(&site, &["verify"])[0]["id"], of_other);
    assert!(
        site.run(&["copy", "latest", "--to", "default"])
            .ok()
            .stdout
            .contains(&of_other)
    );
    point_to(&site, "other", "app");
    assert_eq!(latest(&site), of_app);
    site.run(&["list"]).ok();
    let error = site.run(&["restore", "latest", "--yes"]).code(4).stderr;
    assert!(error.contains("5433"), "{error}");
}

/// Makes the manifests those of a server at another port whose identifier nobody could read, as old ones may be.
fn old_manifests(folder: &Path, port: u16) {
    for file in fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path()) {
        if file.extension().is_none_or(|it| it != "json") {
            continue;
        }
        let mut manifest: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        manifest["source"]["port"] = port.into();
        manifest["source"]["system_identifier"] = Value::Null;
        fs::write(&file, manifest.to_string()).unwrap();
    }
}

#[test]
fn labels_and_beginnings_of_ids_are_understood() {
    let site = site();
    let labelled = |label: &str| {
        let run = site.run(&["backup", "app", "--label", label]).ok();
        run.stdout.trim().to_owned()
    };
    let first = labelled("before-migration");
    let second = labelled("another");
    for args in [
        &["restore", "before-migration"][..],
        &["restore", "app", "before-migration"],
    ] {
        assert_eq!(
            json(&site, &[args, &["--dry-run"]].concat())["plan"]["backup"]["id"],
            first
        );
    }
    assert_eq!(json(&site, &["show", "another"])["id"], second);
    assert_eq!(json(&site, &["show", "app", &first[..15]])["id"], first);
    let short = site.run(&["show", "app", "2"]).code(3);
    assert!(short.stderr.contains("neither by id"), "{}", short.stderr);
    let ambiguous = site.run(&["verify", &first[..8]]).code(2);
    assert!(
        ambiguous.stderr.contains(&first) && ambiguous.stderr.contains(&second),
        "{}",
        ambiguous.stderr
    );
    let newest = labelled("before-migration");
    let run = site.run(&["show", "before-migration", "--json"]).ok();
    assert!(run.stdout.contains(&newest), "{}", run.stdout);
    assert!(run.stderr.contains("2 backups have the label"), "{}", run.stderr);
    site.run(&["show", "before-migratoin"]).code(3);
}

#[test]
fn verify_does_not_call_it_good_that_the_newest_is_damaged() {
    let site = site();
    let (first, second) = (site.backup(), site.backup());
    let archive = site.backups().join(format!("app_{second}.dump"));
    let mut bytes = fs::read(&archive).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&archive, bytes).unwrap();
    assert!(site.run(&["verify"]).code(6).stderr.contains(&second));
    // The next one looks at what a restore would take, and still says so.
    let again = site.run(&["verify"]).code(6);
    assert!(again.stdout.contains(&format!("{first} is good")), "{}", again.stdout);
    assert!(
        again.stderr.contains(&format!("backup {second} is damaged")),
        "{}",
        again.stderr
    );
    let plan = json(&site, &["restore", "--dry-run"]);
    assert_eq!(plan["plan"]["backup"]["id"], first);
    assert!(plan["plan"]["warnings"].to_string().contains(&second), "{plan}");
}
