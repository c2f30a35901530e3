//! For generated templates, values and edits: an upgrade gives, byte for byte, what one gets by initialising
//! the new template with the same values and then making the fork's edits.

use std::{collections::BTreeMap, fmt::Write};

use crate::init::Fork;

/// The same numbers in every run.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }
}

const VALUES: [&str; 14] = [
    "eu-west-1",
    "a&b\\1",
    "key==",
    "",
    " two  words ",
    "Zürich 🚢",
    "1",
    "*.example.com",
    "\"3306\"",
    "$HOME `id`",
    "arn:aws:iam::123456789012:role/x",
    "[a, b]",
    "line: 1",
    "#",
];

/// One file: what upstream had, what the fork and upstream made of it, and both together, as templates.
#[derive(Default)]
struct History {
    base: String,
    fork: String,
    upstream: String,
    both: String,
}

#[derive(Clone, Copy, PartialEq)]
enum Side {
    Nobody,
    Fork,
    Upstream,
}

/// Lines of which one side or the other edits some; what the two edit is an unchanged line apart.
fn history(random: &mut Random) -> History {
    let mut history = History::default();
    let mut last = Side::Nobody;
    for number in 0..3 + random.below(30) {
        let line = line(random, number);
        let mut side = [Side::Nobody, Side::Nobody, Side::Fork, Side::Upstream][random.below(4)];
        if last != Side::Nobody && side != Side::Nobody && side != last {
            side = Side::Nobody;
        }
        let edited = edited(random, &line, number, side);
        let _ = writeln!(history.base, "{}", line.concat());
        let same = format!("{}\n", line.concat());
        history.fork += if side == Side::Fork { &edited } else { &same };
        history.upstream += if side == Side::Upstream { &edited } else { &same };
        history.both += if side == Side::Nobody { &same } else { &edited };
        last = side;
    }
    history
}

fn token(random: &mut Random) -> String {
    format!("<<__{}__>>", random.below(VALUES.len()))
}

fn line(random: &mut Random, number: usize) -> Vec<String> {
    let mut parts = vec![format!("key_{number}_{}: ", random.below(1000))];
    for _ in 0..random.below(3) {
        parts.push(token(random));
        parts.push(["/", ", ", " and ", "-x-"][random.below(4)].to_owned());
    }
    parts.push(["", " # text", " end"][random.below(3)].to_owned());
    parts
}

/// The fork leaves the placeholders of a line alone, upstream does what it likes with them.
fn edited(random: &mut Random, line: &[String], number: usize, side: Side) -> String {
    let text = line.concat();
    match (random.below(6), side) {
        (0, _) => String::new(),
        (1, Side::Upstream) => format!("new_{number}: {}\n{text}\n", token(random)),
        (1, _) => format!("mine_{number}: x\n{text}\n"),
        (2, Side::Upstream) => format!("changed_{number}: {}\n", token(random)),
        (2, _) => format!("  {text}\n"),
        (3, _) => format!("{text}\nafter_{number}: {side}\n", side = side as u8),
        _ => format!("{text} # {number}\n"),
    }
}

fn initialised(template: &str) -> String {
    (0..VALUES.len()).fold(template.to_owned(), |text, index| text.replace(&format!("<<__{index}__>>"), VALUES[index]))
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// `GITMOOR_ROUNDS` (6) of 60 files, from the seed `GITMOOR_SEED` (0) on.
#[test]
fn an_upgrade_is_the_new_template_with_the_same_values_and_the_forks_edits() {
    const FILES: usize = 60;
    let conf: String = VALUES.iter().enumerate().fold(String::new(), |mut conf, (index, value)| {
        let _ = writeln!(conf, "<<__{index}__>>={value}");
        conf
    });
    let first = number("GITMOOR_SEED").unwrap_or(0);
    for seed in first..first + number("GITMOOR_ROUNDS").unwrap_or(6) {
        let mut random = Random(seed);
        let histories: BTreeMap<String, History> =
            (0..FILES).map(|file| (format!("distribution/{}/{file}", file % 5), history(&mut random))).collect();
        let put = |fork: &Fork, text: &dyn Fn(&History) -> String| {
            for (path, history) in &histories {
                fork.write(path, text(history));
            }
        };
        let upstream = Fork::committed(&conf, &[]);
        put(&upstream, &|history| history.base.clone());
        upstream.commit("one");
        let fork = Fork::clone_of(&upstream, &[]);
        fork.run(&["init", "setup.conf", "--commit"]).assert(0);
        put(&fork, &|history| initialised(&history.fork));
        fork.commit("edits");
        put(&upstream, &|history| history.upstream.clone());
        upstream.commit("two");
        let run = fork.run(&["upgrade"]);
        run.assert(0);
        for (path, history) in &histories {
            assert_eq!(fork.read(path), initialised(&history.both), "seed {seed}, {path}");
        }
        assert_eq!(fork.git(&["status", "--porcelain"]), "");
        let again = fork.init();
        assert_eq!(again.assert(0).stdout, "", "seed {seed}");
    }
}
