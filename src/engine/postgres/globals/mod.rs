//! What belongs to no database: roles, memberships, parameter privileges, tablespaces; the text is what
//! `pg_dumpall --globals-only` of the server's version writes.

use super::catalog::acl::{self, Target};
use super::catalog::database::shared_label;
use super::connect::session::{Query, Row, Session};
use super::server::Server;
use crate::error::Result;
use crate::local_time;
use crate::sql::quote::Quote;
use anyhow::Context as _;
use chrono::NaiveDateTime;

mod memberships;
mod roles;
mod tablespaces;

/// What to write of the globals: pg_dumpall's options.
#[derive(Clone, Debug, Default)]
#[allow(clippy::struct_excessive_bools)] // one per option of pg_dumpall
pub struct Options {
    /// `--roles-only`.
    pub roles_only: bool,
    /// `--tablespaces-only`.
    pub tablespaces_only: bool,
    /// `--no-tablespaces`.
    pub no_tablespaces: bool,
    /// `--no-role-passwords`.
    pub no_role_passwords: bool,
    /// `--clean`.
    pub clean: bool,
    /// `--if-exists`.
    pub if_exists: bool,
    /// `--no-privileges`.
    pub no_privileges: bool,
    /// `--no-comments`.
    pub no_comments: bool,
    /// `--no-security-labels`.
    pub no_security_labels: bool,
    /// `--quote-all-identifiers`.
    pub quote_all_identifiers: bool,
    /// `--binary-upgrade`.
    pub binary_upgrade: bool,
    /// The local time, for who wants to know when it was begun and done: `--verbose`.
    pub times: Option<fn() -> NaiveDateTime>,
    /// The key of `\restrict`, which keeps psql from running commands that a name may hide; for servers whose
    /// pg_dumpall writes it.
    pub restrict_key: Option<String>,
}

/// The text of the globals and what is missing in it.
#[derive(Clone, Debug, Default)]
pub struct Globals {
    /// SQL for psql.
    pub text: String,
    /// For the log and the manifest.
    pub warnings: Vec<String>,
}

/// What the parts have in common.
struct Context<'a> {
    session: &'a Session,
    options: &'a Options,
    major: u32,
    q: Quote,
    /// `pg_authid`, or `pg_roles` for those who may not see passwords.
    role_catalog: &'static str,
}

impl Context<'_> {
    async fn rows(&self, sql: String, what: &'static str) -> Result<Vec<Row>> {
        let rows = self.session.rows(&Query::new(sql)).await;
        rows.with_context(|| format!("reading {what}"))
    }

    /// `COMMENT ON target`, or nothing.
    fn comment(&self, target: &str, comment: Option<&str>) -> String {
        match comment {
            Some(text) if !text.is_empty() && !self.options.no_comments => {
                format!("COMMENT ON {target} IS {};\n", self.q.escape_literal(text))
            }
            _ => String::new(),
        }
    }

    /// The security labels of `target`, from a row with the arrays `providers` and `labels`.
    fn labels(&self, target: &str, row: &Row) -> Result<String> {
        let (providers, labels) = (row.texts("providers")?, row.texts("labels")?);
        let pairs = providers.iter().zip(&labels);
        Ok(pairs
            .map(|(provider, label)| shared_label(self.q, target, provider, label))
            .collect())
    }

    fn if_exists(&self) -> &'static str {
        if self.options.if_exists { "IF EXISTS " } else { "" }
    }
}

/// SQL for the arrays that [`Context::labels`] takes.
fn label_columns(catalog: &str, wanted: bool) -> String {
    let of = |column: &str| {
        format!(
            "ARRAY(SELECT s.{column} FROM pg_catalog.pg_shseclabel s \
             WHERE {wanted} AND s.classoid = 'pg_catalog.{catalog}'::pg_catalog.regclass AND s.objoid = o.oid)"
        )
    };
    format!("{} AS providers, {} AS labels", of("provider"), of("label"))
}

/// The title of a part; names in it are kept to one line, so that they cannot end the comment.
fn title(text: &str) -> String {
    format!("--\n-- {}\n--\n\n", text.replace(['\n', '\r'], " "))
}

/// What keeps an OID over an upgrade.
fn preserved(what: &str, catalog: &str, oid: u32) -> String {
    format!(
        "\n-- For binary upgrade, must preserve {what}\n\
         SELECT pg_catalog.binary_upgrade_set_next_{catalog}_oid('{oid}'::pg_catalog.oid);\n"
    )
}

/// Writes the globals of the server that `session` is connected to.
///
/// Without the right to read `pg_authid`, as on managed servers, roles come without passwords, with a
/// warning.
///
/// # Errors
/// What the server says; memberships that could not be granted in any order.
pub async fn render(session: &Session, server: &Server, options: &Options) -> Result<Globals> {
    let mut globals = Globals::default();
    let passwords = !options.no_role_passwords && may_read_passwords(session).await?;
    if !passwords && !options.no_role_passwords && !options.tablespaces_only {
        globals
            .warnings
            .push("roles are written without their passwords: the user may not read pg_authid".to_owned());
    }
    let context = Context {
        session,
        options,
        major: server.major(),
        q: Quote {
            major: server.major(),
            all: options.quote_all_identifiers,
            std_strings: server.std_strings,
            characters: server.characters(),
        },
        role_catalog: if passwords {
            "pg_catalog.pg_authid"
        } else {
            "pg_catalog.pg_roles"
        },
    };
    // The parts do not depend on each other, so their queries go out together.
    let (with_roles, with_tablespaces) = (
        !options.tablespaces_only,
        !options.roles_only && !options.no_tablespaces,
    );
    let (roles, memberships, parameters, tablespaces) = futures_util::try_join!(
        part(with_roles, roles::read(&context)),
        part(with_roles, memberships::read(&context)),
        part(with_roles, parameters(&context)),
        part(with_tablespaces, tablespaces::read(&context)),
    )?;
    let text = &mut globals.text;
    open(text, server, options);
    if options.clean {
        if let Some(tablespaces) = &tablespaces {
            *text += &tablespaces::drop(&context, tablespaces);
        }
        if let Some(roles) = &roles {
            *text += &roles::drop(&context, roles);
        }
    }
    if let Some(roles) = &roles {
        *text += &roles::create(&context, roles);
    }
    if let Some(memberships) = &memberships {
        *text += &memberships::grant(&context, memberships, &mut globals.warnings)?;
    }
    *text += parameters.as_deref().unwrap_or_default();
    if let Some(tablespaces) = &tablespaces {
        *text += &tablespaces::create(&context, tablespaces)?;
    }
    close(text, options);
    Ok(globals)
}

async fn part<T>(wanted: bool, read: impl Future<Output = Result<T>>) -> Result<Option<T>> {
    if wanted { read.await.map(Some) } else { Ok(None) }
}

async fn may_read_passwords(session: &Session) -> Result<bool> {
    let query = Query::new("SELECT pg_catalog.has_table_privilege('pg_catalog.pg_authid', 'SELECT') AS may");
    let rows = session.rows(&query).await?;
    rows.first()
        .context("the server does not say who may read pg_authid")?
        .bool("may")
}

fn open(text: &mut String, server: &Server, options: &Options) {
    *text += "--\n-- PostgreSQL database cluster dump\n--\n\n";
    time(text, "Started on", options);
    if let Some(key) = &options.restrict_key {
        *text += &format!("\\restrict {key}\n\n");
    }
    // The restore must work also where somebody made new transactions read-only.
    *text += "SET default_transaction_read_only = off;\n\n";
    let std_strings = if server.std_strings { "on" } else { "off" };
    *text += &format!(
        "SET client_encoding = '{}';\nSET standard_conforming_strings = {std_strings};\n",
        server.encoding
    );
    if !server.std_strings {
        *text += "SET escape_string_warning = off;\n";
    }
    *text += "\n";
}

fn time(text: &mut String, what: &str, options: &Options) {
    if let Some(now) = options.times {
        *text += &format!("-- {what} {}\n\n", local_time::with_zone(now()));
    }
}

fn close(text: &mut String, options: &Options) {
    if let Some(key) = &options.restrict_key {
        *text += &format!("\\unrestrict {key}\n\n");
    }
    time(text, "Completed on", options);
    *text += "--\n-- PostgreSQL database cluster dump complete\n--\n\n";
}

/// Privileges on configuration parameters, since 15.
async fn parameters(context: &Context<'_>) -> Result<String> {
    if context.major < 15 || context.options.no_privileges {
        return Ok(String::new());
    }
    // Parameters belong to nobody; the server takes the superuser of initdb for their owner.
    let sql = "SELECT parname, pg_catalog.pg_get_userbyid(10)::pg_catalog.text AS owner, \
               paracl::pg_catalog.text[] AS acl, \
               pg_catalog.acldefault('p', 10)::pg_catalog.text[] AS acldefault \
               FROM pg_catalog.pg_parameter_acl ORDER BY 1";
    let rows = context.rows(sql.to_owned(), "parameter privileges").await?;
    let mut text = String::new();
    if !rows.is_empty() {
        text += &title("Role privileges on configuration parameters");
    }
    for row in rows {
        let (name, owner) = (row.text("parname")?, row.text("owner")?);
        let target = Target {
            type_: "PARAMETER",
            name: &context.q.id(&name),
            subname: None,
            namespace: None,
            owner: &owner,
            prefix: "",
        };
        text += &acl::commands(context.q, &row.texts("acl")?, &row.texts("acldefault")?, &target)?;
    }
    Ok(text + "\n\n")
}
