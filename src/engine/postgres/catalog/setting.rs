//! Values of configuration parameters as `SET` and `ALTER … SET` must write them.

/// Parameters whose value is a list of identifiers, each to be quoted on its own (`GUC_LIST_QUOTE`).
const QUOTED_LISTS: &[&str] = &[
    "local_preload_libraries",
    "search_path",
    "session_preload_libraries",
    "shared_preload_libraries",
    "temp_tablespaces",
    "unix_socket_directories",
];

/// `value` of the parameter `name`, as the right side of `SET name TO`; `literal` writes a string.
#[must_use]
pub fn value(name: &str, value: &str, literal: impl Fn(&str) -> String) -> String {
    if !QUOTED_LISTS.iter().any(|list| list.eq_ignore_ascii_case(name)) {
        return literal(value);
    }
    let items = split_list(value);
    if items.is_empty() {
        // An empty list needs some value after TO, and the empty string stands for it.
        return literal("");
    }
    let quoted: Vec<_> = items.iter().map(|item| literal(item)).collect();
    quoted.join(", ")
}

/// The identifiers of a list as the server stores it, without their quotes; of a malformed list what is
/// readable.
fn split_list(list: &str) -> Vec<String> {
    let mut items = Vec::new();
    let mut rest = list.trim_matches(is_space);
    while !rest.is_empty() {
        let (item, after) = match rest.strip_prefix('"') {
            Some(quoted) => take_quoted(quoted),
            None => take_plain(rest),
        };
        items.push(item);
        let after = after.trim_start_matches(is_space);
        let Some(after) = after.strip_prefix(',') else { break };
        rest = after.trim_start_matches(is_space);
    }
    items
}

/// An identifier up to its closing quote, and what follows that.
fn take_quoted(text: &str) -> (String, &str) {
    let mut item = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('"') {
        item.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        match rest.strip_prefix('"') {
            Some(after) => {
                item.push('"');
                rest = after;
            }
            None => return (item, rest),
        }
    }
    item.push_str(rest);
    (item, "")
}

/// An identifier without quotes, and what follows it.
fn take_plain(text: &str) -> (String, &str) {
    let end = text.find(|c| c == ',' || is_space(c)).unwrap_or(text.len());
    (text[..end].to_owned(), &text[end..])
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | '\u{b}' | '\u{c}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn literal(text: &str) -> String {
        format!("'{text}'")
    }

    #[test]
    fn lists_are_quoted_item_by_item() {
        for (stored, written) in [
            ("public, pg_catalog", "'public', 'pg_catalog'"),
            (r#""$user", "Odd ""name""", x"#, r#"'$user', 'Odd "name"', 'x'"#),
            (r#""""#, "''"),
            ("", "''"),
        ] {
            assert_eq!(value("search_path", stored, literal), written, "{stored}");
        }
    }

    #[test]
    fn other_values_are_one_string() {
        assert_eq!(value("work_mem", "4MB", literal), "'4MB'");
        assert_eq!(value("datestyle", "iso, mdy", literal), "'iso, mdy'");
    }
}
