//! A short run of the fuzz targets without a fuzzer: their properties over the committed corpus, and over
//! mutations of it. What a fuzzer finds becomes a file of the corpus, and so a test.

use std::fs;

use gitmoor_tests::harness::tools::workspace;

// Public for the fuzz targets, which are crates of their own.
#[allow(unreachable_pub)]
#[path = "../../../fuzz/properties.rs"]
mod properties;

/// Mutations of each target; the same in every run.
const MUTATIONS: u64 = 20_000;

/// What fuzzers call a dictionary.
const WORDS: [&[u8]; 30] = [
    b"<<__a__>>",
    b"<<__b__>>",
    b"<<__",
    b"__>>",
    b"=",
    b"\n",
    b"\r\n",
    b"#",
    b"//",
    b"1",
    b"two",
    b" ",
    &[0xFE],
    &[0xFF],
    b"https://github.com/o/r//x?ref=v1",
    b"https://h/x.yaml",
    b"resources: [",
    b"../",
    b"- ",
    b": ",
    b"{",
    b"]",
    b"&a ",
    b"*a",
    b"|\n  ",
    b"\"",
    b"---\n",
    b"helmCharts",
    b"sha256=",
    &[0],
];

struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound.max(1)
    }
}

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = workspace().join("fuzz/corpus").join(target);
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty());
    paths.into_iter().map(|path| fs::read(path).unwrap()).collect()
}

/// Cuts, doubles, swaps and inserts, as fuzzers do.
fn mutated(random: &mut Random, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut data = corpus[random.below(corpus.len())].clone();
    for _ in 0..=random.below(6) {
        let (start, length) = (random.below(data.len() + 1), random.below(12));
        let end = (start + length).min(data.len());
        match random.below(5) {
            0 => drop(data.drain(start..end)),
            1 => {
                let part = data[start..end].to_vec();
                let at = random.below(data.len() + 1);
                data.splice(at..at, part);
            }
            2 => drop(data.splice(start..start, WORDS[random.below(WORDS.len())].iter().copied())),
            3 => drop(data.splice(start..end, WORDS[random.below(WORDS.len())].iter().copied())),
            _ => {
                let other = &corpus[random.below(corpus.len())];
                let from = random.below(other.len());
                data.extend_from_slice(&other[from..]);
            }
        }
    }
    data
}

fn run(target: &str, property: fn(&[u8])) {
    let corpus = corpus(target);
    for data in &corpus {
        property(data);
    }
    for seed in 0..MUTATIONS {
        let data = mutated(&mut Random(seed), &corpus);
        let held = std::panic::catch_unwind(|| property(&data));
        assert!(held.is_ok(), "{target}, seed {seed}: {:?}", String::from_utf8_lossy(&data));
    }
}

#[test]
fn setup_conf() {
    run("setup_conf", properties::setup_conf);
}

#[test]
fn substitution() {
    run("substitution", properties::substitution);
}

#[test]
fn recovery() {
    run("recovery", properties::recovery);
}

#[test]
fn webhook() {
    run("webhook", properties::sources::webhook);
}

#[test]
fn kustomization() {
    run("kustomization", properties::sources::kustomization);
}

#[test]
fn manifests() {
    run("manifests", properties::sources::manifests);
}

#[test]
fn chart_index() {
    run("chart_index", properties::sources::chart_index);
}

#[test]
fn chart_archive() {
    run("chart_archive", properties::sources::chart_archive);
}
