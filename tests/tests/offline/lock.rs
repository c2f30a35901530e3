//! `gitmoor lock`, as people and their CI run it, on a tree whose upstreams are folders of this machine.

use std::fs;
use std::path::PathBuf;

use gitmoor_tests::harness::chart_server::helm;
use gitmoor_tests::harness::program;
use gitmoor_tests::harness::run::Run;
use gitmoor_tests::harness::scratch::Scratch;
use gitmoor_tests::harness::tools::tool;

use crate::init::Fork;
use crate::plan::{application, root};

/// A fork, and what it uses of elsewhere.
struct World {
    fork: Fork,
    upstream: Fork,
    charts: Scratch,
    home: Scratch,
}

fn map(name: &str, value: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\ndata:\n  key: {value}\n")
}

impl World {
    fn new() -> Self {
        let upstream = Fork::committed(
            "",
            &[("x/kustomization.yaml", "resources: [map.yaml]\n"), ("x/map.yaml", &map("base", "one"))],
        );
        upstream.git(&["tag", "v1"]);
        let based = "resources:\n- https://git.example/bases.git//x?ref=v1\n";
        let dependent = "apiVersion: v2\nname: own\nversion: 0.1.0\ndependencies:\n- {name: web, version: 1.x, repository: 'https://charts.example'}\n";
        let charted = application("charted", "").replace(
            "repoURL: https://git.example.com/team/platform.git, targetRevision: main, path: apps/charted",
            "repoURL: https://charts.example, targetRevision: 1.0.0, chart: web",
        );
        let fork = Fork::committed(
            "",
            &[
                ("distribution/platform.yaml", &root()),
                ("applications/based.yaml", &application("based", "")),
                ("applications/own.yaml", &application("own", "")),
                ("applications/charted.yaml", &charted),
                ("applications/plain.yaml", &application("plain", "")),
                ("apps/based/kustomization.yaml", based),
                ("apps/own/Chart.yaml", dependent),
                ("apps/plain/map.yaml", &map("plain", "one")),
            ],
        );
        let world = Self { fork, upstream, charts: Scratch::new("lock-charts"), home: Scratch::new("lock-home") };
        world.publish("1.0.0", "one");
        world
    }

    fn publish(&self, version: &str, value: &str) {
        let source = Scratch::new("lock-chart");
        source.write("web/Chart.yaml", format!("apiVersion: v2\nname: web\nversion: {version}\n"));
        source.write("web/templates/map.yaml", map("web", value));
        let (from, to) = (source.path().join("web"), self.charts.path());
        helm(&["package", from.to_str().unwrap(), "--destination", to.to_str().unwrap()]);
    }

    fn move_tag(&self, value: &str) {
        self.upstream.write("x/map.yaml", map("base", value));
        self.upstream.commit(value);
        self.upstream.git(&["tag", "--force", "v1"]);
    }

    fn run_at(&self, home: &Scratch, arguments: &[&str]) -> Run {
        let (kustomize, helm) = (tool("kustomize"), tool("helm"));
        let replacements = format!(
            "https://git.example/bases.git={},https://charts.example={}",
            self.upstream.path(".").canonicalize().unwrap().display(),
            self.charts.path().display()
        );
        let environment = [
            ("GITMOOR_KUSTOMIZE", kustomize.to_str().unwrap()),
            ("GITMOOR_HELM", helm.to_str().unwrap()),
            ("GITMOOR_REPLACE_SOURCE", &replacements),
            ("PATH", "/usr/bin:/bin"),
            ("HOME", home.path().to_str().unwrap()),
        ];
        Run::of(&program("gitmoor"), &self.fork.path("."), &environment, arguments, b"")
    }

    fn run(&self, arguments: &[&str]) -> Run {
        self.run_at(&self.home, arguments)
    }

    fn lock_file(&self) -> PathBuf {
        self.fork.path("gitmoor.lock")
    }

    fn rendered(&self, name: &str) -> String {
        self.run(&["render", name]).assert(0).stdout.clone()
    }
}

#[test]
fn what_is_missing_and_what_is_not_used_is_told_and_put_right() {
    let world = World::new();
    let missing = world.run(&["lock", "--check"]).assert(1).stdout.clone();
    let expected = [
        "missing  https://git.example/bases.git at v1",
        "missing  https://charts.example/web 1.0.0",
        "missing  https://charts.example/web 1.x",
    ];
    assert_eq!(missing.lines().collect::<Vec<_>>(), expected);
    assert!(!world.lock_file().exists(), "it only looks");
    world.run(&["lock"]).assert(0);
    let text = fs::read_to_string(world.lock_file()).unwrap();
    let tag = world.upstream.git(&["rev-parse", "v1"]);
    assert!(text.contains(&format!("  revision: v1\n  commit: {tag}")), "{text}");
    assert!(text.contains("  version: 1.x\n  locked: 1.0.0\n  digest: sha256:"), "{text}");
    let document = world.run(&["lock", "--check", "--output", "json"]).assert(0).json();
    assert_eq!((&document["entries"], &document["changes"]), (&3.into(), &serde_json::json!([])));

    // One use more, and one less.
    let more = "resources:\n- https://git.example/bases.git//x?ref=main\n";
    world.fork.write("apps/based/kustomization.yaml", more);
    let said = world.run(&["lock", "--check"]).assert(1).stdout.clone();
    let expected = ["missing  https://git.example/bases.git at main", "unused   https://git.example/bases.git at v1"];
    assert_eq!(said.lines().collect::<Vec<_>>(), expected);
    assert_eq!(fs::read_to_string(world.lock_file()).unwrap(), text);
    world.run(&["lock"]).assert(0);
    world.run(&["lock", "--check"]).assert(0);
    let twice = fs::read_to_string(world.lock_file()).unwrap();
    world.run(&["lock"]).assert(0);
    assert_eq!(fs::read_to_string(world.lock_file()).unwrap(), twice, "the same tree gives the same file");
}

#[test]
fn what_is_locked_is_rendered_whatever_upstream_has_by_now() {
    let world = World::new();
    world.run(&["lock"]).assert(0);
    world.fork.commit("a lock file");
    world.publish("1.1.0", "two");
    world.move_tag("two");
    // Somebody else's machine, which has fetched nothing before.
    let fresh = Scratch::new("lock-fresh");
    for (name, value) in [("based", "key: one"), ("own", "key: one"), ("charted", "key: one")] {
        let said = world.run_at(&fresh, &["render", name]).assert(0).stdout.clone();
        assert!(said.contains(value), "{name}: {said}");
    }
    world.run_at(&fresh, &["lock", "--check"]).assert(0);
    assert!(world.run(&["lock", "--update", "nobody"]).assert(2).stderr.contains("goes by nobody"));
    let said = world.run(&["lock", "--update", "web"]).assert(0).stdout.clone();
    assert!(said.contains("updated  https://charts.example/web 1.x: 1.0.0") && said.lines().count() == 1, "{said}");
    assert!(world.rendered("own").contains("key: two") && world.rendered("based").contains("key: one"));
    // What an update does is seen before it is merged.
    let said = world.run(&["plan", "HEAD"]).assert(0).stdout.clone();
    assert!(said.contains("by gitmoor.lock") && said.contains("+  key: two"), "{said}");
    assert!(!said.contains("based") && !said.contains("charted"), "{said}");
    world.run(&["lock", "--update"]).assert(0);
    assert!(world.rendered("based").contains("key: two"));

    // Published again under its name: nobody gets it unasked, and a machine that has none says so.
    world.publish("1.0.0", "three");
    assert!(world.rendered("charted").contains("key: one"));
    let refused = world.run_at(&Scratch::new("lock-none"), &["render", "charted"]).assert(3).stderr.clone();
    assert!(
        refused.contains("the lock file says sha256:") && refused.contains("gitmoor lock --update web"),
        "{refused}"
    );
    world.run(&["lock", "--update", "https://charts.example"]).assert(0);
    assert!(world.rendered("charted").contains("key: three"));
}

#[test]
fn a_lock_file_that_cannot_be_read_stops_those_who_need_it_and_no_others() {
    let world = World::new();
    world.run(&["lock"]).assert(0);
    let text = fs::read_to_string(world.lock_file()).unwrap();
    let said = |arguments: &[&str]| world.run(arguments).assert(3).stderr.clone();
    for (broken, words) in [
        (format!("{text}<<<<<<< HEAD\n"), "a merge left its marks; keep both sides"),
        (text.replace("format: 1", "format: 9"), "format 9"),
        (text.replace("digest: sha256:", "digest: sha512:"), "has no full commit id or digest"),
    ] {
        fs::write(world.lock_file(), broken).unwrap();
        // The root brings a chart, which would not be locked.
        let said = said(&["render"]);
        assert!(said.contains("gitmoor/root: gitmoor.lock") && said.contains(words), "{said}");
        assert!(world.run(&["lock"]).assert(3).stderr.contains(words));
    }
    fs::remove_file(world.fork.path("applications/charted.yaml")).unwrap();
    let everything = said(&["render"]);
    for name in ["based", "own"] {
        assert!(everything.contains(&format!("gitmoor/{name}: gitmoor.lock")), "{everything}");
    }
    assert!(world.rendered("plain").contains("key: one"));
    fs::remove_file(world.lock_file()).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", world.lock_file()).unwrap();
    assert!(said(&["render", "based"]).contains("is no regular file"));
}

#[test]
fn updates_of_two_branches_merge() {
    let world = World::new();
    world.run(&["lock"]).assert(0);
    world.fork.commit("a lock file");
    world.publish("1.1.0", "two");
    world.move_tag("two");
    world.fork.git(&["checkout", "--quiet", "-b", "charts"]);
    world.run(&["lock", "--update", "web"]).assert(0);
    world.fork.commit("charts");
    world.fork.git(&["checkout", "--quiet", "main"]);
    world.run(&["lock", "--update", "bases"]).assert(0);
    world.fork.commit("bases");
    world.fork.git(&["merge", "--quiet", "--no-edit", "charts"]);
    world.run(&["lock", "--check"]).assert(0);
    assert!(world.rendered("own").contains("key: two") && world.rendered("based").contains("key: two"));
}
