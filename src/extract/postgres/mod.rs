//! Parts of an archive of PostgreSQL. Only what is wanted of it is read: its table of contents, and the block of a table.

mod columns;
mod definition;
mod rows;
mod script;
mod table;

use std::io::Write;

use bytes::Bytes;
use chrono::NaiveDateTime;
use serde::Serialize;

use self::table::Table;
use super::charset::Charset;
use super::format::{Dialect, Format, Formatter, Shape};
use super::key::{self, Key};
use crate::archive::plain::Script;
use crate::archive::reader::Reader;
use crate::archive::toc::Entry;
use crate::archive::{RestoreOptions, list};
use crate::engine::postgres::dump::random_key;
use crate::engine::postgres::server::has_restrict;
use crate::error::Result;
use crate::manifest::{self, Manifest};
use crate::sql::encoding::Characters;
use crate::sql::quote::Quote;

/// An archive, opened.
pub struct Archive {
    reader: Reader,
    /// `server_version_num` of the server that it is of.
    version_num: u32,
    /// What the manifest says of the rows of its tables.
    known: Vec<manifest::Table>,
}

/// An entry, for programs.
#[derive(Debug, Serialize)]
pub struct Object<'a> {
    /// Its number in the archive.
    pub id: i32,
    /// What it is.
    pub kind: &'a str,
    /// Its schema, where it has one.
    pub schema: Option<&'a str>,
    /// Its name.
    pub name: &'a str,
    /// Its owner.
    pub owner: &'a str,
}

impl Archive {
    /// The archive of `manifest`, which `reader` reads.
    #[must_use]
    pub fn new(reader: Reader, manifest: &Manifest) -> Self {
        Archive {
            reader,
            version_num: manifest.source.server_version_num,
            known: manifest.tables.clone(),
        }
    }

    fn encoding(&self) -> String {
        Script::encoding(self.reader.entries())
    }

    fn quote(&self) -> Quote {
        Quote {
            characters: Characters::of(&self.encoding()),
            ..Quote::standard(self.version_num / 10_000)
        }
    }

    /// Writes the rows of the table that `word` means, or the one with the key `values`, to `out`. Returns how many, the
    /// table, and the key.
    ///
    /// # Errors
    /// There is no such table, or it is damaged, or `out` cannot be written to.
    pub async fn table(
        &self,
        word: &str,
        format: Format,
        values: &[String],
        out: &mut (dyn Write + Send),
    ) -> Result<(u64, String, Option<Key>)> {
        let (encoding, quote) = (self.encoding(), self.quote());
        let charset = Charset::of(&encoding);
        let table = Table::find(word, self.reader.entries(), &quote)?;
        let shown = quote.qualified(&table.name.0, &table.name.1);
        let key = match values.is_empty() {
            true => None,
            false => {
                let columns = table.key.as_deref().ok_or_else(|| key::none(&shown))?;
                Some(Key::of(values, columns, &shown)?)
            }
        };
        let names: Vec<String> = table.columns.iter().map(|column| column.name.clone()).collect();
        let formatter = Formatter::new(
            format,
            Shape {
                target: shown.clone(),
                quoted: names.iter().map(|name| quote.id(name).into_owned()).collect(),
                columns: names,
                overriding: table.overriding,
                settings: format!("SET client_encoding = '{encoding}';\nSET standard_conforming_strings = on;\n"),
                dialect: Dialect::Postgres(quote.characters),
                charset,
            },
        )?;
        let wanted = rows::Wanted {
            table: &table,
            key: key.as_ref(),
            known: &self.known,
        };
        let rows = rows::write(&self.reader, &wanted, format, formatter, charset, out).await?;
        Ok((rows, shown, key))
    }

    /// The definition of the object that `word` means.
    ///
    /// # Errors
    /// There is none, or several.
    pub fn definition(&self, word: &str) -> Result<Bytes> {
        Ok(definition::text(word, self.reader.entries(), self.quote())?)
    }

    /// The list that `pg_restore -l` prints.
    #[must_use]
    pub fn list(&self) -> Vec<u8> {
        let all = RestoreOptions::default();
        list::render(self.reader.header(), &self.reader.facts(), self.reader.entries(), &all)
    }

    /// The same for programs.
    #[must_use]
    pub fn objects(&self) -> Vec<Object<'_>> {
        self.reader.entries().iter().map(object).collect()
    }

    /// Writes all of it as plain SQL.
    ///
    /// # Errors
    /// It is damaged, or `out` cannot be written to.
    pub async fn script(&self, now: NaiveDateTime, out: &mut (dyn Write + Send)) -> Result<()> {
        let key = has_restrict(self.version_num).then(random_key).transpose()?;
        script::write(&self.reader, self.quote(), key, now, out).await
    }
}

fn object(entry: &Entry) -> Object<'_> {
    Object {
        id: entry.dump_id,
        kind: &entry.desc,
        schema: entry.namespace.as_deref(),
        name: &entry.tag,
        owner: &entry.owner,
    }
}
