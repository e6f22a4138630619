//! A chain of images, what its disk and its snapshots hold, and who may change it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use platter::ErrorKind;
use platter::chain::{Chain, ChainOptions};
use platter::image::{Format, SnapshotSelector};
use platter::storage::Storage;

use crate::common::inputs::Random;
use crate::common::{ours, output, run, scratch, tool};

/// Who does something.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum By {
    Qemu,
    Us,
}

impl By {
    pub(crate) fn other(self) -> Self {
        match self {
            Self::Qemu => Self::Us,
            Self::Us => Self::Qemu,
        }
    }

    /// The program with `qemu-img`'s verbs.
    pub(crate) fn img(self, folder: &Path) -> Command {
        let mut command = match self {
            Self::Qemu => tool("qemu-img"),
            Self::Us => ours(),
        };
        command.current_dir(folder);
        command
    }
}

/// One image of the chain.
#[derive(Clone, Debug)]
pub(crate) struct Layer {
    pub(crate) name: String,
    pub(crate) format: &'static str,
    /// Options it was created with.
    pub(crate) options: String,
    /// What the guest saw when the next layer was put on it.
    pub(crate) content: Vec<u8>,
}

pub(crate) struct World {
    folder: tempfile::TempDir,
    pub(crate) random: Random,
    /// The active layer first.
    pub(crate) layers: Vec<Layer>,
    /// What the guest sees.
    pub(crate) content: Vec<u8>,
    /// Snapshots of the active layer, and what was on the disk.
    pub(crate) snapshots: Vec<(String, Vec<u8>)>,
    /// What was done, for a failure's message.
    pub(crate) story: Vec<String>,
    /// What was tried: operation, options.
    pub(crate) combinations: Vec<String>,
}

impl World {
    /// A chain that follows from `seed`.
    pub(crate) fn new(seed: u64) -> Self {
        let mut world = Self {
            folder: scratch(),
            random: Random(seed.wrapping_mul(0x1_0001) ^ 0x3a7),
            layers: Vec::new(),
            content: Vec::new(),
            snapshots: Vec::new(),
            story: vec![format!("seed {seed}")],
            combinations: Vec::new(),
        };
        let depth = 1 + seed as usize % 4;
        for index in 0..depth {
            world.add_layer(index);
            let writer = world.side();
            world.write(writer);
            if index + 1 == depth {
                world.write(writer.other());
            }
        }
        world
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.random.below(of.len() as u64) as usize]
    }

    pub(crate) fn side(&mut self) -> By {
        self.pick(&[By::Qemu, By::Us])
    }

    /// Options of `qemu-img create -f qcow2 -o` that go together.
    pub(crate) fn qcow2_options(&mut self) -> String {
        let cluster = self.pick(&["512", "1k", "4k", "4k", "16k", "64k", "64k", "2M"]);
        let mut options = format!("cluster_size={cluster}");
        if self.random.below(4) == 0 {
            return options + ",compat=0.10";
        }
        if matches!(cluster, "16k" | "64k" | "2M") && self.random.below(2) == 0 {
            options += ",extended_l2=on";
        }
        if self.random.below(4) == 0 {
            options += ",lazy_refcounts=on";
        }
        if self.random.below(3) == 0 {
            options += &format!(",refcount_bits={}", self.pick(&[2, 4, 8, 32, 64]));
        }
        if self.random.below(3) == 0 {
            options += ",compression_type=zstd";
        }
        options
    }

    fn add_layer(&mut self, index: usize) {
        let is_raw = index == 0 && self.random.below(3) == 0;
        let by = self.side();
        let size = match self.random.below(3) {
            0 => 1 << 20,
            1 => (2 << 20) + 512 * self.random.below(100),
            _ => (1 << 20) + 4096 * self.random.below(512),
        };
        let format = if is_raw { "raw" } else { "qcow2" };
        let options = if is_raw {
            String::new()
        } else {
            self.qcow2_options()
        };
        let name = format!("layer{index}.{format}");
        let mut create = by.img(self.folder());
        create.args(["create", "-q", "-f", format]);
        if !is_raw {
            create.args(["-o", &options]);
        }
        if let Some(below) = self.layers.first() {
            create.args(["-b", &below.name, "-F", below.format]);
        }
        self.tell(format!("{by:?}: create {name} {options} {size}"));
        self.combinations.push(format!("create:{by:?} {options}"));
        run(create.arg(&name).arg(size.to_string()));
        if let Some(below) = self.layers.first_mut() {
            below.content.clone_from(&self.content);
        }
        self.content.resize(size as usize, 0);
        let layer = Layer {
            name,
            format,
            options,
            content: Vec::new(),
        };
        self.layers.insert(0, layer);
        self.snapshots.clear();
    }

    pub(crate) fn active(&self) -> &Layer {
        &self.layers[0]
    }

    pub(crate) fn tell(&mut self, what: String) {
        self.story.push(what);
    }

    /// Counts `operation` with the options of the active layer.
    pub(crate) fn count(&mut self, operation: &str, by: By, more: &str) {
        let depth = self.layers.len();
        let active = self.active();
        let combination = format!("{operation}:{by:?} {} {depth} {more}", active.options);
        self.combinations.push(combination);
    }

    /// Opens the chain for reading or, the active layer, for change.
    pub(crate) fn chain(&self, writable: bool, snapshot: Option<&str>) -> Chain {
        let active = self.active();
        let options = ChainOptions {
            format: Format::from_name(active.format),
            writable: if writable { vec![0] } else { Vec::new() },
            snapshot: snapshot.map(|name| SnapshotSelector::Name(name.to_owned())),
            ..ChainOptions::default()
        };
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            match Chain::open(&self.path(&active.name), &options) {
                Ok(chain) => return chain,
                // A program that the other thread is just starting has our files open as well,
                // until it is on its own.
                Err(error) if error.kind() == ErrorKind::Locked && Instant::now() < until => {
                    std::thread::yield_now();
                }
                Err(error) => self.fail(&format!("cannot be opened: {error:?}")),
            }
        }
    }

    /// Whether `by` reads the disk and its snapshots as they should be.
    pub(crate) fn verify(&self, by: By) {
        self.compare(by, None, &self.content);
        for (name, content) in &self.snapshots {
            self.compare(by, Some(name), content);
        }
    }

    fn compare(&self, by: By, snapshot: Option<&str>, expected: &[u8]) {
        let found = match by {
            By::Us => {
                let chain = self.chain(false, snapshot);
                let disk = chain
                    .disk()
                    .unwrap_or_else(|error| self.fail(&format!("{error:?}")));
                let mut found = vec![0; disk.size().unwrap() as usize];
                disk.read_at(&mut found, 0)
                    .unwrap_or_else(|error| self.fail(&format!("{error:?}")));
                found
            }
            By::Qemu => {
                let active = self.active();
                self.raw_bytes(By::Qemu, &active.name, active.format, snapshot)
            }
        };
        // QEMU gives a snapshot the size that the disk has now.
        let both = match snapshot {
            Some(_) => found.len().min(expected.len()),
            None => found.len().max(expected.len()),
        };
        if found.get(..both) != expected.get(..both) {
            let at = found.iter().zip(expected).position(|(is, was)| is != was);
            self.fail(&format!(
                "{by:?} reads {} bytes for {}, other from {at:x?} on, of {snapshot:?}",
                found.len(),
                expected.len()
            ));
        }
    }

    /// All bytes of an image through `convert -O raw`.
    pub(crate) fn raw_bytes(
        &self,
        by: By,
        name: &str,
        format: &str,
        snapshot: Option<&str>,
    ) -> Vec<u8> {
        let mut convert = by.img(self.folder());
        convert.args(["convert", "-f", format, "-O", "raw"]);
        if let Some(snapshot) = snapshot {
            convert.args(["-l", &format!("snapshot.name={snapshot}")]);
        }
        self.run(convert.args([name, "content"]));
        let found = fs::read(self.path("content")).unwrap();
        fs::remove_file(self.path("content")).unwrap();
        found
    }

    /// Nothing is wrong with the active layer, in our own words.
    pub(crate) fn check_active(&self) {
        if self.active().format != "qcow2" {
            return;
        }
        let chain = self.chain(false, None);
        let image = chain.active().image().expect("it was read");
        match image.check(&platter::Control::new()) {
            Ok(report) if report.is_clean() => {}
            Ok(report) => self.fail(&format!("{:#?}", report.findings)),
            Err(stop) => self.fail(&format!("is not checked: {stop}")),
        }
    }

    /// `qemu-img` finds nothing wrong with any layer.
    pub(crate) fn check(&self) {
        for layer in self.layers.iter().filter(|layer| layer.format == "qcow2") {
            let said = output(By::Qemu.img(self.folder()).args(["check", &layer.name]));
            let words = String::from_utf8_lossy(&said.stdout);
            if said.status.code() != Some(0) {
                self.fail(&format!("{}: {words}", layer.name));
            }
        }
    }

    /// Runs a command that has to succeed.
    pub(crate) fn run(&self, command: &mut Command) -> Output {
        let said = output(command);
        if !said.status.success() {
            let words = String::from_utf8_lossy(&said.stderr);
            self.fail(&format!("{command:?}: {words}"));
        }
        said
    }

    pub(crate) fn fail(&self, what: &str) -> ! {
        let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join("matrix");
        let _ = fs::create_dir_all(&kept);
        for entry in fs::read_dir(self.folder()).into_iter().flatten().flatten() {
            let _ = fs::copy(entry.path(), kept.join(entry.file_name()));
        }
        panic!(
            "{what}\n{}\nkept in {}",
            self.story.join("\n"),
            kept.display()
        );
    }
}
