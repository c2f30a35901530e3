//! The arguments of `gitmoor credentials`.

use std::{convert::Infallible, path::PathBuf};

use crate::{commands::seal::CertificateSource, fork_folder::of_fork, settings};
use gitmoor_core::{
    credentials::{Input, Request},
    sensitive::Sensitive,
};

/// Generates the credentials of the platform and seals them, so that they may be committed
///
/// distribution/credentials.yaml says which values there are, how each is made, and which Secrets hold it. What is
/// sealed already stays byte for byte as it is. Nothing secret is written unsealed, and generated passwords that people
/// need are shown once.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  # Generate and seal what is missing
  gitmoor credentials --email ada@example.com --username ada --firstname Ada --lastname Lovelace
  # With a password of your own, which no process list shows
  GITMOOR_PASSWORD=... gitmoor credentials
  gitmoor credentials --password-file password.txt
  # Without a terminal
  gitmoor credentials --show-once-to ../passwords.txt
  # Renew one value, and what is made of it
  gitmoor credentials --rotate dex-client-secret

Exit status 1 means that an input file is wrong or missing, and that nothing was written.")]
pub(crate) struct Arguments {
    /// Folder of the distribution
    #[arg(long, value_name = "DIR", default_value_os_t = of_fork("distribution"))]
    pub(super) distribution: PathBuf,
    /// Values for placeholders, when `gitmoor init` has not put them in [default: setup.conf, where there is one]
    #[arg(long, value_name = "FILE")]
    pub(super) setup_conf: Option<PathBuf>,
    #[command(flatten)]
    pub(super) certificate: CertificateSource,
    /// E-mail address of the administrator
    #[arg(long, env = "GITMOOR_EMAIL", value_parser = sensitive)]
    email: Option<Sensitive<String>>,
    /// Login of the administrator
    #[arg(long, env = "GITMOOR_USERNAME", value_parser = sensitive)]
    username: Option<Sensitive<String>>,
    /// First name of the administrator
    #[arg(long, env = "GITMOOR_FIRSTNAME", value_parser = sensitive)]
    firstname: Option<Sensitive<String>>,
    /// Last name of the administrator
    #[arg(long, env = "GITMOOR_LASTNAME", value_parser = sensitive)]
    lastname: Option<Sensitive<String>>,
    /// Password of the administrator; process lists show it: better the variable GITMOOR_PASSWORD or --password-file
    #[arg(long, value_parser = sensitive)]
    password: Option<Sensitive<String>>,
    /// File with the password; its last newline does not count
    #[arg(long, value_name = "FILE")]
    pub(super) password_file: Option<PathBuf>,
    /// Where generated passwords are written, readable by you alone, instead of being shown
    #[arg(long, value_name = "FILE")]
    pub(super) show_once_to: Option<PathBuf>,
    /// Renew this value and what is made of it; may be repeated
    #[arg(long, value_name = "NAME", conflicts_with = "all")]
    rotate: Vec<String>,
    /// Renew everything
    #[arg(long)]
    all: bool,
    /// Write nothing, only say what would be written; the exit status is then 1
    #[arg(long)]
    pub(super) check: bool,
}

// clap wants a Result.
#[allow(clippy::unnecessary_wraps)]
fn sensitive(text: &str) -> Result<Sensitive<String>, Infallible> {
    Ok(Sensitive::new(text.to_owned()))
}

impl Arguments {
    /// Whether the command line, which process lists show, holds the password.
    pub(super) fn has_open_password(&self) -> bool {
        self.password.is_some()
    }

    pub(super) fn request(&self) -> Request {
        match (self.all, &self.rotate[..]) {
            (true, _) => Request::All,
            (false, []) => Request::Missing,
            (false, names) => Request::Rotate(names.to_vec()),
        }
    }

    /// What was given in flags or their variables.
    pub(super) fn inputs(&self) -> impl Iterator<Item = (Input, Sensitive<String>)> {
        let variable = || settings::variable("GITMOOR_PASSWORD").map(Sensitive::new);
        let password = self.password.clone().or_else(variable);
        let given = [
            (Input::Email, self.email.clone()),
            (Input::Username, self.username.clone()),
            (Input::Firstname, self.firstname.clone()),
            (Input::Lastname, self.lastname.clone()),
            (Input::Password, password),
        ];
        given.into_iter().filter_map(|(input, value)| Some((input, value?)))
    }
}
