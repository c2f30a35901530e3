//! What comes from elsewhere: wanted first, walked then.

use std::sync::Arc;

use super::super::*;
use super::{MemoryTree, path, shown};
use crate::source::Recipe;
use crate::tree::{Tree, TreeError};

impl RemoteTree for MemoryTree {
    fn open(&self) -> Result<Box<dyn Tree + Send>, TreeError> {
        Ok(Box::new(self.clone()))
    }
}

fn repository(address: &str, revision: &str) -> RemoteReference {
    RemoteReference::Repository { address: address.to_owned(), revision: revision.to_owned() }
}

fn http_file(address: &str) -> RemoteReference {
    RemoteReference::File { address: address.to_owned() }
}

fn content(files: &[(&str, &str)]) -> RemoteContent {
    RemoteContent::Tree { tree: Arc::new(MemoryTree::of(files)), id: "1".into(), version: String::new() }
}

fn bytes(text: &str) -> RemoteContent {
    RemoteContent::File { bytes: text.as_bytes().into(), digest: text.to_owned() }
}

#[test]
fn what_comes_from_elsewhere_is_wanted_first_and_walked_then() {
    let tree = MemoryTree::of(&[(
        "app/kustomization.yaml",
        "resources:\n- https://github.com/o/r//base?ref=v1\n- https://h/x.yaml\ncomponents: ['git::https://g/o/c.git']\n\
         configMapGenerator: [{name: a, files: [k=https://h/data.txt]}]\n",
    )]);
    let recipe = Recipe::of_folder(path("app"));
    let mut remotes = Remotes::default();
    let walk = |remotes: &Remotes| read_set_with(&tree, &recipe, remotes).unwrap();
    let (base, part) = (repository("https://github.com/o/r", "v1"), repository("https://g/o/c.git", "HEAD"));
    let (file, data) = (http_file("https://h/x.yaml"), http_file("https://h/data.txt"));
    let first = [base.clone(), part.clone(), file.clone(), data.clone()];
    assert_eq!(walk(&remotes).unwrap_err(), first.clone().into());
    let nested = "resources: [../other, 'https://g/o/deep.git//x?ref=main']";
    remotes.0.insert(
        base.clone(),
        content(&[
            ("base/kustomization.yaml", nested),
            ("other/kustomization.yaml", "resources: [own.yaml]"),
            ("other/own.yaml", "a"),
            ("other/unused.yaml", "a"),
        ]),
    );
    remotes.0.insert(part.clone(), content(&[("kustomization.yaml", "kind: Component")]));
    remotes.0.insert(file.clone(), bytes("x"));
    remotes.0.insert(data.clone(), bytes("data"));
    let deep = repository("https://g/o/deep.git", "main");
    assert_eq!(walk(&remotes).unwrap_err(), [deep.clone()].into(), "what they name in turn");
    remotes.0.insert(deep.clone(), content(&[("x/kustomization.yaml", "{}"), ("y", "unread")]));
    let set = walk(&remotes).unwrap();
    assert_eq!(set.references(), [base.clone(), part, file.clone(), data, deep.clone()].into());
    let text = tree.0["app/kustomization.yaml"].clone();
    let places: Vec<&str> = set.remotes.iter().map(|used| &text[used.place.as_ref().unwrap().1.clone()]).collect();
    let expected =
        ["https://github.com/o/r//base?ref=v1", "https://h/x.yaml", "'git::https://g/o/c.git'", "k=https://h/data.txt"];
    assert_eq!(places, expected);

    // What is not read changes nothing; what is read does, however deep.
    let digest = set.digest();
    remotes.0.insert(deep.clone(), content(&[("x/kustomization.yaml", "{}"), ("y", "changed")]));
    assert_eq!(walk(&remotes).unwrap().digest(), digest);
    remotes.0.insert(deep, content(&[("x/kustomization.yaml", "namePrefix: x")]));
    assert_ne!(walk(&remotes).unwrap().digest(), digest);
    remotes.0.insert(file, bytes("y"));
    let other = walk(&remotes).unwrap().digest();
    remotes.0.insert(base, content(&[("base/kustomization.yaml", "{}")]));
    assert_ne!(walk(&remotes).unwrap().digest(), other);
}

#[test]
fn rule_7_what_comes_from_elsewhere_stays_in_its_own_tree() {
    let problems = |files: &[(&str, &str)]| {
        let tree = MemoryTree::of(&[("app/kustomization.yaml", "resources: [https://g/o/r.git//base]")]);
        let mut remotes = Remotes::default();
        remotes.0.insert(repository("https://g/o/r.git", "HEAD"), content(files));
        read_set_with(&tree, &Recipe::of_folder(path("app")), &remotes).unwrap_err().to_string()
    };
    for (files, expected) in [
        (vec![("base/kustomization.yaml", "resources: [../../app]")], "is not a path inside the repository"),
        (
            vec![("base/kustomization.yaml", "resources: [x.yaml]"), ("base/x.yaml", "-> ../../x")],
            "leaves the repository",
        ),
        (vec![("base/kustomization.yaml", "resources: [/etc/passwd]")], "is not a path inside the repository"),
        (vec![("base/kustomization.yaml", "resources: [https://g/o/r.git//base]")], "leads back to itself"),
        (vec![("other/kustomization.yaml", "{}")], "the path base does not exist"),
    ] {
        let said = problems(&files);
        assert!(said.starts_with("in https://g/o/r.git at HEAD: ") && said.contains(expected), "{said}");
    }
    let tree = MemoryTree::of(&[("app/kustomization.yaml", "resources: [\"https://g/o/\\x72.git//x\"]")]);
    let mut remotes = Remotes::default();
    remotes.0.insert(repository("https://g/o/r.git", "HEAD"), content(&[("x/kustomization.yaml", "{}")]));
    let error = read_set_with(&tree, &Recipe::of_folder(path("app")), &remotes).unwrap_err();
    assert_eq!(error.category(), Category::Unsupported, "what cannot be pointed to is refused: {error}");
}

#[test]
fn rule_7_no_more_is_wanted_from_elsewhere_than_may_be_used() {
    let entries = |range: std::ops::Range<usize>| range.map(|n| format!("- https://h/{n}.yaml\n")).collect::<String>();
    let wanted = |count: usize, base: usize| {
        let resources = format!("resources:\n- https://g/o/r.git//base\n{}", entries(0..count));
        let tree = MemoryTree::of(&[("app/kustomization.yaml", &resources)]);
        let mut remotes = Remotes::default();
        let base = format!("resources:\n{}", entries(count..count + base));
        remotes.0.insert(repository("https://g/o/r.git", "HEAD"), content(&[("base/kustomization.yaml", &base)]));
        read_set_with(&tree, &Recipe::of_folder(path("app")), &remotes)
    };
    assert_eq!(wanted(499, 0).unwrap().unwrap_err().len(), 499);
    for (own, within) in [(500, 0), (5_000, 0), (250, 250)] {
        let error = wanted(own, within).unwrap_err();
        assert!(error.to_string().contains("it uses too much from elsewhere"), "{error}");
        assert!(error.problems.len() <= 2, "{error}");
    }
}

#[test]
fn charts_from_elsewhere_are_wanted_where_they_are_looked_for() {
    let of = |repository: &str, name: &str, version: &str| RemoteReference::Chart {
        repository: repository.to_owned(),
        name: name.to_owned(),
        version: version.to_owned(),
    };
    let tree = MemoryTree::of(&[
        (
            "app/kustomization.yaml",
            "helmCharts:\n- {name: web, repo: https://charts, version: 1.2.3, valuesFile: values.yaml}\n- {name: own}\n\
             helmGlobals: {chartHome: vendor}\n",
        ),
        ("app/values.yaml", "a: b"),
        ("app/vendor/own/Chart.yaml", "dependencies: [{name: sub, repository: 'oci://r/o', version: ^1}]"),
        ("app/vendor/own/Chart.lock", "dependencies: [{name: sub, repository: 'oci://r/o', version: 1.4.0}]"),
    ]);
    let recipe = Recipe::of_folder(path("app"));
    let (web, sub) = (of("https://charts", "web", "1.2.3"), of("oci://r/o", "sub", "1.4.0"));
    let mut remotes = Remotes::default();
    assert_eq!(read_set_with(&tree, &recipe, &remotes).unwrap().unwrap_err(), [web.clone(), sub.clone()].into());
    remotes.0.insert(web.clone(), content(&[("Chart.yaml", "name: web")]));
    remotes.0.insert(sub.clone(), content(&[("Chart.yaml", "name: sub"), ("templates/a.yaml", "a")]));
    let set = read_set_with(&tree, &recipe, &remotes).unwrap().unwrap();
    assert!(shown(&set).contains(&"f app/values.yaml".to_owned()), "{:?}", shown(&set));
    let places = set.remotes.iter().map(|used| match &used.what {
        RemoteUsed::Chart { at, read_set, .. } => (at.to_string(), read_set.members.len()),
        other => panic!("{other:?}"),
    });
    assert_eq!(
        places.collect::<Vec<_>>(),
        [("app/vendor/web-1.2.3/web".to_owned(), 3), ("app/vendor/own/charts/sub".to_owned(), 5)]
    );
}
