//! The setup.conf that a command works with.

use std::path::{Path, PathBuf};

use gitmoor_core::setup_conf::{Override, Place, Problems, SetupConf};

use crate::failure::{Exit, Failure};

/// Where the values come from.
pub(crate) struct Source<'a> {
    pub(crate) path: &'a Path,
    pub(crate) set: &'a [(String, String)],
    pub(crate) set_file: &'a [(String, PathBuf)],
}

impl Source<'_> {
    /// Reads the file and what was given beside it.
    pub(crate) fn read(&self) -> Result<SetupConf, Failure> {
        let path = self.path;
        let text = std::fs::read(path).map_err(|error| {
            let failure = Failure::io(format!("cannot read {}", path.display()), &error);
            match error.kind() {
                std::io::ErrorKind::NotFound => failure.hint("copy setup.conf.example and put your values in"),
                _ => failure,
            }
        })?;
        SetupConf::parse(&text, &self.overrides()?).map_err(|problems| wrong(path, &problems))
    }

    fn overrides(&self) -> Result<Vec<Override>, Failure> {
        let given = self.set.iter().map(|(name, value)| Ok(Override { name: name.clone(), value: value.clone() }));
        let from_files = self.set_file.iter().map(|(name, path)| {
            let mut value = std::fs::read_to_string(path)
                .map_err(|error| Failure::io(format!("cannot read {}", path.display()), &error))?;
            let line = value.strip_suffix('\n').map(|line| line.strip_suffix('\r').unwrap_or(line).len());
            value.truncate(line.unwrap_or(value.len()));
            Ok(Override { name: name.clone(), value })
        });
        given.chain(from_files).collect()
    }

    /// The text with the comments that say what values should be: the example beside setup.conf, or where
    /// there is none, setup.conf itself.
    pub(crate) fn example(&self) -> String {
        let beside = self.path.with_file_name("setup.conf.example");
        let text = std::fs::read_to_string(beside).or_else(|_| std::fs::read_to_string(self.path));
        // Without it fewer values are checked; nothing else depends on it.
        text.unwrap_or_default()
    }

    /// Stops where a value looks like a secret, unless the user said that it may.
    pub(crate) fn refuse_secrets(&self, conf: &SetupConf, allow: bool) -> Result<(), Failure> {
        let secrets = conf.secret_values();
        if allow || secrets.is_empty() {
            return Ok(());
        }
        let mut failure = Failure::new(
            Exit::Refused,
            "values that look like secrets would be committed with the files they are put into; nothing was written",
        )
        .hint("keep secrets in AWS Secrets Manager or Parameter Store, and only their names here")
        .hint("--allow-secret-values if it is none");
        failure.causes = secrets
            .iter()
            .map(|(entry, kind)| {
                format!("{}: the value of {} looks like {kind}", place(self.path, entry.place), entry.token)
            })
            .collect();
        Err(failure)
    }
}

fn wrong(path: &Path, Problems(problems): &Problems) -> Failure {
    let errors = if problems.len() == 1 { "an error".to_owned() } else { format!("{} errors", problems.len()) };
    let mut failure = if problems.iter().all(|problem| problem.place == Place::CommandLine) {
        Failure::new(Exit::Usage, format!("--set and --set-file have {errors}; nothing was written"))
    } else {
        Failure::new(Exit::Input, format!("{} has {errors}; nothing was written", path.display()))
    };
    failure.causes = problems.iter().map(|found| format!("{}: {}", place(path, found.place), found.kind)).collect();
    failure
}

/// `setup.conf:3:1`, or where else a value came from.
pub(crate) fn place(setup_conf: &Path, place: Place) -> String {
    match place {
        Place::File(position) => format!("{}:{position}", setup_conf.display()),
        Place::CommandLine => place.to_string(),
    }
}
