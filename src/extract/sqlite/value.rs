//! Values of SQLite as they are written.

use std::borrow::Cow;

use rusqlite::types::ValueRef;

use crate::extract::format::{Class, Field};

/// A value as a field of a row.
#[must_use]
pub fn field(value: ValueRef<'_>) -> Field<'_> {
    let (class, text) = match value {
        ValueRef::Null => (Class::Text, None),
        ValueRef::Integer(number) => (Class::Number, Some(Cow::Owned(number.to_string().into_bytes()))),
        ValueRef::Real(number) => (Class::Number, Some(Cow::Owned(real(number).into_bytes()))),
        ValueRef::Text(text) => (Class::Text, Some(Cow::Borrowed(text))),
        ValueRef::Blob(bytes) => (Class::Blob, Some(Cow::Borrowed(bytes))),
    };
    Field { class, text }
}

/// A number that reads back as the same, and as no whole number.
fn real(number: f64) -> String {
    match number {
        number if number.is_infinite() => if number > 0.0 { "9.0e+999" } else { "-9.0e+999" }.to_owned(),
        number => format!("{number:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reals_read_back_as_they_were() {
        for (number, text) in [
            (1.0, "1.0"),
            (0.1, "0.1"),
            (1e300, "1e300"),
            (-2.5e-7, "-2.5e-7"),
            (f64::INFINITY, "9.0e+999"),
        ] {
            assert_eq!(real(number), text);
            assert_eq!(text.parse::<f64>().unwrap(), number);
        }
    }
}
