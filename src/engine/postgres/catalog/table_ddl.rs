//! The statements that make a relation: CREATE TABLE and what only ALTER TABLE can say.

use anyhow::Context as _;

use super::column::{self, Column};
use super::emit::Emit;
use super::object::{Components, Object, Oid};
use super::table::Table;
use super::{Kind, Step, attachment, dependency, sequence, upgrade, view};
use crate::archive::toc::Section;
use crate::engine::postgres::connect::session::Query;
use crate::engine::postgres::options::DumpOptions;
use crate::error::Result;
use crate::sql::quote::Quote;

/// What only some kinds of tables have: partition keys, foreign servers, types of typed tables.
pub const DETAILS: Step = Step {
    what: "table details",
    query: |cat| {
        let tables: Vec<Oid> = cat
            .tables()
            .filter(|(object, table)| {
                object.wants(Components::DEFINITION) && (matches!(table.relkind, 'p' | 'f') || table.reloftype != 0)
            })
            .map(|(_, table)| table.oid)
            .collect();
        (cat.options.dump_schema() && !tables.is_empty()).then(|| Query::new(details()).oids(tables))
    },
    absorb: |cat, rows| {
        for row in rows {
            let id = cat.table_id(row.oid("oid")?).context("details of an unknown table")?;
            let table = cat.table_mut(id).context("details of an unknown table")?;
            table.partkeydef = row.opt_text("partkeydef")?;
            table.of_type = row.opt_text("of_type")?;
            table.server_name = row.opt_text("srvname")?;
            table.ftoptions = row.opt_text("ftoptions")?;
        }
        Ok(())
    },
};

fn details() -> String {
    format!(
        "SELECT c.oid, s.srvname, {ftoptions} AS ftoptions,
                CASE WHEN c.relkind = 'p' THEN pg_catalog.pg_get_partkeydef(c.oid) END AS partkeydef,
                CASE WHEN c.reloftype <> 0 THEN pg_catalog.format_type(c.reloftype, NULL) END AS of_type
         FROM pg_catalog.pg_class c
              LEFT JOIN pg_catalog.pg_foreign_table f ON f.ftrelid = c.oid
              LEFT JOIN pg_catalog.pg_foreign_server s ON s.oid = f.ftserver
         WHERE c.oid = ANY ($1)",
        ftoptions = column::options("f.ftoptions"),
    )
}

/// Writes a relation with its comments, labels and privileges (pg_dump's `dumpTable`).
///
/// # Errors
/// The catalogs are inconsistent.
pub fn dump(emit: &mut Emit, object: &Object, table: &Table) -> Result<()> {
    if !emit.cat.options.dump_schema() {
        return Ok(());
    }
    if object.wants(Components::DEFINITION) {
        if table.relkind == 'S' {
            sequence::dump(emit, object, table)?;
        } else {
            dump_schema(emit, object, table)?;
        }
    }
    if object.wants(Components::ACL) {
        dump_privileges(emit, object, table)?;
    }
    Ok(())
}

fn dump_privileges(emit: &mut Emit, object: &Object, table: &Table) -> Result<()> {
    let namespace = emit.cat.namespace_name(object.namespace);
    let name = emit.q.id(&object.name).into_owned();
    let kind = if table.relkind == 'S' { "SEQUENCE" } else { "TABLE" };
    let (id, owner) = (object.dump_id, table.owner.as_str());
    let whole = attachment::acl(emit, id, None, kind, &name, None, namespace, owner, None, &table.acl)?;
    for (column, acl) in &table.column_acls {
        let column = emit.q.id(column).into_owned();
        // What is granted on the whole table comes first: revoking there would take columns' grants away.
        attachment::acl(
            emit,
            id,
            whole,
            "TABLE",
            &name,
            Some(&column),
            namespace,
            owner,
            None,
            acl,
        )?;
    }
    Ok(())
}

fn dump_schema(emit: &mut Emit, object: &Object, table: &Table) -> Result<()> {
    let ddl = Ddl::new(emit, object, table);
    let desc = ddl.desc;
    let mut entry = emit.entry(object, desc, Section::PreData);
    if table.postponed_def {
        entry.section = Section::PostData;
    }
    entry.drop_stmt = format!("DROP {desc} {};\n", ddl.name);
    entry.defn = ddl.statements()?;
    entry.owner.clone_from(&table.owner);
    entry.relkind = u8::try_from(table.relkind)?;
    if matches!(table.relkind, 'r' | 'm' | 'p') || (emit.cat.server.major() == 14 && table.relkind != 'v') {
        entry.tablespace = Some(table.reltablespace.clone());
    }
    if matches!(table.relkind, 'r' | 'm' | 'p') {
        entry.tableam.clone_from(&table.amname);
    }
    emit.push(entry);
    dump_attachments(emit, object, table, desc);
    Ok(())
}

/// Comments and labels of the relation, its columns and the constraints that are written with it.
fn dump_attachments(emit: &mut Emit, object: &Object, table: &Table, desc: &str) {
    let column = |attnum: i32| {
        let at = usize::try_from(attnum - 1).ok()?;
        Some(table.columns.get(at)?.name.as_str())
    };
    if object.wants(Components::COMMENT) {
        attachment::table_comments(emit, object, desc, &table.owner, column);
    }
    if object.wants(Components::SECLABEL) {
        attachment::table_security_labels(emit, object, desc, &table.owner, column);
    }
    let name = emit.q.id(&object.name).into_owned();
    let cat = emit.cat;
    let namespace = cat.namespace_name(object.namespace);
    for (constraint, comment) in table
        .columns
        .iter()
        .filter_map(|it| it.not_null.as_ref()?.comment.as_deref())
    {
        let kind = format!("CONSTRAINT {} ON", emit.q.id(constraint));
        attachment::comment_text(emit, &kind, &name, namespace, &table.owner, comment, object.dump_id);
    }
    for check in table.checks.iter().filter_map(|id| cat.get(*id)) {
        let Kind::Constraint(it) = &check.kind else {
            continue;
        };
        if it.separate || !it.conislocal || !check.wants(Components::COMMENT) {
            continue;
        }
        let kind = format!("CONSTRAINT {} ON", emit.q.id(&check.name));
        attachment::comment(
            emit,
            &kind,
            &name,
            namespace,
            &table.owner,
            check.catalog_id,
            0,
            object.dump_id,
        );
    }
}

/// One relation on its way into statements.
struct Ddl<'a, 'e> {
    emit: &'a Emit<'e>,
    options: &'a DumpOptions,
    object: &'a Object,
    table: &'a Table,
    /// Quoted, with its schema.
    name: String,
    /// What the statements call its kind.
    desc: &'static str,
    /// `FOREIGN ` for ALTER statements on a foreign table.
    foreign: &'static str,
}

impl<'a, 'e> Ddl<'a, 'e> {
    fn new(emit: &'a Emit<'e>, object: &'a Object, table: &'a Table) -> Self {
        Ddl {
            emit,
            options: &emit.cat.options,
            object,
            table,
            name: emit.qualified(object),
            desc: match table.relkind {
                'v' => "VIEW",
                'm' => "MATERIALIZED VIEW",
                'f' => "FOREIGN TABLE",
                _ => "TABLE",
            },
            foreign: if table.relkind == 'f' { "FOREIGN " } else { "" },
        }
    }

    fn statements(&self) -> Result<String> {
        let upgrade = self.options.binary_upgrade;
        let mut sql = String::new();
        if upgrade {
            sql += &self.upgrade_oids();
        }
        if self.table.relkind == 'v' {
            sql += &self.create_view()?;
        } else {
            sql += &self.create()?;
            if upgrade {
                sql += &upgrade::adjust(self.emit, self.object, self.table);
            }
            for column in self.table.columns.iter().filter(|column| !column.dropped) {
                sql += &self.alter_column(column);
            }
        }
        sql += &self.alter_table();
        if upgrade {
            let name = self.emit.q.id(&self.object.name);
            let namespace = self.emit.cat.namespace_name(self.object.namespace);
            sql += &attachment::extension_member(self.emit, self.object, self.desc, &name, namespace)?;
        }
        Ok(sql)
    }

    /// A binary upgrade keeps the OIDs of the relation and of its row type.
    fn upgrade_oids(&self) -> String {
        let row_type = upgrade::row_type_oids(self.emit, self.table);
        let versions = self.table.columns.iter().map(|column| column.rare().version.as_deref());
        row_type
            + &upgrade::column_versions(self.emit, versions)
            + &upgrade::class_oids(self.emit, self.table.oid, false)
    }

    fn create_view(&self) -> Result<String> {
        Ok(if self.table.dummy_view {
            format!(
                "CREATE VIEW {} AS\n{};\n",
                self.name,
                view::dummy(self.emit, self.table)
            )
        } else {
            let definition = view::definition(self.emit, self.object, self.table)?;
            format!("CREATE VIEW {}{definition}", self.name)
        })
    }

    fn create(&self) -> Result<String> {
        let (table, q) = (self.table, self.emit.q);
        // 18 has no unlogged partitioned tables any more, but databases from before may.
        let unlogged = table.relpersistence == 'u' && (self.emit.cat.server.major() < 18 || table.relkind != 'p');
        let mut sql = format!(
            "CREATE {}{} {}",
            if unlogged { "UNLOGGED " } else { "" },
            self.desc,
            self.name
        );
        if let Some(of_type) = self.of_type() {
            sql += &format!(" OF {of_type}");
        }
        if table.relkind != 'm' {
            sql += &self.elements();
            if !table.parents.is_empty() && !table.ispartition && !self.options.binary_upgrade {
                let parents = table.parents.iter().filter_map(|id| self.emit.cat.get(*id));
                let parents: Vec<_> = parents.map(|parent| self.emit.qualified(parent)).collect();
                sql += &format!("\nINHERITS ({})", parents.join(", "));
            }
            if let Some(key) = &table.partkeydef {
                sql += &format!("\nPARTITION BY {key}");
            }
            if let Some(server) = &table.server_name {
                sql += &format!("\nSERVER {}", q.id(server));
            }
        }
        let mut options = vec![
            q.reloptions(&table.reloptions, ""),
            q.reloptions(&table.toast_reloptions, "toast."),
        ];
        options.retain(|option| !option.is_empty());
        if !options.is_empty() {
            sql += &format!("\nWITH ({})", options.join(", "));
        }
        if let Some(options) = table.ftoptions.as_ref().filter(|options| !options.is_empty()) {
            sql += &format!("\nOPTIONS (\n    {options}\n)");
        }
        if table.relkind == 'm' {
            // Its rows come with a refresh, after all that it reads.
            sql += &format!(" AS\n{}\n  WITH NO DATA;\n", view::query(self.object, table)?);
            sql += &dependency::on_extensions(self.emit, self.object, "MATERIALIZED VIEW", &self.name);
        } else {
            sql += ";\n";
        }
        Ok(sql)
    }

    /// The type of a typed table; a binary upgrade makes it a plain table first, and sets the type later.
    fn of_type(&self) -> Option<&str> {
        self.table.of_type.as_deref().filter(|_| !self.options.binary_upgrade)
    }

    /// What stands in the parentheses: columns, NOT NULL of inherited columns (18), CHECK constraints.
    fn elements(&self) -> String {
        let (table, q) = (self.table, self.emit.q);
        let mut elements = Vec::new();
        for column in &table.columns {
            if table.prints(self.options, column) {
                elements.extend(self.column(column));
            } else if let Some(not_null) = column.not_null.as_ref().filter(|it| it.is_local)
                && !column.dropped
                && self.emit.cat.server.major() >= 18
            {
                // pg_dump 18 forgets to quote here; we do where the text would not restore otherwise.
                let bare = Quote { all: false, ..q };
                let name = not_null.name.as_ref();
                let name = name
                    .map(|name| format!("CONSTRAINT {} ", bare.id(name)))
                    .unwrap_or_default();
                let no_inherit = if not_null.no_inherit { " NO INHERIT" } else { "" };
                elements.push(format!("{name}NOT NULL {}{no_inherit}", q.id(&column.name)));
            }
        }
        for check in table.checks.iter().filter_map(|id| self.emit.cat.get(*id)) {
            let Kind::Constraint(it) = &check.kind else {
                continue;
            };
            // A partition must have its parent's constraints before it is attached.
            if !it.separate && (it.conislocal || table.ispartition) {
                let condition = it.condef.as_deref().unwrap_or_default();
                elements.push(format!("CONSTRAINT {} {condition}", q.id(&check.name)));
            }
        }
        if !elements.is_empty() {
            format!(" (\n    {}\n)", elements.join(",\n    "))
        } else if self.of_type().is_none() {
            " (\n)".to_owned()
        } else {
            String::new()
        }
    }

    /// A column of CREATE TABLE; `None` when the type of a typed table says it all.
    fn column(&self, column: &Column) -> Option<String> {
        let (table, q) = (self.table, self.emit.q);
        let mut sql = q.id(&column.name).into_owned();
        let default = self.default(column);
        let not_null = table.prints_not_null(self.options, column);
        if self.of_type().is_some() && default.is_none() && !not_null {
            return None;
        }
        if column.dropped {
            // Its type is gone; the upgrade corrects length and alignment, and drops it.
            return Some(sql + " INTEGER /* dummy */");
        }
        if self.of_type().is_none() {
            sql += &format!(" {}", column.type_name);
        }
        if let Some(expr) = default {
            sql += &match column.generated {
                's' => format!(" GENERATED ALWAYS AS ({expr}) STORED"),
                'v' => format!(" GENERATED ALWAYS AS ({expr})"),
                _ => format!(" DEFAULT {expr}"),
            };
        }
        if let Some(it) = column.not_null.as_ref().filter(|_| not_null) {
            if let Some(name) = &it.name {
                sql += &format!(" CONSTRAINT {}", q.id(name));
            }
            sql += " NOT NULL";
            if it.no_inherit {
                sql += " NO INHERIT";
            }
        }
        sql += &self.emit.collate(column.collation);
        Some(sql)
    }

    /// The expression that is written with the column.
    fn default(&self, column: &Column) -> Option<&'a str> {
        let id = column.default?;
        let cat = self.emit.cat;
        let default = cat.attr_def(id)?;
        (!default.separate && !cat.get(id)?.dump.is_none()).then_some(default.expr.as_str())
    }

    /// What CREATE TABLE cannot say of a column.
    fn alter_column(&self, column: &Column) -> String {
        let table = self.table;
        let quoted = self.emit.q.id(&column.name);
        let mut sql = String::new();
        let mut alter = |what: &str| {
            let (foreign, name) = (self.foreign, &self.name);
            sql += &format!("ALTER {foreign}TABLE ONLY {name} ALTER COLUMN {quoted} {what};\n");
        };
        let inherited = !table.prints(self.options, column);
        if self.emit.cat.server.major() < 18 && inherited && column.not_null.as_ref().is_some_and(|it| it.is_local) {
            alter("SET NOT NULL");
        }
        if column.stattarget >= 0 {
            alter(&format!("SET STATISTICS {}", column.stattarget));
        }
        if column.storage != column.type_storage
            && let Some(storage) = storage(column.storage)
        {
            alter(&format!("SET STORAGE {storage}"));
        }
        if !self.options.no_toast_compression
            && let Some(method) = compression(column.compression)
        {
            alter(&format!("SET COMPRESSION {method}"));
        }
        if let Some(options) = &column.rare().options {
            alter(&format!("SET ({options})"));
        }
        if let Some(options) = column.rare().fdw_options.as_ref().filter(|_| table.relkind == 'f') {
            let only = if self.emit.cat.server.major() >= 17 {
                "ONLY "
            } else {
                ""
            };
            sql += &format!(
                "ALTER FOREIGN TABLE {only}{} ALTER COLUMN {quoted} OPTIONS (\n    {options}\n);\n",
                self.name
            );
        }
        sql
    }

    /// What CREATE TABLE cannot say of the table.
    fn alter_table(&self) -> String {
        let (table, name) = (self.table, &self.name);
        let mut sql = String::new();
        if matches!(table.relkind, 'r' | 'p' | 'm') {
            // That of an index is set when the index is made.
            let identity = match table.relreplident {
                'n' => Some("NOTHING"),
                'f' => Some("FULL"),
                _ => None,
            };
            if let Some(identity) = identity {
                sql += &format!("\nALTER TABLE ONLY {name} REPLICA IDENTITY {identity};\n");
            }
        }
        if table.forcerowsec {
            sql += &format!("\nALTER TABLE ONLY {name} FORCE ROW LEVEL SECURITY;\n");
        }
        sql
    }
}

fn storage(code: char) -> Option<&'static str> {
    match code {
        'p' => Some("PLAIN"),
        'e' => Some("EXTERNAL"),
        'x' => Some("EXTENDED"),
        'm' => Some("MAIN"),
        _ => None,
    }
}

fn compression(code: char) -> Option<&'static str> {
    match code {
        'p' => Some("pglz"),
        'l' => Some("lz4"),
        _ => None,
    }
}
