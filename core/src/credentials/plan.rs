//! What is written: what is missing, what is to be renewed, and what shares a value with that.

use std::collections::{BTreeMap, BTreeSet};

use super::{Credentials, Fallback, Generator, Given};
use crate::template::did_you_mean;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// What is not there yet.
    Missing,
    /// These values, and what is made of them.
    Rotate(Vec<String>),
    /// Everything.
    All,
}

/// What there is.
#[derive(Clone, Debug, Default)]
pub struct Situation {
    /// Secrets that are wanted here, by their position.
    pub active: BTreeSet<usize>,
    /// Keys that are sealed already, by the position of their Secret.
    pub sealed: BTreeMap<usize, BTreeSet<String>>,
}

/// What is done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Keys that are sealed anew, by the position of their Secret.
    pub write: BTreeMap<usize, BTreeSet<String>>,
    /// Values that are renewed because they stand in one key with what was asked for.
    pub also: BTreeSet<String>,
    /// Values that nobody was asked for but that are made anew.
    pub renewed: BTreeSet<String>,
    /// Values that somebody could have given, and did not, by their names.
    pub defaults: BTreeMap<String, Unasked>,
}

/// What was chosen for a value that somebody could have given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unasked {
    /// What gives it: a flag, or a variable of the environment.
    pub given_by: String,
    /// Chosen by chance, and not by the declaration.
    pub random: bool,
    /// Keys that are sealed with it, with the position of their Secret.
    pub keys: BTreeSet<(usize, String)>,
}

/// Why there is no plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Nothing has this name.
    #[error("no value is called {name}{}", meant.as_ref().map(|meant| format!("; did you mean {meant}?")).unwrap_or_default())]
    Unknown {
        /// As it was given.
        name: String,
        /// What it may have been meant to be.
        meant: Option<String>,
    },
    /// A value that cannot be read any more is needed again.
    #[error("{missing} needs the value {value}, which is sealed in {sealed} and cannot be read from there")]
    Shared {
        /// The key that is missing.
        missing: String,
        /// The value.
        value: String,
        /// The key that has it.
        sealed: String,
    },
    /// Nobody gives a value that has no default.
    #[error("the value {value} is not given: set {variable}")]
    NotGiven {
        /// The value.
        value: String,
        /// What gives it.
        variable: String,
    },
}

type Target = (usize, String);

/// Works out what is done.
///
/// # Errors
/// All of one kind at once.
pub fn plan(
    credentials: &Credentials,
    situation: &Situation,
    given: &Given,
    request: &Request,
) -> Result<Plan, Vec<PlanError>> {
    let planner = Planner { credentials, situation, given };
    let all = planner.targets();
    let mut write: BTreeSet<Target> = all.iter().filter(|target| !planner.is_sealed(target)).cloned().collect();
    match request {
        Request::Missing => planner.refuse_shared(&write, &all)?,
        Request::All => write.clone_from(&all),
        Request::Rotate(names) => {
            let unknown = names.iter().filter(|name| credentials.generator(name).is_none());
            let meant = |name: &str| did_you_mean(name, credentials.names()).map(str::to_owned);
            let unknown: Vec<PlanError> =
                unknown.map(|name| PlanError::Unknown { name: name.clone(), meant: meant(name) }).collect();
            if !unknown.is_empty() {
                return Err(unknown);
            }
            write.extend(all.iter().filter(|target| planner.holds_any(target, names)).cloned());
        }
    }
    let asked: BTreeSet<String> = planner.asked(request);
    planner.extend(&mut write, &all);
    planner.refuse_missing_inputs(&write)?;
    let renewed = planner.roots_of_all(&write);
    let also = match request {
        Request::Rotate(_) => {
            renewed.iter().filter(|name| !asked.contains(**name)).map(|name| (*name).to_owned()).collect()
        }
        _ => BTreeSet::new(),
    };
    let renewed = renewed.into_iter().map(str::to_owned).collect();
    let defaults = planner.defaults(&write);
    let mut by_secret: BTreeMap<usize, BTreeSet<String>> = BTreeMap::new();
    for (secret, key) in write {
        by_secret.entry(secret).or_default().insert(key);
    }
    Ok(Plan { write: by_secret, also, renewed, defaults })
}

struct Planner<'p> {
    credentials: &'p Credentials,
    situation: &'p Situation,
    given: &'p Given,
}

impl<'p> Planner<'p> {
    fn targets(&self) -> BTreeSet<Target> {
        let active =
            self.situation.active.iter().filter_map(|index| Some((*index, self.credentials.secrets.get(*index)?)));
        active.flat_map(|(index, secret)| secret.data.keys().map(move |key| (index, key.clone()))).collect()
    }

    fn is_sealed(&self, (secret, key): &Target) -> bool {
        self.situation.sealed.get(secret).is_some_and(|keys| keys.contains(key))
    }

    fn values(&self, (secret, key): &Target) -> BTreeSet<&'p str> {
        let value = self.credentials.secrets.get(*secret).and_then(|secret| secret.data.get(key));
        value.map(|value| self.credentials.closure(&value.name)).unwrap_or_default()
    }

    fn holds_any(&self, target: &Target, names: &[String]) -> bool {
        self.values(target).iter().any(|value| names.iter().any(|name| name == value))
    }

    /// Values that come out different each time they are made.
    fn roots(&self, target: &Target) -> BTreeSet<&'p str> {
        let mut values = self.values(target);
        values.retain(|name| self.is_root(name));
        values
    }

    fn is_root(&self, name: &str) -> bool {
        match self.credentials.generator(name) {
            Some(Generator::Random(_) | Generator::KeyPair(_) | Generator::Certificate { .. }) => true,
            Some(generator @ (Generator::Input(_, fallback) | Generator::Environment(_, fallback))) => {
                !matches!(fallback, Fallback::Template(_)) && !self.given.gives(generator)
            }
            _ => false,
        }
    }

    fn roots_of_all(&self, targets: &BTreeSet<Target>) -> BTreeSet<&'p str> {
        targets.iter().flat_map(|target| self.roots(target)).collect()
    }

    /// What was asked for, with all that it is made of.
    fn asked(&self, request: &Request) -> BTreeSet<String> {
        let Request::Rotate(names) = request else { return BTreeSet::new() };
        names.iter().flat_map(|name| self.credentials.closure(name)).map(str::to_owned).collect()
    }

    /// A value that is made anew is made anew wherever it stands, and so is what stands with it in one key.
    fn extend(&self, write: &mut BTreeSet<Target>, all: &BTreeSet<Target>) {
        loop {
            let renewed = self.roots_of_all(write);
            let shares = |target: &&Target| !self.roots(target).is_disjoint(&renewed);
            let more: Vec<Target> =
                all.iter().filter(|target| !write.contains(*target)).filter(shares).cloned().collect();
            if more.is_empty() {
                return;
            }
            write.extend(more);
        }
    }

    fn refuse_shared(&self, missing: &BTreeSet<Target>, all: &BTreeSet<Target>) -> Result<(), Vec<PlanError>> {
        let mut errors = Vec::new();
        for target in missing {
            for root in self.roots(target) {
                let mut sealed = all.iter().filter(|other| self.is_sealed(other));
                if let Some(other) = sealed.find(|other| self.roots(other).contains(root)) {
                    let (missing, sealed) = (self.described(target), self.described(other));
                    errors.push(PlanError::Shared { missing, value: root.to_owned(), sealed });
                }
            }
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    fn refuse_missing_inputs(&self, write: &BTreeSet<Target>) -> Result<(), Vec<PlanError>> {
        let needed: BTreeSet<&str> = write.iter().flat_map(|target| self.values(target)).collect();
        let missing = needed.into_iter().filter_map(|name| {
            let (variable, fallback) = self.not_given(name)?;
            (*fallback == Fallback::None).then(|| PlanError::NotGiven { value: name.to_owned(), variable })
        });
        let missing: Vec<PlanError> = missing.collect();
        if missing.is_empty() { Ok(()) } else { Err(missing) }
    }

    /// What would give a value that is not given, and what stands in for it.
    fn not_given(&self, name: &str) -> Option<(String, &'p Fallback)> {
        let generator = self.credentials.generator(name)?;
        let way = match generator {
            Generator::Input(input, fallback) => (format!("--{}", input.name()), fallback),
            Generator::Environment(variable, fallback) => (format!("the environment variable {variable}"), fallback),
            _ => return None,
        };
        Some(way).filter(|_| !self.given.gives(generator))
    }

    fn defaults(&self, write: &BTreeSet<Target>) -> BTreeMap<String, Unasked> {
        let mut defaults: BTreeMap<String, Unasked> = BTreeMap::new();
        for target in write {
            for name in self.values(target) {
                let Some((given_by, fallback)) = self.not_given(name) else { continue };
                let random = matches!(fallback, Fallback::Random(_));
                let none = || Unasked { given_by, random, keys: BTreeSet::new() };
                defaults.entry(name.to_owned()).or_insert_with(none).keys.insert(target.clone());
            }
        }
        defaults
    }

    fn described(&self, (secret, key): &Target) -> String {
        let name = self.credentials.secrets.get(*secret).map(|secret| format!("{}/{}", secret.namespace, secret.name));
        format!("Secret {} key {key}", name.unwrap_or_default())
    }
}
