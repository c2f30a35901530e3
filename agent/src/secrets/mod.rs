//! External secrets: values from AWS in Secrets of the cluster.
//!
//! ```text
//! watches -> book -due-> round: resolve -> read (one batch per session) -> compose -> apply -> status -> book
//! ```

mod options;

mod observe;
mod watch;

mod book;

mod rounds;

mod resolve;

mod read;

mod sync;

mod credentials;
mod expected;
mod fanout;
mod restarts;
mod stores;
mod unsupported;

mod metrics;

use std::sync::Arc;

use gitmoor_core::secrets::permission::Permissions;
use gitmoor_core::secrets::request::Form;
use gitmoor_core::secrets::template::Salt;
use gitmoor_core::tracking::{Digester, Installation};
use gitmoor_engine::aws::Aws;
use gitmoor_engine::cluster::Cluster;
use tokio::task::JoinSet;

pub(crate) use self::metrics::SecretMetrics;
pub(crate) use self::options::Options;

use self::book::{Book, Known};
use self::read::Reader;
use self::restarts::Restarts;
use crate::events::Events;

/// What external secrets work with.
pub(crate) struct Setup {
    /// The API server.
    pub cluster: Cluster,
    /// This installation.
    pub installation: Installation,
    /// Digests of Secrets.
    pub digester: Digester,
    /// Settings.
    pub options: Options,
    /// Metrics.
    pub metrics: SecretMetrics,
    /// What people find with `kubectl describe`.
    pub events: Arc<Events>,
}

/// Shared by all of external secrets.
struct Shared {
    cluster: Cluster,
    installation: Installation,
    digester: Digester,
    salt: Salt,
    options: Options,
    permissions: Permissions,
    metrics: SecretMetrics,
    events: Arc<Events>,
    book: Book,
    reader: Reader,
    restarts: Restarts,
    /// Between 0 and 1: when its slots are.
    phase: f64,
}

impl Shared {
    /// Whether a namespace is served.
    fn serves(&self, namespace: &str) -> bool {
        let served = &self.options.namespaces;
        served.is_empty() || served.iter().any(|other| other == namespace)
    }

    /// Measures how much there is to serve.
    fn count(&self, known: &Known) {
        for form in [Form::External, Form::Legacy] {
            let count = known.entries.keys().filter(|id| id.form == form).count();
            self.metrics.serves(form, count, known.left_to_others.contains(&form));
        }
    }
}

/// Starts to serve ExternalSecrets, unless that is turned off. Where their kinds are not served nothing happens.
pub(crate) fn start(setup: Setup, tasks: &mut JoinSet<()>) {
    let Setup { cluster, installation, digester, options, metrics, events } = setup;
    if options.off {
        return;
    }
    let aws = Aws::new(Arc::new(credentials::FromCluster::new(cluster.clone())));
    let (restarts, causes) = Restarts::new();
    let shared = Arc::new(Shared {
        restarts,
        phase: f64::from(digester.keyed(b"phase")[0]) / 256.0,
        salt: salt(digester.clone()),
        reader: Reader::new(aws, metrics.clone(), &options),
        permissions: options.permissions(),
        book: Book::default(),
        cluster,
        installation,
        digester,
        options,
        metrics,
        events,
    });
    let (listed, receiver) = tokio::sync::watch::channel(false);
    tasks.spawn(watch::follow(Arc::clone(&shared), listed));
    tasks.spawn(restarts::run(Arc::clone(&shared), causes));
    tasks.spawn(fanout::run(Arc::clone(&shared), receiver.clone()));
    tasks.spawn(rounds::run(shared, receiver));
}

/// Salts of password hashes are keyed digests of what is hashed.
fn salt(digester: Digester) -> Salt {
    Arc::new(move |seed| digester.keyed(seed))
}
