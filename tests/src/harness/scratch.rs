//! A temporary folder that goes with its owner, however that ends.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::fs::statvfs;
use tempfile::Builder;

/// The tmpfs that saves real parts the cost of a disk.
const MEMORY: &str = "/dev/shm";
/// What must be free there, in bytes.
const WANTED: u64 = 2 << 30;

/// Waits until the owner is gone, then removes the folder. What still runs in
/// it is being killed at the same time, hence the second and third try.
const REMOVE: &str = r#"read -r _; for _ in 1 2 3 4 5; do rm -rf -- "$1" 2>/dev/null && exit; sleep 0.2; done"#;

/// A folder that is removed when this value is dropped, and also when the
/// process ends without dropping it (a `static`, an abort, a SIGKILL).
/// With `GITMOOR_KEEP` set it stays, for a look at the logs in it.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    remover: Option<Child>,
}

impl Scratch {
    /// Makes a folder whose name starts with `gitmoor-` and `purpose`; in
    /// memory where there is room, else in the temporary folder.
    pub fn new(purpose: &str) -> Self {
        use std::os::unix::process::CommandExt as _;

        let path = Builder::new()
            .prefix(&format!("gitmoor-{purpose}-"))
            .disable_cleanup(true)
            .tempdir_in(parent())
            .expect("a temporary folder can be made")
            .keep();
        let remover = env::var_os("GITMOOR_KEEP").is_none().then(|| {
            Command::new("/bin/sh")
                .args(["-c", REMOVE, "sh"])
                .arg(&path)
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .process_group(0)
                .spawn()
                .expect("/bin/sh starts")
        });
        Self { path, remover }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file into the folder, with the folders above it, and gives its path.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path.join(name);
        std::fs::create_dir_all(path.parent().expect("a file has a folder")).expect("a folder can be made");
        std::fs::write(&path, content).expect("a file can be written");
        path
    }

    /// Makes a folder in the folder and gives its path.
    pub fn folder(&self, name: &str) -> PathBuf {
        let path = self.path.join(name);
        std::fs::create_dir_all(&path).expect("a folder can be made");
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Some(mut remover) = self.remover.take() {
            drop(remover.stdin.take());
            // Nothing to do when it failed: the folder is a temporary one.
            let _ = remover.wait();
        }
    }
}

fn parent() -> PathBuf {
    let memory = Path::new(MEMORY);
    match statvfs(memory) {
        Ok(filesystem) if filesystem.f_bavail * filesystem.f_frsize >= WANTED => memory.to_owned(),
        _ => env::temp_dir(),
    }
}
