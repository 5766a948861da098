//! The database that is to be replaced: what of it is not in it - owner, encoding, locale, settings, grants,
//! comment - and a new database that has the same.

use std::collections::HashSet;

use tokio_postgres::{Client, Row};

use super::properties::Properties;
use crate::engine::postgres::any_text::{AnyText, texts};
use crate::engine::postgres::catalog::database::alter_setting;
use crate::engine::postgres::snapshot::OWN_ENCODING;
use crate::engine::postgres::target::{QUOTE, literal, quoted, run};
use crate::error::Result;

/// What the shared catalogs know of a database.
#[derive(Clone, Debug)]
pub struct Live {
    /// Its OID.
    pub oid: u32,
    /// Name of its owner.
    pub owner: String,
    /// Its comment.
    pub comment: Option<String>,
    /// Encoding, as `CREATE DATABASE` takes it.
    pub encoding: String,
    /// Size in bytes, where the role may ask for it.
    pub size: Option<i64>,
    /// Whether new sessions are let in.
    pub allows_connections: bool,
    locale: Locale,
    tablespace: String,
    connection_limit: i32,
    is_template: bool,
    /// `name=value`, each with the role that it is for.
    settings: Vec<(Option<String>, String)>,
    grants: Option<Vec<Grant>>,
    labels: Vec<(String, String)>,
}

#[derive(Clone, Debug)]
struct Locale {
    provider: char,
    collate: String,
    ctype: String,
    name: Option<String>,
    icu_rules: Option<String>,
}

#[derive(Clone, Debug)]
struct Grant {
    grantor: String,
    grantee: Option<String>,
    privilege: String,
    grantable: bool,
}

impl Live {
    /// Reads what is known of `database`; `None` when there is no such database. Its texts are in its own encoding,
    /// whichever the database has that `client` is in, so bytes are read as they are.
    ///
    /// # Errors
    /// The server does not answer.
    pub async fn read(client: &Client, database: &str) -> Result<Option<Live>> {
        run(client, &format!("BEGIN READ ONLY; {OWN_ENCODING}")).await?;
        let live = Live::read_bytes(client, database).await;
        run(client, "ROLLBACK").await?;
        live
    }

    async fn read_bytes(client: &Client, database: &str) -> Result<Option<Live>> {
        let major = major(client).await?;
        let database = AnyText(database.to_owned());
        let Some(row) = client.query_opt(&properties_query(major), &[&database]).await? else {
            return Ok(None);
        };
        let oid: u32 = row.try_get("oid")?;
        let provider: String = row.try_get("provider")?;
        Ok(Some(Live {
            oid,
            owner: row.try_get::<_, AnyText>("owner")?.0,
            comment: row.try_get::<_, Option<AnyText>>("comment")?.map(|it| it.0),
            encoding: row.try_get("encoding")?,
            size: row.try_get("size")?,
            allows_connections: row.try_get("datallowconn")?,
            locale: Locale {
                provider: provider.chars().next().unwrap_or('c'),
                collate: row.try_get("collate")?,
                ctype: row.try_get("ctype")?,
                name: row.try_get("locale")?,
                icu_rules: row.try_get("icu_rules")?,
            },
            tablespace: row.try_get::<_, AnyText>("tablespace")?.0,
            connection_limit: row.try_get("datconnlimit")?,
            is_template: row.try_get("datistemplate")?,
            settings: settings(client, oid).await?,
            grants: if row.try_get("has_acl")? {
                Some(grants(client, oid).await?)
            } else {
                None
            },
            labels: labels(client, oid).await?,
        }))
    }

    /// `CREATE DATABASE` of an empty database like this one under another name.
    #[must_use]
    pub fn create_statement(&self, name: &str) -> String {
        let mut sql = format!(
            "CREATE DATABASE {} OWNER {} TEMPLATE template0 ENCODING {} LC_COLLATE {} LC_CTYPE {}",
            quoted(name),
            quoted(&self.owner),
            literal(&self.encoding),
            literal(&self.locale.collate),
            literal(&self.locale.ctype),
        );
        // Naming the default tablespace takes a right that leaving it out does not.
        if self.tablespace != "pg_default" {
            sql.push_str(&format!(" TABLESPACE {}", quoted(&self.tablespace)));
        }
        let locale = self.locale.name.as_deref().map(literal).unwrap_or_default();
        match self.locale.provider {
            'i' => sql.push_str(&format!(" LOCALE_PROVIDER icu ICU_LOCALE {locale}")),
            'b' => sql.push_str(&format!(" LOCALE_PROVIDER builtin BUILTIN_LOCALE {locale}")),
            _ => {}
        }
        if let Some(rules) = &self.locale.icu_rules {
            sql.push_str(&format!(" ICU_RULES {}", literal(rules)));
        }
        sql
    }

    /// What makes `database` (quoted) like this one, but for the comment, which comes with the swap.
    #[must_use]
    pub fn properties(&self, database: &str) -> Properties {
        let mut all = Properties::default();
        for (role, setting) in &self.settings {
            let whose = match role {
                Some(role) => format!("ROLE {} IN DATABASE {database}", quoted(role)),
                None => format!("DATABASE {database}"),
            };
            all.push(alter_setting(QUOTE, &whose, setting));
        }
        all.rest
            .extend(grant_statements(self.grants.as_deref(), database, &self.owner));
        for (provider, label) in &self.labels {
            all.push(format!(
                "SECURITY LABEL FOR {} ON DATABASE {database} IS {}",
                quoted(provider),
                literal(label)
            ));
        }
        if self.connection_limit != -1 {
            all.push(format!(
                "ALTER DATABASE {database} CONNECTION LIMIT {}",
                self.connection_limit
            ));
        }
        if self.is_template {
            all.push(format!("ALTER DATABASE {database} IS_TEMPLATE true"));
        }
        all
    }
}

/// Names of all databases of the server.
///
/// # Errors
/// The server does not answer.
pub async fn names(client: &Client) -> Result<HashSet<String>> {
    let rows = client
        .query("SELECT datname::text FROM pg_catalog.pg_database", &[])
        .await?;
    Ok(texts(&rows)?.into_iter().collect())
}

/// Major version of the server.
///
/// # Errors
/// The server does not answer.
pub async fn major(client: &Client) -> Result<u32> {
    let row = client
        .query_one("SELECT pg_catalog.current_setting('server_version_num')", &[])
        .await?;
    let number: String = row.try_get(0)?;
    Ok(number.parse::<u32>()? / 10_000)
}

fn properties_query(major: u32) -> String {
    let provider = if major >= 15 { "d.datlocprovider::text" } else { "'c'" };
    let locale = match major {
        17.. => "d.datlocale",
        15 | 16 => "d.daticulocale",
        _ => "NULL::text",
    };
    let icu_rules = if major >= 16 { "d.daticurules" } else { "NULL::text" };
    format!(
        "SELECT d.oid, pg_catalog.pg_get_userbyid(d.datdba)::text AS owner, \
         pg_catalog.shobj_description(d.oid, 'pg_database') AS comment, \
         pg_catalog.pg_encoding_to_char(d.encoding)::text AS encoding, \
         CASE WHEN pg_catalog.has_database_privilege(d.oid, 'CONNECT') \
         THEN pg_catalog.pg_database_size(d.oid) END AS size, \
         d.datallowconn, d.datconnlimit, d.datistemplate, {provider} AS provider, \
         d.datcollate::text AS collate, d.datctype::text AS ctype, {locale} AS locale, {icu_rules} AS icu_rules, \
         t.spcname::text AS tablespace, d.datacl IS NOT NULL AS has_acl \
         FROM pg_catalog.pg_database d JOIN pg_catalog.pg_tablespace t ON t.oid = d.dattablespace \
         WHERE d.datname = $1"
    )
}

async fn settings(client: &Client, oid: u32) -> Result<Vec<(Option<String>, String)>> {
    let rows = client
        .query(
            "SELECT r.rolname::text, c.setting FROM pg_catalog.pg_db_role_setting s \
             LEFT JOIN pg_catalog.pg_roles r ON r.oid = s.setrole, \
             LATERAL pg_catalog.unnest(s.setconfig) WITH ORDINALITY AS c (setting, ord) \
             WHERE s.setdatabase = $1 ORDER BY r.rolname NULLS FIRST, c.ord",
            &[&oid],
        )
        .await?;
    let setting = |row: Row| {
        let (role, AnyText(setting)): (Option<AnyText>, _) = (row.try_get(0)?, row.try_get(1)?);
        Ok((role.map(|it| it.0), setting))
    };
    rows.into_iter().map(setting).collect()
}

async fn grants(client: &Client, oid: u32) -> Result<Vec<Grant>> {
    let rows = client
        .query(
            "SELECT pg_catalog.pg_get_userbyid(a.grantor)::text, \
             CASE WHEN a.grantee <> 0 THEN pg_catalog.pg_get_userbyid(a.grantee)::text END, \
             a.privilege_type, a.is_grantable \
             FROM pg_catalog.pg_database d, pg_catalog.aclexplode(d.datacl) WITH ORDINALITY AS \
             a (grantor, grantee, privilege_type, is_grantable, ord) WHERE d.oid = $1 ORDER BY a.ord",
            &[&oid],
        )
        .await?;
    rows.into_iter()
        .map(|row| {
            Ok(Grant {
                grantor: row.try_get::<_, AnyText>(0)?.0,
                grantee: row.try_get::<_, Option<AnyText>>(1)?.map(|it| it.0),
                privilege: row.try_get(2)?,
                grantable: row.try_get(3)?,
            })
        })
        .collect()
}

async fn labels(client: &Client, oid: u32) -> Result<Vec<(String, String)>> {
    let rows = client
        .query(
            "SELECT provider, label FROM pg_catalog.pg_shseclabel \
             WHERE classoid = 'pg_catalog.pg_database'::regclass AND objoid = $1",
            &[&oid],
        )
        .await?;
    let label = |row: Row| Ok((row.try_get::<_, AnyText>(0)?.0, row.try_get::<_, AnyText>(1)?.0));
    rows.into_iter().map(label).collect()
}

/// The grants of a database as statements. While it is loaded nobody but its owner is let in, so also what is
/// granted by default has to be given back.
fn grant_statements(grants: Option<&[Grant]>, database: &str, owner: &str) -> Vec<String> {
    let Some(grants) = grants else {
        return vec![format!("GRANT CONNECT, TEMPORARY ON DATABASE {database} TO PUBLIC")];
    };
    let mut all = vec![
        format!("REVOKE ALL ON DATABASE {database} FROM PUBLIC"),
        format!("REVOKE ALL ON DATABASE {database} FROM {}", quoted(owner)),
    ];
    // Who grants what was granted to him needs that grant first.
    let (own, passed_on): (Vec<_>, Vec<_>) = grants.iter().partition(|grant| grant.grantor == owner);
    for grant in own.into_iter().chain(passed_on) {
        let grantee = grant.grantee.as_deref().map_or("PUBLIC".to_owned(), quoted);
        let option = if grant.grantable { " WITH GRANT OPTION" } else { "" };
        let statement = format!("GRANT {} ON DATABASE {database} TO {grantee}{option}", grant.privilege);
        if grant.grantor == owner {
            all.push(statement);
        } else {
            all.push(format!("SET ROLE {}; {statement}; RESET ROLE", quoted(&grant.grantor)));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants_by_others_come_after_the_owners() {
        let grant = |grantor: &str, grantee: &str| Grant {
            grantor: grantor.to_owned(),
            grantee: Some(grantee.to_owned()),
            privilege: "CONNECT".to_owned(),
            grantable: false,
        };
        let statements = grant_statements(Some(&[grant("b", "c"), grant("a", "b")]), "\"d\"", "a");
        assert_eq!(statements[2], "GRANT CONNECT ON DATABASE \"d\" TO \"b\"");
        assert!(statements[3].starts_with("SET ROLE \"b\"; GRANT"));
    }
}
