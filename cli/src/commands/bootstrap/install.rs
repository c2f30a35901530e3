//! Applying objects one after the other, and saying what became of each.

use gitmoor_core::{
    names::{ANNOTATION_DIGEST, ANNOTATION_TRACKING_ID, LABEL_APPLICATION},
    object::{GroupKind, annotation, text_at},
    resource::{Resource, Resources},
};
use gitmoor_engine::cluster::{ClusterError, Validation};
use serde_json::{Value, json};

use super::material::{id, is_definition};
use crate::{
    cluster::{Connection, failed},
    failure::{Exit, Failure},
};

const PART_OF: &str = "app.kubernetes.io/part-of";

/// What became of an object, or would.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Became {
    Created,
    Changed,
    Unchanged,
    /// A definition of somebody else, which the agent works with.
    Left,
}

impl Became {
    pub(super) fn word(self, dry_run: bool) -> &'static str {
        match (self, dry_run) {
            (Self::Created, false) => "created",
            (Self::Created, true) => "would be created",
            (Self::Changed, false) => "changed",
            (Self::Changed, true) => "would be changed",
            (Self::Unchanged, _) => "unchanged",
            (Self::Left, _) => "left as it is: somebody else's",
        }
    }
}

/// A way to apply.
pub(super) struct Installer<'c> {
    pub(super) connection: &'c Connection,
    pub(super) served: Resources,
    pub(super) dry_run: bool,
}

impl<'c> Installer<'c> {
    pub(super) async fn new(connection: &'c Connection, dry_run: bool) -> Result<Self, Failure> {
        let mut installer = Self { connection, served: Resources::default(), dry_run };
        installer.discover().await?;
        Ok(installer)
    }

    /// Learns what is served now.
    pub(super) async fn discover(&mut self) -> Result<(), Failure> {
        let served = self.connection.cluster.discover().await;
        self.served = served.map_err(|error| failed("cannot ask the cluster what it serves", &error))?;
        Ok(())
    }

    fn resource(&self, object: &Value) -> Option<&Resource> {
        let version = text_at(object, &["apiVersion"]).unwrap_or_default().rsplit('/').next().unwrap_or_default();
        self.served.find(&id(object).group_kind, version)
    }

    /// The object as the cluster has it.
    pub(super) async fn live(&self, object: &Value) -> Result<Option<Value>, Failure> {
        let Some(resource) = self.resource(object) else { return Ok(None) };
        let id = id(object);
        let found = self.connection.cluster.get(resource, id.namespace.as_deref(), &id.name).await;
        found.map_err(|error| failed(format!("cannot read {id}"), &error.about(&id)))
    }

    /// Applies one object, unless that is to be tried only.
    pub(super) async fn apply(&self, object: &Value) -> Result<Became, Failure> {
        let id = id(object);
        let Some(resource) = self.resource(object) else {
            if self.dry_run {
                return Ok(Became::Created);
            }
            return Err(Failure::new(Exit::Io, format!("the cluster does not serve {}", id.group_kind))
                .hint("is a CustomResourceDefinition missing in the agent's folder?"));
        };
        let live = self.live(object).await?;
        if is_definition(object) && live.as_ref().is_some_and(|live| label(live) != label(object)) {
            return Ok(Became::Left);
        }
        let body = live.as_ref().map_or_else(|| object.clone(), |live| with_claim(object, live));
        let cluster = &self.connection.cluster;
        let tried = if self.dry_run || live.is_some() {
            let tried = with_digest(&body, live.as_ref());
            Some(cluster.apply_dry(resource, &id, &tried, Validation::Strict).await)
        } else {
            None
        };
        let same = |answer: &Value| live.as_ref().is_some_and(|live| bare(answer) == bare(live));
        let applied = match tried {
            Some(Ok(answer)) if same(&answer) => return Ok(Became::Unchanged),
            Some(answer) if self.dry_run => answer,
            // Without the digest: what the agent knows of the object is not so any more.
            _ => cluster.apply_body(resource, &id, &body, Validation::Strict).await,
        };
        match (applied, live) {
            (Ok(_), None) => Ok(Became::Created),
            (Ok(_), Some(_)) => Ok(Became::Changed),
            // Its namespace would have been made before.
            (Err(error), None) if self.dry_run && error.is_missing_namespace(&id) => Ok(Became::Created),
            (Err(error), _) => Err(refused(&id.to_string(), &error)),
        }
    }

    /// Deletes an object as it is now; false when it is not there.
    pub(super) async fn delete(&self, object: &Value) -> Result<bool, Failure> {
        let Some(live) = self.live(object).await? else { return Ok(false) };
        let id = id(object);
        let Some(resource) = self.resource(object) else { return Ok(false) };
        let text = |key| text_at(&live, &["metadata", key]).unwrap_or_default();
        if !self.dry_run {
            let deleted = self.connection.cluster.delete_exactly(resource, &id, text("uid"), text("resourceVersion"));
            deleted.await.map_err(|error| failed(format!("cannot delete {id}"), &error))?;
        }
        Ok(true)
    }

    /// Whether a kind is served.
    pub(super) fn serves(&self, group: &str, kind: &str) -> bool {
        self.served.preferred(&GroupKind::new(group, kind)).is_some()
    }
}

fn refused(what: &str, error: &ClusterError) -> Failure {
    let failure = failed(format!("cannot apply {what}"), error);
    match error.code() {
        Some(403) => {
            failure.hint("bootstrapping needs the rights of cluster-admin; see which are missing: gitmoor doctor")
        }
        _ => failure,
    }
}

/// Whose a definition is.
pub(super) fn label(object: &Value) -> Option<&str> {
    text_at(object, &["metadata", "labels", PART_OF])
}

/// What the agent has put on an object that it keeps from Git stays on it.
fn with_claim(object: &Value, live: &Value) -> Value {
    let mut body = object.clone();
    if let Some(tracking) = annotation(live, ANNOTATION_TRACKING_ID) {
        body["metadata"]["annotations"][ANNOTATION_TRACKING_ID] = json!(tracking);
    }
    if let Some(label) = text_at(live, &["metadata", "labels", LABEL_APPLICATION]) {
        body["metadata"]["labels"][LABEL_APPLICATION] = json!(label);
    }
    body
}

/// The same with the digest of what the agent has applied: what is as it was keeps it.
fn with_digest(body: &Value, live: Option<&Value>) -> Value {
    let mut body = body.clone();
    if let Some(digest) = live.and_then(|live| annotation(live, ANNOTATION_DIGEST)) {
        body["metadata"]["annotations"][ANNOTATION_DIGEST] = json!(digest);
    }
    body
}

/// Without what changes with every write.
fn bare(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(metadata) = object["metadata"].as_object_mut() {
        for field in ["managedFields", "resourceVersion", "generation"] {
            metadata.remove(field);
        }
    }
    if let Some(map) = object.as_object_mut() {
        map.remove("status");
    }
    object
}
