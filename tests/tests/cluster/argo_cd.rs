//! Argo CD beside the agent: what it works on is left to it, until it stops or lets go.
//!
//! Nobody plays Argo CD itself: its controller is there as it is installed, with a status, and so are its Applications and
//! what these have made.

use gitmoor_tests::harness::installation::{PATIENCE, api, apply, install_kinds};
use gitmoor_tests::harness::{
    ApiFault, ApiProxy, ControlPlane, Installation, condition, config_map, create_namespace, unique_name,
};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::operate::Person;
use crate::operate::explain::explained;

const APPLICATION: &str = "argoproj.io/v1alpha1/Application";
const STATEFUL_SET: &str = "apps/v1/StatefulSet";
const CONTROLLER: &str = "argocd-application-controller";
const TRACKING_ID: &str = "argocd.argoproj.io/tracking-id";

/// One for all of these tests: while a controller runs, agents ask more.
async fn control_plane() -> &'static ControlPlane {
    static SHARED: OnceCell<ControlPlane> = OnceCell::const_new();
    SHARED.get_or_init(|| ControlPlane::builder().start()).await
}

/// Argo CD in a namespace, told to follow others too, and running.
pub(crate) async fn install(client: &kube::Client, namespace: &str, others: &str) {
    let settings = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "argocd-cmd-params-cm", "namespace": namespace},
        "data": {"application.namespaces": others},
    });
    let labels = json!({
        "app.kubernetes.io/name": CONTROLLER, "app.kubernetes.io/part-of": "argocd",
        "app.kubernetes.io/component": "application-controller",
    });
    let reference = json!({"name": "argocd-cmd-params-cm", "key": "application.namespaces", "optional": true});
    let controller = json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet",
        "metadata": {"name": CONTROLLER, "namespace": namespace, "labels": labels},
        "spec": {
            "replicas": 1, "serviceName": CONTROLLER, "selector": {"matchLabels": {"app.kubernetes.io/name": CONTROLLER}},
            "template": {
                "metadata": {"labels": {"app.kubernetes.io/name": CONTROLLER}},
                "spec": {"containers": [{
                    "name": CONTROLLER, "image": "argocd", "command": [CONTROLLER],
                    "env": [{"name": "ARGOCD_APPLICATION_NAMESPACES", "valueFrom": {"configMapKeyRef": reference}}],
                }]},
            },
        },
    });
    apply(client, &settings).await;
    apply(client, &controller).await;
    scale(client, namespace, 1, 1).await;
}

/// What its StatefulSet is scaled to, and how many of its pods are ready.
async fn scale(client: &kube::Client, namespace: &str, replicas: u32, ready: u32) {
    let controllers = api(client, STATEFUL_SET, Some(namespace));
    let spec = Patch::Merge(json!({"spec": {"replicas": replicas}}));
    controllers.patch(CONTROLLER, &PatchParams::default(), &spec).await.unwrap();
    let status = Patch::Merge(json!({"status": {"replicas": replicas, "readyReplicas": ready}}));
    controllers.patch_status(CONTROLLER, &PatchParams::default(), &status).await.unwrap();
}

/// What the agent has told of an Application.
async fn told(world: &Installation, name: &str) -> Option<String> {
    let events = api(&world.client, "v1/Event", Some(&world.namespace)).list(&ListParams::default()).await.unwrap();
    let mut events = events.items.into_iter().map(|event| event.data);
    let event = events.find(|event| event["reason"] == "LeftToArgoCD" && event["involvedObject"]["name"] == name)?;
    assert_eq!(event["type"], "Warning");
    event["message"].as_str().map(str::to_owned)
}

async fn await_told(world: &Installation, name: &str) -> String {
    let check = async || told(world, name).await.ok_or_else(|| "no event".to_owned());
    world.scene().eventually(&format!("an event says that {name} is left to Argo CD"), PATIENCE, check).await
}

async fn settled(world: &Installation) {
    let check = async || match world.metrics().await.sum("gitmoor_queue_depth") {
        0.0 => Ok(()),
        depth => Err(format!("{depth} wait")),
    };
    world.scene().eventually("the agent has nothing to do", PATIENCE, check).await;
}

/// An Application in another namespace than the agent's.
async fn in_namespace(world: &Installation, namespace: &str, name: &str) {
    let mut application = world.application(name, name);
    application["metadata"]["namespace"] = json!(namespace);
    world.apply(&application).await;
}

async fn applied(world: &Installation, name: &str, value: &str) {
    let fits = |map: Option<&Value>| map.is_some_and(|map| map["data"]["key"] == value);
    world.await_target(&format!("{name} is applied as {value}"), "v1/ConfigMap", name, fits).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn applications_of_a_running_argo_cd_are_left_alone_and_others_are_not() {
    let control_plane = control_plane().await;
    let client = control_plane.client().await;
    let mut namespaces = Vec::new();
    for purpose in ["left-argocd", "left-agent", "left-free", "left"] {
        namespaces.push(create_namespace(&client, purpose).await);
    }
    let [argo_cd, agents, free, target] = &namespaces[..] else { unreachable!() };
    let pattern = format!("no-other, {}*", agents.trim_end_matches(|c: char| c.is_ascii_digit()));
    install(&client, argo_cd, &pattern).await;
    let further = format!("--application-namespaces={free}");
    let world = Installation::start_in(control_plane, (agents, target), |agent| agent.arg(further)).await;
    let mark = control_plane.audit().mark().await;
    let maps = ["web", "going", "free"].map(|name| (format!("{name}/map.yaml"), config_map(name, "key", "one")));
    let files: Vec<(&str, &str)> = maps.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    world.repository.commit(&files, "one").await;
    let mut web = world.application("web", "web");
    web["metadata"]["annotations"] = json!({"argocd.argoproj.io/refresh": "normal"});
    world.apply(&web).await;
    let mut going = world.application("going", "going");
    going["metadata"]["finalizers"] = json!(["resources-finalizer.argocd.argoproj.io"]);
    world.apply(&going).await;
    let applications = api(&client, APPLICATION, Some(agents));
    applications.delete("going", &DeleteParams::default()).await.unwrap();
    in_namespace(&world, free, "free").await;

    applied(&world, "free", "one").await;
    let message = await_told(&world, "web").await;
    let said =
        [format!("StatefulSet {argo_cd}/{CONTROLLER}"), format!("-n {argo_cd} --replicas 0"), "migration.md".into()];
    assert!(said.iter().all(|text| message.contains(text)) && message.contains("application.namespaces"), "{message}");
    // It is restarted: none of its pods is ready for a while.
    scale(&client, argo_cd, 1, 0).await;
    world.repository.commit(&[("free/map.yaml", &config_map("free", "key", "two"))], "two").await;
    applied(&world, "free", "two").await;
    settled(&world).await;
    let left = world.get(APPLICATION, agents, "web").await.unwrap();
    assert_eq!((&left["status"], &left["metadata"]["finalizers"]), (&Value::Null, &Value::Null), "{left:#}");
    assert!(world.get(APPLICATION, agents, "going").await.is_some());
    let all = control_plane.audit().since(mark).await.of_user(&world.user).writes();
    let touched = all.filter(|request| {
        let of_left = request.name == "web" || request.name == "going";
        of_left && request.resource != "events"
    });
    assert!(touched.is_empty(), "{touched}");

    let person = Person::of(control_plane, &world);
    let here = std::path::Path::new("/");
    let finding = explained(&person, here, "web", "LeftToArgoCd").await;
    let sentence = finding["sentence"].as_str().unwrap();
    assert!(sentence.starts_with(&format!("Argo CD works on the Applications of namespace {agents}")), "{sentence}");
    let doctor = person.run(&["doctor", "--output", "json"]).json()["findings"].clone();
    let found = doctor.as_array().unwrap().iter().find(|finding| finding["check"] == "argo-cd").unwrap();
    assert_eq!(found["state"], "doubtful");
    assert!(found["fix"].as_str().unwrap().contains("--replicas 0"), "{found:#}");

    // It stops, and everything is the agent's.
    scale(&client, argo_cd, 0, 0).await;
    applied(&world, "web", "one").await;
    let check = async || match world.get(APPLICATION, agents, "going").await {
        None => Ok(()),
        Some(object) => Err(format!("{object:#}")),
    };
    world.scene().eventually("what is deleted goes", PATIENCE, check).await;
    world.await_status("is Synced", "web", |status| status["sync"]["status"] == "Synced").await;
    let refreshed = async || match world.get(APPLICATION, agents, "web").await.unwrap()["metadata"].get("annotations") {
        Some(annotations) if annotations.get("argocd.argoproj.io/refresh").is_some() => Err(annotations.to_string()),
        _ => Ok(()),
    };
    world.scene().eventually("it is refreshed", PATIENCE, refreshed).await;
    let doctor = person.run(&["doctor", "--output", "json"]).json()["findings"].to_string();
    assert!(!doctor.contains("argo-cd"), "{doctor}");

    // And back: another commit arrives only where Argo CD is not.
    scale(&client, argo_cd, 1, 1).await;
    let again = format!("controller=StatefulSet {argo_cd}/{CONTROLLER}");
    let lines = || world.agent.log().lines().filter(|line| line.contains(&again)).count();
    let check = async || if lines() == 3 { Ok(()) } else { Err(format!("{} lines", lines())) };
    world.scene().eventually("the log says that it runs, does not, and runs", PATIENCE, check).await;
    settled(&world).await;
    let before = world.status("web").await;
    let maps = ["web", "free"].map(|name| (format!("{name}/map.yaml"), config_map(name, "key", "three")));
    let files: Vec<(&str, &str)> = maps.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    world.repository.commit(&files, "three").await;
    applied(&world, "free", "three").await;
    settled(&world).await;
    applied(&world, "web", "one").await;
    assert_eq!(world.status("web").await, before);
    assert_eq!(lines(), 3, "{}", world.agent.log());
}

/// A ConfigMap of the target namespace as Argo CD has made it.
async fn made(world: &Installation, name: &str, metadata: &Value) -> Value {
    let mut object = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"key": "argo"}, "metadata": metadata});
    object["metadata"]["name"] = json!(name);
    let by_argo = PostParams { field_manager: Some("argocd-controller".to_owned()), ..PostParams::default() };
    let maps = api(&world.client, "v1/ConfigMap", Some(&world.target));
    let made = maps.create(&by_argo, &serde_json::from_value(object).unwrap()).await.unwrap();
    serde_json::to_value(made).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_application_of_argo_cd_has_made_is_taken_over_when_that_lets_go() {
    let control_plane = control_plane().await;
    let client = control_plane.client().await;
    install_kinds(&client).await;
    let argo_cd = create_namespace(&client, "objects-argocd").await;
    install(&client, &argo_cd, "").await;
    let world = Installation::start_on(control_plane, "objects", |agent| agent).await;
    let tracked = |application: &str, name: &str| json!({"annotations": {TRACKING_ID: format!("{application}:/ConfigMap:{}/{name}", world.target)}});
    in_namespace(&world, &argo_cd, "shop").await;
    let resource = json!({"version": "v1", "kind": "ConfigMap", "namespace": world.target, "name": "labelled", "status": "Synced"});
    let status = Patch::Merge(json!({"status": {"resources": [resource]}}));
    let theirs = api(&client, APPLICATION, Some(&argo_cd));
    theirs.patch_status("shop", &PatchParams::default(), &status).await.unwrap();
    let label = json!({"labels": {"app.kubernetes.io/instance": "shop"}});
    let kept = [made(&world, "tracked", &tracked("shop", "tracked")).await, made(&world, "labelled", &label).await];
    // Nobody works on these: the Application is gone, and a chart has set the label.
    made(&world, "orphan", &tracked("gone", "orphan")).await;
    made(&world, "charted", &label).await;

    for name in ["tracked", "labelled", "orphan", "charted"] {
        world.repository.write(&format!("shop/{name}.yaml"), config_map(name, "key", "ours"));
    }
    world.repository.write("parting/stays.yaml", config_map("stays", "key", "ours"));
    world.repository.write("parting/parts.yaml", config_map("parts", "key", "ours"));
    world.repository.commit_all("ours").await;
    for name in ["shop", "parting"] {
        world.apply(&world.application(name, name)).await;
    }
    for name in ["orphan", "charted", "stays", "parts"] {
        applied(&world, name, "ours").await;
    }
    let refused = |status: &Value| {
        let messages: Vec<&str> =
            status["conditions"].as_array().into_iter().flatten().filter_map(|one| one["message"].as_str()).collect();
        let told = |name: &str| {
            let start =
                format!("LeftToArgoCD: ConfigMap {}/{name}: Argo CD's Application {argo_cd}/shop", world.target);
            messages.iter().any(|message| message.starts_with(&start))
        };
        told("tracked") && told("labelled")
    };
    let status = world.await_status("says what is left to Argo CD", "shop", refused).await;
    assert_eq!(status["sync"]["status"], "OutOfSync", "{status:#}");
    let explained =
        explained(&Person::of(control_plane, &world), std::path::Path::new("/"), "shop", "LeftToArgoCd").await;
    assert!(explained["remedy"][0].as_str().unwrap().contains("docs/migration.md"), "{explained:#}");
    for before in &kept {
        let name = before["metadata"]["name"].as_str().unwrap();
        assert_eq!(world.target("v1/ConfigMap", name).await.unwrap()["metadata"], before["metadata"]);
    }

    // What goes over to Argo CD while it leaves Git here is not deleted.
    world.patch("v1/ConfigMap", &world.target, "parts", &json!({"metadata": tracked("shop", "parts")})).await;
    world.repository.remove("parting/parts.yaml").await;
    let status = world.await_condition("parting", "LeftToArgoCD").await;
    let message = condition(&status, "LeftToArgoCD").unwrap();
    assert!(message.contains(&format!("ConfigMap {}/parts cannot be deleted", world.target)), "{message}");
    assert!(world.target("v1/ConfigMap", "parts").await.is_some());

    theirs.delete("shop", &DeleteParams::default()).await.unwrap();
    for name in ["tracked", "labelled"] {
        applied(&world, name, "ours").await;
        // What tracks it is dropped right after that.
        let untracked =
            |map: Option<&Value>| map.is_some_and(|map| map["metadata"]["annotations"].get(TRACKING_ID).is_none());
        world.await_target("is tracked no more", "v1/ConfigMap", name, untracked).await;
    }
    world.await_target("what left Git goes", "v1/ConfigMap", "parts", |map| map.is_none()).await;
    let synced = |status: &Value| status["sync"]["status"] == "Synced" && condition(status, "LeftToArgoCD").is_none();
    world.await_status("is Synced", "shop", synced).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_told_to_works_beside_argo_cd() {
    let control_plane = control_plane().await;
    let client = control_plane.client().await;
    let argo_cd = create_namespace(&client, "beside-argocd").await;
    install(&client, &argo_cd, "/^beside-agent-/").await;
    let world = Installation::start_on(control_plane, "beside", |agent| agent.arg("--beside-argo-cd")).await;
    let commit = world.repository.commit(&[("web/map.yaml", &config_map("map", "key", "one"))], "one").await;
    world.apply(&world.application("web", "web")).await;
    world.await_synced("web", &commit).await;
    assert_eq!(told(&world, "web").await, None);

    let person = Person::of(control_plane, &world);
    let settings = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "data": {"GITMOOR_BESIDE_ARGO_CD": "true"},
        "metadata": {"name": "gitmoor-agent-settings", "namespace": world.namespace},
    });
    world.apply(&settings).await;
    person.run(&["explain", "web"]).assert(0);
    let doctor = person.run(&["doctor", "--output", "json"]).json()["findings"].to_string();
    assert!(doctor.contains("is told not to mind"), "{doctor}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_begun_before_it_is_known_whether_argo_cd_runs_unless_that_may_not_be_known() {
    let control_plane = control_plane().await;
    let identity = control_plane.kubeconfig_for_user(&unique_name("proxied"), Some("system:masters"));
    let proxy = ApiProxy::start(&identity).await;
    let refuse = |code: u16, reason: &'static str| {
        proxy.fault(move |request| request.path.ends_with("/statefulsets").then_some(ApiFault::Refuse(code, reason)));
    };
    refuse(500, "InternalError");
    let kubeconfig = proxy.kubeconfig().to_owned();
    let world =
        Installation::start_on(control_plane, "unknown", move |agent| agent.env("KUBECONFIG", kubeconfig)).await;
    let commit = world.repository.commit(&[("web/map.yaml", &config_map("map", "key", "one"))], "one").await;
    world.apply(&world.application("web", "web")).await;
    let said = async |text: &str| {
        let check = async || if world.agent.log().contains(text) { Ok(()) } else { Err(world.agent.log()) };
        world.scene().eventually(text, PATIENCE, check).await;
    };
    said("whether Argo CD runs beside the agent cannot be known").await;
    said(&commit).await;
    settled(&world).await;
    assert_eq!(world.status("web").await, Value::Null);
    assert_eq!(world.target("v1/ConfigMap", "map").await, None);

    refuse(403, "Forbidden");
    world.await_synced("web", &commit).await;
    assert!(world.agent.log().contains("may not be known: it counts as not running"), "{}", world.agent.log());
}
