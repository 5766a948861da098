//! Templates: text with names in braces, which become values. What the values are put into decides how they are written.

use std::fmt::Write as _;

/// What a value is put into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Into {
    /// A JSON text: quotes and line feeds are escaped.
    Json,
    /// A URL: all but letters and digits is escaped.
    Url,
    /// A header: one line of ASCII.
    Header,
    /// Plain text.
    Text,
}

/// `template` with the values. A brace that begins no known name stays what it is, as JSON has many.
pub fn fill(template: &str, values: &[(&str, String)], into: Into) -> String {
    let mut filled = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(at) = rest.find('{') {
        filled.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let known = after.find('}').and_then(|end| {
            let (_, value) = values.iter().find(|(name, _)| *name == &after[..end])?;
            Some((end, value))
        });
        match known {
            Some((end, value)) => {
                let quoted = filled.ends_with('"') || in_string(&filled);
                write(&mut filled, value, into, quoted);
                rest = &after[end + 1..];
            }
            None => {
                filled.push('{');
                rest = after;
            }
        }
    }
    filled + rest
}

/// Whether what was written so far ends inside of a JSON string.
fn in_string(text: &str) -> bool {
    let mut inside = false;
    let mut escaped = false;
    for c in text.chars() {
        match c {
            '"' if !escaped => inside = !inside,
            _ => {}
        }
        escaped = c == '\\' && !escaped;
    }
    inside
}

fn write(filled: &mut String, value: &str, into: Into, quoted: bool) {
    match into {
        // Outside of quotes stand numbers, and JSON that was made before.
        Into::Json if !quoted => filled.push_str(value),
        Into::Json => {
            let text = serde_json::Value::String(value.to_owned()).to_string();
            filled.push_str(&text[1..text.len() - 1]);
        }
        Into::Url => {
            for byte in value.bytes() {
                match byte {
                    b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                        filled.push(char::from(byte))
                    }
                    byte => {
                        let _ = write!(filled, "%{byte:02X}");
                    }
                }
            }
        }
        Into::Header => {
            let plain = |c: char| if c.is_ascii_graphic() || c == ' ' { c } else { '?' };
            filled.extend(value.chars().map(plain));
        }
        Into::Text => filled.push_str(value),
    }
}

/// `text` of at most `limit` characters, or bytes; what is cut off is marked.
pub fn cut(text: &str, limit: usize, bytes: bool) -> String {
    const MARK: &str = " […]";
    let size = |text: &str| if bytes { text.len() } else { text.encode_utf16().count() };
    if size(text) <= limit {
        return text.to_owned();
    }
    let mut cut = String::new();
    let mut used = size(MARK);
    for c in text.chars() {
        used += if bytes { c.len_utf8() } else { c.len_utf16() };
        if used > limit {
            break;
        }
        cut.push(c);
    }
    cut + MARK
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_as_what_they_are_put_into_wants_them() {
        let values = [("message", "a \"b\"\n& c".to_owned()), ("number", "7".to_owned())];
        assert_eq!(
            fill(
                "{\"m\": \"so: {message}\", \"n\": {number}, \"o\": {}, \"{unknown}\": 1}",
                &values,
                Into::Json
            ),
            "{\"m\": \"so: a \\\"b\\\"\\n& c\", \"n\": 7, \"o\": {}, \"{unknown}\": 1}"
        );
        assert_eq!(fill("?m={message}", &values, Into::Url), "?m=a%20%22b%22%0A%26%20c");
        assert_eq!(fill("{message}", &values, Into::Header), "a \"b\"?& c");
        assert_eq!(fill("{message", &values, Into::Text), "{message");
    }

    #[test]
    fn a_long_text_is_cut_to_the_limit() {
        assert_eq!(cut("short", 5, false), "short");
        let cut_off = cut(&"ä".repeat(100), 20, true);
        assert!(
            cut_off.len() <= 20 && cut_off.ends_with('…') | cut_off.ends_with(']'),
            "{cut_off}"
        );
        assert_eq!(cut(&"😀".repeat(100), 14, false), "😀😀😀😀😀 […]");
    }
}
