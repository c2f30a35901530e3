//! Where the fork is: what is not named on the command line is looked for from the working folder upwards, as Git does.

use std::{
    env,
    path::{Path, PathBuf},
    sync::LazyLock,
};

/// What the folder has in which a fork's commands run.
const SIGNS: [&str; 2] = ["distribution", "setup.conf"];

/// The way from the working folder to that of the fork; empty when they are the same, and when there is no fork.
static WAY: LazyLock<PathBuf> = LazyLock::new(|| env::current_dir().map_or_else(|_| PathBuf::new(), |here| way(&here)));

/// A file or folder of the fork that was not named: by its path in the fork, from the working folder.
pub(crate) fn of_fork(path: &str) -> PathBuf {
    WAY.join(path)
}

/// Goes up to the nearest folder with a sign of a fork, and not past the top of a work tree: above it everything is
/// somebody else's. Where Git has no work tree, nothing says where that begins.
fn way(here: &Path) -> PathBuf {
    let folders = here.ancestors();
    let Some(depth) = folders.clone().position(|folder| folder.join(".git").exists()) else { return PathBuf::new() };
    let has_sign = |folder: &Path| SIGNS.iter().any(|sign| folder.join(sign).exists());
    let up = folders.take(depth + 1).position(has_sign).unwrap_or_default();
    std::iter::repeat_n("..", up).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fork_is_the_nearest_folder_with_its_files_up_to_the_top_of_the_work_tree() {
        let scratch = tempfile::tempdir().unwrap();
        let top = scratch.path().join("clone");
        for folder in ["clone/.git", "clone/clusters/one/distribution/apps", "clone/docs", "clone/other/.git"] {
            std::fs::create_dir_all(scratch.path().join(folder)).unwrap();
        }
        let from = |folder: &str| way(&top.join(folder)).to_str().unwrap().to_owned();
        assert_eq!(from("docs"), "", "no fork anywhere: what is said names the working folder");
        std::fs::write(top.join("setup.conf"), "").unwrap();
        std::fs::create_dir(scratch.path().join("distribution")).unwrap();
        for (folder, expected) in [
            ("", ""),
            ("docs", ".."),
            ("clusters", ".."),
            ("clusters/one", ""),
            ("clusters/one/distribution", ".."),
            ("clusters/one/distribution/apps", "../.."),
            ("other", ""),
        ] {
            assert_eq!(from(folder), expected, "{folder}");
        }
        std::fs::remove_file(top.join("setup.conf")).unwrap();
        assert_eq!(from("docs"), "", "a folder beside the clone is none of its own");
        assert_eq!(way(&scratch.path().join("distribution")), Path::new(""), "no work tree");
    }
}
