//! A checkup of a database before a backup needs it: whether the role may read everything, and what is in the way right now.

use chrono::{DateTime, Utc};

use crate::checkup::Finding;
use crate::engine::postgres::answer::Row;
use crate::engine::postgres::connect::session::{Query, Session};
use crate::engine::postgres::connect::{self, Dsn};
use crate::engine::postgres::foreseen;
use crate::error::{Result, hint_of};

/// How many names a finding has.
const NAMED: usize = 10;

/// How long a transaction may be open before it is told, in seconds: as long nothing that was deleted goes away.
const LONG: &str = "3600";

/// Relations outside of the system's schemas and of extensions, with what the role may do.
const RELATIONS: &str = "
    SELECT c.oid::pg_catalog.regclass::pg_catalog.text AS name,
           CASE WHEN c.relkind = 'S' THEN pg_catalog.has_sequence_privilege(c.oid, 'SELECT')
                ELSE pg_catalog.has_table_privilege(c.oid, 'SELECT') END AS readable,
           c.relkind IN ('r', 'p') AND pg_catalog.row_security_active(c.oid) AS restricted
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'm', 'S') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
    ORDER BY 1";

/// How many days before its end a certificate is told of.
const CERTIFICATE_DAYS: i64 = 14;

/// Large objects that a session of this role cannot open.
const LARGE_OBJECTS: &str = "
    SELECT m.oid::pg_catalog.text AS name
    FROM pg_catalog.pg_largeobject_metadata m JOIN pg_catalog.pg_roles r ON r.rolname = CURRENT_USER
    WHERE NOT r.rolsuper AND NOT pg_catalog.pg_has_role(m.lomowner, 'USAGE')
      AND NOT EXISTS (SELECT FROM pg_catalog.aclexplode(m.lomacl) a WHERE a.privilege_type = 'SELECT'
          AND (a.grantee = 0 OR pg_catalog.pg_has_role(a.grantee, 'USAGE')))
    ORDER BY m.oid";

/// Sessions of this database that keep something from others, or have been at it for long.
const SESSIONS: &str = "
    SELECT a.pid::pg_catalog.text AS pid, coalesce(a.application_name, '') AS program,
           EXISTS (SELECT FROM pg_catalog.pg_locks l WHERE l.pid = a.pid AND l.granted AND l.mode = 'AccessExclusiveLock'
                       AND l.locktype = 'relation' AND l.relation >= 16384) AS exclusive,
           a.xact_start < pg_catalog.now() - pg_catalog.make_interval(secs => $1::float8) AS long
    FROM pg_catalog.pg_stat_activity a
    WHERE a.datname = pg_catalog.current_database() AND a.pid <> pg_catalog.pg_backend_pid() AND a.xact_start IS NOT NULL";

/// What a checkup of the database finds. That it cannot be reached is the only finding then.
pub async fn checkup(dsn: &Dsn, now: DateTime<Utc>) -> Vec<Finding> {
    match connect::connect(dsn).await {
        Err(error) => {
            let hint = hint_of(&error).unwrap_or("backups need a login that works").to_owned();
            vec![Finding::error("connection", format!("{error:#}"), hint)]
        }
        Ok(session) => match look(&session).await {
            Ok(mut findings) => {
                findings.extend(certificate(dsn, now).await);
                findings
            }
            Err(error) => vec![Finding::error(
                "connection",
                format!("{error:#}"),
                "see the server's log",
            )],
        },
    }
}

async fn look(session: &Session) -> Result<Vec<Finding>> {
    let mut findings = vec![server(session).await?];
    findings.extend(rights(session).await?);
    findings.extend(large_objects(session).await?);
    findings.extend(roles(session).await?);
    findings.extend(restores(session).await?);
    findings.extend(sessions(session).await?);
    Ok(findings)
}

async fn server(session: &Session) -> Result<Finding> {
    let query = Query::new(
        "SELECT pg_catalog.current_setting('server_version') AS version, pg_catalog.pg_is_in_recovery() AS standby,
                CURRENT_USER::pg_catalog.text AS role,
                pg_catalog.pg_size_pretty(pg_catalog.pg_database_size(pg_catalog.current_database())) AS size",
    );
    let rows = session.rows(&query).await?;
    let Some(row) = rows.first() else {
        return Ok(Finding::warning("connection", "the server said nothing", "see its log"));
    };
    let standby = if row.bool("standby")? { ", a standby" } else { "" };
    let (version, role, size) = (row.text("version")?, row.text("role")?, row.text("size")?);
    Ok(Finding::fine(
        "connection",
        format!("PostgreSQL {version}{standby}, as {role}; the database has {size}"),
    ))
}

/// Some names, and how many more there are.
fn some(names: &[String]) -> String {
    let more = names.len().saturating_sub(NAMED);
    let named = names.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    match more {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

async fn rights(session: &Session) -> Result<Vec<Finding>> {
    let rows = session.rows(&Query::new(RELATIONS)).await?;
    let names = |is: &dyn Fn(&Row) -> Result<bool>| -> Result<Vec<String>> {
        let mut names = Vec::new();
        for row in &rows {
            if is(row)? {
                names.push(row.text("name")?);
            }
        }
        Ok(names)
    };
    let unreadable = names(&|row| Ok(!row.bool("readable")?))?;
    let restricted = names(&|row| Ok(row.bool("readable")? && row.bool("restricted")?))?;
    let mut findings = Vec::new();
    if !unreadable.is_empty() {
        findings.push(Finding::error(
            "rights",
            format!("the role may not read {}", some(&unreadable)),
            "grant it SELECT on them (pg_read_all_data has all), or leave them out in the job's dump section",
        ));
    }
    if !restricted.is_empty() {
        findings.push(Finding::error(
            "rights",
            format!("row-level security hides rows from the role in {}", some(&restricted)),
            "use the tables' owner or a role with BYPASSRLS",
        ));
    }
    if findings.is_empty() {
        let count = rows.len();
        findings.push(Finding::fine(
            "rights",
            format!("the role may read all {count} tables and sequences"),
        ));
    }
    Ok(findings)
}

/// How long the server's certificate is still good.
async fn certificate(dsn: &Dsn, now: DateTime<Utc>) -> Option<Finding> {
    let about = "certificate";
    let end = match connect::certificate_ends(dsn).await {
        Ok(end) => end?,
        Err(error) => {
            let hint = "the server was reached otherwise just now";
            return Some(Finding::warning(about, format!("it cannot be seen: {error:#}"), hint));
        }
    };
    let (days, date) = ((end - now).num_days(), end.format("%Y-%m-%d %H:%M UTC"));
    let hint = "renew it; with sslmode=verify-ca or verify-full no backup is taken after that";
    Some(match days {
        _ if end <= now => Finding::error(about, format!("that of the server has ended at {date}"), hint),
        days if days < CERTIFICATE_DAYS => Finding::warning(
            about,
            format!("that of the server ends in {days} days, at {date}"),
            hint,
        ),
        days => Finding::fine(about, format!("that of the server ends in {days} days")),
    })
}

/// Large objects that the role may not read: pg_read_all_data does not cover them.
async fn large_objects(session: &Session) -> Result<Option<Finding>> {
    let rows = session.rows(&Query::new(LARGE_OBJECTS)).await?;
    let mut names = Vec::new();
    for row in &rows {
        names.push(row.text("name")?);
    }
    Ok((!names.is_empty()).then(|| {
        Finding::error(
            "rights",
            format!("the role may not read the large objects {}", some(&names)),
            "GRANT SELECT ON LARGE OBJECT … TO it, or dump.large_objects = false",
        )
    }))
}

/// Whether passwords of roles are in what is stored of roles and tablespaces.
async fn roles(session: &Session) -> Result<Option<Finding>> {
    let query = "SELECT pg_catalog.has_table_privilege('pg_catalog.pg_authid', 'SELECT') AS readable";
    let rows = session.rows(&Query::new(query)).await?;
    let readable = rows.first().map_or(Ok(true), |row| row.bool("readable"))?;
    Ok((!readable).then(|| {
        Finding::fine(
            "roles",
            "they are stored without passwords, which only a superuser may read (pg_authid)",
        )
    }))
}

/// What a restore of the database would need help with.
async fn restores(session: &Session) -> Result<Vec<Finding>> {
    let hint = "docs/restore.md says what a restore can and cannot make again";
    let foreseen = foreseen::read(session).await?;
    Ok(foreseen
        .into_iter()
        .map(|text| Finding::warning("restores", text, hint))
        .collect())
}

async fn sessions(session: &Session) -> Result<Vec<Finding>> {
    let rows = session.rows(&Query::new(SESSIONS).text(LONG)).await?;
    let (mut exclusive, mut long) = (Vec::new(), Vec::new());
    for row in &rows {
        let who = format!("{} ({})", row.text("pid")?, row.text("program")?);
        if row.bool("exclusive")? {
            exclusive.push(who.clone());
        }
        if row.bool("long")? {
            long.push(who);
        }
    }
    let mut findings = Vec::new();
    if !exclusive.is_empty() {
        findings.push(Finding::warning(
            "locks",
            format!("a backup would wait now for the locks of {}", some(&exclusive)),
            "dump.lock_wait_timeout says how long it waits; look at these sessions in pg_stat_activity",
        ));
    }
    if !long.is_empty() {
        findings.push(Finding::warning(
            "transactions",
            format!("open for more than an hour: {}", some(&long)),
            "they keep vacuum from its work; a restore would end them",
        ));
    }
    if findings.is_empty() {
        findings.push(Finding::fine(
            "locks",
            "nobody holds a lock that a backup would wait for",
        ));
    }
    Ok(findings)
}
