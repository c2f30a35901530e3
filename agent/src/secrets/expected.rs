//! How many calls of AWS an hour should cost, when nothing changes and nothing fails.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use gitmoor_core::secrets::batches::per_call;
use gitmoor_core::secrets::identity::SessionKey;
use gitmoor_core::secrets::reading::Read;
use gitmoor_core::secrets::request::{Service, Version};

use super::Shared;
use super::book::interval;
use super::resolve::{Resolution, resolve};

/// What is read together: by one session, as often.
type Together = BTreeMap<(SessionKey, Duration), BTreeSet<Read>>;

/// Sets the metric of expected calls.
pub(super) fn measure(shared: &Shared) {
    let together = gather(shared);
    for service in [Service::SecretsManager, Service::ParameterStore] {
        let calls =
            together.iter().map(|((_, interval), reads)| calls(reads, service) * 3600.0 / interval.as_secs_f64());
        shared.metrics.expect(service, calls.sum());
    }
}

fn gather(shared: &Shared) -> Together {
    let known = shared.book.lock();
    let mut together = Together::new();
    for id in known.entries.keys() {
        let Resolution::Read(resolved) = resolve(&known, id, &shared.permissions, &shared.options.class) else {
            continue;
        };
        let Some(interval) = interval(&resolved.request) else { continue };
        for (session, read) in resolved.reads {
            together.entry((session, interval)).or_default().insert(read);
        }
    }
    together
}

fn calls(reads: &BTreeSet<Read>, service: Service) -> f64 {
    let of_service = || reads.iter().filter(|read| read.service() == service);
    let batched = of_service().filter(|read| matches!(read, Read::Value { version: Version::Current, .. })).count();
    (batched.div_ceil(per_call(service)) + of_service().count() - batched) as f64
}
