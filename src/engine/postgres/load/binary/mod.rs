//! COPY text becomes COPY's binary format, which costs the server half as much to take in.
//!
//! Every value must become exactly what the input function of its type would make of it. So only values in the
//! very form in which servers write them are understood, and tables whose columns are all of well-known types;
//! rows with any other value go to the server as the text that they are.
//!
//! The formats are those of `COPY … WITH (FORMAT binary)` in PostgreSQL's documentation, and of the types'
//! receive functions.

mod moment;
mod number;

use bytes::Bytes;
use memchr::{memchr, memchr2};
use tokio_postgres::types::{Kind, Type};

/// Signature, flags, and the length of an extension that is not there.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// A row of -1 columns.
const TRAILER: &[u8] = b"\xff\xff";
/// Bytes of a value's length.
const LENGTH: usize = 4;
/// The length of a value that is null.
const NULL: [u8; LENGTH] = (-1_i32).to_be_bytes();

/// What rows of text are made of.
#[derive(Clone, Debug)]
pub(super) struct Columns {
    /// How many there are, as each row says it.
    count: [u8; 2],
    forms: Vec<Form>,
}

/// How the values of a type are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Bool,
    Bytea,
    Int2,
    Int4,
    Int8,
    Float4,
    Float8,
    Numeric,
    Date,
    Time,
    Timestamp,
    TimestampTz,
    Uuid,
    /// The text itself: strings, labels of enumerations, and `json`.
    Text,
    /// The text after the number of its format.
    Jsonb,
}

impl Columns {
    /// Columns of these types; `None` if there is one whose values can't be translated.
    pub(super) fn of<'a>(types: impl Iterator<Item = &'a Type>) -> Option<Self> {
        let forms = types.map(Form::of).collect::<Option<Vec<_>>>()?;
        let count = u16::try_from(forms.len()).ok().filter(|count| *count > 0)?;
        Some(Columns {
            count: count.to_be_bytes(),
            forms,
        })
    }

    /// What goes before all rows.
    pub(super) fn header() -> Bytes {
        Bytes::from_static(HEADER)
    }

    /// What goes after all rows.
    pub(super) fn trailer() -> Bytes {
        Bytes::from_static(TRAILER)
    }

    /// Translates whole rows of COPY text; `None` if there is a value among them that only the server can read.
    pub(super) fn translate(&self, text: &[u8]) -> Option<Bytes> {
        let mut out = Vec::with_capacity(text.len() + text.len() / 4);
        let mut rest = text;
        while !rest.is_empty() {
            out.extend_from_slice(&self.count);
            let mut ended = false;
            for form in &self.forms {
                let end = memchr2(b'\t', b'\n', rest).filter(|_| !ended)?;
                ended = rest[end] == b'\n';
                form.put(&rest[..end], &mut out)?;
                rest = &rest[end + 1..];
            }
            if !ended {
                return None;
            }
        }
        Some(out.into())
    }
}

impl Form {
    fn of(type_: &Type) -> Option<Form> {
        Some(match *type_ {
            Type::BOOL => Form::Bool,
            Type::BYTEA => Form::Bytea,
            Type::INT2 => Form::Int2,
            Type::INT4 => Form::Int4,
            Type::INT8 => Form::Int8,
            Type::FLOAT4 => Form::Float4,
            Type::FLOAT8 => Form::Float8,
            Type::NUMERIC => Form::Numeric,
            Type::DATE => Form::Date,
            Type::TIME => Form::Time,
            Type::TIMESTAMP => Form::Timestamp,
            Type::TIMESTAMPTZ => Form::TimestampTz,
            Type::UUID => Form::Uuid,
            Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::JSON => Form::Text,
            Type::JSONB => Form::Jsonb,
            _ if matches!(type_.kind(), Kind::Enum(_)) => Form::Text,
            _ => return None,
        })
    }

    /// Appends the length and the bytes of a value.
    fn put(self, text: &[u8], out: &mut Vec<u8>) -> Option<()> {
        if text == b"\\N" {
            out.extend_from_slice(&NULL);
            return Some(());
        }
        match self {
            Form::Bool => put_fixed(boolean(text)?, out),
            Form::Int2 => put_fixed(i16::try_from(number::integer(text)?).ok()?.to_be_bytes(), out),
            Form::Int4 => put_fixed(i32::try_from(number::integer(text)?).ok()?.to_be_bytes(), out),
            Form::Int8 => put_fixed(number::integer(text)?.to_be_bytes(), out),
            Form::Float4 => put_fixed(number::float4(text)?.to_be_bytes(), out),
            Form::Float8 => put_fixed(number::float8(text)?.to_be_bytes(), out),
            Form::Date => put_fixed(moment::date(text)?.to_be_bytes(), out),
            Form::Time => put_fixed(moment::time(text)?.to_be_bytes(), out),
            Form::Timestamp => put_fixed(moment::timestamp(text)?.to_be_bytes(), out),
            Form::TimestampTz => put_fixed(moment::timestamptz(text)?.to_be_bytes(), out),
            Form::Uuid => put_fixed(uuid(text)?, out),
            Form::Bytea | Form::Numeric | Form::Text | Form::Jsonb => {
                let start = out.len();
                out.extend_from_slice(&[0; LENGTH]);
                self.put_any_length(text, out)?;
                let len = i32::try_from(out.len() - start - LENGTH).ok()?;
                out[start..start + LENGTH].copy_from_slice(&len.to_be_bytes());
            }
        }
        Some(())
    }

    fn put_any_length(self, text: &[u8], out: &mut Vec<u8>) -> Option<()> {
        match self {
            Form::Bytea => {
                let (pairs, []) = text.strip_prefix(b"\\\\x")?.as_chunks::<2>() else {
                    return None;
                };
                for pair in pairs {
                    out.push(byte(*pair)?);
                }
                Some(())
            }
            Form::Numeric => number::numeric(text, out),
            Form::Jsonb => {
                out.push(1);
                string(text, out)
            }
            _ => string(text, out),
        }
    }
}

/// Appends a value with its length, in one go: most values are as short as this.
fn put_fixed<const N: usize>(value: [u8; N], out: &mut Vec<u8>) {
    let mut both = [0; LENGTH + 16];
    // No value of a fixed length has more bytes than a UUID.
    both[LENGTH - 1] = u8::try_from(N).unwrap_or(u8::MAX);
    both[LENGTH..LENGTH + N].copy_from_slice(&value);
    out.extend_from_slice(&both[..LENGTH + N]);
}

fn boolean(text: &[u8]) -> Option<[u8; 1]> {
    match text {
        b"t" => Some([1]),
        b"f" => Some([0]),
        _ => None,
    }
}

/// Appends a string without the backslashes that COPY writes.
fn string(mut text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    while let Some(at) = memchr(b'\\', text) {
        out.extend_from_slice(&text[..at]);
        out.push(match text.get(at + 1)? {
            b'\\' => b'\\',
            b'b' => 8,
            b't' => b'\t',
            b'n' => b'\n',
            b'v' => 11,
            b'f' => 12,
            b'r' => b'\r',
            _ => return None,
        });
        text = &text[at + 2..];
    }
    out.extend_from_slice(text);
    Some(())
}

fn uuid(text: &[u8]) -> Option<[u8; 16]> {
    let text: &[u8; 36] = text.try_into().ok()?;
    if [8, 13, 18, 23].iter().any(|at| text[*at] != b'-') {
        return None;
    }
    let mut uuid = [0; 16];
    let starts = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];
    for (to, at) in uuid.iter_mut().zip(starts) {
        *to = byte([text[at], text[at + 1]])?;
    }
    Some(uuid)
}

/// The byte that two hexadecimal digits are, as servers write them.
fn byte([high, low]: [u8; 2]) -> Option<u8> {
    let (high, low) = (DIGITS[usize::from(high)], DIGITS[usize::from(low)]);
    (high | low < 16).then_some(high << 4 | low)
}

/// The value of each digit, in small letters; of anything else it is more than 15.
const DIGITS: [u8; 256] = {
    let mut values = [0xf0; 256];
    let mut value = 0;
    while value < 16 {
        values[b"0123456789abcdef"[value as usize] as usize] = value;
        value += 1;
    }
    values
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_counted_columns_with_lengths() {
        let columns = Columns::of([Type::INT4, Type::TEXT].iter()).unwrap();
        let rows = columns.translate(b"7\ta\\tb\\\\\n\\N\t\n").unwrap();
        let expected = [
            &b"\0\x02\0\0\0\x04\0\0\0\x07\0\0\0\x04a\tb\\"[..],
            b"\0\x02\xff\xff\xff\xff\0\0\0\0",
        ];
        assert_eq!(rows, expected.concat());
        assert_eq!(columns.translate(b"").unwrap(), b"".as_slice());
    }

    #[test]
    fn what_only_the_server_can_read_is_left_to_it() {
        let columns = Columns::of([Type::INT4, Type::TEXT].iter()).unwrap();
        for text in [
            "1\n",
            "1\ta\tb\n",
            "1\ta",
            "1\t\\x41\n",
            "1\ta\\\n",
            " 1\ta\n",
            "2147483648\ta\n",
        ] {
            assert_eq!(columns.translate(text.as_bytes()), None, "{text:?}");
        }
        assert!(Columns::of([Type::INT4, Type::INET].iter()).is_none());
        assert!(Columns::of([].iter()).is_none());
    }

    #[test]
    fn bytes_are_taken_from_digits() {
        let value = |form: Form, text: &str| {
            let mut out = Vec::new();
            form.put(text.as_bytes(), &mut out)?;
            Some(out.split_off(LENGTH))
        };
        assert_eq!(value(Form::Bytea, "\\\\x00ff"), Some(vec![0, 255]));
        assert_eq!(value(Form::Bytea, "\\\\x0"), None);
        assert_eq!(value(Form::Bytea, "\\\\001"), None);
        let uuid = "00112233-4455-6677-8899-aabbccddeeff";
        assert_eq!(value(Form::Uuid, uuid), Some((0..16).map(|n| n * 17).collect()));
        assert_eq!(value(Form::Uuid, &uuid.replace('-', "")), None);
        assert_eq!(value(Form::Uuid, &uuid.to_uppercase()), None);
        assert_eq!(value(Form::Bool, "t"), Some(vec![1]));
        assert_eq!(value(Form::Bool, "true"), None);
        assert_eq!(
            value(Form::Jsonb, "{\"a\": \"\\\\n\"}"),
            Some(b"\x01{\"a\": \"\\n\"}".to_vec())
        );
    }
}
