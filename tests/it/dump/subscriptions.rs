//! Subscriptions that are connected: a binary upgrade goes on where they were.

use super::same_as_pg_dump;
use super::trouble::wait_until;
use crate::support::Server;

#[test]
fn a_binary_upgrade_keeps_where_a_subscription_was() {
    for major in [17, 18] {
        let server = Server::start_with(major, &["wal_level=logical", "wal_retrieve_retry_interval=100ms"]);
        server.create_database("source");
        server.psql(
            "source",
            "CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE \"b c\" (id int PRIMARY KEY); \
             INSERT INTO a VALUES (1); CREATE PUBLICATION p FOR TABLE a, \"b c\"",
        );
        for slot in ["copied", "joined"] {
            // Within one cluster a subscription cannot make its slot: that would wait for its own transaction.
            server.psql(
                "source",
                &format!("SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')"),
            );
        }
        let connection = format!("host={} dbname=source user=postgres", server.host());
        for sql in [
            "CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE \"b c\" (id int PRIMARY KEY)".to_owned(),
            format!("CREATE SUBSCRIPTION copied CONNECTION '{connection}' PUBLICATION p WITH (create_slot = false)"),
            "CREATE SUBSCRIPTION apart CONNECTION 'dbname=nowhere' PUBLICATION p WITH (connect = false)".to_owned(),
        ] {
            server.psql("postgres", &sql);
        }
        // Of both tables the first copy was made, and a row has come after it.
        wait_until(
            &server,
            "count(*) = 2 AND bool_and(srsubstate = 'r') FROM pg_subscription_rel",
        );
        server.psql("source", "INSERT INTO a VALUES (2)");
        wait_until(&server, "count(*) = 2 FROM a");
        server.psql(
            "postgres",
            &format!(
                "CREATE SUBSCRIPTION joined CONNECTION '{connection}' PUBLICATION p \
                 WITH (create_slot = false, copy_data = false, enabled = false)"
            ),
        );
        server.psql("postgres", "ALTER SUBSCRIPTION copied DISABLE");
        wait_until(
            &server,
            "NOT EXISTS (SELECT FROM pg_stat_subscription WHERE pid IS NOT NULL)",
        );
        assert_eq!(
            server.psql(
                "postgres",
                "SELECT count(*) FROM pg_replication_origin_status WHERE remote_lsn > '0/0'"
            ),
            "1"
        );
        same_as_pg_dump(&server, "postgres", &["--binary-upgrade", "-s"]);
        same_as_pg_dump(&server, "postgres", &["-s"]);
        server.psql(
            "postgres",
            "ALTER SUBSCRIPTION copied SET (slot_name = NONE); DROP SUBSCRIPTION copied",
        );
    }
}
