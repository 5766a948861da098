//! Numbers as servers write them.

/// Decimal digits of one digit of `numeric`.
const GROUP: usize = 4;
/// Powers of ten, to make up for digits that are not written.
const TENS: [u16; GROUP] = [1, 10, 100, 1000];
/// `numeric`'s signs, of which some say that there is no number.
const POSITIVE: u16 = 0x0000;
const NEGATIVE: u16 = 0x4000;
const NOT_A_NUMBER: u16 = 0xC000;
const INFINITY: u16 = 0xD000;
const MINUS_INFINITY: u16 = 0xF000;
/// The most digits after the point.
const MAX_SCALE: usize = 0x3FFF;

/// An integer of any size that fits.
pub(super) fn integer(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    if digits.is_empty() || digits.len() > 19 {
        return None;
    }
    // Nineteen digits fit without a sign, whatever they are.
    let value = digits.iter().try_fold(0_u64, |value, byte| {
        let digit = byte.wrapping_sub(b'0');
        (digit <= 9).then(|| value * 10 + u64::from(digit))
    })?;
    if digits.len() < text.len() {
        0_i64.checked_sub_unsigned(value)
    } else {
        i64::try_from(value).ok()
    }
}

/// A `real`.
pub(super) fn float4(text: &[u8]) -> Option<f32> {
    match text {
        b"NaN" => Some(f32::NAN),
        b"Infinity" => Some(f32::INFINITY),
        b"-Infinity" => Some(f32::NEG_INFINITY),
        _ => decimal(text)?.parse::<f32>().ok().filter(|value| value.is_finite()),
    }
}

/// A `double precision`.
pub(super) fn float8(text: &[u8]) -> Option<f64> {
    match text {
        b"NaN" => Some(f64::NAN),
        b"Infinity" => Some(f64::INFINITY),
        b"-Infinity" => Some(f64::NEG_INFINITY),
        _ => decimal(text)?.parse::<f64>().ok().filter(|value| value.is_finite()),
    }
}

/// Text that has nothing but digits, signs, a point and an exponent.
fn decimal(text: &[u8]) -> Option<&str> {
    let is_part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'.' | b'-' | b'+' | b'e');
    text.iter().all(is_part).then_some(())?;
    std::str::from_utf8(text).ok()
}

/// Appends a `numeric`: how many digits to the base of 10,000, the weight of the first of them, the sign, the
/// number of decimal digits after the point, and the digits.
pub(super) fn numeric(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let special = match text {
        b"NaN" => Some(NOT_A_NUMBER),
        b"Infinity" => Some(INFINITY),
        b"-Infinity" => Some(MINUS_INFINITY),
        _ => None,
    };
    if let Some(sign) = special {
        put_head(0, 0, sign, 0, out);
        return Some(());
    }
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let sign = if digits.len() < text.len() { NEGATIVE } else { POSITIVE };
    let (whole, fraction) = match memchr::memchr(b'.', digits) {
        Some(at) => (&digits[..at], &digits[at + 1..]),
        None => (digits, &digits[..0]),
    };
    if whole.is_empty() || fraction.len() > MAX_SCALE || (fraction.is_empty() && whole.len() < digits.len()) {
        return None;
    }
    let start = out.len();
    put_head(0, 0, sign, u16::try_from(fraction.len()).ok()?, out);
    // Groups are counted from the point, so the first may be short at its front and the last at its end.
    let (first, others) = whole.split_at(whole.len() % GROUP);
    let mut weight = i16::try_from(whole.len().div_ceil(GROUP)).ok()? - 1;
    let first = Some(first).filter(|group| !group.is_empty());
    let whole = first.into_iter().chain(others.chunks(GROUP)).map(group_of);
    let fraction = fraction
        .chunks(GROUP)
        .map(|group| Some(group_of(group)? * TENS[GROUP - group.len()]));
    for value in whole.chain(fraction) {
        let value = value?;
        // Zeros before all other digits are not written.
        if value == 0 && out.len() == start + HEAD {
            weight = weight.checked_sub(1)?;
        } else {
            out.extend_from_slice(&value.to_be_bytes());
        }
    }
    while out.len() > start + HEAD && out.ends_with(&[0, 0]) {
        out.truncate(out.len() - 2);
    }
    let count = i16::try_from((out.len() - start - HEAD) / 2).ok()?;
    // Zero has no sign.
    let (weight, sign) = if count == 0 { (0, POSITIVE) } else { (weight, sign) };
    out[start..start + 2].copy_from_slice(&count.to_be_bytes());
    out[start + 2..start + 4].copy_from_slice(&weight.to_be_bytes());
    out[start + 4..start + 6].copy_from_slice(&sign.to_be_bytes());
    Some(())
}

/// Bytes before a number's digits.
const HEAD: usize = 8;

fn put_head(count: i16, weight: i16, sign: u16, scale: u16, out: &mut Vec<u8>) {
    out.extend_from_slice(&count.to_be_bytes());
    out.extend_from_slice(&weight.to_be_bytes());
    out.extend_from_slice(&sign.to_be_bytes());
    out.extend_from_slice(&scale.to_be_bytes());
}

fn group_of(digits: &[u8]) -> Option<u16> {
    digits.iter().try_fold(0, |value, byte| {
        let digit = byte.wrapping_sub(b'0');
        (digit <= 9).then(|| value * 10 + u16::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_exact_or_nothing() {
        for value in [0, 7, -7, i64::MAX, i64::MIN] {
            assert_eq!(integer(value.to_string().as_bytes()), Some(value));
        }
        for text in [
            "",
            "-",
            "+1",
            "1 ",
            "1e3",
            "9223372036854775808",
            "-9223372036854775809",
            "12345678901234567890",
        ] {
            assert_eq!(integer(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn floats_are_the_nearest_or_nothing() {
        assert_eq!(float8(b"0.1"), Some(0.1));
        assert_eq!(float8(b"1e+300"), Some(1e300));
        assert_eq!(float8(b"-0").map(f64::to_bits), Some((-0.0_f64).to_bits()));
        assert_eq!(float4(b"16777217"), Some(16_777_216.0));
        assert!(float8(b"NaN").unwrap().is_nan());
        for text in ["", "inf", "nan", "1e400", "0x1p3", "1_0", " 1"] {
            assert_eq!(float8(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(float4(b"1e39"), None);
    }

    #[test]
    fn numeric_has_groups_of_four_digits() {
        let parts = |text: &str| {
            let mut out = Vec::new();
            numeric(text.as_bytes(), &mut out)?;
            let (words, _) = out.as_chunks::<2>();
            Some(words.iter().map(|word| i16::from_be_bytes(*word)).collect::<Vec<_>>())
        };
        let negative = 0x4000;
        assert_eq!(parts("0"), Some(vec![0, 0, 0, 0]));
        assert_eq!(parts("0.00"), Some(vec![0, 0, 0, 2]));
        assert_eq!(parts("-12345.678"), Some(vec![3, 1, negative, 3, 1, 2345, 6780]));
        assert_eq!(parts("0.00012"), Some(vec![2, -1, 0, 5, 1, 2000]));
        assert_eq!(parts("0.00001"), Some(vec![1, -2, 0, 5, 1000]));
        assert_eq!(parts("10000"), Some(vec![1, 1, 0, 0, 1]));
        assert_eq!(parts("120000.5000"), Some(vec![3, 1, 0, 4, 12, 0, 5000]));
        assert_eq!(parts("NaN").unwrap()[2].cast_unsigned(), NOT_A_NUMBER);
        for text in ["", "-", ".5", "1.", "1e5", "1.2.3", "+1", "--1"] {
            assert_eq!(parts(text), None, "{text:?}");
        }
    }
}
