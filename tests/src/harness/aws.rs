//! The AWS API, emulated: Secrets Manager, SSM, STS, IAM and more.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::http;
use super::ports::free_port;
use super::scratch::Scratch;
use super::supervised::{self, Supervised};
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
            let mut server = supervised::spawn(&moto_server(), &scratch.path().join("moto.log"), |command| {
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

    /// Calls an operation of Secrets Manager, such as `CreateSecret`.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn secrets_manager(&self, operation: &str, arguments: &Value) -> Value {
        self.call("secretsmanager", &format!("secretsmanager.{operation}"), arguments).await
    }

    /// Calls an operation of Systems Manager, such as `PutParameter`.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn ssm(&self, operation: &str, arguments: &Value) -> Value {
        self.call("ssm", &format!("AmazonSSM.{operation}"), arguments).await
    }

    async fn call(&self, service: &str, target: &str, arguments: &Value) -> Value {
        let scope = format!("Credential=test/20260101/eu-central-1/{service}/aws4_request");
        let authorization = format!("AWS4-HMAC-SHA256 {scope}, SignedHeaders=host, Signature=0");
        let headers = [
            ("X-Amz-Target", target),
            ("Authorization", &authorization),
            ("Content-Type", "application/x-amz-json-1.1"),
        ];
        let answer = http::send("POST", &format!("{}/", self.endpoint()), &headers, &arguments.to_string()).await;
        let answer = answer.unwrap_or_else(|error| panic!("{target}: {error}"));
        assert_eq!(answer.status, 200, "{target}: {}", answer.body);
        serde_json::from_str(&answer.body).unwrap_or_default()
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
