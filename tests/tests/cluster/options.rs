//! Sync options, immutable fields, and objects that two Applications want.

use gitmoor_tests::harness::{Installation, condition, config_map, create_namespace};
use serde_json::{Value, json};

const FROZEN: &str =
    "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: frozen\nimmutable: true\ndata:\n  key: VALUE\n";

fn frozen(value: &str, options: &str) -> String {
    let annotated = format!("  name: frozen\n  annotations:\n    argocd.argoproj.io/sync-options: {options}\n");
    FROZEN
        .replace("VALUE", value)
        .replace("  name: frozen\n", if options.is_empty() { "  name: frozen\n" } else { &annotated })
}

async fn uid(world: &Installation, kind: &str, name: &str) -> Value {
    world.target(kind, name).await.unwrap()["metadata"]["uid"].clone()
}

async fn await_synced_at(world: &Installation, name: &str, commit: &str) {
    let synced = |status: &Value| status["sync"]["status"] == "Synced" && status["sync"]["revision"] == commit;
    world.await_status("is Synced", name, synced).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_immutable_field_is_named_with_the_ways_out_and_force_makes_the_object_anew() {
    let world = Installation::start("immutable").await;
    let commit = world.repository.commit(&[("web/map.yaml", &frozen("one", ""))], "one").await;
    world.apply(&world.application("web", "web")).await;
    world.await_synced("web", &commit).await;
    let first = uid(&world, "v1/ConfigMap", "frozen").await;

    world.repository.commit(&[("web/map.yaml", &frozen("two", ""))], "two").await;
    let status = world.await_condition("web", "ImmutableField").await;
    let told = condition(&status, "ImmutableField").unwrap();
    assert!(told.contains("frozen: data cannot be changed") && told.contains("Force=true"), "{told}");
    assert_eq!(uid(&world, "v1/ConfigMap", "frozen").await, first);

    let commit = world.repository.commit(&[("web/map.yaml", &frozen("two", "Force=true"))], "force").await;
    await_synced_at(&world, "web", &commit).await;
    assert_ne!(uid(&world, "v1/ConfigMap", "frozen").await, first);
    assert_eq!(world.target("v1/ConfigMap", "frozen").await.unwrap()["data"]["key"], "two");
}

#[tokio::test(flavor = "multi_thread")]
async fn force_never_deletes_what_holds_data_without_a_confirmation() {
    let world = Installation::start("immutable-claim").await;
    let claim = |class: &str| {
        format!(
            "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata:\n  name: data\n  annotations:\n    \
             argocd.argoproj.io/sync-options: Force=true\nspec:\n  storageClassName: {class}\n  accessModes: [ReadWriteOnce]\n  \
             resources: {{requests: {{storage: 1Gi}}}}\n"
        )
    };
    world.repository.commit(&[("web/claim.yaml", &claim("one"))], "one").await;
    world.apply(&world.application("web", "web")).await;
    world.await_target("the claim is made", "v1/PersistentVolumeClaim", "data", |claim| claim.is_some()).await;
    let first = uid(&world, "v1/PersistentVolumeClaim", "data").await;
    let commit = world.repository.commit(&[("web/claim.yaml", &claim("two"))], "two").await;
    let status = world.await_condition("web", "ImmutableField").await;
    let told = condition(&status, "ImmutableField").unwrap().to_owned();
    assert!(told.contains("it holds data"), "{told}");
    assert_eq!(uid(&world, "v1/PersistentVolumeClaim", "data").await, first);

    let (_, digest) = told.split_once("gitmoor.dev/confirm-prune=").unwrap();
    let digest = digest.split(|c: char| !c.is_ascii_hexdigit()).next().unwrap();
    // The finalizer that protects it is taken away by a controller, of which there is none here.
    let finalizers = json!({"metadata": {"finalizers": null}});
    world.patch("v1/PersistentVolumeClaim", &world.target, "data", &finalizers).await;
    world.patch_application("web", &json!({"metadata": {"annotations": {"gitmoor.dev/confirm-prune": digest}}})).await;
    let anew = |claim: Option<&Value>| {
        claim.is_some_and(|claim| claim["metadata"]["uid"] != first && claim["spec"]["storageClassName"] == "two")
    };
    world.await_target("the claim is made anew", "v1/PersistentVolumeClaim", "data", anew).await;
    let at_commit = |status: &Value| status["sync"]["revision"] == commit.as_str();
    world.await_status("is at the commit", "web", at_commit).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replace_drops_what_others_have_added() {
    let world = Installation::start("replace").await;
    let mut application = world.application("web", "web");
    application["spec"]["syncPolicy"]["syncOptions"] = json!(["Replace=true"]);
    world.apply(&application).await;
    let commit = world.repository.commit(&[("web/map.yaml", &config_map("map", "key", "one"))], "one").await;
    world.await_synced("web", &commit).await;
    let first = uid(&world, "v1/ConfigMap", "map").await;
    world.patch("v1/ConfigMap", &world.target, "map", &json!({"data": {"added": "by somebody"}})).await;
    let commit = world.repository.commit(&[("web/map.yaml", &config_map("map", "key", "two"))], "two").await;
    await_synced_at(&world, "web", &commit).await;
    let map = world.target("v1/ConfigMap", "map").await.unwrap();
    assert_eq!(map["data"], json!({"key": "two"}));
    assert_eq!(map["metadata"]["uid"], first, "nothing is deleted");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_of_two_applications_is_an_error_on_both_that_names_the_other() {
    let world = Installation::start("shared").await;
    for folder in ["one", "two"] {
        world.repository.write(&format!("{folder}/shared.yaml"), config_map("shared", "key", folder));
        world.repository.write(&format!("{folder}/own.yaml"), config_map(&format!("own-{folder}"), "key", folder));
    }
    let commit = world.repository.commit_all("both").await;
    world.apply(&world.application("one", "one")).await;
    world.await_synced("one", &commit).await;
    let mut second = world.application("two", "two");
    second["spec"]["syncPolicy"]["syncOptions"] = json!(["FailOnSharedResource=true"]);
    world.apply(&second).await;
    for (name, other) in [("one", "two"), ("two", "one")] {
        let status = world.await_condition(name, "SharedResource").await;
        let told = condition(&status, "SharedResource").unwrap();
        assert!(told.contains("ConfigMap") && told.contains(&format!("{}/{other}", world.namespace)), "{name}: {told}");
    }
    assert_eq!(world.target("v1/ConfigMap", "shared").await.unwrap()["data"]["key"], "one", "there is no fight");
    assert!(world.target("v1/ConfigMap", "own-two").await.is_none(), "FailOnSharedResource: nothing is applied");

    world.repository.remove("two/shared.yaml").await;
    world.await_target("the other object is applied", "v1/ConfigMap", "own-two", |map| map.is_some()).await;
    for name in ["one", "two"] {
        let clear = |status: &Value| condition(status, "SharedResource").is_none();
        world.await_status("nobody complains any more", name, clear).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_that_is_made_gets_its_metadata() {
    let world = Installation::start("namespace-metadata").await;
    let name = create_namespace(&world.client, "made").await;
    let fresh = format!("{name}-fresh");
    let commit = world.repository.commit(&[("web/map.yaml", &config_map("map", "key", "git"))], "a map").await;
    for (application, namespace) in [("there", &name), ("fresh", &fresh)] {
        let mut object = world.application(application, "web");
        object["spec"]["destination"]["namespace"] = json!(namespace);
        object["spec"]["syncPolicy"]["syncOptions"] = json!(["CreateNamespace=true"]);
        object["spec"]["syncPolicy"]["managedNamespaceMetadata"] =
            json!({"labels": {"team": "a"}, "annotations": {"owner": "somebody"}});
        world.apply(&object).await;
        world.await_synced(application, &commit).await;
        let namespaces = gitmoor_tests::harness::installation::api(&world.client, "v1/Namespace", None);
        let made = serde_json::to_value(namespaces.get(namespace).await.unwrap()).unwrap();
        assert_eq!(made["metadata"]["labels"]["team"], "a", "{made:#}");
        assert_eq!(made["metadata"]["annotations"]["owner"], "somebody", "{made:#}");
        assert_eq!(made["metadata"]["labels"]["gitmoor.dev/application"], Value::Null, "it is nobody's to be pruned");
    }
}
