//! Passwords from `~/.pgpass`.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::dsn::Host;
use crate::raw_text;
use crate::secret::Secret;

/// The password that the file at `path` has for this login; none when the file is absent or others may
/// read it (libpq warns and ignores it then, and so do we).
pub(super) fn find(path: &Path, host: &Host, database: &str, user: &str) -> Option<Secret> {
    let metadata = std::fs::metadata(path).ok()?;
    if !metadata.is_file() {
        tracing::warn!("password file {} is not a plain file", path.display());
        return None;
    }
    if metadata.mode() & 0o077 != 0 {
        tracing::warn!(
            "password file {} has group or world access; permissions should be u=rw (0600) or less",
            path.display()
        );
        return None;
    }
    let text = raw_text::decode(&std::fs::read(path).ok()?);
    search(&text, host, database, user).map(Secret::new)
}

fn search(text: &str, host: &Host, database: &str, user: &str) -> Option<String> {
    let default_socket = ["/var/run/postgresql", "/tmp"].contains(&host.name.as_str());
    let name = if default_socket { "localhost" } else { &host.name };
    let port = host.port.to_string();
    text.lines().find_map(|line| {
        if line.starts_with('#') {
            return None;
        }
        let fields = split(line);
        let [host_field, port_field, database_field, user_field, password, ..] = fields.as_slice() else {
            return None;
        };
        let fits = |field: &Field, value: &str| field.wildcard || field.text == value;
        (fits(host_field, name)
            && fits(port_field, &port)
            && fits(database_field, database)
            && fits(user_field, user)
            && !password.text.is_empty())
        .then(|| password.text.clone())
    })
}

struct Field {
    text: String,
    /// A lone `*`; an escaped one is the name `*`.
    wildcard: bool,
}

/// The fields of a line: `:` separates, a backslash makes the next character plain.
fn split(line: &str) -> Vec<Field> {
    let mut fields = Vec::new();
    let mut field = Field {
        text: String::new(),
        wildcard: false,
    };
    let mut escaped_any = false;
    let mut chars = line.chars();
    let mut close = |field: &mut Field, escaped_any: &mut bool| {
        field.wildcard = field.text == "*" && !*escaped_any;
        *escaped_any = false;
        fields.push(std::mem::replace(
            field,
            Field {
                text: String::new(),
                wildcard: false,
            },
        ));
    };
    while let Some(c) = chars.next() {
        match c {
            '\\' => {
                escaped_any = true;
                field.text.extend(chars.next());
            }
            ':' => close(&mut field, &mut escaped_any),
            c => field.text.push(c),
        }
    }
    close(&mut field, &mut escaped_any);
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(text: &str, host: &str, database: &str) -> Option<String> {
        let host = Host {
            name: host.to_owned(),
            address: None,
            port: 5432,
        };
        search(text, &host, database, "ann")
    }

    #[test]
    fn the_first_line_that_fits_wins() {
        let file = "# a comment\nother:*:*:*:no\ndb:5432:shop:ann:one\ndb:*:*:*:two\n";
        assert_eq!(find(file, "db", "shop").unwrap(), "one");
        assert_eq!(find(file, "db", "else").unwrap(), "two");
        assert_eq!(find(file, "nowhere", "shop"), None);
    }

    #[test]
    fn escapes_and_the_default_socket_are_understood() {
        assert_eq!(find(r"localhost:*:*:*:a\:b\\c", "/tmp", "x").unwrap(), r"a:b\c");
        assert_eq!(find(r"db:*:\*:*:p", "db", "x"), None);
        assert_eq!(find(r"db:*:\*:*:p", "db", "*").unwrap(), "p");
    }
}
