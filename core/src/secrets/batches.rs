//! From reads to calls: as few as AWS' batch operations allow.
//!
//! - Secrets Manager gives up to 20 present values in a call, Parameter Store up to 10. Pinned versions, tags and searches
//!   go singly. `GetParametersByPath` gives 10 a page too, so it never saves a call over names that are known; it is used
//!   for searches.
//! - One denied key may deny the whole batch. Such a batch is halved until the key is found, which from then on is asked
//!   for apart.
//! - A role may lack the right to the batch operation alone. Then single reads are used, and the batch is tried again
//!   after an hour.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::reading::{Listing, Read};
use super::request::{Service, Version};

/// `BatchGetSecretValue` takes so many ids.
pub const SECRETS_PER_CALL: usize = 20;
/// `GetParameters` takes so many names.
pub const PARAMETERS_PER_CALL: usize = 10;

/// How long it is remembered that a batch was denied.
const REMEMBERED: Duration = Duration::from_secs(3600);

/// One call of an AWS API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// `BatchGetSecretValue` or `GetParameters`.
    Batch {
        /// Whose.
        service: Service,
        /// Names or ARNs.
        keys: Vec<String>,
    },
    /// `GetSecretValue` or `GetParameter`.
    Single {
        /// Whose.
        service: Service,
        /// Name or ARN.
        key: String,
        /// Which version.
        version: Version,
    },
    /// `DescribeSecret` or `ListTagsForResource`.
    Tags {
        /// Whose.
        service: Service,
        /// Name or ARN.
        key: String,
    },
    /// `ListSecrets`, `GetParametersByPath` or `DescribeParameters`, one page.
    List {
        /// The search.
        listing: Listing,
        /// Which page.
        page: Option<String>,
    },
}

impl Call {
    /// The service that is called.
    pub fn service(&self) -> Service {
        match self {
            Self::Batch { service, .. } | Self::Single { service, .. } | Self::Tags { service, .. } => *service,
            Self::List { listing, .. } => listing.service,
        }
    }

    /// The reads that this call answers.
    pub fn reads(&self) -> Vec<Read> {
        let value = |service: Service, key: &String, version: &Version| Read::Value {
            service,
            key: key.clone(),
            version: version.clone(),
        };
        match self {
            Self::Batch { service, keys } => keys.iter().map(|key| value(*service, key, &Version::Current)).collect(),
            Self::Single { service, key, version } => vec![value(*service, key, version)],
            Self::Tags { service, key } => vec![Read::Tags { service: *service, key: key.clone() }],
            Self::List { listing, .. } => vec![Read::List(listing.clone())],
        }
    }
}

/// What is remembered of a session's rights. Times are durations since any one fixed moment.
#[derive(Clone, Debug, Default)]
pub struct Rights {
    without_batch: BTreeMap<Service, Duration>,
    apart: BTreeMap<(Service, String), Duration>,
    /// Two keys that were denied together, and which of them could be read alone.
    pairs: Vec<(Service, [(String, bool); 2])>,
}

impl Rights {
    /// The calls for some reads.
    pub fn plan(&mut self, reads: &BTreeSet<Read>, now: Duration) -> Vec<Call> {
        self.without_batch.retain(|_, until| *until > now);
        self.apart.retain(|_, until| *until > now);
        let mut calls = Vec::new();
        let mut together: BTreeMap<Service, Vec<String>> = BTreeMap::new();
        for read in reads {
            match read {
                Read::Value { service, key, version: Version::Current } if self.batches(*service, key) => {
                    together.entry(*service).or_default().push(key.clone());
                }
                Read::Value { service, key, version } => {
                    calls.push(Call::Single { service: *service, key: key.clone(), version: version.clone() });
                }
                Read::Tags { service, key } => calls.push(Call::Tags { service: *service, key: key.clone() }),
                Read::List(listing) => calls.push(Call::List { listing: listing.clone(), page: None }),
            }
        }
        for (service, keys) in together {
            calls.extend(keys.chunks(per_call(service)).map(|keys| batch(service, keys)));
        }
        calls
    }

    fn batches(&self, service: Service, key: &str) -> bool {
        !self.without_batch.contains_key(&service) && !self.apart.contains_key(&(service, key.to_owned()))
    }

    /// A batch was denied: the calls to make instead. `action` is the operation that AWS names as denied.
    pub fn denied(&mut self, service: Service, keys: &[String], action: &str, now: Duration) -> Vec<Call> {
        if action.ends_with("BatchGetSecretValue") {
            self.without_batch.insert(service, now + REMEMBERED);
            return keys.iter().map(|key| single(service, key)).collect();
        }
        match keys {
            [] => Vec::new(),
            [one, other] => {
                self.pairs.push((service, [(one.clone(), false), (other.clone(), false)]));
                vec![single(service, one), single(service, other)]
            }
            keys => {
                let (first, second) = keys.split_at(keys.len() / 2);
                vec![batch(service, first), batch(service, second)]
            }
        }
    }

    /// A key is denied, also alone.
    pub fn single_denied(&mut self, service: Service, key: &str, now: Duration) {
        self.apart.insert((service, key.to_owned()), now + REMEMBERED);
        self.pairs.retain(|(of, pair)| *of != service || pair.iter().all(|(other, _)| other != key));
    }

    /// A key could be read alone. When both keys of a denied pair can, it is the batch that is denied.
    pub fn single_worked(&mut self, service: Service, key: &str, now: Duration) {
        for (_, pair) in self.pairs.iter_mut().filter(|(of, _)| *of == service) {
            pair.iter_mut().filter(|(other, _)| other == key).for_each(|(_, worked)| *worked = true);
        }
        let before = self.pairs.len();
        self.pairs.retain(|(_, pair)| !pair.iter().all(|(_, worked)| *worked));
        if self.pairs.len() < before {
            self.without_batch.insert(service, now + REMEMBERED);
        }
    }
}

/// How many keys a batch takes.
pub fn per_call(service: Service) -> usize {
    match service {
        Service::SecretsManager => SECRETS_PER_CALL,
        Service::ParameterStore => PARAMETERS_PER_CALL,
    }
}

/// One key needs no batch, nor the right to it.
fn batch(service: Service, keys: &[String]) -> Call {
    match keys {
        [key] => single(service, key),
        keys => Call::Batch { service, keys: keys.to_vec() },
    }
}

fn single(service: Service, key: &str) -> Call {
    Call::Single { service, key: key.to_owned(), version: Version::Current }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(10);

    fn values(service: Service, count: usize) -> BTreeSet<Read> {
        (0..count).map(|n| Read::Value { service, key: format!("k{n:05}"), version: Version::Current }).collect()
    }

    fn keys(calls: &[Call]) -> Vec<usize> {
        calls.iter().map(|call| call.reads().len()).collect()
    }

    #[test]
    fn as_few_calls_as_batches_allow() {
        let mut rights = Rights::default();
        assert_eq!(rights.plan(&values(Service::SecretsManager, 3000), NOW).len(), 150);
        assert_eq!(rights.plan(&values(Service::ParameterStore, 3000), NOW).len(), 300);
        assert_eq!(rights.plan(&values(Service::SecretsManager, 30), NOW).len(), 2);
        assert_eq!(keys(&rights.plan(&values(Service::ParameterStore, 11), NOW)), [10, 1]);
        let pinned = [Version::Stage("AWSPREVIOUS".into()), Version::Id("1".into()), Version::Current];
        let pinned = pinned.map(|version| Read::Value { service: Service::SecretsManager, key: "a".into(), version });
        assert_eq!(rights.plan(&pinned.into_iter().collect(), NOW).len(), 3);
    }

    #[test]
    fn a_denied_key_is_found_by_halving_and_kept_apart() {
        let mut rights = Rights::default();
        let reads = values(Service::ParameterStore, 10);
        let mut todo = rights.plan(&reads, NOW);
        let (mut made, mut read) = (0, 0);
        let denied = "k00003";
        while let Some(call) = todo.pop() {
            made += 1;
            match &call {
                Call::Batch { service, keys } if keys.iter().any(|key| key == denied) => {
                    todo.extend(rights.denied(*service, keys, "ssm:GetParameters", NOW));
                }
                Call::Single { key, service, .. } if key == denied => rights.single_denied(*service, key, NOW),
                Call::Single { key, service, .. } => {
                    rights.single_worked(*service, key, NOW);
                    read += 1;
                }
                call => read += call.reads().len(),
            }
        }
        assert_eq!(read, 9, "all others were read");
        assert!(made <= 9, "{made} calls");
        assert_eq!(keys(&rights.plan(&reads, NOW)), [1, 9], "from then on apart");
        assert_eq!(keys(&rights.plan(&reads, NOW + REMEMBERED * 2)), [10], "and not for ever");
    }

    #[test]
    fn a_role_without_the_batch_reads_singly_and_that_is_remembered() {
        let mut rights = Rights::default();
        let reads = values(Service::SecretsManager, 20);
        let keys = |calls: Vec<Call>| calls.len();
        let names: Vec<String> = (0..20).map(|n| format!("k{n:05}")).collect();
        let action = "secretsmanager:BatchGetSecretValue";
        assert_eq!(keys(rights.denied(Service::SecretsManager, &names, action, NOW)), 20);
        assert_eq!(keys(rights.plan(&reads, NOW)), 20);
        assert_eq!(keys(rights.plan(&values(Service::ParameterStore, 20), NOW)), 2, "of that service only");

        let mut rights = Rights::default();
        let pair = ["a".to_owned(), "b".to_owned()];
        assert_eq!(rights.denied(Service::ParameterStore, &pair, "ssm:GetParameters", NOW).len(), 2);
        rights.single_worked(Service::ParameterStore, "a", NOW);
        assert_eq!(keys(rights.plan(&values(Service::ParameterStore, 20), NOW)), 2, "b may be the denied one");
        rights.single_worked(Service::ParameterStore, "b", NOW);
        assert_eq!(keys(rights.plan(&values(Service::ParameterStore, 20), NOW)), 20);
    }
}
