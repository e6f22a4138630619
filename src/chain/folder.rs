//! All images of a folder, by header only: siblings, overlays, who depends on whom.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::chain::name::{Target, normalise, resolve};
use crate::control::{Control, Stop};
use crate::error::Error;
use crate::image::{self, FileReference, Format};
use crate::storage::{FileId, FileStorage, LockMode, Storage};

/// One image of a folder.
#[derive(Clone, Debug)]
pub struct FolderImage {
    /// Where it is.
    pub path: PathBuf,
    /// By content.
    pub format: Format,
    /// `None` when the header is damaged or the format not readable.
    pub virtual_size: Option<u64>,
    /// Bytes allocated on the host.
    pub allocated_size: Option<u64>,
    /// Internal snapshots it has.
    pub snapshots: usize,
    /// The backing file it names.
    pub backing: Option<FileReference>,
    /// The local file that name means, normalised, whether it exists or not.
    pub backing_path: Option<PathBuf>,
}

/// The images of one folder (not of its subfolders).
#[derive(Clone, Debug, Default)]
pub struct FolderIndex {
    /// Sorted by name.
    pub images: Vec<FolderImage>,
}

impl FolderIndex {
    /// Directory entries looked at; a folder of more is shown in part.
    pub const MAX_ENTRIES: usize = 10_000;

    /// Reads the headers of all regular files in `folder` that are disk images (raw files only
    /// with a disk's file name extension). Unreadable files are left out, and so are symbolic
    /// links to what is in the folder anyway. Takes no locks; opens nothing but regular files.
    ///
    /// # Errors
    /// When the folder cannot be listed, or on cancel.
    pub fn read(folder: &Path, control: &Control) -> Result<Self, Stop> {
        let cannot_list = |error| Error::io("cannot list the folder", error).with_path(folder);
        let mut files = Vec::new();
        for entry in fs::read_dir(folder)
            .map_err(cannot_list)?
            .take(Self::MAX_ENTRIES)
        {
            let entry = entry.map_err(cannot_list)?;
            match entry.file_type() {
                Ok(kind) if kind.is_file() || kind.is_symlink() => {
                    files.push((kind.is_symlink(), entry.path()));
                }
                _ => {}
            }
        }
        // Links last: only then is it known what they would show twice.
        files.sort();
        let mut seen = HashSet::new();
        let mut images = Vec::new();
        for (is_link, path) in files {
            control.checkpoint()?;
            if let Some((id, image)) = read_image(path) {
                let is_new = seen.insert(id);
                if is_new || !is_link {
                    images.push(image);
                }
            }
        }
        images.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Self { images })
    }

    /// Images that name `path` as their backing file (compared by file identity where it exists).
    #[must_use]
    pub fn dependents(&self, path: &Path) -> Vec<&FolderImage> {
        let wanted = FileId::of(path).ok();
        let wanted_name = normalise(path);
        let depends = |image: &&FolderImage| {
            let Some(backing) = &image.backing_path else {
                return false;
            };
            match (wanted, FileId::of(backing)) {
                (Some(wanted), Ok(id)) => wanted == id,
                (None, Err(_)) => *backing == wanted_name,
                _ => false,
            }
        };
        self.images.iter().filter(depends).collect()
    }
}

/// `None` for what is no disk image or cannot be read.
fn read_image(path: PathBuf) -> Option<(FileId, FolderImage)> {
    let storage = Arc::new(FileStorage::open(&path, LockMode::Peek).ok()?);
    if storage.is_block_device() {
        return None;
    }
    let id = storage.id();
    let allocated_size = storage.allocated().ok().flatten();
    let format = image::probe(storage.as_ref()).ok()?.format;
    if format == Format::Raw && !has_disk_extension(&path) {
        return None;
    }
    let driver = image::open(storage, format).ok();
    let info = driver.as_ref().map(|driver| driver.info());
    let backing = info.and_then(|info| info.backing.clone());
    let backing_path = backing
        .as_ref()
        .and_then(|backing| match resolve(&backing.name, &path) {
            Target::File { path, .. } => Some(normalise(&path)),
            Target::Remote { .. } | Target::Unusable(_) => None,
        });
    let image = FolderImage {
        format,
        virtual_size: info.map(|info| info.virtual_size),
        allocated_size,
        snapshots: info.map_or(0, |info| info.snapshots.len()),
        backing,
        backing_path,
        path,
    };
    Some((id, image))
}

fn has_disk_extension(path: &Path) -> bool {
    const EXTENSIONS: [&str; 6] = ["dd", "hdd", "ima", "img", "iso", "raw"];
    let extension = path.extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|extension| {
        EXTENSIONS
            .iter()
            .any(|known| known.eq_ignore_ascii_case(extension))
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// The first 512 bytes of a version 2 image with a backing file.
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
    fn lists_images_and_who_stands_on_whom() {
        let house = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(house.path()).unwrap();
        fs::create_dir(root.join("sub")).unwrap();
        fs::write(root.join("base.img"), [0; 1024]).unwrap();
        fs::write(root.join("notes.txt"), "QFI").unwrap();
        fs::write(root.join("b.qcow2"), overlay("sub/../base.img")).unwrap();
        fs::write(root.join("a.qcow2"), overlay("gone.img")).unwrap();
        fs::write(root.join("c"), overlay("nbd://host/x")).unwrap();
        fs::write(root.join("damaged.qcow2"), b"QFI\xfb\0\0\0\x03").unwrap();
        symlink("b.qcow2", root.join("again.qcow2")).unwrap();
        symlink("nowhere", root.join("dangling.img")).unwrap();
        symlink("/dev/zero", root.join("device.img")).unwrap();
        // Opening a FIFO would block.
        let mode = rustix::fs::Mode::RUSR;
        let fifo = root.join("fifo.img");
        rustix::fs::mknodat(rustix::fs::CWD, fifo, rustix::fs::FileType::Fifo, mode, 0).unwrap();

        let index = FolderIndex::read(&root, &Control::new()).unwrap();
        let names: Vec<_> = index
            .images
            .iter()
            .map(|image| image.path.file_name().unwrap().to_str().unwrap())
            .collect();
        assert_eq!(
            names,
            ["a.qcow2", "b.qcow2", "base.img", "c", "damaged.qcow2"]
        );
        let sizes: Vec<_> = index
            .images
            .iter()
            .map(|image| image.virtual_size)
            .collect();
        let mib = Some(1 << 20);
        assert_eq!(sizes, [mib, mib, Some(1024), mib, None]);

        let dependents = |name: &str| -> Vec<_> {
            let found = index.dependents(&root.join(name));
            found.iter().map(|image| image.path.clone()).collect()
        };
        assert_eq!(dependents("base.img"), [root.join("b.qcow2")]);
        assert_eq!(dependents("sub/../gone.img"), [root.join("a.qcow2")]);
        assert_eq!(dependents("b.qcow2"), Vec::<PathBuf>::new());
    }

    #[test]
    fn says_when_there_is_no_folder() {
        let error = FolderIndex::read(Path::new("/no/such/folder"), &Control::new());
        assert!(matches!(error, Err(Stop::Failed(_))));
        let control = Control::new();
        control.cancel();
        let house = tempfile::tempdir().unwrap();
        fs::write(house.path().join("a.img"), [0; 512]).unwrap();
        let cancelled = FolderIndex::read(house.path(), &control);
        assert!(matches!(cancelled, Err(Stop::Cancelled)));
    }
}
