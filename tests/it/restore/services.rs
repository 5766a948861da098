//! Dumps as hosted services make them, on a server of one's own: roles that are not here, extensions that only they have, event
//! triggers, publications, default privileges. What psql makes of the same script is the oracle.

use std::fs;

use super::{Site, project};
use crate::support::Run;

const INCOMPLETE: i32 = 10;

struct Service {
    script: &'static str,
    roles: &'static [&'static str],
    /// Extensions that only the service has.
    lacking: &'static [&'static str],
    /// A query, and what it finds when the rows are there.
    rows: (&'static str, &'static str),
    /// Event triggers that belong to a role of the service.
    triggers: usize,
}

const ROLES: &str = "SELECT string_agg(DISTINCT refobjid::regrole::text, ' ') FROM pg_shdepend \
    WHERE refclassid = 'pg_authid'::regclass AND dbid = (SELECT oid FROM pg_database WHERE datname = current_database())";

/// What psql makes of the script, failures and all.
fn by_psql(site: &Site, database: &str, options: &[&str]) -> Vec<u8> {
    site.server.create_database(database);
    let mut psql = site.server.tool("psql");
    psql.args(["-XqAt", "-d", &site.server.url(database), "-f"]);
    Run::of(psql.arg(site.folder().join("dump.sql"))).ok();
    site.server
        .pg_dump(database, &[options, &["--restrict-key=x"]].concat())
}

#[track_caller]
fn check(service: &Service) {
    let site = Site::new(15, "app");
    site.server.psql("postgres", "CREATE ROLE here");
    fs::copy(project(service.script), site.folder().join("dump.sql")).unwrap();
    let dump = |options: &[&str]| site.server.pg_dump("app", &[options, &["--restrict-key=x"]].concat());
    let refused = site
        .run(&["restore", "app", "--from", "dump.sql", "--yes"])
        .code(1)
        .stderr;
    for name in service.roles.iter().chain(service.lacking) {
        assert!(refused.contains(name), "{name}: {refused}");
    }
    let restore = |args: &[&str], missing: usize| {
        let mut all = vec!["restore", "app", "--from", "dump.sql", "--yes", "--json"];
        all.extend(args);
        if !service.lacking.is_empty() {
            all.extend(["--keep-going", "--accept-missing"]);
        }
        let run = site.run(&all).code(if missing > 0 { INCOMPLETE } else { 0 });
        let report: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
        let listed = report["outcome"]["missing"].as_array().unwrap();
        assert_eq!(listed.len(), missing, "{args:?}: {listed:?}");
        assert_eq!(site.server.psql("app", service.rows.0), service.rows.1, "{args:?}");
    };
    // Each is created, and has a comment.
    let lacking = 2 * service.lacking.len();

    const NOBODYS: &[&str] = &["-O", "-x"];
    let stock = by_psql(&site, "stock", NOBODYS);
    restore(NOBODYS, lacking);
    assert!(dump(NOBODYS) == stock, "{}", String::from_utf8_lossy(&dump(NOBODYS)));
    assert_eq!(site.server.psql("app", ROLES), "");

    let map: Vec<String> = service
        .roles
        .iter()
        .map(|role| format!("--map-role={role}=here"))
        .collect();
    restore(
        &map.iter().map(String::as_str).collect::<Vec<_>>(),
        lacking + service.triggers,
    );
    assert_eq!(site.server.psql("app", ROLES), "here");

    restore(&["--create-roles"], lacking + service.triggers);
    let stock = by_psql(&site, "stock_with_roles", &[]);
    assert!(dump(&[]) == stock, "{}", String::from_utf8_lossy(&dump(&[])));
    let rights = "SELECT count(*) FROM pg_roles WHERE oid >= 16384 AND (rolcanlogin OR rolsuper)";
    assert_eq!(site.server.psql("app", rights), "0");
}

#[test]
fn a_dump_of_heroku() {
    check(&Service {
        script: "tests/fixtures/restore/heroku.sql",
        roles: &["heroku_admin", "u7d2q9vq0k3f1a", "rds_superuser"],
        lacking: &[],
        rows: (
            "SELECT count(*) FROM users WHERE email OPERATOR(heroku_ext.=) 'ada@EXAMPLE.com'",
            "1",
        ),
        triggers: 2,
    });
}

#[test]
fn a_dump_of_cloud_sql() {
    check(&Service {
        script: "tests/fixtures/restore/cloud_sql.sql",
        roles: &[
            "app@shop-1.iam",
            "ada@example.com",
            "cloudsqladmin",
            "cloudsqlsuperuser",
            "cloudsqliamserviceaccount",
        ],
        lacking: &["google_vacuum_mgmt"],
        rows: ("SELECT count(*) FROM paid", "1"),
        triggers: 0,
    });
}

#[test]
fn a_dump_of_supabase() {
    check(&Service {
        script: "tests/fixtures/restore/supabase.sql",
        roles: &[
            "anon",
            "authenticated",
            "service_role",
            "supabase_admin",
            "supabase_auth_admin",
        ],
        lacking: &["pg_graphql"],
        rows: ("SELECT count(*) FROM notes JOIN auth.users ON users.id = owner", "2"),
        triggers: 1,
    });
}
