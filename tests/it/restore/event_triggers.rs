//! Event triggers of the live database and of the restored one do not keep a restore from its work.

use super::Site;
use super::in_place::{IN_PLACE, assert_same, dump};
use crate::support::Server;

/// Nobody may change anything, but who says so.
const BLOCKERS: &str = "
    CREATE FUNCTION block() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
        IF current_setting('my.change', true) IS DISTINCT FROM 'yes' THEN RAISE EXCEPTION 'no % today', tg_tag; END IF;
    END $$;
    CREATE EVENT TRIGGER blocks ON ddl_command_start EXECUTE FUNCTION block();
    CREATE EVENT TRIGGER blocks_ever ON ddl_command_end EXECUTE FUNCTION block(); ALTER EVENT TRIGGER blocks_ever ENABLE ALWAYS;
    CREATE EVENT TRIGGER blocks_drops ON sql_drop EXECUTE FUNCTION block();
    CREATE EVENT TRIGGER sleeps ON ddl_command_start EXECUTE FUNCTION block(); ALTER EVENT TRIGGER sleeps DISABLE;
    COMMENT ON EVENT TRIGGER blocks IS 'no changes';";

const SETUP: &str = "
    CREATE TABLE t (a int PRIMARY KEY, b text); INSERT INTO t SELECT i, 'x' FROM generate_series(1, 100) i;
    CREATE TABLE u (a int REFERENCES t); INSERT INTO u VALUES (1);
    CREATE VIEW v AS SELECT a FROM t; CREATE MATERIALIZED VIEW m AS SELECT count(*) FROM t;";

fn change(site: &Site, sql: &str) {
    site.server.psql("app", &format!("SET my.change TO yes; {sql}"));
}

#[test]
fn one_that_forbids_changes_does_not_forbid_a_restore() {
    for major in [14, 18] {
        let site = Site::new(major, "app");
        site.server.psql("app", &format!("{SETUP} {BLOCKERS}"));
        let id = site.backup();
        let before = dump(&site, "app");
        let all = "ALTER TABLE t ADD c int; DELETE FROM u; DROP MATERIALIZED VIEW m; DROP EVENT TRIGGER blocks_drops; \
                   ALTER EVENT TRIGGER sleeps ENABLE REPLICA; CREATE TABLE besides ()";
        let ways = [
            (all, &["--mode", "swap"][..]),
            (all, &["--mode", "in-place"]),
            ("UPDATE t SET b = 'lost'", &["--mode", "in-place", "-t", "t"]),
            ("ALTER TABLE t ADD c int", &["--mode", "in-place", "-t", "t"]),
        ];
        for (damage, how) in ways.into_iter().skip(if major == 14 { 3 } else { 0 }) {
            change(&site, damage);
            let damaged = dump(&site, "app");
            let what = format!("PostgreSQL {major}, {how:?}, {damage}");
            site.restore(&[&[id.as_str()], how].concat());
            assert_same(&dump(&site, "app"), &before, &what);
            site.run(&["undo", "app", "--yes"]).ok();
            assert_same(&dump(&site, "app"), &damaged, &format!("{what}, undone"));
            site.restore(&[&id]);
        }
        site.restore(&[&id, "--mode", "new", "--as", "other"]);
        assert_same(&dump(&site, "other"), &before, "new");
    }
}

#[test]
fn one_that_writes_at_each_login_changes_nothing_that_is_restored() {
    let site = Site::new(18, "app");
    site.server.psql(
        "app",
        "CREATE TABLE logins (who text);
         CREATE FUNCTION note() RETURNS event_trigger LANGUAGE plpgsql AS
         $$ BEGIN IF NOT pg_is_in_recovery() THEN INSERT INTO public.logins VALUES (session_user); END IF; END $$;
         CREATE EVENT TRIGGER notes ON login EXECUTE FUNCTION note(); ALTER EVENT TRIGGER notes ENABLE ALWAYS;
         CREATE TABLE t AS SELECT 1 AS a",
    );
    let id = site.backup();
    site.server.psql("app", "DROP TABLE t");
    let refused = site.run(&[IN_PLACE, &["-t", "t"]].concat()).code(1);
    assert!(
        refused.stderr.contains("fire at each login") && refused.stderr.contains("notes"),
        "{}",
        refused.stderr
    );
    site.restore(&[&id]);
    assert_eq!(site.server.psql("app", "SELECT a FROM t"), "1");
    let more = "SELECT count(*) FROM logins";
    let logins: u32 = site.server.psql("app", more).parse().unwrap();
    assert_eq!(site.server.psql("app", more), (logins + 1).to_string());
    let own = "SELECT count(*) FROM pg_db_role_setting WHERE setdatabase <> 0";
    assert_eq!(site.server.psql("app", own), "0");
}

#[test]
fn one_that_an_owner_may_not_switch_off_is_named() {
    let server = Server::start(15);
    server.psql("postgres", "CREATE ROLE app LOGIN");
    server.psql("postgres", "CREATE DATABASE app OWNER app");
    server.psql(
        "app",
        &format!("{BLOCKERS} SET my.change TO yes; SET ROLE app; {SETUP}"),
    );
    let site = Site::on(server, "app", "app");
    site.backup();
    change(&site, "ALTER TABLE t ADD c int");
    let before = dump(&site, "app");
    let failed = site.run(&[IN_PLACE, &["-t", "t"]].concat()).code(1);
    for words in [
        "nothing was changed",
        "event triggers were on: blocks, blocks_ever, blocks_drops",
        "today",
        "hint: this role may not switch event triggers off",
    ] {
        assert!(failed.stderr.contains(words), "{words}: {}", failed.stderr);
    }
    assert_same(&dump(&site, "app"), &before, "refused");
    for name in ["blocks", "blocks_ever", "blocks_drops"] {
        site.server.psql("app", &format!("ALTER EVENT TRIGGER {name} DISABLE"));
    }
    site.restore(&["--mode", "in-place", "-t", "t"]);
}
