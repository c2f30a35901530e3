//! A sync that is asked for: written into an Application, and found again in its status.

use std::time::Duration;

use gitmoor_core::{
    builtin,
    names::{ANNOTATION_REFRESH, ANNOTATION_REFRESH_FAILED, INFO_REQUEST},
    object::{annotation, text_at},
    status::{Revision, passes_by_itself},
    view::{ApplicationView, one_line, short_revision},
};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{Connection, address, address_of, failed, name_of};
use crate::{
    failure::{Exit, Failure},
    terminal::Terminal,
};

/// How often the state is looked at while somebody waits.
const LOOK: Duration = Duration::from_millis(250);
/// How often a request that came in between another write is made again.
const ATTEMPTS: usize = 5;
/// After this long the agent is asked to look, so that it says what keeps it.
const UNHURRIED: Duration = Duration::from_secs(3);
/// Objects that a live view names.
const NAMED: usize = 5;

/// A sync that was asked for.
pub(crate) struct Request {
    namespace: String,
    name: String,
    id: String,
}

/// How waiting ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// The sync is over and well; its state as it ended.
    Well(Value),
    /// It failed.
    Badly(String),
    /// Not in time.
    NotInTime {
        /// What was waited for.
        waited: String,
        /// Nobody has taken the request up, and it is carried out whenever somebody does.
        stays: bool,
    },
}

impl Connection {
    /// Asks for a sync. `sync` is `operation.sync`.
    pub(crate) async fn request(&self, object: &Value, sync: Value) -> Result<Request, Failure> {
        let (namespace, name) = name_of(object);
        let id = format!("{:x}-{:x}", jiff::Timestamp::now().as_nanosecond(), std::process::id());
        let operation = json!({
            "initiatedBy": {"username": "gitmoor"},
            "info": [{"name": INFO_REQUEST, "value": id}],
            "sync": sync,
        });
        for _ in 0..ATTEMPTS {
            let present = self.application(&format!("{namespace}/{name}")).await?;
            if present["operation"].is_object() {
                let name = address(object);
                let failure = Failure::new(Exit::Refused, format!("a sync of {name} is asked for already"));
                return Err(failure.hint(format!("wait until the agent has taken it up: gitmoor status {name}")));
            }
            let version = &present["metadata"]["resourceVersion"];
            let patch = json!({"metadata": {"resourceVersion": version}, "operation": operation});
            match self.cluster.merge(&builtin::applications(), Some(namespace), name, &patch).await {
                Ok(_) => return Ok(Request { namespace: namespace.to_owned(), name: name.to_owned(), id }),
                Err(error) if error.is_conflict() => {}
                Err(error) => return Err(failed(format!("cannot ask for a sync of {name}"), &error)),
            }
        }
        Err(Failure::new(Exit::Io, format!("{name} changes all the time; try again")))
    }

    /// Shows how a sync goes until it has ended and, where that is wanted, everything is healthy. A request that the agent
    /// cannot take up until somebody mends something is taken back: nobody expects it to be carried out some other day.
    pub(crate) async fn follow(
        &self,
        request: &Request,
        healthy: bool,
        timeout: Duration,
        terminal: &mut Terminal,
    ) -> Result<Ended, Failure> {
        let started = Instant::now();
        let (mut end, mut is_look_asked) = (None, false);
        loop {
            let object = self.application(&format!("{}/{}", request.namespace, request.name)).await?;
            let (mut lines, mut ended) = look(&object, request, healthy, &mut end);
            let waits = end.is_none() && ended.is_none() && asked(&object["operation"], &request.id);
            if let Some(obstacle) = obstacle(&object).filter(|_| waits) {
                lines.push(format!("  {}", obstacle.message));
                // A condition may be from before the request: what stands there after one more look is not.
                let looked = is_look_asked && annotation(&object, ANNOTATION_REFRESH).is_none();
                if looked && obstacle.stays && self.take_back(&object, request).await? {
                    let why = obstacle.message;
                    ended = Some(Ended::Badly(format!("{why}; nothing was synced, and the request is taken back")));
                }
            }
            if waits && !is_look_asked && (lines.len() > 1 || started.elapsed() > UNHURRIED) {
                self.ask_to_look(&request.namespace, &request.name).await?;
                is_look_asked = true;
            }
            terminal.live(&lines);
            if let Some(ended) = ended {
                terminal.end_live(false);
                return Ok(ended);
            }
            if started.elapsed() > timeout {
                terminal.end_live(true);
                return Ok(Ended::NotInTime { waited: lines.pop().unwrap_or_default(), stays: waits });
            }
            sleep(LOOK).await;
        }
    }

    /// Takes a request away that stands in an object; not when something was written into it meanwhile, such as that the
    /// agent has taken it up.
    async fn take_back(&self, object: &Value, request: &Request) -> Result<bool, Failure> {
        let patch = json!({"metadata": {"resourceVersion": object["metadata"]["resourceVersion"]}, "operation": null});
        let Request { namespace, name, .. } = request;
        match self.cluster.merge(&builtin::applications(), Some(namespace), name, &patch).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_conflict() => Ok(false),
            Err(error) => Err(failed(format!("cannot take back the request for a sync of {name}"), &error)),
        }
    }
}

/// What keeps the agent from taking a request up.
#[derive(Debug, PartialEq, Eq)]
struct Obstacle {
    message: String,
    /// Somebody has to do something about it.
    stays: bool,
}

/// Why an Application cannot be compared with Git, as its status says it, or as the last look that was asked for.
fn obstacle(object: &Value) -> Option<Obstacle> {
    let view: ApplicationView = serde_json::from_value(object.clone()).unwrap_or_default();
    let errors = || view.conditions().iter().filter(|condition| condition.is_error() && view.sync() == "Unknown");
    let worst = errors().find(|condition| !passes_by_itself(condition.category())).or_else(|| errors().next());
    if let Some(condition) = worst {
        let stays = !passes_by_itself(condition.category());
        return Some(Obstacle { message: one_line(&condition.message), stays });
    }
    let failed = annotation(object, ANNOTATION_REFRESH_FAILED).filter(|_| !view.is_running())?;
    let category = failed.split(':').next().unwrap_or_default();
    Some(Obstacle { message: one_line(failed), stays: !passes_by_itself(category) })
}

/// What there is to show, and whether it is over. `end` keeps the state of the sync as it ended well: a repair of drift, or a
/// newer commit, takes its place in the status, while objects may still have to become healthy.
fn look(object: &Value, request: &Request, healthy: bool, end: &mut Option<Value>) -> (Vec<String>, Option<Ended>) {
    let state = &object["status"]["operationState"];
    let name = &address_of(&request.namespace, &request.name);
    if !asked(&state["operation"], &request.id) {
        return match end {
            Some(end) => after(object, name, healthy, Some(end)),
            None if asked(&object["operation"], &request.id) => {
                (vec![format!("{name}: waiting for the agent to take it up")], None)
            }
            // The request goes once it stands in the status: there, another sync has followed it already.
            None if healthy => after(object, name, healthy, None),
            None => {
                let why = format!("another sync has followed before its end was seen; see gitmoor history {name}");
                (vec![format!("{name}: {why}")], Some(Ended::Badly(why)))
            }
        };
    }
    let message = text_at(state, &["message"]).unwrap_or_default();
    let revision = revision(state).map(|revision| short_revision(&revision)).unwrap_or_default();
    let results = state["syncResult"]["resources"].as_array().map_or(0, Vec::len);
    let ended = state.get("finishedAt").is_some();
    match text_at(state, &["phase"]) {
        Some("Running" | "Terminating") if !ended => {
            (vec![format!("{name}: syncing to {revision}, {results} objects done: {message}")], None)
        }
        Some("Running") => (vec![format!("{name}: failed, and is tried again: {message}")], None),
        Some("Succeeded") => after(object, name, healthy, Some(end.insert(state.clone()))),
        _ => (vec![format!("{name}: failed: {message}")], Some(Ended::Badly(message.to_owned()))),
    }
}

/// The revision that a sync has rolled out.
fn revision(state: &Value) -> Option<String> {
    Revision::read(&state["syncResult"]).map(|revision| revision.identity())
}

/// The sync went well, with this as its state, or its end was not seen; objects may still have to become healthy.
fn after(object: &Value, name: &str, healthy: bool, end: Option<&Value>) -> (Vec<String>, Option<Ended>) {
    // What cannot be read as an Application is shown by whoever asked for it.
    let view: ApplicationView = serde_json::from_value(object.clone()).unwrap_or_default();
    // A commit that came meanwhile is a matter of the next sync.
    let rolled_out = end.and_then(revision);
    let moved_on = view.health() == "Healthy"
        && !view.revision().is_empty()
        && rolled_out.is_some_and(|rolled_out| rolled_out != view.revision());
    if !healthy || view.is_fine() || moved_on {
        let unseen = || json!({"message": "everything is applied, by a sync that followed"});
        let end = end.cloned().unwrap_or_else(unseen);
        return (vec![format!("{name}: {}, {}", view.sync(), view.health())], Some(Ended::Well(end)));
    }
    let mut lines = vec![format!("{name}: applied; {}, {}", view.sync(), view.health())];
    let unfinished: Vec<_> = view.resources().iter().filter(|resource| !resource.is_fine()).collect();
    lines.extend(unfinished.iter().take(NAMED).map(|resource| {
        let health = resource.health.clone().unwrap_or_default();
        let detail = health.message.map(|message| format!(": {message}")).unwrap_or_default();
        format!("  {} is {} {}{detail}", resource.id(), resource.status, health.status)
    }));
    if unfinished.len() > NAMED {
        lines.push(format!("  and {} more", unfinished.len() - NAMED));
    }
    (lines, None)
}

fn asked(operation: &Value, id: &str) -> bool {
    let info = operation["info"].as_array().map(Vec::as_slice).unwrap_or_default();
    info.iter().any(|item| item["name"] == INFO_REQUEST && item["value"] == id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sync_is_followed_from_the_request_to_health() {
        let request = Request { namespace: "gitmoor".into(), name: "web".into(), id: "1".into() };
        let object = |state: Value, sync: &str| {
            json!({"metadata": {"name": "web"}, "status": {
                "operationState": state, "sync": {"status": sync}, "health": {"status": "Healthy"},
                "resources": [{"kind": "ConfigMap", "name": "a", "status": sync}],
            }})
        };
        let operation = json!({"info": [{"name": INFO_REQUEST, "value": "1"}]});
        let state = |phase: &str, ended: bool| {
            let mut state =
                json!({"operation": operation, "phase": phase, "message": "m", "syncResult": {"revision": "v1"}});
            if ended {
                state["finishedAt"] = json!("t");
            }
            state
        };
        let waiting = |state, sync: &str| {
            let mut object = object(state, sync);
            object["operation"] = operation.clone();
            look(&object, &request, true, &mut None)
        };
        let (lines, ended) = waiting(json!({"phase": "Succeeded", "finishedAt": "t"}), "Synced");
        assert!(ended.is_none() && lines[0].contains("take it up"), "somebody else's: {lines:?}");
        let look = |state, sync| look(&object(state, sync), &request, true, &mut None);
        for (phase, over, sync, said, expected) in [
            ("Running", false, "OutOfSync", "web: syncing to v1, 0 objects done: m", "None"),
            ("Running", true, "OutOfSync", "web: failed, and is tried again: m", "None"),
            ("Failed", true, "OutOfSync", "web: failed: m", "Some(Badly(\"m\"))"),
            ("Succeeded", true, "OutOfSync", "web: applied; OutOfSync, Healthy", "None"),
        ] {
            let (lines, ended) = look(state(phase, over), sync);
            assert_eq!((lines[0].as_str(), format!("{ended:?}").as_str()), (said, expected));
        }
        assert!(matches!(look(state("Succeeded", true), "Synced").1, Some(Ended::Well(_))));
    }

    #[test]
    fn what_keeps_a_request_waiting_is_told_apart_from_what_passes() {
        let stands = |sync: &str, phase: &str, conditions: &[(&str, &str)], failed: Option<&str>| {
            let conditions: Vec<Value> =
                conditions.iter().map(|(kind, message)| json!({"type": kind, "message": message})).collect();
            obstacle(&json!({
                "metadata": {"name": "web", "annotations": {ANNOTATION_REFRESH_FAILED: failed}},
                "status": {
                    "sync": {"status": sync}, "conditions": conditions, "operationState": {"phase": phase},
                },
            }))
        };
        let some = |message: &str, stays| Some(Obstacle { message: message.to_owned(), stays });
        let compared = ("ComparisonError", "Unreachable: no route");
        let missing = ("ComparisonError", "RevisionNotFound: no\nbranch");
        let warning = ("PruneWarning", "PruneBlocked: waits");
        assert_eq!(stands("Unknown", "", &[warning, compared], None), some("Unreachable: no route", false));
        assert_eq!(stands("Unknown", "", &[compared, missing], None), some("RevisionNotFound: no branch", true));
        assert_eq!(stands("OutOfSync", "", &[compared], None), None, "it is compared with what was known before");
        assert_eq!(stands("Unknown", "", &[warning], None), None);
        let refused = "RefusedCredentials: who are you";
        assert_eq!(stands("Synced", "Succeeded", &[], Some(refused)), some(refused, true));
        assert_eq!(stands("Synced", "Running", &[], Some(refused)), None, "another sync is under way");
        assert_eq!(stands("Synced", "", &[], Some("TimedOut: 30 s")), some("TimedOut: 30 s", false));
    }

    #[test]
    fn a_sync_whose_place_another_one_takes_is_followed_to_health_all_the_same() {
        let request = Request { namespace: "gitmoor".into(), name: "web".into(), id: "1".into() };
        let ours = json!({
            "operation": {"info": [{"name": INFO_REQUEST, "value": "1"}]}, "phase": "Succeeded", "finishedAt": "t",
            "message": "ours", "syncResult": {"revision": "v1"},
        });
        let other = json!({"operation": {"initiatedBy": {"automated": true}}, "phase": "Running", "syncResult": {"revision": "v2"}});
        let object = |state: &Value, revision: &str, sync: &str, health: &str| {
            json!({"metadata": {"name": "web"}, "status": {
                "operationState": state, "sync": {"status": sync, "revision": revision}, "health": {"status": health},
                "resources": [{"kind": "Deployment", "name": "a", "status": sync, "health": {"status": health}}],
            }})
        };
        let mut end = None;
        let mut see = |object: &Value| look(object, &request, true, &mut end);
        let (lines, ended) = see(&object(&ours, "v1", "Synced", "Progressing"));
        assert!(ended.is_none() && lines[0].contains("applied; Synced, Progressing"), "{lines:?}");
        // Drift is repaired.
        let (lines, ended) = see(&object(&other, "v1", "OutOfSync", "Progressing"));
        assert!(ended.is_none() && lines[0].contains("applied; OutOfSync, Progressing"), "{lines:?}");
        let (_, ended) = see(&object(&other, "v1", "Synced", "Healthy"));
        assert!(matches!(ended, Some(Ended::Well(end)) if end == ours));
        // A newer commit is not waited for.
        let (_, ended) = see(&object(&other, "v2", "OutOfSync", "Healthy"));
        assert!(matches!(ended, Some(Ended::Well(end)) if end == ours));

        // Nobody has looked in between: what follows says whether all is well.
        let unseen =
            |revision, sync, healthy| look(&object(&other, revision, sync, "Healthy"), &request, healthy, &mut None).1;
        assert!(unseen("v2", "OutOfSync", true).is_none());
        assert!(matches!(unseen("v2", "Synced", true), Some(Ended::Well(_))));
        assert!(matches!(unseen("v2", "Synced", false), Some(Ended::Badly(_))));
    }
}
