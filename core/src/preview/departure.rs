//! What the rules of deletion say of objects that leave the repository: rule 1 of ARCHITECTURE.md, judged on manifests
//! instead of live objects.

use serde_json::Value;

use crate::application::ApplicationSpec;
use crate::live::LiveObject;
use crate::manifest::{Manifests, Stamped};
use crate::names::{ANNOTATION_CONFIRM_PRUNE, FINALIZER_CASCADE, FINALIZER_CASCADE_BACKGROUND};
use crate::object::{ObjectId, annotation};
use crate::prune::{Held, PruneContext, judge};
use crate::tracking::Installation;

/// What becomes of an object that nobody wants any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Departure {
    /// The agent deletes it.
    Deleted,
    /// The agent keeps it until somebody confirms its deletion, or for good.
    Blocked(String),
    /// Nothing at all is deleted, as things are.
    Held(String),
}

/// How the Application stands from which objects leave.
#[derive(Clone, Debug)]
pub struct LeavingApplication<'a> {
    /// Its spec after the change; before it, when it goes itself.
    pub spec: &'a ApplicationSpec,
    /// Its manifests before the change.
    pub before: &'a Manifests<Stamped>,
    /// How many objects it keeps.
    pub desired: usize,
    /// Why its render cannot vouch for absence, if so.
    pub incomplete: Option<String>,
    /// Another Application of the repository that cannot be planned, if there is one.
    pub held_by: Option<String>,
    /// It goes itself, and takes its objects along.
    pub cascade: bool,
    /// Namespace of the agent.
    pub agent_namespace: &'a str,
}

/// What becomes of each of these objects.
pub fn departures(
    leaving: &[&ObjectId],
    application: &LeavingApplication<'_>,
    installation: &Installation,
) -> Vec<(ObjectId, Departure)> {
    let LeavingApplication { spec, before, desired, incomplete, held_by, cascade, agent_namespace } = application;
    let live: Vec<LiveObject> = leaving
        .iter()
        .filter_map(|id| LiveObject::reduce(&as_if_live(&before.get(id)?.object), installation))
        .collect();
    let context = PruneContext {
        enabled: spec.automated().is_some_and(|automated| automated.prune),
        incomplete: incomplete.clone(),
        held_by: held_by.clone(),
        desired: *desired,
        allow_empty: spec.automated().is_some_and(|automated| automated.allow_empty),
        cascade: *cascade,
        confirmed: None,
        agent_namespace,
    };
    judged(&live, &context)
}

/// What becomes of each of these live objects.
pub fn judged(left_over: &[LiveObject], context: &PruneContext<'_>) -> Vec<(ObjectId, Departure)> {
    let verdict = judge(&left_over.iter().collect::<Vec<_>>(), context);
    let confirm = verdict.confirm.as_ref();
    let one = |id: &ObjectId| {
        if let Some(held) = &verdict.held {
            return Departure::Held(words(held));
        }
        match (verdict.waiting.iter().find(|(waiting, _)| waiting == id), confirm) {
            (Some((_, why)), Some(digest)) if !is_final(why) => {
                // The digest names incarnations: manifests have none.
                let known = left_over.iter().all(|live| !live.uid.is_empty());
                let value = if known { format!("={digest}") } else { String::new() };
                let way = format!("the agent waits for the annotation {ANNOTATION_CONFIRM_PRUNE}{value}");
                Departure::Blocked(format!("{why}; {way} on the Application"))
            }
            (Some((_, why)), _) => Departure::Blocked(format!("{why}; it stays")),
            (None, _) => Departure::Deleted,
        }
    };
    left_over.iter().map(|live| (live.id.clone(), one(&live.id))).collect()
}

/// Whether an Application takes its objects along, and how that is said; otherwise they run on, and nobody follows them.
pub fn leaving_application(object: &Value) -> bool {
    let finalizers = object["metadata"]["finalizers"].as_array();
    let cascades = |name: &Value| name == FINALIZER_CASCADE || name == FINALIZER_CASCADE_BACKGROUND;
    finalizers.is_some_and(|names| names.iter().any(cascades))
}

/// Reasons that no confirmation lifts ([`judge`]).
fn is_final(why: &str) -> bool {
    why.ends_with("=false") || why == "the agent itself runs on it"
}

fn words(held: &Held) -> String {
    match held {
        Held::Disabled => "the Application does not prune by itself (syncPolicy.automated.prune)".to_owned(),
        Held::Incomplete(why) => format!("the Application does not render completely: {why}"),
        Held::By(name) => format!("prunes wait for the Application {name}, which does not render"),
        Held::Empty => "nothing would be left of the Application, and it does not set allowEmpty".to_owned(),
    }
}

/// The index of live objects takes nothing without an incarnation.
fn as_if_live(object: &Value) -> Value {
    let mut object = object.clone();
    for field in ["uid", "resourceVersion"] {
        object["metadata"][field] = Value::String(String::new());
    }
    debug_assert!(annotation(&object, crate::names::ANNOTATION_TRACKING_ID).is_some(), "only stamped manifests");
    object
}
