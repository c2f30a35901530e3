//! Many objects through one process.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Stdio},
};

use super::{GitError, Repository};

/// A running `git cat-file --batch`. It ends with its value.
#[derive(Debug)]
pub(crate) struct Objects {
    child: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

const UNEXPECTED: GitError = GitError::Unexpected { command: "cat-file" };

impl Objects {
    /// Starts it.
    pub(crate) fn open(repository: &Repository) -> Result<Self, GitError> {
        let mut command = repository.command(&["cat-file", "--batch"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().map_err(GitError::Start)?;
        let (Some(requests), Some(answers)) = (child.stdin.take(), child.stdout.take()) else { return Err(UNEXPECTED) };
        Ok(Self { child, requests, answers: BufReader::new(answers) })
    }

    /// A blob; `None` when the repository does not have it, or when it is no blob.
    pub(crate) fn blob(&mut self, id: &str) -> Result<Option<Vec<u8>>, GitError> {
        let mut header = String::new();
        writeln!(self.requests, "{id}").map_err(|_| UNEXPECTED)?;
        self.answers.read_line(&mut header).map_err(|_| UNEXPECTED)?;
        let words: Vec<&str> = header.split_whitespace().collect();
        let [_, kind, size] = words[..] else {
            return if matches!(words[..], [.., "missing"]) { Ok(None) } else { Err(UNEXPECTED) };
        };
        let size: usize = size.parse().map_err(|_| UNEXPECTED)?;
        let mut content = vec![0; size + 1];
        self.answers.read_exact(&mut content).map_err(|_| UNEXPECTED)?;
        content.truncate(size);
        Ok((kind == "blob").then_some(content))
    }
}

impl Drop for Objects {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Repository {
    /// Those of the objects that this clone does not have.
    pub(crate) fn missing(&self, ids: &[&str]) -> Result<Vec<String>, GitError> {
        let output = self.run_with(&["cat-file", "--batch-check"], ids.join("\n").as_bytes())?;
        let answers = String::from_utf8_lossy(&output).into_owned();
        Ok(answers.lines().filter_map(|line| line.strip_suffix(" missing")).map(str::to_owned).collect())
    }

    /// Writes contents as blobs, and gives their ids in the same order.
    pub(crate) fn write_blobs<'c>(
        &self,
        contents: impl IntoIterator<Item = &'c [u8]>,
    ) -> Result<Vec<String>, GitError> {
        let folder = tempfile::tempdir_in(self.git_folder()?).map_err(GitError::Start)?;
        let mut paths = String::new();
        for (index, content) in contents.into_iter().enumerate() {
            let path = folder.path().join(index.to_string());
            fs::write(&path, content).map_err(GitError::Start)?;
            paths.push_str(path.to_str().ok_or(GitError::Unexpected { command: "hash-object" })?);
            paths.push('\n');
        }
        if paths.is_empty() {
            return Ok(Vec::new());
        }
        let ids = self.run_with(&["hash-object", "-w", "--no-filters", "--stdin-paths"], paths.as_bytes())?;
        Ok(String::from_utf8_lossy(&ids).lines().map(str::to_owned).collect())
    }

    /// The repository's own folder, on the same file system as its objects.
    pub(crate) fn git_folder(&self) -> Result<std::path::PathBuf, GitError> {
        Ok(Path::new(&self.text(&["rev-parse", "--absolute-git-dir"])?).to_owned())
    }
}
