//! `gitmoor init`, run as a user runs it: the real binary in a folder with setup.conf and distribution/.

use std::{
    collections::BTreeMap,
    fs::{self, Permissions},
    os::unix::{
        fs::{MetadataExt, PermissionsExt, symlink},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use gitmoor_tests::harness::{agent::program, scratch::Scratch};
use serde_json::Value;

mod adopt;
mod state;
pub(crate) mod terminal;

/// A folder as a user has it after cloning a fork.
pub(crate) struct Fork {
    scratch: Scratch,
}

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Run {
    status: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Fork {
    pub(crate) fn new(setup_conf: &str, files: &[(&str, &str)]) -> Self {
        let fork = Self { scratch: Scratch::new("init") };
        fork.scratch.folder("distribution");
        fork.write("setup.conf", setup_conf);
        for (name, text) in files {
            fork.write(name, text);
        }
        fork
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        self.scratch.write(name, text)
    }

    pub(crate) fn read(&self, name: &str) -> String {
        String::from_utf8(fs::read(self.path(name)).unwrap()).unwrap()
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program("gitmoor"));
        command.env_clear().current_dir(self.scratch.path()).args(arguments).stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Run {
        Run::of(&mut self.command(arguments))
    }

    pub(crate) fn init(&self) -> Run {
        self.run(&["init", "setup.conf"])
    }

    /// A fork under Git with everything in its first commit.
    pub(crate) fn committed(setup_conf: &str, files: &[(&str, &str)]) -> Self {
        let fork = Self::new(setup_conf, files);
        fork.git(&["init", "--quiet", "--initial-branch=main", "."]);
        fork.identify();
        fork.commit("a fork");
        fork
    }

    /// A clone of a repository.
    pub(crate) fn clone_of(upstream: &Self, options: &[&str]) -> Self {
        let fork = Self { scratch: Scratch::new("fork") };
        let url = format!("file://{}", upstream.scratch.path().display());
        fork.git(&[&["clone", "--quiet", "--origin=upstream"], options, &[&url, "."]].concat());
        fork.identify();
        fork
    }

    fn identify(&self) {
        self.git(&["config", "user.name", "Test"]);
        self.git(&["config", "user.email", "test@example.com"]);
    }

    /// Commits everything that there is; gives the commit.
    pub(crate) fn commit(&self, message: &str) -> String {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--allow-empty", "--message", message]);
        self.git(&["rev-parse", "HEAD"]).trim().to_owned()
    }

    /// Runs git, which knows nothing of the user or the machine it runs for.
    ///
    /// # Panics
    /// When git fails, with what it said.
    pub(crate) fn git(&self, arguments: &[&str]) -> String {
        let (success, stdout, stderr) = self.try_git(arguments);
        assert!(success, "git {}: {stdout}{stderr}", arguments.join(" "));
        stdout
    }

    pub(crate) fn try_git(&self, arguments: &[&str]) -> (bool, String, String) {
        let mut git = Command::new("git");
        git.current_dir(self.scratch.path()).env_clear().envs([("HOME", "/nonexistent"), ("GIT_CONFIG_NOSYSTEM", "1")]);
        let output = git.args(arguments).stdin(Stdio::null()).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        (output.status.success(), text(output.stdout), text(output.stderr))
    }

    /// Everything under the distribution, by path.
    pub(crate) fn distribution(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let folder = self.path("distribution");
        files_in(&folder)
            .into_iter()
            .map(|path| (path.strip_prefix(&folder).unwrap().to_owned(), fs::read(&path).unwrap()))
            .collect()
    }

    /// Content, mode, modification time and inode of every file.
    fn state(&self) -> BTreeMap<PathBuf, (Vec<u8>, u32, i64, i64, u64)> {
        files_in(self.scratch.path())
            .into_iter()
            .map(|path| {
                let found = fs::symlink_metadata(&path).unwrap();
                let content = if found.is_symlink() { Vec::new() } else { fs::read(&path).unwrap() };
                (path, (content, found.mode(), found.mtime(), found.mtime_nsec(), found.ino()))
            })
            .collect()
    }
}

impl Run {
    pub(crate) fn of(command: &mut Command) -> Self {
        let output = command.output().unwrap();
        Self {
            status: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    pub(crate) fn status(&self) -> Option<i32> {
        self.status
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn assert(&self, status: i32) -> &Self {
        assert_eq!(self.status, Some(status), "{self:#?}");
        self
    }
}

fn files_in(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            files.extend(files_in(&entry.path()));
        } else {
            files.push(entry.path());
        }
    }
    files
}

#[test]
fn values_arrive_byte_for_byte() {
    let conf = "# every character that a script would trip over\n\
        <<__amp__>>=a&b\n<<__slash__>>=arn:aws:iam::1:role/x\n<<__backslash__>>=C:\\1\\n\n<<__star__>>=*.example.com\n\
        <<__end__>>=a2V5==\n<<__space__>>= two  words \n<<__utf8__>>=Zürich 🚢\n<<__quoted__>>=\"3306\"\n\
        <<__list__>>=a, b,*.c\n<<__dollar__>>=$HOME `id` $(id)\n<<__empty__>>=\n\
        // names in values\n<<__nested__>>=https://<<__host__>>/\n<<__host__>>=db.<<__domain__>>\n<<__domain__>>=example.com\n\
        <<__role.a__>>=dot\nMY_OWN_TOKEN=mine\n";
    for (text, expected) in [
        ("<<__amp__>>", "a&b"),
        ("<<__slash__>>", "arn:aws:iam::1:role/x"),
        ("<<__backslash__>>", "C:\\1\\n"),
        ("<<__star__>>", "*.example.com"),
        ("<<__end__>>", "a2V5=="),
        ("[<<__space__>>]", "[ two  words ]"),
        ("<<__utf8__>>", "Zürich 🚢"),
        ("<<__quoted__>>", "\"3306\""),
        ("<<__list__>>", "a, b,*.c"),
        ("<<__dollar__>>", "$HOME `id` $(id)"),
        ("a<<__empty__>>b", "ab"),
        ("<<__nested__>>", "https://db.example.com/"),
        ("<<__role.a__>>", "dot"),
        ("MY_OWN_TOKEN", "mine"),
        ("<<__amp__>><<__amp__>>", "a&ba&b"),
        ("x\r\n<<__amp__>>\r\n", "x\r\na&b\r\n"),
        ("no newline <<__amp__>>", "no newline a&b"),
    ] {
        for conf in [conf.to_owned(), conf.replace('\n', "\r\n"), conf.trim_end().to_owned()] {
            let fork = Fork::new(&conf, &[("distribution/file.yaml", text)]);
            fork.init().assert(0);
            assert_eq!(fork.read("distribution/file.yaml"), expected, "{text}");
        }
    }
}

#[test]
fn only_what_changes_is_touched_and_a_second_run_changes_nothing() {
    let fork = Fork::new(
        "<<__a__>>=1\n",
        &[
            ("distribution/changed/script.sh", "echo <<__a__>>\n"),
            ("distribution/same.yaml", "a: 1\n"),
            ("distribution/.git/config", "<<__a__>>"),
            ("distribution/setup.conf", "not excluded: <<__a__>>"),
            ("setup.conf.example", "<<__a__>>="),
            ("README.md", "<<__a__>>"),
        ],
    );
    fork.write("distribution/image.png", b"\x89PNG\0<<__a__>>");
    fork.write("distribution/latin1.txt", b"\xE4 <<__a__>>\xFF");
    fs::set_permissions(fork.path("distribution/changed/script.sh"), Permissions::from_mode(0o751)).unwrap();
    let before = fork.state();
    fork.init().assert(0);
    let after = fork.state();
    let changed: Vec<_> = before.iter().filter(|(path, was)| after[*path] != **was).map(|(path, _)| path).collect();
    assert_eq!(
        changed,
        [
            &fork.path("distribution/changed/script.sh"),
            &fork.path("distribution/latin1.txt"),
            &fork.path("distribution/setup.conf")
        ]
    );
    assert_eq!(before.len(), after.len());
    assert_eq!(fork.read("distribution/changed/script.sh"), "echo 1\n");
    assert_eq!(after[&fork.path("distribution/changed/script.sh")].1 & 0o7777, 0o751);
    assert_eq!(fs::read(fork.path("distribution/latin1.txt")).unwrap(), b"\xE4 1\xFF");

    let run = fork.init();
    assert!(run.assert(0).stderr.contains("nothing to replace"), "{run:?}");
    assert_eq!(run.stdout, "");
    assert_eq!(fork.state(), after);
}

#[test]
fn symbolic_links_are_not_followed() {
    let fork = Fork::new(
        "<<__a__>>=1\n",
        &[("outside/file", "<<__a__>>"), ("distribution/file", "<<__a__>>"), ("file", "<<__a__>>")],
    );
    symlink("../outside", fork.path("distribution/folder")).unwrap();
    symlink("../file", fork.path("distribution/link")).unwrap();
    symlink("..", fork.path("distribution/loop")).unwrap();
    symlink("/nowhere", fork.path("distribution/dangling")).unwrap();
    let run = fork.run(&["init", "setup.conf", "--output", "json"]);
    assert_eq!(run.assert(0).json()["totals"]["links"], 4);
    assert_eq!((fork.read("outside/file"), fork.read("file")), ("<<__a__>>".into(), "<<__a__>>".into()));
    assert!(fs::symlink_metadata(fork.path("distribution/link")).unwrap().is_symlink());

    symlink("distribution", fork.path("named")).unwrap();
    let run = fork.run(&["init", "setup.conf", "--distribution", "named"]);
    assert!(run.assert(4).stderr.contains("cannot open named\n  a symbolic link"), "{run:?}");
}

#[test]
fn what_is_left_over_is_shown_with_place_and_suggestion() {
    let conf = "<<__aws_region__>>=eu-west-1\n<<__never__>>=x\n<<__never_either__>>=<<__nested__>>\n<<__nested__>>=y\n";
    let fork = Fork::new(
        conf,
        &[
            ("distribution/a.yaml", "r: <<__aws_region__>>\n  ü <<__aws_region__>> <<__aws_regoin__>>\n"),
            ("distribution/b/c.yaml", "<<__quite_unknown__>> <<__aws_region>>"),
        ],
    );
    let expected = "would be replaced\n  distribution/a.yaml: aws_region (2)\nleft over: placeholders without a value\n  \
        distribution/a.yaml:2:24: <<__aws_regoin__>>, did you mean <<__aws_region__>>?\n  \
        distribution/b/c.yaml:1:1: <<__quite_unknown__>>\n  \
        distribution/b/c.yaml:1:23: <<__aws_region>>, did you mean <<__aws_region__>>?\nunused: names that stand in no file\n  \
        setup.conf:2:1: <<__never__>>\n  setup.conf:3:1: <<__never_either__>>\n  setup.conf:4:1: <<__nested__>>\n";
    let before = fork.state();
    assert_eq!(fork.run(&["init", "setup.conf", "--check"]).assert(1).stdout, expected);
    assert_eq!(fork.state(), before);
    let quiet = fork.run(&["init", "setup.conf", "--check", "--quiet", "--allow-missing"]);
    assert_eq!(quiet.assert(0).stderr, "");
    assert!(quiet.stdout.starts_with("left over") && !quiet.stdout.contains("unused"), "{quiet:?}");

    // Written: the column is the one in the file as it is now.
    let run = fork.init();
    assert!(run.assert(1).stdout.contains("distribution/a.yaml:2:15: <<__aws_regoin__>>"), "{run:?}");
    assert!(run.stdout.starts_with("replaced\n"), "{run:?}");
    assert_eq!(fork.read("distribution/a.yaml"), "r: eu-west-1\n  ü eu-west-1 <<__aws_regoin__>>\n");
}

#[test]
fn json_says_the_same_to_machines() {
    let fork = Fork::new(
        "<<__a__>>=1\n<<__b__>>=<<__nobody__>>\nx=2\n",
        &[("distribution/f", "\n <<__a__>> <<__c__>>\n"), ("distribution/g", "nothing")],
    );
    let report = fork.run(&["init", "setup.conf", "--output", "json", "--dry-run", "--show-values"]).assert(1).json();
    assert_eq!(
        report,
        serde_json::json!({
            "format": 1, "mode": "dry-run", "setup_conf": "setup.conf",
            "files": [{
                "path": "distribution/f", "changed": true,
                "replaced": [{"placeholder": "<<__a__>>", "line": 2, "column": 2, "value": "1"}],
                "left_over": [{"placeholder": "<<__c__>>", "line": 2, "column": 12, "did_you_mean": "<<__a__>>"}],
                "diff": "--- a/distribution/f\n+++ b/distribution/f\n@@ -1,2 +1,2 @@\n \n- <<__a__>> <<__c__>>\n+ 1 <<__c__>>\n",
            }],
            "left_over_in_setup_conf": [{"placeholder": "<<__nobody__>>", "line": 2, "column": 11}],
            "unused": [
                {"placeholder": "<<__b__>>", "place": "setup.conf:2:1"}, {"placeholder": "x", "place": "setup.conf:3:1"}
            ],
            "warnings": [
                "setup.conf:3:1: x replaces this text wherever it stands, also inside of words; <<__name__>> is safer"
            ],
            "errors": [],
            "totals": {"files": 2, "binary": 0, "links": 0, "changed": 1, "replaced": 1, "left_over": 2},
        })
    );
    let error = fork.run(&["init", "missing.conf", "--output", "json"]).assert(4).json();
    assert_eq!(error["error"]["kind"], "io");
}

#[test]
fn a_setup_conf_with_errors_writes_nothing_and_shows_all_of_them() {
    let conf = "<<__a__>>=1\nno equals\n=x\n<<__b__>>=<<__c__>>\n<<__a__>>=2\n<<__c__>>=<<__b__>>\n";
    let fork = Fork::new(conf, &[("distribution/f", "<<__a__>>")]);
    let before = fork.state();
    let run = fork.init();
    assert_eq!(run.assert(3).stdout, "");
    assert_eq!(
        run.stderr,
        "error: setup.conf has 4 errors; nothing was written\n  \
         setup.conf:2:1: no `=` in the line; write <<__name__>>=value, or start a comment with #\n  \
         setup.conf:3:1: no name before the `=`\n  \
         setup.conf:4:1: values that contain each other cannot be expanded: <<__b__>> -> <<__c__>> -> <<__b__>>\n  \
         setup.conf:5:1: <<__a__>> is defined twice; first in line 1\n"
    );
    fork.write("setup.conf", b"<<__a__>>=\xFC\n");
    assert!(fork.init().assert(3).stderr.contains("setup.conf:1:11: not UTF-8"));
    fork.write("setup.conf", conf);
    assert_eq!(fork.state().len(), before.len());
    assert_eq!(fork.read("distribution/f"), "<<__a__>>");
}

#[test]
fn values_from_the_command_line_come_first() {
    let fork = Fork::new(
        "<<__a__>>=1\n<<__b__>>=<<__a__>>!\n",
        &[("distribution/f", "<<__a__>> <<__b__>> <<__ca__>>"), ("ca.pem", "line 1\nline 2\n")],
    );
    fork.run(&["init", "setup.conf", "--set", "a=x=y", "--set-file", "<<__ca__>>=ca.pem"]).assert(0);
    assert_eq!(fork.read("distribution/f"), "x=y x=y! line 1\nline 2");
    let twice = fork.run(&["init", "setup.conf", "--set", "a=1", "--set", "a=2"]);
    assert!(twice.assert(2).stderr.contains("<<__a__>> is defined twice"), "{twice:?}");
    fork.run(&["init", "setup.conf", "--set", "a"]).assert(2);
    fork.run(&["init", "setup.conf", "--set-file", "a=missing"]).assert(4);
}

#[test]
fn a_value_that_is_not_what_its_name_or_example_asks_for_is_a_warning() {
    let conf =
        "<<__rds.port__>>=my-port\n<<__role_arn.x__>>=arn:aws:iam::123456789012:role/x\n<<__office__>>=my-office\n";
    let fork = Fork::new(conf, &[("distribution/f", "<<__rds.port__>> <<__role_arn.x__>> <<__office__>>")]);
    fork.write("setup.conf.example", "# Who may come in. Example: 192.0.2.0/24\n<<__office__>>=\n");
    let run = fork.init();
    let warnings: Vec<_> = run.assert(0).stderr.lines().filter(|line| line.starts_with("warning: ")).collect();
    assert_eq!(
        warnings,
        [
            "warning: setup.conf:1:1: <<__rds.port__>> has a value that is hardly a port (1 to 65535)",
            "warning: setup.conf:3:1: <<__office__>> has a value that is hardly a CIDR block (such as 10.0.0.0/16)",
        ]
    );
    assert!(!run.stderr.contains("my-"), "{run:?}");
    assert!(!fork.run(&["init", "setup.conf", "--quiet"]).stderr.contains("warning"));
}

#[test]
fn a_value_that_names_nothing_in_the_selection_is_an_error_with_the_choices() {
    let kustomization = "resources:\n- applications/<<__environment__>>\n- web.yaml\n";
    let map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: <<__environment__>>}\n";
    let files = [
        ("distribution/kustomization.yaml", kustomization),
        ("distribution/web.yaml", map),
        ("distribution/applications/web.yaml", map),
        ("distribution/applications/aws/kustomization.yaml", "resources: []\n"),
        ("distribution/applications/single-node/kustomization.yaml", "resources: []\n"),
    ];
    let conf = |environment: &str| format!("# Where it runs.\n<<__environment__>>={environment}\n");
    for fork in [Fork::new(&conf("eks"), &files), Fork::committed(&conf("eks"), &files)] {
        for arguments in
            [&["init", "setup.conf"][..], &["init", "setup.conf", "--check"], &["init", "setup.conf", "--dry-run"]]
        {
            let before = fork.distribution();
            let run = fork.run(arguments);
            let told = "setup.conf:2:1: the value of <<__environment__>> names nothing in distribution/applications, where there are: aws, single-node\n";
            assert!(run.assert(3).stderr.contains(told) && !run.stderr.contains("eks"), "{run:?}");
            assert_eq!(fork.distribution(), before);
        }
        fork.write("setup.conf", conf(""));
        assert!(fork.init().assert(3).stderr.contains("where there are: aws, single-node\n"));
        // One of the fork's own is as good as the others.
        fork.write("setup.conf", conf("eks"));
        fork.write("distribution/applications/eks/kustomization.yaml", "resources: []\n");
        fork.run(&["init", "setup.conf"]).assert(0);
    }
    // Also where the placeholder was replaced before.
    let fork = Fork::committed(&conf("aws"), &files);
    fork.run(&["init", "setup.conf", "--commit"]).assert(0);
    fork.write("setup.conf", conf("singlenode"));
    assert!(fork.init().assert(3).stderr.contains("where there are: aws, single-node\n"));
    fork.write("setup.conf", conf("single-node"));
    fork.init().assert(0);
    assert!(fork.read("distribution/kustomization.yaml").contains("applications/single-node\n"));
}

#[test]
fn values_that_are_still_the_example_s_are_listed_once_and_only_those_that_were_made_up_and_are_needed() {
    let example = "<<__domain__>>=platform.example.com\n<<__account__>>=123456789012\n<<__branch__>>=main\n\
        <<__role__>>=arn:aws:iam::123456789012:role/x\n<<__off__>>=off.example.com\n";
    let map = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: map\ndata:\n";
    let files = [
        ("setup.conf.example", example),
        ("distribution/kustomization.yaml", "resources: [map.yaml]\n"),
        (
            "distribution/map.yaml",
            &format!("{map}  a: <<__domain__>> <<__account__>> <<__branch__>>\n  b: <<__role__>>\n"),
        ),
        ("distribution/off.yaml", &format!("{map}  a: <<__off__>>\n")),
    ];
    let fork = Fork::committed(&example.replace("=123456789012", "=234567890124"), &files);
    let expected = "made up: values that are still those of setup.conf.example, and are nobody's\n  \
        setup.conf:1:1: <<__domain__>>\n  setup.conf:4:1: <<__role__>>\n";
    for arguments in
        [&["init", "setup.conf", "--check"][..], &["init", "setup.conf", "--commit"], &["init", "setup.conf"]]
    {
        let run = fork.run(arguments);
        assert!(run.assert(0).stdout.ends_with(expected), "{run:?}");
        assert_eq!(run.stdout.matches("made up").count(), 1);
    }
    assert_eq!(fork.run(&["init", "setup.conf", "--quiet"]).assert(0).stdout, "");
    let names = |run: &Run| run.json()["made_up"].as_array().map_or(0, Vec::len);
    assert_eq!(names(&fork.run(&["init", "setup.conf", "--output", "json"])), 2);
    let doctor = fork.run(&["doctor", "--offline"]);
    assert!(doctor.stdout.contains("nobody's: domain, role\n"), "{doctor:?}");
    // What is selected later needs its value then.
    fork.write("distribution/kustomization.yaml", "resources: [map.yaml, off.yaml]\n");
    assert!(fork.init().assert(0).stdout.ends_with("  setup.conf:5:1: <<__off__>>\n"));
    fork.write("setup.conf", example.replace("example.com", "example.org").replace("123456789012", "234567890124"));
    assert_eq!(names(&fork.run(&["init", "setup.conf", "--output", "json"])), 0);
}

#[test]
fn several_folders_and_extra_files_are_one_work_tree() {
    let fork = Fork::new(
        "<<__a__>>=1\n",
        &[("one/f", "<<__a__>>"), ("two/g", "<<__a__>>"), ("README.md", "<<__a__>>"), ("distribution/f", "<<__a__>>")],
    );
    let folders = ["--distribution", "one", "--distribution", "./two/", "--also", "README.md", "--also", "one/f"];
    let run = fork.run(&[&["init", "setup.conf", "--output", "json"], &folders[..]].concat());
    let paths: Vec<_> = run.assert(0).json()["files"].as_array().unwrap().iter().map(|f| f["path"].clone()).collect();
    assert_eq!(paths, ["one/f", "two/g", "README.md"]);
    assert_eq!((fork.read("README.md"), fork.read("distribution/f")), ("1".into(), "<<__a__>>".into()));
    // The file with the values stays what it is.
    fork.run(&["init", "setup.conf", "--distribution", "."]).assert(0);
    assert_eq!((fork.read("setup.conf"), fork.read("distribution/f")), ("<<__a__>>=1\n".into(), "1".into()));
    let missing = fork.run(&["init", "setup.conf", "--distribution", "nowhere"]);
    assert!(missing.assert(4).stderr.contains("cannot open nowhere"), "{missing:?}");
    assert!(missing.stderr.contains("hint: "), "{missing:?}");
}

#[test]
fn no_value_is_shown_unless_asked_for() {
    let fork = Fork::new(
        "<<__a__>>=private-detail\n<<__b__>>=x-<<__a__>>\nz=private-detail\n",
        &[("distribution/f", "v: <<__a__>>\nw: <<__b__>> <<__nope__>>\n")],
    );
    let modes: [&[&str]; 5] =
        [&["--check"], &["--dry-run"], &["--dry-run", "--output", "json"], &["--output", "json", "--check"], &[]];
    for mode in modes {
        let run = fork.run(&[&["init", "setup.conf"], mode].concat());
        run.assert(1);
        assert!(!format!("{run:?}").contains("private"), "{run:?}");
    }
    fork.write("distribution/f", "v: <<__a__>>\n");
    let masked = fork.run(&["init", "setup.conf", "--dry-run"]).stdout;
    assert!(masked.ends_with("-v: <<__a__>>\n+v: [value of a]\n"), "{masked}");
    let shown = fork.run(&["init", "setup.conf", "--check", "--show-values"]).stdout;
    assert!(shown.contains("    1:4 <<__a__>> = private-detail\n"), "{shown}");
    // An error does not show what it is about either.
    fork.write("setup.conf", "<<__a__>>=1\n<<__a__>>=private-detail\nprivate-detail without equals sign\n");
    let run = fork.init();
    assert!(!format!("{:?}", run.assert(3)).contains("private"), "{run:?}");
}

#[test]
fn a_dry_run_is_a_patch_that_git_applies() {
    let text = "top\n\n\n\n\n\nv: <<__a__>>\r\n\n\n\nno newline <<__a__>>";
    let fork = Fork::new("<<__a__>>=1\n", &[("distribution/d/f", text)]);
    let patch = fork.run(&["init", "setup.conf", "--dry-run", "--show-values"]).assert(0).stdout.clone();
    assert_eq!(fork.read("distribution/d/f"), text);
    let patch = fork.write("patch", patch);
    let applied = Command::new("git").arg("apply").arg(patch).current_dir(fork.scratch.path()).output().unwrap();
    assert!(applied.status.success(), "{applied:?}");
    let by_git = fork.read("distribution/d/f");
    fork.write("distribution/d/f", text);
    fork.init().assert(0);
    assert_eq!(fork.read("distribution/d/f"), by_git);
}

#[test]
fn values_that_look_like_secrets_are_refused() {
    let secret = format!("AKIA{}", "IOSFODNN7EXAMPLE");
    let fork = Fork::new(&format!("# x\n<<__key__>>={secret}\n"), &[("distribution/f", "<<__key__>>")]);
    let run = fork.init();
    assert!(run.assert(5).stderr.contains("setup.conf:2:1: the value of <<__key__>> looks like an AWS access key id"));
    assert!(!run.stderr.contains(&secret));
    assert_eq!(fork.read("distribution/f"), "<<__key__>>");
    fork.run(&["init", "setup.conf", "--allow-secret-values"]).assert(0);
    assert_eq!(fork.read("distribution/f"), secret);
}

#[test]
fn a_file_that_cannot_be_replaced_is_named_and_the_others_are_done() {
    let fork =
        Fork::new("<<__a__>>=1\n", &[("distribution/locked/f", "<<__a__>>"), ("distribution/open/f", "<<__a__>>")]);
    let gitmoor = fork.path("gitmoor");
    // By another process: a program that another thread's child has open for writing cannot be started.
    assert!(Command::new("cp").arg(program("gitmoor")).arg(&gitmoor).status().unwrap().success());
    let mode = |path: &str, mode| fs::set_permissions(fork.path(path), Permissions::from_mode(mode)).unwrap();
    mode(".", 0o755);
    mode("distribution/locked", 0o555);
    mode("distribution/open", 0o777);
    let mut command = Command::new(gitmoor);
    command.env_clear().current_dir(fork.scratch.path()).args(["init", "setup.conf"]);
    // Root may write anywhere.
    if rustix::process::geteuid().is_root() {
        command.uid(65534).gid(65534);
    }
    let output = command.output().unwrap();
    mode("distribution/locked", 0o755);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{stderr}");
    assert!(stderr.contains("error: cannot replace distribution/locked/f: Permission denied"), "{stderr}");
    assert_eq!(
        (fork.read("distribution/locked/f"), fork.read("distribution/open/f")),
        ("<<__a__>>".into(), "1".into())
    );
    fork.init().assert(0);
    assert_eq!(fork.read("distribution/locked/f"), "1");
}

#[test]
fn killed_at_any_moment_every_file_is_old_or_new_and_the_next_run_completes() {
    const FILES: usize = 400;
    let old = format!("{}<<__a__>>\n", "padding\n".repeat(2000));
    let new = old.replace("<<__a__>>", "1");
    let fork = Fork::new("<<__a__>>=1\n", &[]);
    let paths: Vec<_> = (0..FILES).map(|index| format!("distribution/{}/{index}", index % 7)).collect();
    let mut interrupted = 0;
    for round in 0..12 {
        for path in &paths {
            fork.write(path, &old);
        }
        let mut child =
            fork.command(&["init", "setup.conf"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let first = fork.path(&paths[0]);
        let deadline = Instant::now() + Duration::from_secs(20);
        while fs::metadata(&first).unwrap().len() == old.len() as u64 && Instant::now() < deadline {
            thread::sleep(Duration::from_micros(200));
        }
        thread::sleep(Duration::from_millis(round));
        child.kill().unwrap();
        child.wait().unwrap();
        let done = paths
            .iter()
            .filter(|path| {
                let text = fork.read(path);
                assert!(text == old || text == new, "{path} is neither old nor new");
                text == new
            })
            .count();
        interrupted += usize::from(0 < done && done < FILES);
        fork.init().assert(0);
        assert!(paths.iter().all(|path| fork.read(path) == new));
        assert_eq!(files_in(&fork.path("distribution")).len(), FILES, "something else is left");
    }
    assert!(interrupted > 0, "no run was killed while it wrote");
}

#[test]
fn what_a_killed_run_left_is_removed_by_the_next_that_writes() {
    let fork = Fork::new("<<__a__>>=1\n", &[("distribution/f", "<<__a__>>"), ("README.md", "")]);
    let left = [fork.write("distribution/.gitmoor-new-x1.tmp", "<<__b__>>"), fork.write(".gitmoor-new-x2.tmp", "")];
    fork.run(&["init", "setup.conf", "--check", "--also", "README.md"]).assert(0);
    assert!(left.iter().all(|path| path.exists()));
    fork.run(&["init", "setup.conf", "--also", "README.md"]).assert(0);
    assert!(!left.iter().any(|path| path.exists()));
}

#[test]
fn output_into_a_pipe_has_no_colour_and_help_names_every_exit_status() {
    let fork = Fork::new("<<__a__>>=1\n", &[("distribution/f", "<<__a__>> <<__b__>>\n")]);
    let run = fork.run(&["init", "setup.conf", "--dry-run"]);
    assert!(!format!("{}{}", run.stdout, run.stderr).contains('\x1b'), "{run:?}");
    let help = fork.run(&["--help"]).assert(0).stdout.clone();
    for status in ["0  done", "1  ", "2  ", "3  ", "4  ", "5  "] {
        assert!(help.contains(status), "{help}");
    }
    fork.run(&[]).assert(2);
    fork.run(&["--version"]).assert(0);
    for shell in ["bash", "zsh", "fish"] {
        fork.run(&["completions", shell]).assert(0);
        let mut asked = fork.command(&["--", "gitmoor", "init", "--dis"]);
        let asked = asked.envs([("COMPLETE", shell), ("_CLAP_COMPLETE_INDEX", "2")]).output().unwrap();
        assert!(String::from_utf8_lossy(&asked.stdout).contains("--distribution"), "{shell}: {asked:?}");
    }
}
