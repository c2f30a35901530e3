//! Tokens of GitHub Apps: what an App's key is exchanged for, one for each installation, kept until shortly before it ends.
//!
//! GitHub's "Authenticating as a GitHub App installation": a JWT (RS256, at most ten minutes) opens
//! `POST /app/installations/ID/access_tokens`; which installation a repository belongs to says
//! `GET /repos/OWNER/NAME/installation`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::RSA_PKCS1_SHA256;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gitmoor_core::sensitive::Sensitive;
use jiff::Timestamp;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};

use super::{Connection, Credentials, OpenError};
use crate::charts::http;

const API: &str = "https://api.github.com";
/// What Git is told in place of a user's name.
const USER: &str = "x-access-token";
/// Clocks differ.
const BACKDATED: i64 = 60;
const JWT_SECONDS: i64 = 540;
/// A token is renewed so long before it ends.
const EARLY: Duration = Duration::from_mins(5);
const LARGEST_ANSWER: u64 = 1 << 20;

/// An App, as it stands in a Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GitHubApp {
    /// Its id.
    pub id: String,
    /// Its installation; looked up by the repository when missing.
    pub installation: Option<String>,
    /// Its private key, in PEM.
    pub key: Sensitive<String>,
    /// Base of the API, such as `https://github.example/api/v3`; GitHub's own when missing.
    pub api: Option<String>,
}

/// The tokens of all Apps. All methods block.
#[derive(Debug, Default)]
pub struct GitHubApps {
    tokens: Mutex<HashMap<Key, Arc<Mutex<Option<Token>>>>>,
}

/// What a token is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    app: String,
    /// The installation, or the repository that it is looked up by.
    of: String,
    api: String,
    /// Another key is another App.
    private: [u8; 32],
}

#[derive(Clone, Debug)]
struct Token {
    text: Sensitive<String>,
    until: Timestamp,
}

impl GitHubApps {
    /// What opens a repository, by its address; from memory while that is good for a while at `now`. Blocking.
    ///
    /// # Errors
    /// When GitHub refuses or cannot be reached.
    pub fn credentials(
        &self,
        app: &GitHubApp,
        repository: &str,
        connection: &Connection,
        now: Timestamp,
    ) -> Result<Credentials, OpenError> {
        let key = Key::of(app, repository)?;
        let slot = Arc::clone(self.tokens().entry(key.clone()).or_default());
        let mut token = slot.lock().unwrap_or_else(PoisonError::into_inner);
        let good = |token: &Token| token.until > now + EARLY;
        let text = match token.as_ref().filter(|token| good(token)) {
            Some(token) => token.text.clone(),
            None => token.insert(key.ask(app, connection, now)?).text.clone(),
        };
        Ok(Credentials::Basic { username: USER.to_owned(), password: text })
    }

    /// Forgets the token of a repository, such as one that was refused.
    pub fn forget(&self, app: &GitHubApp, repository: &str) {
        if let Ok(key) = Key::of(app, repository) {
            self.tokens().remove(&key);
        }
    }

    fn tokens(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Arc<Mutex<Option<Token>>>>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Key {
    fn of(app: &GitHubApp, repository: &str) -> Result<Self, OpenError> {
        let of = match &app.installation {
            Some(id) if id.bytes().all(|byte| byte.is_ascii_digit()) => id.clone(),
            Some(_) => return Err(OpenError::refused("githubAppInstallationID is no number")),
            None => owner_and_name(repository)
                .ok_or_else(|| OpenError::refused("its address has no owner: set githubAppInstallationID"))?,
        };
        let api = app.api.as_deref().unwrap_or(API).trim_end_matches('/').to_owned();
        let private = <sha2::Sha256 as sha2::Digest>::digest(app.key.expose().as_bytes()).into();
        Ok(Self { app: app.id.clone(), of, api, private })
    }

    fn ask(&self, app: &GitHubApp, connection: &Connection, now: Timestamp) -> Result<Token, OpenError> {
        let jwt = jwt(app, now)?;
        let call = |method: &str, path: &str| Call { key: self, jwt: &jwt, connection }.ask(method, path);
        let installation = if let Some(id) = &app.installation {
            id.clone()
        } else {
            let found = call("GET", &format!("/repos/{}/installation", self.of))?;
            found["id"].as_u64().ok_or_else(|| self.unreadable())?.to_string()
        };
        let given = call("POST", &format!("/app/installations/{installation}/access_tokens"))?;
        let until = given["expires_at"].as_str().and_then(|text| text.parse().ok());
        let text = given["token"].as_str().filter(|text| !text.is_empty());
        let (text, until) = text.zip(until).ok_or_else(|| self.unreadable())?;
        Ok(Token { text: Sensitive::new(text.to_owned()), until })
    }

    fn unreadable(&self) -> OpenError {
        OpenError::unreachable(format!("{} does not answer as GitHub's API does", self.api))
    }
}

/// One call of the API.
struct Call<'a> {
    key: &'a Key,
    jwt: &'a Sensitive<String>,
    connection: &'a Connection,
}

impl Call<'_> {
    fn ask(&self, method: &str, path: &str) -> Result<Value, OpenError> {
        let Key { app, of, api, private: _ } = self.key;
        let url = format!("{api}{path}");
        let failed =
            |reason: &dyn std::fmt::Display| OpenError::unreachable(format!("a token of GitHub App {app}: {reason}"));
        let uri = url.parse().map_err(|_| OpenError::refused("githubAppEnterpriseBaseUrl is no address"))?;
        // Whoever writes Secrets decides where the API is.
        let agent = http::agent(&uri, self.connection, true).map_err(|error| failed(&error))?;
        let headers = [
            ("Accept", "application/vnd.github+json"),
            ("X-GitHub-Api-Version", "2022-11-28"),
            ("Authorization", self.jwt.expose().as_str()),
        ];
        let answer = if method == "POST" {
            headers.iter().fold(agent.post(&url), |asked, (name, value)| asked.header(*name, *value)).send_empty()
        } else {
            headers.iter().fold(agent.get(&url), |asked, (name, value)| asked.header(*name, *value)).call()
        };
        let mut answer = answer.map_err(|error| failed(&http::explain(&url, &error, self.connection)))?;
        match answer.status().as_u16() {
            200..=299 => {}
            401 => {
                return Err(OpenError::refused(format!(
                    "{api} does not accept the key of GitHub App {app}: check githubAppID and githubAppPrivateKey"
                )));
            }
            403 => return Err(OpenError::refused(format!("{api} forbids GitHub App {app} to open {of}"))),
            404 => return Err(OpenError::refused(format!("GitHub App {app} is not installed for {of} at {api}"))),
            status => return Err(failed(&format!("{api} answers with status {status}"))),
        }
        let body = answer.body_mut().with_config().limit(LARGEST_ANSWER).read_to_vec();
        let body = Sensitive::new(body.map_err(|error| failed(&http::explain(&url, &error, self.connection)))?);
        serde_json::from_slice(body.expose()).map_err(|_| self.key.unreadable())
    }
}

/// Value of the header `Authorization` that proves to have the App's key.
fn jwt(app: &GitHubApp, now: Timestamp) -> Result<Sensitive<String>, OpenError> {
    let bad = || OpenError::refused("githubAppPrivateKey is no RSA key in PEM without a passphrase");
    let key = match PrivateKeyDer::from_pem_slice(app.key.expose().as_bytes()).map_err(|_| bad())? {
        PrivateKeyDer::Pkcs1(key) => KeyPair::from_der(key.secret_pkcs1_der()),
        PrivateKeyDer::Pkcs8(key) => KeyPair::from_pkcs8(key.secret_pkcs8_der()),
        _ => return Err(bad()),
    };
    let key = key.map_err(|_| bad())?;
    let now = now.as_second();
    let header = json!({"alg": "RS256", "typ": "JWT"});
    let claims = json!({"iat": now - BACKDATED, "exp": now + JWT_SECONDS, "iss": app.id});
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", encode(&header), encode(&claims));
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).map_err(|_| bad())?;
    Ok(Sensitive::new(format!("Bearer {signed}.{}", URL_SAFE_NO_PAD.encode(signature))))
}

/// `owner/name` of a repository's address.
fn owner_and_name(repository: &str) -> Option<String> {
    let (_, rest) = repository.split_once("://")?;
    let mut parts = rest.trim_end_matches('/').split('/').skip(1);
    let (owner, name) = (parts.next()?, parts.next()?);
    let name = name.strip_suffix(".git").unwrap_or(name);
    let plain = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    (plain(owner) && plain(name)).then(|| format!("{owner}/{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_names_its_owner() {
        for (address, expected) in [
            ("https://github.com/team/x.git", Some("team/x")),
            ("https://github.example/team/x/", Some("team/x")),
            ("https://github.com/team", None),
            ("https://github.com/te%20am/x", None),
            ("git@github.com:team/x", None),
        ] {
            assert_eq!(owner_and_name(address).as_deref(), expected, "{address}");
        }
    }

    #[test]
    fn what_is_no_key_is_named() {
        let app = |key: &str, installation: Option<&str>| GitHubApp {
            id: "7".to_owned(),
            installation: installation.map(str::to_owned),
            key: Sensitive::new(key.to_owned()),
            api: None,
        };
        let asked = |app: &GitHubApp| {
            let apps = GitHubApps::default();
            let now = Timestamp::UNIX_EPOCH;
            apps.credentials(app, "https://github.com/team/x", &Connection::default(), now).unwrap_err().to_string()
        };
        assert!(asked(&app("hunter2", None)).contains("githubAppPrivateKey"));
        assert!(!asked(&app("hunter2", None)).contains("hunter2"));
        assert!(asked(&app("hunter2", Some("x"))).contains("githubAppInstallationID"));
    }
}
