//! Which definitions a purge leaves: a definition takes all its objects along, whoever made them.

use std::{collections::BTreeSet, time::Duration};

use gitmoor_core::{
    builtin,
    object::{GroupKind, text_at},
    resource::Resource,
};
use gitmoor_engine::cluster::ClusterError;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::install::{Installer, label};
use crate::{
    cluster::{failed, name_of, owner_of},
    failure::Failure,
};

const LOOK: Duration = Duration::from_millis(500);
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Judges definitions, one after the other.
pub(super) struct Keeper<'i> {
    installer: &'i Installer<'i>,
    /// Namespaces whose Applications go, with all that they own.
    followed: &'i BTreeSet<String>,
    namespace: &'i str,
    /// The first Application that is left: whoever works on it needs all the definitions.
    application: Option<String>,
}

impl<'i> Keeper<'i> {
    /// For a purge of the installation in a namespace, which goes too.
    pub(super) async fn new(
        installer: &'i Installer<'i>,
        namespace: &'i str,
        followed: &'i BTreeSet<String>,
    ) -> Result<Self, Failure> {
        let mut keeper = Self { installer, followed, namespace, application: None };
        keeper.application = keeper.left(&builtin::applications().group_kind).await?.into_iter().next();
        Ok(keeper)
    }

    /// Why a definition stays; `None` when it can go.
    pub(super) async fn reason(&self, definition: &Value) -> Result<Option<String>, Failure> {
        let live = self.installer.live(definition).await?;
        // One that goes already is not helped.
        let Some(live) = live.filter(|live| live["metadata"].get("deletionTimestamp").is_none()) else {
            return Ok(None);
        };
        if label(&live) != label(definition) {
            return Ok(Some("somebody else's".to_owned()));
        }
        let text = |path: &[&str]| text_at(&live, path).unwrap_or_default();
        let kind = GroupKind::new(text(&["spec", "group"]), text(&["spec", "names", "kind"]));
        if !self.installer.serves(&kind.group, &kind.kind) {
            return Ok(Some(format!("the cluster does not serve {kind} now, and does not tell what is left of it")));
        }
        if let [first, others @ ..] = self.left(&kind).await?.as_slice() {
            let more = if others.is_empty() { String::new() } else { format!(" and {} more", others.len()) };
            return Ok(Some(format!("{first}{more} would go with it")));
        }
        Ok(self.application.as_ref().map(|left| format!("the agent of {left} works with it")))
    }

    /// The objects of a kind that nothing else of this purge takes along.
    async fn left(&self, kind: &GroupKind) -> Result<Vec<String>, Failure> {
        let Some(resource) = self.installer.served.preferred(kind) else { return Ok(Vec::new()) };
        let listed = self.list(resource).await;
        let listed = listed.map_err(|error| failed(format!("cannot list what is left of {kind}"), &error))?;
        let is_application = *kind == builtin::applications().group_kind;
        let goes_first = |object: &Value| {
            let owned = owner_of(object).is_some_and(|(at, _)| self.followed.contains(at));
            owned || is_application && self.followed.contains(name_of(object).0)
        };
        let stays =
            |object: &&Value| name_of(object).0 != self.namespace && !(self.installer.dry_run && goes_first(object));
        let named = |object: &Value| match name_of(object) {
            ("", name) => format!("{} {name}", kind.kind),
            (namespace, name) => format!("{} {namespace}/{name}", kind.kind),
        };
        Ok(listed.iter().filter(stays).map(named).collect())
    }

    /// An API server that is busy with a definition answers a moment later.
    async fn list(&self, resource: &Resource) -> Result<Vec<Value>, ClusterError> {
        let started = Instant::now();
        loop {
            match self.installer.connection.cluster.list_metadata(resource, None).await {
                Err(error) if error.is_transient() && started.elapsed() < PATIENCE => sleep(LOOK).await,
                answer => return answer,
            }
        }
    }
}
