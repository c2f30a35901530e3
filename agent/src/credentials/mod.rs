//! Credentials of repositories, from Secrets in Argo CD's form, and by what servers are known; read again whenever they
//! change.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use gitmoor_core::names::LABEL_SECRET_TYPE;
use gitmoor_core::object::text_at;
use gitmoor_core::repository_address::{comparable, is_below, without_scheme};
use gitmoor_engine::access::{Access, Connection, OpenError};
use gitmoor_engine::aws::EcrRegistry;
use gitmoor_engine::charts::{ChartAddress, Transport};
use gitmoor_engine::cluster::{Change, Cluster, Selector};
use gitmoor_engine::git::RepositoryUrl;
use tokio::sync::{Notify, watch};

use self::opening::Opening;
use self::secret::{Entry, Way};
use self::trust::Trust;
use crate::objects;

mod opening;
mod secret;
mod trust;

pub(crate) use self::opening::Found;

/// How long the first fetch waits for credentials.
const PATIENCE: Duration = Duration::from_secs(10);

/// All credentials of the agent's namespace.
#[derive(Default)]
pub(crate) struct CredentialStore {
    known: Mutex<Known>,
    opening: Opening,
    /// Something has changed.
    pub changed: Notify,
    /// Which parts have been read.
    read: watch::Sender<Read>,
}

#[derive(Default)]
struct Known {
    /// By the Secret's name.
    entries: BTreeMap<String, Entry>,
    trust: Trust,
    /// Secrets whose unsupported fields have been told.
    told: BTreeSet<(String, Vec<&'static str>)>,
}

#[derive(Clone, Copy, Default)]
struct Read {
    secrets: bool,
    known_hosts: bool,
    authorities: bool,
}

impl CredentialStore {
    /// What opens a repository: its own Secret, else that of the longest address that it is below.
    pub(crate) fn find(&self, url: &RepositoryUrl) -> Found {
        self.known().find(url.as_str(), comparable)
    }

    /// What opens a chart: the Secret of its repository, else of the longest address that it is below. A Secret of a
    /// registry has no scheme, or `oci://`.
    pub(crate) fn find_chart(&self, address: &ChartAddress) -> Found {
        match address.transport() {
            Transport::Http | Transport::Local => self.known().find(&address.base(), comparable),
            Transport::Oci => {
                let found = self.known().find(&address.base(), |url| without_scheme(&comparable(url)).to_owned());
                match EcrRegistry::parse(address.host()) {
                    // Its own Secret wins, such as one of another account's role.
                    Some(registry) if found.way == Way::Nothing => Found { way: Way::Ecr(registry), ..found },
                    _ => found,
                }
            }
        }
    }

    /// What opens any other address: the Secret of the longest address that it is below.
    pub(crate) fn find_address(&self, address: &str) -> Found {
        let (known, compared) = (self.known(), comparable(address));
        let below = known.entries.values().filter(|entry| is_below(&compared, &comparable(&entry.url)));
        known.found(address, below.max_by_key(|entry| entry.url.len()), None)
    }

    /// What to connect with, exchanged for what is known where that is needed.
    ///
    /// # Errors
    /// When it is a way that is not supported, or the exchange fails.
    pub(crate) async fn open(&self, found: Found) -> Result<Access, OpenError> {
        self.opening.open(found).await
    }

    /// A server has refused what it was opened with.
    pub(crate) fn refused(&self, found: &Found) {
        self.opening.refused(found);
    }

    /// Waits until all credentials have been read once, or for [`PATIENCE`] when they cannot be.
    pub(crate) async fn read_once(&self) {
        let mut read = self.read.subscribe();
        let all =
            tokio::time::timeout(PATIENCE, read.wait_for(|read| read.secrets && read.known_hosts && read.authorities))
                .await;
        if all.is_err() {
            tracing::warn!("Secrets with credentials of repositories are still not read; going on without");
        }
    }

    /// Follows the Secrets and ConfigMaps of a namespace; the future ends with the agent.
    pub(crate) async fn follow(self: Arc<Self>, cluster: Cluster, namespace: String) {
        let known_hosts = trust::follow_known_hosts(Arc::clone(&self), cluster.clone(), namespace.clone());
        let authorities = trust::follow_authorities(Arc::clone(&self), cluster.clone(), namespace.clone());
        tokio::join!(self.follow_secrets(cluster, namespace), known_hosts, authorities);
    }

    async fn follow_secrets(&self, cluster: Cluster, namespace: String) {
        let labels = Some(format!("{LABEL_SECRET_TYPE} in (repository,repo-creds)"));
        let selector = Selector { namespace: Some(namespace), labels, ..Selector::default() };
        let mut stream = cluster.watch(&objects::secrets(), &selector);
        let mut listing: Option<BTreeMap<String, Entry>> = None;
        while let Some(event) = stream.next().await {
            match event {
                Ok(Change::Listing) => listing = Some(BTreeMap::new()),
                Ok(Change::Listed(secret)) => {
                    if let (Some(listing), Some(entry)) = (&mut listing, Entry::read(&secret)) {
                        listing.insert(entry.name.clone(), entry);
                    }
                }
                Ok(Change::ListingDone) => {
                    let listed = listing.take().unwrap_or_default();
                    self.update(|known| known.entries = listed);
                    self.read.send_modify(|read| read.secrets = true);
                }
                Ok(Change::Changed(secret)) => {
                    let name = text_at(&secret, &["metadata", "name"]).unwrap_or_default().to_owned();
                    self.update(|known| match Entry::read(&secret) {
                        Some(entry) => drop(known.entries.insert(name, entry)),
                        None => drop(known.entries.remove(&name)),
                    });
                }
                Ok(Change::Gone(secret)) => {
                    let name = text_at(&secret, &["metadata", "name"]).unwrap_or_default().to_owned();
                    self.update(|known| drop(known.entries.remove(&name)));
                }
                Err(error) => tracing::warn!(%error, "Secrets with credentials of repositories cannot be watched"),
            }
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn update(&self, change: impl FnOnce(&mut Known)) {
        let mut known = self.known();
        change(&mut known);
        known.tell_unsupported();
        drop(known);
        self.changed.notify_one();
    }

    fn trust(&self, change: impl FnOnce(&mut Trust, &mut Read)) {
        self.update(|known| self.read.send_modify(|read| change(&mut known.trust, read)));
    }
}

impl Known {
    /// By the Secret of the address itself; what that one does not say, by the one of the longest address above.
    fn find(&self, address: &str, compared: impl Fn(&str) -> String) -> Found {
        let wanted = compared(address);
        let own = self.entries.values().find(|entry| !entry.template && compared(&entry.url) == wanted);
        let above = self.entries.values().filter(|entry| entry.template && is_below(&wanted, &compared(&entry.url)));
        self.found(address, own, above.max_by_key(|entry| entry.url.len()))
    }

    fn found(&self, address: &str, own: Option<&Entry>, above: Option<&Entry>) -> Found {
        let entries = || own.into_iter().chain(above);
        let opening = entries().find(|entry| entry.way != Way::Nothing);
        Found {
            address: address.to_owned(),
            connection: Connection {
                insecure: entries().next().is_some_and(|entry| entry.insecure),
                known_hosts: self.trust.known_hosts.clone(),
                authorities: Arc::clone(&self.trust.authorities),
                client: entries().find_map(|entry| entry.client.clone()),
                proxy: entries().find_map(|entry| entry.proxy.clone()),
            },
            way: opening.map_or(Way::Nothing, |entry| entry.way.clone()),
            secret: opening.map_or_else(String::new, |entry| entry.name.clone()),
        }
    }

    /// Says once of each Secret which of its fields have no effect.
    fn tell_unsupported(&mut self) {
        let present = self.entries.values().filter(|entry| !entry.unsupported.is_empty());
        let present: BTreeSet<_> = present.map(|entry| (entry.name.clone(), entry.unsupported.clone())).collect();
        for (secret, fields) in present.difference(&self.told) {
            let fields = fields.join(", ");
            tracing::warn!(%secret, %fields, "fields of a Secret with credentials are not supported and have no effect");
        }
        self.told = present;
    }
}

#[cfg(test)]
mod tests {
    use gitmoor_engine::access::Credentials;

    use super::secret::tests::secret;
    use super::*;

    fn store(secrets: &[(&str, &[(&str, &str)])]) -> CredentialStore {
        let store = CredentialStore::default();
        store.update(|known| {
            for (index, (kind, fields)) in secrets.iter().enumerate() {
                let entry = Entry::read(&secret(&format!("s{index}"), kind, fields)).unwrap();
                known.entries.insert(entry.name.clone(), entry);
            }
        });
        store
    }

    fn found(store: &CredentialStore, url: &str) -> Found {
        store.find(&RepositoryUrl::parse(url, &gitmoor_engine::git::UrlPolicy::default()).unwrap())
    }

    #[test]
    fn the_closest_secret_is_used() {
        let store = store(&[
            ("repo-creds", &[("url", "https://git.example/team"), ("password", "team")]),
            ("repo-creds", &[("url", "https://git.example"), ("password", "all")]),
            ("repository", &[("url", "https://git.example/team/own.git"), ("password", "own")]),
            ("repository", &[("url", "https://git.example/team/bare"), ("insecure", "true")]),
            ("repo-creds", &[("url", "git@git.example:"), ("sshPrivateKey", "key")]),
        ]);
        for (url, password) in [
            ("https://git.example/team/own", Some("own")),
            ("https://git.example/team/other", Some("team")),
            ("https://git.example/teamwork/other", Some("all")),
            ("https://git.example/team/bare", Some("team")),
            ("https://elsewhere.example/x", None),
        ] {
            let expected = password.map_or(Way::Nothing, |p| Way::Given(Credentials::basic("git".into(), p.into())));
            assert!(found(&store, url).way == expected, "{url}");
        }
        let bare = found(&store, "https://git.example/team/bare.git");
        assert!(bare.connection.insecure, "what its own Secret says stays");
        for url in ["git@git.example:team/x.git", "ssh://git@git.example/team/x"] {
            assert!(matches!(found(&store, url).way, Way::Given(Credentials::SshKey(_))), "{url}");
        }
    }

    #[test]
    fn a_registry_of_aws_is_opened_by_the_agents_role_unless_it_has_a_secret() {
        let chart = |host: &str| ChartAddress::parse(&format!("oci://{host}/charts"), "app").unwrap();
        let (one, other) =
            ("111111111111.dkr.ecr.eu-west-1.amazonaws.com", "222222222222.dkr.ecr.eu-west-1.amazonaws.com");
        let store = store(&[("repo-creds", &[("url", other), ("password", "x")])]);
        assert!(matches!(store.find_chart(&chart(one)).way, Way::Ecr(_)));
        assert!(matches!(store.find_chart(&chart(other)).way, Way::Given(_)));
        assert_eq!(store.find_chart(&chart("public.ecr.aws")).way, Way::Nothing);
    }

    #[tokio::test]
    async fn a_way_that_is_not_supported_is_named() {
        let store = store(&[("repository", &[("url", "https://git.example/x"), ("gcpServiceAccountKey", "{}")])]);
        let error = store.open(found(&store, "https://git.example/x")).await.unwrap_err();
        assert_eq!(error.to_string(), "Secret s0 has gcpServiceAccountKey, which is not supported");
    }
}
