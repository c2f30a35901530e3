//! What costs nothing when nothing happens.

use std::time::{Duration, Instant};

use gitmoor_tests::harness::installation::PATIENCE;
use gitmoor_tests::harness::{ControlPlane, Installation, Request, Requests, config_map};
use serde_json::Value;

const APPLICATIONS: [&str; 4] = ["one", "two", "three", "four"];

/// Some Applications of several kinds, all Synced.
async fn roll_out(world: &Installation) -> Vec<Value> {
    let service = "apiVersion: v1\nkind: Service\nmetadata:\n  name: SELF\nspec:\n  ports:\n    - port: 80\n";
    let secret = "apiVersion: v1\nkind: Secret\nmetadata:\n  name: SELF\nstringData:\n  key: value\n";
    for name in APPLICATIONS {
        world.repository.write(&format!("{name}/map.yaml"), config_map(name, "key", "value"));
        world.repository.write(&format!("{name}/secret.yaml"), secret.replace("SELF", name));
        world.repository.write(&format!("{name}/service.yaml"), service.replace("SELF", name));
    }
    let commit = world.repository.commit_all("everything").await;
    let mut statuses = Vec::new();
    for name in APPLICATIONS {
        world.apply(&world.application(name, name)).await;
    }
    for name in APPLICATIONS {
        statuses.push(world.await_synced(name, &commit).await);
    }
    world.settled().await;
    statuses
}

/// All but watches and what keeps the lease.
fn beyond_watches_and_lease(requests: Requests) -> Requests {
    requests.filter(|request| request.verb != "watch" && request.resource != "leases.coordination.k8s.io")
}

/// What the agent takes notes of besides objects and statuses: the commit that was compared with, once for the whole
/// repository, and events, of which those of the first sync come one after the other and so late, and new ones would follow
/// from a write of a status.
fn is_a_note(request: &Request, world: &Installation) -> bool {
    (request.resource == "configmaps" && request.namespace == world.namespace) || request.resource == "events"
}

/// Waits until all of the first sync is noted.
async fn noted(world: &Installation) {
    let audit = ControlPlane::shared().await.audit();
    let quiet = async || {
        let mark = audit.mark().await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let asked = beyond_watches_and_lease(audit.since(mark).await.of_user(&world.user));
        if asked.is_empty() { Ok(()) } else { Err(asked.to_string()) }
    };
    world.scene().eventually("nothing is noted for a second", PATIENCE, quiet).await;
}

async fn only_watches_and_lease(duration: Duration) {
    let control_plane = ControlPlane::shared().await;
    let world = Installation::start_on(control_plane, "steady", |agent| agent.arg("--poll-interval=3600")).await;
    roll_out(&world).await;
    noted(&world).await;
    let (started, mark) = (Instant::now(), control_plane.audit().mark().await);
    // A rate can only be told from a time.
    tokio::time::sleep(duration).await;
    let all = control_plane.audit().since(mark).await.of_user(&world.user);
    let passed = started.elapsed();
    let beyond = beyond_watches_and_lease(all.clone());
    assert!(beyond.is_empty(), "in {passed:?}:\n{beyond}");
    // A read and a write every four seconds.
    let of_lease = all.filter(|request| request.resource == "leases.coordination.k8s.io");
    let expected = usize::try_from(passed.as_secs() / 4 + 1).unwrap() * 2;
    assert!((1..=expected).contains(&of_lease.count()), "in {passed:?}:\n{of_lease}");
}

#[tokio::test(flavor = "multi_thread")]
async fn in_steady_state_there_are_watches_and_the_lease_and_nothing_else() {
    only_watches_and_lease(Duration::from_secs(15)).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a minute: part of `make soak`"]
async fn soak_a_minute_of_steady_state_has_watches_and_the_lease_and_nothing_else() {
    only_watches_and_lease(Duration::from_mins(1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_touches_no_input_and_a_restart_after_it_write_nothing() {
    let control_plane = ControlPlane::shared().await;
    let mut world = Installation::start("no-op").await;
    let before = roll_out(&world).await;
    let renders = world.metrics().await.sum("gitmoor_renders_total");
    let mark = control_plane.audit().mark().await;
    let mut commit = String::new();
    for round in 0..3 {
        commit = world.repository.commit(&[("README.md", &format!("Round {round}.\n"))], "for readers only").await;
        world
            .scene()
            .eventually("the commit is seen", PATIENCE, async || {
                if world.agent.log().contains(&commit) { Ok(()) } else { Err(commit.clone()) }
            })
            .await;
    }
    world.settled().await;
    let more = world.metrics().await.sum("gitmoor_renders_total") - renders;
    assert!(more < 1.0, "{more} renders for nothing\n{}", world.agent.log());
    let requests = beyond_watches_and_lease(control_plane.audit().since(mark).await.of_user(&world.user));
    let requests = requests.filter(|request| !is_a_note(request, &world));
    assert!(requests.is_empty(), "three commits for readers only made:\n{requests}");

    let mark = control_plane.audit().mark().await;
    world.agent.restart();
    let applications = APPLICATIONS.len() as f64;
    world.agent.await_ready(PATIENCE).await;
    world
        .scene()
        .eventually("every Application is looked at", PATIENCE, async || {
            let metrics = world.metrics().await;
            let (renders, depth) = (metrics.sum("gitmoor_renders_total"), metrics.sum("gitmoor_queue_depth"));
            if renders >= applications && depth < 1.0 { Ok(()) } else { Err(format!("{renders}, {depth} wait")) }
        })
        .await;
    let requests = control_plane.audit().since(mark).await.of_user(&world.user).writes();
    let writes = beyond_watches_and_lease(requests).filter(|request| !is_a_note(request, &world));
    assert!(writes.is_empty(), "a restart with everything in place wrote:\n{writes}\n{}", world.agent.log());
    for (name, before) in APPLICATIONS.iter().zip(before) {
        assert_eq!(world.status(name).await, before, "{commit}");
    }
}
