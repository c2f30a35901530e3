//! A component that is off needs no values, and nothing that stays on refers to it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use gitmoor_core::template::{Matcher, substitute};
use gitmoor_tests::distribution::components::Components;
use gitmoor_tests::distribution::fork::{Fork, files};
use gitmoor_tests::distribution::references::{provided, references};
use gitmoor_tests::distribution::selection;
use gitmoor_tests::harness::program;
use gitmoor_tests::harness::scratch::Scratch;
use gitmoor_tests::harness::tools::tool;
use serde::Deserialize as _;
use serde_json::Value;

use super::ENVIRONMENTS;

/// What the others live in, and what rolls them out.
const ALWAYS_ON: [&str; 2] = ["namespaces", "gitmoor"];

/// A fork as it was copied, with a setup.conf, and nothing done yet.
struct Copied {
    scratch: Scratch,
    environment: &'static str,
}

impl Copied {
    fn new(environment: &'static str) -> Self {
        let copied = Self { scratch: Scratch::new("off"), environment };
        selection::copy_into(copied.top()).unwrap();
        fs::rename(copied.top().join("setup.conf.example"), copied.top().join("setup.conf")).unwrap();
        copied.edit("setup.conf", "<<__environment__>>=aws", &format!("<<__environment__>>={environment}"));
        copied
    }

    /// With everything on that can be.
    fn with_everything(environment: &'static str) -> Self {
        let copied = Self::new(environment);
        for selection in ["distribution/kustomization.yaml".to_owned(), selection_of(environment)] {
            let path = copied.top().join(&selection);
            let text = fs::read_to_string(&path).unwrap();
            let lines = text.lines().map(|line| match line.strip_prefix("  # - ") {
                Some(file) if path.with_file_name(file).is_file() => format!("  - {file}"),
                _ => line.to_owned(),
            });
            fs::write(&path, lines.collect::<Vec<_>>().join("\n") + "\n").unwrap();
        }
        copied
    }

    fn top(&self) -> &Path {
        self.scratch.path()
    }

    fn edit(&self, file: &str, from: &str, to: &str) {
        let path = self.top().join(file);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{file} lacks {from}");
        fs::write(path, text.replace(from, to)).unwrap();
    }

    fn application(&self, name: &str) -> PathBuf {
        let all = files(&self.top().join("distribution/applications"));
        all.into_iter().find(|file| file.ends_with(format!("{name}.yaml"))).unwrap()
    }

    /// Puts a `#` in front of its line.
    fn turn_off(&self, name: &str) {
        let application = self.application(name);
        let beside = application.with_file_name("kustomization.yaml");
        let (selection, line) = if beside.exists() {
            (beside, format!("  - {name}.yaml\n"))
        } else {
            (self.top().join("distribution/kustomization.yaml"), format!("  - applications/{name}.yaml\n"))
        };
        let selection = selection.strip_prefix(self.top()).unwrap().to_str().unwrap().to_owned();
        self.edit(&selection, &line, &format!("  # {}", line.trim_start()));
    }

    /// Takes the values of these names out of setup.conf.
    fn forget(&self, tokens: &BTreeSet<String>) {
        let path = self.top().join("setup.conf");
        let text = fs::read_to_string(&path).unwrap();
        let of_token = |line: &&str| !tokens.iter().any(|token| line.starts_with(&format!("{token}=")));
        fs::write(path, text.lines().filter(of_token).collect::<Vec<_>>().join("\n")).unwrap();
    }

    /// Placeholders that stand in nothing but what deploys a component.
    fn own_placeholders(&self, name: &str) -> BTreeSet<String> {
        let distribution = self.top().join("distribution");
        let folder = distribution.join("components").join(name);
        let application = self.application(name);
        let (mut own, mut others) = (BTreeSet::new(), BTreeSet::new());
        for file in files(&distribution) {
            // What other commands read, they ask for themselves.
            let apart =
                ["iam", "credentials.yaml", "templates"].iter().any(|part| file.starts_with(distribution.join(part)));
            let found = placeholders(&file);
            if file.starts_with(&folder) || file == application {
                own.extend(found);
            } else if !apart {
                others.extend(found);
            }
        }
        &own - &others
    }

    fn gitmoor(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(program("gitmoor"));
        command.env_clear().env("GITMOOR_KUSTOMIZE", tool("kustomize")).current_dir(self.top());
        command.args(arguments).stdin(Stdio::null()).output().unwrap()
    }

    /// `init --check`: exit status, and what it said.
    fn check(&self) -> (Option<i32>, String) {
        let output = self.gitmoor(&["init", "setup.conf", "--check"]);
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

fn placeholders(file: &Path) -> BTreeSet<String> {
    let none = Matcher::new([]).unwrap();
    let text = fs::read(file).unwrap();
    substitute(&text, &none).left_over.into_iter().map(|found| found.token).collect()
}

fn selection_of(environment: &str) -> String {
    format!("distribution/applications/{environment}/kustomization.yaml")
}

/// The components that an environment offers.
fn offered(environment: &str) -> Components {
    Components::of_repository(&Fork::new(environment))
}

#[test]
fn a_component_that_is_off_needs_no_values() {
    let mut tried = 0;
    for environment in ENVIRONMENTS {
        for component in offered(environment).names() {
            let fork = Copied::with_everything(environment);
            let own = fork.own_placeholders(component);
            if own.is_empty() {
                continue;
            }
            fork.forget(&own);
            let (status, said) = fork.check();
            // Overlays for the other environment are not read in this one.
            if status == Some(1) {
                fork.turn_off(component);
                let (status, said) = fork.check();
                assert_eq!(status, Some(0), "{component} in {environment} is off, and yet: {said}");
                assert!(said.contains("not needed"), "{said}");
                tried += 1;
            } else {
                assert!(own.iter().all(|token| !said.contains(&format!("{token},"))), "{component}: {said}");
            }
        }
    }
    assert!(tried > 15, "only {tried} components have placeholders of their own");
}

#[test]
fn what_the_selection_reads_needs_every_value() {
    for (environment, token) in
        [("aws", "<<__git_repo.url__>>"), ("aws", "<<__efs.file_system_id__>>"), ("single-node", "<<__aws_region__>>")]
    {
        let fork = Copied::new(environment);
        fork.forget(&BTreeSet::from([token.to_owned()]));
        let (status, said) = fork.check();
        assert_eq!(status, Some(1), "{token} in {environment}: {said}");
        assert!(said.contains("left over: placeholders without a value") && said.contains(token), "{said}");
    }
    // What only the other environment has is not asked for.
    let fork = Copied::new("single-node");
    fork.forget(&BTreeSet::from(["<<__efs.file_system_id__>>".to_owned(), "<<__vpc_id__>>".to_owned()]));
    assert_eq!(fork.check().0, Some(0), "{}", fork.environment);
}

#[test]
fn nothing_refers_to_a_component_that_is_off() {
    for environment in ENVIRONMENTS {
        let components = offered(environment);
        for component in components.names().filter(|name| !ALWAYS_ON.contains(name)) {
            let fork = Copied::with_everything(environment);
            let on = components.without(component);
            let off: Vec<&str> = components.names().filter(|name| !on.contains(*name)).collect();
            off.iter().for_each(|component| fork.turn_off(component));
            let checked = fork.gitmoor(&["iam", "check"]);
            let said = String::from_utf8_lossy(&checked.stderr).into_owned();
            assert_eq!(checked.status.code(), Some(0), "without {off:?} in {environment}: {said}");
            let initialised = fork.gitmoor(&["init", "setup.conf"]);
            assert!(initialised.status.success(), "{}", String::from_utf8_lossy(&initialised.stderr));
            let built =
                Command::new(tool("kustomize")).arg("build").arg(fork.top().join("distribution")).output().unwrap();
            assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
            let rest = String::from_utf8(built.stdout).unwrap();
            for component in off {
                assert!(
                    !rest.contains(&format!("/{component}/")),
                    "{environment}: something reads files of {component}"
                );
                assert!(!rest.contains(&format!("\n  name: {component}\n")), "{component} is not off in {environment}");
            }
        }
    }
}

#[test]
fn what_is_written_for_people_refers_to_nothing_else() {
    for environment in ENVIRONMENTS {
        let fork = Copied::with_everything(environment);
        let person = "profiles:\n  - { username: ada.lovelace, email: ada@example.com, role: Developer }\n";
        fs::write(fork.top().join("profiles.yaml"), person).unwrap();
        let written = fork.gitmoor(&["iam", "profiles"]);
        assert!(written.status.success(), "{}", String::from_utf8_lossy(&written.stderr));
        let text = fs::read_to_string(fork.top().join("distribution/profiles/ada-lovelace.yaml")).unwrap();
        let documents = serde_yaml::Deserializer::from_str(&text);
        let objects: Vec<Value> = documents.map(|document| Value::deserialize(document).unwrap()).collect();
        assert!(objects.len() > 5, "{text}");
        let mut there = provided(&objects);
        there.extend(provided(&Fork::new(environment).build("distribution/components/gitmoor/base")));
        there.extend(provided(&Fork::new(environment).build("distribution/components/gitmoor/crds")));
        let named = objects.iter().flat_map(references).filter(|target| !target.is_builtin());
        let missing: BTreeSet<String> =
            named.filter(|target| !there.contains(target)).map(|target| target.to_string()).collect();
        assert!(missing.is_empty(), "{environment}: {missing:?}");
    }
}
