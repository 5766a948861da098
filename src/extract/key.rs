//! The primary key of one row, as it is given on a command line.

use crate::error::{Exit, Fail};

/// The columns of a primary key, each with the value that is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Column and value.
    pub parts: Vec<(String, String)>,
}

impl Key {
    /// The key with the `values` of `columns`, of the table that is `shown` so: one for each, or one for all with commas
    /// between them. A key of one column may have commas in its value.
    ///
    /// # Errors
    /// They are not as many as the columns.
    pub fn of(values: &[String], columns: &[String], shown: &str) -> Result<Key, Fail> {
        let split: Vec<String> = match values {
            [one] if columns.len() > 1 => one.split(',').map(str::to_owned).collect(),
            values => values.to_vec(),
        };
        if split.len() != columns.len() {
            let list = columns.join(", ");
            return Err(Fail::new(
                Exit::Usage,
                format!(
                    "the primary key of {shown} is ({list}), and --where-key gives {} of it",
                    split.len()
                ),
            )
            .hint("give one value for each column, in this order: repeat --where-key, or put commas between them"));
        }
        Ok(Key {
            parts: columns.iter().cloned().zip(split).collect(),
        })
    }

    /// The key as people read it.
    #[must_use]
    pub fn describe(&self) -> String {
        let parts: Vec<String> = self
            .parts
            .iter()
            .map(|(name, value)| format!("{name} = {value}"))
            .collect();
        parts.join(", ")
    }
}

/// The error of a table without a primary key.
#[must_use]
pub fn none(shown: &str) -> Fail {
    Fail::new(
        Exit::Usage,
        format!("{shown} has no primary key, so --where-key names no row of it"),
    )
    .hint("extract all rows and choose: --format csv or json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_go_to_columns() {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let of = |values: &[&str], columns: &[&str]| Key::of(&texts(values), &texts(columns), "t");
        assert_eq!(of(&["a,b"], &["x"]).unwrap().describe(), "x = a,b");
        assert_eq!(of(&["a,b"], &["x", "y"]).unwrap().describe(), "x = a, y = b");
        assert_eq!(of(&["a,b", "c"], &["x", "y"]).unwrap().describe(), "x = a,b, y = c");
        assert!(of(&["a", "b"], &["x"]).unwrap_err().message.contains("(x)"));
        assert!(of(&["a"], &["x", "y"]).is_err());
    }
}
