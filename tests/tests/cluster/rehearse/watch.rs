//! `gitmoor rehearse --watch`: what an editor does to files, and what is told of it.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use gitmoor_tests::harness::scratch::Scratch;
use gitmoor_tests::harness::supervised::{Supervised, spawn};
use gitmoor_tests::harness::{config_map, eventually, program};
use rustix::process::Signal;

use super::{application, environment, tree};

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// A rehearsal that watches a tree.
struct Watching {
    process: Supervised,
    tree: Scratch,
    /// What was told and awaited so far.
    read: usize,
    _logs: Scratch,
}

impl Watching {
    fn start(tree: Scratch, arguments: &[&str]) -> Self {
        // Outside of the tree: it would be seen as saved.
        let logs = Scratch::new("watching");
        let log = logs.path().join("log");
        let process = spawn(&program("gitmoor"), &log, |command| {
            command.current_dir(tree.path()).envs(environment()).args(["rehearse", "--watch"]).args(arguments);
        });
        Self { process, tree, read: 0, _logs: logs }
    }

    /// Saves a file in one step: on a busy machine, one that is emptied and then written may be seen in between.
    fn save(&self, path: &str, text: impl AsRef<[u8]>) {
        fs::rename(self.tree.write(".git/saved", text), self.tree.path().join(path)).unwrap();
    }

    fn told(&self) -> String {
        fs::read_to_string(self.process.log()).unwrap_or_default()
    }

    /// Waits for a line with all of these words; gives what was told up to it since the last time.
    async fn tells(&mut self, words: &[&str]) -> String {
        let check = async || {
            self.process.ensure_running().map_err(|error| error.to_string())?;
            let told = self.told();
            let mut at = self.read;
            for line in told[self.read..].split_inclusive('\n') {
                at += line.len();
                if line.ends_with('\n') && words.iter().all(|word| line.contains(word)) {
                    return Ok(at);
                }
            }
            Err(told)
        };
        let at = eventually(&format!("it tells {words:?}"), PATIENCE, check).await;
        let told = self.told()[self.read..at].to_owned();
        self.read = at;
        told
    }

    /// Waits until a round is over well; gives what was told of it.
    async fn synced(&mut self, renders: usize) -> String {
        self.tells(&["everything is Synced and Healthy after", &format!("; {renders} renders, ")]).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_saved_is_synced_and_what_breaks_is_named_until_it_is_healed() {
    let (web, other) = (config_map("web", "key", "one"), config_map("other", "key", "one"));
    let files = [
        (".gitignore", "build\n*.swp\n"),
        ("build/deep/ignored.yaml", "a: 1\n"),
        ("apps/web/map.yaml", web.as_str()),
        ("apps/other/map.yaml", other.as_str()),
    ];
    let mut watching = Watching::start(tree(&files, &["web", "other"]), &["--quiet-seconds", "90"]);
    // The root has three files of YAML at the end, and each of these is one Application.
    let begun = watching.tells(&["everything is Synced and Healthy after", "; 3 renders, 3 Applications"]).await;
    assert!(!begun.contains("saved:"), "{begun}");
    let url = begun.split("https://").nth(1).unwrap().split(';').next().unwrap();
    let address: SocketAddr = url.parse().unwrap();

    // What is ignored, and what Git keeps for itself, is not seen; nor what was saved as it was.
    watching.tree.write("build/deep/ignored.yaml", "a: 2\n");
    watching.tree.write(".git/description", "another\n");
    watching.save("apps/web/map.yaml", &web);
    watching.tree.write("apps/web/map.yaml.swp", "half of it");
    watching.save("apps/web/map.yaml", config_map("web", "key", "two"));
    let told = watching.synced(1).await;
    assert!(told.contains("gitmoor/web: 1 changed") && told.contains("changed ConfigMap web/web"), "{told}");
    assert!(!told.contains("other") && !told.contains("build"), "{told}");
    assert_eq!(watching.told().matches("saved:").count(), 1, "{}", watching.told());

    // Broken, and everything else goes on; the save that heals it heals it.
    watching.save("apps/web/map.yaml", "apiVersion: v1\nkind: ConfigMap\n  metadata: {name: web}\n");
    watching.tells(&["problem: ", "apps/web/map.yaml", "3"]).await;
    watching.save("apps/other/map.yaml", config_map("other", "key", "two"));
    watching.tells(&["changed ConfigMap other/other"]).await;
    watching.tells(&["1 findings after"]).await;
    watching.save("apps/web/map.yaml", config_map("web", "key", "three"));
    let told = watching.synced(1).await;
    assert!(told.contains("over: NotRendered: gitmoor/web") && told.contains("changed ConfigMap web/web"), "{told}");

    // The root file itself, broken and back to what it was.
    let root = application("root", "applications");
    watching.save("distribution/platform.yaml", root.replacen("kind", " kind", 1));
    watching.tells(&["RootUnreadable", "distribution/platform.yaml"]).await;
    watching.save("distribution/platform.yaml", root);
    watching.tells(&["over: RootUnreadable"]).await;

    // As many editors save: another file takes the place of this one.
    let temporary = watching.tree.write("apps/web/.map.yaml.tmp", config_map("web", "key", "four"));
    watching.tree.write("apps/web/4913", "");
    fs::remove_file(watching.tree.path().join("apps/web/4913")).unwrap();
    fs::rename(temporary, watching.tree.path().join("apps/web/map.yaml")).unwrap();
    let told = watching.synced(1).await;
    assert!(told.contains("saved: apps/web/map.yaml\n"), "what was there only while it was saved: {told}");
    assert!(told.contains("changed ConfigMap web/web"), "{told}");

    // A new folder with a new Application, and one that goes again.
    watching.tree.write("apps/late/deep/kustomization.yaml", "resources: [map.yaml]\n");
    watching.tree.write("apps/late/deep/map.yaml", config_map("late", "key", "one"));
    watching.tree.write("applications/late.yaml", application("late", "apps/late/deep"));
    watching.tells(&["gitmoor/late: new, 1 created"]).await;
    watching.tells(&["everything is Synced and Healthy after", "4 Applications"]).await;
    watching.save("apps/late/deep/map.yaml", config_map("late", "key", "two"));
    let told = watching.synced(1).await;
    assert!(told.contains("changed ConfigMap late/late"), "{told}");

    watching.tree.write("apps/other/more.yaml", config_map("more", "key", "one"));
    watching.tells(&["created ConfigMap other/more"]).await;
    watching.synced(1).await;
    fs::remove_file(watching.tree.path().join("apps/other/more.yaml")).unwrap();
    let told = watching.tells(&["pruned ConfigMap other/more"]).await;
    assert!(told.contains("saved: apps/other/more.yaml\n"), "{told}");
    watching.synced(1).await;

    // Ctrl-C.
    assert!(TcpStream::connect(address).is_ok());
    watching.process.signal(Signal::INT);
    let status = watching.process.wait(PATIENCE).await.expect("it ends");
    assert_eq!(status.code(), Some(0), "{}", watching.told());
    assert!(TcpStream::connect(address).is_err(), "the API server ends with it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_root_that_the_api_server_refuses_is_a_finding_until_it_is_corrected() {
    let mut watching = Watching::start(tree(&[("apps/web/map.yaml", &config_map("web", "key", "one"))], &["web"]), &[]);
    watching.tells(&["everything is Synced and Healthy after"]).await;
    let root = application("root", "applications");
    let begin = root.find("  destination:").unwrap();
    let end = begin + root[begin..].find('\n').unwrap() + 1;
    watching.tree.write("distribution/platform.yaml", format!("{}{}", &root[..begin], &root[end..]));
    watching.tells(&["RootRefused: gitmoor/root: ", "spec.destination"]).await;
    // It is so still when something else is saved, and keeps nobody from syncing that.
    watching.tree.write("apps/web/map.yaml", config_map("web", "key", "two"));
    let told = watching.tells(&["findings after"]).await;
    assert!(!told.contains("over: RootRefused"), "{told}");
    watching.tree.write("distribution/platform.yaml", root.replace("prune: true, ", ""));
    watching.tells(&["over: RootRefused: gitmoor/root"]).await;
    watching.tells(&["everything is Synced and Healthy after"]).await;
}
