//! From two fleets to a report.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use gitmoor_core::{
    closure::Member,
    lock,
    names::{APPLICATION_GROUP, APPLICATION_KIND},
    object::{GroupKind, ObjectId},
    preview::{Change, Departure, LeavingApplication, Owners, Side, What, compare, departures, leaving_application},
    scope::Scopes,
    tracking::{ApplicationKey, Installation},
    tree::RepoPath,
};

use super::report::{Fate, Object, Report, Touched};
use crate::{
    failure::Failure,
    fleet::{Binder, Fleet, Ground, RenderArguments, Surveyed, Surveyor, idle_digester},
};

/// Paths that are named as the reason.
const MOST_PATHS: usize = 5;

/// What is known of both sides.
struct Both<'a> {
    before: &'a Fleet,
    after: &'a Fleet,
    old: Side,
    new: Side,
    /// Why manifests are missing, or not complete, on each side.
    old_problems: BTreeMap<ApplicationKey, Vec<String>>,
    new_problems: BTreeMap<ApplicationKey, Vec<String>>,
    owners: Owners,
    installation: Installation,
    agent_namespace: String,
}

/// Compares the Applications that differ.
pub(super) async fn report(
    arguments: &RenderArguments,
    surveyor: &Surveyor,
    (base, head): (&Ground, &Ground),
    before: &Fleet,
    after: &Fleet,
) -> Result<Report, Failure> {
    let keys: BTreeSet<&ApplicationKey> = before.applications.keys().chain(after.applications.keys()).collect();
    let total = keys.len();
    let touched: BTreeSet<&ApplicationKey> = keys.into_iter().filter(|key| differs(before, after, key)).collect();
    let agent_namespace = after.agent_namespace().or(before.agent_namespace()).unwrap_or_default().to_owned();
    let installation = arguments.installation(&agent_namespace)?;
    let scopes = Scopes::new(before.scopes().chain(after.scopes()));
    let digester = idle_digester();
    let binder = Binder { installation: &installation, digester: &digester, resources: None, scopes: &scopes };
    let (old, old_problems) = bind(surveyor, base, before, &touched, &binder).await;
    let (new, new_problems) = bind(surveyor, head, after, &touched, &binder).await;
    let owners = owners(before, after, &scopes);
    let both = Both { before, after, old, new, old_problems, new_problems, owners, installation, agent_namespace };
    let mut applications: Vec<Touched> = touched.iter().map(|key| both.touched(key)).collect();
    both.follow_to_their_end(&mut applications);
    Ok(Report { applications, total, renders: surveyor.renders().count() })
}

/// Whether anything is to be said of an Application.
pub(super) fn differs(before: &Fleet, after: &Fleet, key: &ApplicationKey) -> bool {
    match (before.applications.get(key), after.applications.get(key)) {
        (Some(old), Some(new)) => match (&old.outcome, &new.outcome) {
            (Ok(old), Ok(new)) => old.digest != new.digest,
            _ => true,
        },
        _ => true,
    }
}

async fn bind(
    surveyor: &Surveyor,
    ground: &Ground,
    fleet: &Fleet,
    touched: &BTreeSet<&ApplicationKey>,
    binder: &Binder<'_>,
) -> (Side, BTreeMap<ApplicationKey, Vec<String>>) {
    let wanted = touched.iter().copied().filter(|key| fleet.applications.contains_key(key));
    let all = wanted.map(async |key| (key.clone(), surveyor.bind(ground, fleet, key, binder).await));
    let (mut side, mut problems) = (Side::new(), BTreeMap::new());
    for (key, bound) in futures::future::join_all(all).await {
        let found = match bound {
            Ok(bound) => {
                side.insert(key.clone(), bound.manifests);
                bound.problems
            }
            Err(reasons) => reasons,
        };
        if !found.is_empty() {
            problems.insert(key, found);
        }
    }
    (side, problems)
}

/// Who wants what. One that does not render after the change keeps what it had.
pub(super) fn owners(before: &Fleet, after: &Fleet, scopes: &Scopes) -> Owners {
    let mut owners = Owners::default();
    let take = |into: &mut HashMap<ObjectId, BTreeSet<ApplicationKey>>, key: &ApplicationKey, of: &Surveyed| {
        let kept = of.ids(scopes).into_iter().filter(|(_, kept)| *kept);
        for (id, _) in kept {
            into.entry(id).or_default().insert(key.clone());
        }
    };
    before.applications.iter().for_each(|(key, surveyed)| take(&mut owners.before, key, surveyed));
    for (key, surveyed) in &after.applications {
        let broken = surveyed.outcome.is_err();
        let surveyed = before.applications.get(key).filter(|_| broken).unwrap_or(surveyed);
        take(&mut owners.after, key, surveyed);
    }
    owners
}

impl Both<'_> {
    fn touched(&self, key: &ApplicationKey) -> Touched {
        let (old, new) = (self.before.applications.get(key), self.after.applications.get(key));
        let fate = match (old, new) {
            (None, _) => Fate::New,
            (_, None) => Fate::Goes,
            _ => Fate::Stays,
        };
        let problems = self.new_problems.get(key).cloned().unwrap_or_default();
        let before = self.old_problems.get(key);
        let broke = !problems.is_empty() && before != Some(&problems);
        let mut notes = Vec::new();
        if !problems.is_empty() && !broke {
            notes.push("it had the same problems before".to_owned());
        }
        let comparable = match fate {
            Fate::New => self.new.contains_key(key),
            Fate::Goes => self.old.contains_key(key),
            Fate::Stays => self.old.contains_key(key) && self.new.contains_key(key),
        };
        if !comparable && problems.is_empty() {
            let reasons = before.map(|reasons| reasons.join("; ")).unwrap_or_default();
            notes.push(format!("its objects are not compared, because it could not be rendered before: {reasons}"));
        }
        let changes = if comparable { compare(key, &self.old, &self.new, &self.owners) } else { Vec::new() };
        let automated = new.and_then(|new| new.spec.as_ref()).is_some_and(|spec| spec.automated().is_some());
        if new.is_some() && !automated && !changes.is_empty() {
            notes.push("it is not synced by itself (syncPolicy.automated): nothing happens until somebody asks".into());
        }
        let because = because(old, new);
        let objects = if fate == Fate::Goes { plain(changes) } else { self.judged(key, changes, false, &problems) };
        Touched { key: key.clone(), fate, because, objects, problems, broke, notes }
    }

    /// What becomes of objects that leave.
    fn judged(&self, key: &ApplicationKey, changes: Vec<Change>, cascade: bool, problems: &[String]) -> Vec<Object> {
        let surveyed = self.after.applications.get(key).or_else(|| self.before.applications.get(key));
        let spec = surveyed.and_then(|surveyed| surveyed.spec.clone());
        let (Some(spec), Some(before)) = (spec, self.old.get(key)) else { return plain(changes) };
        let leaving: Vec<&ObjectId> =
            changes.iter().filter(|change| change.what == What::Leaving).map(|change| &change.id).collect();
        let kept = self.new.get(key).map(|new| {
            new.items().iter().filter(|item| gitmoor_core::hook::Role::of(&item.object).is_object()).count()
        });
        let application = LeavingApplication {
            spec: &spec,
            before,
            desired: kept.unwrap_or_default(),
            incomplete: problems.first().cloned(),
            held_by: self.held_by(key),
            cascade,
            agent_namespace: &self.agent_namespace,
        };
        let mut fates: BTreeMap<ObjectId, Departure> =
            departures(&leaving, &application, &self.installation).into_iter().collect();
        let judged =
            changes.into_iter().map(|change| Object { departure: fates.remove(&change.id), ..Object::of(change) });
        judged.collect()
    }

    /// Another Application that does not render: nothing is pruned before all of the repository are planned.
    fn held_by(&self, key: &ApplicationKey) -> Option<String> {
        let broken = self.after.applications.iter().find(|(other, there)| *other != key && there.outcome.is_err());
        broken.map(|(other, _)| other.to_string())
    }

    /// What becomes of Applications that go: that depends on whether their parents let them.
    fn follow_to_their_end(&self, applications: &mut [Touched]) {
        let fates: BTreeMap<(ApplicationKey, ObjectId), Option<Departure>> = applications
            .iter()
            .flat_map(|touched| {
                let objects = touched.objects.iter();
                objects.map(|object| ((touched.key.clone(), object.change.id.clone()), object.departure.clone()))
            })
            .collect();
        for touched in applications.iter_mut().filter(|touched| touched.fate == Fate::Goes) {
            let Some(surveyed) = self.before.applications.get(&touched.key) else { continue };
            let id = ObjectId {
                group_kind: GroupKind::new(APPLICATION_GROUP, APPLICATION_KIND),
                namespace: Some(touched.key.namespace.clone()),
                name: touched.key.name.clone(),
            };
            let parent = surveyed.parent.clone();
            let fate = parent.as_ref().and_then(|parent| fates.get(&(parent.clone(), id)).cloned()).flatten();
            let objects = std::mem::take(&mut touched.objects);
            let count = objects.len();
            let cascades = leaving_application(&surveyed.object);
            match (parent, fate) {
                (None, _) => touched.notes.push("a root Application is deleted by hand; till then it stays".to_owned()),
                (Some(parent), Some(Departure::Held(why))) => {
                    touched.notes.push(format!("the Application itself stays, because {parent} keeps it: {why}"));
                }
                (_, fate) if cascades => {
                    if let Some(Departure::Blocked(why)) = fate {
                        touched.notes.push(format!("once that is confirmed: {why}"));
                    }
                    let changes = objects.into_iter().map(|object| object.change).collect();
                    touched.objects = self.judged(&touched.key, changes, true, &[]);
                }
                _ => {
                    let known = self.old.contains_key(&touched.key);
                    let which = if known { format!("its {count} objects") } else { "its objects".to_owned() };
                    touched.notes.push(format!("{which} stay in the cluster, and nobody follows them any more"));
                    touched.objects =
                        objects.into_iter().filter(|object| object.change.what != What::Leaving).collect();
                }
            }
        }
    }
}

fn plain(changes: Vec<Change>) -> Vec<Object> {
    changes.into_iter().map(Object::of).collect()
}

/// What makes the difference: the spec, and files. Where it reads from elsewhere now, all of them would differ.
pub(super) fn because(old: Option<&Surveyed>, new: Option<&Surveyed>) -> Vec<String> {
    let (Some(old), Some(new)) = (old, new) else { return Vec::new() };
    let sources = |of: &Surveyed| (of.object["spec"]["source"].clone(), of.object["spec"]["sources"].clone());
    let moved = sources(old) != sources(new);
    // One that failed before it read anything has no files to compare.
    let known = |of: &Surveyed| of.outcome.is_ok() || !of.reads.is_empty();
    let known = known(old) && known(new);
    // Candidates that are not there are read too, and folders for what is in them; of the lock file it is the entries.
    let lock_file = lock::path();
    let is_there = |path: &RepoPath, member: Option<&Member>| match member {
        Some(Member::File { .. } | Member::Link { .. }) => true,
        Some(_) => *path == lock_file,
        None => false,
    };
    let paths: BTreeSet<_> = old.reads.keys().chain(new.reads.keys()).collect();
    let differing: Vec<_> = paths
        .into_iter()
        .filter(|path| {
            let (before, after) = (old.reads.get(path), new.reads.get(path));
            let comparable = if moved { is_there(path, before) && is_there(path, after) } else { known };
            comparable && before != after && (is_there(path, before) || is_there(path, after))
        })
        .collect();
    let mut because = Vec::new();
    if old.object["spec"] != new.object["spec"] {
        because.push("the spec of the Application".to_owned());
    }
    because.extend(differing.iter().take(MOST_PATHS).map(ToString::to_string));
    if differing.len() > MOST_PATHS {
        because.push(format!("and {} more", differing.len() - MOST_PATHS));
    }
    because
}
