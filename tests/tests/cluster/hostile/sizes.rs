//! What loops, and what grows.

use std::path::Path;
use std::process::Stdio;

use gitmoor_tests::harness::repository::{Repository, git_command};
use gitmoor_tests::harness::scratch::Scratch;
use gitmoor_tests::harness::{ChartServer, ControlPlane, Installation, config_map};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

use super::{CHART, assert_nowhere, case, end_badly, folder};

/// Too large, and said so before anything was rendered.
const LARGE: &[&str] = &["SourceTooLarge"];

/// A renderer was stopped, or gave up.
const ENDED: &[&str] = &["RenderTimedOut", "RenderFailed", "SourceTooLarge"];

#[tokio::test(flavor = "multi_thread")]
async fn rule_7_what_loops_and_what_grows_ends_at_its_limits() {
    let charts = ChartServer::start().await;
    let world =
        Installation::start_on(ControlPlane::shared().await, "hostile-sizes", |agent| agent.arg("--render-timeout=5"))
            .await;
    let repository = &world.repository;
    let chart = |name: &str, template: &str| {
        repository.write(&format!("{name}/Chart.yaml"), CHART);
        repository.write(&format!("{name}/templates/map.yaml"), template);
    };
    chart("recursion", "{{ define \"x\" }}{{ include \"x\" . }}{{ end }}{{ include \"x\" . }}");
    chart("loop", "{{ range until 100000 }}{{ range until 100000 }}{{ end }}{{ end }}");
    chart(
        "growth",
        "{{ $x := \"0123456789\" }}{{ range until 60 }}{{ $x = printf \"%s%s\" $x $x }}{{ end }}{{ $x | len }}",
    );
    chart("output", "{{ range until 3000000 }}a: 0123456789012345678901234567890123456789\n{{ end }}");
    let packed = Scratch::new("hostile-archives");
    tar(
        packed.path(),
        "mkdir app && echo x > app/Chart.yaml && ln app/Chart.yaml app/values.yaml && tar czf hard.tgz app",
    );
    tar(
        packed.path(),
        "rm app/values.yaml && ln -s /etc/passwd app/values.yaml && tar czf soft.tgz app && rm app/values.yaml",
    );
    tar(
        packed.path(),
        "truncate -s 300M app/values.yaml && tar czf bomb.tgz app && truncate -s 15M app/values.yaml && for n in 1 2 3 4 5 6 7 8; do cp app/values.yaml app/$n; done && tar czf many.tgz app",
    );
    tar(
        packed.path(),
        "mkdir -p x/../app && tar czPf up.tgz app/../../hostile-archives*/app/Chart.yaml 2>/dev/null || tar czPf up.tgz app/../app/Chart.yaml",
    );
    for name in ["hard", "soft", "bomb", "many", "up"] {
        let archive = std::fs::read(packed.path().join(format!("{name}.tgz"))).unwrap();
        assert!(archive.len() < 2 << 20, "{name} is small when packed: {}", archive.len());
        charts.put(&format!("{name}.tgz"), &archive);
    }
    let entries = ["hard", "soft", "bomb", "many", "up"]
        .map(|name| format!("  {name}:\n  - {{version: 1.0.0, urls: [{name}.tgz]}}\n"))
        .join("");
    charts.put("index.yaml", format!("apiVersion: v1\nentries:\n{entries}").as_bytes());
    chart("vendored", "kind: X\n");
    std::fs::create_dir_all(repository.tree().join("vendored/charts")).unwrap();
    std::fs::copy(packed.path().join("bomb.tgz"), repository.tree().join("vendored/charts/bomb.tgz")).unwrap();
    let mut aliases = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let below = vec![format!("*a{}", level - 1); 9].join(", ");
        aliases += &format!("a{level}: &a{level} [{below}]\n");
    }
    repository.write(
        "aliases/map.yaml",
        format!("{}more:\n  {}", config_map("out", "a", "b"), aliases.replace('\n', "\n  ")),
    );
    repository.write("large/map.yaml", vec![b'#'; 100 << 20]);
    repository.write("generated/data.bin", vec![b'a'; 100 << 20]);
    repository.write("generated/kustomization.yaml", "configMapGenerator: [{name: out, files: [data.bin]}]\n");
    repository.write("deep/map.yaml", format!("a: {}{}\n", "[".repeat(100_000), "]".repeat(100_000)));
    let many = world.remote.repository("many").await;
    let counts = grown(&many).await;
    let of_many = |path: &str, options: Value| {
        let mut source = json!({"repoURL": many.url(), "path": path});
        source.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
        source
    };
    let helm = |name: &str| json!({"repoURL": charts.url(), "chart": name, "targetRevision": "1.0.0"});
    let recurse = json!({"directory": {"recurse": true}});
    let cases = [
        folder("recursion", &["RenderFailed"], "templates/map.yaml"),
        folder("loop", ENDED, "helm"),
        folder("growth", ENDED, "helm"),
        folder("output", ENDED, "helm"),
        folder("vendored", ENDED, "bomb.tgz"),
        case("hard-link", helm("hard"), &["InvalidArchive"], "which is a link"),
        case("soft-link", helm("soft"), &["InvalidArchive"], "which is a link"),
        case("bomb", helm("bomb"), &["TooLarge"], "too many bytes"),
        case("bombs", helm("many"), &["TooLarge"], "too many bytes"),
        case("archive-up", helm("up"), &["InvalidArchive"], "no path inside a chart"),
        folder("aliases", &["InvalidManifest"], "aliases/map.yaml"),
        folder("large", LARGE, "large/map.yaml"),
        folder("generated", LARGE, "generated/data.bin"),
        folder("deep", &["InvalidManifest"], "deep/map.yaml"),
        case("million-manifests", of_many("manifests", recurse.clone()), LARGE, "too many files"),
        case("million-others", of_many("others", recurse.clone()), LARGE, "too many entries"),
        case("endless", of_many("endless", recurse), LARGE, "too many entries"),
        case("million-chart", of_many("chart", json!({"helm": {"releaseName": "x"}})), LARGE, "too many files"),
    ];
    assert_eq!(counts, (1_000_000, 10), "files of the large trees, and how deep the endless one is");
    world
        .apply(&{
            let mut beside = world.application("beside", "small");
            beside["spec"]["source"]["repoURL"] = json!(many.url());
            beside
        })
        .await;
    end_badly(&world, &cases).await;
    // An Application of a small folder of the same repository does not suffer.
    world.await_status("is Synced", "beside", |status| status["sync"]["status"] == "Synced").await;
    let small = config_map("small", "key", "two");
    let commit = with_file(&many, "small/map.yaml", &small).await;
    world.await_synced("beside", &commit).await;
    // Where the links in archives lead.
    let passwords = std::fs::read_to_string("/etc/passwd").unwrap();
    assert_nowhere(&world, &cases, passwords.lines().next().unwrap()).await;
}

fn tar(folder: &Path, script: &str) {
    let done = std::process::Command::new("sh").args(["-ec", script]).current_dir(folder).status().unwrap();
    assert!(done.success(), "{script}");
}

/// Runs git with input; gives what it printed.
async fn git(repository: &Repository, arguments: &[&str], input: &str) -> String {
    let mut command = git_command(repository.tree());
    let mut child = command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).await.unwrap();
    let output = child.wait_with_output().await.unwrap();
    assert!(output.status.success(), "git {arguments:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

async fn tree(repository: &Repository, entries: &[(&str, &str, String)]) -> String {
    let lines: String = entries
        .iter()
        .map(|(mode, id, name)| format!("{mode} {} {id}\t{name}\n", if *mode == "040000" { "tree" } else { "blob" }))
        .collect();
    git(repository, &["mktree"], &lines).await
}

/// Few objects that stand for a million files each, and for more than anybody can count; gives the former number, and how
/// deep the latter is.
async fn grown(repository: &Repository) -> (usize, usize) {
    let blob = git(repository, &["hash-object", "-w", "--stdin"], &config_map("x", "a", "b")).await;
    let mut roots = Vec::new();
    for (name, file) in [("manifests", "map.yaml"), ("others", "note.txt")] {
        let leaves: Vec<_> = (0..100).map(|n| ("100644", blob.as_str(), format!("{n}-{file}"))).collect();
        let mut level = tree(repository, &leaves).await;
        for _ in 0..2 {
            let folders: Vec<_> = (0..100).map(|n| ("040000", level.as_str(), n.to_string())).collect();
            level = tree(repository, &folders).await;
        }
        roots.push((name.to_owned(), level));
    }
    let chart = git(repository, &["hash-object", "-w", "--stdin"], CHART).await;
    let million = roots[1].1.clone();
    let entries =
        [("100644", chart.as_str(), "Chart.yaml".to_owned()), ("040000", million.as_str(), "files".to_owned())];
    roots.push(("chart".to_owned(), tree(repository, &entries).await));
    let mut level = tree(repository, &[("100644", blob.as_str(), "note.txt".to_owned())]).await;
    for _ in 0..10 {
        let folders: Vec<_> = (0..100).map(|n| ("040000", level.as_str(), n.to_string())).collect();
        level = tree(repository, &folders).await;
    }
    roots.push(("endless".to_owned(), level));
    let small = git(repository, &["hash-object", "-w", "--stdin"], &config_map("small", "key", "one")).await;
    roots.push(("small".to_owned(), tree(repository, &[("100644", small.as_str(), "map.yaml".to_owned())]).await));
    commit(repository, &roots).await;
    (100 * 100 * 100, 10)
}

async fn commit(repository: &Repository, roots: &[(String, String)]) -> String {
    let entries: Vec<_> = roots.iter().map(|(name, id)| ("040000", id.as_str(), name.clone())).collect();
    let root = tree(repository, &entries).await;
    let commit = git(repository, &["commit-tree", &root, "-m", "grown"], "").await;
    repository.git(&["push", "--quiet", "--force", "origin", &format!("{commit}:refs/heads/main")]).await;
    commit
}

/// The same trees with another small folder.
async fn with_file(repository: &Repository, path: &str, text: &str) -> String {
    let (folder, name) = path.split_once('/').unwrap();
    let blob = git(repository, &["hash-object", "-w", "--stdin"], text).await;
    let changed = tree(repository, &[("100644", blob.as_str(), name.to_owned())]).await;
    let listed = git(repository, &["--git-dir", repository.path().to_str().unwrap(), "ls-tree", "main"], "").await;
    let roots: Vec<(String, String)> = listed
        .lines()
        .map(|line| {
            let (head, name) = line.split_once('\t').unwrap();
            let id = head.rsplit(' ').next().unwrap();
            (name.to_owned(), if name == folder { changed.clone() } else { id.to_owned() })
        })
        .collect();
    commit(repository, &roots).await
}
