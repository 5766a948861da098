//! The databases of the comparison.

/// One of them; `sql` gives the statements that make it, larger or smaller by a factor.
pub struct Database {
    pub name: &'static str,
    pub sql: fn(f64) -> Vec<String>,
}

pub const DATABASES: [Database; 7] = [
    Database {
        name: "rows",
        sql: rows,
    },
    Database {
        name: "rows_gin",
        sql: rows_gin,
    },
    Database {
        name: "many",
        sql: many,
    },
    Database {
        name: "partitions",
        sql: partitions,
    },
    Database {
        name: "large_objects",
        sql: large_objects,
    },
    Database {
        name: "huge",
        sql: huge,
    },
    Database {
        name: "functions",
        sql: functions,
    },
];

fn times(count: f64, scale: f64) -> u64 {
    ((count * scale) as u64).max(1)
}

/// 3 million wide rows, 4 million narrow ones, 200 small tables.
fn rows(scale: f64) -> Vec<String> {
    let (wide, narrow) = (times(3e6, scale), times(4e6, scale));
    vec![
        format!(
            "CREATE TABLE wide (id int PRIMARY KEY, name text, email text, note text, amount numeric(12,2), \
                                created timestamptz, flag bool, code uuid); \
             INSERT INTO wide SELECT g, 'Person ' || md5(g::text), md5((g * 7 % 9999991)::text) || '@example.com', \
                 repeat(substr(md5((g % 1000)::text), 1, 12) || ' ', 8), (g % 100000) / 7.0, \
                 '2024-01-01'::timestamptz + g * interval '13 s', g % 3 = 0, md5((g % 7777777)::text)::uuid \
             FROM generate_series(1, {wide}) g"
        ),
        format!(
            "CREATE TABLE narrow (a int, b int, c float8); \
             INSERT INTO narrow SELECT g, ((g::int8 * 7919) % 100003)::int, g / 3.0 FROM generate_series(1, {narrow}) g"
        ),
        "DO $$ BEGIN FOR i IN 1..200 LOOP \
             EXECUTE format('CREATE TABLE small_%s AS SELECT g AS id, md5(g::text) AS t \
                             FROM generate_series(1, 200) g', i); \
         END LOOP; END $$"
            .to_owned(),
        "CREATE INDEX ON wide (email); CREATE INDEX ON wide (created); CREATE INDEX ON narrow (b)".to_owned(),
    ]
}

fn rows_gin(scale: f64) -> Vec<String> {
    let mut sql = rows(scale);
    sql.push("CREATE INDEX ON wide USING gin (to_tsvector('simple', name))".to_owned());
    sql
}

/// Small tables with keys, checks, foreign keys and an index each.
fn many(scale: f64) -> Vec<String> {
    let schemas = times(40.0, scale);
    let schema =
        |s: u64| {
            let tables = (0..60).map(|t| {
            let (references, parent, value) = match t % 3 {
                0 => (String::new(), "", ""),
                _ => (format!(", parent int REFERENCES s{s}.t{}(id)", t - 1), ", parent", ", g"),
            };
            format!(
                "CREATE TABLE s{s}.t{t} (id serial PRIMARY KEY, name text NOT NULL, created timestamptz DEFAULT now(), \
                                         v numeric CHECK (v >= 0){references}); \
                 INSERT INTO s{s}.t{t} (name, v{parent}) SELECT md5(g::text), g{value} FROM generate_series(1, 20) g; \
                 CREATE INDEX ON s{s}.t{t} (name); "
            )
        });
            format!("CREATE SCHEMA s{s}; {}", tables.collect::<String>())
        };
    (0..schemas).map(schema).collect()
}

fn partitions(scale: f64) -> Vec<String> {
    let count = times(2000.0, scale);
    vec![
        "CREATE TABLE p (id bigint PRIMARY KEY, at date, name text) PARTITION BY RANGE (id)".to_owned(),
        format!(
            "DO $$ BEGIN FOR i IN 0..{count} - 1 LOOP EXECUTE format( \
                 'CREATE TABLE p_%s PARTITION OF p FOR VALUES FROM (%s) TO (%s)', i, i * 300, (i + 1) * 300); \
             END LOOP; END $$"
        ),
        "CREATE INDEX ON p (at)".to_owned(),
        format!(
            "INSERT INTO p SELECT g, '2024-01-01'::date + (g % 365)::int, md5(g::text) \
             FROM generate_series(0, {count} * 300 - 1) g"
        ),
    ]
}

fn large_objects(scale: f64) -> Vec<String> {
    let count = times(30_000.0, scale);
    vec![format!(
        "SELECT count(lo_from_bytea(0, decode(repeat(md5(g::text), 20 + g % 300), 'hex'))) \
         FROM generate_series(1, {count}) g"
    )]
}

fn huge(scale: f64) -> Vec<String> {
    let mut sql = rows(scale * 1.5);
    sql.truncate(1);
    sql.push("CREATE INDEX ON wide (email); CREATE INDEX ON wide (created)".to_owned());
    sql
}

fn functions(scale: f64) -> Vec<String> {
    let (tables, functions) = (times(400.0, scale), times(1000.0, scale));
    vec![
        format!(
            "DO $$ BEGIN FOR i IN 1..{tables} LOOP \
                 EXECUTE format('CREATE TABLE t%s (id bigserial PRIMARY KEY, name text NOT NULL DEFAULT ''x'', \
                                 amount numeric CHECK (amount > 0), at timestamptz DEFAULT now())', i); \
                 EXECUTE format('CREATE INDEX ON t%s (at)', i); \
                 EXECUTE format('CREATE VIEW v%s AS SELECT id, name FROM t%s WHERE amount > 1', i, i); \
             END LOOP; END $$"
        ),
        format!(
            "DO $$ BEGIN FOR i IN 1..{functions} LOOP \
                 EXECUTE format('CREATE FUNCTION f%s(a int) RETURNS int LANGUAGE sql AS ''SELECT $1 + %s''', i, i); \
             END LOOP; END $$"
        ),
    ]
}
