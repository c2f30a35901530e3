//! Which key sealed which value: the ciphertext does not say, so an annotation does.
//!
//! ```text
//! gitmoor.dev/sealed-with: SHA256:aaa                    all values
//! gitmoor.dev/sealed-with: SHA256:aaa token=SHA256:bbb   all, but `token` with another key
//! ```

use std::collections::{BTreeMap, BTreeSet};

use super::Fingerprint;

/// The key of each value of a SealedSecret, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Provenance(BTreeMap<String, Fingerprint>);

impl Provenance {
    /// Reads the annotation for the values that are there now.
    pub fn read<'n>(annotation: Option<&str>, names: impl Iterator<Item = &'n String>) -> Self {
        let words: Vec<&str> = annotation.unwrap_or_default().split_ascii_whitespace().collect();
        let of_all = words.iter().find(|word| !word.contains('=')).copied();
        let own: BTreeMap<&str, &str> = words.iter().filter_map(|word| word.split_once('=')).collect();
        let known = |name: &String| {
            let word = own.get(name.as_str()).copied().or(of_all)?;
            Some((name.clone(), Fingerprint::written(word)))
        };
        Self(names.filter_map(known).collect())
    }

    /// Notes which key sealed a value.
    pub fn set(&mut self, name: &str, fingerprint: &Fingerprint) {
        self.0.insert(name.to_owned(), fingerprint.clone());
    }

    /// The key of a value.
    pub fn get(&self, name: &str) -> Option<&Fingerprint> {
        self.0.get(name)
    }

    /// All keys, without repetition.
    pub fn keys(&self) -> BTreeSet<&Fingerprint> {
        self.0.values().collect()
    }

    /// The annotation for `values` values; `None` when nothing is known.
    pub fn write(&self, values: usize) -> Option<String> {
        let mut counts: BTreeMap<&Fingerprint, usize> = BTreeMap::new();
        for fingerprint in self.0.values() {
            *counts.entry(fingerprint).or_default() += 1;
        }
        // Without a key for each value there is none to stand for all.
        let common = counts.into_iter().max_by_key(|(_, count)| *count).map(|(fingerprint, _)| fingerprint);
        let common = common.filter(|_| self.0.len() == values);
        let own = self.0.iter().filter(|(_, fingerprint)| Some(*fingerprint) != common);
        let words: Vec<String> = common
            .map(ToString::to_string)
            .into_iter()
            .chain(own.map(|(name, fingerprint)| format!("{name}={fingerprint}")))
            .collect();
        (!words.is_empty()).then(|| words.join(" "))
    }
}
