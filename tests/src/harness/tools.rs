//! Where the programs are that `make tools` put in place.

use std::env;
use std::path::{Path, PathBuf};

/// The folder of the workspace.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests crate lies in the workspace").to_owned()
}

/// The folder that holds kustomize, helm, kube-apiserver and the others:
/// `GITMOOR_TOOLS`, or else `target/tools/bin` of the workspace.
pub fn folder() -> PathBuf {
    env::var_os("GITMOOR_TOOLS").map_or_else(|| workspace().join("target/tools/bin"), PathBuf::from)
}

/// The path of one of the tools.
///
/// # Panics
/// When it is not there.
pub fn tool(name: &str) -> PathBuf {
    present(folder().join(name))
}

/// The path of the AWS emulator, in the venv beside [`folder`].
///
/// # Panics
/// When it is not there.
pub fn moto_server() -> PathBuf {
    present(folder().join("../venv/bin/moto_server"))
}

/// The path of the linter of CloudFormation templates, which the AWS emulator brings along.
///
/// # Panics
/// When it is not there.
pub fn cfn_lint() -> PathBuf {
    present(folder().join("../venv/bin/cfn-lint"))
}

fn present(path: PathBuf) -> PathBuf {
    assert!(path.exists(), "{} is missing: run `make tools`", path.display());
    path
}
