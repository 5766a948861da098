//! Which names objects may have.

use crate::error::Result;

/// The longest name of one folder or object: file systems allow 255 bytes, and a temporary name is longer.
const LONGEST_PART: usize = 200;

/// Whether `part` may name a folder or an object: letters, digits and `._-`, not hidden.
#[must_use]
pub fn is_part(part: &str) -> bool {
    !part.is_empty()
        && part.len() <= LONGEST_PART
        && !part.starts_with('.')
        && part
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

/// Refuses a path that is not plain parts with `/` between them, so that no path leaves the store.
///
/// # Errors
/// The path is not of that form.
pub fn check_path(path: &str) -> Result<()> {
    anyhow::ensure!(
        path.split('/').all(is_part),
        "{path:?} cannot name an object: letters, digits, '.', '_' and '-', with '/' between folders"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_path_leaves_the_store() {
        for good in ["a", "app/app_20261120T020000Z.dump", "a/b/c-d_e.f"] {
            assert!(check_path(good).is_ok(), "{good}");
        }
        for bad in [
            "", "/a", "a/", "a//b", "../a", "a/../b", ".hidden", "a b", "a/.x", "ä", "a\\b", "a\0",
        ] {
            assert!(check_path(bad).is_err(), "{bad}");
        }
        assert!(check_path(&"x".repeat(201)).is_err());
    }
}
