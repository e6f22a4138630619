//! Runs a command line with both programs and compares everything a script can see.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use std::fmt::Write as _;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::common;

/// Where we differ on purpose.
struct Difference {
    verb: &'static str,
    /// What the command line ends with.
    image: &'static str,
    why: &'static str,
}

const DIFFERENCES: &[Difference] = &[
    Difference {
        verb: "check",
        image: "missing.qcow2",
        why: "metadata can be checked without the backing file, so it is not opened (exit code 0)",
    },
    Difference {
        verb: "check",
        image: "remote.qcow2",
        why: "as above",
    },
    Difference {
        verb: "check",
        image: "luks.qcow2",
        why: "metadata is not encrypted, so no key is asked for (exit code 0)",
    },
    Difference {
        verb: "check",
        image: "cbc.qcow2",
        why: "as above",
    },
    Difference {
        verb: "check",
        image: "aes.qcow2",
        why: "as above",
    },
    Difference {
        verb: "convert",
        image: "zero",
        why: "nothing was converted, so the exit code is 1",
    },
    Difference {
        verb: "",
        image: "remote.qcow2",
        why: "no network is reached because an image says so: other words, same exit code",
    },
];

impl Difference {
    fn of(words: &[&str]) -> Option<&'static Self> {
        DIFFERENCES.iter().find(|difference| {
            let is_verb = difference.verb.is_empty() || words.first() == Some(&difference.verb);
            is_verb && words.last() == Some(&difference.image)
        })
    }
}

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
    pub(crate) fn assert_same<S: AsRef<str>>(&self, lines: &[S]) {
        let commands: Vec<Vec<&str>> = lines
            .iter()
            .map(|line| line.as_ref().split_whitespace().collect())
            .collect();
        self.assert_all_same(&commands);
    }

    /// The words before each of `images` are the same with both programs.
    #[allow(dead_code, reason = "not every test crate has images to run over")]
    #[track_caller]
    pub(crate) fn assert_same_for(&self, images: &[String], lines: &[&str]) {
        let commands = images.iter().flat_map(|image| {
            lines.iter().map(move |line| {
                let words = line.split_whitespace();
                words.chain([image.as_str()]).collect()
            })
        });
        self.assert_all_same(&commands.collect::<Vec<_>>());
    }

    /// Every command is the same with both programs. What may write runs alone, in the order
    /// given: who reads the same image meanwhile would be refused, or refuse it.
    #[track_caller]
    pub(crate) fn assert_all_same(&self, commands: &[Vec<&str>]) {
        let (readers, others): (Vec<_>, Vec<_>) = commands
            .iter()
            .cloned()
            .partition(|words| only_reads(words));
        // Readers two at a time: most of it is waiting for processes.
        let (left, right) = readers.split_at(readers.len() / 2);
        let different = std::thread::scope(|scope| {
            let other = scope.spawn(|| self.differences(right));
            self.differences(left) + &other.join().expect("no case panics")
        });
        let different = different + &self.differences(&others);
        assert!(different.is_empty(), "{different}");
    }

    fn differences(&self, commands: &[Vec<&str>]) -> String {
        let mut text = String::new();
        for words in commands {
            let theirs = seen(&self.run(common::tool("qemu-img"), words));
            let ours = seen(&self.run(common::ours(), words));
            let line = words.join(" ");
            match Difference::of(words) {
                None if theirs != ours => {
                    let _ = writeln!(
                        text,
                        "\n===== qemu-img {line}\n----- theirs\n{theirs}----- ours\n{ours}"
                    );
                }
                Some(Difference { verb, why, .. }) if theirs == ours && !verb.is_empty() => {
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

/// Whether nothing that `words` could mean takes a lock that excludes readers.
fn only_reads(words: &[&str]) -> bool {
    match words.first() {
        Some(&"check") => !words.contains(&"-r"),
        Some(verb) => ["info", "map", "compare", "measure"].contains(verb),
        None => true,
    }
}

/// What a script sees. Progress is how far the work was at some moment: only its first
/// report is the same whoever works.
fn seen(output: &Output) -> String {
    let stdout = String::from_utf8_lossy(&output.stdout);
    let without_progress = without_later_progress(&stdout);
    format!(
        "{without_progress}[stderr]\n{}[{}]\n",
        String::from_utf8_lossy(&output.stderr),
        output.status
    )
}

fn without_later_progress(text: &str) -> String {
    let mut kept = String::new();
    for (index, part) in text.split_inclusive("/100%)\r").enumerate() {
        match part.rfind("    (") {
            Some(start) if index > 0 && part.ends_with('\r') => kept.push_str(&part[..start]),
            _ => kept.push_str(part),
        }
    }
    kept
}
