//! What views say of agents, namespaces, sources and commits.

use std::fs;
use std::path::Path;
use std::time::Duration;

use gitmoor_tests::harness::api_proxy::{ApiFault, ApiProxy};
use gitmoor_tests::harness::installation::PATIENCE;
use gitmoor_tests::harness::scratch::Scratch;
use gitmoor_tests::harness::supervised::{Supervised, spawn};
use gitmoor_tests::harness::{ControlPlane, Installation, config_map, create_namespace, eventually, program};
use serde_json::{Value, json};

use super::Person;

/// An Application in another namespace than the agent's.
fn in_namespace(world: &Installation, namespace: &str, name: &str, path: &str) -> Value {
    let mut application = world.application(name, path);
    application["metadata"]["namespace"] = json!(namespace);
    application
}

fn keys(status: &Value) -> Vec<String> {
    let text = |row: &Value, key: &str| row[key].as_str().unwrap().to_owned();
    let all = status["applications"].as_array().unwrap();
    all.iter().map(|row| format!("{}/{}", text(row, "namespace"), text(row, "name"))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_of_another_namespace_has_the_agent_that_follows_it() {
    let control_plane = ControlPlane::shared().await;
    let client = control_plane.client().await;
    let (team, other) = (create_namespace(&client, "team").await, create_namespace(&client, "other").await);
    let further = format!("--application-namespaces={team}");
    let world = Installation::start_on(control_plane, "teams", |agent| agent.arg(further)).await;
    let person = Person::of(control_plane, &world);
    let commit = world.repository.commit(&[("web/map.yaml", &config_map("map", "key", "one"))], "a map").await;
    world.apply(&in_namespace(&world, &team, "web", "web")).await;
    world.apply(&world.application("web", "nowhere")).await;
    world.apply(&in_namespace(&world, &other, "lost", "web")).await;
    world.await_unknown("web", "PathNotFound").await;
    world.await_key("map", "one").await;
    let web = format!("{team}/web");

    let refreshed = person.run(&["refresh", &web, "--wait"]);
    let seen = format!("the agent has looked: main is at {}", &commit[..7]);
    assert!(refreshed.assert(0).stderr.contains(&seen), "{refreshed:?}");
    let synced = person.run(&["sync", &web, "--wait"]);
    assert!(!synced.assert(0).stderr.contains("warning"), "{synced:?}");
    let explained = person.run(&["explain", &web]);
    assert!(explained.assert(0).stdout.contains("nothing to explain"), "{explained:?}");
    let suspended = person.run(&["suspend", &web]);
    assert!(!suspended.assert(0).stderr.contains("warning"), "{suspended:?}");
    person.run(&["resume", &web]).assert(0);

    // The one that is named, and no other of that name.
    let named = person.run(&["status", &web, "--output", "json", "--exit-code"]);
    assert_eq!(keys(&named.assert(0).json()), [web.as_str()]);
    assert_eq!(named.json()["warning"], Value::Null, "{named:?}");
    let table = person.run(&["status", &web]);
    assert!(table.assert(0).stdout.contains(&web) && !table.stdout.contains("PathNotFound"), "{table:?}");
    let bare = person.run(&["status", "web", "--output", "json", "--exit-code"]);
    assert_eq!(keys(&bare.assert(1).json()), [format!("{}/web", world.namespace)]);
    let everywhere = person.run(&["status", "web", "-A", "--output", "json"]).assert(0).json();
    let found = keys(&everywhere);
    assert!(found.contains(&web) && found.contains(&format!("{}/web", world.namespace)), "{found:?}");
    assert!(found.iter().all(|key| key.ends_with("/web")), "{found:?}");
    let one_of_all = person.run(&["status", &web, "-A", "--output", "json"]).assert(0).json();
    assert_eq!(keys(&one_of_all), [web.as_str()]);
    let missing = person.run(&["status", &format!("{team}/wep")]);
    assert!(missing.assert(2).stderr.contains(&format!("did you mean {web}?")), "{missing:?}");

    // What is advised finds it.
    let name = format!("by-hand-{team}");
    let hand = format!("{team}/{name}");
    world.repository.commit(&[("hand/map.yaml", &config_map("hand", "key", "one"))], "another map").await;
    let mut application = in_namespace(&world, &team, &name, "hand");
    application["spec"]["syncPolicy"] = json!({});
    world.apply(&application).await;
    person.run(&["refresh", &hand, "--wait"]).assert(0);
    let why = person.run(&["explain", &hand]);
    assert!(why.assert(1).stdout.starts_with(&format!("{hand} is OutOfSync and ")), "{why:?}");
    for remedy in [format!("gitmoor diff {hand}\n"), format!("gitmoor sync {hand}\n")] {
        assert!(why.stdout.contains(&remedy), "{why:?}");
    }
    let refused = person.run(&["suspend", &hand]);
    assert!(refused.assert(5).stderr.contains(&format!("or ask: gitmoor sync {hand}\n")), "{refused:?}");
    let failed = person.run(&["sync", &hand, "--wait", "--revision", "nowhere"]);
    assert!(failed.assert(1).stderr.contains(&format!("gitmoor explain {hand}\n")), "{failed:?}");
    let bare = person.run(&["diff", &name]);
    assert!(bare.assert(2).stderr.contains(&format!("did you mean {hand}?")), "{bare:?}");

    // Whoever does not know where the agent is finds it by what its lease says.
    let elsewhere = person.run(&["explain", &web, "--namespace", "default"]);
    assert!(elsewhere.assert(0).stdout.contains("nothing to explain"), "{elsewhere:?}");
    let nobody = person.run(&["explain", &format!("{other}/lost")]);
    let said = &nobody.assert(1).stdout;
    assert!(said.contains(&format!("the agent of namespace {} is not told to follow it", world.namespace)), "{said}");
    assert!(said.contains("GITMOOR_APPLICATION_NAMESPACES"), "{said}");
    let refused = person.run(&["refresh", &format!("{other}/lost"), "--wait"]);
    assert!(refused.assert(4).stderr.contains(&format!("nobody works on the Applications of namespace {other}")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_that_touches_nothing_of_an_application_is_seen_all_the_same() {
    let world = Installation::start("pushed").await;
    let person = Person::of(ControlPlane::shared().await, &world);
    let first = world.repository.commit(&[("web/map.yaml", &config_map("map", "key", "one"))], "a map").await;
    world.apply(&world.application("web", "web")).await;
    world.await_synced("web", &first).await;
    let second = world.repository.commit(&[("README.md", "nothing of web")], "elsewhere").await;
    let refreshed = person.run(&["refresh", "web", "--wait"]);
    assert!(refreshed.assert(0).stderr.contains(&format!("main is at {}", &second[..7])), "{refreshed:?}");
    let status = person.run(&["status", "web", "--output", "json"]).assert(0).json();
    assert_eq!(status["applications"][0]["revision"], first, "{status:#}");
    let [repository] = &status["repositories"].as_array().unwrap()[..] else { panic!("{status:#}") };
    assert_eq!(repository["revisions"], json!({"main": second}));
    assert!(repository["since"].is_string() && repository["repoURL"] == world.repository.url(), "{repository:#}");
    let table = person.run(&["status"]).assert(0).stdout.clone();
    let line = table.lines().last().unwrap_or_default();
    assert!(line.contains(world.repository.url()) && line.contains(&second[..7]), "{table}");
    let explained = person.run(&["explain", "web"]);
    let seen = format!("main of {} at {}", world.repository.url(), &second[..7]);
    assert!(explained.assert(0).stdout.contains(&seen), "{explained:?}");
    assert_eq!(person.run(&["explain", "web", "--output", "json"]).json()["repositories"], status["repositories"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_compared_with_other_sources_is_no_more_synced() {
    let mut world = Installation::start("sources").await;
    let person = Person::of(ControlPlane::shared().await, &world);
    let files =
        [("web/map.yaml", config_map("map", "key", "one")), ("other/map.yaml", config_map("map", "key", "two"))];
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (*path, text.as_str())).collect();
    let commit = world.repository.commit(&files, "two maps").await;
    world.apply(&world.application("web", "web")).await;
    world.await_synced("web", &commit).await;
    world.agent.terminate(PATIENCE).await;
    world.patch_application("web", &json!({"spec": {"source": {"path": "other"}}})).await;
    for arguments in [&["status", "web", "--output", "json"][..], &["status", "web", "--tree", "--output", "json"]] {
        let status = person.run(arguments).assert(0).json();
        let row = &status["applications"][0];
        assert_eq!((&row["name"], &row["sync"]), (&json!("web"), &json!("Unknown")), "{status:#}");
        assert!(row["reason"].as_str().unwrap().contains("sources have changed"), "{status:#}");
    }
    person.run(&["status", "web", "--exit-code"]).assert(1);
}

/// `gitmoor status --watch`.
struct Watching {
    process: Supervised,
    _logs: Scratch,
}

impl Watching {
    fn start(kubeconfig: &Path, namespace: &str) -> Self {
        let logs = Scratch::new("status-watch");
        let process = spawn(&program("gitmoor"), &logs.path().join("log"), |command| {
            command.env("KUBECONFIG", kubeconfig).args(["status", "--watch", "--namespace", namespace]);
        });
        Self { process, _logs: logs }
    }

    /// Waits for a picture that fits; gives all of what was shown until then.
    async fn shows(&mut self, what: &str, fits: impl Fn(&str) -> bool) {
        let check = async || {
            self.process.ensure_running().map_err(|error| error.to_string())?;
            let shown = fs::read_to_string(self.process.log()).unwrap_or_default();
            if fits(&last_picture(&shown)) { Ok(()) } else { Err(shown) }
        };
        eventually(what, PATIENCE, check).await;
    }
}

/// From its warnings on.
fn last_picture(shown: &str) -> String {
    let lines: Vec<&str> = shown.lines().collect();
    let mut start = lines.iter().rposition(|line| line.starts_with("NAME ")).unwrap_or_default();
    while start > 0 && lines[start - 1].starts_with("warning: ") {
        start -= 1;
    }
    lines[start..].join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_watches_sees_faults_pass_and_an_agent_go() {
    let control_plane = ControlPlane::shared().await;
    let mut world = Installation::start("watched").await;
    let first = world.repository.commit(&[("web/map.yaml", &config_map("map", "key", "one"))], "a map").await;
    world.apply(&world.application("web", "web")).await;
    world.await_synced("web", &first).await;
    let identity = control_plane.kubeconfig_for_user("watcher", Some("system:masters"));
    let proxy = ApiProxy::start(&identity).await;
    let mut watching = Watching::start(proxy.kubeconfig(), &world.namespace);
    watching.shows("web at the first commit", |last| last.contains(&first[..7])).await;
    // Into a file: only what happens, however its age grows, and no control codes.
    let shown = || fs::read_to_string(watching.process.log()).unwrap_or_default();
    let rests = async || {
        let before = shown();
        tokio::time::sleep(Duration::from_secs(4)).await;
        if shown() == before { Ok(before) } else { Err(shown()) }
    };
    let before = eventually("nothing more is told", PATIENCE, rests).await;
    assert!(before.contains("Z\nNAME ") && !before.contains('\u{1b}'), "{before:?}");
    assert!(before.matches("\nNAME ").count() < 6, "{before}");
    proxy.fault(|_| Some(ApiFault::Refuse(503, "ServiceUnavailable")));
    let away = |last: &str| last.contains("cannot list Applications") && last.contains("what follows is from before");
    watching.shows("that nobody answers, and what was before", |last| away(last) && last.contains(&first[..7])).await;
    proxy.fault(|_| Some(ApiFault::Cut));
    let second = world.repository.commit(&[("web/map.yaml", &config_map("map", "key", "two"))], "another").await;
    world.await_synced("web", &second).await;
    proxy.heal();
    watching.shows("web at the second commit", |last| last.contains(&second[..7]) && !last.contains("warning")).await;
    world.agent.terminate(PATIENCE).await;
    let gone = |last: &str| last.contains("warning: no agent is running in namespace") && last.contains(&second[..7]);
    watching.shows("that the agent has gone", gone).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_wrong_here_makes_no_agent_silent() {
    let control_plane = ControlPlane::shared().await;
    let world = Installation::start("clocks").await;
    let person = Person::of(control_plane, &world);
    let identity = control_plane.kubeconfig_for_user("clocks", Some("system:masters"));
    let proxy = ApiProxy::start(&identity).await;
    let kubeconfig = proxy.kubeconfig().to_str().unwrap();
    let status = || person.run(&["status", "--kubeconfig", kubeconfig]).assert(0).stderr.clone();
    assert_eq!(status(), "");
    // To the API server this machine's clock is an hour behind: so is its agent's, and that is what is judged.
    proxy.fault(|_| Some(ApiFault::Ahead(3600)));
    let said = status();
    assert!(["59m", "60m"].iter().any(|age| said.contains(&format!("the last one was seen {age} ago"))), "{said}");
    proxy.fault(|_| Some(ApiFault::Ahead(-3600)));
    assert_eq!(status(), "");
}
