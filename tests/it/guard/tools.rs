//! Migration tools other than Alembic, the real ones: Django, dbmate, Knex. Each goes a step that works, and one of two
//! migrations of which the first is committed and the second fails; one guard line for SQLite and PostgreSQL.

use super::{Project, json};
use crate::restore::project as path_of;
use crate::support::Server;
use crate::support::server::cache_dir;

const STARTED: &str = "1 Ada, 2 Grace";
const STEPPED: &str = "1 Ada, 2 Grace, 3 Edsger";
const HALF: &str = "1 Ada";

/// The script `migrate`, which goes to a step: 1 and 2 work, 3 fails halfway.
fn migrate(project: &Project, tool: &str) {
    let fixture = path_of(&format!("tests/fixtures/tools/{tool}"));
    let fixture = fixture.display();
    let cache = cache_dir();
    let cache = cache.display();
    let script = match tool {
        "django" => format!(
            "export DJANGO_SETTINGS_MODULE=settings PYTHONPATH={fixture}:{cache}/django-5.2.19:$PYTHONPATH\n\
             case $1 in 3) to=0004_broken ;; *) to=000$1 ;; esac\nexec python3 -m django migrate school $to"
        ),
        "dbmate" => format!(
            "for step in $(seq \"$1\"); do set -- \"$@\" --migrations-dir {fixture}/$step; done; shift\n\
             exec {cache}/node-tools-1/node_modules/@dbmate/linux-x64/bin/dbmate --no-dump-schema \"$@\" up"
        ),
        _ => format!(
            "export NODE_PATH={cache}/node-tools-1/node_modules STEP=$1\n\
             exec {cache}/node-tools-1/node_modules/.bin/knex --knexfile {fixture}/knexfile.js migrate:latest"
        ),
    };
    project.script("migrate", &script);
}

/// The same for each tool, whatever the engine.
fn story(project: &Project, tool: &str, people: &dyn Fn() -> String) {
    migrate(project, tool);
    // The first step needs no guard: there is nothing yet.
    project.guard(&["--on-failure", "restore", "--", "./migrate", "1"]).ok();
    assert_eq!(people(), STARTED, "{tool}");
    let checks = ["--expect-rows-kept", "--check", "SELECT count(*) = 3 FROM people"];
    project.guard(&[&checks[..], &["--", "./migrate", "2"]].concat()).ok();
    assert_eq!(people(), STEPPED, "{tool}");

    // The rehearsal tells what would happen; the live database knows nothing of it.
    let run = project.guard(&["--json", "--dry-run", "--", "./migrate", "3"]);
    let report = json(&run);
    assert_ne!(report["command_exit"], 0, "{report}");
    let tables = report["diff"]["tables"].as_array().unwrap();
    let lost = tables.iter().find(|table| table["name"] == "people").unwrap();
    assert_eq!(
        (&lost["rows_before"], &lost["rows_after"]),
        (&3.into(), &1.into()),
        "{tool}"
    );
    assert_eq!(people(), STEPPED, "{tool}");

    let report = json(&project.guard(&["--json", "--on-failure", "restore", "--", "./migrate", "3"]));
    assert_eq!(report["action"], "restored", "{report}");
    assert_eq!(people(), STEPPED, "{tool}");
    project.snapback(&["undo", "--yes"]).ok();
    assert_eq!(people(), HALF, "{tool}");
    project.snapback(&["undo", "--yes"]).ok();
    // The tool finds its own notes as they were: what it has done is not done again.
    project.guard(&["--", "./migrate", "2"]).ok();
    assert_eq!(people(), STEPPED, "{tool}");
}

fn on_server(major: u32, tool: &str) {
    let server = Server::start(major);
    let mut project = Project::on(&server, "app", "alembic");
    project.url = format!("{}&sslmode=disable", server.url("app"));
    let people = || {
        server.psql(
            "app",
            "SELECT string_agg(id || ' ' || name, ', ' ORDER BY id) FROM people",
        )
    };
    story(&project, tool, &people);
}

fn on_file(tool: &str) {
    let project = Project::new("sqlite:app.db".to_owned(), "alembic");
    let project = match tool {
        "django" => Project::new("sqlite:///app.db".to_owned(), "alembic"),
        _ => project,
    };
    project.site.python("app.db", "CREATE TABLE other (a)");
    let sql = "SELECT group_concat(id || ' ' || name, ', ') FROM (SELECT * FROM people ORDER BY id)";
    let people = || project.site.shell("app.db", sql);
    story(&project, tool, &people);
}

#[test]
fn django_goes_back_by_the_same_line_on_both() {
    on_server(16, "django");
    on_file("django");
}

#[test]
#[ignore = "needs dbmate from npm: tests/run --full"]
fn dbmate_goes_back_by_the_same_line_on_both() {
    on_server(17, "dbmate");
    on_file("dbmate");
}

#[test]
#[ignore = "needs Knex from npm: tests/run --full"]
fn knex_goes_back() {
    on_server(18, "knex");
}
