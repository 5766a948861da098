//! The words of a statement, for telling what it is about and whom it names.

use std::ops::Range;

/// A token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Token {
    /// As it stands: keywords of pg_dump are upper case, unquoted names lower case.
    Word(String),
    /// A quoted identifier, without its quotes.
    Quoted(String),
    /// A string, without its quotes.
    Text(String),
    /// A sign.
    Other(char),
}

impl Token {
    /// A word in capitals, a sign as it is; a quoted name is like no keyword.
    #[must_use]
    pub fn upper(self) -> String {
        match self {
            Token::Word(word) => word.to_ascii_uppercase(),
            Token::Quoted(name) => format!("\"{name}\""),
            Token::Text(text) => format!("'{text}'"),
            Token::Other(sign) => sign.to_string(),
        }
    }
}

/// Words, quoted identifiers and signs of a statement; strings and comments are left out.
pub struct Tokens<'a> {
    rest: &'a str,
    /// Strings are tokens too.
    texts: bool,
}

/// A token, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The token.
    pub token: Token,
    /// The bytes of the statement that it takes, with its quotes.
    pub at: Range<usize>,
}

impl Placed {
    /// Whether it is the keyword `word`, which is written in capitals.
    #[must_use]
    pub fn is(&self, word: &str) -> bool {
        matches!(&self.token, Token::Word(it) if it.eq_ignore_ascii_case(word))
    }

    /// Whether it is one of these keywords.
    #[must_use]
    pub fn is_any(&self, words: &[&str]) -> bool {
        words.iter().any(|word| self.is(word))
    }

    /// Whether it is the sign `sign`.
    #[must_use]
    pub fn is_sign(&self, sign: char) -> bool {
        self.token == Token::Other(sign)
    }
}

/// The tokens of `sql`, strings among them, with their places.
#[must_use]
pub fn placed(sql: &str) -> Vec<Placed> {
    let mut tokens = Tokens { rest: sql, texts: true };
    let mut all = Vec::new();
    loop {
        tokens.skip_blank();
        let start = sql.len() - tokens.rest.len();
        let Some(token) = tokens.next() else { return all };
        all.push(Placed {
            token,
            at: start..sql.len() - tokens.rest.len(),
        });
    }
}

/// The number of the first token that is one of these keywords, of those outside of parentheses.
#[must_use]
pub fn outside(tokens: &[Placed], words: &[&str]) -> Option<usize> {
    let mut depth = 0_u32;
    tokens.iter().position(|token| {
        match &token.token {
            Token::Other('(') => depth += 1,
            Token::Other(')') => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0 && token.is_any(words)
    })
}

impl<'a> Tokens<'a> {
    /// Those of `sql`.
    #[must_use]
    pub fn new(sql: &'a str) -> Self {
        Tokens {
            rest: sql,
            texts: false,
        }
    }

    /// The text after the last token.
    #[must_use]
    pub fn rest(&self) -> &'a str {
        self.rest
    }

    /// Passes over blanks and comments.
    fn skip_blank(&mut self) {
        loop {
            self.rest = self.rest.trim_start();
            if self.rest.starts_with("--") {
                let end = self.rest.find('\n').unwrap_or(self.rest.len());
                self.rest = &self.rest[end..];
            } else if self.rest.starts_with("/*") {
                self.rest = &self.rest[comment(self.rest)..];
            } else {
                return;
            }
        }
    }

    /// Takes what stands between two `quote`s; a doubled one is itself, and so is one behind a backslash that `escapes`.
    fn quoted(&mut self, quote: char, escapes: bool) -> String {
        let mut text = String::new();
        let mut chars = self.rest.char_indices().skip(1).peekable();
        while let Some((at, c)) = chars.next() {
            if escapes && c == '\\' {
                text.extend(chars.next().map(|(_, next)| next));
            } else if c != quote {
                text.push(c);
            } else if chars.next_if(|(_, next)| *next == quote).is_some() {
                text.push(quote);
            } else {
                self.rest = &self.rest[at + 1..];
                return text;
            }
        }
        self.rest = "";
        text
    }

    /// Takes a string between two dollar signs with an equal tag, if one begins here.
    fn dollars(&mut self) -> Option<String> {
        let tag_end = self.rest[1..].find('$')? + 2;
        let (tag, after) = self.rest.split_at(tag_end);
        let name = &tag[1..tag.len() - 1];
        if name.starts_with(|c: char| c.is_ascii_digit()) || !name.chars().all(|c| c != '$' && is_word(c)) {
            return None;
        }
        let end = after.find(tag);
        self.rest = end.map_or("", |end| &after[end + tag.len()..]);
        Some(after[..end.unwrap_or(after.len())].to_owned())
    }

    fn text(&mut self) -> Option<String> {
        match self.rest.as_bytes() {
            [b'\'', ..] => Some(self.quoted('\'', false)),
            [b'E' | b'e', b'\'', ..] => {
                self.rest = &self.rest[1..];
                Some(self.quoted('\'', true))
            }
            [b'$', ..] => self.dollars(),
            _ => None,
        }
    }
}

impl Iterator for Tokens<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        loop {
            self.skip_blank();
            let first = self.rest.chars().next()?;
            if let Some(text) = self.text() {
                if self.texts {
                    return Some(Token::Text(text));
                }
                continue;
            }
            if first == '"' {
                return Some(Token::Quoted(self.quoted('"', false)));
            }
            if !is_word(first) {
                self.rest = &self.rest[first.len_utf8()..];
                return Some(Token::Other(first));
            }
            let end = self.rest.find(|c| !is_word(c)).unwrap_or(self.rest.len());
            let (word, rest) = self.rest.split_at(end);
            self.rest = rest;
            return Some(Token::Word(word.to_owned()));
        }
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$' || !c.is_ascii()
}

/// The length of the comment that `text` begins with; those inside of it count.
fn comment(text: &str) -> usize {
    let (mut at, mut depth) = (0, 0_u32);
    let bytes = text.as_bytes();
    while at < bytes.len() {
        match bytes.get(at..at + 2) {
            Some(b"/*") => (at, depth) = (at + 2, depth + 1),
            Some(b"*/") if depth == 1 => return at + 2,
            Some(b"*/") => (at, depth) = (at + 2, depth - 1),
            _ => at += 1,
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_and_comments_are_no_words() {
        let sql = "GRANT /* TO /* x */ y */ a -- b\n E'it\\'s' $q$ ; $ $q$ 'c''d' \"e\"\"f\", $1";
        let words: Vec<_> = Tokens::new(sql).map(Token::upper).collect();
        assert_eq!(words, ["GRANT", "A", "\"e\"f\"", ",", "$1"]);
        let texts: Vec<_> = placed(sql)
            .into_iter()
            .filter_map(|it| match it.token {
                Token::Text(text) => Some((text, sql[it.at].to_owned())),
                _ => None,
            })
            .collect();
        let text = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(
            texts,
            [
                text("it's", "E'it\\'s'"),
                text(" ; $ ", "$q$ ; $ $q$"),
                text("c'd", "'c''d'")
            ]
        );
    }
}
