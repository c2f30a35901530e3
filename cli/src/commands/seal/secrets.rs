//! Seals whole Secrets.

use std::{collections::HashMap, num::NonZero, thread};

use gitmoor_core::seal::{Keep, PrivateKey, Scope, SealError, SealedSecret, SealingKey, Secret};
use serde_json::Value;

use super::{
    arguments::Arguments,
    certificate, input, keys, now,
    output::{Output, PUBLIC},
};
use crate::{
    failure::{Exit, Failure},
    terminal::Terminal,
};

/// Reads, checks, seals and writes: nothing is written unless every Secret can be sealed.
pub(super) fn run(arguments: &Arguments, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let text = input::text(arguments.secret_file.as_deref(), "Secrets", terminal)?;
    let secrets = read(&text, arguments, terminal)?;
    let certificate = certificate::find(&arguments.source, terminal)?;
    let keys = keys::read(&arguments.recovery_private_key, terminal)?;
    let output = Output::new(arguments.sealed_secret_file.as_deref(), arguments.format, PUBLIC);
    let before = if keys.is_empty() { Before::default() } else { Before::read(&output, terminal) };
    let results = seal(&secrets, certificate.key(), &before, &keys);
    let named = secrets.iter().zip(results).map(|((place, secret), result)| {
        result.map_err(|error| format!("{place}: Secret {}: {error}", called(secret)))
    });
    let sealed = input::together(named, &text.name)?;
    if before.is_just(&sealed) {
        return Ok(Exit::Done);
    }
    let objects: Vec<Value> = sealed.into_iter().map(SealedSecret::into_value).collect();
    output.write(&objects, terminal)?;
    Ok(Exit::Done)
}

/// Reads the Secrets of a text, and puts name, namespace and scope of the flags on them.
fn read(text: &input::Text, arguments: &Arguments, terminal: &mut Terminal) -> Result<Vec<(String, Secret)>, Failure> {
    let secrets = input::secrets(text)?;
    let mut narrower = None;
    let adjusted = secrets.into_iter().map(|(place, mut secret)| {
        if arguments.scope == Some(Scope::Strict) && secret.scope() != Scope::Strict {
            narrower.get_or_insert_with(|| format!("{place}: Secret {}: {}", called(&secret), secret.scope()));
        }
        match adjust(&mut secret, arguments) {
            Ok(()) => Ok((place, secret)),
            Err(error) => Err(format!("{place}: Secret {}: {error}", called(&secret))),
        }
    });
    let secrets = input::together(adjusted, &text.name)?;
    if let Some(first) = narrower {
        // kubeseal cannot tell an explicit `strict` from none.
        terminal.warning(&format!("{first}, as its annotation says; --scope strict does not change that"));
    }
    Ok(secrets)
}

fn adjust(secret: &mut Secret, arguments: &Arguments) -> Result<(), SealError> {
    if secret.is_empty() && !arguments.allow_empty_data {
        return Err(SealError::Empty);
    }
    if let Some(name) = arguments.name.as_deref().filter(|name| !name.is_empty()) {
        secret.rename(name);
    }
    if let Some(namespace) = arguments.namespace.as_deref().filter(|namespace| !namespace.is_empty()) {
        secret.place(namespace)?;
    }
    if let Some(scope) = arguments.scope.filter(|scope| *scope != Scope::Strict) {
        secret.set_scope(scope);
    }
    Ok(())
}

pub(super) fn called(secret: &Secret) -> String {
    let of = |text: &str, otherwise: &str| if text.is_empty() { otherwise.to_owned() } else { text.to_owned() };
    match secret.namespace() {
        "" => of(secret.name(), "without name"),
        namespace => format!("{namespace}/{}", of(secret.name(), "(without name)")),
    }
}

/// Seals all of them, on every core.
fn seal(
    secrets: &[(String, Secret)],
    key: &SealingKey,
    before: &Before,
    keys: &[PrivateKey],
) -> Vec<Result<SealedSecret, SealError>> {
    let now = now().to_string();
    let seal_one = |(_, secret): &(String, Secret)| {
        let old = before.get(secret.namespace(), secret.name());
        secret.seal(key, &now, Keep { old, keys })
    };
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let share = secrets.len().div_ceil(threads).max(1);
    thread::scope(|scope| {
        let seal_one = &seal_one;
        let parts: Vec<_> = secrets
            .chunks(share)
            .map(|part| (part, scope.spawn(move || part.iter().map(seal_one).collect::<Vec<_>>())))
            .collect();
        // A thread that has died has sealed nothing.
        let failed = |part: &[(String, Secret)]| part.iter().map(|_| Err(SealError::Crypto)).collect();
        parts.into_iter().flat_map(|(part, thread)| thread.join().unwrap_or_else(|_| failed(part))).collect()
    })
}

/// What stands in the file that is written.
#[derive(Default)]
struct Before(Vec<SealedSecret>, HashMap<(String, String), usize>);

impl Before {
    /// A file that is missing, or holds anything else, keeps nothing.
    fn read(output: &Output<'_>, terminal: &mut Terminal) -> Self {
        let Some(file) = output.file.filter(|file| file.is_file()) else { return Self::default() };
        let sealed = input::text(Some(file), "SealedSecrets", terminal).and_then(|text| input::sealed_secrets(&text));
        let sealed: Vec<_> = sealed.unwrap_or_default().into_iter().map(|(_, sealed)| sealed).collect();
        let index = sealed.iter().enumerate();
        let index = index.map(|(at, sealed)| ((sealed.namespace().to_owned(), sealed.name().to_owned()), at)).collect();
        Self(sealed, index)
    }

    fn get(&self, namespace: &str, name: &str) -> Option<&SealedSecret> {
        self.1.get(&(namespace.to_owned(), name.to_owned())).and_then(|at| self.0.get(*at))
    }

    /// Whether nothing has changed: the file then stays as it is, with its comments.
    fn is_just(&self, sealed: &[SealedSecret]) -> bool {
        !self.0.is_empty() && self.0 == sealed
    }
}
