//! Applications and objects as a tree: an Application below the one in whose Git it stands.

use std::collections::{BTreeMap, BTreeSet};

use gitmoor_core::{
    names::{APPLICATION_GROUP, APPLICATION_KIND},
    tracking::ApplicationKey,
    view::{ApplicationView, ViewedResource},
};

use super::rows::style;
use crate::terminal::Style;

/// All trees, or those below some roots.
pub(super) fn lines(all: &[ApplicationView], roots: Option<&[ApplicationView]>) -> Vec<(Style, String)> {
    let known: BTreeMap<ApplicationKey, &ApplicationView> = all.iter().map(|view| (view.key(), view)).collect();
    let children: BTreeSet<ApplicationKey> =
        all.iter().flat_map(|view| view.resources().iter().filter_map(|resource| child(view, resource))).collect();
    let mut tree = Tree { known, lines: Vec::new(), drawn: BTreeSet::new() };
    match roots {
        Some(roots) => roots.iter().for_each(|root| tree.application(root, "", "")),
        None => {
            all.iter().filter(|view| !children.contains(&view.key())).for_each(|root| tree.application(root, "", ""));
        }
    }
    tree.lines
}

/// The Application that an object is.
fn child(parent: &ApplicationView, resource: &ViewedResource) -> Option<ApplicationKey> {
    let is_application = resource.group == APPLICATION_GROUP && resource.kind == APPLICATION_KIND;
    let namespace = resource.namespace.clone().unwrap_or_else(|| parent.key().namespace);
    is_application.then(|| ApplicationKey { namespace, name: resource.name.clone() })
}

struct Tree<'a> {
    known: BTreeMap<ApplicationKey, &'a ApplicationView>,
    lines: Vec<(Style, String)>,
    /// An Application that manages itself, or two that manage each other, are drawn once.
    drawn: BTreeSet<ApplicationKey>,
}

impl Tree<'_> {
    fn application(&mut self, view: &ApplicationView, branch: &str, indent: &str) {
        let key = view.key();
        let reason = view.reason();
        let reason = if reason.is_empty() { String::new() } else { format!("  {reason}") };
        let what = format!("Application {}  {}  {}", key.name, view.sync(), view.health());
        self.lines
            .push((style(view), format!("{branch}{what}  {}{reason}", view.short_revision()).trim_end().to_owned()));
        if !self.drawn.insert(key) {
            return;
        }
        let resources = view.resources();
        for (position, resource) in resources.iter().enumerate() {
            let last = position + 1 == resources.len();
            let (branch, below) = if last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
            let (branch, below) = (format!("{indent}{branch}"), format!("{indent}{below}"));
            let known = child(view, resource).and_then(|key| self.known.get(&key).copied());
            match known {
                Some(child) => self.application(child, &branch, &below),
                None => self.lines.push((object_style(resource), format!("{branch}{}", object(resource)))),
            }
        }
    }
}

fn object(resource: &ViewedResource) -> String {
    let health = resource.health.clone().unwrap_or_default();
    let detail = health.message.filter(|_| health.status != "Healthy").unwrap_or_default();
    let gone = if resource.requires_pruning { "not in Git any more" } else { "" };
    let words = [resource.id().to_string(), resource.status.clone(), health.status, gone.to_owned(), detail];
    words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join("  ")
}

fn object_style(resource: &ViewedResource) -> Style {
    let health = resource.health.as_ref().map_or("", |health| health.status.as_str());
    match health {
        "Degraded" => Style::Red,
        _ if resource.is_fine() => Style::Plain,
        _ => Style::Yellow,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn view(name: &str, resources: serde_json::Value) -> ApplicationView {
        serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": "gitmoor"},
            "status": {"sync": {"status": "Synced"}, "health": {"status": "Healthy"}, "resources": resources},
        }))
        .unwrap()
    }

    #[test]
    fn applications_stand_below_the_one_that_has_them_in_git_and_no_circle_is_endless() {
        let of = |name: &str| json!({"group": "argoproj.io", "kind": "Application", "name": name, "status": "Synced"});
        let map = json!({"kind": "ConfigMap", "namespace": "web", "name": "a", "status": "OutOfSync"});
        let all = [
            view("platform", json!([of("web"), of("lost")])),
            view("web", json!([map, of("web")])),
            view("other", json!([])),
        ];
        let drawn: Vec<String> = lines(&all, None).into_iter().map(|(_, line)| line).collect();
        let expected = [
            "Application platform  Synced  Healthy",
            "├─ Application web  Synced  Healthy",
            "│  ├─ ConfigMap web/a  OutOfSync",
            "│  └─ Application web  Synced  Healthy",
            "└─ Application.argoproj.io lost  Synced",
            "Application other  Synced  Healthy",
        ];
        assert_eq!(drawn, expected);
        assert_eq!(lines(&all, Some(&all[2..])).len(), 1);
    }
}
