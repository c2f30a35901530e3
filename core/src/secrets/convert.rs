//! Keys and values made fit for a Secret.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD, URL_SAFE};

use super::request::{Conversion, Decoding};
use super::{Category, Failure, SecretData, SecretValue};
use crate::sensitive::Sensitive;

/// What Node's `Buffer.from(text, 'base64')` accepts.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// A value decoded.
///
/// # Errors
/// When it is not what the strategy expects; the message says nothing of the value.
pub fn decode(value: &SecretValue, decoding: Decoding) -> Result<SecretValue, Failure> {
    let failed = |_| Failure::new(Category::Conversion, "the value is not base64");
    // Go ignores line breaks inside base64.
    let text = || value.expose().iter().copied().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect::<Vec<u8>>();
    match decoding {
        Decoding::None => Ok(value.clone()),
        Decoding::Base64 => STANDARD.decode(text()).map(Sensitive::new).map_err(failed),
        Decoding::Base64Url => URL_SAFE.decode(text()).map(Sensitive::new).map_err(failed),
        Decoding::Auto => {
            let decoded = STANDARD.decode(text()).or_else(|_| URL_SAFE.decode(text()));
            Ok(decoded.map_or_else(|_| value.clone(), Sensitive::new))
        }
    }
}

/// A value decoded as the predecessor does: without padding, in both alphabets, with white space.
pub fn decode_leniently(value: &SecretValue) -> SecretValue {
    let text: Vec<u8> = value.expose().iter().copied().filter_map(standard_alphabet).collect();
    Sensitive::new(LENIENT.decode(text).unwrap_or_default())
}

fn standard_alphabet(byte: u8) -> Option<u8> {
    match byte {
        b'-' => Some(b'+'),
        b'_' => Some(b'/'),
        b'+' | b'/' | b'=' => Some(byte),
        byte if byte.is_ascii_alphanumeric() => Some(byte),
        _ => None,
    }
}

/// Data with keys that a Secret can have.
///
/// # Errors
/// When two keys become one.
pub fn convert_keys(data: SecretData, conversion: Conversion) -> Result<SecretData, Failure> {
    let mut converted = SecretData::new();
    for (key, value) in data {
        let key = convert_key(&key, conversion);
        if converted.contains_key(&key) {
            return Err(Failure::new(Category::Conversion, format!("two keys become {key}")));
        }
        converted.insert(key, value);
    }
    Ok(converted)
}

fn convert_key(key: &str, conversion: Conversion) -> String {
    key.chars().fold(String::with_capacity(key.len()), |mut text, c| {
        match conversion {
            _ if c.is_alphanumeric() || matches!(c, '-' | '.' | '_') => text.push(c),
            Conversion::Default => text.push('_'),
            Conversion::Unicode => {
                // Writing into a text does not fail.
                let _ = write!(text, "_U{:04x}_", c as u32);
            }
            Conversion::None => text.push(c),
        }
        text
    })
}

/// Whether the API server takes the keys. Empty ones are dropped, as the operator does.
///
/// # Errors
/// With the first key that is wrong, and the way out.
pub fn check_keys(data: &mut SecretData) -> Result<(), Failure> {
    data.remove("");
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    match data.keys().find(|key| key.len() > 253 || !key.chars().all(fits)) {
        None => Ok(()),
        Some(key) => Err(Failure::new(
            Category::Conversion,
            format!("{key} cannot be a key of a Secret: change it with rewrite or conversionStrategy"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> SecretValue {
        Sensitive::new(text.as_bytes().to_vec())
    }

    #[test]
    fn strategies_decode_as_the_operator_does() {
        for (text, decoding, expected) in [
            ("aGk=", Decoding::None, Some("aGk=")),
            ("aGk=", Decoding::Base64, Some("hi")),
            ("aG\nk=\n", Decoding::Base64, Some("hi")),
            ("Pz8_", Decoding::Base64, None),
            ("Pz8_", Decoding::Base64Url, Some("???")),
            ("Pz8_", Decoding::Auto, Some("???")),
            ("plain text", Decoding::Auto, Some("plain text")),
            ("plain text", Decoding::Base64, None),
        ] {
            let decoded = decode(&value(text), decoding).ok();
            assert_eq!(decoded, expected.map(value), "{text} {decoding:?}");
        }
        assert_eq!(decode_leniently(&value("aG k")), value("hi"));
        assert_eq!(decode_leniently(&value("Pz8_")), value("???"));
    }

    #[test]
    fn keys_become_fit_and_never_one() {
        let data = |keys: &[&str]| -> SecretData { keys.iter().map(|key| ((*key).to_owned(), value("x"))).collect() };
        let keys = |data: SecretData| data.into_keys().collect::<Vec<_>>();
        assert_eq!(keys(convert_keys(data(&["/a/b"]), Conversion::Default).unwrap()), ["_a_b"]);
        assert_eq!(keys(convert_keys(data(&["/a"]), Conversion::Unicode).unwrap()), ["_U002f_a"]);
        assert!(convert_keys(data(&["a/b", "a:b"]), Conversion::Default).is_err());
        let mut with_empty = data(&["", "a"]);
        check_keys(&mut with_empty).unwrap();
        assert_eq!(keys(with_empty), ["a"]);
        assert!(check_keys(&mut data(&["a/b"])).is_err());
    }
}
