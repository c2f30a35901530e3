//! `--raw`: one value, to be put into a SealedSecret by hand or by a script.

use std::path::Path;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use gitmoor_core::seal::Scope;

use super::{arguments::Arguments, certificate, input, output::PUBLIC, rejected};
use crate::{
    failure::{Exit, Failure},
    terminal::Terminal,
    work_tree,
};

/// Writes the ciphertext without a newline, as kubeseal does.
pub(super) fn run(arguments: &Arguments, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let label = label(arguments)?;
    let file = match arguments.from_file.as_slice() {
        [] => None,
        [one] => Some(Path::new(one.split_once('=').map_or(one.as_str(), |(_, file)| file))),
        _ => return Err(Failure::new(Exit::Usage, "--raw seals one value: give one --from-file")),
    };
    let value = input::bytes(file, "a value", terminal)?;
    let certificate = certificate::find(&arguments.source, terminal)?;
    let sealed = certificate.key().seal(&label, value.expose());
    let text = STANDARD.encode(sealed.map_err(|error| rejected("cannot seal the value").because(&error))?);
    match &arguments.sealed_secret_file {
        Some(file) => {
            work_tree::write_to(file, text.as_bytes(), PUBLIC).map_err(|error| input::cannot_write(&error))?;
        }
        None if terminal.is_json() => terminal.json(&serde_json::json!({ "value": text })),
        None => terminal
            .documents(text.as_bytes())
            .map_err(|error| Failure::io("cannot write to standard output", &error))?,
    }
    Ok(Exit::Done)
}

fn label(arguments: &Arguments) -> Result<String, Failure> {
    let scope = arguments.scope.unwrap_or_default();
    let given = |value: &Option<String>, flag: &str| {
        let value = value.as_deref().filter(|value| !value.is_empty());
        value.map(str::to_owned).ok_or_else(|| rejected(format!("--raw with the scope {scope} needs {flag}")))
    };
    let namespace =
        if scope == Scope::ClusterWide { String::new() } else { given(&arguments.namespace, "--namespace")? };
    let name = if scope == Scope::Strict { given(&arguments.name, "--name")? } else { String::new() };
    Ok(scope.label(&namespace, &name))
}
