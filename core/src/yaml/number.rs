//! Numbers as Go reads and prints them.

use serde_json::{Number, Value};

/// A number, before it is a JSON value or a key.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Parsed {
    Int(i64),
    Uint(u64),
    Float(f64),
}

/// An integer by the rules of `strconv.ParseInt(text, 0, 64)` and then `ParseUint`: `0x`, `0o`, `0b`, a leading `0`
/// for octal, a sign; only what needs no sign may need 64 bits.
pub(super) fn parse_integer(text: &str) -> Option<Parsed> {
    let (sign, unsigned) = match text.as_bytes().first()? {
        b'+' | b'-' => text.split_at(1),
        _ => ("", text),
    };
    let (radix, digits) = radix_and_digits(unsigned);
    // `from_str_radix` would take a second sign.
    if !digits.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return None;
    }
    let magnitude = u64::from_str_radix(digits, radix).ok()?;
    match sign {
        "-" => 0_i64.checked_sub_unsigned(magnitude).map(Parsed::Int),
        "+" => i64::try_from(magnitude).ok().map(Parsed::Int),
        _ => Some(i64::try_from(magnitude).map_or(Parsed::Uint(magnitude), Parsed::Int)),
    }
}

fn radix_and_digits(text: &str) -> (u32, &str) {
    let Some(after_zero) = text.strip_prefix('0').filter(|rest| !rest.is_empty()) else {
        return (10, text);
    };
    match after_zero.as_bytes()[0] {
        b'x' | b'X' => (16, &after_zero[1..]),
        b'o' | b'O' => (8, &after_zero[1..]),
        b'b' | b'B' => (2, &after_zero[1..]),
        _ => (8, after_zero),
    }
}

/// A finite decimal number: digits with at most one point, and an exponent.
pub(super) fn parse_float(text: &str) -> Option<Parsed> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
        Some(at) => (&unsigned[..at], Some(&unsigned[at + 1..])),
        None => (unsigned, None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let exponent_fits = exponent.is_none_or(|exponent| {
        let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        !exponent.is_empty() && digits(exponent)
    });
    if !exponent_fits || !digits(whole) || !digits(fraction) || (whole.is_empty() && fraction.is_empty()) {
        return None;
    }
    text.parse().ok().filter(|float: &f64| float.is_finite()).map(Parsed::Float)
}

/// The value that reading Go's `json.Marshal` of a float gives: no fraction is an integer, below 1e21 written out
/// with the shortest digits that tell it apart, and `-0` is 0. Infinity and not-a-number have none.
pub(super) fn value_of_float(float: f64) -> Option<Value> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if float.fract() != 0.0 || float.abs() >= 1e21 {
        return Number::from_f64(float).map(Value::Number);
    }
    if float.abs() <= EXACT {
        return Some(Value::from(float as i64));
    }
    match parse_integer(&float.to_string()) {
        Some(Parsed::Int(integer)) => Some(Value::from(integer)),
        Some(Parsed::Uint(integer)) => Some(Value::from(integer)),
        _ => Number::from_f64(float).map(Value::Number),
    }
}

/// The key that `sigs.k8s.io/yaml` makes of a float: `strconv.FormatFloat(float, 'g', -1, 32)`.
pub(super) fn key_of_float(float: f64) -> String {
    let float = float as f32;
    if float.is_nan() {
        return ".nan".to_owned();
    }
    if float.is_infinite() {
        return if float > 0.0 { ".inf" } else { "-.inf" }.to_owned();
    }
    let scientific = format!("{float:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if (-4..6).contains(&exponent) {
        return float.to_string();
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}
