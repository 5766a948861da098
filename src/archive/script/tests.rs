use super::*;
use crate::archive::source::Source;

async fn read(text: &[u8]) -> Result<Vec<Piece>> {
    let script = Script::open(Source::memory(Bytes::copy_from_slice(text))).await?;
    let mut reading = script.read()?;
    let mut pieces = Vec::new();
    while let Some(piece) = reading.next().await? {
        pieces.push(piece);
    }
    Ok(pieces)
}

fn statement(line: u64, text: &'static str, kind: Kind) -> Piece {
    let text = Bytes::from_static(text.as_bytes());
    Piece::Statement(Statement { line, text, rows: 1 }, kind)
}

fn rows(text: &'static str, rows: u64) -> Piece {
    Piece::Rows(Bytes::from_static(text.as_bytes()), rows)
}

#[tokio::test]
async fn a_script_is_its_statements_and_rows() {
    let text = b"\xEF\xBB\xBF--\n-- PostgreSQL database dump\n--\n\\restrict x\n/* ; */\n\
        \\connect -reuse-previous=on \"dbname='it''s'\"\n";
    assert!(
        read(text).await.is_err(),
        "a quote inside of the name is escaped otherwise"
    );
    let text = b"\xEF\xBB\xBF--\n-- PostgreSQL database dump\n--\n\\restrict x\n/* ; */\n\
        \\connect -reuse-previous=on \"dbname='a \\\\'b'\"\nCREATE TABLE t\n(a text);;\n\
        COPY t (a) FROM stdin;\n;\n\\\\.\n\\.\n\nCOPY u FROM stdin;\r\n\\.\r\nSELECT 1;\n\\unrestrict x";
    let text = String::from_utf8(text.to_vec())
        .unwrap()
        .replace("\\\\'b", "\\'b")
        .into_bytes();
    assert_eq!(
        read(&text).await.unwrap(),
        [
            Piece::Comment(String::new()),
            Piece::Comment("PostgreSQL database dump".to_owned()),
            Piece::Comment(String::new()),
            Piece::Connect("a 'b".to_owned()),
            statement(7, "CREATE TABLE t\n(a text);", Kind::Other),
            statement(9, "COPY t (a) FROM stdin;", Kind::Copy("t".to_owned())),
            rows(";\n\\\\.\n", 2),
            Piece::EndOfRows,
            statement(14, "COPY u FROM stdin;", Kind::Copy("u".to_owned())),
            Piece::EndOfRows,
            statement(16, "SELECT 1;", Kind::Other),
        ]
    );
}

#[tokio::test]
async fn rows_of_inserts_are_counted() {
    let text = "INSERT INTO t (a, b) OVERRIDING SYSTEM VALUE VALUES\n\t(1, '('),\n\t((2), f(3, (4)));\n\
                INSERT INTO t DEFAULT VALUES;\nINSERT INTO t VALUES ('),(');";
    let rows = read(text.as_bytes())
        .await
        .unwrap()
        .into_iter()
        .map(|piece| match piece {
            Piece::Statement(statement, _) => statement.rows,
            _ => 0,
        });
    assert_eq!(rows.collect::<Vec<_>>(), [2, 1, 1]);
}

#[tokio::test]
async fn what_psql_does_between_statements_is_done() {
    let text = "\\x on\nSELECT 1 \\; SELECT 2\n\\g /dev/null\nSELECT ';' \\gdesc\n\\d t\n\\if true\n\\else\nSELECT :x;\n\\endif\n\
                COPY t TO stdout;\nCOPY t (a) FROM STDIN WITH (FORMAT csv, HEADER);\na\n\"1\n2\"\n\\.\n\
                \\if no\n\\i x\nSELECT 3;\n\\elif yes\nSELECT 4;\n\\endif\n";
    let text = text.replace("SELECT :x;\n", "SELECT 9;\n");
    let prints = |line, what: &str| Piece::Prints(line, what.to_owned());
    assert_eq!(
        read(text.as_bytes()).await.unwrap(),
        [
            prints(1, "\\x"),
            statement(2, "SELECT 1;", Kind::Other),
            statement(2, "SELECT 2;", Kind::Other),
            prints(4, "\\gdesc"),
            prints(5, "\\d"),
            prints(10, "COPY … TO stdout"),
            Piece::Statement(
                Statement {
                    line: 11,
                    text: Bytes::from_static(b"COPY t (a) FROM STDIN WITH (FORMAT csv, HEADER);"),
                    // Its groups in parentheses: of a COPY nobody asks.
                    rows: 2,
                },
                Kind::Copy("t".to_owned())
            ),
            rows("a\n\"1\n2\"\n", 3),
            Piece::EndOfRows,
            statement(20, "SELECT 4;", Kind::Other),
        ]
    );
}

#[tokio::test]
async fn what_is_cut_is_found_out() {
    for (text, message) in [
        ("SELECT 1", "in line 1 has no end"),
        ("SELECT 1;\n\nSELECT ';", "in line 3 has no end"),
        ("/* no", "has no end"),
        ("COPY t FROM stdin;\n1\n2\n", "COPY in line 1 have no end"),
        ("COPY t FROM stdin;\n1\n\\", "COPY in line 1 have no end"),
    ] {
        let error = format!("{:#}", read(text.as_bytes()).await.unwrap_err());
        assert!(error.contains(message), "{text}: {error}");
    }
}

#[tokio::test]
async fn what_is_no_script_is_told() {
    for (bytes, message) in [
        (b"".as_slice(), "empty"),
        (b"\xff\xfe-\0-\0", "UTF-16"),
        (b"\x7fELF\0\0", "neither"),
        (b"BZh91AY&SY", "packed in a way"),
        (b"age-encryption.org/v1\n-> X25519 x\n", "encrypted"),
    ] {
        let error = format!("{:#}", read(bytes).await.unwrap_err());
        assert!(error.contains(message), "{error}");
    }
    for (text, message) in [
        ("SELECT 1;\n\\i other.sql\n", "line 2: there is the command \\i"),
        (
            "SELECT 1\n\\gset\n",
            "line 2: there is the command \\gset of psql inside",
        ),
        ("\\if true\nSELECT 1;\n", "the \\if in line 1 has no \\endif"),
        ("\nSELECT\n:x;\n", "line 3: there is a variable"),
        ("COPY t FROM stdin (FORMAT binary);\n", "line 1: rows in binary"),
    ] {
        let error = format!("{:#}", read(text.as_bytes()).await.unwrap_err());
        assert!(error.contains(message), "{text}: {error}");
    }
}

/// Whatever is put together of what scripts have in them is read or refused, and nothing is handed out twice.
/// `FUZZ_RUNS` says how many are tried.
#[tokio::test]
async fn scripts_of_any_shape_are_read_or_refused() {
    const PARTS: [&str; 34] = [
        "SELECT ",
        "COPY t FROM stdin;\n",
        "COPY t FROM stdin (FORMAT csv);\n",
        "COPY t TO stdout;\n",
        "\\.\n",
        "1\t2\n",
        "INSERT INTO t VALUES (1);\n",
        "\\if true\n",
        "\\if no\n",
        "\\elif 1\n",
        "\\else\n",
        "\\endif\n",
        "\\g\n",
        "\\gx\n",
        "\\;",
        "\\d\n",
        "\\connect app\n",
        "\\encoding SJIS\n",
        "\\x on\n",
        "'",
        "\"",
        "$x$",
        "$$",
        ";",
        "\n",
        "--",
        "/*",
        "*/",
        "(",
        ")",
        "E'",
        "\u{e9}",
        "BEGIN ATOMIC ",
        "SET client_encoding = 'UTF8';\n",
    ];
    let runs = std::env::var("FUZZ_RUNS").map_or(3_000, |runs| runs.parse().unwrap());
    let mut whole = 0;
    for seed in 0..runs {
        let mut random = fastrand::Rng::with_seed(seed);
        let parts = (0..random.usize(1..20)).map(|_| PARTS[random.usize(..PARTS.len())]);
        let text: String = parts.collect();
        let Ok(pieces) = read(text.as_bytes()).await else {
            continue;
        };
        let bytes = pieces.iter().map(|piece| match piece {
            Piece::Statement(statement, _) => statement.text.len(),
            Piece::Rows(rows, _) => rows.len(),
            _ => 0,
        });
        assert!(bytes.sum::<usize>() <= text.len(), "{seed}: {text}");
        whole += u64::from(!pieces.is_empty());
    }
    assert!(whole > runs / 50, "{whole} of {runs} were read");
}
