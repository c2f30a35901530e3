//! setup.conf: names and values.
//!
//! The format is the one that forks in the field have: one `<<__name__>>=value` a line. The value is
//! everything after the first `=`, byte for byte, so quotes, spaces and further `=` belong to it. Blank
//! lines and lines that start with `#` or `//` are comments. The name may be any literal text. Windows
//! line endings, a byte order mark and a missing last newline are fine. The file is UTF-8.
//!
//! A value may mention other names; they are expanded here, once and transitively, so that nothing that
//! is inserted into a file has to be looked at again.

mod expand;
mod made_up;
mod parse;
mod problem;
mod secret_values;
mod value_checks;

use std::{collections::HashMap, fmt};

use crate::template::{self, Matcher, Occurrence, TokensError};

pub use problem::{Place, Problem, ProblemKind, Problems, Warning, WarningKind};
pub use secret_values::SecretKind;
pub use value_checks::ValueKind;

/// A value given beside the file, on the command line.
#[derive(Clone)]
pub struct Override {
    /// A token as it stands in setup.conf, or the bare name in `<<__name__>>`.
    pub name: String,
    /// The value, instead of the file's.
    pub value: String,
}

/// One name with its value.
#[derive(Clone)]
pub struct Entry {
    /// The whole token that is replaced, such as `<<__aws_region__>>`.
    pub token: String,
    /// What replaces it, with the names in it expanded.
    pub value: String,
    /// Where the value comes from.
    pub place: Place,
    /// The entries, by index, that the value as written mentions.
    mentions: Vec<usize>,
}

/// Names and values of a setup.conf that is right: no name twice, nothing left to expand.
#[derive(Debug, Clone, Default)]
pub struct SetupConf {
    entries: Vec<Entry>,
    warnings: Vec<Warning>,
    left_over: Vec<Occurrence>,
}

// Values are not secret, but nobody asked for them in a log or a panic either.
impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry").field("token", &self.token).field("place", &self.place).finish_non_exhaustive()
    }
}

impl fmt::Debug for Override {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Override").field("name", &self.name).finish_non_exhaustive()
    }
}

impl SetupConf {
    /// Reads the file's text; a value of `overrides` stands in for the file's, or adds a name.
    ///
    /// # Errors
    /// All problems at once, in the order of the lines.
    pub fn parse(text: &[u8], overrides: &[Override]) -> Result<Self, Problems> {
        let mut parsed = parse::lines(text);
        parse::apply(overrides, &mut parsed);
        let parse::Parsed { definitions, mut problems, warnings } = parsed;
        let (entries, left_over) = expand::expand(definitions, &mut problems);
        if problems.is_empty() {
            Ok(Self { entries, warnings, left_over })
        } else {
            problems.sort_by_key(|problem| problem.place);
            Err(Problems(problems))
        }
    }

    /// The entries in the order of the file, then those that were added beside it.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// What is allowed but was hardly meant.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// Placeholders in values that have no value themselves; positions are those in setup.conf.
    pub fn left_over(&self) -> &[Occurrence] {
        &self.left_over
    }

    /// What substitutes the values for the names.
    pub fn matcher(&self) -> Result<Matcher, TokensError> {
        Matcher::new(self.entries.iter().map(|entry| (entry.token.as_str(), entry.value.as_str())))
    }

    /// The entries that are of no use when `is_used` says which tokens a tree holds: those that neither
    /// the tree nor the value of a used entry mentions.
    pub fn unused(&self, is_used: impl Fn(&str) -> bool) -> Vec<&Entry> {
        let mut used: Vec<bool> = self.entries.iter().map(|entry| is_used(&entry.token)).collect();
        let mut pending: Vec<usize> = (0..used.len()).filter(|index| used[*index]).collect();
        while let Some(index) = pending.pop() {
            for mentioned in &self.entries[index].mentions {
                if !std::mem::replace(&mut used[*mentioned], true) {
                    pending.push(*mentioned);
                }
            }
        }
        self.entries.iter().zip(used).filter(|(_, used)| !used).map(|(entry, _)| entry).collect()
    }

    /// The entries whose value looks like a secret, and what kind of secret.
    pub fn secret_values(&self) -> Vec<(&Entry, SecretKind)> {
        let patterns = secret_values::Patterns::new();
        self.entries.iter().filter_map(|entry| patterns.kind_of(&entry.value).map(|kind| (entry, kind))).collect()
    }

    /// Doubts about values that are hardly what their name, or the example in the comment above it, asks
    /// for. `example` is the text of the setup.conf.example that holds the comments.
    pub fn doubtful_values(&self, example: &str) -> Vec<Warning> {
        let examples = value_checks::examples(example);
        self.entries
            .iter()
            .filter_map(|Entry { token, value, place, .. }| {
                let kind = value_checks::doubt(template::name(token), value, examples.get(token.as_str()).copied())?;
                Some(Warning { place: *place, token: token.clone(), kind: WarningKind::Doubtful(kind) })
            })
            .collect()
    }

    /// The entries that have the value of their example, where that was made up: nobody's cluster can have it. `example` is
    /// the text of setup.conf.example; of one with errors nothing is told.
    pub fn unchanged_examples(&self, example: &str) -> Vec<&Entry> {
        let example = Self::parse(example.as_bytes(), &[]).unwrap_or_default();
        let made_up = example.entries.iter().filter(|entry| made_up::is_made_up(&entry.value));
        let made_up: HashMap<&str, &str> = made_up.map(|entry| (entry.token.as_str(), entry.value.as_str())).collect();
        let is_left = |entry: &&Entry| made_up.get(entry.token.as_str()) == Some(&entry.value.as_str());
        self.entries.iter().filter(is_left).collect()
    }

    /// The known token that `unknown` was probably meant to be.
    pub fn did_you_mean(&self, unknown: &str) -> Option<&str> {
        template::did_you_mean(unknown, self.entries.iter().map(|entry| entry.token.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conf(text: &str) -> SetupConf {
        SetupConf::parse(text.as_bytes(), &[]).unwrap()
    }

    fn value<'c>(conf: &'c SetupConf, token: &str) -> &'c str {
        &conf.entries().iter().find(|entry| entry.token == token).unwrap().value
    }

    #[test]
    fn unused_names_are_those_nothing_leads_to() {
        let conf = conf("a_1=x\nb_1=<a_1>\nc_1=<b_1>\nd_1=<a_1>\ne_1=\n");
        let unused: Vec<&str> = conf.unused(|token| token == "c_1").iter().map(|entry| entry.token.as_str()).collect();
        assert_eq!(unused, ["d_1", "e_1"]);
    }

    #[test]
    fn values_are_in_no_debug_output() {
        let override_ = Override { name: "<<__a__>>".to_owned(), value: "hidden".to_owned() };
        let conf = SetupConf::parse(b"<<__b__>>=hidden", std::slice::from_ref(&override_)).unwrap();
        assert!(!format!("{conf:?}{override_:?}").contains("hidden"));
    }

    #[test]
    fn doubtful_values_are_those_that_fit_neither_name_nor_example() {
        let conf =
            conf("<<__rds.port__>>=x\n<<__role_arn.a__>>=arn:aws:iam::123456789012:role/a\n<<__net__>>=10.0.0.0\n");
        let example = "# Example: 10.0.0.0/16\n<<__net__>>=";
        let doubts: Vec<String> = conf.doubtful_values(example).iter().map(ToString::to_string).collect();
        assert_eq!(
            doubts,
            [
                "1:1: <<__rds.port__>> has a value that is hardly a port (1 to 65535)",
                "3:1: <<__net__>> has a value that is hardly a CIDR block (such as 10.0.0.0/16)",
            ]
        );
    }

    #[test]
    fn overrides_take_part_in_the_expansion() {
        let text = b"<<__domain__>>=example.com\n<<__host__>>=db.<<__domain__>>\n";
        let set = |name: &str, value: &str| Override { name: name.to_owned(), value: value.to_owned() };
        let conf = SetupConf::parse(
            text,
            &[set("domain", "example.org"), set("<<__new__>>", "<<__host__>>:1"), set("bare", "")],
        )
        .unwrap();
        assert_eq!(value(&conf, "<<__host__>>"), "db.example.org");
        assert_eq!(value(&conf, "<<__new__>>"), "db.example.org:1");
        assert_eq!(value(&conf, "<<__bare__>>"), "");
        assert_eq!(conf.entries().len(), 4);
    }
}
