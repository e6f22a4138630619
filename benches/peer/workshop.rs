//! The inputs, made when a row first needs them and thrown away with the last one.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::inputs::{Mapped, Random, Scattered, content};
use crate::measure::run;

/// Makes inputs in a folder.
pub(crate) struct Workshop {
    folder: PathBuf,
    keep: bool,
    pub(crate) quick: bool,
}

impl Workshop {
    pub(crate) fn new(folder: Option<PathBuf>, quick: bool) -> Self {
        let keep = folder.is_some();
        let folder = folder.unwrap_or_else(|| {
            let name = format!("bench-inputs-{}", std::process::id());
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
        });
        fs::create_dir_all(&folder).expect("the folder for the inputs can be made");
        Self {
            folder,
            keep,
            quick,
        }
    }

    /// `name` in the folder, made by `make` unless it is there from a run before.
    fn input(&self, name: &str, make: impl FnOnce(&Path)) -> PathBuf {
        let prefix = if self.quick { "quick-" } else { "" };
        let path = self.folder.join(format!("{prefix}{name}"));
        if !path.exists() {
            make(&path);
        }
        path
    }

    /// Where an operation may write `name`.
    pub(crate) fn output(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Throws inputs away, unless they are to be kept.
    pub(crate) fn done_with(&self, paths: &[&Path]) {
        if self.keep {
            return;
        }
        for path in paths {
            let _ = fs::remove_file(path).or_else(|_| fs::remove_dir_all(path));
        }
    }

    /// An empty disk of 10 GiB.
    pub(crate) fn empty(&self, format: &str) -> PathBuf {
        self.input(&format!("empty.{format}"), |path| {
            let mut create = Command::new("qemu-img");
            create.args(["create", "-q", "-f", format]);
            run(create.arg(path).arg("10G"));
        })
    }

    /// Removes what is of no use a second time, whatever is kept.
    pub(crate) fn throw_away(&self, path: &Path) {
        let _ = fs::remove_file(path);
    }

    /// 1 TiB with half a million scattered clusters.
    pub(crate) fn scattered(&self) -> PathBuf {
        let mut image = Scattered::tebibyte();
        if self.quick {
            image.virtual_size >>= 4;
            image.clusters >>= 4;
        }
        self.input("scattered.qcow2", |path| image.write(path).unwrap())
    }

    /// 8 TiB, all mapped.
    pub(crate) fn mapped(&self) -> PathBuf {
        let size = if self.quick { 512 << 30 } else { 8 << 40 };
        self.input("mapped.qcow2", |path| {
            Mapped::new(size).write(path).unwrap();
        })
    }

    /// Bytes of the disks with content.
    fn content_size(&self) -> u64 {
        if self.quick { 128 << 20 } else { 1280 << 20 }
    }

    /// The raw disk written to `path`.
    pub(crate) fn raw_at(&self, path: &Path) {
        content(path, self.content_size(), 1).unwrap();
    }

    /// A raw disk with realistic content.
    pub(crate) fn raw(&self) -> PathBuf {
        let size = self.content_size();
        self.input("content.raw", |path| content(path, size, 1).unwrap())
    }

    /// A disk with realistic content, as `qemu-img convert` writes it with `options`.
    pub(crate) fn converted(&self, name: &str, options: &[&str]) -> PathBuf {
        let raw = self.raw();
        let image = self.input(name, |path| {
            run(Command::new("qemu-img")
                .args(["convert", "-W", "-m", "16", "-f", "raw", "-O", "qcow2"])
                .args(options)
                .args([&raw, path]));
        });
        self.done_with(&[&raw]);
        image
    }

    /// The topmost of [`Self::chain_files`].
    pub(crate) fn chain(&self) -> PathBuf {
        let mut files = self.chain_files();
        files.pop().expect("the chain has files")
    }

    /// The plain image and three overlays on it, one on the other, each with scattered writes.
    pub(crate) fn chain_files(&self) -> Vec<PathBuf> {
        let mut files = vec![self.converted("plain.qcow2", &[])];
        for layer in 1..4 {
            let below = files.last().expect("the base is there").clone();
            files.push(self.input(&format!("chain{layer}.qcow2"), |path| {
                run(Command::new("qemu-img")
                    .args(["create", "-qf", "qcow2", "-F", "qcow2", "-b"])
                    .args([&below, path]));
                self.scatter_writes(path, layer);
            }));
        }
        files
    }

    fn scatter_writes(&self, path: &Path, seed: u64) {
        let mut random = Random(seed);
        let mut script = String::new();
        let sectors = self.content_size() / 4096 - 64;
        for _ in 0..sectors / 150 {
            let (at, length) = (random.below(sectors) * 4, 4 + 4 * random.below(63));
            script += &format!("write -q -P {seed} {at}k {length}k\n");
        }
        let child = Command::new("qemu-io")
            .args(["-f", "qcow2"])
            .arg(path)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn();
        let mut child = child.expect("qemu-io is installed");
        let mut input = child.stdin.take().expect("it was piped");
        input.write_all(script.as_bytes()).unwrap();
        drop(input);
        assert!(child.wait().unwrap().success(), "qemu-io failed");
    }

    /// A folder of 200 images, every second an overlay of the one before.
    pub(crate) fn folder_of_images(&self) -> PathBuf {
        self.input("folder", |folder| {
            fs::create_dir(folder).unwrap();
            for index in 0..200 {
                let path = folder.join(format!("{index:03}.qcow2"));
                let mut create = Command::new("qemu-img");
                create.args(["create", "-qf", "qcow2"]);
                if index % 2 == 1 {
                    create.args(["-F", "qcow2", "-b", &format!("{:03}.qcow2", index - 1)]);
                }
                run(create.arg(path).arg("10G"));
            }
        })
    }
}

impl Drop for Workshop {
    fn drop(&mut self) {
        if !self.keep {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}
