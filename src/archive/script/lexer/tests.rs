use super::*;

/// The statements of `text`, which comes `step` bytes at a time, and what is left of it.
fn split(lexer: &mut Lexer, text: &[u8], step: usize) -> Result<(Vec<String>, Vec<u8>)> {
    let (mut statements, mut begin, mut end) = (Vec::new(), 0, 0);
    while end < text.len() {
        end = (end + step).min(text.len());
        while let Some(found) = lexer.end(&text[begin..end], end == text.len())? {
            let End::Own(len) = found else {
                return Err(refused("a command"));
            };
            let statement = &text[begin..begin + len];
            statements.push(crate::raw_text::decode(statement).trim().to_owned());
            begin += len;
        }
    }
    Ok((statements, text[begin..].trim_ascii().to_vec()))
}

fn assert_split(make: impl Fn() -> Lexer, statements: &[&[u8]]) {
    let text = statements.join(&b'\n');
    let wanted: Vec<_> = statements.iter().map(|one| crate::raw_text::decode(one)).collect();
    for step in [1, 2, 3, 7, text.len()] {
        assert_eq!(
            split(&mut make(), &text, step).unwrap(),
            (wanted.clone(), Vec::new()),
            "{step} bytes at a time"
        );
    }
}

#[test]
fn statements_end_where_psql_ends_them() {
    assert_split(
        Lexer::default,
        &[
            b"SELECT 'a;''b\\', \"c;\"\"d\", E'e\\';\\\\';",
            b"SELECT E'a' -- ';\n \t'b\\';', E'c' 'd', 'e'\n'f\\', 7;",
            b"SELECT $$a;b$$, $x$ $$ ; $y$ $x $x$, a$b, $1, 1::int, f(a := 2), a[1:n], a[x.y:'2'] -- ; '\n;",
            b"/* a /* ; */ ' */",
            b"SELECT 1 /**/;",
            b"CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT ')');",
            b"CREATE OR REPLACE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN a THEN 1 END; SELECT 2; END;",
            b"create procedure p(a int) BEGIN ATOMIC INSERT INTO t VALUES (1); END;",
            b"BEGIN;",
            b"END;",
            b"CREATE FUNCTION g() RETURNS text LANGUAGE sql AS $_$ SELECT ';' || $1; $_$;",
            b"INSERT INTO caf\xe9 VALUES (U&'\\0041;', B'01', x'ff', ';');",
        ],
    );
}

#[test]
fn settings_say_what_a_backslash_is() {
    let old = || Lexer {
        escapes: true,
        ..Lexer::default()
    };
    assert_split(old, &[b"SELECT 'it\\'s; \\\\', 'x';", b"SELECT 1;"]);
    // The second byte of the character is a backslash.
    let sjis = || Lexer {
        characters: Characters::ShiftJis,
        ..Lexer::default()
    };
    assert_split(sjis, &[b"SELECT E'\x95\x5c', '\x95\x5c' AS \x95\x5c;", b"SELECT 2;"]);
}

#[test]
fn what_only_psql_understands_is_refused() {
    for text in [":name", ":'name'", ":\"name\"", ":{?name}"] {
        let text = format!("SELECT {text};");
        assert!(split(&mut Lexer::default(), text.as_bytes(), 5).is_err(), "{text}");
    }
}

/// What would look again at what it has seen would take minutes here.
#[test]
fn nothing_is_looked_at_twice_however_long_a_statement_is() {
    let long = 1 << 20;
    for (begin, filling, end) in [
        ("SELECT '", "it''s ; ", "';"),
        ("SELECT E'", "it\\'s \\\\ ", "';"),
        ("SELECT E'a' ", "-- it's\n \t", "'b';"),
        ("SELECT E'a' --", " ; ", "\n'b';"),
        ("SELECT $x$", "$y$ ; '", "$x$;"),
        ("SELECT \"", "a;'", "\";"),
        ("SELECT 1 --", " ; '", "\n;"),
        ("SELECT 1 /* ", "/* ; */ '", "*/;"),
        ("SELECT ", "(a, 1), ", "1;"),
    ] {
        let text = format!("{begin}{}{end}", filling.repeat(long / filling.len()));
        let (statements, rest) = split(&mut Lexer::default(), text.as_bytes(), 1).unwrap();
        assert_eq!((statements.len(), rest.len()), (1, 0), "{begin}");
    }
}

#[test]
fn it_does_not_matter_how_the_text_comes() {
    let parts: [&[u8]; 24] = [
        b"'",
        b"\"",
        b"$",
        b"$a$",
        b";",
        b"(",
        b")",
        b"\\",
        b"-",
        b"--",
        b"/*",
        b"*/",
        b":",
        b"::",
        b"[",
        b"]",
        b"E'",
        b"\n",
        b" ",
        b"values",
        b"create function begin ",
        b"end",
        b"\x95\x5c",
        b"7",
    ];
    let mut read = 0;
    for seed in 0..3000 {
        let mut random = fastrand::Rng::with_seed(seed);
        let make = || Lexer {
            escapes: seed % 3 == 0,
            characters: if seed % 2 == 0 {
                Characters::ShiftJis
            } else {
                Characters::AsciiApart
            },
            ..Lexer::default()
        };
        let text: Vec<u8> = (0..30)
            .flat_map(|_| parts[random.usize(..parts.len())])
            .copied()
            .collect();
        let whole = split(&mut make(), &text, text.len()).ok();
        read += u32::from(whole.as_ref().is_some_and(|(statements, _)| !statements.is_empty()));
        for step in [1, 2, 5] {
            let text_of = || String::from_utf8_lossy(&text).into_owned();
            assert_eq!(
                split(&mut make(), &text, step).ok(),
                whole,
                "{seed}, {step}: {}",
                text_of()
            );
        }
    }
    assert!(read > 200, "{read}");
}
