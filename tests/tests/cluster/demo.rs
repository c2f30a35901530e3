//! `make demo`, as a visitor runs it.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long the demo may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(300);

fn start() -> Child {
    Command::new(env!("CARGO_BIN_EXE_demo"))
        .env("DEMO_EXIT", "1")
        .env_remove("DEMO_KUBECONFIG")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The first part of the output, until a line with a text; gives the line.
fn await_line(output: &mut impl std::io::BufRead, text: &str) -> String {
    let mut all = String::new();
    for line in output.lines() {
        let line = line.unwrap();
        if line.contains(text) {
            return line;
        }
        all.push_str(&line);
        all.push('\n');
    }
    panic!("the demo says no {text:?}:\n{all}");
}

fn is_listening(url: &str) -> bool {
    let address = url.strip_prefix("https://").unwrap();
    std::net::TcpStream::connect(address).is_ok()
}

#[test]
fn the_demo_ends_with_everything_synced_and_healthy() {
    let output = start().wait_with_output().unwrap();
    let (said, failed) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}:\n{said}\n{failed}", output.status);
    for wanted in [
        "all Synced and Healthy",
        "1 of 6 Applications touched",
        "after the push",
        "spec.replica",
        "export KUBECONFIG=",
    ] {
        assert!(said.contains(wanted), "it does not say {wanted:?}:\n{said}");
    }
    assert!(!said.contains('\x1b'), "escape codes where there is no terminal:\n{said}");
}

#[test]
fn nothing_runs_after_a_demo_that_was_interrupted() {
    let mut demo = start();
    let mut output = BufReader::new(demo.stdout.take().unwrap());
    let line = await_line(&mut output, "Kubernetes is ready at ");
    let url = line.rsplit(' ').next().unwrap().to_owned();
    assert!(is_listening(&url));
    // In the middle of what comes next.
    await_line(&mut output, "gitmoor init");
    kill_process(Pid::from_child(&demo), Signal::INT).unwrap();
    let started = Instant::now();
    output.read_to_end(&mut Vec::new()).unwrap();
    let status = demo.wait().unwrap();
    assert_eq!(status.code(), Some(130));
    assert!(started.elapsed() < PATIENCE);
    assert!(!is_listening(&url), "kube-apiserver runs on");
}
