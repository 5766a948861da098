//! The table of contents: the entries of an archive, as pg_dump names and orders them.

use crate::sql::tokens::{Token, Tokens};

/// Number of an entry within its archive, unique there; dependencies name it.
pub type DumpId = i32;

/// Part of a restore that an entry belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Section {
    /// Comments, ACLs and labels take the section of the object they belong to; this is for none.
    None = 1,
    /// Everything that must exist before rows do.
    PreData = 2,
    /// Rows, large objects, sequence values.
    Data = 3,
    /// Indexes, constraints, triggers, rules: what is faster or only possible after the rows.
    PostData = 4,
}

/// One entry of the table of contents. Text is as [`crate::raw_text`] keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Number of the entry.
    pub dump_id: DumpId,
    /// OID of the catalog that the object is listed in (0: none).
    pub table_oid: u32,
    /// OID of the object in that catalog (0: none).
    pub oid: u32,
    /// Name for lists, for example `users` or `FUNCTION f(integer)`.
    pub tag: String,
    /// Type for lists, for example `TABLE` or `FK CONSTRAINT`.
    pub desc: String,
    /// Part of a restore that it belongs to.
    pub section: Section,
    /// Statements that create the object; empty when there are none.
    pub defn: String,
    /// Statements that drop it; empty when there are none.
    pub drop_stmt: String,
    /// `COPY … FROM stdin;` with its line feed, for a table's rows; else empty.
    pub copy_stmt: String,
    /// Schema, unquoted.
    pub namespace: Option<String>,
    /// Tablespace to set before `defn`; `Some("")` is the database's own.
    pub tablespace: Option<String>,
    /// Table access method to set before `defn`.
    pub tableam: Option<String>,
    /// `pg_class.relkind` (1.16 archives; 0: none).
    pub relkind: u8,
    /// Owner, unquoted; empty when the object has none.
    pub owner: String,
    /// Entries that must be restored before this one.
    pub dependencies: Vec<DumpId>,
    /// Whether rows or large objects belong to the entry (pg_dump's "had dumper").
    pub has_data: bool,
}

impl Entry {
    /// An entry with nothing but its number, type, name and section.
    #[must_use]
    pub fn new(dump_id: DumpId, desc: &str, tag: impl Into<String>, section: Section) -> Self {
        Entry {
            dump_id,
            table_oid: 0,
            oid: 0,
            tag: tag.into(),
            desc: desc.to_owned(),
            section,
            defn: String::new(),
            drop_stmt: String::new(),
            copy_stmt: String::new(),
            namespace: None,
            tablespace: None,
            tableam: None,
            relkind: 0,
            owner: String::new(),
            dependencies: Vec::new(),
            has_data: false,
        }
    }

    /// The owner as pg_dump has it: comments and labels of what has no owner have an empty one, all else none.
    #[must_use]
    pub fn owner(&self) -> Option<&str> {
        let attached = matches!(self.desc.as_str(), "COMMENT" | "SECURITY LABEL");
        (attached || !self.owner.is_empty()).then_some(self.owner.as_str())
    }

    /// Whether it is the rows of large objects.
    #[must_use]
    pub fn is_large_objects(&self) -> bool {
        self.has_data && self.desc == "BLOBS"
    }

    /// The columns that its COPY names, in their order: that of the values in each row. `None` where there is no such list.
    #[must_use]
    pub fn copy_columns(&self) -> Option<Vec<String>> {
        let mut tokens = Tokens::new(&self.copy_stmt);
        tokens.find(|token| *token == Token::Other('('))?;
        let list = tokens.take_while(|token| *token != Token::Other(')'));
        let names = list.filter_map(|token| match token {
            Token::Word(name) | Token::Quoted(name) => Some(name),
            Token::Text(_) | Token::Other(_) => None,
        });
        Some(names.collect())
    }
}

/// The encoding that an archive says it is in.
#[must_use]
pub fn encoding(entries: &[Entry]) -> Option<&str> {
    let entry = entries.iter().find(|entry| entry.desc == "ENCODING")?;
    entry.defn.split('\'').nth(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_columns_of_rows_are_those_that_copy_names() {
        let columns = |copy: &str| {
            let mut entry = Entry::new(1, "TABLE DATA", "t", Section::Data);
            entry.copy_stmt = copy.to_owned();
            entry.copy_columns()
        };
        let named = columns("COPY \"odd (a\".\"t)\" (a, \"b, \"\"c)\", d_1) FROM stdin;\n");
        assert_eq!(named.unwrap(), ["a", "b, \"c)", "d_1"]);
        assert_eq!(columns("COPY public.t  FROM stdin;\n"), None);
        assert_eq!(columns(""), None);
    }
}
