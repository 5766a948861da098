//! `[jobs.NAME.encryption]`: from what was written to recipients and keys.

use super::{about, impossible, raw};
use crate::error::Result;
use crate::job::{EncryptFor, Encryption, Keys};
use crate::seal::age::Recipient;

/// Makes sense of `[jobs.NAME.encryption]`.
///
/// # Errors
/// It names nobody, or somebody that cannot be encrypted for; the error names the key.
pub fn encryption(raw: &raw::Encryption, key: &dyn Fn(&str) -> String) -> Result<Encryption> {
    let refuse = |name: &str, why: &str| Err(impossible(&key(name), why));
    let to = match (&raw.recipients, &raw.recipients_file, &raw.passphrase_file) {
        (None, None, Some(file)) => EncryptFor::Passphrase(file.clone()),
        (_, _, Some(_)) => return refuse("passphrase_file", "a passphrase and recipients exclude each other"),
        // Otherwise a list that came out empty would quietly make backups that anybody can read.
        (Some(given), _, None) if given.0.is_empty() => return refuse("recipients", "the list names nobody"),
        (None, None, None) => {
            let why = "nobody is named: set recipients, recipients_file or passphrase_file, or leave the section out";
            return refuse("recipients", why);
        }
        (given, file, None) => {
            let given = given.iter().flat_map(|given| &given.0);
            let given: Result<Vec<_>, _> = given.map(|text| Recipient::parse(text)).collect();
            EncryptFor::Keys {
                given: given.map_err(about(&key("recipients")))?,
                file: file.clone(),
            }
        }
    };
    Ok(Encryption {
        to,
        encrypt_manifest: raw.encrypt_manifest,
    })
}

/// The keys of `[jobs.NAME.encryption]`.
pub fn keys(raw: &raw::Encryption) -> Keys {
    Keys {
        identity_files: raw.identity_file.iter().cloned().collect(),
        passphrase_file: raw.passphrase_file.clone(),
    }
}
