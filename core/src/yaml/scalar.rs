//! What a scalar means: the rules of `resolve.go` of `go.yaml.in/yaml/v2` and `yaml.go` of `sigs.k8s.io/yaml`.

use std::borrow::Cow;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};
use saphyr_parser::{ScalarStyle, Tag};
use serde_json::Value;

use super::error::Reason;
use super::number::{Parsed, key_of_float, parse_float, parse_integer, value_of_float};

/// A scalar whose meaning is known, before it becomes a value or a key: the two differ for floats.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Scalar<'a> {
    Null,
    Bool(bool),
    Number(Parsed),
    Text(Cow<'a, str>),
}

impl Scalar<'_> {
    pub(super) fn into_value(self) -> Result<Value, Reason> {
        Ok(match self {
            Self::Null => Value::Null,
            Self::Bool(value) => Value::Bool(value),
            Self::Number(Parsed::Int(value)) => Value::from(value),
            Self::Number(Parsed::Uint(value)) => Value::from(value),
            Self::Number(Parsed::Float(value)) => value_of_float(value).ok_or(Reason::NotFinite)?,
            Self::Text(text) => Value::String(text.into_owned()),
        })
    }

    pub(super) fn into_key(self) -> Result<String, Reason> {
        Ok(match self {
            Self::Null => return Err(Reason::Key("null")),
            Self::Bool(value) => value.to_string(),
            Self::Number(Parsed::Int(value)) => value.to_string(),
            Self::Number(Parsed::Uint(_)) => return Err(Reason::Key("an integer above 9223372036854775807")),
            Self::Number(Parsed::Float(value)) => key_of_float(value),
            Self::Text(text) => text.into_owned(),
        })
    }

    pub(super) fn text_bytes(&self) -> usize {
        if let Self::Text(text) = self { text.len() } else { 0 }
    }
}

/// What the tag of a scalar asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// Untagged and plain: what it looks like.
    Looks,
    /// Quoted, a block scalar, `!!str`, `!`, or a tag that is not known here.
    Text,
    Bool,
    Int,
    Float,
    Null,
    Timestamp,
    Binary,
}

impl Asked {
    fn of(style: ScalarStyle, tag: Option<&Tag>) -> Self {
        let Some(tag) = tag else {
            return if style == ScalarStyle::Plain { Self::Looks } else { Self::Text };
        };
        match full_name(tag).as_deref() {
            Some("bool") => Self::Bool,
            Some("int") => Self::Int,
            Some("float") => Self::Float,
            Some("null") => Self::Null,
            Some("timestamp") => Self::Timestamp,
            Some("binary") => Self::Binary,
            _ => Self::Text,
        }
    }
}

/// The name of a tag in YAML's own namespace, in its short form (`!!int`) or written out.
fn full_name(tag: &Tag) -> Option<Cow<'_, str>> {
    const PREFIX: &str = "tag:yaml.org,2002:";
    match tag.handle.as_str() {
        PREFIX => Some(Cow::Borrowed(&tag.suffix)),
        "" => tag.suffix.strip_prefix(PREFIX).map(Cow::Borrowed),
        handle => format!("{handle}{}", tag.suffix).strip_prefix(PREFIX).map(|name| Cow::Owned(name.to_owned())),
    }
}

/// Whether a key merges instead of naming something: `<<` plain, or tagged `!!merge` or `!`.
pub(super) fn is_merge(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> bool {
    text == "<<"
        && tag.map_or(style == ScalarStyle::Plain, |tag| {
            matches!((tag.handle.as_str(), tag.suffix.as_str()), ("!", "") | ("", "!"))
                || full_name(tag).as_deref() == Some("merge")
        })
}

/// Gives a scalar its meaning.
pub(super) fn resolve<'a>(text: Cow<'a, str>, style: ScalarStyle, tag: Option<&Tag>) -> Result<Scalar<'a>, Reason> {
    match Asked::of(style, tag) {
        Asked::Text => Ok(Scalar::Text(text)),
        Asked::Looks => Ok(looks_like(&text).unwrap_or(Scalar::Text(text))),
        Asked::Binary => decode_binary(&text).map(|text| Scalar::Text(Cow::Owned(text))),
        Asked::Timestamp if is_timestamp(&text) => Ok(Scalar::Text(text)),
        asked => insist(asked, looks_like(&text)),
    }
}

fn insist(asked: Asked, found: Option<Scalar<'static>>) -> Result<Scalar<'static>, Reason> {
    use Parsed::{Float, Int, Uint};
    match (asked, found) {
        (Asked::Bool, Some(found @ Scalar::Bool(_)))
        | (Asked::Int, Some(found @ Scalar::Number(Int(_) | Uint(_))))
        | (Asked::Float, Some(found @ Scalar::Number(Float(_))))
        | (Asked::Null, Some(found @ Scalar::Null)) => Ok(found),
        (Asked::Float, Some(Scalar::Number(Int(value)))) => Ok(Scalar::Number(Float(value as f64))),
        (Asked::Bool, _) => Err(Reason::Tag("!!bool")),
        (Asked::Int, _) => Err(Reason::Tag("!!int")),
        (Asked::Float, _) => Err(Reason::Tag("!!float")),
        (Asked::Null, _) => Err(Reason::Tag("!!null")),
        _ => Err(Reason::Tag("!!timestamp")),
    }
}

/// What a plain scalar looks like; `None` is text.
fn looks_like(text: &str) -> Option<Scalar<'static>> {
    let Some(first) = text.as_bytes().first() else {
        return Some(Scalar::Null);
    };
    match first {
        b'0'..=b'9' | b'+' | b'-' => signed_number(text),
        b'.' => point_number(text),
        b'~' | b'y' | b'Y' | b'n' | b'N' | b't' | b'T' | b'f' | b'F' | b'o' | b'O' => word(text),
        _ => None,
    }
}

fn word(text: &str) -> Option<Scalar<'static>> {
    match text {
        "~" | "null" | "Null" | "NULL" => Some(Scalar::Null),
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => Some(Scalar::Bool(true)),
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            Some(Scalar::Bool(false))
        }
        _ => None,
    }
}

fn point_number(text: &str) -> Option<Scalar<'static>> {
    match text {
        ".nan" | ".NaN" | ".NAN" => Some(Scalar::Number(Parsed::Float(f64::NAN))),
        ".inf" | ".Inf" | ".INF" => Some(Scalar::Number(Parsed::Float(f64::INFINITY))),
        _ => parse_float(&without_underscores(text)?).map(Scalar::Number),
    }
}

/// Drops each `_` that stands between two digits; with any other there is no number.
fn without_underscores(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('_') {
        return Some(Cow::Borrowed(text));
    }
    let ends_in_digit = |part: &str| part.ends_with(|last: char| last.is_ascii_digit());
    let starts_with_digit = |part: &str| part.starts_with(|first: char| first.is_ascii_digit());
    let parts: Vec<&str> = text.split('_').collect();
    let between_digits = parts.windows(2).all(|pair| ends_in_digit(pair[0]) && starts_with_digit(pair[1]));
    between_digits.then(|| Cow::Owned(parts.concat()))
}

/// A number that starts with a digit or a sign. `_` may stand anywhere but in front.
fn signed_number(text: &str) -> Option<Scalar<'static>> {
    match text {
        "+.inf" | "+.Inf" | "+.INF" => return Some(Scalar::Number(Parsed::Float(f64::INFINITY))),
        "-.inf" | "-.Inf" | "-.INF" => return Some(Scalar::Number(Parsed::Float(f64::NEG_INFINITY))),
        _ => {}
    }
    let plain: Cow<'_, str> = if text.contains('_') { Cow::Owned(text.replace('_', "")) } else { Cow::Borrowed(text) };
    // Behind `0b` a sign is accepted as well.
    let signed_binary = || plain.strip_prefix("0b").and_then(|digits| i64::from_str_radix(digits, 2).ok());
    parse_integer(&plain)
        .or_else(|| parse_float(&plain))
        .or_else(|| signed_binary().map(Parsed::Int))
        .map(Scalar::Number)
}

/// Whether text is roughly one of the forms of a timestamp; it stays text in any case.
fn is_timestamp(text: &str) -> bool {
    let (date, time) = match text.find(['T', 't', ' ']) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    let digits = |part: &str, from: usize, to: usize| {
        (from..=to).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit())
    };
    let parts: Vec<&str> = date.split('-').collect();
    let [year, month, day] = parts[..] else { return false };
    let is_time = |time: &str| {
        time.starts_with(|first: char| first.is_ascii_digit())
            && time.bytes().all(|byte| byte.is_ascii_digit() || b":.+-Zz".contains(&byte))
    };
    digits(year, 4, 4) && digits(month, 1, 2) && digits(day, 1, 2) && time.is_none_or(is_time)
}

/// The bytes of `!!binary` as JSON text: what is not UTF-8 becomes U+FFFD, byte by byte, as Go writes it.
fn decode_binary(text: &str) -> Result<String, Reason> {
    const LENIENT: GeneralPurpose =
        GeneralPurpose::new(&STANDARD, GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true));
    let encoded: String = text.chars().filter(|char| !matches!(char, '\n' | '\r')).collect();
    let bytes = LENIENT.decode(encoded).map_err(|_| Reason::Base64)?;
    let mut decoded = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        decoded.push_str(chunk.valid());
        decoded.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    Ok(decoded)
}
