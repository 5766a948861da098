//! Identifiers and literals, quoted as pg_dump of the server's major version quotes them.

use std::borrow::Cow;

use super::encoding::Characters;
use crate::raw_text;

/// Quotes names and strings for one dump.
#[derive(Clone, Copy, Debug)]
pub struct Quote {
    /// Major version whose keywords count.
    pub major: u32,
    /// `--quote-all-identifiers`.
    pub all: bool,
    /// `standard_conforming_strings` of the text that is written.
    pub std_strings: bool,
    /// Those of the encoding that the text is written in.
    pub characters: Characters,
}

impl Quote {
    /// For text of a server's usual settings.
    #[must_use]
    pub const fn standard(major: u32) -> Self {
        Quote {
            major,
            all: false,
            std_strings: true,
            characters: Characters::AsciiApart,
        }
    }

    /// `name` as an identifier: quoted where it is not plain lower case, or is a keyword other than an
    /// unreserved one (PostgreSQL's `fmtId`).
    #[must_use]
    pub fn id<'a>(&self, name: &'a str) -> Cow<'a, str> {
        if self.all || !is_plain(name) || is_keyword(name, self.major) {
            Cow::Owned(format!("\"{}\"", name.replace('"', "\"\"")))
        } else {
            Cow::Borrowed(name)
        }
    }

    /// `schema.name` (PostgreSQL's `fmtQualifiedId`).
    #[must_use]
    pub fn qualified(&self, schema: &str, name: &str) -> String {
        format!("{}.{}", self.id(schema), self.id(name))
    }

    /// `text` as a string literal (PostgreSQL's `appendStringLiteral`).
    #[must_use]
    pub fn literal(&self, text: &str) -> String {
        format!("'{}'", self.doubled(text, !self.std_strings))
    }

    /// `text` as pg_dumpall writes it: as an escape string when there is a backslash in it, whatever the setting.
    #[must_use]
    pub fn escape_literal(&self, text: &str) -> String {
        if text.contains('\\') {
            format!("E'{}'", self.doubled(text, true))
        } else {
            self.literal(text)
        }
    }

    /// `text` with its apostrophes doubled, and its backslashes if they count.
    fn doubled(&self, text: &str, backslashes: bool) -> String {
        let escape = |byte| byte == b'\'' || (backslashes && byte == b'\\');
        if !text.bytes().any(escape) {
            return text.to_owned();
        }
        // A backslash that is part of a character only shows in the bytes.
        let mut out = Vec::with_capacity(text.len() + 2);
        self.characters.double(&raw_text::encode(text), escape, &mut out);
        raw_text::decode(&out)
    }

    /// Storage parameters (`reloptions`, each `name=value`) as they stand between the parentheses of `WITH`
    /// (PostgreSQL's `appendReloptionsArray`). `prefix` is `toast.` for those of a TOAST table.
    #[must_use]
    pub fn reloptions(&self, options: &[String], prefix: &str) -> String {
        let format = |option: &String| {
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            // Only what is an identifier already stands bare: a number may be anything to a custom parameter.
            let value = if self.id(value) == value {
                Cow::Borrowed(value)
            } else {
                Cow::Owned(self.literal(value))
            };
            format!("{prefix}{}={value}", self.id(name))
        };
        options.iter().map(format).collect::<Vec<_>>().join(", ")
    }

    /// `text` between dollar quotes (PostgreSQL's `appendStringLiteralDQ`): `$$`, or `$_$`, `$_X$` and so
    /// on until the delimiter does not occur in the text. `prefix` stands between the dollars.
    #[must_use]
    pub fn dollar(&self, text: &str, prefix: Option<&str>) -> String {
        const SUFFIXES: &[u8] = b"_XXXXXXX";
        let mut delimiter = format!("${}", prefix.unwrap_or_default());
        let mut next = 0;
        while text.contains(&delimiter) {
            delimiter.push(char::from(SUFFIXES[next % (SUFFIXES.len())]));
            next += 1;
        }
        delimiter.push('$');
        format!("{delimiter}{text}{delimiter}")
    }
}

fn is_plain(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_lowercase() || b == b'_')
        && bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

fn is_keyword(name: &str, major: u32) -> bool {
    // Most names that are looked up have a digit or are longer than any keyword.
    if name.len() > LONGEST_KEYWORD || name.bytes().any(|b| b.is_ascii_digit()) {
        return false;
    }
    KEYWORDS.binary_search(&name).is_ok()
        || (major >= 16 && SINCE_16.contains(&name))
        || (major >= 17 && SINCE_17.contains(&name))
}

const LONGEST_KEYWORD: usize = "current_timestamp".len();
// What pg_get_keywords() lists with a category other than U, in 14 and 15; later majors add to it.
#[rustfmt::skip]
const KEYWORDS: &[&str] = &[
    "all", "analyse", "analyze", "and", "any", "array", "as", "asc", "asymmetric", "authorization",
    "between", "bigint", "binary", "bit", "boolean", "both", "case", "cast", "char", "character",
    "check", "coalesce", "collate", "collation", "column", "concurrently", "constraint", "create",
    "cross", "current_catalog", "current_date", "current_role", "current_schema", "current_time",
    "current_timestamp", "current_user", "dec", "decimal", "default", "deferrable", "desc",
    "distinct", "do", "else", "end", "except", "exists", "extract", "false", "fetch", "float",
    "for", "foreign", "freeze", "from", "full", "grant", "greatest", "group", "grouping", "having",
    "ilike", "in", "initially", "inner", "inout", "int", "integer", "intersect", "interval",
    "into", "is", "isnull", "join", "lateral", "leading", "least", "left", "like", "limit",
    "localtime", "localtimestamp", "national", "natural", "nchar", "none", "normalize", "not",
    "notnull", "null", "nullif", "numeric", "offset", "on", "only", "or", "order", "out", "outer",
    "overlaps", "overlay", "placing", "position", "precision", "primary", "real", "references",
    "returning", "right", "row", "select", "session_user", "setof", "similar", "smallint", "some",
    "substring", "symmetric", "table", "tablesample", "then", "time", "timestamp", "to",
    "trailing", "treat", "trim", "true", "union", "unique", "user", "using", "values", "varchar",
    "variadic", "verbose", "when", "where", "window", "with", "xmlattributes", "xmlconcat",
    "xmlelement", "xmlexists", "xmlforest", "xmlnamespaces", "xmlparse", "xmlpi", "xmlroot",
    "xmlserialize", "xmltable",
];
const SINCE_16: &[&str] = &[
    "json_array",
    "json_arrayagg",
    "json_object",
    "json_objectagg",
    "system_user",
];
const SINCE_17: &[&str] = &[
    "json",
    "json_exists",
    "json_query",
    "json_scalar",
    "json_serialize",
    "json_table",
    "json_value",
    "merge_action",
];

#[cfg(test)]
mod tests {
    use super::*;

    const Q: Quote = Quote::standard(15);

    #[test]
    fn names_are_quoted_only_where_they_must_be() {
        assert_eq!(Q.id("task_logs"), "task_logs");
        for (name, quoted) in [
            ("user", "\"user\""),
            ("familyId", "\"familyId\""),
            ("a\"b", "\"a\"\"b\""),
            ("", "\"\""),
            ("1a", "\"1a\""),
        ] {
            assert_eq!(Q.id(name), quoted);
        }
        assert_eq!(Q.id("json"), "json");
        assert_eq!(Quote { major: 17, ..Q }.id("json"), "\"json\"");
    }

    #[test]
    fn keywords_are_sorted_for_the_search() {
        assert!(KEYWORDS.is_sorted());
        let all = [KEYWORDS, SINCE_16, SINCE_17].concat();
        assert_eq!(all.iter().map(|word| word.len()).max(), Some(LONGEST_KEYWORD));
        assert!(!all.iter().any(|word| word.contains(|c: char| c.is_ascii_digit())));
    }

    #[test]
    fn literals_follow_standard_conforming_strings() {
        assert_eq!(Q.literal("it's \\n"), "'it''s \\n'");
        assert_eq!(
            Quote {
                std_strings: false,
                ..Q
            }
            .literal("it's \\n"),
            "'it''s \\\\n'"
        );
    }

    #[test]
    fn storage_parameters_are_literals_unless_identifiers() {
        let options = ["fillfactor=70", "autovacuum_enabled=false", "custom="].map(str::to_owned);
        assert_eq!(
            Q.reloptions(&options, "toast."),
            "toast.fillfactor='70', toast.autovacuum_enabled='false', toast.custom=''"
        );
        assert_eq!(Q.reloptions(&["buffering=auto".to_owned()], ""), "buffering=auto");
    }

    #[test]
    fn dollar_quotes_avoid_what_the_text_holds() {
        assert_eq!(Q.dollar("begin end", None), "$$begin end$$");
        assert_eq!(Q.dollar("a $$ b", None), "$_$a $$ b$_$");
        assert_eq!(Q.dollar("a $_ b", None), "$_X$a $_ b$_X$");
    }
}
