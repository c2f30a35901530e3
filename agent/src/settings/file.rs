//! The file of settings: what it says goes in front of the command line, unless that or the environment says otherwise.

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};
use serde_yaml::Value;

/// What is wrong with the file.
#[derive(Debug)]
pub(crate) struct FileError {
    file: PathBuf,
    /// Counted from 1.
    line: Option<usize>,
    reason: String,
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}", self.reason)
    }
}

/// The whole command line: `arguments`, of which the first is the program's name, with the settings of the file that
/// they or the environment name by `--config`.
///
/// # Errors
/// The file cannot be read or is no map, or a setting of it does not exist or cannot have its value.
pub(crate) fn complete(command: &Command, arguments: Vec<OsString>) -> Result<Vec<OsString>, FileError> {
    // Whoever reads the result says what is wrong here.
    let Ok(matches) = command.clone().try_get_matches_from(&arguments) else { return Ok(arguments) };
    let Some(file) = matches.get_one::<PathBuf>("config") else { return Ok(arguments) };
    let text = fs::read_to_string(file).map_err(|error| fault(file, None, format!("cannot be read: {error}")))?;
    let settings = read(file, &text)?;
    let mut program = arguments.into_iter();
    let mut complete: Vec<OsString> = program.next().into_iter().collect();
    for (name, value) in settings {
        let line = line_of(&text, &name);
        let argument = find(command, &name).ok_or_else(|| {
            let reason =
                format!("there is no setting {name:?}; `gitmoor-agent --help` lists them, here without their dashes");
            fault(file, line, reason)
        })?;
        let given = as_arguments(argument, &name, &value).map_err(|reason| fault(file, line, reason))?;
        let alone = complete.first().into_iter().cloned().chain(given.iter().cloned());
        if let Err(error) = command.clone().try_get_matches_from(alone) {
            // Its first line says it; the rest is about the command line.
            let reason = error.to_string();
            let reason = reason.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
            return Err(fault(file, line, reason));
        }
        if !is_given(&matches, argument) {
            complete.extend(given);
        }
    }
    complete.extend(program);
    Ok(complete)
}

fn fault(file: &Path, line: Option<usize>, reason: String) -> FileError {
    FileError { file: file.to_owned(), line, reason }
}

fn read(file: &Path, text: &str) -> Result<Vec<(String, Value)>, FileError> {
    let value: Value = serde_yaml::from_str(text).map_err(|error| {
        fault(file, error.location().map(|place| place.line()), format!("this is no YAML: {error}"))
    })?;
    let map = match value {
        Value::Null => return Ok(Vec::new()),
        Value::Mapping(map) => map,
        _ => return Err(fault(file, None, "settings are lines such as `poll-interval: 30`".to_owned())),
    };
    let named = map.into_iter().map(|(name, value)| match name {
        Value::String(name) => Ok((name, value)),
        _ => Err(fault(file, None, "the name of a setting is text".to_owned())),
    });
    named.collect()
}

fn line_of(text: &str, name: &str) -> Option<usize> {
    let names = |line: &str| line.trim_start_matches(['"', '\'']).starts_with(name);
    text.lines().position(names).map(|index| index + 1)
}

/// What may stand in a file: everything but the file itself.
fn find<'c>(command: &'c Command, name: &str) -> Option<&'c Arg> {
    let mut settings = command.get_arguments().filter(|argument| argument.get_id() != "config");
    settings.find(|argument| argument.get_long() == Some(name) && argument.get_env().is_some())
}

fn is_given(matches: &ArgMatches, argument: &Arg) -> bool {
    matches!(
        matches.value_source(argument.get_id().as_str()),
        Some(ValueSource::CommandLine | ValueSource::EnvVariable)
    )
}

fn as_arguments(argument: &Arg, name: &str, value: &Value) -> Result<Vec<OsString>, String> {
    if matches!(argument.get_action(), ArgAction::SetTrue) {
        return match value {
            Value::Bool(true) => Ok(vec![format!("--{name}").into()]),
            Value::Bool(false) => Ok(Vec::new()),
            _ => Err(format!("{name} is true or false")),
        };
    }
    let several = argument.get_value_delimiter().is_some();
    let items = match value {
        Value::Sequence(items) if several => items.as_slice(),
        Value::Sequence(_) => return Err(format!("{name} has one value, not a list")),
        one => std::slice::from_ref(one),
    };
    let texts = items.iter().map(|item| match item {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(flag) => Ok(flag.to_string()),
        _ => Err(format!("{name} is text or a number{}", if several { ", or a list of them" } else { "" })),
    });
    texts.map(|text| text.map(|text| format!("--{name}={text}").into())).collect()
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, FromArgMatches as _};

    use super::super::Settings;
    use super::*;

    fn settings(text: &str, arguments: &[&str]) -> Result<Settings, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("settings.yaml");
        fs::write(&file, text).unwrap();
        let config = format!("--config={}", file.display());
        let arguments = ["gitmoor-agent", &config].into_iter().chain(arguments.iter().copied()).map(OsString::from);
        let complete = complete(&Settings::command(), arguments.collect());
        let complete =
            complete.map_err(|error| error.to_string().replace(&format!("{}/", folder.path().display()), ""))?;
        let matches = Settings::command().try_get_matches_from(complete).map_err(|error| error.to_string())?;
        Ok(Settings::from_arg_matches(&matches).unwrap())
    }

    #[test]
    fn the_command_line_wins_over_the_file_and_that_over_defaults() {
        let text = "poll-interval: 30\nconcurrency: 4\nallow-host: [git.example, '10.0.0.1:3000']\nallow-local-repositories: true\n";
        let read = settings(text, &["--concurrency=8"]).unwrap();
        assert_eq!((read.poll_interval.as_secs(), read.concurrency, read.fetch_timeout.as_secs()), (30, 8, 120));
        assert_eq!(read.allow_host, ["git.example", "10.0.0.1:3000"]);
        assert!(read.allow_local_repositories);
        assert!(!settings("allow-local-repositories: false\n", &[]).unwrap().allow_local_repositories);
        assert_eq!(settings("# nothing\n", &[]).unwrap().concurrency, 16);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        for (text, expected) in [
            ("concurrency: 4\npoll: 30\n", "settings.yaml:2: there is no setting \"poll\""),
            ("poll-interval: soon\n", "settings.yaml:1: invalid value 'soon' for '--poll-interval"),
            ("config: other.yaml\n", "settings.yaml:1: there is no setting \"config\""),
            ("poll-interval: [1, 2]\n", "settings.yaml:1: poll-interval has one value, not a list"),
            ("allow-local-repositories: 1\n", "settings.yaml:1: allow-local-repositories is true or false"),
            ("allow-host: {a: b}\n", "settings.yaml:1: allow-host is text or a number, or a list of them"),
            ("- a\n", "settings.yaml: settings are lines such as"),
            ("a: [\n", "settings.yaml:2: this is no YAML"),
        ] {
            let error = settings(text, &[]).unwrap_err();
            assert!(error.starts_with(expected), "{text:?}: {error}");
        }
        let error =
            complete(&Settings::command(), vec!["a".into(), "--config=/nonexistent/s.yaml".into()]).unwrap_err();
        assert!(error.to_string().starts_with("/nonexistent/s.yaml: cannot be read"), "{error}");
    }
}
