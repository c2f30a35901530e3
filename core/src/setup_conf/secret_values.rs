//! Values that look like secrets. setup.conf is committed, so they do not belong there.

use std::fmt;

use regex::RegexSet;

/// What a value looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretKind {
    /// `-----BEGIN … PRIVATE KEY-----`.
    PrivateKey,
    /// The id of an AWS access key.
    AwsAccessKeyId,
    /// Forty characters that only a generator writes.
    AwsSecretAccessKey,
    /// A token with the prefix of its issuer.
    Token,
    /// A signed JSON web token.
    JsonWebToken,
    /// `scheme://user:password@host`.
    PasswordInUrl,
}

impl fmt::Display for SecretKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PrivateKey => "a private key",
            Self::AwsAccessKeyId => "an AWS access key id",
            Self::AwsSecretAccessKey => "an AWS secret access key",
            Self::Token => "an access token",
            Self::JsonWebToken => "a JSON web token",
            Self::PasswordInUrl => "a URL with a password",
        })
    }
}

/// The prefixes are those that the issuers publish for secret scanners.
const PATTERNS: [(SecretKind, &str); 5] = [
    (SecretKind::PrivateKey, r"-----BEGIN [A-Z ]*PRIVATE KEY"),
    (SecretKind::AwsAccessKeyId, r"\b(?:AKIA|ASIA)[A-Z2-7]{16}\b"),
    (
        SecretKind::Token,
        r"(?x)
        \b(?: gh[pousr]_[A-Za-z0-9]{36} | github_pat_[A-Za-z0-9_]{22} | gl(?:pat|dt|rt)-[A-Za-z0-9_-]{20}
            | xox[abeoprs]-[A-Za-z0-9-]{10} | AIza[A-Za-z0-9_-]{35} | ya29\.[A-Za-z0-9_-]{20}
            | [rs]k_live_[A-Za-z0-9]{16} | npm_[A-Za-z0-9]{36} | pypi-[A-Za-z0-9_-]{40} | hf_[A-Za-z0-9]{30}
            | dckr_pat_[A-Za-z0-9_-]{20} | sk-[A-Za-z0-9_-]{32} | hvs\.[A-Za-z0-9_-]{24} )
        | hooks\.slack\.com/services/T",
    ),
    (SecretKind::JsonWebToken, r"\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+"),
    (SecretKind::PasswordInUrl, r"[A-Za-z][A-Za-z0-9+.-]*://[^\s/?#@:]*:[^\s/?#@]+@"),
];

/// The patterns, ready to use.
pub(super) struct Patterns(Option<RegexSet>);

impl Patterns {
    pub(super) fn new() -> Self {
        // A test holds that they compile.
        Self(RegexSet::new(PATTERNS.map(|(_, pattern)| pattern)).ok())
    }

    /// What the value looks like, if it looks like a secret.
    pub(super) fn kind_of(&self, value: &str) -> Option<SecretKind> {
        let hit = self.0.as_ref()?.matches(value).iter().next();
        hit.map(|index| PATTERNS[index].0).or_else(|| {
            value.split(|c: char| !is_base64(c)).any(is_aws_secret).then_some(SecretKind::AwsSecretAccessKey)
        })
    }
}

fn is_base64(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '+' | '/')
}

/// Forty characters of base64 that hold upper case, lower case and digits in plenty. A commit id has no
/// upper case, and a path has words with hardly a digit between them.
fn is_aws_secret(word: &str) -> bool {
    let count = |kind: fn(&u8) -> bool| word.bytes().filter(kind).count();
    word.len() == 40
        && count(u8::is_ascii_uppercase) >= 8
        && count(u8::is_ascii_lowercase) >= 5
        && count(u8::is_ascii_digit) >= 1
}

#[cfg(test)]
mod tests {
    use super::*;

    // Put together from halves, so that no scanner takes this file for a leak.
    #[test]
    fn secrets_are_recognised() {
        let patterns = Patterns::new();
        assert!(patterns.0.is_some());
        for (start, end, kind) in [
            ("-----BEGIN RSA ", "PRIVATE KEY-----", SecretKind::PrivateKey),
            ("AKIA", "IOSFODNN7EXAMPLE", SecretKind::AwsAccessKeyId),
            ("wJalrXUtnFEMI/K7MDENG", "/bPxRfiCYEXAMPLEKEY", SecretKind::AwsSecretAccessKey),
            ("\"wJalrXUtnFEMI/K7MDENG", "/bPxRfiCYEXAMPLEKEY\"", SecretKind::AwsSecretAccessKey),
            ("ghp_", "012345678901234567890123456789abcdef", SecretKind::Token),
            ("glpat-", "01234567890123456789", SecretKind::Token),
            ("https://hooks.slack.com", "/services/T000/B000/XXX", SecretKind::Token),
            ("eyJhbGciOiJIUzI1NiJ9.", "eyJzdWIiOiIxIn0x.c2lnbmF0dXJl", SecretKind::JsonWebToken),
            ("redis://:pass", "word@redis:6379/0", SecretKind::PasswordInUrl),
            ("https://user:pass", "word@example.com/x.git", SecretKind::PasswordInUrl),
        ] {
            assert_eq!(patterns.kind_of(&format!("{start}{end}")), Some(kind), "{start}");
        }
    }

    #[test]
    fn ordinary_values_are_not() {
        let patterns = Patterns::new();
        for value in [
            "",
            "eu-west-1",
            "arn:aws:iam::123456789012:role/MLPlatform-Airflow-Logs-Production-2026",
            "https://github.com/example/fork.git",
            "git@github.com:example/fork.git",
            "redis://redis.default.svc:6379/0",
            "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_AbCdEf012",
            "0123456789abcdef0123456789abcdef01234567",
            "123456789012.dkr.ecr.eu-west-1.amazonaws.com/Team/Project/Image:v1.2.3",
            "openid profile email, groups",
            "*.example.com, example.com",
            "Distribution/Applications/JupyterHub/Etc",
        ] {
            assert_eq!(patterns.kind_of(value), None, "{value}");
        }
    }
}
