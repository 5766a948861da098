//! What the server refused, with the statement: pg_dump tells both.

use std::fmt;

use tokio_postgres::error::DbError;

/// A statement of a dump that the server answered with an error.
#[derive(Debug)]
pub struct Refused {
    statement: String,
    /// The table whose rows were coming in already.
    table: Option<String>,
    major: u32,
    error: tokio_postgres::Error,
}

impl Refused {
    /// `error` of a server of the version `major` with the `statement` that it is the answer to. What the server did not say
    /// stays what it is.
    pub(super) fn because(error: tokio_postgres::Error, statement: &str, major: u32) -> anyhow::Error {
        Refused::with_table(error, statement, major, None)
    }

    /// The same in the middle of the rows of `table`.
    pub(super) fn because_of_rows(
        error: tokio_postgres::Error,
        statement: &str,
        major: u32,
        table: &str,
    ) -> anyhow::Error {
        Refused::with_table(error, statement, major, Some(table))
    }

    fn with_table(error: tokio_postgres::Error, statement: &str, major: u32, table: Option<&str>) -> anyhow::Error {
        if error.as_db_error().is_none() {
            return error.into();
        }
        let refused = Refused {
            statement: statement.to_owned(),
            table: table.map(str::to_owned),
            major,
            error,
        };
        refused.into()
    }

    /// Finds it in the chain of `error`.
    #[must_use]
    pub fn find(error: &anyhow::Error) -> Option<&Refused> {
        error.chain().find_map(|cause| cause.downcast_ref())
    }

    /// What pg_dump of the server's version says of it, without its own name in front: first what failed, then more about
    /// that.
    #[must_use]
    pub fn in_words_of_pg_dump(&self) -> (String, Vec<String>) {
        let said = self.error.as_db_error().map_or_else(String::new, as_libpq);
        let statement = &self.statement;
        let before_15 = self.major < 15;
        let detail = |old: &str, new: &str| if before_15 { old.to_owned() } else { new.to_owned() };
        match &self.table {
            None => (
                format!("error: query failed: {said}"),
                vec![detail("error: query was: ", "detail: Query was: ") + statement],
            ),
            Some(table) => (
                format!("error: Dumping the contents of table \"{table}\" failed: PQgetResult() failed."),
                vec![
                    detail(
                        "error: Error message from server: ",
                        "detail: Error message from server: ",
                    ) + &said,
                    detail("error: The command was: ", "detail: Command was: ") + statement + ";",
                ],
            ),
        }
    }
}

/// The lines in which libpq tells a server's error.
fn as_libpq(error: &DbError) -> String {
    let mut text = format!("{}:  {}", error.severity(), error.message());
    for (mark, said) in [
        ("DETAIL", error.detail()),
        ("HINT", error.hint()),
        ("CONTEXT", error.where_()),
    ] {
        if let Some(said) = said {
            text.push_str(&format!("\n{mark}:  {said}"));
        }
    }
    text
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("query failed")
    }
}

impl std::error::Error for Refused {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}
