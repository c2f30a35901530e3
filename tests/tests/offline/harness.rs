//! The Git remote, the AWS emulator and supervision do what tests rely on.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use gitmoor_tests::harness::http;
use gitmoor_tests::harness::ports::free_port;
use gitmoor_tests::harness::repository::git_command;
use gitmoor_tests::harness::scratch::Scratch;
use gitmoor_tests::harness::supervised;
use gitmoor_tests::harness::{Aws, GitRemote, Mode, eventually, throughout};

const SOON: Duration = Duration::from_secs(60);

/// Lists the refs of a URL: whether that worked, and what git said.
async fn list(url: &str) -> (bool, String) {
    let output = git_command(Path::new("/")).args(["ls-remote", url]).output().await.unwrap();
    (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

#[tokio::test]
async fn a_commit_can_be_cloned_and_a_push_arrives() {
    let remote = GitRemote::start().await;
    let repository = remote.repository("platform").await;
    let first = repository.commit(&[("a/b.yaml", "one"), ("c.yaml", "two")], "first").await;
    assert_eq!(remote.requests(), [], "commits do not go through the server");

    let scratch = Scratch::new("clone");
    let clone = scratch.path().join("clone");
    let cloned =
        git_command(scratch.path()).args(["clone", "--quiet", repository.url(), "clone"]).status().await.unwrap();
    assert!(cloned.success());
    assert_eq!(fs::read_to_string(clone.join("a/b.yaml")).unwrap(), "one");
    assert_eq!(remote.count("/platform.git/info/refs"), 1);
    assert_eq!(remote.count("/platform.git/git-upload-pack"), 2, "protocol 2: refs and pack");

    fs::write(clone.join("d.yaml"), "three").unwrap();
    for arguments in [&["add", "."][..], &["commit", "--quiet", "-m", "second"], &["push", "--quiet", "origin", "main"]]
    {
        assert!(git_command(&clone).args(arguments).status().await.unwrap().success(), "git {arguments:?}");
    }
    let pushed = repository.git(&["ls-remote", "origin", "main"]).await;
    assert!(!pushed.starts_with(&first), "main moved: {pushed}");
}

#[tokio::test]
async fn a_removed_file_is_gone_in_the_next_commit() {
    let remote = GitRemote::start().await;
    let repository = remote.repository("platform").await;
    repository.commit(&[("a.yaml", "one"), ("b.yaml", "two")], "first").await;
    let commit = repository.remove("a.yaml").await;
    assert_eq!(repository.git(&["ls-tree", "--name-only", &commit]).await, "b.yaml\n");
}

#[tokio::test]
async fn wrong_credentials_are_refused_and_right_ones_taken() {
    let remote = GitRemote::with_credentials("robot", "secret").await;
    let repository = remote.repository("platform").await;
    repository.commit(&[("a.yaml", "one")], "first").await;
    let with = |credentials: &str| repository.url().replace("http://", &format!("http://{credentials}@"));

    assert!(list(&with("robot:secret")).await.0);
    for url in [repository.url().to_owned(), with("robot:wrong")] {
        let (worked, said) = list(&url).await;
        assert!(!worked && (said.contains("Authentication failed") || said.contains("could not read")), "{said}");
    }
    remote.set_mode(Mode::RefuseCredentials);
    assert!(!list(&with("robot:secret")).await.0);
    remote.set_mode(Mode::Ok);
    remote.set_credentials(Some(("robot", "rotated")));
    assert!(!list(&with("robot:secret")).await.0);
    assert!(list(&with("robot:rotated")).await.0);
}

#[tokio::test]
async fn a_failing_remote_says_its_status_and_recovers() {
    let remote = GitRemote::start().await;
    let repository = remote.repository("platform").await;
    repository.commit(&[("a.yaml", "one")], "first").await;
    remote.set_mode(Mode::Fail(503));
    let (worked, said) = list(repository.url()).await;
    assert!(!worked && said.contains("503"), "{said}");
    remote.set_mode(Mode::Ok);
    assert!(list(repository.url()).await.0);
}

#[tokio::test]
async fn a_hanging_remote_takes_the_request_and_never_answers() {
    let remote = GitRemote::start().await;
    let repository = remote.repository("platform").await;
    remote.set_mode(Mode::Hang);
    let url = repository.url().to_owned();
    let listing = tokio::spawn(async move { list(&url).await });
    eventually("it is asked", SOON, async || match remote.count("/platform.git/info/refs") {
        1 => Ok(()),
        times => Err(format!("{times} times")),
    })
    .await;
    throughout("it does not answer", Duration::from_millis(500), async || {
        if listing.is_finished() { Err("git has ended".to_owned()) } else { Ok(()) }
    })
    .await;
    listing.abort();
    assert_eq!(remote.count("/platform.git/info/refs"), 1);
}

/// Between the look and the moment in which a program listens, hundreds of connections are made.
#[test]
fn a_free_port_is_given_once_and_is_none_that_connections_get() {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap();
    let first: u16 = range.split_whitespace().next().unwrap().parse().unwrap();
    let ports: BTreeSet<u16> = (0..200).map(|_| free_port()).collect();
    assert_eq!(ports.len(), 200);
    assert!(first < 30_000 || ports.iter().all(|port| *port < first), "{ports:?}");
}

#[tokio::test]
async fn the_aws_emulator_keeps_a_secret() {
    let aws = Aws::start().await;
    let call = async |action: &str, body: &str| {
        let headers = [
            ("X-Amz-Target", &*format!("secretsmanager.{action}")),
            // The emulator reads service and region out of the signature and does not check it.
            (
                "Authorization",
                "AWS4-HMAC-SHA256 Credential=test/20260101/eu-central-1/secretsmanager/aws4_request, SignedHeaders=host, Signature=0",
            ),
            ("Content-Type", "application/x-amz-json-1.1"),
        ];
        http::send("POST", &aws.endpoint(), &headers, body).await.unwrap().body
    };
    let made = call("CreateSecret", r#"{"Name":"a","SecretString":"value"}"#).await;
    assert!(made.contains("arn:aws:secretsmanager:eu-central-1"), "{made}");
    let read = call("GetSecretValue", r#"{"SecretId":"a"}"#).await;
    assert!(read.contains(r#""SecretString": "value""#) || read.contains(r#""SecretString":"value""#), "{read}");
}

/// Whether a process runs: a zombie, which only waits to be reaped, does not.
fn runs(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.trim().is_empty() && !rest.trim_start().starts_with('Z'))
}

#[tokio::test]
async fn a_dropped_program_dies_with_its_children() {
    let scratch = Scratch::new("supervised");
    let log = scratch.path().join("log");
    let program = supervised::spawn(Path::new("/bin/sh"), &log, |command| {
        command.args(["-c", "sleep 1000 & echo $!; wait"]);
    });
    let child =
        eventually("the child started", SOON, async || program.tail(1).parse::<u32>().map_err(|e| e.to_string())).await;
    let parent = program.pid();
    assert!(runs(parent) && runs(child));
    drop(program);
    eventually("both are gone", SOON, async || {
        if runs(parent) || runs(child) { Err(format!("{parent} or {child} runs")) } else { Ok(()) }
    })
    .await;
}

/// Not a test of its own: what the test below runs in a process that it kills.
#[tokio::test]
#[ignore = "run by supervised_programs_and_folders_go_when_their_owner_is_killed"]
async fn owner_that_is_killed() {
    let Ok(report) = std::env::var("GITMOOR_OWNER_REPORT") else { return };
    let scratch = Scratch::new("owner");
    let program = supervised::spawn(Path::new("/bin/sleep"), &scratch.path().join("log"), |command| {
        command.arg("1000");
    });
    fs::write(report, format!("{} {}\n", program.pid(), scratch.path().display())).unwrap();
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn supervised_programs_and_folders_go_when_their_owner_is_killed() {
    let scratch = Scratch::new("killed");
    let report = scratch.path().join("report");
    let mut owner = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--ignored", "harness::owner_that_is_killed"])
        .env("GITMOOR_OWNER_REPORT", &report)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let (pid, folder) = eventually("the owner reported", SOON, async || {
        let text = fs::read_to_string(&report).map_err(|error| error.to_string())?;
        let (pid, folder) = text.strip_suffix('\n').and_then(|line| line.split_once(' ')).ok_or("not all is there")?;
        Ok((pid.parse::<u32>().map_err(|error| error.to_string())?, folder.to_owned()))
    })
    .await;
    assert!(runs(pid) && Path::new(&folder).exists());
    owner.kill().unwrap();
    owner.wait().unwrap();
    eventually("nothing is left", SOON, async || {
        if runs(pid) || Path::new(&folder).exists() { Err(format!("{pid} runs or {folder} is there")) } else { Ok(()) }
    })
    .await;
}
