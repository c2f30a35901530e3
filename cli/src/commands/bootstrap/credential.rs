//! The repository's credentials, as a Secret in Argo CD's form.

use std::io::Read as _;

use aws_lc_rs::{
    rand,
    signature::{Ed25519KeyPair, KeyPair as _},
};
use gitmoor_core::{
    builtin, names::LABEL_SECRET_TYPE, object::text_at, repository_address::comparable, sensitive::Sensitive,
};
use gitmoor_engine::{
    cluster::{Cluster, ClusterError, Selection},
    git::{RepositoryUrl, UrlPolicy},
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use ssh_key::{
    LineEnding, PrivateKey,
    private::{Ed25519Keypair, Ed25519PrivateKey, KeypairData},
    public::Ed25519PublicKey,
};

use super::arguments::Credential;
use crate::failure::{Exit, Failure};

/// Name of the Secret for the repository of the root Application. Those of others have more behind it.
const NAME: &str = "repository";
/// What the agent knows a Secret for one repository by, and one for all below an address.
const LABEL: &str = "repository";
const TEMPLATE: &str = "repo-creds";
/// Longest token or key.
const LARGEST: u64 = 64 << 10;

/// What opens the repository.
pub(super) enum Given {
    /// A name and a token.
    Token { username: String, token: Sensitive<String> },
    /// A key that is made when there is none yet.
    SshKey,
    /// A GitHub App.
    App { id: u64, installation: Option<u64>, key: Sensitive<String> },
}

impl Given {
    /// In a word, and the key of the Secret that only this kind has.
    fn kind(&self) -> (&'static str, &'static str) {
        match self {
            Self::Token { .. } => KINDS[0],
            Self::SshKey => KINDS[1],
            Self::App { .. } => KINDS[2],
        }
    }

    /// Whether it can open an address at all.
    pub(super) fn fits(&self, url: &str) -> Result<(), Failure> {
        match (self, ssh_address(url)) {
            (Self::SshKey, Some(ssh)) => Err(Failure::new(Exit::Usage, format!("an SSH key does not open {url}"))
                .hint(format!("name the address by ssh, here and as git_repo.url in setup.conf: --repository {ssh}"))),
            _ => Ok(()),
        }
    }

    /// Whether it may take the place of what is there.
    pub(super) fn may_replace(&self, live: &Value, url: &str) -> Result<(), Failure> {
        let (kind, _) = self.kind();
        let present = KINDS.iter().find(|(_, key)| live["data"][*key].as_str().is_some_and(|value| !value.is_empty()));
        let its_url = field(live, "url");
        let shown = its_url.as_deref().map_or_else(|| "another address".to_owned(), shown);
        let why = match (label(live), present) {
            (Some(TEMPLATE), _) => format!("opens all repositories below {shown}, and would open {url} alone"),
            (None, _) => format!("is no credential of a repository: it has no label {LABEL_SECRET_TYPE}"),
            _ if !is_of(live, url) => format!("has the credentials of {shown}, which {url} would replace"),
            (_, Some((other, _))) if *other != kind => format!("holds {other}, which {kind} would replace"),
            _ => return Ok(()),
        };
        Err(Failure::new(Exit::Refused, format!("{} {why}", super::id(live)))
            .hint("if that is meant: --replace-credential"))
    }
}

/// Each kind of credential, and its key in the Secret.
const KINDS: [(&str, &str); 3] =
    [("a token", "password"), ("an SSH key", "sshPrivateKey"), ("a GitHub App", "githubAppPrivateKey")];

/// The same repository by ssh, for an address by http.
fn ssh_address(url: &str) -> Option<String> {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"))?;
    let (authority, path) = rest.split_once('/')?;
    let host = authority.rsplit('@').next().unwrap_or(authority);
    match host.split_once(':') {
        // Whatever its port for ssh is, it is another one.
        Some((host, _)) => Some(format!("ssh://git@{host}/{path}")),
        None => Some(format!("git@{host}:{path}")),
    }
}

/// The Secret that has the credentials of a repository already, as the agent finds it, or else the one to make, and what
/// is there by its name.
pub(super) async fn find(
    cluster: &Cluster,
    namespace: &str,
    repository: &str,
    root: &str,
) -> Result<(String, Option<Value>), ClusterError> {
    let kind = builtin::secrets();
    let labels = Some(format!("{LABEL_SECRET_TYPE}={LABEL}"));
    let mut all = cluster.select(&kind, Some(namespace), &Selection { labels, ..Selection::default() }).await?;
    let name_of = |secret: &Value| text_at(secret, &["metadata", "name"]).unwrap_or_default().to_owned();
    // Of several the agent takes the first.
    all.sort_by_key(name_of);
    if let Some(live) = all.into_iter().find(|secret| is_of(secret, repository)) {
        return Ok((name_of(&live), Some(live)));
    }
    let name = name(repository, root);
    let live = cluster.get(&kind, Some(namespace), &name).await?;
    Ok((name, live))
}

/// Whether a Secret has the credentials of this very repository.
pub(super) fn is_of(secret: &Value, repository: &str) -> bool {
    label(secret) == Some(LABEL) && field(secret, "url").is_some_and(|url| comparable(&url) == comparable(repository))
}

fn label(secret: &Value) -> Option<&str> {
    text_at(secret, &["metadata", "labels", LABEL_SECRET_TYPE])
}

fn field(secret: &Value, key: &str) -> Option<String> {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    String::from_utf8(STANDARD.decode(text_at(secret, &["data", key])?).ok()?).ok()
}

/// An address without the credentials that may stand in it.
fn shown(url: &str) -> String {
    let policy = UrlPolicy { allow_local: true, allow_plain_http: true };
    RepositoryUrl::parse(url, &policy).map_or_else(|_| without_user(url), |url| url.to_string())
}

/// The same of what is no address of a repository, such as that of a server.
fn without_user(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").map_or(("", url), |(scheme, rest)| (scheme, rest));
    let rest = rest.rsplit('@').next().unwrap_or(rest);
    if scheme.is_empty() { rest.to_owned() } else { format!("{scheme}://{rest}") }
}

/// Name of the Secret: that of another repository must not take the place of the root Application's.
fn name(repository: &str, root: &str) -> String {
    let repository = comparable(repository);
    if repository == comparable(root) {
        return NAME.to_owned();
    }
    let digest = Sha256::digest(repository);
    let digest: String = digest[..4].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{NAME}-{digest}")
}

impl Credential {
    /// What was given; `None` when the agent keeps what it has.
    pub(super) fn given(&self) -> Result<Option<Given>, Failure> {
        let token = |token: String| {
            let token = token.trim().to_owned();
            if token.is_empty() {
                return Err(Failure::new(Exit::Usage, "the token is empty"));
            }
            Ok(Some(Given::Token { username: self.username.clone(), token: Sensitive::new(token) }))
        };
        if let Some(name) = &self.token_env {
            let value = crate::settings::variable(name);
            return token(value.ok_or_else(|| Failure::new(Exit::Usage, format!("the variable {name} is not set")))?);
        }
        if self.token_stdin {
            let mut text = String::new();
            let read = std::io::stdin().take(LARGEST).read_to_string(&mut text);
            read.map_err(|error| Failure::io("cannot read the token from standard input", &error))?;
            return token(text);
        }
        if let (Some(id), Some(file)) = (self.github_app_id, &self.github_app_private_key) {
            let key = std::fs::read_to_string(file)
                .map_err(|error| Failure::io(format!("cannot read {}", file.display()), &error))?;
            if !key.contains("PRIVATE KEY-----") {
                return Err(Failure::new(Exit::Rejected, format!("{} holds no private key in PEM", file.display())));
            }
            return Ok(Some(Given::App {
                id,
                installation: self.github_app_installation_id,
                key: Sensitive::new(key),
            }));
        }
        Ok(self.ssh_key.then_some(Given::SshKey))
    }
}

/// The Secret, and for a key that was made now its public part.
pub(super) fn secret(
    given: &Given,
    url: &str,
    (namespace, name): (&str, &str),
) -> Result<(Value, Option<String>), Failure> {
    let (mut data, mut public) = (json!({"type": "git", "url": url}), None);
    match given {
        Given::Token { username, token } => {
            data["username"] = json!(username);
            data["password"] = json!(token.expose());
        }
        Given::SshKey => {
            let (private, shown) = ssh_key(url)?;
            data["sshPrivateKey"] = json!(private.expose());
            public = Some(shown);
        }
        Given::App { id, installation, key } => {
            data["githubAppID"] = json!(id.to_string());
            if let Some(installation) = installation {
                data["githubAppInstallationID"] = json!(installation.to_string());
            }
            data["githubAppPrivateKey"] = json!(key.expose());
        }
    }
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace, "labels": {LABEL_SECRET_TYPE: LABEL}},
        "type": "Opaque",
        "data": encoded(&data),
    });
    Ok((secret, public))
}

/// Values in base64, as they are stored: `stringData` would be owned apart from `data`.
fn encoded(data: &Value) -> Value {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let all = data.as_object().into_iter().flatten();
    all.map(|(key, value)| (key.clone(), json!(STANDARD.encode(value.as_str().unwrap_or_default())))).collect()
}

/// A new Ed25519 key: the private part as OpenSSH keeps it, and the line for the Git server.
fn ssh_key(url: &str) -> Result<(Sensitive<String>, String), Failure> {
    let failed = |what: &str| Failure::new(Exit::Io, format!("cannot make an SSH key: {what}"));
    let mut seed = zeroize::Zeroizing::new([0_u8; 32]);
    rand::fill(seed.as_mut()).map_err(|_| failed("there is no randomness"))?;
    let pair = Ed25519KeyPair::from_seed_unchecked(seed.as_ref()).map_err(|_| failed("the key is refused"))?;
    let public: [u8; 32] = pair.public_key().as_ref().try_into().map_err(|_| failed("it has another length"))?;
    let keys = Ed25519Keypair { public: Ed25519PublicKey(public), private: Ed25519PrivateKey::from_bytes(&seed) };
    let host = url.split("://").last().unwrap_or(url);
    let comment = format!("gitmoor {host}");
    let key = PrivateKey::new(KeypairData::Ed25519(keys), comment).map_err(|error| failed(&error.to_string()))?;
    let private = key.to_openssh(LineEnding::LF).map_err(|error| failed(&error.to_string()))?;
    let public = key.public_key().to_openssh().map_err(|error| failed(&error.to_string()))?;
    Ok((Sensitive::new(private.to_string()), public))
}

/// The public part of a key that is there already.
pub(super) fn public_part(secret: &Value) -> Option<String> {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let text = secret["data"]["sshPrivateKey"].as_str()?;
    let private = zeroize::Zeroizing::new(STANDARD.decode(text).ok()?);
    PrivateKey::from_openssh(private.as_slice()).ok()?.public_key().to_openssh().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_new_each_time_and_its_public_part_is_found_again() {
        let (one, public) = secret(&Given::SshKey, "git@host:team/x.git", ("gitmoor", NAME)).unwrap();
        let (_, other) = secret(&Given::SshKey, "git@host:team/x.git", ("gitmoor", NAME)).unwrap();
        assert_ne!(public, other);
        assert!(public.as_ref().unwrap().starts_with("ssh-ed25519 AAAA"), "{public:?}");
        assert_eq!(public_part(&one), public);
        assert_eq!(one["metadata"]["labels"][LABEL_SECRET_TYPE], "repository");
    }

    #[test]
    fn a_github_app_has_argo_cds_fields() {
        let given = Given::App { id: 7, installation: None, key: Sensitive::new("k".to_owned()) };
        let (secret, _) = secret(&given, "https://github.com/team/x", ("gitmoor", NAME)).unwrap();
        let keys: Vec<&String> = secret["data"].as_object().unwrap().keys().collect();
        assert_eq!(keys, ["githubAppID", "githubAppPrivateKey", "type", "url"]);
        assert_eq!(secret["data"]["githubAppID"], "Nw==");
    }

    #[test]
    fn a_credential_replaces_only_its_own_kind_and_opens_only_its_own_addresses() {
        let token = Given::Token { username: "git".to_owned(), token: Sensitive::new("t".to_owned()) };
        let (live, _) = secret(&token, "https://git.example/x", ("gitmoor", NAME)).unwrap();
        token.may_replace(&live, "https://Git.example/x.git").unwrap();
        assert_eq!(Given::SshKey.may_replace(&live, "https://git.example/x").unwrap_err().exit, Exit::Refused);
        let (mut all, _) = secret(&token, "https://me:hidden@git.example/team", ("gitmoor", NAME)).unwrap();
        let refused = |live: &Value| token.may_replace(live, "https://git.example/team").unwrap_err().message;
        assert!(token.may_replace(&all, "https://git.example/team").is_err(), "with credentials in it");
        all["metadata"]["labels"][LABEL_SECRET_TYPE] = json!(TEMPLATE);
        let said = refused(&all);
        assert!(said.contains("all repositories below https://git.example/team,"), "{said}");
        assert_eq!(shown("https://me:hidden@git.example/"), "https://git.example/");
        all["metadata"]["labels"] = Value::Null;
        assert!(refused(&all).contains("no label"));
        let other = token.may_replace(&live, "https://git.example/y").unwrap_err();
        assert!(other.message.contains("the credentials of https://git.example/x, which"), "{other:?}");
        for (url, ssh) in [
            ("https://github.com/team/x.git", "--repository git@github.com:team/x.git"),
            ("https://me@git.example:8443/team/x", "--repository ssh://git@git.example/team/x"),
        ] {
            let failure = Given::SshKey.fits(url).unwrap_err();
            assert!(failure.hints[0].ends_with(ssh), "{failure:?}");
            token.fits(url).unwrap();
        }
        Given::SshKey.fits("git@github.com:team/x.git").unwrap();
        assert_eq!(name("https://git.example/x.git", "https://git.example/X/"), "repository");
        assert_ne!(name("b", "a"), name("c", "a"));
    }
}
