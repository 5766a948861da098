//! What `-v` says on stderr: the lines of pg_dump of the server's major version, in its order; and warnings, which are
//! said always.

use super::say;
use crate::engine::postgres::catalog::object::{Components, Object};
use crate::engine::postgres::catalog::table::Table;
use crate::engine::postgres::catalog::{Catalog, Kind};
use crate::engine::postgres::progress::{Progress, ReadCatalog};
use crate::engine::postgres::warning::Warning;

/// Says what there is to warn of, and with `-v` what is done.
pub struct Verbose {
    /// `-v`.
    pub verbose: bool,
    /// How many connections were asked for besides the first.
    pub connections: usize,
}

impl Progress for Verbose {
    fn read_catalog(&self, read: &ReadCatalog) {
        if self.verbose {
            lines(read).iter().for_each(|line| say(line));
        }
    }

    fn known(&self, cat: &Catalog) {
        cat.warnings
            .iter()
            .for_each(|warning| warn(warning, cat.server.major()));
        if self.verbose {
            settings(cat).iter().for_each(|line| say(line));
            let connected = if cat.server.major() < 18 { 0 } else { self.connections };
            (0..connected).for_each(|_| say(SET_SEARCH_PATH));
        }
        pseudo_types(cat).iter().for_each(|line| say(line));
    }

    fn notes(&self, notes: Vec<String>) {
        notes.iter().for_each(|note| say(note));
    }
}

/// 14 has no marks before what belongs to a warning.
fn warn(warning: &Warning, major: u32) {
    let (detail, hint) = if major < 15 { ("  ", "") } else { ("detail: ", "hint: ") };
    let colon = if warning.details.is_empty() { "" } else { ":" };
    say(&format!("warning: {}{colon}", warning.text));
    warning.details.iter().for_each(|it| say(&format!("{detail}{it}")));
    warning.hints.iter().for_each(|it| say(&format!("{hint}{it}")));
}

/// When a step of reading has something to say.
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    /// In every dump.
    Always,
    /// When the dump needs it.
    Asked,
    /// When there is some.
    Found,
    /// Unless there is `--no-policies`.
    Policies,
}
use When::{Always, Asked, Found, Policies};

/// What pg_dump says of a step of reading the catalogs, from one major version to another.
struct Line {
    step: &'static str,
    majors: std::ops::RangeInclusive<u32>,
    when: When,
    says: &'static str,
}

const fn line(step: &'static str, since: u32, until: u32, when: When, says: &'static str) -> Line {
    Line {
        step,
        majors: since..=until,
        when,
        says,
    }
}

const SET_SEARCH_PATH: &str = "executing SELECT pg_catalog.set_config('search_path', '', false);";
const NEWEST: u32 = u32::MAX;

#[rustfmt::skip]
const LINES: &[Line] = &[
    line("the database", 18, NEWEST, Always, SET_SEARCH_PATH),
    line("the database", 14, NEWEST, Always, "last built-in OID is 16383"),
    line("extensions", 14, NEWEST, Always, "reading extensions"),
    line("extension members", 14, NEWEST, Always, "identifying extension members"),
    line("schemas", 14, NEWEST, Always, "reading schemas"),
    line("tables", 14, NEWEST, Always, "reading user-defined tables"),
    line("functions", 14, NEWEST, Always, "reading user-defined functions"),
    line("types", 14, NEWEST, Always, "reading user-defined types"),
    line("languages", 14, NEWEST, Always, "reading procedural languages"),
    line("aggregates", 14, NEWEST, Always, "reading user-defined aggregate functions"),
    line("operators", 14, NEWEST, Always, "reading user-defined operators"),
    line("access methods", 14, NEWEST, Always, "reading user-defined access methods"),
    line("operator classes", 14, NEWEST, Always, "reading user-defined operator classes"),
    line("operator families", 14, NEWEST, Always, "reading user-defined operator families"),
    line("text search parsers", 14, NEWEST, Always, "reading user-defined text search parsers"),
    line("text search templates", 14, NEWEST, Always, "reading user-defined text search templates"),
    line("text search dictionaries", 14, NEWEST, Always, "reading user-defined text search dictionaries"),
    line("text search configurations", 14, NEWEST, Always, "reading user-defined text search configurations"),
    line("foreign-data wrappers", 14, NEWEST, Always, "reading user-defined foreign-data wrappers"),
    line("foreign servers", 14, NEWEST, Always, "reading user-defined foreign servers"),
    line("default privileges", 14, NEWEST, Always, "reading default privileges"),
    line("collations", 14, NEWEST, Always, "reading user-defined collations"),
    line("conversions", 14, NEWEST, Always, "reading user-defined conversions"),
    line("casts", 14, NEWEST, Always, "reading type casts"),
    line("transforms", 14, NEWEST, Always, "reading transforms"),
    line("event triggers", 14, NEWEST, Always, "reading table inheritance information"),
    line("event triggers", 14, NEWEST, Always, "reading event triggers"),
    line("configuration tables", 14, NEWEST, Always, "finding extension tables"),
    line("inheritance", 14, NEWEST, Always, "finding inheritance relationships"),
    line("columns", 14, NEWEST, Always, "reading column info for interesting tables"),
    line("column defaults", 15, NEWEST, Found, "finding table default expressions"),
    line("NOT NULL constraints", 18, NEWEST, Found, "finding invalid not-null constraints"),
    line("check constraints", 15, NEWEST, Found, "finding table check constraints"),
    line("inherited columns", 14, NEWEST, Always, "flagging inherited columns in subtables"),
    line("partitioning", 14, NEWEST, Always, "reading partitioning data"),
    line("indexes", 14, NEWEST, Always, "reading indexes"),
    line("indexes of partitions", 14, NEWEST, Always, "flagging indexes in partitioned tables"),
    line("extended statistics", 14, NEWEST, Always, "reading extended statistics"),
    line("foreign keys", 14, NEWEST, Always, "reading constraints"),
    line("triggers", 14, NEWEST, Always, "reading triggers"),
    line("rules", 14, NEWEST, Always, "reading rewrite rules"),
    line("row security policies", 14, NEWEST, Always, "reading policies"),
    line("row security policies", 14, NEWEST, Policies, "reading row-level security policies"),
    line("publications", 14, NEWEST, Always, "reading publications"),
    line("tables of publications", 14, 14, Always, "reading publication membership"),
    line("tables of publications", 15, NEWEST, Always, "reading publication membership of tables"),
    line("schemas of publications", 15, NEWEST, Always, "reading publication membership of schemas"),
    line("subscriptions", 14, NEWEST, Always, "reading subscriptions"),
    line("tables of subscriptions", 17, NEWEST, Always, "reading subscription membership of tables"),
    line("large objects", 14, NEWEST, Asked, "reading large objects"),
    line("dependencies", 14, NEWEST, Always, "reading dependency data"),
];

/// What is said of one step.
fn lines(read: &ReadCatalog) -> Vec<String> {
    let major = read.cat.server.major();
    let due = |when| match when {
        Always => true,
        Asked => read.asked,
        Found => read.found,
        Policies => !read.cat.options.no_policies,
    };
    let of_step = LINES
        .iter()
        .filter(|line| line.step == read.what && line.majors.contains(&major) && due(line.when));
    let mut lines: Vec<String> = of_step.map(|line| line.says.to_owned()).collect();
    if major == 14 {
        lines.extend(
            read.cat
                .tables()
                .flat_map(|(object, table)| of_table(read, object, table)),
        );
    }
    lines
}

/// What 14 says of each table on its own.
fn of_table(read: &ReadCatalog, object: &Object, table: &Table) -> Vec<String> {
    let defined = object.wants(Components::DEFINITION);
    let has_columns = table.interesting && table.relkind != 'S';
    let has_defaults = table.columns.iter().any(|column| column.default.is_some());
    let what: &[(bool, &str)] = match read.what {
        "column defaults" => &[
            (has_columns, "finding the columns and types of"),
            (has_columns && has_defaults, "finding default expressions of"),
            (has_columns && !table.checks.is_empty(), "finding check constraints for"),
        ],
        "indexes" => &[(table.hasindex && table.interesting, "reading indexes for")],
        "foreign keys" => &[(
            defined && (table.hastriggers || table.relkind == 'p'),
            "reading foreign key constraints for",
        )],
        "triggers" => &[(defined && table.hastriggers, "reading triggers for")],
        _ => &[],
    };
    let schema = read.cat.namespace_name(object.namespace).unwrap_or_default();
    let due = what.iter().filter(|(due, _)| *due);
    due.map(|(_, what)| format!("{what} table \"{schema}.{}\"", object.name))
        .collect()
}

/// What pg_dump warns of when the server's own types are to be dumped (`-n pg_catalog`): no statement makes these.
fn pseudo_types(cat: &Catalog) -> Vec<String> {
    let is_one = |object: &&Object| {
        let wanted = object.wants(Components::DEFINITION) && cat.options.dump_schema();
        wanted && matches!(&object.kind, Kind::Type(it) if it.typtype == 'p' && it.is_defined)
    };
    let mut names: Vec<_> = cat.objects().filter(is_one).map(|object| &object.name).collect();
    names.sort_unstable();
    let warning = |name: &String| format!("warning: typtype of data type \"{name}\" appears to be invalid");
    names.into_iter().map(warning).collect()
}

/// What is said of the settings of an archive, which are its first entries.
fn settings(cat: &Catalog) -> Vec<String> {
    let quote = if cat.server.major() < 17 { "" } else { "\"" };
    let std_strings = if cat.server.std_strings { "on" } else { "off" };
    let mut lines = vec![
        format!("saving encoding = {}", cat.server.encoding),
        format!("saving {quote}standard_conforming_strings = {std_strings}{quote}"),
        format!("saving {quote}search_path = {quote}"),
    ];
    if cat.options.create {
        lines.push("saving database definition".to_owned());
    }
    lines
}
