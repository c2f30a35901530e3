//! A random life of a repository and its cluster against a model of what Git says, on the real API server.
//!
//! Commits that add, change, remove and move objects; kustomizations that break; a root Application that loses and
//! regains its children; objects that copy our marks; edits, deletions and lost labels behind the agent's back;
//! namespaces that go; an aggregated API that does not answer; an agent that is killed. After every few steps the
//! cluster has to be what the model allows, and the audit log has to show no deletion that Git did not ask for.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use gitmoor_tests::harness::installation::{PATIENCE, api};
use gitmoor_tests::harness::{Audit, ControlPlane, Installation, Mark, config_map, create_namespace};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::random::Random;

const CHILDREN: [&str; 4] = ["one", "two", "three", "four"];
/// Steps between two looks at everything.
const STEPS_UNTIL_LOOK: usize = 12;
/// A group that is served by nobody while its APIService is there.
const UNANSWERED: &str = "v1.unanswered.example.com";

/// What Git says, and what was done to the cluster.
#[derive(Default)]
struct Model {
    /// Object: the child that it is in, and its value.
    objects: BTreeMap<String, (usize, String)>,
    /// Children whose kustomization is broken.
    broken: BTreeSet<usize>,
    /// Children that the root has no more.
    lost: BTreeSet<usize>,
    /// How often each object was taken out of Git.
    removals: BTreeMap<String, usize>,
    /// How often somebody else deleted it.
    deletions: usize,
    copies: usize,
    made: usize,
    unanswered: bool,
}

struct Life<'a> {
    audit: &'a Audit,
    world: Installation,
    random: Random,
    model: Model,
    seed: u64,
    steps: usize,
    /// What was done, for a failure.
    history: Vec<String>,
}

impl Life<'_> {
    fn file(child: usize, name: &str) -> String {
        format!("{}/{name}.yaml", CHILDREN[child])
    }

    /// One that may be touched: the witnesses, named after the children, stay.
    fn any(&mut self) -> Option<String> {
        let names: Vec<String> = self.model.objects.keys().filter(|name| name.starts_with("object")).cloned().collect();
        (!names.is_empty()).then(|| names[usize::try_from(self.random.below(names.len() as u64)).unwrap()].clone())
    }

    fn child(&mut self) -> usize {
        usize::try_from(self.random.below(CHILDREN.len() as u64)).unwrap()
    }

    fn put(&mut self, name: &str, child: usize, value: &str) {
        if let Some((before, _)) = self.model.objects.insert(name.to_owned(), (child, value.to_owned())) {
            let _ = std::fs::remove_file(self.world.repository.tree().join(Self::file(before, name)));
        }
        self.world.repository.write(&Self::file(child, name), config_map(name, "key", value));
    }

    fn add(&mut self) {
        self.model.made += 1;
        let (name, child) = (format!("object-{}", self.model.made), self.child());
        self.put(&name, child, "new");
    }

    /// The kustomization of a child lists what it has; broken, it lists a file that is not there too.
    fn write_kustomizations(&self) {
        for (child, name) in CHILDREN.iter().enumerate() {
            let own = self.model.objects.iter().filter(|(_, (owner, _))| *owner == child);
            let mut files: Vec<String> = own.map(|(name, _)| format!("{name}.yaml")).collect();
            if self.model.broken.contains(&child) {
                files.push("not-there.yaml".to_owned());
            }
            let listed: Vec<&str> = files.iter().map(String::as_str).collect();
            let text = gitmoor_tests::harness::kustomization(&listed);
            self.world.repository.write(&format!("{name}/kustomization.yaml"), text);
            let manifest = format!("root/{name}.yaml");
            if self.model.lost.contains(&child) {
                let _ = std::fs::remove_file(self.world.repository.tree().join(manifest));
            } else {
                self.world.repository.write(&manifest, serde_yaml::to_string(&self.application(child)).unwrap());
            }
        }
    }

    fn application(&self, child: usize) -> Value {
        let name = CHILDREN[child];
        let mut application = self.world.application(name, name);
        application["spec"]["syncPolicy"]["automated"]["allowEmpty"] = json!(true);
        application
    }

    async fn commit(&mut self, what: &str) {
        self.write_kustomizations();
        let commit = self.world.repository.commit_all(what).await;
        self.history.push(format!(
            "{} {commit} {what}; broken {:?}, lost {:?}",
            self.steps, self.model.broken, self.model.lost
        ));
    }

    async fn step(&mut self) {
        self.steps += 1;
        let maps = api(&self.world.client, "v1/ConfigMap", Some(&self.world.target));
        match self.random.below(16) {
            0..=2 => {
                self.add();
                self.commit("add").await;
            }
            3..=4 => {
                let (Some(name), value) = (self.any(), self.random.below(1 << 40)) else { return };
                let child = self.model.objects[&name].0;
                self.put(&name, child, &format!("value-{value}"));
                self.commit(&format!("change {name}")).await;
            }
            5 => {
                let Some(name) = self.any() else { return };
                let (child, _) = self.model.objects.remove(&name).unwrap();
                std::fs::remove_file(self.world.repository.tree().join(Self::file(child, &name))).unwrap();
                *self.model.removals.entry(name.clone()).or_default() += 1;
                self.commit(&format!("remove {name}")).await;
            }
            6..=7 => {
                let (Some(name), to) = (self.any(), self.child()) else { return };
                let value = self.model.objects[&name].1.clone();
                self.put(&name, to, &value);
                if self.model.lost.contains(&to) {
                    // No Application reads that folder.
                    *self.model.removals.entry(name.clone()).or_default() += 1;
                }
                self.commit(&format!("move {name} to {}", CHILDREN[to])).await;
            }
            8 => {
                let child = self.child();
                if !self.model.broken.remove(&child) {
                    self.model.broken.insert(child);
                }
                self.commit("break or mend").await;
            }
            9 => {
                let child = self.child();
                if !self.model.lost.remove(&child) {
                    self.model.lost.insert(child);
                    // Those that moved there in a commit that is seen together with this one.
                    let in_it = self.model.objects.iter().filter(|(_, (owner, _))| *owner == child);
                    for name in in_it.map(|(name, _)| name.clone()).collect::<Vec<_>>() {
                        *self.model.removals.entry(name).or_default() += 1;
                    }
                }
                self.commit("lose or regain").await;
            }
            10 => self.copy_marks().await,
            11..=12 => {
                let Some(name) = self.any() else { return };
                let edits = [
                    json!({"data": {"key": "edited"}}),
                    json!({"metadata": {"labels": {"gitmoor.dev/application": null}}}),
                    json!({"data": null}),
                ];
                let edit = &edits[usize::try_from(self.random.below(3)).unwrap()];
                // It may not be there (yet).
                let _ = maps.patch(&name, &PatchParams::default(), &Patch::Merge(edit)).await;
            }
            13 => {
                let Some(name) = self.any() else { return };
                if maps.delete(&name, &DeleteParams::default()).await.is_ok() {
                    self.model.deletions += 1;
                }
            }
            14 => self.toggle_unanswered().await,
            _ => {
                self.history.push(format!("{} kill", self.steps));
                self.world.agent.kill();
                let pause = self.random.below(200);
                tokio::time::sleep(Duration::from_millis(pause)).await;
                self.world.agent.restart();
            }
        }
    }

    /// An object of somebody else with the marks of one of ours.
    async fn copy_marks(&mut self) {
        let maps = api(&self.world.client, "v1/ConfigMap", Some(&self.world.target));
        let Some(name) = self.any() else { return };
        let Ok(Some(original)) = maps.get_opt(&name).await else { return };
        self.model.copies += 1;
        let copy = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "data": {"key": "copied"},
            "metadata": {
                "name": format!("copy-{}", self.model.copies),
                "labels": original.metadata.labels, "annotations": original.metadata.annotations,
            },
        });
        maps.create(&PostParams::default(), &serde_json::from_value(copy).unwrap()).await.unwrap();
    }

    /// An aggregated API that cannot be reached makes discovery incomplete.
    async fn toggle_unanswered(&mut self) {
        let services = api(&self.world.client, "apiregistration.k8s.io/v1/APIService", None);
        if self.model.unanswered {
            services.delete(UNANSWERED, &DeleteParams::default()).await.unwrap();
        } else {
            let service = json!({
                "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": UNANSWERED},
                "spec": {
                    "group": "unanswered.example.com", "version": "v1", "groupPriorityMinimum": 10,
                    "versionPriority": 10, "insecureSkipTLSVerify": true,
                    "service": {"name": "nobody", "namespace": self.world.target},
                },
            });
            self.world.apply(&service).await;
        }
        self.model.unanswered = !self.model.unanswered;
    }

    fn at(&self) -> String {
        format!("after {} steps with GITMOOR_SEED={}", self.steps, self.seed)
    }

    /// Waits until the cluster is what Git allows it to be.
    async fn look(&self, mark: Mark) {
        let what = format!("the cluster is what Git says, {}", self.at());
        self.world.scene().eventually(&what, PATIENCE, async || self.differences().await).await;
        self.judge_deletions(mark).await;
    }

    async fn differences(&self) -> Result<(), String> {
        let listed =
            api(&self.world.client, "v1/ConfigMap", Some(&self.world.target)).list(&ListParams::default()).await;
        let live: BTreeMap<String, Value> = listed
            .map_err(|error| error.to_string())?
            .into_iter()
            .map(|map| (map.metadata.name.clone().unwrap_or_default(), serde_json::to_value(map).unwrap()))
            .collect();
        let mut found = Vec::new();
        for (name, (child, value)) in &self.model.objects {
            // What a child cannot render or nobody asks it to, it leaves as it is.
            if self.model.broken.contains(child) || self.model.lost.contains(child) {
                continue;
            }
            let tracking = |map: &Value| map["metadata"]["annotations"]["gitmoor.dev/tracking-id"].to_string();
            let of = |map: &Value, child: usize| tracking(map).contains(&format!("/{}:", CHILDREN[child]));
            // Nobody can tell whether a child that cannot be rendered still wants what it has: it keeps it.
            if live.get(name).is_some_and(|map| self.model.broken.iter().any(|broken| of(map, *broken))) {
                continue;
            }
            match live.get(name) {
                None => found.push(format!("{name} of {} is missing", CHILDREN[*child])),
                Some(map) if map["data"]["key"] != value.as_str() => found.push(format!("{name} is not {value}")),
                Some(map) if !of(map, *child) => {
                    found.push(format!("{name} does not belong to {}: {}", CHILDREN[*child], tracking(map)));
                }
                Some(map) if map["metadata"]["labels"]["gitmoor.dev/application"].is_null() => {
                    found.push(format!("{name} has no label"));
                }
                Some(_) => {}
            }
        }
        // With a child that cannot be rendered nothing is deleted; otherwise what left Git goes.
        if self.model.broken.is_empty() && self.model.lost.is_empty() {
            // Without our label nothing is found that has left Git before the label could be restored.
            let ours = |map: &Value| map["metadata"]["labels"]["gitmoor.dev/application"].is_string();
            let gone = live.iter().filter(|(name, map)| {
                name.starts_with("object") && ours(map) && !self.model.objects.contains_key(*name)
            });
            found.extend(gone.map(|(name, _)| format!("{name} is left over")));
        }
        for copy in 1..=self.model.copies {
            let name = format!("copy-{copy}");
            if live.get(&name).is_none_or(|map| map["data"]["key"] != "copied") {
                found.push(format!("{name} was touched"));
            }
        }
        if found.is_empty() { Ok(()) } else { Err(found.join("\n")) }
    }

    /// Nothing was deleted that Git did not ask for, and everything with the very object as precondition.
    async fn judge_deletions(&self, mark: Mark) {
        let requests = self.audit.since(mark).await.of_user(&self.world.user).resource("configmaps");
        let mut deleted = BTreeMap::<&str, usize>::new();
        for request in requests.0.iter().filter(|request| request.verb == "delete" && request.code == 200) {
            assert!(request.body["preconditions"]["uid"].is_string(), "{request:?}, {}", self.at());
            assert!(request.body["preconditions"]["resourceVersion"].is_string(), "{request:?}, {}", self.at());
            *deleted.entry(&request.name).or_default() += 1;
        }
        for (name, times) in deleted {
            let allowed = self.model.removals.get(name).copied().unwrap_or_default();
            assert!(
                times <= allowed,
                "{name} was deleted {times} times and removed {allowed}, {}\n{}\n{}",
                self.at(),
                self.history.join("\n"),
                self.world.agent.log()
            );
        }
    }
}

async fn live(steps: usize, seed: u64) {
    let control_plane = ControlPlane::builder().start().await;
    let client = control_plane.client().await;
    let namespace = create_namespace(&client, "model-agent").await;
    let target = create_namespace(&client, "model").await;
    let world = Installation::start_in(&control_plane, (&namespace, &target), |agent| agent).await;
    let mark = control_plane.audit().mark().await;
    let mut life = Life {
        audit: control_plane.audit(),
        world,
        random: Random(seed),
        model: Model::default(),
        seed,
        steps: 0,
        history: Vec::new(),
    };
    for (child, name) in CHILDREN.iter().enumerate() {
        life.put(name, child, "witness");
    }
    (0..12).for_each(|_| life.add());
    life.commit("at the beginning").await;
    let mut root = life.world.application("root", "root");
    root["spec"]["destination"]["namespace"] = json!(life.world.namespace);
    root["spec"]["syncPolicy"]["automated"]["allowEmpty"] = json!(true);
    life.world.apply(&root).await;
    life.look(mark).await;
    while life.steps < steps {
        for _ in 0..STEPS_UNTIL_LOOK.min(steps - life.steps) {
            life.step().await;
        }
        life.look(mark).await;
    }
    life.model.broken.clear();
    life.model.lost.clear();
    life.commit("all is well").await;
    life.look(mark).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_random_steps_end_as_the_model_says() {
    live(100, crate::random::number("GITMOOR_SEED").unwrap_or(11)).await;
}

/// `GITMOOR_STEPS` (100,000) steps, by the clock's seed unless `GITMOOR_SEED` names one.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes hours: part of `make soak`"]
async fn soak_random_steps_end_as_the_model_says() {
    let steps = usize::try_from(crate::random::number("GITMOOR_STEPS").unwrap_or(100_000)).unwrap();
    live(steps, crate::random::seed()).await;
}
