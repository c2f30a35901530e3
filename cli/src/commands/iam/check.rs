//! `gitmoor iam check`: the declarations against what the tree renders to.

use std::{path::Path, sync::Arc};

use gitmoor_core::iam::{self, Documents, Finding, Inactive, Kind, Scene, Uses};
use gitmoor_engine::{
    helm::Helm,
    kustomize::{self, Kustomize},
    materialise, process,
    render::Renderer,
};
use serde_json::json;

use super::{
    arguments::{Check, Inputs},
    profiles,
};
use crate::{
    distribution::{Distribution, Rendered},
    failure::{Exit, Failure},
    settings,
    terminal::{Style, Terminal},
};

/// Renders what can be rendered, and says what does not fit.
pub(super) fn run(arguments: &Check, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let Inputs { distribution, setup_conf, .. } = &arguments.inputs;
    let distribution = Distribution::open(distribution, setup_conf.as_deref())?;
    let documents = super::read(&arguments.inputs, &distribution)?;
    let rendered = rendered(arguments, &distribution)?;
    let scene = Scene { uses: uses(&rendered), rendered: rendered.complete.clone(), known: distribution.offered()? };
    let mut findings = iam::check(&documents, &scene);
    findings.extend(stale_profiles(&documents, &distribution)?);
    print(&findings, &rendered, &documents.inactive, terminal);
    Ok(if findings.is_empty() { Exit::Done } else { Exit::Findings })
}

fn rendered(arguments: &Check, distribution: &Distribution) -> Result<Rendered, Failure> {
    let failed = |error: std::io::Error| Failure::io("cannot start to render", &error);
    let scratch = tempfile::tempdir().map_err(failed)?;
    let program = settings::find_program(&arguments.kustomize);
    let kustomize = Kustomize { program, limits: process::Limits::default() };
    let limits = materialise::Limits::default();
    let helm = Helm { program: settings::find_program(Path::new("helm")), limits: process::Limits::default() };
    let renderer = Arc::new(Renderer { kustomize, helm, scratch: scratch.path().to_owned(), limits });
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().map_err(failed)?;
    let result = runtime.block_on(async {
        kustomize::version(&renderer.kustomize).await.map_err(|error| no_kustomize(&arguments.kustomize, &error))?;
        distribution.render(&renderer).await
    });
    // Checkouts are removed in the background.
    drop(runtime);
    result
}

fn no_kustomize(program: &Path, error: &kustomize::KustomizeError) -> Failure {
    Failure::io(format!("cannot run {}", program.display()), error)
        .hint("install kustomize v5, or name it with --kustomize or GITMOOR_KUSTOMIZE")
}

fn uses(rendered: &Rendered) -> Uses {
    let mut uses = Uses::new();
    for (object, destination) in &rendered.objects {
        uses.add(object, destination.as_deref());
    }
    uses.namespaces.extend(rendered.namespaces.iter().cloned());
    uses
}

fn stale_profiles(documents: &Documents, distribution: &Distribution) -> Result<Vec<Finding>, Failure> {
    let profiles::Change { write, remove, foreign } = profiles::change(documents, distribution)?;
    let stale = write.into_keys().chain(remove).chain(foreign);
    let message = "it is not what profiles.yaml says: run `gitmoor iam profiles`";
    Ok(stale
        .map(|path| Finding {
            check: Kind::StaleProfile,
            subject: path.display().to_string(),
            message: message.to_owned(),
        })
        .collect())
}

fn print(findings: &[Finding], rendered: &Rendered, left_out: &[Inactive], terminal: &mut Terminal) {
    if terminal.is_json() {
        let skipped: Vec<_> = rendered
            .skipped
            .iter()
            .map(|(application, reason)| json!({ "application": application, "reason": reason }))
            .collect();
        let left_out: Vec<_> =
            left_out.iter().map(|Inactive { name, reason }| json!({ "declaration": name, "reason": reason })).collect();
        let report = json!({ "format": 1, "findings": findings, "notRendered": skipped, "leftOut": left_out });
        terminal.json(&report);
    } else {
        for Finding { check, subject, message } in findings {
            terminal.data(Style::Yellow, &format!("{check}: {subject}: {message}"));
        }
        for (application, reason) in &rendered.skipped {
            terminal.warning(&format!("not checked, because it was not rendered: {application}: {reason}"));
        }
    }
    for Inactive { name, reason } in left_out {
        terminal.message(&format!("left out: {name} ({reason})"));
    }
    let (findings, complete) = (findings.len(), rendered.complete.len());
    terminal.message(&format!("{findings} findings in {complete} rendered Applications"));
}
