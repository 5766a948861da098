//! The five guides that Snapback replaces: each one's database, the damage that it fears, and the way back.

use std::io::Write as _;

use crate::restore::{Site, project};
use crate::support::{Run, Server, snapback};

/// One guide: its fixture, and what goes wrong there.
struct Scenario {
    fixture: &'static str,
    /// What its backups are: pg_dump's options, and whether `gzip` packs them.
    file: (&'static [&'static str], bool),
    damage: &'static str,
    /// A question that the guide asks by hand after a rollback.
    check: &'static str,
}

#[test]
fn family_tasks_whose_downgrade_emptied_seven_tables() {
    story(&Scenario {
        fixture: "1-family-tasks",
        file: (&["-F", "c"], false),
        damage: "TRUNCATE events, task_logs, user_streaks, study_items, study_sessions, media, notifications CASCADE",
        check: "SELECT \"displayName\", total FROM user_points ORDER BY 1",
    });
}

#[test]
fn learning_whose_migration_dropped_a_phase() {
    story(&Scenario {
        fixture: "2-learning",
        file: (&[], false),
        damage: "DROP TABLE leaderboard_entries, shop_items, wallet_transactions, user_wallets; DROP TYPE league_type;
                 UPDATE alembic_version SET version_num = 'phase3'",
        check: "SELECT sum(amount), max(id) FROM wallet_transactions",
    });
}

#[test]
fn managed_tasks_whose_rollback_dropped_the_schema() {
    story(&Scenario {
        fixture: "3-managed-tasks",
        file: (&["--no-owner"], true),
        damage: "DROP SCHEMA public CASCADE; CREATE SCHEMA public",
        check: "SELECT count(*), max(task.id) FROM task JOIN \"user\" ON user_id = \"user\".id",
    });
}

#[test]
fn teaching_whose_migration_stopped_halfway() {
    story(&Scenario {
        fixture: "4-teaching",
        file: (&["-F", "c"], false),
        damage: "ALTER TABLE students ADD COLUMN email text NOT NULL DEFAULT ''; DELETE FROM grades",
        check: "SELECT avg(grade) FROM grades",
    });
}

#[test]
fn exams_that_lost_their_roles() {
    story(&Scenario {
        fixture: "5-exam",
        file: (&["--clean", "--if-exists"], true),
        damage: "DROP TYPE user_role CASCADE; DELETE FROM documents",
        check: "SELECT role, count(*) FROM users GROUP BY role ORDER BY role",
    });
}

/// Back up, do the damage, restore: everything is as it was, and the damage can be had back.
fn story(scenario: &Scenario) {
    let site = Site::new(15, "app");
    let server = &site.server;
    server.load(
        "app",
        &project(&format!("tests/fixtures/scenarios/{}.sql", scenario.fixture)),
    );
    equals_pg_dump(server);
    let state = || (schema(server), rows(server), server.psql("app", scenario.check));
    let before = state();
    let id = site.backup();
    let file = write_file(&site, scenario.file);

    server.psql("app", scenario.damage);
    let damaged = (schema(server), rows(server));
    assert_ne!((&before.0, &before.1), (&damaged.0, &damaged.1));

    site.restore(&[&id]);
    assert_eq!(state(), before);
    site.run(&["undo", "app", "--yes"]).ok();
    assert_eq!((schema(server), rows(server)), damaged);

    // And from the file that the guide keeps, into the database that holds the damage.
    site.restore(&["--from", &file]);
    assert_eq!(state(), before);
}

/// The backup that the guide makes by itself.
fn write_file(site: &Site, (options, packed): (&[&str], bool)) -> String {
    let file = site.folder().join("the-guides-own");
    let mut bytes = site.server.pg_dump("app", options);
    if packed {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(&bytes).unwrap();
        bytes = encoder.finish().unwrap();
    }
    std::fs::write(&file, bytes).unwrap();
    file.to_str().unwrap().to_owned()
}

/// The text of Snapback's dump is pg_dump's, but for the lines that differ between two runs of pg_dump too.
fn equals_pg_dump(server: &Server) {
    let stable = |text: &str| {
        let lines = text
            .lines()
            .filter(|line| !line.starts_with("-- Dumped") && !line.starts_with(['\\']));
        lines.collect::<Vec<_>>().join("\n")
    };
    let theirs = String::from_utf8(server.pg_dump("app", &[])).unwrap();
    let ours = Run::of(snapback().arg("dump").args(server.connection_args("app")))
        .ok()
        .stdout;
    assert!(
        stable(&ours) == stable(&theirs),
        "the dump differs from pg_dump's:\n{ours}"
    );
}

fn schema(server: &Server) -> String {
    String::from_utf8(server.pg_dump("app", &["--schema-only", "--restrict-key=x"])).unwrap()
}

/// The row counts of all tables, as the guides count them by hand.
fn rows(server: &Server) -> String {
    server.psql(
        "app",
        "SELECT relname, (xpath('/row/n/text()', query_to_xml(format('SELECT count(*) AS n FROM %s', oid::regclass), true, true, '')))[1]
         FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace ORDER BY relname",
    )
}
