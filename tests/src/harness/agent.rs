//! The real `gitmoor-agent`, as a process of its own.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::OnceLock;
use std::time::Duration;

use rustix::process::Signal;

use super::identity::Identity;
use super::ports::free_port;
use super::scratch::Scratch;
use super::supervised::Supervised;
use super::tools;

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

    /// Starts it. Its environment holds `KUBECONFIG`, a home, a temporary
    /// folder, a PATH with the tools alone, and what [`Self::env`] added.
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
        Builder { kubeconfig: identity.path().to_owned(), arguments: Vec::new(), environment: Vec::new() }
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
    let temporary = scratch.folder("tmp");
    Supervised::spawn(&program("gitmoor-agent"), &scratch.path().join("agent.log"), |command| {
        command
            .env("PATH", tools::folder())
            .env("HOME", scratch.folder("home"))
            .env("TMPDIR", temporary)
            .env("KUBECONFIG", &start.kubeconfig)
            .envs(start.environment.iter().cloned())
            .arg(format!("--http-listen=127.0.0.1:{port}"))
            .arg(format!("--data-dir={}", data.display()))
            .args(&start.arguments);
    })
}

/// The path of one of the workspace's programs, up to date and of the same
/// profile as the running one.
///
/// # Panics
/// When it does not compile.
pub fn program(name: &str) -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(build_programs).join(name)
}

/// Cargo builds the programs of other packages for no test: this does, once in
/// a process. All of the workspace, so that dependencies have the features
/// that they have in `cargo test --workspace` and are not compiled twice.
fn build_programs() -> PathBuf {
    let own = env::current_exe().expect("a running program has a path");
    let mut folder = own.parent().expect("a program lies in a folder");
    if folder.ends_with("deps") {
        folder = folder.parent().expect("`deps` lies in a folder");
    }
    let name = folder.file_name().and_then(|name| name.to_str()).expect("a profile has a name in UTF-8");
    let profile = if name == "debug" { "dev" } else { name };
    let output = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .current_dir(tools::workspace())
        .args(["build", "--quiet", "--workspace", "--bins", "--profile", profile, "--target-dir"])
        .arg(folder.parent().expect("a profile lies in the target folder"))
        .output()
        .expect("cargo starts");
    assert!(output.status.success(), "the programs do not compile:\n{}", String::from_utf8_lossy(&output.stderr));
    folder.to_owned()
}
