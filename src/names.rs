//! Tables as people name them: `users`, `public.users`, `log_*`; and schemas.

/// Some tables; none named means all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// `NAME` or `SCHEMA.NAME`, in which `*` stands for any text and `?` for any character.
    pub tables: Vec<String>,
    /// Schemas, likewise.
    pub schemas: Vec<String>,
}

impl Names {
    /// Whether all tables are meant.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.tables.is_empty() && self.schemas.is_empty()
    }

    /// Whether the table `name` of `schema` is meant.
    #[must_use]
    pub fn has(&self, schema: &str, name: &str) -> bool {
        let table = self.tables.is_empty() || self.tables.iter().any(|pattern| fits(pattern, schema, name));
        table && self.has_schema(schema)
    }

    /// Whether what is in `schema` is meant, as far as that tells.
    #[must_use]
    pub fn has_schema(&self, schema: &str) -> bool {
        self.schemas.is_empty() || self.schemas.iter().any(|pattern| like(pattern, schema))
    }
}

/// Whether `pattern` names the table `name` of `schema`. A name may have dots itself.
#[must_use]
pub fn fits(pattern: &str, schema: &str, name: &str) -> bool {
    like(pattern, name) || like(pattern, &format!("{schema}.{name}"))
}

/// Whether `text` is like `pattern`.
fn like(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    // Where the last star was, and how far the text went with it: only that one can take more.
    let (mut p, mut t, mut star) = (0, 0, None);
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == '?' || *c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    p = at + 1;
                    t = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_named_with_or_without_their_schema() {
        for (pattern, is_meant) in [
            ("users", true),
            ("public.users", true),
            ("other.users", false),
            ("us*", true),
            ("*.users", true),
            ("user?", true),
            ("user", false),
            ("*s*s", true),
            ("", false),
        ] {
            assert_eq!(fits(pattern, "public", "users"), is_meant, "{pattern}");
        }
        let names = Names {
            tables: Vec::new(),
            schemas: vec!["app".to_owned()],
        };
        assert!(names.has("app", "t") && !names.has("public", "t"));
        assert!(Names::default().has("any", "thing"));
    }
}
