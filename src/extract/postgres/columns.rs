//! Columns of a table as the statements of an archive have them.

use std::collections::HashMap;

use crate::archive::toc::{DumpId, Entry};
use crate::extract::format::Class;
use crate::sql::tokens::{Placed, Token, outside, placed};

/// The type of a column, as far as it counts here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// Whole numbers, of which `+007` is 7.
    Integer,
    /// Other numbers.
    Number,
    /// `boolean`.
    Boolean,
    /// `bit` and `bit varying`.
    Bits,
    /// `json` and `jsonb`.
    Json,
    /// `uuid`, which is written in several ways.
    Uuid,
    /// Everything else.
    Other,
}

impl Type {
    /// How its values are written.
    #[must_use]
    pub fn class(self) -> Class {
        match self {
            Type::Integer | Type::Number => Class::Number,
            Type::Boolean => Class::Boolean,
            Type::Bits => Class::Bits,
            Type::Json => Class::Json,
            Type::Uuid | Type::Other => Class::Text,
        }
    }
}

/// The columns that a COPY statement names.
#[must_use]
pub fn of_copy(statement: &str) -> Vec<String> {
    let tokens = placed(statement);
    let end = outside(&tokens, &["FROM"]).unwrap_or(tokens.len());
    let Some(begin) = tokens[..end].iter().position(|token| token.is_sign('(')) else {
        return Vec::new();
    };
    items(&tokens[begin..end])
        .into_iter()
        .filter_map(|item| name(item.first()?))
        .collect()
}

/// The columns that `CREATE TABLE` defines itself, with their types, in their order.
#[must_use]
pub fn of_definition(statement: &str) -> Vec<(String, Type)> {
    let tokens = placed(statement);
    let is_begin = |token: &Placed| token.is_sign('(');
    let ends = |token: &Placed| token.is_any(&["AS", "PARTITION", "OF"]);
    let Some(begin) = tokens.iter().position(|token| is_begin(token) || ends(token)) else {
        return Vec::new();
    };
    if !is_begin(&tokens[begin]) {
        return Vec::new();
    }
    let column = |item: &[Placed]| {
        let first = item.first()?;
        // A column of such a name would be in quotes.
        let is_column = !first.is_any(&["CONSTRAINT", "CHECK", "UNIQUE", "PRIMARY", "FOREIGN", "EXCLUDE", "LIKE"]);
        let name = name(first).filter(|_| is_column)?;
        Some((name, type_of(item.get(1..)?)))
    };
    items(&tokens[begin..]).into_iter().filter_map(column).collect()
}

/// The columns of the primary key that `ALTER TABLE … ADD CONSTRAINT` makes; nothing of another constraint.
#[must_use]
pub fn of_primary_key(statement: &str) -> Option<Vec<String>> {
    let tokens = placed(statement);
    let at = outside(&tokens, &["PRIMARY"])?;
    let begin = at + tokens[at..].iter().position(|token| token.is_sign('('))?;
    let columns = items(&tokens[begin..]).into_iter();
    Some(columns.filter_map(|item| name(item.first()?)).collect())
}

/// The types of the columns of `table`, its parents' too: a child does not repeat them.
#[must_use]
pub fn types(table: &Entry, by_id: &HashMap<DumpId, &Entry>) -> HashMap<String, Type> {
    let mut types = HashMap::new();
    let mut left = vec![table];
    let mut seen = Vec::new();
    while let Some(entry) = left.pop() {
        if seen.contains(&entry.dump_id) {
            continue;
        }
        seen.push(entry.dump_id);
        for (name, found) in of_definition(&entry.defn) {
            types.entry(name).or_insert(found);
        }
        let parents = entry.dependencies.iter().filter_map(|id| by_id.get(id));
        left.extend(parents.filter(|parent| parent.desc == "TABLE"));
    }
    types
}

/// What stands between the first of `tokens`, which is a parenthesis, and the one that closes it, parted at commas.
fn items(tokens: &[Placed]) -> Vec<&[Placed]> {
    let (mut items, mut depth, mut begin) = (Vec::new(), 0_u32, 1);
    for (at, token) in tokens.iter().enumerate() {
        match token.token {
            Token::Other('(' | '[') => depth += 1,
            Token::Other(')' | ']') => depth = depth.saturating_sub(1),
            Token::Other(',') if depth == 1 => {
                items.push(&tokens[begin..at]);
                begin = at + 1;
            }
            _ => {}
        }
        if depth == 0 {
            items.push(&tokens[begin.min(at)..at]);
            break;
        }
    }
    items.retain(|item| !item.is_empty());
    items
}

fn name(token: &Placed) -> Option<String> {
    match &token.token {
        Token::Word(name) | Token::Quoted(name) => Some(name.clone()),
        Token::Text(_) | Token::Other(_) => None,
    }
}

fn type_of(tokens: &[Placed]) -> Type {
    const AFTER: [&str; 9] = [
        "NOT",
        "NULL",
        "DEFAULT",
        "COLLATE",
        "GENERATED",
        "CONSTRAINT",
        "OPTIONS",
        "STORAGE",
        "COMPRESSION",
    ];
    let end = tokens
        .iter()
        .position(|token| token.is_any(&AFTER))
        .unwrap_or(tokens.len());
    let tokens = &tokens[..end];
    let is_array = tokens.iter().any(|token| token.is_sign('['));
    let qualified = tokens.get(1).is_some_and(|token| token.is_sign('.'));
    let word = match tokens.first().map(|first| &first.token) {
        Some(Token::Word(word)) => word,
        // A keyword since 17. What has no schema is one of the server's own types.
        Some(Token::Quoted(word)) if word == "json" => word,
        _ => return Type::Other,
    };
    match word.as_str() {
        _ if is_array || qualified => Type::Other,
        "smallint" | "integer" | "bigint" | "oid" => Type::Integer,
        "numeric" | "real" | "double" => Type::Number,
        "boolean" => Type::Boolean,
        "bit" => Type::Bits,
        "json" | "jsonb" => Type::Json,
        "uuid" => Type::Uuid,
        _ => Type::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_and_their_types_are_read() {
        let found = of_definition(
            "CREATE TABLE public.t (\n    id integer NOT NULL,\n    \"a, (b\" numeric(10,2) DEFAULT '1, 2'::numeric,\n    \
             tags integer[],\n    x public.integer,\n    at timestamp(3) with time zone,\n    f double precision,\n    \
             b bit varying(3),\n    j jsonb,\n    CONSTRAINT c CHECK ((id > 0))\n)\nPARTITION BY RANGE (id);\n",
        );
        let wanted = [
            ("id", Type::Integer),
            ("a, (b", Type::Number),
            ("tags", Type::Other),
            ("x", Type::Other),
            ("at", Type::Other),
            ("f", Type::Number),
            ("b", Type::Bits),
            ("j", Type::Json),
        ];
        assert_eq!(found, wanted.map(|(name, found)| (name.to_owned(), found)));
        assert!(of_definition("CREATE TABLE public.t OF public.kind;\n").is_empty());
        assert_eq!(of_definition("CREATE TABLE public.t (\n);\n"), []);
    }

    #[test]
    fn columns_of_copy_and_of_keys_are_read() {
        assert_eq!(
            of_copy("COPY public.\"T (x)\" (a, \"b, \"\"c\") FROM stdin;\n"),
            ["a", "b, \"c"]
        );
        assert!(of_copy("COPY public.t  FROM stdin;\n").is_empty());
        let key = of_primary_key("ALTER TABLE ONLY public.t\n    ADD CONSTRAINT t_pkey PRIMARY KEY (a, \"B\");\n");
        assert_eq!(key.unwrap(), ["a", "B"]);
        assert_eq!(of_primary_key("ALTER TABLE ONLY t ADD CONSTRAINT u UNIQUE (a);"), None);
    }
}
