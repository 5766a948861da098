//! Empties a database inside a transaction, so that it is like a new one: what pg_dump would dump of it is dropped,
//! and what it has from its creation is as it was then.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use crate::archive::toc::{DumpId, Entry};
use crate::engine::postgres::any_text::AnyText;
use crate::engine::postgres::connect::Dsn;
use crate::engine::postgres::connect::session::Session;
use crate::engine::postgres::dump::entries_within;
use crate::engine::postgres::load;
use crate::engine::postgres::target::{literal, run};
use crate::error::Result;

/// What stays, because the role could not make it again.
#[derive(Debug, Default)]
pub struct Kept {
    /// Extensions.
    pub extensions: BTreeSet<String>,
    /// The schemas that they are in.
    schemas: BTreeSet<String>,
}

/// Extensions that the role may not drop or not create again, and those that they need.
const KEPT: &str = "\
WITH RECURSIVE kept AS (
    SELECT e.oid FROM pg_catalog.pg_extension e
    WHERE NOT pg_catalog.pg_has_role(e.extowner, 'USAGE') OR NOT EXISTS (
        SELECT 1 FROM pg_catalog.pg_available_extension_versions v
        JOIN pg_catalog.pg_available_extensions a ON a.name = v.name AND a.default_version = v.version
        WHERE v.name = e.extname AND (pg_catalog.current_setting('is_superuser') = 'on' OR v.trusted))
    UNION
    SELECT d.refobjid FROM kept k
    JOIN pg_catalog.pg_depend d ON d.objid = k.oid AND d.classid = 'pg_catalog.pg_extension'::pg_catalog.regclass
        AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass)
SELECT e.extname::text, n.nspname::text FROM kept JOIN pg_catalog.pg_extension e ON e.oid = kept.oid
JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace";

impl Kept {
    /// Finds out.
    ///
    /// # Errors
    /// The server does not answer.
    pub async fn read(session: &Session) -> Result<Kept> {
        let mut kept = Kept::default();
        for row in session.client().query(KEPT, &[]).await? {
            kept.extensions.insert(row.try_get::<_, AnyText>(0)?.0);
            kept.schemas.insert(row.try_get::<_, AnyText>(1)?.0);
        }
        Ok(kept)
    }

    /// The entries of an archive that are there already.
    #[must_use]
    pub fn there(&self, entries: &[Entry]) -> HashSet<DumpId> {
        let there = entries.iter().filter(|entry| self.has(entry));
        there.map(|entry| entry.dump_id).collect()
    }

    fn has(&self, entry: &Entry) -> bool {
        match entry.desc.as_str() {
            "EXTENSION" => self.extensions.contains(&entry.tag),
            // That of a new database is never created, but may get another owner.
            "SCHEMA" => entry.tag != "public" && self.schemas.contains(&entry.tag),
            _ => false,
        }
    }
}

/// Empties the database that `session` is in.
///
/// # Errors
/// Something cannot be removed. The transaction has failed then.
pub async fn clear(session: &Arc<Session>, dsn: &Dsn) -> Result<Kept> {
    let kept = Kept::read(session).await?;
    let (mut entries, quote) = entries_within(session, dsn).await?;
    entries.retain(|entry| !kept.has(entry));
    load::remove(session, entries, quote).await?;
    let client = session.client();
    run(client, &configuration(&kept)).await?;
    run(client, &without_default_privileges("true")).await?;
    run(client, PUBLIC).await?;
    Ok(kept)
}

/// Empties the tables in which extensions that stay keep what was configured; those that others refer to come last.
fn configuration(kept: &Kept) -> String {
    let names: Vec<String> = kept.extensions.iter().map(|name| literal(name)).collect();
    format!(
        "DO $snapback$ DECLARE it record; todo oid[]; later oid[]; BEGIN \
         SELECT pg_catalog.array_agg(u.config) INTO todo FROM pg_catalog.pg_extension e, \
         pg_catalog.unnest(e.extconfig) AS u (config) \
         JOIN pg_catalog.pg_class c ON c.oid = u.config AND c.relkind = 'r' \
         WHERE e.extname = ANY (ARRAY[{}]::pg_catalog.text[]); \
         WHILE todo IS NOT NULL LOOP later := NULL; \
         FOR it IN SELECT u.config, u.condition FROM pg_catalog.pg_extension e, \
         LATERAL ROWS FROM (pg_catalog.unnest(e.extconfig), pg_catalog.unnest(e.extcondition)) AS u (config, condition) \
         WHERE u.config = ANY (todo) LOOP \
         BEGIN EXECUTE pg_catalog.format('DELETE FROM %s %s', it.config::pg_catalog.regclass, it.condition); \
         EXCEPTION WHEN foreign_key_violation THEN \
         IF pg_catalog.cardinality(todo) = 1 THEN RAISE; END IF; later := later || it.config; END; \
         END LOOP; \
         IF later = todo THEN RAISE foreign_key_violation USING MESSAGE = \
         'rows of extensions that stay refer to each other: ' || later::pg_catalog.regclass[]::text; END IF; \
         todo := later; END LOOP; END $snapback$",
        names.join(", ")
    )
}

/// Takes away the default privileges of those roles of `pg_default_acl a` that the condition `which` is true for.
#[must_use]
pub fn without_default_privileges(which: &str) -> String {
    DEFAULT_PRIVILEGES.replace("{which}", which)
}

/// Default privileges go when they are as they are by default. Those of schemas that were dropped are gone.
const DEFAULT_PRIVILEGES: &str = "DO $snapback$ DECLARE d record; who text; prefix text; kind text; BEGIN
FOR d IN SELECT pg_catalog.pg_get_userbyid(a.defaclrole) AS role, n.nspname AS schema, a.defaclobjtype AS type,
    a.defaclacl AS acl FROM pg_catalog.pg_default_acl a LEFT JOIN pg_catalog.pg_namespace n ON n.oid = a.defaclnamespace
    WHERE pg_catalog.pg_has_role(a.defaclrole, 'MEMBER') AND {which} LOOP
    prefix := pg_catalog.format('ALTER DEFAULT PRIVILEGES FOR ROLE %I ', d.role);
    IF d.schema IS NOT NULL THEN prefix := prefix || pg_catalog.format('IN SCHEMA %I ', d.schema); END IF;
    kind := CASE d.type WHEN 'r' THEN 'TABLES' WHEN 'S' THEN 'SEQUENCES' WHEN 'f' THEN 'FUNCTIONS' WHEN 'T' THEN 'TYPES'
        WHEN 'n' THEN 'SCHEMAS' ELSE 'LARGE OBJECTS' END;
    FOR who IN SELECT DISTINCT CASE grantee WHEN 0 THEN 'PUBLIC'
        ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(grantee)) END FROM pg_catalog.aclexplode(d.acl) LOOP
        EXECUTE prefix || 'REVOKE ALL ON ' || kind || ' FROM ' || who;
    END LOOP;
    IF d.schema IS NULL THEN
        EXECUTE prefix || 'GRANT ALL ON ' || kind || ' TO ' || pg_catalog.quote_ident(d.role);
        IF d.type IN ('f', 'T') THEN EXECUTE prefix || 'GRANT ALL ON ' || kind || ' TO PUBLIC'; END IF;
    END IF;
END LOOP; END $snapback$";

/// Schema `public` as a new database has it; of a role that does not own it, it stays as it is.
const PUBLIC: &str = "DO $snapback$ DECLARE p record; who text; owner text; BEGIN
owner := CASE WHEN pg_catalog.current_setting('server_version_num')::int >= 150000 THEN 'pg_database_owner'
    ELSE pg_catalog.pg_get_userbyid(10) END;
IF pg_catalog.to_regnamespace('public') IS NULL THEN
    CREATE SCHEMA public;
END IF;
SELECT nspowner, pg_catalog.pg_get_userbyid(nspowner) AS role, COALESCE(nspacl, pg_catalog.acldefault('n', nspowner)) AS acl
    INTO p FROM pg_catalog.pg_namespace WHERE nspname = 'public';
IF NOT pg_catalog.pg_has_role(p.nspowner, 'USAGE') THEN RETURN; END IF;
FOR who IN SELECT DISTINCT CASE grantee WHEN 0 THEN 'PUBLIC'
    ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(grantee)) END FROM pg_catalog.aclexplode(p.acl) LOOP
    EXECUTE 'REVOKE ALL ON SCHEMA public FROM ' || who || ' CASCADE';
END LOOP;
IF p.role <> owner AND pg_catalog.pg_has_role(owner, 'MEMBER') THEN
    EXECUTE pg_catalog.format('ALTER SCHEMA public OWNER TO %I', owner);
ELSE
    owner := p.role;
END IF;
EXECUTE pg_catalog.format('GRANT ALL ON SCHEMA public TO %I', owner);
GRANT USAGE ON SCHEMA public TO PUBLIC;
IF pg_catalog.current_setting('server_version_num')::int < 150000 THEN GRANT CREATE ON SCHEMA public TO PUBLIC; END IF;
COMMENT ON SCHEMA public IS 'standard public schema';
END $snapback$";
