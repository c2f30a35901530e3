//! `--validate`: can it be opened?

use super::{arguments::Arguments, controller::Connection, input, keys, recover::called};
use crate::{
    failure::{Exit, Failure},
    terminal::Terminal,
};

/// Asks the controller, or tries private keys; all that cannot be opened are named.
pub(super) fn run(arguments: &Arguments, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let keys = keys::read(&arguments.recovery_private_key, terminal)?;
    let text = input::text(arguments.secret_file.as_deref(), "SealedSecrets", terminal)?;
    let sealed = input::sealed_secrets(&text)?;
    let connection = if keys.is_empty() { Some(Connection::open(&arguments.source.controller)?) } else { None };
    let mut results = Vec::new();
    for (place, sealed) in sealed {
        let name = called(&sealed);
        let reason = match &connection {
            None => sealed.open(&keys).err().map(|error| error.to_string()),
            Some(connection) => {
                (!connection.verify(&sealed.into_value())?).then(|| "the controller cannot open it".to_owned())
            }
        };
        results.push(reason.map_or(Ok(()), |reason| Err(format!("{place}: SealedSecret {name}: {reason}"))));
    }
    input::together(results.into_iter(), &text.name)?;
    Ok(Exit::Done)
}
