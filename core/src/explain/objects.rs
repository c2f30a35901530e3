//! What objects say of themselves: secrets, claims, workloads, and whatever else is not well.

use serde_json::Value;

use super::leaving;
use super::pods;
use super::{Cause, EventFact, Facts, Finding, ObjectFacts};
use crate::names::{APPLICATION_GROUP, APPLICATION_KIND};
use crate::object::{ObjectId, text_at};
use crate::secrets::external_secret::GROUP;

/// Events that a finding shows.
const EVENTS: usize = 3;

/// What explains one object.
pub(super) fn one(facts: &Facts, object: &ObjectFacts) -> Vec<Finding> {
    let kind = &object.id.group_kind;
    // Applications and claims say themselves what goes with them.
    let own = is_application(&object.id) || kind.is("", "PersistentVolumeClaim");
    if let Some(leaving) = leaving::object(object).filter(|_| !own) {
        return vec![leaving];
    }
    if kind.kind == "ExternalSecret" {
        return external_secret(object).into_iter().collect();
    }
    if kind.is(GROUP, "ClusterExternalSecret") {
        return cluster_external_secret(object).or_else(|| unwell_alone(object)).into_iter().collect();
    }
    if kind.is("", "PersistentVolumeClaim") {
        return claim(object).into_iter().collect();
    }
    let mut of_pods = pods::of(object, &facts.name());
    if !of_pods.is_empty() {
        // What should make a Secret that they wait for says why there is none.
        of_pods.extend(object.makers.iter().flat_map(|maker| one(facts, maker)));
        return of_pods;
    }
    refused_pods(object).or_else(|| unwell(facts, object)).into_iter().collect()
}

/// An Application, which is explained by what it has itself.
pub(super) fn is_application(id: &ObjectId) -> bool {
    id.group_kind.is(APPLICATION_GROUP, APPLICATION_KIND)
}

/// With the events that may tell more.
pub(super) fn with_events(mut finding: Finding, events: &[EventFact]) -> Finding {
    let warnings: Vec<&EventFact> = events.iter().filter(|event| event.warning).collect();
    for event in warnings.iter().rev().take(EVENTS) {
        let often =
            if event.count > 1 { format!(" ({} times, last at {})", event.count, event.last) } else { String::new() };
        finding = finding.shown_by("event", format!("{}: {}{often}", event.reason, event.message));
    }
    finding
}

fn shown(object: &ObjectFacts) -> String {
    let message = object.health.message.as_ref().map(|message| format!(": {message}")).unwrap_or_default();
    format!("{} is {}{message}", object.id, object.health.status)
}

/// An ExternalSecret says `CATEGORY: text` in its Ready condition; of the legacy kind, `ERROR, CATEGORY: text`.
fn external_secret(object: &ObjectFacts) -> Option<Finding> {
    let live = object.live.as_ref()?;
    let ready = crate::secrets::status::ready_condition(live).filter(|ready| ready["status"] == "False");
    let legacy = text_at(live, &["status", "status"]).and_then(|text| text.strip_prefix("ERROR, "));
    let said = ready.and_then(|ready| ready["message"].as_str()).or(legacy)?;
    let named = format!("{}/{}", object.id.namespace.as_deref().unwrap_or_default(), object.id.name);
    let finding = unread(&object.id.to_string(), &named, said);
    let kept = text_at(live, &["status", "refreshTime"])
        .map(|time| format!("the Secret of {time} stays until it can be read"));
    let finding = with_events(finding.shown_by("object", shown(object)), &object.events);
    Some(finding.shown_by("object", kept.unwrap_or_default()))
}

/// A ClusterExternalSecret lists the namespaces that have no Secret of it, with what their ExternalSecrets say.
fn cluster_external_secret(object: &ObjectFacts) -> Option<Finding> {
    let live = object.live.as_ref()?;
    let failed = live["status"]["failedNamespaces"].as_array()?;
    let text = |failed: &Value, key: &str| text_at(failed, &[key]).unwrap_or_default().to_owned();
    let first = failed.first()?;
    let of = format!("{} in namespace {}", object.id, text(first, "namespace"));
    let name = text_at(live, &["spec", "externalSecretName"]).unwrap_or(&object.id.name);
    let named = format!("{}/{name}", text(first, "namespace"));
    let finding = unread(&of, &named, &text(first, "reason")).shown_by("object", shown(object));
    let each = failed.iter().skip(1).map(|one| format!("{}: {}", text(one, "namespace"), text(one, "reason")));
    let finding = each.fold(finding, |finding, one| finding.shown_by("object", one));
    Some(with_events(finding, &object.events))
}

/// What `CATEGORY: text` says of an ExternalSecret, which is named `NAMESPACE/NAME`.
fn unread(id: &str, named: &str, said: &str) -> Finding {
    let (category, text) = said.split_once(": ").unwrap_or(("", said));
    match category {
        "SecretNotFound" => Finding::new(Cause::SecretMissing, format!("AWS has no secret for {id}: {text}"))
            .mended_by("create it in AWS, or correct the key in the ExternalSecret")
            .mended_by(format!("have it read at once: gitmoor secrets refresh {named}")),
        "AccessDenied" => Finding::new(Cause::SecretDenied, format!("AWS denies the secret of {id}: {text}"))
            .mended_by("let the role of the store read it; what the platform's roles may do: gitmoor iam")
            .mended_by(format!("have it read at once: gitmoor secrets refresh {named}")),
        "RoleNotPermitted" | "KeyNotPermitted" => {
            Finding::new(Cause::SecretDenied, format!("{id} may not read its secret: {text}"))
                .mended_by("let the namespace use it: see docs/external-secrets.md, who may read what")
        }
        "NoCredentials" => Finding::new(
            Cause::SecretDenied,
            format!("the agent has no AWS credentials for {id}: {text}"),
        )
        .mended_by(
            "give its ServiceAccount a role (IRSA or Pod Identity); on a single node, access keys: docs/single-node.md",
        ),
        _ => Finding::new(Cause::SecretFailed, format!("{id} is not synced: {said}")),
    }
}

/// A claim that goes, as soon as no pod uses it any more. What happened to it before says nothing about that.
fn leaving_claim(object: &ObjectFacts) -> Finding {
    let id = &object.id;
    let users: Vec<&str> = object.pods.iter().filter_map(|pod| text_at(&pod.pod, &["metadata", "name"])).collect();
    let held = match users.as_slice() {
        [] => "is being deleted".to_owned(),
        users => format!("is being deleted, and goes with its volume when pod {} ends", users.join(" and ")),
    };
    let finding = Finding::new(Cause::Leaving, format!("{id} {held}")).shown_by("object", shown(object));
    finding
        .mended_by("nothing stops a deletion that has begun, a revert neither: back up what is in it while it is there")
}

/// A claim without a volume.
fn claim(object: &ObjectFacts) -> Option<Finding> {
    let live = object.live.as_ref()?;
    let id = &object.id;
    if leaving::is_leaving(live) {
        return Some(leaving_claim(object));
    }
    if text_at(live, &["status", "phase"]) != Some("Pending") {
        return unwell_alone(object);
    }
    let class = text_at(live, &["spec", "storageClassName"]);
    let why = object.events.iter().rev().find(|event| event.warning || event.reason == "FailedBinding");
    let waits = match (why, class) {
        (Some(event), _) => event.message.clone(),
        (None, Some(class)) => format!("the class {class} has made none yet"),
        (None, None) => "it names no class, and the cluster has no default one".to_owned(),
    };
    let finding = Finding::new(Cause::ClaimPending, format!("{id} waits for a volume: {waits}"))
        .shown_by("object", shown(object))
        .mended_by(match class {
            Some(class) => {
                format!("is there such a class, and does its provisioner run? kubectl get storageclass {class}")
            }
            None => {
                "name a class in spec.storageClassName, or make one the default: kubectl get storageclass".to_owned()
            }
        })
        .mended_by("a class with WaitForFirstConsumer makes the volume when a pod uses the claim");
    Some(with_events(finding, &object.events))
}

/// A workload of which no pod can be created: it says so itself, or an event does.
fn refused_pods(object: &ObjectFacts) -> Option<Finding> {
    let live = object.live.as_ref()?;
    let conditions = live["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let failed = |condition: &&Value| condition["type"] == "ReplicaFailure" && condition["status"] == "True";
    let condition = conditions.iter().find(failed).and_then(|condition| condition["message"].as_str());
    let event = object.events.iter().rev().find(|event| event.warning && event.reason == "FailedCreate");
    let why = condition.or(event.map(|event| event.message.as_str()))?;
    let id = &object.id;
    let finding = if why.contains("exceeded quota") {
        Finding::new(Cause::QuotaExceeded, format!("the pods of {id} do not fit into the namespace's quota: {why}"))
            .mended_by("raise the ResourceQuota, or ask for less")
    } else if why.contains("failed calling webhook") {
        Finding::new(Cause::WebhookDown, format!("an admission webhook does not answer, so {id} gets no pods: {why}"))
            .mended_by("see the pods of the Service that serves it")
    } else {
        Finding::new(Cause::PodsRefused, format!("the pods of {id} cannot be created: {why}"))
    };
    Some(with_events(finding.shown_by("object", shown(object)), &object.events))
}

/// Whatever the object itself says, when nothing else explains it.
fn unwell(facts: &Facts, object: &ObjectFacts) -> Option<Finding> {
    let is_child = is_application(&object.id);
    if is_child && facts.children.iter().any(|(name, findings)| *name == object.id.name && !findings.is_empty()) {
        return None;
    }
    unwell_alone(object)
}

fn unwell_alone(object: &ObjectFacts) -> Option<Finding> {
    let message = object.health.message.as_ref().map(|message| format!(": {message}")).unwrap_or_default();
    let id = &object.id;
    let (cause, sentence) = match object.health.status.as_str() {
        "Degraded" => (Cause::Unhealthy, format!("{id} is not well{message}")),
        "Unknown" => (Cause::Unhealthy, format!("it cannot be told how {id} is{message}")),
        "Progressing" => (Cause::Progressing, format!("{id} is on its way{message}")),
        "Suspended" => (Cause::Progressing, format!("{id} is suspended{message}")),
        _ => return None,
    };
    Some(with_events(Finding::new(cause, sentence).shown_by("object", shown(object)), &object.events))
}
