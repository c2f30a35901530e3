//! The programs that commands run.

use std::path::Path;
use std::process::Command;

use gitmoor_engine::{
    helm::{self, Helm},
    kustomize::{self, Kustomize},
    process,
};

use super::Finding;
use crate::settings::find_program;

/// Git, kustomize and helm, with their versions.
pub(super) async fn check(kustomize: &Path, helm: &Path) -> Vec<Finding> {
    let limits = process::Limits::default();
    let version = kustomize::version(&Kustomize { program: find_program(kustomize), limits }).await;
    let kustomize = match version {
        Ok(version) => Finding::fine("kustomize", version.to_string()),
        Err(error) => {
            Finding::wrong("kustomize", told(&error), "install kustomize v5, or name it with GITMOOR_KUSTOMIZE")
        }
    };
    let limits = process::Limits::default();
    let helm = match helm::version(&Helm { program: find_program(helm), limits }).await {
        Ok(version) => Finding::fine("helm", version.to_string()),
        Err(error) => Finding::doubtful(
            "helm",
            told(&error),
            "only charts need it: install helm v3, or name it with GITMOOR_HELM",
        ),
    };
    vec![git(), kustomize, helm]
}

fn git() -> Finding {
    let fix = "install git 2.30 or newer";
    match Command::new("git").arg("--version").output() {
        Ok(output) if output.status.success() => {
            let said = String::from_utf8_lossy(&output.stdout).trim().trim_start_matches("git version ").to_owned();
            let mut numbers = said.split('.').map(|number| number.parse::<u32>().unwrap_or(0));
            let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
            if version < (2, 30) { Finding::wrong("git", said, fix) } else { Finding::fine("git", said) }
        }
        Ok(output) => Finding::wrong("git", String::from_utf8_lossy(&output.stderr).trim().to_owned(), fix),
        Err(error) => Finding::wrong("git", format!("git does not start: {error}"), fix),
    }
}

/// An error with its causes on one line.
pub(super) fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text = format!("{text}: {source}");
        next = source.source();
    }
    gitmoor_core::view::one_line(&text)
}
