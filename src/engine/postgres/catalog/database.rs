//! The database itself: what `--create` writes, and the settings that open every archive.

use super::emit::Emit;
use super::object::{Acl, CatalogId, DumpId, Oid, class};
use super::{Catalog, Step, acl, attachment, setting};
use crate::archive::toc::{Entry, Section};
use crate::engine::postgres::connect::session::{Query, Row};
use crate::error::Result;
use crate::sql::quote::Quote;

/// The database that is dumped; empty without `--create`.
#[derive(Debug, Default)]
pub struct Database {
    catalog_id: CatalogId,
    owner: String,
    encoding: String,
    collate: String,
    ctype: String,
    /// `c` libc, `i` ICU, `b` builtin.
    provider: char,
    locale: Option<String>,
    icu_rules: Option<String>,
    collation_version: Option<String>,
    is_template: bool,
    connection_limit: i32,
    tablespace: String,
    frozenxid: String,
    minmxid: String,
    description: Option<String>,
    acl: Acl,
    labels: Vec<(String, String)>,
    /// `name=value`, each with the role it is for.
    settings: Vec<(Option<String>, String)>,
    /// Files of `pg_largeobject` and its index, for `--binary-upgrade`.
    large_object_files: Vec<LargeObjectFile>,
}

#[derive(Debug)]
struct LargeObjectFile {
    oid: Oid,
    filenode: Oid,
    frozenxid: String,
    minmxid: String,
}

/// The database's own row. It comes before all other steps, because the others name its OID.
pub const READ: Step = Step {
    what: "the database",
    query: |cat| {
        let major = cat.server.major();
        let provider = if major >= 15 {
            "datlocprovider"
        } else {
            "'c'::pg_catalog.\"char\""
        };
        let version = if major >= 15 {
            "datcollversion"
        } else {
            "NULL::pg_catalog.text"
        };
        let rules = if major >= 16 {
            "daticurules"
        } else {
            "NULL::pg_catalog.text"
        };
        let locale = match major {
            17.. => "datlocale",
            15 | 16 => "daticulocale",
            _ => "NULL::pg_catalog.text",
        };
        let sql = format!(
            "SELECT tableoid, oid, pg_catalog.pg_get_userbyid(datdba) AS owner, pg_catalog.pg_encoding_to_char(encoding)::pg_catalog.text AS encoding, \
             datcollate, datctype, {provider} AS provider, {locale} AS locale, {rules} AS rules, \
             {version} AS version, datistemplate, datconnlimit, \
             (SELECT spcname FROM pg_catalog.pg_tablespace t WHERE t.oid = dattablespace) AS tablespace, \
             datfrozenxid::pg_catalog.text AS frozenxid, datminmxid::pg_catalog.text AS minmxid, \
             pg_catalog.shobj_description(oid, 'pg_database') AS description, {acl} \
             FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()",
            acl = acl::columns("oid", "datacl", "'d'", "datdba"),
        );
        cat.options.create.then(|| Query::new(sql))
    },
    absorb: |cat, rows| {
        for row in rows {
            cat.database = read(&row)?;
        }
        Ok(())
    },
};

fn read(row: &Row) -> Result<Database> {
    Ok(Database {
        catalog_id: CatalogId::new(row.oid("tableoid")?, row.oid("oid")?),
        owner: row.text("owner")?,
        encoding: row.text("encoding")?,
        collate: row.text("datcollate")?,
        ctype: row.text("datctype")?,
        provider: row.char("provider")?,
        locale: row.opt_text("locale")?,
        icu_rules: row.opt_text("rules")?,
        collation_version: row.opt_text("version")?,
        is_template: row.bool("datistemplate")?,
        connection_limit: row.int("datconnlimit")?,
        tablespace: row.text("tablespace")?,
        frozenxid: row.text("frozenxid")?,
        minmxid: row.text("minmxid")?,
        description: row.opt_text("description")?,
        // pg_init_privs is not for what databases share.
        acl: Acl {
            acl: row.texts_or_null("acl")?,
            acldefault: row.texts("acldefault")?,
            ..Acl::default()
        },
        ..Database::default()
    })
}

/// Settings that `ALTER DATABASE … SET` made.
pub const SETTINGS: Step = Step {
    what: "settings of the database",
    query: |cat| {
        let oid = cat.database.catalog_id.oid;
        let sql = format!(
            "SELECT pg_catalog.unnest(setconfig) AS setting FROM pg_catalog.pg_db_role_setting \
             WHERE setrole = 0 AND setdatabase = '{oid}'::pg_catalog.oid"
        );
        cat.options.create.then(|| Query::new(sql))
    },
    absorb: |cat, rows| {
        for row in rows {
            cat.database.settings.push((None, row.text("setting")?));
        }
        Ok(())
    },
};

/// Settings that `ALTER ROLE … IN DATABASE … SET` made.
pub const ROLE_SETTINGS: Step = Step {
    what: "settings of roles in the database",
    query: |cat| {
        let oid = cat.database.catalog_id.oid;
        let sql = format!(
            "SELECT rolname, pg_catalog.unnest(setconfig) AS setting \
             FROM pg_catalog.pg_db_role_setting s, pg_catalog.pg_roles r \
             WHERE setrole = r.oid AND setdatabase = '{oid}'::pg_catalog.oid"
        );
        cat.options.create.then(|| Query::new(sql))
    },
    absorb: |cat, rows| {
        for row in rows {
            let role = Some(row.text("rolname")?);
            cat.database.settings.push((role, row.text("setting")?));
        }
        Ok(())
    },
};

/// Security labels of the database, which stand apart from those of its objects.
pub const SECURITY_LABELS: Step = Step {
    what: "security labels of the database",
    query: |cat| {
        let sql = shared_labels("pg_database", cat.database.catalog_id.oid);
        (cat.options.create && !cat.options.no_security_labels).then(|| Query::new(sql))
    },
    absorb: |cat, rows| {
        for row in rows {
            let label = (row.text("provider")?, row.text("label")?);
            cat.database.labels.push(label);
        }
        Ok(())
    },
};

/// The query for the security labels of an object that databases share.
#[must_use]
pub fn shared_labels(catalog: &str, oid: Oid) -> String {
    format!(
        "SELECT provider, label FROM pg_catalog.pg_shseclabel \
         WHERE classoid = 'pg_catalog.{catalog}'::pg_catalog.regclass AND objoid = '{oid}'"
    )
}

/// The statement for one of them; `target` is `DATABASE x`, `ROLE x` …
#[must_use]
pub fn shared_label(q: Quote, target: &str, provider: &str, label: &str) -> String {
    format!(
        "SECURITY LABEL FOR {} ON {target} IS {};\n",
        q.id(provider),
        q.escape_literal(label)
    )
}

/// Where `--binary-upgrade` finds the files of large objects.
pub const LARGE_OBJECT_FILES: Step = Step {
    what: "files of large objects",
    query: |cat| {
        let oids = if cat.server.major() >= 15 { "2613, 2683" } else { "2613" };
        let sql = format!(
            "SELECT oid, relfilenode, relfrozenxid::pg_catalog.text AS frozenxid, \
             relminmxid::pg_catalog.text AS minmxid FROM pg_catalog.pg_class WHERE oid IN ({oids})"
        );
        (cat.options.create && cat.options.binary_upgrade).then(|| Query::new(sql))
    },
    absorb: |cat, rows| {
        for row in rows {
            cat.database.large_object_files.push(LargeObjectFile {
                oid: row.oid("oid")?,
                filenode: row.oid("relfilenode")?,
                frozenxid: row.text("frozenxid")?,
                minmxid: row.text("minmxid")?,
            });
        }
        Ok(())
    },
};

/// Writes what opens every archive: `ENCODING`, `STDSTRINGS`, `SEARCHPATH`.
///
/// # Errors
/// None today.
pub fn dump_settings(emit: &mut Emit) -> Result<()> {
    let (q, server) = (emit.q, &emit.cat.server);
    let std_strings = if server.std_strings { "on" } else { "off" };
    let settings = [
        (
            "ENCODING",
            format!("SET client_encoding = {};\n", q.literal(&server.encoding)),
        ),
        (
            "STDSTRINGS",
            format!("SET standard_conforming_strings = '{std_strings}';\n"),
        ),
        // Not SET: that cannot say an empty list.
        (
            "SEARCHPATH",
            "SELECT pg_catalog.set_config('search_path', '', false);\n".to_owned(),
        ),
    ];
    for (desc, sql) in settings {
        let mut entry = Entry::new(emit.new_dump_id(), desc, desc, Section::PreData);
        entry.defn = sql;
        emit.push(entry);
    }
    Ok(())
}

/// Writes the database and all that is set on it (pg_dump's `dumpDatabase`).
///
/// # Errors
/// The server sent no proper ACL.
pub fn dump(emit: &mut Emit) -> Result<()> {
    let (cat, q) = (emit.cat, emit.q);
    let it = &cat.database;
    let name = q.id(&cat.server.database).into_owned();
    let on = emit.new_dump_id();
    let mut entry = Entry::new(on, "DATABASE", &cat.server.database, Section::PreData);
    entry.table_oid = it.catalog_id.table;
    entry.oid = it.catalog_id.oid;
    entry.owner.clone_from(&it.owner);
    entry.defn = create_statement(cat, it, &name);
    entry.drop_stmt = format!("DROP DATABASE {name};\n");
    emit.push(entry);

    let tag = format!("DATABASE {name}");
    let comment = it.description.as_deref().filter(|text| !text.is_empty());
    if let (Some(text), false) = (comment, cat.options.no_comments) {
        let sql = format!("COMMENT ON DATABASE {name} IS {};\n", q.literal(text));
        push_attached(emit, "COMMENT", &tag, sql, on);
    }
    if !it.labels.is_empty() {
        let labels = it.labels.iter();
        let sql = labels
            .map(|(provider, label)| shared_label(q, &tag, provider, label))
            .collect();
        push_attached(emit, "SECURITY LABEL", &tag, sql, on);
    }
    attachment::acl(emit, on, None, "DATABASE", &name, None, None, &it.owner, None, &it.acl)?;
    dump_properties(emit, &name);
    if cat.options.binary_upgrade {
        dump_large_object_files(emit);
    }
    Ok(())
}

fn push_attached(emit: &mut Emit, desc: &str, tag: &str, sql: String, on: DumpId) {
    let mut entry = Entry::new(emit.new_dump_id(), desc, tag, Section::None);
    entry.owner.clone_from(&emit.cat.database.owner);
    entry.defn = sql;
    entry.dependencies = vec![on];
    emit.push(entry);
}

/// Only what cannot be changed later stands in CREATE DATABASE.
fn create_statement(cat: &Catalog, it: &Database, name: &str) -> String {
    let q = cat.quote();
    let (major, upgrade) = (cat.server.major(), cat.options.binary_upgrade);
    let mut sql = format!("CREATE DATABASE {name} WITH TEMPLATE = template0");
    if upgrade && major >= 15 {
        sql += &format!(" OID = {}", it.catalog_id.oid);
    }
    if upgrade && major >= 18 {
        sql += " STRATEGY = FILE_COPY";
    }
    let mut clause = |word: &str, text: &str| sql += &format!(" {word} = {text}");
    if !it.encoding.is_empty() {
        clause("ENCODING", &q.literal(&it.encoding));
    }
    if major >= 15 {
        let provider = match it.provider {
            'b' => "builtin",
            'i' => "icu",
            _ => "libc",
        };
        clause("LOCALE_PROVIDER", provider);
    }
    if !it.collate.is_empty() && it.collate == it.ctype {
        clause("LOCALE", &q.literal(&it.collate));
    } else {
        for (word, locale) in [("LC_COLLATE", &it.collate), ("LC_CTYPE", &it.ctype)] {
            if !locale.is_empty() {
                clause(word, &q.literal(locale));
            }
        }
    }
    if let Some(locale) = &it.locale {
        let word = if it.provider == 'b' {
            "BUILTIN_LOCALE"
        } else {
            "ICU_LOCALE"
        };
        clause(word, &q.literal(locale));
    }
    if let Some(rules) = &it.icu_rules {
        clause("ICU_RULES", &q.literal(rules));
    }
    if let (true, Some(version)) = (upgrade, &it.collation_version) {
        clause("COLLATION_VERSION", &q.literal(version));
    }
    let tablespace = it.tablespace.as_str();
    if !["", "pg_default"].contains(&tablespace) && !cat.options.no_tablespaces {
        clause("TABLESPACE", &q.id(tablespace));
    }
    sql + ";\n"
}

/// What can only be set once the database is there, apart because CREATE DATABASE must be alone.
fn dump_properties(emit: &mut Emit, name: &str) {
    let (cat, q) = (emit.cat, emit.q);
    let it = &cat.database;
    let literal = q.literal(&cat.server.database);
    let mut sql = String::new();
    let mut drop = String::new();
    if it.connection_limit != -1 {
        sql += &format!("ALTER DATABASE {name} CONNECTION LIMIT = {};\n", it.connection_limit);
    }
    if it.is_template {
        sql += &format!("ALTER DATABASE {name} IS_TEMPLATE = true;\n");
        // A template cannot be dropped, and there is no ALTER DATABASE IF EXISTS.
        drop += &format!("UPDATE pg_catalog.pg_database SET datistemplate = false WHERE datname = {literal};\n");
    }
    for (role, setting) in &it.settings {
        let target = match role {
            Some(role) => format!("ROLE {} IN DATABASE {name}", q.id(role)),
            None => format!("DATABASE {name}"),
        };
        sql += &alter_setting(q, &target, setting);
    }
    if cat.options.binary_upgrade {
        sql += &format!(
            "\n-- For binary upgrade, set datfrozenxid and datminmxid.\nUPDATE pg_catalog.pg_database\n\
             SET datfrozenxid = '{}', datminmxid = '{}'\nWHERE datname = {literal};\n",
            it.frozenxid, it.minmxid
        );
    }
    if sql.is_empty() {
        return;
    }
    let tag = &cat.server.database;
    let mut entry = Entry::new(emit.new_dump_id(), "DATABASE PROPERTIES", tag, Section::PreData);
    entry.owner.clone_from(&it.owner);
    entry.defn = sql;
    entry.drop_stmt = drop;
    // As pg_dump writes it, without a dependency: the order of the entries alone keeps it behind the database.
    emit.push(entry);
}

/// `ALTER target SET name TO value` for a `name=value` of `pg_db_role_setting`; empty when it is none.
#[must_use]
pub fn alter_setting(q: Quote, target: &str, setting: &str) -> String {
    let Some((name, value)) = setting.split_once('=') else {
        return String::new();
    };
    let value = setting::value(name, value, |text| q.escape_literal(text));
    format!("ALTER {target} SET {} TO {value};\n", q.id(name))
}

/// The files of large objects keep their names in the new cluster, which gets them as they are.
fn dump_large_object_files(emit: &mut Emit) {
    let mut names = String::new();
    let mut horizons = String::new();
    for file in &emit.cat.database.large_object_files {
        let what = if file.oid == class::PG_LARGEOBJECT {
            "heap"
        } else {
            "index"
        };
        names += &format!(
            "SELECT pg_catalog.binary_upgrade_set_next_{what}_relfilenode('{}'::pg_catalog.oid);\n",
            file.filenode
        );
        horizons += &format!(
            "UPDATE pg_catalog.pg_class\nSET relfrozenxid = '{}', relminmxid = '{}'\nWHERE oid = {};\n",
            file.frozenxid, file.minmxid, file.oid
        );
    }
    let mut sql = String::new();
    if emit.cat.server.major() >= 15 {
        sql += &format!(
            "\n-- For binary upgrade, preserve pg_largeobject and index relfilenodes\n{names}\
             TRUNCATE pg_catalog.pg_largeobject;\n"
        );
    }
    sql += &format!("\n-- For binary upgrade, set pg_largeobject relfrozenxid and relminmxid\n{horizons}");
    let id = emit.new_dump_id();
    let mut entry = Entry::new(id, "pg_largeobject", "pg_largeobject", Section::PreData);
    entry.defn = sql;
    emit.push(entry);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_quoted_as_their_kind_needs() {
        let q = Quote::standard(15);
        let set = |setting| alter_setting(q, "ROLE r", setting);
        assert_eq!(
            set("search_path=\"a b\", \"c\"\"d\", e"),
            "ALTER ROLE r SET search_path TO 'a b', 'c\"d', 'e';\n"
        );
        assert_eq!(set("search_path=\"\""), "ALTER ROLE r SET search_path TO '';\n");
        assert_eq!(
            set("DateStyle=ISO, DMY"),
            "ALTER ROLE r SET \"DateStyle\" TO 'ISO, DMY';\n"
        );
        assert_eq!(set("my.v=a\\b=c"), "ALTER ROLE r SET \"my.v\" TO E'a\\\\b=c';\n");
        assert_eq!(set("nonsense"), "");
    }
}
