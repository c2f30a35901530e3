//! The distribution: its settings are complete, all of it renders, and what it renders keeps the rules.

use std::collections::BTreeSet;
use std::fs;

use gitmoor_core::setup_conf::SetupConf;
use gitmoor_core::template::{Matcher, substitute};
use gitmoor_tests::distribution::fork::{Fork, files, name_of, sources, text_at, uses};
use gitmoor_tests::distribution::policy;
use gitmoor_tests::harness::tools::workspace;
use serde_json::{Value, json};

mod alone;
mod logins;
mod off;
mod promises;

/// The overlays that `<<__environment__>>` chooses from.
const ENVIRONMENTS: [&str; 2] = ["aws", "single-node"];
/// Kinds that have no namespace.
const CLUSTER_SCOPED: [&str; 10] = [
    "Namespace",
    "CustomResourceDefinition",
    "ClusterRole",
    "ClusterRoleBinding",
    "StorageClass",
    "IngressClass",
    "PriorityClass",
    "ClusterIssuer",
    "ClusterSecretStore",
    "ClusterExternalSecret",
];

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
                let cluster_scoped = CLUSTER_SCOPED.contains(&text_at(object, "/kind"));
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
        for application in fork.offered() {
            let found = policy::faults(&fork.render(&application));
            let name = text_at(&application, "/metadata/name");
            faults.extend(found.into_iter().map(|fault| format!("{name} ({environment}): {fault}")));
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
            // Kubernetes' own, and the agent's.
            .chain(["kube-system".to_owned(), "gitmoor".to_owned()])
            .collect();

        let selection = fork.selection();
        assert!(!selection.is_empty());
        for application in &selection {
            let id = name_of(application);
            assert_eq!(application["kind"], "Application", "{id}");
            let wave = application.pointer("/metadata/annotations/argocd.argoproj.io~1sync-wave");
            assert!(wave.and_then(Value::as_str).is_some_and(|wave| wave.parse::<i32>().is_ok()), "{id}: sync wave");
            let namespace = text_at(application, "/spec/destination/namespace");
            let options = application.pointer("/spec/syncPolicy/syncOptions").and_then(Value::as_array);
            let makes_it = options.is_some_and(|options| options.contains(&Value::from("CreateNamespace=true")));
            let exists = namespace.is_empty() || makes_it || namespaces.contains(namespace);
            assert!(exists, "{id}: nobody makes {namespace}");
            assert_ne!(text_at(application, "/metadata/name"), "platform", "the root would manage itself");
        }
        let root = fork.documents("distribution/platform.yaml");
        assert_eq!(root.len(), 1);
        for application in fork.offered().iter().chain(&root) {
            let id = name_of(application);
            assert_eq!(text_at(application, "/metadata/namespace"), "gitmoor", "{id}");
            assert!(application.pointer("/metadata/finalizers").is_none(), "{id} would cascade");
            let automated = application.pointer("/spec/syncPolicy/automated");
            assert_eq!(automated, Some(&json!({"prune": true, "selfHeal": true})), "{id}");
        }
    }
}

#[test]
fn sources_are_folders_of_the_fork_or_charts_of_one_version() {
    for environment in ENVIRONMENTS {
        let fork = Fork::new(environment);
        // What only the other environment has need not be there in this one.
        for application in fork.offered().iter().filter(|one| belongs_to(one, environment)) {
            let id = name_of(application);
            for source in sources(application) {
                let (path, chart) = (text_at(source, "/path"), text_at(source, "/chart"));
                assert!(path.is_empty() || chart.is_empty(), "{id}: a path in a chart");
                let of_charts = if path.is_empty() { None } else { Some(fork.path(path)) };
                if let Some(folder) = &of_charts {
                    // Of the folders that a command fills, the README says so.
                    let files = ["kustomization.yaml", "Chart.yaml", "README.md"];
                    let there = files.iter().any(|file| folder.join(file).is_file());
                    assert!(there, "{id}: nothing to render in {path}");
                }
                if !chart.is_empty() {
                    let version = text_at(source, "/targetRevision").trim_start_matches('v');
                    let numbers: Vec<&str> = version.split('.').collect();
                    let exact = numbers.len() == 3 && numbers.iter().all(|number| number.parse::<u32>().is_ok());
                    assert!(exact, "{id}: {version} is no exact version");
                    assert!(!text_at(source, "/helm/releaseName").is_empty(), "{id}: its release has no name");
                }
                for file in fork.value_files(source) {
                    let file = of_charts.as_ref().map_or(file.clone(), |folder| folder.join(&file));
                    assert!(file.is_file(), "{id}: there is no {}", file.display());
                    serde_yaml::from_str::<serde_yaml::Mapping>(&fs::read_to_string(&file).unwrap()).unwrap();
                }
            }
        }
    }
}

/// Whether an Application can be selected in an environment.
fn belongs_to(application: &Value, environment: &str) -> bool {
    let name = text_at(application, "/metadata/name");
    let others = ENVIRONMENTS.iter().filter(|other| **other != environment);
    let mut folders = others.map(|other| workspace().join("distribution/applications").join(other));
    !folders.any(|folder| folder.join(format!("{name}.yaml")).exists())
}

#[test]
fn every_application_is_offered() {
    let distribution = workspace().join("distribution");
    for file in files(&distribution.join("applications")) {
        let name = file.file_name().unwrap().to_str().unwrap();
        if name == "kustomization.yaml" {
            continue;
        }
        // That of its environment, or the one of both.
        let beside = file.with_file_name("kustomization.yaml");
        let (kustomization, line) = if beside.exists() {
            (beside, format!("- {name}"))
        } else {
            (distribution.join("kustomization.yaml"), format!("- applications/{name}"))
        };
        let selection = fs::read_to_string(&kustomization).unwrap();
        assert!(selection.contains(&line), "{} lacks `{line}`, also as a comment", kustomization.display());
        let application = fs::read_to_string(&file).unwrap();
        let stem = name.strip_suffix(".yaml").unwrap();
        assert!(application.contains(&format!("\n  name: {stem}\n")), "{} names another one", file.display());
    }
}

#[test]
fn every_component_has_a_readme_of_ten_lines() {
    let fork = Fork::new("aws");
    let folder = |name: &str| {
        let folders = ["distribution/components/", "distribution/"].map(|above| format!("{above}{name}/README.md"));
        folders.into_iter().find(|path| fork.path(path).is_file()).unwrap_or_else(|| panic!("{name} has no README.md"))
    };
    for application in fork.offered() {
        let name = text_at(&application, "/metadata/name");
        let readme = folder(name);
        let text = fs::read_to_string(fork.path(&readme)).unwrap();
        assert!(text.starts_with(&format!("# {name}\n")), "{readme} is called otherwise");
        for part in ["Gives", "Needs", "Reach it", "Turn off", "Rendered with"] {
            assert!(text.contains(&format!("\n- **{part}**: ")), "{readme} lacks {part}");
        }
        let lines = text.lines().count();
        assert!(lines <= 15, "{readme} has {lines} lines: what is longer belongs into docs/");
        let (_, rendered) = text.split_once("**Rendered with**: ").unwrap();
        for source in sources(&application).into_iter().filter(|source| !text_at(source, "/chart").is_empty()) {
            let chart = format!("chart {} {}", text_at(source, "/chart"), text_at(source, "/targetRevision"));
            let said = rendered.starts_with(&chart) || rendered.starts_with("keys checked, not rendered");
            assert!(said, "{readme}: rendered with {rendered}, and the Application takes {chart}");
        }
    }
    // Each folder is a component that can be selected.
    let offered: BTreeSet<String> =
        fork.offered().iter().map(|one| text_at(one, "/metadata/name").to_owned()).collect();
    for entry in fs::read_dir(workspace().join("distribution/components")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(offered.contains(&name), "there is no Application {name}");
    }
}

#[test]
fn what_a_component_needs_is_selected_with_it_and_named_where_it_is_turned_off() {
    for environment in ENVIRONMENTS {
        let fork = Fork::new(environment);
        let names = |applications: &[Value]| -> BTreeSet<String> {
            applications.iter().map(|one| text_at(one, "/metadata/name").to_owned()).collect()
        };
        let all: Vec<Value> = fork.offered().into_iter().filter(|one| fork.has(one)).collect();
        let offered = names(&all);
        for application in &all {
            let name = text_at(application, "/metadata/name");
            for other in fork.needs(application).union(&uses(application)) {
                assert!(offered.contains(other), "{name} needs {other}, which there is not in {environment}");
                if other != "namespaces" {
                    let folders = ["components/", ""].map(|folder| format!("distribution/{folder}{other}/README.md"));
                    let readme = folders.iter().find_map(|path| fs::read_to_string(fork.path(path)).ok()).unwrap();
                    let (_, off) = readme.split_once("**Turn off**").unwrap_or_else(|| panic!("{other}: {readme}"));
                    assert!(
                        off.contains(&format!("`{name}`")),
                        "{other}'s README does not say what that is for {name}"
                    );
                }
            }
        }
        let selection = fork.selection();
        let selected = names(&selection);
        for application in &selection {
            let missing: Vec<String> = fork.needs(application).difference(&selected).cloned().collect();
            assert!(missing.is_empty(), "{} needs {missing:?} in {environment}", name_of(application));
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
