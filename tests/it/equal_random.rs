//! Random schemas: names, types, defaults, dependencies and grants that nobody thought of, compared with pg_dump.
//!
//! Everything follows from a seed, which a failure names.

use super::equal::{assert_same, dump, is_text, on_all_versions};
use super::support::{Run, Server};

const SEEDS: std::ops::Range<u64> = 1..13;
const STATEMENTS: usize = 150;

const TYPES: &[&str] = &[
    "integer",
    "bigint",
    "text",
    "text COLLATE \"C\"",
    "numeric(10,2)",
    "varchar(20)",
    "timestamp with time zone",
    "boolean",
    "integer[]",
    "jsonb",
    "bytea",
    "interval",
    "\"char\"",
    "bit varying(4)",
    "int4range",
    "uuid",
];
const DEFAULTS: &[&str] = &[
    "NULL",
    "now()",
    "'x'",
    "'it''s \\ here'",
    "1 + 2",
    "(random() * 10)::integer",
    "CURRENT_USER",
    "ARRAY[1, 2]",
];
const WORDS: &[&str] = &[
    "a",
    "table",
    "Übung",
    "two words",
    "quo\"te",
    "$dollar",
    "semi;colon",
    "new\\slash",
    "UPPER",
    "z9",
    "_x",
    "json",
    "user",
    "-- comment",
    "it's",
    "select",
];
const PRIVILEGES: &[&str] = &["SELECT", "INSERT, UPDATE", "ALL", "SELECT (id)", "REFERENCES"];
const ROLES: &[&str] = &["PUBLIC", "random_one", "\"Random Two\""];

/// A generator of schemas: what it has made so far, and where its luck stands.
struct Schema {
    state: u64,
    schemas: Vec<String>,
    tables: Vec<String>,
    relations: Vec<String>,
    types: Vec<String>,
    made: usize,
}

impl Schema {
    fn new(seed: u64) -> Self {
        Schema {
            state: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15),
            schemas: vec!["public".to_owned()],
            tables: Vec::new(),
            relations: Vec::new(),
            types: TYPES.iter().map(|name| (*name).to_owned()).collect(),
            made: 0,
        }
    }

    /// A number below `bound` (xorshift64).
    fn below(&mut self, bound: usize) -> usize {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        usize::try_from(self.state % bound as u64).unwrap()
    }

    fn pick(&mut self, from: &[&str]) -> String {
        from[self.below(from.len())].to_owned()
    }

    fn one_of(&mut self, from: &[String]) -> Option<String> {
        (!from.is_empty()).then(|| from[self.below(from.len())].clone())
    }

    /// A new name, quoted and in some schema.
    fn name(&mut self) -> String {
        self.made += 1;
        let word = self.pick(WORDS);
        let name = format!("\"{}{}\"", word.replace('"', "\"\""), self.made);
        let schema = self.one_of(&self.schemas.clone()).unwrap();
        format!("{schema}.{name}")
    }

    fn statement(&mut self) -> Option<String> {
        let (tables, relations, types) = (self.tables.clone(), self.relations.clone(), self.types.clone());
        let name = self.name();
        let bare = name.split_once('.')?.1.to_owned();
        Some(match self.below(18) {
            0 => {
                self.schemas.push(bare.clone());
                format!("CREATE SCHEMA {bare}")
            }
            1..=3 => self.table(&name),
            4 => {
                self.types.push(name.clone());
                let (one, two) = (self.pick(WORDS), self.pick(WORDS));
                let label = |word: &str| word.replace('\'', "''");
                format!("CREATE TYPE {name} AS ENUM ('{}', '2{}')", label(&one), label(&two))
            }
            5 => {
                self.types.push(name.clone());
                format!("CREATE DOMAIN {name} AS text CONSTRAINT {bare} CHECK (VALUE <> '') DEFAULT 'd'")
            }
            6 => {
                self.types.push(name.clone());
                let of = (self.one_of(&types)?, self.one_of(&types)?);
                format!("CREATE TYPE {name} AS (a {}, \"B\" {})", of.0, of.1)
            }
            7 | 8 => {
                self.relations.push(name.clone());
                let from = self.one_of(&relations)?;
                let kind = self.pick(&["VIEW", "VIEW", "MATERIALIZED VIEW"]);
                let tail = self.pick(&["", " WHERE id > 3", " ORDER BY id", " GROUP BY id"]);
                format!("CREATE {kind} {name} AS SELECT id FROM {from}{tail}")
            }
            9 => {
                self.relations.push(name.clone());
                format!(
                    "CREATE VIEW {name} AS SELECT t.* FROM {} t GROUP BY t.id",
                    self.one_of(&tables)?
                )
            }
            10 => {
                let unique = self.pick(&["", "UNIQUE "]);
                let on = self.pick(&["id", "id DESC", "(id + 1)", "id) WHERE (id > 2", "id) INCLUDE (id"]);
                format!("CREATE {unique}INDEX {bare} ON {} ({on})", self.one_of(&relations)?)
            }
            11 => {
                let (from, to) = (self.one_of(&tables)?, self.one_of(&tables)?);
                let action = self.pick(&["", " ON DELETE CASCADE", " NOT VALID", " DEFERRABLE INITIALLY DEFERRED"]);
                format!("ALTER TABLE {from} ADD CONSTRAINT {bare} FOREIGN KEY (id) REFERENCES {to} (id){action}")
            }
            12 => {
                let (of, result) = (self.one_of(&types)?, self.one_of(&relations)?);
                format!(
                    "CREATE FUNCTION {name}(x {of}, y integer DEFAULT 3) RETURNS SETOF {result} LANGUAGE sql \
                     AS $$SELECT * FROM {result}$$"
                )
            }
            13 => {
                let body = self.pick(&["BEGIN RETURN NEW; END", "BEGIN\n  RETURN NULL; -- 'x'\nEND"]);
                let table = self.one_of(&tables)?;
                format!(
                    "CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $f${body}$f$; \
                     CREATE TRIGGER {bare} BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION {name}()"
                )
            }
            14 => {
                let (what, who) = (self.pick(PRIVILEGES), self.pick(ROLES));
                let verb = self.pick(&["GRANT {} ON {} TO {}", "REVOKE {} ON {} FROM {}"]);
                let on = self.one_of(&relations)?;
                verb.replacen("{}", &what, 1)
                    .replacen("{}", &on, 1)
                    .replacen("{}", &who, 1)
            }
            15 => format!("COMMENT ON TABLE {} IS 'it''s {}'", self.one_of(&tables)?, self.made),
            16 => {
                let check = self.pick(&["id > 0", "id IS NOT NULL", "id <> ALL (ARRAY[1, 2])"]);
                format!(
                    "ALTER TABLE {} ADD CONSTRAINT {bare} CHECK ({check})",
                    self.one_of(&tables)?
                )
            }
            _ => {
                let to = self.pick(&["random_one", "\"Random Two\""]);
                format!("ALTER TABLE {} OWNER TO {to}", self.one_of(&relations)?)
            }
        })
    }

    fn table(&mut self, name: &str) -> String {
        let types = self.types.clone();
        let mut columns = vec![self.pick(&[
            "id integer PRIMARY KEY",
            "id serial PRIMARY KEY",
            "id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
            "id integer UNIQUE",
        ])];
        for _ in 0..self.below(5) {
            self.made += 1;
            let column = format!("\"{}{}\"", self.pick(WORDS).replace('"', "\"\""), self.made);
            let of = self.one_of(&types).unwrap();
            let default = match self.below(4) {
                0 => format!(" DEFAULT {}", self.pick(DEFAULTS)),
                1 => " NOT NULL".to_owned(),
                _ => String::new(),
            };
            columns.push(format!("{column} {of}{default}"));
        }
        let mut sql = format!("CREATE TABLE {name} ({})", columns.join(", "));
        let tables = self.tables.clone();
        if self.below(5) == 0
            && let Some(parent) = self.one_of(&tables)
        {
            sql = format!("CREATE TABLE {name} () INHERITS ({parent})");
        }
        self.tables.push(name.to_owned());
        self.relations.push(name.to_owned());
        sql
    }
}

fn check(major: u32) {
    let server = Server::start(major);
    server.psql("postgres", "CREATE ROLE random_one; CREATE ROLE \"Random Two\"");
    for seed in SEEDS {
        let database = format!("seed_{seed}");
        server.create_database(&database);
        let mut schema = Schema::new(seed);
        let script: String = (0..STATEMENTS)
            .filter_map(|_| schema.statement())
            .map(|statement| format!("{statement};\n"))
            .collect();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), script).unwrap();
        // Not every random statement makes sense: what fails is simply not there.
        let mut psql = server.tool("psql");
        psql.args(["-XAtq"])
            .args(server.connection_args(&database))
            .arg("-f")
            .arg(file.path());
        Run::of(&mut psql).ok();
        let made = server.psql(&database, "SELECT count(*) FROM pg_class WHERE oid >= 16384");
        assert!(
            made.parse::<usize>().unwrap() > 30,
            "seed {seed} made only {made} relations"
        );
        let expected = server.pg_dump(&database, &[]);
        assert_same(
            &format!("seed {seed}"),
            &expected,
            &dump(&server, &database, &[]),
            is_text,
        );
    }
}

on_all_versions!(check);
