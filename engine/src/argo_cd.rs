//! Application controllers of an Argo CD that runs in the cluster. Reads workloads and ConfigMaps, and writes nothing.

use std::collections::BTreeMap;

use gitmoor_core::argo_cd::{CONTROLLER_LABELS, Controller, config_maps, is_running};
use gitmoor_core::builtin;
use gitmoor_core::object::text_at;
use gitmoor_core::resource::Resource;
use serde_json::Value;

use crate::cluster::{Cluster, ClusterError, Selection};

/// The kinds of workload that a controller can be.
pub fn workloads() -> [Resource; 2] {
    [builtin::stateful_sets(), builtin::deployments()]
}

/// The controller that a workload with [`CONTROLLER_LABELS`] is, with the ConfigMaps that it names; `None` when it does
/// not run.
///
/// # Errors
/// When a ConfigMap cannot be read. One that is not there, or may not be read, says nothing.
pub async fn controller(
    cluster: &Cluster,
    resource: &Resource,
    workload: &Value,
) -> Result<Option<Controller>, ClusterError> {
    if !is_running(workload) {
        return Ok(None);
    }
    let namespace = text_at(workload, &["metadata", "namespace"]);
    let mut read = BTreeMap::new();
    for name in config_maps(workload) {
        match cluster.get(&builtin::config_maps(), namespace, &name).await {
            Ok(Some(object)) => drop(read.insert(name, object)),
            Ok(None) => {}
            Err(error) if error.code() == Some(403) => {
                tracing::warn!(%error, name, "which namespaces Argo CD follows is in a ConfigMap that may not be read");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(Controller::read(&resource.group_kind.kind, workload, &read))
}

/// All that run in the cluster.
///
/// # Errors
/// When they cannot be read.
pub async fn running(cluster: &Cluster) -> Result<Vec<Controller>, ClusterError> {
    let selection = Selection { labels: Some(CONTROLLER_LABELS.to_owned()), ..Selection::default() };
    let mut running = Vec::new();
    for resource in workloads() {
        for workload in cluster.select(&resource, None, &selection).await? {
            running.extend(controller(cluster, &resource, &workload).await?);
        }
    }
    Ok(running)
}
