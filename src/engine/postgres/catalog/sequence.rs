//! Sequences: their parameters and their values.

use anyhow::Context as _;

use super::emit::Emit;
use super::object::{Components, Object, Oid};
use super::table::Table;
use super::table_data::TableData;
use super::{Catalog, Step, attachment, upgrade};
use crate::archive::toc::{Entry, Section};
use crate::engine::postgres::connect::session::{Query, Row};
use crate::error::{Exit, Fail, Result};

/// What `pg_sequence` and the sequence itself say.
#[derive(Debug, Default, Clone)]
pub struct Sequence {
    /// `smallint`, `integer` or `bigint`.
    pub type_name: String,
    /// START WITH.
    pub start: i64,
    /// INCREMENT BY.
    pub increment: i64,
    /// MAXVALUE.
    pub max: i64,
    /// MINVALUE.
    pub min: i64,
    /// CACHE.
    pub cache: i64,
    /// CYCLE.
    pub cycle: bool,
    /// `last_value` and `is_called`, when its value is dumped.
    pub value: Option<(i64, bool)>,
}

/// Parameters of what is dumped.
pub const DETAILS: Step = Step {
    what: "sequences",
    query: |cat| {
        let wanted: Vec<_> = cat
            .tables()
            .filter(|(object, table)| table.relkind == 'S' && object.wants(Components::DEFINITION))
            .map(|(_, table)| table.oid)
            .collect();
        (cat.options.dump_schema() && !wanted.is_empty()).then(|| {
            Query::new(
                "SELECT seqrelid, pg_catalog.format_type(seqtypid, NULL) AS type, seqstart, seqincrement, seqmax,
                        seqmin, seqcache, seqcycle
                 FROM pg_catalog.pg_sequence WHERE seqrelid = ANY ($1)",
            )
            .oids(wanted)
        })
    },
    absorb: |cat, rows| rows.iter().try_for_each(|row| absorb(cat, row)),
};

/// Values of what is dumped, all in one round trip. Up to 17 no function tells whether a sequence was called, so
/// each is selected from; `query_to_xml` runs a statement per row (and needs no libxml).
pub const VALUES: Step = Step {
    what: "sequence values",
    query: |cat| {
        if !values_wanted(cat) {
            return None;
        }
        // Those of an extension's configuration count too, though the sequence itself is not dumped.
        let wanted: Vec<_> = cat
            .tables()
            .filter(|(object, table)| table.relkind == 'S' && (object.wants(Components::DATA) || table.data.is_some()))
            // A standby has no contents of unlogged ones.
            .filter(|(_, table)| table.relpersistence != 'u' || !cat.server.in_recovery)
            .map(|(_, table)| table.oid)
            .collect();
        if wanted.is_empty() {
            return None;
        }
        // XML is always made of UTF-8, which this encoding does not become.
        if cat.server.major() < 18 && cat.server.database_encoding == "MULE_INTERNAL" {
            return Some(one_by_one(cat, &wanted));
        }
        let sql = if cat.server.major() >= 18 {
            "SELECT seq.oid, data.last_value, data.is_called
             FROM unnest($1) AS seq(oid), LATERAL pg_catalog.pg_get_sequence_data(seq.oid) AS data"
        } else {
            "SELECT oid, substring(row FROM '<last_value>(-?[0-9]+)<')::int8 AS last_value,
                    substring(row FROM '<is_called>([a-z]+)<')::bool AS is_called
             FROM (SELECT c.oid, pg_catalog.query_to_xml(
                              pg_catalog.format('SELECT last_value, is_called FROM %I.%I', n.nspname, c.relname),
                              false, true, '')::text AS row
                   FROM unnest($1) AS seq(oid)
                        JOIN pg_catalog.pg_class c ON c.oid = seq.oid
                        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                   OFFSET 0) AS value"
        };
        Some(Query::new(sql).oids(wanted))
    },
    absorb: |cat, rows| rows.iter().try_for_each(|row| absorb_value(cat, row)),
};

/// The values of sequences, each read by a part of its own.
fn one_by_one(cat: &Catalog, sequences: &[Oid]) -> Query {
    let part = |oid: &Oid| {
        let object = cat.get(cat.table_id(*oid)?)?;
        let name = cat
            .quote()
            .qualified(cat.namespace_name(object.namespace)?, &object.name);
        Some(format!(
            "SELECT {oid}::pg_catalog.oid AS oid, last_value, is_called FROM {name}"
        ))
    };
    let parts: Vec<_> = sequences.iter().filter_map(part).collect();
    Query::new(parts.join(" UNION ALL "))
}

/// Whether this dump has values of sequences at all.
fn values_wanted(cat: &Catalog) -> bool {
    cat.options.dump_data() || cat.options.sequence_data
}

fn absorb(cat: &mut Catalog, row: &Row) -> Result<()> {
    let sequence = sequence_mut(cat, row.oid("seqrelid")?)?;
    sequence.type_name = row.text("type")?;
    sequence.start = row.long("seqstart")?;
    sequence.increment = row.long("seqincrement")?;
    sequence.max = row.long("seqmax")?;
    sequence.min = row.long("seqmin")?;
    sequence.cache = row.long("seqcache")?;
    sequence.cycle = row.bool("seqcycle")?;
    Ok(())
}

fn absorb_value(cat: &mut Catalog, row: &Row) -> Result<()> {
    let oid = row.oid("oid")?;
    let Some(is_called) = row.opt_bool("is_called")? else {
        let name = cat.table_id(oid).and_then(|id| cat.get(id)).map(|it| it.name.clone());
        let message = format!("permission denied for sequence {}", name.unwrap_or_default());
        return Err(Fail::new(Exit::Permission, message).into());
    };
    sequence_mut(cat, oid)?.value = Some((row.long("last_value")?, is_called));
    Ok(())
}

fn sequence_mut(cat: &mut Catalog, oid: Oid) -> Result<&mut Sequence> {
    let id = cat.table_id(oid).context("parameters of an unknown sequence")?;
    let table = cat.table_mut(id).context("parameters of an unknown sequence")?;
    Ok(table.sequence.get_or_insert_default())
}

impl Sequence {
    /// The parameters, one a line, as CREATE SEQUENCE and an identity column take them.
    fn parameters(&self) -> String {
        let (least, greatest) = match self.type_name.as_str() {
            "smallint" => (i64::from(i16::MIN), i64::from(i16::MAX)),
            "integer" => (i64::from(i32::MIN), i64::from(i32::MAX)),
            _ => (i64::MIN, i64::MAX),
        };
        let (min, max) = if self.increment > 0 { (1, greatest) } else { (least, -1) };
        let bound = |name: &str, value: i64, default: i64| {
            if value == default {
                format!("    NO {name}\n")
            } else {
                format!("    {name} {value}\n")
            }
        };
        let mut sql = format!("    START WITH {}\n    INCREMENT BY {}\n", self.start, self.increment);
        sql += &bound("MINVALUE", self.min, min);
        sql += &bound("MAXVALUE", self.max, max);
        sql += &format!(
            "    CACHE {}{}",
            self.cache,
            if self.cycle { "\n    CYCLE" } else { "" }
        );
        sql
    }
}

/// Writes a sequence with its owner column, comments and labels.
///
/// # Errors
/// The catalogs are inconsistent.
pub fn dump(emit: &mut Emit, object: &Object, table: &Table) -> Result<()> {
    let mut entry = emit.entry(object, "SEQUENCE", Section::PreData);
    entry.owner.clone_from(&table.owner);
    entry.relkind = b'S';
    if !table.is_identity_sequence {
        // That of an identity column goes and changes owner with its table.
        entry.drop_stmt = format!("DROP SEQUENCE {};\n", emit.qualified(object));
    }
    if emit.cat.options.binary_upgrade {
        entry.defn = upgrade::class_oids(emit, table.oid, false);
    }
    entry.defn += &definition(emit, object, table)?;
    let name = emit.q.id(&object.name).into_owned();
    let namespace = emit.cat.namespace_name(object.namespace);
    if emit.cat.options.binary_upgrade {
        entry.defn += &attachment::extension_member(emit, object, "SEQUENCE", &name, namespace)?;
    }
    if object.wants(Components::DEFINITION) {
        emit.push(entry);
    }
    owned_by(emit, object, table)?;
    if object.wants(Components::COMMENT) {
        attachment::comment(
            emit,
            "SEQUENCE",
            &name,
            namespace,
            &table.owner,
            object.catalog_id,
            0,
            object.dump_id,
        );
    }
    if object.wants(Components::SECLABEL) {
        attachment::security_label(
            emit,
            "SEQUENCE",
            &name,
            namespace,
            &table.owner,
            object.catalog_id,
            0,
            object.dump_id,
        );
    }
    Ok(())
}

fn definition(emit: &Emit, object: &Object, table: &Table) -> Result<String> {
    let sequence = table
        .sequence
        .as_ref()
        .with_context(|| format!("the parameters of sequence {} were not read", object.name))?;
    let name = emit.qualified(object);
    if table.is_identity_sequence {
        return identity(emit, table, sequence, &name);
    }
    // Sequences can be unlogged since 15.
    let unlogged = if table.relpersistence == 'u' { "UNLOGGED " } else { "" };
    let mut sql = format!("CREATE {unlogged}SEQUENCE {name}\n");
    if sequence.type_name != "bigint" {
        sql += &format!("    AS {}\n", sequence.type_name);
    }
    Ok(sql + &sequence.parameters() + ";\n")
}

fn identity(emit: &Emit, table: &Table, sequence: &Sequence, name: &str) -> Result<String> {
    let id = emit
        .cat
        .table_id(table.owning_tab)
        .context("the table of an identity column")?;
    let owner_object = emit.cat.get(id).context("the table of an identity column")?;
    let owner = emit.cat.table(id).context("the table of an identity column")?;
    let at = usize::try_from(table.owning_col - 1)?;
    let column = owner.columns.get(at).context("an identity column")?;
    let generated = if column.identity == 'a' { "ALWAYS" } else { "BY DEFAULT" };
    let mut sql = format!(
        "ALTER TABLE {} ALTER COLUMN {} ADD GENERATED {generated} AS IDENTITY (\n    SEQUENCE NAME {name}\n",
        emit.qualified(owner_object),
        emit.q.id(&column.name)
    );
    // Until 14 a sequence had no persistence of its own to choose.
    if emit.cat.server.major() >= 15 && table.relpersistence != owner.relpersistence {
        sql += if table.relpersistence == 'u' {
            "    UNLOGGED\n"
        } else {
            "    LOGGED\n"
        };
    }
    sql += &sequence.parameters();
    sql += "\n);\n";
    Ok(sql)
}

/// An entry of its own, right after the sequence: it would fail before the owner is set.
fn owned_by(emit: &mut Emit, object: &Object, table: &Table) -> Result<()> {
    if table.owning_tab == 0 || table.is_identity_sequence {
        return Ok(());
    }
    let id = emit
        .cat
        .table_id(table.owning_tab)
        .context("the table that owns a sequence")?;
    let owner = emit.cat.get(id).context("the table that owns a sequence")?;
    if !owner.wants(Components::DEFINITION) {
        return Ok(());
    }
    let columns = &emit.cat.table(id).context("the table that owns a sequence")?.columns;
    let column = columns
        .get(usize::try_from(table.owning_col - 1)?)
        .context("the column that owns a sequence")?;
    let sql = format!(
        "ALTER SEQUENCE {} OWNED BY {}.{};\n",
        emit.qualified(object),
        emit.qualified(owner),
        emit.q.id(&column.name)
    );
    let entry = follower(emit, object, table, "SEQUENCE OWNED BY", Section::PreData, sql);
    emit.push(entry);
    Ok(())
}

/// An entry that belongs to a sequence but to no object.
fn follower(emit: &mut Emit, object: &Object, table: &Table, desc: &str, section: Section, defn: String) -> Entry {
    let mut entry = Entry::new(emit.new_dump_id(), desc, object.name.clone(), section);
    entry.namespace = emit.cat.namespace_name(object.namespace).map(str::to_owned);
    entry.owner.clone_from(&table.owner);
    entry.defn = defn;
    entry.dependencies = vec![object.dump_id];
    entry
}

/// Writes `setval`.
///
/// # Errors
/// The catalogs are inconsistent.
pub fn dump_value(emit: &mut Emit, object: &Object, it: &TableData) -> Result<()> {
    if !object.wants(Components::DATA) {
        return Ok(());
    }
    if !values_wanted(emit.cat) {
        // An extension's configuration has its entry also without data; it is left out of the archive, but counts.
        emit.new_dump_id();
        return Ok(());
    }
    let sequence = emit.cat.get(it.table).context("the sequence of a value")?;
    let table = emit.cat.table(it.table).context("the sequence of a value")?;
    let (value, is_called) = table
        .sequence
        .as_ref()
        .and_then(|sequence| sequence.value)
        .with_context(|| format!("the value of sequence {} was not read", sequence.name))?;
    let name = emit.q.literal(&emit.qualified(sequence));
    let sql = format!("SELECT pg_catalog.setval({name}, {value}, {is_called});\n");
    let entry = follower(emit, sequence, table, "SEQUENCE SET", Section::Data, sql);
    emit.push(entry);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `CREATE SEQUENCE` with nothing said, for a type and a direction.
    fn plain(type_name: &str, increment: i64, min: i64, max: i64) -> Sequence {
        Sequence {
            type_name: type_name.to_owned(),
            start: if increment > 0 { min } else { max },
            increment,
            max,
            min,
            cache: 1,
            ..Sequence::default()
        }
    }

    #[test]
    fn limits_that_are_the_types_own_are_not_said() {
        for sequence in [
            plain("bigint", 1, 1, i64::MAX),
            plain("bigint", -1, i64::MIN, -1),
            plain("integer", 5, 1, i64::from(i32::MAX)),
            plain("smallint", -2, i64::from(i16::MIN), -1),
        ] {
            let sql = sequence.parameters();
            assert!(sql.contains("    NO MINVALUE\n    NO MAXVALUE\n"), "{sql}");
        }
    }

    #[test]
    fn limits_of_another_type_are_said() {
        let sql = plain("bigint", 1, 0, i64::from(i32::MAX)).parameters();
        assert!(sql.contains("    MINVALUE 0\n    MAXVALUE 2147483647\n"), "{sql}");
    }
}
