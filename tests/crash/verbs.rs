//! The verbs of the command line that change images in place, each taken down while it runs. After
//! a crash an image is as before or as after, as a whole.

use std::fs;
use std::ops::{ControlFlow, Range};
use std::path::Path;
use std::sync::Arc;

use platter::Control;
use platter::disk::Disk;
use platter::image::{self, Format, FormatDetails, Repair, SnapshotSelector};
use platter::storage::{Crash, CrashFile, MemoryStorage, Storage, WritableStorage};

use crate::common::inputs::Random;
use crate::common::{ours, run, scratch, tool};
use crate::harness::{Effort, Tally, Verdict, examine};
use crate::subject::{Files, Judge, condition};
use crate::traced::record;

/// A base that may take the place of the other.
const OTHER: &str = "other.raw";

/// A verb on an image `disk.qcow2`.
pub(crate) struct Verb {
    pub(crate) name: &'static str,
    /// Options of `qemu-img create` for the image, one after the other.
    pub(crate) images: &'static [&'static str],
    /// The arguments.
    pub(crate) arguments: &'static [&'static str],
    /// Commands of `qemu-img` that come before.
    pub(crate) before: &'static [&'static [&'static str]],
    /// A file that it stands on: `base.raw` or `base.qcow2`.
    pub(crate) base: Option<&'static str>,
    pub(crate) keeps: Keeps,
}

/// What holds in each state.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Keeps {
    /// It is as before or as after in every respect.
    OldOrNew,
    /// The guest sees the same all the time.
    Content,
    /// In each respect, as before or as after.
    Steps,
    /// As [`Self::Content`], in an image that is corrupt until it is mended.
    Mended,
}

/// The guest bytes that a bitmap calls dirty.
type Dirty = Vec<Range<u64>>;

/// What there is to know about an image.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Facts {
    content: Vec<u8>,
    /// Id, name and content.
    snapshots: Vec<(String, String, Vec<u8>)>,
    /// Name, granularity and what is dirty; nothing of a bitmap that was not saved properly.
    bitmaps: Vec<(String, u64, Option<Dirty>)>,
    backing: Option<String>,
    version: u32,
    refcount_bits: u32,
}

impl Facts {
    fn of(files: &Files) -> Result<Self, String> {
        let failed = |error: platter::Error| format!("{error:?}");
        let image = files.reader().map_err(failed)?;
        let info = image.info();
        let FormatDetails::Qcow2(details) = &info.details else {
            return Err("is no qcow2 image".to_owned());
        };
        let mut snapshots = Vec::new();
        for snapshot in &info.snapshots {
            if let Some(damage) = &snapshot.damage {
                return Err(format!("snapshot {}: {damage}", snapshot.name));
            }
            let view = image.snapshot_view(&SnapshotSelector::Id(snapshot.id.clone()));
            let content = view.and_then(|view| files.content_of(view.as_ref()));
            let content = content.map_err(failed)?;
            snapshots.push((snapshot.id.clone(), snapshot.name.clone(), content));
        }
        let mut bitmaps = Vec::new();
        for bitmap in &details.bitmaps {
            let mut dirty = Vec::new();
            if !bitmap.in_use {
                let visit = &mut |range| {
                    dirty.push(range);
                    ControlFlow::Continue(())
                };
                image.for_each_dirty(&bitmap.name, visit).map_err(failed)?;
            }
            let dirty = (!bitmap.in_use).then_some(dirty);
            bitmaps.push((bitmap.name.clone(), bitmap.granularity, dirty));
        }
        Ok(Self {
            content: files.content_of(image.as_ref()).map_err(failed)?,
            snapshots,
            bitmaps,
            backing: info.backing.as_ref().map(|backing| {
                let format = backing.format.as_deref().unwrap_or("?");
                format!("{format}:{}", backing.name)
            }),
            version: details.version,
            refcount_bits: details.refcount_bits,
        })
    }
}

impl Facts {
    /// Whether each of them is as in `before` or as in `after`.
    fn is_between(&self, before: &Self, after: &Self) -> bool {
        fn either<T: PartialEq>(is: &T, before: &T, after: &T) -> bool {
            is == before || is == after
        }
        either(&self.content, &before.content, &after.content)
            && either(&self.snapshots, &before.snapshots, &after.snapshots)
            && either(&self.bitmaps, &before.bitmaps, &after.bitmaps)
            && either(&self.backing, &before.backing, &after.backing)
            && either(&self.version, &before.version, &after.version)
            && either(
                &self.refcount_bits,
                &before.refcount_bits,
                &after.refcount_bits,
            )
    }
}

impl Verb {
    pub(crate) fn crashes(&self, effort: Effort) -> Result<Tally, String> {
        let mut sum = Tally {
            operation: self.name.to_owned(),
            ..Tally::default()
        };
        let each = Effort {
            points_each: effort.points_each / self.images.len(),
            ..effort
        };
        for options in self.images {
            let tally = self.crashes_of(options, each);
            sum.add(&tally.map_err(|reason| format!("{} {options}: {reason}", self.name))?);
        }
        Ok(sum)
    }

    fn crashes_of(&self, options: &str, effort: Effort) -> Result<Tally, String> {
        let folder = scratch();
        self.prepare(options, folder.path());
        let data = options.contains("data_file=").then_some("data.raw");
        let names: Vec<&str> = ["disk.qcow2"]
            .into_iter()
            .chain(self.base)
            .chain(data)
            .collect();
        let other = fs::read(folder.path().join(OTHER)).ok();
        let bytes: Vec<_> = names
            .iter()
            .map(|name| fs::read(folder.path().join(name)).unwrap())
            .collect();
        let files = |files: &[Arc<CrashFile>]| self.files(files, data.is_some(), other.as_deref());
        let before = Facts::of(&files(&frozen(&bytes))?)?;
        let mut command = ours();
        command.args(self.arguments);
        let trace = record(folder.path(), &command, &names)?;
        let after = Facts::of(&files(&frozen(&trace.after))?)?;
        let returned = trace.log.position();
        let beside = [
            self.base.map(|name| (name, &*bytes[1])),
            other.as_deref().map(|bytes| (OTHER, bytes)),
        ];
        let beside: Vec<_> = beside.into_iter().flatten().collect();
        let mut judge = Judge::new(effort, options, &beside);
        let mut tally = examine(self.name, &trace.log, effort, |crash| {
            let files = files(&crash.files)?;
            let facts = Facts::of(&files)?;
            match self.keeps {
                Keeps::OldOrNew if facts != before && facts != after => {
                    return Err(format!(
                        "neither old nor new: {}",
                        difference(&facts, &before, &after)
                    ));
                }
                Keeps::Steps if !facts.is_between(&before, &after) => {
                    return Err(format!(
                        "neither old nor new in some respect: {}",
                        difference(&facts, &before, &after)
                    ));
                }
                Keeps::Content | Keeps::Mended if facts.content != before.content => {
                    return Err("the guest sees something else".to_owned());
                }
                _ => {}
            }
            if crash.position >= returned && facts != after {
                return Err("has returned, but is not as after".to_owned());
            }
            self.judge(&mut judge, crash, &files)
        })?;
        tally.through_qemu = judge.finish()?;
        Ok(tally)
    }

    fn judge(&self, judge: &mut Judge, crash: &Crash, files: &Files) -> Result<Verdict, String> {
        if self.keeps == Keeps::Mended && condition(files).is_err() {
            return mend(files);
        }
        if let (Some("base.qcow2"), Some(base)) = (self.base, crash.files.get(1)) {
            let base = Files::of(Arc::clone(base) as _);
            condition(&base).map_err(|reason| format!("the base {reason}"))?;
        }
        judge.state(crash, files, |_| Ok(()))
    }

    /// A state as an image over its base, or over `other` where that is what it names.
    fn files(
        &self,
        files: &[Arc<CrashFile>],
        has_data_file: bool,
        other: Option<&[u8]>,
    ) -> Result<Files, String> {
        let mut image = Files::of(Arc::clone(&files[0]) as Arc<dyn WritableStorage>);
        if has_data_file {
            image.data_file = files.last().map(|file| Arc::clone(file) as _);
        }
        let named = image.reader().map_err(|error| format!("{error:?}"))?;
        let named = named.info().backing.as_ref();
        if let Some(other) = other.filter(|_| named.is_some_and(|named| named.name == OTHER)) {
            image.backing = Some(Arc::new(MemoryStorage::new(other.to_vec())));
            return Ok(image);
        }
        if named.is_none() {
            return Ok(image);
        }
        if let (Some(name), Some(base)) = (self.base, files.get(1)) {
            let format = if name == "base.raw" {
                Format::Raw
            } else {
                Format::Qcow2
            };
            let base = image::open(Arc::clone(base) as Arc<dyn Storage>, format);
            let base = base.map_err(|error| format!("the base: {error:?}"))?;
            let disk = Disk::new(vec![Arc::from(base)]).map_err(|error| error.to_string())?;
            image.backing = Some(Arc::new(disk));
        }
        Ok(image)
    }

    /// Half of the disk is in use, by several writers and between snapshots.
    fn prepare(&self, options: &str, folder: &Path) {
        let mut random = Random(options.len() as u64 ^ self.name.len() as u64);
        let mut create = tool("qemu-img");
        create
            .current_dir(folder)
            .args(["create", "-q", "-f", "qcow2", "-o", options]);
        if let Some(base) = self.base {
            let format = base.strip_prefix("base.").unwrap_or_default();
            run(tool("qemu-img")
                .current_dir(folder)
                .args(["create", "-q", "-f", format, base, "200k"]));
            write(&folder.join(base), format, 200 << 10, &mut random);
            create.args(["-b", base, "-F", format]);
        }
        run(create.args(["disk.qcow2", "300k"]));
        write(&folder.join("disk.qcow2"), "qcow2", 300 << 10, &mut random);
        for command in self.before {
            let disk = folder.join("disk.qcow2");
            match *command {
                ["other"] => {
                    let noise: Vec<u8> = (0..150 << 10).map(|_| random.next() as u8).collect();
                    fs::write(folder.join(OTHER), noise).unwrap();
                }
                ["write"] => write(&disk, "qcow2", 300 << 10, &mut random),
                ["damage", by] => damage(&disk, by.parse().unwrap()),
                _ => drop(run(tool("qemu-img").current_dir(folder).args(*command))),
            }
        }
    }
}

/// Files that stay as they are.
fn frozen(files: &[Vec<u8>]) -> Vec<Arc<CrashFile>> {
    files
        .iter()
        .cloned()
        .map(CrashFile::new)
        .map(Arc::new)
        .collect()
}

/// Adds `by` to the refcounts of a few clusters that are in use.
fn damage(image: &Path, by: i8) {
    let mut bytes = fs::read(image).unwrap();
    let field = |at: usize| u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
    let block = field(field(48));
    let cluster = 1 << bytes[23];
    let mut used: Vec<usize> = (8..cluster / 2)
        .map(|index| block + index * 2 + 1)
        .filter(|at| bytes[*at] == 1)
        .collect();
    used.truncate(20);
    assert!(used.len() > 10, "too little to damage");
    for at in used.into_iter().step_by(2) {
        bytes[at] = bytes[at].wrapping_add_signed(by);
    }
    fs::write(image, bytes).unwrap();
}

/// A state that is still corrupt is mended by the next run, and nothing is lost.
fn mend(files: &Files) -> Result<Verdict, String> {
    let before = files.content().map_err(|error| format!("{error:?}"))?;
    let mended = image::repair(
        &files.image,
        Format::Qcow2,
        Repair::All,
        &|_| Ok(()),
        &Control::new(),
    );
    mended.map_err(|stop| format!("a second repair: {stop}"))?;
    let after = condition(files).map_err(|reason| format!("a second repair leaves: {reason}"))?;
    if after != Verdict::Clean {
        return Err(format!("a second repair leaves {after:?}"));
    }
    if files.content().map_err(|error| format!("{error:?}"))? != before {
        return Err("a second repair changes the content".to_owned());
    }
    Ok(Verdict::Dirty)
}

fn write(image: &Path, format: &str, size: u64, random: &mut Random) {
    let mut io = tool("qemu-io");
    // Where QEMU looks for a data file.
    io.current_dir(image.parent().unwrap());
    io.args(["-f", format]);
    for _ in 0..12 {
        let start = random.below(size / 512 - 40) * 512;
        let length = 512 * (1 + random.below(40));
        let byte = random.below(250) + 1;
        io.arg("-c")
            .arg(format!("write -q -P {byte} {start} {length}"));
    }
    run(io.arg(image));
}

fn difference(is: &Facts, before: &Facts, after: &Facts) -> String {
    let names = |facts: &Facts| -> Vec<String> {
        let names = facts.snapshots.iter().map(|(_, name, _)| name.clone());
        names.collect()
    };
    let content = |other: &Facts| is.content == other.content;
    format!(
        "{} bytes ({} before, {} after), content as before: {}, as after: {}, snapshots {:?} \
         ({:?} before, {:?} after), bitmaps {:?}, version {}, refcount bits {}, backing {:?}",
        is.content.len(),
        before.content.len(),
        after.content.len(),
        content(before),
        content(after),
        names(is),
        names(before),
        names(after),
        is.bitmaps,
        is.version,
        is.refcount_bits,
        is.backing,
    )
}
