//! What holds for any bytes that come from repositories, chart repositories and whoever reaches the webhook.

use std::collections::BTreeMap;

use gitmoor_core::chart::entries;
use gitmoor_core::closure::{Category, RemoteContent, Remotes, read_set, read_set_with};
use gitmoor_core::sensitive::Sensitive;
use gitmoor_core::source::Recipe;
use gitmoor_core::tree::{EntryKind, RepoPath, Tree, TreeEntry, TreeError};
use gitmoor_core::webhook::{Proof, addresses};
use gitmoor_core::yaml;
use gitmoor_engine::charts::{ChartTree, Limits};

use super::split;

/// Webhooks: no panic, addresses are sorted and unique, and nobody proves to know a secret that is not in the request.
pub fn webhook(data: &[u8]) {
    let (proof, body) = split(data);
    let found = addresses(body);
    assert!(found.is_sorted() && found.windows(2).all(|pair| pair[0] != pair[1]));
    let secret = Sensitive::new(b"a secret that no fuzzer guesses: 6f1c".to_vec());
    let text = String::from_utf8_lossy(proof).into_owned();
    for header in ["x-hub-signature-256", "x-gitea-signature", "x-forgejo-signature", "x-gitlab-token"] {
        let proof = Proof::find(|name| (name == header).then_some(text.as_str()));
        assert!(!proof.is_some_and(|proof| proof.holds(&secret, body)), "{header}: {text}");
    }
}

/// The walker: no panic, the same for the same tree, nothing outside, and what comes from elsewhere ends.
pub fn kustomization(data: &[u8]) {
    let (own, rest) = split(data);
    let (base, plugin) = split(rest);
    let mut tree = Memory::default();
    for (path, text) in [
        ("app/kustomization.yaml", own),
        ("base/kustomization.yaml", base),
        ("app/plugin.yaml", plugin),
        ("app/a.yaml", b"a".as_slice()),
        ("base/b.yaml", b"b"),
        ("app/charts/web/Chart.yaml", b"name: web"),
    ] {
        tree.0.insert(path.to_owned(), text.to_vec());
    }
    tree.0.insert("link".to_owned(), b"-> base".to_vec());
    let folder = RepoPath::root().join("app").unwrap();
    let walked = read_set(&tree, &folder);
    assert_eq!(walked, read_set(&tree, &folder), "not the same for the same tree");
    if let Ok(set) = &walked {
        assert!(set.remotes.is_empty(), "nothing can be fetched");
        let known = |path: &RepoPath| RepoPath::root().join(path.as_str()).as_ref() == Some(path);
        assert!(set.members.keys().all(known), "a path is no path inside");
    }
    // Everything from elsewhere is this tree again.
    let (recipe, mut remotes) = (Recipe::of_folder(folder), Remotes::default());
    for round in 0.. {
        assert!(round < 40, "more and more is wanted");
        match read_set_with(&tree, &recipe, &remotes) {
            Ok(Err(wanted)) => remotes.0.extend(wanted.into_iter().enumerate().map(|(at, reference)| {
                let failed = RemoteContent::Failed { category: Category::RemoteRefused, reason: "no".to_owned() };
                let file = RemoteContent::File { bytes: b"x".as_slice().into(), digest: "0".to_owned() };
                (reference, if at % 2 == 0 { file } else { failed })
            })),
            Ok(Ok(set)) => {
                for used in &set.remotes {
                    let Some((file, range)) = &used.place else { continue };
                    let text = String::from_utf8_lossy(&tree.0[file.as_str()]).into_owned();
                    let entry = text.get(range.clone()).expect("an entry lies in its text");
                    assert!(entry.contains(&used.text), "{entry:?} is not {:?}", used.text);
                }
                break;
            }
            Err(_) => break,
        }
    }
}

/// Manifests: no panic; what was read is read again from its JSON, which is YAML.
pub fn manifests(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(documents) = yaml::read_documents(text, &yaml::Limits::default()) else { return };
    assert!(documents.windows(2).all(|pair| pair[0].index < pair[1].index));
    for document in documents {
        let json = document.value.to_string();
        let again = yaml::read_documents(&json, &yaml::Limits::default());
        let again = again.unwrap_or_else(|errors| panic!("{json} cannot be read again: {errors:?}"));
        assert!(again.len() == 1 && again[0].value == document.value, "{json} is read as {:?}", again[0].value);
    }
}

/// `index.yaml`: no panic, and what follows the index in its text does not count.
pub fn chart_index(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(found) = entries(text, "app") else { return };
    for entry in &found {
        assert!(entry.urls.len() <= 16 && entry.digest.as_ref().is_none_or(|digest| !digest.is_empty()));
    }
    assert_eq!(entries(text, "app").as_ref(), Ok(&found), "not the same for the same text");
}

/// Packed charts: no panic, within the limits, and no path that leads anywhere else.
pub fn chart_archive(data: &[u8]) {
    let limits = Limits { files: 50, file: 4096, total: 64 << 10 };
    drop(ChartTree::read(data, &limits));
    let Ok(tree) = ChartTree::read_tar(data, &limits) else { return };
    let (mut folders, mut files, mut total) = (vec![RepoPath::root()], 0, 0);
    while let Some(folder) = folders.pop() {
        for (name, entry) in tree.list(&folder).expect("it is in memory") {
            let path = folder.join(&name).expect("a name is a path inside");
            assert!(
                path.parent() == folder && !matches!(name.as_str(), "" | "." | "..") && !name.contains('/'),
                "{name:?}"
            );
            match entry.kind {
                EntryKind::Folder => folders.push(path),
                EntryKind::File => {
                    let bytes = tree.read(&path, limits.file).expect("a file is within the limits");
                    (files, total) = (files + 1, total + bytes.len() as u64);
                }
                other => panic!("{path} is {other:?}"),
            }
        }
    }
    assert!(files <= limits.files && total <= limits.total, "{files} files of {total} bytes");
}

#[derive(Default)]
struct Memory(BTreeMap<String, Vec<u8>>);

impl Memory {
    fn content(&self, path: &RepoPath) -> Option<(EntryKind, &[u8])> {
        let bytes = self.0.get(path.as_str())?;
        Some(bytes.strip_prefix(b"-> ").map_or((EntryKind::File, bytes), |target| (EntryKind::Link, target)))
    }
}

impl Tree for Memory {
    fn entry(&self, path: &RepoPath) -> Result<Option<TreeEntry>, TreeError> {
        if let Some((kind, bytes)) = self.content(path) {
            return Ok(Some(TreeEntry { kind, id: format!("{bytes:?}") }));
        }
        let below = format!("{}/", path.as_str());
        let folder = path.as_str().is_empty() || self.0.keys().any(|key| key.starts_with(&below));
        Ok(folder.then(|| TreeEntry { kind: EntryKind::Folder, id: String::new() }))
    }

    fn list(&self, path: &RepoPath) -> Result<Vec<(String, TreeEntry)>, TreeError> {
        let below = if path.as_str().is_empty() { String::new() } else { format!("{}/", path.as_str()) };
        let rest = self.0.keys().filter_map(|key| key.strip_prefix(&below));
        let mut names: Vec<String> = rest.map(|rest| rest.split('/').next().unwrap_or_default().to_owned()).collect();
        names.dedup();
        let entries = names.into_iter().filter_map(|name| {
            let entry = self.entry(&path.join(&name)?).ok()??;
            Some((name, entry))
        });
        Ok(entries.collect())
    }

    fn read(&self, path: &RepoPath, limit: usize) -> Result<Vec<u8>, TreeError> {
        match self.content(path) {
            Some((_, bytes)) if bytes.len() <= limit => Ok(bytes.to_vec()),
            Some(_) => Err(TreeError::too_large(path, limit)),
            None => Err(TreeError::unreadable(path, "nothing there")),
        }
    }
}
