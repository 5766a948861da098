//! What would go wrong in the middle of a dump, found and named before it starts.

use super::object::Oid;
use crate::engine::postgres::connect::session::{Query, Session};
use crate::error::{Exit, Fail, Result};

/// Fails with the names of all relations that the session's role may not read, or not as a whole. `locked`
/// are to be locked, which takes the right to read them; the rows of `read` are to be read.
///
/// # Errors
/// There are such relations; or what the server says.
pub async fn rights(session: &Session, locked: &[Oid], read: &[Oid], row_security: bool) -> Result<()> {
    let query = Query::new(
        "SELECT c.oid::pg_catalog.regclass::pg_catalog.text AS name, \
                pg_catalog.has_table_privilege(c.oid, 'SELECT') AS readable, \
                c.oid = ANY ($2) AND pg_catalog.row_security_active(c.oid) AS restricted \
         FROM pg_catalog.pg_class c \
         WHERE c.oid = ANY ($1 || $2) \
         ORDER BY 1",
    )
    .oids(locked.iter().copied())
    .oids(read.iter().copied());
    let (mut unreadable, mut restricted) = (Vec::new(), Vec::new());
    for row in session.rows(&query).await? {
        let name = row.text("name")?;
        if !row.bool("readable")? {
            unreadable.push(name);
        } else if row.bool("restricted")? && !row_security {
            restricted.push(name);
        }
    }
    if !unreadable.is_empty() {
        return Err(Fail::new(
            Exit::Permission,
            format!("the role may not read {}", unreadable.join(", ")),
        )
        .hint("grant it SELECT on them (pg_read_all_data has all), or leave them out of the dump")
        .into());
    }
    if !restricted.is_empty() {
        return Err(Fail::new(
            Exit::Permission,
            format!(
                "row-level security hides rows from the role in {}",
                restricted.join(", ")
            ),
        )
        .hint(
            "use the tables' owner or a role with BYPASSRLS; --enable-row-security dumps only the rows that the role \
             may see",
        )
        .into());
    }
    Ok(())
}

/// Fails with the numbers of all large objects that the session's role may not read.
///
/// # Errors
/// There are such objects; or what the server says.
pub async fn large_objects(session: &Session, major: u32, oids: &[Oid]) -> Result<()> {
    let readable = if major >= 18 {
        "pg_catalog.has_largeobject_privilege(m.oid, 'SELECT')"
    } else {
        "pg_catalog.current_setting('lo_compat_privileges') = 'on' OR pg_catalog.pg_has_role(m.lomowner, 'USAGE') \
         OR EXISTS (SELECT FROM pg_catalog.aclexplode(m.lomacl) AS a WHERE a.privilege_type = 'SELECT' \
                        AND (a.grantee = 0 OR pg_catalog.pg_has_role(a.grantee, 'USAGE')))"
    };
    let query = Query::new(format!(
        "SELECT m.oid FROM pg_catalog.pg_largeobject_metadata m WHERE m.oid = ANY ($1) AND NOT ({readable}) ORDER BY 1"
    ))
    .oids(oids.iter().copied());
    let rows = session.rows(&query).await?;
    let unreadable: Vec<_> = rows.iter().map(|row| row.oid("oid")).collect::<Result<_>>()?;
    if unreadable.is_empty() {
        return Ok(());
    }
    let numbers: Vec<_> = unreadable.iter().map(Oid::to_string).collect();
    Err(Fail::new(
        Exit::Permission,
        format!("the role may not read the large objects {}", numbers.join(", ")),
    )
    .hint(
        "pg_read_all_data is for no large object: grant it SELECT ON LARGE OBJECT on each, or leave them all out \
         (large_objects = false in the job's dump section; --no-large-objects of `snapback dump`)",
    )
    .into())
}

/// Fails when a locked table no longer has the rows that the snapshot shows: it was rewritten or truncated
/// between the snapshot and the lock, so reading it would silently give nothing.
///
/// # Errors
/// There are such tables; or what the server says.
pub async fn unchanged(session: &Session, tables: &[Oid]) -> Result<()> {
    // The function looks at the present, the column at the snapshot.
    let query = Query::new(
        "SELECT c.oid::pg_catalog.regclass::pg_catalog.text AS name FROM pg_catalog.pg_class c \
         WHERE c.oid = ANY ($1) AND c.relkind = 'r' AND c.relfilenode <> 0 \
           AND pg_catalog.pg_relation_filenode(c.oid) IS DISTINCT FROM c.relfilenode \
         ORDER BY 1",
    )
    .oids(tables.iter().copied());
    let rows = session.rows(&query).await?;
    let changed: Vec<_> = rows.iter().map(|row| row.text("name")).collect::<Result<_>>()?;
    if changed.is_empty() {
        return Ok(());
    }
    Err(Fail::new(
        Exit::Failure,
        format!(
            "truncated or rewritten between the dump's snapshot and its lock: {}",
            changed.join(", ")
        ),
    )
    .hint("run the dump again")
    .into())
}
