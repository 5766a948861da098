//! Settings of a database, of a role, and what rows and definitions are made of under them: pg_dump says whether a restore
//! made the same of them.

use super::Site;
use crate::support::Server;

/// What this version's pg_dump says of a database, whose name is left out, and of its properties.
fn dump(site: &Site, database: &str) -> String {
    let text = site.server.pg_dump(database, &["--create", "--restrict-key=x"]);
    let text = String::from_utf8(text).unwrap();
    let text = text.replace(&format!(" {database}"), " NAME");
    let mut lines: Vec<_> = text.lines().filter(|line| !line.starts_with("-- Dumped")).collect();
    lines.sort_unstable();
    lines.join("\n")
}

/// Fails with some of the lines that differ.
#[track_caller]
fn same(found: &str, wanted: &str, what: &str) {
    let others = |of: &str, not_in: &str| -> Vec<String> {
        let lines = of.lines().filter(|line| !not_in.lines().any(|other| other == *line));
        lines.take(5).map(str::to_owned).collect()
    };
    let count = found.lines().count();
    assert!(
        found == wanted,
        "{what}: {count} lines, besides {:#?}, without {:#?}",
        others(found, wanted),
        others(wanted, found)
    );
}

/// Backs up, does damage, and restores in every way there is; after each the dump is what it was.
fn every_way(site: &Site, damage: &str) {
    let before = dump(site, "app");
    let id = site.backup();
    let file = site.folder().join("theirs.dump");
    std::fs::write(&file, site.server.pg_dump("app", &["-Fc"])).unwrap();
    site.server.psql("app", damage);
    let damaged = dump(site, "app");
    site.restore(&[&id]);
    same(&dump(site, "app"), &before, "swapped");
    site.run(&["undo", "app", "--yes"]).ok();
    same(&dump(site, "app"), &damaged, "swapped back");
    site.restore(&[&id, "--mode", "in-place"]);
    same(&dump(site, "app"), &before, "in place");
    site.run(&["undo", "app", "--yes"]).ok();
    same(&dump(site, "app"), &damaged, "in place, undone");
    site.restore(&["--from", file.to_str().unwrap()]);
    same(&dump(site, "app"), &before, "from a file");
    site.restore(&[&id, "--mode", "new", "--as", "other"]);
    same(&dump(site, "other"), &before, "new");
    site.server.psql("postgres", "DROP DATABASE app");
    site.restore(&[&id]);
    same(&dump(site, "app"), &before, "dropped");
}

#[test]
fn money_is_read_in_the_locale_that_it_was_written_in() {
    let site = Site::on(Server::start_with_locale(18, "de_DE.UTF-8"), "app", "postgres");
    site.server.create_database("app");
    site.server
        .psql("postgres", "ALTER DATABASE app SET lc_monetary TO 'de_DE.UTF-8'");
    site.server.psql(
            "app",
            "CREATE DOMAIN price AS money CHECK (value > '-9.999,50 €'::money);
             CREATE TABLE sold (id int PRIMARY KEY, price price DEFAULT '12,50 €'::money, more money[]);
             INSERT INTO sold SELECT i, (i * 1000.01)::numeric::money, '{\"1.234,56 €\"}' FROM generate_series(1, 100) i;
             CREATE VIEW cheap AS SELECT id FROM sold WHERE price < '99.000,50 €'::money;
             CREATE TABLE big AS SELECT i, i::numeric::money AS m, repeat('x', 200) FROM generate_series(1, 8000) i",
        );
    assert!(dump(&site, "app").contains("12,50 €"));
    every_way(&site, "DELETE FROM sold; DROP TABLE big; DROP VIEW cheap");
    site.server.psql("app", "ALTER TABLE sold DROP more");
    site.backup();
    let before = dump(&site, "app");
    site.server.psql("app", "ALTER TABLE sold ADD more int");
    site.restore(&["--mode", "in-place", "-t", "sold"]);
    same(&dump(&site, "app"), &before, "one table");
}

#[test]
fn a_locale_that_the_server_lacks_is_named() {
    let site = Site::on(Server::start_with_locale(15, "de_DE.UTF-8"), "app", "postgres");
    site.server.create_database("app");
    site.server.psql("app", "CREATE TABLE t AS SELECT 1::money AS m");
    site.server
        .psql("postgres", "ALTER DATABASE app SET lc_monetary TO 'de_DE.UTF-8'");
    site.backup();
    let other = Server::start(15);
    other.create_database("app");
    site.reconfigure(site.server.host(), other.host());
    let failed = site.run(&["restore", "app", "--yes", "--from-other"]).code(1);
    for words in [
        "lacks the locale",
        "de_DE.UTF-8",
        "nothing was changed",
        "hint: install the locale",
    ] {
        assert!(failed.stderr.contains(words), "{words}: {}", failed.stderr);
    }
}

#[test]
fn a_database_is_loaded_under_its_own_settings() {
    let site = Site::new(15, "app");
    for setting in [
        "app.tenant TO 'acme; inc'",
        "default_text_search_config TO 'pg_catalog.german'",
        "\"TimeZone\" TO 'Asia/Kolkata'",
        "search_path TO 'odd name', public",
        "default_transaction_read_only TO on",
        "session_replication_role TO replica",
    ] {
        site.server
            .psql("postgres", &format!("ALTER DATABASE app SET {setting}"));
    }
    let writable = "SET transaction_read_only TO off; SET search_path TO public;";
    site.server.psql(
        "app",
        &format!(
            "{writable} CREATE TABLE t (tenant text CHECK (tenant = current_setting('app.tenant')),
                at timestamptz CHECK (extract(hour FROM at) = 5), words text);
             INSERT INTO t VALUES ('acme; inc', '2026-01-01 05:30', 'die Häuser der Städte');
             CREATE MATERIALIZED VIEW w AS SELECT tenant, at::date AS day, to_tsvector(words) FROM t"
        ),
    );
    let view = || site.server.psql("app", "SELECT * FROM public.w");
    let before = view();
    assert!(before.contains("'haus'"), "{before}");
    every_way(&site, &format!("{writable} DELETE FROM t; DROP MATERIALIZED VIEW w"));
    assert_eq!(view(), before);
}

#[test]
fn a_role_may_be_read_only_by_default() {
    let site = Site::new(15, "app");
    site.server.psql("app", "CREATE TABLE t AS SELECT 1 AS a");
    site.server.psql(
        "postgres",
        "CREATE ROLE careful SUPERUSER LOGIN; ALTER ROLE careful SET default_transaction_read_only TO on;
         ALTER ROLE careful SET default_transaction_isolation TO serializable; ALTER ROLE careful SET row_security TO off",
    );
    site.reconfigure("user=postgres", "user=careful");
    every_way(&site, "DROP TABLE t");
}

#[test]
fn what_an_owner_may_not_repeat_of_a_dropped_database_is_told() {
    let server = Server::start(15);
    server.psql("postgres", "CREATE ROLE tenant LOGIN CREATEDB; CREATE ROLE guest");
    for sql in [
        "CREATE DATABASE app OWNER tenant",
        "ALTER DATABASE app SET log_statement TO 'all'",
        "ALTER DATABASE app SET work_mem TO '7MB'",
        "GRANT CONNECT ON DATABASE app TO guest",
        "COMMENT ON DATABASE app IS 'ours'",
    ] {
        server.psql("postgres", sql);
    }
    let site = Site::on(server, "app", "tenant");
    let id = site.backup();
    site.server.psql("postgres", "DROP DATABASE app");
    let restored = site.run(&["restore", "app", "--yes"]).ok();
    let told = "may not repeat a property of the database: ALTER DATABASE";
    assert!(
        restored.stderr.contains(told) && restored.stderr.contains("log_statement"),
        "{}",
        restored.stderr
    );
    let dumped = dump(&site, "app");
    for kept in ["work_mem TO '7MB'", "TO guest", "IS 'ours'"] {
        assert!(dumped.contains(kept), "{kept}: {dumped}");
    }
    assert!(!dumped.contains("log_statement"));

    // A role that only the database itself names is asked for like any other.
    site.server.psql("postgres", "DROP DATABASE app");
    site.server.psql("postgres", "DROP ROLE guest");
    let refused = site.run(&["restore", "app", &id, "--yes"]).code(1);
    assert!(
        refused.stderr.contains("the server lacks roles: guest"),
        "{}",
        refused.stderr
    );
    site.run(&["restore", "app", &id, "--yes", "--mode", "new", "--as", "copy", "-x"])
        .ok();
    assert_eq!(site.databases(), ["copy", "postgres", "template0", "template1"]);
}

#[test]
fn a_template_is_replaced_and_what_a_kill_left_of_it_is_removed() {
    let site = Site::new(15, "app");
    site.server.psql("app", "CREATE TABLE t AS SELECT 1 AS a");
    site.server
        .psql("postgres", "ALTER DATABASE app IS_TEMPLATE true CONNECTION LIMIT 0");
    let id = site.backup();
    site.server.psql("app", "DROP TABLE t");
    let mut child = super::failures::paused(&site, &["restore", "app", &id, "--yes", "--pause-at", "fence"]);
    child.kill().unwrap();
    child.wait().unwrap();
    let restored = site.run(&["restore", "app", &id, "--yes"]).ok();
    assert!(restored.stderr.contains("did not end: removed"), "{}", restored.stderr);
    let database = "SELECT datistemplate, datconnlimit FROM pg_database WHERE datname = 'app'";
    assert_eq!(site.server.psql("app", database), "t|0");
    assert_eq!(site.server.psql("app", "SELECT a FROM t"), "1");
    site.run(&["undo", "app", "--yes"]).ok();
    assert_eq!(site.server.psql("app", database), "t|0");
}

/// While one connection works, others wait: for a server they are idle.
#[test]
fn limits_of_the_role_and_the_database_end_no_restore() {
    let server = Server::start(15);
    server.psql(
        "postgres",
        "CREATE ROLE hasty LOGIN SUPERUSER; ALTER ROLE hasty SET idle_session_timeout = '1200ms'; \
         ALTER ROLE hasty SET statement_timeout = '1200ms'; ALTER ROLE hasty SET lock_timeout = '1200ms'; \
         ALTER ROLE hasty SET idle_in_transaction_session_timeout = '1200ms'",
    );
    server.psql("postgres", "CREATE DATABASE app OWNER hasty");
    let site = Site::on(server, "app", "hasty");
    // An index takes longer than that.
    site.server.psql(
        "app",
        "CREATE FUNCTION slow(n int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.1); RETURN n; END'; \
         CREATE TABLE t (n int); CREATE INDEX ON t (slow(n)); ALTER DATABASE app SET idle_session_timeout = '1100ms'; \
         INSERT INTO t SELECT generate_series(1, 16); CREATE TABLE u AS SELECT 1 AS n",
    );
    every_way(&site, "TRUNCATE t; DROP TABLE u");
    site.run(&["drill", "app", "--check", "SELECT pg_sleep(2) IS NOT NULL"])
        .ok();
}
