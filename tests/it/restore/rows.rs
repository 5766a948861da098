//! Rows of every type arrive as they were, whichever way they were sent.

use std::fs;
use std::path::Path;

use super::Site;
use crate::support::Server;

/// Values of all types that are translated on their way, the extreme ones first. The time zone is one with odd
/// offsets in the past, and the new database does not know of it while it is filled.
const KINDS: &str = r#"
ALTER DATABASE app SET TimeZone = 'Europe/Berlin';
SET TimeZone = 'Europe/Berlin';
SELECT setseed(0.5);
CREATE TYPE mood AS ENUM ('fine', 'so, so', E'tab\there');
CREATE TABLE kinds (id int, b bool, i2 int2, i4 int4, i8 int8, f4 float4, f8 float8, n numeric, m numeric(12,2),
    t text, v varchar(40), c char(9), y bytea, d date, h time, ts timestamp, tz timestamptz(3), u uuid, e mood,
    j json, jb jsonb, "a "" b" text);
INSERT INTO kinds (id, i2, i4, i8, f4, f8, n, t, d, h, ts, tz, j, jb) VALUES
    (-1, -32768, -2147483648, -9223372036854775808, '-Infinity', '-Infinity', 'NaN', '', '-infinity', '00:00', '-infinity',
        '-infinity', '{}', 'null'),
    (-2, 32767, 2147483647, 9223372036854775807, 'Infinity', 'Infinity', '-0.00', '\N', 'infinity', '23:59:59.999999',
        'infinity', 'infinity', ' [1,2 ] ', '""'),
    (-3, 0, 0, 0, 'NaN', 'NaN', 1e-20, E'\\.', '12345-06-07', '12:00', '262142-12-31 23:59:59.999999',
        '1890-01-01 00:00:00+00', E'"\\n"', E'"\\n"'),
    (-4, 1, 1, 1, 1e-45, 5e-324, 1e100, E'\b\t\n\v\f\r\\ \u00e4\u4e16\U0001F600', '0001-01-01', '00:00:00.000001',
        '0001-01-01', '0001-01-02', '1', '1e5'),
    (-5, 1, 1, 1, 3.4028235e38, 1.7976931348623157e308, -99990000.00010000, ' ', '2000-02-29', '1:2:3.4', '1999-12-31 23:59:59.5',
        '2024-03-31 02:59:59.999+02', '[]', '{"a": {}}');
INSERT INTO kinds SELECT g, random() < 0.5, ((random() - 0.5) * 65535)::int2, ((random() - 0.5) * 4e9)::int4,
    ((random() - 0.5) * 1e19)::int8, exp((random() - 0.5) * 170)::float4, -exp((random() - 0.5) * 1400),
    ((random() - 0.5) * 10.0 ^ (g % 40 - 20))::numeric, (random() * 1e9)::numeric, chr(1 + g % 1000) || md5(g::text),
    left(md5((g + 1)::text), g % 40), left(md5(g::text), g % 9), decode(repeat(md5(g::text), g % 3), 'hex'),
    '0001-01-01'::date + (random() * 3e6)::int, '00:00'::time + random() * interval '1 day',
    to_timestamp(random() * 2e11)::timestamp, to_timestamp((random() - 0.2) * 2e11), md5(g::text)::uuid,
    (enum_range(NULL::mood))[1 + g % 3], json_build_object(g, md5(g::text)), jsonb_build_array(g, NULL, random()),
    CASE WHEN g % 17 > 0 THEN repeat('\', g % 5) END
FROM generate_series(1, 6000) g;
"#;

/// What is sent as text: values that only the server can read, in the middle of others; types that are not known;
/// and lines that are empty.
const OTHERS: &str = r"
CREATE TABLE past AS SELECT g AS id, '2000-01-01'::date - CASE WHEN g > 30000 THEN 1000000 ELSE g END AS day,
    CASE g WHEN 35000 THEN '24:00'::time ELSE '12:00' END AS hour, md5(g::text) AS t FROM generate_series(1, 40000) g;
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE TABLE typed AS SELECT g AS id, g::positive AS p, ARRAY[g, NULL] AS a, md5(g::text) AS t
    FROM generate_series(1, 40000) g;
CREATE TABLE lines AS SELECT CASE WHEN g % 2 = 0 THEN '' ELSE md5(g::text) END AS id FROM generate_series(1, 70000) g;
";

fn contents(server: &Server, database: &str) -> Vec<String> {
    let content = |table: &str| {
        let sql = format!("SELECT count(*), md5(string_agg(t::text, '|' ORDER BY id, t::text)) FROM {table} t");
        server.psql(database, &sql)
    };
    ["kinds", "past", "typed", "lines"].map(content).to_vec()
}

#[test]
fn rows_of_every_type_arrive_as_they_were() {
    for major in 14..=18 {
        let site = Site::on(Server::start_with(major, &["log_statement=all"]), "app", "postgres");
        site.server.create_database("app");
        site.server.psql("app", &format!("{KINDS}{OTHERS}"));
        site.backup();
        site.run(&["restore", "app", "--mode", "new", "--as", "copy", "--yes"])
            .ok();
        assert_eq!(contents(&site.server, "copy"), contents(&site.server, "app"), "{major}");

        let log = fs::read_to_string(Path::new(site.server.host()).join("log")).unwrap();
        let sent = |table: &str, binary: bool| {
            let copy = format!("COPY public.{table} (");
            log.lines().any(|line| {
                line.contains(&copy) && line.contains("FROM stdin") && line.contains("FORMAT binary") == binary
            })
        };
        let ways = |table| (sent(table, true), sent(table, false));
        assert_eq!(ways("kinds"), (true, false), "{major}");
        assert_eq!(ways("past"), (true, true), "{major}");
        assert_eq!(ways("typed"), (false, true), "{major}");
        assert_eq!(ways("lines"), (true, false), "{major}");
    }
}
