//! The work queue: which Application is looked at next.
//!
//! # Guarantees
//! - An Application is never worked on twice at the same time.
//! - What is asked for while it is worked on is done once more afterwards.
//! - Failures are tried again after 1, 2, 4, … seconds, at most after a minute, and at once when something changes.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::StreamExt;
use gitmoor_core::tracking::ApplicationKey;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::time::DelayQueue;
use tokio_util::time::delay_queue::Key;

const LONGEST_BACKOFF: Duration = Duration::from_secs(60);

/// When an Application is looked at again, if nothing else happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// When something changes.
    OnChange,
    /// After a time.
    After(Duration),
    /// After a time that grows with every failure.
    Retry,
}

/// Puts Applications into the queue.
#[derive(Clone, Debug)]
pub(crate) struct Queue {
    sender: mpsc::UnboundedSender<ApplicationKey>,
    depth: Arc<AtomicUsize>,
    oldest: Arc<Mutex<Option<Instant>>>,
}

/// Takes them out.
#[derive(Debug)]
pub(crate) struct Work {
    receiver: mpsc::UnboundedReceiver<ApplicationKey>,
    depth: Arc<AtomicUsize>,
    oldest: Arc<Mutex<Option<Instant>>>,
}

/// A queue and its other end.
pub(crate) fn queue() -> (Queue, Work) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let depth = Arc::new(AtomicUsize::new(0));
    let oldest = Arc::new(Mutex::new(None));
    let queue = Queue { sender, depth: Arc::clone(&depth), oldest: Arc::clone(&oldest) };
    (queue, Work { receiver, depth, oldest })
}

impl Queue {
    /// Asks for a look at an Application.
    pub(crate) fn push(&self, key: ApplicationKey) {
        // Nobody listens only when the agent is stopping.
        let _ = self.sender.send(key);
    }

    /// Asks for a look at several.
    pub(crate) fn extend(&self, keys: impl IntoIterator<Item = ApplicationKey>) {
        keys.into_iter().for_each(|key| self.push(key));
    }

    /// Applications that wait or are worked on.
    pub(crate) fn depth(&self) -> usize {
        self.depth.load(Ordering::Relaxed)
    }

    /// How long the one that waits for longest has waited; nothing when none does.
    pub(crate) fn age(&self) -> Duration {
        let oldest = *self.oldest.lock().unwrap_or_else(PoisonError::into_inner);
        oldest.map(|since| since.elapsed()).unwrap_or_default()
    }
}

#[derive(Default)]
struct Schedule {
    /// Since when each waits, the oldest first.
    ready: VecDeque<(ApplicationKey, Instant)>,
    queued: HashSet<ApplicationKey>,
    running: HashSet<ApplicationKey>,
    delays: DelayQueue<ApplicationKey>,
    delayed: HashMap<ApplicationKey, Key>,
    failures: HashMap<ApplicationKey, u32>,
}

impl Schedule {
    fn ask(&mut self, key: ApplicationKey) {
        if let Some(delay) = self.delayed.remove(&key) {
            self.delays.try_remove(&delay);
        }
        if self.queued.insert(key.clone()) {
            self.ready.push_back((key, Instant::now()));
        }
    }

    /// The next one that is not being worked on.
    fn take(&mut self) -> Option<ApplicationKey> {
        let position = self.ready.iter().position(|(key, _)| !self.running.contains(key))?;
        let (key, _) = self.ready.remove(position)?;
        self.queued.remove(&key);
        self.running.insert(key.clone());
        Some(key)
    }

    fn done(&mut self, key: ApplicationKey, next: Next) {
        self.running.remove(&key);
        let wait = match next {
            Next::Retry => {
                let failures = self.failures.entry(key.clone()).or_default();
                *failures += 1;
                Some(Duration::from_secs(1 << (*failures - 1).min(6)).min(LONGEST_BACKOFF))
            }
            Next::After(wait) => Some(wait),
            Next::OnChange => None,
        };
        if next != Next::Retry {
            self.failures.remove(&key);
        }
        if let Some(wait) = wait.filter(|_| !self.queued.contains(&key)) {
            let delay = self.delays.insert(key.clone(), wait);
            self.delayed.insert(key, delay);
        }
    }
}

impl Work {
    /// Works through the queue until all senders are gone; what is under way is finished.
    pub(crate) async fn run<F>(mut self, concurrency: usize, work: impl Fn(ApplicationKey) -> F)
    where
        F: Future<Output = Next> + Send + 'static,
    {
        let mut schedule = Schedule::default();
        let mut tasks: JoinSet<(ApplicationKey, Next)> = JoinSet::new();
        loop {
            while tasks.len() < concurrency {
                let Some(key) = schedule.take() else { break };
                let job = work(key.clone());
                tasks.spawn(async move {
                    // A panic in one Application's work must not take its name along.
                    let next = tokio::spawn(job).await.unwrap_or(Next::Retry);
                    (key, next)
                });
            }
            self.depth.store(schedule.ready.len() + tasks.len(), Ordering::Relaxed);
            let oldest = schedule.ready.front().map(|(_, since)| *since);
            *self.oldest.lock().unwrap_or_else(PoisonError::into_inner) = oldest;
            tokio::select! {
                asked = self.receiver.recv() => match asked {
                    Some(key) => schedule.ask(key),
                    None => break,
                },
                Some(finished) = tasks.join_next() => {
                    if let Ok((key, next)) = finished {
                        schedule.done(key, next);
                    }
                }
                Some(due) = schedule.delays.next(), if !schedule.delays.is_empty() => {
                    let key = due.into_inner();
                    schedule.delayed.remove(&key);
                    schedule.ask(key);
                }
            }
        }
        while tasks.join_next().await.is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, sleep};

    use super::*;

    fn key(name: &str) -> ApplicationKey {
        ApplicationKey { namespace: "gitmoor".into(), name: name.into() }
    }

    #[tokio::test(start_paused = true)]
    async fn an_application_asked_for_while_it_runs_runs_once_more() {
        let (queue, work) = queue();
        let runs = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&runs);
        let start = Instant::now();
        let task = tokio::spawn(work.run(4, move |key| {
            let seen = Arc::clone(&seen);
            async move {
                seen.lock().unwrap().push((key.name, start.elapsed().as_millis()));
                sleep(Duration::from_millis(100)).await;
                Next::OnChange
            }
        }));
        queue.extend([key("a"), key("a"), key("b")]);
        sleep(Duration::from_millis(50)).await;
        queue.extend([key("a"), key("a")]);
        sleep(Duration::from_secs(10)).await;
        drop(queue);
        task.await.unwrap();
        let expected = [("a".to_owned(), 0), ("b".to_owned(), 0), ("a".to_owned(), 100)];
        assert_eq!(*runs.lock().unwrap(), expected);
    }

    #[tokio::test(start_paused = true)]
    async fn failures_back_off_and_a_change_does_not_wait() {
        let (queue, work) = queue();
        let runs = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&runs);
        let start = Instant::now();
        let task = tokio::spawn(work.run(1, move |_| {
            seen.lock().unwrap().push(start.elapsed().as_secs());
            async { Next::Retry }
        }));
        queue.push(key("a"));
        sleep(Duration::from_secs(8)).await;
        assert_eq!(*runs.lock().unwrap(), [0, 1, 3, 7]);
        queue.push(key("a"));
        sleep(Duration::from_secs(1)).await;
        assert_eq!(*runs.lock().unwrap(), [0, 1, 3, 7, 8]);
        drop(queue);
        task.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_is_a_failure_of_one_application() {
        let (queue, work) = queue();
        let runs = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&runs);
        let task = tokio::spawn(work.run(1, move |_| {
            let first = seen.fetch_add(1, Ordering::Relaxed) == 0;
            async move { if first { panic!("first run") } else { Next::OnChange } }
        }));
        queue.push(key("a"));
        sleep(Duration::from_secs(5)).await;
        assert_eq!(runs.load(Ordering::Relaxed), 2);
        drop(queue);
        task.await.unwrap();
    }
}
