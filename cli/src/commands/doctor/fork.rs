//! setup.conf, and what is left of placeholders in the fork.

use std::path::Path;

use gitmoor_core::setup_conf::{Problems, SetupConf};
use gitmoor_core::template::{OPEN, name};

use super::Finding;
use crate::{fork::Fork, made_up::left_as_in_example};

/// Reads setup.conf, with everything that is wrong or doubtful in it.
pub(super) fn read(path: &Path, distribution: &Path, findings: &mut Vec<Finding>) -> Option<SetupConf> {
    let shown = path.display();
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let fix = "in a fork that is not initialised: cp setup.conf.example setup.conf, and fill it in";
            findings.push(Finding::doubtful("setup.conf", format!("{shown} is not here"), fix));
            return None;
        }
        Err(error) => {
            findings.push(Finding::wrong("setup.conf", format!("{shown} cannot be read: {error}"), "mend its rights"));
            return None;
        }
    };
    let conf = match SetupConf::parse(&text, &[]) {
        Ok(conf) => conf,
        Err(Problems(problems)) => {
            findings.extend(problems.iter().map(|problem| {
                Finding::wrong("setup.conf", format!("{shown}:{}: {}", problem.place, problem.kind), "correct the line")
            }));
            return None;
        }
    };
    let example = std::fs::read_to_string(path.with_file_name("setup.conf.example")).unwrap_or_default();
    let doubts = conf.doubtful_values(&example);
    for warning in conf.warnings().iter().chain(&doubts) {
        findings.push(Finding::doubtful("setup.conf", format!("{shown}:{warning}"), "is it what you mean?"));
    }
    let made_up = left_as_in_example(&conf, path, &[distribution.to_owned()]);
    if !made_up.is_empty() {
        let names: Vec<&str> = made_up.iter().map(|entry| name(&entry.token)).collect();
        let said = format!("values of {shown} are still those of the example, and are nobody's: {}", names.join(", "));
        findings.push(Finding::doubtful("setup.conf", said, "put yours in, then gitmoor init setup.conf --commit"));
    }
    if doubts.is_empty() && conf.warnings().is_empty() && made_up.is_empty() {
        findings.push(Finding::fine("setup.conf", format!("{} values", conf.entries().len())));
    }
    Some(conf)
}

/// Placeholders that are committed, and commits that are not pushed.
pub(super) fn check(distribution: &Path, findings: &mut Vec<Finding>) {
    let Some(fork) = Fork::here() else {
        findings.push(Finding::doubtful("fork", "this is no clone of a repository", "run gitmoor in your fork"));
        return;
    };
    match fork.holding(OPEN, distribution) {
        files if files.is_empty() => findings.push(Finding::fine("fork", "no placeholder is left")),
        files => {
            let more = if files.len() > 1 { format!(" and {} more files", files.len() - 1) } else { String::new() };
            findings.push(Finding::wrong(
                "fork",
                format!("placeholders are left in {}{more}", files[0]),
                "fill in setup.conf, then gitmoor init setup.conf --commit",
            ));
        }
    }
    if let Some(count) = fork.unpushed().filter(|count| *count > 0) {
        let said = format!("{count} commits are not pushed: the agent does not see them");
        findings.push(Finding::doubtful("fork", said, "git push"));
    }
}
