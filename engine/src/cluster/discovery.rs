//! What the API server serves, by aggregated discovery: two requests however many groups there are.

use gitmoor_core::object::GroupKind;
use gitmoor_core::resource::{Resource, Resources};
use kube::core::discovery::v2::{APIGroupDiscovery, APIResourceDiscovery};

use super::{Cluster, ClusterError};

/// Version of the API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerVersion(pub String);

impl Cluster {
    /// Version of the API server, such as `v1.36.3`.
    pub async fn version(&self) -> Result<ServerVersion, ClusterError> {
        Ok(ServerVersion(self.client.apiserver_version().await?.git_version))
    }

    /// Every kind that is served. Groups whose discovery document is stale are named, not silently old.
    pub async fn discover(&self) -> Result<Resources, ClusterError> {
        let core = self.client.list_core_api_versions_aggregated().await?;
        let groups = self.client.list_api_groups_aggregated().await?;
        let mut resources = Resources::default();
        core.items.iter().chain(&groups.items).for_each(|group| insert_group(&mut resources, group));
        Ok(resources)
    }
}

fn insert_group(resources: &mut Resources, group: &APIGroupDiscovery) {
    let name = group.metadata.as_ref().and_then(|metadata| metadata.name.clone()).unwrap_or_default();
    for version in &group.versions {
        if version.freshness.as_deref() == Some("Stale") {
            resources.stale_groups.push(name.clone());
            continue;
        }
        let version_name = version.version.as_deref().unwrap_or_default();
        for kind in version.resources.iter().filter_map(|resource| resource.response_kind.as_ref()?.kind.as_deref()) {
            resources.insert_api_version(&name, version_name, kind);
        }
        version.resources.iter().filter_map(|resource| read(&name, version_name, resource)).for_each(|resource| {
            resources.insert(resource);
        });
    }
}

fn read(group: &str, version: &str, resource: &APIResourceDiscovery) -> Option<Resource> {
    let kind = resource.response_kind.as_ref().and_then(|kind| kind.kind.clone())?;
    let verbs = &resource.verbs;
    // A kind that cannot be applied, such as TokenReview, is none that a repository can hold.
    verbs.iter().any(|verb| verb == "patch").then(|| Resource {
        group_kind: GroupKind::new(group, kind),
        version: version.to_owned(),
        plural: resource.resource.clone().unwrap_or_default(),
        namespaced: resource.scope.as_deref() == Some("Namespaced"),
        watchable: ["list", "watch"].iter().all(|wanted| verbs.iter().any(|verb| verb == wanted)),
    })
}
