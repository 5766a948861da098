//! Drills on PostgreSQL.

use std::fs;
use std::sync::Arc;

use serde_json::Value;

use crate::restore::Site;
use crate::s3::noise;
use crate::support::s3::S3Server;
use crate::support::{Run, Server, snapback};

const TABLES: &str = "CREATE TABLE customer (id int PRIMARY KEY, name text);
    INSERT INTO customer SELECT i, 'customer ' || i FROM generate_series(1, 1000) i;
    CREATE TABLE orders (id serial PRIMARY KEY, customer int REFERENCES customer);
    INSERT INTO orders (customer) SELECT id FROM customer WHERE id % 2 = 0;
    CREATE VIEW busy AS SELECT customer FROM orders;";

fn site(major: u32) -> Site {
    let site = Site::new(major, "app");
    site.server.psql("app", TABLES);
    site
}

fn json(run: Run) -> Value {
    serde_json::from_str(&run.stdout).unwrap()
}

/// Databases that are neither the server's nor the job's.
fn others(server: &Server) -> String {
    server.psql(
        "postgres",
        "SELECT datname FROM pg_database WHERE NOT datistemplate AND datname NOT IN ('postgres', 'app')",
    )
}

#[test]
fn a_backup_that_passes_is_told_to_be_restorable_and_nothing_is_left() {
    for major in [14, 18] {
        let site = site(major);
        site.configure("drill_checks = ['SELECT count(*) = 1000 FROM customer', \"SELECT 'true'\"]");
        let id = site.backup();
        let live = "SELECT oid, datname FROM pg_database ORDER BY oid";
        let before = site.server.psql("postgres", live);
        let plan = site.run(&["drill", "app", "--dry-run"]).ok().stdout;
        assert!(
            plan.contains(&format!("would restore backup {id}")) && plan.contains("app_drill_"),
            "{plan}"
        );
        let told = site
            .run(&["drill", "app", "--check", "SELECT count(*) = 500 FROM busy"])
            .ok()
            .stdout;
        assert!(
            told.contains(&format!(
                "backup {id} of app is restorable: 2 tables and 1,500 rows restored and proven, 3 checks true"
            )),
            "{told}"
        );
        assert_eq!(site.server.psql("postgres", live), before);
        let report = json(site.run(&["drill", "app", &id, "--json"]).ok());
        assert_eq!(
            (&report["passed"], &report["rows"], &report["backup"]),
            (&true.into(), &1500.into(), &id.clone().into())
        );
        let steps: Vec<&str> = report["steps"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it["step"].as_str().unwrap())
            .collect();
        assert!(
            steps.contains(&"prove") && steps.contains(&"checks") && steps.contains(&"drop"),
            "{steps:?}"
        );
        // Who looks later sees it, and that all rows were proven.
        let listed = site.run(&["list", "app"]).ok().stdout;
        assert!(
            listed.contains("restorable, shown by a drill ") && listed.contains("verified (full"),
            "{listed}"
        );
        let backup = &json(site.run(&["list", "app", "--json"]).ok())[0]["backups"][0];
        assert_eq!(backup["drill"]["passed"], true);
        let shown = json(site.run(&["show", "app", "--json"]).ok());
        let drills = shown["copies"][0]["drills"].as_array().unwrap();
        assert_eq!(
            (drills.len(), &drills[0]["checks"], &drills[1]["checks"]),
            (2, &3.into(), &2.into())
        );
        assert!(site.run(&["show", "app"]).ok().stdout.contains("shown by a drill"));
        // With the backup goes what is known of it.
        site.configure("retention.keep_last = 1\nretention.minimum = 1");
        site.backup();
        let left: Vec<String> = fs::read_dir(site.backups())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.contains(&id))
            .collect();
        assert_eq!(left, Vec::<String>::new());
    }
}

#[test]
fn a_check_that_is_not_true_fails_the_drill_and_says_what_it_gave() {
    let site = site(16);
    let id = site.backup();
    for (check, told) in [
        ("SELECT count(*) > 5000 FROM customer", "gave f"),
        ("SELECT name = 'x' FROM customer WHERE id = -1", "gave no row"),
        ("SELECT NULL::boolean", "gave NULL"),
        ("SELECT count(*) FROM customer", "gave 1000"),
        ("SELECT true FROM nosuch", "relation \"nosuch\" does not exist"),
    ] {
        let run = site.run(&["drill", "app", "--check", check]).code(12);
        assert!(
            run.stderr.contains(told) && run.stderr.contains(check),
            "{}",
            run.stderr
        );
        assert_eq!(others(&site.server), "", "{check}");
    }
    let report = json(
        site.run(&["drill", "app", "--json", "--check", "SELECT false"])
            .code(12),
    );
    assert_eq!(
        (&report["passed"], &report["checks"][0]["instead"]),
        (&false.into(), &"gave f".into())
    );
    let listed = site.run(&["list", "app"]).ok().stdout;
    assert!(listed.contains("FAILED A DRILL"), "{listed}");
    // A backup that is damaged fails it too, and the next good drill counts again.
    site.run(&["drill", "app"]).ok();
    assert!(site.run(&["list", "app"]).ok().stdout.contains("restorable"));
    let archive = site.backups().join(format!("app_{id}.dump"));
    let mut bytes = fs::read(&archive).unwrap();
    let at = bytes.len() - 20;
    bytes[at] ^= 1;
    fs::write(&archive, bytes).unwrap();
    let run = site.run(&["drill", "app", &id]).code(6);
    assert!(
        run.stderr
            .contains(&format!("the drill of backup {id} of job app failed")),
        "{}",
        run.stderr
    );
    assert_eq!(others(&site.server), "");
    site.run(&["drill", "app"]).code(3);
}

#[test]
fn another_server_may_lack_the_roles_and_is_left_as_it_was() {
    let site = site(15);
    site.server.psql(
        "app",
        "CREATE ROLE clerk; ALTER TABLE orders OWNER TO clerk; GRANT SELECT ON customer TO clerk",
    );
    let there = Arc::new(Server::start(17));
    site.configure(&format!(
        "drill_url = \"{}\"\ndrill_checks = ['SELECT count(*) = 500 FROM orders']",
        there.url("postgres")
    ));
    let id = site.backup();
    let run = site.run(&["drill", "app"]).ok();
    assert!(
        run.stdout.contains(&format!("backup {id} of app is restorable")),
        "{}",
        run.stdout
    );
    assert!(
        run.stderr.contains("owners and privileges are left out"),
        "{}",
        run.stderr
    );
    assert_eq!(others(&there), "");
    assert_eq!(
        there.psql("postgres", "SELECT count(*) FROM pg_roles WHERE rolname = 'clerk'"),
        "0"
    );
    // Where roles are the server's own matter, they are part of what is tried.
    site.reconfigure("drill_url", "# drill_url");
    site.run(&["drill", "app"]).ok();
    // Nothing is recorded of a drill that could not be made.
    site.server.psql("app", "CREATE ROLE poor LOGIN");
    site.configure(&format!("drill_url = \"{}\"", site.server.url_as("poor", "postgres")));
    let drills = || {
        json(site.run(&["show", "app", "--json"]).ok())["copies"][0]["drills"]
            .as_array()
            .unwrap()
            .len()
    };
    let before = drills();
    let run = site.run(&["drill", "app"]).code(8);
    assert!(run.stderr.contains("may not create databases"), "{}", run.stderr);
    assert_eq!(drills(), before);
}

#[test]
fn an_encrypted_backup_in_a_bucket_is_tried_with_its_key() {
    let bucket = S3Server::start();
    let site = site(15);
    site.use_store(&bucket.config("nightly"));
    site.server.psql("app", &noise(5_000));
    let key = site.folder().join("key");
    let public = Run::of(snapback().arg("keygen").arg("-o").arg(&key)).ok().stdout;
    site.configure(&format!("[jobs.app.encryption]\nrecipients = [\"{}\"]", public.trim()));
    let id = site.backup();
    site.run(&["drill", "app"]).code(9);
    let report = json(site.run(&["drill", "app", "--json", "--identity", "key"]).ok());
    assert_eq!((&report["backup"], &report["rows"]), (&id.into(), &6500.into()));
    // What is recorded in the clear names no table.
    let run = site
        .run(&[
            "drill",
            "app",
            "--identity",
            "key",
            "--check",
            "SELECT false FROM customer",
        ])
        .code(12);
    assert!(run.stderr.contains("FROM customer"), "{}", run.stderr);
    let shown = json(site.run(&["show", "app", "--json"]).ok());
    let drills = shown["copies"][0]["drills"].to_string();
    assert!(
        drills.contains("drill again to see it") && !drills.contains("customer"),
        "{drills}"
    );
    assert!(site.run(&["list", "app"]).ok().stdout.contains("FAILED A DRILL"));
    assert_eq!(others(&site.server), "");
}

#[test]
fn a_restore_waits_for_no_drill() {
    let site = site(15);
    site.backup();
    let mut drill = super::paused_at(site.command(&["drill", "app"]), "checks");
    assert!(others(&site.server).starts_with("app_drill_"));
    // Another drill does, and nobody takes the scratch database of one that is alive.
    let run = site.run(&["drill", "app"]).code(5);
    assert!(
        run.stderr.contains("another drill of \"app\" is under way"),
        "{}",
        run.stderr
    );
    site.run(&["list", "app"]).ok();
    site.server.psql("app", "DELETE FROM orders");
    site.restore(&[]);
    assert_eq!(site.server.psql("app", "SELECT count(*) FROM orders"), "500");
    assert!(others(&site.server).contains("app_drill_"));
    // A person who ends it leaves nothing.
    Run::of(std::process::Command::new("kill").arg(drill.id().to_string())).ok();
    assert_eq!(drill.wait().unwrap().code(), Some(130));
    assert!(!others(&site.server).contains("app_drill_"), "{}", others(&site.server));
}

#[test]
fn a_server_without_room_is_left_alone() {
    let site = site(15);
    let id = site.backup();
    // A backup of a table that no disk holds.
    let path = site.backups().join(format!("app_{id}.json"));
    let mut manifest: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    manifest["tables"][0]["bytes"] = (1_u64 << 50).into();
    fs::write(&path, manifest.to_string()).unwrap();
    let run = site.run(&["drill", "app"]).code(1);
    assert!(
        run.stderr.contains("this drill cannot be done") && run.stderr.contains("the server has"),
        "{}",
        run.stderr
    );
    let plan: Value = serde_json::from_str(&site.run(&["drill", "app", "--dry-run", "--json"]).code(1).stdout).unwrap();
    assert!(
        plan["needed"].as_u64() > plan["free"].as_u64() && plan["obstacles"][0].is_string(),
        "{plan}"
    );
    assert_eq!(others(&site.server), "");
    assert!(!site.run(&["list", "app"]).ok().stdout.contains("DRILL"));
}
