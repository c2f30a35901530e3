//! Users of a control plane, each with a kubeconfig.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};

use crate::StartError;
use crate::certificates::Certified;

/// Where a control plane is, and how to know that it is the right one.
#[derive(Clone, Debug)]
pub struct Server {
    /// `https://127.0.0.1:PORT`
    pub url: String,
    /// The certificate of its authority as PEM.
    pub authority: String,
}

/// A user of a control plane: a kubeconfig file, and clients that use it.
#[derive(Clone, Debug)]
pub struct Identity {
    user: String,
    path: PathBuf,
    document: Value,
}

impl Identity {
    /// A user who proves who it is with a certificate.
    pub fn with_certificate(
        server: &Server,
        user: &str,
        certified: &Certified,
        folder: &Path,
    ) -> Result<Self, StartError> {
        let credentials = json!({
            "client-certificate-data": STANDARD.encode(&certified.certificate),
            "client-key-data": STANDARD.encode(&certified.key),
        });
        Self::write(server, user, &credentials, folder)
    }

    /// A user who proves who it is with a token.
    pub fn with_token(server: &Server, user: &str, token: &str, folder: &Path) -> Result<Self, StartError> {
        Self::write(server, user, &json!({ "token": token }), folder)
    }

    fn write(server: &Server, user: &str, credentials: &Value, folder: &Path) -> Result<Self, StartError> {
        let document = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{ "name": "test", "cluster": {
                "server": server.url,
                "certificate-authority-data": STANDARD.encode(&server.authority),
            }}],
            "users": [{ "name": user, "user": credentials }],
            "contexts": [{ "name": "test", "context": { "cluster": "test", "user": user } }],
            "current-context": "test",
        });
        let path = folder.join(format!("{}.kubeconfig", user.replace([':', '/'], "-")));
        // JSON is YAML.
        let written = std::fs::write(&path, format!("{document:#}\n"));
        written.map_err(StartError::io(format!("cannot write {}", path.display())))?;
        Ok(Self { user: user.to_owned(), path, document })
    }

    /// The name of the user, as the audit log has it.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The kubeconfig file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A new client that acts as this user. It belongs to the running tokio
    /// runtime, so each test makes its own.
    pub async fn client(&self) -> Result<kube::Client, StartError> {
        let unusable = |error: &dyn std::error::Error| StartError::Client(error.to_string());
        let kubeconfig: Kubeconfig = serde_json::from_value(self.document.clone()).map_err(|e| unusable(&e))?;
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
        kube::Client::try_from(config.map_err(|e| unusable(&e))?).map_err(|e| unusable(&e))
    }
}
