//! What a comparison finds: whether fields of ours were taken, and by whom they may be.

use gitmoor_core::live::LiveIndex;
use gitmoor_core::manifest::Manifest;
use gitmoor_core::ownership::FieldPath;
use gitmoor_core::plan::lost_field;
use gitmoor_core::resource::Resource;
use gitmoor_engine::cluster::ClusterError;
use serde_json::Value;

use crate::context::Context;

/// The first field that we have lost; `None` accepts the object as it is. What is ignored counts as not lost.
pub(crate) async fn lost(
    context: &Context,
    resource: &Resource,
    manifest: &Manifest,
) -> Result<Option<FieldPath>, ClusterError> {
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
