//! Privileges: from the ACL of a catalog row to the GRANT and REVOKE statements that bring it about.
//!
//! A new object has the privileges that its type gives (`acldefault`), or, when initdb or an extension made
//! it, those that `pg_init_privs` remembers. Statements are written only for the difference from there.

use super::Catalog;
use super::object::{Acl, CatalogId, Oid};
use crate::engine::postgres::connect::session::Row;
use crate::error::Result;
use crate::sql::quote::Quote;
use anyhow::Context as _;

/// The SQL of the columns that [`read`] takes: the ACL of the object `oid` and what the server gives by default to an
/// object of the kind `kind` (an SQL expression, for example `'n'`) that belongs to `owner`. Most objects have only
/// what is the default, and then that need not be known.
#[must_use]
pub fn columns(oid: &str, acl: &str, kind: &str, owner: &str) -> String {
    format!(
        "{acl}::pg_catalog.text[] AS acl, \
         CASE WHEN {acl} IS NOT NULL OR {oid} IN (SELECT objoid FROM pg_catalog.pg_init_privs) \
              THEN pg_catalog.acldefault({kind}, {owner})::pg_catalog.text[] END AS acldefault"
    )
}

/// The ACL of the object `catalog_id` (sub-object `subid`, a column, or 0) out of the columns of [`columns`]
/// and `pg_init_privs`.
///
/// # Errors
/// The row lacks the columns.
pub fn read(cat: &Catalog, row: &Row, catalog_id: CatalogId, subid: i32) -> Result<Acl> {
    let initial = cat.attachments.initial_privileges(catalog_id, subid);
    Ok(Acl {
        acl: row.texts_or_null("acl")?,
        acldefault: row.texts("acldefault")?,
        privtype: initial.map_or('\0', |it| it.privtype),
        initprivs: initial.map(|it| it.privileges.clone()),
    })
}

/// The privileges of one object as `pg_init_privs` has them.
#[derive(Clone, Debug)]
pub struct InitialPrivileges {
    /// 'i': initdb, 'e': the script of an extension.
    pub privtype: char,
    /// `aclitem`s.
    pub privileges: Vec<String>,
}

/// Key of a row of `pg_init_privs`: catalog, object, column.
pub type InitialKey = (Oid, Oid, i32);

/// What a privilege statement is about. Names are quoted already, the schema is not.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// `TABLE`, `SCHEMA`, or for default privileges `TABLES` …
    pub type_: &'a str,
    /// Name; empty for default privileges.
    pub name: &'a str,
    /// Column.
    pub subname: Option<&'a str>,
    /// Schema.
    pub namespace: Option<&'a str>,
    /// Owner; grants by anybody else are made in that one's name.
    pub owner: &'a str,
    /// What stands before each statement (`ALTER DEFAULT PRIVILEGES …`).
    pub prefix: &'a str,
}

impl Target<'_> {
    fn statement(&self, q: Quote, verb: &str, privileges: &str) -> String {
        let schema = match self.namespace {
            Some(schema) if !schema.is_empty() => format!("{}.", q.id(schema)),
            _ => String::new(),
        };
        // Default privileges have no name; up to 15, pg_dump leaves the spaces on both sides of it.
        let gap = if self.name.is_empty() && q.major >= 16 { "" } else { " " };
        format!(
            "{}{verb} {privileges} ON {}{gap}{schema}{}",
            self.prefix, self.type_, self.name
        )
    }
}

/// The statements that turn the privileges `base` into `acl` (pg_dump's `buildACLCommands`).
///
/// # Errors
/// An `aclitem` is not what the server writes, or `target.type_` has no privileges.
pub fn commands(q: Quote, acl: &[String], base: &[String], target: &Target) -> Result<String> {
    let mut first = String::new();
    let mut second = String::new();
    for text in base.iter().filter(|item| !acl.contains(item)) {
        let item = Item::parse(text)?;
        // A privilege is taken away with its grant option.
        let (all, _) = item.privileges(q.major, target, false)?;
        if !all.is_empty() {
            let from = grantee(q, &item.grantee);
            first += &format!("{} FROM {from};\n", target.statement(q, "REVOKE", &all));
        }
    }
    for text in acl.iter().filter(|item| !base.contains(item)) {
        let item = Item::parse(text)?;
        let (plain, grantable) = item.privileges(q.major, target, true)?;
        let mut grants = String::new();
        let to = grantee(q, &item.grantee);
        if !plain.is_empty() {
            grants += &format!("{} TO {to};\n", target.statement(q, "GRANT", &plain));
        }
        if !grantable.is_empty() {
            grants += &format!(
                "{} TO {to} WITH GRANT OPTION;\n",
                target.statement(q, "GRANT", &grantable)
            );
        }
        if grants.is_empty() {
            continue;
        }
        let grantor = if item.grantor.is_empty() {
            target.owner
        } else {
            &item.grantor
        };
        // What the owner gave himself comes first: others may need it to grant in turn.
        let own = q.major >= 15 && item.grantee == target.owner && grantor == target.owner && !target.owner.is_empty();
        let out = if own { &mut first } else { &mut second };
        if grantor.is_empty() || grantor == target.owner {
            *out += &grants;
        } else {
            *out += &format!(
                "SET SESSION AUTHORIZATION {};\n{grants}RESET SESSION AUTHORIZATION;\n",
                q.id(grantor)
            );
        }
    }
    Ok(first + &second)
}

/// The statements for `acl` as a whole, the initial privileges of extension members included
/// (pg_dump's part of `dumpACL` that makes SQL).
///
/// # Errors
/// As [`commands`].
pub fn object_commands(q: Quote, acl: &Acl, target: &Target, binary_upgrade: bool) -> Result<String> {
    let mut sql = String::new();
    if let (true, 'e', Some(initial)) = (binary_upgrade, acl.privtype, &acl.initprivs) {
        let setup = commands(q, initial, &acl.acldefault, target)?;
        // 14 leaves the pair out when there is nothing to do between them.
        if q.major >= 15 || !setup.is_empty() {
            sql += "SELECT pg_catalog.binary_upgrade_set_record_init_privs(true);\n";
            sql += &setup;
            sql += "SELECT pg_catalog.binary_upgrade_set_record_init_privs(false);\n";
        }
    }
    let diff = match (&acl.acl, &acl.initprivs) {
        (None, None) => String::new(),
        (Some(acls), None) => commands(q, acls, &acl.acldefault, target)?,
        // A NULL ACL means the default one, which may well differ from the initial one.
        (acls, Some(initial)) => commands(q, acls.as_ref().unwrap_or(&acl.acldefault), initial, target)?,
    };
    Ok(sql + &diff)
}

fn grantee(q: Quote, name: &str) -> String {
    match name {
        "" => "PUBLIC".to_owned(),
        // Up to 14, pg_dump takes this prefix for the mark of a group that very old servers wrote.
        _ if q.major < 15 && name.starts_with("group ") => format!("GROUP {}", q.id(&name["group ".len()..])),
        _ => q.id(name).into_owned(),
    }
}

/// An `aclitem` taken apart: `grantee=privileges/grantor`.
struct Item {
    grantee: String,
    grantor: String,
    /// Letters, each followed by `*` when it may be granted further.
    codes: String,
}

impl Item {
    fn parse(text: &str) -> Result<Item> {
        let malformed = || format!("\"{text}\" is no ACL item");
        let (grantee, rest) = user(text, true);
        let rest = rest.strip_prefix('=').with_context(malformed)?;
        let (codes, rest) = rest.split_once('/').with_context(malformed)?;
        let (grantor, _) = user(rest, false);
        Ok(Item {
            grantee,
            grantor,
            codes: codes.to_owned(),
        })
    }

    /// The privileges as two lists: without and with grant option. With `split` false all go to the first.
    fn privileges(&self, major: u32, target: &Target, split: bool) -> Result<(String, String)> {
        let known = privileges_of(target.type_, target.subname.is_some(), major)
            .with_context(|| format!("{} has no privileges", target.type_))?;
        let column = target.subname.map(|name| format!("({name})")).unwrap_or_default();
        let mut lists: [Vec<String>; 2] = [Vec::new(), Vec::new()];
        for (code, keyword) in known {
            if let Some(at) = self.codes.find(*code) {
                let grantable = split && self.codes[at + 1..].starts_with('*');
                lists[usize::from(grantable)].push(format!("{keyword}{column}"));
            }
        }
        let [plain, grantable] = lists.map(|list| match list.len() == known.len() {
            true => format!("ALL{column}"),
            false => list.join(","),
        });
        Ok((plain, grantable))
    }
}

/// Takes a user name off the start of `text`, up to `=` when `until_equals`, and undoes its quoting.
fn user(text: &str, until_equals: bool) -> (String, &str) {
    let mut name = String::new();
    let mut quoted = false;
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' if quoted && chars.peek().is_some_and(|(_, next)| *next == '"') => {
                chars.next();
                name.push('"');
            }
            '"' => quoted = !quoted,
            '=' if until_equals && !quoted => return (name, &text[at..]),
            _ => name.push(c),
        }
    }
    (name, "")
}

/// Quotes a user name as `aclitem`s have it.
#[must_use]
pub fn item_user(name: &str) -> String {
    if name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        name.to_owned()
    } else {
        format!("\"{}\"", name.replace('"', "\"\""))
    }
}

/// The privileges that a type of object has: letter and keyword, in the order in which pg_dump names them.
fn privileges_of(type_: &str, column: bool, major: u32) -> Option<&'static [(char, &'static str)]> {
    const COLUMN: &[(char, &str)] = &[('r', "SELECT"), ('a', "INSERT"), ('x', "REFERENCES"), ('w', "UPDATE")];
    const TABLE: &[(char, &str)] = &[
        ('r', "SELECT"),
        ('a', "INSERT"),
        ('x', "REFERENCES"),
        ('d', "DELETE"),
        ('t', "TRIGGER"),
        ('D', "TRUNCATE"),
        ('w', "UPDATE"),
    ];
    const TABLE_17: &[(char, &str)] = &[
        ('r', "SELECT"),
        ('a', "INSERT"),
        ('x', "REFERENCES"),
        ('d', "DELETE"),
        ('t', "TRIGGER"),
        ('D', "TRUNCATE"),
        ('m', "MAINTAIN"),
        ('w', "UPDATE"),
    ];
    Some(match type_ {
        "TABLE" | "TABLES" if column => COLUMN,
        "TABLE" | "TABLES" if major >= 17 => TABLE_17,
        "TABLE" | "TABLES" => TABLE,
        "SEQUENCE" | "SEQUENCES" => &[('r', "SELECT"), ('U', "USAGE"), ('w', "UPDATE")],
        "FUNCTION" | "FUNCTIONS" | "PROCEDURE" | "PROCEDURES" => &[('X', "EXECUTE")],
        "LANGUAGE" | "TYPE" | "TYPES" | "FOREIGN DATA WRAPPER" | "FOREIGN SERVER" => &[('U', "USAGE")],
        "SCHEMA" | "SCHEMAS" => &[('C', "CREATE"), ('U', "USAGE")],
        "DATABASE" => &[('C', "CREATE"), ('c', "CONNECT"), ('T', "TEMPORARY")],
        "TABLESPACE" => &[('C', "CREATE")],
        "FOREIGN TABLE" => &[('r', "SELECT")],
        "PARAMETER" => &[('s', "SET"), ('A', "ALTER SYSTEM")],
        "LARGE OBJECT" | "LARGE OBJECTS" => &[('r', "SELECT"), ('w', "UPDATE")],
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn q(major: u32) -> Quote {
        Quote::standard(major)
    }

    const TABLE: Target = Target {
        type_: "TABLE",
        name: "t",
        subname: None,
        namespace: Some("s"),
        owner: "boss",
        prefix: "",
    };

    fn diff(major: u32, acl: &[&str], base: &[&str]) -> String {
        let own = |items: &[&str]| items.iter().map(|item| (*item).to_owned()).collect::<Vec<_>>();
        commands(q(major), &own(acl), &own(base), &TABLE).unwrap()
    }

    #[test]
    fn what_is_new_is_granted_and_what_is_gone_revoked() {
        assert_eq!(
            diff(15, &["=r/boss", "bob=a*w/boss"], &["boss=arwdDxt/boss"]),
            "REVOKE ALL ON TABLE s.t FROM boss;\nGRANT SELECT ON TABLE s.t TO PUBLIC;\n\
             GRANT UPDATE ON TABLE s.t TO bob;\nGRANT INSERT ON TABLE s.t TO bob WITH GRANT OPTION;\n"
        );
        assert_eq!(diff(15, &["boss=arwdDxt/boss"], &["boss=arwdDxt/boss"]), "");
    }

    #[test]
    fn grant_options_go_with_their_privileges() {
        for major in [14, 18] {
            let revoked = "REVOKE SELECT,UPDATE ON TABLE s.t FROM boss;\n";
            assert_eq!(diff(major, &[], &["boss=r*w/boss"]), revoked);
        }
    }

    #[test]
    fn all_is_one_more_privilege_since_17() {
        assert_eq!(
            diff(17, &["bob=arwdDxt/boss"], &[]),
            "GRANT SELECT,INSERT,REFERENCES,DELETE,TRIGGER,TRUNCATE,UPDATE ON TABLE s.t TO bob;\n"
        );
        assert_eq!(
            diff(17, &["bob=arwdDxtm/boss"], &[]),
            "GRANT ALL ON TABLE s.t TO bob;\n"
        );
    }

    #[test]
    fn another_grantor_is_impersonated() {
        assert_eq!(
            diff(16, &["eve=r/\"Odd \"\"one\""], &[]),
            "SET SESSION AUTHORIZATION \"Odd \"\"one\";\nGRANT SELECT ON TABLE s.t TO eve;\n\
             RESET SESSION AUTHORIZATION;\n"
        );
    }

    #[test]
    fn version_14_keeps_the_order_of_grants() {
        let acl = ["bob=r/boss", "boss=r/boss"];
        let bob_then_boss = "GRANT SELECT ON TABLE s.t TO bob;\nGRANT SELECT ON TABLE s.t TO boss;\n";
        assert_eq!(diff(14, &acl, &[]), bob_then_boss);
        assert_eq!(
            diff(15, &acl, &[]),
            "GRANT SELECT ON TABLE s.t TO boss;\nGRANT SELECT ON TABLE s.t TO bob;\n"
        );
    }

    #[test]
    fn user_names_survive_quoting() {
        for name in ["plain", "a=b/c", "with \"quote", "ünï"] {
            let item = Item::parse(&format!("{0}=r/{0}", item_user(name))).unwrap();
            assert_eq!((item.grantee.as_str(), item.grantor.as_str()), (name, name));
        }
    }
}
