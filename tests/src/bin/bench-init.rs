//! `make bench`, the part of `gitmoor init`: beside a floor that is measured in the same run.
//!
//! The floor reads all files of the tree and writes those that change, in one thread, and does nothing else.
//! A large tree (10,000 files, 200 MB, 1,000 placeholders in 3,000 of the files) and a small one (285 files),
//! the latter beside the loop of `grep` and `sed` that it replaces.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use gitmoor_tests::harness::{program, scratch::Scratch, usage::Usage};

/// How often each thing is measured; the best run counts.
const RUNS: usize = 5;

/// A tree to initialise.
struct Tree {
    scratch: Scratch,
    /// Path, template and result of the files with placeholders.
    changing: Vec<(PathBuf, String, String)>,
    tokens: usize,
}

impl Tree {
    fn make(files: usize, bytes: usize, tokens: usize, changing: usize) -> anyhow::Result<Self> {
        let scratch = Scratch::new("bench-init");
        let conf: String = (0..tokens).map(|token| format!("<<__token_{token}__>>=value-of-{token}\n")).collect();
        scratch.write("setup.conf", conf);
        let line = "    - name: some-setting-of-a-manifest # and a comment\n";
        let filler = line.repeat(bytes / line.len());
        let mut tree = Self { scratch, changing: Vec::new(), tokens };
        for file in 0..files {
            let name = format!("distribution/{:03}/{file:05}.yaml", file % 200);
            let path = tree.scratch.write(&name, &filler);
            if file * changing / files != (file + 1) * changing / files {
                let index = tree.changing.len();
                let with = |text: &dyn Fn(usize) -> String| {
                    format!("{}{}{}{}", filler, text(index % tokens), line, text((index * 7 + 1) % tokens))
                };
                let template = with(&|token| format!("a: <<__token_{token}__>>\n"));
                let result = with(&|token| format!("a: value-of-{token}\n"));
                fs::write(&path, &template)?;
                tree.changing.push((path, template, result));
            }
        }
        // In the order in which a walk meets them.
        tree.changing.sort_by(|(one, ..), (other, ..)| one.cmp(other));
        Ok(tree)
    }

    fn git(&self, arguments: &[&str]) -> anyhow::Result<()> {
        let mut git = Command::new("git");
        git.args(["-c", "user.name=Bench", "-c", "user.email=bench@example.com"]).args(arguments);
        let output = git.current_dir(self.scratch.path()).output().context("git does not start")?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    /// As after a clone: templates in place, and an index that knows the files.
    fn reset(&self) -> anyhow::Result<()> {
        for (path, template, _) in &self.changing {
            fs::write(path, template)?;
        }
        let _ = fs::remove_dir_all(self.scratch.path().join(".gitmoor"));
        if self.scratch.path().join(".git").exists() {
            // Git looks again at files that are as new as its index.
            thread::sleep(Duration::from_millis(1100));
            self.git(&["update-index", "-q", "--refresh"])?;
        }
        Ok(())
    }

    fn check(&self) -> anyhow::Result<()> {
        for (path, _, result) in &self.changing {
            ensure!(fs::read_to_string(path)? == *result, "{} is wrong", path.display());
        }
        Ok(())
    }

    fn floor(&self) -> anyhow::Result<Duration> {
        self.reset()?;
        let mut results = self.changing.iter().peekable();
        let mut paths = Vec::new();
        let begin = Instant::now();
        walk(&self.scratch.path().join("distribution"), &mut paths)?;
        let mut read = 0;
        for path in &paths {
            read += fs::read(path)?.len();
            if let Some((_, _, result)) = results.next_if(|(next, ..)| next == path) {
                fs::write(path, result)?;
            }
        }
        let taken = begin.elapsed();
        ensure!(read > 0 && results.next().is_none(), "the floor did not meet every file in order");
        Ok(taken)
    }

    /// Time, and the most memory that was used.
    fn init(&self) -> anyhow::Result<(Duration, u64)> {
        self.reset()?;
        let begin = Instant::now();
        let mut child = Command::new(program("gitmoor"))
            .args(["init", "setup.conf", "--quiet"])
            .current_dir(self.scratch.path())
            .stdout(Stdio::null())
            .spawn()?;
        let mut peak = 0;
        let status = loop {
            if let Some(usage) = Usage::of(child.id()) {
                peak = peak.max(usage.peak_resident);
            }
            if let Some(status) = child.try_wait()? {
                break status;
            }
            thread::sleep(Duration::from_micros(500));
        };
        let taken = begin.elapsed();
        ensure!(status.success(), "gitmoor init ended with {status}");
        self.check()?;
        Ok((taken, peak))
    }

    /// What scripts of forks do: for each name, the files that hold it, and `sed` on them.
    fn loop_of_sed(&self) -> anyhow::Result<Duration> {
        self.reset()?;
        let script = "while IFS='=' read -r name value; do \
            files=$(grep -rlF -- \"$name\" distribution) && sed -i \"s|$name|$value|g\" $files; done < setup.conf";
        let begin = Instant::now();
        Command::new("bash").args(["-c", script]).current_dir(self.scratch.path()).status()?;
        let taken = begin.elapsed();
        self.check()?;
        Ok(taken)
    }
}

fn walk(folder: &Path, paths: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let mut entries = fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
    entries.sort_unstable_by_key(fs::DirEntry::file_name);
    for entry in entries {
        if entry.file_type()?.is_dir() {
            walk(&entry.path(), paths)?;
        } else {
            paths.push(entry.path());
        }
    }
    Ok(())
}

fn best<T: Ord>(mut measure: impl FnMut() -> anyhow::Result<T>) -> anyhow::Result<T> {
    let mut best = measure()?;
    for _ in 1..RUNS {
        best = best.min(measure()?);
    }
    Ok(best)
}

#[allow(clippy::print_stdout)]
fn measure(name: &str, tree: &Tree, with_sed: bool) -> anyhow::Result<()> {
    let floor = best(|| tree.floor())?;
    let (plain, memory) = best(|| tree.init())?;
    tree.reset()?;
    tree.git(&["init", "--quiet", "."])?;
    tree.git(&["add", "--all"])?;
    tree.git(&["commit", "--quiet", "--message", "template"])?;
    let (in_git, memory_in_git) = best(|| tree.init())?;
    let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
    let ratio = |time: Duration| time.as_secs_f64() / floor.as_secs_f64();
    let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    println!("{name}: {} files with {} placeholders", tree.changing.len(), tree.tokens);
    println!("  floor (read all, write the changed)  {:8.1} ms", milliseconds(floor));
    println!(
        "  gitmoor init                         {:8.1} ms  {:.2}x  {:.1} MiB",
        milliseconds(plain),
        ratio(plain),
        mebibytes(memory)
    );
    println!(
        "  gitmoor init in a Git repository     {:8.1} ms  {:.2}x  {:.1} MiB  (keeps a state)",
        milliseconds(in_git),
        ratio(in_git),
        mebibytes(memory_in_git)
    );
    if with_sed {
        println!("  grep | sed                           {:8.1} ms", milliseconds(best(|| tree.loop_of_sed())?));
    }
    Ok(())
}

#[allow(clippy::print_stdout)]
fn main() -> anyhow::Result<()> {
    println!("gitmoor init, best of {RUNS} runs; aim: 1.5x the floor, memory of the largest file");
    measure("285 files, 2 MB", &Tree::make(285, 7_000, 60, 96)?, true)?;
    measure("1,000 files, 20 MB", &Tree::make(1_000, 20_000, 1_000, 300)?, false)?;
    measure("10,000 files, 200 MB", &Tree::make(10_000, 20_000, 1_000, 3_000)?, false)
}
