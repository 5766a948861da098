//! The words of a statement, for telling what it is about and whom it names.

/// A token.
#[derive(Debug, PartialEq, Eq)]
pub enum Token {
    /// As it stands: keywords of pg_dump are upper case, unquoted names lower case.
    Word(String),
    /// A quoted identifier, without its quotes.
    Quoted(String),
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
            Token::Other(sign) => sign.to_string(),
        }
    }
}

/// Words, quoted identifiers and signs of a statement; string literals are left out.
pub struct Tokens<'a>(&'a str);

impl<'a> Tokens<'a> {
    /// Those of `sql`.
    #[must_use]
    pub fn new(sql: &'a str) -> Self {
        Tokens(sql)
    }

    /// The text after the last token.
    #[must_use]
    pub fn rest(&self) -> &'a str {
        self.0
    }

    /// Takes what stands between two `quote`s; a doubled one is itself.
    fn quoted(&mut self, quote: char) -> String {
        let mut text = String::new();
        let mut chars = self.0.char_indices().skip(1).peekable();
        while let Some((at, c)) = chars.next() {
            if c != quote {
                text.push(c);
            } else if chars.next_if(|(_, next)| *next == quote).is_some() {
                text.push(quote);
            } else {
                self.0 = &self.0[at + 1..];
                return text;
            }
        }
        self.0 = "";
        text
    }
}

impl Iterator for Tokens<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        loop {
            self.0 = self.0.trim_start();
            let first = self.0.chars().next()?;
            if first == '\'' {
                self.quoted('\'');
                continue;
            }
            if first == '"' {
                return Some(Token::Quoted(self.quoted('"')));
            }
            let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == '$' || !c.is_ascii();
            if !is_word(first) {
                self.0 = &self.0[first.len_utf8()..];
                return Some(Token::Other(first));
            }
            let end = self.0.find(|c| !is_word(c)).unwrap_or(self.0.len());
            let (word, rest) = self.0.split_at(end);
            self.0 = rest;
            return Some(Token::Word(word.to_owned()));
        }
    }
}
