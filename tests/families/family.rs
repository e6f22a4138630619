//! A folder of images, and what each of them holds.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Output;

use serde_json::Value;

use crate::common::inputs::Random;
use crate::common::{ours, output, scratch, tool};

/// One image.
#[derive(Clone, Debug, Default)]
pub(crate) struct Image {
    pub(crate) name: String,
    pub(crate) format: &'static str,
    /// Name of the backing file.
    pub(crate) backing: Option<String>,
    /// Name of the external data file.
    pub(crate) data_file: Option<String>,
    /// What the guest sees.
    pub(crate) content: Vec<u8>,
    /// Internal snapshots by name; what they hold, as long as no layer below them has changed.
    pub(crate) snapshots: Vec<(String, Option<Vec<u8>>)>,
    /// Dirty bitmaps by name, and whether they are enabled.
    pub(crate) bitmaps: BTreeMap<String, bool>,
    /// Bytes of a cluster; 0 where there are none.
    pub(crate) cluster: u64,
}

pub(crate) struct Family {
    folder: tempfile::TempDir,
    pub(crate) random: Random,
    pub(crate) images: BTreeMap<String, Image>,
    /// Files that were made.
    made: usize,
    /// What was done, for a failure's message.
    story: Vec<String>,
    /// Verbs that succeeded.
    counts: BTreeMap<&'static str, usize>,
    /// The files of an image's chain when it was looked at last.
    seen: BTreeMap<String, Vec<(u64, u64, i64, i64)>>,
}

impl Family {
    /// A family that follows from `seed`.
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            folder: scratch(),
            random: Random(seed.wrapping_mul(0x2_0003) ^ 0xfa3),
            images: BTreeMap::new(),
            made: 0,
            story: vec![format!("seed {seed}")],
            counts: BTreeMap::new(),
            seen: BTreeMap::new(),
        }
    }

    /// Lives its life. How often each verb did something.
    pub(crate) fn live(mut self, steps: usize) -> BTreeMap<&'static str, usize> {
        for step in 0..steps {
            if step < 3 {
                self.create();
            } else {
                self.step();
            }
            if self.images.len() > 7 {
                let oldest = self.images.keys().next().cloned().unwrap();
                self.remove(&oldest);
            }
            self.verify();
        }
        self.seen.clear();
        self.verify();
        self.counts
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A name that no file has.
    pub(crate) fn name(&mut self) -> String {
        self.made += 1;
        format!("i{:02}", self.made)
    }

    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.random.below(100) < percent
    }

    /// Runs a verb of ours; whether it did it.
    pub(crate) fn ours(&mut self, verb: &'static str, words: &[&str]) -> bool {
        let said = output(ours().arg(verb).args(words).current_dir(self.folder()));
        let error = String::from_utf8_lossy(&said.stderr).into_owned();
        self.story
            .push(format!("{verb} {words:?}: {} {error}", said.status));
        if said.status.code().is_none_or(|code| code > 1) {
            self.fail("it did not end as it should");
        }
        if said.status.success() {
            *self.counts.entry(verb).or_default() += 1;
        }
        said.status.success()
    }

    /// Runs a program of QEMU's.
    pub(crate) fn qemu(&mut self, program: &str, words: &[&str]) -> Output {
        let said = output(tool(program).args(words).current_dir(self.folder()));
        self.story
            .push(format!("{program} {words:?}: {}", said.status));
        said
    }

    /// The names of the files from `name` down.
    pub(crate) fn chain(&self, name: &str) -> Vec<String> {
        let mut names = vec![name.to_owned()];
        while let Some(below) = &self.images[names.last().unwrap()].backing {
            names.push(below.clone());
        }
        names
    }

    /// Images that stand on `name`.
    pub(crate) fn above(&self, name: &str) -> Vec<String> {
        let stands_on = |image: &&String| {
            image.as_str() != name && self.chain(image).iter().any(|below| below == name)
        };
        self.images.keys().filter(stands_on).cloned().collect()
    }

    /// One of the images that `is_wanted` likes.
    pub(crate) fn any(&mut self, is_wanted: impl Fn(&Self, &Image) -> bool) -> Option<Image> {
        let found: Vec<&Image> = self
            .images
            .values()
            .filter(|image| is_wanted(self, image))
            .collect();
        if found.is_empty() {
            return None;
        }
        let found: Vec<Image> = found.into_iter().cloned().collect();
        Some(self.random.of(&found).clone())
    }

    /// One that no other stands on.
    pub(crate) fn leaf(&mut self, is_wanted: impl Fn(&Image) -> bool) -> Option<Image> {
        self.any(|family, image| is_wanted(image) && family.above(&image.name).is_empty())
    }

    pub(crate) fn image(&mut self, name: &str) -> &mut Image {
        self.images.get_mut(name).expect("one of the family")
    }

    /// Removes an image, and those that stand on it.
    pub(crate) fn remove(&mut self, name: &str) {
        for name in self.above(name).into_iter().chain([name.to_owned()]) {
            let Some(image) = self.images.remove(&name) else {
                continue;
            };
            for file in [Some(name), image.data_file].into_iter().flatten() {
                fs::remove_file(self.folder().join(file)).unwrap();
            }
        }
    }

    /// All bytes, as `qemu-img` reads them.
    pub(crate) fn read(&self, image: &Image, snapshot: Option<&str>) -> Vec<u8> {
        let mut convert = tool("qemu-img");
        convert
            .args(["convert", "-f", image.format, "-O", "raw"])
            .current_dir(self.folder());
        if let Some(snapshot) = snapshot {
            convert.args(["-l", &format!("snapshot.name={snapshot}")]);
        }
        let said = output(convert.args([&image.name, "bytes"]));
        if !said.status.success() {
            let words = String::from_utf8_lossy(&said.stderr);
            self.fail(&format!(
                "{} {snapshot:?} cannot be read: {words}",
                image.name
            ));
        }
        let path = self.folder().join("bytes");
        let bytes = fs::read(&path).unwrap();
        fs::remove_file(path).unwrap();
        bytes
    }

    /// Every image is what it should be, and there is no other file.
    fn verify(&mut self) {
        let mut files = Vec::new();
        let images: Vec<Image> = self.images.values().cloned().collect();
        for image in &images {
            files.extend(
                [Some(image.name.clone()), image.data_file.clone()]
                    .into_iter()
                    .flatten(),
            );
            let stamps = self.stamps(&image.name);
            if self.seen.get(&image.name) != Some(&stamps) {
                self.look_at(image);
                // Reading a bitmap's image changes nothing, but may be noticed all the same.
                self.seen
                    .insert(image.name.clone(), self.stamps(&image.name));
            }
        }
        for entry in fs::read_dir(self.folder()).unwrap() {
            let name = entry.unwrap().file_name().to_string_lossy().into_owned();
            if !files.contains(&name) {
                self.fail(&format!("{name} was left behind"));
            }
        }
    }

    fn stamps(&self, name: &str) -> Vec<(u64, u64, i64, i64)> {
        let stamp = |file: &String| {
            let facts = fs::metadata(self.folder().join(file)).unwrap();
            (facts.ino(), facts.size(), facts.mtime(), facts.mtime_nsec())
        };
        let chain = self.chain(name);
        let data_files = chain
            .iter()
            .filter_map(|name| self.images[name].data_file.as_ref());
        chain.iter().chain(data_files).map(stamp).collect()
    }

    fn look_at(&self, image: &Image) {
        if image.format == "qcow2" {
            let said = output(
                tool("qemu-img")
                    .args(["check", &image.name])
                    .current_dir(self.folder()),
            );
            if said.status.code() != Some(0) {
                let words = String::from_utf8_lossy(&said.stderr).into_owned();
                self.fail(&format!("check of {}: {words}", image.name));
            }
            self.look_at_facts(image);
        }
        let seen = self.read(image, None);
        let at = seen
            .iter()
            .zip(&image.content)
            .position(|(is, was)| is != was);
        let padding = seen.get(image.content.len()..);
        if at.is_some()
            || !padding.is_some_and(|end| end.len() < 512 && end.iter().all(|byte| *byte == 0))
        {
            self.fail(&format!(
                "{} has {} bytes for {}, other from {at:x?} on",
                image.name,
                seen.len(),
                image.content.len()
            ));
        }
        for (name, content) in &image.snapshots {
            let Some(content) = content else {
                continue;
            };
            // QEMU gives a snapshot the size that the disk has now.
            let seen = self.read(image, Some(name));
            let both = seen.len().min(content.len());
            if seen[..both] != content[..both] {
                self.fail(&format!("snapshot {name} of {} has changed", image.name));
            }
        }
    }

    fn look_at_facts(&self, image: &Image) {
        let mut info = tool("qemu-img");
        info.args(["info", "--output=json", &image.name])
            .current_dir(self.folder());
        let facts: Value = serde_json::from_slice(&output(&mut info).stdout).unwrap();
        let backing = facts["backing-filename"].as_str();
        if backing != image.backing.as_deref() {
            self.fail(&format!("{} stands on {backing:?}", image.name));
        }
        let names = |list: &Value| {
            let list = list.as_array().cloned().unwrap_or_default();
            let name = |entry: &Value| entry["name"].as_str().unwrap_or_default().to_owned();
            list.iter().map(name).collect::<Vec<String>>()
        };
        let expected: Vec<&String> = image.snapshots.iter().map(|(name, _)| name).collect();
        let snapshots = names(&facts["snapshots"]);
        if snapshots.iter().ne(expected.iter().copied()) {
            self.fail(&format!("{} has the snapshots {snapshots:?}", image.name));
        }
        let bitmaps = &facts["format-specific"]["data"]["bitmaps"];
        let mut found = names(bitmaps);
        found.sort();
        if found.iter().ne(image.bitmaps.keys()) {
            self.fail(&format!("{} has the bitmaps {found:?}", image.name));
        }
        for bitmap in bitmaps.as_array().into_iter().flatten() {
            let is_enabled = image.bitmaps[bitmap["name"].as_str().unwrap()];
            let expected: &[&str] = if is_enabled { &["auto"] } else { &[] };
            if bitmap["flags"] != serde_json::json!(expected) {
                self.fail(&format!("{}: {bitmap}", image.name));
            }
        }
    }

    pub(crate) fn fail(&self, what: &str) -> ! {
        let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join("families");
        let _ = fs::remove_dir_all(&kept);
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
