//! What a person sees who sits at a terminal: the question before a restore, progress, tables. In a real pseudo-terminal.

use std::process::Command;

use crate::restore::Site;
use crate::support::{Size, Terminal};

/// Whoever reads the question must see this much of it.
const QUESTION: &str = "Type the name of the database (app) to go ahead:";

fn site() -> Site {
    let site = Site::new(15, "app");
    site.server.psql(
        "app",
        "CREATE TABLE who AS SELECT 'new' AS am_i; \
         CREATE TABLE filler AS SELECT g, repeat(md5(g::text), 8) FROM generate_series(1, 40000) g",
    );
    site.backup();
    site.server.psql("app", "UPDATE who SET am_i = 'old'");
    site
}

fn size(columns: u16) -> Size {
    Size { rows: 50, columns }
}

fn usual(_: &mut Command) {}

fn at(site: &Site, columns: u16, arguments: &str) -> Terminal {
    Terminal::run(site.folder(), &size(columns), usual, arguments)
}

fn who(site: &Site) -> String {
    site.server.psql("app", "SELECT am_i FROM who")
}

/// The question is the last thing on the screen, whole, and stays so while nothing is typed.
#[track_caller]
fn asks(terminal: &Terminal) {
    terminal.wait_for(QUESTION);
    let asked = terminal.unwrapped();
    assert!(asked.ends_with(QUESTION), "{asked}");
    // Longer than the bar takes to move.
    std::thread::sleep(std::time::Duration::from_millis(600));
    assert_eq!(
        terminal.unwrapped(),
        asked,
        "something is drawn while the question stands"
    );
}

#[test]
fn the_question_stands_alone_at_any_width() {
    let site = site();
    for (columns, mode) in [
        (80, ""),
        (40, ""),
        (200, ""),
        (80, "--mode in-place"),
        (40, "--mode in-place"),
    ] {
        let mut terminal = at(&site, columns, &format!("restore app latest {mode}"));
        asks(&terminal);
        terminal.type_keys("app\n");
        let (code, screen) = terminal.end();
        assert_eq!(code, Some(0), "{screen}");
        assert!(screen.contains("safety snapshot"), "{screen}");
        assert_eq!(who(&site), "new");
        site.server.psql("app", "UPDATE who SET am_i = 'old'");
    }
}

#[test]
fn a_wrong_answer_is_told_the_right_one_and_asked_once_more() {
    let site = site();
    let mut terminal = at(&site, 80, "restore app latest");
    asks(&terminal);
    terminal.type_keys("yes\n");
    terminal.wait_for("\"yes\" is not the name of the database.");
    asks(&terminal);
    terminal.type_keys("app\n");
    assert_eq!(terminal.end().0, Some(0));
    assert_eq!(who(&site), "new");

    let mut terminal = at(&site, 80, "undo app");
    asks(&terminal);
    terminal.type_keys("\n");
    terminal.wait_for("Nothing was typed.");
    asks(&terminal);
    terminal.type_keys("app2\n");
    let (code, screen) = terminal.end();
    assert_eq!(code, Some(7), "{screen}");
    assert!(
        screen.contains("the undo was not confirmed, and nothing was changed"),
        "{screen}"
    );
    assert!(screen.contains("type exactly app, or add --yes"), "{screen}");
    assert_eq!(who(&site), "new");

    // The end of the input is no answer.
    let mut terminal = at(&site, 80, "undo app");
    asks(&terminal);
    terminal.type_keys("\u{4}");
    assert_eq!(terminal.end().0, Some(7));
    assert_eq!(who(&site), "new");

    let mut terminal = at(&site, 80, "undo app");
    asks(&terminal);
    terminal.type_keys("app\n");
    assert_eq!(terminal.end().0, Some(0));
    assert_eq!(who(&site), "old");
}

#[test]
fn ctrl_c_at_the_question_and_in_a_step_changes_nothing() {
    let site = site();
    let mut terminal = at(&site, 80, "restore app latest");
    asks(&terminal);
    terminal.type_keys("\u{3}");
    assert_eq!(terminal.end().0, Some(130));
    for step in ["check", "safety", "data", "prove"] {
        let mut terminal = at(&site, 80, &format!("restore app latest --yes --pause-at {step}"));
        terminal.wait_for(&format!("paused at {step}"));
        terminal.type_keys("\u{3}");
        let (code, screen) = terminal.end();
        assert_eq!(code, Some(130), "{step}: {screen}");
        assert!(screen.contains("error:"), "{step}: {screen}");
    }
    assert_eq!(who(&site), "old");
}

/// Whatever is drawn again and again takes one line, also when the window becomes narrower.
#[test]
fn the_bar_takes_one_line_at_any_width() {
    let site = site();
    for columns in [40, 80, 200] {
        let terminal = at(&site, columns, "restore app latest --yes --pause-at data");
        terminal.wait_for("paused at data");
        std::thread::sleep(std::time::Duration::from_millis(500));
        let screen = terminal.shows();
        let steps: Vec<&str> = screen.lines().filter(|line| line.contains("B/")).collect();
        assert!(steps.len() <= 1, "{columns} columns:\n{screen}");
    }
    let mut terminal = at(&site, 120, "restore app latest --yes --pause-at data");
    terminal.wait_for("paused at data");
    terminal.resize(site.folder(), 50, 40);
    std::thread::sleep(std::time::Duration::from_millis(600));
    let screen = terminal.shows();
    let steps = screen.lines().filter(|line| line.contains("loading")).count();
    assert!(steps <= 2, "{screen}");
}

#[test]
fn a_terminal_that_can_only_print_gets_lines_and_no_escapes() {
    let site = site();
    let dumb = |command: &mut Command| {
        command.env("TERM", "dumb");
    };
    let mut terminal = Terminal::run(site.folder(), &size(80), dumb, "restore app latest");
    asks(&terminal);
    terminal.type_keys("app\n");
    let written = terminal.bytes();
    assert!(!written.contains('\u{1b}') && !written.contains('█'), "{written:?}");
    assert!(written.contains("loading"), "{written:?}");
}

#[test]
fn no_colour_is_shown_to_who_wants_none() {
    let site = site();
    // A server that is away makes the log speak.
    site.reconfigure(&format!("host={}", site.server.host()), "host=/nowhere");
    let coloured = |wish: &str| {
        let set = |command: &mut Command| {
            command.env("NO_COLOR", wish);
        };
        let written = Terminal::run(site.folder(), &size(80), set, "--log-level info list app").bytes();
        assert!(written.contains("cannot be asked"), "{written:?}");
        written.contains("\u{1b}[3")
    };
    assert!(coloured(""));
    assert!(!coloured("1"));
}

/// No column is lost at 80 columns, and nothing is wrapped by the terminal in the middle of a word.
#[test]
fn tables_fit_the_terminal() {
    let site = site();
    site.run(&["backup", "app", "--label", "before the great migration of the orders"])
        .ok();
    for columns in [40, 80, 200] {
        let (code, screen) = at(&site, columns, "list app").end();
        assert_eq!(code, Some(0), "{screen}");
        for word in ["manual", "verified", "migration", "orders"] {
            assert!(screen.contains(word), "{columns} columns lack {word}:\n{screen}");
        }
    }
    // In a pipe each backup is one line.
    let piped = site.run(&["list", "app"]).ok().stdout;
    assert_eq!(piped.lines().count(), 3, "{piped}");
    assert!(piped.lines().next().unwrap().contains("LABEL"), "{piped}");
}

#[test]
fn in_a_pipe_nobody_is_asked_and_nothing_is_drawn() {
    let site = site();
    let run = site.run(&["restore", "app", "latest"]).code(7);
    assert!(run.stderr.contains("there is no terminal to ask on"), "{}", run.stderr);
    assert!(run.stderr.contains("add --yes"), "{}", run.stderr);
    let run = site.run(&["restore", "app", "latest", "--yes"]).ok();
    assert!(
        !run.stderr.contains('\u{1b}') && !run.stderr.contains('\r'),
        "{}",
        run.stderr
    );
}
