//! What became of the placeholders between two versions of a template.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{Matcher, is_conventional, substitute};

/// The placeholders in a text: the known ones, and what else has their form.
pub fn placeholders(text: &[u8], known: &Matcher) -> BTreeSet<String> {
    let found = substitute(text, known);
    let conventional = found.left_over.into_iter().filter(|left_over| is_conventional(&left_over.token));
    found.replaced.into_iter().chain(conventional).map(|occurrence| occurrence.token).collect()
}

/// Counts which removed placeholder stood where an added one stands now: in lines that are otherwise equal.
#[derive(Debug, Default)]
pub struct Renames {
    /// By the added token: the removed ones, with the number of lines.
    votes: BTreeMap<String, BTreeMap<String, usize>>,
}

impl Renames {
    /// Looks at one file in both versions.
    pub fn look_at(&mut self, old: &[u8], new: &[u8], removed: &BTreeSet<String>, added: &BTreeSet<String>) {
        let mut stood: HashMap<(Vec<u8>, Vec<u8>), &String> = HashMap::new();
        for_each_hole(old, removed, |token, hole| {
            stood.insert(hole, token);
        });
        for_each_hole(new, added, |token, hole| {
            if let Some(old) = stood.get(&hole) {
                *self.votes.entry(token.clone()).or_default().entry((*old).clone()).or_default() += 1;
            }
        });
    }

    /// The added placeholders that stand where a removed one stood, each with that one.
    pub fn pairs(&self) -> BTreeMap<String, String> {
        let most = |votes: &BTreeMap<String, usize>| {
            votes.iter().max_by_key(|(_, count)| **count).map(|(token, _)| token.clone())
        };
        self.votes.iter().filter_map(|(added, votes)| Some((added.clone(), most(votes)?))).collect()
    }
}

/// Calls with every one of the tokens that stands in the text, and with its line before and behind it.
fn for_each_hole<'t>(text: &[u8], tokens: &'t BTreeSet<String>, mut take: impl FnMut(&'t String, (Vec<u8>, Vec<u8>))) {
    for line in text.split(|byte| *byte == b'\n') {
        if line.windows(4).any(|start| start == b"<<__") || tokens.iter().any(|token| !is_conventional(token)) {
            for token in tokens {
                let places = line.windows(token.len()).enumerate().filter(|(_, window)| *window == token.as_bytes());
                for (at, _) in places {
                    take(token, (line[..at].to_vec(), line[at + token.len()..].to_vec()));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(tokens: &[&str]) -> BTreeSet<String> {
        tokens.iter().map(|token| (*token).to_owned()).collect()
    }

    #[test]
    fn placeholders_are_the_known_and_the_conventional() {
        let known = Matcher::new([("MINE", "x"), ("<<__a__>>", "y")]).unwrap();
        let found = placeholders(b"<<__a__>> MINE <<__b__>> <<__mistyped>> <<__a__>>", &known);
        assert_eq!(found, set(&["<<__a__>>", "<<__b__>>", "MINE"]));
    }

    #[test]
    fn a_renamed_placeholder_stands_where_the_old_one_stood() {
        let mut renames = Renames::default();
        let (removed, added) =
            (set(&["<<__rds.host__>>", "<<__gone__>>"]), set(&["<<__rds.mysql.host__>>", "<<__new__>>"]));
        renames.look_at(
            b"a\nhost: <<__rds.host__>>:3306\nother: <<__gone__>>\n",
            b"host: <<__rds.mysql.host__>>:3306\nb\nanother: <<__new__>>\n",
            &removed,
            &added,
        );
        let expected = BTreeMap::from([("<<__rds.mysql.host__>>".to_owned(), "<<__rds.host__>>".to_owned())]);
        assert_eq!(renames.pairs(), expected);
    }
}
