//! `gitmoor iam`: the roles that the tree needs, as documents, as CloudFormation, and checked.

mod arguments;
mod check;
mod profiles;
mod report;

use gitmoor_core::iam::{Documents, IamError, Selection, template};

pub(crate) use arguments::Arguments;

use crate::{
    arguments::Output,
    distribution::Distribution,
    failure::{Exit, Failure},
    terminal::Terminal,
};
use arguments::{Action, Inputs};

/// Reads the declarations, then prints them, compares them with the tree, or writes the files of people.
pub(crate) fn run(arguments: Arguments, terminal: &mut Terminal) -> Result<Exit, Failure> {
    match arguments.action {
        None => print(&arguments.inputs, terminal),
        Some(_) if terminal.output() == Output::Cloudformation => {
            Err(Failure::new(Exit::Usage, "--output cloudformation is for `gitmoor iam` itself"))
        }
        Some(Action::Check(arguments)) => check::run(&arguments, terminal),
        Some(Action::Profiles(arguments)) => profiles::run(&arguments, terminal),
    }
}

fn print(inputs: &Inputs, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let distribution = Distribution::open(&inputs.distribution, inputs.setup_conf.as_deref())?;
    let documents = read(inputs, &distribution)?;
    refuse_missing_policies(&documents, inputs)?;
    match terminal.output() {
        Output::Text | Output::Markdown => report::print(&documents, terminal),
        Output::Json => terminal.json(&report::json(&documents)),
        Output::Cloudformation => terminal.json(&template(&documents)),
    }
    let (roles, people) = (documents.declared.len(), documents.profiles.len());
    let left_out = documents.inactive.len();
    terminal.message(&format!("{roles} declarations and {people} profiles; {left_out} declarations left out"));
    Ok(Exit::Done)
}

/// Everything below distribution/iam, complete.
fn read(inputs: &Inputs, distribution: &Distribution) -> Result<Documents, Failure> {
    let files = distribution.texts("iam", &[".yaml", ".json"])?.into_iter().collect();
    let profiles = match std::fs::read_to_string(&inputs.profiles) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(Failure::io(format!("cannot read {}", inputs.profiles.display()), &error)),
    };
    let selection =
        Selection { applications: distribution.selected()?, offered: distribution.offered()?, all: inputs.all };
    Documents::read(&files, profiles.as_deref(), &selection, |account| inputs.adjust(account))
        .map_err(|errors| wrong(inputs, &errors))
}

fn wrong(inputs: &Inputs, errors: &[IamError]) -> Failure {
    let mut failure = Failure::new(Exit::Input, "the declarations of roles are not complete");
    failure.causes = errors.iter().map(|error| format!("{}: {}", place(inputs, &error.file), error.reason)).collect();
    let missing = errors.iter().any(|error| error.reason.contains("has no value"));
    if missing {
        failure.hint("run `gitmoor init setup.conf`, or name a setup.conf with --setup-conf")
    } else {
        failure
    }
}

fn place(inputs: &Inputs, file: &str) -> String {
    if file == "profiles.yaml" {
        inputs.profiles.display().to_string()
    } else {
        inputs.distribution.join("iam").join(file).display().to_string()
    }
}

/// A role without its policy would be created, and do nothing: that is no complete document.
fn refuse_missing_policies(documents: &Documents, inputs: &Inputs) -> Result<(), Failure> {
    let missing: Vec<String> = documents
        .declared
        .iter()
        .filter_map(|attached| {
            let file = attached.declaration.policy.as_ref().filter(|_| attached.policy.is_none())?;
            let declared = place(inputs, &format!("{}.yaml", attached.declaration.name));
            Some(format!("{declared}: its policy {file} is not there"))
        })
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut failure = Failure::new(Exit::Input, "a policy file is missing");
    failure.causes = missing;
    Err(failure)
}
