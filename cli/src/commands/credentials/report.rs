//! What `gitmoor credentials` did. Names only, never values.

use std::{collections::BTreeSet, fmt, path::PathBuf};

use gitmoor_core::credentials::{Credentials, Plan, Request, Situation, Unasked};
use serde::Serialize;

use super::is_renewal;
use crate::{
    distribution::Distribution,
    terminal::{Style, Terminal},
};

/// The version of the JSON document; it grows when a reader of the old one could be misled.
const FORMAT: u32 = 1;

/// Everything that there is to say.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    format: u32,
    /// Secrets with keys that are sealed anew.
    sealed: Vec<Sealed>,
    /// Plain files that changed.
    plain: Vec<PathBuf>,
    /// Values that were renewed because they stand in one key with what was asked for.
    also_renewed: BTreeSet<String>,
    /// Values for which defaults are sealed, because nobody gave them.
    defaults: Vec<Chosen>,
    /// What has to be restarted.
    restart: BTreeSet<String>,
    unchanged: usize,
    /// Secrets that nothing that is selected needs.
    left_out: Vec<LeftOut>,
}

#[derive(Debug, Serialize)]
struct Sealed {
    secret: String,
    file: PathBuf,
    new: bool,
    keys: BTreeSet<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Chosen {
    value: String,
    given_by: String,
    random: bool,
    /// `NAMESPACE/NAME KEY`.
    keys: Vec<String>,
}

#[derive(Debug, Serialize)]
struct LeftOut {
    secret: String,
    applications: Vec<String>,
    environment: Option<String>,
}

impl Report {
    pub(super) fn new(
        credentials: &Credentials,
        situation: &Situation,
        plan: &Plan,
        distribution: &Distribution,
        plain: Vec<PathBuf>,
        request: &Request,
    ) -> Self {
        let secrets =
            plan.write.iter().filter_map(|(index, keys)| Some((index, keys, credentials.secrets.get(*index)?)));
        let sealed = secrets.clone().map(|(index, keys, secret)| Sealed {
            secret: format!("{}/{}", secret.namespace, secret.name),
            file: distribution.path_of(&secret.file),
            new: !situation.sealed.contains_key(index),
            keys: keys.clone(),
        });
        let restart = secrets.filter(|(index, ..)| situation.sealed.contains_key(index));
        let restart = if is_renewal(request, plan, situation) {
            restart.flat_map(|(_, _, secret)| secret.restart.iter().cloned()).collect()
        } else {
            BTreeSet::new()
        };
        Self {
            format: FORMAT,
            sealed: sealed.collect(),
            plain,
            also_renewed: plan.also.clone(),
            defaults: chosen(credentials, plan),
            restart,
            unchanged: situation.active.len() - plan.write.len(),
            left_out: left_out(credentials, situation),
        }
    }

    /// Says it.
    pub(super) fn print(&self, check: bool, terminal: &mut Terminal) {
        if terminal.is_json() {
            terminal.json(self);
            return;
        }
        let Self { sealed, plain, also_renewed, defaults, restart, unchanged, left_out, format: _ } = self;
        for Sealed { secret, file, new, keys } in sealed {
            let done = match (check, new) {
                (true, _) => "would seal",
                (false, true) => "sealed",
                (false, false) => "sealed anew",
            };
            let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
            terminal.data(Style::Plain, &format!("{done} {secret} ({}) in {}", keys.join(", "), file.display()));
        }
        for path in plain {
            terminal.data(Style::Plain, &format!("set {}", path.display()));
        }
        print_defaults(defaults, terminal);
        if !also_renewed.is_empty() {
            let names: Vec<&str> = also_renewed.iter().map(String::as_str).collect();
            terminal.warning(&format!("renewed as well, because they stand in one key with it: {}", names.join(", ")));
        }
        for workload in restart {
            terminal.data(Style::Yellow, &format!("restart {workload}"));
        }
        if !left_out.is_empty() {
            let named: Vec<String> = left_out.iter().map(ToString::to_string).collect();
            terminal.message(&format!("left out, because nothing that is selected needs them: {}", named.join(", ")));
        }
        let left_out = left_out.len();
        let done = if check { "to be sealed" } else { "sealed" };
        terminal.message(&format!("{} Secrets {done}, {unchanged} as they were, {left_out} left out", sealed.len()));
    }
}

fn chosen(credentials: &Credentials, plan: &Plan) -> Vec<Chosen> {
    let key = |(index, key): &(usize, String)| {
        let secret = credentials.secrets.get(*index)?;
        Some(format!("{}/{} {key}", secret.namespace, secret.name))
    };
    let chosen = plan.defaults.iter().map(|(value, Unasked { given_by, random, keys })| Chosen {
        value: value.clone(),
        given_by: given_by.clone(),
        random: *random,
        keys: keys.iter().filter_map(key).collect(),
    });
    chosen.collect()
}

/// What somebody may have forgotten to give. A default may be as secret as what it stands for: it is not shown.
fn print_defaults(defaults: &[Chosen], terminal: &mut Terminal) {
    if defaults.is_empty() {
        return;
    }
    terminal.data(Style::Yellow, "defaults, where nothing was given; to change one, give it with --rotate NAME");
    for Chosen { value, given_by, random, keys } in defaults {
        let how = if *random { "by chance" } else { "as declared" };
        terminal.data(Style::Plain, &format!("  {value} ({given_by}): {how}, in {}", keys.join(", ")));
    }
}

fn left_out(credentials: &Credentials, situation: &Situation) -> Vec<LeftOut> {
    let secrets = credentials.secrets.iter().enumerate().filter(|(index, _)| !situation.active.contains(index));
    let named = secrets.map(|(_, secret)| LeftOut {
        secret: format!("{}/{}", secret.namespace, secret.name),
        applications: secret.applications.clone(),
        environment: secret.environment.clone(),
    });
    named.collect()
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { secret, applications, environment } = self;
        let environment = environment.iter().map(|name| format!("environment {name}")).collect();
        let wanted = [applications.join(" or "), environment];
        let wanted: Vec<&str> = wanted.iter().map(String::as_str).filter(|text| !text.is_empty()).collect();
        write!(f, "{secret} ({})", wanted.join(", "))
    }
}
