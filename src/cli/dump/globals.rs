//! `--globals-only` and its kin: what belongs to no database, as pg_dumpall writes it.

use anyhow::bail;
use bytes::Bytes;

use super::Args;
use super::request::usage;
use crate::engine::postgres::connect::{self, Dsn};
use crate::engine::postgres::dump::Request;
use crate::engine::postgres::globals::{Options, render};
use crate::engine::postgres::snapshot;
use crate::error::Result;
use crate::local_time;
use crate::raw_text;

/// Whether globals are asked for instead of a database.
pub(super) fn wanted(args: &Args) -> bool {
    args.globals_only || args.roles_only || args.tablespaces_only
}

/// Refuses what pg_dumpall does not know, or would take for something else: nobody shall believe that it had an effect.
///
/// # Errors
/// There is such an option, or the name of a database.
pub(super) fn check(args: &Args) -> Result<()> {
    if let Some(database) = args.positional.first() {
        let message = format!("too many command-line arguments (first is \"{database}\")");
        bail!(usage(message).hint(args.help()));
    }
    let is_name = |text: &&str| !text.contains('=') && !text.contains("://");
    if let Some(name) = args.dbname.as_deref().filter(is_name) {
        let hint = "globals are of no database: leave the name out, or give a whole connection string";
        bail!(usage(format!("missing \"=\" after \"{name}\" in connection info string")).hint(hint));
    }
    let given = |list: &[String]| !list.is_empty();
    let others = [
        (args.format.is_some(), "-F/--format"),
        (args.jobs.is_some(), "-j/--jobs"),
        (args.compress.is_some(), "-Z/--compress"),
        (args.create, "-C/--create"),
        (args.large_objects, "-b/--large-objects"),
        (args.no_large_objects, "-B/--no-large-objects"),
        (given(&args.schema), "-n/--schema"),
        (given(&args.exclude_schema), "-N/--exclude-schema"),
        (given(&args.table), "-t/--table"),
        (given(&args.exclude_table), "-T/--exclude-table"),
        (given(&args.table_and_children), "--table-and-children"),
        (given(&args.exclude_table_and_children), "--exclude-table-and-children"),
        (given(&args.exclude_table_data), "--exclude-table-data"),
        (
            given(&args.exclude_table_data_and_children),
            "--exclude-table-data-and-children",
        ),
        (given(&args.extension), "-e/--extension"),
        (given(&args.exclude_extension), "--exclude-extension"),
        (given(&args.include_foreign_data), "--include-foreign-data"),
        (given(&args.section), "--section"),
        (!args.filter.is_empty(), "--filter"),
        (args.snapshot.is_some(), "--snapshot"),
        (args.serializable_deferrable, "--serializable-deferrable"),
        (args.strict_names, "--strict-names"),
        (args.enable_row_security, "--enable-row-security"),
        (args.sync_method.is_some(), "--sync-method"),
        (args.max_lock_wait.is_some(), "--max-lock-wait"),
    ];
    let Some((_, option)) = others.iter().find(|(given, _)| *given) else {
        return Ok(());
    };
    let message = format!("option {option} cannot be used for globals, as pg_dumpall has no such option");
    Err(usage(message).into())
}

/// Writes them, always as plain text.
pub(super) async fn write(dsn: &Dsn, request: &Request, args: &Args) -> Result<()> {
    let session = connect::connect(dsn).await?;
    let server = snapshot::begin(&session, &request.session_options(dsn)).await?;
    let options = Options {
        roles_only: args.roles_only,
        tablespaces_only: args.tablespaces_only,
        no_tablespaces: args.no_tablespaces,
        no_role_passwords: args.no_role_passwords,
        clean: args.clean,
        if_exists: args.if_exists,
        no_privileges: args.no_privileges,
        no_comments: args.no_comments,
        no_security_labels: args.no_security_labels,
        quote_all_identifiers: args.quote_all_identifiers,
        binary_upgrade: args.binary_upgrade,
        times: (args.verbose > 0).then_some(local_time::now),
        restrict_key: request.key(&server)?,
    };
    let globals = render(&session, &server, &options).await?;
    for warning in &globals.warnings {
        super::say(&format!("warning: {warning}"));
    }
    let mut upload = match &args.file {
        Some(path) => super::file::create(path, !args.no_sync)?,
        None => super::file::stdout(),
    };
    upload
        .write(raw_text::encode(&globals.text).into_owned().into())
        .await?;
    upload.finish(Bytes::new()).await?;
    Ok(())
}
