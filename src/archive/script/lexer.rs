//! Where the statements of a script end, by the rules of psql: a semicolon that stands in no quotes, no
//! comment, no parentheses and no body of `BEGIN ATOMIC … END`.

use memchr::{memchr, memmem};

use crate::error::{Exit, Fail, Result};
use crate::sql::encoding::Characters;

/// Finds the end of one statement after the other in text that comes bit by bit.
#[derive(Debug, Default)]
pub(super) struct Lexer {
    /// How the client encoding forms characters.
    pub(super) characters: Characters,
    /// `standard_conforming_strings` is off: backslashes escape in every string.
    pub(super) escapes: bool,
    /// So much of the text was looked at.
    at: usize,
    within: Within,
    /// Something of a statement was there, and not only comments.
    begun: bool,
    parens: u32,
    /// Brackets around slices, whose colons begin no variables.
    brackets: u32,
    /// Bodies and CASEs that an END closes.
    begins: u32,
    words: usize,
    /// Groups in parentheses after VALUES.
    groups: u64,
    /// As many as the last statement had.
    last_groups: u64,
    /// First letters of the words `CREATE OR REPLACE FUNCTION|PROCEDURE` that the statement begins with.
    head: [u8; 4],
}

#[derive(Debug, Default)]
enum Within {
    #[default]
    Nothing,
    String {
        escapes: bool,
    },
    /// Behind a string with escapes, which one on a later line may go on.
    Continued {
        on_next_line: bool,
        in_comment: bool,
    },
    Identifier,
    /// A string between two of this tag.
    Dollars(Vec<u8>),
    LineComment,
    /// How deep comments are nested.
    Comment(u32),
}

/// What one step came to.
enum Step {
    On,
    /// The text that is there does not tell.
    More,
    End,
    /// A backslash begins a command of psql.
    Command,
}

/// Where a statement ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Here, after its semicolon, or after the comment in front of it.
    Own(usize),
    /// Here, where a command of psql begins.
    Command(usize),
}

/// A word that is longer is none: this is no SQL text.
const LONGEST_WORD: usize = 1 << 20;

impl Lexer {
    /// Where the statement ends that `text` begins with; `None` when more text is needed. The next call must be about
    /// the same text, longer. `last` says that there is no more.
    ///
    /// # Errors
    /// There is something that only psql understands.
    pub(super) fn end(&mut self, text: &[u8], last: bool) -> Result<Option<End>> {
        loop {
            match self.step(text, last)? {
                Step::On => {}
                Step::More => return Ok(None),
                Step::End => {
                    let end = self.at;
                    self.restart();
                    return Ok(Some(End::Own(end)));
                }
                Step::Command => {
                    let end = self.at;
                    self.restart();
                    return Ok(Some(End::Command(end)));
                }
            }
        }
    }

    /// How much of the text was looked at: where something is wrong.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// How many rows the last statement has, if it is an INSERT of VALUES.
    pub(super) fn rows(&self) -> u64 {
        self.last_groups
    }

    /// Forgets the statement, but not the settings.
    fn restart(&mut self) {
        *self = Lexer {
            characters: self.characters,
            escapes: self.escapes,
            last_groups: self.groups,
            ..Lexer::default()
        };
    }

    fn step(&mut self, text: &[u8], last: bool) -> Result<Step> {
        let rest = text.get(self.at..).unwrap_or_default();
        Ok(match &self.within {
            Within::Nothing => return self.plain(rest, last),
            Within::String { escapes } => self.string(rest, *escapes, last),
            Within::Continued {
                on_next_line,
                in_comment,
            } => self.continued(rest, *on_next_line, *in_comment, last),
            Within::Identifier => self.until(rest, b'"'),
            Within::LineComment => self.until(rest, b'\n'),
            Within::Comment(_) => self.comment(rest, last),
            Within::Dollars(tag) => match memmem::find(rest, tag) {
                Some(at) => {
                    self.at += at + tag.len();
                    self.leave()
                }
                None => {
                    // The tag may have begun in the last bytes.
                    self.at += rest.len().saturating_sub(tag.len() - 1);
                    Step::More
                }
            },
        })
    }

    fn leave(&mut self) -> Step {
        self.within = Within::Nothing;
        Step::On
    }

    fn enter(&mut self, within: Within, len: usize) -> Step {
        self.within = within;
        self.at += len;
        Step::On
    }

    fn skip(&mut self, len: usize) -> Step {
        self.at += len;
        Step::On
    }

    fn plain(&mut self, rest: &[u8], last: bool) -> Result<Step> {
        let comment = rest.starts_with(b"/") && (rest.len() == 1 || rest.starts_with(b"/*"));
        self.begun |= !comment && rest.first().is_some_and(|byte| !byte.is_ascii_whitespace());
        Ok(match rest {
            [] => Step::More,
            [b'\'', ..] => {
                let escapes = self.escapes;
                self.enter(Within::String { escapes }, 1)
            }
            [b'"', ..] => self.enter(Within::Identifier, 1),
            [b'-' | b'/' | b':' | b'E' | b'e'] if !last => Step::More,
            [b'-', b'-', ..] => self.enter(Within::LineComment, 2),
            [b'/', b'*', ..] => self.enter(Within::Comment(1), 2),
            [b'E' | b'e', b'\'', ..] => {
                self.words += 1;
                self.enter(Within::String { escapes: true }, 2)
            }
            [b':', next, ..] => return self.colon(*next),
            [b'$', after @ ..] => self.dollar(after, last),
            [b'(', ..] => {
                self.groups += u64::from(self.parens == 0);
                self.parens += 1;
                self.skip(1)
            }
            [b')', ..] => {
                self.parens = self.parens.saturating_sub(1);
                self.skip(1)
            }
            [b'[', ..] => {
                self.brackets += 1;
                self.skip(1)
            }
            [b']', ..] => {
                self.brackets = self.brackets.saturating_sub(1);
                self.skip(1)
            }
            [b';', ..] => {
                self.at += 1;
                if self.parens == 0 && self.begins == 0 {
                    Step::End
                } else {
                    Step::On
                }
            }
            [b'\\', ..] => Step::Command,
            [byte, ..] if is_word(*byte) => return self.word(rest, last),
            _ => self.skip(1),
        })
    }

    /// `::` and `:=` are SQL, and so are the colons of slices; all else names a variable of psql.
    fn colon(&mut self, next: u8) -> Result<Step> {
        let variable = is_word(next) || matches!(next, b'\'' | b'"' | b'{');
        if variable && self.brackets == 0 {
            return Err(refused("a variable of psql, whose value nobody knows here"));
        }
        Ok(self.skip(if matches!(next, b':' | b'=') { 2 } else { 1 }))
    }

    /// `$tag$` begins a string; `$1` and a lone `$` do not.
    fn dollar(&mut self, after: &[u8], last: bool) -> Step {
        let end = after.iter().position(|byte| !is_word(*byte) || *byte == b'$');
        match end {
            None if !last && after.len() < LONGEST_WORD => Step::More,
            Some(end) if after[end] == b'$' && !after[0].is_ascii_digit() => {
                let tag = [b"$", &after[..=end]].concat();
                let len = tag.len();
                self.enter(Within::Dollars(tag), len)
            }
            _ => self.skip(1),
        }
    }

    /// A name, a keyword or a number.
    fn word(&mut self, rest: &[u8], last: bool) -> Result<Step> {
        let mut len = 0;
        while rest.get(len).is_some_and(|byte| is_word(*byte)) {
            len += self.characters.first(&rest[len..]);
        }
        // The longest character has four bytes.
        if len + 4 > rest.len() && !last {
            if len > LONGEST_WORD {
                return Err(refused("something that is no SQL text"));
            }
            return Ok(Step::More);
        }
        let word = rest[..len].to_ascii_lowercase();
        if let Some(letter) = self.head.get_mut(self.words)
            && let b"create" | b"or" | b"replace" | b"function" | b"procedure" = word.as_slice()
        {
            *letter = word[0];
        }
        self.words += 1;
        if self.parens == 0 && word == b"values" {
            self.groups = 0;
        }
        if self.parens == 0 && matches!(self.head, [b'c', b'f' | b'p', ..] | [b'c', b'o', b'r', b'f' | b'p']) {
            match word.as_slice() {
                b"begin" => self.begins += 1,
                b"case" if self.begins > 0 => self.begins += 1,
                b"end" => self.begins = self.begins.saturating_sub(1),
                _ => {}
            }
        }
        Ok(self.skip(len))
    }

    fn string(&mut self, rest: &[u8], escapes: bool, last: bool) -> Step {
        let mut at = 0;
        loop {
            match rest.get(at..) {
                None | Some([]) => {
                    self.at += at.min(rest.len());
                    return Step::More;
                }
                Some([b'\'']) if !last => {
                    self.at += at;
                    return Step::More;
                }
                Some([b'\'', b'\'', ..]) => at += 2,
                Some([b'\'', ..]) if escapes => {
                    let behind = Within::Continued {
                        on_next_line: false,
                        in_comment: false,
                    };
                    return self.enter(behind, at + 1);
                }
                Some([b'\'', ..]) => {
                    self.at += at + 1;
                    return self.leave();
                }
                Some(text) if escapes || self.characters != Characters::AsciiApart => {
                    let len = if escapes && text[0] == b'\\' {
                        2
                    } else {
                        self.characters.first(text)
                    };
                    // A character or an escape that is not there as a whole waits for its end.
                    if !last && text.len() < 4 && (len > 1 || text[0] >= 0x80) && text.len() <= len {
                        self.at += at;
                        return Step::More;
                    }
                    at += len;
                }
                Some(text) => at += memchr(b'\'', text).unwrap_or(text.len()),
            }
        }
    }

    /// Only a line feed, and blanks and comments, may stand between two parts of a string.
    fn continued(&mut self, rest: &[u8], mut on_next_line: bool, mut in_comment: bool, last: bool) -> Step {
        let mut at = 0;
        loop {
            match &rest[at..] {
                text if in_comment => {
                    let end = memchr(b'\n', text);
                    at += end.unwrap_or(text.len());
                    in_comment = end.is_none();
                    if in_comment && last {
                        self.at += at;
                        return self.leave();
                    }
                    if in_comment {
                        break;
                    }
                }
                [b'\'', ..] if on_next_line => return self.enter(Within::String { escapes: true }, at + 1),
                [b'-', b'-', ..] => {
                    at += 2;
                    in_comment = true;
                }
                [] | [b'-'] if !last => break,
                [blank, ..] if blank.is_ascii_whitespace() || *blank == 0x0b => {
                    on_next_line |= matches!(blank, b'\n' | b'\r');
                    at += 1;
                }
                _ => {
                    self.at += at;
                    return self.leave();
                }
            }
        }
        // What was looked at is not looked at again.
        self.at += at;
        self.within = Within::Continued {
            on_next_line,
            in_comment,
        };
        Step::More
    }

    fn until(&mut self, rest: &[u8], end: u8) -> Step {
        match memchr(end, rest) {
            Some(at) => {
                self.at += at + 1;
                self.leave()
            }
            None => {
                self.at += rest.len();
                Step::More
            }
        }
    }

    /// Comments may be nested.
    fn comment(&mut self, rest: &[u8], last: bool) -> Step {
        let Within::Comment(depth) = &mut self.within else {
            return Step::On;
        };
        match rest {
            [] => return Step::More,
            [b'*' | b'/'] if !last => return Step::More,
            [b'*', b'/', ..] => {
                *depth -= 1;
                self.at += 2;
                if *depth == 0 {
                    self.leave();
                    return if self.begun { Step::On } else { Step::End };
                }
            }
            [b'/', b'*', ..] => {
                *depth += 1;
                self.at += 2;
            }
            [_, after @ ..] => {
                let next = after.iter().position(|byte| matches!(byte, b'*' | b'/'));
                self.at += 1 + next.unwrap_or(after.len());
            }
        }
        Step::On
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$') || byte >= 0x80
}

fn refused(what: &str) -> anyhow::Error {
    Fail::new(Exit::Usage, format!("there is {what}"))
        .hint(super::REFUSED)
        .into()
}

#[cfg(test)]
mod tests;
