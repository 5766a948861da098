//! Roles that a dump names and the server lacks, created before anything is loaded: without a login, without a password,
//! never as a superuser.

use std::collections::BTreeSet;

use serde::Serialize;
use tokio_postgres::Client;

use super::needs::name;
use super::plan::{Obstacle, Plan};
use super::run::Prepared;
use super::survey::Survey;
use super::watch::{Step, Watch};
use crate::engine::postgres::target::{literal, quoted};
use crate::error::{Exit, Fail, Result};
use crate::sql::tokens::{Placed, Token, placed};

/// A role that is created.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NewRole {
    /// Its name.
    pub name: String,
    /// The statement that creates it.
    pub create: String,
    /// What it had besides and is given where whoever restores may give it.
    pub then: Vec<String>,
}

/// What a person can do whose server lacks the roles of a dump.
pub const WITHOUT_ROLES: &str = "name others in their place with --map-role OLD=NEW; or leave them out: --no-owner (everything \
    belongs to the role that restores, or to that of --role) with --no-privileges";

/// What the roles of a server have, as far as it is repeated.
struct Known<'a> {
    statements: Vec<Vec<Placed>>,
    /// Roles that may be granted: those that exist and are no superusers, and those that are created.
    grantable: &'a BTreeSet<String>,
    major: u32,
}

/// The roles `missing`, as `globals` - the text of pg_dumpall - have them.
///
/// # Errors
/// The server does not answer.
pub async fn plan(client: &Client, missing: &[String], globals: Option<&str>, major: u32) -> Result<Vec<NewRole>> {
    let there = "SELECT rolname::text FROM pg_catalog.pg_roles WHERE NOT rolsuper";
    let mut grantable = BTreeSet::new();
    for row in client.query(there, &[]).await? {
        grantable.insert(row.try_get(0)?);
    }
    grantable.extend(missing.iter().cloned());
    Ok(planned(missing, globals.unwrap_or_default(), &grantable, major))
}

fn planned(missing: &[String], globals: &str, grantable: &BTreeSet<String>, major: u32) -> Vec<NewRole> {
    let tokens = placed(globals);
    let known = Known {
        statements: tokens.split(|it| it.is_sign(';')).map(<[Placed]>::to_vec).collect(),
        grantable,
        major,
    };
    let mut roles: Vec<NewRole> = missing.iter().map(|name| known.role(name)).collect();
    // All of them are there by then.
    for role in &mut roles {
        role.then.extend(known.memberships(&role.name));
    }
    roles
}

impl Known<'_> {
    fn role(&self, role: &str) -> NewRole {
        let mut plain = String::new();
        let mut then = Vec::new();
        for statement in self.statements.iter().filter(|it| is_about(it, role)) {
            let mut at = 3;
            while let Some(token) = statement.get(at) {
                let next = |ahead: usize| statement.get(at + ahead).map(|it| &it.token);
                if token.is("NOINHERIT") {
                    plain.push_str(" NOINHERIT");
                } else if token.is_any(&["CREATEDB", "CREATEROLE", "REPLICATION", "BYPASSRLS"]) {
                    then.push(format!("ALTER ROLE {} {}", quoted(role), token.token.clone().upper()));
                } else if token.is("LIMIT")
                    && let Some(Token::Word(limit)) = next(1)
                    && limit.bytes().all(|byte| byte.is_ascii_digit())
                {
                    plain.push_str(&format!(" CONNECTION LIMIT {limit}"));
                } else if token.is("UNTIL")
                    && let Some(Token::Text(until)) = next(1)
                {
                    plain.push_str(&format!(" VALID UNTIL {}", literal(until)));
                }
                at += 1;
            }
        }
        NewRole {
            name: role.to_owned(),
            create: format!("CREATE ROLE {} NOLOGIN{plain}", quoted(role)),
            then,
        }
    }

    /// `GRANT group TO role`, of groups that may be granted.
    fn memberships(&self, role: &str) -> Vec<String> {
        let names_it = |it: &Placed| name(it.token.clone()).is_some_and(|it| it == role);
        let granted = self.statements.iter().filter_map(|statement| {
            let [grant, group, to, member, rest @ ..] = statement.as_slice() else {
                return None;
            };
            let group = name(group.token.clone())?;
            if !(grant.is("GRANT") && to.is("TO") && names_it(member) && self.grantable.contains(&group)) {
                return None;
            }
            let option = match options(rest)? {
                option if self.major >= 16 => option,
                // Older ones know only this.
                option if option.contains(" ADMIN OPTION") || option.contains(" ADMIN TRUE") => {
                    " WITH ADMIN OPTION".to_owned()
                }
                _ => String::new(),
            };
            Some(format!("GRANT {} TO {}{option}", quoted(&group), quoted(role)))
        });
        granted.collect()
    }
}

/// What `WITH` says of a membership, without who granted it; `None` when it is said of more than one member.
fn options(rest: &[Placed]) -> Option<String> {
    const KNOWN: [&str; 7] = ["WITH", "ADMIN", "OPTION", "INHERIT", "SET", "TRUE", "FALSE"];
    let end = rest.iter().position(|it| it.is("GRANTED")).unwrap_or(rest.len());
    let rest = &rest[..end];
    let Some(first) = rest.first() else {
        return Some(String::new());
    };
    let known = |it: &Placed| it.is_any(&KNOWN) || it.is_sign(',');
    if !first.is("WITH") || !rest.iter().all(known) {
        return None;
    }
    let words: Vec<String> = rest.iter().map(|it| it.token.clone().upper()).collect();
    Some(format!(" {}", words.join(" ").replace(" ,", ",")))
}

/// Whether a statement says what the role `role` is.
fn is_about(statement: &[Placed], role: &str) -> bool {
    let [verb, kind, who, ..] = statement else { return false };
    let setting = statement
        .get(3)
        .is_some_and(|it| it.is_any(&["SET", "RESET", "IN", "RENAME"]));
    verb.is_any(&["CREATE", "ALTER"])
        && kind.is_any(&["ROLE", "USER", "GROUP"])
        && name(who.token.clone()).is_some_and(|it| it == role)
        && !setting
}

impl Plan {
    /// Says that these roles are created first.
    pub fn create_roles(&mut self, roles: Vec<NewRole>, survey: &Survey) {
        if roles.is_empty() {
            self.leave_out(&[Step::Roles]);
            return;
        }
        if !survey.rights.create_role {
            let names: Vec<_> = roles.iter().map(|role| role.name.as_str()).collect();
            self.obstacles.push(Obstacle::new(
                Exit::Permission,
                format!(
                    "role {:?} may not create the roles that are missing: {}",
                    survey.rights.role,
                    names.join(", ")
                ),
                format!(
                    "ALTER ROLE {} CREATEROLE, as a superuser; or {WITHOUT_ROLES}",
                    crate::engine::postgres::target::quoted(&survey.rights.role)
                ),
            ));
        }
        if self.mode != "in-place" {
            self.warnings
                .push("the new roles stay when the restore fails or is killed; nobody can log in as them".to_owned());
        }
        self.new_roles = roles;
    }

    /// The names of the roles that are created.
    #[must_use]
    pub fn created_roles(&self) -> Vec<String> {
        self.new_roles.iter().map(|role| role.name.clone()).collect()
    }
}

impl Prepared<'_> {
    /// Creates the roles that are missing, before anything can belong to them.
    pub(super) async fn create_roles(&self, client: &Client) -> Result<()> {
        if self.plan.new_roles.is_empty() {
            return Ok(());
        }
        self.request.watch.step(Step::Roles).await;
        create_all(client, &self.plan.new_roles, &self.request.watch).await
    }
}

/// Creates `roles` in the transaction that the session is in. What the one who restores may not give them is told.
///
/// # Errors
/// One cannot be created.
pub async fn create(client: &Client, roles: &[NewRole], watch: &Watch) -> Result<()> {
    let row = client
        .query_one("SELECT pg_catalog.current_setting('is_superuser') = 'on'", &[])
        .await?;
    let superuser: bool = row.try_get(0)?;
    for role in roles {
        let made = client.batch_execute(&role.create).await;
        made.map_err(|error| {
            let message = format!("the role {} could not be created", role.name);
            anyhow::Error::from(error).context(Fail::new(Exit::Permission, message))
        })?;
        if !superuser {
            // Else nothing could be handed to it.
            let join = format!("GRANT {} TO CURRENT_USER", quoted(&role.name));
            client.batch_execute(&join).await?;
        }
    }
    for statement in roles.iter().flat_map(|role| &role.then) {
        let nested = format!("SAVEPOINT attribute; {statement}; RELEASE SAVEPOINT attribute");
        if let Err(error) = client.batch_execute(&nested).await {
            client
                .batch_execute("ROLLBACK TO SAVEPOINT attribute; RELEASE SAVEPOINT attribute")
                .await?;
            watch.warn(format!("a new role lacks something that it had: {statement}: {error}"));
        }
    }
    Ok(())
}

/// The same in a transaction of its own: all of them are there then, or none.
async fn create_all(client: &Client, roles: &[NewRole], watch: &Watch) -> Result<()> {
    client.batch_execute("BEGIN").await?;
    let created = create(client, roles, watch).await;
    let end = if created.is_ok() { "COMMIT" } else { "ROLLBACK" };
    client.batch_execute(end).await?;
    created
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_is_as_it_was_but_for_what_lets_somebody_in() {
        let globals = "CREATE ROLE app;\n\
             ALTER ROLE app WITH SUPERUSER NOINHERIT NOCREATEROLE CREATEDB LOGIN NOREPLICATION NOBYPASSRLS \
             CONNECTION LIMIT 5 PASSWORD 'SCRAM; CREATEROLE' VALID UNTIL '2030-01-01 00:00:00+00';\n\
             ALTER ROLE app SET search_path TO 'CREATEROLE';\n\
             CREATE ROLE \"Odd; One\";\nALTER ROLE \"Odd; One\" WITH NOSUPERUSER INHERIT LOGIN PASSWORD 'x';\n\
             GRANT \"Odd; One\" TO app WITH ADMIN OPTION, INHERIT FALSE GRANTED BY postgres;\n\
             GRANT postgres TO app GRANTED BY postgres;\n\
             GRANT app TO other;\nGRANT app TO unknown, other;\n";
        let missing = ["app".to_owned(), "Odd; One".to_owned(), "unknown".to_owned()];
        let grantable = missing.iter().cloned().collect();
        let of = |major| {
            let roles = planned(&missing, globals, &grantable, major);
            let all = roles.into_iter().map(|role| [vec![role.create], role.then].concat());
            all.collect::<Vec<_>>()
        };
        let app = "CREATE ROLE \"app\" NOLOGIN NOINHERIT CONNECTION LIMIT 5 VALID UNTIL '2030-01-01 00:00:00+00'";
        assert_eq!(
            of(16),
            [
                vec![
                    app,
                    "ALTER ROLE \"app\" CREATEDB",
                    "GRANT \"Odd; One\" TO \"app\" WITH ADMIN OPTION, INHERIT FALSE"
                ],
                vec!["CREATE ROLE \"Odd; One\" NOLOGIN"],
                vec!["CREATE ROLE \"unknown\" NOLOGIN"],
            ]
        );
        assert_eq!(of(15)[0][2], "GRANT \"Odd; One\" TO \"app\" WITH ADMIN OPTION");
    }
}
