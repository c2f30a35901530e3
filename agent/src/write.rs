//! One object into the cluster: what is left to others, taken over from others, handed over to others, and made anew.
//!
//! The plain case is one apply. May delete the object, where `Force` says so and nothing speaks against it.

use std::borrow::Cow;

use gitmoor_core::live::LiveObject;
use gitmoor_core::manifest::Manifest;
use gitmoor_core::mutation;
use gitmoor_core::names::FIELD_MANAGER_HANDOVER;
use gitmoor_core::plan::Action;
use gitmoor_core::prune::held_recreation;
use gitmoor_core::resource::Resource;
use gitmoor_core::takeover;
use gitmoor_core::tracking::Claim;
use gitmoor_engine::cluster::{ClusterError, Propagation, Validation};
use serde_json::{Value, json};

use crate::apply::Mode;
use crate::argo_cd;
use crate::context::Context;

/// How often a take-over is tried against others who write at the same time.
const ATTEMPTS: usize = 3;

/// One object to be written.
pub(crate) struct Write<'a> {
    pub context: &'a Context,
    pub resource: &'a Resource,
    pub manifest: &'a Manifest,
    pub action: &'a Action,
    /// How objects are applied now.
    pub mode: Mode<'a>,
}

/// What was written.
pub(crate) struct Written {
    /// The object as stored.
    pub answer: Value,
    /// What happened besides an apply, in a few words.
    pub how: Option<String>,
    /// The field that an admission webhook has overwritten.
    pub overwritten: Option<String>,
}

impl Write<'_> {
    /// Applies the object in the way that its options ask for.
    pub(crate) async fn run(&self) -> Result<Written, ClusterError> {
        self.leave_to_argo_cd().await?;
        self.hand_over_replicas().await?;
        let body = self.body().await?;
        let (answer, mut how) = match self.replace_or_apply(&body).await {
            Err(ClusterError::Immutable { fields, message }) if self.forces() => {
                let answer = self.recreate(&body, (&fields, message)).await?;
                (answer, Some(format!("made anew, because {fields} cannot be changed")))
            }
            other => (other?, None),
        };
        let former = takeover::former_owner(&answer).filter(|_| self.adopts());
        let answer = if self.adopts() { self.take_over(&body, answer).await? } else { answer };
        if let Some(former) = former {
            how = Some(format!("adopted from {former}"));
        }
        let overwritten = mutation::overwritten(&body, &answer).map(|path| path.to_string());
        Ok(Written { answer, how, overwritten })
    }

    /// What the API server would say; changes nothing.
    pub(crate) async fn dry_run(&self) -> Result<(), ClusterError> {
        self.leave_to_argo_cd().await?;
        let body = self.body().await?;
        self.context.cluster.apply_dry(self.resource, &self.manifest.id, &body, self.validation()).await.map(drop)
    }

    fn forces(&self) -> bool {
        self.manifest.handling.force || self.mode.force
    }

    fn validation(&self) -> Validation {
        if self.manifest.handling.lenient { Validation::Ignore } else { Validation::Strict }
    }

    /// True when the object may be there without being ours: the index knows only what carries our label.
    fn adopts(&self) -> bool {
        self.may_be_anothers() && !self.manifest.handling.keep_owners
    }

    fn may_be_anothers(&self) -> bool {
        matches!(self.action, Action::Create | Action::Adopt) || self.is_unfinished() || self.is_taken_back()
    }

    async fn leave_to_argo_cd(&self) -> Result<(), ClusterError> {
        if !self.may_be_anothers() {
            return Ok(());
        }
        argo_cd::allow(self.context, self.mode.application, self.resource, &self.manifest.id).await
    }

    fn is_unfinished(&self) -> bool {
        let care = self.context.state.live(|index| index.get(&self.manifest.id).map(|live| live.care));
        *self.action == Action::Verify && care.is_some_and(|care| care.former_manager)
    }

    fn is_taken_back(&self) -> bool {
        let written = self.context.state.live(|index| index.get(&self.manifest.id).map(|live| live.care.taken_back));
        written.unwrap_or_default() && !self.context.argo_cd.is_beside()
    }

    async fn get(&self) -> Result<Option<Value>, ClusterError> {
        let id = &self.manifest.id;
        self.context.cluster.get(self.resource, id.namespace.as_deref(), &id.name).await
    }

    async fn apply(&self, body: &Value) -> Result<Value, ClusterError> {
        self.context.cluster.apply_body(self.resource, &self.manifest.id, body, self.validation()).await
    }

    /// A number of replicas that leaves Git would be reset by the API server, also under an autoscaler that has not
    /// scaled yet. So it first gets another owner, who keeps it until somebody sets it (Kubernetes' documentation of
    /// server-side apply, "transferring ownership").
    async fn hand_over_replicas(&self) -> Result<(), ClusterError> {
        let id = &self.manifest.id;
        let owned = self.context.state.live(|index| index.get(id).is_some_and(|live| live.care.owns_replicas));
        if !owned || has_replicas(&self.manifest.object) {
            return Ok(());
        }
        let Some(live) = self.get().await? else { return Ok(()) };
        let Some(replicas) = live.pointer("/spec/replicas") else { return Ok(()) };
        let body = json!({
            "apiVersion": self.manifest.object["apiVersion"], "kind": self.manifest.object["kind"],
            "metadata": {"name": id.name, "namespace": id.namespace},
            "spec": {"replicas": replicas},
        });
        tracing::info!(object = %id, %replicas, "the number of replicas is not in Git any more, and stays as it is");
        self.context.cluster.share(FIELD_MANAGER_HANDOVER, self.resource, id, &body).await
    }

    /// What is applied: the manifest, without what is left to others.
    async fn body(&self) -> Result<Cow<'_, Value>, ClusterError> {
        let whole = Cow::Borrowed(&self.manifest.object);
        let Some(ignored) = self.manifest.handling.ignored.as_ref().filter(|_| self.manifest.handling.respect_ignored)
        else {
            return Ok(whole);
        };
        Ok(self.get().await?.map_or(whole, |live| Cow::Owned(ignored.respected(&self.manifest.object, &live))))
    }

    async fn replace_or_apply(&self, body: &Value) -> Result<Value, ClusterError> {
        let handling = &self.manifest.handling;
        if !handling.replace {
            return self.apply(body).await;
        }
        let Some(live) = self.get().await? else { return self.apply(body).await };
        if self.forces() && *self.action == Action::Update {
            return Err(ClusterError::Immutable {
                fields: "the object".to_owned(),
                message: "Replace=true".to_owned(),
            });
        }
        let id = &self.manifest.id;
        let mut whole = body.clone();
        whole["metadata"]["resourceVersion"] = live["metadata"]["resourceVersion"].clone();
        let replaced = self.context.cluster.replace(self.resource, id.namespace.as_deref(), &id.name, &whole).await;
        replaced.map_err(|error| error.about(id))?;
        // Only an apply says which fields are ours.
        self.apply(body).await
    }

    /// Deletes the object as it was judged, and applies it again.
    async fn recreate(&self, body: &Value, (fields, message): (&str, String)) -> Result<Value, ClusterError> {
        let (context, id) = (self.context, &self.manifest.id);
        let held = |message: String| ClusterError::Immutable { fields: fields.to_owned(), message };
        let Some(object) = self.get().await? else { return self.apply(body).await };
        let live = LiveObject::reduce(&object, &context.state.installation);
        let Some(live) =
            live.filter(|live| matches!(&live.claim, Claim::Application(owner) if owner == self.mode.application))
        else {
            return Err(held(format!("{message}; Force deletes only what this Application has made")));
        };
        if let Some(why) = held_recreation(&live, self.mode.confirmed, &context.namespace) {
            return Err(held(why));
        }
        context.cluster.delete(self.resource, &live, Propagation::Background).await.map_err(|error| error.about(id))?;
        tracing::info!(object = %id, "deleted, to be made anew: {fields} cannot be changed");
        if self.get().await?.is_some() {
            let message = "it is being deleted, and made anew when its finalizers are done".to_owned();
            return Err(ClusterError::Refused { code: 409, reason: "AwaitsDeletion".to_owned(), message });
        }
        self.apply(body).await
    }

    /// Makes the fields of those who kept the object before ours, and drops those that are not in Git.
    async fn take_over(&self, body: &Value, mut answer: Value) -> Result<Value, ClusterError> {
        let (handling, id) = (&self.manifest.handling, &self.manifest.id);
        for _ in 0..ATTEMPTS {
            let keep_replicas = !has_replicas(body);
            let patch = takeover::patch(&answer, handling.former_manager.as_deref(), keep_replicas);
            let Some((patch, more)) = patch else { return Ok(answer) };
            match self.context.cluster.patch(self.resource, id, &patch).await {
                Ok(_) if more => return self.apply(body).await,
                Ok(migrated) => return Ok(migrated),
                Err(error) if error.is_conflict() => {}
                Err(error) => return Err(error),
            }
            let Some(present) = self.get().await? else { return Ok(answer) };
            answer = present;
        }
        let message = "others write to it while it is taken over from them".to_owned();
        Err(ClusterError::Refused { code: 409, reason: "Conflict".to_owned(), message })
    }
}

fn has_replicas(object: &Value) -> bool {
    object.pointer("/spec/replicas").is_some_and(|replicas| !replicas.is_null())
}
