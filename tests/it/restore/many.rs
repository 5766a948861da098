//! Databases with so many objects that several connections share the work, and ways are taken that small ones do not need.

use super::Site;
use crate::equal::{difference, is_text, on_all_versions};
use crate::support::Run;

/// What a table can be in the eyes of the catalogs.
const CATALOGS: [&str; 5] = [
    "SELECT c.oid::regclass, c.relkind, c.relpersistence, c.reloptions, c.relispartition, c.relnatts, c.relchecks, \
         c.relhastriggers, c.relreplident, pg_get_expr(c.relpartbound, c.oid), c.reltoastrelid <> 0, \
         (SELECT amname FROM pg_am WHERE oid = c.relam), c.relowner::regrole \
     FROM pg_class c WHERE c.oid >= 16384 AND c.relnamespace <> 'pg_toast'::regnamespace ORDER BY c.oid::regclass::text",
    "SELECT a.attrelid::regclass, a.attnum, a.attname, a.atttypid::regtype, a.atttypmod, a.attnotnull, a.atthasdef, \
         a.attidentity, a.attgenerated, a.attislocal, a.attinhcount, a.attstorage, a.attcompression, a.attcollation, \
         a.attstattarget, a.attoptions, pg_get_expr(d.adbin, d.adrelid) \
     FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum \
     WHERE a.attrelid >= 16384 AND a.attrelid::regclass::text NOT LIKE 'pg_toast%' ORDER BY a.attrelid::regclass::text, a.attnum",
    "SELECT conrelid::regclass, conname, contype, conislocal, coninhcount, connoinherit, convalidated, conparentid <> 0, \
         pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid >= 16384 ORDER BY conrelid::regclass::text, conname",
    "SELECT inhrelid::regclass, inhparent::regclass, inhseqno FROM pg_inherits ORDER BY inhrelid::regclass::text, inhseqno",
    "SELECT classid::regclass, refclassid::regclass, objsubid <> 0, refobjsubid <> 0, deptype, count(*) FROM pg_depend \
     WHERE objid >= 16384 GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5",
];

/// Partitions of each kind: such as CREATE TABLE ... PARTITION OF makes them, and others.
const PARTITIONS: &str = r#"
    CREATE TABLE plain (id int NOT NULL, at date DEFAULT '2024-01-01', name text COLLATE "C", n numeric(10,2) DEFAULT (1.5 * 2))
        PARTITION BY RANGE (id);
    CREATE TABLE nullable (id int, note text DEFAULT 'a (b'')', big int GENERATED ALWAYS AS (id * 2) STORED) PARTITION BY LIST (id);
    CREATE TABLE keyed (id bigserial PRIMARY KEY, at date NOT NULL CHECK (at > '2000-01-01')) PARTITION BY HASH (id);
    CREATE TABLE top (a int, b int) PARTITION BY LIST (a);
    CREATE TABLE "top of 1" PARTITION OF top FOR VALUES IN (1) PARTITION BY RANGE (b);
    CREATE TABLE counted (id int GENERATED ALWAYS AS IDENTITY, a int) PARTITION BY LIST (a);
    CREATE TABLE stored (id int, t text) PARTITION BY LIST (id);
    ALTER TABLE stored ALTER t SET STORAGE EXTERNAL;
    DO $$ BEGIN FOR i IN 1..110 LOOP
        EXECUTE format('CREATE TABLE plain_%s PARTITION OF plain FOR VALUES FROM (%s) TO (%s)', i, i * 10, i * 10 + 10);
        EXECUTE format('CREATE TABLE nullable_%s PARTITION OF nullable FOR VALUES IN (%s)', i, i);
        EXECUTE format('CREATE TABLE keyed_%s PARTITION OF keyed FOR VALUES WITH (MODULUS 110, REMAINDER %s)', i, i - 1);
        EXECUTE format('CREATE TABLE "leaf %s" PARTITION OF "top of 1" FOR VALUES FROM (%s) TO (%s)', i, i, i + 1);
        EXECUTE format('CREATE TABLE counted_%s PARTITION OF counted FOR VALUES IN (%s)', i, i);
        EXECUTE format('CREATE TABLE stored_%s PARTITION OF stored FOR VALUES IN (%s)', i, i);
    END LOOP; END $$;
    CREATE TABLE plain_rest PARTITION OF plain DEFAULT;
    CREATE TABLE plain_attached (id int NOT NULL, at date DEFAULT '2024-01-01', name text COLLATE "C", n numeric(10,2) DEFAULT (1.5 * 2));
    ALTER TABLE plain ATTACH PARTITION plain_attached FOR VALUES FROM (-10) TO (0);
    CREATE TABLE nullable_rest PARTITION OF nullable DEFAULT;
    CREATE TABLE nullable_with PARTITION OF nullable FOR VALUES IN (200, NULL) WITH (fillfactor = 70);
    CREATE UNLOGGED TABLE nullable_unlogged PARTITION OF nullable FOR VALUES IN (201);
    CREATE TABLE nullable_checked PARTITION OF nullable (CONSTRAINT own CHECK (note <> '')) FOR VALUES IN (202);
    CREATE TABLE nullable_order (gone int, note text DEFAULT 'mine', id int, big int GENERATED ALWAYS AS (id * 2) STORED);
    ALTER TABLE nullable_order DROP gone;
    ALTER TABLE nullable ATTACH PARTITION nullable_order FOR VALUES IN (203);
    CREATE TABLE nullable_target PARTITION OF nullable FOR VALUES IN (204);
    ALTER TABLE nullable_target ALTER note SET STATISTICS 500, ALTER note SET STORAGE EXTERNAL;
    ALTER TABLE stored_1 ALTER t SET STORAGE EXTENDED;
    COMMENT ON TABLE nullable_3 IS 'said of it';
    COMMENT ON COLUMN nullable_4.note IS 'said of that';
    CREATE VIEW seen AS SELECT * FROM nullable_5;
    CREATE VIEW all_seen AS SELECT * FROM nullable;
    INSERT INTO plain SELECT g, '2024-01-01'::date + g % 300, 'n' || g FROM generate_series(1, 1500) g;
    INSERT INTO nullable SELECT g % 205, 'v' || g FROM generate_series(1, 900) g;
    INSERT INTO keyed (at) SELECT '2020-01-01'::date + g FROM generate_series(1, 900) g;
    INSERT INTO top SELECT 1, g FROM generate_series(1, 110) g;
    INSERT INTO counted (a) SELECT g FROM generate_series(1, 110) g;
    INSERT INTO stored SELECT g, repeat('x', 5000) FROM generate_series(1, 110) g;
    ALTER TABLE plain ADD PRIMARY KEY (id);
    CREATE INDEX ON plain (at);
    CREATE INDEX ON nullable (note);
    CREATE INDEX own_index ON nullable_7 (big);
    CREATE INDEX ON top (b);
    CREATE TABLE referring (id int REFERENCES plain (id));
    INSERT INTO referring SELECT g FROM generate_series(1, 1500, 7) g;
    CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
    CREATE TRIGGER kept BEFORE UPDATE ON nullable FOR EACH ROW EXECUTE FUNCTION keep();
    CREATE STATISTICS of_both ON id, note FROM nullable_8;
"#;

/// Partitions come back as pg_restore makes them.
fn partitions(major: u32) {
    let site = Site::new(major, "app");
    site.server.psql("app", PARTITIONS);
    site.backup();
    site.restore(&["--mode", "new", "--as", "ours", "-j", "2"]);

    site.server.create_database("theirs");
    let archive = site.folder().join("theirs.dump");
    let mut pg_dump = site.server.tool("pg_dump");
    pg_dump.args(site.server.connection_args("app")).args(["-Fc", "-f"]);
    Run::of(pg_dump.arg(&archive)).ok();
    let mut pg_restore = site.server.tool("pg_restore");
    pg_restore
        .args(site.server.connection_args("theirs"))
        .arg("--exit-on-error");
    Run::of(pg_restore.arg(&archive)).ok();

    for query in CATALOGS {
        let (ours, theirs) = (site.server.psql("ours", query), site.server.psql("theirs", query));
        let differ = ours.lines().zip(theirs.lines()).find(|(ours, theirs)| ours != theirs);
        assert_eq!(differ, None, "{query}");
        assert_eq!(ours.lines().count(), theirs.lines().count());
    }
    for table in ["plain", "nullable", "keyed", "top", "counted", "stored"] {
        let query = format!("SELECT tableoid::regclass::text, * FROM {table} ORDER BY 1, 2, 3");
        assert!(
            site.server.psql("ours", &query) == site.server.psql("app", &query),
            "{table}"
        );
    }
}
on_all_versions!(partitions);

#[test]
fn large_objects_of_all_sizes_come_back_over_several_connections() {
    let site = Site::new(15, "app");
    site.server.psql(
        "app",
        "SELECT lo_from_bytea(0, decode(repeat(md5(g::text), g % 200), 'hex')) FROM generate_series(1, 3000) g; \
         SELECT lo_from_bytea(0, convert_to(repeat('0123456789abcdef', 131072), 'UTF8') || decode(repeat('5a', n), 'hex')) \
         FROM unnest(ARRAY[0, 1, 2047, 2048, 3000000]) n; \
         SELECT lo_from_bytea(0, decode(repeat('6b', n), 'hex')) FROM unnest(ARRAY[0, 1, 2047, 2048, 2049, 1048576, 1048577]) n",
    );
    let content = "SELECT oid, md5(lo_get(oid)) FROM pg_largeobject_metadata ORDER BY 1";
    let before = site.server.psql("app", content);
    site.backup();
    for jobs in ["1", "2", "4"] {
        let proof = &site.restore(&["--no-safety", "-j", jobs])["outcome"]["proof"];
        assert_eq!(proof["large_objects"], 3012);
        assert!(site.server.psql("app", content) == before, "with {jobs} jobs");
    }
}

#[test]
fn definitions_that_need_each_other_come_back_over_several_connections() {
    let site = Site::new(15, "app");
    site.server.psql(
        "app",
        "CREATE ROLE many_owner; \
         DO $$ BEGIN FOR i IN 1..150 LOOP \
             EXECUTE format('CREATE TABLE t%s (id serial PRIMARY KEY, note text)', i); \
             EXECUTE format('CREATE VIEW v%s AS SELECT id, note FROM t%s', i, i); \
             EXECUTE format('CREATE FUNCTION f%s(a t%s) RETURNS text LANGUAGE sql AS ''SELECT a.note''', i, i); \
             EXECUTE format('COMMENT ON TABLE t%s IS ''number %s''', i, i); \
             IF i > 1 THEN \
                 EXECUTE format('CREATE VIEW w%s AS SELECT a.id FROM v%s a JOIN v%s b USING (id)', i, i, i - 1); \
                 EXECUTE format('CREATE TABLE c%s (of_type t%s, CHECK (f%s(of_type) <> ''x'')) INHERITS (t%s)', i, i - 1, i - 1, i); \
             END IF; \
             IF i % 10 = 0 THEN EXECUTE format('ALTER TABLE t%s OWNER TO many_owner', i); END IF; \
         END LOOP; END $$",
    );
    let before = site.server.pg_dump("app", &[]);
    site.backup();
    for jobs in ["2", "3"] {
        site.restore(&["--no-safety", "-j", jobs]);
        let after = site.server.pg_dump("app", &[]);
        assert_eq!(difference(&before, &after, is_text), None, "with {jobs} jobs");
    }
}
