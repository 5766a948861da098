//! The plan of a restore, for people.

use chrono::Utc;

use crate::cli::output::{ago, bytes, count, plural};
use crate::printable;
use crate::restore::postgres::plan::{Backup, File, Plan, Replaces, Subject};
use crate::restore::postgres::survey::Changes;

/// The plan as text.
pub fn text(plan: &Plan) -> String {
    let mut lines = Vec::new();
    lines.extend(
        plan.other
            .iter()
            .map(|other| format!("Another database: {}", other.what)),
    );
    lines.extend(match &plan.what {
        Subject::Backup(backup) => of_backup(backup),
        Subject::File(file) => of_file(file),
    });
    match &plan.replaces {
        Some(replaced) => lines.extend(replaces(plan, replaced)),
        None => lines.push(format!("as the new database {} on {}", plan.database, plan.server)),
    }
    let free = plan
        .space
        .free
        .map_or("free space unknown".to_owned(), |free| format!("{} free", bytes(free)));
    lines.push(format!("Disk space: about {} needed, {free}", bytes(plan.space.needed)));
    lines.extend(plan.changes.iter().cloned());
    for (what, names) in [
        ("roles", &plan.needs.roles),
        ("extensions", &plan.needs.extensions),
        ("tablespaces", &plan.needs.tablespaces),
    ] {
        if !names.is_empty() {
            let names: Vec<_> = names.iter().map(String::as_str).collect();
            lines.push(format!("Needs {what}: {}", names.join(", ")));
        }
    }
    for role in &plan.missing_roles {
        lines.push(format!("Missing role {}; the backup has:", role.name));
        lines.extend(role.statements.iter().map(|statement| format!("    {statement}")));
    }
    for role in &plan.new_roles {
        lines.push(format!("New role {}:", role.name));
        lines.extend(
            [&role.create]
                .into_iter()
                .chain(&role.then)
                .map(|it| format!("    {it}")),
        );
    }
    lines.push("Steps:".to_owned());
    for (number, step) in (1..).zip(&plan.steps) {
        lines.push(format!("{number:>4}. {}{}", step.what, about(step.seconds)));
    }
    lines.extend(plan.warnings.iter().map(|warning| format!("Note: {warning}")));
    for obstacle in &plan.obstacles {
        lines.push(format!("In the way: {}", obstacle.what));
        lines.push(format!("    {}", obstacle.hint));
    }
    // A name with a line feed in it must not look like a line of the plan.
    let lines: Vec<_> = lines.iter().map(|line| printable::line(line)).collect();
    lines.join("\n") + "\n"
}

/// Below this, the time that a step takes is not worth a word.
const WORTH_TELLING: u64 = 10;

/// About how long a step takes, where somebody would wait for it.
fn about(seconds: u64) -> String {
    match seconds {
        ..WORTH_TELLING => String::new(),
        WORTH_TELLING..120 => format!(" (about {seconds} s)"),
        _ => format!(" (about {} min)", seconds.div_ceil(60)),
    }
}

fn of_backup(backup: &Backup) -> Vec<String> {
    let label = backup
        .label
        .as_ref()
        .map(|label| format!(" \"{label}\""))
        .unwrap_or_default();
    let head = format!(
        "Restore backup {}{label} of job {} ({}, {}), made of {}, PostgreSQL {}:",
        backup.id,
        backup.job,
        backup.kind,
        ago(backup.id.time(), Utc::now()),
        backup.source,
        backup.server_version,
    );
    let facts = format!(
        "  {}, {}, {} in the archive, {}",
        plural(backup.tables as u64, "table"),
        plural(backup.rows, "row"),
        bytes(backup.bytes),
        backup
            .verified
            .as_ref()
            .map_or("never verified".to_owned(), |check| format!("verified ({check})")),
    );
    vec![head, facts]
}

fn of_file(file: &File) -> Vec<String> {
    let mut head = format!("Restore {} ({} format, {})", file.name, file.format, bytes(file.bytes));
    if !file.packing.is_empty() {
        head.push_str(&format!(", unpacked from {}", file.packing));
    }
    if let Some(database) = &file.database {
        head.push_str(&format!(", made of database {database}"));
    }
    if !file.server_version.is_empty() {
        head.push_str(&format!(", from PostgreSQL {}", file.server_version));
    }
    if let Some(created) = file.created {
        head.push_str(&format!(", at {created}"));
    }
    let mut lines = vec![head];
    if let (Some(tables), Some(rows)) = (file.tables, file.rows) {
        lines.push(format!(
            "  rows for {}: {}",
            plural(tables as u64, "table"),
            count(rows)
        ));
    }
    lines
}

fn replaces(plan: &Plan, live: &Replaces) -> Vec<String> {
    let size = live
        .bytes
        .and_then(|size| u64::try_from(size).ok())
        .map_or("unknown size".to_owned(), bytes);
    let rows = live
        .rows
        .and_then(|rows| u64::try_from(rows).ok())
        .map_or("an unknown number of rows".to_owned(), |rows| {
            format!("about {}", plural(rows, "row"))
        });
    let mut lines = vec![format!(
        "in place of the live database {} on {} ({size}, {rows}, owner {})",
        plan.database, plan.server, live.owner
    )];
    if let Some(newest) = live.newest_activity {
        lines.push(format!("  newest activity of its clients: {}", ago(newest, Utc::now())));
    }
    lines.extend(changes(&live.changes));
    for clients in &live.clients {
        let name = match clients.application.as_str() {
            "" => "without a name",
            name => name,
        };
        let then = match plan.mode {
            "in-place" => "waits, and is cut off if it holds a table",
            _ => "will be cut off",
        };
        lines.push(format!(
            "  connected: {} × {name} ({}), {then}",
            clients.count, clients.user
        ));
    }
    lines
}

fn changes(changes: &Changes) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(rows) = changes.rows.and_then(|rows| u64::try_from(rows).ok()) {
        let since = changes
            .counted_since
            .map_or("by the server's own count".to_owned(), |at| {
                format!("since {}", at.format("%Y-%m-%d %H:%M UTC"))
            });
        lines.push(format!(
            "  rows changed {since}, system catalogs included: {}",
            count(rows)
        ));
    }
    for (what, when) in [
        (
            "last vacuumed or analyzed (the server does so after changes)",
            changes.maintained,
        ),
        ("newest commit on the server, in any database", changes.newest_commit),
    ] {
        lines.extend(when.map(|when| format!("  {what}: {}", ago(when, Utc::now()))));
    }
    lines
}
