//! `--merge-into`: values of a Secret into a SealedSecret file.

use std::path::Path;

use gitmoor_core::seal::{SealError, SealedSecret, Secret};

use super::{
    arguments::{Arguments, Format},
    certificate, input, keys, now,
    output::{PUBLIC, render},
    rejected, secrets,
};
use crate::{
    failure::{Exit, Failure},
    terminal::Terminal,
    work_tree,
};

/// Name, namespace, scope and format are those of the file.
pub(super) fn run(file: &Path, arguments: &Arguments, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let text = input::text(arguments.secret_file.as_deref(), "a Secret", terminal)?;
    let (place, secret) = one(input::secrets(&text)?, &text.name, "Secret")?;
    let file_text = input::text(Some(file), "a SealedSecret", terminal)?;
    let (_, mut sealed) = one(input::sealed_secrets(&file_text)?, &file_text.name, "SealedSecret")?;
    let failed = |error: SealError| {
        rejected(format!("{place}: Secret {} cannot be merged; nothing was written", secrets::called(&secret)))
            .because(&error)
    };
    fits(&secret, &sealed, arguments).map_err(failed)?;
    if let Some(scope) = arguments.scope.filter(|scope| *scope != sealed.scope()) {
        let message = format!("{} is {}, and cannot take values that are {scope}", file.display(), sealed.scope());
        return Err(rejected(message).hint("leave --scope out: the scope of the file is kept"));
    }
    let certificate = certificate::find(&arguments.source, terminal)?;
    let keys = keys::read(&arguments.recovery_private_key, terminal)?;
    let before = sealed.clone();
    sealed.merge(&secret, certificate.key(), &now().to_string(), &keys).map_err(failed)?;
    if sealed != before {
        let is_json = file_text.text.expose().trim_start().starts_with('{');
        let format = arguments.format.unwrap_or(if is_json { Format::Json } else { Format::Yaml });
        let text = render(&[sealed.into_value()], format);
        work_tree::write_to(file, text.as_bytes(), PUBLIC).map_err(|error| input::cannot_write(&error))?;
    }
    Ok(Exit::Done)
}

/// As with whole Secrets: nothing to seal, or another namespace, is an error.
fn fits(secret: &Secret, sealed: &SealedSecret, arguments: &Arguments) -> Result<(), SealError> {
    if secret.is_empty() && !arguments.allow_empty_data {
        return Err(SealError::Empty);
    }
    let asked = [secret.namespace(), arguments.namespace.as_deref().unwrap_or_default()];
    match asked.into_iter().find(|asked| !asked.is_empty() && *asked != sealed.namespace()) {
        Some(asked) => Err(SealError::Namespace { own: sealed.namespace().to_owned(), asked: asked.to_owned() }),
        None => Ok(()),
    }
}

fn one<T>(mut all: Vec<(String, T)>, name: &str, what: &str) -> Result<(String, T), Failure> {
    let count = all.len();
    all.pop().filter(|_| count == 1).ok_or_else(|| rejected(format!("one {what} is expected in {name}, not {count}")))
}
