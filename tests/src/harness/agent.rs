//! The real `gitmoor-agent`, as a process of its own.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::http;
use super::identity::Identity;
use super::ports::free_port;
pub use super::program::program;
use super::scratch::Scratch;
use super::supervised::{self, Supervised};
use super::tools;
use super::usage::Usage;

/// How an agent is started.
#[derive(Clone, Debug)]
pub struct Builder {
    kubeconfig: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(String, OsString)>,
}

impl Builder {
    /// With one more argument.
    pub fn arg(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// With more arguments.
    pub fn args<I: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = I>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// With one more environment variable.
    pub fn env(mut self, name: impl Into<String>, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Starts it. Its environment holds `KUBECONFIG`, the path of
    /// kustomize, a home, a temporary folder, a PATH with the tools alone, and
    /// what [`Self::env`] added.
    pub fn start(self) -> Agent {
        let scratch = Scratch::new("agent");
        let port = free_port();
        let process = spawn(&self, &scratch, port);
        Agent { process, start: self, port, scratch }
    }
}

/// A running agent. Dropping it kills it.
#[derive(Debug)]
pub struct Agent {
    process: Supervised,
    start: Builder,
    port: u16,
    // Last: goes when nothing writes to it any more.
    scratch: Scratch,
}

impl Agent {
    /// An agent that acts as `identity`.
    pub fn builder(identity: &Identity) -> Builder {
        Self::builder_with_kubeconfig(identity.path())
    }

    /// An agent that acts as whom a kubeconfig file says.
    pub fn builder_with_kubeconfig(kubeconfig: &Path) -> Builder {
        Builder { kubeconfig: kubeconfig.to_owned(), arguments: Vec::new(), environment: Vec::new() }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// `http://127.0.0.1:PORT` of its health, metrics and webhooks.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The folder of its data.
    pub fn data(&self) -> PathBuf {
        self.scratch.path().join("data")
    }

    /// Its output, of all its runs.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// The file that holds its output.
    pub fn log_path(&self) -> &Path {
        self.process.log()
    }

    /// Whether it runs.
    pub fn is_running(&mut self) -> bool {
        self.process.exited().is_none()
    }

    /// Waits until `/readyz` says so.
    ///
    /// # Panics
    /// When it ends or `timeout` is over first, with the end of its log.
    pub async fn await_ready(&mut self, timeout: Duration) {
        let url = format!("{}/readyz", self.url());
        let started = Instant::now();
        loop {
            supervised::assert_running(&mut self.process);
            let answer = http::get(&url).await;
            if answer.as_ref().is_ok_and(|answer| answer.status == 200) {
                return;
            }
            assert!(started.elapsed() < timeout, "not ready in {timeout:?}: {answer:?}\n{}", self.process.tail(40));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// What it has cost so far.
    pub fn usage(&self) -> Usage {
        Usage::of(self.pid()).unwrap_or_default()
    }

    /// Kills it and its children with SIGKILL, and waits for it.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Asks it to stop with SIGTERM and waits; gives how it ended.
    ///
    /// # Panics
    /// When it still runs after `timeout`.
    pub async fn terminate(&mut self, timeout: Duration) -> ExitStatus {
        self.process.signal(Signal::TERM);
        let Some(status) = self.process.wait(timeout).await else {
            panic!("the agent still runs {timeout:?} after SIGTERM:\n{}", self.process.tail(40));
        };
        status
    }

    /// Sends a signal to it alone, such as `STOP` and `CONT`.
    pub fn signal(&mut self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Starts it again with the same data, killing it first when it runs.
    pub fn restart(&mut self) {
        self.process.kill();
        self.process = spawn(&self.start, &self.scratch, self.port);
    }
}

fn spawn(start: &Builder, scratch: &Scratch, port: u16) -> Supervised {
    let data = scratch.folder("data");
    let renders = scratch.folder("renders");
    let temporary = scratch.folder("tmp");
    supervised::spawn(&program("gitmoor-agent"), &scratch.path().join("agent.log"), |command| {
        command
            .env("PATH", tools::folder())
            .env("HOME", scratch.folder("home"))
            .env("TMPDIR", temporary)
            .env("KUBECONFIG", &start.kubeconfig)
            .env("GITMOOR_KUSTOMIZE", tools::tool("kustomize"))
            .env("GITMOOR_HELM", tools::tool("helm"))
            .envs(start.environment.iter().cloned())
            .arg(format!("--http-listen=127.0.0.1:{port}"))
            .arg(format!("--data-dir={}", data.display()))
            .arg(format!("--scratch-dir={}", renders.display()))
            .args(&start.arguments);
    })
}
