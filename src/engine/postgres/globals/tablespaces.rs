//! Tablespaces.

use super::{Context, label_columns, preserved, title};
use crate::engine::postgres::catalog::acl::{self, Target};
use crate::error::Result;

/// A tablespace.
pub(super) struct Tablespace {
    oid: u32,
    name: String,
    owner: String,
    location: String,
    options: String,
    acl: Option<Vec<String>>,
    acldefault: Vec<String>,
    comment: Option<String>,
    labels: String,
}

/// All tablespaces but the two that every cluster has.
pub(super) async fn read(context: &Context<'_>) -> Result<Vec<Tablespace>> {
    let sql = format!(
        "SELECT oid, spcname, pg_catalog.pg_get_userbyid(spcowner)::pg_catalog.text AS owner, \
         pg_catalog.pg_tablespace_location(oid) AS location, {}, \
         coalesce(pg_catalog.array_to_string(spcoptions, ', '), '') AS options, \
         pg_catalog.shobj_description(oid, 'pg_tablespace') AS comment, {} \
         FROM pg_catalog.pg_tablespace o WHERE spcname !~ '^pg_' ORDER BY oid",
        acl::columns("oid", "spcacl", "'t'", "spcowner"),
        label_columns("pg_tablespace", !context.options.no_security_labels)
    );
    let mut tablespaces = Vec::new();
    for row in context.rows(sql, "tablespaces").await? {
        let name = row.text("spcname")?;
        tablespaces.push(Tablespace {
            oid: row.oid("oid")?,
            labels: context.labels(&format!("TABLESPACE {}", context.q.id(&name)), &row)?,
            name,
            owner: row.text("owner")?,
            location: row.text("location")?,
            options: row.text("options")?,
            acl: row.texts_or_null("acl")?,
            acldefault: row.texts("acldefault")?,
            comment: row.opt_text("comment")?,
        });
    }
    Ok(tablespaces)
}

/// `DROP TABLESPACE` for all, by name.
pub(super) fn drop(context: &Context, tablespaces: &[Tablespace]) -> String {
    let mut text = String::new();
    if !tablespaces.is_empty() {
        text += &title("Drop tablespaces");
    }
    let mut names: Vec<_> = tablespaces.iter().map(|it| it.name.as_str()).collect();
    names.sort_unstable();
    for name in names {
        text += &format!("DROP TABLESPACE {}{};\n", context.if_exists(), context.q.id(name));
    }
    text + "\n\n"
}

/// The statements that make them.
pub(super) fn create(context: &Context, tablespaces: &[Tablespace]) -> Result<String> {
    let q = context.q;
    let mut text = String::new();
    if !tablespaces.is_empty() {
        text += &title("Tablespaces");
    }
    for it in tablespaces {
        let name = q.id(&it.name);
        if context.options.binary_upgrade && context.major >= 15 {
            text += &preserved("pg_tablespace oid", "pg_tablespace", it.oid);
        }
        // A tablespace inside of the data directory has a relative location, which no statement takes.
        let in_place = context.major >= 17 && !it.location.starts_with('/');
        let location = if in_place { "" } else { it.location.as_str() };
        text += &format!(
            "CREATE TABLESPACE {name} OWNER {} LOCATION {};\n",
            q.id(&it.owner),
            q.escape_literal(location)
        );
        if !it.options.is_empty() {
            text += &format!("ALTER TABLESPACE {name} SET ({});\n", it.options);
        }
        if let (Some(acl), false) = (&it.acl, context.options.no_privileges) {
            let target = Target {
                type_: "TABLESPACE",
                name: &name,
                subname: None,
                namespace: None,
                owner: &it.owner,
                prefix: "",
            };
            text += &acl::commands(q, acl, &it.acldefault, &target)?;
        }
        text += &context.comment(&format!("TABLESPACE {name}"), it.comment.as_deref());
        text += &it.labels;
    }
    Ok(text + "\n\n")
}
