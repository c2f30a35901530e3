//! The read-set of charts, plain folders and of what comes from elsewhere: whenever a fresh render of the whole tree
//! changes, the key under which renders are cached changes.
//!
//! `GITMOOR_ROUNDS` (4) trees of each kind.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use gitmoor_core::closure::{Category, End, PathIndex, ReadSet, RemoteContent, RemoteReference, Remotes, resolve};
use gitmoor_core::source::{Names, Recipe, Source, recipes};
use gitmoor_engine::helm::{self, Capabilities, Template};
use gitmoor_engine::inputs::{AnyTree, Inputs, inputs_with};
use gitmoor_engine::materialise;
use gitmoor_engine::remotes::{Ask, FetchRemotes};
use gitmoor_engine::render::{RenderError, Renderer, render_inputs};
use gitmoor_tests::harness::scratch::Scratch;
use serde_json::{Value, json};

use super::memory::MemoryTree;
use super::random::{self, Random};
use super::remotes;
use super::{path, renderer};

const EDITS: usize = 8;

/// An Application: its sources, and the tree of each; what comes from elsewhere is a tree too.
#[derive(Clone, Debug)]
struct Subject {
    sources: Value,
    trees: Vec<MemoryTree>,
    elsewhere: BTreeMap<RemoteReference, MemoryTree>,
}

impl Subject {
    fn recipe(&self) -> Recipe {
        let sources: Vec<Source> = serde_json::from_value(self.sources.clone()).unwrap();
        recipes(&sources, &Names { name: "web", namespace: "team", project: "" }).unwrap().remove(0)
    }

    async fn inputs(&self) -> Result<Inputs, RenderError> {
        let boxed = |tree: &MemoryTree| Box::new(tree.clone()) as AnyTree;
        let others = self.trees.iter().enumerate().skip(1).map(|(at, tree)| (at, boxed(tree))).collect();
        let known = self.elsewhere.iter().map(|(reference, tree)| (reference.clone(), remotes::tree(tree.clone())));
        let shelf = Servers(known.collect());
        inputs_with(self.recipe(), boxed(&self.trees[0]), others, &Capabilities::default(), Some(&shelf)).await
    }

    /// The key, and what is read of each tree.
    async fn key(&self) -> (Result<String, String>, Vec<(usize, ReadSet)>) {
        match self.inputs().await {
            Ok(inputs) => {
                let others = inputs.others.iter().map(|other| (other.source, other.read_set.clone()));
                let sets: Vec<_> = std::iter::once((0, inputs.read_set.clone())).chain(others).collect();
                let others: Vec<String> = sets[1..].iter().map(|(_, set)| set.digest()).collect();
                (Ok(format!("{} {}", inputs.own_digest(), others.join(" "))), sets)
            }
            Err(RenderError::Inputs(error)) => (Err(error.to_string()), vec![(0, *error.read_set)]),
            Err(RenderError::OtherInputs { position, error, own }) => {
                (Err(error.to_string()), vec![(0, *own), (position, *error.read_set)])
            }
            Err(error) => panic!("{error:?}"),
        }
    }

    async fn rendered(&self, renderer: &Renderer) -> Result<String, RenderError> {
        let output = render_inputs(renderer, self.inputs().await?, &Capabilities::default()).await?;
        assert!(!output.retried_on_whole_tree, "the read-set is not enough: {self:#?}");
        let mut texts: Vec<String> = output.documents.into_iter().map(|document| document.text).collect();
        texts.sort();
        Ok(texts.join("---\n"))
    }

    /// Changes something anywhere; gives which path of which of its own trees, if it is one of those.
    fn edit(&mut self, random: &mut Random) -> (Option<usize>, String) {
        let at = random.below(self.trees.len() + self.elsewhere.len());
        if let Some(tree) = self.trees.get_mut(at) {
            return (Some(at), random::edit(random, tree));
        }
        let tree = self.elsewhere.values_mut().nth(at - self.trees.len()).unwrap();
        (None, random::edit(random, tree))
    }
}

/// Has what it has, and nothing of what an edit made of an address.
struct Servers(BTreeMap<RemoteReference, RemoteContent>);

impl FetchRemotes for Servers {
    fn fetch(&self, asked: BTreeSet<Ask>) -> BoxFuture<'_, Remotes> {
        let missing = RemoteContent::Failed { category: Category::RemoteRefused, reason: "is not there".to_owned() };
        let content = |Ask { reference, .. }| {
            let found = self.0.get(&reference).unwrap_or(&missing).clone();
            (reference, found)
        };
        let found = Remotes(asked.into_iter().map(content).collect());
        async move { found }.boxed()
    }
}

/// How a tree renders without the read-set; `None` when it does not.
trait Oracle {
    async fn whole(&self, renderer: &Renderer, subject: &Subject) -> Option<String>;
}

#[derive(Debug, Default)]
struct Tally {
    edits: usize,
    /// Edits that change the render.
    effective: usize,
    /// Edits that change the key and not the render.
    needless: usize,
    /// Edits that change a render, and not its key.
    missed: usize,
    refused: usize,
}

// The figures are for people.
#[allow(clippy::print_stdout)]
async fn no_edit_is_missed(purpose: &str, make: impl Fn(&mut Random) -> Subject, oracle: &impl Oracle) {
    let scratch = Scratch::new(&format!("edits-{purpose}"));
    let (renderer, mut tally) = (renderer(&scratch), Tally::default());
    for seed in random::seeds(4) {
        let mut random = Random(seed);
        let subject = make(&mut random);
        let built = oracle.whole(&renderer, &subject).await;
        assert!(built.is_some(), "the tree renders: {seed}: {subject:#?}");
        let (before, sets) = subject.key().await;
        assert_eq!(subject.rendered(&renderer).await.ok(), built, "{seed}: {subject:#?}");
        for round in 0..EDITS {
            let mut edited = subject.clone();
            let (tree, changed) = edited.edit(&mut random);
            let context = format!("seed {seed}, round {round}: {changed} of tree {tree:?} of {edited:#?}");
            let (after, _) = edited.key().await;
            let fresh = oracle.whole(&renderer, &edited).await;
            let (differs, news) = (fresh != built, after != before);
            tally.edits += 1;
            tally.effective += usize::from(differs);
            tally.needless += usize::from(news && !differs);
            tally.refused += usize::from(after.is_err());
            if differs && !news {
                tally.missed += 1;
                println!("a missed change: {context}");
            }
            // That a folder which held nothing else is gone changes a key, and needs nobody.
            if differs && let Some(tree) = tree {
                let mut index = PathIndex::default();
                index.insert_all("app", sets.iter().filter(|(of, _)| *of == tree).map(|(_, set)| set));
                assert!(!index.touched([path(&changed)].iter()).is_empty(), "the index misses it: {context}");
            }
            match (&after, &fresh) {
                (Err(refusal), Some(_)) => panic!("refused what renders: {refusal}: {context}"),
                (Ok(_), Some(_)) if news => {
                    assert_eq!(edited.rendered(&renderer).await.ok(), fresh, "{context}");
                }
                _ => {}
            }
        }
    }
    let percent = 100 * tally.needless / tally.edits;
    println!("{purpose}: {tally:?}, {percent} % of the edits cause a needless render");
    assert_eq!(tally.missed, 0, "{tally:?}");
    assert!(tally.effective > tally.edits / 10, "the edits say nothing: {tally:?}");
    assert!(percent <= 25, "too many needless renders: {tally:?}");
}

/// `helm template` of the whole trees.
struct Helm;

impl Oracle for Helm {
    async fn whole(&self, renderer: &Renderer, subject: &Subject) -> Option<String> {
        let checkouts: Vec<_> = subject
            .trees
            .iter()
            .map(|tree| materialise::whole_tree(tree, &renderer.scratch, &renderer.limits).unwrap())
            .collect();
        let recipe = subject.recipe();
        let at = |file: &gitmoor_core::source::ValueFile| checkouts[file.source.unwrap_or(0)].path_of(&file.path);
        let there = |file: &PathBuf| !recipe.helm.ignore_missing_value_files || file.is_file();
        let capabilities = Capabilities::default();
        let template = Template {
            root: checkouts[0].root(),
            other_roots: Vec::new(),
            chart: checkouts[0].path_of(&recipe.path),
            options: &recipe.helm,
            value_files: recipe.helm.value_files.iter().map(at).filter(there).collect(),
            set_files: recipe.helm.set_file.iter().map(|(name, file)| (name.clone(), at(file))).collect(),
            capabilities: &capabilities,
        };
        // Beneath a checkout links that lead out are not there: what is followed outside would be a canary of its own.
        helm::template(&renderer.helm, &template).await.ok()
    }
}

fn chart_subject(random: &mut Random) -> Subject {
    let mut own = MemoryTree::default();
    let mut put = |path: &str, text: &str| drop(own.0.insert(path.to_owned(), text.to_owned()));
    put("charts/app/Chart.yaml", "apiVersion: v2\nname: app\nversion: 1.0.0\n");
    put("charts/app/values.yaml", &format!("a: v{}\nb: two\n", random.below(9)));
    put("charts/app/templates/_name.tpl", "{{ define \"name\" }}n{{ .Values.b }}{{ end }}");
    put(
        "charts/app/templates/map.yaml",
        "kind: Map\nname: {{ include \"name\" . }}\nvalues: {{ .Values | toJson | quote }}\n\
         file: {{ .Files.Get \"files/data.txt\" | quote }}\nall: {{ (.Files.Glob \"files/*.conf\").AsConfig | quote }}\n",
    );
    put("charts/app/files/data.txt", "data");
    put("charts/app/files/one.conf", "1");
    put("notes/README.md", "nobody reads this, however long it is");
    put("values/unused.yaml", "x: y");
    let mut helm = json!({"valueFiles": [], "values": "c: own\n"});
    let mut name = |file: &str| helm["valueFiles"].as_array_mut().unwrap().push(json!(file));
    if random.one_in(2) {
        put("values/one.yaml", "a: one\nd: {e: f}\n");
        name("../../values/one.yaml");
    }
    if random.one_in(2) {
        put("values/real.yaml", "a: real\n");
        put("values/linked.yaml", "-> real.yaml");
        name("/values/linked.yaml");
    }
    let mut other = MemoryTree::of(&[("README.md", "of the other one")]);
    let mut sources = vec![json!({"repoURL": "y", "ref": "own"})];
    if random.one_in(2) {
        other.0.insert("apps/web.yaml".to_owned(), "a: elsewhere\n".to_owned());
        name("$own/apps/web.yaml");
    }
    if random.one_in(2) {
        name("/values/missing.yaml");
        helm["ignoreMissingValueFiles"] = json!(true);
    }
    let mut files = Vec::new();
    if random.one_in(2) {
        other.0.insert("cert.pem".to_owned(), "certificate".to_owned());
        files.push(json!({"name": "cert", "path": "$own/cert.pem"}));
    }
    if random.one_in(2) {
        put("charts/app/script.sh", "echo");
        files.push(json!({"name": "script", "path": "script.sh"}));
    }
    helm["fileParameters"] = json!(files);
    if random.one_in(2) {
        put("charts/app/charts/sub/Chart.yaml", "apiVersion: v2\nname: sub\nversion: 0.1.0\n");
        put("charts/app/charts/sub/values.yaml", "s: t\n");
        put("charts/app/charts/sub/templates/sub.yaml", "kind: Sub\nvalue: {{ .Values.s }}\n");
    }
    if random.one_in(2) {
        put("shared/library/Chart.yaml", "apiVersion: v2\nname: library\nversion: 0.1.0\n");
        put("shared/library/templates/l.yaml", "kind: Library\nrelease: {{ .Release.Name }}\n");
        put("charts/app/charts/library", "-> ../../../shared/library");
    }
    if random.one_in(2) {
        put("charts/app/crds/crd.yaml", "kind: CustomResourceDefinition\n");
    }
    if random.one_in(3) {
        put("charts/app/.helmignore", "ignored.txt\n");
        put("charts/app/files/ignored.txt", "ignored");
    }
    if random.one_in(3) {
        put("charts/app/values.schema.json", "{\"properties\": {\"a\": {\"type\": \"string\"}}}");
    }
    if random.one_in(2) {
        put("shared/template.yaml", "kind: Shared\nb: {{ .Values.b }}\n");
        put("charts/app/templates/shared.yaml", "-> ../../../shared/template.yaml");
    }
    sources.insert(0, json!({"repoURL": "x", "path": "charts/app", "helm": helm}));
    Subject { sources: json!(sources), trees: vec![own, other], elsewhere: BTreeMap::new() }
}

#[tokio::test]
async fn no_edit_of_a_chart_or_of_its_values_is_missed() {
    no_edit_is_missed("charts", chart_subject, &Helm).await;
}

/// `kustomize build` of the whole tree, with the other trees beside it.
struct Beside;

const BASES: &str = "https://git.example/o/bases.git";
const DEEP: &str = "https://git.example/o/deep.git";

impl Oracle for Beside {
    async fn whole(&self, renderer: &Renderer, subject: &Subject) -> Option<String> {
        let mut tree = MemoryTree::default();
        let own = subject.trees[0].0.iter().map(|(path, text)| (path.clone(), text, 1));
        let elsewhere = subject.elsewhere.iter().flat_map(|(reference, tree)| {
            let RemoteReference::Repository { address, .. } = reference else { panic!("{reference:?}") };
            let folder = if address == BASES { "elsewhere/bases" } else { "elsewhere/deep" };
            tree.0.iter().map(move |(path, text)| (format!("{folder}/{path}"), text, 3))
        });
        for (path, text, up) in own.chain(elsewhere) {
            let up = "../".repeat(up);
            let text = text.replace(&format!("{BASES}//"), &format!("{up}elsewhere/bases/"));
            let text = text.replace(&format!("{DEEP}//"), &format!("{up}elsewhere/deep/"));
            tree.0.insert(path, text.replace("?ref=v1", ""));
        }
        super::whole(renderer, &tree).await.ok()
    }
}

fn remote_subject(random: &mut Random) -> Subject {
    let mut own = random::tree(random);
    let text =
        own.0.iter_mut().find(|(path, _)| path.starts_with("app/") && path.to_lowercase().contains("kustomization"));
    let text = text.unwrap().1;
    *text = text.replacen("resources: [", &format!("resources: [\"{BASES}//x?ref=v1\", "), 1);
    let map = |name: &str| format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{a: b}}\n");
    let mut bases = MemoryTree::of(&[
        ("x/kustomization.yaml", "resources: [map.yaml, ../y]\n"),
        ("x/map.yaml", &map("elsewhere")),
        ("y/kustomization.yaml", "resources: [linked.yaml]\n"),
        ("y/linked.yaml", "-> ../files/real.yaml"),
        ("files/real.yaml", &map("real")),
        ("README.md", "nobody reads this"),
    ]);
    // A file outside of its folder, but for a link, is none that kustomize reads.
    bases.0.insert("y/linked.yaml".to_owned(), map("linked"));
    let mut elsewhere = BTreeMap::new();
    if random.one_in(2) {
        bases
            .0
            .insert("x/kustomization.yaml".to_owned(), format!("resources: [map.yaml, ../y, \"{DEEP}//d?ref=v1\"]\n"));
        let deep = MemoryTree::of(&[
            ("d/kustomization.yaml", "resources: [deep.yaml]\nnamePrefix: d-\n"),
            ("d/deep.yaml", &map("deep")),
        ]);
        elsewhere.insert(remotes::repository(DEEP, "v1"), deep);
    }
    elsewhere.insert(remotes::repository(BASES, "v1"), bases);
    Subject { sources: json!([{"repoURL": "x", "path": "app"}]), trees: vec![own], elsewhere }
}

#[tokio::test]
async fn no_edit_of_what_comes_from_elsewhere_is_missed() {
    no_edit_is_missed("remotes", remote_subject, &Beside).await;
}

/// The manifests of a folder by their names alone.
struct Plain;

impl Oracle for Plain {
    async fn whole(&self, renderer: &Renderer, subject: &Subject) -> Option<String> {
        let checkout = materialise::whole_tree(&subject.trees[0], &renderer.scratch, &renderer.limits).unwrap();
        let options = &subject.sources[0]["directory"];
        let (include, exclude) = (options["include"].as_str(), options["exclude"].as_str());
        let top = checkout.path_of(&path("app"));
        let mut found = Vec::new();
        collect(&top, &top, options["recurse"] == true, &mut found);
        let counts = |name: &str| {
            include.is_none_or(|pattern| matches(pattern, name))
                && !exclude.is_some_and(|pattern| matches(pattern, name))
        };
        // What several links lead to counts once.
        let files: BTreeSet<PathBuf> =
            found.into_iter().filter(|(name, _)| counts(name)).map(|(_, file)| file).collect();
        let mut texts: Vec<String> = files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
        texts.sort();
        // A link that leads nowhere is refused, wherever it leads.
        let links = subject.trees[0].0.iter().filter(|(_, text)| text.starts_with("-> "));
        let inside = links.filter_map(|(at, _)| Some((at, at.strip_prefix("app/")?)));
        let is_manifest = |name: &str| [".yaml", ".yml", ".json"].iter().any(|end| name.ends_with(end));
        let mut counted = inside.filter(|(_, name)| {
            (options["recurse"] == true || !name.contains('/')) && is_manifest(name) && counts(name)
        });
        let broken = counted.any(|(at, _)| !matches!(resolve(&subject.trees[0], &path(at)), Ok(found) if !matches!(found.end, End::Missing(_))));
        (top.is_dir() && !broken).then(|| texts.join("---\n"))
    }
}

fn collect(top: &Path, folder: &Path, recurse: bool, found: &mut Vec<(String, PathBuf)>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let at = entry.path();
        let name = at.strip_prefix(top).unwrap().to_str().unwrap().to_owned();
        if entry.file_type().unwrap().is_dir() {
            if recurse {
                collect(top, &at, recurse, found);
            }
        } else if [".yaml", ".yml", ".json"].iter().any(|end| name.ends_with(end)) && at.is_file() {
            found.push((name, at.canonicalize().unwrap()));
        }
    }
}

/// `*` is any text, and nothing else is special.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((start, rest)) => text
            .strip_prefix(start)
            .is_some_and(|text| (0..=text.len()).any(|at| text.is_char_boundary(at) && matches(rest, &text[at..]))),
    }
}

fn plain_subject(random: &mut Random) -> Subject {
    let mut tree = MemoryTree::of(&[
        ("app/a.yaml", "a: 1"),
        ("app/b.json", "{}"),
        ("app/c.yml", "c: 1"),
        ("app/notes.txt", "no manifest"),
        ("app/sub/d.yaml", "d: 1"),
        ("app/sub/deep/e.yaml", "e: 1"),
        ("other/f.yaml", "f: 1"),
        ("README.md", "nobody reads this"),
    ]);
    if random.one_in(2) {
        tree.0.insert("app/linked.yaml".to_owned(), "-> ../other/f.yaml".to_owned());
    }
    let mut options = json!({"recurse": random.one_in(2)});
    let patterns = ["*.yaml", "a*", "*.y*ml", "sub/*", "*b.json"];
    if random.one_in(2) {
        options["include"] = json!(random.pick(&patterns));
    }
    // Some option is always set: a kustomization that comes to stand there is a file as any other.
    options["exclude"] = json!(random.pick(&["c*", "sub/deep*", "*d.yaml", "nothing"]));
    let sources = json!([{"repoURL": "x", "path": "app", "directory": options}]);
    Subject { sources, trees: vec![tree], elsewhere: BTreeMap::new() }
}

#[tokio::test]
async fn no_edit_of_a_plain_folder_is_missed() {
    no_edit_is_missed("folders", plain_subject, &Plain).await;
}
