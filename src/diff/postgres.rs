//! A side that is of PostgreSQL: an archive, read by ranges, or the live database, dumped to nowhere.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use anyhow::Context as _;
use futures_util::StreamExt as _;
use xxhash_rust::xxh3::xxh3_128;

use super::copy_text::{Cut, Each, Values};
use super::report::Named;
use super::side::{Object, Side, Table, TableName};
use crate::archive::reader::Reader;
use crate::archive::toc::{DumpId, Entry};
use crate::engine::postgres::connect::session::{Query, Session};
use crate::engine::postgres::connect::{Dsn, connect};
use crate::engine::postgres::dump::{Request, column_order, dump};
use crate::engine::postgres::progress::Progress;
use crate::engine::postgres::snapshot;
use crate::error::{Exit, Fail, Result};
use crate::manifest::{self, LargeObjects, Spelling};
use crate::names::Names;
use crate::restore::postgres::null_sink::NullSink;
use crate::row_hash::RowHash;
use crate::seal::Compression;
use crate::sql::quote::Quote;
use crate::sql::tokens::{Token, Tokens};

/// A side, and where its rows come from.
pub struct Postgres {
    /// What is known without reading rows.
    pub side: Side,
    /// How values are written, where that is known.
    pub spelling: Option<Spelling>,
    database: String,
    entries: Arc<Vec<Entry>>,
    from: From,
}

enum From {
    Archive(Box<Reader>),
    /// A session in the snapshot that the side is of.
    Live(Box<Session>),
}

/// What is known of an archive beside its table of contents.
pub struct Known {
    /// What it is.
    pub named: Named,
    /// The rows of its tables.
    pub tables: Vec<manifest::Table>,
    /// Extensions with their versions.
    pub extensions: Option<BTreeMap<String, String>>,
    /// Its large objects.
    pub large_objects: Option<LargeObjects>,
    /// How its values are written.
    pub spelling: Option<Spelling>,
}

/// How the live database is read.
pub struct HowLive<'a> {
    /// As the job dumps it.
    pub dump: &'a Request,
    /// The other side: rows are read by its columns, written as it has them.
    pub other: Option<&'a Postgres>,
    /// The tables that are compared.
    pub names: &'a Names,
    /// No rows are read.
    pub schema_only: bool,
}

impl Postgres {
    /// An archive. The database is called as it is on the `other` side.
    pub fn archive(reader: Reader, known: Known, other: Option<&Postgres>) -> Postgres {
        let entries = Arc::clone(reader.entries());
        let database = reader.header().database.clone();
        let mut side = side(&entries, &known.tables, &database, shown(other, &database));
        side.named = known.named;
        side.extensions = known.extensions;
        side.large_objects = known.large_objects;
        Postgres {
            side,
            spelling: known.spelling,
            database,
            entries,
            from: From::Archive(Box::new(reader)),
        }
    }

    /// The live database, as of now.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn live(dsn: &Dsn, named: Named, how: &HowLive<'_>, progress: &dyn Progress) -> Result<Postgres> {
        let mut request = how.dump.clone();
        request.options.schema_only |= how.schema_only;
        request.compress = Compression::NONE;
        request.hash_only = true;
        request.rows_of = (!how.names.is_all()).then(|| how.names.clone());
        if let Some(other) = how.other {
            request.session.spelling.clone_from(&other.spelling);
            request.columns = Arc::new(column_order(&other.entries));
            request.common_columns = true;
        }
        let session = connect(dsn).await?;
        snapshot::begin(&session, &request.session_options(dsn)).await?;
        request.session.snapshot = Some(snapshot::export(&session).await?);
        let dumped = dump(dsn, &request, Box::new(NullSink), progress).await?;
        let entries = Arc::clone(&dumped.toc);
        let mut side = side(&entries, &dumped.tables, &dsn.database, shown(how.other, &dsn.database));
        side.named = named;
        side.extensions = Some(dumped.extensions);
        side.large_objects = Some(dumped.large_objects);
        for (name, table) in &mut side.tables {
            // What was read in the order of the other side has the hash of these columns.
            let order = request.columns.get(name).map(Vec::as_slice).unwrap_or_default();
            let read: Vec<String> = order.iter().filter(|it| table.columns.contains(it)).cloned().collect();
            if !read.is_empty() {
                table.hashed = read;
            }
        }
        Ok(Postgres {
            side,
            spelling: Some(dumped.spelling),
            database: dsn.database.clone(),
            entries,
            from: From::Live(Box::new(session)),
        })
    }

    /// Hands each row of a table to `each`, with the values of these columns.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn rows(&self, name: &TableName, columns: &[String], each: &mut Each<'_>) -> Result<()> {
        let full = format!("{}.{}", name.0, name.1);
        let read = match &self.from {
            From::Archive(reader) => self.archived_rows(reader, name, columns, each).await,
            From::Live(session) => live_rows(session, name, columns, each).await,
        };
        read.with_context(|| format!("reading the rows of {full} in {}", self.side.named.title()))
    }

    /// The hash of a table's rows by these columns, as COPY writes them.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn hash(&self, name: &TableName, columns: &[String]) -> Result<String> {
        let (mut hash, mut row) = (RowHash::default(), Vec::new());
        let mut each = |values: &[&[u8]]| {
            row.clear();
            for value in values {
                row.extend_from_slice(value);
                row.push(b'\t');
            }
            row.pop();
            hash.add_row(row.len() as u64 + 1, xxh3_128(&row));
            Ok(true)
        };
        self.rows(name, columns, &mut each).await?;
        Ok(hash.hash())
    }

    async fn archived_rows(
        &self,
        reader: &Reader,
        name: &TableName,
        columns: &[String],
        each: &mut Each<'_>,
    ) -> Result<()> {
        for entry in data(&self.entries).filter(|entry| table_name(entry).as_ref() == Some(name)) {
            if entry.copy_stmt.is_empty() {
                let message = "its rows are INSERT statements, which are not compared";
                return Err(Fail::new(Exit::Usage, message).hint("leave out --rows").into());
            }
            let own = entry.copy_columns().unwrap_or_default();
            let position = |column: &String| own.iter().position(|it| it == column);
            let positions: Vec<usize> = columns.iter().filter_map(position).collect();
            anyhow::ensure!(positions.len() == columns.len(), "the archive lacks a column");
            let mut rows = reader.rows(entry.dump_id).await?;
            let (mut cut, mut values) = (Cut::default(), Values::default());
            while let Some(piece) = rows.next().await? {
                let more = cut.feed(&piece, &mut |row| values.chosen(row, &positions, each))?;
                if !more {
                    return Ok(());
                }
            }
            cut.finish()?;
        }
        Ok(())
    }
}

/// Hands each row of a live table to `each`.
async fn live_rows(session: &Session, name: &TableName, columns: &[String], each: &mut Each<'_>) -> Result<()> {
    let quote = Quote {
        all: true,
        ..Quote::standard(0)
    };
    let quoted: Vec<_> = columns.iter().map(|column| quote.id(column)).collect();
    let (table, list) = (quote.qualified(&name.0, &name.1), quoted.join(", "));
    // Of a table that an extension made only the rows are dumped that are not its own.
    let filter = session
        .rows(
            &Query::new(
                "SELECT c.condition FROM pg_catalog.pg_extension x, \
                 ROWS FROM (pg_catalog.unnest(x.extconfig), pg_catalog.unnest(x.extcondition)) AS c(oid, condition) \
                 WHERE c.oid = pg_catalog.to_regclass($1)::pg_catalog.oid",
            )
            .text(table.clone()),
        )
        .await?;
    let filter = filter.first().map(|row| row.text("condition")).transpose()?;
    let filter = filter.unwrap_or_default();
    let sql = format!("COPY (SELECT {list} FROM ONLY {table} {filter}) TO stdout");
    let mut stream = std::pin::pin!(session.client().copy_out(&sql).await?);
    let (mut cut, mut values) = (Cut::default(), Values::default());
    while let Some(piece) = stream.next().await {
        if !cut.feed(&piece?, &mut |row| values.all(row, each))? {
            break;
        }
    }
    Ok(())
}

/// What the database is called in definitions: as on the other side, for its name makes no difference.
fn shown<'a>(other: Option<&'a Postgres>, own: &'a str) -> &'a str {
    other.map_or(own, |other| &other.database)
}

/// Entries that say nothing about how the database is built.
const NO_DEFINITIONS: [&str; 11] = [
    "ENCODING",
    "STDSTRINGS",
    "SEARCHPATH",
    "TABLE DATA",
    "SEQUENCE SET",
    "MATERIALIZED VIEW DATA",
    "BLOB",
    "BLOBS",
    "BLOB METADATA",
    "STATISTICS DATA",
    "BLOB COMMENTS",
];

/// What is a relation itself.
const RELATIONS: [&str; 5] = ["TABLE", "VIEW", "MATERIALIZED VIEW", "FOREIGN TABLE", "SEQUENCE"];

/// What may belong to a relation.
const ATTACHED: [&str; 17] = [
    "ACL",
    "CHECK CONSTRAINT",
    "COMMENT",
    "CONSTRAINT",
    "DEFAULT",
    "FK CONSTRAINT",
    "INDEX",
    "INDEX ATTACH",
    "POLICY",
    "PUBLICATION TABLE",
    "ROW SECURITY",
    "RULE",
    "SECURITY LABEL",
    "SEQUENCE OWNED BY",
    "STATISTICS",
    "TABLE ATTACH",
    "TRIGGER",
];

fn data(entries: &[Entry]) -> impl Iterator<Item = &Entry> {
    entries.iter().filter(|entry| entry.desc == "TABLE DATA")
}

fn table_name(entry: &Entry) -> Option<TableName> {
    Some((entry.namespace.clone()?, entry.tag.clone()))
}

fn side(entries: &[Entry], tables: &[manifest::Table], database: &str, shown: &str) -> Side {
    let relations: HashMap<DumpId, TableName> = entries
        .iter()
        .filter(|entry| RELATIONS.contains(&entry.desc.as_str()))
        .filter_map(|entry| Some((entry.dump_id, table_name(entry)?)))
        .collect();
    let objects = entries
        .iter()
        .filter(|entry| !NO_DEFINITIONS.contains(&entry.desc.as_str()))
        .map(|entry| object(entry, &relations, (database, shown)));
    let sequences = entries.iter().filter(|entry| entry.desc == "SEQUENCE SET");
    let keys = keys(entries, &relations);
    let columns: HashMap<TableName, (Vec<String>, bool)> = data(entries)
        .filter_map(|entry| {
            let columns = entry.copy_columns().unwrap_or_default();
            Some((table_name(entry)?, (columns, entry.copy_stmt.is_empty())))
        })
        .collect();
    let table = |table: &manifest::Table| {
        let name = (table.schema.clone(), table.name.clone());
        let (columns, inserts) = columns.get(&name).cloned().unwrap_or_default();
        let table = Table {
            rows: table.rows,
            hash: (!inserts).then(|| table.hash.clone()),
            hashed: columns.clone(),
            columns,
            key: keys.get(&name).cloned().unwrap_or_default(),
            partition_of: table.partition_of.clone(),
        };
        (name, table)
    };
    Side {
        objects: objects.collect(),
        tables: tables.iter().map(table).collect(),
        sequences: sequences
            .filter_map(|entry| Some((table_name(entry)?, stands(&entry.defn))))
            .collect(),
        ..Side::default()
    }
}

fn object(entry: &Entry, relations: &HashMap<DumpId, TableName>, (database, shown): (&str, &str)) -> Object {
    let is_of_database = entry.desc.starts_with("DATABASE") || entry.tag.starts_with("DATABASE ");
    let quote = Quote::standard(18);
    let named = |text: &str| match is_of_database && database != shown {
        false => text.to_owned(),
        true => text.replace(
            &format!("DATABASE {}", quote.id(database)),
            &format!("DATABASE {}", quote.id(shown)),
        ),
    };
    let mut definition = named(entry.defn.trim_matches('\n'));
    for (what, name) in [
        // What belongs to a table belongs to the table's owner.
        (
            "Owner",
            Some(entry.owner.as_str()).filter(|_| !ATTACHED.contains(&entry.desc.as_str())),
        ),
        ("Tablespace", entry.tablespace.as_deref()),
        ("Access method", entry.tableam.as_deref()),
    ] {
        if let Some(name) = name.filter(|name| !name.is_empty()) {
            definition.push_str(&format!("\n-- {what}: {name}"));
        }
    }
    let table = match entry.desc.as_str() {
        desc if RELATIONS.contains(&desc) => table_name(entry),
        desc if ATTACHED.contains(&desc) => {
            let mut tables = entry.dependencies.iter().filter_map(|id| relations.get(id));
            let begins = |(_, name): &&TableName| entry.tag.starts_with(&format!("{name} "));
            let first = tables.clone().next();
            tables.find(begins).or(first).cloned()
        }
        _ => None,
    };
    Object {
        kind: entry.desc.clone(),
        schema: entry.namespace.clone().filter(|schema| !schema.is_empty()),
        name: match entry.desc.starts_with("DATABASE") && entry.tag == database {
            true => shown.to_owned(),
            false => named(&entry.tag),
        },
        definition,
        table,
    }
}

/// The primary keys of tables.
fn keys(entries: &[Entry], relations: &HashMap<DumpId, TableName>) -> HashMap<TableName, Vec<String>> {
    let constraints = entries.iter().filter(|entry| entry.desc == "CONSTRAINT");
    let key = |entry: &Entry| {
        let columns = primary_key(&entry.defn)?;
        let table = entry.dependencies.iter().find_map(|id| relations.get(id))?;
        Some((table.clone(), columns))
    };
    constraints.filter_map(key).collect()
}

/// The columns of `ADD CONSTRAINT … PRIMARY KEY (…)`.
fn primary_key(definition: &str) -> Option<Vec<String>> {
    let tokens: Vec<Token> = Tokens::new(definition).collect();
    let word =
        |token: Option<&Token>, word: &str| matches!(token, Some(Token::Word(it)) if it.eq_ignore_ascii_case(word));
    let at = (0..tokens.len()).find(|&at| word(tokens.get(at), "PRIMARY") && word(tokens.get(at + 1), "KEY"))?;
    let list = tokens
        .get(at + 3..)?
        .iter()
        .take_while(|token| **token != Token::Other(')'));
    let names = list.filter_map(|token| match token {
        Token::Word(name) | Token::Quoted(name) => Some(name.clone()),
        Token::Text(_) | Token::Other(_) => None,
    });
    Some(names.collect())
}

/// Where a sequence stands: the value in `SELECT pg_catalog.setval('…', 5, true);`, and whether it is still to come.
fn stands(setval: &str) -> String {
    let arguments = setval.rsplit_once("', ").map_or(setval, |(_, rest)| rest);
    let arguments = arguments.trim().trim_end_matches(");");
    match arguments.split_once(", ") {
        Some((value, "true")) => value.to_owned(),
        Some((value, _)) => format!("{value}, not used yet"),
        None => arguments.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_tell_keys_and_values() {
        let key = "ALTER TABLE ONLY public.\"PRIMARY KEY\"\n    ADD CONSTRAINT k PRIMARY KEY (id, \"odd, (name\") INCLUDE (x);\n";
        assert_eq!(primary_key(key).unwrap(), ["id", "odd, (name"]);
        assert_eq!(primary_key("ALTER TABLE t ADD CONSTRAINT u UNIQUE (id);"), None);
        assert_eq!(stands("SELECT pg_catalog.setval('public.s', 5, true);\n"), "5");
        assert_eq!(
            stands("SELECT pg_catalog.setval('public.\"a'', 1\"', 1, false);\n\n"),
            "1, not used yet"
        );
    }
}
