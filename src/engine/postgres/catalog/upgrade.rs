//! What `--binary-upgrade` adds to relations: pg_upgrade links the old files under the new catalogs, so OIDs, file
//! numbers and the physical layout of rows must come out the same.

use super::column::NotNull;
use super::emit::Emit;
use super::object::{Object, Oid};
use super::table::Table;
use super::{Step, types};
use crate::engine::postgres::connect::session::Query;

/// OIDs and files of a relation and of what stores its long values, and the array type of its row type.
#[derive(Clone, Copy, Debug, Default)]
pub struct Files {
    node: Oid,
    toast: Oid,
    toast_node: Oid,
    toast_index: Oid,
    toast_index_node: Oid,
    typarray: Oid,
}

/// The files of all relations and indexes.
pub const FILES: Step = Step {
    what: "relation files",
    query: |cat| {
        cat.options.binary_upgrade.then(|| {
            Query::new(
                "SELECT c.oid, c.relfilenode, t.oid AS toast, t.relfilenode AS toast_node, i.indexrelid AS toast_index,
                        ic.relfilenode AS toast_index_node, r.typarray
                 FROM pg_catalog.pg_class c
                      LEFT JOIN pg_catalog.pg_type r ON r.oid = c.reltype
                      LEFT JOIN pg_catalog.pg_class t ON t.oid = c.reltoastrelid AND c.relkind <> 'p'
                      LEFT JOIN pg_catalog.pg_index i ON i.indrelid = t.oid AND i.indisvalid
                      LEFT JOIN pg_catalog.pg_class ic ON ic.oid = i.indexrelid",
            )
        })
    },
    absorb: |cat, rows| {
        for row in rows {
            let oid = |column| row.opt_oid(column).map(Option::unwrap_or_default);
            let files = Files {
                node: oid("relfilenode")?,
                toast: oid("toast")?,
                toast_node: oid("toast_node")?,
                toast_index: oid("toast_index")?,
                toast_index_node: oid("toast_index_node")?,
                typarray: oid("typarray")?,
            };
            cat.files.insert(row.oid("oid")?, files);
        }
        Ok(())
    },
};

/// Statements by which a relation keeps the OIDs of its row type.
#[must_use]
pub fn row_type_oids(emit: &Emit, table: &Table) -> String {
    let files = emit.cat.files.get(&table.oid).copied().unwrap_or_default();
    types::upgrade_oids(table.reltype, files.typarray)
}

/// The statement by which the columns of a relation or a composite type keep their versions.
#[must_use]
pub fn column_versions<'v>(emit: &Emit, versions: impl Iterator<Item = Option<&'v str>>) -> String {
    if !emit.cat.server.versions_columns() {
        return String::new();
    }
    let versions: Vec<_> = versions.map(|version| version.unwrap_or("0/0")).collect();
    format!(
        "\n-- For binary upgrade, must preserve the attribute versions\n\
         SELECT pg_catalog.binary_upgrade_set_next_attribute_versions('{{{}}}'::pg_catalog.pg_lsn[]);\n\n",
        versions.join(",")
    )
}

/// Statements by which a relation keeps its OID and its file (pg_dump's `binary_upgrade_set_pg_class_oids`).
#[must_use]
pub fn class_oids(emit: &Emit, oid: Oid, is_index: bool) -> String {
    let files = emit.cat.files.get(&oid).copied().unwrap_or_default();
    // 14 chooses new file numbers.
    let keeps_files = emit.cat.server.major() >= 15;
    let mut sql = format!(
        "\n-- For binary upgrade, must preserve pg_class oids{}\n",
        if keeps_files { " and relfilenodes" } else { "" }
    );
    let mut keep = |kind: &str, oid: Oid, node: Oid| {
        if oid == 0 {
            return;
        }
        sql += &format!("SELECT pg_catalog.binary_upgrade_set_next_{kind}_pg_class_oid('{oid}'::pg_catalog.oid);\n");
        // A partitioned index has no file, but pg_dump says so nevertheless.
        if keeps_files && (node != 0 || is_index) {
            sql +=
                &format!("SELECT pg_catalog.binary_upgrade_set_next_{kind}_relfilenode('{node}'::pg_catalog.oid);\n");
        }
    };
    keep(if is_index { "index" } else { "heap" }, oid, files.node);
    keep("toast", files.toast, files.toast_node);
    keep("index", files.toast_index, files.toast_index_node);
    sql + "\n"
}

/// What follows CREATE TABLE in an upgrade, before the other properties.
pub(super) fn adjust(emit: &Emit, object: &Object, table: &Table) -> String {
    let upgrade = Upgrade {
        emit,
        table,
        name: emit.qualified(object),
        regclass: format!("{}::pg_catalog.regclass", emit.q.literal(&emit.qualified(object))),
        foreign: if table.relkind == 'f' { "FOREIGN " } else { "" },
    };
    let mut sql = upgrade.missing_values();
    if matches!(table.relkind, 'r' | 'f' | 'p') {
        sql += &if emit.cat.server.major() >= 17 {
            upgrade.columns() + &upgrade.not_null() + &upgrade.checks()
        } else {
            upgrade.columns_singly() + &upgrade.checks_singly()
        };
        sql += &upgrade.inherit();
    }
    sql += &upgrade.frozen();
    sql
}

/// One table on its way through an upgrade.
struct Upgrade<'a, 'e> {
    emit: &'a Emit<'e>,
    table: &'a Table,
    /// Quoted, with its schema.
    name: String,
    /// The name as a literal of type `regclass`.
    regclass: String,
    /// `FOREIGN ` for ALTER statements on a foreign table.
    foreign: &'static str,
}

impl Upgrade<'_, '_> {
    fn literals<'s>(&self, texts: impl IntoIterator<Item = &'s str>) -> String {
        let literals: Vec<_> = texts.into_iter().map(|text| self.emit.q.literal(text)).collect();
        literals.join(", ")
    }

    fn missing_values(&self) -> String {
        let values = self.table.columns.iter();
        values
            .filter_map(|column| {
                let value = self.emit.q.literal(column.rare().missing_value.as_deref()?);
                let name = self.emit.q.literal(&column.name);
                Some(format!(
                    "\n-- set missing value.\n\
                     SELECT pg_catalog.binary_upgrade_set_missing_value({},{name},{value});\n\n",
                    self.regclass
                ))
            })
            .collect()
    }

    /// Drops the columns that are dropped here, so that their places stay, and says which are inherited.
    fn columns(&self) -> String {
        let mut sql = String::new();
        let dropped: Vec<_> = self.table.columns.iter().filter(|column| column.dropped).collect();
        if !dropped.is_empty() {
            let values: Vec<_> = dropped
                .iter()
                .map(|it| format!("({}, {}, '{}')", self.emit.q.literal(&it.name), it.len, it.align))
                .collect();
            sql += &format!(
                "\n-- For binary upgrade, recreate dropped columns.\n\
                 UPDATE pg_catalog.pg_attribute\n\
                 SET attlen = v.dlen, attalign = v.dalign, attbyval = false\n\
                 FROM (VALUES {}) v(dname, dlen, dalign)\n\
                 WHERE attrelid = {}\n  AND attname = v.dname;\n",
                values.join(",\n             "),
                self.regclass
            );
            for column in dropped {
                sql += &self.drop_column(&column.name);
            }
        }
        let inherited = self.table.columns.iter().filter(|it| !it.dropped && !it.is_local);
        let inherited = self.literals(inherited.map(|it| it.name.as_str()));
        if !inherited.is_empty() {
            sql += &format!(
                "\n-- For binary upgrade, recreate inherited columns.\n\
                 UPDATE pg_catalog.pg_attribute\n\
                 SET attislocal = false\n\
                 WHERE attrelid = {}\n  AND attname IN ({inherited});\n",
                self.regclass
            );
        }
        sql
    }

    /// The same as 14 to 16 say it: column by column.
    fn columns_singly(&self) -> String {
        let mut sql = String::new();
        for column in &self.table.columns {
            let (what, set) = if column.dropped {
                let set = format!(
                    "attlen = {}, attalign = '{}', attbyval = false",
                    column.len, column.align
                );
                ("dropped", set)
            } else if !column.is_local {
                ("inherited", "attislocal = false".to_owned())
            } else {
                continue;
            };
            sql += &format!(
                "\n-- For binary upgrade, recreate {what} column.\n\
                 UPDATE pg_catalog.pg_attribute\n\
                 SET {set}\n\
                 WHERE attname = {}\n  AND attrelid = {};\n",
                self.emit.q.literal(&column.name),
                self.regclass
            );
            if column.dropped {
                sql += &self.drop_column(&column.name);
            }
        }
        sql
    }

    fn drop_column(&self, name: &str) -> String {
        let column = self.emit.q.id(name);
        format!("ALTER {}TABLE ONLY {} DROP COLUMN {column};\n", self.foreign, self.name)
    }

    /// NOT NULL constraints that are inherited only (18).
    fn not_null(&self) -> String {
        if self.emit.cat.server.major() < 18 {
            return String::new();
        }
        let (mut names, mut keys) = (Vec::new(), Vec::new());
        for (column, number) in self.table.columns.iter().zip(1..) {
            match &column.not_null {
                Some(it) if it.is_local => {}
                Some(NotNull { name: Some(name), .. }) => names.push(self.emit.q.literal(name)),
                // It gets the name that the new server chooses.
                Some(_) => keys.push(format!("'{{{number}}}'")),
                None => {}
            }
        }
        let update = |column: &str, values: Vec<String>| {
            if values.is_empty() {
                return String::new();
            }
            format!(
                "UPDATE pg_catalog.pg_constraint\n\
                 SET conislocal = false\n\
                 WHERE contype = 'n' AND conrelid = {} AND\n{column} IN ({});\n",
                self.regclass,
                values.join(", ")
            )
        };
        update("conname", names) + &update("conkey", keys)
    }

    /// CHECK constraints that are inherited only: a partition has them already.
    fn inherited_checks(&self) -> Vec<(&str, &str)> {
        let checks = self.table.checks.iter().filter_map(|id| self.emit.cat.get(*id));
        let inherited = checks.filter_map(|check| match &check.kind {
            super::Kind::Constraint(it) if !it.separate && !it.conislocal && !self.table.ispartition => {
                Some((check.name.as_str(), it.condef.as_deref().unwrap_or_default()))
            }
            _ => None,
        });
        inherited.collect()
    }

    fn add_check(&self, name: &str, condition: &str) -> String {
        let (foreign, table, name) = (self.foreign, &self.name, self.emit.q.id(name));
        format!("ALTER {foreign}TABLE ONLY {table} ADD CONSTRAINT {name} {condition};\n")
    }

    fn checks(&self) -> String {
        let checks = self.inherited_checks();
        if checks.is_empty() {
            return String::new();
        }
        let mut sql = "\n-- For binary upgrade, set up inherited constraints.\n".to_owned();
        for (name, condition) in &checks {
            sql += &self.add_check(name, condition);
        }
        sql + &format!(
            "UPDATE pg_catalog.pg_constraint\n\
             SET conislocal = false\n\
             WHERE contype = 'c' AND conrelid = {}\n  AND conname IN ({});\n",
            self.regclass,
            self.literals(checks.iter().map(|(name, _)| *name))
        )
    }

    /// The same as 14 to 16 say it: constraint by constraint.
    fn checks_singly(&self) -> String {
        let checks = self.inherited_checks();
        let one = |(name, condition): &(&str, &str)| {
            format!(
                "\n-- For binary upgrade, set up inherited constraint.\n\
                 {}UPDATE pg_catalog.pg_constraint\n\
                 SET conislocal = false\n\
                 WHERE contype = 'c' AND conname = {}\n  AND conrelid = {};\n",
                self.add_check(name, condition),
                self.emit.q.literal(name),
                self.regclass
            )
        };
        checks.iter().map(one).collect()
    }

    /// Ties to parents and to the type of a typed table: CREATE TABLE's clauses would reorder the columns.
    fn inherit(&self) -> String {
        let (table, name, foreign) = (self.table, &self.name, self.foreign);
        let mut sql = String::new();
        if !table.parents.is_empty() && !table.ispartition {
            sql += "\n-- For binary upgrade, set up inheritance this way.\n";
            for parent in table.parents.iter().filter_map(|id| self.emit.cat.get(*id)) {
                let parent = self.emit.qualified(parent);
                sql += &format!("ALTER {foreign}TABLE ONLY {name} INHERIT {parent};\n");
            }
        }
        if let Some(of_type) = &table.of_type {
            sql += "\n-- For binary upgrade, set up typed tables this way.\n";
            sql += &format!("ALTER TABLE ONLY {name} OF {of_type};\n");
        }
        sql
    }

    /// The ages of the files, and that a materialized view has rows.
    fn frozen(&self) -> String {
        let table = self.table;
        let mut sql = String::new();
        if !matches!(table.relkind, 'r' | 'm') {
            return sql;
        }
        let age = |what: &str, (xid, minmxid): (u32, u32), oid: &str| {
            format!(
                "\n-- For binary upgrade, set {what}'s relfrozenxid and relminmxid\n\
                 UPDATE pg_catalog.pg_class\n\
                 SET relfrozenxid = '{xid}', relminmxid = '{minmxid}'\n\
                 WHERE oid = {oid};\n"
            )
        };
        sql += &age("heap", table.frozen, &self.regclass);
        if table.toast_oid != 0 {
            sql += &age("toast", table.toast_frozen, &format!("'{}'", table.toast_oid));
        }
        if table.relkind == 'm' && table.relispopulated {
            sql += &format!(
                "\n-- For binary upgrade, mark materialized view as populated\n\
                 UPDATE pg_catalog.pg_class\n\
                 SET relispopulated = 't'\n\
                 WHERE oid = {};\n",
                self.regclass
            );
        }
        sql
    }
}
