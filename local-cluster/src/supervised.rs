//! A program that runs as long as its owner, and never longer.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::StartError;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// Becomes the program, after leaving behind a watcher that holds the reading
/// end of a pipe. When the owner is gone, however it ended, the pipe closes
/// and the watcher kills the process group. (A parent-death signal would fire
/// already when the thread ends that started the program.)
const WATCHED: &str = r#"exec 3<&0 </dev/null
( ( read -r _ <&3; kill -KILL 0 ) >/dev/null 2>&1 & )
exec 3<&- "$@""#;

/// A running program with a process group of its own. Dropping it kills the
/// group and waits for the program.
#[derive(Debug)]
pub struct Supervised {
    child: Child,
    name: String,
    log: PathBuf,
}

impl Supervised {
    /// Starts `program`, whose output goes to the file `log`. Environment and
    /// arguments are those of `configure`; the environment starts empty.
    ///
    /// # Errors
    /// When it does not start.
    pub fn spawn(program: &Path, log: &Path, configure: impl FnOnce(&mut Command)) -> Result<Self, StartError> {
        use std::os::unix::process::CommandExt as _;

        let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let output = File::options().create(true).append(true).open(log);
        let failed = |log: &Path| StartError::io(format!("cannot write {}", log.display()));
        let output = output.map_err(failed(log))?;
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", WATCHED, "sh"])
            .arg(program)
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(output.try_clone().map_err(failed(log))?)
            .stderr(output)
            .process_group(0);
        configure(&mut command);
        let child = command.spawn().map_err(StartError::io(format!("{name} does not start")))?;
        Ok(Self { child, name, log: log.to_owned() })
    }

    /// The name of the program.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The process id of the program itself.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The file that holds its output.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// How it ended, when it has.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Waits until it has ended, at most for `timeout`.
    pub async fn wait(&mut self, timeout: Duration) -> Option<ExitStatus> {
        let started = Instant::now();
        loop {
            let exited = self.exited();
            if exited.is_some() || started.elapsed() > timeout {
                return exited;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Sends `signal` to the program alone; nothing when it has ended.
    pub fn signal(&mut self, signal: Signal) {
        if self.exited().is_none() {
            // Ended in between: that is what the caller will see next.
            let _ = kill_process(self.process(), signal);
        }
    }

    /// Kills the program and all that it started, and waits for it.
    pub fn kill(&mut self) {
        // Closing the pipe reaches what is left of the group when the program itself has ended before.
        drop(self.child.stdin.take());
        if self.exited().is_none() {
            // Ended in between.
            let _ = kill_process_group(self.process(), Signal::KILL);
            let _ = self.child.wait();
        }
    }

    /// The last `lines` of its output.
    pub fn tail(&self, lines: usize) -> String {
        tail(&self.log, lines)
    }

    /// Fails when the program has ended, with what it said last.
    ///
    /// # Errors
    /// [`StartError::NotReady`].
    pub fn ensure_running(&mut self) -> Result<(), StartError> {
        match self.exited() {
            None => Ok(()),
            Some(status) => Err(StartError::NotReady(format!("{} ended with {status}:\n{}", self.name, self.tail(30)))),
        }
    }

    fn process(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The last `lines` of a text file; empty when it cannot be read.
pub fn tail(path: &Path, lines: usize) -> String {
    let bytes = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
