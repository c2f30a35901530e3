//! What kustomizations and charts use from elsewhere: each thing is looked at once for all Applications; what moves is
//! looked at again, and its Applications are told.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use futures::stream::{self, FuturesUnordered};
use futures::{FutureExt as _, StreamExt as _};
use gitmoor_core::closure::{Category, RemoteContent, RemoteReference, Remotes};
use gitmoor_core::tracking::ApplicationKey;
use gitmoor_engine::access::Access;
use gitmoor_engine::addresses::Addresses;
use gitmoor_engine::git::RepositoryUrl;
use gitmoor_engine::reach::Hosts;
use gitmoor_engine::remotes::{Ask, FetchRemotes, Means, Pin, RemoteError, RemoteStore};
use tokio::sync::{Mutex as AsyncMutex, Notify, Semaphore};
use tokio::time::MissedTickBehavior;

use crate::credentials::{CredentialStore, Found};
use crate::metrics::{Metrics, Result as ResultLabel};
use crate::projects::Grant;
use crate::queue::Queue;
use crate::state::{Origin, State};

/// Shortest time between two looks at what could not be had.
const RETRY: Duration = Duration::from_secs(5);
/// Looks at the same time for Applications that are evaluated. Each may be a process, or an archive in memory.
const MOST_LOOKS: usize = 6;
/// Of these, for one of them: hosts that do not answer leave the rest to others.
const MOST_LOOKS_EACH: usize = 3;
/// The same for what is known already and moves; rounds of looks, and what somebody has told of, each on their own, so that
/// hosts that do not answer hold up nothing else.
const MOST_LOOKS_AGAIN: usize = 2;

/// What comes from elsewhere, for all Applications.
pub(crate) struct RemoteFollowers {
    store: RemoteStore,
    addresses: Addresses,
    /// Hosts that may be inside, besides those of followed repositories.
    hosts: Vec<String>,
    interval: Duration,
    credentials: Arc<CredentialStore>,
    state: Arc<State>,
    queue: Queue,
    metrics: Arc<Metrics>,
    /// What is known, one lock each, so that nothing is fetched twice at the same time.
    known: Mutex<HashMap<Ask, Slot>>,
    users: Mutex<BTreeMap<ApplicationKey, BTreeSet<Ask>>>,
    /// Looks for Applications at the same time.
    looks: Semaphore,
    /// Looks at the same time at what webhooks, or somebody who refreshes, has told of. Never waited for under a lock of what
    /// is known.
    told_looks: Semaphore,
    /// What a webhook has told of, and nobody has looked at yet.
    told: Mutex<BTreeSet<Ask>>,
    look: Notify,
}

/// What is known of one thing, under its own lock.
type Slot = Arc<AsyncMutex<Option<Known>>>;

/// What a look has found.
#[derive(Clone)]
struct Known {
    found: Result<Pin, RemoteError>,
    looked: Instant,
}

/// How remotes are followed.
pub(crate) struct Options {
    /// Between two looks at what moves.
    pub interval: Duration,
    /// Hosts that may be inside.
    pub hosts: Vec<String>,
}

/// Fetches for one Application.
pub(crate) struct ForApplication<'a> {
    /// All of them.
    all: &'a RemoteFollowers,
    /// The Application.
    key: &'a ApplicationKey,
    /// What its project lets it read.
    grant: &'a Grant,
    /// What it has asked for.
    asked: Mutex<BTreeSet<Ask>>,
}

impl RemoteFollowers {
    /// Nothing is followed yet.
    pub(crate) fn new(
        store: RemoteStore,
        Options { interval, hosts }: Options,
        credentials: Arc<CredentialStore>,
        (state, queue, metrics): (Arc<State>, Queue, Arc<Metrics>),
    ) -> Self {
        let addresses = state.addresses.clone();
        let (known, users, told, look) = (Mutex::default(), Mutex::default(), Mutex::default(), Notify::new());
        let (looks, told_looks) = (Semaphore::new(MOST_LOOKS), Semaphore::new(MOST_LOOKS_AGAIN));
        Self {
            store,
            addresses,
            hosts,
            interval,
            credentials,
            state,
            queue,
            metrics,
            known,
            users,
            looks,
            told_looks,
            told,
            look,
        }
    }

    /// Looks again at what moves, and at what could not be had, as long as the agent runs; at what a webhook tells of at
    /// once.
    pub(crate) async fn follow(self: Arc<Self>) {
        let mut rounds = tokio::time::interval(self.interval);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        rounds.tick().await;
        let (mut round, mut told) = (FuturesUnordered::new(), FuturesUnordered::new());
        let mut looking = BTreeSet::new();
        loop {
            tokio::select! {
                () = self.look.notified() => {
                    for ask in self.due(&looking) {
                        looking.insert(ask.clone());
                        told.push(self.look_at_told(ask));
                    }
                }
                Some(ask) = told.next() => {
                    looking.remove(&ask);
                    // It may have been told of again.
                    self.look.notify_one();
                }
                _ = rounds.tick(), if round.is_empty() => {
                    let used = self.used();
                    self.let_go(&used);
                    round.push(self.look_again(used));
                }
                Some(()) = round.next() => {}
            }
        }
    }

    /// Everything that some Application uses.
    fn used(&self) -> BTreeSet<Ask> {
        self.users().values().flatten().cloned().collect()
    }

    /// Forgets what is known of everything else, but for what somebody is about to know.
    fn let_go(&self, used: &BTreeSet<Ask>) {
        self.known().retain(|ask, slot| used.contains(ask) || Arc::strong_count(slot) > 1);
    }

    /// Takes what webhooks have told of and nobody looks at.
    fn due(&self, looking: &BTreeSet<Ask>) -> BTreeSet<Ask> {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let (later, now) = std::mem::take(&mut *told).into_iter().partition(|ask| looking.contains(ask));
        *told = later;
        now
    }

    async fn look_at_told(&self, ask: Ask) -> Ask {
        // Never closed.
        let _permit = self.told_looks.acquire().await;
        self.look_at(&ask).await;
        ask
    }

    /// Somebody has pushed to one of these: what is used of them, and moves, is looked at soon, once for any number of
    /// pushes. False when nothing is.
    pub(crate) fn pushed(&self, places: &BTreeSet<(String, String)>) -> bool {
        let moves = |ask: &Ask| {
            let url = self.store.repository(&ask.reference).ok().flatten();
            ask.locked.is_none() && url.is_some_and(|url| places.contains(&url.place()))
        };
        let moving: BTreeSet<Ask> = self.used().into_iter().filter(moves).collect();
        let any = !moving.is_empty();
        if any {
            self.told.lock().unwrap_or_else(PoisonError::into_inner).extend(moving);
            self.look.notify_one();
        }
        any
    }

    /// Repositories that something is used of.
    pub(crate) fn repositories(&self) -> BTreeSet<RepositoryUrl> {
        self.used().iter().filter_map(|ask| self.store.repository(&ask.reference).ok().flatten()).collect()
    }

    /// Looks again at what an Application uses.
    pub(crate) async fn refresh(&self, key: &ApplicationKey) {
        let used = self.users().get(key).cloned().unwrap_or_default();
        stream::iter(used).for_each_concurrent(None, async |ask| drop(self.look_at_told(ask).await)).await;
    }

    /// An Application is gone.
    pub(crate) fn forget(&self, key: &ApplicationKey) {
        self.users().remove(key);
    }

    fn users(&self) -> std::sync::MutexGuard<'_, BTreeMap<ApplicationKey, BTreeSet<Ask>>> {
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<Ask, Slot>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn look_again(&self, asked: BTreeSet<Ask>) {
        stream::iter(asked).for_each_concurrent(MOST_LOOKS_AGAIN, async |ask| self.look_at(&ask).await).await;
    }

    /// Looks again at what is known of something, unless that stays what it is.
    async fn look_at(&self, ask: &Ask) {
        let slot = self.slot(ask);
        let mut known = slot.lock().await;
        let Some(before) = known.clone() else { return };
        if before.found.as_ref().is_ok_and(|pin| pin.is_fixed(ask)) {
            return;
        }
        let after = self.look(ask).await;
        let news = match (&before.found, &after) {
            (Ok(before), Ok(after)) => before != after,
            (Err(_), Ok(_)) => true,
            // What there was is still good.
            (Ok(_) | Err(_), Err(_)) => false,
        };
        let found = if after.is_err() && before.found.is_ok() { before.found } else { after };
        *known = Some(Known { found, looked: Instant::now() });
        drop(known);
        if news {
            self.tell(ask);
        }
    }

    fn tell(&self, ask: &Ask) {
        tracing::info!(reference = %ask, "something from elsewhere has changed");
        let users = self.users();
        let told: BTreeSet<ApplicationKey> =
            users.iter().filter(|(_, used)| used.contains(ask)).map(|(key, _)| key.clone()).collect();
        drop(users);
        self.queue.extend(self.state.inputs_changed(&told));
    }

    fn slot(&self, ask: &Ask) -> Slot {
        Arc::clone(self.known().entry(ask.clone()).or_default())
    }

    /// What it is: known, pinned on disk, or looked at now.
    async fn find(&self, ask: &Ask) -> RemoteContent {
        let slot = self.slot(ask);
        let mut known = slot.lock().await;
        let fresh = |known: &Known| match &known.found {
            Ok(pin) => pin.is_fixed(ask) || known.looked.elapsed() < self.interval,
            Err(_) => known.looked.elapsed() < RETRY.min(self.interval),
        };
        if let Some(Known { found, .. }) = known.as_ref().filter(|known| fresh(known)) {
            match found {
                Err(error) => return failed(error),
                Ok(pin) => {
                    if let Some(content) = self.content(&ask.reference, pin).await {
                        return content;
                    }
                }
            }
        } else if let Some(pin) = self.store.known(ask).filter(|pin| pin.is_fixed(ask))
            && let Some(content) = self.content(&ask.reference, &pin).await
        {
            *known = Some(Known { found: Ok(pin), looked: Instant::now() });
            return content;
        }
        // Never closed.
        let permit = self.looks.acquire().await;
        let mut found = self.look(ask).await;
        drop(permit);
        if let (Err(error), Some(pin)) = (&found, self.store.known(ask))
            && error.category == Category::RemoteUnreachable
        {
            tracing::warn!(reference = %ask, %error, "what was fetched before is used");
            found = Ok(pin);
        }
        *known = Some(Known { found: found.clone(), looked: Instant::now() });
        match found {
            Err(error) => failed(&error),
            Ok(pin) => self.content(&ask.reference, &pin).await.unwrap_or_else(|| {
                failed(&RemoteError::new(Category::RemoteUnreachable, "cannot be read from the disk"))
            }),
        }
    }

    async fn content(&self, reference: &RemoteReference, pin: &Pin) -> Option<RemoteContent> {
        let (store, reference, pin) = (self.store.clone(), reference.clone(), pin.clone());
        tokio::task::spawn_blocking(move || store.content(&reference, &pin)).await.ok()?
    }

    async fn look(&self, ask: &Ask) -> Result<Pin, RemoteError> {
        self.credentials.read_once().await;
        let opened_with = self.found(&ask.reference);
        let access = match opened_with.clone() {
            Some(found) => self.credentials.open(found).await,
            None => Ok(Access::default()),
        };
        let found = match access {
            Ok(access) => self.store.look(ask, &Means { access, hosts: self.hosts() }).await,
            Err(error) => Err(error.into()),
        };
        if let (Some(opened_with), true) = (opened_with, found.as_ref().is_err_and(|error| error.refused_credentials)) {
            self.credentials.refused(&opened_with);
        }
        let label = found.as_ref().map_or_else(|error| error.category.as_str(), |_| "success");
        self.metrics.remote_fetches.get_or_create(&ResultLabel::of(label)).inc();
        found
    }

    /// What is known of where it comes from; `None` when that is no address.
    fn found(&self, reference: &RemoteReference) -> Option<Found> {
        Some(match reference {
            RemoteReference::Repository { address, .. } => {
                self.credentials.find(&self.addresses.repository(address).ok()?)
            }
            RemoteReference::File { address } => self.credentials.find_address(&self.addresses.file(address)),
            RemoteReference::Chart { repository, name, .. } => {
                self.credentials.find_chart(&self.addresses.chart(repository, name).ok()?)
            }
        })
    }

    fn hosts(&self) -> Hosts {
        let followed = self.state.follows().into_keys().flat_map(|origin| match origin {
            Origin::Git(url) => url.servers(),
            Origin::Chart(address) => address.server().into_iter().collect(),
        });
        let mirrors = self.addresses.replacements().iter().filter_map(|one| gitmoor_engine::remotes::server(&one.to));
        Hosts::new(self.hosts.iter().cloned().chain(followed).chain(mirrors))
    }
}

impl FetchRemotes for ForApplication<'_> {
    fn fetch(&self, asked: BTreeSet<Ask>) -> BoxFuture<'_, Remotes> {
        self.all.users().entry(self.key.clone()).or_default().extend(asked.iter().cloned());
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).extend(asked.iter().cloned());
        let one = move |ask: Ask| async move {
            let content = match self.refusal(&ask.reference) {
                Some(reason) => RemoteContent::Failed { category: Category::RemoteRefused, reason },
                None => self.all.find(&ask).await,
            };
            (ask.reference, content)
        };
        let found = stream::iter(asked).map(one).buffer_unordered(MOST_LOOKS_EACH).collect();
        async move { Remotes(found.await) }.boxed()
    }
}

impl<'a> ForApplication<'a> {
    /// Nothing is asked for yet.
    pub(crate) fn new(all: &'a RemoteFollowers, key: &'a ApplicationKey, grant: &'a Grant) -> Self {
        Self { all, key, grant, asked: Mutex::default() }
    }

    /// What was asked for is all that the Application uses by now. Until here what it used before is followed too, so that
    /// no webhook is lost.
    pub(crate) fn that_is_all(self) {
        let asked = self.asked.into_inner().unwrap_or_else(PoisonError::into_inner);
        if asked.is_empty() {
            self.all.forget(self.key);
        } else {
            self.all.users().insert(self.key.clone(), asked);
        }
    }

    /// Credentials of the agent open only what the project lets an Application read by itself.
    fn refusal(&self, reference: &RemoteReference) -> Option<String> {
        if !self.all.found(reference).is_some_and(|found| found.opens()) {
            return None;
        }
        let address = match reference {
            RemoteReference::Repository { address, .. } | RemoteReference::File { address } => address,
            RemoteReference::Chart { repository, .. } => repository,
        };
        let refusal = self.grant.judge_repository(address).err()?;
        Some(format!("there are credentials for, and which the project does not allow: {refusal}"))
    }
}

fn failed(error: &RemoteError) -> RemoteContent {
    RemoteContent::Failed { category: error.category, reason: error.reason.clone() }
}

#[cfg(test)]
mod tests {
    use gitmoor_core::tracking::Installation;
    use gitmoor_engine::git::{FetchLimits, Fetcher};

    use super::*;

    fn followers() -> RemoteFollowers {
        let addresses = Addresses::default();
        let fetcher = Fetcher::new("/nonexistent", [], FetchLimits::default());
        let state = State::new(Installation::parse("gitmoor").unwrap(), BTreeSet::new(), addresses.clone());
        let options = Options { interval: Duration::from_mins(1), hosts: Vec::new() };
        let (queue, _) = crate::queue::queue();
        let shared = (Arc::new(state), queue, Arc::new(Metrics::new()));
        RemoteFollowers::new(
            RemoteStore::new("/nonexistent".into(), fetcher, addresses),
            options,
            Arc::default(),
            shared,
        )
    }

    fn base(name: &str) -> Ask {
        let address = format!("https://git.example/{name}.git");
        Ask { reference: RemoteReference::Repository { address, revision: "main".into() }, locked: None }
    }

    fn place(name: &str) -> BTreeSet<(String, String)> {
        [("git.example".to_owned(), format!("/{name}"))].into()
    }

    #[test]
    fn a_webhook_is_not_lost_while_an_application_is_evaluated_anew() {
        let (all, key) = (followers(), ApplicationKey { namespace: "gitmoor".into(), name: "web".into() });
        let grant = Grant::default();
        let before = ForApplication::new(&all, &key, &grant);
        drop(before.fetch([base("a"), base("b")].into()));
        before.that_is_all();
        let now = ForApplication::new(&all, &key, &grant);
        assert!(all.pushed(&place("a")), "what it used before is still followed");
        drop(now.fetch([base("b"), base("c")].into()));
        assert!(all.pushed(&place("a")) && all.pushed(&place("c")));
        now.that_is_all();
        assert!(!all.pushed(&place("a")) && all.pushed(&place("b")));
        ForApplication::new(&all, &key, &grant).that_is_all();
        assert!(!all.pushed(&place("b")), "it uses nothing any more");
    }

    #[test]
    fn what_somebody_is_about_to_know_is_not_let_go() {
        let all = followers();
        let held = all.slot(&base("held"));
        drop((all.slot(&base("used")), all.slot(&base("unused"))));
        all.let_go(&[base("used")].into());
        assert!(Arc::ptr_eq(&held, &all.slot(&base("held"))), "who has it fills the one that is looked at");
        assert_eq!(all.known().len(), 2);
    }

    #[test]
    fn what_is_told_of_while_it_is_looked_at_is_looked_at_again() {
        let all = followers();
        all.told.lock().unwrap().extend([base("a"), base("b")]);
        assert_eq!(all.due(&[base("a")].into()), [base("b")].into());
        assert_eq!(all.due(&BTreeSet::new()), [base("a")].into());
        assert_eq!(all.due(&BTreeSet::new()), BTreeSet::new());
    }
}
