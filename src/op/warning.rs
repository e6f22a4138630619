//! What an operation does without a word elsewhere: each trap as a typed warning, with the numbers
//! and files that it is about.
//!
//! The finders look before anything is changed. They never fail an operation: what cannot be
//! looked at is no warning, except where not knowing is itself worth saying.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use crate::chain::FolderIndex;
use crate::control::{Control, Stop};
use crate::error::Result;
use crate::image::{self, Format, FormatDetails, ImageInfo};
use crate::storage::{FileId, FileStorage, LockMode, Storage};
use crate::table::{self, TableKind};

/// One trap. Displays as one plain sentence, lower case and without final stop.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Warning {
    /// Other images stand on a file whose content changes, so their content changes too.
    SharedBase {
        /// The file that changes.
        base: PathBuf,
        /// The images of its folder, and of the image's own, that stand on it.
        dependents: Vec<PathBuf>,
    },
    /// Whether other images stand on a file that changes was not found out in time.
    DependentsUnknown {
        /// The file that changes.
        base: PathBuf,
    },
    /// Internal snapshots see a backing file that changes or goes away, and change with it.
    ChangedSnapshots {
        /// The image that has them.
        image: PathBuf,
        /// How many.
        snapshots: usize,
    },
    /// The new image gets none of the internal snapshots.
    DroppedSnapshots {
        /// The image that has them.
        image: PathBuf,
        /// How many.
        snapshots: usize,
    },
    /// The new image gets none of the dirty bitmaps.
    DroppedBitmaps {
        /// The image that has them.
        image: PathBuf,
        /// How many.
        bitmaps: usize,
    },
    /// The new end of the disk lies inside a partition or before it.
    CutPartition {
        /// The partition, as Linux numbers it.
        number: u32,
        /// The guest offset at which it ends.
        end: u64,
        /// The new size of the disk.
        new_end: u64,
    },
    /// The end of the disk with the backup GPT is cut off.
    CutGptBackup {
        /// The size of the disk before.
        old_end: u64,
        /// The new size of the disk.
        new_end: u64,
    },
    /// The backup GPT is no longer at the end of the disk.
    StrandedGptBackup {
        /// The size of the disk before.
        old_end: u64,
        /// The new size of the disk.
        new_end: u64,
    },
    /// What is in the target goes away.
    Overwritten {
        /// The target.
        path: PathBuf,
        /// What it looks like.
        format: Format,
        /// Its length in bytes.
        size: u64,
    },
    /// Compression is asked for, and the target does not compress.
    NotCompressed {
        /// The format of the target.
        format: Format,
    },
}

/// How long the folders of images are searched for others that stand on the same file.
const PATIENCE: Duration = Duration::from_secs(1);

/// Names that are listed in one sentence.
const LISTED: usize = 4;

/// For an operation that changes what the image `base` reads as (commit): who stands on it,
/// directly or not, except for `own`, whose content stays. Looks into the folders of all these
/// files, for a second at most.
#[must_use]
pub fn of_changed_base(base: &Path, own: &[&Path]) -> Option<Warning> {
    match dependents(base, own, PATIENCE) {
        Ok(dependents) if dependents.is_empty() => None,
        Ok(dependents) => Some(Warning::SharedBase {
            base: base.to_owned(),
            dependents,
        }),
        Err(_) => Some(Warning::DependentsUnknown {
            base: base.to_owned(),
        }),
    }
}

/// For an operation that changes what stands behind the image `path` (commit, rebase): its
/// snapshots.
#[must_use]
pub fn of_changed_backing(path: &Path, info: &ImageInfo) -> Option<Warning> {
    (!info.snapshots.is_empty()).then(|| Warning::ChangedSnapshots {
        image: path.to_owned(),
        snapshots: info.snapshots.len(),
    })
}

/// For a copy of the image `path`: what is not copied.
#[must_use]
pub fn of_copy(
    path: &Path,
    info: &ImageInfo,
    keeps_snapshots: bool,
    keeps_bitmaps: bool,
) -> Vec<Warning> {
    let mut warnings = Vec::new();
    if !keeps_snapshots && !info.snapshots.is_empty() {
        warnings.push(Warning::DroppedSnapshots {
            image: path.to_owned(),
            snapshots: info.snapshots.len(),
        });
    }
    if let FormatDetails::Qcow2(details) = &info.details
        && !keeps_bitmaps
        && !details.bitmaps.is_empty()
    {
        warnings.push(Warning::DroppedBitmaps {
            image: path.to_owned(),
            bitmaps: details.bitmaps.len(),
        });
    }
    warnings
}

/// For a guest disk that gets `new_size` bytes: what becomes of its partitions and of the backup
/// GPT.
///
/// # Errors
/// When the disk cannot be read.
pub fn of_resize(disk: &dyn Storage, new_size: u64) -> Result<Vec<Warning>> {
    let old_size = disk.size()?;
    if old_size == new_size {
        return Ok(Vec::new());
    }
    let table = table::read(disk)?;
    let mut warnings: Vec<_> = table
        .partitions
        .iter()
        .filter(|partition| partition.range.end > new_size && new_size < old_size)
        .map(|partition| Warning::CutPartition {
            number: partition.number,
            end: partition.range.end,
            new_end: new_size,
        })
        .collect();
    if table.kind == TableKind::Gpt {
        let (old_end, new_end) = (old_size, new_size);
        warnings.push(if new_end < old_end {
            Warning::CutGptBackup { old_end, new_end }
        } else {
            Warning::StrandedGptBackup { old_end, new_end }
        });
    }
    Ok(warnings)
}

/// For a target that is written anew: what is there already. An empty file is nothing.
#[must_use]
pub fn of_target(path: &Path) -> Option<Warning> {
    // Opening anything else could block.
    let kind = fs::metadata(path).ok()?.file_type();
    if !kind.is_file() && !kind.is_block_device() {
        return None;
    }
    let file = FileStorage::open(path, LockMode::Peek).ok()?;
    let size = file.size().ok().filter(|&size| size > 0)?;
    let format = image::probe(&file).map_or(Format::Raw, |probe| probe.format);
    Some(Warning::Overwritten {
        path: path.to_owned(),
        format,
        size,
    })
}

/// For a target that is asked to be compressed.
#[must_use]
pub fn of_compression(format: Format) -> Option<Warning> {
    let compresses = matches!(format, Format::Qcow1 | Format::Qcow2);
    (!compresses).then_some(Warning::NotCompressed { format })
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SharedBase { base, dependents } => {
                let others = if dependents.len() == 1 {
                    "another image stands"
                } else {
                    "other images stand"
                };
                let base = base.display();
                write!(f, "{others} on '{base}' and will read differently: ")?;
                write_names(f, dependents)
            }
            Self::DependentsUnknown { base } => write!(
                f,
                "whether other images stand on '{}' was not found out within {} s",
                base.display(),
                PATIENCE.as_secs()
            ),
            Self::ChangedSnapshots { image, snapshots } => write!(
                f,
                "{} of '{}' will read differently, as what lies below changes",
                counted(*snapshots, "internal snapshot"),
                image.display()
            ),
            Self::DroppedSnapshots { image, snapshots } => write!(
                f,
                "{} of '{}' will not be in the new image",
                counted(*snapshots, "internal snapshot"),
                image.display()
            ),
            Self::DroppedBitmaps { image, bitmaps } => write!(
                f,
                "{} of '{}' will not be in the new image",
                counted(*bitmaps, "dirty bitmap"),
                image.display()
            ),
            Self::CutPartition {
                number,
                end,
                new_end,
            } => write!(
                f,
                "partition {number} ends at byte {end}, behind the new end of the disk at byte \
                 {new_end}"
            ),
            Self::CutGptBackup { old_end, new_end } => write!(
                f,
                "the backup GPT at the old end of the disk (byte {old_end}) is cut off; none is \
                 written at the new end (byte {new_end})"
            ),
            Self::StrandedGptBackup { old_end, new_end } => write!(
                f,
                "the backup GPT stays at the old end of the disk (byte {old_end}); it belongs at \
                 the new one (byte {new_end})"
            ),
            Self::Overwritten { path, format, size } => write!(
                f,
                "'{}' exists and is overwritten ({format}, {size} bytes)",
                path.display()
            ),
            Self::NotCompressed { format } => {
                write!(f, "{format} images do not compress: the data stays plain")
            }
        }
    }
}

fn write_names(f: &mut fmt::Formatter<'_>, paths: &[PathBuf]) -> fmt::Result {
    for (index, path) in paths.iter().take(LISTED).enumerate() {
        let comma = if index == 0 { "" } else { ", " };
        write!(f, "{comma}'{}'", path.display())?;
    }
    match paths.len().saturating_sub(LISTED) {
        0 => Ok(()),
        more => write!(f, " and {more} more"),
    }
}

fn counted(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

/// The images that stand on `base`, directly or not, without `own`, by name.
///
/// # Errors
/// When a folder cannot be listed or `patience` ends.
fn dependents(base: &Path, own: &[&Path], patience: Duration) -> Result<Vec<PathBuf>, Stop> {
    let Ok(base_id) = FileId::of(base) else {
        return Ok(Vec::new());
    };
    let folders: HashSet<PathBuf> = own.iter().chain([&base]).filter_map(folder_of).collect();
    let mut overlays: HashMap<FileId, Vec<(FileId, PathBuf)>> = HashMap::new();
    for index in within(patience, |control| read_all(&folders, control))? {
        for image in index.images {
            let backing = image.backing_path.and_then(|path| FileId::of(&path).ok());
            if let (Some(backing), Ok(id)) = (backing, FileId::of(&image.path)) {
                overlays.entry(backing).or_default().push((id, image.path));
            }
        }
    }
    let mut seen: HashSet<FileId> = own
        .iter()
        .filter_map(|path| FileId::of(path).ok())
        .collect();
    let mut found = Vec::new();
    let mut open = VecDeque::from([base_id]);
    while let Some(below) = open.pop_front() {
        for (id, path) in overlays.remove(&below).unwrap_or_default() {
            if id != base_id && seen.insert(id) {
                found.push(path);
                open.push_back(id);
            }
        }
    }
    found.sort();
    Ok(found)
}

fn folder_of(path: &&Path) -> Option<PathBuf> {
    let path = fs::canonicalize(path).ok()?;
    path.parent().map(Path::to_owned)
}

fn read_all(folders: &HashSet<PathBuf>, control: &Control) -> Result<Vec<FolderIndex>, Stop> {
    folders
        .iter()
        .map(|folder| FolderIndex::read(folder, control))
        .collect()
}

/// What `work` answers; it is cancelled after `patience`.
fn within<T>(patience: Duration, work: impl FnOnce(&Control) -> T) -> T {
    let control = Control::new();
    let (done, is_done) = channel::<()>();
    thread::scope(|scope| {
        let control = &control;
        scope.spawn(move || {
            if is_done.recv_timeout(patience) == Err(RecvTimeoutError::Timeout) {
                control.cancel();
            }
        });
        let answer = work(control);
        drop(done);
        answer
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::MemoryStorage;

    /// The first bytes of a version 2 image that names `backing`.
    fn overlay(backing: &str) -> Vec<u8> {
        let mut header = vec![0; 65536 * 4];
        header[..8].copy_from_slice(b"QFI\xfb\0\0\0\x02");
        header[8..16].copy_from_slice(&128_u64.to_be_bytes());
        header[16..20].copy_from_slice(&u32::try_from(backing.len()).unwrap().to_be_bytes());
        header[20..24].copy_from_slice(&16_u32.to_be_bytes());
        header[24..32].copy_from_slice(&(1_u64 << 20).to_be_bytes());
        header[36..40].copy_from_slice(&1_u32.to_be_bytes());
        header[40..48].copy_from_slice(&0x10000_u64.to_be_bytes());
        header[48..56].copy_from_slice(&0x20000_u64.to_be_bytes());
        header[56..60].copy_from_slice(&1_u32.to_be_bytes());
        header[128..128 + backing.len()].copy_from_slice(backing.as_bytes());
        header
    }

    #[test]
    fn finds_who_stands_on_the_base_in_both_folders() {
        let house = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(house.path()).unwrap();
        fs::create_dir(root.join("over")).unwrap();
        fs::write(root.join("base.img"), [0; 1024]).unwrap();
        for (name, backing) in [
            ("mid.qcow2", "base.img"),
            ("top.qcow2", "mid.qcow2"),
            ("above-top.qcow2", "top.qcow2"),
            ("other.qcow2", "elsewhere.img"),
            ("over/own.qcow2", "../base.img"),
            ("over/sibling.qcow2", "../base.img"),
            ("over/nephew.qcow2", "sibling.qcow2"),
        ] {
            fs::write(root.join(name), overlay(backing)).unwrap();
        }
        let base = root.join("base.img");
        let found = |own: &str| {
            let own = root.join(own);
            match of_changed_base(&base, &[own.as_path()]) {
                Some(Warning::SharedBase { dependents, .. }) => dependents
                    .iter()
                    .map(|path| path.strip_prefix(&root).unwrap().display().to_string())
                    .collect::<Vec<_>>(),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(
            found("over/own.qcow2"),
            [
                "above-top.qcow2",
                "mid.qcow2",
                "over/nephew.qcow2",
                "over/sibling.qcow2",
                "top.qcow2",
            ]
        );
        // The chain that a commit of the top belongs to reads as before, except in its middle.
        assert_eq!(found("top.qcow2"), ["mid.qcow2"]);
        let lonely = root.join("other.qcow2");
        assert_eq!(of_changed_base(&lonely, &[]), None);
    }

    #[test]
    fn impatience_cancels() {
        let waited = within(Duration::ZERO, |control| {
            while control.checkpoint().is_ok() {
                thread::yield_now();
            }
            true
        });
        assert!(waited);
    }

    /// A disk of 8 MiB with one partition, of sectors 2048 to 8191, in its MBR.
    fn partitioned() -> MemoryStorage {
        let mut disk = vec![0; 8 << 20];
        disk[446 + 4] = 0x83;
        disk[454..458].copy_from_slice(&2048_u32.to_le_bytes());
        disk[458..462].copy_from_slice(&6144_u32.to_le_bytes());
        disk[510..512].copy_from_slice(&[0x55, 0xaa]);
        MemoryStorage::new(disk)
    }

    #[test]
    fn a_cut_through_a_partition_is_told_with_both_ends() {
        let disk = partitioned();
        let warnings = of_resize(&disk, 3 << 20).unwrap();
        let sentences: Vec<_> = warnings.iter().map(ToString::to_string).collect();
        assert_eq!(
            sentences,
            ["partition 1 ends at byte 4194304, behind the new end of the disk at byte 3145728"]
        );
        for size in [4 << 20, 8 << 20, 16 << 20] {
            assert_eq!(of_resize(&disk, size).unwrap(), []);
        }
    }

    #[test]
    fn targets_with_something_in_them_are_told() {
        let house = tempfile::tempdir().unwrap();
        let path = house.path().join("a.qcow2");
        assert_eq!(of_target(&path), None);
        fs::write(&path, []).unwrap();
        assert_eq!(of_target(&path), None);
        fs::write(&path, overlay("x")).unwrap();
        let expected = Warning::Overwritten {
            path: path.clone(),
            format: Format::Qcow2,
            size: 262_144,
        };
        assert_eq!(of_target(&path), Some(expected));
        assert_eq!(of_target(house.path()), None);
        assert_eq!(of_compression(Format::Qcow2), None);
        assert!(of_compression(Format::Raw).is_some());
    }

    #[test]
    fn sentences_count_and_list() {
        let warning = Warning::SharedBase {
            base: "b".into(),
            dependents: (0..6).map(|n| PathBuf::from(format!("o{n}"))).collect(),
        };
        assert_eq!(
            warning.to_string(),
            "other images stand on 'b' and will read differently: 'o0', 'o1', 'o2', 'o3' and 2 more"
        );
        for (snapshots, expected) in [
            (
                1,
                "1 internal snapshot of 'i' will read differently, as what lies below changes",
            ),
            (
                2,
                "2 internal snapshots of 'i' will read differently, as what lies below changes",
            ),
        ] {
            let image = "i".into();
            let warning = Warning::ChangedSnapshots { image, snapshots };
            assert_eq!(warning.to_string(), expected);
        }
    }
}
