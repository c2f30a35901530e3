//! From a changed path to those who read it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::{Member, ReadSet};
use crate::tree::RepoPath;

/// The read-sets turned around. A lookup costs what the changed paths cost, not what the index holds.
#[derive(Clone, Debug)]
pub struct PathIndex<K> {
    /// Files, links and absent paths, by their own path.
    exact: Readers<K>,
    /// Absent paths again, since something below them may have appeared, and folders that are read as a whole.
    below: Readers<K>,
    /// Folders whose listing matters.
    listing: Readers<K>,
    /// What each key stands under, to take it out again.
    entries: BTreeMap<K, Vec<(Table, Arc<str>)>>,
}

type Readers<K> = HashMap<Arc<str>, BTreeSet<K>>;

#[derive(Clone, Copy, Debug)]
enum Table {
    Exact,
    Below,
    Listing,
}

impl<K> Default for PathIndex<K> {
    fn default() -> Self {
        Self { exact: HashMap::new(), below: HashMap::new(), listing: HashMap::new(), entries: BTreeMap::new() }
    }
}

impl<K: Ord + Clone> PathIndex<K> {
    /// Puts a key under every path of its read-set, in place of what it stood under before.
    pub fn insert(&mut self, key: K, read_set: &ReadSet) {
        self.insert_all(key, [read_set]);
    }

    /// The same for several read-sets of one tree.
    pub fn insert_all<'r>(&mut self, key: K, read_sets: impl IntoIterator<Item = &'r ReadSet>) {
        self.remove(&key);
        let mut places = Vec::new();
        for (path, member) in read_sets.into_iter().flat_map(|set| &set.members) {
            match member {
                Member::File { .. } | Member::Link { .. } => places.push((Table::Exact, path)),
                Member::Listing { .. } => places.push((Table::Listing, path)),
                Member::Folder => places.push((Table::Below, path)),
                Member::Absent => places.extend([(Table::Exact, path), (Table::Below, path)]),
            }
        }
        let entries = places.into_iter().map(|(table, path)| (table, self.put(table, path.as_str(), &key))).collect();
        self.entries.insert(key, entries);
    }

    /// Takes a key out.
    pub fn remove(&mut self, key: &K) {
        for (table, path) in self.entries.remove(key).unwrap_or_default() {
            let readers = self.table(table);
            if let Some(keys) = readers.get_mut(&path) {
                keys.remove(key);
                if keys.is_empty() {
                    readers.remove(&path);
                }
            }
        }
    }

    /// The keys whose read-set may differ after these paths changed: added, modified or removed, as files.
    pub fn touched<'p>(&self, changed: impl Iterator<Item = &'p RepoPath>) -> BTreeSet<K> {
        let mut keys = BTreeSet::new();
        for path in changed {
            let path = path.as_str();
            let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
            keys.extend(self.exact.get(path).into_iter().chain(self.listing.get(parent)).flatten().cloned());
            keys.extend(self.below.get("").into_iter().flatten().cloned());
            for (end, _) in path.match_indices('/') {
                keys.extend(self.below.get(&path[..end]).into_iter().flatten().cloned());
            }
        }
        keys
    }

    fn put(&mut self, table: Table, path: &str, key: &K) -> Arc<str> {
        let readers = self.table(table);
        let path = readers.get_key_value(path).map_or_else(|| Arc::from(path), |(path, _)| Arc::clone(path));
        readers.entry(Arc::clone(&path)).or_default().insert(key.clone());
        path
    }

    fn table(&mut self, table: Table) -> &mut Readers<K> {
        match table {
            Table::Exact => &mut self.exact,
            Table::Below => &mut self.below,
            Table::Listing => &mut self.listing,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::super::SourceKind;
    use super::*;

    fn path(text: &str) -> RepoPath {
        RepoPath::root().join(text).unwrap()
    }

    fn set(members: &[(&str, Member)]) -> ReadSet {
        let members = members.iter().map(|(at, member)| (path(at), member.clone())).collect();
        ReadSet { path: path("app"), source: SourceKind::Kustomize, members, remotes: Vec::new(), charts: false }
    }

    fn file() -> Member {
        Member::File { id: "1".into(), executable: false }
    }

    #[test]
    fn each_member_matches_what_can_change_it() {
        let mut index = PathIndex::default();
        index.insert("file", &set(&[("a/x.yaml", file())]));
        index.insert("absent", &set(&[("a/base", Member::Absent)]));
        index.insert("listing", &set(&[("a", Member::Listing { digest: String::new() })]));
        index.insert("root", &set(&[("", Member::Listing { digest: String::new() })]));
        let touched = |changed: &str| index.touched([path(changed)].iter()).into_iter().collect::<Vec<_>>();
        assert_eq!(touched("a/x.yaml"), ["file", "listing"]);
        assert_eq!(touched("a/base"), ["absent", "listing"]);
        assert_eq!(touched("a/base/deep/k.yaml"), ["absent"]);
        assert_eq!(touched("a/basement"), ["listing"]);
        assert_eq!(touched("README.md"), ["root"]);
        assert_eq!(touched("b/x.yaml"), Vec::<&str>::new());
    }

    #[test]
    fn insert_replaces_and_remove_leaves_nothing() {
        let mut index = PathIndex::default();
        index.insert(1, &set(&[("a", file()), ("b", Member::Absent)]));
        index.insert(1, &set(&[("c", file())]));
        assert!(index.touched([path("a"), path("b")].iter()).is_empty());
        assert_eq!(index.touched([path("c")].iter()).len(), 1);
        index.remove(&1);
        assert!(
            index.exact.is_empty() && index.below.is_empty() && index.listing.is_empty() && index.entries.is_empty()
        );
    }

    #[test]
    fn ten_thousand_paths_against_a_thousand_applications() {
        let mut index = PathIndex::default();
        for app in 0..1000 {
            let own = |name: &str| path(&format!("apps/{app}/{name}"));
            let mut members: BTreeMap<_, _> = (0..20).map(|n| (own(&format!("{n}.yaml")), file())).collect();
            members.insert(path("base/kustomization.yaml"), file());
            members.insert(own("Kustomization"), Member::Absent);
            index.insert(
                app,
                &ReadSet { path: own(""), source: SourceKind::Kustomize, members, remotes: Vec::new(), charts: false },
            );
        }
        let changed: Vec<RepoPath> =
            (0..10_000).map(|n| path(&format!("apps/{}/{}.yaml", n % 500, 15 + n / 500))).collect();
        let start = Instant::now();
        let touched = index.touched(changed.iter());
        let took = start.elapsed();
        assert_eq!(touched.len(), 500);
        println!("looked up 10,000 paths in {took:?}");
        // Unoptimised and beside other tests: the promise is 50 ms in a release build.
        assert!(took < Duration::from_millis(500), "{took:?}");
    }
}
