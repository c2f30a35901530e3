//! What a Secret in Argo CD's form says of repositories.
//!
//! The fields are those of Argo CD's `util/db/repository_secrets.go`.

use base64::Engine as _;
use gitmoor_core::names::LABEL_SECRET_TYPE;
use gitmoor_core::object::text_at;
use gitmoor_core::sensitive::Sensitive;
use gitmoor_engine::access::{ClientCertificate, Credentials, GitHubApp, Proxy};
use gitmoor_engine::aws::EcrRegistry;
use serde_json::Value;

/// Ways to authenticate that there are in Argo CD and not here.
const UNSUPPORTED_WAYS: [&str; 3] =
    ["gcpServiceAccountKey", "useAzureWorkloadIdentity", "azureServicePrincipalClientSecret"];
/// What else has an effect in Argo CD and none here.
const WITHOUT_EFFECT: [&str; 3] = ["enableLfs", "project", "insecureOCIForceHttp"];

/// One Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Name of the Secret.
    pub name: String,
    /// Type `repo-creds`: for every repository below the address.
    pub template: bool,
    /// The address, as written.
    pub url: String,
    /// What opens it.
    pub way: Way,
    /// Certificates and host keys are not checked.
    pub insecure: bool,
    /// Shown to the server.
    pub client: Option<ClientCertificate>,
    /// In place of the environment's.
    pub proxy: Option<Proxy>,
    /// Fields that are not supported.
    pub unsupported: Vec<&'static str>,
}

/// What opens a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// The Secret says nothing of it.
    Nothing,
    /// What stands in the Secret.
    Given(Credentials),
    /// A token that an App's key is exchanged for.
    GitHubApp(GitHubApp),
    /// A login that the agent's role is exchanged for.
    Ecr(EcrRegistry),
    /// By a field that is not supported.
    Unsupported(&'static str),
}

impl Entry {
    /// Reads a Secret; `None` without an address.
    pub(super) fn read(secret: &Value) -> Option<Self> {
        let field = |key: &str| text_at(secret, &["data", key]).and_then(decode).filter(|text| !text.is_empty());
        let flag = |key: &str| field(key).is_some_and(|text| text.eq_ignore_ascii_case("true"));
        let is_set = |key: &&'static str| field(key).is_some_and(|text| !text.eq_ignore_ascii_case("false"));
        let url = field("url")?;
        // In the order in which Argo CD chooses among them.
        let username = || field("username").unwrap_or_else(|| "git".to_owned());
        let way = if let Some(key) = field("sshPrivateKey") {
            Way::Given(Credentials::SshKey(Sensitive::new(key)))
        } else if let Some(password) = field("password") {
            Way::Given(Credentials::basic(username(), password))
        } else if let Some(token) = field("bearerToken") {
            Way::Given(Credentials::Bearer(Sensitive::new(token)))
        } else if let Some((id, key)) = field("githubAppID").zip(field("githubAppPrivateKey")) {
            let installation = field("githubAppInstallationID").filter(|id| id != "0");
            let api = field("githubAppEnterpriseBaseUrl");
            Way::GitHubApp(GitHubApp { id, installation, key: Sensitive::new(key), api })
        } else {
            UNSUPPORTED_WAYS.into_iter().find(is_set).map_or(Way::Nothing, Way::Unsupported)
        };
        let client = field("tlsClientCertData").zip(field("tlsClientCertKey"));
        let proxy =
            field("proxy").map(|url| Proxy { url: Sensitive::new(url), except: field("noProxy").unwrap_or_default() });
        Some(Self {
            client: client.map(|(certificate, key)| ClientCertificate { certificate, key: Sensitive::new(key) }),
            proxy,
            name: text_at(secret, &["metadata", "name"])?.to_owned(),
            template: text_at(secret, &["metadata", "labels", LABEL_SECRET_TYPE]) == Some("repo-creds"),
            url,
            way,
            insecure: flag("insecure") || flag("insecureIgnoreHostKey"),
            unsupported: UNSUPPORTED_WAYS.into_iter().chain(WITHOUT_EFFECT).filter(is_set).collect(),
        })
    }
}

fn decode(text: &str) -> Option<String> {
    let bytes = base64::engine::general_purpose::STANDARD.decode(text).ok()?;
    String::from_utf8(bytes).ok().map(|text| text.trim().to_owned())
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::{Map, json};

    use super::*;

    /// A Secret with these fields.
    pub(in crate::credentials) fn secret(name: &str, kind: &str, fields: &[(&str, &str)]) -> Value {
        let encode = |text: &str| json!(base64::engine::general_purpose::STANDARD.encode(text));
        let data: Map<_, _> = fields.iter().map(|(key, value)| ((*key).to_owned(), encode(value))).collect();
        json!({"metadata": {"name": name, "labels": {LABEL_SECRET_TYPE: kind}}, "data": data})
    }

    #[test]
    fn fields_mean_what_they_mean_to_argo_cd() {
        let read = |fields: &[(&str, &str)]| {
            let fields = [&[("url", "https://git.example/x"), ("type", "git"), ("name", "x")], fields].concat();
            Entry::read(&secret("a", "repository", &fields)).unwrap()
        };
        let hidden = |text: &str| Sensitive::new(text.to_owned());
        for (fields, way) in [
            (&[][..], Way::Nothing),
            (&[("username", "me")], Way::Nothing),
            (&[("password", "x")], Way::Given(Credentials::basic("git".into(), "x".into()))),
            (&[("bearerToken", "x")], Way::Given(Credentials::Bearer(hidden("x")))),
            (&[("sshPrivateKey", " key\n"), ("password", "x")], Way::Given(Credentials::SshKey(hidden("key")))),
            (&[("useAzureWorkloadIdentity", "true")], Way::Unsupported("useAzureWorkloadIdentity")),
            (&[("useAzureWorkloadIdentity", "false")], Way::Nothing),
        ] {
            assert_eq!(read(fields).way, way, "{fields:?}");
        }
        let app = read(&[("githubAppID", "7"), ("githubAppInstallationID", "0"), ("githubAppPrivateKey", "key")]).way;
        let Way::GitHubApp(app) = app else { panic!("{app:?}") };
        assert_eq!((app.id.as_str(), app.installation, app.api), ("7", None, None));
        assert!(read(&[("insecure", "true")]).insecure && read(&[("insecureIgnoreHostKey", "true")]).insecure);
        assert!(!read(&[("insecure", "false")]).insecure);
        let client = read(&[("tlsClientCertData", "cert"), ("tlsClientCertKey", "key")]).client.unwrap();
        assert_eq!((client.certificate.as_str(), client.key.expose().as_str()), ("cert", "key"));
        let proxy = read(&[("proxy", "http://proxy:3128"), ("noProxy", "a,b")]).proxy.unwrap();
        assert_eq!((proxy.url.expose().as_str(), proxy.except.as_str()), ("http://proxy:3128", "a,b"));
        assert_eq!(
            read(&[("enableLfs", "true"), ("project", "team"), ("password", "x")]).unsupported,
            ["enableLfs", "project"]
        );
        assert_eq!(Entry::read(&secret("a", "repository", &[("username", "me")])), None);
    }
}
