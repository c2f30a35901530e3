//! Secrets appear where they were asked for, and nowhere else: what the tests of single commands look with.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// What must not be seen.
pub(crate) struct Signs(Vec<String>);

impl Signs {
    /// Values, also in base64, and what is given besides.
    pub(crate) fn new(values: &[&str], besides: &[&str]) -> Self {
        let plain = values.iter().chain(besides).map(|text| (*text).to_owned());
        Self(plain.chain(values.iter().map(|value| STANDARD.encode(value))).collect())
    }

    /// Whether one of them is in a text.
    pub(crate) fn in_text(&self, text: &[u8]) -> bool {
        let text = String::from_utf8_lossy(text);
        self.0.iter().any(|sign| text.contains(sign.as_str()))
    }

    /// The files below a folder that hold one of them.
    pub(crate) fn in_files(&self, folder: &Path) -> BTreeSet<PathBuf> {
        files(folder).into_iter().filter(|file| self.in_text(&fs::read(file).unwrap_or_default())).collect()
    }

    /// Does something while it looks at every process of the machine; gives what showed one of them.
    pub(crate) fn in_processes(&self, of_each: &[&str], work: impl FnOnce()) -> BTreeSet<String> {
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let watcher = scope.spawn(|| self.watch(of_each, &stop));
            let watching = Watching(&stop);
            work();
            drop(watching);
            watcher.join().unwrap()
        })
    }

    fn watch(&self, of_each: &[&str], stop: &AtomicBool) -> BTreeSet<String> {
        let mut seen = BTreeSet::new();
        while !stop.load(Ordering::Relaxed) {
            for process in fs::read_dir("/proc").unwrap().flatten() {
                for file in of_each {
                    let text = fs::read(process.path().join(file)).unwrap_or_default();
                    if self.in_text(&text) {
                        seen.insert(String::from_utf8_lossy(&text).replace('\0', " "));
                    }
                }
            }
        }
        seen
    }
}

/// Ends the watch, also when an assertion fails.
struct Watching<'a>(&'a AtomicBool);

impl Drop for Watching<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// All files below a folder, of which parts may go while it looks.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.flat_map(|entry| if entry.path().is_dir() { files(&entry.path()) } else { vec![entry.path()] }).collect()
}
