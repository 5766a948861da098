//! What people read, as it stands: the help of every verb, plans and errors. A change of a sentence shows up in a review.
//! `INSTA_UPDATE=always cargo nextest run -E 'test(words)'` takes the new texts.

use std::process::Command;

use crate::backup::House;
use crate::support::{Run, snapback};

/// Without what differs from run to run: names of folders, and digits.
fn steady(text: &str, house: &House) -> String {
    let text = text
        .replace(house.server.host(), "[socket]")
        .replace(&house.dir.path().display().to_string(), "[folder]");
    let mut steady = String::new();
    for (at, character) in text.char_indices() {
        let is_digit = character.is_ascii_digit();
        // A number is one sign, whatever its length: the 5 in "5s" and the 1,024 in "1,024 rows".
        let goes_on = steady.ends_with('#')
            && (is_digit
                || (matches!(character, '.' | ',' | ':' | '-')
                    && text[at + 1..].starts_with(|next: char| next.is_ascii_digit())));
        match (is_digit, goes_on) {
            (_, true) => {}
            (true, false) => steady.push('#'),
            (false, false) => steady.push(character),
        }
    }
    // On a busy machine a backup is some seconds old by then.
    steady.replace("# s ago", "just now")
}

/// The verbs that the help of the program names.
fn verbs() -> Vec<String> {
    let help = Run::of(snapback().arg("--help")).ok().stdout;
    let commands = help.split("Commands:\n").nth(1).unwrap_or_default();
    commands
        .lines()
        .take_while(|line| !line.trim().is_empty())
        .filter(|line| line.starts_with("  ") && !line.starts_with("    "))
        .filter_map(|line| line.split_whitespace().next().map(str::to_owned))
        .filter(|verb| verb != "help")
        .collect()
}

#[test]
fn the_help_of_every_verb() {
    let verbs = verbs();
    assert!(verbs.len() > 12, "{verbs:?}");
    let whole = Run::of(snapback().arg("--help").env("COLUMNS", "100")).ok().stdout;
    insta::assert_snapshot!("help", whole);
    for verb in verbs {
        let help = Run::of(snapback().args([&verb, "--help"]).env("COLUMNS", "100"))
            .ok()
            .stdout;
        insta::assert_snapshot!(format!("help-{verb}"), help);
    }
}

#[test]
fn the_plans_of_restores() {
    let house = House::new();
    let id = house.backup();
    for (name, options) in [
        ("swap", vec![]),
        ("in-place", vec!["--mode", "in-place"]),
        ("new", vec!["--mode", "new", "--as", "beside"]),
        ("table", vec!["--mode", "in-place", "--table", "customer"]),
        ("without-owners", vec!["--no-owner", "--no-privileges"]),
    ] {
        let plan = house.run(&[&["restore", &id, "--dry-run"], &options[..]].concat()).ok();
        insta::assert_snapshot!(format!("plan-{name}"), steady(&plan.stdout, &house));
    }
    house.server.create_database("other");
    let url = house.server.url("other");
    let mut command: Command = house.command(&["restore", &id, "--to", &url, "--dry-run"]);
    let plan = Run::of(&mut command);
    insta::assert_snapshot!("plan-other", steady(&format!("{}{}", plan.stdout, plan.stderr), &house));
}

#[test]
fn what_goes_wrong() {
    let house = House::new();
    let mut said = String::new();
    let mut tell = |arguments: &[&str]| {
        let run = house.run(arguments);
        assert_ne!(run.code, Some(0), "{arguments:?}");
        let command = arguments.join(" ").replace("secret", "[password]");
        let code = run.code.unwrap_or_default();
        said += &format!(
            "$ snapback {command}\n{}exit code {code}\n\n",
            steady(&run.stderr, &house)
        );
    };
    tell(&["restore", "latest", "--yes"]);
    tell(&["show", "latest"]);
    house.backup();
    tell(&["restore", "latest"]);
    tell(&["restore", "20200101T000000Z", "--yes"]);
    tell(&["restore", "before-migration", "--yes"]);
    tell(&["restore", "nosuch", "latest"]);
    tell(&["backup", "nosuch"]);
    tell(&["backup", "mysql://root:secret@db/shop"]);
    tell(&["backup", "postgresql://app:secret@db/shop"]);
    tell(&["backup", "missing.db"]);
    tell(&["verify", "latest", "--nosuch"]);
    tell(&["undo", "--yes"]);
    tell(&["restore", "--from", "nothing.dump", "--yes"]);
    tell(&["restore", "latest", "--mode", "new", "--yes"]);
    house.configure("nosuch = 1\nschedule = \"30 25 * * *\"\ndump.compress = \"zip\"\n");
    tell(&["backup"]);
    let unreachable = house.server.url("app").replace("/app", "/gone");
    house.configure("");
    let config = std::fs::read_to_string(house.dir.path().join("snapback.toml")).unwrap();
    let config = config.replace(&house.server.url("app"), &unreachable);
    std::fs::write(house.dir.path().join("snapback.toml"), config).unwrap();
    tell(&["backup"]);
    assert!(!said.contains("secret"), "{said}");
    insta::assert_snapshot!("errors", said);
}
