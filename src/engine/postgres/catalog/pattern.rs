//! Name patterns as psql understands them, expanded to OIDs.
//!
//! `*` and `?` are wildcards, letters are folded to lower case, double quotes stop both, and dots separate
//! database, schema and name.

use std::collections::HashSet;

use super::object::Oid;
use super::{Catalog, Step};
use crate::engine::postgres::connect::session::{Query, Row};
use crate::error::{Exit, Fail, Result};

/// A pattern taken apart: regular expressions, the name's and what stands before it.
#[derive(Debug, PartialEq, Eq)]
struct Pattern {
    /// Regular expression for the schema; empty when none is named.
    schema: String,
    /// Regular expression for the name.
    name: String,
}

/// What a pattern may match, for messages and for the parts it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Table,
    Schema,
    Extension,
    ForeignServer,
}

impl Target {
    fn plural(self) -> &'static str {
        match self {
            Target::Table => "tables",
            Target::Schema => "schemas",
            Target::Extension => "extensions",
            Target::ForeignServer => "foreign servers",
        }
    }

    /// What pg_dump calls a pattern of this kind with too many dots.
    fn improper(self) -> &'static str {
        match self {
            Target::Table => "improper relation name",
            Target::Schema | Target::Extension | Target::ForeignServer => "improper qualified name",
        }
    }
}

impl Pattern {
    fn parse(text: &str, target: Target, database: &str) -> Result<Pattern> {
        let mut parts = split(text);
        let most = match target {
            Target::Table => 3,
            Target::Schema => 2,
            Target::Extension | Target::ForeignServer => 1,
        };
        if parts.len() > most {
            let message = format!("{} (too many dotted names): {text}", target.improper());
            return Err(Fail::new(Exit::Usage, message).into());
        }
        let name = parts.pop().map(|part| part.regex).unwrap_or_default();
        let schema = match target {
            Target::Table => parts.pop().map(|part| part.regex).unwrap_or_default(),
            _ => String::new(),
        };
        let named = parts.pop().map(|part| part.literal);
        // What stands before a schema is no name of this database to pg_dump, whatever it is.
        let here = |named: &str| target == Target::Table && named == database;
        if named.is_some_and(|named| !here(&named)) {
            let message = format!("cross-database references are not implemented: {text}");
            return Err(Fail::new(Exit::Usage, message).into());
        }
        Ok(Pattern { schema, name })
    }
}

struct Part {
    regex: String,
    literal: String,
}

/// Splits at dots outside of quotes, and turns each part into an anchored regular expression.
fn split(text: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let (mut regex, mut literal) = (String::new(), String::new());
    let mut quoted = false;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                regex.push('"');
                literal.push('"');
            }
            '"' => quoted = !quoted,
            '.' if !quoted => parts.push(Part {
                regex: format!("^({})$", std::mem::take(&mut regex)),
                literal: std::mem::take(&mut literal),
            }),
            '*' if !quoted => {
                regex.push_str(".*");
                literal.push(c);
            }
            '?' if !quoted => {
                regex.push('.');
                literal.push(c);
            }
            _ => {
                let c = if quoted { c } else { c.to_ascii_lowercase() };
                // Outside of quotes other characters of regular expressions work, but for the dollar, which
                // may stand in a name, and `[]`, the end of an array type's.
                let array = c == '[' && chars.peek() == Some(&']');
                if c == '$' || array || (quoted && "|*+?()[]{}.^\\".contains(c)) {
                    regex.push('\\');
                }
                regex.push(c);
                literal.push(c);
            }
        }
    }
    parts.push(Part {
        regex: format!("^({regex})$"),
        literal,
    });
    parts
}

/// One list of patterns of the options.
struct List {
    target: Target,
    /// The patterns as they were given.
    patterns: fn(&Catalog) -> &[String],
    /// Also what inherits from what matches.
    children: bool,
    /// Whether a pattern that matches nothing is an error.
    strict: fn(&Catalog) -> bool,
    /// Where the OIDs go.
    into: fn(&mut Catalog) -> &mut HashSet<Oid>,
    /// Whether these are what is dumped: then nothing at all is an error.
    include: bool,
}

const fn list(
    target: Target,
    children: bool,
    patterns: fn(&Catalog) -> &[String],
    into: fn(&mut Catalog) -> &mut HashSet<Oid>,
) -> List {
    List {
        target,
        patterns,
        children,
        strict: |_| false,
        into,
        include: false,
    }
}

/// The same list for what is dumped: it must match something.
const fn including(list: List) -> List {
    List {
        strict: |cat| cat.options.strict_names,
        include: true,
        ..list
    }
}

const SCHEMA_LISTS: &[List] = &[
    including(list(
        Target::Schema,
        false,
        |cat| &cat.options.include_schemas,
        |cat| &mut cat.selection.include_schemas,
    )),
    list(
        Target::Schema,
        false,
        |cat| &cat.options.exclude_schemas,
        |cat| &mut cat.selection.exclude_schemas,
    ),
];

const TABLE_LISTS: &[List] = &[
    including(list(
        Target::Table,
        false,
        |cat| &cat.options.include_tables,
        |cat| &mut cat.selection.include_tables,
    )),
    including(list(
        Target::Table,
        true,
        |cat| &cat.options.include_tables_and_children,
        |cat| &mut cat.selection.include_tables,
    )),
    list(
        Target::Table,
        false,
        |cat| &cat.options.exclude_tables,
        |cat| &mut cat.selection.exclude_tables,
    ),
    list(
        Target::Table,
        true,
        |cat| &cat.options.exclude_tables_and_children,
        |cat| &mut cat.selection.exclude_tables,
    ),
    list(
        Target::Table,
        false,
        |cat| &cat.options.exclude_table_data,
        |cat| &mut cat.selection.exclude_table_data,
    ),
    list(
        Target::Table,
        true,
        |cat| &cat.options.exclude_table_data_and_children,
        |cat| &mut cat.selection.exclude_table_data,
    ),
];

const SERVER_LISTS: &[List] = &[List {
    strict: |_| true,
    ..list(
        Target::ForeignServer,
        false,
        |cat| &cat.options.include_foreign_data,
        |cat| &mut cat.selection.include_foreign_servers,
    )
}];

const EXTENSION_LISTS: &[List] = &[
    including(list(
        Target::Extension,
        false,
        |cat| &cat.options.include_extensions,
        |cat| &mut cat.selection.include_extensions,
    )),
    list(
        Target::Extension,
        false,
        |cat| &cat.options.exclude_extensions,
        |cat| &mut cat.selection.exclude_extensions,
    ),
];

/// All patterns of `lists`, in order, each with its list.
fn patterns<'a>(cat: &'a Catalog, lists: &'a [List]) -> impl Iterator<Item = (&'a List, &'a String)> {
    lists
        .iter()
        .flat_map(|list| (list.patterns)(cat).iter().map(move |text| (list, text)))
}

/// The query that matches all patterns of `lists` at once: rows (number of the pattern, OID).
fn query(cat: &Catalog, lists: &[List], from: &str) -> Option<Query> {
    let (mut schemas, mut names, mut children) = (Vec::new(), Vec::new(), Vec::new());
    for (list, text) in patterns(cat, lists) {
        // One that does not parse is reported when the rows are absorbed; until then it matches nothing.
        let pattern = Pattern::parse(text, list.target, &cat.server.database).unwrap_or_else(|_| Pattern {
            schema: String::new(),
            name: "^()$".to_owned(),
        });
        schemas.push(pattern.schema);
        names.push(pattern.name);
        children.push(if list.children { "t" } else { "f" }.to_owned());
    }
    let sql = format!(
        "WITH RECURSIVE pattern AS (SELECT schema, name, children::pg_catalog.bool, n::pg_catalog.int4 \
         FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3)) \
         WITH ORDINALITY AS p (schema, name, children, n)), \
         matched (n, oid, children) AS (SELECT p.n, o.oid, p.children FROM pattern p, {from} \
         UNION SELECT m.n, i.inhrelid, m.children FROM matched m \
         JOIN pg_catalog.pg_inherits i ON i.inhparent = m.oid WHERE m.children) SELECT n, oid FROM matched"
    );
    (!names.is_empty()).then(|| Query::new(sql).texts(schemas).texts(names).texts(children))
}

fn absorb(cat: &mut Catalog, rows: &[Row], lists: &[List]) -> Result<()> {
    let mut found: Vec<Vec<Oid>> = patterns(cat, lists).map(|_| Vec::new()).collect();
    for row in rows {
        if let Some(oids) = usize::try_from(row.int("n")? - 1).ok().and_then(|n| found.get_mut(n)) {
            oids.push(row.oid("oid")?);
        }
    }
    let mut missing = None;
    let mut found_by_list = Vec::new();
    for (oids, (list, text)) in found.into_iter().zip(patterns(cat, lists)) {
        Pattern::parse(text, list.target, &cat.server.database)?;
        let what = list.target.plural();
        if oids.is_empty() && (list.strict)(cat) {
            let message = format!("no matching {what} were found for pattern \"{text}\"");
            return Err(Fail::new(Exit::NotFound, message).into());
        }
        if list.include {
            missing = missing.or(Some(what));
        }
        found_by_list.push((list.into, list.include, oids));
    }
    for (into, include, oids) in found_by_list {
        if include && !oids.is_empty() {
            missing = None;
        }
        into(cat).extend(oids);
    }
    match missing {
        Some(what) => Err(Fail::new(Exit::NotFound, format!("no matching {what} were found")).into()),
        None => Ok(()),
    }
}

/// Whether any pattern needs to know what the user's own `search_path` shows.
fn has_table_patterns(cat: &Catalog) -> bool {
    patterns(cat, TABLE_LISTS).next().is_some()
}

/// A pattern without schema means what the user sees without one, so it needs the user's `search_path`.
pub const USER_SEARCH_PATH: Step = Step {
    what: "the search path",
    query: |cat| {
        let sql = "SELECT pg_catalog.set_config(name, reset_val, true) FROM pg_catalog.pg_settings \
                   WHERE name = 'search_path'";
        has_table_patterns(cat).then(|| Query::new(sql))
    },
    absorb: |_, _| Ok(()),
};

/// Goes back to the empty `search_path`, with which everything else is read.
pub const EMPTY_SEARCH_PATH: Step = Step {
    what: "the search path",
    query: |cat| {
        let sql = "SELECT pg_catalog.set_config('search_path', '', true)";
        has_table_patterns(cat).then(|| Query::new(sql))
    },
    absorb: |_, _| Ok(()),
};

/// `--schema`, `--exclude-schema`.
pub const SCHEMAS: Step = Step {
    what: "schemas that match",
    query: |cat| {
        let from = "pg_catalog.pg_namespace o \
                    WHERE o.nspname OPERATOR(pg_catalog.~) p.name COLLATE pg_catalog.default";
        query(cat, SCHEMA_LISTS, from)
    },
    absorb: |cat, rows| absorb(cat, &rows, SCHEMA_LISTS),
};

/// `--table`, `--exclude-table`, `--exclude-table-data` and their kin.
pub const TABLES: Step = Step {
    what: "tables that match",
    query: |cat| {
        let from = "pg_catalog.pg_class o JOIN pg_catalog.pg_namespace s ON s.oid = o.relnamespace \
                    WHERE o.relkind = ANY ('{r,S,v,m,f,p}'::pg_catalog.\"char\"[]) \
                    AND o.relname OPERATOR(pg_catalog.~) p.name COLLATE pg_catalog.default \
                    AND CASE WHEN p.schema = '' THEN pg_catalog.pg_table_is_visible(o.oid) \
                    ELSE s.nspname OPERATOR(pg_catalog.~) p.schema COLLATE pg_catalog.default END";
        query(cat, TABLE_LISTS, from)
    },
    absorb: |cat, rows| absorb(cat, &rows, TABLE_LISTS),
};

/// `--include-foreign-data`.
pub const FOREIGN_SERVERS: Step = Step {
    what: "foreign servers that match",
    query: |cat| {
        let from = "pg_catalog.pg_foreign_server o \
                    WHERE o.srvname OPERATOR(pg_catalog.~) p.name COLLATE pg_catalog.default";
        query(cat, SERVER_LISTS, from)
    },
    absorb: |cat, rows| absorb(cat, &rows, SERVER_LISTS),
};

/// `--extension`, `--exclude-extension`.
pub const EXTENSIONS: Step = Step {
    what: "extensions that match",
    query: |cat| {
        let from = "pg_catalog.pg_extension o \
                    WHERE o.extname OPERATOR(pg_catalog.~) p.name COLLATE pg_catalog.default";
        query(cat, EXTENSION_LISTS, from)
    },
    absorb: |cat, rows| absorb(cat, &rows, EXTENSION_LISTS),
};

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str) -> (String, String) {
        let pattern = Pattern::parse(text, Target::Table, "db").unwrap();
        (pattern.schema, pattern.name)
    }

    #[test]
    fn wildcards_folding_and_quotes() {
        let name = |text| table(text).1;
        assert_eq!(name("Task_*"), "^(task_.*)$");
        assert_eq!(name("t?"), "^(t.)$");
        assert_eq!(name("\"Task*\""), "^(Task\\*)$");
        assert_eq!(name("\"a\"\"b\""), "^(a\"b)$");
        assert_eq!(name("a|b"), "^(a|b)$");
        assert_eq!(name("a$"), "^(a\\$)$");
        assert_eq!(name("\"a.b\""), "^(a\\.b)$");
    }

    #[test]
    fn dots_separate_schema_and_database() {
        assert_eq!(table("s*.t"), ("^(s.*)$".to_owned(), "^(t)$".to_owned()));
        assert_eq!(table("DB.s.t"), ("^(s)$".to_owned(), "^(t)$".to_owned()));
        let error = |text| Pattern::parse(text, Target::Table, "db").unwrap_err().to_string();
        assert_eq!(
            error("other.s.t"),
            "cross-database references are not implemented: other.s.t"
        );
        for text in ["db.s", "other.s"] {
            let error = Pattern::parse(text, Target::Schema, "db").unwrap_err().to_string();
            assert_eq!(error, format!("cross-database references are not implemented: {text}"));
        }
        assert_eq!(
            error("a.db.s.t"),
            "improper relation name (too many dotted names): a.db.s.t"
        );
    }
}
