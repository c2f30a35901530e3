//! The one place that starts programs: a bounded run from argument list to output.
//!
//! # Guarantees
//! - The child sees the given environment and nothing of ours; standard input is what is given, or empty.
//! - It runs in a process group of its own, which is killed as a whole at the timeout, at too much output, when the
//!   caller drops the future, and at the end, should it have left children behind.
//! - Time, CPU seconds, memory, size of written files and output are bounded by [`Limits`].
//!
//! # Caveats
//! Resource limits are set right after the start (`prlimit`), since setting them in the child before `exec` takes unsafe
//! code: for some microseconds the program runs without them, which is not enough to use anything up. A program that
//! makes a process group of its own (`setsid`) escapes the kill; kustomize and helm start nothing when their plugins are
//! off and there is no `PATH`. The kernel's limits are Linux only; elsewhere time and output alone are bounded.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStdin, Command};

/// How much a program may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// From start to end.
    pub time: Duration,
    /// CPU seconds, over all threads.
    pub cpu_seconds: u64,
    /// Bytes of private writable memory (`RLIMIT_DATA`). Not the address space: Go programs reserve far more of it than
    /// they use. Go maps its heap in steps of 64 MiB, so a limit below 256 MiB is of little use for it.
    pub memory: u64,
    /// Bytes of any file that it writes.
    pub file_size: u64,
    /// Bytes on standard output.
    pub stdout: usize,
    /// Bytes on standard error, of which the last [`STDERR_TAIL`] are kept.
    pub stderr: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            time: Duration::from_mins(1),
            cpu_seconds: 60,
            memory: 1 << 30,
            file_size: 64 << 20,
            stdout: 64 << 20,
            stderr: 4 << 20,
        }
    }
}

/// How much of standard error is kept, in bytes.
pub const STDERR_TAIL: usize = 64 << 10;

/// What is run.
#[derive(Clone, Debug)]
pub struct Invocation {
    /// Path of the program; nothing is looked up in `PATH` unless it has no slash.
    pub program: PathBuf,
    /// Its arguments, without the program's name.
    pub arguments: Vec<OsString>,
    /// The whole environment.
    pub environment: Vec<(OsString, OsString)>,
    /// Where it runs.
    pub folder: PathBuf,
    /// What it reads on standard input.
    pub stdin: Option<Vec<u8>>,
    /// How much it may use.
    pub limits: Limits,
}

/// What came of a run that ended with status 0.
#[derive(Clone, Debug)]
pub struct Output {
    /// Standard output, complete.
    pub stdout: Vec<u8>,
    /// The end of standard error; what is not UTF-8 is replaced.
    pub stderr_tail: String,
}

/// Why a run came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// The program, or the folder to run it in, does not exist.
    #[error("{program} was not found; install it or name its path")]
    NotFound {
        /// What was to be run.
        program: String,
    },
    /// It took too long and was killed.
    #[error("{program} was killed after {} s without a result", .limit.as_secs())]
    TimedOut {
        /// What was run.
        program: String,
        /// How long it may take.
        limit: Duration,
    },
    /// It printed too much and was killed.
    #[error("{program} was killed after printing more than {limit} bytes to {stream}")]
    TooMuchOutput {
        /// What was run.
        program: String,
        /// `stdout` or `stderr`.
        stream: &'static str,
        /// How much it may print.
        limit: usize,
    },
    /// It ended with another status than 0.
    #[error("{program} failed ({status})")]
    Failed {
        /// What was run.
        program: String,
        /// How it ended: an exit code, or the signal that a limit sent.
        status: ExitStatus,
        /// The end of standard error. It may hold what the program read: clean it before it is shown.
        stderr_tail: String,
    },
    /// The system would not run it.
    #[error("cannot run {program}")]
    Io {
        /// What was to be run.
        program: String,
        /// What the system said.
        source: std::io::Error,
    },
}

impl ProcessError {
    /// One word for conditions, events and metrics.
    pub fn category(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "NotFound",
            Self::TimedOut { .. } => "TimedOut",
            Self::TooMuchOutput { .. } => "TooMuchOutput",
            Self::Failed { .. } => "Failed",
            Self::Io { .. } => "Io",
        }
    }
}

/// Runs a program to its end.
pub async fn run(invocation: Invocation) -> Result<Output, ProcessError> {
    let program = invocation.program.display().to_string();
    let limits = invocation.limits.clone();
    let mut child = start(&invocation).map_err(|source| not_started(&program, source))?;
    let group = Group::of(&child);
    group.limit(&limits);
    let result = tokio::time::timeout(limits.time, finish(&mut child, invocation.stdin, &limits, &program)).await;
    drop(group);
    match result {
        Ok(output) => output,
        Err(_) => Err(ProcessError::TimedOut { program, limit: limits.time }),
    }
}

fn start(invocation: &Invocation) -> std::io::Result<Child> {
    let Invocation { program, arguments, environment, folder, stdin, limits: _ } = invocation;
    Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .current_dir(folder)
        .stdin(if stdin.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
}

fn not_started(program: &str, source: std::io::Error) -> ProcessError {
    let program = program.to_owned();
    match source.kind() {
        std::io::ErrorKind::NotFound => ProcessError::NotFound { program },
        _ => ProcessError::Io { program, source },
    }
}

/// Feeds, reads both streams side by side, and waits for the end.
async fn finish(
    child: &mut Child,
    stdin: Option<Vec<u8>>,
    limits: &Limits,
    program: &str,
) -> Result<Output, ProcessError> {
    let io = |source| ProcessError::Io { program: program.to_owned(), source };
    let feed = feed(child.stdin.take(), stdin.unwrap_or_default());
    let stdout = whole(child.stdout.take(), limits.stdout, program);
    let stderr = tail(child.stderr.take(), limits.stderr, program);
    let ((), stdout, stderr_tail) = tokio::try_join!(feed, stdout, stderr)?;
    let status = child.wait().await.map_err(io)?;
    if status.success() {
        return Ok(Output { stdout, stderr_tail });
    }
    Err(ProcessError::Failed { program: program.to_owned(), status, stderr_tail })
}

/// A program that does not read its input to the end is no error.
async fn feed(pipe: Option<ChildStdin>, bytes: Vec<u8>) -> Result<(), ProcessError> {
    if let Some(mut pipe) = pipe {
        let _ = pipe.write_all(&bytes).await;
    }
    Ok(())
}

async fn whole(pipe: Option<impl AsyncRead + Unpin>, limit: usize, program: &str) -> Result<Vec<u8>, ProcessError> {
    let Some(pipe) = pipe else { return Ok(Vec::new()) };
    let mut bytes = Vec::new();
    let io = |source| ProcessError::Io { program: program.to_owned(), source };
    pipe.take(limit as u64 + 1).read_to_end(&mut bytes).await.map_err(io)?;
    if bytes.len() > limit {
        return Err(ProcessError::TooMuchOutput { program: program.to_owned(), stream: "stdout", limit });
    }
    Ok(bytes)
}

async fn tail(pipe: Option<impl AsyncRead + Unpin>, limit: usize, program: &str) -> Result<String, ProcessError> {
    let Some(mut pipe) = pipe else { return Ok(String::new()) };
    let mut kept: Vec<u8> = Vec::new();
    let mut total = 0;
    let mut piece = [0; 4096];
    loop {
        let read =
            pipe.read(&mut piece).await.map_err(|source| ProcessError::Io { program: program.to_owned(), source })?;
        if read == 0 {
            return Ok(String::from_utf8_lossy(&kept).into_owned());
        }
        total += read;
        if total > limit {
            return Err(ProcessError::TooMuchOutput { program: program.to_owned(), stream: "stderr", limit });
        }
        kept.extend_from_slice(&piece[..read]);
        if kept.len() > 2 * STDERR_TAIL {
            kept.drain(..kept.len() - STDERR_TAIL);
        }
    }
}

/// The child's process group; killed when this goes.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| Pid::from_raw(id.cast_signed())))
    }

    #[cfg(target_os = "linux")]
    fn limit(&self, limits: &Limits) {
        use rustix::process::{Resource, Rlimit, prlimit};
        if self.0.is_none() {
            return;
        }
        let hard = |most| Rlimit { current: Some(most), maximum: Some(most) };
        for (resource, most) in [
            (Resource::Cpu, limits.cpu_seconds),
            (Resource::Data, limits.memory),
            (Resource::Fsize, limits.file_size),
            (Resource::Core, 0),
        ] {
            // A child that has already ended, or a kernel that forbids it: time and output stay bounded.
            if let Err(error) = prlimit(self.0, resource, hard(most)) {
                tracing::debug!(?resource, %error, "cannot limit the child process");
            }
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn limit(&self, _: &Limits) {}
}

impl Drop for Group {
    /// The leader may be reaped by now. Its number cannot be taken by another process while the group has members; when
    /// it has none, nothing is there to be killed, and numbers are not handed out again at once.
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn shell(script: &str) -> Invocation {
        Invocation {
            program: "/bin/sh".into(),
            arguments: vec!["-c".into(), script.into()],
            environment: vec![("PATH".into(), "/usr/bin:/bin".into())],
            folder: "/".into(),
            stdin: None,
            limits: Limits { time: Duration::from_secs(20), ..Limits::default() },
        }
    }

    /// Whether the process with this number, written by a script, is gone or a zombie.
    async fn gone(pid_file: &std::path::Path) -> bool {
        for _ in 0..100 {
            let pid = std::fs::read_to_string(pid_file).unwrap();
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
            if stat.is_empty() || stat.contains(") Z ") {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        false
    }

    #[tokio::test]
    async fn gives_output_and_a_clean_environment() {
        let output = run(shell("cat; env; echo warned >&2")).await.unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.lines().all(|line| ["PATH=", "PWD=", "_=", "SHLVL="].iter().any(|name| line.starts_with(name))));
        assert_eq!(output.stderr_tail, "warned\n");
        let output = run(Invocation { stdin: Some(b"in".repeat(100_000)), ..shell("cat") }).await.unwrap();
        assert_eq!(output.stdout.len(), 200_000);
        assert!(run(Invocation { stdin: Some(vec![0; 1 << 20]), ..shell("true") }).await.is_ok());
    }

    #[tokio::test]
    async fn failures_are_told_apart() {
        let error = run(Invocation { program: "/nowhere/tool".into(), ..shell("") }).await.unwrap_err();
        assert!(matches!(error, ProcessError::NotFound { .. }), "{error:?}");
        let ProcessError::Failed { status, stderr_tail, .. } = run(shell("echo no >&2; exit 3")).await.unwrap_err()
        else {
            panic!("not failed")
        };
        assert_eq!((status.code(), stderr_tail.as_str()), (Some(3), "no\n"));
    }

    #[tokio::test]
    async fn a_timeout_kills_the_whole_group() {
        let folder = tempfile::tempdir().unwrap();
        let pid = folder.path().join("pid");
        let mut slow = shell(&format!("sleep 60 & echo $! > {}; wait", pid.display()));
        slow.limits.time = Duration::from_millis(300);
        let start = Instant::now();
        assert!(matches!(run(slow).await.unwrap_err(), ProcessError::TimedOut { .. }));
        assert!(start.elapsed() < Duration::from_secs(10));
        assert!(gone(&pid).await);
    }

    #[tokio::test]
    async fn dropping_the_future_kills_the_whole_group() {
        let folder = tempfile::tempdir().unwrap();
        let pid = folder.path().join("pid");
        let script = format!("sleep 60 & echo $! > {}; wait", pid.display());
        let task = tokio::spawn(run(shell(&script)));
        while std::fs::read_to_string(&pid).unwrap_or_default().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        task.abort();
        assert!(gone(&pid).await);
    }

    #[tokio::test]
    async fn a_child_left_behind_is_killed() {
        let folder = tempfile::tempdir().unwrap();
        let pid = folder.path().join("pid");
        let script = format!("sleep 60 >/dev/null 2>&1 & echo $! > {}", pid.display());
        run(shell(&script)).await.unwrap();
        assert!(gone(&pid).await);
    }

    #[tokio::test]
    async fn too_much_output_ends_it() {
        for (script, expected) in [("yes", "stdout"), ("yes >&2", "stderr")] {
            let error = run(shell(script)).await.unwrap_err();
            assert!(matches!(error, ProcessError::TooMuchOutput { stream, .. } if stream == expected), "{error:?}");
        }
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn the_kernel_bounds_files_and_memory() {
        let folder = tempfile::tempdir().unwrap();
        let mut large = shell("sleep 0.2; head -c 3000000 /dev/zero > file");
        large.folder = folder.path().to_owned();
        large.limits.file_size = 1 << 20;
        assert!(matches!(run(large).await.unwrap_err(), ProcessError::Failed { .. }));
        assert!(std::fs::metadata(folder.path().join("file")).unwrap().len() <= 1 << 20);
        let mut hungry = shell("sleep 0.2; x=$(head -c 50000000 /dev/zero | tr '\\0' x); echo ${#x}");
        hungry.limits.memory = 10 << 20;
        assert!(matches!(run(hungry).await.unwrap_err(), ProcessError::Failed { .. }));
    }
}
