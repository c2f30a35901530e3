//! Values as they are made: each once, in the order in which they need each other.

use std::collections::BTreeMap;

use super::generate::{self, GenerateError, Random};
use super::{Credentials, Fallback, Generator, Input, Part, Reference};
use crate::sensitive::Sensitive;

/// What people and the environment give.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// Flags.
    pub inputs: BTreeMap<Input, Sensitive<String>>,
    /// Variables.
    pub environment: BTreeMap<String, Sensitive<String>>,
}

impl Given {
    /// Whether it has what a generator asks for.
    pub fn gives(&self, generator: &Generator) -> bool {
        self.value(generator).is_some()
    }

    fn value(&self, generator: &Generator) -> Option<&Sensitive<String>> {
        match generator {
            Generator::Input(input, _) => self.inputs.get(input),
            Generator::Environment(variable, _) => self.environment.get(variable),
            _ => None,
        }
    }
}

/// One run's values.
pub struct Values<'v> {
    credentials: &'v Credentials,
    given: &'v Given,
    random: &'v mut dyn Random,
    now: i64,
    made: BTreeMap<Reference, Sensitive<String>>,
}

impl<'v> Values<'v> {
    /// Nothing is made yet. `now` is in seconds of Unix time.
    pub fn new(credentials: &'v Credentials, given: &'v Given, random: &'v mut dyn Random, now: i64) -> Self {
        Self { credentials, given, random, now, made: BTreeMap::new() }
    }

    /// A value, made when it is asked for first.
    ///
    /// # Errors
    /// With the name of the value that could not be made.
    pub fn get(&mut self, reference: &Reference) -> Result<Sensitive<String>, (String, GenerateError)> {
        if let Some(made) = self.made.get(reference) {
            return Ok(made.clone());
        }
        let name = &reference.name;
        // References were checked when the file was read.
        let generator = self.credentials.generator(name).ok_or_else(|| (name.clone(), GenerateError::Crypto))?;
        let failed = |error| (name.clone(), error);
        let made = match generator {
            Generator::Random(kind) => generate::text(*kind, self.random).map_err(failed)?,
            Generator::Bcrypt(of) => {
                let password = self.get(of)?;
                generate::bcrypt(password.expose(), self.random).map_err(failed)?
            }
            Generator::Htpasswd { user, password } => {
                let (user, password) = (self.get(user)?, self.get(password)?);
                let hash = generate::bcrypt(password.expose(), self.random).map_err(failed)?;
                Sensitive::new(format!("{}:{}", user.expose(), hash.expose()))
            }
            Generator::Template(template) => template.fill(|part| self.get(part))?,
            Generator::Input(_, fallback) | Generator::Environment(_, fallback) => {
                match (self.given.value(generator), fallback) {
                    (Some(given), _) => given.clone(),
                    (None, Fallback::Template(template)) => template.fill(|part| self.get(part))?,
                    (None, Fallback::Random(kind)) => generate::text(*kind, self.random).map_err(failed)?,
                    // The plan asked for it.
                    (None, Fallback::None) => return Err(failed(GenerateError::Crypto)),
                }
            }
            Generator::KeyPair(algorithm) => {
                let (private, public) = generate::key_pair(*algorithm).map_err(failed)?;
                return self.keep(reference, private, Part::Public, public);
            }
            Generator::Certificate { common_name, dns_names, days, algorithm } => {
                let made = generate::certificate(common_name, dns_names, *days, *algorithm, self.now);
                let (private, certificate) = made.map_err(failed)?;
                return self.keep(reference, private, Part::Certificate, certificate);
            }
        };
        self.made.insert(reference.clone(), made.clone());
        Ok(made)
    }

    /// Both parts of a pair are made at once.
    fn keep(
        &mut self,
        reference: &Reference,
        private: Sensitive<String>,
        part: Part,
        other: Sensitive<String>,
    ) -> Result<Sensitive<String>, (String, GenerateError)> {
        let name = &reference.name;
        self.made.insert(Reference { name: name.clone(), part: Part::Private }, private);
        self.made.insert(Reference { name: name.clone(), part }, other);
        self.made.get(reference).cloned().ok_or_else(|| (name.clone(), GenerateError::Crypto))
    }

    /// What was generated and is to be shown to the person who runs this: nobody can read it again.
    pub fn shown(&self) -> Vec<(&str, &Sensitive<String>)> {
        let shown = self.made.iter().filter(|(reference, _)| {
            let named = self.credentials.values.get(&reference.name);
            named.is_some_and(|named| named.show && !self.given.gives(&named.generator))
        });
        shown.map(|(reference, value)| (reference.name.as_str(), value)).collect()
    }
}
