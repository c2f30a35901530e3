//! AppProjects: what a project refuses is not applied, and what is applied is applied as its ServiceAccount.

use gitmoor_tests::harness::{ControlPlane, Installation, condition, config_map};
use serde_json::{Value, json};

const SERVER: &str = "https://kubernetes.default.svc";
const ROLE: &str = "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata:\n  name: NAME\nrules: []\n";

fn project(world: &Installation, spec: Value) -> Value {
    json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "AppProject",
        "metadata": {"name": "team", "namespace": world.namespace}, "spec": spec,
    })
}

fn of_team(world: &Installation, name: &str) -> Value {
    let mut application = world.application(name, name);
    application["spec"]["project"] = json!("team");
    application
}

fn everything(world: &Installation) -> Value {
    json!({
        "sourceRepos": ["*"],
        "destinations": [{"server": SERVER, "namespace": world.target}],
        "clusterResourceWhitelist": [{"group": "*", "kind": "*"}],
    })
}

async fn await_synced(world: &Installation, name: &str) {
    let synced = |status: &Value| status["sync"]["status"] == "Synced";
    world.await_status("is Synced", name, synced).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_application_says_which_rule_of_which_project_and_goes_on_when_that_changes() {
    let world = Installation::start("project").await;
    world.repository.commit(&[("web/map.yaml", &config_map("map", "key", "git"))], "a map").await;
    world.apply(&of_team(&world, "web")).await;
    let message = world.await_unknown("web", "ProjectViolation").await;
    assert!(message.contains("AppProject team does not exist"), "{message}");

    for (rule, spec) in [
        (
            "sourceRepos",
            json!({"sourceRepos": ["https://elsewhere/*"], "destinations": [{"server": "*", "namespace": "*"}]}),
        ),
        ("destinations", json!({"sourceRepos": ["*"], "destinations": [{"server": SERVER, "namespace": "!*"}]})),
        (
            "destinationServiceAccounts",
            json!({
                "sourceRepos": ["*"], "destinations": [{"server": "*", "namespace": "*"}],
                "destinationServiceAccounts": [{"server": SERVER, "namespace": "other", "defaultServiceAccount": "x"}],
            }),
        ),
        (
            "signatureKeys",
            json!({
                "sourceRepos": ["*"], "destinations": [{"server": "*", "namespace": "*"}], "signatureKeys": [{"keyID": "4AEE18F83AFDEB23"}],
            }),
        ),
    ] {
        world.apply(&project(&world, spec)).await;
        let refused = |status: &Value| {
            status["sync"]["status"] == "Unknown"
                && condition(status, "ProjectViolation")
                    .is_some_and(|told| told.contains("team") && told.contains(rule))
        };
        world.await_status(&format!("is refused by {rule}"), "web", refused).await;
        assert!(world.target("v1/ConfigMap", "map").await.is_none(), "{rule}");
    }
    let mut spec = everything(&world);
    spec["roles"] = json!([{"name": "reader"}]);
    world.apply(&project(&world, spec)).await;
    await_synced(&world, "web").await;
    let named = |status: &Value| {
        condition(status, "UnsupportedField").is_some_and(|told| told.contains("spec.roles of AppProject team"))
    };
    world.await_status("names the field that has no effect", "web", named).await;

    // One that may no longer go there: what runs keeps running, and nothing is written any more.
    world.apply(&project(&world, json!({"sourceRepos": ["*"], "destinations": []}))).await;
    world.await_unknown("web", "ProjectViolation").await;
    assert!(world.target("v1/ConfigMap", "map").await.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_objects_are_named_and_left_out_and_the_others_are_applied() {
    let world = Installation::start("project-kinds").await;
    let role = format!("role-{}", world.target);
    world.repository.write("web/role.yaml", ROLE.replace("NAME", &role));
    world.repository.write("web/secret.yaml", "apiVersion: v1\nkind: Secret\nmetadata:\n  name: secret\n");
    let elsewhere = config_map("elsewhere", "key", "git")
        .replace("metadata:\n", &format!("metadata:\n  namespace: {}\n", world.namespace));
    world.repository.write("web/elsewhere.yaml", elsewhere);
    let mut spec = everything(&world);
    spec["clusterResourceWhitelist"] = json!([]);
    spec["namespaceResourceBlacklist"] = json!([{"group": "", "kind": "Sec*"}]);
    world.apply(&project(&world, spec.clone())).await;
    world.repository.commit(&[("web/map.yaml", &config_map("map", "key", "git"))], "objects").await;
    world.apply(&of_team(&world, "web")).await;
    world.await_target("the map is applied", "v1/ConfigMap", "map", |map| map.is_some()).await;
    let status = world.await_condition("web", "ProjectViolation").await;
    let told = status["conditions"].to_string();
    for (object, rule) in [
        (role.as_str(), "clusterResourceWhitelist"),
        ("secret", "namespaceResourceBlacklist"),
        ("elsewhere", "destinations"),
    ] {
        let said =
            |text: &Value| text["message"].as_str().is_some_and(|text| text.contains(object) && text.contains(rule));
        assert!(status["conditions"].as_array().unwrap().iter().any(said), "{object}: {told}");
    }
    assert_ne!(status["sync"]["status"], "Synced");
    assert!(world.target("v1/Secret", "secret").await.is_none());
    assert!(world.get("v1/ConfigMap", &world.namespace, "elsewhere").await.is_none());

    spec["clusterResourceWhitelist"] = json!([{"group": "rbac.*", "kind": "ClusterRole"}]);
    spec["namespaceResourceBlacklist"] = json!([]);
    spec["destinations"] = json!([{"server": "*", "namespace": "*"}]);
    world.apply(&project(&world, spec)).await;
    await_synced(&world, "web").await;
    assert!(world.target("v1/Secret", "secret").await.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_written_as_the_service_account_and_the_api_server_decides() {
    let control_plane = ControlPlane::shared().await;
    let world = Installation::start("project-user").await;
    let mut spec = everything(&world);
    spec["destinationServiceAccounts"] =
        json!([{"server": SERVER, "namespace": world.target, "defaultServiceAccount": "deployer"}]);
    world.apply(&project(&world, spec)).await;
    world.repository.write("web/secret.yaml", "apiVersion: v1\nkind: Secret\nmetadata:\n  name: secret\n");
    world.repository.commit(&[("web/map.yaml", &config_map("map", "key", "git"))], "a map").await;
    let in_target = |kind: &str, name: &str, rest: Value| {
        let mut object = rest;
        object["apiVersion"] = json!(if kind == "ServiceAccount" { "v1" } else { "rbac.authorization.k8s.io/v1" });
        object["kind"] = json!(kind);
        object["metadata"] = json!({"name": name, "namespace": world.target});
        object
    };
    world.apply(&in_target("ServiceAccount", "deployer", json!({}))).await;
    let verbs = json!(["get", "list", "watch", "create", "patch", "update", "delete"]);
    let rules = json!({"rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": verbs}]});
    world.apply(&in_target("Role", "deployer", rules)).await;
    let binding = json!({
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "deployer"},
        "subjects": [{"kind": "ServiceAccount", "name": "deployer", "namespace": world.target}],
    });
    world.apply(&in_target("RoleBinding", "deployer", binding)).await;

    let mark = control_plane.audit().mark().await;
    world.apply(&of_team(&world, "web")).await;
    world.await_target("the map is applied", "v1/ConfigMap", "map", |map| map.is_some()).await;
    let status = world.await_condition("web", "Forbidden").await;
    let told = condition(&status, "Forbidden").unwrap();
    assert!(told.contains("/secret"), "{told}");
    assert!(world.target("v1/Secret", "secret").await.is_none(), "what the account may not do is not done");

    world.repository.remove("web/secret.yaml").await;
    await_synced(&world, "web").await;
    world.repository.write("web/kept.yaml", config_map("kept", "key", "git"));
    world.repository.remove("web/map.yaml").await;
    world.await_target("the map is pruned", "v1/ConfigMap", "map", |map| map.is_none()).await;
    let requests = control_plane.audit().since(mark).await.of_user(&world.user).writes();
    let in_target = requests.clone().namespace(&world.target);
    assert!(in_target.count() >= 4, "{requests}");
    let deployer = format!("system:serviceaccount:{}:deployer", world.target);
    for request in in_target.0 {
        assert_eq!(request.impersonated.as_deref(), Some(deployer.as_str()), "{request:?}");
    }
    for request in requests.namespace(&world.namespace).0 {
        assert_eq!(request.impersonated, None, "the agent writes its own objects as itself: {request:?}");
    }
}
