//! Passwords out of text, whatever the text is: the one place that everything passes on its way to a person, a program or a store.
//!
//! Errors and records are made with care not to hold any. This is for what care does not reach: what a server, a library or
//! a person wrote, and connection strings that were taken for something else.

use std::borrow::Cow;

/// What stands for a secret.
pub const REDACTED: &str = "********";

/// What a key of a secret ends with, in whatever letters: `sslpassword`, `PGPASSWORD`, `passwd`.
const KEYS: [&str; 3] = ["password", "passwd", "pwd"];

/// How far a URL may be broken by blanks in its password.
const FARTHEST: usize = 256;

/// The text without `scheme://user:password@` and without the values of `password=`.
#[must_use]
pub fn secrets(text: &str) -> Cow<'_, str> {
    let mut found = urls(text);
    found.extend(values(text));
    if found.is_empty() {
        return Cow::Borrowed(text);
    }
    found.sort_unstable();
    let (mut shown, mut at) = (String::with_capacity(text.len()), 0);
    for (from, to) in found {
        // Of two that overlap, both are gone.
        if from >= at {
            shown.push_str(&text[at..from]);
            shown.push_str(REDACTED);
        }
        at = at.max(to);
    }
    shown.push_str(&text[at..]);
    Cow::Owned(shown)
}

/// The same for JSON: what is in its strings is cleaned, and it stays JSON.
#[must_use]
pub fn json(text: &str) -> Cow<'_, str> {
    let (mut cleaned, mut kept, mut at) = (String::new(), 0, 0);
    let bytes = text.as_bytes();
    while let Some(open) = memchr::memchr(b'"', &bytes[at..]).map(|found| at + found) {
        let mut close = open + 1;
        while close < bytes.len() && bytes[close] != b'"' {
            close += if bytes[close] == b'\\' { 2 } else { 1 };
        }
        at = (close + 1).min(bytes.len());
        let literal = text.get(open..at).unwrap_or_default();
        let Ok(string) = serde_json::from_str::<String>(literal) else {
            continue;
        };
        if let Cow::Owned(string) = secrets(&string)
            && let Ok(literal) = serde_json::to_string(&string)
        {
            cleaned.push_str(&text[kept..open]);
            cleaned.push_str(&literal);
            kept = at;
        }
    }
    if kept == 0 {
        return Cow::Borrowed(text);
    }
    cleaned.push_str(&text[kept..]);
    Cow::Owned(cleaned)
}

/// Where the passwords of URLs are.
fn urls(text: &str) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut done = 0;
    for (marker, _) in text.match_indices('/') {
        let begin = marker + 1;
        // `://`, and what is left of it where somebody mistyped it: `:/`, `//`.
        let is_marker = matches!(text.as_bytes().get(marker.wrapping_sub(1)), Some(b':' | b'/'));
        if begin < done || !is_marker || text.as_bytes().get(begin) == Some(&b'/') {
            continue;
        }
        if let Some((from, to)) = login(&text[begin..]) {
            found.push((begin + from, begin + to));
            done = begin + to;
        }
    }
    found.extend(oracle(text));
    found
}

/// Where the password is in what follows `://`.
fn login(rest: &str) -> Option<(usize, usize)> {
    let run = rest.find(char::is_whitespace).unwrap_or(rest.len());
    // The last @ counts: a password that was not encoded may hold one.
    if let Some(at) = rest[..run].rfind('@') {
        let colon = rest[..at].find(':')?;
        return Some((colon + 1, at)).filter(|(from, to)| !is_redacted(&rest[*from..*to]));
    }
    // A host may have a port, and nothing else comes after a colon: so this is a password that has blanks, or a URL that is cut.
    let colon = rest[..run].find(':')?;
    let after = &rest[colon + 1..run];
    let digits = after.bytes().take_while(u8::is_ascii_digit).count();
    let ends = |c: char| {
        matches!(
            c,
            '/' | '?' | ',' | '#' | '"' | '\'' | '`' | ')' | ']' | '}' | ';' | '.' | ':'
        )
    };
    if after[digits..].is_empty() || after[digits..].starts_with(ends) || is_redacted(after) {
        return None;
    }
    let mut far = rest.len().min(FARTHEST);
    while !rest.is_char_boundary(far) {
        far -= 1;
    }
    let to = rest[colon..far].rfind('@').map_or(run, |at| colon + at);
    Some((colon + 1, to))
}

/// `jdbc:oracle:thin:user/password@host`.
fn oracle(text: &str) -> Vec<(usize, usize)> {
    let thin = text.match_indices("jdbc:").filter_map(|(begin, _)| {
        let run = text[begin..].split(char::is_whitespace).next()?;
        let at = run.rfind('@').filter(|_| !run.contains("//"))?;
        let slash = run[..at].find('/')?;
        Some((begin + slash + 1, begin + at)).filter(|(from, to)| !is_redacted(&text[*from..*to]))
    });
    thin.collect()
}

/// Where the values of passwords are: `password=x`, `password = 'x y'`, `"password": "x"`, and SQL's `PASSWORD 'x'`.
fn values(text: &str) -> Vec<(usize, usize)> {
    let lower = text.to_ascii_lowercase();
    let mut found = Vec::new();
    for key in KEYS {
        for (at, _) in lower.match_indices(key) {
            let after = at + key.len();
            found.extend(value(text, after).filter(|(from, to)| !is_redacted(&text[*from..*to])));
        }
    }
    found
}

/// Where the value is of a key that ends at `after`.
fn value(text: &str, after: usize) -> Option<(usize, usize)> {
    let rest = &text[after..];
    let quoted_key = rest.strip_prefix(['"', '\'']);
    let unquoted = quoted_key.unwrap_or(rest).trim_start();
    let value = match unquoted.strip_prefix('=') {
        Some(value) => value.trim_start(),
        None if quoted_key.is_some() => unquoted.strip_prefix(':')?.trim_start(),
        None if rest.starts_with(char::is_whitespace) && unquoted.starts_with('\'') => unquoted,
        None => return None,
    };
    let from = text.len() - value.len();
    let quotes = value
        .bytes()
        .take_while(|byte| matches!(byte, b'"' | b'\'' | b'`'))
        .count();
    if let Some(quote) = value.bytes().next().filter(|_| quotes > 0) {
        let inner = &value[quotes..];
        let end = closing(inner, quote);
        return Some((from + quotes, from + quotes + end)).filter(|(from, to)| from < to);
    }
    let before = &text[..after];
    let in_url = before
        .rsplit(char::is_whitespace)
        .next()
        .is_some_and(|run| run.contains(['?', '&']));
    let ends = |c: char| c.is_whitespace() || in_url && c == '&';
    let end = value.find(ends).unwrap_or(value.len());
    let shown = value[..end].trim_end_matches(['"', '\'', '`', ')', ']', '}', ',']);
    (!shown.is_empty()).then_some((from, from + shown.len()))
}

/// Where a quoted value ends: at the first quote that no backslash is before, or else with the line.
fn closing(inner: &str, quote: u8) -> usize {
    let mut escaped = false;
    for (at, byte) in inner.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'\n' => return at,
            byte if byte == quote => return at,
            _ => {}
        }
    }
    inner.len()
}

fn is_redacted(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_stays_in_any_text() {
        for text in [
            "postgresql://bob:hush@db/app",
            "postgresql+psycopg2://bob:hush@db.example.com/app?sslmode=require",
            "cannot open \"mysql://bob:hush@db/app\": no",
            "postgresql://bob:hu/sh@db/app",
            "postgresql://bob:hush@with@db/app?sslmode=require",
            "postgresql://bob:hu sh@db/app",
            "postgresql:/bob:hush@db/app",
            "//bob:hush@db/app",
            "postgresql://bob:hush",
            "redis://:hush@db",
            "jdbc:oracle:thin:bob/hush@db",
            "sqlserver://db;user=bob;password=hush;",
            "postgres://db/app?user=bob&password=hush&sslmode=disable",
            "host=db user=bob password=hush dbname=app",
            "host=db user=bob PASSWORD = 'hush with blanks' dbname=app",
            "host=db password='it\\'s hush'",
            "db sslpassword=hush",
            "Host=db;Username=bob;Password=hush;Database=app",
            "db PGPASSWORD=hush",
            "db: ALTER ROLE bob PASSWORD 'hush'",
            "db {\"password\": \"hush\"}",
            "db CREATE SUBSCRIPTION s CONNECTION 'host=x password=''hush'''",
            "db password = \"hush",
        ] {
            let shown = secrets(text);
            assert!(!shown.contains("hu") && !shown.contains("sh@"), "{shown}");
            assert!(shown.contains("db") || text.ends_with("hush"), "{shown}");
            assert_eq!(secrets(&shown), shown, "cleaned once is clean");
        }
    }

    #[test]
    fn what_is_no_secret_stays() {
        for text in [
            "postgresql://bob@db:5433/app?sslmode=require",
            "http://127.0.0.1:9000/bucket: refused",
            "https://docs.example.com and bob@example.com",
            "set only one of password, password_file and password_credential",
            "FATAL:  password authentication failed for user \"ann\"",
            "password file /home/a/.pgpass has group or world access",
            "backups/app: 5 files",
            "password=********",
            "postgres://bob:********@db/app",
        ] {
            assert_eq!(secrets(text), text);
        }
    }

    #[test]
    fn json_stays_json() {
        let text = r#"{"error":"no \"mysql://u:pw","user":"a@b","n":[1,"postgres://u:hush@h/d"]}"#;
        let cleaned = json(text);
        let value: serde_json::Value = serde_json::from_str(&cleaned).unwrap();
        assert_eq!(value["user"], "a@b");
        assert_eq!(value["n"][1], "postgres://u:********@h/d");
        assert!(!cleaned.contains("hush") && !cleaned.contains(":pw"), "{cleaned}");
        assert!(matches!(json("{\"a\":\"b\"}"), Cow::Borrowed(_)));
    }
}
