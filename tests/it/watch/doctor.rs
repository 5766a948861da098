//! `snapback doctor`: what would go wrong, before it does.

use std::fs;

use serde_json::Value;

use super::{json, site};
use crate::backup::House;

/// What was found about this, as "severity message".
fn found(checkup: &Value, about: &str) -> Vec<String> {
    let findings = checkup[0]["findings"].as_array().unwrap().iter();
    let about = findings.filter(|finding| finding["about"] == about);
    about
        .map(|finding| {
            format!(
                "{} {}",
                finding["severity"].as_str().unwrap(),
                finding["message"].as_str().unwrap()
            )
        })
        .collect()
}

#[test]
fn a_store_and_a_file_are_tried_and_nothing_is_left() {
    let site = site(&["app"], "");
    site.snapback(&["backup", "app"]).ok();
    let before = fs::read_dir(site.path("backups/app")).unwrap().count();
    let (code, checkup) = json(&site, &["doctor"]);
    assert_eq!(code, Some(0), "{checkup:#}");
    assert!(found(&checkup, "database")[0].starts_with("fine "), "{checkup:#}");
    assert!(
        found(&checkup, "store default")[0].contains("can be written to"),
        "{checkup:#}"
    );
    assert!(found(&checkup, "schedule")[0].starts_with("warning "), "{checkup:#}");
    assert_eq!(fs::read_dir(site.path("backups/app")).unwrap().count(), before);

    fs::remove_file(site.path("app.db")).unwrap();
    fs::remove_dir_all(site.path("backups")).unwrap();
    fs::write(site.path("backups"), "no folder").unwrap();
    let (code, checkup) = json(&site, &["doctor", "app"]);
    assert_eq!(code, Some(1), "{checkup:#}");
    assert!(found(&checkup, "database")[0].starts_with("error "), "{checkup:#}");
    assert!(found(&checkup, "store default")[0].starts_with("error "), "{checkup:#}");
    site.snapback(&["doctor", "nobody"]).code(3);
}

#[test]
fn rights_and_locks_that_a_backup_would_fail_for_are_named() {
    let house = House::new();
    house.server.psql(
        "app",
        "CREATE ROLE reader LOGIN; GRANT SELECT ON customer TO reader; CREATE TABLE secret (id int);
         CREATE TABLE own (id int); ALTER TABLE own ENABLE ROW LEVEL SECURITY; GRANT SELECT ON own TO reader",
    );
    let text = format!(
        "[daemon]\nstate = \"state\"\n[stores.default]\npath = \"backups\"\n[jobs.app]\nurl = \"{}\"\n",
        house.server.url_as("reader", "app")
    );
    fs::write(house.dir.path().join("snapback.toml"), text).unwrap();
    let run = house.run(&["--json", "doctor"]).code(1);
    let checkup: Value = serde_json::from_str(&run.stdout).unwrap();
    let rights = found(&checkup, "rights").join("\n");
    assert!(
        rights.contains("error the role may not read") && rights.contains("secret"),
        "{rights}"
    );
    assert!(
        rights.contains("row-level security hides rows from the role in own"),
        "{rights}"
    );
    assert!(!rights.contains("customer"), "{rights}");
    assert!(found(&checkup, "connection")[0].contains("as reader"), "{checkup:#}");

    house.configure("");
    let lock = "BEGIN; LOCK TABLE customer; SELECT pg_sleep(60)";
    let mut holder = house.server.tool("psql");
    holder.args(house.server.connection_args("app")).args(["-c", lock]);
    let mut holder = holder.spawn().unwrap();
    super::wait_for("the lock", || {
        let run = house.run(&["--json", "doctor"]).ok();
        let checkup: Value = serde_json::from_str(&run.stdout).unwrap();
        found(&checkup, "locks")
            .into_iter()
            .find(|found| found.contains("would wait now for the locks of"))
    });
    holder.kill().unwrap();
    holder.wait().unwrap();
}
