//! Webhooks of Git servers: who may say that a repository has changed, and which one.
//!
//! Nothing of a body is believed but the addresses in it, and those only select among repositories that are followed
//! anyway: the worst that a forged or replayed body can do is one more look at one of them.
//!
//! Sources: GitHub "Validating webhook deliveries" (`X-Hub-Signature-256`), Gitea and Forgejo "Webhooks"
//! (`X-Gitea-Signature`, `X-Forgejo-Signature`), GitLab "Webhooks" (`X-Gitlab-Token`).

use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;

use crate::sensitive::Sensitive;

/// What a request proves itself with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof<'a> {
    /// HMAC-SHA256 of the body under the secret, in hexadecimal.
    Signature(&'a str),
    /// The secret itself.
    Token(&'a str),
}

impl<'a> Proof<'a> {
    /// The proof among a request's headers; `header` looks one up by its lower-case name.
    pub fn find(header: impl Fn(&str) -> Option<&'a str>) -> Option<Self> {
        let github = || header("x-hub-signature-256").and_then(|value| value.strip_prefix("sha256="));
        let signature = github().or_else(|| header("x-forgejo-signature")).or_else(|| header("x-gitea-signature"));
        signature.map(Self::Signature).or_else(|| header("x-gitlab-token").map(Self::Token))
    }

    /// True when the sender knows the secret; takes the same time wherever the first difference is.
    pub fn holds(&self, secret: &Sensitive<Vec<u8>>, body: &[u8]) -> bool {
        let Ok(mac) = Hmac::<Sha256>::new_from_slice(secret.expose()) else { return false };
        match self {
            Self::Signature(text) => unhex(text).is_some_and(|tag| mac.chain_update(body).verify_slice(&tag).is_ok()),
            // Both are hashed under the secret first, so that the comparison tells nothing of it.
            Self::Token(token) => {
                let expected = mac.clone().chain_update(secret.expose()).finalize().into_bytes();
                mac.chain_update(token.trim()).verify_slice(&expected).is_ok()
            }
        }
    }
}

/// Every address of the repository that a body is about.
pub fn addresses(body: &[u8]) -> Vec<String> {
    const FIELDS: [&str; 8] =
        ["clone_url", "html_url", "git_http_url", "http_url", "web_url", "url", "ssh_url", "git_ssh_url"];
    let Ok(body) = serde_json::from_slice::<Value>(body) else { return Vec::new() };
    let mut found: Vec<String> = ["repository", "project"]
        .iter()
        .filter_map(|part| body.get(part))
        .flat_map(|part| FIELDS.iter().filter_map(|field| part.get(field).and_then(Value::as_str)))
        .map(str::to_owned)
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> =
        text.trim().chars().map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok())).collect::<Option<_>>()?;
    digits.len().is_multiple_of(2).then(|| digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tracking::hex;

    fn secret() -> Sensitive<Vec<u8>> {
        Sensitive::new(b"It's a Secret to Everybody".to_vec())
    }

    fn proof<'a>(name: &'static str, value: &'a str) -> Option<Proof<'a>> {
        Proof::find(move |header| (header == name).then_some(value))
    }

    /// The example of GitHub's documentation.
    const SIGNATURE: &str = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

    #[test]
    fn each_server_proves_itself_in_its_way() {
        let github = format!("sha256={SIGNATURE}");
        for (header, value) in [
            ("x-hub-signature-256", github.as_str()),
            ("x-gitea-signature", SIGNATURE),
            ("x-forgejo-signature", SIGNATURE),
            ("x-gitlab-token", "It's a Secret to Everybody"),
        ] {
            assert!(proof(header, value).unwrap().holds(&secret(), b"Hello, World!"), "{header}");
            assert!(!proof(header, value).unwrap().holds(&Sensitive::new(b"other".to_vec()), b"Hello, World!"));
        }
        assert!(!proof("x-gitea-signature", SIGNATURE).unwrap().holds(&secret(), b"Hello, world!"));
        for bad in ["", "zz", "7", "sha256=", &hex(b"short")] {
            assert!(!proof("x-gitea-signature", bad).unwrap().holds(&secret(), b"Hello, World!"), "{bad}");
        }
        assert!(proof("x-hub-signature", &github).is_none(), "SHA-1 signatures prove nothing");
    }

    #[test]
    fn a_body_names_its_repository() {
        let github =
            br#"{"ref": "refs/heads/main", "repository": {"clone_url": "https://g/a.git", "html_url": "https://g/a"}}"#;
        assert_eq!(addresses(github), ["https://g/a", "https://g/a.git"]);
        let gitlab = br#"{"project": {"git_http_url": "https://l/a.git", "git_ssh_url": "git@l:a.git", "id": 1}}"#;
        assert_eq!(addresses(gitlab), ["git@l:a.git", "https://l/a.git"]);
        assert!(addresses(b"not json").is_empty() && addresses(b"[]").is_empty());
        assert!(addresses(br#"{"repository": "x", "project": {"url": 3}}"#).is_empty());
    }
}
