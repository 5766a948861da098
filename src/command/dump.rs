//! `snapback dump`: pg_dump with our engine.

use std::process::ExitCode;

use crate::error::Result;
use crate::postgres::connect::{self, Dsn};

/// pg_dump's options.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Database to dump: name, URI or `keyword=value` string
    #[arg(value_name = "DBNAME")]
    pub dbname: Option<String>,
}

/// Runs the verb.
///
/// # Errors
/// What keeps the dump from being complete.
pub async fn run(args: Args) -> Result<ExitCode> {
    let dsn = Dsn::parse(args.dbname.as_deref().unwrap_or_default())?;
    let _session = connect::connect(&dsn).await?;
    anyhow::bail!("the export is not built yet")
}
