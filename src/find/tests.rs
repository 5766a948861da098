use super::*;
use crate::manifest::Engine;
use crate::manifest::Place;

fn source(host: &str, database: &str, system: Option<u64>) -> Source {
    Source {
        engine: Engine::Postgres,
        file: None,
        host: host.to_owned(),
        port: 5432,
        database: database.to_owned(),
        system_identifier: system,
        database_oid: 10,
        server_version_num: 150_000,
        server_version: "15.0".to_owned(),
    }
}

/// A backup that was taken at `hour`.
fn backup<'a>(hour: u8, source: &'a Source) -> Candidate<'a> {
    Candidate {
        id: format!("20261120T{hour:02}0000Z").parse().unwrap(),
        kind: Kind::Manual,
        label: None,
        source,
        whole: true,
    }
}

fn here(host: &str, database: &str, system: Option<u64>) -> Identity {
    let host = host.to_owned();
    Identity {
        engine: Engine::Postgres,
        file: None,
        places: vec![Place { host, port: 5432 }],
        database: database.to_owned(),
        system_identifier: system,
        database_oid: None,
    }
}

fn hour(choice: &Result<Choice, Miss>) -> String {
    match choice {
        Ok(choice) => choice.id.to_string()[9..11].to_owned(),
        Err(miss) => format!("{miss:?}"),
    }
}

#[test]
fn latest_is_the_newest_of_this_database() {
    let (app, other, moved) = (
        source("db", "app", Some(1)),
        source("db", "other", Some(1)),
        source("old", "app", Some(2)),
    );
    let all = [backup(9, &other), backup(8, &moved), backup(7, &app), backup(6, &app)];
    let latest = |here: &Identity, of| choose(&all, "latest", here, of);
    let quiet = latest(&here("db", "app", Some(1)), None);
    assert_eq!((hour(&quiet), quiet.unwrap().notes), ("07".to_owned(), Vec::new()));
    // By the URL alone, as when the server is lost.
    assert_eq!(hour(&latest(&here("db", "app", None), None)), "07");
    assert_eq!(hour(&latest(&here("db", "app", None), Some("other"))), "09");
    assert_eq!(
        hour(&latest(&here("new", "app", Some(3)), None)),
        "08",
        "the newest of that name"
    );
    let told = latest(&here("new", "third", Some(3)), None).unwrap();
    assert!(
        told.notes[0].contains("no backup of third on new port 5432"),
        "{told:?}"
    );
    assert!(told.notes[0].contains("is one of other on db port 5432"), "{told:?}");
    assert!(hour(&latest(&here("db", "app", None), Some("none"))).contains("of database \\\"none\\\""));
}

#[test]
fn latest_passes_over_what_is_damaged_and_what_a_restore_took() {
    let (app, other) = (source("db", "app", None), source("db", "other", None));
    let mut all = [backup(9, &app), backup(8, &app), backup(7, &app), backup(6, &other)];
    all[0].kind = Kind::Safety;
    all[1].whole = false;
    let choice = choose(&all, "latest", &here("db", "app", None), None);
    assert_eq!(hour(&choice), "07");
    assert!(choice.unwrap().notes[0].contains("20261120T080000Z"));
    all[2].whole = false;
    // Not another database's, because there are some of this one.
    assert!(hour(&choose(&all, "latest", &here("db", "app", None), None)).contains("no backup that is whole"));
}

#[test]
fn labels_and_beginnings_are_what_they_are() {
    let app = source("db", "app", None);
    let mut all = [backup(9, &app), backup(8, &app), backup(7, &app)];
    for candidate in &mut all[1..] {
        candidate.label = Some("before-migration");
    }
    let here = here("db", "app", None);
    let find = |word: &str| choose(&all, word, &here, None);
    let labelled = find("before-migration");
    assert_eq!(hour(&labelled), "08");
    assert!(labelled.unwrap().notes[0].contains("2 backups have the label"));
    assert_eq!(hour(&find("20261120T07")), "07");
    assert_eq!(hour(&find("20261120t09")), "09");
    assert!(matches!(find("2026"), Err(Miss::Ambiguous(what)) if what.contains("3 ids: 20261120T090000Z, ")));
    for nothing in ["before", "2025", "202", "latest2"] {
        assert!(matches!(find(nothing), Err(Miss::Nothing(_))), "{nothing}");
    }
    // A label may look like the beginning of an id.
    all[2].label = Some("2026");
    assert_eq!(hour(&choose(&all, "2026", &here, None)), "07");
}
