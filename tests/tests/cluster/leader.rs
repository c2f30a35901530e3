//! Two agents of one installation, of which the one that leads goes in the middle of its work: the other one goes on from
//! there, and does nothing twice.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Duration;

use gitmoor_tests::harness::installation::{PATIENCE, api};
use gitmoor_tests::harness::{
    Agent, ApiFault, ApiProxy, ControlPlane, Installation, Mark, Requests, config_map, eventually, http, unique_name,
};
use kube::api::{ListParams, Patch, PatchParams};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::sync::watch;

const LEASE: &str = "leases.coordination.k8s.io";
const APPLICATIONS: [&str; 4] = ["one", "two", "three", "four"];
/// Objects of each.
const OBJECTS: usize = 40;
/// Objects that are applied at once; the rest is held, and so under way when the leader goes.
const AT_ONCE: usize = 50;
/// How long a test waits for a takeover, which is more than a lease lasts.
const TAKEOVER: Duration = Duration::from_secs(90);

/// An agent that leads, one that waits, and all that the one has to do.
struct Pair {
    world: Installation,
    /// The user of the one that leads.
    first: String,
    // Runs as long as this value.
    _second: Agent,
    /// The user and name of the other.
    second_user: String,
    commit: String,
    mark: Mark,
    /// Lets what is held on its way to the API server arrive there.
    gate: watch::Sender<bool>,
    _proxy: ApiProxy,
}

/// A hook that never ends by itself.
const HOOK: &str = "apiVersion: batch/v1\nkind: Job\nmetadata:\n  name: migrate\n  annotations: {argocd.argoproj.io/hook: PreSync}\nspec:\n  template:\n    spec:\n      restartPolicy: Never\n      containers: [{name: run, image: 'run:1'}]\n";

impl Pair {
    /// Lets the first one work until it is in the middle of it.
    async fn in_the_middle(purpose: &str) -> Self {
        let control_plane = ControlPlane::shared().await;
        let first = unique_name("first");
        let identity = control_plane.kubeconfig_for_user(&first, Some("system:masters"));
        let proxy = ApiProxy::start(&identity).await;
        let kubeconfig = proxy.kubeconfig().to_owned();
        let world =
            Installation::start_on(control_plane, purpose, move |agent| agent.env("KUBECONFIG", kubeconfig)).await;
        let user = unique_name("second");
        let identity = control_plane.kubeconfig_for_user(&user, Some("system:masters"));
        let second = Agent::builder(&identity)
            .arg(format!("--namespace={}", world.namespace))
            .arg(format!("--identity={user}"))
            .env("GITMOOR_POLL_INTERVAL", "0.3")
            .start();
        let waits = async || {
            let log = second.log();
            if log.contains("another agent works") { Ok(()) } else { Err(log) }
        };
        world.scene().agent(&second).eventually("the other one waits", PATIENCE, waits).await;
        for (agent, line) in [(&world.agent, "\ngitmoor_leader 1\n"), (&second, "\ngitmoor_leader 0\n")] {
            let metrics = http::get(&format!("{}/metrics", agent.url())).await.unwrap().body;
            assert!(metrics.contains(line), "{metrics}");
        }

        let (objects, passed) = (format!("/namespaces/{}/configmaps/", world.target), Mutex::new(0));
        let (gate, closed) = watch::channel(false);
        proxy.fault(move |request| {
            let applies = request.method == "PATCH" && request.path.contains(&objects);
            let mut passed = passed.lock().unwrap();
            *passed += usize::from(applies);
            (applies && *passed > AT_ONCE).then(|| ApiFault::Held(closed.clone()))
        });
        for application in APPLICATIONS {
            for index in 0..OBJECTS {
                let name = format!("{application}-{index}");
                world.repository.write(&format!("{application}/{name}.yaml"), config_map(&name, "key", "one"));
            }
        }
        world.repository.write("hooked/job.yaml", HOOK);
        world.repository.write("hooked/map.yaml", config_map("hooked", "key", "one"));
        let commit = world.repository.commit_all("much to do").await;
        let mark = control_plane.audit().mark().await;
        world.apply(&world.application("hooked", "hooked")).await;
        let jobs = api(&world.client, "batch/v1/Job", Some(&world.target));
        let begun = async || match jobs.list(&ListParams::default()).await.unwrap().items.len() {
            1 => Ok(()),
            hooks => Err(format!("{hooks} hooks")),
        };
        world.scene().eventually("the hook is begun", PATIENCE, begun).await;
        for name in APPLICATIONS {
            world.apply(&world.application(name, name)).await;
        }
        // By what is written down: nothing that was passed on is still on its way.
        let middle = async || {
            let asked = control_plane.audit().since(mark).await.of_user(&first);
            match applies(asked, &world.target).count() {
                AT_ONCE => Ok(()),
                answered => Err(format!("{answered} applies are answered")),
            }
        };
        world.scene().eventually("it is in the middle of its work", PATIENCE, middle).await;
        Self { world, first, _second: second, second_user: user, commit, mark, gate, _proxy: proxy }
    }

    async fn lease(&self) -> Value {
        let found = self.world.get("coordination.k8s.io/v1/Lease", &self.world.namespace, "gitmoor-agent").await;
        found.map_or(Value::Null, |mut lease| lease["spec"].take())
    }

    /// The second one leads, and has finished what the first one began; gives the lease as it took it, and all that both
    /// have asked for.
    async fn taken_over(&self) -> (Value, Requests) {
        let leads = async || match self.lease().await {
            lease if lease["holderIdentity"] == self.second_user.as_str() => Ok(lease),
            lease => Err(lease.to_string()),
        };
        let taken = eventually("the other one leads", TAKEOVER, leads).await;
        let jobs = api(&self.world.client, "batch/v1/Job", Some(&self.world.target));
        let running = jobs.list(&ListParams::default()).await.unwrap();
        assert_eq!(running.items.len(), 1, "the hook that was begun is still there: {running:?}");
        let now = "2026-11-21T12:00:00Z";
        let met = ["SuccessCriteriaMet", "Complete"].map(|kind| {
            json!({"type": kind, "status": "True", "reason": "Test", "lastTransitionTime": now, "lastProbeTime": now})
        });
        let status = json!({"status": {"startTime": now, "completionTime": now, "succeeded": 1, "conditions": met}});
        jobs.patch_status("migrate", &PatchParams::default(), &Patch::Merge(&status)).await.unwrap();
        for name in APPLICATIONS.into_iter().chain(["hooked"]) {
            self.world.await_synced(name, &self.commit).await;
        }
        let all = ControlPlane::shared().await.audit().since(self.mark).await;
        let labelled = ListParams::default().labels("gitmoor.dev/application");
        let maps = api(&self.world.client, "v1/ConfigMap", Some(&self.world.target));
        let objects = maps.list(&labelled).await.unwrap();
        assert_eq!(objects.items.len(), APPLICATIONS.len() * OBJECTS + 1);
        (taken, all.filter(|request| [&self.first, &self.second_user].contains(&&request.user) && request.code < 300))
    }

    /// One after the other, and no object by both: as the audit log has it, in the order of answers.
    fn assert_nothing_was_done_twice(&self, all: &Requests) {
        let of =
            |user: &str| all.clone().of_user(user).writes().filter(|request| !request.resource.starts_with("events"));
        let (of_first, of_second) = (of(&self.first), of(&self.second_user));
        let applied = |requests: &Requests| -> BTreeSet<String> {
            let applies = applies(requests.clone(), &self.world.target).0;
            let names: Vec<String> = applies.into_iter().map(|request| request.name).collect();
            let distinct: BTreeSet<String> = names.iter().cloned().collect();
            assert_eq!(distinct.len(), names.len(), "an agent applies nothing twice: {names:?}");
            distinct
        };
        let (by_first, by_second) = (applied(&of_first), applied(&of_second));
        assert!(!by_first.is_empty() && !by_second.is_empty(), "{by_first:?} {by_second:?}");
        let twice: Vec<&String> = by_first.intersection(&by_second).collect();
        assert!(twice.is_empty(), "applied by both: {twice:?}");
        assert_eq!(by_first.len() + by_second.len(), APPLICATIONS.len() * OBJECTS + 1);
        let hooks = all.clone().resource("jobs.batch").verb("create");
        assert_eq!(hooks.count(), 1, "the hook ran once: {hooks}");

        // Whoever writes holds the lease.
        let writes: Vec<(&str, bool)> = all
            .0
            .iter()
            .filter(|request| request.is_write() && !request.resource.starts_with("events"))
            .map(|request| (request.user.as_str(), request.resource == LEASE))
            .collect();
        let taken = writes.iter().position(|write| *write == (&self.second_user, true)).expect("the lease was taken");
        let early = writes[..taken].iter().filter(|(user, _)| *user == self.second_user).count();
        let late = writes[taken..].iter().filter(|(user, _)| *user == self.first).count();
        assert_eq!((early, late), (0, 0), "writes before the takeover, and after it");
    }
}

/// The applies of ConfigMaps in a namespace.
fn applies(requests: Requests, namespace: &str) -> Requests {
    requests.resource("configmaps").namespace(namespace).verb("patch")
}

fn seconds(time: &Value) -> f64 {
    let time: jiff::Timestamp = time.as_str().unwrap().parse().unwrap();
    time.as_microsecond() as f64 / 1e6
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_killed_in_the_middle_of_its_work_is_followed_by_one_that_does_the_rest() {
    let mut pair = Pair::in_the_middle("killed").await;
    pair.world.agent.kill();
    let left = pair.lease().await;
    assert_eq!(left["holderIdentity"], pair.world.user.as_str(), "it had no time to give it back");
    let (next, all) = pair.taken_over().await;
    pair.assert_nothing_was_done_twice(&all);
    // By the times in the lease itself: not before it has ended, and it ends soon enough. What is added to that is the time
    // between two looks.
    let lasts = left["leaseDurationSeconds"].as_f64().unwrap();
    assert!(lasts <= 13.0, "with two seconds between looks, takeover is within 15 s: {left}");
    assert!(seconds(&next["renewTime"]) - seconds(&left["renewTime"]) > lasts, "{left} {next}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_stops_in_the_middle_of_its_work_ends_what_it_has_begun_and_gives_the_lease_back() {
    let mut pair = Pair::in_the_middle("stopped").await;
    pair.world.agent.signal(Signal::TERM);
    let stopping = async || {
        let log = pair.world.agent.log();
        if log.contains("stopping") { Ok(()) } else { Err(log) }
    };
    eventually("it is stopping", PATIENCE, stopping).await;
    pair.gate.send_replace(true);
    let stopped = pair.world.agent.terminate(PATIENCE).await;
    assert!(stopped.success(), "{stopped}\n{}", pair.world.agent.log());
    let log = pair.world.agent.log();
    assert!(!log.contains("work is left unfinished"), "{log}");
    let (_, all) = pair.taken_over().await;
    pair.assert_nothing_was_done_twice(&all);
    // Given back, not run out: the last thing that it wrote was the lease.
    let of_first = all.clone().of_user(&pair.first).writes().filter(|request| !request.resource.starts_with("events"));
    assert_eq!(of_first.0.last().unwrap().resource, LEASE, "{of_first}");
}
