//! status, sync, refresh, suspend, resume, history, rollback and prune.

use gitmoor_tests::harness::installation::PATIENCE;
use gitmoor_tests::harness::installation::api;
use gitmoor_tests::harness::{ControlPlane, Installation, Mode, config_map, kustomization};
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

use super::Person;

async fn world(purpose: &str) -> (Installation, Person) {
    let world = Installation::start(purpose).await;
    let person = Person::of(ControlPlane::shared().await, &world);
    (world, person)
}

/// An Application that syncs only when somebody asks.
fn by_hand(world: &Installation, name: &str) -> Value {
    let mut application = world.application(name, name);
    application["spec"]["syncPolicy"] = json!({});
    application
}

fn row<'a>(status: &'a Value, name: &str) -> &'a Value {
    let all = status["applications"].as_array().unwrap();
    all.iter().find(|row| row["name"] == name).unwrap_or_else(|| panic!("no {name} in {status:#}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn status_says_where_everything_stands_and_why_not() {
    let (world, person) = world("status").await;
    let files = [("good/map.yaml", config_map("good", "key", "one"))];
    let commit = world.repository.commit(&[(files[0].0, &files[0].1)], "a map").await;
    world.apply(&world.application("good", "good")).await;
    world.apply(&world.application("lost", "nowhere")).await;
    world.await_synced("good", &commit).await;
    world.await_unknown("lost", "PathNotFound").await;

    let status = person.run(&["status", "--output", "json", "--exit-code"]);
    let status = status.assert(1).json();
    let good = row(&status, "good");
    assert_eq!(
        (&good["sync"], &good["health"], &good["revision"]),
        (&json!("Synced"), &json!("Healthy"), &json!(commit))
    );
    let lost = row(&status, "lost");
    assert_eq!((&lost["sync"], &lost["conditions"][0]["category"]), (&json!("Unknown"), &json!("PathNotFound")));
    assert_eq!(status["applications"][0]["name"], "lost", "what is not well comes first");
    assert_eq!(status["warning"], Value::Null, "the agent works");

    let table = person.run(&["status"]).assert(0).stdout.clone();
    let line = |name: &str| table.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{table}"));
    assert!(line("good").contains(&commit[..7]) && !line("good").contains(&commit), "{table}");
    assert!(line("lost").contains("PathNotFound: "), "{table}");
    let tree = person.run(&["status", "good", "--tree"]).assert(0).stdout.clone();
    assert!(tree.contains(&format!("└─ ConfigMap {}/good  Synced", world.target)), "{tree}");
    assert!(!tree.contains("lost"), "{tree}");
    person.run(&["status", "good", "--exit-code"]).assert(0);

    let mistyped = person.run(&["status", "goood"]);
    assert!(mistyped.assert(2).stderr.contains("did you mean good?"), "{mistyped:?}");
    let nowhere = person.run(&["status", "--namespace", "default"]);
    assert!(nowhere.assert(0).stderr.contains("no agent has ever run in namespace default"), "{nowhere:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_gone_is_told() {
    let (mut world, person) = world("silent").await;
    let commit = world.repository.commit(&[("web/map.yaml", &config_map("map", "key", "one"))], "a map").await;
    world.apply(&world.application("web", "web")).await;
    world.await_synced("web", &commit).await;
    world.agent.terminate(PATIENCE).await;
    let status = person.run(&["status"]);
    assert!(status.assert(0).stderr.contains("no agent is running in namespace"), "{status:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_refresh_that_is_late_is_told() {
    let (mut world, person) = world("late").await;
    let commit = world.repository.commit(&[("web/map.yaml", &config_map("map", "key", "one"))], "a map").await;
    for name in ["one", "two"] {
        world.apply(&world.application(name, "web")).await;
    }
    world.await_status("is looked at", "two", |status| status["sync"]["revision"] == commit.as_str()).await;
    world.agent.signal(rustix::process::Signal::STOP);
    let late = person.run(&["refresh", "one", "two", "--wait", "--timeout", "1s"]);
    let said = &late.assert(1).stderr;
    assert!(said.contains("one: no agent has looked") && said.contains("two: no agent has looked"), "{said}");
    world.agent.signal(rustix::process::Signal::CONT);
    let both = person.run(&["refresh", "one", "two", "--wait"]);
    let said = &both.assert(0).stderr;
    assert!(said.contains("one: the agent has looked") && said.contains("two: the agent has looked"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_that_finds_no_such_branch_says_so() {
    let (world, person) = world("no-branch").await;
    world.repository.commit(&[("web/map.yaml", &config_map("map", "key", "one"))], "a map").await;
    let mut lost = world.application("lost", "web");
    lost["spec"]["source"]["targetRevision"] = json!("nowhere");
    world.apply(&lost).await;
    world.apply(&world.application("web", "web")).await;
    let both = person.run(&["refresh", "lost", "web", "--wait", "--output", "json"]);
    let document = both.assert(1).json();
    let [lost, web] = &document["refreshes"].as_array().unwrap()[..] else { panic!("{document:#}") };
    assert_eq!((&lost["result"], &web["result"]), (&json!("failed"), &json!("looked")), "{document:#}");
    assert!(lost["message"].as_str().unwrap().starts_with("RevisionNotFound: "), "{document:#}");
    assert!(both.stderr.contains("lost: the agent has looked, and finds nothing: RevisionNotFound: "), "{both:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_is_asked_for_followed_and_told() {
    let (world, person) = world("ask").await;
    let files = [
        ("web/kustomization.yaml", kustomization(&["a.yaml", "b.yaml"])),
        ("web/a.yaml", config_map("a", "key", "one")),
        ("web/b.yaml", config_map("b", "key", "one")),
    ];
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (*path, text.as_str())).collect();
    world.repository.commit(&files, "two maps").await;
    world.apply(&by_hand(&world, "web")).await;
    world.await_status("is looked at", "web", |status| status["sync"]["status"] == "OutOfSync").await;

    let dry = person.run(&["sync", "web", "--dry-run"]);
    assert!(dry.assert(0).stdout.contains("would be created"), "{dry:?}");
    assert!(world.target("v1/ConfigMap", "a").await.is_none());
    let one = person.run(&["sync", "web", "--resource", ":ConfigMap:a", "--wait"]);
    one.assert(0);
    assert!(world.target("v1/ConfigMap", "a").await.is_some() && world.target("v1/ConfigMap", "b").await.is_none());
    let all = person.run(&["sync", "web", "--wait", "--output", "json"]);
    assert_eq!(all.assert(0).json()["syncs"][0]["result"], "succeeded");
    assert!(world.target("v1/ConfigMap", "b").await.is_some());

    world.repository.commit(&[("web/kustomization.yaml", &kustomization(&["a.yaml"]))], "drop b").await;
    person.run(&["refresh", "web", "--wait"]).assert(0);
    world.await_status("b is left over", "web", |status| status["sync"]["status"] == "OutOfSync").await;
    let shown = person.run(&["prune", "web"]);
    assert!(shown.assert(0).stdout.contains("gitmoor sync web --prune"), "{shown:?}");
    person.run(&["sync", "web", "--prune", "--wait"]).assert(0);
    assert!(world.target("v1/ConfigMap", "b").await.is_none());

    let typo = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\nspec:\n  a: b\n";
    let commit = world.repository.commit(&[("web/a.yaml", typo)], "a field that is not there").await;
    person.run(&["refresh", "web"]).assert(0);
    world.await_status("the commit is seen", "web", |status| status["sync"]["revision"] == commit.as_str()).await;
    let failed = person.run(&["sync", "web", "--wait"]);
    assert!(failed.assert(1).stderr.contains("gitmoor explain web"), "{failed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_takes_what_was_pushed_just_now() {
    let control_plane = ControlPlane::shared().await;
    let world = Installation::start_on(control_plane, "just-now", |agent| agent.arg("--poll-interval=3600")).await;
    let person = Person::of(control_plane, &world);
    for round in 0..3 {
        let value = format!("round-{round}");
        world.repository.commit(&[("web/map.yaml", &config_map("map", "key", &value))], &value).await;
        if round == 0 {
            world.apply(&by_hand(&world, "web")).await;
            world.await_status("is looked at", "web", |status| status["sync"]["status"] == "OutOfSync").await;
        }
        person.run(&["sync", "web", "--wait"]).assert(0);
        assert_eq!(world.target("v1/ConfigMap", "map").await.unwrap()["data"]["key"], value.as_str());
    }
    let commit = world.repository.commit(&[("web/map.yaml", &config_map("map", "key", "last"))], "last").await;
    world.remote.set_mode(Mode::RefuseCredentials);
    let refused = person.run(&["refresh", "web", "--wait"]);
    assert!(refused.assert(1).stderr.contains("web: the agent could not look: RefusedCredentials: "), "{refused:?}");
    assert!(!refused.stderr.contains("has looked"), "{refused:?}");
    world.remote.set_mode(Mode::Ok);
    person.run(&["refresh", "web", "--wait"]).assert(0);
    world.await_status("is seen", "web", |status| status["sync"]["revision"] == commit.as_str()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_cannot_be_taken_up_ends_with_the_cause_and_is_taken_back() {
    let (mut world, person) = world("no-way").await;
    world.repository.commit(&[("web/map.yaml", &config_map("map", "key", "one"))], "one").await;
    world.apply(&by_hand(&world, "web")).await;
    person.run(&["sync", "web", "--wait"]).assert(0);
    world.repository.commit(&[("web/map.yaml", &config_map("map", "key", "two"))], "two").await;
    person.run(&["sync", "web", "--wait"]).assert(0);
    let namespace = world.namespace.clone();
    let client = ControlPlane::shared().await.client().await;
    let applications = api(&client, "argoproj.io/v1alpha1/Application", Some(&namespace));
    let stands = async || applications.get("web").await.unwrap().data["operation"].is_object();

    // A revision that is not there is known only when the agent has looked for it.
    let missing =
        person.run(&["sync", "web", "--revision", "nowhere", "--wait", "--timeout", "10m", "--output", "json"]);
    let told = &missing.assert(1).json()["syncs"][0];
    assert_eq!(told["result"], "failed", "{missing:?}");
    let why = told["message"].as_str().unwrap();
    assert!(why.starts_with("RevisionNotFound: ") && why.ends_with("the request is taken back"), "{why}");
    assert!(!stands().await);

    // A rollback to a commit that the repository does not have any more.
    let mut history = world.status("web").await["history"].clone();
    history[0]["revision"] = json!("1".repeat(40));
    let gone = json!({"status": {"history": history}});
    applications.patch_status("web", &PatchParams::default(), &Patch::Merge(&gone)).await.unwrap();
    let gone = person.run(&["rollback", "web", "--wait", "--timeout", "10m"]);
    assert!(gone.assert(1).stderr.contains("web: failed: RevisionNotFound: "), "{gone:?}");
    assert!(!stands().await);

    // What is known already.
    world.repository.commit(&[("web/map.yaml", "kind: [")], "broken").await;
    for more in [&[][..], &["--no-refresh"]] {
        let broken = person.run(&[&["sync", "web", "--wait", "--timeout", "10m"], more].concat());
        assert!(broken.assert(1).stderr.contains("web: failed: InvalidManifest: "), "{broken:?}");
        assert!(!stands().await);
    }

    world.agent.terminate(PATIENCE).await;
    let late = person.run(&["sync", "web", "--wait", "--no-refresh", "--timeout", "1s"]);
    let (_, way) =
        late.assert(1).stderr.split_once("the request stays, and is carried out as soon as it can be").unwrap();
    let way = way.split_once("kubectl ").unwrap().1.lines().next().unwrap().replace('\'', "");
    assert!(stands().await);
    person.run_tool("kubectl", &way.split(' ').collect::<Vec<_>>()).assert(0);
    assert!(!stands().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn automation_is_suspended_rolled_back_and_resumed() {
    let (world, person) = world("back").await;
    let value = async |value: &str| {
        world.repository.commit(&[("web/map.yaml", &config_map("map", "key", value))], &format!("to {value}")).await
    };
    let live = async || world.target("v1/ConfigMap", "map").await.unwrap()["data"]["key"].clone();
    let first = value("one").await;
    world.apply(&world.application("web", "web")).await;
    world.await_synced("web", &first).await;
    let second = value("two").await;
    world.await_synced("web", &second).await;

    let history = person.run_in(world.repository.tree(), &["history", "web"], b"").assert(0).stdout.clone();
    assert!(history.lines().nth(1).unwrap().contains(&second[..7]), "the newest first: {history}");
    assert!(history.contains("to one ("), "subject and author: {history}");
    let refused = person.run(&["rollback", "web"]);
    assert!(refused.assert(5).stderr.contains("--suspend"), "{refused:?}");
    assert_eq!(live().await, "two");
    person.run(&["rollback", "web", "--suspend", "--wait"]).assert(0);
    assert_eq!(live().await, "one");
    let third = value("three").await;
    person.run(&["refresh", "web", "--wait"]).assert(0);
    world.settled().await;
    assert_eq!(live().await, "one", "it is suspended");
    let status = person.run(&["status", "web", "--output", "json"]).assert(0).json();
    assert_eq!(row(&status, "web")["automated"], false);
    person.run(&["resume", "web"]).assert(0);
    world.await_synced("web", &third).await;
    assert_eq!(live().await, "three");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_with_suspend_asks_for_no_automation() {
    let (world, person) = world("by-hand").await;
    for value in ["one", "two"] {
        world.repository.commit(&[("web/map.yaml", &config_map("map", "key", value))], value).await;
        if value == "one" {
            world.apply(&by_hand(&world, "web")).await;
            world.await_status("is looked at", "web", |status| status["sync"]["status"] == "OutOfSync").await;
        }
        person.run(&["sync", "web", "--wait"]).assert(0);
    }
    person.run(&["rollback", "web", "--suspend", "--wait"]).assert(0);
    assert_eq!(world.target("v1/ConfigMap", "map").await.unwrap()["data"]["key"], "one");
    let object = world.get("argoproj.io/v1alpha1/Application", &world.namespace, "web").await.unwrap();
    assert!(object["spec"]["syncPolicy"]["automated"].is_null(), "it has none now either");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_parent_would_undo_is_not_done_but_explained() {
    let (world, person) = world("parent").await;
    let child = world.application("web", "web").to_string();
    let files = [("apps/web.yaml", child.as_str()), ("web/map.yaml", &config_map("map", "key", "one"))];
    let commit = world.repository.commit(&files, "an app of apps").await;
    let mut parent = world.application("platform", "apps");
    parent["spec"]["destination"]["namespace"] = json!(world.namespace);
    world.apply(&parent).await;
    world.await_synced("web", &commit).await;

    let refused = person.run_in(world.repository.tree(), &["suspend", "web"], b"");
    let said = &refused.assert(5).stderr;
    assert!(said.contains("Application platform keeps web as Git has it"), "{said}");
    assert!(said.contains("--with-parents"), "{said}");
    let automated = async |name: &str| {
        let object = world.get("argoproj.io/v1alpha1/Application", &world.namespace, name).await.unwrap();
        object["spec"]["syncPolicy"]["automated"]["enabled"].clone()
    };
    assert_eq!(automated("web").await, Value::Null);
    let as_it_is = person.run(&["resume", "web"]);
    assert!(as_it_is.assert(0).stderr.contains("web is not suspended: it syncs by itself already"), "{as_it_is:?}");
    assert!(!as_it_is.stderr.contains("platform"), "nothing is undone: {as_it_is:?}");
    person.run(&["suspend", "web", "--with-parents"]).assert(0);
    assert_eq!((automated("platform").await, automated("web").await), (json!(false), json!(false)));
    person.run(&["resume", "web", "--with-parents"]).assert(0);
    assert_eq!((automated("platform").await, automated("web").await), (Value::Null, Value::Null));

    let second = world.repository.commit(&[("web/map.yaml", &config_map("map", "key", "two"))], "to two").await;
    world.await_synced("web", &second).await;
    let way = "gitmoor rollback web --suspend --with-parents";
    for arguments in [&["rollback", "web"][..], &["rollback", "web", "--suspend"]] {
        let refused = person.run(arguments);
        assert!(refused.assert(5).stderr.contains(way), "{refused:?}");
    }
    person.run(&["rollback", "web", "--suspend", "--with-parents", "--wait"]).assert(0);
    assert_eq!(world.target("v1/ConfigMap", "map").await.unwrap()["data"]["key"], "one");

    // What undoes it is not what is advised, and nobody stays suspended without a word.
    let why = person.run(&["explain", "web"]).assert(1).stdout.clone();
    assert!(why.contains("web was rolled back to ") && why.contains("gitmoor resume web --with-parents"), "{why}");
    assert!(!why.contains("gitmoor sync web"), "{why}");
    let resumed = person.run(&["resume", "web"]);
    assert!(resumed.assert(0).stderr.contains("platform, above web, is still suspended"), "{resumed:?}");
    world.await_synced("web", &second).await;
    let above = person.run(&["explain", "platform"]).assert(0).stdout.clone();
    assert!(
        above.contains("platform is suspended")
            && !above.contains("because")
            && above.contains("gitmoor resume platform"),
        "{above}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blocked_deletion_is_shown_and_goes_when_it_is_confirmed() {
    let (world, person) = world("blocked").await;
    let claim = "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata:\n  name: data\nspec:\n  accessModes: [ReadWriteOnce]\n  \
                 resources:\n    requests:\n      storage: 1Gi\n";
    let files = [("web/claim.yaml", claim), ("web/map.yaml", &config_map("map", "key", "one"))];
    world.repository.commit(&files, "data").await;
    world.apply(&world.application("web", "web")).await;
    world.await_status("is Synced", "web", |status| status["sync"]["status"] == "Synced").await;
    world.repository.remove("web/claim.yaml").await;
    world.await_condition("web", "PruneBlocked").await;

    let shown = person.run(&["prune", "web"]);
    assert!(shown.assert(5).stdout.contains("it holds data"), "{shown:?}");
    assert!(shown.stderr.contains("--yes"), "{shown:?}");
    assert!(world.target("v1/PersistentVolumeClaim", "data").await.is_some());
    person.run(&["prune", "web", "--yes"]).assert(0);
    let going = |status: &Value| {
        status["resources"].to_string().contains("pending deletion, held by kubernetes.io/pvc-protection")
    };
    world.await_status("its deletion has begun", "web", going).await;
    let begun = person.run(&["prune", "web"]).assert(0).stdout.clone();
    assert!(
        begun.contains("pending deletion, held by kubernetes.io/pvc-protection") && begun.contains("has begun"),
        "{begun}"
    );
    assert!(!begun.contains("when its Application prunes"), "{begun}");
    let status = person.run(&["status", "web"]).assert(0).stdout.clone();
    assert!(status.contains("pending deletion"), "{status}");
    // The shared control plane has no controller that takes the protecting finalizer off.
    let bare = json!({"metadata": {"finalizers": null}});
    world.patch("v1/PersistentVolumeClaim", &world.target, "data", &bare).await;
    person.run(&["prune", "web", "--yes", "--wait"]).assert(0);
    world.await_target("is gone", "v1/PersistentVolumeClaim", "data", |claim| claim.is_none()).await;
    assert!(world.target("v1/PersistentVolumeClaim", "data").await.is_none());
    let nothing = person.run(&["prune", "web"]);
    assert!(nothing.assert(0).stdout.contains("nothing of web waits"), "{nothing:?}");
}

/// Waits until an Application asks for a confirmation.
async fn await_asked(world: &Installation, name: &str) {
    let asks = |status: &Value| status["conditions"].to_string().contains("gitmoor.dev/confirm-prune=");
    world.await_status("asks for a confirmation", name, asks).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_confirmation_is_waited_for_until_it_is_done() {
    let (world, person) = world("confirmed").await;
    let immutable = |value: &str| {
        config_map("frozen", "key", value).replace(
            "  name: frozen\n",
            "  name: frozen\n  annotations:\n    argocd.argoproj.io/sync-options: Force=true,Prune=confirm\nimmutable: true\n",
        )
    };
    world.repository.commit(&[("web/map.yaml", &immutable("one"))], "one").await;
    world.apply(&world.application("web", "web")).await;
    world.await_key("frozen", "one").await;
    let first = world.uid("frozen").await;
    world.repository.commit(&[("web/map.yaml", &immutable("two"))], "two").await;
    await_asked(&world, "web").await;
    let anew = person.run(&["prune", "web", "--yes", "--wait"]);
    assert!(anew.assert(0).stderr.contains("everything that was confirmed is done"), "{anew:?}");
    assert_ne!(world.uid("frozen").await, first, "it is made anew by then");
    assert_eq!(world.key("frozen").await.as_deref(), Some("two"));

    // An Application that takes along what it owns.
    let finalizer = json!({"metadata": {"finalizers": ["resources-finalizer.argocd.argoproj.io"]}});
    world.patch_application("web", &finalizer).await;
    world.patch("v1/ConfigMap", &world.target, "frozen", &json!({"metadata": {"finalizers": ["test.dev/held"]}})).await;
    let applications = api(&world.client, "argoproj.io/v1alpha1/Application", Some(&world.namespace));
    applications.delete("web", &DeleteParams::default()).await.unwrap();
    await_asked(&world, "web").await;
    let held = person.run(&["prune", "web", "--yes", "--wait", "--timeout", "3s"]);
    assert!(held.assert(1).stderr.contains("the Application is still there"), "{held:?}");
    assert!(world.target("v1/ConfigMap", "frozen").await.unwrap()["metadata"]["deletionTimestamp"].is_string());
    world.patch("v1/ConfigMap", &world.target, "frozen", &json!({"metadata": {"finalizers": null}})).await;
    let waited = person.run(&["prune", "web", "--wait"]);
    assert!(waited.status == Some(0) || waited.stderr.contains("there is no Application web"), "{waited:?}");
    assert!(world.target("v1/ConfigMap", "frozen").await.is_none());
}
