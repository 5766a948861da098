//! What a script holds: found out by reading it once, before anything is done. And the proof that it is all there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio_postgres::Client;

use super::beyond::Beyond;
use super::needs::Needs;
use super::prove::Proof;
use super::target::{Target, UNTIMED, quoted, run};
use super::text::Text;
use crate::archive::options::RestoreOptions;
use crate::archive::script::{Adapted, Kind, Piece, Purpose, Script, Statement, roles};
use crate::archive::toc::{Entry, Section};
use crate::engine::postgres::any_text::AnyText;
use crate::engine::postgres::load::script::Loaded;
use crate::error::{Exit, Fail, Result};

/// A script that was read once.
pub struct Contents {
    /// The script.
    pub script: Script,
    /// The database whose statements are restored; `None`: those before any `\connect`.
    pub section: Option<String>,
    /// What it says of that database itself.
    pub entries: Vec<Entry>,
    /// What its statements take for granted.
    pub needs: Needs,
    /// Roles in it that others take the place of.
    pub mapped: BTreeSet<String>,
    /// Its statements about roles and tablespaces, which are not run.
    pub globals: String,
    /// What a person should know of it.
    pub warnings: Vec<String>,
    /// Version of the server that it was made on; empty where it does not say.
    pub server_version: String,
    /// Tables that rows are loaded into.
    pub tables: usize,
    /// Their rows.
    pub rows: u64,
    /// Bytes of rows and statements.
    pub bytes: u64,
    /// Statements, also those that are left out.
    statements: u64,
    /// pg_dump made it: then nothing but its COPYs and INSERTs changes rows.
    of_pg_dump: bool,
}

/// What the whole of a script says.
#[derive(Default)]
struct Survey {
    parts: BTreeMap<Option<String>, Part>,
    /// Statements about a database itself, by its name.
    databases: BTreeMap<String, Vec<String>>,
    globals: String,
    mapped: BTreeSet<String>,
    server_version: String,
    /// Dumps that begin in it, and those that end.
    dumps: (u64, u64),
    /// What it reaches beyond its databases, by database.
    beyond: BTreeMap<Option<String>, Beyond>,
    text: Text,
}

/// What is of one database.
#[derive(Default)]
struct Part {
    needs: Needs,
    /// INSERTs by the name of their table; none for those that are copied to.
    rows: BTreeMap<String, u64>,
    /// Rows of COPYs.
    copied: u64,
    bytes: u64,
    statements: u64,
    /// Statements that are more than settings.
    substance: u64,
    /// The line of a transaction's begin.
    transaction: Option<u64>,
}

impl Contents {
    /// Reads `script` as `options` want it. Of several databases in it, `wanted` is taken.
    ///
    /// # Errors
    /// It is cut, damaged or needs psql; or it holds no database, or several and none is `wanted`.
    pub async fn read(script: Script, wanted: Option<&str>, options: &Arc<RestoreOptions>) -> Result<Contents> {
        let survey = Survey::of(&script, options).await?;
        let section = survey.choose(wanted)?;
        let beyond = survey.beyond.get(&section).cloned().unwrap_or_default();
        let mut warnings = beyond.check(options.allow_server_programs)?;
        warnings.extend(survey.text.warning());
        let entries = survey.entries(section.as_deref());
        let (mut parts, of_pg_dump) = (survey.parts, survey.dumps.0 > 0);
        let part = parts.remove(&section).unwrap_or_default();
        if let Some(line) = part.transaction {
            let message = format!("the transaction that begins in line {line} has no end: the script is cut");
            return Err(Fail::new(Exit::Damaged, message).into());
        }
        Ok(Contents {
            script,
            section,
            entries,
            needs: part.needs,
            mapped: survey.mapped,
            globals: survey.globals,
            warnings,
            server_version: survey.server_version,
            tables: part.rows.len(),
            rows: part.copied + part.rows.values().sum::<u64>(),
            bytes: part.bytes,
            statements: part.statements,
            of_pg_dump,
        })
    }

    /// Compares what was loaded with what was read, and counts it in the database.
    ///
    /// # Errors
    /// [`Exit::Damaged`]: rows are missing. Or the database cannot be read.
    pub async fn prove(&self, loaded: &Loaded, target: &Target, database: &str) -> Result<Proof> {
        if loaded.statements + loaded.left_out != self.statements {
            let message = "the file was changed while it was restored";
            return Err(Fail::new(Exit::Damaged, message).hint("restore it again").into());
        }
        if self.of_pg_dump {
            count(loaded, target, database).await?;
        }
        Ok(Proof {
            tables: loaded.rows.len(),
            rows: loaded.rows.values().sum(),
            statements: loaded.statements,
            left_out: loaded.left_out,
            ..Proof::default()
        })
    }
}

/// Counts the rows in each table that some were loaded into. Those of partitions are counted at their root.
async fn count(loaded: &Loaded, target: &Target, database: &str) -> Result<()> {
    let client = target.session(database).await?;
    run(&client, UNTIMED).await?;
    run(&client, "SET row_security = off").await?;
    let (tables, rows): (Vec<u32>, Vec<i64>) = loaded
        .rows
        .iter()
        .map(|(oid, rows)| (*oid, i64::try_from(*rows).unwrap_or(i64::MAX)))
        .unzip();
    let roots = client
        .query(
            "SELECT COALESCE(pg_catalog.pg_partition_root(u.o)::pg_catalog.oid, u.o) AS root, \
             pg_catalog.sum(u.n)::int8 AS rows FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.oid[]), \
             pg_catalog.unnest($2::int8[])) AS u(o, n) JOIN pg_catalog.pg_class c ON c.oid = u.o \
             WHERE c.relkind IN ('r', 'p') GROUP BY 1 ORDER BY 1",
            &[&tables, &rows],
        )
        .await?;
    for row in roots {
        let (table, wanted): (u32, i64) = (row.try_get(0)?, row.try_get(1)?);
        let found = rows_in(&client, table).await?;
        if found != wanted {
            let name = "SELECT $1::pg_catalog.oid::pg_catalog.regclass::text";
            let AnyText(name) = client.query_one(name, &[&table]).await?.try_get(0)?;
            let message = format!("the restored table {name} has {found} rows, and {wanted} were loaded into it");
            return Err(Fail::new(Exit::Damaged, message)
                .hint("see which triggers or rules the script creates before its rows")
                .into());
        }
    }
    Ok(())
}

async fn rows_in(client: &Client, table: u32) -> Result<i64> {
    // By number: a name may be text in no encoding that the driver knows. Foreign partitions are not looked into:
    // nothing was loaded into them, and they may be out of reach.
    let count = format!(
        "DO $snapback$ DECLARE part regclass; n int8; total int8 := 0; BEGIN FOR part IN \
         SELECT c.oid::pg_catalog.regclass FROM pg_catalog.pg_class c WHERE c.relkind = 'r' AND (c.oid = {table} \
         OR c.oid IN (SELECT relid FROM pg_catalog.pg_partition_tree({table}::pg_catalog.regclass))) \
         LOOP EXECUTE pg_catalog.format('SELECT pg_catalog.count(*) FROM ONLY %s', part) INTO n; total := total + n; \
         END LOOP; PERFORM pg_catalog.set_config('snapback.rows', total::text, false); END $snapback$"
    );
    client.batch_execute(&count).await?;
    let row = client
        .query_one("SELECT pg_catalog.current_setting('snapback.rows')::int8", &[])
        .await?;
    Ok(row.try_get(0)?)
}

impl Survey {
    async fn of(script: &Script, options: &Arc<RestoreOptions>) -> Result<Survey> {
        let mut survey = Survey::default();
        let (mut reading, mut database) = (Adapted::new(script.read()?, Arc::clone(options)), None);
        while let Some(piece) = reading.next().await? {
            match piece {
                Piece::Comment(text) => survey.comment(&text),
                Piece::Connect(name) => database = Some(name),
                Piece::Statement(statement, kind) => {
                    survey.text.statement(&statement, reading.encoding())?;
                    let beyond = survey.beyond.entry(database.clone()).or_default();
                    beyond.statement(&statement, &kind);
                    survey.statement(&database, &statement, kind);
                }
                Piece::Rows(text, rows) => {
                    survey.text.rows(&text, reading.encoding(), reading.line())?;
                    survey.rows(&database, text.len() as u64, rows);
                }
                Piece::Prints(line, what) => survey.beyond.entry(database.clone()).or_default().prints(&what, line),
                Piece::LeftOut(_) => survey.parts.entry(database.clone()).or_default().statements += 1,
                Piece::EndOfRows => survey.text.end_of_rows(),
            }
        }
        survey.mapped.clone_from(reading.mapped());
        if survey.dumps.0 > survey.dumps.1 {
            let message = "the script is cut: it is a dump whose last line, \"dump complete\", is missing";
            return Err(Fail::new(Exit::Damaged, message)
                .hint("copy it again from where it was made, or look for the error that stopped the dump")
                .into());
        }
        Ok(survey)
    }

    fn comment(&mut self, text: &str) {
        match text {
            "PostgreSQL database dump" | "PostgreSQL database cluster dump" => self.dumps.0 += 1,
            "PostgreSQL database dump complete" | "PostgreSQL database cluster dump complete" => self.dumps.1 += 1,
            _ => {
                if let Some(version) = text.strip_prefix("Dumped from database version ") {
                    version.clone_into(&mut self.server_version);
                }
            }
        }
    }

    fn statement(&mut self, database: &Option<String>, statement: &Statement, kind: Kind) {
        match kind {
            Kind::Cluster => {
                self.globals.push_str(&statement.decoded());
                self.globals.push('\n');
                return;
            }
            Kind::Database(name) => {
                self.databases.entry(name).or_default().push(statement.decoded());
                return;
            }
            _ => {}
        }
        let part = self.parts.entry(database.clone()).or_default();
        part.statements += 1;
        part.bytes += statement.text.len() as u64;
        part.substance += u64::from(!matches!(kind, Kind::Setting { .. }));
        match kind {
            Kind::Copy(table) => drop(part.rows.entry(table).or_default()),
            Kind::Insert(table) => *part.rows.entry(table).or_default() += statement.rows,
            Kind::Begin => part.transaction = Some(statement.line),
            Kind::End => part.transaction = None,
            Kind::Setting { name, value } if name == "default_tablespace" && !value.is_empty() => {
                part.needs.tablespaces.insert(value.trim_matches('"').to_owned());
            }
            Kind::Other => part.needs.add_statement(&statement.decoded()),
            _ => {}
        }
    }

    fn rows(&mut self, database: &Option<String>, bytes: u64, rows: u64) {
        if let Some(part) = self.parts.get_mut(database) {
            part.bytes += bytes;
            part.copied += rows;
        }
    }

    /// The database to restore.
    fn choose(&self, wanted: Option<&str>) -> Result<Option<String>> {
        let full = self.parts.iter().filter(|(_, part)| part.substance > 0);
        let full: Vec<&Option<String>> = full.map(|(name, _)| name).collect();
        let names = || {
            let names = full
                .iter()
                .map(|name| name.as_deref().unwrap_or("(before any \\connect)"));
            names.collect::<Vec<_>>().join(", ")
        };
        match (wanted, full.as_slice()) {
            (_, []) => Err(Fail::new(
                Exit::NotFound,
                "the script holds no database: it creates no object and loads no row",
            )
            .hint("a dump of roles alone is run by psql")
            .into()),
            (None, [one]) => Ok((*one).clone()),
            (None, _) => Err(
                Fail::new(Exit::Usage, format!("the script holds several databases: {}", names()))
                    .hint("choose one with --database NAME")
                    .into(),
            ),
            (Some(wanted), _) => match full.iter().find(|name| name.as_deref() == Some(wanted)) {
                Some(name) => Ok((*name).clone()),
                None => {
                    let message = format!("the script holds no database {wanted:?}, but: {}", names());
                    Err(Fail::new(Exit::NotFound, message).into())
                }
            },
        }
    }

    /// What the script says of the database that is restored, as an archive would. Where it does not create it,
    /// any will do.
    fn entries(&self, name: Option<&str>) -> Vec<Entry> {
        let tag = name.unwrap_or("unnamed");
        let mut database = Entry::new(1, "DATABASE", tag, Section::PreData);
        database.defn = format!("CREATE DATABASE {} WITH TEMPLATE = template0;\n", quoted(tag));
        let mut properties = Entry::new(2, "DATABASE PROPERTIES", tag, Section::PreData);
        for sql in name.and_then(|name| self.databases.get(name)).into_iter().flatten() {
            match sql.split_ascii_whitespace().next() {
                Some("CREATE") => database.defn.clone_from(sql),
                Some("DROP") => {}
                _ => match roles(sql).into_iter().find(|role| role.purpose == Purpose::Owner) {
                    Some(owner) => database.owner = owner.name,
                    None => properties.defn.extend([sql, "\n"]),
                },
            }
        }
        vec![database, properties]
    }
}
