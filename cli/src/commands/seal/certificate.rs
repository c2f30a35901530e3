//! Where the certificate comes from: a flag, the repository, the controller.

use std::{
    env, fmt, fs, io,
    path::{Path, PathBuf},
};

use gitmoor_core::seal::{Certificate, CertificateError};

use super::{
    arguments::{Arguments, CertificateSource, Controller},
    controller::Connection,
    input::cannot_write,
    now,
    output::PUBLIC,
    rejected,
};
use crate::{
    download,
    failure::{Exit, Failure},
    git::Repository,
    terminal::Terminal,
    work_tree,
};

/// Where the repository keeps its certificate, from its top folder.
pub(super) const PINNED: &str = ".gitmoor/sealing-cert.pem";
/// A certificate has a few KiB.
const LARGEST: u64 = 1 << 20;

/// Where a certificate came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    File(PathBuf),
    Url(String),
    Pinned(PathBuf),
    Controller { namespace: String, name: String },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) | Self::Pinned(path) => write!(f, "{}", path.display()),
            Self::Url(url) => f.write_str(url),
            Self::Controller { namespace, name } => write!(f, "controller {namespace}/{name}"),
        }
    }
}

/// The certificate to seal with.
pub(crate) fn find(source: &CertificateSource, terminal: &mut Terminal) -> Result<Certificate, Failure> {
    let pinned = if source.controller.is_named() { None } else { pinned_here() };
    let origin = origin(source, pinned);
    let text = read(&origin, &source.controller, terminal)?;
    newest_valid(&text, &origin)
}

/// `--cert`, else a pinned one, else the controller.
fn origin(source: &CertificateSource, pinned: Option<PathBuf>) -> Origin {
    let controller = &source.controller;
    match (source.cert.as_deref().filter(|cert| !cert.is_empty()), pinned) {
        (Some(cert), _) => match cert.split_once("://") {
            // As kubeseal: the path of a file URL is absolute, and its host of no account.
            Some(("file", rest)) => Origin::File(rest.find('/').map_or("/", |slash| &rest[slash..]).into()),
            Some(_) => Origin::Url(cert.to_owned()),
            None => Origin::File(cert.into()),
        },
        (None, Some(path)) => Origin::Pinned(path),
        (None, None) => {
            Origin::Controller { namespace: controller.namespace().to_owned(), name: controller.name().to_owned() }
        }
    }
}

fn read(origin: &Origin, controller: &Controller, terminal: &mut Terminal) -> Result<String, Failure> {
    match origin {
        Origin::File(path) | Origin::Pinned(path) => {
            let bytes = fs::read(path).map_err(|error| {
                let failure = Failure::io(format!("cannot read the certificate {origin}"), &error);
                // A file that is not there is a mistake in what was given; any other error is the machine's.
                let exit = if error.kind() == io::ErrorKind::NotFound { Exit::Rejected } else { failure.exit };
                Failure { exit, ..failure }
            })?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        }
        Origin::Url(url) => {
            if url.starts_with("http://") {
                terminal.warning("the certificate comes over plain HTTP: who stands in between may exchange it");
            }
            download::text(url, LARGEST).map_err(|error| Failure::io(format!("cannot fetch {url}"), &error))
        }
        Origin::Controller { .. } => Connection::open(controller)?.certificate(),
    }
}

fn newest_valid(text: &str, origin: &Origin) -> Result<Certificate, Failure> {
    let certificates = Certificate::read_all(text);
    certificates.and_then(|all| Certificate::newest_valid(all, now().as_second())).map_err(|error| {
        let failure = rejected(format!("cannot seal with the certificate of {origin}; nothing was written"));
        let failure = failure.because(&error);
        match (error, origin) {
            (CertificateError::Expired(_), Origin::Pinned(_)) => {
                failure.hint("pin the controller's present one: gitmoor seal --pin-cert")
            }
            (CertificateError::Expired(_), _) => {
                failure.hint("get the controller's present one: gitmoor seal --fetch-cert")
            }
            _ => failure,
        }
    })
}

/// `--fetch-cert`: the certificate as it came, to standard output or a file.
pub(super) fn print(arguments: &Arguments, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let source = &arguments.source;
    // Not the pinned one: that is there already.
    let text = read(&origin(source, None), &source.controller, terminal)?;
    match &arguments.sealed_secret_file {
        Some(file) => work_tree::write_to(file, text.as_bytes(), PUBLIC).map_err(|error| cannot_write(&error))?,
        None if terminal.is_json() => terminal.json(&serde_json::json!({ "certificate": text })),
        None => terminal
            .documents(text.as_bytes())
            .map_err(|error| Failure::io("cannot write to standard output", &error))?,
    }
    Ok(Exit::Done)
}

/// `--pin-cert`: the certificate of `--cert` or the controller into the repository.
pub(super) fn pin(source: &CertificateSource, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let origin = origin(source, None);
    let certificate = newest_valid(&read(&origin, &source.controller, terminal)?, &origin)?;
    let fingerprint = certificate.key().fingerprint();
    let path = repository().join(PINNED);
    let before = fs::read_to_string(&path).ok().and_then(|text| Certificate::read_all(&text).ok()?.pop());
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|error| Failure::io(format!("cannot make {}", folder.display()), &error))?;
    }
    work_tree::write_to(&path, certificate.pem().as_bytes(), PUBLIC).map_err(|error| cannot_write(&error))?;
    let expires = certificate.expires();
    terminal.message(&format!("pinned {fingerprint}, valid until {expires}, from {origin} in {}", path.display()));
    match before.map(|before| before.key().fingerprint().clone()) {
        Some(before) if before != *fingerprint => terminal.message(&format!("before it was {before}")),
        _ => {}
    }
    if is_ignored(&path) {
        terminal.warning(&format!(
            "git ignores {}, as it does with many *.pem files: add it with git add --force",
            path.display()
        ));
    }
    if terminal.is_json() {
        terminal.json(&serde_json::json!({ "file": path, "fingerprint": fingerprint.as_str(), "expires": expires }));
    }
    Ok(Exit::Done)
}

/// Whether it would stay out of the next commit. Where there is no repository, there is none.
fn is_ignored(path: &Path) -> bool {
    let folder = path.parent().unwrap_or(Path::new("."));
    let Ok(Some(repository)) = Repository::around(folder) else { return false };
    repository.relative(path).is_some_and(|path| repository.is_ignored(&path))
}

/// The pinned certificate, whether it is still valid or not.
pub(super) fn pinned() -> Option<(PathBuf, Result<Certificate, Failure>)> {
    let path = pinned_here()?;
    let read = fs::read(&path).map_err(|error| Failure::io(format!("cannot read {}", path.display()), &error));
    let origin = Origin::Pinned(path.clone());
    let certificate = read.and_then(|bytes| newest_valid(&String::from_utf8_lossy(&bytes), &origin));
    Some((path, certificate))
}

/// The pinned certificate of the repository that holds the working directory.
fn pinned_here() -> Option<PathBuf> {
    let path = repository().join(PINNED);
    // One that cannot be looked at is not passed over: reading it says why.
    let missing = matches!(path.metadata(), Err(error) if error.kind() == io::ErrorKind::NotFound);
    (!missing).then_some(path)
}

/// The top folder of the repository, as a path from the working directory where that is possible: the nearest folder
/// upwards with `.git` or `.gitmoor` in it, else the working directory.
fn repository() -> PathBuf {
    let Ok(here) = env::current_dir() else { return PathBuf::new() };
    let is_top = |folder: &Path| folder.join(".git").exists() || folder.join(".gitmoor").is_dir();
    match here.ancestors().position(is_top) {
        None | Some(0) => PathBuf::new(),
        Some(levels) => std::iter::repeat_n("..", levels).collect(),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        source: CertificateSource,
    }

    #[test]
    fn the_flag_wins_over_the_repository_and_that_over_the_controller() {
        let pinned = || Some(PathBuf::from("p"));
        let controller =
            |namespace: &str, name: &str| Origin::Controller { namespace: namespace.into(), name: name.into() };
        for (line, pinned, expected) in [
            (&["--cert", "a.pem"][..], pinned(), Origin::File("a.pem".into())),
            (&["--cert", "https://h/c"], pinned(), Origin::Url("https://h/c".into())),
            (&["--cert", "file:///etc/c"], None, Origin::File("/etc/c".into())),
            (&["--cert", "file://localhost/etc/c"], None, Origin::File("/etc/c".into())),
            (&["--cert", ""], pinned(), Origin::Pinned("p".into())),
            (&[], pinned(), Origin::Pinned("p".into())),
            (&[], None, controller("kube-system", "sealed-secrets-controller")),
            (&["--controller-name", "n", "--controller-namespace", "s"], None, controller("s", "n")),
        ] {
            let source = Line::parse_from([&["x"], line].concat()).source;
            assert_eq!(origin(&source, pinned), expected, "{line:?}");
        }
    }
}
