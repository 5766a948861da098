//! What is known of the terminal that a person sits at.

use std::env;
use std::io::{self, IsTerminal as _};

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// Columns of a terminal that does not tell how wide it is.
const USUAL_WIDTH: usize = 80;

/// Columns of the terminal that standard output goes to; `None` when it goes to a file or a pipe.
#[must_use]
pub fn output_width() -> Option<usize> {
    let stdout = io::stdout();
    stdout
        .is_terminal()
        .then(|| width(terminal_size::terminal_size_of(stdout)))
}

/// Columns of the terminal that standard error goes to.
#[must_use]
pub fn error_width() -> usize {
    width(terminal_size::terminal_size_of(io::stderr()))
}

fn width(size: Option<(terminal_size::Width, terminal_size::Height)>) -> usize {
    match size {
        Some((terminal_size::Width(columns), _)) if columns > 0 => usize::from(columns),
        _ => USUAL_WIDTH,
    }
}

/// Whether standard error is a terminal on which the cursor can be moved.
#[must_use]
pub fn can_redraw() -> bool {
    let dumb = env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
    io::stderr().is_terminal() && !dumb
}

/// Whether standard error may be coloured: a terminal, and no `NO_COLOR` in the environment.
#[must_use]
pub fn has_colour() -> bool {
    can_redraw() && env::var_os("NO_COLOR").is_none_or(|wish| wish.is_empty())
}

/// Whether standard output may be coloured.
#[must_use]
pub fn has_colour_output() -> bool {
    let dumb = env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
    io::stdout().is_terminal() && !dumb && env::var_os("NO_COLOR").is_none_or(|wish| wish.is_empty())
}

/// Columns that `text` takes on a terminal.
#[must_use]
pub fn columns(text: &str) -> usize {
    text.width()
}

/// `text` in lines of at most `width` columns: broken between words, and within a word that is longer than a line.
#[must_use]
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let width = width.max(1);
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let needed = columns(word) + usize::from(used > 0);
        if used > 0 && used + needed > width {
            lines.push(String::new());
            used = 0;
        }
        let Some(line) = lines.last_mut() else { break };
        if used > 0 {
            line.push(' ');
            used += 1;
        }
        for letter in word.chars() {
            let next = letter.width().unwrap_or(0);
            if used + next > width {
                lines.push(String::new());
                used = 0;
            }
            lines.last_mut().into_iter().for_each(|line| line.push(letter));
            used += next;
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_broken_between_words() {
        assert_eq!(wrap("one two three", 8), ["one two", "three"]);
        assert_eq!(wrap("a verylongword", 6), ["a", "verylo", "ngword"]);
        assert_eq!(wrap("表表 表", 4), ["表表", "表"]);
        assert_eq!(wrap("", 10), [""]);
    }
}
