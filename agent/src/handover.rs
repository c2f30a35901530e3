//! Secrets of a maker that is about to be deleted: handed over to their next maker, where there is one.

use std::collections::HashMap;

use gitmoor_core::handover::{MAKERS, Maker, maker, makes_secrets, owner_references, owns};
use gitmoor_core::live::LiveObject;
use gitmoor_core::names::FIELD_MANAGER_SECRETS;
use gitmoor_core::object::{GroupKind, ObjectId, text_at};
use gitmoor_core::tracking::Claim;
use gitmoor_engine::cluster::ClusterError;
use serde_json::{Value, json};

use crate::context::Context;
use crate::objects;

/// What is in the namespaces that makers go from; read once for all deletions of a prune.
pub(crate) struct Handover<'a> {
    context: &'a Context,
    going: &'a [ObjectId],
    namespaces: HashMap<String, Namespace>,
}

struct Namespace {
    secrets: Vec<Value>,
    makers: Vec<Maker>,
    awaited: Vec<ObjectId>,
}

/// Why a maker cannot be deleted yet.
pub(crate) enum NotYet {
    /// Its successor stands in Git and not in the cluster.
    Awaited(ObjectId),
    /// The API server refused.
    Refused(ClusterError),
}

impl<'a> Handover<'a> {
    /// Of a prune that deletes all of `going`, none of which takes anything over.
    pub(crate) fn new(context: &'a Context, going: &'a [ObjectId]) -> Self {
        Self { context, going, namespaces: HashMap::new() }
    }

    /// Hands the Secrets of an object over. Those that nobody takes stay its own, and go with it.
    pub(crate) async fn release(&mut self, live: &LiveObject) -> Result<(), NotYet> {
        let Some(name) = live.id.namespace.clone().filter(|_| makes_secrets(&live.id.group_kind)) else {
            return Ok(());
        };
        if !self.namespaces.contains_key(&name) {
            let read = self.read(&name).await.map_err(NotYet::Refused)?;
            self.namespaces.insert(name.clone(), read);
        }
        let Some(namespace) = self.namespaces.get(&name) else { return Ok(()) };
        for secret in namespace.secrets.iter().filter(|secret| owns(&live.uid, secret)) {
            self.hand_over(namespace, secret, live).await?;
        }
        Ok(())
    }

    async fn read(&self, namespace: &str) -> Result<Namespace, ClusterError> {
        let cluster = &self.context.cluster;
        // Before they are listed: what is not awaited any more is in the listing.
        let awaited = self.context.state.makers_to_come(namespace);
        let mut makers = Vec::new();
        for (group, kind) in MAKERS {
            let resources = self.context.state.resources();
            let Some(resource) = resources.preferred(&GroupKind::new(group, kind)) else { continue };
            let all = cluster.list(resource, Some(namespace)).await?;
            makers.extend(all.iter().filter_map(maker).filter(|maker| !self.goes(namespace, maker)));
        }
        let secrets = cluster.list_metadata(&objects::secrets(), Some(namespace)).await?;
        Ok(Namespace { secrets, makers, awaited })
    }

    fn goes(&self, namespace: &str, maker: &Maker) -> bool {
        let same = |id: &&ObjectId| id.group_kind == maker.kind && id.name == maker.name;
        self.going.iter().find(same).is_some_and(|id| id.namespace.as_deref() == Some(namespace))
    }

    async fn hand_over(&self, namespace: &Namespace, secret: &Value, live: &LiveObject) -> Result<(), NotYet> {
        let text = |key: &str| text_at(secret, &["metadata", key]).unwrap_or_default().to_owned();
        let id = ObjectId {
            group_kind: GroupKind::new("", "Secret"),
            namespace: live.id.namespace.clone(),
            name: text("name"),
        };
        let successor = namespace.makers.iter().find(|maker| maker.uid != live.uid && maker.target == id.name);
        // From now on it comes from Git itself.
        let from_git = matches!(self.context.state.installation.claim(secret, &id), Claim::Application(_));
        if successor.is_none() && !from_git {
            // Targets of what is not there are not known here, but mostly bear the name of their maker.
            let awaited = namespace.awaited.iter().find(|maker| maker.name == id.name);
            return awaited.map_or(Ok(()), |maker| Err(NotYet::Awaited(maker.clone())));
        }
        let references = owner_references(secret, &live.uid, successor);
        let patch = json!({"metadata": {"resourceVersion": text("resourceVersion"), "ownerReferences": references}});
        let cluster = &self.context.cluster;
        let handed = cluster.merge_secret(FIELD_MANAGER_SECRETS, &objects::secrets(), &id, &patch).await;
        handed.map_err(NotYet::Refused)?;
        let to = successor.map_or("Git", |maker| maker.name.as_str());
        tracing::info!(object = %live.id, secret = id.name, to, "Secret handed over before its maker goes");
        Ok(())
    }
}
