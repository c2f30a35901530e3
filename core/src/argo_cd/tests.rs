use serde_json::json;

use super::owner::{ANNOTATION_TRACKING_ID, LABEL_INSTANCE};
use super::*;
use crate::object::{GroupKind, ObjectId};

/// A StatefulSet as upstream's, with this container.
fn workload(container: &Value) -> Value {
    json!({
        "metadata": {"name": "argocd-application-controller", "namespace": "argocd"},
        "spec": {"replicas": 1, "template": {"spec": {"containers": [container]}}},
        "status": {"replicas": 1, "readyReplicas": 1},
    })
}

fn from_key(name: &str, key: &str) -> Value {
    json!({"env": [
        {"name": "ARGOCD_RECONCILIATION_TIMEOUT", "value": "60s"},
        {"name": VARIABLE, "valueFrom": {"configMapKeyRef": {"name": name, "key": key, "optional": true}}},
    ]})
}

fn controller(container: &Value, maps: &[(&str, Value)]) -> Controller {
    let maps = maps.iter().map(|(name, data)| ((*name).to_owned(), json!({"data": data}))).collect();
    Controller::read("StatefulSet", &workload(container), &maps).unwrap()
}

#[test]
fn namespaces_come_from_the_flag_else_from_the_variable() {
    let maps = [("argocd-cmd-params-cm", json!({"application.namespaces": "team-*, one", VARIABLE: "whole"}))];
    let command = |words: &[&str]| json!({"command": words, "env": [{"name": VARIABLE, "value": "unused"}]});
    for (container, followed) in [
        (json!({}), "argocd"),
        (from_key("argocd-cmd-params-cm", "application.namespaces"), "argocd, one, team-*"),
        (from_key("argocd-cmd-params-cm", "another"), "argocd"),
        (from_key("another", "application.namespaces"), "argocd"),
        (json!({"env": [{"name": VARIABLE, "value": "a,b"}]}), "argocd, a, b"),
        (json!({"env": [{"name": VARIABLE, "value": "a"}, {"name": VARIABLE, "value": "b"}]}), "argocd, b"),
        (json!({"envFrom": [{"configMapRef": {"name": "argocd-cmd-params-cm"}}]}), "argocd, whole"),
        (json!({"envFrom": [{"prefix": "ARGOCD_", "configMapRef": {"name": "argocd-cmd-params-cm"}}]}), "argocd"),
        // As the operator writes it, and as people do.
        (command(&["argocd-application-controller", FLAG, "a,b", "--loglevel", "info"]), "argocd, a, b"),
        (
            command(&["argocd-application-controller", "--application-namespaces=a", "--application-namespaces=b"]),
            "argocd, a, b",
        ),
        (command(&["argocd-application-controller", FLAG, ""]), "argocd"),
        (json!({"command": ["argocd-application-controller"], "args": [FLAG, "a"]}), "argocd, a"),
        (json!({"command": ["argocd-application-controller", "--application-namespaces-of-another"]}), "argocd"),
    ] {
        assert_eq!(controller(&container, &maps).followed(), followed, "{container}");
    }
}

#[test]
fn the_config_maps_that_have_to_be_read_are_known_beforehand() {
    let named = |container: &Value| config_maps(&workload(container)).into_iter().collect::<Vec<_>>();
    assert_eq!(named(&from_key("argocd-cmd-params-cm", "application.namespaces")), ["argocd-cmd-params-cm"]);
    assert_eq!(named(&json!({"env": [{"name": VARIABLE, "value": "a"}]})), [""; 0]);
    let whole = json!([{"configMapRef": {"name": "b"}}, {"secretRef": {"name": "c"}}, {"prefix": "X_", "configMapRef": {"name": "d"}}]);
    assert_eq!(named(&json!({"envFrom": whole})), ["b"]);
    let mut with_flag = from_key("argocd-cmd-params-cm", "application.namespaces");
    with_flag["command"] = json!([FLAG, "a"]);
    assert_eq!(named(&with_flag), [""; 0]);
}

#[test]
fn namespaces_are_globs_or_expressions() {
    for (patterns, namespace, follows) in [
        ("", "argocd", true),
        ("", "gitmoor", false),
        ("*", "gitmoor", true),
        ("team-*", "team-a", true),
        ("team-*", "a-team-b", false),
        ("team-[ab]", "team-b", true),
        ("/^team-(a|b)$/", "team-b", true),
        ("/^team-(a|b)$/", "team-c", false),
        // Unanchored, as Argo CD takes them.
        ("/team/", "a-team-b", true),
        // What looks ahead cannot be read here, and may mean any.
        ("/^((?!kube).)*$/", "gitmoor", true),
    ] {
        let controller = controller(&json!({"args": [FLAG, patterns]}), &[]);
        assert_eq!(controller.follows(namespace), follows, "{patterns} {namespace}");
    }
}

#[test]
fn a_controller_runs_until_it_is_scaled_to_zero_and_gone() {
    for (replicas, status, running) in [
        (json!(1), json!({"replicas": 1, "readyReplicas": 1}), true),
        // It is restarted.
        (json!(1), json!({"replicas": 1}), true),
        (json!(null), json!({}), true),
        // Its last pod is on its way out.
        (json!(0), json!({"replicas": 1}), true),
        (json!(0), json!({"replicas": 0}), false),
        (json!(0), json!({}), false),
    ] {
        let mut object = workload(&json!({}));
        object["spec"]["replicas"] = replicas;
        object["status"] = status;
        let read = Controller::read("StatefulSet", &object, &BTreeMap::new());
        assert_eq!((is_running(&object), read.is_some()), (running, running), "{object}");
    }
}

#[test]
fn what_is_said_names_the_controller_and_what_can_be_done() {
    let controller = controller(&json!({"args": [FLAG, "gitmoor"]}), &[]);
    assert_eq!(
        controller.sentence("gitmoor"),
        "Argo CD works on the Applications of namespace gitmoor (StatefulSet argocd/argocd-application-controller), \
         and the agent leaves them alone"
    );
    let ways = controller.ways_out("gitmoor");
    assert_eq!(ways[0], "stop it: kubectl scale statefulset argocd-application-controller -n argocd --replicas 0");
    assert_eq!(ways.len(), 3);
    assert_eq!(controller.ways_out("argocd").len(), 2, "its own namespace it always follows");
}

fn id(kind: &str, namespace: Option<&str>) -> ObjectId {
    ObjectId { group_kind: GroupKind::new("apps", kind), namespace: namespace.map(str::to_owned), name: "web".into() }
}

#[test]
fn an_object_belongs_to_whom_an_annotation_that_fits_names() {
    let controller = controller(&json!({"args": [FLAG, "team-*"]}), &[]);
    let here = id("Deployment", Some("shop"));
    for (text, id, expected) in [
        ("shop:apps/Deployment:shop/web", &here, Some("argocd/shop")),
        ("team-a_shop:apps/Deployment:shop/web", &here, Some("team-a/shop")),
        // Nobody works on that namespace.
        ("other_shop:apps/Deployment:shop/web", &here, None),
        // Of what is in no namespace it names the destination's.
        ("shop:apps/Deployment:shop/web", &id("Deployment", None), Some("argocd/shop")),
        // Copied from something else.
        ("shop:apps/ReplicaSet:shop/web", &here, None),
        ("shop:apps/Deployment:other/web", &here, None),
        ("shop:apps/Deployment:shop/api", &here, None),
        ("shop", &here, None),
    ] {
        let object =
            json!({"metadata": {"annotations": {ANNOTATION_TRACKING_ID: text}, "labels": {LABEL_INSTANCE: "else"}}});
        let owner = Owner::of(id, &object);
        let found = owner.and_then(|owner| owner.candidates([&controller]).first().map(ToString::to_string));
        assert_eq!(found.as_deref(), expected, "{text}");
    }
    assert_eq!(Owner::of(&here, &json!({"metadata": {}})), None);
}

#[test]
fn a_label_counts_when_the_application_has_the_object_and_one_that_goes_has_nothing() {
    let here = id("Deployment", Some("shop"));
    let labelled = Owner::of(&here, &json!({"metadata": {"labels": {LABEL_INSTANCE: "shop"}}})).unwrap();
    let tracked = json!({"metadata": {"annotations": {ANNOTATION_TRACKING_ID: "shop:apps/Deployment:shop/web"}}});
    let tracked = Owner::of(&here, &tracked).unwrap();
    let with = |namespace: &str| {
        json!({"metadata": {}, "status": {"resources": [
            {"group": "apps", "version": "v1", "kind": "Deployment", "namespace": namespace, "name": "web"}]}})
    };
    assert!(labelled.is(&with("shop"), &here));
    assert!(!labelled.is(&with("other"), &here), "a chart has set it");
    assert!(tracked.is(&json!({"metadata": {}}), &here), "it may not have written a status yet");
    let mut going = with("shop");
    going["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    assert!(!labelled.is(&going, &here) && !tracked.is(&going, &here));
}
