//! Who can open what is sealed: recipients (public) and identities (secret), as people have them.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use age::secrecy::{ExposeSecret as _, SecretString};
use age::ssh::{self, ParseRecipientKeyError};
use age::{EncryptError, scrypt, x25519};
use age_core::format::{FileKey, Stanza};
use chrono::{DateTime, Utc};

use crate::error::{Exit, Fail, Result};

/// scrypt's cost: 2^16 takes 64 MiB and some 0.2 s. age's own 2^18 takes 256 MiB, more than Snapback may ever use.
const SCRYPT_WORK: u8 = 16;
/// The highest cost that is accepted of others: 4 GiB, as age accepts it.
const MOST_SCRYPT_WORK: u8 = 22;

/// What a passphrase is called in a manifest.
pub(super) const PASSPHRASE: &str = "passphrase";

/// A public key.
#[derive(Clone)]
pub struct Recipient {
    name: String,
    key: Arc<dyn age::Recipient + Send + Sync>,
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Recipient {
    /// A key as people write it: `age1…`, `ssh-ed25519 …` or `ssh-rsa …`, with its comment.
    ///
    /// # Errors
    /// It is none of them.
    pub fn parse(text: &str) -> Result<Self, Fail> {
        let name = text.trim().to_owned();
        let fail = |why: &str| Fail::new(Exit::Usage, format!("{:?} {why}", brief(&name)));
        if name.to_ascii_uppercase().starts_with("AGE-SECRET-KEY-") || name.starts_with("-----BEGIN") {
            // Not echoed: it is a secret in the wrong place.
            return Err(
                Fail::new(Exit::Usage, "a secret key stands where a public key belongs").hint(
                    "use the public key (age1…) that the key's file names, and keep the secret key where restores run",
                ),
            );
        }
        let key: Arc<dyn age::Recipient + Send + Sync> = if name.starts_with("ssh-") {
            let key: ssh::Recipient = name.parse().map_err(|error| match error {
                ParseRecipientKeyError::RsaModulusTooSmall => fail("has fewer than 2048 bits, which is too weak"),
                ParseRecipientKeyError::RsaModulusTooLarge => fail("is larger than RSA keys may be here"),
                _ => fail("is not a whole key of type ssh-ed25519 or ssh-rsa"),
            })?;
            Arc::new(key)
        } else if name.starts_with("age1") {
            let key: x25519::Recipient = name
                .parse()
                .map_err(|_| fail("is not a whole age key: a character is wrong or missing"))?;
            Arc::new(key)
        } else {
            return Err(fail("is no public key that can be encrypted for")
                .hint("keys begin with age1, ssh-ed25519 or ssh-rsa; `snapback keygen` makes one"));
        };
        Ok(Recipient { name, key })
    }

    /// The keys in a file: one per line, but for empty lines and those that begin with `#`.
    ///
    /// # Errors
    /// A line is no key; the error has its number.
    pub fn parse_lines(text: &str) -> Result<Vec<Self>, Fail> {
        let is_key = |line: &str| !line.trim().is_empty() && !line.starts_with('#');
        let lines = (1..).zip(text.lines()).filter(|(_, line)| is_key(line));
        lines
            .map(|(number, line)| {
                Recipient::parse(line).map_err(|fail| Fail {
                    message: format!("line {number}: {}", fail.message),
                    ..fail
                })
            })
            .collect()
    }
}

/// Everyone who can open what is sealed.
#[derive(Clone)]
pub enum Recipients {
    /// Whoever has the secret key of one of these.
    Keys(Vec<Recipient>),
    /// Whoever knows the passphrase.
    Passphrase(SecretString),
}

impl fmt::Debug for Recipients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

impl Recipients {
    /// What a manifest names them.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        match self {
            Recipients::Keys(keys) => keys.iter().map(|key| key.name.clone()).collect(),
            Recipients::Passphrase(_) => vec![PASSPHRASE.to_owned()],
        }
    }

    /// As the `age` crate takes them.
    pub(super) fn keys(&self) -> Vec<Arc<dyn age::Recipient + Send + Sync>> {
        match self {
            Recipients::Keys(keys) => keys.iter().map(|key| Arc::clone(&key.key)).collect(),
            Recipients::Passphrase(passphrase) => {
                let mut key = scrypt::Recipient::new(passphrase.clone());
                key.set_work_factor(SCRYPT_WORK);
                vec![Arc::new(key)]
            }
        }
    }
}

/// A recipient among others that also shows the file key, which the `age` crate keeps to itself.
pub(super) struct Tap<'a> {
    pub key: &'a dyn age::Recipient,
    pub seen: &'a std::cell::RefCell<Option<FileKey>>,
}

impl age::Recipient for Tap<'_> {
    fn wrap_file_key(&self, file_key: &FileKey) -> Result<(Vec<Stanza>, HashSet<String>), EncryptError> {
        *self.seen.borrow_mut() = Some(FileKey::new(Box::new(*file_key.expose_secret())));
        self.key.wrap_file_key(file_key)
    }
}

/// A new key as its file has it, with a comment that says when it was made and its public key, and the public key.
#[must_use]
pub fn generate(now: DateTime<Utc>) -> (SecretString, String) {
    let key = x25519::Identity::generate();
    let public = key.to_public().to_string();
    let created = now.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    let secret = key.to_string();
    let text = format!(
        "# created: {created}\n# public key: {public}\n{}\n",
        secret.expose_secret()
    );
    (text.into(), public)
}

/// Secret keys, and what they are called.
#[derive(Default)]
pub struct Identities(Vec<Identity>);

struct Identity {
    /// The public key; `passphrase` for a passphrase.
    name: String,
    key: Box<dyn age::Identity + Send + Sync>,
}

impl fmt::Debug for Identities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

impl Identities {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The public keys.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        self.0.iter().map(|identity| identity.name.as_str()).collect()
    }

    /// Adds a passphrase.
    pub fn add_passphrase(&mut self, passphrase: SecretString) {
        let mut key = scrypt::Identity::new(passphrase);
        key.set_max_work_factor(MOST_SCRYPT_WORK);
        self.0.push(Identity {
            name: PASSPHRASE.to_owned(),
            key: Box::new(key),
        });
    }

    /// Adds what an identity file holds: an SSH private key, or age's secret keys, one per line.
    ///
    /// # Errors
    /// It holds none, or one that must be decrypted first. The error never shows the contents.
    pub fn add_file(&mut self, text: &str) -> Result<(), Fail> {
        let fail = |why: String| Fail::new(Exit::Usage, why);
        if text.starts_with("age-encryption.org/") || text.starts_with("-----BEGIN AGE ENCRYPTED FILE") {
            return Err(fail("it is itself encrypted".to_owned())
                .hint("decrypt it with `age -d` into a file that only you can read, and name that one"));
        }
        if text.starts_with("-----BEGIN") {
            self.0.push(ssh_identity(text)?);
            return Ok(());
        }
        let before = self.0.len();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let key: x25519::Identity = line
                .parse()
                .map_err(|_| fail(format!("line {number} is not an age secret key")))?;
            self.0.push(Identity {
                name: key.to_public().to_string(),
                key: Box::new(key),
            });
        }
        match self.0.len() - before {
            0 => Err(fail("it holds no secret key".to_owned())),
            _ => Ok(()),
        }
    }

    /// The file key that one of these opens among `stanzas`; what keeps a key that fits from opening it is
    /// left to the header's own check.
    pub(super) fn unwrap(&self, stanzas: &[Stanza]) -> Option<FileKey> {
        let mut opened = self
            .0
            .iter()
            .filter_map(|identity| identity.key.unwrap_stanzas(stanzas));
        opened.find_map(Result::ok)
    }
}

fn ssh_identity(text: &str) -> Result<Identity, Fail> {
    let fail = |why: &str| Fail::new(Exit::Usage, why);
    let key = ssh::Identity::from_buffer(text.as_bytes(), None).map_err(|_| fail("it is no whole SSH private key"))?;
    match &key {
        ssh::Identity::Unencrypted(_) => {}
        ssh::Identity::Encrypted(_)
        | ssh::Identity::Unsupported(
            age::ssh::UnsupportedKey::EncryptedPem | age::ssh::UnsupportedKey::EncryptedSsh(_),
        ) => {
            return Err(fail("the SSH key is protected by a passphrase").hint(
                "make a copy that only you can read, and take the passphrase off it: ssh-keygen -p -N '' -f COPY",
            ));
        }
        ssh::Identity::Unsupported(_) => {
            return Err(fail("SSH keys of this type cannot decrypt").hint("keys of type ssh-ed25519 and ssh-rsa can"));
        }
    }
    let public = ssh::Recipient::try_from(key.clone()).map_err(|_| fail("the SSH key lacks its public half"))?;
    Ok(Identity {
        name: public.to_string(),
        key: Box::new(key),
    })
}

/// A recipient's name in few enough characters for a message: of an SSH key the type, its end and its comment.
#[must_use]
pub fn brief(name: &str) -> String {
    let mut words = name.split_whitespace();
    match (words.next(), words.next()) {
        (Some(kind), Some(key)) if kind.starts_with("ssh-") => {
            let start = key.char_indices().rev().nth(11).map_or(0, |(at, _)| at);
            let comment: String = words.flat_map(|word| [" ", word]).collect();
            format!("{kind} …{}{comment}", &key[start..])
        }
        _ => name.chars().take(80).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "age1t7rxyev2z3rw82stdlrrepyc39nvn86l5078zqkf5uasdy86jp6svpy7pa";

    #[test]
    fn bad_recipients_are_refused_and_secrets_not_repeated() {
        assert_eq!(Recipient::parse(&format!(" {KEY}\n")).unwrap().name, KEY);
        for (text, word) in [
            (&KEY[..60], "wrong or missing"),
            ("ssh-ed25519 AAAAC3", "not a whole key"),
            ("ecdsa-sha2-nistp256 AAAA", "no public key"),
            ("", "no public key"),
            (
                "AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX",
                "secret key",
            ),
        ] {
            let fail = Recipient::parse(text).unwrap_err();
            assert!(fail.message.contains(word), "{fail}");
            assert!(!fail.message.contains("GFPYY"), "{fail}");
        }
        let fail = Recipient::parse_lines(&format!("# anna\n\n{KEY}\nage1x\n")).unwrap_err();
        assert!(fail.message.starts_with("line 4: \"age1x\""), "{fail}");
    }

    #[test]
    fn identity_files_say_what_is_wrong_without_their_contents() {
        let mut identities = Identities::default();
        for (text, word) in [
            ("# only a comment\n", "no secret key"),
            ("hush hush\n", "line 1"),
            ("age-encryption.org/v1\n-> scrypt", "itself encrypted"),
            ("-----BEGIN OPENSSH PRIVATE KEY-----\nhush\n", "no whole SSH"),
        ] {
            let fail = identities.add_file(text).unwrap_err();
            assert!(fail.message.contains(word) && !fail.message.contains("hush"), "{fail}");
        }
        assert!(identities.is_empty());
    }

    #[test]
    fn names_are_short_in_messages() {
        assert_eq!(
            brief("ssh-rsa AAAAB3NzaC1yc2EAAAA anna@laptop home"),
            "ssh-rsa …zaC1yc2EAAAA anna@laptop home"
        );
        assert_eq!(brief(KEY), KEY);
    }
}
