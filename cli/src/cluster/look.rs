//! A look at the repositories that is asked for with an annotation, and over when the agent has taken that away.

use std::time::Duration;

use gitmoor_core::{
    builtin,
    names::{ANNOTATION_REFRESH, ANNOTATION_REFRESH_FAILED},
    object::annotation,
};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{Connection, failed, name_of};
use crate::failure::Failure;

/// How often the state is looked at while somebody waits.
const LOOK: Duration = Duration::from_millis(100);

/// How a look that was asked for ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Looked {
    /// What is there is known.
    Well,
    /// The agent could not look, for this reason.
    Failed(String),
    /// Nobody has taken it up in time.
    NotInTime,
}

impl Connection {
    /// Writes the annotation.
    pub(crate) async fn ask_to_look(&self, namespace: &str, name: &str) -> Result<(), Failure> {
        let patch = json!({"metadata": {"annotations": {ANNOTATION_REFRESH: "normal"}}});
        let written = self.cluster.merge(&builtin::applications(), Some(namespace), name, &patch).await;
        written.map(drop).map_err(|error| failed(format!("cannot ask for a refresh of {name}"), &error))
    }

    /// Has the agent look at the repository, and waits until it knows what is there.
    pub(crate) async fn looked_at(&self, object: &Value, patience: Duration) -> Result<Looked, Failure> {
        let (namespace, name) = name_of(object);
        self.ask_to_look(namespace, name).await?;
        self.is_looked_at(object, Instant::now(), patience).await
    }

    /// Waits until a look that was asked for is over.
    pub(crate) async fn is_looked_at(
        &self,
        object: &Value,
        started: Instant,
        patience: Duration,
    ) -> Result<Looked, Failure> {
        let (namespace, name) = name_of(object);
        loop {
            let object = self.application(&format!("{namespace}/{name}")).await?;
            if annotation(&object, ANNOTATION_REFRESH).is_none() {
                let failed = annotation(&object, ANNOTATION_REFRESH_FAILED).map(str::to_owned);
                return Ok(failed.map_or(Looked::Well, Looked::Failed));
            }
            if started.elapsed() > patience {
                return Ok(Looked::NotInTime);
            }
            sleep(LOOK).await;
        }
    }
}
