//! The real sshd on loopback, serving Git repositories to whoever has the right key.

use std::path::Path;
use std::process::Command;

use super::await_state::eventually;
use super::installation::PATIENCE;
use super::ports::free_port;
use super::repository::Repository;
use super::scratch::Scratch;
use super::supervised::{Supervised, assert_running, spawn};

const SSHD: &str = "/usr/sbin/sshd";

/// A key of a user or of a server.
#[derive(Clone, Debug)]
pub struct Key {
    /// The file's text.
    pub private: String,
    /// The line `KIND KEY`.
    pub public: String,
}

impl Key {
    /// A new one, made by ssh-keygen: `kind` as `ed25519`, `ecdsa` or `rsa`, with further arguments such as `-m PEM`.
    ///
    /// # Panics
    /// When ssh-keygen fails.
    pub fn new(kind: &str, arguments: &[&str]) -> Self {
        let scratch = Scratch::new("ssh-key");
        let file = scratch.path().join("key");
        let passphrase: &[&str] = if arguments.contains(&"-N") { &[] } else { &["-N", ""] };
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", kind, "-C", "", "-f"])
            .arg(&file)
            .args(passphrase)
            .args(arguments)
            .output()
            .expect("ssh-keygen starts");
        assert!(made.status.success(), "ssh-keygen: {}", String::from_utf8_lossy(&made.stderr));
        let read = |file: &Path| std::fs::read_to_string(file).expect("a key can be read");
        Self { private: read(&file), public: read(&file.with_extension("pub")).trim().to_owned() }
    }

    /// The fingerprint, as ssh-keygen prints it.
    pub fn fingerprint(&self) -> String {
        let scratch = Scratch::new("ssh-key");
        let file = scratch.write("key.pub", &self.public);
        let said = Command::new("ssh-keygen").arg("-lf").arg(file).output().expect("ssh-keygen starts");
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        said.split(' ').nth(1).expect("a fingerprint").to_owned()
    }
}

/// A running sshd. Every session is `git-shell`, as the user that runs the tests.
#[derive(Debug)]
pub struct SshServer {
    port: u16,
    host_keys: Vec<Key>,
    process: Option<Supervised>,
    // Last: goes when nothing reads it any more.
    scratch: Scratch,
}

impl SshServer {
    /// Starts one with host keys of these kinds, that nobody may log in to yet.
    pub async fn start(kinds: &[&str]) -> Self {
        assert!(Path::new(SSHD).exists(), "{SSHD} is missing: run `make tools`");
        // Debian's sshd wants it when root runs it; elsewhere nobody minds.
        let _ = std::fs::create_dir_all("/run/sshd");
        let scratch = Scratch::new("sshd");
        let mut server = Self { port: free_port(), host_keys: Vec::new(), process: None, scratch };
        server.authorize(&[]);
        server.start_with(kinds.iter().map(|kind| Key::new(kind, &[])).collect()).await;
        server
    }

    /// Starts it anew, with these host keys in place of its own.
    pub async fn start_with(&mut self, host_keys: Vec<Key>) {
        self.process = None;
        let keys = host_keys.iter().enumerate().map(|(index, key)| {
            let path = self.scratch.write(&format!("host-key-{index}"), &key.private);
            let only_owner = std::os::unix::fs::PermissionsExt::from_mode(0o600);
            std::fs::set_permissions(&path, only_owner).expect("a file's mode can be set");
            format!("HostKey {}\n", path.display())
        });
        let folder = self.scratch.path().display();
        let config = format!(
            "Port {}\nListenAddress 127.0.0.1\n{}AuthorizedKeysFile {folder}/authorized_keys\nStrictModes no\nUsePAM no\n\
             PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\nPidFile none\n\
             LogLevel VERBOSE\nForceCommand git-shell -c \"$SSH_ORIGINAL_COMMAND\"\n",
            self.port,
            keys.collect::<String>(),
        );
        let config = self.scratch.write("sshd_config", self.with_patience(&config));
        let log = self.scratch.path().join("log");
        let arguments = ["-D", "-e", "-f"];
        let mut process = spawn(Path::new(SSHD), &log, |command| {
            command.args(arguments).arg(&config).env("PATH", std::env::var_os("PATH").unwrap_or_default());
        });
        let port = self.port;
        eventually("sshd listens", PATIENCE, async || {
            assert_running(&mut process);
            tokio::net::TcpStream::connect(("127.0.0.1", port)).await.map(drop).map_err(|error| error.to_string())
        })
        .await;
        (self.host_keys, self.process) = (host_keys, Some(process));
    }

    /// Newer versions keep out whoever has failed before.
    fn with_patience(&self, config: &str) -> String {
        let patient = format!("{config}PerSourcePenalties no\n");
        let file = self.scratch.write("tried", &patient);
        let tried = Command::new(SSHD).args(["-t", "-f"]).arg(file).output().expect("sshd starts");
        if tried.status.success() { patient } else { config.to_owned() }
    }

    /// From now on these keys, and no others, may log in.
    pub fn authorize(&self, keys: &[&Key]) {
        let lines: String = keys.iter().map(|key| format!("{}\n", key.public)).collect();
        self.scratch.write("authorized_keys", lines);
    }

    /// Makes a bare repository that is served as [`Self::url`] of `NAME.git`.
    pub async fn repository(&self, name: &str) -> Repository {
        let served = self.scratch.folder("served");
        let url = self.url(&format!("{name}.git"));
        Repository::create(&served, &self.scratch.folder("trees"), name, url).await
    }

    /// The address of what is served at a path.
    pub fn url(&self, path: &str) -> String {
        let served = self.scratch.folder("served");
        format!("ssh://{}@127.0.0.1:{}{}/{path}", user(), self.port, served.display())
    }

    /// `127.0.0.1:PORT`
    pub fn authority(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Its host keys.
    pub fn host_keys(&self) -> &[Key] {
        &self.host_keys
    }

    /// The line of `known_hosts` by which it is known with a key.
    pub fn known_by(&self, key: &Key) -> String {
        format!("[127.0.0.1]:{} {}\n", self.port, key.public)
    }

    /// The lines for all of its host keys.
    pub fn known_hosts(&self) -> String {
        self.host_keys.iter().map(|key| self.known_by(key)).collect()
    }

    /// How many sessions there were.
    pub fn sessions(&self) -> usize {
        let log = std::fs::read_to_string(self.scratch.path().join("log")).unwrap_or_default();
        log.lines().filter(|line| line.starts_with("Accepted publickey")).count()
    }
}

/// Name of the user that runs the tests.
fn user() -> String {
    let said = Command::new("id").arg("-un").output().expect("id starts");
    String::from_utf8_lossy(&said.stdout).trim().to_owned()
}
