//! `--output json`: one document of every command, whatever it does and however it ends.

use std::collections::BTreeSet;

use gitmoor_tests::harness::{ControlPlane, Installation, Repository, config_map, definitions};
use serde_json::{Value, json};

use super::Person;
use super::bootstrap::write_fork;

const CLAIM: &str = "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: data}\nspec: {accessModes: [ReadWriteOnce], \
                     resources: {requests: {storage: 1Gi}}}\n";

/// An Application whose volume waits for somebody's word, and which was rolled out twice.
async fn prepare(world: &Installation, repository: &Repository) {
    write_fork(repository, &world.namespace, &world.target);
    repository.write(
        "distribution/components/gitmoor/account.yaml",
        "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: a}\n",
    );
    let deployment = "distribution/components/gitmoor/deployment.yaml";
    let text =
        std::fs::read_to_string(repository.tree().join(deployment)).unwrap().replace("<<__image__>>", "gitmoor:test");
    repository.write(deployment, text);
    repository.write("setup.conf", "<<__image__>>=gitmoor:test\n");
    repository.commit(&[("web/map.yaml", &config_map("map", "key", "one")), ("web/claim.yaml", CLAIM)], "one").await;
    let mut application = world.application("web", "web");
    application["spec"]["syncPolicy"] = json!({"automated": {"prune": true}});
    world.apply(&application).await;
    world.await_target("is there", "v1/PersistentVolumeClaim", "data", |claim| claim.is_some()).await;
    repository.remove("web/claim.yaml").await;
    world.await_condition("web", "PruneBlocked").await;
    let secret = json!({
        "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret",
        "metadata": {"name": "read", "namespace": world.target},
        "spec": {"secretStoreRef": {"name": "aws"}, "data": [{"secretKey": "a", "remoteRef": {"key": "b"}}]},
    });
    world.apply(&secret).await;
}

/// The control plane is its own: ExternalSecrets are served.
#[tokio::test(flavor = "multi_thread")]
async fn every_command_gives_one_document_of_json() {
    let control_plane = ControlPlane::builder().start().await;
    definitions::install(&control_plane.client().await).await;
    let world = Installation::start_on(&control_plane, "json", |agent| agent).await;
    let person = Person::of(&control_plane, &world);
    let repository = &world.repository;
    prepare(&world, repository).await;
    let secret = format!("{}/read", world.target);
    // What is asked for, how it ends, and what stands in the document.
    let table: &[(&[&str], i32, &[&str])] = &[
        (&["init", "setup.conf", "--check"], 0, &["files", "totals"]),
        (&["init", "missing.conf"], 4, &["error"]),
        (&["upgrade", "nonsense"], 2, &["error"]),
        (&["upgrade"], 5, &["error"]),
        (&["seal", "status"], 0, &["pinned", "sealedSecrets"]),
        (&["credentials"], 1, &["error"]),
        (&["iam"], 3, &["error"]),
        (&["render"], 0, &["applications"]),
        (&["lock", "--check"], 0, &["entries"]),
        (&["plan", "HEAD"], 0, &["applications"]),
        (&["rehearse", "--root", "missing.yaml"], 3, &["error"]),
        (
            &["bootstrap", "--dry-run", "--ssh-key", "--repository", "git@git.example.com:org/fork.git"],
            0,
            &["objects", "credential"],
        ),
        (&["bootstrap", "--export", "/proc/nowhere"], 4, &["error"]),
        (&["status", "web"], 0, &["applications"]),
        (&["explain", "web"], 1, &["findings"]),
        (&["diff", "web"], 1, &["objects"]),
        (&["refresh", "web"], 0, &["refreshes"]),
        (&["refresh", "web", "--wait"], 0, &["refreshes"]),
        (&["suspend", "web"], 0, &["applications"]),
        (&["resume", "web"], 0, &["applications"]),
        (&["history", "web"], 0, &["history"]),
        (&["prune", "web"], 5, &["leftOver", "confirm", "error"]),
        (&["rollback", "web", "--suspend", "--wait"], 0, &["applications", "syncs"]),
        (&["sync", "web"], 0, &["syncs"]),
        (&["sync", "missing"], 2, &["error"]),
        (&["secrets"], 0, &["externalSecrets"]),
        (&["secrets", "refresh", &secret], 0, &["refreshes"]),
        (&["logs"], 4, &["error"]),
        (&["doctor", "--offline"], 0, &["findings"]),
        (&["uninstall", "--purge", "--dry-run"], 0, &["applications", "deleted", "left"]),
        (&["uninstall"], 5, &["error"]),
        (&["completions", "bash"], 0, &["script"]),
    ];
    let pruned = person.run_in(repository.tree(), &["prune", "web", "--output", "json"], b"").json();
    assert_eq!(pruned["error"]["kind"], "refused", "{pruned:#}");
    assert!(pruned["leftOver"][0].as_str().unwrap().starts_with("PersistentVolumeClaim "), "{pruned:#}");
    let mut wrong = Vec::new();
    for (arguments, status, members) in table {
        let run = person.run_in(repository.tree(), &[arguments, &["--output", "json"][..]].concat(), b"");
        let document: Value = serde_json::from_str(&run.stdout).unwrap_or_default();
        let has = |member: &&str| document.get(member).is_some();
        if run.status != Some(*status) || !members.iter().all(has) || has(&"error") != members.contains(&"error") {
            wrong.push(format!("{arguments:?}: {run:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let asked = person.run(&["sync", "web", "--output", "json"]).json();
    assert_eq!(asked["syncs"][0]["result"], "asked for", "{asked:#}");

    let help = person.run(&["--help"]).stdout.clone();
    let listed = help.split_once("Commands:\n").unwrap().1.split_once("\n\n").unwrap().0;
    let commands =
        listed.lines().filter(|line| !line.starts_with("   ")).filter_map(|line| line.split_whitespace().next());
    let tried: BTreeSet<&str> = table.iter().map(|(arguments, ..)| arguments[0]).collect();
    let untried: Vec<&str> = commands.filter(|command| *command != "help" && !tried.contains(command)).collect();
    assert_eq!(untried, [""; 0], "every command has a row");
}
