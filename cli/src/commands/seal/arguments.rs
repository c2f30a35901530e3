//! The arguments of `gitmoor seal`: those of kubeseal, and what goes beyond it.

use std::path::PathBuf;

use gitmoor_core::seal::Scope;

/// Seals Secrets, so that they can be committed
///
/// Reads Secrets as YAML or JSON, as many documents as there are, and writes SealedSecrets that only the
/// sealed-secrets controller can open. The flags are those of kubeseal and mean the same. No cluster is
/// needed once the certificate is pinned in the repository.
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  # Pin the controller's certificate in .gitmoor/sealing-cert.pem, once
  gitmoor seal --pin-cert
  # Seal every Secret of a file; the result may be committed
  gitmoor seal -f secrets.yaml -w sealed.yaml
  # Which key sealed which file, and does the pinned certificate still match?
  gitmoor seal status
  # Replace one value; it comes from standard input, so that no process list shows it
  printf %s \"$PASSWORD\" | gitmoor seal edit sealed.yaml password
  # Open everything again with a backup of the controller's keys
  gitmoor seal --recovery-unseal --recovery-private-key keys.yaml -f sealed.yaml

The certificate is that of --cert; else, unless --controller-name or
--controller-namespace is given, the pinned one; else the controller's.

Exit status: 1 when a Secret or a certificate is wrong; nothing was written then."
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) source: CertificateSource,
    #[command(flatten)]
    pub(crate) mode: Mode,
    /// Secret (or SealedSecret) to read, instead of standard input
    #[arg(long, short = 'f', value_name = "FILE")]
    pub(crate) secret_file: Option<PathBuf>,
    /// File to write, instead of standard output; as YAML when it ends in .yaml or .yml
    #[arg(long, short = 'w', value_name = "FILE", conflicts_with = "merge_into")]
    pub(crate) sealed_secret_file: Option<PathBuf>,
    /// Format of what is written: json or yaml [default: json]
    #[arg(long, short = 'o', value_enum, ignore_case = true, env = "SEALED_SECRETS_FORMAT", hide_env = true)]
    pub(crate) format: Option<Format>,
    /// To what the values are bound: strict (namespace and name), namespace-wide or cluster-wide; without it,
    /// what the annotations of the Secret say
    #[arg(long, env = "SEALED_SECRETS_SCOPE", hide_env = true, value_parser = scope)]
    pub(crate) scope: Option<Scope>,
    /// Name of the Secret, instead of its own; with --raw, for whom the value is sealed
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Namespace of Secrets that name none; another one than theirs is an error
    #[arg(long, short, value_name = "NAMESPACE", env = "SEALED_SECRETS_NAMESPACE", hide_env = true)]
    pub(crate) namespace: Option<String>,
    /// With --raw: the file with the value
    #[arg(long, value_name = "[KEY=]FILE", requires = "raw", value_delimiter = ',')]
    pub(crate) from_file: Vec<String>,
    /// Seal Secrets that hold no value at all
    #[arg(long, env = "SEALED_SECRETS_ALLOW_EMPTY_DATA", hide_env = true)]
    pub(crate) allow_empty_data: bool,
    /// File with private keys of the controller, PEM or Secrets; may be repeated. Where it is given, values that
    /// have not changed keep their ciphertext
    #[arg(long, value_name = "FILE", value_delimiter = ',')]
    pub(crate) recovery_private_key: Vec<PathBuf>,
}

/// What to do; without any of them, seal whole Secrets.
#[derive(Debug, clap::Args)]
#[group(multiple = false)]
pub(crate) struct Mode {
    /// Write the certificate that would be used
    #[arg(long)]
    pub(crate) fetch_cert: bool,
    /// Put the certificate into the repository, as .gitmoor/sealing-cert.pem
    #[arg(long)]
    pub(crate) pin_cert: bool,
    /// Seal one value, and write nothing but its ciphertext
    #[arg(long)]
    pub(crate) raw: bool,
    /// Put the values of the Secret into this SealedSecret file, and leave the others in it as they are
    #[arg(long, value_name = "FILE")]
    pub(crate) merge_into: Option<PathBuf>,
    /// Ask the controller whether it can open SealedSecrets; with --recovery-private-key, try it here
    #[arg(long)]
    pub(crate) validate: bool,
    /// Have the controller seal the values with its newest key, in place; with --recovery-private-key, do it here
    #[arg(long, alias = "rotate")]
    pub(crate) re_encrypt: bool,
    /// Open SealedSecrets with --recovery-private-key
    #[arg(long, requires = "recovery_private_key")]
    pub(crate) recovery_unseal: bool,
}

/// Whose key seals.
#[derive(Debug, clap::Args)]
pub(crate) struct CertificateSource {
    /// Certificate to seal with: a PEM file or URL; of several certificates, the newest valid one
    #[arg(long, value_name = "FILE|URL", env = "SEALED_SECRETS_CERT", hide_env = true)]
    pub(crate) cert: Option<String>,
    #[command(flatten)]
    pub(crate) controller: Controller,
}

/// Where the controller is.
#[derive(Debug, clap::Args)]
pub(crate) struct Controller {
    /// Service of the controller [default: sealed-secrets-controller]
    #[arg(id = "controller_name", long = "controller-name", value_name = "NAME")]
    #[arg(env = "SEALED_SECRETS_CONTROLLER_NAME", hide_env = true)]
    name: Option<String>,
    /// Namespace of the controller [default: kube-system]
    #[arg(id = "controller_namespace", long = "controller-namespace", value_name = "NAMESPACE")]
    #[arg(env = "SEALED_SECRETS_CONTROLLER_NAMESPACE", hide_env = true)]
    namespace: Option<String>,
    /// Kubeconfig file, instead of the one of the environment
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig, instead of the current one
    #[arg(long, value_name = "NAME")]
    pub(crate) context: Option<String>,
}

impl Controller {
    pub(crate) fn name(&self) -> &str {
        self.name.as_deref().unwrap_or("sealed-secrets-controller")
    }

    pub(crate) fn namespace(&self) -> &str {
        self.namespace.as_deref().unwrap_or("kube-system")
    }

    /// Whether a certain controller was asked for.
    pub(crate) fn is_named(&self) -> bool {
        self.name.is_some() || self.namespace.is_some()
    }
}

/// What kubeseal does not have.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    Status(Status),
    Edit(Edit),
}

/// Lists the SealedSecrets of the repository
///
/// With scope, the fingerprint of the key that sealed them, age, and whether the pinned certificate is of the same
/// key. The fingerprint is noted when Gitmoor seals; ciphertext alone does not tell. The exit status is 1 when one
/// was sealed with another key, cannot be read, or the pinned certificate is no longer good.
#[derive(Debug, clap::Args)]
pub(crate) struct Status {
    /// Files and folders to look at
    #[arg(value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
    /// Also compare the pinned certificate with the controller's present one
    #[arg(long)]
    pub(crate) check_controller: bool,
    #[command(flatten)]
    pub(crate) source: CertificateSource,
}

/// Replaces single values of a SealedSecret
///
/// Everything else in the file stays byte for byte. A value on the command line shows in process lists and in the
/// shell's history: give KEY alone to read it from standard input, or --from-file.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  printf %s \"$PASSWORD\" | gitmoor seal edit sealed.yaml password
  gitmoor seal edit sealed.yaml --from-file tls.key=server.key --from-file tls.crt=server.crt
  gitmoor seal edit sealed.yaml username=admin")]
pub(crate) struct Edit {
    /// The file with the SealedSecret
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// The value to set; without =VALUE it is read from standard input
    #[arg(value_name = "KEY[=VALUE]", required_unless_present = "from_file", value_parser = assignment)]
    pub(crate) values: Vec<Assignment>,
    /// A value from a file; may be repeated
    #[arg(long, value_name = "KEY=FILE", value_parser = key_and_file)]
    pub(crate) from_file: Vec<(String, PathBuf)>,
    /// Seal a value that is empty
    #[arg(long)]
    pub(crate) allow_empty_data: bool,
    /// Which SealedSecret, when the file holds several
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// In which namespace that is
    #[arg(long, short, value_name = "NAMESPACE")]
    pub(crate) namespace: Option<String>,
    /// File with private keys of the controller: values that have not changed keep their ciphertext
    #[arg(long, value_name = "FILE", value_delimiter = ',')]
    pub(crate) recovery_private_key: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) source: CertificateSource,
}

/// `KEY=VALUE`, or `KEY` alone.
#[derive(Debug, Clone)]
pub(crate) struct Assignment {
    pub(crate) key: String,
    pub(crate) value: Option<gitmoor_core::sensitive::Sensitive<String>>,
}

/// A format of SealedSecrets and Secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// JSON, as kubeseal writes it
    Json,
    /// YAML
    Yaml,
}

fn scope(text: &str) -> Result<Scope, String> {
    if text.is_empty() { Ok(Scope::Strict) } else { text.parse() }
}

#[allow(clippy::unnecessary_wraps)] // clap wants a Result.
fn assignment(text: &str) -> Result<Assignment, String> {
    Ok(match text.split_once('=') {
        Some((key, value)) => Assignment { key: key.to_owned(), value: Some(value.to_owned().into()) },
        None => Assignment { key: text.to_owned(), value: None },
    })
}

fn key_and_file(text: &str) -> Result<(String, PathBuf), String> {
    let (key, file) = text.split_once('=').ok_or("KEY=FILE is expected")?;
    Ok((key.to_owned(), PathBuf::from(file)))
}
