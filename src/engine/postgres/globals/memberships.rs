//! Who is a member of which role, by whose grant.

use std::collections::HashSet;

use super::{Context, title};
use crate::engine::postgres::catalog::object::Oid;
use crate::error::Result;
use anyhow::bail;

/// The superuser of initdb, who may always grant.
const BOOTSTRAP_SUPERUSER: Oid = 10;

/// One row of `pg_auth_members`. Names are missing where a role is.
pub(super) struct Membership {
    role: Option<String>,
    member: Option<String>,
    grantor: Option<String>,
    grantor_oid: Oid,
    admin: bool,
    /// Since 16.
    options: Option<MemberOptions>,
}

struct MemberOptions {
    inherit: bool,
    set: bool,
}

/// All memberships but those among the system's own roles.
pub(super) async fn read(context: &Context<'_>) -> Result<Vec<Membership>> {
    let catalog = context.role_catalog;
    let (options, order) = match context.major {
        16.. => ("a.inherit_option, a.set_option", "1, 2, 4"),
        // Up to 15 pg_dumpall sorts by the option, which decides nothing: a grant exists once.
        _ => ("NULL::bool AS inherit_option, NULL::bool AS set_option", "1, 2, 5"),
    };
    let sql = format!(
        "SELECT ur.rolname AS role, um.rolname AS member, a.grantor AS grantor_oid, ug.rolname AS grantor, \
         a.admin_option, {options} FROM pg_catalog.pg_auth_members a \
         LEFT JOIN {catalog} ur ON ur.oid = a.roleid LEFT JOIN {catalog} um ON um.oid = a.member \
         LEFT JOIN {catalog} ug ON ug.oid = a.grantor \
         WHERE NOT (ur.rolname ~ '^pg_' AND um.rolname ~ '^pg_') ORDER BY {order}"
    );
    let rows = context.rows(sql, "memberships of roles").await?;
    let read = |row: &crate::engine::postgres::connect::session::Row| {
        let options = match (row.opt_bool("inherit_option")?, row.opt_bool("set_option")?) {
            (Some(inherit), Some(set)) => Some(MemberOptions { inherit, set }),
            _ => None,
        };
        Ok(Membership {
            role: row.opt_text("role")?,
            member: row.opt_text("member")?,
            grantor: row.opt_text("grantor")?,
            grantor_oid: row.oid("grantor_oid")?,
            admin: row.bool("admin_option")?,
            options,
        })
    };
    rows.iter().map(read).collect()
}

/// The GRANT statements, in an order in which every grantor has got the right to grant already.
pub(super) fn grant(context: &Context, all: &[Membership], warnings: &mut Vec<String>) -> Result<String> {
    let mut text = String::new();
    if !all.is_empty() {
        text += &title("Role memberships");
    }
    for of_role in all.chunk_by(|a, b| a.role == b.role) {
        let Some(role) = of_role.first().and_then(|it| it.role.as_deref()) else {
            warnings.push("ignoring role grant for missing role".to_owned());
            continue;
        };
        grant_role(context, role, of_role, &mut text, warnings)?;
    }
    Ok(text + "\n\n")
}

fn grant_role(
    context: &Context,
    role: &str,
    memberships: &[Membership],
    text: &mut String,
    warnings: &mut Vec<String>,
) -> Result<()> {
    // Before 16 the server did not look at the grantor.
    let ordered = context.major >= 16;
    let mut admins: HashSet<&str> = HashSet::new();
    let mut left: Vec<&Membership> = memberships.iter().collect();
    while !left.is_empty() {
        let before = left.len();
        // One pass at a time: a grant may serve those that come after it in the same pass.
        let mut later = Vec::new();
        for it in left {
            let Some(member) = it.member.as_deref() else {
                warnings.push(format!("ignoring grant of role \"{role}\" to missing role"));
                continue;
            };
            if ordered
                && let Some(grantor) = it.grantor.as_deref()
                && it.grantor_oid != BOOTSTRAP_SUPERUSER
                && !admins.contains(grantor)
            {
                later.push(it);
                continue;
            }
            if it.admin {
                admins.insert(member);
            }
            *text += &statement(context, role, member, it);
        }
        if later.len() == before {
            bail!("could not find a legal dump ordering for memberships in role \"{role}\"");
        }
        left = later;
    }
    Ok(())
}

fn statement(context: &Context, role: &str, member: &str, it: &Membership) -> String {
    let q = context.q;
    let mut options = Vec::new();
    if it.admin {
        options.push("ADMIN OPTION");
    }
    if let Some(MemberOptions { inherit, set }) = it.options {
        options.push(if inherit { "INHERIT TRUE" } else { "INHERIT FALSE" });
        if !set {
            options.push("SET FALSE");
        }
    }
    let mut sql = format!("GRANT {} TO {}", q.id(role), q.id(member));
    if !options.is_empty() {
        sql += &format!(" WITH {}", options.join(", "));
    }
    if let Some(grantor) = &it.grantor {
        sql += &format!(" GRANTED BY {}", q.id(grantor));
    }
    sql + ";\n"
}
