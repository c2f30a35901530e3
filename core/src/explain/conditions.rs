//! What the agent itself says: the conditions of the Application, by their category.

use super::{AgentState, Cause, Facts, Finding};
use crate::argo_cd::LEFT_TO_ARGO_CD;
use crate::object::text_at;
use crate::prune::asked;
use crate::view::{ApplicationView, ViewedCondition, one_line, short_commit};

/// Nobody follows the Application.
pub(super) fn agent(facts: &Facts) -> Option<Finding> {
    let namespace = facts.view.key().namespace;
    let (sentence, remedy) = match &facts.agent {
        AgentState::Works => return None,
        AgentState::Silent(seconds) => (
            format!(
                "no agent is running: the last one was seen {seconds} seconds ago, and what is below is as it left it"
            ),
            "see why: gitmoor logs, and kubectl get pods in the agent's namespace".to_owned(),
        ),
        AgentState::Absent(places) => {
            let remedy = "install one: gitmoor bootstrap; or name the namespace of the one there is with --namespace";
            (format!("no agent has ever run in namespace {places}"), remedy.to_owned())
        }
        AgentState::LeavesOut(place) => (
            format!(
                "nobody works on the Applications of namespace {namespace}: the agent of namespace {place} is not told to \
                 follow it"
            ),
            format!(
                "add {namespace} to GITMOOR_APPLICATION_NAMESPACES in the settings of the agent of namespace {place}"
            ),
        ),
    };
    Some(Finding::new(Cause::NoAgent, sentence).mended_by(remedy))
}

/// Somebody else works on the Application.
pub(super) fn argo_cd(facts: &Facts) -> Option<Finding> {
    let controller = facts.argo_cd.as_ref()?;
    let namespace = facts.view.key().namespace;
    let finding = Finding::new(Cause::LeftToArgoCd, controller.sentence(&namespace));
    let finding = finding.shown_by("object", format!("{controller} follows {}", controller.followed()));
    Some(controller.ways_out(&namespace).into_iter().fold(finding, Finding::mended_by))
}

/// A finding for each condition.
pub(super) fn all(facts: &Facts) -> Vec<Finding> {
    facts.view.conditions().iter().map(|condition| one(facts, condition)).collect()
}

fn one(facts: &Facts, condition: &ViewedCondition) -> Finding {
    let (category, text) = (condition.category(), condition.text());
    let finding = repository(facts, category, text)
        .or_else(|| content(facts, category, text))
        .or_else(|| object(facts, category, text))
        .unwrap_or_else(|| rest(facts, category, text, condition.is_error()));
    finding.shown_by("condition", format!("{}: {}", condition.kind, condition.message))
}

/// What keeps the agent from the repository.
fn repository(facts: &Facts, category: &str, text: &str) -> Option<Finding> {
    let app = facts.name();
    let fields = if category == "RevisionNotFound" { &["targetRevision", "chart"][..] } else { &["chart"] };
    let source = facts.source_named(&[fields, &["repoURL"]].concat(), text);
    let (at, url) = (&source.at, source.field("repoURL"));
    let (follows, chart) = (source.follows(), source.field("chart"));
    Some(match category {
        "RevisionNotFound" if !chart.is_empty() => {
            Finding::new(Cause::ChartNotFound, format!("{url} has no chart {chart} in version {follows}"))
                .mended_by(format!("correct {at}.targetRevision of {app}, or publish that version"))
        }
        "RevisionNotFound" => Finding::new(
            Cause::UnknownRevision,
            format!("{app} follows {follows}, and {url} has no branch, tag or commit of that name"),
        )
        .mended_by(format!("push it: git push origin {follows}; or correct {at}.targetRevision of {app}")),
        "ChartNotFound" => {
            Finding::new(Cause::ChartNotFound, format!("{url} has no chart {chart} in version {follows}"))
                .mended_by(format!("correct {at}.chart or {at}.repoURL of {app}, or publish the chart"))
        }
        "RefusedCredentials" => {
            Finding::new(Cause::RefusedCredentials, format!("{url} refuses the agent's credentials"))
                .mended_by(if url.contains("://") && !url.starts_with("ssh://") {
                    format!("give it others: gitmoor bootstrap --credential-only --repository {url} --token-stdin")
                } else {
                    format!("give it others: gitmoor bootstrap --credential-only --repository {url} --ssh-key")
                })
                .mended_by(
                    "they are in a Secret of the agent's namespace with the label argocd.argoproj.io/secret-type: \
                     repository or repo-creds",
                )
        }
        "Unreachable"
        | "TimedOut"
        | "UntrustedCertificate"
        | "UntrustedHostKey"
        | "NotARepository"
        | "TooLarge"
        | "Corrupt"
        | "Other"
        | "ForbiddenAddress"
        | "InvalidIndex"
        | "InvalidArchive"
        | "DigestMismatch" => {
            Finding::new(Cause::RepositoryUnreachable, format!("the agent cannot fetch {url}: {text}"))
                .mended_by("what runs keeps running; the agent tries again by itself")
        }
        _ => return None,
    })
}

/// What is wrong with what the repository holds.
fn content(facts: &Facts, category: &str, text: &str) -> Option<Finding> {
    let app = facts.name();
    let source = facts.source_named(&["path"], text);
    let path = Some(source.field("path")).filter(|path| !path.is_empty()).unwrap_or(facts.source("path"));
    let finding = match category {
        "PathNotFound" => Finding::new(
            Cause::PathMissing,
            format!("the folder {path} does not exist in {} at {}", source.field("repoURL"), source.follows()),
        )
        .mended_by(format!("push the folder, or correct {}.path of {app}", source.at)),
        "InvalidManifest" | "InvalidSource" => {
            Finding::new(Cause::BrokenFile, format!("a file cannot be read: {text}"))
                .mended_by("correct it, commit and push; nothing is applied or deleted until then")
        }
        "RenderFailed" | "RenderTimedOut" | "SourceTooLarge" => {
            let tool = match facts.application["status"]["sourceType"].as_str() {
                Some("Helm") => "helm",
                _ => "kustomize",
            };
            Finding::new(Cause::RenderFailed, format!("{tool} cannot build {path}: {text}"))
                .mended_by(format!("see it on your machine: gitmoor render {app}"))
        }
        "LockMismatch" => {
            Finding::new(Cause::LockMismatch, format!("upstream is not what gitmoor.lock says any more: {text}"))
                .mended_by("see why it was published again; what runs keeps running")
                .mended_by("to take it as it is: gitmoor lock --update NAME; then commit and push")
                .about("gitmoor.lock")
        }
        "RepositoryUnreadable" => Finding::new(
            Cause::RepositoryUnreachable,
            format!("the agent cannot read its copy of the repository: {text}"),
        )
        .mended_by("it tries again by itself; when it goes on, is there room on its volume? gitmoor logs"),
        "RemoteUnreachable" => Finding::new(
            Cause::RepositoryUnreachable,
            format!("what {path} uses from elsewhere cannot be fetched: {text}"),
        )
        .mended_by("what runs keeps running; the agent tries again by itself")
        .mended_by("see whether it is there: gitmoor lock, which also pins it"),
        "RemoteRefused" => {
            Finding::new(Cause::RemoteRefused, format!("what {path} uses from elsewhere may not be used: {text}"))
                .mended_by("correct what names it, commit and push")
                .mended_by(
                    "a host inside is allowed by the agent's --allow-host; credentials are Secrets: docs/sources.md",
                )
        }
        "UnresolvedPlaceholder" => Finding::new(Cause::UnresolvedPlaceholder, text)
            .mended_by("give it a value in setup.conf, then gitmoor init setup.conf --commit, and push"),
        "UnknownKind" => Finding::new(Cause::KindMissing, text)
            .mended_by("install what brings its CustomResourceDefinition; the object is applied as soon as it is there")
            .mended_by("or correct its apiVersion"),
        _ => return None,
    };
    let file = file_of(text);
    let about = file.map(|file| finding.clone().about(file)).unwrap_or(finding);
    Some(about.shown_by("commit", compared(facts)))
}

/// The commit that is in the status. While nothing can be compared, that is the last one that could be.
fn compared(facts: &Facts) -> String {
    match (facts.view.short_revision().as_str(), facts.view.sync()) {
        ("", _) => format!("it follows {}", facts.follows()),
        (at, "Unknown") => format!("last compared with {at}; what came after that cannot be"),
        (at, _) => format!("compared with {at}"),
    }
}

/// What keeps one object from being applied: the text begins with it.
fn object(facts: &Facts, category: &str, text: &str) -> Option<Finding> {
    let (id, why) = text.split_once(": ").unwrap_or(("an object", text));
    Some(match category {
        LEFT_TO_ARGO_CD => Finding::new(
            Cause::LeftToArgoCd,
            format!("{} is left to Argo CD: {why}", id.trim_end_matches(" cannot be deleted")),
        )
        .mended_by("let Argo CD go of it: docs/migration.md; the agent tries again by itself"),
        "UnknownField" => {
            Finding::new(Cause::UnknownField, format!("{id} has a field that its kind does not have: {why}"))
                .mended_by("correct its name or its place; kubectl explain shows the fields of a kind")
        }
        "WebhookUnavailable" => {
            let webhook =
                quoted(why).map_or("an admission webhook".into(), |name| format!("the admission webhook {name}"));
            Finding::new(Cause::WebhookDown, format!("{webhook} does not answer, so {id} cannot be applied"))
                .shown_by("object", format!("{id}: {why}"))
                .mended_by("see the pods of the Service that serves it; the agent tries again until it answers")
                .mended_by("if nothing serves it any more, delete its Validating- or MutatingWebhookConfiguration")
        }
        "QuotaExceeded" => {
            Finding::new(Cause::QuotaExceeded, format!("{id} does not fit into the namespace's quota: {why}"))
                .mended_by("raise the ResourceQuota, or ask for less")
        }
        "NamespaceNotFound" => Finding::new(Cause::NamespaceMissing, format!("the namespace of {id} does not exist"))
            .mended_by("add the Namespace to Git, or give the Application the sync option CreateNamespace=true"),
        "Forbidden" => Finding::new(Cause::Forbidden, format!("the agent may not apply {id}: {why}"))
            .mended_by("give it the right, or take the object out of Git"),
        "ApplyRejected" => Finding::new(Cause::Rejected, format!("the API server refuses {id}: {why}"))
            .mended_by("correct it, commit and push"),
        "ImmutableField" => {
            let finding = Finding::new(Cause::ImmutableField, format!("{id} cannot be changed as Git wants it: {why}"));
            if !asked(text).is_empty() {
                return Some(finding.mended_by(format!("look, and confirm: gitmoor prune {}", facts.name())));
            }
            finding
                .mended_by("undo the change of that field in Git, commit and push")
                .mended_by(
                    "or have the object deleted and made anew: in Git, the annotation \
                     argocd.argoproj.io/sync-options: Force=true on it",
                )
                .mended_by("or delete it yourself; the agent makes it as Git has it")
        }
        "Conflict" | "ApplyFailed" | "ClusterUnreachable" => {
            Finding::new(Cause::Rejected, format!("{id} cannot be applied: {why}"))
                .mended_by("the agent tries again by itself")
        }
        "SharedResource" | "OwnershipConflict" => {
            Finding::new(Cause::Contested, text).mended_by("take it out of one of the two")
        }
        _ => return None,
    })
}

/// Everything else.
fn rest(facts: &Facts, category: &str, text: &str, error: bool) -> Finding {
    let app = facts.name();
    match category {
        "InvalidSpec" | "UnsupportedField" | "IgnoreDifferences" => {
            Finding::new(Cause::InvalidApplication, format!("{app} itself cannot be worked with: {text}"))
                .mended_by(format!("correct {app}, commit and push"))
        }
        "ProjectViolation" => {
            Finding::new(Cause::ProjectViolation, text).mended_by("change the AppProject, or the Application")
        }
        "SyncFailed" => Finding::new(Cause::SyncFailed, format!("the last sync of {app} failed: {text}"))
            .mended_by(format!("when its cause is mended: gitmoor sync {app}")),
        "PruneBlocked" | "PruneHeld" => {
            let finding = Finding::new(Cause::PruneBlocked, format!("a deletion waits: {text}"));
            if asked(text).is_empty() {
                finding
            } else {
                finding.mended_by(format!("look, and confirm: gitmoor prune {app}"))
            }
        }
        _ if error => Finding::new(Cause::Rejected, format!("{category}: {text}")),
        _ => Finding::new(Cause::Warning, text),
    }
}

/// What there is to say when nothing else explains the state.
pub(super) fn state(facts: &Facts, findings: &[Finding]) -> Option<Finding> {
    let (app, view) = (facts.name(), &facts.view);
    let explained = findings.iter().any(|finding| finding.cause < Cause::Warning);
    if view.is_fine() && view.is_suspended() {
        let finding =
            Finding::new(Cause::Suspended, format!("{app} is suspended: it is as Git has it now, and does not follow"));
        return Some(finding.mended_by(resumed(facts)));
    }
    if view.is_fine() || view.is_leaving() || explained {
        return None;
    }
    if view.is_syncing() {
        return Some(Finding::new(Cause::Progressing, format!("{app} is {}", view.reason())).mended_by("wait"));
    }
    if view.sync() == "OutOfSync" && !view.is_automated() {
        return Some(not_synced(facts));
    }
    let reason = view.reason();
    let why = if reason.is_empty() { String::new() } else { format!(": {reason}") };
    Some(Finding::new(Cause::Progressing, format!("{app} is {} and {}{why}", view.sync(), view.health())))
}

/// It waits for people: after a rollback, while it is suspended, or always.
fn not_synced(facts: &Facts) -> Finding {
    let (app, view) = (facts.name(), &facts.view);
    let finding = |sentence: String| Finding::new(Cause::NotSynced, sentence);
    if !view.is_suspended() {
        let finding = finding(format!("{app} differs from Git, and syncs only when asked"));
        return finding.mended_by(format!("look: gitmoor diff {app}")).mended_by(format!("gitmoor sync {app}"));
    }
    let Some(to) = rolled_back(facts) else {
        return finding(format!("{app} differs from Git, and is suspended"))
            .mended_by(format!("look: gitmoor diff {app}"))
            .mended_by(format!("make it what Git says, once: gitmoor sync {app}"))
            .mended_by(resumed(facts));
    };
    finding(format!("{app} was rolled back to {to}, and is suspended: Git is at {}", view.short_revision()))
        .mended_by(format!("to stay there: git revert what came after {to}, push, and then as below"))
        .mended_by(resumed(facts))
}

/// How it follows Git again, and whoever is suspended above it.
fn resumed(facts: &Facts) -> String {
    let above = facts.parent.as_ref().is_some_and(ApplicationView::is_suspended);
    let parents = if above { " --with-parents" } else { "" };
    format!("to follow Git again: gitmoor resume {}{parents}", facts.name())
}

/// The revision that the last sync was asked to go back to, where Git says another one.
fn rolled_back(facts: &Facts) -> Option<String> {
    let state = &facts.application["status"]["operationState"];
    let asked = text_at(state, &["operation", "sync", "revision"]).filter(|asked| !asked.is_empty())?;
    let elsewhere = state["phase"] == "Succeeded" && !facts.view.revision().split(',').any(|one| one == asked);
    elsewhere.then(|| short_commit(asked).to_owned())
}

/// The file that a text begins with.
fn file_of(text: &str) -> Option<&str> {
    let end = text.find([':', ',', ' '])?;
    let file = &text[..end];
    (file.ends_with(".yaml") || file.ends_with(".yml") || file.ends_with(".json")).then_some(file)
}

/// The first text in quotation marks, on one line.
fn quoted(text: &str) -> Option<String> {
    text.split('"').nth(1).map(one_line).filter(|name| !name.is_empty())
}
