//! Credentials of repositories, from Secrets in Argo CD's form, read again whenever they change.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use futures::StreamExt;
use gitmoor_core::names::LABEL_SECRET_TYPE;
use gitmoor_core::object::text_at;
use gitmoor_engine::charts::{ChartAddress, Transport};
use gitmoor_engine::cluster::{Change, Cluster, Selector};
use gitmoor_engine::git::{Credentials, RepositoryUrl};
use serde_json::Value;
use tokio::sync::{Notify, watch};

use crate::objects;

/// How long the first fetch waits for credentials.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a Secret says of repositories.
#[derive(Clone)]
struct Entry {
    /// Type `repo-creds`: for every repository below the address.
    template: bool,
    url: String,
    credentials: Credentials,
}

/// All credentials of the agent's namespace.
#[derive(Default)]
pub(crate) struct CredentialStore {
    entries: Mutex<BTreeMap<String, Entry>>,
    /// Something has changed.
    pub changed: Notify,
    /// True once they have all been read.
    listed: watch::Sender<bool>,
}

impl CredentialStore {
    /// The credentials of a repository: its own, else those of the longest address that it is below.
    pub(crate) fn find(&self, url: &RepositoryUrl) -> Credentials {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let policy = gitmoor_engine::git::UrlPolicy { allow_local: true, allow_plain_http: true };
        let own = entries
            .values()
            .find(|entry| !entry.template && RepositoryUrl::parse(&entry.url, &policy).is_ok_and(|own| own == *url));
        let below = || {
            let templates = entries.values().filter(|entry| entry.template && is_below(url.as_str(), &entry.url));
            templates.max_by_key(|entry| entry.url.len())
        };
        own.or_else(below).map_or(Credentials::None, |entry| entry.credentials.clone())
    }

    /// The credentials of a chart: those of its repository, else of the longest address that it is below. A Secret
    /// of a registry has no scheme, or `oci://`.
    pub(crate) fn find_chart(&self, address: &ChartAddress) -> Credentials {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let compared = |url: &str| match address.transport() {
            Transport::Http | Transport::Local => url.to_owned(),
            Transport::Oci => without_scheme(url).to_owned(),
        };
        let wanted = compared(&address.base());
        let own = entries
            .values()
            .find(|entry| !entry.template && compared(&entry.url).trim_end_matches('/').eq_ignore_ascii_case(&wanted));
        let below = || {
            let fits = |entry: &&Entry| entry.template && is_below(&wanted, &compared(&entry.url));
            entries.values().filter(fits).max_by_key(|entry| entry.url.len())
        };
        own.or_else(below).map_or(Credentials::None, |entry| entry.credentials.clone())
    }

    /// The credentials of any other address: those of the longest address that it is below.
    pub(crate) fn find_address(&self, address: &str) -> Credentials {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let below = entries.values().filter(|entry| is_below(address, &entry.url));
        below.max_by_key(|entry| entry.url.len()).map_or(Credentials::None, |entry| entry.credentials.clone())
    }

    /// Waits until all credentials have been read once, or for [`PATIENCE`] when they cannot be.
    pub(crate) async fn read_once(&self) {
        let mut listed = self.listed.subscribe();
        let read = tokio::time::timeout(PATIENCE, listed.wait_for(|listed| *listed)).await;
        if read.is_err() {
            tracing::warn!("Secrets with credentials of repositories are still not read; going on without");
        }
    }

    /// Follows the Secrets of a namespace; the future ends with the agent.
    pub(crate) async fn follow(self: Arc<Self>, cluster: Cluster, namespace: String) {
        let selector = Selector {
            namespace: Some(namespace),
            labels: Some(format!("{LABEL_SECRET_TYPE} in (repository,repo-creds)")),
        };
        let mut stream = cluster.watch(&objects::secrets(), &selector);
        let mut listing: Option<BTreeMap<String, Entry>> = None;
        while let Some(event) = stream.next().await {
            match event {
                Ok(Change::Listing) => listing = Some(BTreeMap::new()),
                Ok(Change::Listed(secret)) => {
                    if let (Some(listing), Some((name, entry))) = (&mut listing, read(&secret)) {
                        listing.insert(name, entry);
                    }
                }
                Ok(Change::ListingDone) => {
                    let listed = listing.take().unwrap_or_default();
                    self.update(|entries| *entries = listed);
                    self.listed.send_replace(true);
                }
                Ok(Change::Changed(secret)) => {
                    if let Some((name, entry)) = read(&secret) {
                        self.update(|entries| drop(entries.insert(name, entry)));
                    }
                }
                Ok(Change::Gone(secret)) => {
                    let name = text_at(&secret, &["metadata", "name"]).unwrap_or_default().to_owned();
                    self.update(|entries| drop(entries.remove(&name)));
                }
                Err(error) => tracing::warn!(%error, "Secrets with credentials of repositories cannot be watched"),
            }
        }
    }

    fn update(&self, change: impl FnOnce(&mut BTreeMap<String, Entry>)) {
        change(&mut self.entries.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_one();
    }
}

fn without_scheme(url: &str) -> &str {
    url.split_once("://").map_or(url, |(_, rest)| rest)
}

/// The address itself, or something below it; `https://host/team` is not above `https://host/teamwork`.
fn is_below(url: &str, prefix: &str) -> bool {
    let prefix = prefix.trim_end_matches('/');
    url.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Fields as in Argo CD: `url`, `username`, `password`; a bearer token goes as the password of any user.
fn read(secret: &Value) -> Option<(String, Entry)> {
    let name = text_at(secret, &["metadata", "name"])?.to_owned();
    let field = |key: &str| text_at(secret, &["data", key]).and_then(decode);
    let url = field("url")?;
    let credentials = match (field("username"), field("password").or_else(|| field("bearerToken"))) {
        (username, Some(password)) => {
            Credentials::basic(username.filter(|name| !name.is_empty()).unwrap_or_else(|| "git".to_owned()), password)
        }
        _ => Credentials::None,
    };
    let template = text_at(secret, &["metadata", "labels", LABEL_SECRET_TYPE]) == Some("repo-creds");
    Some((name, Entry { template, url, credentials }))
}

fn decode(text: &str) -> Option<String> {
    let bytes = base64::engine::general_purpose::STANDARD.decode(text).ok()?;
    String::from_utf8(bytes).ok().map(|text| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn secret(name: &str, kind: &str, url: &str, password: &str) -> (String, Entry) {
        let encode = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
        let data = json!({"url": encode(url), "username": encode("me"), "password": encode(password)});
        read(&json!({"metadata": {"name": name, "labels": {LABEL_SECRET_TYPE: kind}}, "data": data})).unwrap()
    }

    #[test]
    fn the_closest_secret_is_used() {
        let store = CredentialStore::default();
        store.update(|entries| {
            entries.extend([
                secret("a", "repo-creds", "https://git.example/team", "team"),
                secret("b", "repo-creds", "https://git.example", "all"),
                secret("c", "repository", "https://git.example/team/own.git", "own"),
            ]);
        });
        for (url, password) in [
            ("https://git.example/team/own", Some("own")),
            ("https://git.example/team/other", Some("team")),
            ("https://git.example/teamwork/other", Some("all")),
            ("https://elsewhere.example/x", None),
        ] {
            let expected = password.map_or(Credentials::None, |p| Credentials::basic("me".into(), p.into()));
            let url = RepositoryUrl::parse(url, &gitmoor_engine::git::UrlPolicy::default()).unwrap();
            assert!(store.find(&url) == expected, "{url}");
        }
    }
}
