//! The workspace's own programs.

use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use super::tools::workspace;

/// The path of one of the workspace's programs, up to date and of the same
/// profile as the running one. Cargo builds the programs of other packages for
/// no test: this does, once in a process.
///
/// # Panics
/// When it does not compile.
pub fn program(name: &str) -> PathBuf {
    static BUILT: Mutex<BTreeMap<String, Result<PathBuf, String>>> = Mutex::new(BTreeMap::new());
    let mut built = BUILT.lock().expect("no test panics while it holds this");
    let result = built.entry(name.to_owned()).or_insert_with(|| build(name)).clone();
    drop(built);
    result.unwrap_or_else(|reason| panic!("{name} does not compile:\n{reason}"))
}

/// `--workspace` even for one program, so that dependencies have the features
/// that they have in `cargo test --workspace` and are not compiled twice.
fn build(name: &str) -> Result<PathBuf, String> {
    let folder = profile_folder();
    let profile = match folder.file_name().and_then(|name| name.to_str()) {
        Some("debug") => "dev",
        Some(other) => other,
        None => return Err(format!("{} is no profile's folder", folder.display())),
    };
    let output = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .current_dir(workspace())
        .args(["build", "--quiet", "--workspace", "--bin", name, "--profile", profile, "--target-dir"])
        .arg(folder.parent().unwrap_or(Path::new("target")))
        .output()
        .map_err(|error| format!("cargo does not start: {error}"))?;
    if output.status.success() {
        Ok(folder.join(name))
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// `target/PROFILE`, in which the running program lies, a test in its folder `deps`.
fn profile_folder() -> PathBuf {
    let own = env::current_exe().expect("a running program has a path");
    let folder = own.parent().expect("a program lies in a folder");
    let folder = if folder.ends_with("deps") { folder.parent().expect("`deps` lies in a folder") } else { folder };
    folder.to_owned()
}
