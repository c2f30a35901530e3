//! Server-side apply.

use gitmoor_core::manifest::Manifest;
use gitmoor_core::names::FIELD_MANAGER;
use gitmoor_core::resource::Resource;
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
        self.apply_with(resource, manifest, validation, false).await
    }

    /// What [`apply`](Self::apply) would answer; changes nothing.
    pub async fn apply_dry(
        &self,
        resource: &Resource,
        manifest: &Manifest,
        validation: Validation,
    ) -> Result<Value, ClusterError> {
        self.apply_with(resource, manifest, validation, true).await
    }

    async fn apply_with(
        &self,
        resource: &Resource,
        manifest: &Manifest,
        validation: Validation,
        dry_run: bool,
    ) -> Result<Value, ClusterError> {
        let directive = match validation {
            Validation::Strict => ValidationDirective::Strict,
            Validation::Ignore => ValidationDirective::Ignore,
        };
        let mut parameters = PatchParams::apply(FIELD_MANAGER).force();
        parameters.field_validation = Some(directive);
        parameters.dry_run = dry_run;
        let request = collection(resource, manifest.id.namespace.as_deref())
            .patch(&manifest.id.name, &parameters, &Patch::Apply(&manifest.object))
            .map_err(malformed)?;
        self.write(request).await.map_err(|error| error.about(&manifest.id))
    }
}
