//! Metrics of external secrets.

use gitmoor_core::secrets::request::{Form, Service};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// A call of AWS.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct CallLabels {
    service: &'static str,
    result: &'static str,
}

/// A service.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ServiceLabel {
    service: &'static str,
}

/// A word of a fixed list.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ResultLabel {
    result: &'static str,
}

/// What became of the ExternalSecrets of a store. As many as there are stores: users make few of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct StoreLabels {
    store: String,
    result: &'static str,
}

/// A kind of ExternalSecret.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct FormLabel {
    form: &'static str,
}

/// Metrics of external secrets.
#[derive(Clone, Default)]
pub(crate) struct SecretMetrics {
    calls: Family<CallLabels, Counter>,
    expected: Family<ServiceLabel, Gauge<f64, std::sync::atomic::AtomicU64>>,
    syncs: Family<ResultLabel, Counter>,
    of_stores: Family<StoreLabels, Counter>,
    last_cycle: Gauge,
    oldest_read: Gauge,
    objects: Family<FormLabel, Gauge>,
    left_alone: Family<FormLabel, Gauge>,
    writes: Counter,
    cycles: Counter,
    restarts: Counter,
}

impl SecretMetrics {
    /// Makes them part of what is scraped.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let new = Self::default();
        registry.register("secrets_aws_calls", "Calls of AWS, by service and result", new.calls.clone());
        registry.register(
            "secrets_expected_aws_calls_per_hour",
            "Calls that the present ExternalSecrets need in an hour when nothing fails",
            new.expected.clone(),
        );
        registry.register("secrets_syncs", "ExternalSecrets synced, by result", new.syncs.clone());
        let of_stores = new.of_stores.clone();
        registry.register("secrets_store_syncs", "ExternalSecrets synced, by store and result", of_stores);
        registry.register("secrets_last_cycle_seconds", "Unix time of the last round of reads", new.last_cycle.clone());
        registry.register(
            "secrets_oldest_read_seconds",
            "Unix time at which the ExternalSecret was read that has not been for longest; 0 without any",
            new.oldest_read.clone(),
        );
        registry.register("secrets_objects", "ExternalSecrets served, by kind", new.objects.clone());
        registry.register("secrets_left_alone", "1 when another operator serves this kind", new.left_alone.clone());
        registry.register("secrets_writes", "Secrets written", new.writes.clone());
        registry.register("secrets_cycles", "Rounds of reads", new.cycles.clone());
        registry.register("secrets_restarts", "Workloads rolled because a Secret changed", new.restarts.clone());
        new.begin();
        new
    }

    /// What can be counted is there from the beginning, at zero: a rate needs something to begin with.
    fn begin(&self) {
        for service in [Service::SecretsManager, Service::ParameterStore] {
            self.calls.get_or_create(&CallLabels { service: word(service), result: "success" }).inc_by(0);
            self.expected.get_or_create(&ServiceLabel { service: word(service) }).set(0.0);
        }
        self.syncs.get_or_create(&ResultLabel { result: "success" }).inc_by(0);
        for form in [Form::External, Form::Legacy] {
            self.objects.get_or_create(&FormLabel { form: form_word(form) }).set(0);
            self.left_alone.get_or_create(&FormLabel { form: form_word(form) }).set(0);
        }
    }

    pub(super) fn called(&self, service: Service, result: &'static str) {
        self.calls.get_or_create(&CallLabels { service: word(service), result }).inc();
    }

    pub(super) fn expect(&self, service: Service, calls_per_hour: f64) {
        self.expected.get_or_create(&ServiceLabel { service: word(service) }).set(calls_per_hour);
    }

    pub(super) fn synced(&self, store: Option<String>, result: &'static str) {
        self.syncs.get_or_create(&ResultLabel { result }).inc();
        if let Some(store) = store {
            self.of_stores.get_or_create(&StoreLabels { store, result }).inc();
        }
    }

    pub(super) fn wrote(&self) {
        self.writes.inc();
    }

    pub(super) fn restarted(&self) {
        self.restarts.inc();
    }

    pub(super) fn cycle(&self) {
        self.cycles.inc();
        self.last_cycle.set(crate::clock::unix_seconds());
    }

    /// When the oldest value was read.
    pub(super) fn oldest(&self, read: Option<i64>) {
        self.oldest_read.set(read.unwrap_or_default());
    }

    pub(super) fn serves(&self, form: Form, objects: usize, left_alone: bool) {
        let label = FormLabel { form: form_word(form) };
        self.objects.get_or_create(&label).set(i64::try_from(objects).unwrap_or(i64::MAX));
        self.left_alone.get_or_create(&label).set(i64::from(left_alone));
    }
}

fn word(service: Service) -> &'static str {
    match service {
        Service::SecretsManager => "secretsmanager",
        Service::ParameterStore => "ssm",
    }
}

fn form_word(form: Form) -> &'static str {
    match form {
        Form::External => "external-secrets.io",
        Form::Legacy => "kubernetes-client.io",
    }
}
