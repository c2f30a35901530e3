//! Looks that people ask for with the annotation `argocd.argoproj.io/refresh`: the repositories of an Application now,
//! and the Application once they are known.
//!
//! The annotation goes when the status tells what was found, so that whoever waits for that reads no older one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gitmoor_core::names::{ANNOTATION_REFRESH, ANNOTATION_REFRESH_FAILED};
use gitmoor_core::object::annotation;
use gitmoor_core::tracking::ApplicationKey;
use gitmoor_engine::cluster::acting_as;
use serde_json::json;

use crate::context::Context;
use crate::objects;
use crate::state::{Snapshot, Unreachable};

/// How long a look at repositories may take at most; one that does not answer is told in the status.
const LONGEST: Duration = Duration::from_secs(30);

/// How far a look is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Stage {
    /// The repositories are looked at.
    Looking,
    /// They are known, or it is known why not; the Application is to be looked at.
    Looked(Option<String>),
}

/// The looks that are under way.
#[derive(Debug, Default)]
pub(crate) struct Refreshes {
    stages: Mutex<HashMap<ApplicationKey, Stage>>,
}

impl Refreshes {
    fn set(&self, key: &ApplicationKey, stage: Option<Stage>) -> Option<Stage> {
        let mut stages = self.stages.lock().unwrap_or_else(PoisonError::into_inner);
        match stage {
            Some(stage) => stages.insert(key.clone(), stage),
            None => stages.remove(key),
        }
    }

    fn stage(&self, key: &ApplicationKey) -> Option<Stage> {
        self.stages.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }
}

/// Begins a look when one is asked for. True when the repositories are known: [`end`] is due after this reconcile.
pub(crate) fn begin(context: &Arc<Context>, key: &ApplicationKey, snapshot: &Snapshot) -> bool {
    if annotation(&snapshot.object, ANNOTATION_REFRESH).is_none() {
        return false;
    }
    if let Some(stage) = context.refreshes.stage(key) {
        return matches!(stage, Stage::Looked(_));
    }
    context.refreshes.set(key, Some(Stage::Looking));
    let looks: Vec<_> =
        snapshot.sources.iter().map(|source| context.repositories.look_through(&source.follow.origin)).collect();
    let (context, key) = (Arc::clone(context), key.clone());
    tokio::spawn(async move {
        let looked = async {
            let failed = futures::future::join_all(looks).await.into_iter().flatten().next();
            context.remotes.refresh(&key).await;
            context.repositories.recorded().await;
            failed.map(|Unreachable { category, message }| format!("{category}: {message}"))
        };
        let late = |_| Some(format!("TimedOut: it takes more than {} seconds", LONGEST.as_secs()));
        let failed = tokio::time::timeout(LONGEST, looked).await.unwrap_or_else(late);
        context.refreshes.set(&key, Some(Stage::Looked(failed)));
        context.queue.push(key);
    });
    false
}

/// Takes the request away. One failure is not told in the status yet: whoever asked is told of it here.
pub(crate) async fn end(context: &Context, key: &ApplicationKey) {
    let failed = match context.refreshes.set(key, None) {
        Some(Stage::Looked(failed)) => failed,
        Some(Stage::Looking) | None => None,
    };
    let patch = json!({"metadata": {"annotations": {ANNOTATION_REFRESH: null, ANNOTATION_REFRESH_FAILED: failed}}});
    let applications = objects::applications();
    let merged = context.cluster.merge(&applications, Some(&key.namespace), &key.name, &patch);
    match acting_as(None, merged).await {
        Ok(object) => context.wrote_application(key, object),
        Err(error) if error.is_not_found() => {}
        Err(error) => tracing::warn!(application = %key, %error, "the refresh annotation cannot be removed"),
    }
}
