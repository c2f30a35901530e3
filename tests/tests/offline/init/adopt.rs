//! `gitmoor init --adopt`: forks that a script has initialised.

use super::Fork;

const TEMPLATE: &str = "region: <<__region__>>\nkey: <<__key__>>\nhost: <<__host__>>\n";

/// As the old script did it: a value that ends in `=` is cut.
fn fork() -> (Fork, String) {
    let conf = "<<__region__>>=eu-west-1\n<<__key__>>=abc==\n<<__host__>>=db.example.com\n";
    let fork = Fork::committed(
        conf,
        &[
            ("distribution/a.yaml", TEMPLATE),
            ("distribution/b.yaml", "x: <<__host__>>\n"),
            ("distribution/gone", "<<__host__>>"),
        ],
    );
    let upstream = fork.git(&["rev-parse", "HEAD"]).trim().to_owned();
    fork.write("distribution/a.yaml", "region: eu-west-1\nkey: abc\nhost: db.example.com # mine\n");
    fork.write("distribution/b.yaml", "x: db.example.com\n");
    fork.git(&["rm", "--quiet", "--force", "distribution/gone"]);
    fork.commit("setup_repo.sh");
    (fork, upstream)
}

#[test]
fn the_state_is_made_anew_and_what_could_not_be_placed_is_named() {
    let (fork, upstream) = fork();
    let before = fork.distribution();
    let adopt = ["init", "setup.conf", "--adopt", "--upstream-commit", &upstream];
    let run = fork.run(&adopt);
    assert!(run.assert(1).stdout.ends_with("\n  distribution/a.yaml:2:6: <<__key__>> (upstream 2:6)\n"), "{run:?}");
    assert!(
        run.stderr.contains("adopted 3 placeholders in 2 files; 1 not placed, 1 in lines or files that are gone"),
        "{run:?}"
    );
    assert_eq!(fork.distribution(), before);
    assert!(fork.read(".gitmoor/init.yaml").contains(&upstream));
    fork.commit("adopted");

    fork.write("setup.conf", fork.read("setup.conf").replace("db.example.com", "db.example.org"));
    fork.init().assert(0);
    assert_eq!(fork.read("distribution/a.yaml"), "region: eu-west-1\nkey: abc\nhost: db.example.org # mine\n");
    assert_eq!(fork.read("distribution/b.yaml"), "x: db.example.org\n");
}

#[test]
fn what_was_put_right_is_placed() {
    let (fork, upstream) = fork();
    fork.write("distribution/a.yaml", fork.read("distribution/a.yaml").replace("abc", "abc=="));
    let run = fork.run(&["init", "setup.conf", "--adopt", "--upstream-commit", &upstream, "--output", "json"]);
    let json = run.assert(0).json();
    assert_eq!((&json["found"], &json["removed"]), (&4.into(), &1.into()));
    let unknown = fork.run(&["init", "setup.conf", "--adopt", "--upstream-commit", "v0"]);
    assert!(unknown.assert(3).stderr.contains("git fetch"), "{unknown:?}");
    assert!(fork.run(&["init", "setup.conf", "--adopt"]).assert(2).stderr.contains("--upstream-commit"));
}
