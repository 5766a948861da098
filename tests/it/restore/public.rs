//! Whose schema `public` is: before PostgreSQL 15 no archive tells.

use super::Site;
use crate::support::Server;

const OWNER: &str =
    "SELECT nspowner::regrole || ' ' || coalesce(nspacl::text, '') FROM pg_namespace WHERE nspname = 'public'";

#[test]
fn schema_public_goes_back_to_the_role_that_it_belonged_to() {
    for major in [14, 18] {
        let site = Site::new(major, "app");
        site.server.psql(
            "app",
            "CREATE ROLE boss; CREATE ROLE reader; ALTER SCHEMA public OWNER TO boss; GRANT USAGE ON SCHEMA public TO reader",
        );
        let before = site.server.psql("app", OWNER);
        assert!(before.starts_with("boss "), "{before}");
        let id = site.backup();
        site.restore(&[&id]);
        assert_eq!(site.server.psql("app", OWNER), before, "swap, {major}");
        site.server.psql("app", "ALTER SCHEMA public OWNER TO reader");
        let changed = site.server.psql("app", OWNER);
        site.restore(&[&id, "--mode", "in-place"]);
        assert_eq!(site.server.psql("app", OWNER), before, "in place, {major}");
        site.run(&["undo", "app", "--yes"]).ok();
        assert_eq!(site.server.psql("app", OWNER), changed, "undone, {major}");
        site.restore(&[&id, "--mode", "new", "--as", "new"]);
        assert_eq!(site.server.psql("new", OWNER), before, "new, {major}");
    }
}

#[test]
fn a_mere_owner_restores_what_he_may_and_is_told_the_rest() {
    let server = Server::start(14);
    server.psql("postgres", "CREATE ROLE app LOGIN CREATEDB; CREATE ROLE reader");
    server.psql("postgres", "CREATE DATABASE app OWNER app TEMPLATE template0");
    server.psql(
        "app",
        "ALTER SCHEMA public OWNER TO app; GRANT USAGE ON SCHEMA public TO reader; SET ROLE app; \
         CREATE TABLE public.t (id int); INSERT INTO public.t VALUES (1)",
    );
    let site = Site::on(server, "app", "app");
    let id = site.backup();
    let run = site
        .run(&["restore", "app", &id, "--mode", "new", "--as", "new", "--yes"])
        .ok();
    assert!(
        run.stderr.contains("schema public belonged to \"app\""),
        "{}",
        run.stderr
    );
    assert_eq!(site.server.psql("new", "SELECT count(*) FROM t"), "1");
    site.run(&["restore", "app", &id, "--yes"]).ok();
}
