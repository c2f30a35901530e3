//! Deletion, always with preconditions.

use gitmoor_core::live::LiveObject;
use gitmoor_core::resource::Resource;
use kube::api::{DeleteParams, Preconditions, PropagationPolicy};
use serde_json::Value;

use super::objects::{collection, malformed};
use super::{Cluster, ClusterError};

/// What becomes of the objects that a deleted object owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// They go first.
    Foreground,
    /// They go afterwards.
    Background,
    /// They stay.
    Orphan,
}

impl Cluster {
    /// Deletes exactly the object that was judged: same uid, same resourceVersion. Not there any more is fine.
    ///
    /// # Errors
    /// 409 when the object is another one, or has changed since.
    pub async fn delete(
        &self,
        resource: &Resource,
        live: &LiveObject,
        propagation: Propagation,
    ) -> Result<(), ClusterError> {
        let parameters = DeleteParams {
            preconditions: Some(Preconditions {
                uid: Some(live.uid.clone()),
                resource_version: Some(live.resource_version.clone()),
            }),
            propagation_policy: Some(match propagation {
                Propagation::Foreground => PropagationPolicy::Foreground,
                Propagation::Background => PropagationPolicy::Background,
                Propagation::Orphan => PropagationPolicy::Orphan,
            }),
            ..DeleteParams::default()
        };
        let namespace = live.id.namespace.as_deref();
        let request = collection(resource, namespace).delete(&live.id.name, &parameters).map_err(malformed)?;
        match self.write::<Value>(request).await {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(()),
        }
    }
}
