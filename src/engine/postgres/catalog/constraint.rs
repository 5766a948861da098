//! Constraints that have an entry of their own: keys, exclusions, and checks that are not part of CREATE TABLE.

use anyhow::{Context as _, bail};

use super::emit::Emit;
use super::index::{self, Index};
use super::object::{CatalogId, Components, DumpId, Object, Oid, class};
use super::table::Table;
use super::{Catalog, Kind, Query, Row, Step, attachment, dependency, upgrade};
use crate::archive::toc::Section;
use crate::error::Result;

/// A constraint of a table or a domain.
#[derive(Debug, Default)]
#[allow(clippy::struct_excessive_bools)] // they are columns of pg_constraint
pub struct Constraint {
    /// Its table; `None` for a domain's.
    pub table: Option<DumpId>,
    /// Its domain; `None` for a table's.
    pub domain: Option<DumpId>,
    /// `c` check, `f` foreign key, `p` primary key, `u` unique, `x` exclusion, `n` not null, `t` trigger.
    pub contype: char,
    /// `pg_get_constraintdef`, where the kind needs it.
    pub condef: Option<String>,
    /// OID of the table that a foreign key refers to.
    pub confrelid: Oid,
    /// The index that carries it.
    pub conindex: Option<DumpId>,
    /// `DEFERRABLE`.
    pub condeferrable: bool,
    /// `INITIALLY DEFERRED`.
    pub condeferred: bool,
    /// `WITHOUT OVERLAPS` or `PERIOD` (18).
    pub conperiod: bool,
    /// Defined here, not only inherited.
    pub conislocal: bool,
    /// It needs an entry of its own.
    pub separate: bool,
}

/// Whether 14 lists the foreign keys of a table by name: it asks table by table without ORDER BY, so they are numbered
/// by name where its planner takes the index, and by place where it reads pg_constraint as it lies.
pub const FOREIGN_KEY_ORDER: Step = Step {
    what: "the order of foreign keys",
    query: |cat| {
        let sql = "EXPLAIN SELECT oid FROM pg_catalog.pg_constraint c
                    WHERE conrelid = '16384' AND conparentid = 0 AND contype = 'f'";
        (cat.server.major() < 15).then(|| Query::new(sql))
    },
    absorb: |cat, rows| {
        for row in rows {
            let line = row.text("QUERY PLAN")?;
            cat.foreign_keys_by_name |= line.contains("Index Scan using pg_constraint_conrelid");
        }
        Ok(())
    },
};

/// Foreign keys of the tables that are dumped, but for those that a partition has from its parent.
pub const FOREIGN_KEYS: Step = Step {
    what: "foreign keys",
    query: |cat| {
        let tables: Vec<Oid> = cat
            .tables()
            .filter(|(object, _)| object.wants(Components::DEFINITION))
            .map(|(_, table)| table.oid)
            .collect();
        // Numbers follow the order of the rows.
        let order = match cat.server.major() {
            ..15 => "src.ord, c.ctid",
            _ => "conrelid, conname",
        };
        let query = Query::new(format!(
            "SELECT c.oid, conrelid, conname, confrelid, conindid, pg_catalog.pg_get_constraintdef(c.oid) AS condef
             FROM unnest($1) WITH ORDINALITY AS src(tbloid, ord)
             JOIN pg_catalog.pg_constraint c ON src.tbloid = c.conrelid
             WHERE contype = 'f' AND conparentid = 0 ORDER BY {order}"
        ));
        (!tables.is_empty()).then(|| query.oids(tables).divisible())
    },
    absorb: |cat, rows| {
        let mut keys = rows
            .iter()
            .map(|row| Ok((row.oid("conrelid")?, row.text("conname")?, row)))
            .collect::<Result<Vec<_>>>()?;
        if cat.foreign_keys_by_name {
            for of_table in keys.chunk_by_mut(|one, other| one.0 == other.0) {
                of_table.sort_by(|one, other| one.1.cmp(&other.1));
            }
        }
        keys.iter().try_for_each(|(_, _, row)| absorb_foreign_key(cat, row))
    },
};

fn absorb_foreign_key(cat: &mut Catalog, row: &Row) -> Result<()> {
    let table = cat
        .table_id(row.oid("conrelid")?)
        .context("a foreign key without a table")?;
    let confrelid = row.oid("confrelid")?;
    let constraint = Constraint {
        table: Some(table),
        contype: 'f',
        condef: row.opt_text("condef")?,
        confrelid,
        conislocal: true,
        separate: true,
        ..Constraint::default()
    };
    let namespace = cat.get(table).and_then(|object| object.namespace);
    let catalog_id = CatalogId::new(class::PG_CONSTRAINT, row.oid("oid")?);
    let id = cat.add(
        catalog_id,
        row.text("conname")?,
        namespace,
        Kind::FkConstraint(constraint),
    );

    // A key that refers to a partitioned table can be restored only when its index is complete, that is when all
    // indexes of partitions are attached.
    let referenced = cat.table_id(confrelid).and_then(|id| cat.table(id));
    if referenced.is_some_and(|table| table.relkind == 'p')
        && let Some(index) = cat.find(class::PG_CLASS, row.oid("conindid")?)
    {
        for attachment in attachments(cat, index) {
            cat.add_dependency(id, attachment);
        }
    }
    Ok(())
}

/// The attachments of all partitions of an index, each followed by those below it.
fn attachments(cat: &Catalog, index: DumpId) -> Vec<DumpId> {
    let Some(Kind::Index(index)) = cat.get(index).map(|object| &object.kind) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for attachment in &index.attachments {
        found.push(*attachment);
        if let Some(Kind::IndexAttach(it)) = cat.get(*attachment).map(|object| &object.kind) {
            found.extend(attachments(cat, it.partition));
        }
    }
    found
}

/// Writes a constraint with its comment, unless it is part of its table or domain.
///
/// # Errors
/// The catalogs are inconsistent.
pub fn dump(emit: &mut Emit, object: &Object, it: &Constraint) -> Result<()> {
    if !emit.cat.options.dump_schema() || !it.separate {
        return Ok(());
    }
    match (it.table, it.domain) {
        (Some(table), _) => dump_of_table(emit, object, it, table),
        (None, Some(domain)) => dump_of_domain(emit, object, it, domain),
        (None, None) => bail!("constraint {} belongs to nothing", object.name),
    }
}

/// What writing a constraint takes: its type in lists, and its statement but for `ADD CONSTRAINT name`.
struct Statement {
    desc: &'static str,
    alter: String,
    definition: String,
    /// What comes after the statement.
    more: String,
    tablespace: Option<String>,
}

fn dump_of_table(emit: &mut Emit, object: &Object, it: &Constraint, table_id: DumpId) -> Result<()> {
    let table_object = emit.cat.get(table_id).context("a constraint without a table")?;
    let table = emit.cat.table(table_id).context("a constraint without a table")?;
    let name = emit.q.id(&object.name).into_owned();
    let qualified = emit.qualified(table_object);
    let foreign = if table.relkind == 'f' { "FOREIGN " } else { "" };
    let statement = match it.contype {
        'p' | 'u' | 'x' => of_index(emit, it, table, &qualified, foreign)?,
        'f' => {
            // The foreign key of a partitioned table is its partitions' too, that of any other table is not
            // inherited.
            let only = if table.relkind == 'p' { "" } else { "ONLY " };
            let alter = format!("ALTER {foreign}TABLE {only}{qualified}");
            Statement::plain("FK CONSTRAINT", alter, it)
        }
        'c' | 'n' => Statement::plain(check_desc(it), format!("ALTER {foreign}TABLE {qualified}"), it),
        other => bail!("constraint {} has the unknown type {other:?}", object.name),
    };

    // A check that a table only inherits is made with its parent's.
    if object.wants(Components::DEFINITION) && (it.conislocal || !matches!(it.contype, 'c' | 'n')) {
        let mut entry = emit.entry(object, statement.desc, Section::PostData);
        entry.tag = format!("{} {}", table_object.name, object.name);
        let index = it.conindex.and_then(|id| emit.cat.get(id));
        if let Some(index) = index.filter(|_| emit.cat.options.binary_upgrade && it.contype != 'f') {
            entry.defn = upgrade::class_oids(emit, index.catalog_id.oid, true);
        }
        entry.defn += &format!(
            "{}\n    ADD CONSTRAINT {name} {};\n",
            statement.alter, statement.definition
        );
        entry.defn += &statement.more;
        entry.drop_stmt = format!("{} DROP CONSTRAINT {name};\n", statement.alter);
        entry.tablespace = statement.tablespace;
        entry.owner.clone_from(&table.owner);
        emit.push(entry);
    }
    if object.wants(Components::COMMENT) {
        comment(emit, object, it, table_id);
    }
    Ok(())
}

/// Writes the comment on a constraint of a table. It belongs to the table's entry when the constraint does.
pub fn comment(emit: &mut Emit, object: &Object, it: &Constraint, table_id: DumpId) {
    let (Some(table_object), Some(table)) = (emit.cat.get(table_id), emit.cat.table(table_id)) else {
        return;
    };
    let on = format!("CONSTRAINT {} ON", emit.q.id(&object.name));
    let name = emit.q.id(&table_object.name).into_owned();
    let schema = emit.cat.namespace_name(table_object.namespace);
    let depends_on = if it.separate { object.dump_id } else { table_id };
    attachment::comment(emit, &on, &name, schema, &table.owner, object.catalog_id, 0, depends_on);
}

fn check_desc(it: &Constraint) -> &'static str {
    if it.contype == 'c' {
        "CHECK CONSTRAINT"
    } else {
        "CONSTRAINT"
    }
}

impl Statement {
    fn plain(desc: &'static str, alter: String, it: &Constraint) -> Self {
        Statement {
            desc,
            alter,
            definition: it.condef.clone().unwrap_or_default(),
            more: String::new(),
            tablespace: None,
        }
    }
}

/// The statement of a primary key, unique or exclusion constraint.
fn of_index(emit: &Emit, it: &Constraint, table: &Table, qualified: &str, foreign: &str) -> Result<Statement> {
    let object = it
        .conindex
        .and_then(|id| emit.cat.get(id))
        .context("a key without an index")?;
    let Kind::Index(index) = &object.kind else {
        bail!("the index of a key is none")
    };
    let definition = match &it.condef {
        Some(condef) => condef.clone(),
        None => key(emit, it, index, table)?,
    };
    let name = emit.qualified(object);
    let mut more = index::clustered(emit, object, index, qualified);
    if emit.cat.server.keeps_constraint_statistics() {
        more += &index::statistics_targets(index, &name);
    }
    more += &index::replica_identity(emit, object, index, qualified);
    more += &dependency::on_extensions(emit, object, "INDEX", &name);
    Ok(Statement {
        desc: "CONSTRAINT",
        alter: format!("ALTER {foreign}TABLE ONLY {qualified}"),
        definition,
        more,
        tablespace: Some(index.tablespace.clone()),
    })
}

/// `PRIMARY KEY (…)` or `UNIQUE (…)`.
fn key(emit: &Emit, it: &Constraint, index: &Index, table: &Table) -> Result<String> {
    let columns = |numbers: &[i32]| -> Result<String> {
        let names: Result<Vec<_>> = numbers
            .iter()
            .map(|number| Ok(emit.q.id(column(table, *number)?)))
            .collect();
        Ok(names?.join(", "))
    };
    let (keys, included) = index.indkey.split_at(index.indnkeyatts.min(index.indkey.len()));
    let mut sql = if it.contype == 'p' { "PRIMARY KEY" } else { "UNIQUE" }.to_owned();
    // A primary key has no NULLs; the server once let its index say so nevertheless, and would refuse it now.
    if index.indnullsnotdistinct && it.contype != 'p' {
        sql += " NULLS NOT DISTINCT";
    }
    sql += &format!(" ({}", columns(keys)?);
    if it.conperiod {
        sql += " WITHOUT OVERLAPS";
    }
    if !included.is_empty() {
        sql += &format!(") INCLUDE ({}", columns(included)?);
    }
    sql.push(')');
    if !index.options.is_empty() {
        sql += &format!(" WITH ({})", emit.q.reloptions(&index.options, ""));
    }
    if it.condeferrable {
        sql += " DEFERRABLE";
        if it.condeferred {
            sql += " INITIALLY DEFERRED";
        }
    }
    Ok(sql)
}

/// Name of the column with number `number`; keys can be on system columns too.
fn column(table: &Table, number: i32) -> Result<&str> {
    let named = usize::try_from(number - 1)
        .ok()
        .and_then(|place| table.columns.get(place));
    match (named, number) {
        (Some(column), _) => Ok(&column.name),
        (None, -1) => Ok("ctid"),
        (None, -2) => Ok("xmin"),
        (None, -3) => Ok("cmin"),
        (None, -4) => Ok("xmax"),
        (None, -5) => Ok("cmax"),
        (None, -6) => Ok("tableoid"),
        _ => bail!("a key is on column {number}, which does not exist"),
    }
}

fn dump_of_domain(emit: &mut Emit, object: &Object, it: &Constraint, domain: DumpId) -> Result<()> {
    let domain = emit.cat.get(domain).context("a constraint without a domain")?;
    let Kind::Type(of_type) = &domain.kind else {
        bail!("the domain of constraint {} is no type", object.name)
    };
    let name = emit.q.id(&object.name).into_owned();
    let alter = format!("ALTER DOMAIN {}", emit.qualified(domain));
    if object.wants(Components::DEFINITION) {
        let mut entry = emit.entry(object, check_desc(it), Section::PostData);
        entry.tag = format!("{} {}", domain.name, object.name);
        let definition = it.condef.as_deref().unwrap_or_default();
        entry.defn = format!("{alter}\n    ADD CONSTRAINT {name} {definition};\n");
        entry.drop_stmt = format!("{alter} DROP CONSTRAINT {name};\n");
        entry.owner.clone_from(&of_type.owner);
        emit.push(entry);
    }
    if object.wants(Components::COMMENT) {
        let on = format!("CONSTRAINT {name} ON DOMAIN");
        let domain_name = emit.q.id(&domain.name).into_owned();
        let schema = emit.cat.namespace_name(domain.namespace);
        let (id, owner) = (object.catalog_id, &of_type.owner);
        attachment::comment(emit, &on, &domain_name, schema, owner, id, 0, object.dump_id);
    }
    Ok(())
}
