//! An initialised copy of the distribution, and what kustomize makes of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::tools::{tool, workspace};
use gitmoor_core::object::{GroupKind, group_of};
use gitmoor_core::scope::{Scopes, definition};
use gitmoor_core::setup_conf::{Override, SetupConf};
use gitmoor_core::template::substitute;
use serde::Deserialize;
use serde_json::Value;
use tempfile::TempDir;

/// A fork after `init` with the values of setup.conf.example.
pub struct Fork {
    folder: TempDir,
    environment: String,
}

/// Excuses of one chart: by object, then by rule, the reason.
pub type Excuses = BTreeMap<String, BTreeMap<String, String>>;

impl Fork {
    /// Copies and initialises.
    pub fn new(environment: &str) -> Self {
        let chosen = Override { name: "environment".to_owned(), value: environment.to_owned() };
        let text = fs::read(workspace().join("setup.conf.example")).unwrap();
        let matcher = SetupConf::parse(&text, &[chosen]).unwrap().matcher().unwrap();

        let fork = Self { folder: tempfile::tempdir().unwrap(), environment: environment.to_owned() };
        for file in files(&workspace().join("distribution")) {
            let text = fs::read(&file).unwrap();
            let substitution = substitute(&text, &matcher);
            assert_eq!(substitution.left_over, [], "{}", file.display());
            let copy = fork.folder.path().join(file.strip_prefix(workspace()).unwrap());
            fs::create_dir_all(copy.parent().unwrap()).unwrap();
            fs::write(copy, substitution.text).unwrap();
        }
        fork.use_each_option();
        fork
    }

    /// A kustomize Component cannot be built alone: each gets a kustomization that adds it to its base.
    fn use_each_option(&self) {
        for file in files(self.folder.path()) {
            if file.ends_with("kustomization.yaml") && kind(&file) == "Component" {
                let option = file.parent().unwrap();
                let name = option.file_name().unwrap().to_str().unwrap();
                let user = option.join(format!("../../overlays/with-{name}"));
                fs::create_dir_all(&user).unwrap();
                let text = format!("resources: [../../base]\ncomponents: [../../options/{name}]\n");
                fs::write(user.join("kustomization.yaml"), text).unwrap();
            }
        }
    }

    /// The environment that it was initialised for.
    pub fn environment(&self) -> &str {
        &self.environment
    }

    /// A path of the fork.
    pub fn path(&self, relative: &str) -> PathBuf {
        self.folder.path().join(relative)
    }

    /// All folders that can be built, relative to the fork.
    pub fn kustomizations(&self) -> Vec<String> {
        files(self.folder.path())
            .into_iter()
            .filter(|file| file.ends_with("kustomization.yaml") && kind(file) != "Component")
            .map(|file| {
                let folder = file.parent().unwrap().strip_prefix(self.folder.path()).unwrap();
                folder.to_str().unwrap().to_owned()
            })
            .collect()
    }

    /// The objects that a folder renders to.
    pub fn build(&self, relative: &str) -> Vec<Value> {
        let mut command = Command::new(tool("kustomize"));
        command.arg("build").arg(self.path(relative)).env_clear().env("HOME", self.folder.path());
        let output = command.output().unwrap();
        let complaints = String::from_utf8_lossy(&output.stderr);
        // Also a warning: kustomize warns of deprecated fields.
        assert!(output.status.success() && complaints.is_empty(), "kustomize build {relative}: {complaints}");
        parse(&String::from_utf8(output.stdout).unwrap())
    }

    /// The Applications that the environment selects.
    pub fn selection(&self) -> Vec<Value> {
        self.build("distribution")
    }

    /// Every Application that could be selected in any environment.
    pub fn offered(&self) -> Vec<Value> {
        let all = files(&self.path("distribution/applications"));
        let texts = all.iter().map(|file| fs::read_to_string(file).unwrap());
        texts.flat_map(|text| parse(&text)).filter(|object| object["kind"] == "Application").collect()
    }

    /// Applications with the values files that stand commented out in them, for this environment.
    pub fn variants(&self) -> Vec<Value> {
        let others = format!("# Environment {}", self.environment);
        let all = files(&self.path("distribution/applications"));
        let variants = all.iter().filter_map(|file| {
            let text = fs::read_to_string(file).unwrap();
            let lines: Vec<&str> = text.lines().collect();
            let of_environment = |above: &str| !above.contains("# Environment ") || above.contains(&others);
            let offered = |pair: &&[&str]| pair[1].contains("# - $fork/") && of_environment(pair[0]);
            let commented: Vec<&str> = lines.windows(2).filter(offered).map(|pair| pair[1]).collect();
            let used =
                commented.iter().fold(text.clone(), |text, line| text.replace(line, &line.replace("# - ", "- ")));
            (!commented.is_empty()).then(|| parse(&used).remove(0))
        });
        variants.collect()
    }

    /// Whether an Application can be selected in the environment of this fork: the other's may need what is not here.
    pub fn has(&self, application: &Value) -> bool {
        let name = text_at(application, "/metadata/name");
        let all = files(&self.path("distribution/applications"));
        let file = all.into_iter().find(|file| file.ends_with(format!("{name}.yaml"))).unwrap();
        let folder = file.parent().unwrap();
        folder.ends_with("applications") || folder.ends_with(&self.environment)
    }

    /// What `distribution/iam` declares.
    pub fn roles(&self) -> Vec<Value> {
        let folder = fs::read_dir(self.path("distribution/iam")).unwrap().map(|entry| entry.unwrap().path());
        let declared = folder.filter(|file| is_yaml(file)).flat_map(|file| parse(&fs::read_to_string(file).unwrap()));
        declared.collect()
    }

    /// The rules that objects of a component's chart cannot keep: `Kind name` (or `*`), rule, reason.
    pub fn excuses(&self, component: &str) -> Excuses {
        let file = self.path(&format!("distribution/components/{component}/policy-exceptions.yaml"));
        fs::read_to_string(file).map(|text| serde_yaml::from_str(&text).unwrap()).unwrap_or_default()
    }

    /// The components without which an Application says that it cannot work in this environment.
    pub fn needs(&self, application: &Value) -> BTreeSet<String> {
        let of_environment = format!("needs-{}", self.environment);
        [named(application, "needs"), named(application, &of_environment)].into_iter().flatten().collect()
    }

    /// What an Application renders to from this repository: everything, unless it uses a chart of somebody else.
    pub fn render(&self, application: &Value) -> Vec<Value> {
        let own = sources(application).into_iter().filter(|source| !text_at(source, "/path").is_empty());
        let objects = own.flat_map(|source| {
            let path = text_at(source, "/path");
            let has = |file: &str| self.path(path).join(file).exists();
            if has("Chart.yaml") {
                self.template(application, source)
            } else if has("kustomization.yaml") {
                self.build(path)
            } else {
                // Filled by a command of gitmoor.
                let plain = files(&self.path(path)).into_iter().filter(|file| is_yaml(file));
                plain.flat_map(|file| parse(&fs::read_to_string(file).unwrap())).collect()
            }
        });
        placed(objects.collect(), text_at(application, "/spec/destination/namespace"))
    }

    /// A chart of this repository, as the agent renders it.
    fn template(&self, application: &Value, source: &Value) -> Vec<Value> {
        let release = [text_at(source, "/helm/releaseName"), text_at(application, "/metadata/name")];
        let release = release.into_iter().find(|name| !name.is_empty()).unwrap();
        let chart = self.path(text_at(source, "/path"));
        let mut command = Command::new(tool("helm"));
        command.args(["template", release]).arg(&chart).args(["--include-crds", "--skip-tests"]);
        command.args(["--namespace", text_at(application, "/spec/destination/namespace")]);
        for file in self.value_files(source) {
            command.arg("--values").arg(if file.is_absolute() { file } else { chart.join(file) });
        }
        let output = command.env_clear().env("HOME", self.folder.path()).output().unwrap();
        let complaints = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "helm template {}: {complaints}", chart.display());
        let objects = parse(&String::from_utf8(output.stdout).unwrap());
        objects.into_iter().filter(|object| !object.is_null()).collect()
    }

    /// The values of a source: absolute those of this repository, relative to the chart the others.
    pub fn value_files(&self, source: &Value) -> Vec<PathBuf> {
        let named = source.pointer("/helm/valueFiles").and_then(Value::as_array);
        let names = named.into_iter().flatten().map(|name| name.as_str().unwrap());
        names
            .map(|name| match name.strip_prefix("$fork/").or_else(|| name.strip_prefix('/')) {
                Some(own) => self.path(own),
                None => PathBuf::from(name),
            })
            .collect()
    }

    /// The objects of a file.
    pub fn documents(&self, relative: &str) -> Vec<Value> {
        parse(&fs::read_to_string(self.path(relative)).unwrap())
    }
}

fn parse(text: &str) -> Vec<Value> {
    serde_yaml::Deserializer::from_str(text).map(|document| Value::deserialize(document).unwrap()).collect()
}

fn is_yaml(file: &Path) -> bool {
    file.extension().is_some_and(|extension| extension == "yaml")
}

fn kind(file: &Path) -> String {
    text_at(&parse(&fs::read_to_string(file).unwrap())[0], "/kind").to_owned()
}

/// The sources of an Application, in either form.
pub fn sources(application: &Value) -> Vec<&Value> {
    match application["spec"]["sources"].as_array() {
        Some(sources) => sources.iter().collect(),
        None => vec![&application["spec"]["source"]],
    }
}

/// The components that an Application refers to and works without.
pub fn uses(application: &Value) -> BTreeSet<String> {
    named(application, "uses")
}

fn named(application: &Value, annotation: &str) -> BTreeSet<String> {
    let text = text_at(application, &format!("/metadata/annotations/gitmoor.dev~1{annotation}"));
    text.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// As the agent does it: what lives in namespaces and names none goes into the one of the Application.
pub fn placed(mut objects: Vec<Value>, namespace: &str) -> Vec<Value> {
    let scopes = Scopes::new(objects.iter().filter_map(definition));
    for object in &mut objects {
        let kind = GroupKind::new(group_of(text_at(object, "/apiVersion")), text_at(object, "/kind"));
        let lacks_one = text_at(object, "/metadata/namespace").is_empty() && scopes.is_namespaced(&kind);
        if lacks_one && !namespace.is_empty() {
            object["metadata"]["namespace"] = namespace.into();
        }
    }
    objects
}

/// All files below a folder, sorted.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The text at a JSON pointer, empty where there is none.
pub fn text_at<'v>(object: &'v Value, pointer: &str) -> &'v str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// `Kind namespace/name`.
pub fn name_of(object: &Value) -> String {
    let [kind, namespace, name] = ["/kind", "/metadata/namespace", "/metadata/name"].map(|at| text_at(object, at));
    format!("{kind} {namespace}/{name}")
}
