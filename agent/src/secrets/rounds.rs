//! Rounds: whatever is due is gathered, read together, and synced.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::join_all;
use gitmoor_core::secrets::compose::matches;
use gitmoor_core::secrets::identity::SessionKey;
use gitmoor_core::secrets::reading::{Read, ReadError};
use gitmoor_core::secrets::request::{RequestId, Wanted};
use gitmoor_core::secrets::status::Outcome;
use tokio::sync::watch;
use tokio::time::Instant;

use super::Shared;
use super::read::Results;
use super::resolve::{Resolution, Resolved, resolve};
use super::{expected, sync};

/// One that comes alone waits so long for others, …
const ALONE: Duration = Duration::from_millis(1);
/// … and what comes within this time of each other is read together, …
const QUIET: Duration = Duration::from_millis(5);
/// … but nothing waits longer than this for others.
const LONGEST_GATHERING: Duration = Duration::from_millis(400);
/// How often the expected calls are counted.
const MEASURED: Duration = Duration::from_secs(30);
/// Secrets that are written at once.
const CONCURRENT: usize = 32;

/// Works until the agent ends.
pub(super) async fn run(shared: Arc<Shared>, mut listed: watch::Receiver<bool>) {
    if listed.wait_for(|listed| *listed).await.is_err() {
        return;
    }
    let mut measured: Option<Instant> = None;
    loop {
        wait_for_due(&shared).await;
        gather(&shared).await;
        let due = shared.book.lock().take_due(Instant::now());
        if !due.is_empty() {
            round(&shared, due);
        }
        if measured.is_none_or(|at| at.elapsed() > MEASURED) {
            expected::measure(&shared);
            measured = Some(Instant::now());
        }
    }
}

async fn wait_for_due(shared: &Shared) {
    loop {
        let next = shared.book.lock().next_due();
        match next {
            Some(due) if due <= Instant::now() => return,
            Some(due) => tokio::select! {
                () = tokio::time::sleep_until(due) => {}
                () = shared.book.changed.notified() => {}
            },
            None => shared.book.changed.notified().await,
        }
    }
}

/// Waits as long as more comes.
async fn gather(shared: &Shared) {
    let started = Instant::now();
    let mut before = 0;
    while started.elapsed() < LONGEST_GATHERING {
        let now = shared.book.lock().due_count(Instant::now());
        if now == before {
            return;
        }
        before = now;
        tokio::time::sleep(if now == 1 { ALONE } else { QUIET }).await;
    }
}

/// Starts the work on what is due. Those that share all their sessions are read together; the others do not wait for them.
fn round(shared: &Arc<Shared>, due: Vec<RequestId>) {
    let mut groups: BTreeMap<BTreeSet<SessionKey>, Vec<Resolved>> = BTreeMap::new();
    let mut failed = Vec::new();
    {
        let mut known = shared.book.lock();
        for id in due {
            match resolve(&known, &id, &shared.permissions, &shared.options.class) {
                Resolution::Read(resolved) => {
                    let sessions = resolved.reads.iter().map(|(session, _)| session.clone()).collect();
                    groups.entry(sessions).or_default().push(resolved);
                }
                Resolution::Failed(failure) => failed.push((id, failure)),
                Resolution::NotOurs => known.done(&id, None, false),
            }
        }
        shared.count(&known);
    }
    shared.metrics.cycle();
    for group in groups.into_values() {
        let ids: Vec<RequestId> = group.iter().map(|resolved| resolved.request.id.clone()).collect();
        watched(shared, ids, work(Arc::clone(shared), group));
    }
    let ids = failed.iter().map(|(id, _)| id.clone()).collect();
    let all = Arc::clone(shared);
    watched(shared, ids, async move {
        for (id, failure) in failed {
            sync::finish(&all, &id, None, (Outcome::Failed(failure), false)).await;
        }
    });
}

/// Runs work on requests; should it panic, they are tried again.
fn watched(shared: &Arc<Shared>, ids: Vec<RequestId>, work: impl Future<Output = ()> + Send + 'static) {
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        if tokio::spawn(work).await.is_err() {
            shared.book.update(|known| {
                for id in &ids {
                    known.done(id, Some(Instant::now() + Duration::from_secs(60)), true);
                }
            });
        }
    });
}

async fn work(shared: Arc<Shared>, group: Vec<Resolved>) {
    let mut reads: BTreeMap<SessionKey, BTreeSet<Read>> = BTreeMap::new();
    for (session, read) in group.iter().flat_map(|resolved| &resolved.reads) {
        reads.entry(session.clone()).or_default().insert(read.clone());
    }
    let answers = join_all(reads.iter().map(async |(session, reads)| {
        let wanted = |search: &Read, name: &str| is_wanted(&group, session, search, name);
        (session.clone(), shared.reader.read(session, reads, wanted).await)
    }));
    let answers: HashMap<SessionKey, Results> = answers.await.into_iter().collect();
    futures::stream::iter(group)
        .for_each_concurrent(CONCURRENT, async |resolved| {
            let answers = resolved.reads.iter().map(|(session, read)| {
                let found = answers.get(session).and_then(|results| results.get(read)).cloned();
                found.unwrap_or_else(|| Err(ReadError::Unavailable("it was not read".to_owned())))
            });
            let answers: Vec<_> = answers.collect();
            sync::sync(&shared, &resolved.request, &answers).await;
        })
        .await;
    shared.metrics.oldest(shared.book.lock().oldest_read());
}

fn is_wanted(group: &[Resolved], session: &SessionKey, search: &Read, name: &str) -> bool {
    group.iter().any(|resolved| {
        let items = resolved.request.items.iter().zip(&resolved.reads);
        let mut same = items.filter(|(_, (at, read))| at == session && read == search);
        same.any(|(item, _)| matches!(&item.wanted, Wanted::Find { find, .. } if matches(find, name).unwrap_or(false)))
    })
}
