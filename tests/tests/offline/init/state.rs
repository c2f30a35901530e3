//! What `gitmoor init` leaves behind, and what a later run makes of it.

use std::{fs, process::Stdio, thread, time::Duration};

use super::Fork;

const CONF: &str = "<<__region__>>=eu-west-1\n<<__bucket__>>=data\n<<__url__>>=https://<<__region__>>.example.com\n";
const FILE: &str = "region: <<__region__>>\nname: app\nbucket: s3://<<__bucket__>>/<<__region__>>\nurl: <<__url__>>\n";

fn fork() -> Fork {
    Fork::committed(
        CONF,
        &[
            ("distribution/a.yaml", FILE),
            ("distribution/b.yaml", "x: <<__bucket__>>\nand: more\nthan: one line\n"),
            ("distribution/plain", "eu-west-1\n"),
        ],
    )
}

fn change(fork: &Fork, path: &str, from: &str, to: &str) {
    let text = fork.read(path);
    assert!(text.contains(from), "{text}");
    fork.write(path, text.replace(from, to));
}

#[test]
fn the_state_is_readable_and_a_second_run_changes_nothing() {
    let fork = fork();
    let blob = fork.git(&["rev-parse", "HEAD:distribution/b.yaml"]);
    fork.init().assert(0);
    let state = fork.read(".gitmoor/init.yaml");
    assert!(state.contains("format: 1\n"), "{state}");
    assert!(state.contains(&format!("    distribution/b.yaml: {blob}")), "{state}");
    assert!(state.contains("    <<__region__>>: eu-west-1\n"), "{state}");
    assert!(!state.contains("plain"), "{state}");
    let before = fork.state();
    fork.init().assert(0);
    fork.commit("initialised");
    fork.init().assert(0);
    for (path, one) in fork.state().iter().filter(|(path, _)| !path.to_string_lossy().contains("/.git/")) {
        assert_eq!(before.get(path), Some(one), "{}", path.display());
    }
    assert_eq!(fork.git(&["status", "--porcelain"]), "");
}

#[test]
fn a_changed_value_changes_its_places_and_nothing_else() {
    let fork = fork();
    fork.init().assert(0);
    fork.commit("initialised");
    // The user edits: a comment on the line, a line with the same text, lines around, an own placeholder.
    change(&fork, "distribution/a.yaml", "region: eu-west-1\n", "# mine\nregion: eu-west-1 # here\nmine: eu-west-1\n");
    change(&fork, "distribution/a.yaml", "name: app\n", "");
    change(&fork, "distribution/b.yaml", "x: data\n", "x: data\ny: <<__region__>>\n");
    fork.git(&["mv", "distribution/b.yaml", "distribution/c.yaml"]);
    fork.commit("edited");
    change(&fork, "setup.conf", "=eu-west-1", "=us-east-2");
    let plan = fork.run(&["init", "setup.conf", "--dry-run"]);
    assert!(
        plan.assert(0).stdout.contains("-region: eu-west-1 # here\n+region: [value of region] # here\n"),
        "{plan:?}"
    );
    fork.init().assert(0);
    let expected = "# mine\nregion: us-east-2 # here\nmine: eu-west-1\nbucket: s3://data/us-east-2\nurl: https://us-east-2.example.com\n";
    assert_eq!(fork.read("distribution/a.yaml"), expected);
    assert_eq!(fork.read("distribution/c.yaml"), "x: data\ny: us-east-2\nand: more\nthan: one line\n");
    assert_eq!(fork.read("distribution/plain"), "eu-west-1\n");

    // What was never committed is init's own work: the next change needs no commit in between. The
    // placeholder that the user added is known, too.
    fork.commit("changed");
    change(&fork, "setup.conf", "=us-east-2", "=ap-south-1");
    change(&fork, "setup.conf", "=data", "=logs");
    fork.init().assert(0);
    change(&fork, "setup.conf", "=logs", "=traces");
    fork.init().assert(0);
    assert_eq!(fork.read("distribution/a.yaml"), expected.replace("us-east-2", "ap-south-1").replace("data", "traces"));
    assert_eq!(fork.read("distribution/c.yaml"), "x: traces\ny: ap-south-1\nand: more\nthan: one line\n");
    assert_eq!(fork.init().assert(0).stdout, "");
}

#[test]
fn a_place_that_the_user_has_edited_is_left_and_named() {
    let fork = fork();
    fork.init().assert(0);
    change(&fork, "distribution/a.yaml", "region: eu-west-1", "region: mine");
    fork.commit("edited");
    change(&fork, "setup.conf", "=eu-west-1", "=us-east-2");
    let run = fork.init();
    assert!(run.assert(0).stdout.contains("edited: places that no longer hold the value, and are left as they are\n  distribution/a.yaml:1:9: <<__region__>>\n"), "{run:?}");
    assert!(fork.read("distribution/a.yaml").starts_with("region: mine\nname: app\nbucket: s3://data/us-east-2\n"));
    // A name that leaves setup.conf keeps its value in the files.
    change(&fork, "setup.conf", "<<__bucket__>>=data\n", "");
    fork.commit("more");
    let run = fork.init();
    assert!(run.assert(0).stdout.contains("no longer in setup.conf"), "{run:?}");
    assert!(fork.read("distribution/a.yaml").contains("s3://data/"));
}

#[test]
fn uncommitted_changes_are_not_overwritten() {
    let fork = fork();
    change(&fork, "distribution/a.yaml", "name: app", "name: mine");
    fork.write("distribution/new.yaml", "<<__region__>>\n");
    fork.write(".gitignore", "ignored\n");
    fork.write("distribution/ignored", "<<__region__>>\n");
    // Nothing would be written into these.
    fork.write("distribution/without", "x\n");
    let before = fork.distribution();
    let run = fork.init();
    assert!(
        run.assert(5)
            .stderr
            .contains("\n  distribution/a.yaml\n  distribution/ignored\n  distribution/new.yaml\nhint: "),
        "{run:?}"
    );
    assert_eq!(fork.distribution(), before);
    assert!(!fork.path(".gitmoor").exists());
    fork.run(&["init", "setup.conf", "--check"]).assert(0);

    fork.run(&["init", "setup.conf", "--force"]).assert(0);
    assert_eq!(fork.read("distribution/new.yaml"), "eu-west-1\n");
    // Their templates are known: a changed value reaches these files, too.
    change(&fork, "setup.conf", "=eu-west-1", "=us-east-2");
    fork.run(&["init", "setup.conf", "--force"]).assert(0);
    assert_eq!(fork.read("distribution/new.yaml"), "us-east-2\n");
    assert!(fork.read("distribution/a.yaml").starts_with("region: us-east-2\nname: mine\n"));
}

#[test]
fn with_commit_the_result_is_one_commit_of_what_belongs_to_it() {
    let fork = fork();
    fork.write("setup.conf", CONF.replace("data", "other"));
    fork.write("distribution/unrelated", "x\n");
    fork.write("staged", "x\n");
    fork.git(&["add", "staged"]);
    // However it was named, the commit has no path of this machine.
    fork.run(&["init", fork.path("setup.conf").to_str().unwrap(), "--commit"]).assert(0);
    let shown = fork.git(&["show", "--name-only", "--format=%B", "HEAD"]);
    assert!(shown.ends_with("\n.gitmoor/init.yaml\ndistribution/a.yaml\ndistribution/b.yaml\nsetup.conf\n"), "{shown}");
    assert!(shown.contains("5 places in 2 files:\nbucket, region, url") && !shown.contains("other"), "{shown}");
    assert_eq!(fork.git(&["status", "--porcelain"]), "A  staged\n?? distribution/unrelated\n");
    let run = fork.run(&["init", "./setup.conf", "--commit"]);
    assert_eq!(fork.git(&["log", "--format=%s", "-1"]), "Put the values of setup.conf in place\n", "{run:?}");
}

#[test]
fn what_an_earlier_run_left_uncommitted_is_committed_too() {
    let fork = fork();
    fork.init().assert(0);
    fork.write("distribution/unrelated", "x\n");
    fork.run(&["init", "setup.conf", "--commit"]).assert(0);
    let shown = fork.git(&["show", "--name-only", "--format=%B", "HEAD"]);
    assert!(shown.contains("\n.gitmoor/init.yaml\ndistribution/a.yaml\ndistribution/b.yaml\n"), "{shown}");
    assert!(shown.starts_with("Put the values of setup.conf in place\n\n\n.gitmoor"), "{shown}");
    assert_eq!(fork.git(&["status", "--porcelain"]), "?? distribution/unrelated\n");

    change(&fork, "setup.conf", "=eu-west-1", "=us-east-2");
    fork.init().assert(0);
    fork.run(&["init", "setup.conf", "--commit"]).assert(0);
    assert_eq!(fork.git(&["status", "--porcelain"]), "?? distribution/unrelated\n");
    assert!(fork.git(&["show", "HEAD:distribution/a.yaml"]).contains("us-east-2"));

    // An edit of what is in place is the user's own.
    let edited = fork.read("distribution/a.yaml") + "more: 1\n";
    fork.write("distribution/a.yaml", &edited);
    assert!(fork.run(&["init", "setup.conf", "--commit"]).assert(0).stderr.contains("nothing to commit"));
    assert_eq!(fork.git(&["status", "--porcelain"]), " M distribution/a.yaml\n?? distribution/unrelated\n");
}

#[test]
fn a_setup_conf_that_git_ignores_stays_out_of_the_commit() {
    let fork = Fork::committed("", &[(".gitignore", "/*.conf\n"), ("distribution/f", "<<__a__>>\n")]);
    fork.write("own.conf", "<<__a__>>=1\n");
    fork.run(&["init", "own.conf", "--commit"]).assert(0);
    assert_eq!(fork.git(&["show", "--format=", "--name-only"]), ".gitmoor/init.yaml\ndistribution/f\n");
    assert_eq!(fork.git(&["status", "--porcelain"]), "");
}

#[test]
fn what_git_ignores_below_the_distribution_stays_out_of_the_commit() {
    let files = [(".gitignore", "*.local\n/distribution/own/\n"), ("distribution/f", "<<__a__>>\n")];
    let fork = Fork::committed("<<__a__>>=1\n", &files);
    fork.write("distribution/f.local", "<<__a__>>\n");
    fork.write("distribution/own/deep/f", "<<__a__>>\n");
    fork.run(&["init", "setup.conf", "--commit", "--force"]).assert(0);
    assert_eq!(fork.read("distribution/own/deep/f"), "1\n", "written all the same");
    // The template of a file that no commit has is kept; that of the other one is ignored as the file is.
    let committed = ".gitmoor/init.yaml\n.gitmoor/templates/distribution/own/deep/f\ndistribution/f\n";
    assert_eq!(fork.git(&["show", "--format=", "--name-only"]), committed);
    // Another value changes all three again.
    fork.write("setup.conf", "<<__a__>>=2\n");
    fork.run(&["init", "setup.conf", "--commit"]).assert(0);
    let committed = ".gitmoor/init.yaml\ndistribution/f\nsetup.conf\n";
    assert_eq!(fork.git(&["show", "--format=", "--name-only"]), committed);
    assert_eq!(fork.read("distribution/f.local"), "2\n");
}

#[test]
fn what_somebody_has_staged_is_no_reason_for_a_commit() {
    let fork = fork();
    fork.run(&["init", "setup.conf", "--commit"]).assert(0);
    let before = fork.git(&["rev-parse", "HEAD"]);
    fork.write("staged", "x\n");
    fork.git(&["add", "staged"]);
    let run = fork.run(&["init", "setup.conf", "--commit"]);
    assert!(run.assert(0).stderr.contains("nothing to commit"), "{run:?}");
    assert_eq!(fork.git(&["rev-parse", "HEAD"]), before);
    assert_eq!(fork.git(&["status", "--porcelain"]), "A  staged\n");
}

#[test]
fn a_shallow_or_squashed_clone_is_told_what_to_do() {
    let origin = fork();
    origin.run(&["init", "setup.conf", "--commit"]).assert(0);
    let shallow = Fork::clone_of(&origin, &["--depth=1"]);
    // Without a changed value nothing is missed.
    shallow.init().assert(0);
    change(&shallow, "setup.conf", "=eu-west-1", "=us-east-2");
    let before = shallow.distribution();
    let run = shallow.init();
    assert!(
        run.assert(3).stderr.contains("templates of distribution/a.yaml, distribution/b.yaml; nothing was written"),
        "{run:?}"
    );
    assert!(run.stderr.contains("git fetch --unshallow"), "{run:?}");
    assert_eq!(shallow.distribution(), before);
    shallow.git(&["fetch", "--quiet", "--unshallow"]);
    shallow.init().assert(0);
    assert!(shallow.read("distribution/a.yaml").starts_with("region: us-east-2\n"));
}

#[test]
fn a_state_that_is_wrong_stops_everything() {
    let fork = fork();
    fork.init().assert(0);
    fork.commit("initialised");
    for (text, expected) in [
        ("<<<<<<< HEAD\n", "not a state"),
        ("format: 99\n", "has format 99"),
        ("format: 1\ninitialised:\n- setup_conf: x\n  files: {../a: kept}\n", "names ../a"),
    ] {
        fork.write(".gitmoor/init.yaml", text);
        let run = fork.init();
        assert!(run.assert(3).stderr.contains(expected), "{run:?}");
        assert_eq!(fork.read(".gitmoor/init.yaml"), text);
    }
}

#[test]
fn a_value_that_looks_like_a_secret_is_not_in_the_state() {
    let secret = format!("AKIA{}", "IOSFODNN7EXAMPLE");
    let fork = Fork::committed(
        &format!("<<__key__>>={secret}\n<<__a__>>=1\n"),
        &[("distribution/f", "k: <<__key__>>\na: <<__a__>>\n")],
    );
    fork.run(&["init", "setup.conf", "--allow-secret-values"]).assert(0);
    assert!(!fork.read(".gitmoor/init.yaml").contains(&secret));
    fork.commit("initialised");
    change(&fork, "setup.conf", "=1", "=2");
    fork.run(&["init", "setup.conf", "--allow-secret-values"]).assert(0);
    assert_eq!(fork.read("distribution/f"), format!("k: {secret}\na: 2\n"));
    fork.commit("changed");
    change(&fork, "setup.conf", &secret, "arn:aws:secret");
    assert!(fork.init().assert(3).stderr.contains("--was NAME=VALUE"));
    fork.run(&["init", "setup.conf", "--was", &format!("key={secret}")]).assert(0);
    assert_eq!(fork.read("distribution/f"), "k: arn:aws:secret\na: 2\n");
}

#[test]
fn two_setup_confs_share_a_repository() {
    let fork = Fork::committed(
        "",
        &[
            ("staging.conf", "<<__a__>>=s\n"),
            ("production.conf", "<<__a__>>=p\n"),
            ("staging/f", "<<__a__>>\n"),
            ("production/f", "<<__a__>>\n"),
        ],
    );
    fork.run(&["init", "staging.conf", "--distribution", "staging"]).assert(0);
    fork.run(&["init", "production.conf", "--distribution", "production"]).assert(0);
    fork.commit("both");
    fork.write("staging.conf", "<<__a__>>=s2\n");
    // The folder is known by now.
    fork.run(&["init", "staging.conf"]).assert(0);
    assert_eq!((fork.read("staging/f"), fork.read("production/f")), ("s2\n".into(), "p\n".into()));
}

#[test]
fn killed_while_it_changes_values_the_next_run_completes() {
    let text = format!("{}v: <<__a__>>\n", "padding\n".repeat(500));
    let names: Vec<String> = (0..300).map(|index| format!("distribution/{index:03}")).collect();
    let files: Vec<_> = names.iter().map(|name| (name.as_str(), text.as_str())).collect();
    let fork = Fork::committed("<<__a__>>=value-0\n", &files);
    let mut interrupted = 0;
    for round in 0..8 {
        // The first round is the first `init`.
        fork.write("setup.conf", format!("<<__a__>>=value-{}\n", round + 1));
        let mut child =
            fork.command(&["init", "setup.conf"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let first = fork.path(&names[0]);
        let old = fs::read(&first).unwrap();
        for _ in 0..20_000 {
            if fs::read(&first).unwrap() != old {
                break;
            }
            thread::sleep(Duration::from_micros(200));
        }
        thread::sleep(Duration::from_millis(round));
        child.kill().unwrap();
        child.wait().unwrap();
        let new = text.replace("<<__a__>>", &format!("value-{}", round + 1));
        let done = names.iter().filter(|name| fork.read(name) == new).count();
        interrupted += usize::from(0 < done && done < names.len());
        let run = fork.init();
        assert!(!run.assert(0).stdout.contains("edited"), "{run:?}");
        assert!(names.iter().all(|name| fork.read(name) == new));
    }
    assert!(interrupted > 0, "no run was killed while it wrote");
}

#[test]
fn another_setup_conf_of_the_same_files_is_refused_and_a_renamed_one_goes_on() {
    let fork = fork();
    fork.run(&["init", "setup.conf", "--commit"]).assert(0);
    let before = fork.distribution();
    fork.write("other.conf", CONF.replace("=eu-west-1", "=us-east-2"));
    let refused = fork.run(&["init", "other.conf", "--commit"]);
    let said = &refused.assert(5).stderr;
    assert!(said.contains("were initialised from setup.conf, and not from other.conf"), "{said}");
    assert_eq!(fork.distribution(), before);
    fork.git(&["rm", "--quiet", "setup.conf"]);
    fork.run(&["init", "other.conf", "--commit"]).assert(0);
    assert!(fork.read("distribution/a.yaml").contains("region: us-east-2\n"), "{}", fork.read("distribution/a.yaml"));
    let state = fork.read(".gitmoor/init.yaml");
    assert!(state.contains("setup_conf: other.conf") && !state.contains("setup_conf: setup.conf"), "{state}");
}

#[test]
fn a_root_application_that_changes_is_to_be_applied_by_hand() {
    let file = "kind: Application\nspec: {source: {targetRevision: <<__branch__>>}}\n";
    let fork = Fork::committed("<<__branch__>>=main\n", &[("distribution/platform.yaml", file)]);
    let first = fork.run(&["init", "setup.conf", "--commit"]);
    assert!(!first.assert(0).stderr.contains("gitmoor bootstrap"), "the first time it is applied anyway: {first:?}");
    change(&fork, "setup.conf", "=main", "=stable");
    let second = fork.run(&["init", "setup.conf", "--commit"]);
    let said = &second.assert(0).stderr;
    assert!(said.contains("distribution/platform.yaml") && said.contains("run gitmoor bootstrap"), "{said}");
}
