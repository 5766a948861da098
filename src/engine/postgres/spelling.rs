//! How a session writes values, where pg_dump leaves that to the settings of server, database and role. Text and
//! hashes of rows can only be compared when both were written in the same way.

use super::catalog::Catalog;
use super::connect::session::Row;
use crate::archive::toc::Entry;
use crate::error::Result;
pub use crate::manifest::Spelling;
use crate::sql::quote::Quote;

/// The columns that [`Spelling::of`] reads.
pub const COLUMNS: &str = "\
    pg_catalog.current_setting('client_encoding') AS encoding, \
    pg_catalog.current_setting('extra_float_digits') AS extra_float_digits, \
    pg_catalog.current_setting('TimeZone') AS time_zone, \
    pg_catalog.current_setting('bytea_output') AS bytea_output, \
    pg_catalog.current_setting('lc_monetary') AS lc_monetary";

impl Spelling {
    /// How the session writes that `row` comes from.
    ///
    /// # Errors
    /// A column is missing.
    pub fn of(row: &Row) -> Result<Spelling> {
        Ok(Spelling {
            encoding: row.text("encoding")?,
            extra_float_digits: row.text("extra_float_digits")?,
            time_zone: row.text("time_zone")?,
            bytea_output: row.text("bytea_output")?,
            lc_monetary: Some(row.text("lc_monetary")?),
        })
    }

    /// What of it matters for the database in `cat`, which has these `entries`.
    #[must_use]
    pub fn within(&self, cat: &Catalog, entries: &[Entry]) -> Spelling {
        let mut types = cat.tables().flat_map(|(_, table)| &table.columns);
        let money = types.any(|column| !column.dropped && matches!(column.type_name.as_str(), "money" | "money[]"))
            || entries.iter().any(has_money);
        Spelling {
            lc_monetary: self.lc_monetary.clone().filter(|_| money),
            ..self.clone()
        }
    }

    /// The statement that makes a session read values so. All but those of `money` are read alike whatever the settings.
    #[must_use]
    pub fn for_reading(&self, quote: &Quote) -> Option<String> {
        let locale = self.lc_monetary.as_deref()?;
        Some(format!("SET lc_monetary TO {}", quote.literal(locale)))
    }

    /// Names and values, the encoding apart, which must be set when the others are: some names of time zones may
    /// not be ASCII.
    fn settings(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [
            ("extra_float_digits", self.extra_float_digits.as_str()),
            ("TimeZone", &self.time_zone),
            ("bytea_output", &self.bytea_output),
        ]
        .into_iter()
        .chain(self.lc_monetary.as_deref().map(|locale| ("lc_monetary", locale)))
    }

    /// The statements that make a session write so until the end of its transaction, but for the encoding.
    #[must_use]
    pub fn statements(&self, quote: &Quote) -> String {
        self.settings()
            .map(|(name, value)| format!("SET LOCAL {name} TO {};\n", quote.literal(value)))
            .collect()
    }
}

/// Whether a definition has a value of the type `money`, or is of a type that has some in it.
fn has_money(entry: &Entry) -> bool {
    let is_word = |word: &str| word.trim_end_matches([',', ';', ')']) == "money" || word.starts_with("money[");
    match entry.desc.as_str() {
        "TYPE" | "DOMAIN" => entry.defn.split_ascii_whitespace().any(is_word),
        _ => entry.defn.contains("::money"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::toc::Section;

    #[test]
    fn money_is_found_where_it_counts() {
        let has = |desc: &str, defn: &str| {
            let mut entry = Entry::new(1, desc, "it", Section::PreData);
            entry.defn = defn.to_owned();
            has_money(&entry)
        };
        assert!(has("DOMAIN", "CREATE DOMAIN public.price AS money;\n"));
        assert!(has(
            "TYPE",
            "CREATE TYPE public.t AS (\n\ta integer,\n\tb money[]\n);\n"
        ));
        assert!(has(
            "TYPE",
            "CREATE TYPE public.r AS RANGE (\n    subtype = money,\n    multirange_type_name = public.m\n);\n"
        ));
        assert!(has("VIEW", "CREATE VIEW public.v AS\n SELECT '12,50 €'::money AS m;\n"));
        assert!(!has("DOMAIN", "CREATE DOMAIN public.money_text AS text;\n"));
        assert!(!has("TABLE", "CREATE TABLE public.t (\n    money integer\n);\n"));
    }
}
