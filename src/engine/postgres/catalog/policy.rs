//! Row security: that it is on, and its policies.

use anyhow::{Context as _, bail};

use super::emit::Emit;
use super::object::{CatalogId, Components, DumpId, Object, Oid};
use super::{Catalog, Kind, Query, Row, Step, attachment};
use crate::archive::toc::Section;
use crate::error::Result;

/// OID of `pg_policy`.
const PG_POLICY: Oid = 3256;

/// A policy, or the fact that row security is on.
#[derive(Debug, Default)]
pub struct Policy {
    /// Its table.
    pub table: DumpId,
    /// What it says; `None` when this stands for `ENABLE ROW LEVEL SECURITY`.
    pub rule: Option<PolicyRule>,
}

/// What a policy says.
#[derive(Debug, Default)]
pub struct PolicyRule {
    /// `*` all, `r` SELECT, `a` INSERT, `w` UPDATE, `d` DELETE.
    pub polcmd: char,
    /// `PERMISSIVE`, else `RESTRICTIVE`.
    pub polpermissive: bool,
    /// The roles that it is for, quoted; `None`: PUBLIC.
    pub polroles: Option<String>,
    /// The `USING` expression.
    pub polqual: Option<String>,
    /// The `WITH CHECK` expression.
    pub polwithcheck: Option<String>,
}

/// The tables whose policies are dumped.
fn tables(cat: &Catalog) -> impl Iterator<Item = (&Object, Oid, bool)> {
    let wanted = !cat.options.no_policies;
    cat.tables()
        .filter(move |(object, table)| wanted && object.wants(Components::POLICY) && matches!(table.relkind, 'r' | 'p'))
        .map(|(object, table)| (object, table.oid, table.rowsec))
}

/// Row security of tables, then their policies.
pub const READ: Step = Step {
    what: "row security policies",
    query: |cat| {
        let tables: Vec<Oid> = tables(cat).map(|(_, oid, _)| oid).collect();
        let query = Query::new(
            "SELECT pol.oid, pol.polrelid, pol.polname, pol.polcmd, pol.polpermissive,
                    CASE WHEN pol.polroles = '{0}' THEN NULL ELSE pg_catalog.array_to_string(ARRAY(
                        SELECT pg_catalog.quote_ident(rolname) FROM pg_catalog.pg_roles
                        WHERE oid = ANY(pol.polroles)), ', ') END AS polroles,
                    pg_catalog.pg_get_expr(pol.polqual, pol.polrelid) AS polqual,
                    pg_catalog.pg_get_expr(pol.polwithcheck, pol.polrelid) AS polwithcheck
             FROM unnest($1) AS src(tbloid)
             JOIN pg_catalog.pg_policy pol ON src.tbloid = pol.polrelid",
        );
        (!tables.is_empty()).then(|| query.oids(tables))
    },
    absorb: |cat, rows| {
        let secured: Vec<_> = tables(cat)
            .filter(|(_, _, rowsec)| *rowsec)
            .map(|(object, oid, _)| (object.dump_id, oid, object.name.clone(), object.namespace))
            .collect();
        for (table, oid, name, namespace) in secured {
            mark(cat, table);
            // pg_depend must not find it: it is no row of a catalog.
            let it = Policy { table, rule: None };
            cat.add(CatalogId::new(0, oid), name, namespace, Kind::Policy(Box::new(it)));
        }
        rows.iter().try_for_each(|row| absorb(cat, row))
    },
};

fn mark(cat: &mut Catalog, table: DumpId) {
    if let Some(object) = cat.get_mut(table) {
        object.components |= Components::POLICY;
    }
}

fn absorb(cat: &mut Catalog, row: &Row) -> Result<()> {
    let table = cat.table_id(row.oid("polrelid")?).context("a policy without a table")?;
    mark(cat, table);
    let rule = PolicyRule {
        polcmd: row.char("polcmd")?,
        polpermissive: row.bool("polpermissive")?,
        polroles: row.opt_text("polroles")?,
        polqual: row.opt_text("polqual")?,
        polwithcheck: row.opt_text("polwithcheck")?,
    };
    let namespace = cat.get(table).and_then(|object| object.namespace);
    let it = Policy {
        table,
        rule: Some(rule),
    };
    let catalog_id = CatalogId::new(PG_POLICY, row.oid("oid")?);
    cat.add(catalog_id, row.text("polname")?, namespace, Kind::Policy(Box::new(it)));
    Ok(())
}

/// Writes a policy with its comment, or that row security is on.
///
/// # Errors
/// The catalogs are inconsistent.
pub fn dump(emit: &mut Emit, object: &Object, it: &Policy) -> Result<()> {
    if !emit.cat.options.dump_schema() {
        return Ok(());
    }
    let table_object = emit.cat.get(it.table).context("a policy without a table")?;
    let table = emit.cat.table(it.table).context("a policy without a table")?;
    let qualified = emit.qualified(table_object);
    let Some(rule) = &it.rule else {
        if object.wants(Components::DEFINITION) {
            let mut entry = emit.entry(object, "ROW SECURITY", Section::PostData);
            entry.defn = format!("ALTER TABLE {qualified} ENABLE ROW LEVEL SECURITY;");
            entry.owner.clone_from(&table.owner);
            // Nothing in pg_depend says so.
            entry.dependencies = vec![it.table];
            emit.push(entry);
        }
        return Ok(());
    };

    let name = emit.q.id(&object.name).into_owned();
    if object.wants(Components::DEFINITION) {
        let mut entry = emit.entry(object, "POLICY", Section::PostData);
        entry.tag = format!("{} {}", table_object.name, object.name);
        entry.defn = format!("CREATE POLICY {name} ON {qualified}{};\n", definition(rule)?);
        entry.drop_stmt = format!("DROP POLICY {name} ON {qualified};\n");
        entry.owner.clone_from(&table.owner);
        emit.push(entry);
    }
    if object.wants(Components::COMMENT) {
        let on = format!("POLICY {name} ON");
        let table_name = emit.q.id(&table_object.name).into_owned();
        let schema = emit.cat.namespace_name(table_object.namespace);
        let id = object.catalog_id;
        attachment::comment(emit, &on, &table_name, schema, &table.owner, id, 0, object.dump_id);
    }
    Ok(())
}

fn definition(rule: &PolicyRule) -> Result<String> {
    let mut sql = String::new();
    if !rule.polpermissive {
        sql += " AS RESTRICTIVE";
    }
    sql += match rule.polcmd {
        '*' => "",
        'r' => " FOR SELECT",
        'a' => " FOR INSERT",
        'w' => " FOR UPDATE",
        'd' => " FOR DELETE",
        other => bail!("unexpected policy command type: {other}"),
    };
    if let Some(roles) = &rule.polroles {
        sql += &format!(" TO {roles}");
    }
    if let Some(qual) = &rule.polqual {
        sql += &format!(" USING ({qual})");
    }
    if let Some(check) = &rule.polwithcheck {
        sql += &format!(" WITH CHECK ({check})");
    }
    Ok(sql)
}
