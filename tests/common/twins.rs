//! Two folders with the same files, one for each program: what changes images is run in both, and
//! everything a script can see must be the same, the guest disks afterwards too.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::common;

/// The folders.
pub(crate) struct Twins {
    theirs: TempDir,
    ours: TempDir,
}

impl Twins {
    /// Both with what `make` makes in a folder.
    pub(crate) fn new(make: impl FnOnce(&Path)) -> Self {
        let (theirs, ours) = (common::scratch(), common::scratch());
        make(theirs.path());
        let twins = Self { theirs, ours };
        twins.copy_theirs();
        twins
    }

    /// Where `qemu-img` works.
    pub(crate) fn theirs(&self, name: &str) -> PathBuf {
        self.theirs.path().join(name)
    }

    /// Where ours works.
    pub(crate) fn ours(&self, name: &str) -> PathBuf {
        self.ours.path().join(name)
    }

    /// Does the same to both.
    pub(crate) fn with_both(&self, work: impl Fn(&Path)) {
        work(self.theirs.path());
        work(self.ours.path());
    }

    /// Runs a line, split at spaces, in both folders: both say the same.
    #[track_caller]
    pub(crate) fn assert_same(&self, line: &str) {
        let difference = self.difference(line);
        assert!(difference.is_none(), "{}", difference.unwrap_or_default());
    }

    /// As [`Self::assert_same`] for each line, each on the files as they were at first.
    #[track_caller]
    pub(crate) fn assert_same_afresh(&self, lines: &[&str]) {
        let pristine = self.pristine();
        let mut differences = String::new();
        for line in lines {
            differences.extend(self.difference(line));
            self.restore(&pristine);
        }
        assert!(differences.is_empty(), "{differences}");
    }

    /// A copy of the files as they are.
    pub(crate) fn pristine(&self) -> TempDir {
        let pristine = common::scratch();
        copy(self.theirs.path(), pristine.path());
        pristine
    }

    /// Makes the files of both those of [`Self::pristine`].
    pub(crate) fn restore(&self, pristine: &TempDir) {
        for folder in [self.theirs.path(), self.ours.path()] {
            copy(pristine.path(), folder);
        }
    }

    /// Runs a line, split at spaces, in both folders: theirs, and ours.
    pub(crate) fn run(&self, line: &str) -> [Output; 2] {
        let words: Vec<&str> = line.split_whitespace().collect();
        [
            run(common::tool("qemu-img"), &words, self.theirs.path()),
            run(common::ours(), &words, self.ours.path()),
        ]
    }

    fn difference(&self, line: &str) -> Option<String> {
        let [theirs, ours] = self.run(line).map(|output| seen(&output));
        (theirs != ours)
            .then(|| format!("\n===== qemu-img {line}\n----- theirs\n{theirs}----- ours\n{ours}"))
    }

    /// The guest disks of an image are equal in both folders, size included.
    #[track_caller]
    pub(crate) fn assert_same_disk(&self, name: &str) {
        // From within the folder: names of data files are relative to where QEMU runs.
        self.with_both(|folder| {
            let mut convert = common::tool("qemu-img");
            convert.args(["convert", "-O", "raw", name, "flat"]);
            common::run(convert.current_dir(folder));
        });
        let (theirs, ours) = (self.theirs("flat"), self.ours("flat"));
        let mut compare = common::tool("qemu-img");
        compare.args(["compare", "-f", "raw", "-F", "raw"]);
        let output = common::output(compare.arg(&theirs).arg(&ours));
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{name}: {said}");
        let length = |path| fs::metadata(path).expect("it was converted").len();
        assert_eq!(length(&theirs), length(&ours), "{name}");
    }

    fn copy_theirs(&self) {
        copy(self.theirs.path(), self.ours.path());
    }
}

fn run(mut command: Command, words: &[&str], folder: &Path) -> Output {
    common::output(command.arg0("qemu-img").args(words).current_dir(folder))
}

/// Makes `to` contain the files of `from`, and no others.
fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(to).expect("the folder can be listed") {
        fs::remove_file(entry.expect("an entry").path()).expect("a file can be removed");
    }
    let mut contents = from.as_os_str().to_owned();
    contents.push("/.");
    common::run(
        common::tool("cp")
            .args(["-a", "--sparse=always"])
            .arg(contents)
            .arg(to),
    );
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
