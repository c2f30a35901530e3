//! What a comparison finds: whether fields of ours were taken, and by whom they may be.

use std::time::{Duration, Instant};

use gitmoor_core::live::LiveIndex;
use gitmoor_core::manifest::Manifest;
use gitmoor_core::ownership::FieldPath;
use gitmoor_core::plan::lost_field;
use gitmoor_core::resource::Resource;
use gitmoor_engine::cluster::ClusterError;
use serde_json::Value;

use crate::apply::{Mode, resource_of};
use crate::argo_cd;
use crate::context::Context;

/// What is to be done with an object whose digest is right.
pub(crate) enum Verified {
    /// It is as it should be, or is to stay as it is.
    Nothing,
    /// It is to be applied; why, in a few words.
    Apply(String),
    /// Somebody writes back every time: not now.
    Contested { wait: Duration, message: String },
}

/// Compares an object with what Git has of it.
///
/// # Errors
/// When the cluster cannot be asked, and with the reason `LeftToArgoCD` when Argo CD has it again.
pub(crate) async fn verify(
    context: &Context,
    resource: &Resource,
    manifest: &Manifest,
    mode: Mode<'_>,
) -> Result<Verified, ClusterError> {
    let care = context.state.live(|live| live.get(&manifest.id).map(|live| live.care)).unwrap_or_default();
    let lost = lost(context, resource, manifest).await?.filter(|_| mode.heal);
    let taken_back = care.taken_back && may_take_back(context, manifest);
    if taken_back {
        argo_cd::allow(context, mode.application, resource, &manifest.id).await?;
    }
    let adopt = (care.former_manager && mode.adopting && mode.roll_out) || (taken_back && (mode.heal || mode.roll_out));
    if lost.is_none() && !adopt {
        return Ok(Verified::Nothing);
    }
    // Taken over for the first time it is not contested.
    if (lost.is_some() || taken_back)
        && let Some(wait) = context.repairs.ask(&manifest.id, Instant::now())
    {
        return Ok(Verified::Contested { wait, message: contested(context, manifest, lost.as_ref()).await });
    }
    Ok(Verified::Apply(match lost {
        Some(field) => format!("repaired: {field} was changed by somebody else"),
        None => "adopted".to_owned(),
    }))
}

/// Whether what Argo CD has written to an object is taken over again, should that let go of it. Else it stays with Argo CD.
fn may_take_back(context: &Context, manifest: &Manifest) -> bool {
    let left = context.argo_cd.is_beside() || manifest.handling.keep_owners;
    if left {
        context.state.live(|live| live.leave(&manifest.id));
    }
    !left
}

/// The first field that we have lost; `None` accepts the object as it is. What is ignored counts as not lost.
async fn lost(context: &Context, resource: &Resource, manifest: &Manifest) -> Result<Option<FieldPath>, ClusterError> {
    let lost = context.state.live(|live| compare(live, manifest, &manifest.object));
    let Some(ignored) = manifest.handling.ignored.as_ref().filter(|_| lost.is_some()) else { return Ok(lost) };
    let id = &manifest.id;
    let others = if ignored.managers.is_empty() {
        None
    } else {
        context.cluster.get_metadata(resource, id.namespace.as_deref(), &id.name).await?
    };
    let compared = ignored.compared(&manifest.object, others.as_ref());
    Ok(context.state.live(|live| compare(live, manifest, &compared)))
}

fn compare(live: &mut LiveIndex, manifest: &Manifest, desired: &Value) -> Option<FieldPath> {
    let everything = || Some(FieldPath::everything());
    let lost = live.get(&manifest.id).map_or_else(everything, |live| lost_field(live, desired));
    if lost.is_none() {
        live.accept(&manifest.id);
    }
    lost
}

/// Says who keeps writing to a field of ours; without one, to the object.
async fn contested(context: &Context, manifest: &Manifest, field: Option<&FieldPath>) -> String {
    let id = &manifest.id;
    let Some(field) = field else {
        return format!("{id}: Argo CD and gitmoor both keep writing to it; stop one of them: docs/migration.md");
    };
    let live = match resource_of(context, manifest) {
        Ok(resource) => context.cluster.get(&resource, id.namespace.as_deref(), &id.name).await.ok().flatten(),
        Err(_) => None,
    };
    let managers = live.map(|live| field.managers(&live)).unwrap_or_default();
    let others = if managers.is_empty() { "another writer".to_owned() } else { managers.join(", ") };
    format!("{id}: {others} and gitmoor both keep writing {field}; take the field out of Git, or stop the other writer")
}
