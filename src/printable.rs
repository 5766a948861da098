//! Foreign text, made harmless for a terminal: what comes from a database, an archive, a manifest or a server's message may hold
//! characters that move the cursor, change colours or turn the direction of what follows. The one place that all text for people passes.

use std::borrow::Cow;
use std::fmt::Write as _;

use crate::raw_text;

/// The text with everything escaped that a terminal would obey; line feeds and tabs stay, as in a message of several lines.
#[must_use]
pub fn lines(text: &str) -> Cow<'_, str> {
    escaped(text, &|c| is_command(c) && c != '\n' && c != '\t')
}

/// The same for what must be one line: a name, a cell of a table, a line of a log.
#[must_use]
pub fn line(text: &str) -> Cow<'_, str> {
    escaped(text, &is_command)
}

fn escaped<'a>(text: &'a str, is_bad: &dyn Fn(char) -> bool) -> Cow<'a, str> {
    if !text.contains(is_bad) {
        return Cow::Borrowed(text);
    }
    let mut clean = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        // What cannot be written cannot fail to be written to a string.
        let _ = match (c, raw_text::kept_byte(c)) {
            (c, _) if !is_bad(c) => write!(clean, "{c}"),
            (_, Some(byte)) => write!(clean, "\\x{byte:02x}"),
            ('\n', _) => write!(clean, "\\n"),
            ('\r', _) => write!(clean, "\\r"),
            ('\t', _) => write!(clean, "\\t"),
            (c, _) if c.is_ascii() => write!(clean, "\\x{:02x}", u32::from(c)),
            (c, _) => write!(clean, "\\u{{{:x}}}", u32::from(c)),
        };
    }
    Cow::Owned(clean)
}

/// Whether a terminal does something at `c` but to show it.
fn is_command(c: char) -> bool {
    match raw_text::kept_byte(c) {
        // C1 controls, as a terminal reads them that is not set to UTF-8.
        Some(byte) => (0x80..0xA0).contains(&byte),
        None => c.is_control() || is_invisible(c),
    }
}

/// Characters without a form of their own that change how others look: separators of lines, marks and turns of direction, tags.
fn is_invisible(c: char) -> bool {
    matches!(
        u32::from(c),
        0x00AD | 0x061C | 0x180E | 0x200B | 0x200E | 0x200F | 0x2028..=0x202E | 0x2060..=0x206F | 0xFEFF | 0xFFF9..=0xFFFB | 0xE0000..=0xE007F
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys_is_left() {
        let bad = "a\u{1b}[2Jb\u{9b}31m\r\u{7}\u{202e}c\u{7f}";
        let shown = line(bad);
        assert_eq!(shown, "a\\x1b[2Jb\\u{9b}31m\\r\\x07\\u{202e}c\\x7f");
        assert_eq!(line("a\nb\tc"), "a\\nb\\tc");
        assert_eq!(lines("a\nb\tc\u{1b}"), "a\nb\tc\\x1b");
        assert_eq!(line(&raw_text::decode(b"t\x9bx")), "t\\x9bx");
        for plain in ["public.Größe", "表", "👍", "a b", &raw_text::decode(b"caf\xe9")] {
            assert!(matches!(line(plain), Cow::Borrowed(_)), "{plain}");
        }
    }
}
