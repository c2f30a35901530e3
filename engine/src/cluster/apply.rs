//! Server-side apply.

use gitmoor_core::manifest::Manifest;
use gitmoor_core::names::FIELD_MANAGER;
use gitmoor_core::object::ObjectId;
use gitmoor_core::resource::Resource;
use http::Request;
use http::header::CONTENT_TYPE;
use kube::api::{Patch, PatchParams, ValidationDirective};
use serde_json::Value;

use super::objects::{collection, malformed};
use super::{Cluster, ClusterError};

/// What the API server does with fields that it does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validation {
    /// Refuse the object.
    Strict,
    /// Drop them.
    Ignore,
}

/// How serious an apply is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Apply,
    DryRun,
    DryRunUnforced,
}

impl Cluster {
    /// Applies a manifest as field manager `gitmoor`, taking fields over from others; gives the object as stored.
    ///
    /// # Errors
    /// As the API server answers; for Secrets without its message.
    pub async fn apply(
        &self,
        resource: &Resource,
        manifest: &Manifest,
        validation: Validation,
    ) -> Result<Value, ClusterError> {
        self.apply_body(resource, &manifest.id, &manifest.object, validation).await
    }

    /// The same with another body than that of a manifest.
    ///
    /// # Errors
    /// As the API server answers; for Secrets without its message.
    pub async fn apply_body(
        &self,
        resource: &Resource,
        id: &ObjectId,
        body: &Value,
        validation: Validation,
    ) -> Result<Value, ClusterError> {
        self.apply_with(resource, (id, body), validation, Mode::Apply).await
    }

    /// What [`apply_body`](Self::apply_body) would answer; changes nothing.
    ///
    /// # Errors
    /// As the API server answers; for Secrets without its message.
    pub async fn apply_dry(
        &self,
        resource: &Resource,
        id: &ObjectId,
        body: &Value,
        validation: Validation,
    ) -> Result<Value, ClusterError> {
        self.apply_with(resource, (id, body), validation, Mode::DryRun).await
    }

    /// The same, but a field that somebody else owns with another value is a conflict (409), which names the fields and
    /// their owners.
    ///
    /// # Errors
    /// As the API server answers; for Secrets without its message, unless it is that of such a conflict.
    pub async fn apply_dry_unforced(
        &self,
        resource: &Resource,
        id: &ObjectId,
        body: &Value,
        validation: Validation,
    ) -> Result<Value, ClusterError> {
        self.apply_with(resource, (id, body), validation, Mode::DryRunUnforced).await
    }

    async fn apply_with(
        &self,
        resource: &Resource,
        (id, body): (&ObjectId, &Value),
        validation: Validation,
        mode: Mode,
    ) -> Result<Value, ClusterError> {
        let directive = match validation {
            Validation::Strict => ValidationDirective::Strict,
            Validation::Ignore => ValidationDirective::Ignore,
        };
        let mut parameters = PatchParams::apply(FIELD_MANAGER);
        parameters.force = mode != Mode::DryRunUnforced;
        parameters.field_validation = Some(directive);
        parameters.dry_run = mode != Mode::Apply;
        let request = collection(resource, id.namespace.as_deref())
            .patch(&id.name, &parameters, &Patch::Apply(body))
            .map_err(malformed)?;
        self.write(request).await.map_err(|error: ClusterError| {
            // It has names of managers and paths, and no values.
            let names_owners = mode == Mode::DryRunUnforced && error.is_conflict();
            if names_owners { error } else { error.about(id) }
        })
    }

    /// Makes another field manager an owner of fields that have the given values already. Where somebody else has set
    /// another value meanwhile, nothing happens.
    ///
    /// # Errors
    /// As the API server answers, but for that conflict.
    pub async fn share(
        &self,
        manager: &str,
        resource: &Resource,
        id: &ObjectId,
        body: &Value,
    ) -> Result<(), ClusterError> {
        let request = collection(resource, id.namespace.as_deref())
            .patch(&id.name, &PatchParams::apply(manager), &Patch::Apply(body))
            .map_err(malformed)?;
        match self.write::<Value>(request).await {
            Err(error) if !error.is_conflict() => Err(error.about(id)),
            _ => Ok(()),
        }
    }

    /// Sends a JSON patch (RFC 6902) as field manager `gitmoor`; gives the object as stored.
    ///
    /// # Errors
    /// 409 when it names another resourceVersion than the present one.
    pub async fn patch(&self, resource: &Resource, id: &ObjectId, patch: &Value) -> Result<Value, ClusterError> {
        let path = collection(resource, id.namespace.as_deref()).url_path;
        let request = Request::patch(format!("{path}/{}?fieldManager={FIELD_MANAGER}", id.name))
            .header(CONTENT_TYPE, "application/json-patch+json")
            .body(patch.to_string().into_bytes())
            .map_err(|error| ClusterError::Unreachable(error.to_string()))?;
        self.write(request).await.map_err(|error| error.about(id))
    }
}
