//! What is saved in the work tree, while it is saved.
//!
//! Every folder is watched by itself, and not the tree as a whole: `.git` and ignored folders, such as those of builds, may
//! hold more folders than the system can watch. What a save is worth is told by Git afterwards.

use std::{
    collections::{BTreeSet, HashSet},
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;

use crate::{
    failure::{Exit, Failure},
    git::Repository,
};

/// An editor saves in several steps; after so long without another one it has saved.
const SETTLED: Duration = Duration::from_millis(80);
/// Where something is written all the time, it is looked at as it is.
const LONGEST: Duration = Duration::from_secs(2);

/// The work tree, watched.
pub(super) struct Saves {
    repository: Repository,
    watcher: RecommendedWatcher,
    events: mpsc::UnboundedReceiver<notify::Result<Event>>,
    watched: BTreeSet<PathBuf>,
    ignored: HashSet<PathBuf>,
    pending: Option<Pending>,
}

/// What was written since the last look.
struct Pending {
    since: Instant,
    paths: BTreeSet<PathBuf>,
}

/// Something has been saved.
pub(super) struct Saved {
    /// When the first of it was.
    pub(super) at: Instant,
}

impl Saves {
    /// Watches from now on.
    pub(super) fn follow(repository: &Repository) -> Result<Self, Failure> {
        let (sender, events) = mpsc::unbounded_channel();
        // Nobody listens only when this ends.
        let watcher = notify::recommended_watcher(move |event| drop(sender.send(event)));
        let watcher = watcher.map_err(|error| Failure::io("cannot watch files", &error))?;
        let mut this = Self {
            repository: repository.clone(),
            watcher,
            events,
            watched: BTreeSet::new(),
            ignored: HashSet::new(),
            pending: None,
        };
        this.watch_folders(&BTreeSet::new())?;
        Ok(this)
    }

    /// Waits until something has been saved and nothing more is being saved. When the wait is given up, nothing is lost.
    pub(super) async fn next(&mut self) -> Result<Saved, Failure> {
        loop {
            let Some(Pending { since, .. }) = &self.pending else {
                let event = self.events.recv().await;
                self.take(event)?;
                continue;
            };
            let patience = SETTLED.min(LONGEST.saturating_sub(since.elapsed()));
            match tokio::time::timeout(patience, self.events.recv()).await {
                Ok(event) => self.take(event)?,
                Err(_) => break,
            }
        }
        let Pending { since, paths } =
            self.pending.take().unwrap_or(Pending { since: Instant::now(), paths: BTreeSet::new() });
        self.watch_folders(&paths)?;
        Ok(Saved { at: since })
    }

    fn take(&mut self, event: Option<notify::Result<Event>>) -> Result<(), Failure> {
        let ended = || Failure::new(Exit::Io, "files are not watched any more");
        let event = event.ok_or_else(ended)?.map_err(|error| Failure::io("cannot watch files", &error))?;
        // Reading is none of our business, and we read ourselves.
        if matches!(event.kind, EventKind::Access(_)) {
            return Ok(());
        }
        let rescan = event.need_rescan();
        let paths: Vec<PathBuf> = event.paths.into_iter().filter(|path| !self.is_left_out(path)).collect();
        if rescan || !paths.is_empty() {
            let pending = self.pending.get_or_insert_with(|| Pending { since: Instant::now(), paths: BTreeSet::new() });
            pending.paths.extend(paths);
        }
        Ok(())
    }

    fn is_left_out(&self, path: &Path) -> bool {
        path.file_name().is_some_and(|name| name == ".git") || self.ignored.contains(path)
    }

    /// Watches every folder that is there. Those that `touched` names may have been replaced by others of their name.
    fn watch_folders(&mut self, touched: &BTreeSet<PathBuf>) -> Result<(), Failure> {
        let top = self.repository.top().to_owned();
        self.ignored = self.repository.ignored()?.into_iter().map(|path| top.join(path)).collect();
        let (mut present, mut pending) = (BTreeSet::new(), vec![top]);
        while let Some(folder) = pending.pop() {
            let replaced = folder.ancestors().any(|above| touched.contains(above));
            if !self.watched.contains(&folder) || replaced {
                self.watch(&folder)?;
            }
            // Read after it is watched, so that what comes in between is not missed.
            for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
                let path = entry.path();
                // The type of the entry itself: links are not followed.
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) && !self.is_left_out(&path) {
                    pending.push(path);
                }
            }
            present.insert(folder);
        }
        for gone in self.watched.difference(&present) {
            // It goes by itself with its folder; one that has become ignored does not.
            let _ = self.watcher.unwatch(gone);
        }
        self.watched = present;
        Ok(())
    }

    fn watch(&mut self, folder: &Path) -> Result<(), Failure> {
        // Of a folder that was replaced, the watch has gone with the one before.
        let _ = self.watcher.unwatch(folder);
        match self.watcher.watch(folder, RecursiveMode::NonRecursive) {
            // It went meanwhile, which its own folder tells.
            Err(_) if !folder.exists() => Ok(()),
            Err(error) => {
                let failure = Failure::io(format!("cannot watch {}", folder.display()), &error);
                Err(match error.kind {
                    notify::ErrorKind::MaxFilesWatch => {
                        failure.hint("the system watches no more folders: raise fs.inotify.max_user_watches")
                    }
                    _ => failure,
                })
            }
            Ok(()) => Ok(()),
        }
    }
}
