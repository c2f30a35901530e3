//! Random texts, hashes, keys and certificates.

use base64::Engine as _;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use rcgen::{
    CertificateParams, DnType, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256,
    RsaKeySize, date_time_ymd,
};
use zeroize::Zeroizing;

use super::generator::{Algorithm, RandomText};
use crate::sensitive::Sensitive;

/// Cost of bcrypt: 2 to the power of this rounds.
const COST: u32 = 12;
/// Longest password that bcrypt looks at as a whole, in bytes.
const LONGEST_PASSWORD: usize = 71;
const LETTERS_AND_DIGITS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const SECONDS_OF_A_DAY: i64 = 24 * 60 * 60;

/// Randomness.
pub trait Random {
    /// Fills `bytes` with what nobody can guess.
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), GenerateError>;
}

/// The system's randomness, through the crypto library.
#[derive(Clone, Copy, Debug)]
pub struct SystemRandom;

impl Random for SystemRandom {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), GenerateError> {
        aws_lc_rs::rand::fill(bytes).map_err(|_| GenerateError::Random)
    }
}

/// Why a value could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GenerateError {
    /// The system has no randomness.
    #[error("the system gives no randomness")]
    Random,
    /// bcrypt would cut it.
    #[error("a password has at most {LONGEST_PASSWORD} bytes; bcrypt would cut what is longer")]
    TooLong,
    /// bcrypt takes C strings.
    #[error("a password holds no NUL")]
    Nul,
    /// The crypto library refused.
    #[error("the crypto library refused to make it")]
    Crypto,
}

/// Random text.
pub(super) fn text(kind: RandomText, random: &mut dyn Random) -> Result<Sensitive<String>, GenerateError> {
    let mut bytes = |length: usize| {
        let mut bytes = Zeroizing::new(vec![0; length]);
        random.fill(&mut bytes).map(|()| bytes)
    };
    Ok(Sensitive::new(match kind {
        RandomText::Hex(length) => hexadecimal(&bytes(length)?),
        RandomText::Base64Url(length) => URL_SAFE_NO_PAD.encode(&*bytes(length)?),
        RandomText::Fernet => URL_SAFE.encode(&*bytes(32)?),
        RandomText::Alphanumeric(length) => return alphanumeric(length, random),
    }))
}

fn hexadecimal(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from(b"0123456789abcdef"[usize::from(nibble)]);
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(digit(byte >> 4));
        text.push(digit(byte & 15));
    }
    text
}

/// Bytes that would make some letters likelier than others are thrown away.
fn alphanumeric(length: usize, random: &mut dyn Random) -> Result<Sensitive<String>, GenerateError> {
    let even = u8::MAX - u8::MAX % LETTERS_AND_DIGITS.len() as u8;
    let mut text = String::with_capacity(length);
    let mut bytes = Zeroizing::new([0; 64]);
    while text.len() < length {
        random.fill(&mut *bytes)?;
        let letters = bytes.iter().filter(|byte| **byte < even);
        let letters = letters.map(|byte| char::from(LETTERS_AND_DIGITS[usize::from(*byte) % LETTERS_AND_DIGITS.len()]));
        let room = length - text.len();
        text.extend(letters.take(room));
    }
    Ok(Sensitive::new(text))
}

/// The hash in the form that htpasswd, Dex and others take.
pub(super) fn bcrypt(password: &str, random: &mut dyn Random) -> Result<Sensitive<String>, GenerateError> {
    if password.contains('\0') {
        return Err(GenerateError::Nul);
    }
    if password.len() > LONGEST_PASSWORD {
        return Err(GenerateError::TooLong);
    }
    let mut salt = [0; 16];
    random.fill(&mut salt)?;
    let parts = bcrypt::non_truncating_hash_with_salt(password, COST, salt).map_err(|_| GenerateError::Crypto)?;
    Ok(Sensitive::new(parts.format_for_version(bcrypt::Version::TwoY)))
}

/// A pair in PEM: PKCS #8 and SubjectPublicKeyInfo.
pub(super) fn key_pair(algorithm: Algorithm) -> Result<(Sensitive<String>, Sensitive<String>), GenerateError> {
    let pair = new_pair(algorithm)?;
    Ok((Sensitive::new(pair.serialize_pem()), Sensitive::new(pair.public_key_pem())))
}

/// A certificate that is valid from yesterday on: clocks differ.
pub(super) fn certificate(
    common_name: &str,
    dns_names: &[String],
    days: u32,
    algorithm: Algorithm,
    now: i64,
) -> Result<(Sensitive<String>, Sensitive<String>), GenerateError> {
    let pair = new_pair(algorithm)?;
    let mut parameters = CertificateParams::new(dns_names.to_vec()).map_err(|_| GenerateError::Crypto)?;
    parameters.distinguished_name.push(DnType::CommonName, common_name);
    let ((y, m, d), end) = (day(now - SECONDS_OF_A_DAY), day(now + SECONDS_OF_A_DAY * i64::from(days)));
    parameters.not_before = date_time_ymd(y, m, d);
    parameters.not_after = date_time_ymd(end.0, end.1, end.2);
    let certificate = parameters.self_signed(&pair).map_err(|_| GenerateError::Crypto)?;
    Ok((Sensitive::new(pair.serialize_pem()), Sensitive::new(certificate.pem())))
}

fn new_pair(algorithm: Algorithm) -> Result<KeyPair, GenerateError> {
    let size = |bits| match bits {
        4096 => RsaKeySize::_4096,
        3072 => RsaKeySize::_3072,
        _ => RsaKeySize::_2048,
    };
    let pair = match algorithm {
        Algorithm::Rsa(bits) => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, size(bits)),
        Algorithm::Ec256 => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256),
        Algorithm::Ec384 => KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384),
        Algorithm::Ed25519 => KeyPair::generate_for(&PKCS_ED25519),
    };
    pair.map_err(|_| GenerateError::Crypto)
}

/// Midnight of the day of a Unix time. From days to year, month and day: Hinnant, "chrono-Compatible Low-Level Date
/// Algorithms", `civil_from_days`.
fn day(seconds: i64) -> (i32, u8, u8) {
    let days = seconds.div_euclid(SECONDS_OF_A_DAY) + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    // Month and day fit by construction; a year beyond the type is none that a certificate can have.
    (i32::try_from(year).unwrap_or(i32::MAX), u8::try_from(month).unwrap_or(12), u8::try_from(day).unwrap_or(28))
}
