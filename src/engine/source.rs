//! Which kind of database a source string is of: `DATABASE_URL`, `url` of a job, `--to`.
//!
//! Strings come as frameworks write them, so the scheme may name a driver too: `postgresql+psycopg2://`, `jdbc:postgresql://`.

use crate::error::{Exit, Fail};

/// A kind of database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceKind {
    /// PostgreSQL: a URL, a string of keywords, the name of a database, or nothing.
    Postgres,
    /// SQLite: a URL or the path of a file.
    Sqlite,
    /// Something else, by the name that people know it by.
    Other(String),
}

/// Schemes of PostgreSQL, as libpq, SQLAlchemy, Django, Rails, Doctrine, Ecto and pgx write them.
const POSTGRES: &[&str] = &[
    "postgresql",
    "postgres",
    "postgis",
    "pgsql",
    "psql",
    "pg",
    "pgx",
    "pgx4",
    "pgx5",
    "pdo-pgsql",
    "pdo_pgsql",
    "ecto",
    "timescale",
    "timescaledb",
    "timescalegis",
];

/// Schemes of SQLite.
const SQLITE: &[&str] = &[
    "sqlite",
    "sqlite2",
    "sqlite3",
    "file",
    "spatialite",
    "pdo-sqlite",
    "pdo_sqlite",
];

/// What schemes of other databases are called by people.
const OTHERS: &[(&str, &str)] = &[
    ("mysql", "MySQL"),
    ("mysql2", "MySQL"),
    ("mysqli", "MySQL"),
    ("mysqlx", "MySQL"),
    ("mysqlgis", "MySQL"),
    ("pdo-mysql", "MySQL"),
    ("pdo_mysql", "MySQL"),
    ("trilogy", "MySQL"),
    ("mariadb", "MariaDB"),
    ("mssql", "Microsoft SQL Server"),
    ("mssqlms", "Microsoft SQL Server"),
    ("sqlserver", "Microsoft SQL Server"),
    ("sqlsrv", "Microsoft SQL Server"),
    ("pdo-sqlsrv", "Microsoft SQL Server"),
    ("jtds", "Microsoft SQL Server"),
    ("tds", "Microsoft SQL Server"),
    ("mongodb", "MongoDB"),
    ("mongo", "MongoDB"),
    ("oracle", "Oracle"),
    ("oraclegis", "Oracle"),
    ("oci8", "Oracle"),
    ("redis", "Redis"),
    ("rediss", "Redis"),
    ("valkey", "Valkey"),
    ("memcached", "memcached"),
    ("amqp", "AMQP (a message queue)"),
    ("amqps", "AMQP (a message queue)"),
    ("cockroach", "CockroachDB"),
    ("cockroachdb", "CockroachDB"),
    ("redshift", "Amazon Redshift"),
    ("clickhouse", "ClickHouse"),
    ("clickhousedb", "ClickHouse"),
    ("duckdb", "DuckDB"),
    ("snowflake", "Snowflake"),
    ("bigquery", "BigQuery"),
    ("databricks", "Databricks"),
    ("cassandra", "Cassandra"),
    ("couchdb", "CouchDB"),
    ("elasticsearch", "Elasticsearch"),
    ("neo4j", "Neo4j"),
    ("bolt", "Neo4j"),
    ("firebird", "Firebird"),
    ("db2", "Db2"),
    ("ibm_db_sa", "Db2"),
    ("hana", "SAP HANA"),
    ("teradata", "Teradata"),
    ("trino", "Trino"),
    ("presto", "Presto"),
    ("hsqldb", "HSQLDB"),
    ("h2", "H2"),
    ("derby", "Derby"),
    ("libsql", "libSQL"),
    ("prisma", "Prisma's proxy"),
    ("prisma+postgres", "Prisma's proxy"),
    ("prisma+postgresql", "Prisma's proxy"),
    ("http", "a web server"),
    ("https", "a web server"),
    ("s3", "a bucket"),
];

impl SourceKind {
    /// The kind of `text`, which [`unwrap`] was applied to.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let Some((scheme, rest)) = scheme(text) else {
            return match is_path(text) {
                true => SourceKind::Sqlite,
                false => SourceKind::Postgres,
            };
        };
        if let Some((_, name)) = OTHERS.iter().find(|(known, _)| *known == scheme) {
            return SourceKind::Other((*name).to_owned());
        }
        // The driver comes after a plus sign; in Java's URLs the database may come after names of drivers.
        let base = scheme.split('+').next().unwrap_or_default();
        match base {
            _ if POSTGRES.contains(&base) => SourceKind::Postgres,
            _ if SQLITE.contains(&base) => SourceKind::Sqlite,
            "jdbc" | "r2dbc" | "vertx-reactive" | "dbi" | "odbc" => of_wrapped(rest),
            _ => match OTHERS.iter().find(|(known, _)| *known == base) {
                Some((_, name)) => SourceKind::Other((*name).to_owned()),
                None => SourceKind::Other(format!("a database of the scheme {base:?}")),
            },
        }
    }
}

impl SourceKind {
    /// The error of a kind that cannot be backed up. It shows nothing of the string, which may hold a password.
    #[must_use]
    pub fn unsupported(&self) -> Fail {
        let kind = match self {
            SourceKind::Postgres => "this form of connection string",
            SourceKind::Sqlite => "SQLite",
            SourceKind::Other(kind) => kind,
        };
        Fail::new(Exit::Usage, format!("{kind} is not supported"))
            .hint("the URL of a PostgreSQL database begins with postgresql://")
    }
}

/// What follows the scheme of a PostgreSQL URL and its colon, and whether that scheme comes after another, as in
/// `jdbc:postgresql:`; `None` for what has no such scheme.
#[must_use]
pub fn after_scheme(text: &str) -> Option<(&str, bool)> {
    let (mut text, mut wrapped) = (text, false);
    loop {
        let (scheme, rest) = scheme(text)?;
        let base = scheme.split('+').next().unwrap_or_default();
        if POSTGRES.contains(&base) {
            return Some((rest, wrapped));
        }
        (text, wrapped) = (rest, true);
    }
}

/// What follows `jdbc:`: the database's scheme, maybe after names of drivers, as in `aws-wrapper:postgresql://`.
fn of_wrapped(rest: &str) -> SourceKind {
    let before = rest.split(['/', '?', '@', ';', '=']).next().unwrap_or_default();
    let mut names = before.split(':').map(str::to_ascii_lowercase).take(3);
    let known = names.find_map(|name| match SourceKind::of(&format!("{name}:")) {
        SourceKind::Other(kind) if kind.starts_with("a database of") => None,
        kind => Some(kind),
    });
    // What stands there may be anything, also a password: it is not repeated.
    known.unwrap_or_else(|| SourceKind::Other("an unknown kind of database".to_owned()))
}

/// The scheme of a URL in small letters, and what follows its colon. A string of libpq's keywords has none, nor has a plain name.
#[must_use]
pub fn scheme(text: &str) -> Option<(String, &str)> {
    let (scheme, rest) = text.split_once(':')?;
    let mut bytes = scheme.bytes();
    let begins = bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic());
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.' | b'_');
    (begins && bytes.all(fine)).then(|| (scheme.to_ascii_lowercase(), rest))
}

/// Whether a text without a scheme is the path of a file rather than the name of a database or a string of keywords.
fn is_path(text: &str) -> bool {
    const ENDINGS: [&str; 4] = [".sqlite", ".sqlite3", ".db", ".db3"];
    let lower = text.to_ascii_lowercase();
    // `user:password@host/database` is a URL that lost its scheme.
    let is_address = text.find('@').is_some_and(|at| text[..at].contains(':'));
    let named = text.contains('/') || ENDINGS.iter().any(|ending| lower.ends_with(ending));
    text == ":memory:" || named && !is_address && !text.contains('=')
}

/// The string itself, without what it was wrapped in on its way out of a `.env` file or a shell: blanks, line ends, quotes, a
/// byte order mark, `psql` before it.
#[must_use]
pub fn unwrap(text: &str) -> &str {
    let blank = |c: char| c.is_whitespace() || c == '\u{feff}' || c == '\u{200b}';
    let mut text = text.trim_matches(blank);
    if let Some(rest) = text.strip_prefix("psql ") {
        text = rest.trim_matches(blank);
    }
    for quote in ['"', '\'', '`'] {
        let inner = text.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
        // In a string of keywords a quote at the end belongs to a value; one at the beginning belongs to nothing.
        if let Some(inner) = inner {
            return inner.trim_matches(blank);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_is_told_by_the_scheme() {
        for text in [
            "",
            "app",
            "host=db dbname=app password=a:b",
            "postgresql://db/app",
            "POSTGRES://db/app",
            "postgresql+psycopg2://u:p@db/app",
            "postgres+asyncpg://db/app",
            "postgis://db/app",
            "pgsql:host=db;dbname=app",
            "jdbc:postgresql://db/app?user=u",
            "jdbc:postgresql:app",
            "jdbc:aws-wrapper:postgresql://db/app",
            "r2dbc:pool:postgresql://db/app",
            "ecto://u:p@db/app",
        ] {
            assert_eq!(SourceKind::of(text), SourceKind::Postgres, "{text}");
        }
        for text in [
            "sqlite:///app.db",
            "sqlite:app.db",
            "sqlite3:app.db",
            "sqlite+aiosqlite:///app.db",
            "file:./dev.db",
            "jdbc:sqlite:app.db",
            "/var/lib/app.db",
            "./app",
            "app.sqlite3",
            ":memory:",
        ] {
            assert_eq!(SourceKind::of(text), SourceKind::Sqlite, "{text}");
        }
        for (text, kind) in [
            ("mysql://u:secret@db/app", "MySQL"),
            ("mysql+pymysql://u:secret@db/app", "MySQL"),
            ("jdbc:mysql://db/app", "MySQL"),
            ("jdbc:sqlserver://db;password=secret", "Microsoft SQL Server"),
            ("mongodb+srv://u:secret@db/app", "MongoDB"),
            ("prisma+postgres://localhost/?api_key=secret", "Prisma's proxy"),
            ("jdbc:oracle:thin:u/secret@db", "Oracle"),
            ("nosuch://u:secret@db/app", "a database of the scheme \"nosuch\""),
        ] {
            assert_eq!(SourceKind::of(text), SourceKind::Other(kind.to_owned()), "{text}");
        }
    }

    #[test]
    fn what_env_files_leave_around_a_url_is_taken_off() {
        for text in [
            "\"postgres://db/app\"",
            "'postgres://db/app'\n",
            " postgres://db/app\r\n",
            "\u{feff}postgres://db/app",
            "psql 'postgres://db/app'",
        ] {
            assert_eq!(unwrap(text), "postgres://db/app", "{text:?}");
        }
        assert_eq!(unwrap("dbname='a b'"), "dbname='a b'");
    }
}
