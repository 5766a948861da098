//! Subscriptions.

use anyhow::{Context as _, bail};

use super::emit::Emit;
use super::object::{CatalogId, Components, DumpId, Object, Oid};
use super::{Catalog, Kind, Query, Row, Step, attachment, select};
use crate::archive::toc::Section;
use crate::engine::postgres::warning::Warning;
use crate::error::Result;

/// OID of `pg_subscription`.
const PG_SUBSCRIPTION: Oid = 6100;

/// A subscription.
#[derive(Debug, Default)]
#[allow(clippy::struct_excessive_bools)] // they are columns of pg_subscription
pub struct Subscription {
    /// Owner.
    pub owner: String,
    /// The connection string.
    pub subconninfo: String,
    /// The slot at the publisher.
    pub subslotname: Option<String>,
    /// `synchronous_commit`.
    pub subsynccommit: String,
    /// The publications.
    pub subpublications: Vec<String>,
    /// `binary`.
    pub subbinary: bool,
    /// `streaming`: `f` off, `t` on, `p` parallel (16).
    pub substream: char,
    /// `two_phase` (15): `d` disabled.
    pub subtwophasestate: char,
    /// `disable_on_error` (15).
    pub subdisableonerr: bool,
    /// `password_required` (16).
    pub subpasswordrequired: bool,
    /// `run_as_owner` (16).
    pub subrunasowner: bool,
    /// `origin` (16).
    pub suborigin: String,
    /// `failover` (17).
    pub subfailover: bool,
    /// Whether it runs; read for a binary upgrade only (17).
    pub subenabled: bool,
    /// How far it got; read for a binary upgrade only (17).
    pub remote_lsn: Option<String>,
}

/// A table of a subscription, which only a binary upgrade carries over (17).
#[derive(Debug, Default)]
pub struct SubscriptionRel {
    /// The subscription.
    pub subscription: DumpId,
    /// The table.
    pub table: DumpId,
    /// How far its first copy got.
    pub srsubstate: char,
    /// Up to where it was replicated.
    pub srsublsn: Option<String>,
}

/// Subscriptions of this database. Only a superuser may see how they connect; to others it is only told that there
/// are some, and they are not dumped.
pub const READ: Step = Step {
    what: "subscriptions",
    query: |cat| {
        let columns = if cat.server.superuser {
            columns(cat)
        } else {
            "s.subname".to_owned()
        };
        let origin = match reads_progress(cat) {
            true => "LEFT JOIN pg_catalog.pg_replication_origin_status o ON o.external_id = 'pg_' || s.oid::text",
            false => "",
        };
        let query = Query::new(format!(
            "SELECT {columns} FROM pg_catalog.pg_subscription s {origin}
             WHERE s.subdbid = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())"
        ));
        (!cat.options.no_subscriptions).then_some(query)
    },
    absorb: |cat, rows| {
        if cat.server.superuser {
            return rows.iter().try_for_each(|row| absorb(cat, row));
        }
        if !rows.is_empty() {
            let warning = "subscriptions not dumped because current user is not a superuser";
            cat.warnings.push(Warning::new(warning));
        }
        Ok(())
    },
};

/// Whether a subscription goes on where it was after a binary upgrade (17).
fn reads_progress(cat: &Catalog) -> bool {
    cat.options.binary_upgrade && cat.server.superuser && cat.server.major() >= 17
}

fn columns(cat: &Catalog) -> String {
    let major = cat.server.major();
    let since = |first: u32, column: &str, before: &str| match major >= first {
        true => format!("s.{column}"),
        false => format!("{before} AS {column}"),
    };
    let stream = match major {
        ..16 => "CASE WHEN s.substream THEN 't' ELSE 'f' END::\"char\" AS substream",
        _ => "s.substream",
    };
    let progress = match reads_progress(cat) {
        true => "o.remote_lsn::text AS remote_lsn, s.subenabled",
        false => "NULL::text AS remote_lsn, false AS subenabled",
    };
    [
        "s.oid, s.subname, s.subowner, s.subconninfo, s.subslotname, s.subsynccommit, s.subpublications",
        "s.subbinary",
        stream,
        &since(15, "subtwophasestate", "'d'::\"char\""),
        &since(15, "subdisableonerr", "false"),
        &since(16, "subpasswordrequired", "true"),
        &since(16, "subrunasowner", "true"),
        &since(16, "suborigin", "'any'::text"),
        &since(17, "subfailover", "false"),
        progress,
    ]
    .join(", ")
}

fn absorb(cat: &mut Catalog, row: &Row) -> Result<()> {
    let it = Subscription {
        owner: cat.role(row.oid("subowner")?)?.to_owned(),
        subconninfo: row.text("subconninfo")?,
        subslotname: row.opt_text("subslotname")?,
        subsynccommit: row.text("subsynccommit")?,
        subpublications: row.texts("subpublications")?,
        subbinary: row.bool("subbinary")?,
        substream: row.char("substream")?,
        subtwophasestate: row.char("subtwophasestate")?,
        subdisableonerr: row.bool("subdisableonerr")?,
        subpasswordrequired: row.bool("subpasswordrequired")?,
        subrunasowner: row.bool("subrunasowner")?,
        suborigin: row.text("suborigin")?,
        subfailover: row.bool("subfailover")?,
        subenabled: row.bool("subenabled")?,
        remote_lsn: row.opt_text("remote_lsn")?,
    };
    let catalog_id = CatalogId::new(PG_SUBSCRIPTION, row.oid("oid")?);
    let id = cat.add(catalog_id, row.text("subname")?, None, Kind::Subscription(Box::new(it)));
    select::object(cat, id);
    Ok(())
}

/// Tables of subscriptions, which only a binary upgrade carries over (17).
pub const RELATIONS: Step = Step {
    what: "tables of subscriptions",
    query: |cat| {
        let sql = "SELECT srsubid, srrelid, srsubstate, srsublsn::text AS srsublsn
                   FROM pg_catalog.pg_subscription_rel
                   ORDER BY srsubid";
        (reads_progress(cat) && !cat.options.no_subscriptions).then(|| Query::new(sql))
    },
    absorb: |cat, rows| rows.iter().try_for_each(|row| absorb_relation(cat, row)),
};

fn absorb_relation(cat: &mut Catalog, row: &Row) -> Result<()> {
    let (subscription, table) = (row.oid("srsubid")?, row.oid("srrelid")?);
    let it = SubscriptionRel {
        subscription: cat
            .find(PG_SUBSCRIPTION, subscription)
            .with_context(|| format!("subscription with OID {subscription} does not exist"))?,
        table: cat
            .table_id(table)
            .with_context(|| format!("table with OID {table} not found"))?,
        srsubstate: row.char("srsubstate")?,
        srsublsn: row.opt_text("srsublsn")?,
    };
    let Some(object) = cat.get(it.table) else { return Ok(()) };
    let (name, namespace) = (object.name.clone(), object.namespace);
    let id = cat.add(
        CatalogId::new(table, subscription),
        name,
        namespace,
        Kind::SubscriptionRel(it),
    );
    select::object(cat, id);
    Ok(())
}

/// Writes a subscription with its comment and labels. It does not connect until it is enabled after the restore.
///
/// # Errors
/// The catalogs are inconsistent.
pub fn dump(emit: &mut Emit, object: &Object, it: &Subscription) -> Result<()> {
    if !emit.cat.options.dump_schema() {
        return Ok(());
    }
    let name = emit.q.id(&object.name).into_owned();
    if object.wants(Components::DEFINITION) {
        let mut entry = emit.entry(object, "SUBSCRIPTION", Section::PostData);
        let publications: Vec<_> = it.subpublications.iter().map(|name| emit.q.id(name)).collect();
        entry.defn = format!(
            "CREATE SUBSCRIPTION {name} CONNECTION {} PUBLICATION {} WITH ({});\n",
            emit.q.literal(&it.subconninfo),
            publications.join(", "),
            parameters(emit, it)
        );
        if reads_progress(emit.cat) {
            entry.defn += &progress(emit, object, it, &name);
        }
        entry.drop_stmt = format!("DROP SUBSCRIPTION {name};\n");
        entry.owner.clone_from(&it.owner);
        emit.push(entry);
    }
    let id = object.catalog_id;
    if object.wants(Components::COMMENT) {
        attachment::comment(emit, "SUBSCRIPTION", &name, None, &it.owner, id, 0, object.dump_id);
    }
    if object.wants(Components::SECLABEL) {
        attachment::security_label(emit, "SUBSCRIPTION", &name, None, &it.owner, id, 0, object.dump_id);
    }
    Ok(())
}

fn parameters(emit: &Emit, it: &Subscription) -> String {
    let major = emit.cat.server.major();
    let mut sql = "connect = false, slot_name = ".to_owned();
    sql += &it
        .subslotname
        .as_ref()
        .map_or("NONE".to_owned(), |name| emit.q.literal(name));
    let mut add = |given: bool, parameter: &str| {
        if given {
            sql += ", ";
            sql += parameter;
        }
    };
    add(it.subbinary, "binary = true");
    add(it.substream == 't', "streaming = on");
    add(it.substream == 'p', "streaming = parallel");
    // 18 streams in parallel by default, so it must be told not to.
    add(it.substream == 'f' && major >= 18, "streaming = off");
    add(it.subtwophasestate != 'd', "two_phase = on");
    add(it.subdisableonerr, "disable_on_error = true");
    add(!it.subpasswordrequired, "password_required = false");
    add(it.subrunasowner && major >= 16, "run_as_owner = true");
    add(it.subfailover, "failover = true");
    let commit = format!("synchronous_commit = {}", emit.q.id(&it.subsynccommit));
    add(it.subsynccommit != "off", &commit);
    let origin = format!("origin = {}", it.suborigin);
    add(!it.suborigin.eq_ignore_ascii_case("any"), &origin);
    sql
}

/// How a binary upgrade lets a subscription go on where it was.
fn progress(emit: &Emit, object: &Object, it: &Subscription, name: &str) -> String {
    let mut sql = String::new();
    if let Some(lsn) = &it.remote_lsn {
        sql += &format!(
            "\n-- For binary upgrade, must preserve the remote_lsn for the subscriber's replication origin.\n\
             SELECT pg_catalog.binary_upgrade_replorigin_advance({}, '{lsn}');\n",
            emit.q.literal(&object.name)
        );
    }
    if it.subenabled {
        sql += &format!(
            "\n-- For binary upgrade, must preserve the subscriber's running state.\n\
             ALTER SUBSCRIPTION {name} ENABLE;\n"
        );
    }
    sql
}

/// Writes how far a table of a subscription is.
///
/// # Errors
/// The catalogs are inconsistent.
pub fn dump_relation(emit: &mut Emit, object: &Object, it: &SubscriptionRel) -> Result<()> {
    if !emit.cat.options.dump_schema() || !object.wants(Components::DEFINITION) {
        return Ok(());
    }
    let of = emit.cat.get(it.subscription).context("a table of no subscription")?;
    let table = emit.cat.get(it.table).context("a subscription to no table")?;
    let Kind::Subscription(subscription) = &of.kind else {
        bail!("{} is no subscription", of.name)
    };
    let lsn = it.srsublsn.as_ref().map_or("NULL".to_owned(), |lsn| format!("'{lsn}'"));
    let mut entry = emit.entry(object, "SUBSCRIPTION TABLE", Section::PostData);
    entry.tag = format!("{} {}", of.name, table.name);
    entry.defn = format!(
        "\n-- For binary upgrade, must preserve the subscriber table.\n\
         SELECT pg_catalog.binary_upgrade_add_sub_rel_state({}, {}, '{}', {lsn});\n",
        emit.q.literal(&of.name),
        table.catalog_id.oid,
        it.srsubstate
    );
    entry.owner.clone_from(&subscription.owner);
    emit.push(entry);
    Ok(())
}
