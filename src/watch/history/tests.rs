use std::os::unix::fs::MetadataExt as _;

use super::*;

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn history() -> (tempfile::TempDir, History) {
    let folder = tempfile::tempdir().unwrap();
    let history = History::open(&folder.path().join("state/history.db")).unwrap();
    (folder, history)
}

#[test]
fn runs_are_there_with_what_is_known_of_them_the_newest_first() {
    let (_folder, history) = history();
    let begun = at("2026-11-20T02:00:00Z");
    let first = history.begin("app", Verb::Backup, &Facts::default(), begun).unwrap();
    let facts = Facts {
        rows: Some(7),
        ..Facts::default()
    };
    history
        .end(first, Outcome::Ok, &facts, at("2026-11-20T02:00:08.5Z"))
        .unwrap();
    let second = history
        .begin("shop", Verb::Restore, &Facts::default(), at("2026-11-20T03:00:00Z"))
        .unwrap();
    let error = anyhow::anyhow!("postgresql://bob:hush@db/shop: no");
    history
        .end(
            second,
            Outcome::Failed,
            &Facts::default().failed(&error),
            at("2026-11-20T03:00:01Z"),
        )
        .unwrap();

    let runs = history.runs(&Query::default()).unwrap();
    assert_eq!(runs.iter().map(|run| run.run).collect::<Vec<_>>(), [second, first]);
    assert_eq!((runs[1].seconds, runs[1].facts.rows), (Some(8.5), Some(7)));
    let error = runs[0].facts.error.clone().unwrap();
    assert!(error.ends_with(": no") && !error.contains("hush"), "{error}");

    let trouble = Query {
        trouble: true,
        ..Query::default()
    };
    assert_eq!(history.runs(&trouble).unwrap().len(), 1);
    let since = Query {
        job: Some("app"),
        since: Some(at("2026-11-20T02:00:01Z")),
        ..Query::default()
    };
    assert!(history.runs(&since).unwrap().is_empty());
    history.trim(TimeDelta::hours(1), at("2026-11-20T03:30:00Z")).unwrap();
    assert_eq!(history.run(first).unwrap(), None);
    assert_eq!(history.run(second).unwrap().unwrap().outcome, Outcome::Failed);
}

#[test]
fn a_run_whose_process_is_gone_was_killed() {
    let (_folder, history) = history();
    let run = history
        .begin("app", Verb::Backup, &Facts::default(), at("2026-11-20T02:00:00Z"))
        .unwrap();
    let reached = Reached {
        step: "dumping".into(),
        done: 3,
        total: 9,
    };
    history.reached(run, &reached).unwrap();
    assert_eq!(history.run(run).unwrap().unwrap().reached, Some(reached));
    let gone = this_process().replace(&format!("process {} ", std::process::id()), "process 4294967295 ");
    history.database().execute("UPDATE run SET by = ?1", [gone]).unwrap();
    let killed = history.run(run).unwrap().unwrap();
    assert_eq!((killed.outcome, killed.reached), (Outcome::Killed, None));
    // The next run writes it down, before the number is another process's.
    history
        .begin("app", Verb::Backup, &Facts::default(), at("2026-11-20T03:00:00Z"))
        .unwrap();
    let outcome: String = history
        .database()
        .query_row("SELECT outcome FROM run WHERE run = ?1", [run], |row| row.get(0))
        .unwrap();
    assert_eq!(outcome, "killed");
}

#[test]
fn a_damaged_history_is_put_aside_and_a_newer_one_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("history.db");
    fs::write(
        &file,
        "no database, whatever it is called, and long enough to be looked at as one",
    )
    .unwrap();
    let history = History::open(&file).unwrap();
    assert!(history.runs(&Query::default()).unwrap().is_empty());
    assert!(folder.path().join("history.damaged").is_file());
    assert_eq!(file.metadata().unwrap().mode() & 0o777, 0o600);
    history.database().execute_batch("PRAGMA user_version = 99").unwrap();
    drop(history);
    let error = History::open(&file).err().unwrap();
    assert!(format!("{error:#}").contains("a newer Snapback"), "{error:#}");
}
