//! What a statement reaches beyond its own database, with the rights of whoever restores it: programs and files of the
//! server, settings of the whole of it, code that is loaded, other servers. pg_dump writes nothing that runs any of it.
//!
//! Text can hide more than can be seen in it: code that puts a statement together, a trigger that fires. This finds what
//! is written openly; SECURITY.md says what it is no protection from.

use super::statement::{Kind, Statement};
use crate::sql::tokens::{Placed, Token, outside, placed};

/// What a statement would do outside of its database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Something that no dump has: it is refused unless it is allowed.
    Refused(String),
    /// Something that a dump may well have, and that a person should know of.
    Told(String),
}

/// Functions that reach the files of the server, or its other processes, and what they do.
const CALLS: [(&str, &[&str]); 2] = [
    (
        "reads or writes files of the server",
        &[
            "lo_export",
            "lo_import",
            "pg_file_read",
            "pg_file_rename",
            "pg_file_sync",
            "pg_file_unlink",
            "pg_file_write",
            "pg_logdir_ls",
            "pg_ls_archive_statusdir",
            "pg_ls_dir",
            "pg_ls_logdir",
            "pg_ls_tmpdir",
            "pg_ls_waldir",
            "pg_read_binary_file",
            "pg_read_file",
            "pg_read_file_old",
            "pg_stat_file",
        ],
    ),
    (
        "acts on the whole server",
        &[
            "pg_cancel_backend",
            "pg_create_logical_replication_slot",
            "pg_create_physical_replication_slot",
            "pg_drop_replication_slot",
            "pg_promote",
            "pg_reload_conf",
            "pg_rotate_logfile",
            "pg_rotate_logfile_old",
            "pg_terminate_backend",
        ],
    ),
];

/// Languages whose functions may do whatever the server's own user may.
const UNTRUSTED: [&str; 10] = [
    "c",
    "plperlu",
    "plpython2u",
    "plpython3u",
    "plpythonu",
    "plr",
    "plsh",
    "plsshu",
    "pltclu",
    "pljavau",
];

/// How deep code within code is looked into.
const DEPTH: u32 = 3;

/// What `statement` reaches beyond its database.
#[must_use]
pub fn reach(statement: &Statement, kind: &Kind) -> Option<Reach> {
    match kind {
        // These are not run, or run nothing.
        Kind::Copy(_) | Kind::CopyOut | Kind::Begin | Kind::End => None,
        Kind::Setting { name, .. } if !name.is_empty() => None,
        // Data may be long, and mean nothing.
        Kind::Insert(_) if !may_call(&statement.text) => None,
        _ => of_tokens(&placed(&statement.decoded()), DEPTH),
    }
}

/// What the statements of an archive's entry reach beyond its database.
#[must_use]
pub fn reach_of(sql: &str) -> Option<Reach> {
    let tokens = placed(sql);
    let mut found = tokens
        .split(|token| token.is_sign(';'))
        .filter_map(|tokens| of_tokens(tokens, DEPTH));
    found.next()
}

fn refused(why: impl Into<String>) -> Option<Reach> {
    Some(Reach::Refused(why.into()))
}

fn told(what: impl Into<String>) -> Option<Reach> {
    Some(Reach::Told(what.into()))
}

fn of_tokens(tokens: &[Placed], depth: u32) -> Option<Reach> {
    let is = |at: usize, words: &[&str]| tokens.get(at).is_some_and(|it| it.is_any(words));
    match () {
        () if is(0, &["COPY"]) => copy(tokens),
        () if is(0, &["ALTER"]) && is(1, &["SYSTEM"]) => refused("ALTER SYSTEM changes settings of the whole server"),
        () if is(0, &["LOAD"]) => refused("LOAD loads code from a file of the server"),
        () if is(0, &["DO"]) => code(tokens, depth),
        () if is(0, &["CREATE"]) => created(tokens, depth),
        // These run nothing: what they define is run later, by whoever uses it.
        () if is(0, &["COMMENT", "SECURITY", "GRANT", "REVOKE"]) => None,
        () => called(tokens),
    }
}

/// `COPY` to and from anything but the session.
fn copy(tokens: &[Placed]) -> Option<Reach> {
    let at = outside(tokens, &["FROM", "TO"])?;
    let writes = tokens[at].is("TO");
    let next = tokens.get(at + 1)?;
    match &next.token {
        _ if next.is("PROGRAM") => refused(format!(
            "COPY … {} PROGRAM runs a program on the server",
            if writes { "TO" } else { "FROM" }
        )),
        Token::Text(_) if writes => refused("COPY … TO writes a file on the server"),
        Token::Text(_) => refused("COPY … FROM reads a file of the server"),
        Token::Word(_) | Token::Quoted(_) | Token::Other(_) if next.is_any(&["STDIN", "STDOUT"]) => called(tokens),
        // `E'…'` and the like are strings too; whatever else stands here names a file.
        _ => refused("COPY reads or writes a file of the server"),
    }
}

/// Code that is run at once: what can be seen in it. It may hide more.
fn code(tokens: &[Placed], depth: u32) -> Option<Reach> {
    if let Some(language) = language_of(tokens).filter(|it| UNTRUSTED.contains(&it.as_str())) {
        return refused(format!(
            "DO runs code in the untrusted language {language} on the server"
        ));
    }
    bodies(tokens, depth)
}

/// What stands in the strings of a statement.
fn bodies(tokens: &[Placed], depth: u32) -> Option<Reach> {
    let depth = depth.checked_sub(1)?;
    tokens.iter().find_map(|token| match &token.token {
        Token::Text(body) => inside(body, depth),
        _ => None,
    })
}

/// What stands anywhere in a piece of code, also in strings that it may execute.
fn inside(body: &str, depth: u32) -> Option<Reach> {
    let tokens = placed(body);
    let is = |at: usize, word: &str| tokens.get(at).is_some_and(|it| it.is(word));
    let loads = |at: usize| is(at, "LOAD") && matches!(tokens.get(at + 1).map(|it| &it.token), Some(Token::Text(_)));
    let statement = (0..tokens.len()).find_map(|at| match () {
        () if is(at, "COPY") => {
            let rest = &tokens[at..];
            let end = rest.iter().position(|it| it.is_sign(';')).unwrap_or(rest.len());
            copy(&rest[..end])
        }
        () if (is(at, "ALTER") && is(at + 1, "SYSTEM")) || loads(at) => of_tokens(&tokens[at..], depth),
        () => None,
    });
    statement.or_else(|| called(&tokens)).or_else(|| bodies(&tokens, depth))
}

/// The language that a function or a block of code is in.
fn language_of(tokens: &[Placed]) -> Option<String> {
    let at = tokens.iter().position(|it| it.is("LANGUAGE"))?;
    match &tokens.get(at + 1)?.token {
        Token::Text(text) => Some(text.to_ascii_lowercase()),
        token => name(token),
    }
}

/// What is created runs nothing yet, but for the query of a table; some of it gives much away to whoever uses it.
fn created(tokens: &[Placed], depth: u32) -> Option<Reach> {
    const BEFORE: [&str; 10] = [
        "CREATE",
        "CONSTRAINT",
        "GLOBAL",
        "LOCAL",
        "OR",
        "PROCEDURAL",
        "REPLACE",
        "TEMP",
        "TEMPORARY",
        "UNLOGGED",
    ];
    let at = tokens.iter().position(|it| !it.is_any(&BEFORE))?;
    let what = &tokens[at];
    match () {
        () if what.is("LANGUAGE") => language(&tokens[at..]),
        () if what.is_any(&["TABLE", "MATERIALIZED"]) => {
            let query = outside(tokens, &["AS"])?;
            called(&tokens[query..])
        }
        () if what.is_any(&["FUNCTION", "PROCEDURE"]) => function(&tokens[at..], depth),
        () if what.is("SUBSCRIPTION") => told("a subscription to another server"),
        () if what.is("SERVER") => told("a foreign server"),
        () if what.is("FOREIGN") && tokens.get(at + 1).is_some_and(|it| it.is("TABLE")) => {
            let program = tokens
                .windows(2)
                .any(|pair| pair[0].is("PROGRAM") && matches!(pair[1].token, Token::Text(_)));
            program.then(|| Reach::Told("a foreign table that runs a program on the server when it is read".to_owned()))
        }
        () if what.is("EVENT") => told("an event trigger, which runs when others change the database"),
        () => None,
    }
}

/// `CREATE LANGUAGE` of one that is not trusted.
fn language(tokens: &[Placed]) -> Option<Reach> {
    let name = name(&tokens.get(1)?.token)?;
    let by_hand = tokens.iter().any(|it| it.is("HANDLER"));
    match by_hand || UNTRUSTED.contains(&name.as_str()) {
        true => refused(format!(
            "CREATE LANGUAGE {name} lets functions do what the user of the server may"
        )),
        false => None,
    }
}

/// A function that can reach beyond the database once somebody calls it.
fn function(tokens: &[Placed], depth: u32) -> Option<Reach> {
    if let Some(language) = language_of(tokens).filter(|it| UNTRUSTED.contains(&it.as_str())) {
        return told(format!("a function in the untrusted language {language}"));
    }
    match bodies(tokens, depth).or_else(|| called(tokens))? {
        Reach::Refused(why) | Reach::Told(why) => told(format!("a function in whose code {why}")),
    }
}

/// A function that is called, of those that reach beyond the database.
fn called(tokens: &[Placed]) -> Option<Reach> {
    tokens.windows(2).enumerate().find_map(|(at, pair)| {
        let name = name(&pair[0].token).filter(|_| pair[1].is_sign('('))?;
        // U&"…" may be any name. pg_dump does not write it.
        let escaped = matches!(pair[0].token, Token::Quoted(_))
            && name.contains('\\')
            && at >= 2
            && tokens[at - 1].is_sign('&')
            && tokens[at - 2].is("U");
        if escaped {
            return refused("a function is called whose name is written in escapes");
        }
        let (does, _) = CALLS.iter().find(|(_, names)| names.contains(&name.as_str()))?;
        refused(format!("{name} {does}"))
    })
}

/// A name as the server knows it.
fn name(token: &Token) -> Option<String> {
    match token {
        Token::Word(word) => Some(word.to_ascii_lowercase()),
        Token::Quoted(name) => Some(name.clone()),
        Token::Text(_) | Token::Other(_) => None,
    }
}

/// Whether the name of such a function may stand anywhere in `text`, which may be long.
fn may_call(text: &[u8]) -> bool {
    let escapes = memchr::memmem::find(text, b"&\"").is_some();
    let mut underscores = memchr::memchr_iter(b'_', text);
    escapes
        || underscores.any(|at| {
            let start = at.saturating_sub(2);
            let is = |name: &&str| {
                let found = text.get(start..start + name.len());
                found.is_some_and(|it| it.eq_ignore_ascii_case(name.as_bytes()))
            };
            CALLS.iter().any(|(_, names)| names.iter().any(&is))
        })
}

/// What keeps a statement among the rows of an archive from being an INSERT that stays within its database.
#[must_use]
pub fn of_insert(statement: &Statement, kind: &Kind) -> Option<String> {
    match (kind, reach(statement, kind)) {
        (_, Some(Reach::Refused(why))) => Some(why),
        (Kind::Insert(_), _) => None,
        _ => Some("a statement among the rows is no INSERT".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(sql: &str) -> Option<Reach> {
        let statement = Statement {
            line: 1,
            text: bytes::Bytes::copy_from_slice(sql.as_bytes()),
            rows: 0,
        };
        let kind = statement.kind();
        reach(&statement, &kind)
    }

    #[test]
    fn what_reaches_the_server_is_refused() {
        for sql in [
            "COPY x FROM PROGRAM 'id > /tmp/x';",
            "copy (select 1) to program 'sh';",
            "COPY x (a, b) FROM '/etc/passwd' WITH (FORMAT csv);",
            "COPY x TO E'/tmp/x';",
            "COPY x TO $$/tmp/x$$;",
            "SELECT lo_import('/etc/passwd');",
            "SELECT pg_catalog.\"lo_export\"(1, '/tmp/x');",
            "SELECT pg_catalog.set_config('a.b', pg_read_file('x'), false);",
            "SELECT U&\"lo\\005fimport\"('/etc/passwd');",
            "INSERT INTO t VALUES (1, PG_READ_FILE /* x */ ('/etc/passwd'));",
            "INSERT INTO t VALUES (1, U&\"lo\\005fimport\"('/etc/passwd'));",
            "WITH a AS (SELECT pg_ls_dir('.')) INSERT INTO t SELECT * FROM a;",
            "UPDATE t SET a = pg_read_binary_file('x');",
            "CREATE TABLE t AS SELECT pg_stat_file('x');",
            "CREATE MATERIALIZED VIEW t AS SELECT pg_stat_file('x');",
            "ALTER SYSTEM SET archive_command = 'x';",
            "SELECT pg_reload_conf();",
            "CREATE LANGUAGE plpython3u;",
            "CREATE OR REPLACE PROCEDURAL LANGUAGE mine HANDLER h;",
            "LOAD '/tmp/x.so';",
            "DO $$ BEGIN COPY t FROM PROGRAM 'x'; END $$;",
            "DO $x$ BEGIN EXECUTE 'COPY t TO PROGRAM ''x'''; END $x$;",
            "DO LANGUAGE plperlu $$ system('x') $$;",
            "DO $$ BEGIN PERFORM lo_import('x'); END $$;",
        ] {
            assert!(matches!(found(sql), Some(Reach::Refused(_))), "{sql}");
        }
    }

    #[test]
    fn what_a_dump_may_have_is_told() {
        for sql in [
            "CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS $$ BEGIN COPY t FROM PROGRAM 'x'; END $$;",
            "CREATE FUNCTION f() RETURNS int LANGUAGE c AS '$libdir/x', 'f';",
            "CREATE FUNCTION f() RETURNS int LANGUAGE plpython3u AS $$ return 1 $$;",
            "CREATE SUBSCRIPTION s CONNECTION 'host=x' PUBLICATION p WITH (connect = false);",
            "CREATE FOREIGN TABLE f (a text) SERVER s OPTIONS (program 'ls');",
            "CREATE SERVER s FOREIGN DATA WRAPPER postgres_fdw;",
            "CREATE EVENT TRIGGER e ON ddl_command_end EXECUTE FUNCTION f();",
        ] {
            assert!(matches!(found(sql), Some(Reach::Told(_))), "{sql}");
        }
    }

    #[test]
    fn what_stays_within_the_database_is_not_taken_for_it() {
        for sql in [
            "COPY x (program, a) FROM stdin;",
            "INSERT INTO t VALUES ('COPY x FROM PROGRAM ''y''', 'pg_read_file(1)');",
            "INSERT INTO pg_read_file VALUES (1);",
            "CREATE VIEW v AS SELECT pg_read_file('x');",
            "CREATE TABLE t (a text DEFAULT pg_read_file('x'));",
            "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS $$ SELECT 1 $$;",
            "CREATE FOREIGN TABLE f (a text) SERVER s OPTIONS (table_name 'program');",
            "CREATE TRUSTED PROCEDURAL LANGUAGE plperl HANDLER h;",
            "CREATE EXTENSION plpython3u;",
            "COMMENT ON TABLE t IS 'LOAD';",
            "SELECT pg_catalog.lo_create('12');",
            "SELECT pg_catalog.lowrite(0, '\\x00');",
            "SELECT pg_catalog.set_config('search_path', '', false);",
            "DO $$ BEGIN PERFORM 1; END $$;",
        ] {
            assert_eq!(found(sql), None, "{sql}");
        }
    }
}
