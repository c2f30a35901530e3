//! The process that fetches, and the side of the agent that starts it.
//!
//! A repository can hang, bloat or crash whoever talks to it, and libgit2's own limits are process-wide. So each fetch
//! runs in a child: the same program again, with a clean environment, its own process group, a deadline, and limits of
//! memory and size. Request and answer are JSON on stdin and stdout; credentials appear nowhere else.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use gitmoor_core::sensitive::Sensitive;
use rustix::process::{Signal, getpid, getppid, kill_process};
use serde::{Deserialize, Serialize};

use super::failure::Failure;
use super::job::{Answer, Job};
use super::{FetchError, FetchErrorKind, FetchOutcome, FetchRequest, RepositoryUrl, store};
use crate::process::{self, Invocation, Limits, ProcessError};

/// How much one fetch may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchLimits {
    /// Wall-clock time, waiting for another fetch of the same mirror included.
    pub timeout: Duration,
    /// Bytes of private memory; files that are mapped to be read do not count.
    pub memory_bytes: u64,
    /// Bytes that may be downloaded, and the size of any file that is written.
    pub size_bytes: u64,
}

/// What the standard library prints before it aborts (`std::alloc::handle_alloc_error`).
const ALLOCATION_FAILED: &str = "memory allocation of ";

impl Default for FetchLimits {
    fn default() -> Self {
        Self { timeout: Duration::from_mins(5), memory_bytes: 768 << 20, size_bytes: 4 << 30 }
    }
}

/// How the child is started.
#[derive(Clone, Debug)]
pub struct Fetcher {
    program: PathBuf,
    environment: Vec<(String, String)>,
    limits: FetchLimits,
}

impl Fetcher {
    /// The hidden subcommand that has to end in [`child_main`].
    pub const SUBCOMMAND: &str = "git-fetch";

    /// What of the environment reaches the child: where certificates and proxies are.
    const KEPT_ENVIRONMENT: [&str; 10] = [
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "HTTPS_PROXY",
        "https_proxy",
        "HTTP_PROXY",
        "http_proxy",
        "ALL_PROXY",
        "all_proxy",
        "NO_PROXY",
        "no_proxy",
    ];

    /// `program` (usually `/proc/self/exe`) is started as `program git-fetch`; of `environment` only certificates and
    /// proxies are kept.
    pub fn new(
        program: impl Into<PathBuf>,
        environment: impl IntoIterator<Item = (String, String)>,
        limits: FetchLimits,
    ) -> Self {
        let kept = environment.into_iter().filter(|(name, _)| Self::KEPT_ENVIRONMENT.contains(&name.as_str()));
        Self { program: program.into(), environment: kept.collect(), limits }
    }

    pub(super) async fn run(
        &self,
        url: &RepositoryUrl,
        directory: &Path,
        request: &FetchRequest,
        anew: bool,
    ) -> Result<FetchOutcome, FetchError> {
        let job = Job::new(url, directory, request, anew, self.limits);
        self.ask(&job).await.and_then(|answer| answer).map_err(|failure| FetchError {
            url: url.clone(),
            kind: failure.kind,
            reason: request.access.connection.scrub(&request.access.credentials.scrub(&failure.reason)),
        })
    }

    async fn ask(&self, job: &Job) -> Result<Answer, Failure> {
        let input = serde_json::to_vec(job).map_err(|error| other(&error))?;
        let output = process::run(self.invocation(input, job)).await.map_err(|error| self.ended(&error))?;
        serde_json::from_slice(&output.stdout).map_err(|error| other(&error))
    }

    fn invocation(&self, input: Vec<u8>, job: &Job) -> Invocation {
        let home = store::home(job.directory());
        let nowhere = [("XDG_CONFIG_HOME", "/nonexistent"), ("GIT_CONFIG_NOSYSTEM", "1")];
        let nowhere = nowhere.iter().map(|(name, value)| (name.into(), value.into()));
        let mut environment: Vec<(OsString, OsString)> =
            nowhere.chain([("HOME".into(), home.clone().into())]).collect();
        let kept = self.environment.iter().map(|(name, value)| (name.into(), value.into()));
        environment.extend(kept);
        if job.authorities().is_some() {
            // The child writes it before OpenSSL reads it. The later of two variables of a name counts.
            environment.push(("SSL_CERT_FILE".into(), store::authorities(job.directory()).into()));
            environment.push(("SSL_CERT_DIR".into(), home.into()));
        }
        Invocation {
            program: self.program.clone(),
            arguments: vec![Self::SUBCOMMAND.into()],
            environment,
            folder: "/".into(),
            stdin: Some(input),
            limits: Limits {
                time: self.limits.timeout,
                cpu_seconds: 2 * self.limits.timeout.as_secs().max(1),
                memory: self.limits.memory_bytes,
                file_size: self.limits.size_bytes,
                ..Limits::default()
            },
        }
    }

    /// A child that could not answer any more.
    fn ended(&self, error: &ProcessError) -> Failure {
        let ProcessError::Failed { status, stderr_tail, .. } = error else {
            return match error {
                ProcessError::TimedOut { limit, .. } => {
                    Failure::new(FetchErrorKind::TimedOut, format!("no end after {} s", limit.as_secs_f32()))
                }
                _ => other(error),
            };
        };
        tracing::debug!(%status, stderr_tail, "a fetch did not answer");
        let too_large = |reason| Failure::new(FetchErrorKind::TooLarge, reason);
        match status.signal().and_then(Signal::from_named_raw) {
            // libgit2 reports it; Rust gives up.
            Some(Signal::ABORT) if stderr_tail.contains(ALLOCATION_FAILED) => {
                too_large(format!("the fetch needs more than {} MiB of memory", self.limits.memory_bytes >> 20))
            }
            Some(Signal::KILL) => Failure::new(
                FetchErrorKind::Other,
                "the fetch was killed (SIGKILL), as by a system or container that is out of memory",
            ),
            Some(Signal::XFSZ) => too_large(format!("the repository needs more than {} bytes", self.limits.size_bytes)),
            Some(Signal::XCPU) => Failure::new(FetchErrorKind::TimedOut, "it used up its CPU seconds"),
            _ => Failure::new(FetchErrorKind::Other, format!("the fetch ended with {status}")),
        }
    }
}

fn other(error: &dyn std::error::Error) -> Failure {
    Failure::new(FetchErrorKind::Other, format!("the fetch could not be run: {error}"))
}

/// The whole of the process `gitmoor-agent git-fetch`: one [`Fetcher`]'s request on stdin, its answer on stdout.
///
/// Ends the process that it runs in at the deadline, or when the parent is gone.
pub fn child_main() -> ExitCode {
    let answer = read_job().and_then(|job| {
        let timeout = job.limits().timeout;
        thread::Builder::new().spawn(move || end_in_time(timeout)).map_err(|error| other(&error))?;
        job.run()
    });
    let written = serde_json::to_vec(&answer).map_err(io::Error::from).and_then(|text| io::stdout().write_all(&text));
    if written.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn read_job() -> Result<Job, Failure> {
    let mut text = Vec::new();
    io::stdin().read_to_end(&mut text).map_err(|error| other(&error))?;
    let text = Sensitive::new(text);
    serde_json::from_slice(text.expose()).map_err(|error| other(&error))
}

/// A child whose agent was killed must not hold the mirror's lock, and nobody else would end it.
fn end_in_time(timeout: Duration) {
    let (start, parent) = (Instant::now(), getppid());
    while start.elapsed() < timeout + Duration::from_secs(1) && getppid() == parent {
        thread::sleep(Duration::from_millis(200));
    }
    // Not exit(): that would run handlers below a thread that is inside libgit2.
    let _ = kill_process(getpid(), Signal::KILL);
}

#[cfg(test)]
mod tests {
    use std::process::ExitStatus;

    use super::*;

    #[test]
    fn a_child_that_crashed_is_not_told_to_have_needed_memory() {
        use FetchErrorKind as Kind;
        let fetcher = Fetcher::new("/proc/self/exe", [], FetchLimits::default());
        let no_memory = "memory allocation of 805306368 bytes failed\n";
        for (signal, stderr, kind, says) in [
            (Signal::ABORT, no_memory, Kind::TooLarge, "more than 768 MiB of memory"),
            (Signal::ABORT, "", Kind::Other, "SIGABRT"),
            (Signal::SEGV, "", Kind::Other, "SIGSEGV"),
            (Signal::BUS, no_memory, Kind::Other, "SIGBUS"),
            (Signal::KILL, "", Kind::Other, "SIGKILL"),
            (Signal::XFSZ, "", Kind::TooLarge, "bytes"),
            (Signal::XCPU, "", Kind::TimedOut, "CPU"),
        ] {
            let status = ExitStatus::from_raw(signal.as_raw());
            let error = ProcessError::Failed { program: String::new(), status, stderr_tail: stderr.to_owned() };
            let failure = fetcher.ended(&error);
            assert!(failure.kind == kind && failure.reason.contains(says), "{signal:?}: {failure:?}");
            assert_eq!(failure.reason.contains("MiB"), kind == Kind::TooLarge && signal == Signal::ABORT);
        }
    }
}
