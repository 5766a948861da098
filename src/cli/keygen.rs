//! `snapback keygen`: key pairs for encrypted backups, in the files of `age-keygen`.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use age::secrecy::ExposeSecret as _;
use anyhow::Context as _;
use chrono::Utc;

use super::output;
use crate::error::{Exit, Fail, Result};
use crate::seal::age::{Identities, generate};

/// Options of `snapback keygen`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Write the secret key to this new file, which only you can read, and the public key to standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Print the public keys of a file with secret keys (age's or an SSH key), `-` for standard input
    #[arg(long, short = 'y', value_name = "FILE", conflicts_with = "output")]
    public: Option<PathBuf>,
}

/// Runs the verb.
///
/// # Errors
/// The file exists, or cannot be written; that of `--public` holds no key.
pub fn run(args: &Args) -> Result<ExitCode> {
    if let Some(file) = &args.public {
        for key in public_keys(file)? {
            output::line(&key)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let (secret, public) = generate(Utc::now());
    match &args.output {
        Some(file) => {
            write(file, secret.expose_secret()).with_context(|| format!("writing {}", file.display()))?;
            output::line(&public)?;
        }
        None => output::raw(format!("{}\n", secret.expose_secret().trim_end()).as_bytes())?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes a file that only its owner may read and that was not there: a key that is lost takes its backups along.
fn write(file: &Path, text: &str) -> Result<()> {
    let mut options = File::options();
    let opened = options.write(true).create_new(true).mode(0o600).open(file);
    let mut key = opened.map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => {
            Fail::new(Exit::Usage, "it exists already, and a key is never overwritten")
                .hint("choose another name; backups stay encrypted for the keys that they were made with")
        }
        _ => Fail::new(Exit::Failure, error.to_string()),
    })?;
    key.write_all(text.as_bytes())?;
    key.sync_all()?;
    let folder = match file.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    File::open(folder)?.sync_all()?;
    Ok(())
}

fn public_keys(file: &Path) -> Result<Vec<String>> {
    let mut text = String::new();
    let read = match file.to_str() {
        Some("-") => std::io::stdin().read_to_string(&mut text),
        _ => File::open(file).and_then(|mut file| file.read_to_string(&mut text)),
    };
    let about = |why: String| format!("cannot read the secret key {}: {why}", file.display());
    read.map_err(|error| Fail::new(Exit::Usage, about(error.to_string())))?;
    let mut identities = Identities::default();
    identities.add_file(&text).map_err(|fail| Fail {
        message: about(fail.message),
        ..fail
    })?;
    Ok(identities.names().into_iter().map(str::to_owned).collect())
}
