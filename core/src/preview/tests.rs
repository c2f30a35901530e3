use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::*;
use crate::application::ApplicationSpec;
use crate::manifest::{Manifests, Origin, Stamp, Stamped};
use crate::object::ObjectId;
use crate::scope::Scopes;
use crate::sensitive::Sensitive;
use crate::tracking::{ApplicationKey, Digester, Installation};

fn key(name: &str) -> ApplicationKey {
    ApplicationKey { namespace: "gitmoor".into(), name: name.into() }
}

fn installation() -> Installation {
    Installation::parse("gitmoor").unwrap()
}

fn manifests(application: &str, objects: &[Value]) -> Manifests<Stamped> {
    let origin = |document| Origin { source: "a.yaml".into(), document };
    let (read, errors) =
        Manifests::read(objects.iter().enumerate().map(|(index, object)| (origin(index), object.clone())));
    assert_eq!(errors, []);
    let resources = Scopes::default().resources([&read]);
    let stamp = Stamp {
        installation: &installation(),
        application: &key(application),
        namespace: Some("web"),
        resources: &resources,
        digester: &Digester::new(Sensitive::new(vec![0; 16])),
    };
    let (stamped, errors) = read.stamp(&stamp);
    assert_eq!(errors, []);
    stamped
}

fn map(name: &str, value: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": value}})
}

fn secret(values: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": values})
}

fn side(applications: &[(&str, &[Value])]) -> Side {
    applications.iter().map(|(name, objects)| (key(name), manifests(name, objects))).collect()
}

fn owners(before: &Side, after: &Side) -> Owners {
    let of = |side: &Side| {
        let mut owners = std::collections::HashMap::<ObjectId, BTreeSet<ApplicationKey>>::new();
        for (key, manifests) in side {
            for manifest in manifests.items() {
                owners.entry(manifest.id.clone()).or_default().insert(key.clone());
            }
        }
        owners
    };
    Owners { before: of(before), after: of(after) }
}

fn changes(application: &str, before: &Side, after: &Side) -> Vec<(String, What)> {
    let changes = compare(&key(application), before, after, &owners(before, after));
    changes.into_iter().map(|change| (change.id.name, change.what)).collect()
}

#[test]
fn objects_are_made_changed_moved_and_left() {
    let hook = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "h", "annotations": {"argocd.argoproj.io/hook": "PreSync"}}});
    let before = side(&[("a", &[map("same", "1"), map("changed", "1"), map("moves", "1"), map("goes", "1"), hook])]);
    let after = side(&[("a", &[map("same", "1"), map("changed", "2"), map("new", "1")]), ("b", &[map("moves", "2")])]);
    let expected = [
        ("changed", What::Changed),
        ("goes", What::Leaving),
        ("h", What::HookGone),
        ("moves", What::MovedTo(key("b"))),
        ("new", What::Created),
    ];
    assert_eq!(changes("a", &before, &after), expected.map(|(name, what)| (name.to_owned(), what)));
    assert_eq!(changes("b", &before, &after), [("moves".to_owned(), What::MovedFrom(key("a")))]);
    let moved = &compare(&key("b"), &before, &after, &owners(&before, &after))[0];
    assert!(moved.difference.contains("-  a: \"1\"\n+  a: \"2\"\n"), "{}", moved.difference);
}

#[test]
fn what_two_want_is_contested() {
    let before = side(&[("a", &[map("x", "1")])]);
    let after = side(&[("a", &[map("x", "1")]), ("b", &[map("x", "1")])]);
    let made = &compare(&key("b"), &before, &after, &owners(&before, &after))[0];
    assert_eq!((&made.what, &made.contested[..]), (&What::Created, &[key("a")][..]));
}

#[test]
fn values_of_secrets_are_in_no_difference() {
    let before = side(&[("a", &[secret(json!({"same": "hunter1", "changed": "hunter2", "gone": "hunter3"}))])]);
    let after = side(&[("a", &[secret(json!({"same": "hunter1", "changed": "hunter4", "new": "hunter5"}))])]);
    let empty = Side::new();
    let text = |before: &Side, after: &Side| {
        compare(&key("a"), before, after, &owners(before, after)).into_iter().map(|c| c.difference).collect::<String>()
    };
    let changed = text(&before, &after);
    assert!(changed.contains("-  changed: \"*** (before)\"\n"), "{changed}");
    assert!(changed.contains("+  changed: \"*** (after)\"\n"), "{changed}");
    assert!(changed.contains("   same: \"***\"\n"), "{changed}");
    for text in [changed, text(&empty, &after), text(&before, &empty)] {
        for sign in ["hunter", "aHVudGVy"] {
            assert!(!text.contains(sign), "{text}");
        }
    }
    let applied = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "annotations":
        {"kubectl.kubernetes.io/last-applied-configuration": "hunter1"}}, "data": "hunter2"});
    assert!(!masked(&applied).to_string().contains("hunter"));
    let (from, to) = masked_pair(&map("s", "hunter6"), &secret(json!({"a": "hunter7"})));
    assert!(!format!("{from}{to}").contains("hunter"), "one of both is a Secret");
}

#[test]
fn departures_follow_the_rules_of_deletion() {
    let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"}});
    let kept = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kept", "annotations": {"argocd.argoproj.io/sync-options": "Prune=false"}}});
    let before = manifests("a", &[claim, kept, map("free", "1")]);
    let ids: Vec<ObjectId> = before.items().iter().map(|manifest| manifest.id.clone()).collect();
    let ids: Vec<&ObjectId> = ids.iter().collect();
    let spec =
        |prune: bool| ApplicationSpec::read(&json!({"spec": {"syncPolicy": {"automated": {"prune": prune}}}})).unwrap();
    let pruning = spec(true);
    let application = LeavingApplication {
        spec: &pruning,
        before: &before,
        desired: 5,
        incomplete: None,
        held_by: None,
        cascade: false,
        agent_namespace: "gitmoor",
    };
    let found = departures(&ids, &application, &installation());
    let of = |name: &str| &found.iter().find(|(id, _)| id.name == name).unwrap().1;
    assert!(matches!(of("data"), Departure::Blocked(why) if why.contains("it holds data; the agent waits")));
    assert!(matches!(of("kept"), Departure::Blocked(why) if why.ends_with("it stays")));
    assert_eq!(of("free"), &Departure::Deleted);
    for (application, word) in [
        (LeavingApplication { spec: &spec(false), ..application.clone() }, "does not prune by itself"),
        (LeavingApplication { desired: 0, ..application.clone() }, "allowEmpty"),
        (LeavingApplication { held_by: Some("gitmoor/b".into()), ..application.clone() }, "wait for the Application"),
        (LeavingApplication { incomplete: Some("x".into()), ..application.clone() }, "completely: x"),
    ] {
        let found = departures(&ids, &application, &installation());
        assert!(found.iter().all(|(_, what)| matches!(what, Departure::Held(why) if why.contains(word))), "{found:?}");
    }
}

#[test]
fn ciphertexts_are_cut_and_still_differ() {
    let sealed = |ciphertext: String| {
        json!({"apiVersion": "bitnami.com/v1alpha1", "kind": "SealedSecret", "metadata": {"name": "s"},
            "spec": {"encryptedData": {"password": ciphertext}}})
    };
    let (one, other) = (sealed(format!("AgA{}one", "x".repeat(700))), sealed(format!("AgA{}two", "x".repeat(700))));
    let difference = difference(Some(&one), Some(&other));
    assert!(difference.contains("AgAxxxxxxxxx…xxxxxxxxxone (706 characters)"), "{difference}");
    assert!(difference.len() < 500, "{difference}");
}
