//! The certificate of a controller: its public key with a time of validity.

use x509_parser::{certificate::X509Certificate, prelude::FromDer as _};

use super::{SealingKey, pem};

/// A certificate with an RSA key.
#[derive(Debug)]
pub struct Certificate {
    key: SealingKey,
    not_before: i64,
    not_after: i64,
    expires: String,
    pem: String,
}

/// Why there is no certificate to seal with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// Not PEM, or PEM of something else.
    #[error("no certificate in it: PEM with `CERTIFICATE` is expected")]
    Missing,
    /// A block that is no X.509 certificate.
    #[error("certificate {0} cannot be read: not X.509 in PEM")]
    Broken(usize),
    /// Certificates with other keys only.
    #[error("no certificate in it has an RSA key of 2048 to 8192 bits")]
    NotRsa,
    /// All of them are over.
    #[error("the certificate expired on {0}")]
    Expired(String),
}

impl Certificate {
    /// Reads the certificates with an RSA key from PEM; there is at least one.
    pub fn read_all(text: &str) -> Result<Vec<Self>, CertificateError> {
        let mut found = 0;
        let mut certificates = Vec::new();
        for block in pem::blocks(text) {
            if block.label != "CERTIFICATE" {
                continue;
            }
            found += 1;
            let der = block.bytes.ok_or(CertificateError::Broken(found))?;
            let (_, certificate) = X509Certificate::from_der(&der).map_err(|_| CertificateError::Broken(found))?;
            certificates.extend(Self::of(&certificate, &der));
        }
        match (certificates.is_empty(), found) {
            (false, _) => Ok(certificates),
            (true, 0) => Err(CertificateError::Missing),
            (true, _) => Err(CertificateError::NotRsa),
        }
    }

    /// `None` for one with another key.
    fn of(certificate: &X509Certificate<'_>, der: &[u8]) -> Option<Self> {
        let validity = certificate.validity();
        let (not_before, not_after) = (validity.not_before.timestamp(), validity.not_after.timestamp());
        let expires = validity.not_after.to_datetime().date().to_string();
        let key = SealingKey::new(certificate.public_key());
        key.map(|key| Self { key, not_before, not_after, expires, pem: pem::encode("CERTIFICATE", der) })
    }

    /// The newest one that is valid at `now` (seconds of Unix time). One that is not valid yet is taken only when
    /// there is no other: clocks differ, and the controller opens what is sealed with it.
    pub fn newest_valid(certificates: Vec<Self>, now: i64) -> Result<Self, CertificateError> {
        let mut last = None;
        let mut newest: Option<Self> = None;
        let order = |one: &Self| (one.not_before <= now, one.not_before);
        for certificate in certificates {
            if certificate.not_after < now {
                last = last.max(Some((certificate.not_after, certificate.expires)));
            } else if newest.as_ref().is_none_or(|newest| order(newest) < order(&certificate)) {
                newest = Some(certificate);
            }
        }
        let expired = || last.map_or(CertificateError::Missing, |(_, date)| CertificateError::Expired(date));
        newest.ok_or_else(expired)
    }

    /// The key in it.
    pub fn key(&self) -> &SealingKey {
        &self.key
    }

    /// End of its validity, in seconds of Unix time.
    pub fn not_after(&self) -> i64 {
        self.not_after
    }

    /// The day of [`Self::not_after`], as `2026-01-31`.
    pub fn expires(&self) -> &str {
        &self.expires
    }

    /// As text.
    pub fn pem(&self) -> &str {
        &self.pem
    }
}
