//! `gitmoor seal`: kubeseal's work, offline and fast.

mod arguments;
mod certificate;
mod controller;
mod edit;
mod input;
mod keys;
mod merge;
mod output;
mod raw;
mod re_encrypt;
mod recover;
mod secrets;
mod status;
mod validate;

pub(crate) use arguments::{Arguments, CertificateSource};
pub(crate) use certificate::find as find_certificate;

use arguments::Command;

use crate::{
    age::now,
    failure::{Exit, Failure},
    terminal::Terminal,
};

/// Does the one thing that was asked for.
pub(crate) fn run(arguments: Arguments, terminal: &mut Terminal) -> Result<Exit, Failure> {
    match &arguments.command {
        Some(Command::Status(status)) => return status::run(status, terminal),
        Some(Command::Edit(edit)) => return edit::run(edit, terminal),
        None => {}
    }
    let mode = &arguments.mode;
    if mode.pin_cert {
        certificate::pin(&arguments.source, terminal)
    } else if mode.fetch_cert {
        certificate::print(&arguments, terminal)
    } else if mode.recovery_unseal {
        recover::run(&arguments, terminal)
    } else if mode.validate {
        validate::run(&arguments, terminal)
    } else if mode.re_encrypt {
        re_encrypt::run(&arguments, terminal)
    } else if mode.raw {
        raw::run(&arguments, terminal)
    } else if let Some(file) = &mode.merge_into {
        merge::run(file, &arguments, terminal)
    } else {
        secrets::run(&arguments, terminal)
    }
}

/// Something that was given is wrong; nothing was written.
fn rejected(message: impl Into<String>) -> Failure {
    Failure::new(Exit::Rejected, message)
}
