//! Why an Application is not as it should be: from gathered facts to ranked findings.
//!
//! Nothing is asked here. Whoever gathers reads the Application, its objects that are not well, their pods, events and
//! last words; these functions say which of all that is the cause, in one sentence, with the evidence and the way out.
//! What is the cause of something else comes first: a file that cannot be read explains an object that is missing, a
//! secret that AWS denies explains a container that does not start.

mod conditions;
mod facts;
mod finding;
mod leaving;
mod objects;
mod pods;

pub use facts::{AgentState, EventFact, Facts, ObjectFacts, PodFacts};
pub use finding::{Cause, Evidence, Finding, Origin};

/// All findings, the root cause first; none for an Application that is Synced and Healthy.
///
/// What the sync that runs waits for comes before whatever else is wrong below; what has left Git comes last.
pub fn explain(facts: &Facts) -> Vec<Finding> {
    let waits = facts.view.waits_for().unwrap_or_default();
    let mut own: Vec<Finding> = conditions::argo_cd(facts).into_iter().chain(conditions::agent(facts)).collect();
    own.extend(conditions::all(facts));
    let mut unwell: Vec<&ObjectFacts> = facts.objects.iter().collect();
    unwell.sort_by_key(|object| !leaving::stops_all(object));
    let mut below: Vec<(bool, Finding)> = Vec::new();
    for object in unwell {
        let waited = waits.contains(&format!(" {},", object.id));
        let found =
            objects::one(facts, object).into_iter().map(|finding| leaving::left_git(facts, &object.id, finding));
        below.extend(found.map(|finding| (waited, finding)));
    }
    for (name, findings) in &facts.children {
        let waited = waits.contains(&format!("/{name},"));
        below.extend(children(facts, name, findings).map(|finding| (waited, finding)));
    }
    let is_known = below.iter().any(|(waited, _)| *waited);
    // An error of its own may be why what it waits for does not come.
    let mut ranked: Vec<(bool, Finding)> =
        own.into_iter().map(|finding| (is_known && finding.cause >= Cause::SyncFailed, finding)).collect();
    ranked.extend(below.into_iter().map(|(waited, finding)| (is_known && !waited, finding)));
    ranked.extend(leaving::application(facts).map(|finding| (is_known, finding)));
    ranked.sort_by_key(|(later, finding)| (*later, finding.cause));
    let mut findings: Vec<Finding> = ranked.into_iter().map(|(_, finding)| finding).collect();
    if let Some(state) = conditions::state(facts, &findings) {
        let place = findings.iter().position(|finding| finding.cause > state.cause).unwrap_or(findings.len());
        findings.insert(place, state);
    }
    let mut seen = std::collections::BTreeSet::new();
    findings.retain(|finding| seen.insert(finding.sentence.clone()));
    findings
}

/// The root cause of an Application below this one.
fn children(facts: &Facts, name: &str, findings: &[Finding]) -> Option<Finding> {
    let first = findings.first()?.clone();
    let application = first.application.clone().or_else(|| Some(name.to_owned()));
    let id = facts.objects.iter().map(|object| &object.id).find(|id| objects::is_application(id) && id.name == name);
    let sentence = format!("in Application {name}: {}", first.sentence);
    let finding = Finding { sentence, application, ..first };
    Some(match id {
        Some(id) => leaving::left_git(facts, id, finding),
        None => finding,
    })
}

#[cfg(test)]
mod tests;
