//! The matrix of options: on one database with objects of every family, `snapback dump` with an option writes what
//! pg_dump writes with it.

use super::equal::{compare_archives, difference, is_text, load, on_all_versions};
use super::support::{Run, Server, snapback};

/// What the database holds: the fixtures that can stand beside each other.
pub const FIXTURES: &[&str] = &[
    "acl",
    "constraints",
    "foreign",
    "functions",
    "indexes",
    "large_objects",
    "loops",
    "operators",
    "policies",
    "publications",
    "tables",
    "text_search",
    "triggers",
    "types",
];

/// Options, and the first version that has them.
const OPTIONS: &[(u32, &str)] = &[
    (14, ""),
    (14, "-s"),
    (15, "-s -v"),
    (14, "-a"),
    (14, "-a --disable-triggers"),
    (14, "-a --disable-triggers -S postgres"),
    (14, "-c"),
    (14, "-c --if-exists"),
    (14, "-C"),
    (14, "-c -C --if-exists -s"),
    (14, "-O"),
    (14, "-x"),
    (14, "-b"),
    (14, "-B"),
    (14, "-s -b"),
    (14, "--no-comments"),
    (14, "--no-publications --no-subscriptions"),
    (14, "--no-security-labels"),
    (14, "--no-tablespaces"),
    (15, "--no-table-access-method"),
    (14, "--no-toast-compression"),
    (14, "--no-unlogged-table-data"),
    (14, "--section=pre-data"),
    (14, "--section=data"),
    (14, "--section=post-data"),
    (14, "--section=pre-data --section=post-data"),
    (14, "-n idx"),
    (14, "-n pg_catalog"),
    (14, "-n idx -n con --strict-names"),
    (14, "-n c* -N con"),
    (14, "-N idx -N loop"),
    // Publications stay; up to 17 without the tables and schemas that are not dumped.
    (14, "-N pub -T con.*"),
    (14, "-t idx.plain"),
    (14, "-t con.* -T con.parted*"),
    (14, "-t loop.people -t loop.grouped -s"),
    (14, "-T loop.*"),
    (14, "-n con -a"),
    (14, "--exclude-table-data=con.*"),
    (14, "-e plpgsql"),
    (14, "--inserts"),
    (14, "--column-inserts"),
    (14, "--rows-per-insert=3 --quote-all-identifiers"),
    (14, "--inserts --on-conflict-do-nothing"),
    (14, "--quote-all-identifiers"),
    (14, "--use-set-session-authorization"),
    (14, "--disable-dollar-quoting -s"),
    (14, "--enable-row-security"),
    (14, "--load-via-partition-root"),
    (14, "--serializable-deferrable"),
    (14, "--extra-float-digits=0"),
    (14, "-E UTF8"),
    (14, "--binary-upgrade -s"),
    (16, "--table-and-children=con.parted"),
    (16, "--exclude-table-and-children=con.parted"),
    (16, "--exclude-table-data-and-children=idx.parted"),
    (16, "--large-objects"),
    (17, "--exclude-extension=plpgsql"),
    (18, "--no-policies"),
    (18, "--no-data"),
    (18, "--no-schema"),
    (18, "--no-schema --no-data"),
    (18, "--statistics"),
    (18, "--statistics-only"),
    (18, "-s --sequence-data"),
];

fn check(major: u32) {
    let server = Server::start(major);
    server.create_database("options");
    for fixture in FIXTURES {
        load(&server, "options", fixture);
    }
    if major >= 15 {
        server.psql("options", "CREATE PUBLICATION of_schema FOR TABLES IN SCHEMA pub");
    }
    server.psql(
        "options",
        "ANALYZE con.tree, con.ring_a, con.parted, idx.plain, loop.people, loop.mat_grouped",
    );
    let mut different = Vec::new();
    for (since, options) in OPTIONS {
        if major < *since {
            continue;
        }
        let options: Vec<&str> = options.split_whitespace().collect();
        let mut ours = snapback();
        ours.arg("dump").args(server.connection_args("options")).args(&options);
        let ours = Run::of(&mut ours);
        let expected = server.pg_dump("options", &options);
        let difference = match ours.code {
            Some(0) => difference(&expected, ours.stdout.as_bytes(), is_text),
            _ => Some(ours.stderr),
        };
        if let Some(difference) = difference {
            let start: String = difference.lines().take(25).map(|line| format!("{line}\n")).collect();
            different.push(format!("{}:\n{start}", options.join(" ")));
        }
    }
    assert!(
        different.is_empty(),
        "not as pg_dump writes it with\n{}",
        different.join("\n")
    );
    // What is left out takes no number where pg_dump gives it none.
    compare_archives(&server, "options", &["-n", "con"]);
    compare_archives(&server, "options", &["-t", "con.*", "-t", "idx.*"]);
}

on_all_versions!(check);
