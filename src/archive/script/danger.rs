//! What a statement would do outside of the database, with the rights of whoever restores: run programs on the server,
//! read and write its files, change its settings, load code. No pg_dump writes such statements.

use super::roles::outside;
use super::statement::{Kind, Statement};
use super::tokens::{Placed, Token, placed};
use crate::raw_text;

/// Functions that read and write files of the server.
const FILES: [&str; 12] = [
    "lo_export",
    "lo_import",
    "pg_file_read",
    "pg_file_rename",
    "pg_file_sync",
    "pg_file_unlink",
    "pg_file_write",
    "pg_ls_dir",
    "pg_logdir_ls",
    "pg_read_binary_file",
    "pg_read_file",
    "pg_stat_file",
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

/// What `statement` would do outside of its database.
#[must_use]
pub fn danger(statement: &Statement, kind: &Kind) -> Option<String> {
    match kind {
        Kind::Copy(_) | Kind::Setting { .. } | Kind::Begin | Kind::End => None,
        Kind::Insert(_) if !names_a_function(&statement.text) => None,
        _ => {
            let sql = raw_text::decode(&statement.text);
            of_tokens(&placed(&sql), DEPTH)
        }
    }
}

/// What the statements that create an object of an archive would do outside of its database.
#[must_use]
pub fn danger_in(sql: &str) -> Option<String> {
    placed(sql)
        .split(|token| token.is_sign(';'))
        .find_map(|tokens| of_tokens(tokens, DEPTH))
}

fn of_tokens(tokens: &[Placed], depth: u32) -> Option<String> {
    let is = |at: usize, words: &[&str]| tokens.get(at).is_some_and(|it| it.is_any(words));
    match () {
        () if is(0, &["COPY"]) => copy(tokens),
        () if is(0, &["ALTER"]) && is(1, &["SYSTEM"]) => Some("ALTER SYSTEM changes settings of the whole server".to_owned()),
        () if is(0, &["LOAD"]) => Some("LOAD loads code from a file of the server".to_owned()),
        () if is(0, &["DO"]) => code(tokens, depth),
        () if is(0, &["CREATE"]) => language(tokens).or_else(|| query(tokens)),
        // These run nothing: what they define is run later, by whoever uses it.
        () if is(0, &["COMMENT", "SECURITY", "GRANT", "REVOKE", "REFRESH"]) => None,
        () => called(tokens),
    }
}

/// `COPY` to and from anything but the session.
fn copy(tokens: &[Placed]) -> Option<String> {
    let at = ["FROM", "TO"].iter().find_map(|word| outside(tokens, word))?;
    let direction = tokens[at].token.clone().upper();
    let next = tokens.get(at + 1)?;
    match &next.token {
        _ if next.is("PROGRAM") => Some(format!("COPY … {direction} PROGRAM runs a program on the server")),
        Token::Text(_) => Some(format!(
            "COPY … {direction} a file {} the server",
            if direction == "TO" { "writes to" } else { "reads from" }
        )),
        _ => called(tokens),
    }
}

/// Code that is run at once: what can be seen in it. It may hide more.
fn code(tokens: &[Placed], depth: u32) -> Option<String> {
    let language = tokens.iter().position(|it| it.is("LANGUAGE"));
    let language = language.and_then(|at| name(&tokens.get(at + 1)?.token));
    if let Some(language) = language.filter(|it| UNTRUSTED.contains(&it.as_str())) {
        return Some(format!("DO runs code of the untrusted language {language} on the server"));
    }
    let depth = depth.checked_sub(1)?;
    tokens.iter().find_map(|token| match &token.token {
        Token::Text(body) => inside(body, depth),
        _ => None,
    })
}

/// What stands anywhere in a piece of code, also in strings that it may execute.
fn inside(body: &str, depth: u32) -> Option<String> {
    let tokens = placed(body);
    let is = |at: usize, word: &str| tokens.get(at).is_some_and(|it| it.is(word));
    let statement = (0..tokens.len()).find_map(|at| match () {
        () if is(at, "COPY") => {
            let end = tokens[at..].iter().position(|it| it.is_sign(';')).unwrap_or(tokens.len() - at);
            copy(&tokens[at..at + end])
        }
        () if (is(at, "ALTER") && is(at + 1, "SYSTEM")) || (is(at, "LOAD") && matches!(tokens.get(at + 1)?.token, Token::Text(_))) => {
            of_tokens(&tokens[at..], depth)
        }
        () => None,
    });
    statement.or_else(|| called(&tokens)).or_else(|| {
        let depth = depth.checked_sub(1)?;
        tokens.iter().find_map(|token| match &token.token {
            Token::Text(text) => inside(text, depth),
            _ => None,
        })
    })
}

/// `CREATE LANGUAGE` of one that is not trusted.
fn language(tokens: &[Placed]) -> Option<String> {
    let head = &tokens[..tokens.len().min(6)];
    let at = head.iter().position(|it| it.is("LANGUAGE"))?;
    let only = |it: &Placed| it.is_any(&["CREATE", "OR", "REPLACE", "TRUSTED", "PROCEDURAL"]);
    if !head[..at].iter().all(only) || head.iter().any(|it| it.is("TRUSTED")) {
        return None;
    }
    let name = name(&tokens.get(at + 1)?.token)?;
    let by_hand = tokens.iter().any(|it| it.is("HANDLER"));
    (by_hand || UNTRUSTED.contains(&name.as_str()))
        .then(|| format!("CREATE LANGUAGE {name} lets functions do what the user of the server may"))
}

/// `CREATE TABLE … AS`, which runs its query.
fn query(tokens: &[Placed]) -> Option<String> {
    let before = ["CREATE", "GLOBAL", "LOCAL", "TEMP", "TEMPORARY", "UNLOGGED"];
    let table = tokens.iter().find(|it| !it.is_any(&before))?;
    let at = table.is("TABLE").then(|| outside(tokens, "AS")).flatten()?;
    called(&tokens[at..])
}

/// A function that is called, of those that reach the files of the server.
fn called(tokens: &[Placed]) -> Option<String> {
    tokens.windows(2).find_map(|pair| {
        let name = name(&pair[0].token).filter(|_| pair[1].is_sign('('))?;
        FILES
            .contains(&name.as_str())
            .then(|| format!("{name} reaches files of the server"))
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

/// Whether the name of such a function stands anywhere in `text`, which may be long: in data it means nothing.
fn names_a_function(text: &[u8]) -> bool {
    let mut from = 0;
    while let Some(at) = text[from..].iter().position(|byte| *byte == b'_').map(|at| from + at) {
        let start = at.saturating_sub(2);
        let is = |name: &&str| {
            let end = start + name.len();
            text.get(start..end).is_some_and(|it| it.eq_ignore_ascii_case(name.as_bytes()))
        };
        if FILES.iter().any(|name| is(&name)) {
            return true;
        }
        from = at + 1;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(sql: &str) -> Option<String> {
        let statement = Statement {
            line: 1,
            text: bytes::Bytes::copy_from_slice(sql.as_bytes()),
            rows: 0,
        };
        let kind = statement.kind();
        danger(&statement, &kind)
    }

    #[test]
    fn what_reaches_the_server_is_found() {
        for sql in [
            "COPY x FROM PROGRAM 'id > /tmp/x';",
            "copy (select 1) to program 'sh';",
            "COPY x (a, b) FROM '/etc/passwd' WITH (FORMAT csv);",
            "COPY x TO E'/tmp/x';",
            "SELECT lo_import('/etc/passwd');",
            "SELECT pg_catalog.\"lo_export\"(1, '/tmp/x');",
            "INSERT INTO t VALUES (1, PG_READ_FILE /* x */ ('/etc/passwd'));",
            "WITH a AS (SELECT pg_ls_dir('.')) INSERT INTO t SELECT * FROM a;",
            "UPDATE t SET a = pg_read_binary_file('x');",
            "CREATE TABLE t AS SELECT pg_stat_file('x');",
            "ALTER SYSTEM SET archive_command = 'x';",
            "CREATE LANGUAGE plpython3u;",
            "CREATE OR REPLACE PROCEDURAL LANGUAGE mine HANDLER h;",
            "LOAD '/tmp/x.so';",
            "DO $$ BEGIN COPY t FROM PROGRAM 'x'; END $$;",
            "DO $x$ BEGIN EXECUTE 'COPY t TO PROGRAM ''x'''; END $x$;",
            "DO LANGUAGE plperlu $$ system('x') $$;",
            "DO $$ BEGIN PERFORM lo_import('x'); END $$;",
        ] {
            assert!(found(sql).is_some(), "{sql}");
        }
    }

    #[test]
    fn what_dumps_have_is_not_taken_for_it() {
        for sql in [
            "COPY x (program, a) FROM stdin;",
            "INSERT INTO t VALUES ('COPY x FROM PROGRAM ''y''', 'pg_read_file(1)');",
            "INSERT INTO pg_read_file VALUES (1);",
            "CREATE VIEW v AS SELECT pg_read_file('x');",
            "CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS $$ BEGIN COPY t FROM PROGRAM 'x'; END $$;",
            "CREATE FUNCTION f() RETURNS int LANGUAGE c AS '$libdir/x', 'f';",
            "CREATE TABLE t (a text DEFAULT pg_read_file('x'));",
            "CREATE TRUSTED PROCEDURAL LANGUAGE plperl HANDLER h;",
            "CREATE EXTENSION plpython3u;",
            "COMMENT ON TABLE t IS 'LOAD';",
            "SELECT pg_catalog.lo_create('12');",
            "SELECT pg_catalog.lowrite(0, '\\x00');",
            "DO $$ BEGIN PERFORM 1; END $$;",
        ] {
            assert_eq!(found(sql), None, "{sql}");
        }
    }
}
