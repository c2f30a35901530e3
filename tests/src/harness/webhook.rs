//! The webhook of a Git server: tells an agent that a repository has changed.

use serde_json::json;

use super::agent::{Agent, Builder};
use super::http;
use super::scratch::Scratch;

/// What the server and the agent both know.
const SECRET: &str = "canary-of-the-webhook";

/// A webhook that an agent believes.
#[derive(Debug)]
pub struct Webhook {
    scratch: Scratch,
    secret: String,
}

impl Default for Webhook {
    fn default() -> Self {
        let scratch = Scratch::new("webhook");
        scratch.write("secret", SECRET);
        Self { scratch, secret: SECRET.to_owned() }
    }
}

impl Webhook {
    /// Makes an agent believe it.
    pub fn known_to(&self, agent: Builder) -> Builder {
        agent.arg(format!("--webhook-secret-file={}", self.scratch.path().join("secret").display()))
    }

    /// Another secret, at the server and in the agent's file.
    pub fn rotate(&mut self, secret: &str) {
        secret.clone_into(&mut self.secret);
        self.scratch.write("secret", secret);
    }

    /// Reports a push to the repository at `url`, as GitLab does; an error says how the agent refused.
    pub async fn report(&self, agent: &Agent, url: &str) -> Result<(), String> {
        self.report_at(&agent.url(), url).await
    }

    /// The same to an address of the agent's.
    pub async fn report_at(&self, agent: &str, url: &str) -> Result<(), String> {
        let body = json!({"object_kind": "push", "project": {"git_http_url": url}}).to_string();
        let headers = [("Content-Type", "application/json"), ("X-Gitlab-Token", self.secret.as_str())];
        let answer = http::send("POST", &format!("{agent}/webhook"), &headers, &body).await?;
        if answer.status == 202 { Ok(()) } else { Err(format!("{} {}", answer.status, answer.body.trim())) }
    }
}
