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
pub fn explain(facts: &Facts) -> Vec<Finding> {
    let mut findings: Vec<Finding> = conditions::argo_cd(facts).into_iter().chain(conditions::agent(facts)).collect();
    findings.extend(conditions::all(facts));
    let mut unwell: Vec<&ObjectFacts> = facts.objects.iter().collect();
    unwell.sort_by_key(|object| !leaving::stops_all(object));
    findings.extend(unwell.into_iter().flat_map(|object| objects::one(facts, object)));
    findings.extend(facts.children.iter().filter_map(|(name, findings)| children(name, findings)));
    findings.extend(leaving::application(facts));
    findings.extend(conditions::state(facts, &findings));
    findings.sort_by_key(|finding| finding.cause);
    let mut seen = std::collections::BTreeSet::new();
    findings.retain(|finding| seen.insert(finding.sentence.clone()));
    findings
}

/// The root cause of an Application below this one.
fn children(name: &str, findings: &[Finding]) -> Option<Finding> {
    let first = findings.first()?.clone();
    let sentence = format!("in Application {name}: {}", first.sentence);
    let application = first.application.or_else(|| Some(name.to_owned()));
    Some(Finding { sentence, application, ..first })
}

#[cfg(test)]
mod tests;
