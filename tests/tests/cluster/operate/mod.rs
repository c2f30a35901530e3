//! The commands that talk to a cluster, as people run them.

mod daily;
pub(crate) mod explain;

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
        let kubeconfig = self.identity.path().to_str().unwrap();
        let environment = [
            ("KUBECONFIG", kubeconfig),
            ("GITMOOR_NAMESPACE", self.namespace.as_str()),
            ("PATH", "/usr/bin:/bin"),
            ("HOME", "/nonexistent"),
        ];
        Run::of(&program("gitmoor"), folder, &environment, arguments, stdin)
    }

    /// Runs `gitmoor` where there is no repository.
    pub(crate) fn run(&self, arguments: &[&str]) -> Run {
        self.run_in(Path::new("/"), arguments, b"")
    }
}
