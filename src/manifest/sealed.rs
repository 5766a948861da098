//! Manifests of encrypted backups: what names tables is sealed; what listing, retention and a look at the bytes need
//! is not.

use std::collections::BTreeMap;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::{LargeObjects, Manifest, SqliteFacts, Table};
use crate::error::{Exit, Fail, Result};
use crate::seal::age::{Identities, Recipients, locked, open_text, seal_text};

/// How a backup is encrypted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Encryption {
    /// The public keys of those who can open it; `passphrase` for a passphrase.
    pub recipients: Vec<String>,
    /// The details of the manifest, where they are sealed too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Sealed>,
}

/// Sealed details of a manifest, and what may be known of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// How many tables there are.
    pub tables: u64,
    /// All rows of all tables.
    pub rows: u64,
    /// Bytes of their COPY text.
    pub bytes: u64,
    /// The details as JSON, in age's armor.
    pub age: String,
}

/// What a manifest does not give away: these fields of it are empty then.
#[derive(Serialize, Deserialize)]
struct Details {
    entries: BTreeMap<String, u64>,
    tables: Vec<Table>,
    large_objects: Option<LargeObjects>,
    schema_hash: String,
    warnings: Vec<String>,
    #[serde(default)]
    extensions: Option<BTreeMap<String, String>>,
    #[serde(default)]
    public_owner: Option<String>,
    #[serde(default)]
    replaced: Vec<(String, String)>,
    /// What was found in an SQLite database: damage, broken rules, what is not provable.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    findings: Vec<Vec<String>>,
}

/// What names tables among the facts of an SQLite database.
fn findings(facts: &mut SqliteFacts) -> [&mut Vec<String>; 3] {
    [&mut facts.damage, &mut facts.violations, &mut facts.not_provable]
}

impl Manifest {
    fn sealed(&self) -> Option<&Sealed> {
        self.encryption.as_ref()?.details.as_ref()
    }

    /// Whether its details are sealed.
    #[must_use]
    pub fn is_sealed(&self) -> bool {
        self.sealed().is_some()
    }

    /// How many tables there are, sealed or not.
    #[must_use]
    pub fn table_count(&self) -> u64 {
        self.sealed().map_or(self.tables.len() as u64, |details| details.tables)
    }

    /// All rows of all tables, sealed or not.
    #[must_use]
    pub fn rows(&self) -> u64 {
        let sum = || self.tables.iter().map(|table| table.rows).sum();
        self.sealed().map_or_else(sum, |details| details.rows)
    }

    /// Bytes of COPY text of all tables, sealed or not.
    #[must_use]
    pub fn data_bytes(&self) -> u64 {
        let sum = || self.tables.iter().map(|table| table.bytes).sum();
        self.sealed().map_or_else(sum, |details| details.bytes)
    }

    /// The same manifest, its details sealed for `recipients`.
    ///
    /// # Errors
    /// It is of no encrypted backup, or the recipients cannot be combined.
    pub fn seal(&self, recipients: &Recipients) -> Result<Manifest> {
        let mut sealed = self.clone();
        let details = Details {
            entries: std::mem::take(&mut sealed.entries),
            tables: std::mem::take(&mut sealed.tables),
            large_objects: sealed.large_objects.take(),
            extensions: sealed.extensions.take(),
            public_owner: sealed.public_owner.take(),
            schema_hash: std::mem::take(&mut sealed.schema_hash),
            warnings: std::mem::take(&mut sealed.warnings),
            replaced: sealed
                .in_place
                .as_mut()
                .map(|it| std::mem::take(&mut it.tables))
                .unwrap_or_default(),
            findings: sealed
                .sqlite
                .as_mut()
                .map(|facts| findings(facts).map(std::mem::take).into())
                .unwrap_or_default(),
        };
        let encryption = sealed.encryption.as_mut().context("the backup is not encrypted")?;
        encryption.details = Some(Sealed {
            tables: self.table_count(),
            rows: self.rows(),
            bytes: self.data_bytes(),
            age: seal_text(recipients, &serde_json::to_vec(&details)?)?,
        });
        Ok(sealed)
    }

    /// Opens its details, if they are sealed.
    ///
    /// # Errors
    /// [`Exit::NoKey`]: none of `identities` fits. [`Exit::Damaged`]: they were changed.
    pub fn unseal(&mut self, identities: &Identities) -> Result<()> {
        let Some(sealed) = self.sealed() else {
            return Ok(());
        };
        let name = format!("the manifest of backup {}", self.id);
        let opened = open_text(&sealed.age, identities).with_context(|| format!("opening {name}"))?;
        let Some(encryption) = &mut self.encryption else {
            return Ok(());
        };
        let text = opened.ok_or_else(|| locked(&name, &encryption.recipients, identities))?;
        let details: Details = serde_json::from_slice(&text)
            .map_err(|error| Fail::new(Exit::Damaged, format!("{name} cannot be understood: {error}")))?;
        encryption.details = None;
        self.entries = details.entries;
        self.tables = details.tables;
        self.large_objects = details.large_objects;
        self.extensions = details.extensions;
        self.public_owner = details.public_owner;
        self.schema_hash = details.schema_hash;
        self.warnings = details.warnings;
        if let Some(in_place) = &mut self.in_place {
            in_place.tables = details.replaced;
        }
        if let Some(facts) = &mut self.sqlite {
            for (field, found) in findings(facts).into_iter().zip(details.findings) {
                *field = found;
            }
        }
        Ok(())
    }
}
