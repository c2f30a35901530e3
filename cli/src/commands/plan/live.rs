//! A plan against a cluster: every object is applied without effect, and what is left over is judged as it is there.

use std::collections::{BTreeMap, BTreeSet};

use futures::StreamExt as _;
use gitmoor_core::{
    hook::Role,
    live::LiveObject,
    manifest::{Manifest, Manifests, Stamped},
    names::{ANNOTATION_CONFIRM_PRUNE, APPLICATION_GROUP, APPLICATION_KIND},
    object::{GroupKind, ObjectId, annotation, text_at},
    preview::{Change, Departure, What, difference, judged, leaving_application, shown},
    prune::{PruneContext, held_recreation},
    resource::{Resource, Resources},
    scope::Scopes,
    takeover,
    tracking::{ApplicationKey, Claim, Installation},
};
use gitmoor_engine::{
    cluster::{Cluster, ClusterError},
    helm::Capabilities,
};
use serde_json::Value;

use super::{
    Arguments,
    arguments::Live,
    build::{because, differs, owners},
    points::Points,
    report::{Fate, Object, Report, Touched},
};
use crate::{
    failure::Failure,
    fleet::{Binder, Fleet, Surveyed, Surveyor, idle_digester},
    trial::{AT_ONCE, IgnoredFields, Trial, Would, stays, trial},
};

/// A cluster, and what it serves.
pub(super) struct Connection {
    cluster: Cluster,
    resources: Resources,
    version: String,
}

impl Connection {
    /// Connects, and asks what is served.
    pub(super) async fn open(live: &Live) -> Result<Self, Failure> {
        let cluster = Cluster::connect_as(live.kubeconfig.as_deref(), live.context.as_deref(), "gitmoor").await;
        let cluster = cluster.map_err(|error| unreachable(&error))?;
        let (version, resources) =
            tokio::try_join!(cluster.version(), cluster.discover()).map_err(|error| unreachable(&error))?;
        Ok(Self { cluster, resources, version: version.0 })
    }

    /// What charts see of it.
    pub(super) fn capabilities(&self) -> Capabilities {
        Capabilities { kube_version: self.version.clone(), api_versions: self.resources.api_versions.clone() }
    }
}

fn unreachable(error: &ClusterError) -> Failure {
    Failure::io("cannot reach the cluster", error).hint("name it with --kubeconfig and --context, or leave --live out")
}

/// What is needed for every Application.
struct Comparison<'a> {
    cluster: &'a Cluster,
    /// What it serves, and what the tree defines besides.
    resources: &'a Resources,
    before: &'a Fleet,
    after: &'a Fleet,
    scopes: &'a Scopes,
    /// Who wants what after the change.
    wanted: &'a std::collections::HashMap<ObjectId, BTreeSet<ApplicationKey>>,
    /// Namespaces that come with the change.
    namespaces: BTreeSet<String>,
    installation: &'a Installation,
    agent_namespace: &'a str,
}

/// Compares the Applications that the change touches, or all of them, with the cluster.
pub(super) async fn report(
    arguments: &Arguments,
    surveyor: &Surveyor,
    points: &Points,
    (before, after): (&Fleet, &Fleet),
    connection: &Connection,
) -> Result<Report, Failure> {
    let keys: BTreeSet<&ApplicationKey> = before.applications.keys().chain(after.applications.keys()).collect();
    let total = keys.len();
    let wanted = keys.into_iter().filter(|key| arguments.live.all || differs(before, after, key));
    let wanted: Vec<&ApplicationKey> = wanted.collect();
    let agent_namespace = after.agent_namespace().or(before.agent_namespace()).unwrap_or_default();
    let installation = arguments.render.installation(agent_namespace)?;
    let scopes = Scopes::new(before.scopes().chain(after.scopes()));
    let resources = with_definitions(connection.resources.clone(), after);
    let owners = owners(before, after, &scopes);
    let comparison = Comparison {
        cluster: &connection.cluster,
        resources: &resources,
        before,
        after,
        scopes: &scopes,
        wanted: &owners.after,
        namespaces: namespaces(after, &scopes),
        installation: &installation,
        agent_namespace,
    };
    let digester = idle_digester();
    let binder =
        Binder { installation: &installation, digester: &digester, resources: Some(&resources), scopes: &scopes };
    let mut applications = Vec::new();
    for key in wanted {
        let bound = surveyor.bind(&points.head.ground, after, key, &binder).await;
        let bound = if after.applications.contains_key(key) { Some(bound) } else { None };
        let touched = match bound {
            None => comparison.application(key, None, Vec::new()).await?,
            Some(Ok(bound)) => comparison.application(key, Some(&bound.manifests), bound.problems).await?,
            Some(Err(problems)) => comparison.broken(key, problems),
        };
        if arguments.live.all && touched.is_silent() {
            continue;
        }
        applications.push(touched);
    }
    Ok(Report { applications, total, renders: surveyor.renders().count() })
}

/// Kinds that the tree defines and the cluster does not serve yet stand in with no way to ask for them.
fn with_definitions(mut resources: Resources, after: &Fleet) -> Resources {
    for definition in after.definitions() {
        let (group_kind, namespaced) = (definition.group_kind(), definition.namespaced);
        for version in &definition.versions {
            if resources.find(&group_kind, version).is_none() {
                let (group_kind, version) = (group_kind.clone(), version.clone());
                resources.insert(Resource { group_kind, version, plural: String::new(), namespaced, watchable: false });
            }
        }
    }
    resources
}

/// Namespaces that the tree makes.
fn namespaces(after: &Fleet, scopes: &Scopes) -> BTreeSet<String> {
    let is_namespace = |id: &ObjectId| id.group_kind.is("", "Namespace");
    let of = |surveyed: &Surveyed| {
        let options = surveyed.spec.as_ref().map(|spec| spec.sync_policy.sync_options.clone()).unwrap_or_default();
        let makes = options.iter().any(|option| option == "CreateNamespace=true");
        let own = surveyed.destination().filter(|_| makes).map(str::to_owned);
        let objects = surveyed.ids(scopes).into_iter().filter(|(id, _)| is_namespace(id)).map(|(id, _)| id.name);
        objects.chain(own).collect::<Vec<_>>()
    };
    after.applications.values().flat_map(of).collect()
}

impl Comparison<'_> {
    async fn application(
        &self,
        key: &ApplicationKey,
        manifests: Option<&Manifests<Stamped>>,
        problems: Vec<String>,
    ) -> Result<Touched, Failure> {
        let items = manifests.map(Manifests::items).unwrap_or_default();
        let kept: Vec<&Manifest> = items.iter().filter(|item| Role::of(&item.object).is_object()).collect();
        let tried = futures::stream::iter(kept.iter().map(|item| self.try_one(key, item)));
        let tried: Vec<Tried> = tried.buffered(AT_ONCE).collect().await;
        let mut touched = self.frame(key, problems);
        for one in tried {
            match one {
                Tried::Same => {}
                Tried::Changes(object) => touched.objects.push(*object),
                Tried::Refused(problem) => {
                    touched.problems.push(problem);
                    touched.broke = true;
                }
            }
        }
        let hooks = items.len() - kept.len();
        if hooks > 0 {
            touched.notes.push(format!("{hooks} hooks run with each sync, and are not tried"));
        }
        self.left_over(key, &kept, &mut touched).await?;
        Ok(touched)
    }

    fn broken(&self, key: &ApplicationKey, problems: Vec<String>) -> Touched {
        let mut touched = self.frame(key, problems);
        touched.broke = true;
        touched
    }

    fn frame(&self, key: &ApplicationKey, problems: Vec<String>) -> Touched {
        let (old, new) = (self.before.applications.get(key), self.after.applications.get(key));
        let fate = match (old, new) {
            (None, _) => Fate::New,
            (_, None) => Fate::Goes,
            _ => Fate::Stays,
        };
        let broke = !problems.is_empty();
        let because = because(old, new);
        Touched { key: key.clone(), fate, because, objects: Vec::new(), problems, broke, notes: Vec::new() }
    }

    async fn try_one(&self, key: &ApplicationKey, manifest: &Manifest) -> Tried {
        let id = &manifest.id;
        let version = text_at(&manifest.object, &["apiVersion"]).and_then(|text| text.rsplit('/').next());
        let Some(resource) = self.resources.find(&id.group_kind, version.unwrap_or_default()) else {
            return Tried::Refused(format!("{id}: the cluster does not serve its kind"));
        };
        if resource.plural.is_empty() {
            return created(manifest, "not tried: its kind comes with the same change");
        }
        match self.compare(key, resource, manifest).await {
            Ok(tried) => tried,
            Err(error) if error.is_missing_namespace(id) && self.brings_namespace(id) => {
                created(manifest, "not tried: its namespace comes with the same change")
            }
            Err(error) => Tried::Refused(format!("{id}: {error}")),
        }
    }

    fn brings_namespace(&self, id: &ObjectId) -> bool {
        id.namespace.as_ref().is_some_and(|namespace| self.namespaces.contains(namespace))
    }

    async fn compare(
        &self,
        key: &ApplicationKey,
        resource: &Resource,
        manifest: &Manifest,
    ) -> Result<Tried, ClusterError> {
        let id = &manifest.id;
        let Trial { live, would } = trial(self.cluster, resource, manifest, IgnoredFields::Applied).await?;
        let mut remarks: Vec<String> = live.iter().filter_map(|live| self.foreign(key, live)).collect();
        let answer = match would {
            Would::Become(answer) => answer,
            Would::Take(answer, conflicts) => {
                remarks.push(format!("takes fields over from others: {conflicts}"));
                answer
            }
            Would::Stay { fields, message } => {
                let live = live.as_ref().unwrap_or(&Value::Null);
                return Ok(self.recreated(manifest, live, &fields, &message));
            }
        };
        let what = if live.is_none() { What::Created } else { What::Changed };
        let differs = live.as_ref().is_none_or(|live| shown(live) != shown(&answer));
        if !differs && remarks.is_empty() {
            return Ok(Tried::Same);
        }
        let difference = if differs { difference(live.as_ref(), Some(&answer)) } else { String::new() };
        let change = Change { id: id.clone(), what, hook: false, difference, contested: Vec::new() };
        Ok(Tried::Changes(Box::new(Object { change, departure: None, remarks })))
    }

    /// Whose an object is that is there already.
    fn foreign(&self, key: &ApplicationKey, live: &Value) -> Option<String> {
        let live_object = LiveObject::reduce(live, self.installation)?;
        match live_object.claim {
            Claim::Application(owner) if owner == *key => None,
            Claim::Application(owner) | Claim::Unlabelled(owner) => {
                let still = self.wanted.get(&live_object.id).is_some_and(|keys| keys.contains(&owner));
                Some(if owner == *key {
                    "is ours, but lost its label".to_owned()
                } else if still {
                    format!("refused: {owner} has it and wants it too")
                } else {
                    format!("adopted from {owner}")
                })
            }
            Claim::OtherInstallation(name) => Some(format!("refused: the installation {name} has it")),
            Claim::None => {
                let former = takeover::former_owner(live);
                Some(former.map_or("exists already; adopted".to_owned(), |former| format!("adopted from {former}")))
            }
        }
    }

    /// An object with a field that cannot be changed: refused, or with `Force=true` deleted and made anew.
    fn recreated(&self, manifest: &Manifest, live: &Value, fields: &str, message: &str) -> Tried {
        let id = &manifest.id;
        if !manifest.handling.force {
            return Tried::Refused(format!("{id}: {}", stays(fields, message)));
        }
        let reduced = LiveObject::reduce(live, self.installation);
        let held = reduced.and_then(|live| held_recreation(&live, None, self.agent_namespace));
        let remark = match held {
            Some(why) => format!("{fields} cannot be changed, and it is not made anew yet: {why}"),
            None => format!("deleted and made anew, because {fields} cannot be changed (Force=true)"),
        };
        let difference = difference(Some(live), Some(&manifest.object));
        let change = Change { id: id.clone(), what: What::Changed, hook: false, difference, contested: Vec::new() };
        Tried::Changes(Box::new(Object { change, departure: None, remarks: vec![remark] }))
    }

    /// What carries the Application's claim and is not wanted any more.
    async fn left_over(&self, key: &ApplicationKey, kept: &[&Manifest], touched: &mut Touched) -> Result<(), Failure> {
        let application = self.live_application(key).await?;
        let old = self.before.applications.get(key);
        let (Some(surveyed), Some(object)) = (self.after.applications.get(key).or(old), &application) else {
            return Ok(());
        };
        let Some(spec) = &surveyed.spec else { return Ok(()) };
        let goes = touched.fate == Fate::Goes;
        let cascade = goes && leaving_application(object);
        if goes && !cascade {
            touched.notes.push("its objects stay in the cluster, and nobody follows them any more".to_owned());
            return Ok(());
        }
        let had = old.map(|old| old.ids(self.scopes)).unwrap_or_default();
        let had = had.into_iter().map(|(id, _)| id.group_kind);
        let kinds: BTreeSet<GroupKind> =
            had.chain(kept.iter().map(|item| item.id.group_kind.clone())).chain(in_status(object)).collect();
        let desired: BTreeSet<&ObjectId> = kept.iter().map(|item| &item.id).collect();
        let mut bodies = BTreeMap::new();
        for kind in kinds {
            let Some(resource) = self.resources.preferred(&kind).filter(|resource| !resource.plural.is_empty()) else {
                continue;
            };
            let label = self.installation.label_value(key);
            let listed = self.cluster.list_labelled(resource, &label).await;
            let listed = listed.map_err(|error| Failure::io(format!("cannot list {kind}"), &error))?;
            for object in listed {
                let Some(live) = LiveObject::reduce(&object, self.installation) else { continue };
                let ours = live.claim == Claim::Application(key.clone()) && live.hook.is_none();
                let elsewhere = self.wanted.get(&live.id).is_some_and(|keys| keys.iter().any(|other| other != key));
                if ours && !elsewhere && !desired.contains(&live.id) {
                    bodies.insert(live.id.clone(), (live, object));
                }
            }
        }
        let left: Vec<LiveObject> = bodies.values().map(|(live, _)| live.clone()).collect();
        let automated = spec.automated();
        let broken = self.after.applications.iter().find(|(other, there)| *other != key && there.outcome.is_err());
        let context = PruneContext {
            enabled: automated.is_some_and(|automated| automated.prune),
            incomplete: touched.problems.first().cloned(),
            held_by: broken.map(|(other, _)| other.to_string()),
            desired: kept.len(),
            allow_empty: automated.is_some_and(|automated| automated.allow_empty),
            cascade,
            confirmed: annotation(object, ANNOTATION_CONFIRM_PRUNE),
            agent_namespace: self.agent_namespace,
        };
        for (id, departure) in judged(&left, &context) {
            let difference = bodies.get(&id).map(|(_, object)| difference(Some(object), None)).unwrap_or_default();
            touched.objects.push(leaving(id, difference, departure));
        }
        Ok(())
    }

    async fn live_application(&self, key: &ApplicationKey) -> Result<Option<Value>, Failure> {
        let kind = GroupKind::new(APPLICATION_GROUP, APPLICATION_KIND);
        let Some(resource) = self.resources.preferred(&kind).filter(|resource| !resource.plural.is_empty()) else {
            return Ok(None);
        };
        let found = self.cluster.get(resource, Some(&key.namespace), &key.name).await;
        found.map_err(|error| Failure::io(format!("cannot read the Application {key}"), &error))
    }
}

/// How a try went.
enum Tried {
    Same,
    Changes(Box<Object>),
    Refused(String),
}

fn created(manifest: &Manifest, remark: &str) -> Tried {
    let difference = difference(None, Some(&manifest.object));
    let id = manifest.id.clone();
    let change = Change { id, what: What::Created, hook: false, difference, contested: Vec::new() };
    Tried::Changes(Box::new(Object { change, departure: None, remarks: vec![remark.to_owned()] }))
}

fn leaving(id: ObjectId, difference: String, departure: Departure) -> Object {
    let change = Change { id, what: What::Leaving, hook: false, difference, contested: Vec::new() };
    Object { change, departure: Some(departure), remarks: Vec::new() }
}

/// Kinds that an Application has had, as its status says.
fn in_status(object: &Value) -> Vec<GroupKind> {
    let resources = object["status"]["resources"].as_array().into_iter().flatten();
    let kind = |entry: &Value| {
        Some(GroupKind::new(text_at(entry, &["group"]).unwrap_or_default(), text_at(entry, &["kind"])?))
    };
    resources.filter_map(kind).collect()
}
