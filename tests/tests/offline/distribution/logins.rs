//! Programs that components carry in their values and files, run as they are.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use gitmoor_tests::distribution::fork::{Fork, text_at};
use gitmoor_tests::harness::scratch::Scratch;
use serde_json::Value;

/// `webserver_config.py` with stand-ins for Airflow, and a GitHub that answers in pages.
const AIRFLOW: &str = r#"
import json, os, sys, types

def module(name, **members):
    made = types.ModuleType(name)
    made.__dict__.update(members)
    sys.modules[name] = made

parts = "airflow.providers.fab.auth_manager.security_manager.override".split(".")
for end in range(1, len(parts)):
    module(".".join(parts[:end]))
module(".".join(parts), FabAirflowSecurityManagerOverride=object)
module("flask_appbuilder")
module("flask_appbuilder.const", AUTH_OAUTH=4)
config = {}
exec(compile(open(sys.argv[1]).read(), sys.argv[1], "exec"), config)

class Answer:
    def __init__(self, body):
        self.body = body
    def raise_for_status(self):
        if self.body is None:
            raise RuntimeError("GitHub does not answer")
    def json(self):
        return self.body

class GitHub:
    def __init__(self, teams):
        self.teams = teams
    def get(self, path):
        if path == "user":
            return Answer({"login": "ada", "name": "Ada Lovelace", "email": None})
        if self.teams is None:
            return Answer(None)
        page = int(path.partition("&page=")[2])
        return Answer(self.teams[page - 1 : page])

def person(teams):
    manager = config["SECURITY_MANAGER_CLASS"]()
    manager.oauth_remotes = {"github": GitHub(teams)}
    try:
        return manager.get_oauth_user_info("github")
    except RuntimeError as error:
        return str(error)

team = lambda slug, organization="Example": {"slug": slug, "organization": {"login": organization}}
print(json.dumps({
    "roles": config["AUTH_ROLES_MAPPING"],
    "admin": person([team("other"), team("admins")]),
    "both": person([team("users"), team("admins")]),
    "stranger": person([team("admins", "elsewhere"), team("other")]),
    "nobody": person([]),
    "unreachable": person(None),
}))
"#;

#[test]
fn airflow_lets_in_whom_a_team_of_the_organisation_gives_a_role() {
    let scratch = Scratch::new("airflow-login");
    let harness = scratch.write("harness.py", AIRFLOW);
    let fork = Fork::new("aws");
    let config = fork.path("distribution/components/airflow/base/webserver_config.py");
    let output = Command::new("python3")
        .arg(&harness)
        .arg(&config)
        .envs([("GITHUB_ORGANIZATION", "example"), ("GITHUB_ADMIN_TEAM", "admins"), ("GITHUB_USER_TEAM", "users")])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(said["roles"], serde_json::json!({"admins": ["Admin"], "users": ["User"]}));
    let admin = serde_json::json!({
        "username": "github_ada", "first_name": "Ada", "last_name": "Lovelace", "email": "", "role_keys": ["admins"],
    });
    assert_eq!(said["admin"], admin, "a team on the second page");
    assert_eq!(said["both"]["role_keys"], serde_json::json!(["admins", "users"]));
    assert_eq!((&said["stranger"], &said["nobody"]), (&serde_json::json!({}), &serde_json::json!({})));
    assert_eq!(said["unreachable"], "GitHub does not answer", "an error is no person without teams");
}

/// A home, and what the hook of a notebook does in it.
struct Home {
    scratch: Scratch,
    script: String,
}

impl Home {
    /// With the code repository at a path of its own.
    fn new() -> Self {
        let fork = Fork::new("single-node");
        let values = fork.documents("distribution/components/jupyterhub/values.yaml").remove(0);
        let command = &values["singleuser"]["lifecycleHooks"]["postStart"]["exec"]["command"];
        assert_eq!((&command[0], &command[1]), (&Value::from("sh"), &Value::from("-c")));
        let scratch = Scratch::new("notebook");
        let repository = scratch.path().join("dags.git");
        let script = text_at(command, "/2").to_owned();
        let example = "https://github.com/example/dags.git";
        assert!(script.contains(example), "{script}");
        let script = script.replace(example, repository.to_str().unwrap());
        Self { scratch, script }
    }

    fn path(&self) -> std::path::PathBuf {
        self.scratch.folder("home")
    }

    fn git(&self, folder: &Path, arguments: &[&str]) {
        let identity = ["-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "init.defaultBranch=main"];
        let mut git = Command::new("git");
        git.args(identity).args(arguments).current_dir(folder).env("HOME", self.scratch.path());
        let output = git.output().unwrap();
        assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Makes the repository, or puts another commit into it.
    fn publish(&self, file: &str) {
        let work = self.scratch.folder("work");
        if !work.join(".git").exists() {
            self.git(self.scratch.path(), &["init", "--bare", "--quiet", "dags.git"]);
            self.git(self.scratch.path(), &["clone", "--quiet", "dags.git", "work"]);
        }
        fs::write(work.join(file), "").unwrap();
        self.git(&work, &["add", "."]);
        self.git(&work, &["commit", "--quiet", "--message", file]);
        self.git(&work, &["push", "--quiet", "origin", "HEAD:main"]);
    }

    /// A start of the notebook.
    fn start(&self) -> Output {
        let mut shell = Command::new("sh");
        shell
            .args(["-c", &self.script])
            .env_clear()
            .env("HOME", self.path())
            .env("PATH", std::env::var("PATH").unwrap());
        shell.stdin(Stdio::null()).output().unwrap()
    }

    fn starts(&self) {
        let output = self.start();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn a_notebook_starts_with_a_clone_whatever_is_there() {
    let home = Home::new();
    let clone = home.path().join("dags");
    // The repository cannot be reached.
    home.starts();
    assert!(!clone.exists());
    home.publish("one");
    home.starts();
    assert!(clone.join("one").is_file(), "the first start clones");
    home.publish("two");
    home.starts();
    assert!(clone.join("two").is_file(), "the next one takes what is new");

    // What somebody works on stays as it is.
    home.publish("three");
    fs::write(clone.join("three"), "mine").unwrap();
    home.starts();
    assert_eq!(fs::read_to_string(clone.join("three")).unwrap(), "mine");

    // A folder of the same name that is no clone.
    fs::remove_dir_all(&clone).unwrap();
    fs::create_dir(&clone).unwrap();
    fs::write(clone.join("notes"), "mine").unwrap();
    home.starts();
    assert_eq!(fs::read_to_string(clone.join("notes")).unwrap(), "mine");
    assert!(!clone.join(".git").exists());
}
