//! `snapback notify --test`: whether a channel reaches somebody.

use std::process::ExitCode;

use chrono::Utc;

use super::output;
use crate::cli::Globals;
use crate::error::{Exit, Fail, Result};
use crate::watch::notify::{News, Notice, send};

/// Options of `snapback notify`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Channel that is to tell something, as it would tell of a failure
    #[arg(long, value_name = "NAME")]
    test: String,
}

/// Runs the verb.
///
/// # Errors
/// There is no such channel, or nobody was reached.
pub async fn run(globals: &Globals, args: Args) -> Result<ExitCode> {
    let config = globals.config().await?;
    let Some(channel) = config.channels.iter().find(|channel| channel.name == args.test) else {
        let names: Vec<&str> = config.channels.iter().map(|channel| channel.name.as_str()).collect();
        let names = match names.is_empty() {
            true => "write a section [notify.NAME]".to_owned(),
            false => format!("the channels are {}", names.join(", ")),
        };
        return Err(
            Fail::new(Exit::NotFound, format!("there is no channel {:?}", args.test))
                .hint(names)
                .into(),
        );
    };
    let now = Utc::now();
    let job = config.jobs.first().map_or("app", |job| job.name.as_str());
    let message = "This is a test of snapback notify, and nothing has failed.";
    let notice = Notice::new(News::Failed, job, &format!("{job}: a test"), message, now);
    send(channel, &notice, now)
        .await
        .map_err(|error| error.context(format!("the channel {} reaches nobody", channel.name)))?;
    output::line(&format!("{} was told", channel.name))?;
    Ok(ExitCode::SUCCESS)
}
