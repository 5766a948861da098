//! `snapback doctor`: what would go wrong, before it does.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use serde_json::Value;

use super::{json, site};
use crate::backup::House;
use crate::support::program::openssl;
use crate::support::{Run, Server, own_address};

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
fn a_certificate_that_ends_soon_is_told() {
    let files = tempfile::Builder::new().prefix("sbcert").tempdir_in("/tmp").unwrap();
    let path = |name: &str| files.path().join(name).to_str().unwrap().to_owned();
    let certify = |days: u32| {
        openssl(&format!(
            "req -x509 -newkey rsa:2048 -nodes -days {days} -subj /CN=db.test -keyout {} -out {}",
            path("key"),
            path("crt")
        ));
        fs::set_permissions(path("key"), fs::Permissions::from_mode(0o600)).unwrap();
        if rustix::process::geteuid().is_root() {
            Run::of(
                Command::new("chown")
                    .args(["-R", "postgres:postgres"])
                    .arg(files.path()),
            )
            .ok();
        }
    };
    fs::write(path("hba"), "local all all trust\nhostssl all all 127.0.0.0/8 trust\n").unwrap();
    certify(6);
    let address = own_address();
    let server = Server::start_with(
        16,
        &[
            &format!("listen_addresses={address}"),
            "ssl=on",
            &format!("ssl_cert_file={}", path("crt")),
            &format!("ssl_key_file={}", path("key")),
            &format!("hba_file={}", path("hba")),
        ],
    );
    let site = crate::sqlite::Site::new();
    let configure = |mode: &str| {
        let text = format!(
            "[daemon]\nstate = \"state\"\n[stores.default]\npath = \"backups\"\n[jobs.app]\n\
             url = \"postgresql://postgres@{address}/postgres?sslmode={mode}\"\n"
        );
        fs::write(site.path("snapback.toml"), text).unwrap();
    };
    configure("require");
    let said = || found(&json(&site, &["doctor"]).1, "certificate").join("");
    assert!(
        said().starts_with("warning that of the server ends in 5 days, at "),
        "{}",
        said()
    );
    certify(60);
    server.psql("postgres", "SELECT pg_reload_conf()");
    super::wait_for("the new certificate", || {
        (said() == "fine that of the server ends in 59 days").then_some(())
    });
    // Through a socket there is none.
    let url = format!("host={} user=postgres", server.host());
    let text = format!("[stores.default]\npath = \"backups\"\n[jobs.app]\nurl = \"{url}\"\n");
    fs::write(site.path("snapback.toml"), text).unwrap();
    assert_eq!(said(), "");
}

#[test]
fn rights_and_locks_that_a_backup_would_fail_for_are_named() {
    let house = House::new();
    house.server.psql(
        "app",
        "CREATE ROLE reader LOGIN; GRANT SELECT ON customer TO reader; CREATE TABLE secret (id int);
         CREATE TABLE own (id int); ALTER TABLE own ENABLE ROW LEVEL SECURITY; GRANT SELECT ON own TO reader;
         SELECT lo_create(4711); SELECT lo_create(4712); GRANT SELECT ON LARGE OBJECT 4712 TO reader;
         CREATE EXTENSION pageinspect; ALTER DATABASE app OWNER TO reader",
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
    assert!(
        rights.contains("the role may not read the large objects 4711") && !rights.contains("4712"),
        "{rights}"
    );
    let restores = found(&checkup, "restores").join("\n");
    assert!(
        restores.contains("extensions that only superusers can: pageinspect"),
        "{restores}"
    );
    assert!(found(&checkup, "roles")[0].contains("without passwords"), "{checkup:#}");
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
