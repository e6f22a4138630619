//! Runs a command line with both programs and compares everything a script can see.

use std::fmt::Write as _;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::common;

/// Command lines (by their beginning) whose output differs on purpose, and why. Those must exit
/// with the same code unless the reason says otherwise.
const DIFFERENCES: &[(&str, &str)] = &[];

/// A folder in which both programs run.
pub(crate) struct Stand {
    folder: TempDir,
}

impl Stand {
    pub(crate) fn new() -> Self {
        Self {
            folder: common::scratch(),
        }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Every line, split at spaces, is the same with both programs.
    #[track_caller]
    pub(crate) fn assert_same(&self, lines: &[&str]) {
        let commands: Vec<Vec<&str>> = lines
            .iter()
            .map(|line| line.split_whitespace().collect())
            .collect();
        // Two at a time: most of it is waiting for processes.
        let (left, right) = commands.split_at(commands.len() / 2);
        let different = std::thread::scope(|scope| {
            let other = scope.spawn(|| self.differences(right));
            self.differences(left) + &other.join().expect("no case panics")
        });
        assert!(different.is_empty(), "{different}");
    }

    /// The words as arguments are the same with both programs.
    #[track_caller]
    pub(crate) fn assert_same_words(&self, words: &[&str]) {
        let different = self.differences(&[words.to_vec()]);
        assert!(different.is_empty(), "{different}");
    }

    fn differences(&self, commands: &[Vec<&str>]) -> String {
        let mut text = String::new();
        for words in commands {
            let theirs = seen(&self.run(common::tool("qemu-img"), words));
            let ours = seen(&self.run(common::ours(), words));
            let line = words.join(" ");
            let reason = DIFFERENCES
                .iter()
                .find_map(|(start, why)| line.starts_with(start).then_some(*why));
            match reason {
                None if theirs != ours => {
                    let _ = writeln!(
                        text,
                        "\n===== qemu-img {line}\n----- theirs\n{theirs}----- ours\n{ours}"
                    );
                }
                Some(why) if theirs == ours => {
                    let _ = writeln!(text, "\n===== qemu-img {line}\nno longer differs: {why}");
                }
                _ => {}
            }
        }
        text
    }

    fn run(&self, mut command: Command, words: &[&str]) -> Output {
        common::output(
            command
                .arg0("qemu-img")
                .args(words)
                .current_dir(self.folder()),
        )
    }
}

/// What a script sees.
fn seen(output: &Output) -> String {
    format!(
        "{}[stderr]\n{}[{}]\n",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
        output.status
    )
}
