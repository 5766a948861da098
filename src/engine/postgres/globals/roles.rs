//! Roles: attributes, passwords, settings.

use std::collections::HashMap;

use super::{Context, label_columns, preserved, title};
use crate::engine::postgres::catalog::database::alter_setting;
use crate::engine::postgres::connect::session::Row;
use crate::error::Result;

/// A role and its settings.
pub(super) struct Role {
    oid: u32,
    /// It is the one that reads.
    own: bool,
    name: String,
    /// Each as it stands in ALTER ROLE, except for limit, password and validity.
    attributes: Vec<String>,
    connection_limit: i32,
    password: Option<String>,
    valid_until: Option<String>,
    comment: Option<String>,
    labels: String,
    settings: Vec<String>,
}

/// All roles but the system's own.
pub(super) async fn read(context: &Context<'_>) -> Result<Vec<Role>> {
    let catalog = context.role_catalog;
    // pg_roles shows asterisks for every password.
    let password = match catalog {
        "pg_catalog.pg_authid" => "rolpassword",
        _ => "NULL::pg_catalog.text",
    };
    let roles = format!(
        "SELECT oid, rolname = current_user AS own, rolname, rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolcanlogin, rolreplication, \
         rolbypassrls, rolconnlimit, {password} AS password, rolvaliduntil::pg_catalog.text AS valid_until, \
         pg_catalog.shobj_description(oid, 'pg_authid') AS comment, {} \
         FROM {catalog} o WHERE rolname !~ '^pg_' ORDER BY rolname",
        label_columns("pg_authid", !context.options.no_security_labels)
    );
    let settings = format!(
        "SELECT r.rolname, s.setconfig FROM pg_catalog.pg_db_role_setting s JOIN {catalog} r ON r.oid = s.setrole \
         WHERE s.setdatabase = 0"
    );
    let (roles, settings) = futures_util::try_join!(
        context.rows(roles, "roles"),
        context.rows(settings, "settings of roles"),
    )?;
    let mut by_role = HashMap::new();
    for row in settings {
        by_role.insert(row.text("rolname")?, row.texts("setconfig")?);
    }
    roles.iter().map(|row| role(context, row, &mut by_role)).collect()
}

fn role(context: &Context, row: &Row, settings: &mut HashMap<String, Vec<String>>) -> Result<Role> {
    let name = row.text("rolname")?;
    let mut attributes = Vec::new();
    for (column, word) in [
        ("rolsuper", "SUPERUSER"),
        ("rolinherit", "INHERIT"),
        ("rolcreaterole", "CREATEROLE"),
        ("rolcreatedb", "CREATEDB"),
        ("rolcanlogin", "LOGIN"),
        ("rolreplication", "REPLICATION"),
        ("rolbypassrls", "BYPASSRLS"),
    ] {
        attributes.push(if row.bool(column)? {
            word.to_owned()
        } else {
            format!("NO{word}")
        });
    }
    Ok(Role {
        oid: row.oid("oid")?,
        own: row.bool("own")?,
        labels: context.labels(&format!("ROLE {}", context.q.id(&name)), row)?,
        settings: settings.remove(&name).unwrap_or_default(),
        name,
        attributes,
        connection_limit: row.int("rolconnlimit")?,
        password: row.opt_text("password")?,
        valid_until: row.opt_text("valid_until")?,
        comment: row.opt_text("comment")?,
    })
}

/// `DROP ROLE` for all.
pub(super) fn drop(context: &Context, roles: &[Role]) -> String {
    let mut text = String::new();
    if !roles.is_empty() {
        text += &title("Drop roles");
    }
    for role in roles {
        text += &format!("DROP ROLE {}{};\n", context.if_exists(), context.q.id(&role.name));
    }
    text + "\n\n"
}

/// The statements that make the roles, then their settings, which may name other roles.
pub(super) fn create(context: &Context, roles: &[Role]) -> String {
    let mut text = String::new();
    if !roles.is_empty() {
        text += &title("Roles");
    }
    for role in roles {
        let name = context.q.id(&role.name);
        let upgrade = context.options.binary_upgrade;
        if upgrade {
            text += &(preserved("pg_authid.oid", "pg_authid", role.oid) + "\n");
        }
        // Two statements, so that a role that is there already gets its attributes too. An upgrade is run by one that is.
        if !(upgrade && role.own) {
            text += &format!("CREATE ROLE {name};\n");
        }
        text += &format!("ALTER ROLE {name} WITH {}", role.attributes.join(" "));
        if role.connection_limit != -1 {
            text += &format!(" CONNECTION LIMIT {}", role.connection_limit);
        }
        if let Some(password) = &role.password {
            text += &format!(" PASSWORD {}", context.q.escape_literal(password));
        }
        if let Some(until) = &role.valid_until {
            text += &format!(" VALID UNTIL '{until}'");
        }
        text += ";\n";
        text += &context.comment(&format!("ROLE {name}"), role.comment.as_deref());
        text += &role.labels;
    }
    text += &match context.major {
        14 => settings_14(context, roles),
        _ => settings(context, roles),
    };
    text + "\n\n"
}

fn statement(context: &Context, role: &Role, setting: &str) -> String {
    alter_setting(context.q, &format!("ROLE {}", context.q.id(&role.name)), setting)
}

fn settings(context: &Context, roles: &[Role]) -> String {
    let mut text = String::new();
    if !roles.is_empty() {
        text += "\n--\n-- User Configurations\n--\n";
    }
    for role in roles.iter().filter(|role| !role.settings.is_empty()) {
        text += &format!("\n{}", title(&format!("User Config \"{}\"", role.name)));
        text.extend(role.settings.iter().map(|setting| statement(context, role, setting)));
    }
    text
}

/// Up to 14 each role has the title of the part again, and each setting the title of the role.
fn settings_14(context: &Context, roles: &[Role]) -> String {
    let mut text = String::new();
    for role in roles.iter().filter(|role| !role.settings.is_empty()) {
        text += &title("User Configurations");
        for setting in &role.settings {
            text += &title(&format!("User Config \"{}\"", role.name));
            text += &statement(context, role, setting);
        }
    }
    text
}
