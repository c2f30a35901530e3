//! What people and the environment give.

use std::{fs, path::Path};

use gitmoor_core::{
    credentials::{Credentials, Generator, Given, Input},
    sensitive::Sensitive,
};

use super::Arguments;
use crate::{
    failure::{Exit, Failure},
    settings,
    terminal::Terminal,
};

/// Flags, their variables, the password's file, and the variables that the declarations name.
pub(super) fn read(
    arguments: &Arguments,
    credentials: &Credentials,
    terminal: &mut Terminal,
) -> Result<Given, Failure> {
    let mut given = Given { inputs: arguments.inputs().collect(), ..Given::default() };
    if let Some(path) = &arguments.password_file {
        // A variable that is set as well is the weaker one.
        given.inputs.insert(Input::Password, password(path)?);
    } else if arguments.has_open_password() {
        terminal.warning(
            "process lists show --password to everybody on this machine: use GITMOOR_PASSWORD or --password-file",
        );
    }
    // A variable that is set to nothing is as good as one that is not set.
    given.inputs.retain(|_, value| !value.expose().is_empty());
    for name in credentials.names() {
        if let Some(Generator::Environment(variable, _)) = credentials.generator(name)
            && let Some(value) = settings::variable(variable).filter(|value| !value.is_empty())
        {
            given.environment.insert(variable.clone(), Sensitive::new(value));
        }
    }
    Ok(given)
}

fn password(path: &Path) -> Result<Sensitive<String>, Failure> {
    let text = fs::read_to_string(path)
        .map_err(|error| Failure::io(format!("cannot read {}", path.display()), &error))
        .map(Sensitive::new)?;
    let line =
        text.expose().strip_suffix('\n').map_or(text.expose().as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
    if line.is_empty() {
        return Err(Failure::new(Exit::Rejected, format!("{} holds no password", path.display())));
    }
    Ok(Sensitive::new(line.to_owned()))
}
