//! Functions, procedures and window functions.

use anyhow::Context as _;

use super::annotate::{self, Target};
use super::emit::Emit;
use super::object::{Acl, CatalogId, Components, Object, Oid, class};
use super::{Catalog, Kind, Step, acl, attachment, dependency, select, setting};
use crate::archive::toc::Section;
use crate::engine::postgres::connect::session::{Query, Row};
use crate::error::Result;

/// A function, a procedure or a window function.
#[derive(Debug, Default)]
pub struct Function {
    /// Name of the owner.
    pub owner: String,
    /// Privileges.
    pub acl: Acl,
    /// OID of the language.
    pub lang: Oid,
    /// OIDs of the types of the input arguments.
    pub argtypes: Vec<Oid>,
    /// OID of the result type.
    pub prorettype: Oid,
    /// It must come after the data, since it needs a primary key (loop repair).
    pub postponed_def: bool,
    /// What its statements say; only of those that are dumped.
    pub details: Option<Details>,
}

/// Columns of `pg_proc` as the statements of a function need them.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools)] // they are columns of pg_proc
pub struct Details {
    /// Arguments with names, modes and defaults.
    pub funcargs: String,
    /// Arguments as they identify the function.
    pub funciargs: String,
    funcresult: Option<String>,
    lanname: String,
    prokind: char,
    proretset: bool,
    prosrc: String,
    probin: Option<String>,
    prosqlbody: Option<String>,
    protrftypes: Vec<String>,
    provolatile: char,
    proisstrict: bool,
    prosecdef: bool,
    proleakproof: bool,
    procost: String,
    prorows: String,
    prosupport: Option<String>,
    proparallel: char,
    proconfig: Vec<String>,
}

/// The functions that there are: those of the system only where a cast or a transform of the user needs
/// them or where their privileges were changed.
pub const READ: Step = Step {
    what: "functions",
    query: |cat| Some(Query::new(identities_sql(cat))),
    absorb: |cat, rows| {
        absorb_identities(cat, &rows, |row, owner, acl| {
            Ok(Kind::Function(Box::new(Function {
                owner,
                acl,
                lang: row.oid("prolang")?,
                argtypes: row.oids("proargtypes")?,
                prorettype: row.oid("prorettype")?,
                ..Function::default()
            })))
        })
    },
};

/// Takes in rows of `pg_proc`: `kind` says what one is, with its owner and its privileges.
pub fn absorb_identities(
    cat: &mut Catalog,
    rows: &[Row],
    kind: impl Fn(&Row, String, Acl) -> Result<Kind>,
) -> Result<()> {
    for row in rows {
        let catalog_id = CatalogId::new(class::PG_PROC, row.oid("oid")?);
        let owner = cat.role(row.oid("proowner")?)?.to_owned();
        let acl = acl::read(cat, row, catalog_id, 0)?;
        let has_acl = acl.acl.is_some();
        let namespace = cat.namespace(row.oid("pronamespace")?)?;
        let kind = kind(row, owner, acl)?;
        let id = cat.add(catalog_id, row.text("proname")?, Some(namespace), kind);
        select::object(cat, id);
        annotate::mark_acl(cat, id, has_acl);
    }
    Ok(())
}

fn identities_sql(cat: &Catalog) -> String {
    format!(
        "SELECT p.oid, p.proname, p.pronamespace, p.proowner, p.prolang, p.proargtypes, p.prorettype, {acl}
         FROM pg_catalog.pg_proc p {INITIAL_PRIVILEGES}
         WHERE p.prokind <> 'a'
           AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                           WHERE d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass
                             AND d.objid = p.oid AND d.deptype = 'i')
           AND (p.pronamespace <> (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = 'pg_catalog')
                OR EXISTS (SELECT FROM pg_catalog.pg_cast c WHERE c.oid > {last} AND c.castfunc = p.oid)
                OR EXISTS (SELECT FROM pg_catalog.pg_transform t
                           WHERE t.oid > {last} AND p.oid IN (t.trffromsql, t.trftosql))
                OR {PRIVILEGES_CHANGED}{members})",
        acl = acl::columns("p.oid", "p.proacl", "'f'", "p.proowner"),
        last = select::LAST_BUILTIN_OID,
        members = extension_members_too(cat),
    )
}

/// Joins what initdb gave to the `pg_proc` row `p`. The rows come in whatever order the server finds them, which
/// numbers the objects: so the join is one that the server plans as it plans pg_dump's.
pub const INITIAL_PRIVILEGES: &str = "LEFT JOIN pg_catalog.pg_init_privs pip
             ON p.oid = pip.objoid AND pip.classoid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND pip.objsubid = 0";

/// Whether the privileges on the `pg_proc` row `p` are not those that initdb gave.
pub const PRIVILEGES_CHANGED: &str = "p.proacl IS DISTINCT FROM pip.initprivs";

/// An upgrade recreates the members of extensions one by one, wherever they are.
pub fn extension_members_too(cat: &Catalog) -> &'static str {
    if !cat.options.binary_upgrade {
        return "";
    }
    " OR EXISTS (SELECT FROM pg_catalog.pg_depend d
                WHERE d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.objid = p.oid
                  AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.deptype = 'e')"
}

/// What the functions look like that are dumped.
pub const DETAILS: Step = Step {
    what: "definitions of functions",
    query: |cat| {
        let oids = cat.wanted(|kind| matches!(kind, Kind::Function(_)));
        (!oids.is_empty()).then(|| Query::new(DETAILS_SQL).oids(oids))
    },
    absorb: |cat, rows| {
        for row in &rows {
            let id = cat.find(class::PG_PROC, row.oid("oid")?);
            if let Some(Kind::Function(function)) = id.and_then(|id| cat.get_mut(id)).map(|object| &mut object.kind) {
                function.details = Some(Details::of(row)?);
            }
        }
        Ok(())
    },
};

const DETAILS_SQL: &str = "
    SELECT p.oid, pg_catalog.pg_get_function_arguments(p.oid) AS funcargs,
           pg_catalog.pg_get_function_identity_arguments(p.oid) AS funciargs,
           pg_catalog.pg_get_function_result(p.oid) AS funcresult,
           l.lanname, p.prokind, p.proretset, p.prosrc, p.probin,
           pg_catalog.pg_get_function_sqlbody(p.oid) AS prosqlbody,
           ARRAY(SELECT pg_catalog.format_type(t, NULL)
                 FROM pg_catalog.unnest(p.protrftypes) WITH ORDINALITY AS u(t, n) ORDER BY n) AS protrftypes,
           p.provolatile, p.proisstrict, p.prosecdef, p.proleakproof,
           p.procost::text AS procost, p.prorows::text AS prorows,
           NULLIF(p.prosupport::text, '-') AS prosupport, p.proparallel, p.proconfig
    FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_language l ON l.oid = p.prolang
    WHERE p.oid = ANY ($1)";

impl Details {
    fn of(row: &Row) -> Result<Self> {
        Ok(Details {
            funcargs: row.text("funcargs")?,
            funciargs: row.text("funciargs")?,
            funcresult: row.opt_text("funcresult")?,
            lanname: row.text("lanname")?,
            prokind: row.char("prokind")?,
            proretset: row.bool("proretset")?,
            prosrc: row.text("prosrc")?,
            probin: row.opt_text("probin")?,
            prosqlbody: row.opt_text("prosqlbody")?,
            protrftypes: row.texts("protrftypes")?,
            provolatile: row.char("provolatile")?,
            proisstrict: row.bool("proisstrict")?,
            prosecdef: row.bool("prosecdef")?,
            proleakproof: row.bool("proleakproof")?,
            procost: row.text("procost")?,
            prorows: row.text("prorows")?,
            prosupport: row.opt_text("prosupport")?,
            proparallel: row.char("proparallel")?,
            proconfig: row.texts("proconfig")?,
        })
    }

    fn keyword(&self) -> &'static str {
        if self.prokind == 'p' { "PROCEDURE" } else { "FUNCTION" }
    }
}

/// `CREATE FUNCTION` or `CREATE PROCEDURE`.
///
/// # Errors
/// The catalogs are inconsistent.
pub fn dump(emit: &mut Emit, object: &Object, it: &Function) -> Result<()> {
    if !emit.cat.options.dump_schema() {
        return Ok(());
    }
    let details = it
        .details
        .as_ref()
        .with_context(|| format!("function {} was not read", object.name))?;
    let keyword = details.keyword();
    let signature = format!("{}({})", emit.q.id(&object.name), details.funciargs);
    let schema = emit.cat.namespace_name(object.namespace).unwrap_or_default();
    if object.wants(Components::DEFINITION) {
        let section = if it.postponed_def {
            Section::PostData
        } else {
            Section::PreData
        };
        let qualified = format!("{}.{signature}", emit.q.id(schema));
        let mut entry = emit.entry(object, keyword, section);
        entry.tag = emit.cat.signature(&object.name, &it.argtypes)?;
        entry.owner.clone_from(&it.owner);
        entry.defn = definition(emit, object, details);
        entry.defn += &dependency::on_extensions(emit, object, keyword, &qualified);
        entry.defn += &attachment::extension_member(emit, object, keyword, &signature, Some(schema))?;
        entry.drop_stmt = format!("DROP {keyword} {qualified};\n");
        emit.push(entry);
    }
    let target = Target {
        kind: keyword,
        name: &signature,
        owner: &it.owner,
    };
    annotate::comment(emit, object, &target);
    annotate::security_label(emit, object, &target);
    annotate::acl(emit, object, &target, &it.acl)
}

fn definition(emit: &Emit, object: &Object, it: &Details) -> String {
    let mut out = format!("CREATE {} {}({})", it.keyword(), emit.qualified(object), it.funcargs);
    if let Some(result) = it.funcresult.as_ref().filter(|_| it.prokind != 'p') {
        out += &format!(" RETURNS {result}");
    }
    out += &format!("\n    LANGUAGE {}", emit.q.id(&it.lanname));
    if !it.protrftypes.is_empty() {
        let types: Vec<_> = it.protrftypes.iter().map(|name| format!("FOR TYPE {name}")).collect();
        out += &format!(" TRANSFORM {}", types.join(", "));
    }
    out += &attributes(it);
    for setting in &it.proconfig {
        if let Some((name, value)) = setting.split_once('=') {
            out += &format!(
                "\n    SET {} TO {}",
                emit.q.id(name),
                setting::value(name, value, |text| emit.q.literal(text))
            );
        }
    }
    out + &format!("\n    {};\n", body(emit, it))
}

/// The attributes that differ from what `CREATE FUNCTION` gives by itself.
fn attributes(it: &Details) -> String {
    let mut out = String::new();
    let flags = [
        (it.prokind == 'w', " WINDOW"),
        (it.provolatile == 'i', " IMMUTABLE"),
        (it.provolatile == 's', " STABLE"),
        (it.proisstrict, " STRICT"),
        (it.prosecdef, " SECURITY DEFINER"),
        (it.proleakproof, " LEAKPROOF"),
    ];
    for (set, words) in flags {
        if set {
            out += words;
        }
    }
    let default_cost = if matches!(it.lanname.as_str(), "internal" | "c") {
        "1"
    } else {
        "100"
    };
    if it.procost != "0" && it.procost != default_cost {
        out += &format!(" COST {}", it.procost);
    }
    if it.proretset && it.prorows != "0" && it.prorows != "1000" {
        out += &format!(" ROWS {}", it.prorows);
    }
    if let Some(support) = &it.prosupport {
        out += &format!(" SUPPORT {support}");
    }
    out += match it.proparallel {
        's' => " PARALLEL SAFE",
        'r' => " PARALLEL RESTRICTED",
        _ => "",
    };
    out
}

/// `AS 'source'`, `AS 'library', 'symbol'` or the SQL body itself.
fn body(emit: &Emit, it: &Details) -> String {
    if let Some(body) = &it.prosqlbody {
        return body.clone();
    }
    let dollar = !emit.cat.options.disable_dollar_quoting;
    let Some(library) = it.probin.as_deref().filter(|library| !library.is_empty()) else {
        let source = if dollar {
            emit.q.dollar(&it.prosrc, None)
        } else {
            emit.q.literal(&it.prosrc)
        };
        return format!("AS {source}");
    };
    let mut out = format!("AS {}", emit.q.literal(library));
    if !it.prosrc.is_empty() {
        out += ", ";
        // A symbol is a plain name nearly always, and then plain quotes read better.
        out += &if dollar && it.prosrc.contains(['\'', '\\']) {
            emit.q.dollar(&it.prosrc, None)
        } else {
            emit.q.literal(&it.prosrc)
        };
    }
    out
}
