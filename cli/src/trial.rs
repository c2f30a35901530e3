//! What the API server would make of an object: the agent's apply, without effect.

use gitmoor_core::manifest::Manifest;
use gitmoor_core::resource::Resource;
use gitmoor_engine::cluster::{Cluster, ClusterError, Validation};
use serde_json::Value;

/// Objects that are tried at the same time.
pub(crate) const AT_ONCE: usize = 16;

/// What becomes of fields that `spec.ignoreDifferences` leaves to others, where the object exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IgnoredFields {
    /// They are applied as the agent does it: unless `RespectIgnoreDifferences` is set.
    Applied,
    /// They stay as they are, and so are no difference.
    Left,
}

/// An object as it is, and what would become of it.
#[derive(Debug)]
pub(crate) struct Trial {
    /// As it is; `None` when it is not there.
    pub(crate) live: Option<Value>,
    pub(crate) would: Would,
}

/// What would become of an object.
#[derive(Debug)]
pub(crate) enum Would {
    /// This.
    Become(Value),
    /// The same, and fields that others own would be taken from them: who, and which.
    Take(Value, String),
    /// Nothing: it has fields that nobody may change.
    Stay { fields: String, message: String },
}

/// Applies an object without effect.
///
/// # Errors
/// When the API server refuses it for another reason than fields that nobody may change.
pub(crate) async fn trial(
    cluster: &Cluster,
    resource: &Resource,
    manifest: &Manifest,
    ignored: IgnoredFields,
) -> Result<Trial, ClusterError> {
    let (id, handling) = (&manifest.id, &manifest.handling);
    let live = cluster.get(resource, id.namespace.as_deref(), &id.name).await?;
    let leaves = ignored == IgnoredFields::Left || handling.respect_ignored;
    let body = match (&handling.ignored, &live) {
        (Some(ignored), Some(live)) if leaves => ignored.respected(&manifest.object, live),
        _ => manifest.object.clone(),
    };
    let validation = if handling.lenient { Validation::Ignore } else { Validation::Strict };
    let would = match cluster.apply_dry_unforced(resource, id, &body, validation).await {
        Err(error) if error.is_conflict() => {
            let answer = cluster.apply_dry(resource, id, &body, validation).await;
            answer.map(|answer| Would::Take(answer, conflicts(&error)))
        }
        answer => answer.map(Would::Become),
    };
    let would = match would {
        Err(ClusterError::Immutable { fields, message }) => Would::Stay { fields, message },
        other => other?,
    };
    Ok(Trial { live, would })
}

/// Why an object stays as it is, and what can be done, where it does not say that it may be deleted and made anew.
pub(crate) fn stays(fields: &str, message: &str) -> String {
    format!(
        "{fields} cannot be changed ({message}): the agent refuses; undo the change, or have it deleted and made anew with \
         the annotation argocd.argoproj.io/sync-options: Force=true"
    )
}

/// The API server's own list, without what stands around it.
fn conflicts(error: &ClusterError) -> String {
    let text = error.to_string();
    let text = text.split_once(": ").map_or(text.as_str(), |(_, rest)| rest);
    text.replace(" (Conflict, 409)", "").replace('\n', ", ").replace(":, - ", ": ")
}
