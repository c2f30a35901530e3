//! The commands that talk to a cluster, as people run them.

mod blame;
mod bootstrap;
mod daily;
pub(crate) mod explain;
mod json;
mod leaving;
mod look;
mod pages;
mod several;
mod uninstall;
mod views;

use std::path::Path;

use gitmoor_tests::harness::run::Run;
use gitmoor_tests::harness::{ControlPlane, Identity, Installation, program, unique_name};

/// Somebody with a kubeconfig, who works on one installation.
pub(crate) struct Person {
    identity: Identity,
    namespace: String,
}

impl Person {
    /// One who may do everything.
    pub(crate) fn of(control_plane: &ControlPlane, world: &Installation) -> Self {
        Self::new(control_plane, &world.namespace)
    }

    /// The same, of the installation in a namespace.
    pub(crate) fn new(control_plane: &ControlPlane, namespace: &str) -> Self {
        let identity = control_plane.kubeconfig_for_user(&unique_name("person"), Some("system:masters"));
        Self { identity, namespace: namespace.to_owned() }
    }

    /// Runs `gitmoor` in a folder.
    pub(crate) fn run_in(&self, folder: &Path, arguments: &[&str], stdin: &[u8]) -> Run {
        self.run_with(folder, &[], arguments, stdin)
    }

    /// The same with more variables.
    pub(crate) fn run_with(&self, folder: &Path, more: &[(&str, &str)], arguments: &[&str], stdin: &[u8]) -> Run {
        let kubeconfig = self.identity.path().to_str().unwrap();
        let kustomize = gitmoor_tests::harness::tools::tool("kustomize");
        let helm = gitmoor_tests::harness::tools::tool("helm");
        let environment = [
            ("GITMOOR_KUSTOMIZE", kustomize.to_str().unwrap()),
            ("GITMOOR_HELM", helm.to_str().unwrap()),
            ("KUBECONFIG", kubeconfig),
            ("GITMOOR_NAMESPACE", self.namespace.as_str()),
            ("PATH", "/usr/bin:/bin"),
            ("HOME", "/nonexistent"),
        ];
        let environment = [&environment[..], more].concat();
        Run::of(&program("gitmoor"), folder, &environment, arguments, stdin)
    }

    /// Runs another of the tools.
    pub(crate) fn run_tool(&self, name: &str, arguments: &[&str]) -> Run {
        let environment = [("KUBECONFIG", self.identity.path().to_str().unwrap()), ("HOME", "/nonexistent")];
        Run::of(&gitmoor_tests::harness::tools::tool(name), Path::new("/"), &environment, arguments, b"")
    }

    /// Runs `gitmoor` where there is no repository.
    pub(crate) fn run(&self, arguments: &[&str]) -> Run {
        self.run_in(Path::new("/"), arguments, b"")
    }

    /// What the shell offers for the last of these words.
    pub(crate) fn complete(&self, words: &[&str]) -> String {
        let index = (words.len() - 1).to_string();
        let environment = [
            ("KUBECONFIG", self.identity.path().to_str().unwrap()),
            ("GITMOOR_NAMESPACE", self.namespace.as_str()),
            ("COMPLETE", "bash"),
            ("_CLAP_COMPLETE_INDEX", &index),
        ];
        let arguments = [&["--"], words].concat();
        Run::of(&program("gitmoor"), Path::new("/"), &environment, &arguments, b"").assert(0).stdout.clone()
    }
}
