//! What comes from elsewhere, with the real kustomize and helm.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use gitmoor_core::closure::{RemoteContent, RemoteReference, RemoteTree, Remotes};
use gitmoor_core::source::Recipe;
use gitmoor_core::tree::{Tree, TreeError};
use gitmoor_engine::helm::Capabilities;
use gitmoor_engine::inputs::inputs_with;
use gitmoor_engine::remotes::{Ask, FetchRemotes};
use gitmoor_engine::render::{RenderError, RenderOutput, Renderer, render_inputs};
use gitmoor_tests::harness::scratch::Scratch;

use super::memory::MemoryTree;
use super::{OWN, path, renderer, text};

/// Gives what it holds, and nothing else.
pub(super) struct Shelf(pub(super) Remotes);

impl FetchRemotes for Shelf {
    fn fetch(&self, asked: BTreeSet<Ask>) -> BoxFuture<'_, Remotes> {
        let found = asked.into_iter().map(|Ask { reference, .. }| {
            let content = self.0.0.get(&reference).cloned().unwrap_or_else(|| panic!("{reference:?} is not there"));
            (reference, content)
        });
        let found = Remotes(found.collect());
        async move { found }.boxed()
    }
}

struct Shared(MemoryTree);

impl RemoteTree for Shared {
    fn open(&self) -> Result<Box<dyn Tree + Send>, TreeError> {
        Ok(Box::new(self.0.clone()))
    }
}

pub(super) fn tree(tree: MemoryTree) -> RemoteContent {
    RemoteContent::Tree { tree: Arc::new(Shared(tree)), id: "1".into(), version: String::new() }
}

pub(super) fn repository(address: &str, revision: &str) -> RemoteReference {
    RemoteReference::Repository { address: address.into(), revision: revision.into() }
}

fn file(address: &str, text: &str) -> (RemoteReference, RemoteContent) {
    let content = RemoteContent::File { bytes: text.as_bytes().into(), digest: format!("{:0>16}", text.len()) };
    (RemoteReference::File { address: address.into() }, content)
}

fn chart(repository: &str, name: &str, version: &str, files: &[(&str, &str)]) -> (RemoteReference, RemoteContent) {
    let reference =
        RemoteReference::Chart { repository: repository.into(), name: name.into(), version: version.into() };
    (reference, tree(MemoryTree::of(files)))
}

async fn rendered(renderer: &Renderer, own: &MemoryTree, shelf: &Shelf) -> Result<RenderOutput, RenderError> {
    let (recipe, capabilities) = (Recipe::of_folder(path("app")), Capabilities::default());
    let inputs = inputs_with(recipe, Box::new(own.clone()), Vec::new(), &capabilities, Some(shelf)).await?;
    render_inputs(renderer, inputs, &capabilities).await
}

#[tokio::test]
async fn bases_and_files_from_elsewhere_render_without_network() {
    let scratch = Scratch::new("render-remotes");
    let renderer = renderer(&scratch);
    let own = MemoryTree::of(&[
        (
            "app/kustomization.yaml",
            "resources:\n- own.yaml\n- https://git.example/o/r.git//base?ref=v1 # of elsewhere\n- \
             'https://files.example/a/extra.yaml'\n- ../local\ncomponents: [\"github.com/o/part?ref=0123\"]\n\
             configMapGenerator:\n- {name: made, files: [data=https://files.example/data.txt]}\n\
             - name: named\n  files:\n  - https://files.example/data.txt\npatches:\n- path: https://files.example/patch.yaml\n",
        ),
        ("app/own.yaml", OWN),
        ("local/kustomization.yaml", "resources:\n- https://git.example/o/r.git//base?ref=v1\nnameSuffix: -again\n"),
    ]);
    let base = MemoryTree::of(&[
        ("base/kustomization.yaml", "resources: [one.yaml, ../other, 'https://git.example/o/deep//x?ref=main']\n"),
        ("base/one.yaml", &OWN.replace("own", "one")),
        ("other/kustomization.yaml", "resources: [linked.yaml]\n"),
        ("other/linked.yaml", "-> real.yaml"),
        ("other/real.yaml", &OWN.replace("own", "other")),
        ("unread/huge", "x"),
    ]);
    let deep = MemoryTree::of(&[
        ("x/kustomization.yaml", "resources: [deep.yaml]\n"),
        ("x/deep.yaml", &OWN.replace("own", "deep")),
    ]);
    let part = "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nnamePrefix: part-\n";
    let mut shelf = Shelf(Remotes::default());
    shelf.0.0.extend([
        (repository("https://git.example/o/r.git", "v1"), tree(base)),
        (repository("https://git.example/o/deep", "main"), tree(deep)),
        (repository("https://github.com/o/part", "0123"), tree(MemoryTree::of(&[("kustomization.yaml", part)]))),
        file("https://files.example/a/extra.yaml", &OWN.replace("own", "extra")),
        file("https://files.example/data.txt", "data"),
        file(
            "https://files.example/patch.yaml",
            "{apiVersion: v1, kind: ConfigMap, metadata: {name: own}, data: {c: d}}",
        ),
    ]);
    let output = rendered(&renderer, &own, &shelf).await.unwrap();
    assert!(!output.retried_on_whole_tree);
    let text = text(&output);
    assert_eq!(text.matches("kind: ConfigMap").count(), 10, "{text}");
    for expected in [
        "name: part-own\n",
        "name: part-one\n",
        "name: part-other\n",
        "name: part-deep\n",
        "name: part-extra\n",
        "name: part-one-again\n",
        "name: part-deep-again\n",
        "  data: data\n",
        "  data.txt: data\n",
        "  c: d\n",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    assert_eq!(output.read_set.references().len(), 6);
}

const TEMPLATE: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: \"{{ .Release.Name }}-{{ .Chart.Name }}\"}\n\
                        data: {key: \"{{ .Values.key }}\"}\n";

#[tokio::test]
async fn charts_from_elsewhere_are_inflated_without_network() {
    let scratch = Scratch::new("render-helm-charts");
    let renderer = renderer(&scratch);
    let own = MemoryTree::of(&[
        (
            "app/kustomization.yaml",
            "helmCharts:\n- {name: web, repo: 'https://charts.example', version: 1.2.3, releaseName: one, valuesInline: {key: inline}}\n\
             - {name: web, repo: 'https://charts.example', version: 1.2.3, releaseName: two, valuesFile: values.yaml}\n\
             - {name: own, releaseName: three}\nhelmGlobals: {chartHome: vendor}\n",
        ),
        ("app/values.yaml", "key: file\n"),
        (
            "app/vendor/own/Chart.yaml",
            "apiVersion: v2\nname: own\nversion: 0.1.0\ndependencies:\n- {name: sub, version: ^1.0.0, repository: 'oci://registry.example/o'}\n",
        ),
        (
            "app/vendor/own/Chart.lock",
            "dependencies:\n- {name: sub, version: 1.4.0, repository: 'oci://registry.example/o'}\n",
        ),
        ("app/vendor/own/templates/map.yaml", TEMPLATE),
        ("app/vendor/own/values.yaml", "key: own\n"),
    ]);
    let mut shelf = Shelf(Remotes::default());
    let files = |name: &str, version: &str| {
        [
            ("Chart.yaml".to_owned(), format!("apiVersion: v2\nname: {name}\nversion: {version}\n")),
            ("values.yaml".to_owned(), "key: default\n".to_owned()),
            ("templates/map.yaml".to_owned(), TEMPLATE.to_owned()),
        ]
    };
    for (repository, name, version) in
        [("https://charts.example", "web", "1.2.3"), ("oci://registry.example/o", "sub", "1.4.0")]
    {
        let files = files(name, version);
        let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
        shelf.0.0.extend([chart(repository, name, version, &files)]);
    }
    let output = rendered(&renderer, &own, &shelf).await.unwrap();
    let text = text(&output);
    for expected in ["key: inline", "key: file", "name: one-web", "name: two-web", "name: three-own", "name: three-sub"]
    {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    assert_eq!(text.matches("kind: ConfigMap").count(), 4, "{text}");

    // The same dependency of a chart that is rendered by itself.
    let own = MemoryTree(
        own.0
            .iter()
            .map(|(path, text)| (path.replace("app/vendor/own", "app"), text.clone()))
            .filter(|(path, _)| path != "app/kustomization.yaml")
            .collect(),
    );
    let output = rendered(&renderer, &own, &shelf).await.unwrap();
    let text = super::text(&output);
    assert!(text.contains("release-name-sub") && text.contains("release-name-own"), "{text}");
}
