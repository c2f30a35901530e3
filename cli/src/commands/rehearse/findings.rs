//! What goes wrong, as the Applications tell it over time.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

use gitmoor_core::{object::text_at, provision::Missing, tracking::ApplicationKey};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    failure::Failure,
    terminal::{Style, Terminal},
};

/// One thing that would go wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct Finding {
    /// One word.
    pub(super) category: String,
    pub(super) application: String,
    pub(super) message: String,
}

impl Finding {
    pub(super) fn new(category: &str, application: &ApplicationKey, message: String) -> Self {
        Self { category: category.to_owned(), application: application.to_string(), message }
    }

    /// What is wrong with files that no Application has read yet.
    pub(super) fn of_files(category: &str, failure: &Failure) -> Self {
        let Failure { message, causes, .. } = failure;
        let message = [std::slice::from_ref(message), causes].concat().join(": ");
        Self { category: category.to_owned(), application: String::new(), message }
    }

    pub(super) fn missing(category: &str, missing: Missing) -> Self {
        let Missing { application, subject, message } = missing;
        Self { category: category.to_owned(), application, message: format!("{subject}: {message}") }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { category, application, message } = self;
        let of = if application.is_empty() { String::new() } else { format!(" {application}:") };
        write!(f, "{category}:{of} {message}")
    }
}

/// All of them, and the conditions that have been seen.
#[derive(Debug, Default)]
pub(super) struct Findings {
    found: BTreeSet<Finding>,
    /// Conditions, and when each was seen last.
    seen: BTreeMap<Finding, Duration>,
    /// Those of the last look.
    present: BTreeSet<Finding>,
    /// Sync and health of each Application.
    states: BTreeMap<String, (String, String)>,
    /// Objects of each Application that are not as they should be.
    unfinished: BTreeMap<String, String>,
}

impl Findings {
    pub(super) fn extend(&mut self, found: impl IntoIterator<Item = Finding>) {
        self.found.extend(found);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// The conditions of the last look.
    pub(super) fn present(&self) -> &BTreeSet<Finding> {
        &self.present
    }

    /// Sync and health of each Application at the last look.
    pub(super) fn states(&self) -> &BTreeMap<String, (String, String)> {
        &self.states
    }

    /// Takes in the Applications; gives a text that changes whenever something does.
    pub(super) fn observe(&mut self, applications: &[Value], at: Duration) -> String {
        self.present.clear();
        self.states.clear();
        self.unfinished.clear();
        let mut text = String::new();
        for object in applications {
            let name = |key: &str| text_at(object, &["metadata", key]).unwrap_or_default();
            let application = format!("{}/{}", name("namespace"), name("name"));
            let status = &object["status"];
            let word = |path: [&str; 2]| text_at(status, &path).unwrap_or_default().to_owned();
            let state = (word(["sync", "status"]), word(["health", "status"]));
            text.push_str(&format!("{application} {state:?} {}", status["resources"]));
            self.states.insert(application.clone(), state);
            self.unfinished.insert(application.clone(), unfinished(status));
            for condition in status["conditions"].as_array().into_iter().flatten() {
                let message = text_at(condition, &["message"]).unwrap_or_default();
                let (category, message) = message.split_once(": ").unwrap_or(("Condition", message));
                let finding = Finding {
                    category: category.to_owned(),
                    application: application.clone(),
                    message: message.to_owned(),
                };
                text.push_str(&finding.message);
                self.seen.insert(finding.clone(), at);
                self.present.insert(finding);
            }
        }
        text
    }

    /// Whether every Application is there, Synced and Healthy.
    pub(super) fn all_done(&self, known: &BTreeSet<ApplicationKey>) -> bool {
        let good = |key: &ApplicationKey| {
            self.states.get(&key.to_string()).is_some_and(|(sync, health)| sync == "Synced" && health == "Healthy")
        };
        self.present.is_empty() && known.iter().all(good)
    }

    /// Whether each of the one is Synced and Healthy or says why not, and each of the other is gone or kept for a reason.
    pub(super) fn has_answered(&self, staying: &BTreeSet<ApplicationKey>, going: &BTreeSet<ApplicationKey>) -> bool {
        let says_why = |name: &String| self.present.iter().any(|finding| finding.application == *name);
        let is_kept = || self.present.iter().any(|finding| finding.category.starts_with("Prune"));
        let stays = staying.iter().map(ToString::to_string).all(|name| {
            let good = |(sync, health): &(String, String)| sync == "Synced" && health == "Healthy";
            self.states.get(&name).is_some_and(good) || says_why(&name)
        });
        stays && going.iter().map(ToString::to_string).all(|name| !self.states.contains_key(&name) || is_kept())
    }

    /// Applications that are not done, and of which nothing was told.
    pub(super) fn unfinished(&self, told: &BTreeSet<Finding>) -> BTreeMap<String, String> {
        let untold = self.states.iter().filter(|(name, (sync, health))| {
            (sync != "Synced" || health != "Healthy") && !told.iter().any(|finding| finding.application == **name)
        });
        let message = |name: &String| self.unfinished.get(name).cloned().unwrap_or_default();
        untold.map(|(name, (sync, health))| (name.clone(), format!("{sync}, {health}{}", message(name)))).collect()
    }

    /// The end: what is wrong now stays wrong; what was, is a matter of order.
    pub(super) fn close(&mut self, known: &BTreeSet<ApplicationKey>) {
        for (finding, at) in &self.seen {
            if self.present.contains(finding) {
                self.found.insert(finding.clone());
            } else if finding.category != "PruneHeld" {
                let message = format!(
                    "came right by itself after {:.1} s, but needed a retry: {} ({})",
                    at.as_secs_f64(),
                    finding.message,
                    finding.category
                );
                self.found.insert(Finding { category: "Order".to_owned(), message, ..finding.clone() });
            }
        }
        for key in known {
            let name = key.to_string();
            let told = self.found.iter().any(|finding| finding.application == name && finding.category != "Order");
            let message = match self.states.get(&name) {
                None => {
                    "the Application never came into being: its parent, or a wave before it, is not ready".to_owned()
                }
                Some((sync, health)) if !told && (sync != "Synced" || health != "Healthy") => {
                    let objects = self.unfinished.get(&name).cloned().unwrap_or_default();
                    format!("it is {sync} and {health} in the end{objects}")
                }
                Some(_) => continue,
            };
            self.found.insert(Finding::new("Unfinished", key, message));
        }
    }

    /// Prints all that was found.
    pub(super) fn print(&self, terminal: &mut Terminal) {
        if terminal.is_json() {
            terminal.json(&json!({ "format": 1, "findings": self.found, "applications": self.states }));
        } else {
            for finding in &self.found {
                terminal.data(Style::Yellow, &finding.to_string());
            }
        }
        terminal.message(&format!("{} findings in {} Applications", self.found.len(), self.states.len()));
    }
}

/// The objects that keep an Application from being done, with what they say.
fn unfinished(status: &Value) -> String {
    let resources = status["resources"].as_array().into_iter().flatten();
    let bad = resources.filter(|entry| {
        entry["status"] != "Synced" || !matches!(entry["health"]["status"].as_str(), None | Some("Healthy"))
    });
    let text = |entry: &Value, key: &str| text_at(entry, &[key]).unwrap_or_default().to_owned();
    let one = |entry: &Value| {
        let health = text_at(entry, &["health", "message"]).or(text_at(entry, &["health", "status"]));
        format!(
            "; {} {}/{}: {}",
            text(entry, "kind"),
            text(entry, "namespace"),
            text(entry, "name"),
            health.unwrap_or("not applied")
        )
    };
    bad.take(5).map(one).collect()
}
