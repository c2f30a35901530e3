//! `--recovery-unseal`: Secrets from SealedSecrets, with the controller's private key.

use gitmoor_core::seal::{SealedSecret, scrub};
use serde_json::Value;

use super::{
    arguments::Arguments,
    input, keys,
    output::{Output, PRIVATE},
};
use crate::{
    failure::{Exit, Failure},
    terminal::Terminal,
};

/// Opens all of them, or says which one cannot be opened.
pub(super) fn run(arguments: &Arguments, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let keys = keys::read(&arguments.recovery_private_key, terminal)?;
    let text = input::text(arguments.secret_file.as_deref(), "SealedSecrets", terminal)?;
    let sealed = input::sealed_secrets(&text)?;
    let opened = sealed.iter().map(|(place, sealed)| {
        sealed.open(&keys).map_err(|error| format!("{place}: SealedSecret {}: {error}", called(sealed)))
    });
    let opened = input::together(opened, &text.name)?;
    let objects: Vec<Value> = opened.iter().map(gitmoor_core::seal::Secret::to_value).collect();
    let output = Output::new(arguments.sealed_secret_file.as_deref(), arguments.format, PRIVATE);
    let written = output.write(&objects, terminal);
    objects.into_iter().for_each(scrub);
    written?;
    Ok(warn_of_templates(&sealed, terminal))
}

/// What the controller makes from Go templates is not there.
fn warn_of_templates(sealed: &[(String, SealedSecret)], terminal: &mut Terminal) -> Exit {
    let mut exit = Exit::Done;
    for (place, sealed) in sealed {
        let names: Vec<&str> = sealed.templated().map(String::as_str).collect();
        if !names.is_empty() {
            let names = names.join(", ");
            terminal.warning(&format!(
                "{place}: SealedSecret {}: not rendered from spec.template.data: {names}",
                called(sealed)
            ));
            exit = Exit::Findings;
        }
    }
    exit
}

pub(super) fn called(sealed: &SealedSecret) -> String {
    match sealed.namespace() {
        "" => sealed.name().to_owned(),
        namespace => format!("{namespace}/{}", sealed.name()),
    }
}
