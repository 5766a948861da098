//! Backup, loss, restore, undo with the real program on real servers.

use std::fs;

use super::{Site, project};
use crate::support::{Run, Server, VERSIONS};

/// What this version's pg_dump says of a database, but for what differs from dump to dump: among other things
/// the order of rows, so all lines are sorted.
fn dump(site: &Site, database: &str) -> String {
    let text = String::from_utf8(site.server.pg_dump(database, &[])).unwrap();
    let differs = |line: &&str| {
        !line.starts_with("-- Dumped") && !line.starts_with("\\restrict") && !line.starts_with("\\unrestrict")
    };
    let mut lines: Vec<_> = text.lines().filter(differs).collect();
    lines.sort_unstable();
    lines.join("\n")
}

#[test]
fn what_was_lost_comes_back_and_can_be_taken_back() {
    let site = Site::new(15, "app");
    site.server.load("app", &project("deploy/sample.sql"));
    site.server.psql(
        "app",
        "COMMENT ON DATABASE app IS 'ours'; ALTER DATABASE app SET work_mem TO '7MB'",
    );
    let before = dump(&site, "app");
    let id = site.backup();
    site.server.psql(
        "app",
        "DO $$ DECLARE t regclass; BEGIN FOR t IN SELECT oid FROM pg_class WHERE relkind = 'r' AND relnamespace = \
         'public'::regnamespace LOOP EXECUTE format('TRUNCATE %s CASCADE', t); END LOOP; END $$",
    );
    let lost = dump(&site, "app");
    assert!(before != lost);

    let report = site.restore(&[]);
    assert_eq!(report["plan"]["backup"]["id"], id.as_str());
    assert_same(&dump(&site, "app"), &before, "restored");
    assert_eq!(site.server.psql("app", "SHOW work_mem"), "7MB");
    let kept = report["outcome"]["kept"].as_str().unwrap();
    assert!(kept.starts_with("app_before_"), "{kept}");
    assert_same(&dump(&site, kept), &lost, "kept");
    assert_eq!(site.databases(), ["app", kept, "postgres", "template0", "template1"]);
    let listed = site.run(&["list", "app"]).ok().stdout;
    assert!(
        listed.contains(report["outcome"]["safety"].as_str().unwrap()),
        "{listed}"
    );
    assert!(report["outcome"]["away_ms"].is_u64(), "{report:#}");
    assert!(report["outcome"]["proof"]["rows"].as_u64().unwrap() > 0, "{report:#}");

    site.run(&["undo", "app", "--yes"]).ok();
    assert_same(&dump(&site, "app"), &lost, "undone");
    site.run(&["undo", "app", "--yes"]).ok();
    assert_same(&dump(&site, "app"), &before, "undone again");
}

/// Fails with the first lines that differ; the texts are long.
#[track_caller]
fn assert_same(found: &str, wanted: &str, what: &str) {
    let differ = found.lines().zip(wanted.lines()).enumerate().find(|(_, (a, b))| a != b);
    if let Some((line, (found, wanted))) = differ {
        panic!("{what}: line {line}: found {found:?} instead of {wanted:?}");
    }
    assert_eq!(found.lines().count(), wanted.lines().count(), "{what}");
}

/// Restores a database with this version's own tools, as `name`.
fn restore_with_stock_tools(site: &Site, database: &str, name: &str) {
    let archive = site.backups().with_file_name("stock.dump");
    std::fs::write(&archive, site.server.pg_dump(database, &["-Fc"])).unwrap();
    site.server.create_database(name);
    let mut pg_restore = site.server.tool("pg_restore");
    pg_restore
        .args(["--exit-on-error"])
        .args(site.server.connection_args(name))
        .arg(archive);
    Run::of(&mut pg_restore).ok();
}

#[test]
fn text_survives_in_every_encoding() {
    let latin =
        r#"CREATE TABLE "Größe" ("é" text DEFAULT 'ü' CHECK ("é" <> 'à')); INSERT INTO "Größe" VALUES ('naïve ±')"#;
    let japanese = r#"CREATE TABLE "表" ("列" text DEFAULT '漢字'); INSERT INTO "表" VALUES ('かな')"#;
    let no_encoding = r"CREATE TABLE bytes (t text); INSERT INTO bytes VALUES (convert_from('\xff41e9', 'SQL_ASCII'));
        DO $$ BEGIN EXECUTE convert_from(convert_to('COMMENT ON TABLE bytes IS ''x', 'SQL_ASCII') || '\xff27', 'SQL_ASCII');
        END $$";
    for (encoding, setup) in [("LATIN1", latin), ("EUC_JP", japanese), ("SQL_ASCII", no_encoding)] {
        let site = Site::on(Server::start(15), "app", "postgres");
        let create = format!("CREATE DATABASE app TEMPLATE template0 ENCODING '{encoding}' LOCALE 'C'");
        site.server.psql("postgres", &create);
        let file = site.backups().with_file_name("setup.sql");
        std::fs::create_dir_all(site.backups()).unwrap();
        std::fs::write(&file, format!("\\encoding UTF8\n{setup};\n")).unwrap();
        site.server.load("app", &file);
        let dumped = || site.server.pg_dump("app", &["--restrict-key=x"]);
        let before = dumped();
        site.backup();
        site.restore(&[]);
        assert!(before == dumped(), "{encoding}: {}", String::from_utf8_lossy(&dumped()));
    }
}

#[test]
fn kept_databases_are_listed_and_go_when_they_have_served() {
    let site = Site::new(15, "app");
    site.configure("keep_replaced = \"1s\"");
    site.backup();
    let report = site.restore(&[]);
    let kept = report["outcome"]["kept"].as_str().unwrap();
    let safety = report["outcome"]["safety"].as_str().unwrap();
    let listed = site.run(&["list", "app"]).ok().stdout;
    let line = listed
        .lines()
        .find(|line| line.contains(kept))
        .unwrap_or_else(|| panic!("{listed}"));
    assert!(line.contains(safety), "{line}");
    std::thread::sleep(std::time::Duration::from_secs(2));
    let planned = site.run(&["prune", "app", "--dry-run"]).ok().stdout;
    assert!(planned.contains(&format!("{kept} would be dropped")), "{planned}");
    assert!(site.databases().contains(&kept.to_owned()));
    let pruned = site.run(&["prune", "app"]).ok().stdout;
    assert!(pruned.contains(&format!("{kept} dropped")), "{pruned}");
    assert_eq!(site.databases(), ["app", "postgres", "template0", "template1"]);
    let listed: serde_json::Value = serde_json::from_str(&site.run(&["list", "app", "--json"]).ok().stdout).unwrap();
    assert_eq!(listed[0]["restores"]["kept"], serde_json::json!([]));
}

#[test]
fn every_kind_of_object_survives_on_every_version() {
    let database = "My \"odd\" Ünit";
    for major in VERSIONS {
        let site = Site::new(major, database);
        for fixture in [
            "tables",
            "indexes",
            "constraints",
            "types",
            "functions",
            "triggers",
            "policies",
            "loops",
        ] {
            site.server
                .load(database, &project(&format!("tests/fixtures/{fixture}.sql")));
        }
        site.server
            .psql(database, "SELECT lo_from_bytea(0, decode(repeat('ab', 700000), 'hex'))");
        let id = site.backup();
        restore_with_stock_tools(&site, database, "stock");
        site.restore(&["-j", "3"]);
        // Not the dump of before: pg_dump's own round trip changes some of these.
        assert_same(
            &dump(&site, database),
            &dump(&site, "stock"),
            &format!("PostgreSQL {major}"),
        );
        // What is removed in place is all of that again.
        site.restore(&[&id, "--mode", "in-place"]);
        assert_same(
            &dump(&site, database),
            &dump(&site, "stock"),
            &format!("PostgreSQL {major}, in place"),
        );
        // What is live came out of a restore, so that it comes out of another one unchanged.
        let script = site.folder().join("script.sql");
        fs::write(&script, site.server.pg_dump(database, &["--create"])).unwrap();
        let script = script.to_str().unwrap();
        site.restore(&["--from", script, "--mode", "new", "--as", "script"]);
        assert_same(
            &dump(&site, "script"),
            &dump(&site, "stock"),
            &format!("a script of PostgreSQL {major}"),
        );
    }
}
