//! Ten upstream commits, 1,000 placeholders, 200 files: beside an ordinary `git merge`.

use std::fmt::Write;

use super::random::Random;
use crate::init::Fork;

const FILES: usize = 200;
const PER_FILE: usize = 5;

fn path(file: usize) -> String {
    format!("distribution/components/{:02}/{file:03}.yaml", file % 20)
}

/// A manifest with five placeholders, each between lines that upstream may change.
fn template(file: usize) -> String {
    (0..PER_FILE).fold(String::new(), |mut text, place| {
        let token = file * PER_FILE + place;
        let _ = writeln!(text, "  section_{place}:\n    enabled: true\n    name: <<__name.{token}__>>\n    image: app:{file}\n    size: {place}\n");
        text
    })
}

#[test]
fn ten_upstream_commits_bring_no_conflict_where_git_merge_brings_dozens() {
    let conf = (0..FILES * PER_FILE).fold(String::new(), |mut conf, token| {
        let _ = writeln!(conf, "<<__name.{token}__>>=value-{token}");
        conf
    });
    let upstream = Fork::committed(&conf, &[]);
    for file in 0..FILES {
        upstream.write(&path(file), template(file));
    }
    upstream.commit("template");
    let fork = Fork::clone_of(&upstream, &[]);
    fork.run(&["init", "setup.conf", "--commit"]).assert(0);
    // The fork's own edits: one in every fourth file, away from upstream's.
    for file in (0..FILES).step_by(4) {
        fork.write(&path(file), format!("# ours\n{}", fork.read(&path(file))));
    }
    fork.commit("edits");
    let mut random = Random(7);
    for commit in 0..10 {
        for _ in 0..30 {
            let (file, place) = (random.below(FILES), random.below(PER_FILE));
            let text = upstream.read(&path(file));
            let new = match random.below(3) {
                0 => text.replace(
                    &format!("app:{file}\n    size: {place}\n"),
                    &format!("app:{file}\n    size: {}\n", 100 + commit),
                ),
                1 => text.replace(
                    &format!("  section_{place}:\n    enabled: true\n"),
                    &format!("  section_{place}:\n    enabled: false\n"),
                ),
                _ => text.replace(
                    &format!("name: <<__name.{}__>>\n", file * PER_FILE + place),
                    &format!("name: <<__name.{}__>>\n    replicas: {commit}\n", file * PER_FILE + place),
                ),
            };
            upstream.write(
                &path(file),
                new.replace(
                    &format!("image: app:{file}\n    size: {place}\n"),
                    &format!("image: app:{file}-{commit}\n    size: {place}\n"),
                ),
            );
        }
        upstream.commit(&format!("upstream {commit}"));
    }

    let ordinary = Fork::clone_of(&fork, &[]);
    ordinary.git(&["fetch", "--quiet", &format!("file://{}", upstream.path(".").display()), "HEAD"]);
    let (merged, ..) = ordinary.try_git(&["merge", "--quiet", "--no-edit", "FETCH_HEAD"]);
    let conflicted = ordinary.git(&["diff", "--name-only", "--diff-filter=U"]);
    let hunks = conflicted.lines().map(|path| ordinary.read(path).matches("<<<<<<< ").count()).sum::<usize>();

    let run = fork.run(&["upgrade"]);
    let ours = fork.git(&["diff", "--name-only", "--diff-filter=U"]);
    println!(
        "git merge: {} files in conflict, {hunks} places; gitmoor upgrade: {} files in conflict",
        conflicted.lines().count(),
        ours.lines().count()
    );
    run.assert(0);
    assert!(!merged && conflicted.lines().count() >= 24, "{conflicted}");
    assert_eq!(ours, "");
    for file in 0..FILES {
        let expected = (0..PER_FILE).fold(upstream.read(&path(file)), |text, place| {
            let token = file * PER_FILE + place;
            text.replace(&format!("<<__name.{token}__>>"), &format!("value-{token}"))
        });
        let expected = if file % 4 == 0 { format!("# ours\n{expected}") } else { expected };
        assert_eq!(fork.read(&path(file)), expected);
    }
}
