//! What a COPY of a script says behind the name of its table: whether rows are text, and what they are in.

use crate::sql::tokens::{Placed, outside, placed};

/// The options of a COPY between the session and the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopyOptions {
    /// Rows go to the server; otherwise they come from it.
    pub from: bool,
    /// There are none: a line is a row.
    pub none: bool,
    /// Rows are not text.
    pub binary: bool,
    /// It says which encoding the rows are in.
    encoding: bool,
    /// Where an option may be put in, as a byte of the statement, and what must stand around it.
    place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// In front of the first of the options in parentheses, or of those without.
    Before { at: usize, comma: bool },
    /// There are no options yet; a condition may follow.
    Alone(usize),
}

impl CopyOptions {
    /// Those of `sql`; `None` when it is no COPY from or to the session.
    #[must_use]
    pub fn of(sql: &str) -> Option<CopyOptions> {
        let tokens = placed(sql);
        tokens.first().filter(|it| it.is("COPY"))?;
        let at = outside(&tokens, &["FROM", "TO"])?;
        let from = tokens[at].is("FROM");
        let session = tokens.get(at + 1)?;
        if !session.is_any(&["STDIN", "STDOUT"]) {
            return None;
        }
        let end = session.at.end;
        let rest: Vec<&Placed> = tokens[at + 2..].iter().filter(|it| !it.is_sign(';')).collect();
        let condition = rest.iter().position(|it| it.is("WHERE")).unwrap_or(rest.len());
        let options: Vec<&Placed> = rest[..condition].iter().filter(|it| !it.is("WITH")).copied().collect();
        let place = match options.as_slice() {
            [first, ..] if first.is_sign('(') => Place::Before {
                at: first.at.end,
                comma: true,
            },
            [first, ..] => Place::Before {
                at: first.at.start,
                comma: false,
            },
            [] => Place::Alone(end),
        };
        Some(CopyOptions {
            from,
            none: rest.is_empty(),
            binary: tokens[1].is("BINARY") || options.iter().any(|it| it.is("BINARY")),
            encoding: options.iter().any(|it| it.is("ENCODING")),
            place,
        })
    }

    /// `sql`, without its semicolon, with the encoding `name` of its rows, where it does not name one itself.
    #[must_use]
    pub fn with_encoding(self, sql: &str, name: &str) -> String {
        let name = name.replace('\'', "''");
        let put = |at: usize, option: String| format!("{}{option}{}", &sql[..at], &sql[at..]);
        match self.place {
            _ if self.encoding => sql.to_owned(),
            Place::Before { at, comma: true } => put(at, format!("ENCODING '{name}', ")),
            Place::Before { at, comma: false } => put(at, format!("ENCODING '{name}' ")),
            Place::Alone(at) => put(at, format!(" WITH (ENCODING '{name}')")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_encoding_goes_where_options_are() {
        for (sql, wanted) in [
            ("COPY t FROM stdin", "COPY t FROM stdin WITH (ENCODING 'X')"),
            (
                "COPY t (a, \"from\") FROM STDIN WITH (FORMAT csv)",
                "COPY t (a, \"from\") FROM STDIN WITH (ENCODING 'X', FORMAT csv)",
            ),
            (
                "COPY t FROM stdin CSV HEADER",
                "COPY t FROM stdin ENCODING 'X' CSV HEADER",
            ),
            (
                "COPY t FROM stdin WHERE a > 1",
                "COPY t FROM stdin WITH (ENCODING 'X') WHERE a > 1",
            ),
            ("COPY t FROM stdin (ENCODING 'Y')", "COPY t FROM stdin (ENCODING 'Y')"),
        ] {
            let options = CopyOptions::of(sql).unwrap();
            assert_eq!(options.with_encoding(sql, "X"), wanted);
        }
    }

    #[test]
    fn only_what_the_session_sends_counts() {
        for sql in ["COPY t FROM 'stdin'", "COPY t FROM PROGRAM 'x'", "SELECT 1"] {
            assert_eq!(CopyOptions::of(sql), None, "{sql}");
        }
        let of = |sql| CopyOptions::of(sql).unwrap();
        assert!(of("COPY t FROM stdin;").none && of("COPY t FROM stdin;").from);
        assert!(!of("COPY t FROM stdin WHERE a > 1;").none);
        assert!(of("COPY t FROM stdin WITH (FORMAT 'binary')").binary || of("COPY BINARY t FROM stdin").binary);
        assert!(!of("COPY t TO stdout").from);
    }
}
