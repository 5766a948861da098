//! Aggregates: plain, ordered-set and hypothetical-set ones.

use anyhow::Context as _;

use super::annotate::{self, Target};
use super::emit::Emit;
use super::function::{INITIAL_PRIVILEGES, PRIVILEGES_CHANGED, absorb_identities, extension_members_too};
use super::object::{Acl, Components, Object, Oid, class};
use super::{Catalog, Kind, Step, acl, attachment, operator};
use crate::archive::toc::Section;
use crate::engine::postgres::connect::session::{Query, Row};
use crate::error::Result;

/// An aggregate.
#[derive(Debug, Default)]
pub struct Aggregate {
    /// Name of the owner.
    pub owner: String,
    /// Privileges.
    pub acl: Acl,
    /// OIDs of the types of the input arguments.
    pub argtypes: Vec<Oid>,
    /// What its statements say; only of those that are dumped.
    pub details: Option<Details>,
}

/// Columns of `pg_aggregate` as the statements of an aggregate need them.
#[derive(Debug)]
pub struct Details {
    funcargs: String,
    funciargs: String,
    aggkind: char,
    proparallel: char,
    aggcombinefn: Option<String>,
    aggserialfn: Option<String>,
    aggdeserialfn: Option<String>,
    aggsortop: Oid,
    plain: States,
    moving: States,
    aggminvtransfn: Option<String>,
}

/// The state and its functions: an aggregate has one set of them, and a second one for moving windows.
#[derive(Debug)]
struct States {
    transfn: Option<String>,
    transtype: String,
    transspace: i32,
    initval: Option<String>,
    finalfn: Option<String>,
    finalextra: bool,
    finalmodify: char,
}

/// The aggregates that there are: those of the system only where their privileges were changed.
pub const READ: Step = Step {
    what: "aggregates",
    query: |cat| Some(Query::new(identities_sql(cat))),
    absorb: |cat, rows| {
        absorb_identities(cat, &rows, |row, owner, acl| {
            Ok(Kind::Aggregate(Box::new(Aggregate {
                owner,
                acl,
                argtypes: row.oids("proargtypes")?,
                details: None,
            })))
        })
    },
};

fn identities_sql(cat: &Catalog) -> String {
    format!(
        "SELECT p.oid, p.proname, p.pronamespace, p.proowner, p.proargtypes, {acl}
         FROM pg_catalog.pg_proc p {INITIAL_PRIVILEGES}
         WHERE p.prokind = 'a'
           AND (p.pronamespace <> (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = 'pg_catalog')
                OR {PRIVILEGES_CHANGED}{members})",
        acl = acl::columns("p.oid", "p.proacl", "'f'", "p.proowner"),
        members = extension_members_too(cat),
    )
}

/// What the aggregates look like that are dumped.
pub const DETAILS: Step = Step {
    what: "definitions of aggregates",
    query: |cat| {
        let oids = cat.wanted(|kind| matches!(kind, Kind::Aggregate(_)));
        (!oids.is_empty()).then(|| Query::new(DETAILS_SQL).oids(oids))
    },
    absorb: |cat, rows| {
        for row in &rows {
            let id = cat.find(class::PG_PROC, row.oid("oid")?);
            if let Some(Kind::Aggregate(aggregate)) = id.and_then(|id| cat.get_mut(id)).map(|object| &mut object.kind) {
                aggregate.details = Some(Details::of(row)?);
            }
        }
        Ok(())
    },
};

const DETAILS_SQL: &str = "
    SELECT p.oid, pg_catalog.pg_get_function_arguments(p.oid) AS funcargs,
           pg_catalog.pg_get_function_identity_arguments(p.oid) AS funciargs,
           a.aggkind, p.proparallel, a.aggsortop,
           NULLIF(a.aggcombinefn::text, '-') AS aggcombinefn, NULLIF(a.aggserialfn::text, '-') AS aggserialfn,
           NULLIF(a.aggdeserialfn::text, '-') AS aggdeserialfn,
           NULLIF(a.aggtransfn::text, '-') AS aggtransfn,
           a.aggtranstype::pg_catalog.regtype::text AS aggtranstype, a.aggtransspace, a.agginitval,
           NULLIF(a.aggfinalfn::text, '-') AS aggfinalfn, a.aggfinalextra, a.aggfinalmodify,
           NULLIF(a.aggmtransfn::text, '-') AS aggmtransfn,
           NULLIF(a.aggminvtransfn::text, '-') AS aggminvtransfn,
           a.aggmtranstype::pg_catalog.regtype::text AS aggmtranstype, a.aggmtransspace, a.aggminitval,
           NULLIF(a.aggmfinalfn::text, '-') AS aggmfinalfn, a.aggmfinalextra, a.aggmfinalmodify
    FROM pg_catalog.pg_aggregate a JOIN pg_catalog.pg_proc p ON p.oid = a.aggfnoid
    WHERE p.oid = ANY ($1)";

impl Details {
    fn of(row: &Row) -> Result<Self> {
        Ok(Details {
            funcargs: row.text("funcargs")?,
            funciargs: row.text("funciargs")?,
            aggkind: row.char("aggkind")?,
            proparallel: row.char("proparallel")?,
            aggcombinefn: row.opt_text("aggcombinefn")?,
            aggserialfn: row.opt_text("aggserialfn")?,
            aggdeserialfn: row.opt_text("aggdeserialfn")?,
            aggsortop: row.oid("aggsortop")?,
            plain: States::of(row, "agg")?,
            moving: States::of(row, "aggm")?,
            aggminvtransfn: row.opt_text("aggminvtransfn")?,
        })
    }
}

impl States {
    fn of(row: &Row, prefix: &str) -> Result<Self> {
        Ok(States {
            transfn: row.opt_text(&format!("{prefix}transfn"))?,
            transtype: row.text(&format!("{prefix}transtype"))?,
            transspace: row.int(&format!("{prefix}transspace"))?,
            initval: row.opt_text(&format!("{prefix}initval"))?,
            finalfn: row.opt_text(&format!("{prefix}finalfn"))?,
            finalextra: row.bool(&format!("{prefix}finalextra"))?,
            finalmodify: row.char(&format!("{prefix}finalmodify"))?,
        })
    }
}

/// `CREATE AGGREGATE`.
///
/// # Errors
/// The catalogs are inconsistent.
pub fn dump(emit: &mut Emit, object: &Object, it: &Aggregate) -> Result<()> {
    if !emit.cat.options.dump_schema() {
        return Ok(());
    }
    let details = it
        .details
        .as_ref()
        .with_context(|| format!("aggregate {} was not read", object.name))?;
    let name = emit.q.id(&object.name).into_owned();
    let signature = with_star(&name, &details.funciargs, it);
    let schema = emit.cat.namespace_name(object.namespace).unwrap_or_default();
    if object.wants(Components::DEFINITION) {
        let qschema = emit.q.id(schema);
        let mut entry = emit.entry(object, "AGGREGATE", Section::PreData);
        entry.tag = if it.argtypes.is_empty() {
            format!("{}(*)", object.name)
        } else {
            emit.cat.signature(&object.name, &it.argtypes)?
        };
        entry.owner.clone_from(&it.owner);
        entry.defn = format!(
            "CREATE AGGREGATE {qschema}.{} (\n{}\n);\n",
            with_star(&name, &details.funcargs, it),
            parameters(emit, details).join(",\n"),
        );
        entry.defn += &attachment::extension_member(emit, object, "AGGREGATE", &signature, Some(schema))?;
        entry.drop_stmt = format!("DROP AGGREGATE {qschema}.{signature};\n");
        emit.push(entry);
    }
    let target = Target {
        kind: "AGGREGATE",
        name: &signature,
        owner: &it.owner,
    };
    annotate::comment(emit, object, &target);
    annotate::security_label(emit, object, &target);
    // There is no GRANT ON AGGREGATE: it is granted as the function that it also is.
    let target = Target {
        kind: "FUNCTION",
        name: &emit.cat.signature(&name, &it.argtypes)?,
        owner: &it.owner,
    };
    annotate::acl(emit, object, &target, &it.acl)
}

/// `name(arguments)`, or `name(*)` for an aggregate without any.
fn with_star(name: &str, arguments: &str, it: &Aggregate) -> String {
    let arguments = if it.argtypes.is_empty() { "*" } else { arguments };
    format!("{name}({arguments})")
}

fn parameters(emit: &Emit, it: &Details) -> Vec<String> {
    let mut out = Vec::new();
    set(&mut out, "SFUNC", it.plain.transfn.as_ref());
    set(&mut out, "STYPE", Some(&it.plain.transtype));
    state_parameters(emit, &mut out, &it.plain, "", it.aggkind);
    set(&mut out, "COMBINEFUNC", it.aggcombinefn.as_ref());
    set(&mut out, "SERIALFUNC", it.aggserialfn.as_ref());
    set(&mut out, "DESERIALFUNC", it.aggdeserialfn.as_ref());
    if let Some(transfn) = &it.moving.transfn {
        set(&mut out, "MSFUNC", Some(transfn));
        set(&mut out, "MINVFUNC", it.aggminvtransfn.as_ref());
        set(&mut out, "MSTYPE", Some(&it.moving.transtype));
    }
    state_parameters(emit, &mut out, &it.moving, "M", it.aggkind);
    set(&mut out, "SORTOP", operator::reference(emit.cat, it.aggsortop).as_ref());
    if it.aggkind == 'h' {
        out.push("    HYPOTHETICAL".to_owned());
    }
    match it.proparallel {
        's' => out.push("    PARALLEL = safe".to_owned()),
        'r' => out.push("    PARALLEL = restricted".to_owned()),
        _ => {}
    }
    out
}

fn set(out: &mut Vec<String>, name: &str, value: Option<&String>) {
    if let Some(value) = value {
        out.push(format!("    {name} = {value}"));
    }
}

/// What both sets of states have; `prefix` tells them apart.
fn state_parameters(emit: &Emit, out: &mut Vec<String>, states: &States, prefix: &str, aggkind: char) {
    if states.transspace != 0 {
        set(out, &format!("{prefix}SSPACE"), Some(&states.transspace.to_string()));
    }
    let initval = states.initval.as_ref().map(|value| emit.q.literal(value));
    set(out, &format!("{prefix}INITCOND"), initval.as_ref());
    let Some(function) = &states.finalfn else { return };
    set(out, &format!("{prefix}FINALFUNC"), Some(function));
    if states.finalextra {
        out.push(format!("    {prefix}FINALFUNC_EXTRA"));
    }
    // CREATE AGGREGATE takes one of them for granted, by the kind of the aggregate.
    let default_modify = if aggkind == 'n' { 'r' } else { 'w' };
    if states.finalmodify != default_modify {
        let modify = match states.finalmodify {
            'r' => "READ_ONLY",
            's' => "SHAREABLE",
            _ => "READ_WRITE",
        };
        out.push(format!("    {prefix}FINALFUNC_MODIFY = {modify}"));
    }
}
