//! Killed at any moment and started again, the agent converges and deletes nothing wrongly.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use gitmoor_tests::harness::installation::api;
use gitmoor_tests::harness::{ControlPlane, Installation, Mark, config_map, kustomization};
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::json;

use crate::random::{Random, number, seed};

const APPLICATIONS: [&str; 4] = ["one", "two", "three", "four"];
/// Applications with a PreSync hook, and its name.
const HOOKS: [(&str, &str); 2] = [("three", "name: named"), ("four", "generateName: generated-")];
/// Objects that come, go and move at the beginning.
const OBJECTS: usize = 16;
/// Kills between two looks at everything.
const KILLS_UNTIL_LOOK: usize = 5;
/// How long the agent may take to converge on a busy machine.
const CONVERGES: Duration = Duration::from_secs(90);

/// What Git says: the Application and the value of every object, and how often each was taken out.
#[derive(Default)]
struct Desired {
    objects: BTreeMap<String, (&'static str, String)>,
    removals: BTreeMap<String, usize>,
    made: usize,
}

impl Desired {
    fn add(&mut self, random: &mut Random) {
        let name = format!("object-{}", self.made);
        self.made += 1;
        self.objects.insert(name, (random.pick(&APPLICATIONS), "new".to_owned()));
    }

    /// One that may be touched: those named after an Application are its witnesses, which nothing touches.
    fn any(&self, random: &mut Random) -> Option<String> {
        let names: Vec<&String> = self.objects.keys().filter(|name| !is_witness(name)).collect();
        (!names.is_empty()).then(|| random.pick(&names).clone())
    }

    fn edit(&mut self, random: &mut Random) -> String {
        match (random.below(4), self.any(random)) {
            (0, _) | (_, None) => {
                self.add(random);
                "add".to_owned()
            }
            (1, Some(name)) => {
                self.objects.remove(&name);
                *self.removals.entry(name.clone()).or_default() += 1;
                format!("remove {name}")
            }
            (2, Some(name)) => {
                let value = format!("value-{}", random.below(1 << 40));
                if let Some(object) = self.objects.get_mut(&name) {
                    object.1 = value;
                }
                format!("change {name}")
            }
            (_, Some(name)) => {
                let to = random.pick(&APPLICATIONS);
                if let Some(object) = self.objects.get_mut(&name) {
                    object.0 = to;
                }
                format!("move {name} to {to}")
            }
        }
    }

    /// Writes all of it anew: half of the Applications as kustomizations, half as plain folders.
    fn write(&self, world: &Installation) {
        for (index, application) in APPLICATIONS.iter().enumerate() {
            let _ = std::fs::remove_dir_all(world.repository.tree().join(application));
            let own = self.objects.iter().filter(|(_, (owner, _))| owner == application);
            let mut files = Vec::new();
            for (name, (_, value)) in own {
                world.repository.write(&format!("{application}/{name}.yaml"), config_map(name, "key", value));
                files.push(format!("{name}.yaml"));
            }
            // A hook of its own name in one, a generated name in another; kustomize knows no generated names.
            if let Some((_, hook)) = HOOKS.iter().find(|(of, _)| of == application) {
                world.repository.write(&format!("{application}/hook.yaml"), hook_job(hook));
                files.push("hook.yaml".to_owned());
            }
            if index % 2 == 0 {
                let files: Vec<&str> = files.iter().map(String::as_str).collect();
                world.repository.write(&format!("{application}/kustomization.yaml"), kustomization(&files));
            }
        }
    }

    async fn commit(&mut self, world: &Installation, random: &mut Random) {
        let edits: Vec<String> = (0..=random.below(3)).map(|_| self.edit(random)).collect();
        self.write(world);
        world.repository.commit_all(&edits.join(", ")).await;
    }
}

fn hook_job(name: &str) -> String {
    format!(
        "apiVersion: batch/v1\nkind: Job\nmetadata:\n  {name}\n  annotations: {{argocd.argoproj.io/hook: PreSync}}\nspec:\n  \
         template:\n    spec:\n      restartPolicy: Never\n      containers:\n        - {{name: run, image: \"run:1\"}}\n"
    )
}

/// Ends every Job well, as soon as it is there, for as long as it is held.
fn end_jobs(world: &Installation) -> tokio::task::JoinSet<()> {
    let jobs = api(&world.client, "batch/v1/Job", Some(&world.target));
    let mut ending = tokio::task::JoinSet::new();
    ending.spawn(async move {
        let now = "2026-11-21T12:00:00Z";
        let met = ["SuccessCriteriaMet", "Complete"].map(|kind| {
            json!({"type": kind, "status": "True", "reason": "Test", "lastTransitionTime": now, "lastProbeTime": now})
        });
        let status = json!({"startTime": now, "completionTime": now, "succeeded": 1, "conditions": met});
        let patch = Patch::Merge(json!({"status": status}));
        loop {
            tokio::time::sleep(Duration::from_millis(100)).await;
            for job in jobs.list(&ListParams::default()).await.into_iter().flatten() {
                let name = job.metadata.name.unwrap_or_default();
                if job.data["status"].get("completionTime").is_none() {
                    // It may be gone meanwhile.
                    let _ = jobs.patch_status(&name, &PatchParams::default(), &patch).await;
                }
            }
        }
    });
    ending
}

/// Changes an object behind the agent's back.
async fn meddle(world: &Installation, desired: &Desired, random: &mut Random) {
    if let Some(name) = desired.any(random) {
        let edit = Patch::Merge(json!({"data": {"key": "meddled"}}));
        // It may not have been applied yet.
        let maps = api(&world.client, "v1/ConfigMap", Some(&world.target));
        let _ = maps.patch(&name, &PatchParams::default(), &edit).await;
    }
}

fn is_witness(name: &str) -> bool {
    APPLICATIONS.contains(&name)
}

/// What the cluster has: owner, value and uid of every object that carries our label.
#[derive(Debug, Default, PartialEq)]
struct Live(BTreeMap<String, (String, String, String)>);

impl Live {
    async fn read(world: &Installation) -> Self {
        let labelled = ListParams::default().labels("gitmoor.dev/application");
        let maps = api(&world.client, "v1/ConfigMap", Some(&world.target)).list(&labelled).await.unwrap();
        let read = maps.into_iter().map(|map| {
            let tracking_id = map.metadata.annotations.unwrap_or_default().remove("gitmoor.dev/tracking-id");
            let owner = tracking_id.unwrap_or_default();
            let owner = owner.split(':').nth(1).and_then(|key| key.split('/').nth(1)).unwrap_or_default().to_owned();
            let value = map.data["data"]["key"].as_str().unwrap_or_default().to_owned();
            (map.metadata.name.unwrap_or_default(), (owner, value, map.metadata.uid.unwrap_or_default()))
        });
        Self(read.collect())
    }

    /// What differs from what Git says, one line each.
    fn differences(&self, desired: &Desired) -> Vec<String> {
        let mut found = Vec::new();
        for (name, (owner, value)) in &desired.objects {
            match self.0.get(name) {
                None => found.push(format!("{name} is missing")),
                Some((live_owner, live_value, _)) if (live_owner, live_value) != (&(*owner).to_owned(), value) => {
                    found.push(format!("{name} is {live_value} of {live_owner}, not {value} of {owner}"));
                }
                Some(_) => {}
            }
        }
        found.extend(
            self.0
                .keys()
                .filter(|name| !desired.objects.contains_key(*name))
                .map(|name| format!("{name} is left over")),
        );
        found
    }
}

/// Where a failure happened.
#[derive(Clone, Copy)]
struct At {
    seed: u64,
    kills: usize,
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "after {} kills with GITMOOR_SEED={}", self.kills, self.seed)
    }
}

/// Waits until cluster and status say what Git says.
async fn converge(world: &Installation, desired: &Desired, at: At) -> Live {
    let check = async || {
        let live = Live::read(world).await;
        let mut differences = live.differences(desired);
        for name in APPLICATIONS {
            let status = world.status(name).await;
            if status["sync"]["status"] != "Synced" {
                differences.push(format!("Application {name} is {}", status["sync"]["status"]));
            }
            let counted = desired.objects.values().filter(|(owner, _)| *owner == name).count();
            if status["resources"].as_array().map(Vec::len) != Some(counted) {
                differences.push(format!("Application {name} has not {counted} resources"));
            }
        }
        if differences.is_empty() { Ok(live) } else { Err(differences.join("\n")) }
    };
    world.scene().eventually(&format!("it converges {at}"), CONVERGES, check).await
}

/// Nothing was deleted that had not left Git, and nothing was made twice.
async fn assert_nothing_was_recreated(
    control_plane: &ControlPlane,
    world: &Installation,
    mark: Mark,
    desired: &Desired,
    at: At,
) {
    let requests = control_plane.audit().since(mark).await.of_user(&world.user);
    let requests = requests.resource("configmaps").namespace(&world.target).writes();
    let (mut deleted, mut created) = (BTreeMap::<&str, usize>::new(), BTreeMap::<&str, usize>::new());
    for request in &requests.0 {
        match (request.verb.as_str(), request.code) {
            ("delete", 200) => {
                assert!(request.body["preconditions"]["resourceVersion"].is_string(), "{request:?}");
                *deleted.entry(&request.name).or_default() += 1;
            }
            ("patch", 201) => *created.entry(&request.name).or_default() += 1,
            _ => {}
        }
    }
    let removals = |name: &str| desired.removals.get(name).copied().unwrap_or_default();
    let jobs = control_plane.audit().since(mark).await.of_user(&world.user).resource("jobs.batch").verb("create");
    let mut runs = BTreeMap::<&str, usize>::new();
    for request in jobs.0.iter().filter(|request| request.code == 201) {
        let run = request.body["metadata"]["annotations"]["gitmoor.dev/hook-run"].as_str().unwrap();
        *runs.entry(run).or_default() += 1;
    }
    assert!(!runs.is_empty(), "hooks have run, {at}");
    for (run, times) in runs {
        assert_eq!(times, 1, "the hook of {run} was run {times} times, {at}");
    }
    for (name, times) in deleted {
        assert!(times <= removals(name), "{name} was deleted {times} times and removed {}, {at}", removals(name));
    }
    for (name, times) in created {
        assert!(times <= 1 + removals(name), "{name} was created {times} times, {at}");
    }
}

async fn survives(kills: usize, seed: u64) {
    let control_plane = ControlPlane::shared().await;
    let mut world = Installation::start("kills").await;
    let mut random = Random(seed);
    let mut desired = Desired::default();
    for name in APPLICATIONS {
        desired.objects.insert(name.to_owned(), (name, "witness".to_owned()));
    }
    (0..OBJECTS).for_each(|_| desired.add(&mut random));
    desired.write(&world);
    world.repository.commit_all("at the beginning").await;
    let mark = control_plane.audit().mark().await;
    for name in APPLICATIONS {
        world.apply(&world.application(name, name)).await;
    }
    let _jobs = end_jobs(&world);
    let mut at = At { seed, kills: 0 };
    let beginning = converge(&world, &desired, at).await;

    while at.kills < kills {
        for _ in 0..KILLS_UNTIL_LOOK.min(kills - at.kills) {
            desired.commit(&world, &mut random).await;
            // While it starts, while it applies, or when it has become quiet.
            let moment = random.pick(&[150, 600, 1500]);
            random.sleep(moment).await;
            world.agent.kill();
            at.kills += 1;
            meddle(&world, &desired, &mut random).await;
            if random.below(2) == 0 {
                desired.commit(&world, &mut random).await;
            }
            world.agent.restart();
        }
        converge(&world, &desired, at).await;
    }
    let end = converge(&world, &desired, at).await;
    for name in APPLICATIONS {
        assert_eq!(end.0[name], beginning.0[name], "the witness {name}, {at}");
    }
    assert_nothing_was_recreated(control_plane, &world, mark, &desired, at).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_kills_while_commits_arrive_lose_nothing() {
    survives(20, number("GITMOOR_SEED").unwrap_or(3)).await;
}

/// `GITMOOR_KILLS` (300) kills, by the clock's seed unless `GITMOOR_SEED` names one.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: part of `make soak`"]
async fn soak_hundreds_of_kills_while_commits_arrive_lose_nothing() {
    let kills = usize::try_from(number("GITMOOR_KILLS").unwrap_or(300)).unwrap();
    survives(kills, seed()).await;
}
