//! Which left-over objects may be deleted: rule 1 of ARCHITECTURE.md.

use sha2::{Digest, Sha256};

use crate::live::LiveObject;
use crate::names::{ANNOTATION_CONFIRM_PRUNE, APPLICATION_GROUP, APPLICATION_KIND};
use crate::object::ObjectId;
use crate::tracking::hex;

/// Above this many objects, deleting more than half of an Application's waits for confirmation.
const MANY: usize = 10;

/// What is known when the left-over objects of an Application are judged.
#[derive(Clone, Debug)]
pub struct PruneContext<'a> {
    /// The Application prunes by itself.
    pub enabled: bool,
    /// Why the present render cannot vouch for absence, if so: errors, kinds that could not be resolved.
    pub incomplete: Option<String>,
    /// Another Application of the repository that has not been planned at this commit.
    pub held_by: Option<String>,
    /// How many objects the render has.
    pub desired: usize,
    /// `allowEmpty`.
    pub allow_empty: bool,
    /// The Application itself is being deleted with its objects.
    pub cascade: bool,
    /// The digest that the user has confirmed.
    pub confirmed: Option<&'a str>,
    /// Namespace that the agent runs in.
    pub agent_namespace: &'a str,
}

/// What becomes of the left-over objects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// To be deleted now, with preconditions.
    pub delete: Vec<ObjectId>,
    /// Waiting, each with the reason.
    pub waiting: Vec<(ObjectId, String)>,
    /// Why nothing at all is deleted now.
    pub held: Option<Held>,
    /// What the user confirms to let the waiting ones go.
    pub confirm: Option<String>,
}

/// Why nothing is deleted now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    /// The Application does not prune by itself.
    Disabled,
    /// The render is not complete.
    Incomplete(String),
    /// Another Application has not been planned at this commit.
    By(String),
    /// The render is empty and `allowEmpty` is not set.
    Empty,
}

/// Judges the left-over objects of an Application.
pub fn judge(left_over: &[&LiveObject], context: &PruneContext<'_>) -> Verdict {
    if left_over.is_empty() {
        return Verdict::default();
    }
    if let Some(held) = held(context) {
        return Verdict { held: Some(held), ..Verdict::default() };
    }
    let total = left_over.len() + context.desired;
    let too_many = left_over.len() > MANY && left_over.len() * 2 > total;
    let (mut verdict, mut questions) = (Verdict::default(), Vec::new());
    for live in left_over.iter().filter(|live| !live.deleting) {
        match protection(live, context) {
            Protection::Never(why) => verdict.waiting.push((live.id.clone(), why.to_owned())),
            Protection::Confirm(why) => questions.push((*live, why.to_owned())),
            Protection::None if too_many => {
                questions.push((*live, format!("{} of {total} objects would go", left_over.len())));
            }
            Protection::None => verdict.delete.push(live.id.clone()),
        }
    }
    // The digest covers exactly what waits for it, so that what goes meanwhile does not change it.
    let confirm = digest(questions.iter().map(|(live, _)| *live));
    if is_confirmed(context.confirmed, &confirm) {
        verdict.delete.extend(questions.into_iter().map(|(live, _)| live.id.clone()));
    } else if !questions.is_empty() {
        verdict.waiting.extend(questions.into_iter().map(|(live, why)| (live.id.clone(), why)));
        verdict.confirm = Some(confirm);
    }
    verdict
}

fn held(context: &PruneContext<'_>) -> Option<Held> {
    let held_by = context.held_by.clone().map(Held::By);
    if context.cascade {
        return held_by;
    }
    if let Some(reason) = &context.incomplete {
        return Some(Held::Incomplete(reason.clone()));
    }
    if !context.enabled {
        return Some(Held::Disabled);
    }
    if context.desired == 0 && !context.allow_empty {
        return Some(Held::Empty);
    }
    held_by
}

/// Why an object may not be deleted to be made anew, if so: the reason, and what confirms it where people may.
pub fn held_recreation(live: &LiveObject, confirmed: Option<&str>, agent_namespace: &str) -> Option<String> {
    let context = PruneContext {
        enabled: true,
        incomplete: None,
        held_by: None,
        desired: 0,
        allow_empty: true,
        cascade: false,
        confirmed,
        agent_namespace,
    };
    match protection(live, &context) {
        Protection::None => None,
        Protection::Never(why) => Some(why.to_owned()),
        Protection::Confirm(why) => {
            let digest = digest(std::iter::once(live));
            (!is_confirmed(confirmed, &digest)).then(|| {
                format!("{why}; to have it deleted and made anew, annotate the Application with {ANNOTATION_CONFIRM_PRUNE}={digest}")
            })
        }
    }
}

/// A confirmation names digests, with commas in between.
fn is_confirmed(confirmed: Option<&str>, digest: &str) -> bool {
    confirmed.is_some_and(|confirmed| confirmed.split(',').any(|one| one.trim() == digest))
}

/// What people are told of objects that wait, and how they confirm; `None` when nothing waits.
pub fn describe(verdict: &Verdict) -> Option<String> {
    if verdict.waiting.is_empty() {
        return None;
    }
    let listed: Vec<String> = verdict.waiting.iter().take(20).map(|(id, why)| format!("{id} ({why})")).collect();
    let more = verdict.waiting.len().saturating_sub(listed.len());
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let confirm = verdict
        .confirm
        .as_ref()
        .map(|digest| format!("; to delete them, annotate the Application with {ANNOTATION_CONFIRM_PRUNE}={digest}"));
    Some(format!("not in Git any more: {}{more}{}", listed.join(", "), confirm.unwrap_or_default()))
}

/// The digests that such a message, or that of an object to be made anew, asks to be confirmed.
pub fn asked(message: &str) -> Vec<&str> {
    let question = format!("annotate the Application with {ANNOTATION_CONFIRM_PRUNE}=");
    let answers = message.split(question.as_str()).skip(1);
    let digest = |rest: &str| rest.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(rest.len());
    answers.map(|rest| &rest[..digest(rest)]).filter(|digest| !digest.is_empty()).collect()
}

enum Protection {
    None,
    Confirm(&'static str),
    Never(&'static str),
}

fn protection(live: &LiveObject, context: &PruneContext<'_>) -> Protection {
    let (group, kind) = (live.id.group_kind.group.as_str(), live.id.group_kind.kind.as_str());
    if is_the_agents(&live.id, context.agent_namespace) {
        return Protection::Never("the agent itself runs on it");
    }
    if context.cascade && live.guard.delete_disabled {
        return Protection::Never("it is annotated Delete=false");
    }
    if !context.cascade && live.guard.prune_disabled {
        return Protection::Never("it is annotated Prune=false");
    }
    if live.guard.prune_confirm {
        return Protection::Confirm("it is annotated Prune=confirm");
    }
    if live.guard.delete_confirm {
        return Protection::Confirm("it is annotated Delete=confirm");
    }
    if live.guard.cascades {
        return Protection::Confirm("its deletion deletes what it owns");
    }
    match (group, kind) {
        ("", "Namespace") => Protection::Confirm("a Namespace takes everything in it along"),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => {
            Protection::Confirm("a CustomResourceDefinition takes all its objects along")
        }
        ("", "PersistentVolume" | "PersistentVolumeClaim") => Protection::Confirm("it holds data"),
        ("kubeflow.org", "Profile") => Protection::Confirm("a Profile takes its namespace along"),
        (group, _) if group.ends_with(".services.k8s.aws") => Protection::Confirm("it stands for an AWS resource"),
        _ => Protection::None,
    }
}

/// What the agent needs to go on: its namespace, its definitions, its own objects.
fn is_the_agents(id: &ObjectId, agent_namespace: &str) -> bool {
    let own_name = id.name == "gitmoor-agent" || id.name.starts_with("gitmoor-agent-");
    match id.group_kind.kind.as_str() {
        "Namespace" => id.name == agent_namespace,
        "CustomResourceDefinition" => id.name.ends_with(&format!(".{APPLICATION_GROUP}")),
        APPLICATION_KIND => false,
        _ => own_name && id.namespace.as_deref().is_none_or(|namespace| namespace == agent_namespace),
    }
}

/// Digest of a list of objects, by identity and incarnation: what a confirmation names.
fn digest<'a>(objects: impl Iterator<Item = &'a LiveObject>) -> String {
    let mut lines: Vec<String> = objects.map(|live| format!("{} {}\n", live.id, live.uid)).collect();
    lines.sort_unstable();
    hex(&Sha256::digest(lines.concat())[..8])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::{Health, HealthStatus};
    use crate::live::{Care, Guard, Ownership};
    use crate::object::GroupKind;
    use crate::tracking::Claim;

    fn live(group: &str, kind: &str, name: &str) -> LiveObject {
        LiveObject {
            id: ObjectId { group_kind: GroupKind::new(group, kind), namespace: Some("web".into()), name: name.into() },
            uid: format!("uid-{name}"),
            resource_version: "1".into(),
            label: String::new(),
            claim: Claim::None,
            digest: None,
            ownership: Ownership::None,
            baseline: None,
            deleting: false,
            health: Health { status: HealthStatus::Healthy, message: None },
            guard: Guard::default(),
            hook: None,
            care: Care::default(),
        }
    }

    fn context() -> PruneContext<'static> {
        PruneContext {
            enabled: true,
            incomplete: None,
            held_by: None,
            desired: 5,
            allow_empty: false,
            cascade: false,
            confirmed: None,
            agent_namespace: "gitmoor",
        }
    }

    #[test]
    fn nothing_goes_unless_absence_is_certain() {
        let object = live("", "ConfigMap", "a");
        for (context, held) in [
            (PruneContext { enabled: false, ..context() }, Held::Disabled),
            (PruneContext { incomplete: Some("x".into()), ..context() }, Held::Incomplete("x".into())),
            (PruneContext { held_by: Some("b".into()), ..context() }, Held::By("b".into())),
            (PruneContext { desired: 0, ..context() }, Held::Empty),
        ] {
            let verdict = judge(&[&object], &context);
            assert_eq!((verdict.held, verdict.delete.len()), (Some(held), 0));
        }
        let cascade = PruneContext { cascade: true, held_by: Some("b".into()), ..context() };
        assert_eq!(judge(&[&object], &cascade).held, Some(Held::By("b".into())), "it may have moved to b");
        assert_eq!(judge(&[&object], &context()).delete, [object.id.clone()]);
        assert_eq!(judge(&[&object], &PruneContext { desired: 0, allow_empty: true, ..context() }).delete.len(), 1);
    }

    #[test]
    fn what_holds_data_or_takes_others_along_waits_for_its_digest() {
        let mut cascade = live("argoproj.io", "Application", "child");
        cascade.guard.cascades = true;
        let confirm = live("", "ConfigMap", "precious");
        let confirm = LiveObject { guard: Guard { prune_confirm: true, ..Guard::default() }, ..confirm };
        for object in [
            live("", "Namespace", "web"),
            live("apiextensions.k8s.io", "CustomResourceDefinition", "things.example.com"),
            live("", "PersistentVolumeClaim", "data"),
            live("", "PersistentVolume", "data"),
            live("kubeflow.org", "Profile", "ann"),
            live("s3.services.k8s.aws", "Bucket", "models"),
            cascade,
            confirm,
        ] {
            let free = live("", "ConfigMap", "free");
            let verdict = judge(&[&object, &free], &context());
            assert_eq!(verdict.delete, [free.id.clone()], "{}", object.id);
            assert_eq!(verdict.waiting[0].0, object.id);
            let digest = verdict.confirm.unwrap();
            let confirmed = judge(&[&object], &PruneContext { confirmed: Some(&digest), ..context() });
            assert_eq!(confirmed.delete, [object.id.clone()], "what was free to go does not change the digest");
            let again = LiveObject { uid: "another".into(), ..object };
            assert!(judge(&[&again], &PruneContext { confirmed: Some(&digest), ..context() }).delete.is_empty());
        }
    }

    #[test]
    fn what_is_asked_is_read_from_the_message_that_asks() {
        let (one, other) = (live("", "PersistentVolumeClaim", "data"), live("", "Namespace", "web"));
        let verdict = judge(&[&one, &other], &context());
        let digest = verdict.confirm.clone().unwrap();
        assert_eq!(asked(&describe(&verdict).unwrap()), [digest.as_str()]);
        let anew = held_recreation(&one, None, "gitmoor").unwrap();
        let both = format!("{},{digest}", asked(&anew)[0]);
        assert_eq!(held_recreation(&one, Some(&both), "gitmoor"), None);
        assert_eq!(judge(&[&one, &other], &PruneContext { confirmed: Some(&both), ..context() }).delete.len(), 2);
        let kept = LiveObject { guard: Guard { prune_disabled: true, ..Guard::default() }, ..one };
        assert!(asked(&describe(&judge(&[&kept], &context())).unwrap()).is_empty());
        assert_eq!(describe(&Verdict::default()), None);
    }

    #[test]
    fn more_than_half_and_more_than_ten_waits() {
        let objects: Vec<LiveObject> = (0..11).map(|i| live("", "ConfigMap", &format!("c{i}"))).collect();
        let eleven: Vec<&LiveObject> = objects.iter().collect();
        assert_eq!(judge(&eleven, &PruneContext { desired: 10, ..context() }).waiting.len(), 11);
        assert_eq!(judge(&eleven, &PruneContext { desired: 11, ..context() }).delete.len(), 11);
        assert_eq!(judge(&eleven[..10], &PruneContext { desired: 1, ..context() }).delete.len(), 10);
    }

    #[test]
    fn the_agent_never_removes_itself() {
        let mut namespace = live("", "Namespace", "gitmoor");
        namespace.id.namespace = None;
        let mut definition = live("apiextensions.k8s.io", "CustomResourceDefinition", "applications.argoproj.io");
        definition.id.namespace = None;
        let mut deployment = live("apps", "Deployment", "gitmoor-agent");
        deployment.id.namespace = Some("gitmoor".into());
        for object in [namespace, definition, deployment] {
            let verdict = judge(&[&object], &context());
            assert!(verdict.delete.is_empty() && verdict.confirm.is_none(), "{}", object.id);
        }
    }

    #[test]
    fn annotations_keep_objects() {
        let kept =
            LiveObject { guard: Guard { prune_disabled: true, ..Guard::default() }, ..live("", "ConfigMap", "a") };
        assert!(judge(&[&kept], &context()).delete.is_empty());
        let kept =
            LiveObject { guard: Guard { delete_disabled: true, ..Guard::default() }, ..live("", "ConfigMap", "a") };
        assert!(judge(&[&kept], &PruneContext { cascade: true, ..context() }).delete.is_empty());
        assert_eq!(judge(&[&kept], &context()).delete.len(), 1);
    }
}
