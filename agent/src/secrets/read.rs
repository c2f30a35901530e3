//! Reads of one session: planned into calls, made within the rate, split and tried again where that helps.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use gitmoor_core::secrets::batches::{Call, Rights};
use gitmoor_core::secrets::identity::SessionKey;
use gitmoor_core::secrets::reading::{Found, Payload, Read, ReadError};
use gitmoor_core::secrets::request::{Service, Version};
use gitmoor_core::secrets::throttle::Bucket;
use gitmoor_engine::aws::{Answer, Aws, AwsError};
use tokio::time::Instant;

use super::Options;
use super::metrics::SecretMetrics;

/// Calls of a session that are under way at once.
const CONCURRENT: usize = 8;
/// How often a throttled call is made again before the next round has to do it.
const THROTTLED_ATTEMPTS: u32 = 4;

/// What came of reads.
pub(super) type Results = HashMap<Read, Result<Found, ReadError>>;

/// Reads from AWS.
pub(super) struct Reader {
    aws: Aws,
    metrics: SecretMetrics,
    rates: [(Service, f64); 2],
    started: Instant,
    buckets: Mutex<HashMap<(Option<String>, Service), Bucket>>,
    rights: Mutex<HashMap<SessionKey, Rights>>,
}

/// A call, and how often it was made before.
struct Job {
    call: Call,
    attempts: u32,
}

impl Reader {
    /// Nothing read yet.
    pub(super) fn new(aws: Aws, metrics: SecretMetrics, options: &Options) -> Self {
        let rates = [
            (Service::SecretsManager, options.secrets_manager_rate),
            (Service::ParameterStore, options.parameter_store_rate),
        ];
        Self { aws, metrics, rates, started: Instant::now(), buckets: Mutex::default(), rights: Mutex::default() }
    }

    /// Reads all, and the values behind the names that searches give, as far as `wanted` says.
    pub(super) async fn read(
        &self,
        session: &SessionKey,
        reads: &BTreeSet<Read>,
        wanted: impl Fn(&Read, &str) -> bool,
    ) -> Results {
        let mut results = self.run(session, reads).await;
        let names: Vec<(Read, Vec<String>)> = results
            .iter()
            .filter_map(|(read, result)| match result {
                Ok(Found::Names(names)) => {
                    Some((read.clone(), names.iter().filter(|name| wanted(read, name)).cloned().collect()))
                }
                _ => None,
            })
            .collect();
        let behind: BTreeSet<Read> =
            names.iter().flat_map(|(read, names)| names.iter().map(|name| value(read.service(), name))).collect();
        let missing: BTreeSet<Read> = behind.into_iter().filter(|read| !results.contains_key(read)).collect();
        if !missing.is_empty() {
            results.extend(self.run(session, &missing).await);
        }
        for (read, names) in names {
            let found = collect(&read, &names, &results);
            results.insert(read, found);
        }
        results
    }

    async fn run(&self, session: &SessionKey, reads: &BTreeSet<Read>) -> Results {
        let calls = self.with_rights(session, |rights, now| rights.plan(reads, now));
        let mut todo: VecDeque<Job> = calls.into_iter().map(|call| Job { call, attempts: 0 }).collect();
        let mut running = FuturesUnordered::new();
        let mut results = Results::new();
        loop {
            while running.len() < CONCURRENT {
                let Some(job) = todo.pop_front() else { break };
                running.push(self.make(session, job));
            }
            let Some((job, outcome)) = running.next().await else { break };
            match outcome {
                Ok(answer) => todo.extend(self.answered(session, job, answer, &mut results)),
                Err(error) => todo.extend(self.failed(session, job, &error, &mut results)),
            }
        }
        results
    }

    async fn make(&self, session: &SessionKey, job: Job) -> (Job, Result<Answer, AwsError>) {
        if job.attempts > 0 {
            tokio::time::sleep(Duration::from_millis(250 << job.attempts.min(5))).await;
        }
        let wait = self.with_bucket(session, job.call.service(), Bucket::take);
        tokio::time::sleep(wait).await;
        let session = self.aws.session(session).await;
        let outcome = session.call(&job.call).await;
        (job, outcome)
    }

    fn answered(&self, session: &SessionKey, job: Job, answer: Answer, results: &mut Results) -> Vec<Job> {
        let service = job.call.service();
        self.metrics.called(service, "success");
        self.with_bucket(session, service, |bucket, _| bucket.answered());
        if let Call::Single { key, version: Version::Current, .. } = &job.call {
            self.with_rights(session, |rights, now| rights.single_worked(service, key, now));
        }
        for (read, found) in answer.found {
            let found = match (results.remove(&read), found) {
                (Some(Ok(before)), Ok(more)) => Ok(join(before, more)),
                (Some(Err(error)), _) | (_, Err(error)) => Err(error),
                (None, Ok(found)) => Ok(found),
            };
            results.insert(read, found);
        }
        match (job.call, answer.next) {
            (Call::List { listing, .. }, Some(page)) => {
                vec![Job { call: Call::List { listing, page: Some(page) }, attempts: 0 }]
            }
            _ => Vec::new(),
        }
    }

    fn failed(&self, session: &SessionKey, job: Job, error: &AwsError, results: &mut Results) -> Vec<Job> {
        let Job { call, attempts } = job;
        let service = call.service();
        let error = error.read_error();
        self.metrics.called(service, word(&error));
        let again = |call: Call| vec![Job { call, attempts: attempts + 1 }];
        match (&error, &call) {
            (ReadError::Throttled, _) => {
                self.with_bucket(session, service, Bucket::throttled);
                if attempts < THROTTLED_ATTEMPTS {
                    return again(call);
                }
            }
            (ReadError::Unavailable(_), _) if attempts == 0 => return again(call),
            (ReadError::NoCredentials(_), _) => {
                self.aws.forget(session);
                if attempts == 0 {
                    return again(call);
                }
            }
            (ReadError::Denied(action), Call::Batch { keys, .. }) => {
                let calls = self.with_rights(session, |rights, now| rights.denied(service, keys, action, now));
                return calls.into_iter().map(|call| Job { call, attempts: 0 }).collect();
            }
            (ReadError::Denied(_), Call::Single { key, version: Version::Current, .. }) => {
                self.with_rights(session, |rights, now| rights.single_denied(service, key, now));
            }
            _ => {}
        }
        results.extend(call.reads().into_iter().map(|read| (read, Err(error.clone()))));
        Vec::new()
    }

    fn with_rights<T>(&self, session: &SessionKey, work: impl FnOnce(&mut Rights, Duration) -> T) -> T {
        let mut rights = self.rights.lock().unwrap_or_else(PoisonError::into_inner);
        work(rights.entry(session.clone()).or_default(), self.started.elapsed())
    }

    /// Quotas are an account's in a region, whoever asks.
    fn with_bucket<T>(
        &self,
        session: &SessionKey,
        service: Service,
        work: impl FnOnce(&mut Bucket, Duration) -> T,
    ) -> T {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let rate = self.rates.iter().find(|(of, _)| *of == service).map_or(1.0, |(_, rate)| *rate);
        let bucket = buckets.entry((session.region.clone(), service)).or_insert_with(|| Bucket::new(rate));
        work(bucket, self.started.elapsed())
    }
}

fn value(service: Service, key: &str) -> Read {
    Read::Value { service, key: key.to_owned(), version: Version::Current }
}

/// The pages of a search, together.
fn join(before: Found, more: Found) -> Found {
    match (before, more) {
        (Found::Names(mut names), Found::Names(more)) => {
            names.extend(more);
            Found::Names(names)
        }
        (Found::Many(mut values), Found::Many(more)) => {
            values.extend(more);
            Found::Many(values)
        }
        (_, more) => more,
    }
}

/// The values behind the names of a search. A name that is gone since is none of them; any other failure is one of all.
fn collect(search: &Read, names: &[String], results: &Results) -> Result<Found, ReadError> {
    let mut values: BTreeMap<String, Payload> = BTreeMap::new();
    for name in names {
        match results.get(&value(search.service(), name)) {
            Some(Ok(Found::One(payload))) => drop(values.insert(name.clone(), payload.clone())),
            Some(Err(ReadError::NotFound)) => {}
            Some(Err(error)) => return Err(error.clone()),
            _ => return Err(ReadError::Unavailable("AWS left it out of its answer".to_owned())),
        }
    }
    Ok(Found::Many(values))
}

fn word(error: &ReadError) -> &'static str {
    match error {
        ReadError::NotFound => "not_found",
        ReadError::Denied(_) => "denied",
        ReadError::Throttled => "throttled",
        ReadError::Unavailable(_) => "unavailable",
        ReadError::Refused(_) => "refused",
        ReadError::NoCredentials(_) => "no_credentials",
    }
}
