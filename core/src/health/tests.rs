//! All fixtures: `fixtures/GROUP_KIND/STATE.yaml`, first line `# expect: STATUS` or `# expect: STATUS: message`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::rules::RULES;
use super::{Health, HealthStatus, Watch, assess, group_kind_of, watch_of, worst};
use crate::object::GroupKind;

struct Fixture {
    path: PathBuf,
    expected: Health,
    object: Value,
}

fn children(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

fn read(path: PathBuf) -> Fixture {
    let text = fs::read_to_string(&path).unwrap();
    let expected = text.lines().next().and_then(|line| line.strip_prefix("# expect: "));
    let expected = expected.unwrap_or_else(|| panic!("{}: no '# expect:' in its first line", path.display()));
    let (word, message) = expected.split_once(": ").map_or((expected, None), |(word, rest)| (word, Some(rest)));
    let status = HealthStatus::from_word(word).unwrap_or_else(|| panic!("{}: no status {word}", path.display()));
    let object = serde_yaml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    Fixture { expected: Health { status, message: message.map(str::to_owned) }, path, object }
}

/// Fixtures by folder; a folder is named like the group and kind of its objects.
fn fixtures() -> BTreeMap<String, Vec<Fixture>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/health/fixtures");
    let named = |folder: PathBuf| {
        let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        (name, children(&folder).into_iter().map(read).collect())
    };
    children(&root).into_iter().map(named).collect()
}

#[test]
fn every_fixture_is_assessed_as_its_first_line_says() {
    let mut wrong = Vec::new();
    for (folder, fixtures) in fixtures() {
        assert!(!fixtures.is_empty(), "no fixture in {folder}");
        for Fixture { path, expected, object } in fixtures {
            assert_eq!(group_kind_of(&object).to_string(), folder, "{}", path.display());
            let health = assess(&object);
            if health != expected {
                wrong.push(format!("{}\n  expected {expected:?}\n  got      {health:?}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_rule_has_fixtures() {
    let fixtures = fixtures();
    let kinds: Vec<GroupKind> = fixtures.values().flatten().map(|fixture| group_kind_of(&fixture.object)).collect();
    for rule in RULES {
        let of_rule = |group_kind: &GroupKind| rule.covers(group_kind);
        assert!(kinds.iter().any(of_rule), "no fixture for {:?} of {}", rule.kinds, rule.group);
    }
}

#[test]
fn an_object_that_is_being_deleted_is_progressing_in_every_state() {
    for Fixture { path, mut object, expected } in fixtures().into_values().flatten() {
        if expected.message.is_some_and(|message| message.starts_with("not assessed")) {
            continue;
        }
        object["metadata"]["deletionTimestamp"] = json!("2025-03-01T10:00:00Z");
        assert_eq!(assess(&object).status, HealthStatus::Progressing, "{}", path.display());
    }
}

#[test]
fn an_object_that_opted_out_is_healthy_in_every_state() {
    for Fixture { path, mut object, .. } in fixtures().into_values().flatten() {
        object["metadata"]["annotations"]["argocd.argoproj.io/ignore-healthcheck"] = json!("true");
        assert_eq!(assess(&object).status, HealthStatus::Healthy, "{}", path.display());
    }
}

#[test]
fn an_older_observed_generation_is_never_healthy() {
    for Fixture { path, mut object, expected } in fixtures().into_values().flatten() {
        let ignored = expected.message.is_some_and(|message| message.starts_with("not assessed"));
        if ignored || watch_of(&group_kind_of(&object)) == Watch::Metadata {
            continue;
        }
        object["metadata"]["generation"] = json!(8);
        object["status"]["observedGeneration"] = json!(7);
        assert_eq!(assess(&object).status, HealthStatus::Progressing, "{}", path.display());
    }
}

/// Custom resources carry what their authors like; none of it may matter to anything but the answer.
#[test]
fn fields_of_the_wrong_type_are_survived() {
    fn broken(value: &Value) -> Vec<Value> {
        let mut all = vec![Value::Null, json!(-1), json!("x"), json!([]), json!({})];
        match value {
            Value::Object(map) => {
                for (key, child) in map {
                    all.extend(broken(child).into_iter().map(|child| {
                        let mut map = map.clone();
                        map.insert(key.clone(), child);
                        Value::Object(map)
                    }));
                }
            }
            Value::Array(items) => {
                for (index, child) in items.iter().enumerate() {
                    all.extend(broken(child).into_iter().map(|child| {
                        let mut items = items.clone();
                        items[index] = child;
                        Value::Array(items)
                    }));
                }
            }
            _ => {}
        }
        all
    }
    for Fixture { object, .. } in fixtures().into_values().flatten() {
        for object in broken(&object) {
            let _ = assess(&object);
        }
    }
}

#[test]
fn metadata_of_a_kind_that_is_watched_as_metadata_is_healthy() {
    let kinds = [
        ("", "ConfigMap"),
        ("", "LimitRange"),
        ("", "ResourceQuota"),
        ("", "Secret"),
        ("", "ServiceAccount"),
        ("admissionregistration.k8s.io", "MutatingWebhookConfiguration"),
        ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration"),
        ("networking.istio.io", "VirtualService"),
        ("networking.k8s.io", "NetworkPolicy"),
        ("rbac.authorization.k8s.io", "ClusterRoleBinding"),
        ("scheduling.k8s.io", "PriorityClass"),
        ("storage.k8s.io", "StorageClass"),
    ];
    for (group, kind) in kinds {
        assert_eq!(watch_of(&GroupKind::new(group, kind)), Watch::Metadata, "{kind}");
        let metadata = json!({"metadata": {"name": "a", "generation": 3}});
        let mut partial = metadata.clone();
        partial["apiVersion"] = json!("meta.k8s.io/v1");
        partial["kind"] = json!("PartialObjectMetadata");
        let mut named = metadata;
        named["apiVersion"] = json!(format!("{group}/v1").trim_start_matches('/'));
        named["kind"] = json!(kind);
        for mut object in [partial, named] {
            assert_eq!(assess(&object), Health::healthy(), "{kind}");
            object["metadata"]["deletionTimestamp"] = json!("2025-03-01T10:00:00Z");
            assert_eq!(assess(&object), Health::progressing("pending deletion"), "{kind}");
        }
    }
}

#[test]
fn kinds_with_a_rule_and_unknown_custom_kinds_are_watched_in_full() {
    let custom =
        [("example.com", "Widget"), ("snapshot.storage.k8s.io", "VolumeSnapshot"), ("apps.kruise.io", "CloneSet")];
    for (group, kind) in custom {
        assert_eq!(watch_of(&GroupKind::new(group, kind)), Watch::Full, "{kind}");
    }
    for rule in RULES {
        for kind in rule.kinds {
            assert_eq!(watch_of(&GroupKind::new(rule.group, *kind)), Watch::Full, "{kind}");
        }
    }
}

#[test]
fn data_of_a_secret_never_reaches_a_message() {
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}, "data": {"password": "Y2FuYXJ5"},
        "status": {"conditions": [{"type": "Ready", "status": "False", "reason": "Failed", "message": "Y2FuYXJ5"}]},
    });
    assert_eq!(assess(&secret), Health::healthy());
}

#[test]
fn the_worst_status_decides_an_aggregate() {
    assert_eq!(worst([]), HealthStatus::Healthy);
    for pair in HealthStatus::ALL.windows(2) {
        assert_eq!(worst([pair[1], pair[0], HealthStatus::Healthy]), pair[1]);
    }
}

#[test]
fn statuses_are_written_and_read_as_their_words() {
    for status in HealthStatus::ALL {
        assert_eq!(serde_json::to_value(status).unwrap(), json!(status.to_string()));
        assert_eq!(HealthStatus::from_word(status.as_str()), Some(status));
    }
    assert_eq!(serde_json::to_value(Health::healthy()).unwrap(), json!({"status": "Healthy"}));
}

#[test]
fn a_message_is_one_line_of_bounded_length() {
    assert_eq!(Health::degraded("a\n  b\n").message.unwrap(), "a b");
    let long = Health::degraded("ü".repeat(10_000)).message.unwrap();
    assert_eq!(long.chars().count(), 401);
    assert_eq!(Health::degraded(" \n").message, None);
}
