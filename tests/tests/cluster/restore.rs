//! etcd is put back to what it was: the cluster becomes what Git says, whether the agent saw it happen or not.

use gitmoor_tests::harness::{ControlPlane, Installation, config_map, kustomization};
use kube::api::ListParams;
use serde_json::Value;

use gitmoor_tests::harness::installation::{PATIENCE, api};

/// Objects of an Application, by name with their value.
async fn values(world: &Installation) -> Vec<(String, String)> {
    let maps = api(&world.client, "v1/ConfigMap", Some(&world.target));
    let list = maps.list(&ListParams::default()).await;
    let value = |map: &Value| map["data"]["key"].as_str().unwrap_or_default().to_owned();
    let maps = list.into_iter().flatten().map(|map| (map.metadata.name.clone().unwrap(), value(&map.data)));
    maps.filter(|(name, _)| name != "kube-root-ca.crt").collect()
}

async fn commit(world: &Installation, maps: &[(&str, &str)]) -> String {
    let names: Vec<String> = maps.iter().map(|(name, _)| format!("{name}.yaml")).collect();
    for old in ["a", "b", "c", "d"] {
        let _ = std::fs::remove_file(world.repository.tree().join(format!("web/{old}.yaml")));
    }
    for (name, value) in maps {
        world.repository.write(&format!("web/{name}.yaml"), config_map(name, "key", value));
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    world.repository.write("web/kustomization.yaml", kustomization(&names));
    world.repository.commit_all("maps").await
}

async fn becomes(world: &Installation, what: &str, wanted: &[(&str, &str)]) {
    let wanted: Vec<(String, String)> = wanted.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
    let there = async || {
        let found = values(world).await;
        if found == wanted { Ok(()) } else { Err(format!("{found:?}")) }
    };
    world.scene().eventually(what, PATIENCE, there).await;
}

/// When the agent has renewed its lease last.
async fn renewed(world: &Installation) -> Option<String> {
    let leases = api(&world.client, "coordination.k8s.io/v1/Lease", Some(&world.namespace));
    let lease = leases.list(&ListParams::default()).await.into_iter().flatten().next()?;
    lease.data["spec"]["renewTime"].as_str().map(str::to_owned)
}

/// What was changed, made and deleted since the backup.
const BEFORE: [(&str, &str); 3] = [("a", "one"), ("b", "one"), ("c", "one")];
const AFTER: [(&str, &str); 3] = [("a", "two"), ("b", "one"), ("d", "one")];

async fn restored(purpose: &str, watching: bool) {
    let mut control_plane = ControlPlane::builder().start().await;
    let mut world = Installation::start_on(&control_plane, purpose, |agent| agent).await;
    let first = commit(&world, &BEFORE).await;
    world.apply(&world.application("web", "web")).await;
    world.await_synced("web", &first).await;
    control_plane.back_up("backup").await;
    let in_backup = renewed(&world).await;
    let second = commit(&world, &AFTER).await;
    world.await_synced("web", &second).await;
    becomes(&world, "the second commit", &AFTER).await;

    // A backup is older than the last renewal of the lease.
    let again = async || if renewed(&world).await == in_backup { Err("not renewed".to_owned()) } else { Ok(()) };
    world.scene().eventually("the lease is renewed", PATIENCE, again).await;

    if !watching {
        world.agent.kill();
    }
    control_plane.restore("backup").await;
    if watching {
        // Its watches go on at versions that are yet to come.
        let deadline = std::time::Instant::now() + PATIENCE;
        while world.agent.is_running() {
            assert!(std::time::Instant::now() < deadline, "the agent goes on:\n{}", world.agent.log());
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        assert!(world.agent.log().contains("put back to an earlier state"), "{}", world.agent.log());
    }
    // As kubelet does.
    world.agent.restart();
    becomes(&world, "the second commit again", &AFTER).await;
    let status = world.await_synced("web", &second).await;
    assert_eq!(status["conditions"], serde_json::json!([]), "{status:#}");
    // It goes on from there.
    let third = commit(&world, &[("a", "three")]).await;
    world.await_synced("web", &third).await;
    becomes(&world, "the third commit", &[("a", "three")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_watches_puts_right_what_a_restore_of_etcd_has_undone() {
    restored("restore-watching", true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_starts_after_a_restore_of_etcd_puts_it_right() {
    restored("restore-anew", false).await;
}
