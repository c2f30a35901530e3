//! `--re-encrypt`: the same values under the newest key.

use gitmoor_core::seal::{Certificate, Keep, SealedSecret};
use serde_json::Value;

use super::{
    arguments::{Arguments, Format},
    certificate,
    controller::Connection,
    input, keys, now,
    output::{Output, PUBLIC},
    recover::called,
    rejected,
};
use crate::{
    failure::{Exit, Failure},
    terminal::Terminal,
};

/// The file is rewritten in place unless another one is named. Everything but the ciphertexts stays.
pub(super) fn run(arguments: &Arguments, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let text = input::text(arguments.secret_file.as_deref(), "SealedSecrets", terminal)?;
    let sealed = input::sealed_secrets(&text)?;
    let renewed = if arguments.recovery_private_key.is_empty() {
        by_the_controller(sealed, arguments, terminal)?
    } else {
        here(sealed, arguments, &text.name, terminal)?
    };
    let file = arguments.sealed_secret_file.as_deref().or(arguments.secret_file.as_deref());
    let is_json = text.text.expose().trim_start().starts_with('{');
    let format = arguments.format.unwrap_or(if is_json { Format::Json } else { Format::Yaml });
    // On standard output kubeseal writes JSON, whatever it read.
    let format = if file.is_some() { Some(format) } else { arguments.format };
    let objects: Vec<Value> = renewed.into_iter().map(SealedSecret::into_value).collect();
    Output::new(file, format, PUBLIC).write(&objects, terminal)?;
    Ok(Exit::Done)
}

fn by_the_controller(
    all: Vec<(String, SealedSecret)>,
    arguments: &Arguments,
    terminal: &mut Terminal,
) -> Result<Vec<SealedSecret>, Failure> {
    let connection = Connection::open(&arguments.source.controller)?;
    let now = now();
    // It seals with the key of the certificate that it shows. Without it the key is not noted, no more.
    let certificate = connection.certificate().ok().and_then(|text| Certificate::read_all(&text).ok());
    let certificate = certificate.and_then(|all| Certificate::newest_valid(all, now.as_second()).ok());
    if certificate.is_none() {
        terminal.warning("the controller shows no valid certificate: which key seals is not noted");
    }
    let fingerprint = certificate.as_ref().map(|certificate| certificate.key().fingerprint());
    let mut renewed = Vec::with_capacity(all.len());
    for (place, mut sealed) in all {
        let answer = connection.rotate(&sealed.without_templates()).map_err(|mut failure| {
            failure.message =
                format!("{place}: SealedSecret {}: {}; nothing was written", called(&sealed), failure.message);
            failure
        })?;
        sealed.take_over(&answer, fingerprint, &now.to_string());
        renewed.push(sealed);
    }
    Ok(renewed)
}

fn here(
    all: Vec<(String, SealedSecret)>,
    arguments: &Arguments,
    name: &str,
    terminal: &mut Terminal,
) -> Result<Vec<SealedSecret>, Failure> {
    let keys = keys::read(&arguments.recovery_private_key, terminal)?;
    let certificate = certificate::find(&arguments.source, terminal)?;
    let now = now().to_string();
    let renew = |(place, mut sealed): (String, SealedSecret)| {
        let renewed = sealed.open(&keys).and_then(|mut secret| {
            secret.set_scope(sealed.scope());
            secret.seal(certificate.key(), &now, Keep::default())
        });
        let renewed = renewed.map_err(|error| format!("{place}: SealedSecret {}: {error}", called(&sealed)))?;
        sealed.take_over(&renewed, Some(certificate.key().fingerprint()), &now);
        Ok(sealed)
    };
    let renewed = input::together(all.into_iter().map(renew), name)?;
    if renewed.is_empty() { Err(rejected(format!("no SealedSecret in {name}"))) } else { Ok(renewed) }
}
