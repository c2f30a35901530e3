//! Renders with the real kustomize.

mod edits;
mod memory;
mod random;
mod remotes;
mod sources;

use std::path::Path;

use gitmoor_core::closure::{self, PathIndex, ReadSet};
use gitmoor_core::tree::{EntryKind, RepoPath, Tree, TreeEntry, TreeError};
use gitmoor_engine::helm::Helm;
use gitmoor_engine::kustomize::{self, Kustomize, KustomizeError};
use gitmoor_engine::materialise;
use gitmoor_engine::process::Limits;
use gitmoor_engine::render::{RenderError, RenderKey, RenderOutput, Renderer, render};
use gitmoor_tests::harness::scratch::Scratch;
use gitmoor_tests::harness::tools;

use self::memory::MemoryTree;
use self::random::Random;

fn renderer(scratch: &Scratch) -> Renderer {
    let kustomize = Kustomize { program: tools::tool("kustomize"), limits: Limits::default() };
    let helm = Helm { program: tools::tool("helm"), limits: Limits::default() };
    Renderer { kustomize, helm, scratch: scratch.path().to_owned(), limits: materialise::Limits::default() }
}

fn path(text: &str) -> RepoPath {
    RepoPath::root().join(text).unwrap()
}

fn text(output: &RenderOutput) -> &str {
    assert_eq!(output.documents.len(), 1);
    &output.documents[0].text
}

/// What kustomize makes of the whole tree.
async fn whole(renderer: &Renderer, tree: &MemoryTree) -> Result<String, KustomizeError> {
    let checkout = materialise::whole_tree(tree, &renderer.scratch, &renderer.limits).unwrap();
    let folder = checkout.path_of(&path("app"));
    Ok(kustomize::build(&renderer.kustomize, checkout.root(), &folder).await?.manifests)
}

const OWN: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: own}\ndata: {a: b}\n";
const PATCH: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: own}\ndata: {c: d}\n";

#[tokio::test]
async fn kustomize_is_the_pinned_one() {
    let scratch = Scratch::new("kustomize-version");
    assert_eq!(kustomize::version(&renderer(&scratch).kustomize).await.unwrap().major, 5);
}

#[tokio::test]
async fn a_kustomization_renders_from_its_read_set_alone() {
    let scratch = Scratch::new("render-read-set");
    let renderer = renderer(&scratch);
    let tree = MemoryTree::of(&[
        (
            "app/kustomization.yaml",
            "resources: [own.yaml, ../linked]\nbases: [../base]\ncomponents: [../part]\npatches: [{path: patch.yaml}]\n\
             configMapGenerator: [{name: made, files: [key=data.txt], envs: [a.env]}]\n\
             generators: [../plugins, generator.yaml]\nconfigurations: [configuration.yaml]\n\
             openapi: {path: schema.json}\n",
        ),
        ("app/own.yaml", OWN),
        ("app/patch.yaml", PATCH),
        ("app/data.txt", "data"),
        ("app/a.env", "A=b"),
        (
            "app/generator.yaml",
            "apiVersion: builtin\nkind: SecretGenerator\nmetadata: {name: s}\nname: s\nfiles: [data.txt]\n",
        ),
        ("app/configuration.yaml", "namePrefix: [{path: metadata/name}]\n"),
        ("app/schema.json", "{\"definitions\": {}}"),
        ("app/other.yaml", "not read"),
        ("base/kustomization.yml", "resources: [one.yaml]\nnamePrefix: base-\n"),
        ("base/one.yaml", &OWN.replace("own", "base")),
        ("linked", "-> deep/linked"),
        ("deep/linked/Kustomization", "resources: [one.yaml]\nnamePrefix: linked-\n"),
        ("deep/linked/one.yaml", "-> other.yaml"),
        ("deep/linked/other.yaml", &OWN.replace("own", "linked")),
        ("part/kustomization.yaml", "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nnameSuffix: -x\n"),
        ("plugins/kustomization.yaml", "resources: [made.yaml]\n"),
        (
            "plugins/made.yaml",
            "apiVersion: builtin\nkind: ConfigMapGenerator\nmetadata: {name: p}\nname: p\nfiles: [data.txt]\n",
        ),
        ("huge/unrelated.bin", &"x".repeat(1 << 20)),
    ]);
    let output = render(&renderer, tree.clone(), &path("app")).await.unwrap();
    assert!(!output.retried_on_whole_tree);
    assert_eq!(output.key, RenderKey::ReadSet(output.read_set.digest()));
    assert_eq!(text(&output), whole(&renderer, &tree).await.unwrap());
    assert_eq!(text(&output).matches("\nkind: ").count(), 6, "{}", text(&output));
    assert_eq!(output.warnings.len(), 1, "bases are deprecated: {:?}", output.warnings);

    let checkout = materialise::read_set(&tree, &output.read_set, scratch.path(), &renderer.limits).unwrap();
    assert!(checkout.root().join("linked/one.yaml").exists());
    assert!(!checkout.root().join("huge").exists() && !checkout.root().join("app/other.yaml").exists());
    let at = checkout.root().to_owned();
    drop(checkout);
    assert!(!at.exists(), "the folder goes with its owner");
}

#[tokio::test]
async fn a_plain_directory_is_read_without_kustomize() {
    let scratch = Scratch::new("render-directory");
    let mut renderer = renderer(&scratch);
    renderer.kustomize.program = "/nowhere/kustomize".into();
    let tree = MemoryTree::of(&[
        ("app/b.yaml", "b: 1"),
        ("app/a.json", "{}"),
        ("app/notes.txt", "no"),
        ("app/c/d.yaml", "no"),
    ]);
    let output = render(&renderer, tree, &path("app")).await.unwrap();
    let files: Vec<_> = output.documents.iter().map(|document| document.file.clone().unwrap().to_string()).collect();
    assert_eq!(files, ["app/a.json", "app/b.yaml"]);
    assert_eq!(output.documents[1].text, "b: 1");
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0, "nothing is written");
}

/// A path that comes into being only during the build: the walker cannot see it.
fn tree_with_a_gap(data: Option<&str>) -> MemoryTree {
    let mut tree = MemoryTree::of(&[
        ("app/kustomization.yaml", "generators: [../plugins]\n"),
        ("plugins/kustomization.yaml", "resources: [made.yaml]\npatches: [{path: patch.yaml}]\n"),
        ("plugins/made.yaml", "apiVersion: builtin\nkind: ConfigMapGenerator\nmetadata: {name: p}\nname: p\n"),
        (
            "plugins/patch.yaml",
            "apiVersion: builtin\nkind: ConfigMapGenerator\nmetadata: {name: p}\nfiles: [data.txt]\n",
        ),
        ("other/kustomization.yaml", "{}"),
    ]);
    tree.0.extend(data.map(|data| ("app/data.txt".to_owned(), data.to_owned())));
    tree
}

#[tokio::test]
async fn a_gap_in_the_read_set_is_built_on_the_whole_tree_and_keyed_on_it() {
    let scratch = Scratch::new("render-gap");
    let renderer = renderer(&scratch);
    let first = render(&renderer, tree_with_a_gap(Some("one")), &path("app")).await.unwrap();
    assert!(first.retried_on_whole_tree && text(&first).contains("one"));
    let second = render(&renderer, tree_with_a_gap(Some("two")), &path("app")).await.unwrap();
    assert!(matches!(&first.key, RenderKey::WholeTree(id) if !id.is_empty()));
    assert_ne!(first.key, second.key);
    let error = render(&renderer, tree_with_a_gap(None), &path("app")).await.unwrap_err();
    assert_eq!(error.category(), "RenderFailed");
    let message = error.to_string();
    assert!(message.contains("app/data.txt") && !message.contains(scratch.path().to_str().unwrap()), "{message}");
}

#[tokio::test]
async fn what_kustomize_refuses_is_said_in_its_words_without_content() {
    let scratch = Scratch::new("render-refused");
    let renderer = renderer(&scratch);
    for (kustomization, expected) in [
        ("resources: [own.yaml]\nunknownField: x\n", "unknown field \"unknownField\""),
        ("resources: [own.yaml, own.yaml]\n", "may not add resource with an already registered id"),
        ("secretGenerator: [{name: s, literals: [hunter2]}]\n", "loading KV pairs: literal sources"),
        ("resources: [own.yaml]\npatches: [{patch: 'hunter2'}]\n", "unable to parse SM or JSON patch"),
        ("{}\n", "kustomization.yaml is empty"),
        ("resources: [../base/out.yaml]\n", "is not in or below 'app'"),
        ("transformers: [plugin.yaml]\n", "plugin"),
        ("patches: [{path: ../base}]\nresources: [own.yaml]\n", "must resolve to a file"),
    ] {
        let plugin = "apiVersion: example.com/v1\nkind: Exec\nmetadata: {name: x}\n";
        let files = [
            ("app/kustomization.yaml", kustomization),
            ("app/own.yaml", OWN),
            ("app/plugin.yaml", plugin),
            ("base/out.yaml", OWN),
        ];
        let error = render(&renderer, MemoryTree::of(&files), &path("app")).await.unwrap_err();
        let message = error.to_string();
        assert!(matches!(error, RenderError::Kustomize(KustomizeError::Failed { .. })), "{error:?}");
        assert!(!error.waiting_helps());
        assert!(message.contains(expected), "{kustomization}: {message}");
        assert!(!message.contains("hunter2"), "rule 4: {message}");
        assert!(!message.contains(scratch.path().to_str().unwrap()), "{message}");
    }
}

#[tokio::test]
async fn a_render_that_does_not_end_is_killed() {
    let scratch = Scratch::new("render-slow");
    let mut renderer = renderer(&scratch);
    renderer.kustomize.limits.time = std::time::Duration::from_millis(1);
    let error = render(&renderer, MemoryTree::of(&[("app/kustomization.yaml", "namePrefix: x\n")]), &path("app")).await;
    assert_eq!(error.unwrap_err().category(), "RenderTimedOut");
}

#[tokio::test]
async fn kustomize_starts_within_its_memory_limit_and_fails_beyond_it() {
    let scratch = Scratch::new("render-memory");
    let mut renderer = renderer(&scratch);
    renderer.kustomize.limits.memory = 256 << 20;
    let documents =
        |count: usize| (0..count).map(|n| OWN.replace("own", &format!("own{n}"))).collect::<Vec<_>>().join("---\n");
    let tree = |count| {
        MemoryTree::of(&[("app/kustomization.yaml", "resources: [own.yaml]\n"), ("app/own.yaml", &documents(count))])
    };
    assert!(render(&renderer, tree(10), &path("app")).await.is_ok());
    renderer.kustomize.limits.memory = 96 << 20;
    assert!(render(&renderer, tree(20_000), &path("app")).await.is_err());
}

/// A tree that names a link and a folder the same, as only a forged one can.
struct Forged;

impl Tree for Forged {
    fn entry(&self, path: &RepoPath) -> Result<Option<TreeEntry>, TreeError> {
        let kind = if path.as_str() == "c" { EntryKind::Folder } else { EntryKind::Link };
        Ok(Some(TreeEntry { kind, id: String::new() }))
    }

    fn list(&self, path: &RepoPath) -> Result<Vec<(String, TreeEntry)>, TreeError> {
        let entry = |name: &str, kind| (name.to_owned(), TreeEntry { kind, id: String::new() });
        Ok(match path.as_str() {
            "" => vec![entry("c", EntryKind::Folder), entry("a", EntryKind::Link), entry("a", EntryKind::Folder)],
            "a" => vec![entry("b", EntryKind::File)],
            _ => vec![],
        })
    }

    fn read(&self, _: &RepoPath, _: usize) -> Result<Vec<u8>, TreeError> {
        Ok(b"c".to_vec())
    }
}

#[test]
fn rule_7_nothing_is_written_through_a_link() {
    let scratch = Scratch::new("materialise-links");
    let outside = scratch.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    let target = format!("-> {}", outside.display());
    let tree =
        MemoryTree::of(&[("a", &target), ("b", "-> ../../outside"), ("c", "-> d"), ("d", "file"), ("e", "-> gone")]);
    let checkout = materialise::whole_tree(&tree, scratch.path(), &materialise::Limits::default()).unwrap();
    let names = |folder: &Path| {
        let mut names: Vec<_> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    assert_eq!(names(checkout.root()), ["c", "d", "e"], "links that lead out are left out");
    assert!(materialise::whole_tree(&Forged, scratch.path(), &materialise::Limits::default()).is_err());
    let small = materialise::Limits { total: 3, ..materialise::Limits::default() };
    assert!(materialise::whole_tree(&tree, scratch.path(), &small).is_err());
    drop(checkout);
    assert_eq!(names(scratch.path()), ["outside"]);
}

/// The key under which a render is cached, or what stands in its way.
fn key(tree: &MemoryTree) -> (Result<String, String>, ReadSet) {
    match closure::read_set(tree, &path("app")) {
        Ok(set) => (Ok(set.digest()), set),
        Err(error) => (Err(error.to_string()), *error.read_set),
    }
}

#[derive(Debug, Default)]
struct Tally {
    edits: usize,
    renders_differ: usize,
    keys_differ: usize,
    refused: usize,
}

/// The read-set is complete: whenever a build of the whole tree changes, the key changes, and the index says so; the
/// read-set alone renders as the whole tree does; and what the walker refuses, kustomize refuses.
#[tokio::test]
async fn no_edit_is_missed_by_the_read_set() {
    let scratch = Scratch::new("render-edits");
    let renderer = renderer(&scratch);
    let mut tally = Tally::default();
    for seed in random::seeds(8) {
        let mut random = Random(seed);
        let tree = random::tree(&mut random);
        let built = whole(&renderer, &tree).await.unwrap();
        let (before, set) = key(&tree);
        let mut index = PathIndex::default();
        index.insert("app", &set);
        for round in 0..8 {
            let mut edited = tree.clone();
            let changed = random::edit(&mut random, &mut edited);
            let context = format!("seed {seed}, round {round}: {changed} of {edited:#?}");
            let (after, _) = key(&edited);
            let fresh = whole(&renderer, &edited).await;
            tally.edits += 1;
            tally.renders_differ += usize::from(fresh.as_ref().ok() != Some(&built));
            tally.keys_differ += usize::from(after != before);
            tally.refused += usize::from(after.is_err());
            if fresh.as_ref().ok() != Some(&built) {
                assert_ne!(after, before, "a missed change: {context}");
            }
            if after != before {
                assert!(!index.touched([path(&changed)].iter()).is_empty(), "the index misses it: {context}");
            }
            match (&after, fresh) {
                (Err(refusal), Ok(_)) => panic!("refused what kustomize builds: {refusal}: {context}"),
                (Ok(_), Ok(fresh)) if after != before => {
                    let output = render(&renderer, edited, &path("app")).await.unwrap();
                    assert!(!output.retried_on_whole_tree, "the read-set is not enough: {context}");
                    assert_eq!(text(&output), fresh, "{context}");
                }
                _ => {}
            }
        }
    }
    println!("{tally:?}");
    assert!(tally.renders_differ > tally.edits / 10, "the edits say nothing: {tally:?}");
}
