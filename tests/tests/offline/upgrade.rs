//! `gitmoor upgrade`, run as a user runs it: a fork, and an upstream that goes on.

use std::{collections::BTreeSet, fs, os::unix::fs::PermissionsExt};

use crate::init::{Fork, terminal::on_terminal};

mod random;
mod scale;

const CONF: &str = "<<__a__>>=eu-west-1\n<<__host__>>=db.example.com\n";

fn long(marker: &str) -> String {
    (1..=12).map(|line| format!("{marker} line {line}: <<__a__>>\n")).collect()
}

/// An upstream, and a fork of it that was initialised and committed.
fn pair(files: &[(&str, &str)]) -> (Fork, Fork) {
    let example = format!("# Where it runs\n{CONF}");
    let upstream = Fork::committed("", files);
    upstream.git(&["rm", "--quiet", "setup.conf"]);
    upstream.write("setup.conf.example", example);
    upstream.commit("one");
    let fork = Fork::clone_of(&upstream, &[]);
    fork.write("setup.conf", CONF);
    fork.run(&["init", "setup.conf", "--commit"]).assert(0);
    (upstream, fork)
}

fn change(fork: &Fork, path: &str, from: &str, to: &str) {
    let text = fork.read(path);
    assert!(text.contains(from), "{text}");
    fork.write(path, text.replace(from, to));
}

fn subject_and_parents(fork: &Fork) -> String {
    fork.git(&["log", "-1", "--format=%s %P"])
}

#[test]
fn both_sides_changes_arrive_in_one_merge_commit() {
    let (upstream, fork) = pair(&[("distribution/f", &long("f")), ("distribution/g", "host: <<__host__>>\n")]);
    change(&fork, "distribution/f", "f line 2: eu-west-1\n", "f line 2: eu-west-1 # mine\n");
    fork.write(".gitmoor/sealing-cert.pem", "pinned\n");
    let ours = fork.commit("mine");
    change(&upstream, "distribution/f", "f line 5: <<__a__>>", "f line 5: <<__host__>>");
    let theirs = upstream.commit("two");
    let before = fork.distribution();
    let run = fork.run(&["upgrade", "--dry-run"]);
    assert!(
        run.assert(0).stdout.contains("1 commits, 1 files changed\nchanged by you and upstream\n  distribution/f\n"),
        "{run:?}"
    );
    assert_eq!((fork.distribution(), fork.git(&["status", "--porcelain"])), (before, String::new()));

    fork.run(&["upgrade"]).assert(0);
    assert_eq!(subject_and_parents(&fork), format!("Upgrade to upstream {} {ours} {theirs}\n", &theirs[..7]));
    let expected =
        long("f").replace("5: <<__a__>>", "5: db.example.com").replace(" 2: <<__a__>>", " 2: <<__a__>> # mine");
    assert_eq!(fork.read("distribution/f"), expected.replace("<<__a__>>", "eu-west-1"));
    assert_eq!(fork.git(&["status", "--porcelain"]), "");
    assert_eq!(fork.read(".gitmoor/sealing-cert.pem"), "pinned\n", "what is no state is the fork's own");
    let run = fork.run(&["upgrade"]);
    assert!(run.assert(0).stderr.contains("nothing to do"), "{run:?}");
    // The state is that of the new templates.
    change(&fork, "setup.conf", "db.example.com", "db.example.org");
    fork.init().assert(0);
    assert!(fork.read("distribution/f").contains("f line 5: db.example.org\n"));
}

#[test]
fn renamed_removed_new_binary_and_executable_files() {
    let binary = "\0binary <<__a__>> 1";
    let (upstream, fork) = pair(&[
        ("distribution/renamed", &long("r")),
        ("distribution/moved-by-fork", &long("m")),
        ("distribution/removed", &long("d")),
        ("distribution/binary", binary),
        ("distribution/script", "#!/bin/sh\necho <<__a__>>\n"),
    ]);
    change(&fork, "distribution/renamed", "r line 2: eu-west-1\n", "r line 2: eu-west-1 # mine\n");
    fork.git(&["mv", "distribution/moved-by-fork", "distribution/mine"]);
    fork.write("distribution/own", "eu-west-1\n");
    fork.commit("mine");
    upstream.git(&["mv", "distribution/renamed", "distribution/new-name"]);
    upstream.git(&["rm", "--quiet", "distribution/removed"]);
    change(&upstream, "distribution/moved-by-fork", "m line 9: <<__a__>>", "m line 9: <<__host__>>");
    upstream.write("distribution/binary", "\0binary <<__a__>> 2");
    upstream.write("distribution/added", "<<__a__>>\n");
    fs::set_permissions(upstream.path("distribution/script"), PermissionsExt::from_mode(0o755)).unwrap();
    upstream.commit("two");
    fork.run(&["upgrade"]).assert(0);
    let names: Vec<_> = fork
        .distribution()
        .into_keys()
        .map(|path| path.display().to_string())
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    assert_eq!(names, ["added", "binary", "mine", "new-name", "own", "script"]);
    assert_eq!(fork.read("distribution/added"), "eu-west-1\n");
    assert_eq!(fork.read("distribution/binary"), "\0binary <<__a__>> 2");
    assert!(fork.read("distribution/new-name").contains("r line 2: eu-west-1 # mine\n"));
    assert!(fork.read("distribution/mine").contains("m line 9: db.example.com\n"));
    let mode = fs::metadata(fork.path("distribution/script")).unwrap().permissions().mode();
    assert_eq!(mode & 0o111, 0o111);
    // Every place is still known.
    change(&fork, "setup.conf", "=eu-west-1", "=us-east-2");
    change(&fork, "setup.conf", "db.example.com", "db.example.org");
    fork.init().assert(0);
    let text: String = names.iter().map(|name| fork.read(&format!("distribution/{name}"))).collect();
    assert_eq!((text.matches("eu-west-1").count(), text.matches("db.example.com").count()), (1, 0), "{text}");
}

#[test]
fn a_real_conflict_is_an_ordinary_one_with_values_on_both_sides() {
    let (upstream, fork) = pair(&[("distribution/f", &long("f")), ("distribution/g", &long("g"))]);
    change(&fork, "distribution/f", "f line 5: eu-west-1\n", "f line 5: eu-west-1 mine\n");
    let ours = fork.commit("mine");
    change(&upstream, "distribution/f", "f line 5: <<__a__>>", "f line 5: <<__a__>> theirs");
    change(&upstream, "distribution/g", "g line 1:", "g first line:");
    let theirs = upstream.commit("two");
    let dry = fork.run(&["upgrade", "--dry-run"]);
    assert!(dry.assert(1).stdout.ends_with("in conflict\n  distribution/f\n"), "as the upgrade itself: {dry:?}");
    assert_eq!(fork.git(&["status", "--porcelain"]), "");
    let run = fork.run(&["upgrade"]);
    assert!(run.assert(1).stdout.ends_with("`git merge --abort`\n  distribution/f\n"), "{run:?}");
    let short = &theirs[..7];
    let conflict = format!(
        "<<<<<<< the fork\nf line 5: eu-west-1 mine\n=======\nf line 5: eu-west-1 theirs\n>>>>>>> upstream {short}\n"
    );
    assert!(fork.read("distribution/f").contains(&conflict), "{}", fork.read("distribution/f"));
    let side = |stage: u8| fork.git(&["show", &format!(":{stage}:distribution/f")]);
    let all = long("f").replace("<<__a__>>", "eu-west-1");
    assert_eq!(side(1), all);
    assert_eq!(side(2), all.replace("5: eu-west-1", "5: eu-west-1 mine"));
    assert_eq!(side(3), all.replace("5: eu-west-1", "5: eu-west-1 theirs"));
    assert!(fork.read("distribution/g").starts_with("g first line: eu-west-1\n"));
    assert!(fork.run(&["upgrade"]).assert(5).stderr.contains("a merge has not been finished"));

    // Back, and once more to the end.
    fork.git(&["merge", "--abort"]);
    assert_eq!(
        (fork.git(&["rev-parse", "HEAD"]).trim(), fork.git(&["status", "--porcelain"]).as_str()),
        (ours.as_str(), "")
    );
    fork.run(&["upgrade"]).assert(1);
    let resolved = fork.read("distribution/f").replace(&conflict, "f line 5: eu-west-1 both\n");
    fork.write("distribution/f", resolved);
    fork.git(&["add", "distribution/f"]);
    fork.git(&["commit", "--quiet", "--no-edit"]);
    assert_eq!(subject_and_parents(&fork), format!("Upgrade to upstream {short} {ours} {theirs}\n"));
    change(&upstream, "distribution/f", "f line 12:", "f last line:");
    upstream.commit("three");
    fork.run(&["upgrade"]).assert(0);
    assert!(fork.read("distribution/f").ends_with("f last line: eu-west-1\n"));
}

#[test]
fn new_placeholders_need_values() {
    let (upstream, fork) =
        pair(&[("distribution/components/x/f", &long("f")), ("distribution/g", "a\nhost: <<__host__>>:3306\n")]);
    change(&fork, "distribution/g", "host: db.example.com:3306", "host: db.example.com:3306 # mine");
    fork.commit("mine");
    change(&upstream, "distribution/g", "<<__host__>>", "<<__mysql.host__>>");
    upstream.write("distribution/components/y/f", "<<__bucket__>>\n");
    change(
        &upstream,
        "setup.conf.example",
        "<<__host__>>=",
        "# Where the artifacts are\n<<__bucket__>>=b\n<<__mysql.host__>>=",
    );
    upstream.commit("two");
    let head = fork.git(&["rev-parse", "HEAD"]);
    let run = fork.run(&["upgrade"]);
    let expected = "components\n  added: y\nplaceholders\n  added: bucket\n  renamed: host to mysql.host\n\
        changed by you and upstream\n  distribution/g\n\
        missing: new placeholders without a value\n  <<__bucket__>>\n  <<__mysql.host__>>, which was <<__host__>>\n";
    assert!(run.assert(1).stdout.ends_with(expected), "{run:?}");
    assert_eq!((fork.git(&["rev-parse", "HEAD"]), fork.git(&["status", "--porcelain"])), (head, String::new()));
    let json = fork.run(&["upgrade", "--output", "json", "--dry-run"]).json();
    assert_eq!(json["placeholders"]["renamed"]["<<__mysql.host__>>"], "<<__host__>>");

    // On a terminal they are asked for, with what the example says, and the old value as suggestion.
    let (status, screen) = on_terminal(&mut fork.command(&["upgrade"]), "my-bucket\n\n");
    assert_eq!(status, Some(0), "{screen}");
    assert!(screen.contains("# Where the artifacts are\n<<__bucket__>>: "), "{screen}");
    assert!(screen.contains("<<__mysql.host__>> [db.example.com]: "), "{screen}");
    assert_eq!(fork.read("distribution/components/y/f"), "my-bucket\n");
    // A placeholder that is only called differently does not conflict with an edit of its line.
    assert_eq!(fork.read("distribution/g"), "a\nhost: db.example.com:3306 # mine\n");
    let conf = fork.read("setup.conf");
    assert!(conf.ends_with("\n<<__bucket__>>=my-bucket\n<<__mysql.host__>>=db.example.com\n"), "{conf}");
    fork.init().assert(0);
    assert_eq!(fork.git(&["status", "--porcelain"]), "");
}

#[test]
fn new_placeholders_of_components_that_are_off_need_no_values() {
    let application = |name: &str| {
        format!(
            "apiVersion: argoproj.io/v1alpha1\nkind: Application\nmetadata: {{name: {name}, namespace: gitmoor}}\nspec:\n  project: default\n  \
             source: {{repoURL: https://git.example.com/fork.git, targetRevision: main, path: distribution/components/{name}}}\n  destination: {{server: \
             https://kubernetes.default.svc, namespace: {name}}}\n"
        )
    };
    let map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: map}\ndata: {host: \"<<__host__>>\"}\n";
    let selection = "resources:\n  - applications/x.yaml\n";
    let (upstream, fork) = pair(&[
        ("distribution/kustomization.yaml", selection),
        ("distribution/applications/x.yaml", &application("x")),
        ("distribution/components/x/map.yaml", map),
    ]);
    let off = format!("{selection}  # - applications/y.yaml\n");
    upstream.write("distribution/kustomization.yaml", &off);
    upstream.write("distribution/applications/y.yaml", application("y"));
    upstream.write("distribution/components/y/map.yaml", map.replace("<<__host__>>", "<<__bucket__>>"));
    upstream.commit("two");
    let run = fork.run(&["upgrade"]);
    let said = &run.assert(0).stdout;
    assert!(said.ends_with("not needed: placeholders of components that are off\n  bucket\n"), "{said}");
    assert!(fork.read("distribution/components/y/map.yaml").contains("<<__bucket__>>"));
    fork.init().assert(0);
    assert_eq!(fork.git(&["status", "--porcelain"]), "");

    // Turned on, it needs its value; and what is on already needs that of a new one at once.
    change(&fork, "distribution/kustomization.yaml", "# - applications/y", "- applications/y");
    assert!(fork.init().assert(1).stdout.contains("<<__bucket__>>"));
    let conf = fork.read("setup.conf");
    fork.write("setup.conf", format!("{conf}<<__bucket__>>=mine\n"));
    fork.init().assert(0);
    assert!(fork.read("distribution/components/y/map.yaml").contains("host: \"mine\""));
    fork.commit("y is on");
    change(&upstream, "distribution/components/x/map.yaml", "host:", "port: \"<<__port__>>\", host:");
    upstream.commit("three");
    let run = fork.run(&["upgrade"]);
    assert!(run.assert(1).stdout.ends_with("missing: new placeholders without a value\n  <<__port__>>\n"), "{run:?}");
}

#[test]
fn what_stands_in_the_way_is_said_before_anything_is_written() {
    let (upstream, fork) = pair(&[("distribution/f", &long("f"))]);
    upstream.write("distribution/new", "x\n");
    upstream.commit("two");
    change(&fork, "distribution/f", "f line 2", "f second");
    assert!(fork.run(&["upgrade"]).assert(5).stderr.contains("uncommitted changes"));
    fork.git(&["checkout", "--quiet", "distribution/f"]);
    // An untracked file where upstream has one.
    fork.write("distribution/new", "mine\n");
    let run = fork.run(&["upgrade"]);
    assert!(run.assert(5).stderr.contains("distribution/new"), "{run:?}");
    assert_eq!(fork.read("distribution/new"), "mine\n");
    assert!(!fork.path(".git/MERGE_HEAD").exists());
    fs::remove_file(fork.path("distribution/new")).unwrap();

    for (arguments, status, expected) in [
        (&["upgrade", "--to", "no-such-branch"][..], 4, "no-such-branch"),
        (&["upgrade", "--upstream", "/nonexistent"], 4, "fetch"),
        (&["upgrade", "--upstream=--upload-pack=touch x"], 2, "dash"),
    ] {
        let run = fork.run(arguments);
        assert!(run.assert(status).stderr.contains(expected), "{run:?}");
    }
    let plain = Fork::committed("", &[("distribution/f", "x")]);
    assert!(plain.run(&["upgrade"]).assert(5).stderr.contains(".gitmoor/init.yaml"));
    let shallow = Fork::clone_of(&fork, &["--depth=1"]);
    let url = format!("file://{}", upstream.path(".").display());
    let run = shallow.run(&["upgrade", "--upstream", &url]);
    assert!(run.assert(3).stderr.contains("git fetch --unshallow"), "{run:?}");
}

#[test]
fn a_squashed_fork_is_adopted_and_then_upgraded() {
    let (upstream, fork) = pair(&[("distribution/f", &long("f"))]);
    let squashed = Fork::new("", &[]);
    squashed.git(&["init", "--quiet", "--initial-branch=main", "."]);
    squashed.git(&["config", "user.name", "Test"]);
    squashed.git(&["config", "user.email", "test@example.com"]);
    squashed.write("distribution/f", fork.read("distribution/f"));
    squashed.write("setup.conf", CONF);
    squashed.commit("one commit of everything");
    squashed.git(&["remote", "add", "upstream", upstream.path(".").to_str().unwrap()]);
    squashed.git(&["fetch", "--quiet", "upstream"]);
    squashed.run(&["init", "setup.conf", "--adopt", "--upstream-commit", "upstream/main"]).assert(0);
    squashed.commit("adopted");
    change(&upstream, "distribution/f", "f line 5:", "f fifth line:");
    upstream.commit("two");
    let run = squashed.run(&["upgrade"]);
    run.assert(0);
    assert!(squashed.read("distribution/f").contains("f fifth line: eu-west-1\n"), "{run:?}");
}
