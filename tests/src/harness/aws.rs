//! The AWS API, emulated: Secrets Manager, SSM, STS, IAM and more.

use std::time::{Duration, Instant};

use super::http;
use super::ports::free_port;
use super::scratch::Scratch;
use super::supervised::Supervised;
use super::tools::moto_server;

/// How long it may take to become ready on a busy machine.
const READY: Duration = Duration::from_mins(1);
/// How often it is tried with another port when another process was faster to take one.
const ATTEMPTS: usize = 5;

/// A running emulator. Dropping it kills it and forgets what it holds.
#[derive(Debug)]
pub struct Aws {
    // Only held: it runs as long as this value.
    _server: Supervised,
    port: u16,
    _scratch: Scratch,
}

impl Aws {
    /// Starts it and waits until it answers.
    ///
    /// # Panics
    /// When it does not, with what it said last.
    pub async fn start() -> Self {
        let scratch = Scratch::new("aws");
        for _ in 0..ATTEMPTS {
            let port = free_port();
            let mut server = Supervised::spawn(&moto_server(), &scratch.path().join("moto.log"), |command| {
                command.env("HOME", scratch.path()).env("PATH", "/usr/bin:/bin");
                command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
            });
            let started = Instant::now();
            while server.exited().is_none() {
                if answers(port).await {
                    return Self { _server: server, port, _scratch: scratch };
                }
                assert!(started.elapsed() < READY, "moto does not answer after {READY:?}:\n{}", server.tail(20));
                tokio::time::sleep(Duration::from_millis(25)).await;
            }
            let said = server.tail(20);
            assert!(said.contains("in use"), "moto does not start:\n{said}");
        }
        panic!("moto found no free port in {ATTEMPTS} attempts")
    }

    /// `http://127.0.0.1:PORT`
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What a program needs in its environment to use it.
    pub fn environment(&self) -> [(&'static str, String); 5] {
        [
            ("AWS_ENDPOINT_URL", self.endpoint()),
            ("AWS_REGION", "eu-central-1".to_owned()),
            ("AWS_ACCESS_KEY_ID", "test".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
            // No question to the instance metadata service, which is not there.
            ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
        ]
    }
}

async fn answers(port: u16) -> bool {
    http::get(&format!("http://127.0.0.1:{port}/moto-api/data.json")).await.is_ok_and(|answer| answer.status == 200)
}
