//! The distribution: its settings are complete, all of it renders, and what it renders keeps the rules.

pub(crate) mod fork;
mod policy;

use std::collections::BTreeSet;
use std::fs;

use gitmoor_core::setup_conf::SetupConf;
use gitmoor_core::template::{Matcher, substitute};
use gitmoor_tests::harness::tools::workspace;
use serde_json::Value;

use fork::{Fork, files, name_of, text_at};

/// The overlays that `<<__environment__>>` chooses from.
const ENVIRONMENTS: [&str; 2] = ["aws", "single-node"];

#[test]
fn placeholders_and_settings_are_the_same_set() {
    let none = Matcher::new([]).unwrap();
    let mut placeholders = BTreeSet::new();
    for file in files(&workspace().join("distribution")) {
        let text = fs::read(&file).unwrap();
        placeholders.extend(substitute(&text, &none).left_over.into_iter().map(|found| found.token));
    }
    let settings: BTreeSet<String> = settings().entries().iter().map(|entry| entry.token.clone()).collect();
    assert_eq!(placeholders, settings, "left: distribution/, right: setup.conf.example");
}

#[test]
fn every_setting_has_a_comment_and_a_plausible_value() {
    let text = settings_text();
    let lines: Vec<&str> = text.lines().collect();
    for pair in lines.windows(2).filter(|pair| pair[1].starts_with("<<__")) {
        assert!(pair[0].starts_with("# ") && !pair[0].starts_with("# --"), "no comment above {}", pair[1]);
    }
    let settings = settings();
    assert!(settings.warnings().is_empty(), "{:?}", settings.warnings());
    assert!(settings.secret_values().is_empty(), "{:?}", settings.secret_values());
    for entry in settings.entries() {
        assert!(!entry.value.trim().is_empty(), "{} is empty", entry.token);
    }
}

#[test]
fn everything_renders_in_every_environment() {
    for environment in ENVIRONMENTS {
        let fork = Fork::new(environment);
        for kustomization in fork.kustomizations() {
            let objects = fork.build(&kustomization);
            let mut seen = BTreeSet::new();
            for object in &objects {
                let id = name_of(object);
                for field in ["/apiVersion", "/kind", "/metadata/name"] {
                    assert!(!text_at(object, field).is_empty(), "{kustomization}: no {field} in {object}");
                }
                let cluster_scoped = ["Namespace", "CustomResourceDefinition"].contains(&text_at(object, "/kind"));
                let namespace = text_at(object, "/metadata/namespace");
                assert_eq!(namespace.is_empty(), cluster_scoped, "{kustomization}: namespace of {id}");
                assert!(seen.insert(id.clone()), "{kustomization}: {id} twice");
            }
        }
    }
}

#[test]
fn what_renders_keeps_the_rules() {
    let mut faults = BTreeSet::new();
    for environment in ENVIRONMENTS {
        let fork = Fork::new(environment);
        for kustomization in fork.kustomizations() {
            let found = policy::faults(&fork.build(&kustomization));
            faults.extend(found.into_iter().map(|fault| format!("{kustomization}: {fault}")));
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn the_selection_holds_applications_that_can_be_resolved() {
    for environment in ENVIRONMENTS {
        let fork = Fork::new(environment);
        let namespaces: BTreeSet<String> = fork
            .build("distribution/components/namespaces/base")
            .iter()
            .filter(|object| object["kind"] == "Namespace")
            .map(|object| text_at(object, "/metadata/name").to_owned())
            .collect();

        let selection = fork.build("distribution");
        assert!(!selection.is_empty());
        for application in &selection {
            let id = name_of(application);
            assert_eq!(application["kind"], "Application", "{id}");
            let wave = application.pointer("/metadata/annotations/argocd.argoproj.io~1sync-wave");
            assert!(wave.and_then(Value::as_str).is_some_and(|wave| wave.parse::<i32>().is_ok()), "{id}: sync wave");
            let namespace = text_at(application, "/spec/destination/namespace");
            assert!(namespace.is_empty() || namespaces.contains(namespace), "{id}: nobody makes {namespace}");
            assert_ne!(text_at(application, "/metadata/name"), "platform", "the root would manage itself");
        }
        let root = fork.documents("distribution/platform.yaml");
        assert_eq!(root.len(), 1);
        for application in selection.iter().chain(&root) {
            let id = name_of(application);
            assert_eq!(text_at(application, "/metadata/namespace"), "gitmoor", "{id}");
            assert!(application.pointer("/metadata/finalizers").is_none(), "{id} would cascade");
            let path = text_at(application, "/spec/source/path");
            assert!(fork.path(path).join("kustomization.yaml").is_file(), "{id}: no kustomization in {path}");
        }
    }
}

#[test]
fn every_application_is_offered_and_every_component_described() {
    let distribution = workspace().join("distribution");
    let selection = fs::read_to_string(distribution.join("kustomization.yaml")).unwrap();
    for entry in fs::read_dir(distribution.join("applications")).unwrap() {
        let line = format!("- applications/{}", entry.unwrap().file_name().to_str().unwrap());
        assert!(selection.contains(&line), "distribution/kustomization.yaml lacks `{line}`, also as a comment");
    }
    for entry in fs::read_dir(distribution.join("components")).unwrap() {
        let readme = entry.unwrap().path().join("README.md");
        let text = fs::read_to_string(&readme).unwrap_or_else(|error| panic!("{}: {error}", readme.display()));
        for part in ["**Gives**", "**Needs**", "**Turn off**", "**Rendered with**"] {
            assert!(text.contains(part), "{} lacks {part}", readme.display());
        }
    }
}

#[test]
fn secrets_that_are_not_in_the_tree_stand_in_the_readme() {
    let fork = Fork::new("aws");
    for kustomization in fork.kustomizations() {
        let secrets = policy::secrets_needed(&fork.build(&kustomization));
        let Some((_, rest)) = kustomization.split_once("components/").filter(|_| !secrets.is_empty()) else {
            assert!(secrets.is_empty(), "{kustomization}: {secrets:?}");
            continue;
        };
        let component = rest.split('/').next().unwrap();
        let readme =
            fs::read_to_string(fork.path("distribution/components").join(component).join("README.md")).unwrap();
        for secret in secrets {
            assert!(readme.contains(&format!("`{secret}`")), "{component}'s README does not mention {secret}");
        }
    }
}

fn settings_text() -> String {
    fs::read_to_string(workspace().join("setup.conf.example")).unwrap()
}

fn settings() -> SetupConf {
    SetupConf::parse(settings_text().as_bytes(), &[]).unwrap()
}
