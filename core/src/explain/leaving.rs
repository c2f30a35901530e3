//! What is being deleted and does not go: what holds it says the object itself, and a Namespace what is left in it.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Cause, Facts, Finding, ObjectFacts};
use crate::object::{ObjectId, text_at};
use crate::view::ViewedResource;

/// The condition of a Namespace of which the API server cannot say what is in it.
const UNDISCOVERED: &str = "NamespaceDeletionDiscoveryFailure";
/// Objects that a sentence names.
const NAMED: usize = 5;

/// Its deletion has begun.
pub(super) fn is_leaving(object: &Value) -> bool {
    text_at(object, &["metadata", "deletionTimestamp"]).is_some()
}

/// A Namespace of which nobody can say what is in it: nothing of it goes by itself.
pub(super) fn stops_all(object: &ObjectFacts) -> bool {
    let live = object.live.as_ref().filter(|_| object.id.group_kind.is("", "Namespace"));
    let conditions = live.and_then(|live| live["status"]["conditions"].as_array()).into_iter().flatten();
    let mut failed = conditions.filter(|condition| condition["status"] == "True");
    failed.any(|condition| condition["type"] == UNDISCOVERED)
}

/// What holds an object that is being deleted.
pub(super) fn object(object: &ObjectFacts) -> Option<Finding> {
    let live = object.live.as_ref().filter(|live| is_leaving(live))?;
    let finding = match namespace(object, live) {
        Some(finding) => finding,
        None => finalizers(object, live),
    };
    Some(finding.shown_by("object", format!("{} is Terminating since {}", object.id, since(live))))
}

fn since(live: &Value) -> &str {
    text_at(live, &["metadata", "deletionTimestamp"]).unwrap_or_default()
}

/// A Namespace says in its conditions why it stays: the first of these is what keeps the others from being told.
fn namespace(object: &ObjectFacts, live: &Value) -> Option<Finding> {
    if !object.id.group_kind.is("", "Namespace") {
        return None;
    }
    let (id, name) = (&object.id, &object.id.name);
    let conditions = live["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let held: Vec<(&str, &str)> = conditions
        .iter()
        .filter(|condition| condition["status"] == "True")
        .map(|condition| (text_at(condition, &["type"]), text_at(condition, &["message"])))
        .map(|(kind, message)| (kind.unwrap_or_default(), message.unwrap_or_default()))
        .collect();
    let order = [
        UNDISCOVERED,
        "NamespaceDeletionGroupVersionParsingFailure",
        "NamespaceFinalizersRemaining",
        "NamespaceDeletionContentFailure",
        "NamespaceContentRemaining",
    ];
    let (kind, message) = order.into_iter().find_map(|kind| held.iter().find(|(held, _)| *held == kind))?;
    let finding = Finding::new(Cause::Leaving, format!("{id} is being deleted, and stays: {kind}: {message}"));
    let finding = match *kind {
        UNDISCOVERED => dead_services(message).into_iter().fold(
            finding.mended_by(
                "the API server does not know what is in the namespace while an APIService does not answer: have what \
                 serves it run again, or when it is gone for good delete the APIService",
            ),
            |finding, service| {
                finding
                    .mended_by(format!("does it answer? kubectl get apiservice {service}"))
                    .mended_by(format!("gone for good: kubectl delete apiservice {service}"))
            },
        ),
        "NamespaceFinalizersRemaining" | "NamespaceContentRemaining" => {
            let left = held.iter().filter(|(kind, _)| *kind == "NamespaceContentRemaining");
            let kinds: Vec<&str> = left.flat_map(|(_, message)| remaining(message)).collect();
            let kinds = if kinds.is_empty() { "all".to_owned() } else { kinds.join(",") };
            finding.mended_by(format!("see what is left, and its finalizers: kubectl get {kinds} --namespace {name}")).mended_by(
                "what removes a finalizer is the controller that set it: have it run; only when it is gone for good take \
                 the finalizer out yourself",
            )
        }
        _ => finding.mended_by("the namespace controller tries again by itself; the message says what it needs"),
    };
    let others = held.iter().filter(|(other, _)| other != kind);
    Some(others.fold(finding, |finding, (kind, message)| finding.shown_by("object", format!("{kind}: {message}"))))
}

/// APIServices of the group versions that a discovery failure names: `metrics.k8s.io/v1beta1`.
fn dead_services(message: &str) -> BTreeSet<String> {
    let words = message.split(|c: char| c.is_whitespace() || matches!(c, ',' | ':' | ';' | '"' | '[' | ']'));
    let versions = words.filter_map(|word| word.split_once('/'));
    let is_version = |version: &str| {
        version.strip_prefix('v').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
            && version.chars().all(|c| c.is_ascii_alphanumeric())
    };
    let is_group =
        |group: &str| group.contains('.') && group.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.'));
    let named = versions.filter(|(group, version)| is_group(group) && is_version(version));
    named.map(|(group, version)| format!("{version}.{group}")).collect()
}

/// What a namespace says is left in it: `configmaps. has 1 resource instances, widgets.example.com has 2 …`.
fn remaining(message: &str) -> impl Iterator<Item = &str> {
    let parts = message.split([',', ':']).filter_map(|part| part.trim().split_once(" has "));
    parts.map(|(kind, _)| kind.trim_end_matches('.')).filter(|kind| !kind.is_empty() && !kind.contains(' '))
}

/// Anything else stays for its finalizers.
fn finalizers(object: &ObjectFacts, live: &Value) -> Finding {
    let id = &object.id;
    let all = live["metadata"]["finalizers"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let (by_cluster, by_others): (Vec<&str>, Vec<&str>) =
        all.partition(|name| matches!(*name, "foregroundDeletion" | "orphan"));
    let finding = |why: &str| Finding::new(Cause::Leaving, format!("{id} is being deleted{why}"));
    if !by_others.is_empty() {
        let names = by_others.join(" and ");
        return finding(&format!(", and stays until {names} is taken off it"))
            .mended_by(format!(
                "the controller that set the finalizer takes it off when it is done: does it run? {names}"
            ))
            .mended_by(format!(
                "only when that controller is gone for good, with what it keeps outside the cluster undone by hand: {}",
                taken_off(id)
            ));
    }
    if !by_cluster.is_empty() {
        return finding(", and goes after what it owns").mended_by(
            "see what of it is still there, and its finalizers: kubectl get all; the cluster does the rest",
        );
    }
    finding("").mended_by("wait: nothing holds it but the time that it was given to end")
}

/// The command that takes all finalizers off.
fn taken_off(id: &ObjectId) -> String {
    let kind = id.group_kind.to_string().to_lowercase();
    let namespace = id.namespace.as_ref().map(|namespace| format!(" --namespace {namespace}")).unwrap_or_default();
    format!("kubectl patch {kind} {}{namespace} --type merge -p '{{\"metadata\":{{\"finalizers\":null}}}}'", id.name)
}

/// A finding about an object, told as what it is where that has left Git: nothing waits for it any more.
pub(super) fn left_git(facts: &Facts, id: &ObjectId, finding: Finding) -> Finding {
    let left = facts.view.resources().iter().any(|one| one.requires_pruning && one.id() == *id);
    if !left || finding.cause == Cause::Leaving {
        return finding;
    }
    let sentence =
        format!("{id} has left Git and waits to be deleted, after what the sync waits for; {}", finding.sentence);
    let remedy = format!("nothing to mend there; when its deletion waits for you: gitmoor prune {}", facts.name());
    Finding { cause: Cause::LeftGit, sentence, remedy: vec![remedy], ..finding }
}

/// What of an Application that is being deleted is still there.
pub(super) fn application(facts: &Facts) -> Option<Finding> {
    let (app, view) = (facts.name(), &facts.view);
    if !view.is_leaving() {
        return None;
    }
    let left = view.resources();
    let word = |one: &ViewedResource| if one.leaving().is_some() { " (Terminating)" } else { "" };
    let named: Vec<String> = left.iter().take(NAMED).map(|one| format!("{}{}", one.id(), word(one))).collect();
    let more = if left.len() > NAMED { format!(" and {} more", left.len() - NAMED) } else { String::new() };
    let finding = |sentence: String| Finding::new(Cause::Leaving, sentence);
    if left.is_empty() {
        let all = facts.application["metadata"]["finalizers"].as_array().into_iter().flatten();
        let held: Vec<&str> = all.filter_map(Value::as_str).collect();
        let why = if held.is_empty() {
            String::new()
        } else {
            format!(", and stays until {} is taken off it", held.join(" and "))
        };
        return Some(finding(format!("{app} is being deleted, and nothing of it is left{why}")).mended_by("wait"));
    }
    let finding = finding(format!(
        "{app} is being deleted, and of its objects these are still there: {}{more}",
        named.join(", ")
    ));
    let each = left.iter().filter_map(|one| Some(format!("{}: {}", one.id(), one.leaving()?)));
    let finding = each.take(2 * NAMED).fold(finding, |finding, one| finding.shown_by("object", one));
    let rest = left.iter().filter(|one| one.leaving().is_none()).count();
    Some(if rest == 0 {
        finding.mended_by("wait; it goes as soon as they are gone")
    } else {
        finding.mended_by(format!(
            "not deleted yet: {rest} of them; what the agent says of that stands above, or in gitmoor logs"
        ))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::explain::explain;
    use crate::object::GroupKind;
    use crate::view::ViewedHealth;

    const THEN: &str = "2026-01-01T00:00:00Z";

    fn going(group: &str, kind: &str, namespace: Option<&str>, live: &Value) -> ObjectFacts {
        let mut live = live.clone();
        live["metadata"]["deletionTimestamp"] = json!(THEN);
        let group_kind = GroupKind::new(group, kind);
        ObjectFacts {
            id: ObjectId { group_kind, namespace: namespace.map(str::to_owned), name: "a".into() },
            health: ViewedHealth { status: "Progressing".into(), message: Some("pending deletion".into()) },
            live: Some(live),
            events: Vec::new(),
            pods: Vec::new(),
            makers: Vec::new(),
        }
    }

    /// An Application that is being deleted, with these objects left.
    fn application(objects: Vec<ObjectFacts>) -> Facts {
        let left = objects.iter().map(|one| {
            json!({"group": one.id.group_kind.group, "kind": one.id.group_kind.kind, "namespace": one.id.namespace,
                "name": one.id.name, "status": "OutOfSync", "health": {"status": "Progressing", "message": "pending deletion"}})
        });
        let left: Vec<Value> = left.collect();
        let application = json!({
            "metadata": {"name": "web", "namespace": "gitmoor", "deletionTimestamp": THEN, "finalizers": ["test.dev/f"]},
            "status": {"sync": {"status": "Unknown"}, "health": {"status": "Healthy"}, "resources": left},
        });
        let view = serde_json::from_value(application.clone()).unwrap();
        Facts { application, view, objects, ..Facts::default() }
    }

    fn condition(kind: &str, message: &str) -> Value {
        json!({"type": kind, "status": "True", "reason": "x", "message": message})
    }

    #[test]
    fn a_namespace_says_itself_why_it_stays_and_a_dead_api_is_named() {
        let quiet = json!({"type": "NamespaceDeletionContentFailure", "status": "False", "message": "fine"});
        let dead = condition(
            "NamespaceDeletionDiscoveryFailure",
            "Discovery failed for some groups, 1 failing: unable to retrieve the complete list of server APIs: \
             metrics.k8s.io/v1beta1: stale GroupVersion discovery: metrics.k8s.io/v1beta1",
        );
        let live = json!({"status": {"conditions": [quiet, dead]}});
        let findings = explain(&application(vec![
            going("", "ConfigMap", Some("a"), &json!({"metadata": {"finalizers": ["test.dev/f"]}})),
            going("", "Namespace", None, &live),
        ]));
        assert!(
            findings[0]
                .sentence
                .starts_with("Namespace a is being deleted, and stays: NamespaceDeletionDiscoveryFailure: Disc"),
            "{findings:?}"
        );
        assert_eq!(findings[0].remedy[1], "does it answer? kubectl get apiservice v1beta1.metrics.k8s.io");
        assert_eq!(findings[0].remedy[2], "gone for good: kubectl delete apiservice v1beta1.metrics.k8s.io");
        assert_eq!(findings[0].remedy.len(), 3, "once each: {findings:?}");
        assert!(findings.iter().all(|one| !one.sentence.contains("web is Unknown")), "{findings:?}");
        assert_eq!(
            findings[2].sentence,
            "web is being deleted, and of its objects these are still there: ConfigMap a/a (Terminating), Namespace a (Terminating)"
        );

        let live = json!({"status": {"conditions": [
            condition("NamespaceContentRemaining",
                "Some resources are remaining: configmaps. has 1 resource instances, widgets.example.com has 2 resource instances"),
            condition("NamespaceFinalizersRemaining",
                "Some content in the namespace has finalizers remaining: example.com/hold in 2 resource instances"),
        ]}});
        let finding = explain(&application(vec![going("", "Namespace", None, &live)])).remove(0);
        assert!(finding.sentence.contains("example.com/hold in 2"), "{finding:?}");
        assert!(finding.remedy[0].ends_with("kubectl get configmaps,widgets.example.com --namespace a"), "{finding:?}");
        assert!(finding.evidence.iter().any(|one| one.text.starts_with("NamespaceContentRemaining: ")), "{finding:?}");
    }

    #[test]
    fn anything_else_names_its_finalizers_and_what_takes_them_off() {
        let of = |finalizers: Value| {
            let live = json!({"metadata": {"finalizers": finalizers}});
            explain(&application(vec![going("example.com", "Widget", Some("n"), &live)])).remove(0)
        };
        let held = of(json!(["foregroundDeletion", "example.com/hold"]));
        assert_eq!(held.cause, Cause::Leaving);
        assert_eq!(
            held.sentence,
            "Widget.example.com n/a is being deleted, and stays until example.com/hold is taken off it"
        );
        assert!(held.remedy[1].contains("kubectl patch widget.example.com a --namespace n --type merge"), "{held:?}");
        assert!(of(json!(["foregroundDeletion"])).sentence.ends_with("goes after what it owns"));
        assert!(of(json!([])).sentence.ends_with("Widget.example.com n/a is being deleted"));
    }

    #[test]
    fn what_is_not_terminating_yet_is_told_apart_and_an_empty_one_names_who_holds_it() {
        let mut facts = application(vec![going("", "ConfigMap", Some("n"), &json!({}))]);
        facts.application["status"]["resources"].as_array_mut().unwrap().push(json!({"kind": "Secret", "name": "s"}));
        facts.view = serde_json::from_value(facts.application.clone()).unwrap();
        let last = explain(&facts).pop().unwrap();
        assert!(last.sentence.ends_with("ConfigMap n/a (Terminating), Secret s"), "{last:?}");
        assert!(last.remedy[0].starts_with("not deleted yet: 1 of them"), "{last:?}");
        let empty = explain(&application(Vec::new())).remove(0);
        assert_eq!(
            empty.sentence,
            "web is being deleted, and nothing of it is left, and stays until test.dev/f is taken off it"
        );
    }
}
