//! Components that are on without others: what each needs, and what it refers to that nobody brings.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::fork::{Fork, sources, text_at, uses};
use super::keys::{self, Held};
use super::references::{Target, provided, references, references_of_values};

/// What charts of others bring and other components refer to; `make verify-upstream` looks whether they do.
const OF_CHARTS: [(&str, &str, &str, &str); 9] = [
    ("aws-ebs-csi-driver", "StorageClass", "", "gp3"),
    ("aws-efs-csi-driver", "StorageClass", "", "efs"),
    ("aws-load-balancer-controller", "IngressClass", "", "alb"),
    ("cert-manager", "CustomResourceDefinition", "", "Certificate.cert-manager.io"),
    ("cert-manager", "CustomResourceDefinition", "", "ClusterIssuer.cert-manager.io"),
    ("kube-prometheus-stack", "CustomResourceDefinition", "", "PrometheusRule.monitoring.coreos.com"),
    ("kube-prometheus-stack", "CustomResourceDefinition", "", "ServiceMonitor.monitoring.coreos.com"),
    ("loki", "Service", "monitoring", "loki"),
    ("prometheus", "Service", "monitoring", "prometheus-server"),
];

/// The component that is always on.
const AGENT: &str = "gitmoor";

/// Every component that an environment offers.
pub struct Components {
    all: BTreeMap<String, Component>,
    credentials: Vec<Value>,
    outside: BTreeSet<Target>,
}

struct Component {
    needs: BTreeSet<String>,
    uses: BTreeSet<String>,
    brings: BTreeSet<Target>,
    refers_to: BTreeSet<Target>,
    holds: Held,
    reads: BTreeSet<(Target, String)>,
}

impl Components {
    /// From what this repository has of them: charts of others are known by [`OF_CHARTS`] and by their values.
    pub fn of_repository(fork: &Fork) -> Self {
        let all = offered(fork).map(|application| {
            let mut component = Component::new(fork, &application, &fork.render(&application));
            component.brings.extend(brought_by_chart(text_at(&application, "/metadata/name")));
            let namespace = text_at(&application, "/spec/destination/namespace");
            for values in values_for_charts(fork, &application) {
                let named = references_of_values(&values, namespace).into_iter();
                component.refers_to.extend(named.filter(|target| !target.is_builtin()));
                component.reads.extend(keys::read_by_values(&values, namespace));
            }
            (application, component)
        });
        Self::new(fork, all.collect())
    }

    /// From all that they render to, by their names. Those that are not among it are left out.
    pub fn rendered(fork: &Fork, rendered: &BTreeMap<String, Vec<Value>>) -> Self {
        let all = offered(fork).filter_map(|application| {
            let objects = rendered.get(text_at(&application, "/metadata/name"))?;
            let component = Component::new(fork, &application, objects);
            Some((application, component))
        });
        Self::new(fork, all.collect())
    }

    fn new(fork: &Fork, all: Vec<(Value, Component)>) -> Self {
        let declared = fork.documents("distribution/credentials.yaml").remove(0);
        let in_environment = |secret: &&Value| {
            let environment = text_at(secret, "/environment");
            environment.is_empty() || environment == fork.environment()
        };
        let credentials = declared["secrets"].as_array().unwrap().iter().filter(in_environment).cloned().collect();
        let name = |application: &Value| text_at(application, "/metadata/name").to_owned();
        let all = all.into_iter().map(|(application, component)| (name(&application), component)).collect();
        Self { all, credentials, outside: outside(fork) }
    }

    /// Their names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.all.keys().map(String::as_str)
    }

    /// A component with those that it needs, and the agent.
    pub fn alone(&self, name: &str) -> BTreeSet<String> {
        let mut on = BTreeSet::from([AGENT.to_owned(), name.to_owned()]);
        loop {
            let needed = on.iter().filter_map(|name| self.all.get(name)).flat_map(|one| one.needs.iter().cloned());
            let grown: BTreeSet<String> = on.iter().cloned().chain(needed).collect();
            if grown == on {
                return on;
            }
            on = grown;
        }
    }

    /// All of them without one, and without those that need it.
    pub fn without(&self, name: &str) -> BTreeSet<String> {
        self.names().filter(|other| !self.alone(other).contains(name)).map(str::to_owned).collect()
    }

    /// What these refer to and none of them brings: `COMPONENT: TARGET`.
    pub fn missing(&self, on: &BTreeSet<String>) -> Vec<String> {
        let unknown =
            on.iter().filter(|name| !self.all.contains_key(*name)).map(|name| format!("{name} is not offered"));
        let these = || on.iter().filter_map(|name| Some((name, self.all.get(name)?)));
        let mut there: BTreeSet<Target> = these().flat_map(|(_, one)| one.brings.iter().cloned()).collect();
        there.extend(self.outside.iter().cloned());
        let mut held = self.credentials_for(on);
        there.extend(held.keys().cloned());
        held.extend(these().flat_map(|(_, one)| one.holds.clone()));
        let dangling = these().flat_map(|(name, one)| {
            let may_be_off = one.uses.iter().filter_map(|name| self.all.get(name)).flat_map(|one| &one.brings);
            let may_be_off: BTreeSet<&Target> = may_be_off.filter(|target| target.kind == "Service").collect();
            let missing = one.refers_to.iter().filter(move |target| !may_be_off.contains(target));
            missing.filter(|target| !there.contains(target)).map(move |target| format!("{name}: {target}"))
        });
        let unread = these().flat_map(|(name, one)| {
            let lacks = |(secret, key): &&(Target, String)| held.get(secret).is_some_and(|keys| !keys.contains(key));
            one.reads.iter().filter(lacks).map(move |(secret, key)| format!("{name}: {secret} without {key}"))
        });
        unknown.chain(dangling.collect::<Vec<_>>()).chain(unread.collect::<Vec<_>>()).collect()
    }

    /// Components that one says it refers to, and does not: `COMPONENT: OTHER`.
    pub fn idle_uses(&self) -> Vec<String> {
        let idle = self.all.iter().flat_map(|(name, one)| {
            let other = |used: &&String| self.all.get(*used).is_none_or(|used| used.brings.is_disjoint(&one.refers_to));
            one.uses.iter().filter(other).map(move |used| format!("{name}: {used}"))
        });
        idle.collect()
    }

    /// What [`OF_CHARTS`] says that the rendered ones bring, and they do not.
    pub fn not_brought(&self) -> Vec<String> {
        let said = self.all.iter().flat_map(|(name, one)| {
            let lacks = brought_by_chart(name).filter(|target| !one.brings.contains(target));
            lacks.map(move |target| format!("{name} brings no {target}"))
        });
        said.collect()
    }

    /// The Secrets that `gitmoor credentials` seals for these, with their keys.
    fn credentials_for(&self, on: &BTreeSet<String>) -> Held {
        let wanted = self.credentials.iter().filter(|secret| on.contains(text_at(secret, "/application")));
        let held = wanted.filter(|_| on.contains("credentials")).map(|secret| {
            let keys = secret["data"].as_object().into_iter().flatten().map(|(key, _)| key.clone()).collect();
            (Target::new("Secret", text_at(secret, "/namespace"), text_at(secret, "/name")), keys)
        });
        held.collect()
    }
}

impl Component {
    fn new(fork: &Fork, application: &Value, objects: &[Value]) -> Self {
        let mut brings = provided(objects);
        brings.extend(provided(std::slice::from_ref(application)));
        let refers_to = objects.iter().flat_map(references).filter(|target| !target.is_builtin());
        Self {
            needs: fork.needs(application),
            uses: uses(application),
            brings,
            refers_to: refers_to.collect(),
            holds: keys::held(objects),
            reads: objects.iter().flat_map(keys::read).collect(),
        }
    }
}

fn offered(fork: &Fork) -> impl Iterator<Item = Value> {
    fork.offered().into_iter().filter(|application| fork.has(application))
}

fn brought_by_chart(component: &str) -> impl Iterator<Item = Target> {
    let its = OF_CHARTS.iter().filter(move |(name, ..)| *name == component);
    its.map(|(_, kind, namespace, name)| Target::new(kind, namespace, name))
}

/// The values for charts of others.
fn values_for_charts(fork: &Fork, application: &Value) -> Vec<Value> {
    let with_chart = sources(application).into_iter().filter(|source| !text_at(source, "/chart").is_empty());
    let texts =
        with_chart.flat_map(|source| fork.value_files(source)).map(|file| std::fs::read_to_string(file).unwrap());
    texts.map(|text| serde_yaml::from_str(&text).unwrap()).collect()
}

/// What is there before the platform.
fn outside(fork: &Fork) -> BTreeSet<Target> {
    if fork.environment() == "aws" {
        return BTreeSet::new();
    }
    // docs/single-node.md: the class that the machine brings, and the one Secret that is made by hand.
    [Target::new("StorageClass", "", "local-path"), Target::new("Secret", "gitmoor", "aws-access-keys")].into()
}
