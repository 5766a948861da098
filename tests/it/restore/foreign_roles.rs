//! Dumps of servers whose roles are not here: without owners and privileges, with other roles, with new ones. Stock
//! pg_restore with the same options is the oracle, and psql after sed.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::Site;
use crate::support::{Run, Server};

/// As managed servers have it: what is there belongs to roles of the service, and the application's have odd names.
const SETUP: &str = r#"
    CREATE ROLE anon; CREATE ROLE authenticated; CREATE ROLE rds_superuser; CREATE ROLE rdsadmin; CREATE ROLE "u4f: 9=x""y";
    CREATE SCHEMA auth AUTHORIZATION rdsadmin;
    CREATE TABLE auth.users (id int PRIMARY KEY, owner text);
    INSERT INTO auth.users SELECT i, 'OWNER TO x; ' || i FROM generate_series(1, 300) i;
    ALTER TABLE auth.users OWNER TO "u4f: 9=x""y";
    GRANT SELECT ON auth.users TO authenticated WITH GRANT OPTION;
    GRANT USAGE ON SCHEMA auth TO authenticated, anon;
    SET ROLE authenticated; GRANT SELECT ON auth.users TO anon; RESET ROLE;
    REVOKE USAGE ON SCHEMA public FROM PUBLIC; GRANT USAGE ON SCHEMA public TO authenticated;
    CREATE TABLE notes (id serial, who text);
    INSERT INTO notes (who) VALUES ('a'), ('b');
    ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
    ALTER TABLE notes OWNER TO rds_superuser;
    CREATE POLICY mine ON notes FOR SELECT TO authenticated, "u4f: 9=x""y" USING (who = 'TO anon');
    COMMENT ON POLICY mine ON notes IS 'each his own';
    CREATE POLICY everybody ON notes FOR INSERT WITH CHECK (true);
    CREATE VIEW seen AS SELECT * FROM notes; ALTER VIEW seen OWNER TO rdsadmin;
    CREATE FUNCTION twice(int, int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 2 * $1'; ALTER FUNCTION twice OWNER TO rdsadmin;
    CREATE FUNCTION fires() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'; ALTER FUNCTION fires() OWNER TO rdsadmin;
    CREATE EVENT TRIGGER watches ON ddl_command_end EXECUTE FUNCTION fires();
    CREATE TYPE mood AS ENUM ('well', 'ill'); ALTER TYPE mood OWNER TO rdsadmin;
    CREATE FOREIGN DATA WRAPPER remote; CREATE SERVER far FOREIGN DATA WRAPPER remote;
    CREATE USER MAPPING FOR "u4f: 9=x""y" SERVER far OPTIONS ("user" 'FOR x'); CREATE USER MAPPING FOR PUBLIC SERVER far;
    ALTER DEFAULT PRIVILEGES FOR ROLE "u4f: 9=x""y" IN SCHEMA auth GRANT SELECT ON TABLES TO authenticated, anon;
    CREATE PUBLICATION changes FOR TABLE auth.users; ALTER PUBLICATION changes OWNER TO rds_superuser;
    COMMENT ON TABLE auth.users IS 'GRANT x TO y;'; COMMENT ON PUBLICATION changes IS 'all';
    CREATE ACCESS METHOD columnar TYPE TABLE HANDLER heap_tableam_handler;
    CREATE TABLE wide (a int) USING columnar; INSERT INTO wide VALUES (1);
    SELECT lo_from_bytea(4711, 'large'); ALTER LARGE OBJECT 4711 OWNER TO rdsadmin; GRANT SELECT ON LARGE OBJECT 4711 TO anon;"#;

/// Makes the dumps in all forms: archives first, then scripts.
fn dumps(site: &Site, source: &Server) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let make = |(name, options): (&str, &[&str])| {
        let file = site.folder().join(name);
        source.pg_dump("app", &[&["--file", file.to_str().unwrap()], options].concat());
        file
    };
    let archives: [(&str, &[&str]); 3] = [("c.dump", &["-Fc"]), ("d", &["-Fd"]), ("t.tar", &["-Ft", "--inserts"])];
    let scripts: [(&str, &[&str]); 3] = [
        ("p.sql", &[]),
        ("s.sql", &["--use-set-session-authorization"]),
        ("i.sql", &["--column-inserts"]),
    ];
    let mut scripts: Vec<_> = scripts.map(make).into();
    let all = site.folder().join("all.sql");
    let mut pg_dumpall = source.tool("pg_dumpall");
    pg_dumpall
        .args(["-h", source.host(), "-p", "5432", "-U", "postgres", "-f"])
        .arg(&all);
    Run::of(&mut pg_dumpall).ok();
    scripts.push(all);
    (archives.map(make).into(), scripts)
}

fn text(server: &Server, database: &str) -> String {
    String::from_utf8(server.pg_dump(database, &["--restrict-key=x"])).unwrap()
}

#[track_caller]
fn same(server: &Server, ours: &str, stock: &str, what: &str) {
    let (ours, stock) = (text(server, ours), text(server, stock));
    assert!(ours == stock, "{what}:\n{ours}\ninstead of\n{stock}");
}

/// A site whose server has none of the roles of a source that was dumped.
fn site(major: u32) -> (Site, Server) {
    let source = Server::start(major);
    source.create_database("app");
    source.psql("app", SETUP);
    let site = Site::new(major, "app");
    site.server.psql("app", "CREATE TABLE before AS SELECT 1 AS a");
    (site, source)
}

fn pg_restore(site: &Site, archive: &PathBuf, database: &str, options: &[&str]) {
    site.server
        .psql("postgres", &format!("DROP DATABASE IF EXISTS \"{database}\""));
    site.server.create_database(database);
    let mut command = site.server.tool("pg_restore");
    command
        .arg("--exit-on-error")
        .args(options)
        .args(site.server.connection_args(database));
    Run::of(command.arg(archive)).ok();
}

#[test]
fn what_is_left_out_is_what_pg_restore_leaves_out() {
    const ALL: [&str; 6] = [
        "--no-owner",
        "--no-privileges",
        "--no-comments",
        "--no-publications",
        "--no-security-labels",
        "--no-table-access-method",
    ];
    for major in [14, 18] {
        // The last one came with pg_restore 15.
        let out = if major == 14 { &ALL[..5] } else { &ALL[..] };
        let (site, source) = site(major);
        let server = &site.server;
        let (archives, scripts) = dumps(&site, &source);
        drop(source);
        for file in [&archives[0], &scripts[0]] {
            let refused = site.run(&["restore", "app", "--from", file.to_str().unwrap(), "--yes"]);
            let refused = refused.code(1);
            for offer in [
                "lacks roles: anon, authenticated",
                "--create-roles",
                "--map-role",
                "--no-owner",
                "--no-privileges",
                "--role",
            ] {
                assert!(refused.stderr.contains(offer), "{offer}: {}", refused.stderr);
            }
        }
        // Roles that only policies and user mappings name are nobody's where they are missing: stock pg_restore fails at
        // these, so they are there for it.
        server.psql(
            "postgres",
            "CREATE ROLE authenticated; CREATE ROLE \"u4f: 9=x\"\"y\"; CREATE ROLE boss",
        );
        pg_restore(&site, &archives[0], "stock", out);
        for mode in ["swap", "in-place"] {
            for file in &archives {
                let from = file.to_str().unwrap();
                site.restore(&[&["--from", from, "--mode", mode, "--no-safety"], out].concat());
                same(server, "app", "stock", from);
            }
        }
        for file in &scripts {
            let from = file.to_str().unwrap();
            let database: &[&str] = if from.ends_with("all.sql") {
                &["--database", "app"]
            } else {
                &[]
            };
            let report = site.restore(&[&["--from", from, "--no-safety"], out, database].concat());
            assert!(report["outcome"]["proof"]["left_out"].as_u64() > Some(20), "{report}");
            same(server, "app", "stock", from);
        }
        // As another role, which owns it all then.
        server.psql("postgres", "ALTER ROLE boss SUPERUSER");
        let role = ["--role", "boss", "-O", "-x"];
        pg_restore(&site, &archives[0], "stock", &role);
        for (mode, file) in [
            ("swap", &archives[0]),
            ("in-place", &archives[1]),
            ("swap", &scripts[0]),
        ] {
            let from = file.to_str().unwrap();
            site.restore(&[&["--from", from, "--mode", mode, "--no-safety"], &role[..]].concat());
            same(server, "app", "stock", from);
        }
        assert_eq!(
            server.psql("app", "SELECT tableowner FROM pg_tables WHERE tablename = 'wide'"),
            "boss"
        );
    }
}

#[test]
fn policies_for_roles_that_are_not_here_go_with_the_privileges() {
    let (site, source) = site(16);
    let server = &site.server;
    let (archives, scripts) = dumps(&site, &source);
    server.psql("postgres", "CREATE ROLE authenticated");
    for file in [&archives[0], &scripts[0]] {
        let from = file.to_str().unwrap();
        let report = site.restore(&["--from", from, "-O", "-x", "--no-safety"]);
        assert!(report["plan"]["changes"].to_string().contains("u4f: 9=x"), "{report}");
        let policies = "SELECT string_agg(polname || polroles::regrole[]::text, ' ' ORDER BY polname) FROM pg_policy";
        assert_eq!(server.psql("app", policies), "everybody{-} mine{authenticated}");
        assert_eq!(server.psql("app", "SELECT usename FROM pg_user_mappings"), "public");
    }
    server.psql("app", "DROP POLICY mine ON notes");
    for kept in site.databases().iter().filter(|name| name.starts_with("app_before")) {
        server.psql("postgres", &format!("DROP DATABASE \"{kept}\""));
    }
    server.psql("postgres", "DROP ROLE authenticated");
    for file in [&archives[0], &scripts[0]] {
        site.restore(&["--from", file.to_str().unwrap(), "-O", "-x", "--no-safety"]);
        assert_eq!(server.psql("app", "SELECT polname FROM pg_policy"), "everybody");
        // Nobody sees more than before.
        let secured = "SELECT relrowsecurity FROM pg_class WHERE relname = 'notes'";
        assert_eq!(server.psql("app", secured), "t");
    }
}

#[test]
fn other_roles_are_named_wherever_the_dump_names_them() {
    const MAP: [(&str, &str); 5] = [
        ("rdsadmin", "Admin here"),
        ("rds_superuser", "postgres"),
        (r#""u4f: 9=x""y""#, "app owner"),
        ("authenticated", "members"),
        ("anon", "authenticated"),
    ];
    let (site, source) = site(17);
    let server = &site.server;
    let (archives, scripts) = dumps(&site, &source);
    server.psql(
        "postgres",
        "CREATE ROLE \"Admin here\"; CREATE ROLE \"app owner\"; CREATE ROLE members; CREATE ROLE authenticated",
    );
    // psql of what sed has made of the text.
    let sed = [
        "s/\"u4f: 9=x\"\"y\"/\"app owner\"/g",
        "s/\\bauthenticated\\b/members/g",
        "s/\\b\\(TO\\|FROM\\) anon\\b/\\1 authenticated/g; s/members, anon/members, authenticated/g",
        "s/\\b\\(TO\\|FROM\\|AUTHORIZATION\\) rdsadmin\\b/\\1 \"Admin here\"/g",
        "s/\\bTO rds_superuser\\b/TO postgres/g",
        "s/TO authenticated'/TO anon'/g",
    ];
    let changed = site.folder().join("changed.sql");
    let output = Command::new("sed")
        .arg(sed.join("; "))
        .arg(&scripts[0])
        .output()
        .unwrap();
    fs::write(&changed, output.stdout).unwrap();
    server.create_database("stock");
    server.load("stock", &changed);
    let pairs: Vec<String> = MAP.iter().map(|(old, new)| format!("--map-role={old}={new}")).collect();
    let pairs: Vec<&str> = pairs.iter().map(String::as_str).collect();
    let ways = [
        ("swap", &archives[0]),
        ("in-place", &archives[1]),
        ("swap", &archives[2]),
        ("swap", &scripts[0]),
        ("swap", &scripts[2]),
    ];
    for (mode, file) in ways {
        let from = file.to_str().unwrap();
        site.restore(&[&["--from", from, "--mode", mode, "--no-safety"], &pairs[..]].concat());
        same(server, "app", "stock", from);
    }
    let refused = |args: &[&str], code: i32, says: &str| {
        let from = archives[0].to_str().unwrap();
        let run = site.run(&[&["restore", "app", "--from", from, "--yes"], args].concat());
        let run = run.code(code);
        assert!(run.stderr.contains(says), "{}", run.stderr);
    };
    refused(&["--map-role", "PUBLIC=boss"], 2, "which is no role");
    refused(&["--map-role", "boss"], 2, "OLD=NEW");
    refused(
        &["--map-role", "rdsadmin=a", "--map-role", "rdsadmin=b"],
        2,
        "another --map-role",
    );
    refused(
        &[&pairs[..], &["--map-role", "RDSadmin=members"]].concat(),
        3,
        "does not name: RDSadmin",
    );
    refused(
        &[&pairs[1..], &["--map-role", "rdsadmin=nobody here"]].concat(),
        1,
        "lacks roles: nobody here",
    );
    // Two roles become one: what one of them granted to the other is gone, and that is no damage.
    let one: Vec<String> = MAP.iter().map(|(old, _)| format!("--map-role={old}=members")).collect();
    let one: Vec<&str> = one.iter().map(String::as_str).collect();
    let from = archives[0].to_str().unwrap();
    site.restore(&[&["--from", from], &one[..]].concat());
    let owners = "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'auth'";
    assert_eq!(server.psql("app", owners), "members");
    site.run(&["undo", "app", "--yes"]).ok();
    same(server, "app", "stock", "after undo");
}

#[test]
fn roles_are_created_without_what_lets_somebody_in() {
    let (site, source) = site(14);
    let server = &site.server;
    source.psql(
        "postgres",
        r#"ALTER ROLE rds_superuser SUPERUSER LOGIN PASSWORD 'secret' CREATEDB;
           ALTER ROLE "u4f: 9=x""y" LOGIN NOINHERIT CONNECTION LIMIT 7; GRANT authenticated TO "u4f: 9=x""y" WITH ADMIN OPTION;
           GRANT postgres TO anon"#,
    );
    let (archives, scripts) = dumps(&site, &source);
    let all = scripts.last().unwrap().to_str().unwrap();
    let shown = site.run(&[
        "restore",
        "app",
        "--from",
        all,
        "--database",
        "app",
        "--create-roles",
        "--dry-run",
    ]);
    let shown = shown.ok().stdout;
    assert!(shown.contains("CREATE ROLE \"rds_superuser\" NOLOGIN"), "{shown}");
    assert!(shown.contains("creating the roles that are missing"), "{shown}");
    assert!(!shown.contains("secret"), "{shown}");
    let report = site.restore(&["--from", all, "--database", "app", "--create-roles"]);
    assert_eq!(report["outcome"]["created_roles"].as_array().unwrap().len(), 5);
    let roles = "SELECT rolname || ' ' || rolsuper || rolcanlogin || rolcreatedb || rolinherit || rolconnlimit \
                 || (rolpassword IS NULL) FROM pg_authid WHERE oid > 16383 ORDER BY 1";
    assert_eq!(
        server.psql("postgres", roles),
        "anon falsefalsefalsetrue-1true\nauthenticated falsefalsefalsetrue-1true\n\
         rds_superuser falsefalsetruetrue-1true\nrdsadmin falsefalsefalsetrue-1true\n\
         u4f: 9=x\"y falsefalsefalsefalse7true"
    );
    let members =
        "SELECT roleid::regrole || ' ' || member::regrole || admin_option FROM pg_auth_members WHERE member > 16383";
    assert_eq!(server.psql("postgres", members), "authenticated \"u4f: 9=x\"\"y\"true");
    let (ours, theirs) = (text(server, "app"), text(&source, "app"));
    assert!(ours == theirs, "{ours}\ninstead of\n{theirs}");
    site.run(&["undo", "app", "--yes"]).ok();
    assert_eq!(server.psql("app", "SELECT a FROM before"), "1");

    // By a role that is no superuser, which the new ones belong to; in place, and taken back.
    let archive = archives[0].to_str().unwrap();
    let plain = site_of_mere_owner(&source);
    let args = ["--from", plain.1.to_str().unwrap(), "--create-roles"];
    let refused = plain.0.run(&[&["restore", "app", "--yes"], &args[..]].concat()).code(8);
    assert!(refused.stderr.contains("CREATEROLE"), "{}", refused.stderr);
    let mere = &plain.0.server;
    mere.psql("postgres", "ALTER ROLE mere CREATEROLE");
    plain.0.restore(&[&args[..], &["--mode", "in-place"]].concat());
    assert_eq!(
        mere.psql("app", "SELECT tableowner FROM pg_tables WHERE tablename = 't'"),
        "rdsadmin"
    );
    plain.0.run(&["undo", "app", "--yes"]).ok();
    assert_eq!(mere.psql("app", "SELECT a FROM before"), "1");
    plain
        .0
        .restore(&["--from", plain.1.to_str().unwrap(), "--map-role", "rdsadmin=mere"]);
    assert_eq!(
        mere.psql("app", "SELECT tableowner FROM pg_tables WHERE tablename = 't'"),
        "mere"
    );

    // A failure in place leaves no roles; killed beside, only roles are left.
    let fresh = Site::new(14, "app");
    let bad = [
        "restore",
        "app",
        "--from",
        archive,
        "--create-roles",
        "--yes",
        "--mode",
        "in-place",
        "--pause-at",
        "remove",
    ];
    kill_at(&fresh, &bad, "remove");
    let count = "SELECT count(*) FROM pg_roles WHERE oid > 16383";
    assert_eq!(fresh.server.psql("postgres", count), "0");
    let beside = [
        "restore",
        "app",
        "--from",
        archive,
        "--create-roles",
        "--yes",
        "--pause-at",
        "pre-data",
    ];
    kill_at(&fresh, &beside, "pre-data");
    assert_eq!(fresh.server.psql("postgres", count), "5");
    fresh.restore(&["--from", archive, "--create-roles"]);
    same_text(&text(&fresh.server, "app"), &theirs);
}

#[track_caller]
fn same_text(ours: &str, theirs: &str) {
    assert!(ours == theirs, "{ours}\ninstead of\n{theirs}");
}

/// A site whose role owns the database and may create others, with a dump of what any role can restore.
fn site_of_mere_owner(source: &Server) -> (Site, PathBuf) {
    source.create_database("plain");
    source.psql(
        "plain",
        "CREATE TABLE t AS SELECT 1 AS a; ALTER TABLE t OWNER TO rdsadmin; GRANT SELECT ON t TO anon",
    );
    let server = Server::start(source.major);
    server.psql("postgres", "CREATE ROLE mere LOGIN CREATEDB");
    server.psql("postgres", "CREATE DATABASE app OWNER mere TEMPLATE template0");
    let site = Site::on(server, "app", "mere");
    site.server
        .psql("app", "SET ROLE mere; CREATE TABLE before AS SELECT 1 AS a");
    let file = site.folder().join("plain.dump");
    source.pg_dump("plain", &["-Fc", "--file", file.to_str().unwrap()]);
    (site, file)
}

/// Runs until it says that it is paused, and kills it there.
fn kill_at(site: &Site, args: &[&str], step: &str) {
    use std::io::{BufRead as _, BufReader};
    let mut child = site.command(args).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let wanted = format!("paused at {step}");
    assert!(lines.any(|line| line.unwrap().contains(&wanted)), "never {wanted}");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn single_tables_in_place_without_their_owners() {
    let (site, source) = site(18);
    let server = &site.server;
    let (archives, _) = dumps(&site, &source);
    let archive = archives[0].to_str().unwrap();
    server.psql(
        "app",
        "CREATE SCHEMA auth; CREATE TABLE auth.users (id text); CREATE ROLE keeper; CREATE ROLE members;
         GRANT USAGE ON SCHEMA auth TO members",
    );
    let before = text(server, "app");
    let users = ["--from", archive, "--mode", "in-place", "-n", "auth", "-t", "users"];
    site.restore(&[&users[..], &["-O", "-x", "--no-comments"]].concat());
    let owner = "SELECT tableowner, (SELECT count(*) FROM auth.users), \
                 (SELECT relacl FROM pg_class WHERE relname = 'users'), obj_description('auth.users'::regclass) \
                 FROM pg_tables WHERE tablename = 'users'";
    assert_eq!(server.psql("app", owner), "postgres|300||");
    site.run(&["undo", "app", "--yes"]).ok();
    same_text(&text(server, "app"), &before);
    let map = [
        "--map-role",
        "\"u4f: 9=x\"\"y\"=keeper",
        "--map-role",
        "rdsadmin=keeper",
        "--map-role",
        "authenticated=members",
        "--map-role",
        "anon=members",
    ];
    site.restore(&[&users[..], &map].concat());
    assert_eq!(
        server.psql("app", "SELECT tableowner FROM pg_tables WHERE tablename = 'users'"),
        "keeper"
    );
    assert_eq!(
        server.psql("app", "SELECT has_table_privilege('members', 'auth.users', 'SELECT')"),
        "t"
    );
    site.run(&["undo", "app", "--yes"]).ok();
    same_text(&text(server, "app"), &before);
}

#[test]
fn of_two_user_mappings_that_become_one_the_first_stays() {
    let (site, source) = site(15);
    source.psql(
        "app",
        "CREATE USER MAPPING FOR anon SERVER far OPTIONS (\"user\" 'second')",
    );
    let (archives, scripts) = dumps(&site, &source);
    let roles = [
        "anon",
        "authenticated",
        "rds_superuser",
        "rdsadmin",
        "\"u4f: 9=x\"\"y\"",
    ];
    let map: Vec<String> = roles.iter().map(|role| format!("--map-role={role}=members")).collect();
    let map: Vec<&str> = map.iter().map(String::as_str).collect();
    site.server.psql("postgres", "CREATE ROLE members");
    let first = "SELECT string_agg(usename || ' ' || array_to_string(umoptions, ''), ',') FROM pg_user_mappings WHERE umuser <> 0";
    for file in [&archives[0], &scripts[0]] {
        let from = file.to_str().unwrap();
        let args = [&["restore", "app", "--from", from, "--yes"], &map[..]].concat();
        let run = site.run(&args).ok();
        let said = run.stdout + &run.stderr;
        assert!(said.contains("USER MAPPING"), "{from}: {said}");
        let found = site.server.psql("app", first);
        assert!(
            found == "members user=second" || found == "members user=FOR x",
            "{from}: {found}"
        );
    }
}
