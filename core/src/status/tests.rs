use super::*;
use crate::object::GroupKind;

const NOON: &str = "2026-11-21T12:00:00Z";
const ONE: &str = "2026-11-21T13:00:00Z";

fn report<'a>(source: &'a Value, destination: &'a Value) -> Report<'a> {
    Report {
        source: ("source", source),
        destination,
        revision: Some(Revision::One("abc".into())),
        sync: SyncStatus::Synced,
        resources: Some(vec![resource_status("web", HealthStatus::Healthy)]),
        health: Some(Health { status: HealthStatus::Healthy, message: None }),
        conditions: Vec::new(),
        operation: None,
        images: Some(vec!["web:1".into(), "web:1".into()]),
        source_kinds: Some(vec!["Kustomize"]),
        history_limit: 2,
    }
}

fn resource_status(name: &str, health: HealthStatus) -> ResourceStatus {
    ResourceStatus {
        id: ObjectId {
            group_kind: GroupKind::new("apps", "Deployment"),
            namespace: Some("web".into()),
            name: name.into(),
        },
        version: "v1".into(),
        sync: SyncStatus::Synced,
        health: Some(Health { status: health, message: Some("why".into()) }),
        requires_pruning: false,
        wave: 0,
    }
}

fn succeeded(revision: &str) -> Operation {
    let (message, results) = ("everything is applied".to_owned(), Vec::new());
    let revision = Revision::One(revision.to_owned());
    let source = ("source", json!({"path": "web"}));
    Operation { source, revision, output: String::new(), phase: Phase::Succeeded, message, results, attempt: None }
}

#[test]
fn a_status_that_says_the_same_is_the_same() {
    let (source, destination) = (json!({"repoURL": "x"}), json!({}));
    let condition = Condition { kind: ConditionKind::SyncError, category: "ApplyRejected", message: "no".into() };
    let report = Report { conditions: vec![condition], ..report(&source, &destination) };
    let first = compose(&Value::Null, &report, NOON);
    assert_eq!(compose(&first, &report, ONE), first);
    assert_eq!(merge_patch(&first, &first), None);
    assert_eq!(first["conditions"][0]["message"], "ApplyRejected: no");
    assert_eq!(first["summary"]["images"], json!(["web:1"]));
    assert_eq!(first["resources"][0]["group"], "apps");
}

#[test]
fn times_move_only_with_what_they_belong_to() {
    let (source, destination) = (json!({}), json!({}));
    let first = compose(&Value::Null, &report(&source, &destination), NOON);
    let changed = Report { revision: Some(Revision::One("def".into())), ..report(&source, &destination) };
    let second = compose(&first, &changed, ONE);
    assert_eq!(second["health"]["lastTransitionTime"], NOON);
    assert_eq!(second["reconciledAt"], ONE);
    let health = Some(Health { status: HealthStatus::Degraded, message: None });
    let third = compose(&second, &Report { health, ..changed }, ONE);
    assert_eq!(third["health"]["lastTransitionTime"], ONE);
}

#[test]
fn what_is_not_known_keeps_what_was() {
    let (source, destination) = (json!({}), json!({}));
    let first = compose(&Value::Null, &report(&source, &destination), NOON);
    let blind = Report {
        sync: SyncStatus::Unknown,
        resources: None,
        health: None,
        images: None,
        ..report(&source, &destination)
    };
    let second = compose(&first, &blind, ONE);
    assert_eq!(second["sync"]["status"], "Unknown");
    assert_eq!((&second["resources"], &second["summary"]), (&first["resources"], &first["summary"]));
}

#[test]
fn history_has_one_entry_per_revision_and_a_limit() {
    let (source, destination) = (json!({}), json!({}));
    let mut status = Value::Null;
    for revision in ["a", "a", "b", "c"] {
        let operation = Some(succeeded(revision));
        status = compose(&status, &Report { operation, ..report(&source, &destination) }, NOON);
    }
    let history: Vec<_> =
        status["history"].as_array().unwrap().iter().map(|entry| (&entry["id"], &entry["revision"])).collect();
    assert_eq!(history, [(&json!(1), &json!("b")), (&json!(2), &json!("c"))]);
    assert_eq!(status["operationState"]["phase"], "Succeeded");
}

#[test]
fn what_a_patch_has_left_of_another_status_is_seen() {
    let (source, destination) = (json!({}), json!({}));
    let known = compose(&Value::Null, &report(&source, &destination), NOON);
    let condition = Condition { kind: ConditionKind::SyncError, category: "Lost", message: "cut off".to_owned() };
    let lost = Report { sync: SyncStatus::OutOfSync, conditions: vec![condition], ..report(&source, &destination) };
    let stands = compose(&known, &lost, ONE);
    let wanted =
        compose(&known, &Report { revision: Some(Revision::One("d".into())), ..report(&source, &destination) }, ONE);
    // A patch of what differs from what is known does not touch what nobody knows of.
    let mut mixed = stands.clone();
    mixed["sync"]["revision"] = wanted["sync"]["revision"].clone();
    assert!(!says_the_same(&mixed, &wanted));
    assert!(says_the_same(&wanted, &wanted));
    let mut cut = wanted.clone();
    cut.as_object_mut().unwrap().remove("summary");
    assert!(says_the_same(&cut, &wanted));
}

#[test]
fn several_sources_have_lists_of_everything() {
    let (sources, destination) = (json!([{"chart": "a"}, {"ref": "b"}]), json!({}));
    let revision = Revision::Several(vec!["1.2.3".into(), "abc".into()]);
    let operation =
        Some(Operation { source: ("sources", sources.clone()), revision: revision.clone(), ..succeeded("") });
    let report = Report {
        source: ("sources", &sources),
        revision: Some(revision.clone()),
        operation,
        source_kinds: Some(vec!["Helm", "Directory"]),
        ..report(&sources, &destination)
    };
    let status = compose(&json!({"sourceType": "Helm"}), &report, NOON);
    assert_eq!(status["sync"]["revisions"], json!(["1.2.3", "abc"]));
    assert_eq!(status["sync"]["comparedTo"]["sources"], sources);
    assert_eq!((&status["sourceTypes"], status.get("sourceType")), (&json!(["Helm", "Directory"]), None));
    assert_eq!(status["history"][0]["revisions"], json!(["1.2.3", "abc"]));
    assert_eq!(Revision::read(&status["operationState"]["syncResult"]), Some(revision));
    assert_eq!(compose(&status, &report, ONE)["history"].as_array().unwrap().len(), 1);
}

#[test]
fn a_status_of_argo_cd_becomes_ours_with_its_history() {
    let (source, destination) = (json!({}), json!({}));
    // As Argo CD 3.5 leaves it.
    let theirs = json!({
        "controllerNamespace": "argocd", "resourceHealthSource": "appTree", "sourceHydrator": {}, "sourceType": "Directory",
        "history": [{"id": 4, "deployedAt": NOON, "initiatedBy": {"automated": true}, "revision": "a", "source": {}}],
        "operationState": {
            "phase": "Succeeded", "message": "successfully synced (all tasks run)", "startedAt": NOON, "finishedAt": NOON,
            "operation": {"initiatedBy": {"automated": true}, "retry": {"limit": 5}, "sync": {"revision": "a"}},
            "syncResult": {"revision": "a", "source": {}},
        },
        "sync": {"status": "Synced", "revision": "a", "comparedTo": {"source": {}, "destination": {}}},
    });
    assert!(is_argo_cds(&theirs));
    let status = compose(&theirs, &Report { operation: None, ..report(&source, &destination) }, ONE);
    assert!(!is_argo_cds(&status));
    let kept: Vec<&str> =
        theirs.as_object().unwrap().keys().filter(|key| status.get(*key).is_some()).map(String::as_str).collect();
    assert_eq!(kept, ["history", "sourceType", "sync"], "{status:#}");
    let operation = Some(succeeded("b"));
    let status = compose(&status, &Report { operation, ..report(&source, &destination) }, ONE);
    let ids: Vec<_> = status["history"].as_array().unwrap().iter().map(|entry| &entry["id"]).collect();
    assert_eq!(ids, [4, 5]);
}

#[test]
fn a_running_operation_keeps_its_start() {
    let (source, destination) = (json!({}), json!({}));
    let running = Operation { phase: Phase::Running, ..succeeded("a") };
    let first = compose(&Value::Null, &Report { operation: Some(running), ..report(&source, &destination) }, NOON);
    assert_eq!(first["operationState"].get("finishedAt"), None);
    let operation = Some(succeeded("a"));
    let second = compose(&first, &Report { operation, ..report(&source, &destination) }, ONE);
    let state = &second["operationState"];
    assert_eq!((&state["startedAt"], &state["finishedAt"]), (&json!(NOON), &json!(ONE)));
}

#[test]
fn the_worst_child_decides() {
    let children = [
        resource_status("a", HealthStatus::Healthy),
        resource_status("b", HealthStatus::Progressing),
        ResourceStatus { requires_pruning: true, ..resource_status("c", HealthStatus::Degraded) },
    ];
    let health = overall(&children);
    assert_eq!(health.status, HealthStatus::Progressing);
    assert_eq!(health.message.as_deref(), Some("Deployment.apps web/b: why"));
    assert_eq!(overall(&[]).status, HealthStatus::Healthy);
}

#[test]
fn a_merge_patch_removes_what_is_gone() {
    let before = json!({"a": 1, "b": {"c": 2, "d": 3}, "e": [1]});
    let after = json!({"a": 1, "b": {"c": 2}, "e": [2], "f": null});
    assert_eq!(merge_patch(&before, &after), Some(json!({"b": {"d": null}, "e": [2], "f": null})));
}

#[test]
fn an_attempt_keeps_what_it_did_until_another_one_begins() {
    use crate::hook::{Execution, HookPhase};
    let (source, destination) = (json!({}), json!({}));
    let of = |name: &str, hook| OperationResult {
        id: resource_status(name, HealthStatus::Healthy).id,
        version: "v1".into(),
        status: "Synced",
        message: "created".into(),
        hook,
    };
    let (_, operation) = crate::operation::begin(None, "abc", &Value::Null, NOON);
    let attempt = AttemptRecord { operation, retry_count: 0, whole: true };
    let at = |before: &Value, attempt: &AttemptRecord, phase, results| {
        let operation =
            Operation { phase, message: String::new(), results, attempt: Some(attempt.clone()), ..succeeded("abc") };
        compose(before, &Report { operation: Some(operation), ..report(&source, &destination) }, ONE)
    };
    let running = Some((HookPhase::PreSync, Execution::Running(String::new())));
    let first = at(&Value::Null, &attempt, Phase::Running, vec![of("migrate", running)]);
    assert_eq!(outcomes(&first).count(), 0);
    let ended = Some((HookPhase::PreSync, Execution::Succeeded));
    let second = at(&first, &attempt, Phase::Running, vec![of("migrate", ended), of("web", None)]);
    let id = resource_status("migrate", HealthStatus::Healthy).id;
    let outcome = Outcome { id, phase: HookPhase::PreSync, succeeded: true, message: "created" };
    assert_eq!(outcomes(&second).collect::<Vec<_>>(), [outcome]);
    let third = at(&second, &attempt, Phase::Succeeded, vec![]);
    assert_eq!(third["operationState"]["syncResult"]["resources"].as_array().unwrap().len(), 2);
    assert_eq!(third["history"].as_array().unwrap().len(), 1);
    let (_, operation) = crate::operation::begin(None, "abc", &json!({"status": third}), NOON);
    let next = AttemptRecord { operation, retry_count: 1, whole: true };
    let fourth = at(&third, &next, Phase::Running, vec![]);
    assert_eq!(fourth["operationState"]["syncResult"]["resources"], json!([]), "hooks run again");
    assert_eq!(fourth["operationState"]["retryCount"], 1);
}

#[test]
fn a_large_application_lists_what_matters() {
    let (source, destination) = (json!({}), json!({}));
    let mut resources: Vec<_> =
        (0..5000).map(|n| resource_status(&format!("web-{n}"), HealthStatus::Healthy)).collect();
    resources[4999].sync = SyncStatus::OutOfSync;
    resources[4998].id.group_kind = GroupKind::new("", "ConfigMap");
    let status = compose(&Value::Null, &Report { resources: Some(resources), ..report(&source, &destination) }, NOON);
    let listed = status["resources"].as_array().unwrap();
    assert_eq!(listed.len(), LISTED + 2);
    assert!(listed.iter().any(|r| r["kind"] == "ConfigMap") && listed.iter().any(|r| r["name"] == "web-4999"));
}
