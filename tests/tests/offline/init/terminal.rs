//! What a user sees on a terminal.

use std::{
    fs::{File, OpenOptions},
    io::{Read, Write},
    os::unix::ffi::OsStrExt,
    path::Path,
    process::{Command, Stdio},
};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use super::Fork;

/// Runs a command on a terminal of its own and types the lines. Gives its status and what was on the screen.
pub(crate) fn on_terminal(command: &mut Command, typed: &str) -> (Option<i32>, String) {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&ours).unwrap();
    unlockpt(&ours).unwrap();
    let name = ptsname(&ours, Vec::new()).unwrap();
    let path = Path::new(std::ffi::OsStr::from_bytes(name.to_bytes()));
    let theirs = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let end = || Stdio::from(theirs.try_clone().unwrap());
    let mut child = command.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
    // The command holds its ends, too.
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    drop(theirs);
    let mut ours = File::from(ours);
    ours.write_all(typed.as_bytes()).unwrap();
    let (mut screen, mut part) = (Vec::new(), [0; 4096]);
    // Linux ends a terminal that nobody holds any more with an error.
    while let Ok(count @ 1..) = ours.read(&mut part) {
        screen.extend_from_slice(&part[..count]);
    }
    (child.wait().unwrap().code(), String::from_utf8_lossy(&screen).replace("\r\n", "\n"))
}

#[test]
fn colour_on_a_terminal_unless_it_is_unwanted() {
    let fork = Fork::new("<<__a__>>=1\n", &[("distribution/f", "<<__a__>> <<__b__>>\n")]);
    let run = |environment: &[(&str, &str)]| {
        let mut command = fork.command(&["init", "setup.conf", "--dry-run"]);
        on_terminal(command.envs(environment.iter().copied()), "")
    };
    let (status, screen) = run(&[("TERM", "xterm")]);
    assert_eq!(status, Some(1));
    assert!(screen.contains("\x1b[31m-<<__a__>> <<__b__>>\x1b[0m\n\x1b[32m+[value of a]"), "{screen:?}");
    for environment in [&[("TERM", "dumb")][..], &[], &[("TERM", "xterm"), ("NO_COLOR", "1")]] {
        let (status, screen) = run(environment);
        assert!(status == Some(1) && !screen.contains('\x1b'), "{screen:?}");
    }
}

#[test]
fn control_characters_of_a_repository_are_shown_not_obeyed() {
    let fork = Fork::new("<<__a__>>=1\n", &[("distribution/f", "<<__a__>>\x1b]0;title\x07\n")]);
    let (_, screen) = on_terminal(fork.command(&["init", "setup.conf", "--dry-run"]).env("TERM", "xterm"), "");
    assert!(screen.contains("\\u{1b}]0;title\\u{7}") && !screen.contains('\x07'), "{screen:?}");
}

#[test]
fn every_command_has_examples_in_its_help() {
    let fork = Fork::new("", &[]);
    let commands = "init upgrade completions seal seal-edit credentials iam status sync refresh suspend resume history \
                    rollback prune explain diff secrets \
                    logs doctor bootstrap uninstall";
    for command in commands.split_whitespace() {
        let command: Vec<&str> = command.split('-').collect();
        let (status, screen) =
            on_terminal(fork.command(&[&command[..], &["--help"]].concat()).env("TERM", "xterm"), "");
        assert!(status == Some(0) && screen.contains("Examples:\n"), "{screen}");
    }
    let (status, screen) = on_terminal(&mut fork.command(&["init"]), "");
    assert!(status == Some(2) && screen.contains("gitmoor init"), "{screen}");
}

#[test]
fn completions_are_understood_by_their_shells() {
    let fork = Fork::new("", &[]);
    for (shell, check) in [("bash", "bash -n"), ("zsh", "zsh -n"), ("fish", "fish --no-execute")] {
        let script = fork.write("completions", &fork.run(&["completions", shell]).assert(0).stdout);
        let mut words = check.split(' ');
        let output = Command::new(words.next().unwrap()).args(words).arg(script).output();
        // A shell that is not here cannot be asked; bash is everywhere where the tests run.
        assert!(output.map_or(shell != "bash", |output| output.status.success()), "{shell}");
    }
}
