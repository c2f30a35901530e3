//! The keys of the controller: the public one seals, the private one opens.

use std::fmt;

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der},
    rsa::{KeyPair, OaepPrivateDecryptingKey, OaepPublicEncryptingKey, PrivateDecryptingKey, PublicEncryptingKey},
};
use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use sha2::{Digest as _, Sha256};
use x509_parser::{prelude::FromDer as _, public_key::PublicKey, x509::SubjectPublicKeyInfo};

use super::{SealError, hybrid, pem};
use crate::sensitive::Sensitive;

/// Names a key pair: `SHA256:` and the base64 of the digest of the public key, as `ssh-keygen -l` and the
/// controller (`PublicKeyFingerprint`) show it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint(String);

impl Fingerprint {
    /// Takes one that was written before. Anything without space in it will do: it is only compared.
    pub fn written(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Of an RSA key in a SubjectPublicKeyInfo; `None` for any other key. Wire format: RFC 4253, 6.6.
    fn of(spki: &SubjectPublicKeyInfo<'_>) -> Option<Self> {
        let PublicKey::RSA(key) = spki.parsed().ok()? else { return None };
        let mut digest = Sha256::new();
        for (part, is_number) in [(&b"ssh-rsa"[..], false), (key.exponent, true), (key.modulus, true)] {
            let leading = if is_number { part.iter().take_while(|byte| **byte == 0).count() } else { 0 };
            let part = &part[leading..];
            let sign = usize::from(is_number && part.first().is_some_and(|first| *first >= 0x80));
            digest.update(u32::try_from(part.len() + sign).ok()?.to_be_bytes());
            digest.update(&[0][..sign]);
            digest.update(part);
        }
        Some(Self(format!("SHA256:{}", STANDARD_NO_PAD.encode(digest.finalize()))))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The public key of a controller.
#[derive(Debug)]
pub struct SealingKey {
    key: OaepPublicEncryptingKey,
    fingerprint: Fingerprint,
}

impl SealingKey {
    /// `None` when it is no RSA key of 2048 to 8192 bits.
    pub(super) fn new(spki: &SubjectPublicKeyInfo<'_>) -> Option<Self> {
        let fingerprint = Fingerprint::of(spki)?;
        let key = PublicEncryptingKey::from_der(spki.raw).ok()?;
        Some(Self { key: OaepPublicEncryptingKey::new(key).ok()?, fingerprint })
    }

    /// Its name.
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }

    /// Seals a value under the label of a [`Scope`](super::Scope).
    pub fn seal(&self, label: &str, value: &[u8]) -> Result<Vec<u8>, SealError> {
        hybrid::seal(&self.key, label.as_bytes(), value).map_err(|_| SealError::Crypto)
    }
}

/// A private key of a controller, from a backup.
pub struct PrivateKey {
    key: OaepPrivateDecryptingKey,
    fingerprint: Fingerprint,
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({})", self.fingerprint)
    }
}

/// Why a private key cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrivateKeyError {
    /// PEM without a key in it.
    #[error("no private key in it: PEM with `RSA PRIVATE KEY` or `PRIVATE KEY` is expected")]
    Missing,
    /// Protected by a passphrase.
    #[error("the private key is encrypted; decrypt it first (openssl pkey)")]
    Encrypted,
    /// Another algorithm, or broken.
    #[error("no RSA key of 2048 to 8192 bits")]
    NotRsa,
}

impl PrivateKey {
    /// The name of its pair.
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }

    /// Opens a value; `None` when it was sealed for another key or under another label.
    pub fn open(&self, label: &str, sealed: &[u8]) -> Option<Sensitive<Vec<u8>>> {
        hybrid::open(&self.key, label.as_bytes(), sealed).ok()
    }

    fn of_pkcs8(der: &[u8]) -> Result<Self, PrivateKeyError> {
        let key = PrivateDecryptingKey::from_pkcs8(der).map_err(|_| PrivateKeyError::NotRsa)?;
        let public: PublicKeyX509Der<'_> = key.public_key().as_der().map_err(|_| PrivateKeyError::NotRsa)?;
        let (_, spki) = SubjectPublicKeyInfo::from_der(public.as_ref()).map_err(|_| PrivateKeyError::NotRsa)?;
        let fingerprint = Fingerprint::of(&spki).ok_or(PrivateKeyError::NotRsa)?;
        let key = OaepPrivateDecryptingKey::new(key).map_err(|_| PrivateKeyError::NotRsa)?;
        Ok(Self { key, fingerprint })
    }

    /// RFC 8017 `RSAPrivateKey`, which is what the controller stores.
    fn of_pkcs1(der: &[u8]) -> Result<Self, PrivateKeyError> {
        let pair = KeyPair::from_der(der).map_err(|_| PrivateKeyError::NotRsa)?;
        let pkcs8: Pkcs8V1Der<'_> = pair.as_der().map_err(|_| PrivateKeyError::NotRsa)?;
        Self::of_pkcs8(pkcs8.as_ref())
    }
}

/// Reads the private keys of a PEM text; there is at least one.
pub fn private_keys(text: &str) -> Result<Vec<PrivateKey>, PrivateKeyError> {
    let mut keys = Vec::new();
    for pem::Block { label, bytes } in pem::blocks(text) {
        match (label, bytes) {
            ("RSA PRIVATE KEY", Some(der)) => keys.push(PrivateKey::of_pkcs1(&der)?),
            ("PRIVATE KEY", Some(der)) => keys.push(PrivateKey::of_pkcs8(&der)?),
            ("EC PRIVATE KEY", _) | ("PRIVATE KEY", None) => return Err(PrivateKeyError::NotRsa),
            ("ENCRYPTED PRIVATE KEY" | "RSA PRIVATE KEY", _) => return Err(PrivateKeyError::Encrypted),
            _ => {}
        }
    }
    if keys.is_empty() { Err(PrivateKeyError::Missing) } else { Ok(keys) }
}

/// Opens a value with the first key that fits; says which one that was.
pub(super) fn open_with_any<'k>(
    keys: &'k [PrivateKey],
    label: &str,
    sealed: &[u8],
) -> Option<(Sensitive<Vec<u8>>, &'k Fingerprint)> {
    keys.iter().find_map(|key| Some((key.open(label, sealed)?, key.fingerprint())))
}
