//! Read-sets of trees in memory. What real kustomize makes of them is tested in gitmoor-tests.

mod elsewhere;

use std::collections::BTreeMap;

use super::*;
use crate::source::Recipe;
use crate::tree::{EntryKind, RepoPath, Tree, TreeEntry, TreeError};

/// A tree in memory: links start with `-> `, submodules are `(submodule)`.
#[derive(Clone, Default)]
struct MemoryTree(BTreeMap<String, String>);

impl MemoryTree {
    fn of(files: &[(&str, &str)]) -> Self {
        Self(files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect())
    }

    fn content(&self, path: &RepoPath) -> Option<(EntryKind, &str)> {
        let text = self.0.get(path.as_str())?;
        match text.strip_prefix("-> ") {
            Some(target) => Some((EntryKind::Link, target)),
            None if text == "(submodule)" => Some((EntryKind::Submodule, "")),
            None => Some((EntryKind::File, text)),
        }
    }
}

impl Tree for MemoryTree {
    fn entry(&self, path: &RepoPath) -> Result<Option<TreeEntry>, TreeError> {
        if let Some((kind, content)) = self.content(path) {
            return Ok(Some(TreeEntry { kind, id: format!("{kind:?} {content}") }));
        }
        let below = format!("{}/", path.as_str());
        let folder = path.as_str().is_empty() || self.0.keys().any(|key| key.starts_with(&below));
        Ok(folder.then(|| TreeEntry { kind: EntryKind::Folder, id: String::new() }))
    }

    fn list(&self, path: &RepoPath) -> Result<Vec<(String, TreeEntry)>, TreeError> {
        let below = if path.as_str().is_empty() { String::new() } else { format!("{}/", path.as_str()) };
        let mut names: Vec<String> = self
            .0
            .keys()
            .filter_map(|key| key.strip_prefix(&below))
            .map(|rest| rest.split('/').next().unwrap().to_owned())
            .collect();
        names.dedup();
        names.into_iter().map(|name| Ok((name.clone(), self.entry(&path.join(&name).unwrap())?.unwrap()))).collect()
    }

    fn read(&self, path: &RepoPath, limit: usize) -> Result<Vec<u8>, TreeError> {
        let fail = |reason: &str| TreeError::unreadable(path, reason);
        let (_, content) = self.content(path).ok_or_else(|| fail("nothing there"))?;
        if content.len() > limit { Err(TreeError::too_large(path, limit)) } else { Ok(content.as_bytes().to_vec()) }
    }
}

fn path(text: &str) -> RepoPath {
    RepoPath::root().join(text).unwrap()
}

/// The members, one a line: `f` file, `l` link, `d` listing, `t` whole folder, `-` absent.
fn shown(set: &ReadSet) -> Vec<String> {
    let tag = |member: &Member| match member {
        Member::File { .. } => 'f',
        Member::Link { .. } => 'l',
        Member::Listing { .. } => 'd',
        Member::Folder => 't',
        Member::Absent => '-',
    };
    set.members.iter().map(|(path, member)| format!("{} {path}", tag(member))).collect()
}

fn problems(files: &[(&str, &str)]) -> Vec<String> {
    read_set(&MemoryTree::of(files), &path("app")).unwrap_err().problems.iter().map(ToString::to_string).collect()
}

/// What is read apart from `app/kustomization.yaml`, and from the other names that are looked for.
fn read_by(kustomization: &str, others: &[&str]) -> Vec<String> {
    let mut files = vec![("app/kustomization.yaml", kustomization)];
    files.extend(others.iter().map(|other| (*other, "{}")));
    let set = read_set(&MemoryTree::of(&files), &path("app")).unwrap();
    let files = set.members.iter().filter(|(_, member)| matches!(member, Member::File { .. }));
    files.map(|(path, _)| path.to_string()).filter(|path| path != "app/kustomization.yaml").collect()
}

#[test]
fn every_field_that_names_a_file_is_followed() {
    for field in [
        "resources: [x]",
        "Resources: [x]",
        "bases: [x]",
        "crds: [x]",
        "configurations: [x]",
        "openapi: {path: x}",
        "patches: [{path: x}]",
        "patchesJson6902: [{path: x, target: {kind: A}}]",
        "patchesStrategicMerge: [x]",
        "replacements: [{path: x}]",
        "configMapGenerator: [{name: a, files: [x]}]",
        "configMapGenerator: [{name: a, files: [key=x]}]",
        "configMapGenerator: [{name: a, envs: [x]}]",
        "secretGenerator: [{name: a, env: x}]",
        "generators: [x]",
        "transformers: [x]",
        "validators: [x]",
        "a: &a [x]\nresources: *a",
        "a: &a {resources: [x]}\n<<: *a",
        "resources: []\nresources: [x]",
        "generators: ['{kind: ConfigMapGenerator, files: [k=x]}']",
        "generators: [\"apiVersion: builtin\\nkind: SecretGenerator\\nenvs: [x]\"]",
        "transformers: ['{kind: PatchTransformer, path: x}']",
        "transformers: ['{kind: PatchJson6902Transformer, path: x}']",
        "transformers: ['{kind: PatchStrategicMergeTransformer, paths: [x, \"{kind: A}\"]}']",
        "transformers: ['{kind: ReplacementTransformer, replacements: [{path: x}]}']",
        "transformers: ['{kind: ValueAddTransformer, targetFilePath: x}']",
        "generators: ['{kind: GeneratorList, items: [{kind: ConfigMapGenerator, files: [x]}]}']",
    ] {
        assert_eq!(read_by(field, &["app/x"]), ["app/x"], "{field}");
    }
}

#[test]
fn what_is_no_path_is_not_followed() {
    for field in [
        "patchesStrategicMerge: ['{kind: A, metadata: {name: b}}']",
        "patchesStrategicMerge: [\"kind: A\\nmetadata: {name: b}\"]",
        "patches: [{patch: x}]",
        "resources:",
        "resources: ['']",
        "configMapGenerator: [{name: a, files: [a=b=c], literals: [x=y]}]",
        "images: [{name: x}]",
        "---\nresources: []\n---\nresources: [missing]\n",
    ] {
        assert_eq!(read_by(field, &["app/x"]), Vec::<String>::new(), "{field}");
    }
}

#[test]
fn bases_are_walked_with_all_that_is_looked_for() {
    let tree = MemoryTree::of(&[
        ("app/Kustomization", "resources: [../base, own.yaml]\ncomponents: [../part]"),
        ("app/own.yaml", "not: [read"),
        ("base/kustomization.yml", "resources: [deploy.yaml]"),
        ("base/deploy.yaml", ""),
        ("base/unused.yaml", ""),
        ("part/kustomization.yaml", "kind: Component"),
    ]);
    let set = read_set(&tree, &path("app")).unwrap();
    assert_eq!(set.source, SourceKind::Kustomize);
    assert_eq!(
        shown(&set),
        [
            "f app/Kustomization",
            "- app/kustomization.yaml",
            "- app/kustomization.yml",
            "f app/own.yaml",
            "- base/Kustomization",
            "f base/deploy.yaml",
            "- base/kustomization.yaml",
            "f base/kustomization.yml",
            "- part/Kustomization",
            "f part/kustomization.yaml",
            "- part/kustomization.yml",
        ]
    );
}

#[test]
fn plugin_configurations_in_a_folder_name_paths_of_their_user() {
    let tree = MemoryTree::of(&[
        ("app/kustomization.yaml", "generators: [../plugins]"),
        ("app/data.txt", ""),
        ("plugins/kustomization.yaml", "resources: [generate.yaml]"),
        ("plugins/generate.yaml", "kind: A\n---\napiVersion: builtin\nkind: ConfigMapGenerator\nfiles: [data.txt]\n"),
    ]);
    assert!(shown(&read_set(&tree, &path("app")).unwrap()).contains(&"f app/data.txt".to_owned()));
}

#[test]
fn a_directory_is_its_manifests_and_its_listing() {
    let mut tree = MemoryTree::of(&[
        ("app/a.yaml", "1"),
        ("app/b.json", "2"),
        ("app/README.md", "3"),
        ("app/below/c.yaml", "4"),
        ("app/link.yml", "-> ../shared.yaml"),
        ("shared.yaml", "5"),
    ]);
    let set = read_set(&tree, &path("app")).unwrap();
    assert_eq!(set.source, SourceKind::Directory);
    let files: Vec<_> = shown(&set).into_iter().filter(|line| !line.starts_with('-')).collect();
    assert_eq!(files, ["d app", "f app/a.yaml", "f app/b.json", "l app/link.yml", "f shared.yaml"]);
    let digest = set.digest();
    let changed = |tree: &MemoryTree| read_set(tree, &path("app")).unwrap().digest() != digest;
    tree.0.insert("app/README.md".into(), "other".into());
    tree.0.insert("app/more.txt".into(), "other".into());
    tree.0.insert("app/below/d.yaml".into(), "other".into());
    assert!(!changed(&tree), "nothing that is read has changed");
    tree.0.insert("app/z.yaml".into(), String::new());
    assert!(changed(&tree));
}

#[test]
fn links_are_followed_from_where_they_stand() {
    let tree = MemoryTree::of(&[
        ("app/kustomization.yaml", "resources: [base, x/../here.yaml]"),
        ("app/here.yaml", ""),
        ("app/base", "-> ../links/base"),
        ("links/base", "-> up/deep/base"),
        ("links/up", "-> .."),
        ("deep/base/kustomization.yaml", "resources: [../other.yaml]"),
        ("deep/other.yaml", ""),
    ]);
    let read: Vec<_> =
        shown(&read_set(&tree, &path("app")).unwrap()).into_iter().filter(|l| !l.starts_with('-')).collect();
    assert_eq!(
        read,
        [
            "l app/base",
            "f app/here.yaml",
            "f app/kustomization.yaml",
            "f deep/base/kustomization.yaml",
            "f deep/other.yaml",
            "l links/base",
            "l links/up",
        ]
    );
}

#[test]
fn hostile_links_are_named() {
    for (target, reason) in [
        ("-> /etc/passwd", "is absolute"),
        ("-> ../../etc/passwd", "leaves the repository"),
        ("-> x.yaml", "loops"),
        ("-> ../sub/x", "app/sub"),
    ] {
        let found = problems(&[
            ("app/kustomization.yaml", "resources: [x.yaml]"),
            ("app/x.yaml", target),
            ("sub", "(submodule)"),
        ]);
        assert_eq!(found.len(), 1);
        let expected = if reason == "app/sub" { "sub is a Git submodule" } else { reason };
        assert!(found[0].contains(expected), "{found:?}");
    }
}

#[test]
fn all_problems_are_reported_at_once_with_their_lines() {
    let error = read_set(
        &MemoryTree::of(&[
            (
                "app/kustomization.yaml",
                "resources:\n- gone.yaml\n- ../base\n- https://u:p@host.example/x.yaml\n- github.com/org/repo?ref=v1\n\
                 - /etc/passwd\n- ../../out\n- ../app\n- ../bare\nhelmCharts: [{name: x}]\n",
            ),
            ("base/kustomization.yaml", "patches:\n- path: gone.yaml\n"),
            ("bare/readme", ""),
        ]),
        &path("app"),
    )
    .unwrap_err();
    let text = error.to_string();
    let starts = [
        "app/kustomization.yaml:2: resources names app/gone.yaml, which does not exist",
        "base/kustomization.yaml:2: patches names base/gone.yaml, which does not exist",
        "app/kustomization.yaml:4: resources names https://host.example/x.yaml, which is not fetched here",
        "app/kustomization.yaml:5: resources names https://github.com/org/repo at v1, which is not fetched here",
        "app/kustomization.yaml:6: resources names \"/etc/passwd\", which is not a path inside",
        "app/kustomization.yaml:7: resources names \"../../out\", which is not a path inside",
        "app/kustomization.yaml:8: resources names app, which contains what uses it",
        "app/kustomization.yaml:9: resources names the folder bare, which has no kustomization.yaml",
        "app/kustomization.yaml:10: helmCharts names app/charts/x, which does not exist",
    ];
    assert_eq!(text.lines().count(), starts.len(), "{text}");
    for (line, start) in text.lines().zip(starts) {
        assert!(line.starts_with(start), "{line}");
    }
    assert_eq!(error.category(), Category::InvalidSource);
    assert!(shown(&error.read_set).contains(&"- app/gone.yaml".to_owned()));
}

#[test]
fn a_missing_path_is_watched_for() {
    let error = read_set(&MemoryTree::of(&[("README.md", "")]), &path("apps/web")).unwrap_err();
    assert_eq!(error.category(), Category::PathNotFound);
    let mut index = PathIndex::default();
    index.insert("web", &error.read_set);
    assert_eq!(index.touched([path("apps/web/deploy.yaml")].iter()).len(), 1);
}

#[test]
fn documents_that_cannot_be_read_are_named() {
    let found = problems(&[("app/kustomization.yaml", "resources: [\nnamePrefix: x")]);
    assert!(found[0].starts_with("app/kustomization.yaml:"), "{found:?}");
    let found = problems(&[("app/kustomization.yaml", "{}"), ("app/kustomization.yml", "{}")]);
    assert_eq!(found, ["app has kustomization.yaml and kustomization.yml; keep one"]);
    let found = problems(&[("app/main.jsonnet", "{}"), ("app/x.yaml", "a: b")]);
    assert_eq!(found, ["app/main.jsonnet: Jsonnet is not supported yet"]);
}

#[test]
fn a_url_is_never_taken_for_yaml() {
    for entry in ["http://169.254.169.254/x: y", "git@host.example:org/repo: y"] {
        for field in ["generators", "transformers", "patchesStrategicMerge"] {
            let found = problems(&[("app/kustomization.yaml", &format!("{field}: ['{entry}']"))]);
            assert_eq!(found.len(), 1, "{field} {entry}: {found:?}");
        }
    }
}

#[test]
fn hostile_sizes_end_soon() {
    let within = |tree: &MemoryTree, limits: Limits| {
        read_set_within(tree, &Recipe::of_folder(path("app")), &limits).unwrap_err()
    };
    let many = (0..50).map(|n| format!("x{n}")).collect::<Vec<_>>();
    let mut tree = MemoryTree::of(&[("app/kustomization.yaml", &format!("resources: [{}]", many.join(", ")))]);
    tree.0.extend(many.iter().map(|name| (format!("app/{name}"), String::new())));
    assert_eq!(within(&tree, Limits { members: 20, ..Limits::default() }).category(), Category::SourceTooLarge);
    let mut deep = MemoryTree::default();
    for level in 0..100 {
        let folder = "app/".to_owned() + &"d/".repeat(level);
        deep.0.insert(folder + "kustomization.yaml", "resources: [d]".into());
    }
    assert_eq!(within(&deep, Limits::default()).category(), Category::SourceTooLarge);
    // Each of 20,000 generators is an alias of one with 20,000 files.
    let files = vec!["f"; 20_000].join(",");
    let aliases = vec!["*g"; 20_000].join(",");
    let text = format!("a: &g {{name: a, files: [{files}]}}\nconfigMapGenerator: [{aliases}]");
    let bomb = MemoryTree::of(&[("app/kustomization.yaml", &text), ("app/f", "")]);
    assert_eq!(within(&bomb, Limits::default()).category(), Category::SourceTooLarge);
}

#[test]
fn diamonds_are_walked_once() {
    let mut tree = MemoryTree::of(&[("app/kustomization.yaml", "resources: [../a0, ../b0]")]);
    for level in 0..40 {
        let next = level + 1;
        let text = if level == 39 { "{}".to_owned() } else { format!("resources: [../a{next}, ../b{next}]") };
        tree.0.insert(format!("a{level}/kustomization.yaml"), text.clone());
        tree.0.insert(format!("b{level}/kustomization.yaml"), text);
    }
    assert_eq!(read_set(&tree, &path("app")).unwrap().members.len(), 81 * 3);
}

#[test]
fn the_digest_says_what_is_read_and_where() {
    let files = [("app/kustomization.yaml", "{}"), ("twin/kustomization.yaml", "{}")];
    let of = |files: &[(&str, &str)], folder: &str| read_set(&MemoryTree::of(files), &path(folder)).unwrap().digest();
    let digest = of(&files, "app");
    assert_eq!(digest.len(), 64);
    assert_eq!(of(&[files[0], ("other", "x")], "app"), digest);
    assert_ne!(of(&files, "twin"), digest);
    assert_ne!(of(&[("app/kustomization.yaml", "{ }")], "app"), digest);
    let executable = |executable| {
        let member = Member::File { id: "1".into(), executable };
        ReadSet {
            path: path("a"),
            source: SourceKind::Kustomize,
            members: [(path("x"), member)].into(),
            remotes: Vec::new(),
            charts: false,
        }
        .digest()
    };
    assert_eq!(executable(true), executable(false));
}
