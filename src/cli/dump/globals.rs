//! `--globals-only` and its kin: what belongs to no database, as pg_dumpall writes it.

use bytes::Bytes;

use super::Args;
use crate::engine::postgres::connect::{self, Dsn};
use crate::engine::postgres::dump::Request;
use crate::engine::postgres::globals::{Options, render};
use crate::engine::postgres::snapshot;
use crate::error::Result;
use crate::raw_text;

/// Whether globals are asked for instead of a database.
pub(super) fn wanted(args: &Args) -> bool {
    args.globals_only || args.roles_only || args.tablespaces_only
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
