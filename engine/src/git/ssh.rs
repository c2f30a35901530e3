//! Fetching by ssh: the server's key is compared with those it is known by, and then it is shown the user's.

use std::cell::{Cell, RefCell};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use git2::cert::Cert;
use git2::{CertificateCheckStatus, Cred, CredentialType, ErrorClass, ErrorCode};
use gitmoor_core::known_hosts::{self, KnownHosts, Verdict};
use gitmoor_core::sensitive::Sensitive;

use super::FetchErrorKind;
use super::failure::Failure;
use super::ssh_address::SshAddress;
use super::ssh_key;
use super::tunnel::Tunnel;
use crate::access::{Access, Credentials};
use crate::reach::Hosts;

/// A server of ssh, for one fetch.
pub(super) struct Ssh {
    address: SshAddress,
    key: Option<Sensitive<String>>,
    /// `None`: whatever it shows is good.
    known: Option<KnownHosts>,
    tunnel: Tunnel,
    home: PathBuf,
    /// The key was shown.
    offered: Cell<bool>,
    trouble: RefCell<Option<Failure>>,
}

impl Ssh {
    /// Prepares the way to the server; `home` is the home folder of this process, if it may be written to.
    pub(super) fn start(
        address: SshAddress,
        access: &Access,
        hosts: Option<Hosts>,
        home: &Path,
    ) -> Result<Self, Failure> {
        let refused = |reason: &str| Failure::new(FetchErrorKind::RefusedCredentials, reason);
        let key = match &access.credentials {
            Credentials::SshKey(key) => Some(ssh_key::readable(key).map_err(refused)?),
            Credentials::None => None,
            Credentials::Basic { .. } | Credentials::Bearer(_) => {
                return Err(refused("its address is one by ssh, and its Secret has no sshPrivateKey"));
            }
        };
        let connection = &access.connection;
        let known = (!connection.insecure).then(|| connection.host_keys());
        let tunnel = Tunnel::start(address.authority(), hosts)?;
        let ssh = Self {
            address,
            key,
            known,
            tunnel,
            home: home.to_owned(),
            offered: Cell::default(),
            trouble: RefCell::default(),
        };
        ssh.prefer_known_kinds()?;
        Ok(ssh)
    }

    /// The address that is connected to in place of the server's.
    pub(super) fn url(&self) -> String {
        self.address.by_way_of(self.tunnel.port())
    }

    /// libgit2 asks a server for a key of the kinds that it finds in the `known_hosts` of its home folder; a server
    /// with several keys would show another one. What counts is [`Self::check`].
    fn prefer_known_kinds(&self) -> io::Result<()> {
        let Some(known) = &self.known else { return Ok(()) };
        let name = format!("[127.0.0.1]:{}", self.tunnel.port());
        let lines = known.keys(&self.address.host, self.address.port);
        let lines: String = lines.into_iter().map(|(kind, key)| format!("{name} {kind} {key}\n")).collect();
        let folder = self.home.join(".ssh");
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("known_hosts"), lines)
    }

    /// From now on the server may show any key.
    pub(super) fn prefer_nothing(&self) -> io::Result<()> {
        fs::remove_dir_all(self.home.join(".ssh"))
    }

    /// Judges what the server shows.
    pub(super) fn check(&self, shown: &Cert<'_>) -> Result<CertificateCheckStatus, git2::Error> {
        let Some(known) = &self.known else { return Ok(CertificateCheckStatus::CertificateOk) };
        let key = shown.as_hostkey().and_then(|key| key.hostkey()).unwrap_or_default();
        let verdict = known.judge(&self.address.host, self.address.port, key);
        if verdict == Verdict::Known {
            return Ok(CertificateCheckStatus::CertificateOk);
        }
        let server = self.address.authority();
        let shown = format!("{} {}", known_hosts::kind(key).unwrap_or("a key"), known_hosts::fingerprint(key));
        let reason = match verdict {
            Verdict::Changed => format!(
                "{server} shows the host key {shown}, which is none of those that it is known by: somebody may be in between"
            ),
            Verdict::Revoked => format!("{server} shows the host key {shown}, which is revoked"),
            Verdict::Known | Verdict::Unknown => {
                format!("{server} shows the host key {shown}, and no key is known of it")
            }
        };
        *self.trouble.borrow_mut() = Some(Failure::new(FetchErrorKind::UntrustedHostKey, reason));
        Err(git2::Error::new(ErrorCode::Certificate, ErrorClass::Ssh, "the host key is not trusted"))
    }

    /// The key, once.
    pub(super) fn credential(&self, allowed: CredentialType) -> Result<Cred, git2::Error> {
        let refuse = |reason: &str| {
            *self.trouble.borrow_mut() = Some(Failure::new(FetchErrorKind::RefusedCredentials, reason));
            Err(git2::Error::new(ErrorCode::Auth, ErrorClass::Ssh, reason))
        };
        match &self.key {
            None => refuse("the server asks for a key, and there is none"),
            Some(_) if !allowed.contains(CredentialType::SSH_MEMORY) => refuse("the server takes no keys"),
            Some(_) if self.offered.replace(true) => refuse("the server does not accept the ssh key"),
            Some(key) => Cred::ssh_key_from_memory(&self.address.user, None, key.expose(), None),
        }
    }

    /// What went wrong, if it is known better than by libgit2.
    pub(super) fn trouble(&self) -> Option<Failure> {
        self.trouble.borrow().clone().or_else(|| self.tunnel.trouble())
    }
}
