//! `gitmoor render` and `gitmoor plan`, run as a user runs them, on trees with a root Application.

use std::fs;

use gitmoor_tests::harness::tools::tool;
use serde_json::Value;

use crate::canary::Signs;
use crate::init::{Fork, Run};

const URL: &str = "https://git.example.com/team/platform.git";

/// An Application of the fork at hand.
pub(crate) fn application(name: &str, more: &str) -> String {
    format!(
        "apiVersion: argoproj.io/v1alpha1\nkind: Application\nmetadata:\n  name: {name}\n  namespace: gitmoor\nspec:\n  \
         source: {{repoURL: {URL}, targetRevision: main, path: apps/{name}}}\n  destination: {{server: \
         https://kubernetes.default.svc, namespace: {name}}}\n  syncPolicy: {{automated: {{prune: true}}}}\n{more}"
    )
}

/// The root Application, whose objects are in `applications/`.
pub(crate) fn root() -> String {
    application("root", "").replace("apps/root", "applications").replace("namespace: root}", "namespace: gitmoor}")
}

fn map(name: &str, value: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\ndata:\n  key: {value}\n")
}

/// A fork under Git with a root and these files, in its first commit.
fn fork(files: &[(&str, &str)]) -> Fork {
    let root = root();
    let all: Vec<(&str, &str)> =
        [("distribution/platform.yaml", root.as_str())].into_iter().chain(files.iter().copied()).collect();
    Fork::committed("", &all)
}

fn run(fork: &Fork, arguments: &[&str]) -> Run {
    let mut command = fork.command(arguments);
    command.env("GITMOOR_KUSTOMIZE", tool("kustomize")).env("GITMOOR_HELM", tool("helm"));
    command.env("HOME", fork.path("../none")).env("PATH", "/usr/bin:/bin");
    Run::of(&mut command)
}

fn plan(fork: &Fork, arguments: &[&str]) -> Value {
    let arguments = [&["plan", "HEAD", "--output", "json"], arguments].concat();
    let run = run(fork, &arguments);
    assert!(matches!(run.status(), Some(0 | 1 | 3)), "{run:?}");
    serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {run:?}"))
}

/// `application action kind name`, one for each object.
fn actions(plan: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap().trim_start_matches("gitmoor/").to_owned();
    let applications = plan["applications"].as_array().unwrap().iter();
    applications
        .flat_map(|application| {
            let objects = application["objects"].as_array().unwrap().iter();
            objects.map(|object| {
                let words = [&application["application"], &object["action"], &object["kind"], &object["name"]];
                words.map(text).join(" ")
            })
        })
        .collect()
}

fn of<'p>(plan: &'p Value, name: &str) -> &'p Value {
    let named = |found: &&Value| found["application"] == format!("gitmoor/{name}");
    plan["applications"].as_array().unwrap().iter().find(named).unwrap_or_else(|| panic!("no {name} in {plan:#}"))
}

fn three() -> Fork {
    fork(&[
        ("applications/one.yaml", &application("one", "")),
        ("applications/two.yaml", &application("two", "")),
        ("applications/three.yaml", &application("three", "")),
        ("base/kustomization.yaml", "resources: [map.yaml]\n"),
        ("base/map.yaml", &map("shared", "1")),
        ("apps/one/kustomization.yaml", "resources: [../../base]\nnamePrefix: one-\n"),
        ("apps/two/kustomization.yaml", "resources: [../../base]\nnamePrefix: two-\n"),
        ("apps/three/map.yaml", &map("own", "1")),
    ])
}

#[test]
fn a_shared_base_touches_exactly_its_users_and_the_rest_is_rendered_once() {
    let fork = three();
    let first = plan(&fork, &[]);
    assert_eq!((&first["applications"], &first["total"]), (&Value::Array(Vec::new()), &4.into()));
    assert_eq!(first["renders"], 4, "both sides are the same");
    fork.write("base/map.yaml", map("shared", "2"));
    let second = plan(&fork, &[]);
    assert_eq!(actions(&second), ["one changed ConfigMap one-shared", "two changed ConfigMap two-shared"]);
    assert_eq!(of(&second, "one")["because"], serde_json::json!(["base/map.yaml"]));
    assert_eq!(of(&second, "one")["objects"][0]["namespace"], "one", "as the Application says");
    assert!(of(&second, "one")["objects"][0]["difference"].as_str().unwrap().contains("-  key: 1\n+  key: 2"));
    assert_eq!(second["renders"], 4, "of two Applications, before and after");
    let exit = run(&fork, &["plan", "HEAD", "--exit-code"]);
    assert_eq!(exit.status(), Some(1), "{exit:?}");
    assert!(exit.stdout.contains("changed ConfigMap one/one-shared"), "{exit:?}");
    fork.commit("second");
    let none = run(&fork, &["plan", "HEAD", "--exit-code"]);
    assert_eq!(none.status(), Some(0), "{none:?}");
    let commits = run(&fork, &["plan", "HEAD~1", "HEAD", "--exit-code"]);
    assert_eq!(commits.status(), Some(1), "{commits:?}");
    assert!(fork.git(&["status", "--porcelain"]).is_empty(), "looking leaves nothing behind");
}

#[test]
fn what_is_not_committed_counts_and_what_is_ignored_does_not() {
    let fork = three();
    fork.write("apps/three/untracked.yaml", map("untracked", "1"));
    fork.write("apps/three/ignored.yaml", map("ignored", "1"));
    fork.write(".gitignore", "ignored.yaml\n");
    let objects = fork.git(&["count-objects"]);
    assert_eq!(actions(&plan(&fork, &[])), ["three created ConfigMap untracked"]);
    assert_eq!(fork.git(&["count-objects"]), objects, "nothing is written into the repository");
    assert!(fork.git(&["diff", "--cached", "--name-only"]).is_empty());
}

#[test]
fn an_object_that_moves_is_adopted_and_not_pruned() {
    let fork = three();
    let moving = map("moving", "1").replace("metadata:\n", "metadata:\n  namespace: common\n");
    fork.write("apps/three/moving.yaml", &moving);
    fork.commit("before");
    fs::remove_file(fork.path("apps/three/moving.yaml")).unwrap();
    fork.write("apps/two/moving.yaml", moving.replace("key: 1", "key: 2"));
    fork.write("apps/two/kustomization.yaml", "resources: [../../base, moving.yaml]\nnamePrefix: ''\n");
    fork.write("apps/one/kustomization.yaml", "resources: [../../base, ../three]\n");
    fork.write("apps/three/kustomization.yaml", "resources: [map.yaml]\n");
    let plan = plan(&fork, &[]);
    let expected = [
        "one pruned ConfigMap one-shared",
        "one created ConfigMap own",
        "one created ConfigMap shared",
        "three moved ConfigMap moving",
        "two adopted ConfigMap moving",
        "two created ConfigMap shared",
        "two pruned ConfigMap two-shared",
    ];
    let mut actions = actions(&plan);
    actions.sort();
    let mut expected = expected.map(str::to_owned);
    expected.sort();
    assert_eq!(actions, expected);
    let moved = of(&plan, "two")["objects"].as_array().unwrap().iter().find(|object| object["action"] == "adopted");
    let moved = moved.unwrap();
    assert_eq!(moved["from"], "gitmoor/three");
    assert!(moved["difference"].as_str().unwrap().contains("-  key: 1\n+  key: 2"));
}

#[test]
fn prunes_that_the_rules_hold_back_are_named() {
    let claim = "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: data}\nspec: {}\n";
    let fork = fork(&[
        ("applications/one.yaml", &application("one", "")),
        ("applications/two.yaml", &application("two", "").replace("prune: true", "prune: false")),
        ("applications/three.yaml", &application("three", "")),
        ("apps/one/claim.yaml", claim),
        ("apps/one/map.yaml", &map("stays", "1")),
        ("apps/one/free.yaml", &map("free", "1")),
        ("apps/two/map.yaml", &map("stays", "1")),
        ("apps/two/goes.yaml", &map("goes", "1")),
        ("apps/three/only.yaml", &map("only", "1")),
    ]);
    for path in ["apps/one/claim.yaml", "apps/one/free.yaml", "apps/two/goes.yaml"] {
        fs::remove_file(fork.path(path)).unwrap();
    }
    fork.write("apps/three/only.yaml", "# nothing\n");
    let plan = plan(&fork, &[]);
    let expected = [
        "one pruned ConfigMap free",
        "one kept PersistentVolumeClaim data",
        "three kept ConfigMap only",
        "two kept ConfigMap goes",
    ];
    assert_eq!(actions(&plan), expected);
    let remark = |name: &str, index: usize| of(&plan, name)["objects"][index]["remark"].as_str().unwrap().to_owned();
    assert!(remark("one", 1).contains("it holds data; the agent waits"), "{}", remark("one", 1));
    assert!(remark("two", 0).contains("does not prune by itself"));
    assert!(remark("three", 0).contains("allowEmpty"));
}

#[test]
fn a_broken_application_hides_no_other_and_its_objects_are_not_taken_for_gone() {
    let fork = three();
    fork.write("apps/one/kustomization.yaml", "resources: [missing.yaml]\n");
    fork.write("apps/three/map.yaml", map("renamed", "1"));
    let broken = run(&fork, &["plan", "HEAD", "--output", "json"]);
    assert_eq!(broken.status(), Some(3), "{broken:?}");
    let plan: Value = serde_json::from_str(&broken.stdout).unwrap();
    assert_eq!(actions(&plan), ["three kept ConfigMap own", "three created ConfigMap renamed"]);
    let remark = of(&plan, "three")["objects"][0]["remark"].as_str().unwrap();
    assert!(remark.contains("wait for the Application gitmoor/one"), "{remark}");
    let problem = of(&plan, "one")["problems"][0].as_str().unwrap();
    assert!(problem.contains("apps/one/kustomization.yaml") && problem.contains("missing.yaml"), "{problem}");
    let rendered = run(&fork, &["render"]);
    assert_eq!(rendered.status(), Some(3));
    assert!(rendered.stdout.contains("name: renamed") && rendered.stdout.contains("name: two-shared"), "{rendered:?}");
    assert!(rendered.stderr.contains("gitmoor/one: "), "{rendered:?}");
    fork.commit("broken");
    fork.write("apps/three/map.yaml", map("renamed", "2"));
    let known = run(&fork, &["plan", "HEAD"]);
    assert_eq!(known.status(), Some(0), "it was broken before: {known:?}");
    assert!(known.stdout.contains("it had the same problems before") && known.stdout.contains("changed ConfigMap"));

    fork.write("applications/broken.yaml", "a: [\n");
    let parent = run(&fork, &["plan", "HEAD", "--output", "json"]);
    let plan: Value = serde_json::from_str(&parent.stdout).unwrap();
    let goes = plan["applications"].as_array().unwrap().iter().filter(|found| found["fate"] == "goes").count();
    assert_eq!((goes, &plan["total"]), (0, &4.into()), "children of a broken parent are not gone: {plan:#}");
}

#[test]
fn an_application_that_goes_leaves_its_objects_unless_it_cascades() {
    let finalizer = "  finalizers: [resources-finalizer.argocd.argoproj.io]\nspec:";
    let fork = fork(&[
        ("applications/one.yaml", &application("one", "")),
        ("applications/two.yaml", &application("two", "").replacen("spec:", finalizer, 1)),
        ("applications/three.yaml", &application("three", "")),
        ("apps/one/map.yaml", &map("one", "1")),
        ("apps/two/map.yaml", &map("two", "1")),
        ("apps/three/map.yaml", &map("three", "1")),
    ]);
    for name in ["one", "two"] {
        fs::remove_file(fork.path(&format!("applications/{name}.yaml"))).unwrap();
        fs::remove_dir_all(fork.path(&format!("apps/{name}"))).unwrap();
    }
    let plan = plan(&fork, &[]);
    let expected = ["root pruned Application one", "root kept Application two", "two pruned ConfigMap two"];
    assert_eq!(actions(&plan), expected);
    let notes = |name: &str| of(&plan, name)["notes"].to_string();
    assert!(notes("one").contains("its 1 objects stay in the cluster"), "{}", notes("one"));
    assert!(notes("two").contains("once that is confirmed: its deletion deletes what it owns"), "{}", notes("two"));
}

#[test]
fn values_of_secrets_are_shown_nowhere() {
    let secret = |value: &str| {
        format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: s}}\nstringData: {{password: {value}, same: canary-same}}\n"
        )
    };
    let generator =
        |value: &str| format!("secretGenerator: [{{name: made, literals: [token={value}]}}]\nresources: [s.yaml]\n");
    let fork = fork(&[
        ("applications/one.yaml", &application("one", "")),
        ("apps/one/kustomization.yaml", &generator("canary-token-1")),
        ("apps/one/s.yaml", &secret("canary-1")),
    ]);
    fork.write("apps/one/kustomization.yaml", generator("canary-token-2"));
    fork.write("apps/one/s.yaml", secret("canary-2"));
    let values = ["canary-1", "canary-2", "canary-same", "canary-token-1", "canary-token-2"];
    let signs = Signs::new(&values, &[]);
    for arguments in [
        &["plan", "HEAD"][..],
        &["plan", "HEAD", "--output", "json"],
        &["plan", "HEAD", "--output", "markdown"],
        &["render"],
        &["render", "--output", "json", "one"],
        &["render", "--output-dir", "out"],
    ] {
        let run = run(&fork, arguments);
        assert_eq!(run.status(), Some(0), "{run:?}");
        assert!(!signs.in_text(run.stdout.as_bytes()) && !signs.in_text(run.stderr.as_bytes()), "{run:?}");
        if arguments[0] == "plan" {
            assert!(run.stdout.contains("*** (before)") && run.stdout.contains("*** (after)"), "{run:?}");
        }
    }
    for folder in ["out", ".git/gitmoor"] {
        assert_eq!(signs.in_files(&fork.path(folder)), [].into(), "{folder}");
    }
    assert!(fs::read_dir(fork.path(".git/gitmoor/renders/2")).unwrap().count() > 0);
    let shown = run(&fork, &["render", "one", "--show-secrets"]);
    assert!(signs.in_text(shown.stdout.as_bytes()), "{shown:?}");
}

#[test]
fn render_gives_what_the_agent_would_apply() {
    let fork = fork(&[
        ("applications/one.yaml", &application("one", "")),
        (
            "applications/chart.yaml",
            &application("chart", "")
                .replace("path: apps/chart", "path: apps/chart, helm: {parameters: [{name: key, value: given}]}"),
        ),
        (
            "apps/one/all.yaml",
            "apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: t}\n---\napiVersion: v1\nkind: Namespace\nmetadata: {name: space}\n---\napiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: things.example.com}\nspec: {group: example.com, scope: Cluster, names: {kind: Thing}}\n",
        ),
        ("apps/chart/Chart.yaml", "apiVersion: v2\nname: chart\nversion: 1.0.0\n"),
        (
            "apps/chart/templates/map.yaml",
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: '{{ .Release.Name }}'}\ndata: {key: '{{ .Values.key }}', kube: '{{ .Capabilities.KubeVersion }}'}\n",
        ),
    ]);
    let rendered = run(&fork, &["render", "--output", "json", "--kube-version", "1.31.5"]);
    assert_eq!(rendered.status(), Some(0), "{rendered:?}");
    let document: Value = serde_json::from_str(&rendered.stdout).unwrap();
    let objects = |name: &str| of(&document, name)["objects"].as_array().unwrap().clone();
    let namespaces: Vec<_> = objects("one").iter().map(|object| object["metadata"]["namespace"].clone()).collect();
    assert_eq!(namespaces, [Value::Null, Value::Null, Value::Null], "the tree itself says that things have none");
    assert_eq!(objects("chart")[0]["metadata"]["name"], "chart");
    assert_eq!(objects("chart")[0]["metadata"]["namespace"], "chart");
    assert_eq!(objects("chart")[0]["data"], serde_json::json!({"key": "given", "kube": "v1.31.5"}));
    let tracked = run(&fork, &["render", "chart", "--tracking"]);
    assert!(
        tracked.stdout.contains("gitmoor.dev/tracking-id: \"gitmoor:gitmoor/chart:/ConfigMap:chart/chart\""),
        "{tracked:?}"
    );
    let unknown = run(&fork, &["render", "nobody"]);
    assert_eq!(unknown.status(), Some(2));
    assert!(unknown.stderr.contains("there are: chart, one, root"), "{unknown:?}");
    let written = run(&fork, &["render", "--output-dir", "out", "--revision", "HEAD"]);
    assert_eq!(written.status(), Some(0), "{written:?}");
    assert!(fs::read_to_string(fork.path("out/gitmoor_one.yaml")).unwrap().contains("kind: Thing"));
    let again = run(&fork, &["render", "--output-dir", "out"]);
    assert_eq!(again.status(), Some(5), "{again:?}");
}

#[test]
fn applications_at_other_revisions_and_repositories_are_no_part_of_a_change() {
    let fork = three();
    fork.git(&["tag", "v1"]);
    let pinned = application("three", "").replace("targetRevision: main", "targetRevision: v1");
    let foreign = application("one", "").replace(URL, "https://127.0.0.1:1/other.git");
    let local = application("two", "").replace(URL, &format!("file://{}", fork.path(".git").display()));
    fork.write("applications/three.yaml", pinned);
    fork.write("applications/one.yaml", foreign);
    fork.write("applications/two.yaml", local);
    fork.commit("pinned");
    fork.write("apps/three/map.yaml", map("own", "2"));
    let plan = plan(&fork, &["--offline"]);
    assert_eq!(actions(&plan), Vec::<String>::new(), "main is not what it follows");
    let problem = |name: &str| of(&plan, name)["problems"][0].as_str().unwrap().to_owned();
    assert!(problem("one").contains("is not fetched with --offline"), "{}", problem("one"));
    assert!(problem("two").contains("--allow-local-repositories"), "{}", problem("two"));
}

#[test]
fn bases_are_found_and_named() {
    let upstream = three();
    let fork = Fork::clone_of(&upstream, &["--origin=origin"]);
    fork.git(&["checkout", "--quiet", "-b", "feature"]);
    fork.write("apps/three/map.yaml", map("own", "2"));
    fork.commit("a feature");
    upstream.write("apps/three/other.yaml", map("other", "1"));
    upstream.commit("meanwhile");
    fork.git(&["fetch", "--quiet", "origin"]);
    let default = run(&fork, &["plan"]);
    assert_eq!(default.status(), Some(0), "{default:?}");
    assert!(default.stdout.contains("changed ConfigMap three/own"), "{default:?}");
    assert!(!default.stdout.contains("other"), "what others did is not ours: {default:?}");
    let dots = run(&fork, &["plan", "origin/main...HEAD"]);
    assert_eq!(dots.stdout, default.stdout);
    let exactly = run(&fork, &["plan", "origin/main", "HEAD"]);
    assert!(exactly.stdout.contains("pruned ConfigMap three/other"), "{exactly:?}");
    let nothing = run(&fork, &["plan", "no-such-branch"]);
    assert_eq!(nothing.status(), Some(2), "{nothing:?}");
}

#[test]
fn what_makes_the_difference_is_there_and_is_named() {
    let (web, other) = (application("web", ""), application("other", ""));
    let kustomization = "resources: [map.yaml]\n";
    let fork = fork(&[
        ("applications/web.yaml", &web),
        ("applications/other.yaml", &other),
        ("apps/web/kustomization.yaml", kustomization),
        ("apps/web/map.yaml", &map("web", "1")),
        ("apps/other/map.yaml", &map("other", "1")),
    ]);
    // A folder becomes a kustomization: the candidates for its name are read, and are not there.
    fork.write("apps/other/kustomization.yaml", kustomization);
    fork.write("applications/web.yaml", web.replace("path: apps/web", "path: apps/other"));
    let planned = plan(&fork, &[]);
    assert_eq!(of(&planned, "other")["because"], serde_json::json!(["apps/other/kustomization.yaml"]));
    assert_eq!(of(&planned, "web")["because"], serde_json::json!(["the spec of the Application"]));
    // Two dots name both sides.
    let dots = run(&fork, &["plan", "HEAD..HEAD", "--output", "json"]);
    let dots: Value = serde_json::from_str(&dots.assert(0).stdout).unwrap();
    assert_eq!(dots["applications"], serde_json::json!([]));

    fork.write("distribution/platform.yaml", root().replace(URL, "<<__git_repo.url__>>"));
    let early = run(&fork, &["plan", "HEAD"]);
    assert!(early.assert(3).stderr.contains("the fork is not initialised: distribution/platform.yaml"), "{early:?}");
    assert!(early.stderr.contains("gitmoor init setup.conf"), "{early:?}");
}
