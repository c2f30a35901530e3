//! Charts, options and several trees, with the real helm and kustomize.

use std::path::Path;
use std::process::Command;

use gitmoor_core::source::{Names, Recipe, Source, recipes};
use gitmoor_core::tree::RepoPath;
use gitmoor_engine::helm::{self, Capabilities};
use gitmoor_engine::inputs::{AnyTree, inputs};
use gitmoor_engine::materialise;
use gitmoor_engine::render::{RenderError, RenderOutput, Renderer, render_inputs};
use gitmoor_engine::work_folder::WorkFolder;
use gitmoor_tests::harness::chart_server::helm as helm_program;
use gitmoor_tests::harness::scratch::Scratch;
use gitmoor_tests::harness::tools;
use serde_json::{Value, json};

use super::memory::MemoryTree;
use super::{OWN, renderer, text};

fn recipe_of(source: &Value) -> Recipe {
    made(&json!([source])).remove(0)
}

fn made(sources: &Value) -> Vec<Recipe> {
    let sources: Vec<Source> = serde_json::from_value(sources.clone()).unwrap();
    recipes(&sources, &Names { name: "web", namespace: "team", project: "" }).unwrap()
}

fn cluster() -> Capabilities {
    let api_versions = ["v1", "v1/ConfigMap", "monitoring.example/v1"].map(str::to_owned).into();
    Capabilities { kube_version: "v1.36.1".to_owned(), api_versions }
}

/// Renders the first of the sources; the others are trees of the same order.
async fn rendered(
    renderer: &Renderer,
    tree: &MemoryTree,
    sources: &Value,
    others: &[MemoryTree],
) -> Result<RenderOutput, RenderError> {
    let recipe = made(sources).remove(0);
    let others = others.iter().enumerate().map(|(at, tree)| (at + 1, Box::new(tree.clone()) as AnyTree)).collect();
    let inputs = inputs(recipe, Box::new(tree.clone()), others, &cluster()).await?;
    render_inputs(renderer, inputs, &cluster()).await
}

const CHART: &str = "apiVersion: v2\nname: app\nversion: 1.0.0\n";
const TEMPLATE: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata: {name: "{{ .Release.Name }}", namespace: "{{ .Release.Namespace }}"}
data:
  values: {{ .Values | toJson | quote }}
  kube: "{{ .Capabilities.KubeVersion }}"
  monitored: "{{ .Capabilities.APIVersions.Has "monitoring.example/v1" }}"
"#;

fn chart(more: &[(&str, &str)]) -> MemoryTree {
    let mut tree = MemoryTree::of(&[
        ("charts/app/Chart.yaml", CHART),
        ("charts/app/values.yaml", "a: default\nb: default\nc: default\nd: default\n"),
        ("charts/app/templates/map.yaml", TEMPLATE),
        ("charts/app/crds/crd.yaml", "kind: CustomResourceDefinition\n"),
        ("charts/app/templates/tests/test.yaml", "kind: Pod\nmetadata: {annotations: {helm.sh/hook: test}}\n"),
        ("elsewhere/unrelated.yaml", "x"),
    ]);
    tree.0.extend(more.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())));
    tree
}

/// The values that the template has seen.
fn values(output: &RenderOutput) -> Value {
    let map = text(output).split("\n---\n").find(|document| document.contains("kind: ConfigMap")).unwrap();
    let map: Value = serde_yaml::from_str(map).unwrap();
    serde_json::from_str(map["data"]["values"].as_str().unwrap()).unwrap()
}

#[tokio::test]
async fn helm_is_the_pinned_one() {
    let scratch = Scratch::new("helm-version");
    assert_eq!(helm::version(&renderer(&scratch).helm).await.unwrap().major, 3);
}

#[tokio::test]
async fn a_chart_of_a_repository_renders_with_all_its_options() {
    let scratch = Scratch::new("chart");
    let renderer = renderer(&scratch);
    let tree = chart(&[("values/one,two.yaml", "a: file\nb: file\n"), ("charts/app/c.txt", "from, a file")]);
    let source = json!({"repoURL": "x", "path": "charts/app", "helm": {
        "valueFiles": ["../../values/one,two.yaml", "missing.yaml"], "ignoreMissingValueFiles": true,
        "values": "a: text", "valuesObject": {"b": "object", "n": 5},
        "parameters": [{"name": "d", "value": "x,y"}, {"name": "s", "value": "1", "forceString": true},
                       {"name": "l", "value": "{p,q}"}, {"name": "app", "value": "$ARGOCD_APP_NAME"}],
        "fileParameters": [{"name": "c", "path": "c.txt"}],
        "skipCrds": true, "skipTests": true,
    }});
    let output = rendered(&renderer, &tree, &json!([source]), &[]).await.unwrap();
    let expected = json!({
        "a": "file", "b": "object", "c": "from, a file", "d": "x,y", "l": ["p", "q"], "n": 5, "s": "1", "app": "web",
    });
    assert_eq!(values(&output), expected);
    let text = text(&output);
    assert!(text.contains("name: \"web\", namespace: \"team\""), "{text}");
    assert!(text.contains("kube: \"v1.36.1\"") && text.contains("monitored: \"true\""), "{text}");
    assert!(!text.contains("kind: Pod") && !text.contains("kind: CustomResourceDefinition"), "{text}");
    assert_eq!(output.command, "helm template charts/app");

    let source = json!({"repoURL": "x", "path": "charts/app", "helm": {
        "releaseName": "own", "namespace": "other", "kubeVersion": "1.30.2", "apiVersions": ["x/v1"],
    }});
    let output = rendered(&renderer, &tree, &json!([source]), &[]).await.unwrap();
    let text = super::text(&output);
    assert!(text.contains("name: \"own\", namespace: \"other\""), "{text}");
    assert!(text.contains("kube: \"v1.30.2\"") && text.contains("monitored: \"false\""), "{text}");
    assert!(text.contains("kind: Pod") && text.contains("kind: CustomResourceDefinition"), "{text}");
}

#[tokio::test]
async fn values_come_from_other_sources_by_name() {
    let scratch = Scratch::new("chart-ref");
    let renderer = renderer(&scratch);
    let own = MemoryTree::of(&[("apps/web.yaml", "a: elsewhere\n"), ("cert.pem", "key")]);
    let sources = json!([
        {"repoURL": "x", "path": "charts/app", "helm": {
            "valueFiles": ["$own/apps/$ARGOCD_APP_NAME.yaml"], "fileParameters": [{"name": "c", "path": "$own/cert.pem"}]}},
        {"repoURL": "y", "ref": "own"},
    ]);
    let output = rendered(&renderer, &chart(&[]), &sources, &[own.clone()]).await.unwrap();
    assert_eq!(values(&output), json!({"a": "elsewhere", "b": "default", "c": "key", "d": "default"}));

    let error =
        rendered(&renderer, &chart(&[]), &sources, &[MemoryTree::of(&[("cert.pem", "key")])]).await.unwrap_err();
    let RenderError::OtherInputs { position: 1, ref error, ref own } = error else { panic!("{error:?}") };
    let expected = "helm.valueFiles names \"$own/apps/$ARGOCD_APP_NAME.yaml\", and apps/web.yaml does not exist at this \
                    commit; push it, or correct the Application";
    assert_eq!(error.to_string(), expected);
    assert!(error.read_set.members.contains_key(&super::path("apps")), "{error:?}");
    assert!(own.members.contains_key(&super::path("charts/app/Chart.yaml")));
}

#[tokio::test]
async fn charts_of_the_same_repository_are_dependencies() {
    let scratch = Scratch::new("chart-local");
    let renderer = renderer(&scratch);
    let depends = format!("{CHART}dependencies: [{{name: lib, version: 1.x, repository: 'file://../lib'}}]\n");
    let lib = [
        ("charts/app/Chart.yaml", depends.as_str()),
        ("charts/lib/Chart.yaml", "apiVersion: v2\nname: lib\nversion: 1.2.0\n"),
        ("charts/lib/templates/lib.yaml", "kind: Lib\nmetadata: {name: '{{ .Release.Name }}'}\n"),
    ];
    let source = json!({"repoURL": "x", "path": "charts/app"});
    let output = rendered(&renderer, &chart(&lib), &json!([source]), &[]).await.unwrap();
    assert!(text(&output).contains("kind: Lib"), "{}", text(&output));
    assert!(output.read_set.members.contains_key(&super::path("charts/lib/templates/lib.yaml")));

    let mut circle = lib.to_vec();
    circle[1].1 = "apiVersion: v2\nname: lib\nversion: 1.2.0\ndependencies: [{name: app, version: 1.x, repository: 'file://../app'}]\n";
    let error = rendered(&renderer, &chart(&circle), &json!([source]), &[]).await.unwrap_err();
    assert!(
        error.to_string().contains("charts/lib/Chart.yaml:4: dependencies names charts/app, which contains"),
        "{error}"
    );

    let missing = chart(&[("charts/app/Chart.yaml", &depends)]);
    let error = rendered(&renderer, &missing, &json!([source]), &[]).await.unwrap_err();
    assert!(
        error.to_string().contains("charts/app/Chart.yaml:4: dependencies names charts/lib, which does not"),
        "{error}"
    );
}

#[tokio::test]
async fn what_helm_refuses_is_said_without_values() {
    let scratch = Scratch::new("chart-refused");
    let renderer = renderer(&scratch);
    for (path, content, expected) in [
        ("templates/map.yaml", "a: {{ required \"set the password\" .Values.x }}", "templates/map.yaml:1:6"),
        ("templates/map.yaml", "a: {{ .Values.p | atoi | fail }}", "templates/map.yaml"),
        ("templates/map.yaml", "a: {{ include \"x\" . }}", "no template \"x\""),
        ("templates/map.yaml", "a: \"{{ .Values.p }}\nb: [", "YAML parse error on app/templates/map.yaml"),
        ("Chart.yaml", "apiVersion: v2\nname: app\n", "chart.metadata.version is required"),
        ("Chart.yaml", "apiVersion: v2\nname: app\nversion: 1.0.0\nkubeVersion: '>=1.99'\n", "kubeVersion"),
        (
            "Chart.yaml",
            "apiVersion: v2\nname: app\nversion: 1.0.0\ndependencies: [{name: db, version: 1.x, repository: 'https://x'}]\n",
            "missing in charts/ directory: db",
        ),
        ("values.schema.json", "{\"properties\": {\"p\": {\"pattern\": \"^x\"}}}", "does not match pattern"),
    ] {
        let tree = chart(&[(&format!("charts/app/{path}"), content)]);
        let source = json!({"repoURL": "x", "path": "charts/app", "helm": {"values": "p: hunter2"}});
        let error = rendered(&renderer, &tree, &json!([source]), &[]).await.unwrap_err();
        let message = error.to_string();
        assert_eq!((error.category(), error.waiting_helps()), ("RenderFailed", false), "{message}");
        assert!(message.contains(expected), "{content}: {message}");
        assert!(!message.contains("hunter2"), "rule 4: {message}");
        assert!(!message.contains(scratch.path().to_str().unwrap()), "{message}");
    }
}

#[tokio::test]
async fn output_that_changes_is_found_by_rendering_twice() {
    let scratch = Scratch::new("chart-changing");
    let renderer = renderer(&scratch);
    let secret = "kind: Secret\nmetadata: {name: s}\ndata: {p: '{{ randAlphaNum 8 }}', q: 'same'}\n";
    let source = json!([{"repoURL": "x", "path": "charts/app"}]);
    let tree = chart(&[("charts/app/templates/secret.yaml", secret)]);
    let output = rendered(&renderer, &tree, &source, &[]).await.unwrap();
    assert_eq!(output.warnings, ["Secret s differs from render to render in .data.p"]);
    assert_eq!(rendered(&renderer, &chart(&[]), &source, &[]).await.unwrap().warnings, [""; 0]);
}

#[tokio::test]
async fn the_cluster_is_part_of_the_inputs_only_when_a_template_asks() {
    let newer = Capabilities { kube_version: "v1.37.0".to_owned(), ..cluster() };
    let source = json!({"repoURL": "x", "path": "charts/app"});
    let quiet = chart(&[("charts/app/templates/map.yaml", "kind: X\n")]);
    for (tree, depends) in [(chart(&[]), true), (quiet, false)] {
        let mut digests = Vec::new();
        for capabilities in [cluster(), newer.clone()] {
            let inputs = inputs(recipe_of(&source), Box::new(tree.clone()), Vec::new(), &capabilities).await.unwrap();
            digests.push(inputs.own_digest().to_owned());
        }
        assert_eq!(digests[0] != digests[1], depends);
    }
}

#[tokio::test]
async fn packed_charts_are_looked_into() {
    for (template, changes, asks) in [
        ("kind: X\n", false, false),
        ("kind: X\na: {{ randAlphaNum 8 }}\n", true, false),
        ("kind: X\na: {{ .Capabilities.KubeVersion }}\n", false, true),
    ] {
        let folder = Scratch::new("chart-packed");
        folder.write("sub/Chart.yaml", "apiVersion: v2\nname: sub\nversion: 1.0.0\n");
        folder.write("sub/templates/x.yaml", template);
        folder.write("app/Chart.yaml", CHART);
        std::fs::create_dir(folder.path().join("app/charts")).unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        helm_program(&["package", &at("sub"), "--destination", &at("app/charts")]);
        let found = async || {
            let (tree, inside) = WorkFolder::around(&folder.path().join("app")).unwrap();
            let recipe = recipe_of(&json!({"repoURL": "x", "path": inside.as_str()}));
            inputs(recipe, Box::new(tree), Vec::new(), &cluster()).await.unwrap().traits
        };
        let looked = found().await;
        assert_eq!((looked.may_change, looked.asks_cluster), (changes, asks), "{template}");
        // What cannot be looked into may be anything.
        folder.write("app/charts/sub-1.0.0.tgz", "no archive");
        let found = found().await;
        assert!(found.may_change && found.asks_cluster);
    }
}

#[tokio::test]
async fn a_plain_directory_takes_what_its_patterns_say() {
    let scratch = Scratch::new("directory-options");
    let renderer = renderer(&scratch);
    let tree = MemoryTree::of(&[
        ("app/a.yaml", "a"),
        ("app/b.json", "{}"),
        ("app/sub/c.yaml", "c"),
        ("app/sub/deep/d.yml", "d"),
        ("app/sub/skip.yaml", "s"),
        ("app/kustomization.yaml", "resources: []"),
    ]);
    let files = async |options: Value| {
        let source = json!([{"repoURL": "x", "path": "app", "directory": options}]);
        let output = rendered(&renderer, &tree, &source, &[]).await.unwrap();
        output.documents.iter().map(|document| document.file.clone().unwrap().to_string()).collect::<Vec<_>>().join(" ")
    };
    let all = "app/a.yaml app/b.json app/kustomization.yaml app/sub/c.yaml app/sub/deep/d.yml app/sub/skip.yaml";
    assert_eq!(files(json!({"recurse": true})).await, all);
    let options = json!({"recurse": true, "include": "*.y*ml", "exclude": "{kustomization.yaml,sub/skip*}"});
    assert_eq!(files(options).await, "app/a.yaml app/sub/c.yaml app/sub/deep/d.yml");
    assert_eq!(files(json!({"include": "{a,b}.*"})).await, "app/a.yaml app/b.json");
}

/// Runs the real `kustomize edit`, as Argo CD does.
fn kustomize_edit(folder: &Path, arguments: &[&str]) {
    let output =
        Command::new(tools::tool("kustomize")).current_dir(folder).arg("edit").args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn kustomize_options_are_what_kustomize_edit_makes_of_them() {
    let scratch = Scratch::new("kustomize-options");
    let renderer = renderer(&scratch);
    let deployment = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: app}\nspec:\n  replicas: 1\n  selector: {matchLabels: {a: b}}\n  template:\n    metadata: {labels: {a: b}}\n    spec:\n      containers: [{name: c, image: 'app:v0'}, {name: d, image: 'db:v0'}, {name: e, image: 'host:5000/side:v0'}]\n";
    let tree = MemoryTree::of(&[
        (
            "app/kustomization.yml",
            "resources: [deployment.yaml, own.yaml]\nnamePrefix: old-\nnamespace: old\nimages:\n- {name: app, newName: registry/app, newTag: v1}\n- {name: db, newTag: v1}\nreplicas: [{name: app, count: 2}]\ncommonLabels: {here: before}\ncommonAnnotations: {here: before}\n",
        ),
        ("app/deployment.yaml", deployment),
        ("app/own.yaml", OWN),
        ("app/patch.yaml", "- {op: add, path: /data/p, value: q}\n"),
        (
            "part/kustomization.yaml",
            "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nnameSuffix: -part\n",
        ),
    ]);
    let cases: [(Value, &[&[&str]]); 8] = [
        (
            json!({"namePrefix": "new-", "nameSuffix": "-x"}),
            &[&["set", "nameprefix", "--", "new-"], &["set", "namesuffix", "--", "-x"]],
        ),
        (json!({"namespace": "new"}), &[&["set", "namespace", "--", "new"]]),
        (
            json!({"images": ["app=*:v2", "db=mirror/db", "host:5000/side@sha256:24a0c4b4a4c0eb97a1aabb8e29f18e917d05abfe1b7a7c07857230879ce7d3d3"]}),
            &[&[
                "set",
                "image",
                "app=*:v2",
                "db=mirror/db",
                "host:5000/side@sha256:24a0c4b4a4c0eb97a1aabb8e29f18e917d05abfe1b7a7c07857230879ce7d3d3",
            ]],
        ),
        (json!({"replicas": [{"name": "app", "count": "5"}]}), &[&["set", "replicas", "app=5"]]),
        (
            json!({"commonLabels": {"here": "after", "new": "\"true\""}, "forceCommonLabels": true}),
            &[&["add", "label", "--force", "here:after", "new:\"true\""]],
        ),
        (
            json!({"commonLabels": {"new": "x"}, "labelWithoutSelector": true, "labelIncludeTemplates": true}),
            &[&["add", "label", "--without-selector", "--include-templates", "new:x"]],
        ),
        (
            json!({"commonAnnotations": {"here": "after"}, "forceCommonAnnotations": true}),
            &[&["add", "annotation", "--force", "here:after"]],
        ),
        (
            json!({"components": ["../part", "../missing"], "ignoreMissingComponents": true}),
            &[&["add", "component", "../part"]],
        ),
    ];
    for (options, commands) in cases {
        let checkout = materialise::whole_tree(&tree, scratch.path(), &materialise::Limits::default()).unwrap();
        let folder = checkout.path_of(&super::path("app"));
        commands.iter().for_each(|command| kustomize_edit(&folder, command));
        let edited = gitmoor_engine::kustomize::build(&renderer.kustomize, checkout.root(), &folder).await.unwrap();
        let source = json!([{"repoURL": "x", "path": "app", "kustomize": options}]);
        let output = rendered(&renderer, &tree, &source, &[]).await.unwrap();
        assert_eq!(text(&output), edited.manifests, "{options}");
        assert!(!output.retried_on_whole_tree);
    }
    // There is no command for patches: Argo CD appends them to the list.
    let patch = json!({"patches": [{"path": "patch.yaml", "target": {"kind": "ConfigMap"}},
                                   {"patch": "- {op: add, path: /data/r, value: s}", "target": {"kind": "ConfigMap"}}]});
    let source = json!([{"repoURL": "x", "path": "app", "kustomize": patch}]);
    let output = rendered(&renderer, &tree, &source, &[]).await.unwrap();
    assert!(text(&output).contains("  p: q\n  r: s\n"), "{}", text(&output));
    assert!(output.read_set.members.contains_key(&super::path("app/patch.yaml")));
}

#[tokio::test]
async fn options_that_do_not_fit_are_refused_by_name() {
    let scratch = Scratch::new("options-refused");
    let renderer = renderer(&scratch);
    let tree = MemoryTree::of(&[
        ("app/kustomization.yaml", "resources: [own.yaml]\ncommonLabels: {a: b}\n"),
        ("app/own.yaml", OWN),
        ("plain/own.yaml", OWN),
    ]);
    for (source, expected) in [
        (json!({"path": "app", "kustomize": {"commonLabels": {"a": "c"}}}), "forceCommonLabels"),
        (
            json!({"path": "app", "kustomize": {"components": ["../missing"]}}),
            "spec.source.kustomize.components names missing",
        ),
        (json!({"path": "app", "kustomize": {"components": ["../../out"]}}), "not a path inside the repository"),
        (
            json!({"path": "app", "kustomize": {"patches": [{"path": "gone.yaml"}]}}),
            "spec.source.kustomize.patches names app/gone.yaml",
        ),
        (json!({"path": "plain", "kustomize": {"namePrefix": "x"}}), "plain has no kustomization.yaml"),
        (json!({"path": "plain", "helm": {"values": "a: b"}}), "plain has no Chart.yaml"),
    ] {
        let mut source = source;
        source["repoURL"] = json!("x");
        let error = rendered(&renderer, &tree, &json!([source]), &[]).await.unwrap_err();
        assert_eq!(error.category(), "InvalidSource", "{error}");
        assert!(error.to_string().contains(expected), "{source}: {error}");
    }
}

#[test]
fn a_root_can_be_a_chart() {
    let set = gitmoor_core::closure::read_set(&MemoryTree::of(&[("Chart.yaml", CHART)]), &RepoPath::root()).unwrap();
    let mut index = gitmoor_core::closure::PathIndex::default();
    index.insert("app", &set);
    assert_eq!(index.touched([super::path("templates/new.yaml")].iter()).len(), 1);
}
