//! Which image of a folder an overlay is likely to have stood on, when its backing file is not
//! where the header says.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use crate::chain::{FolderImage, FolderIndex};
use crate::image::{FileReference, Format};

/// An image that may be the backing file, and what speaks for it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Candidate {
    /// Where it is.
    pub path: PathBuf,
    /// What it is.
    pub format: Format,
    /// What a guest would see of it, in bytes.
    pub virtual_size: Option<u64>,
    /// It is called as the header says.
    pub same_name: bool,
    /// It has the format that the header says.
    pub same_format: bool,
    /// Its disk is as long as the overlay's.
    pub same_size: bool,
    /// With the overlay on it, a partition table or a file system is recognised on the disk. Not
    /// looked at by [`candidates`].
    pub recognised: bool,
}

impl Candidate {
    /// The more the likelier. A name is a stronger hint than a size, as a folder of virtual
    /// machines has many disks of the same size; a disk on which nothing is recognised speaks
    /// against a name alone; and a backing file is seldom longer than what stands on it.
    fn score(&self, overlay_size: u64) -> u32 {
        let shorter = self.virtual_size.is_some_and(|size| size <= overlay_size);
        u32::from(self.same_name) * 8
            + u32::from(self.recognised) * 6
            + u32::from(self.same_size) * 4
            + u32::from(self.same_format) * 2
            + u32::from(shorter)
    }
}

/// The images of `folder` that the one at `overlay` can stand on, the likeliest first: not itself,
/// and none that stands on it already.
#[must_use]
pub fn candidates(
    overlay: &Path,
    overlay_size: u64,
    recorded: Option<&FileReference>,
    folder: &FolderIndex,
) -> Vec<Candidate> {
    let above = standing_on(overlay, folder);
    let recorded_name = recorded.and_then(|recorded| Path::new(&recorded.name).file_name());
    let recorded_format = recorded
        .and_then(|recorded| recorded.format.as_deref())
        .and_then(Format::from_name);
    let mut found: Vec<Candidate> = folder
        .images
        .iter()
        .filter(|image| !above.contains(image.path.as_path()) && image.format.is_readable())
        .map(|image| Candidate {
            path: image.path.clone(),
            format: image.format,
            virtual_size: image.virtual_size,
            same_name: recorded_name.is_some() && image.path.file_name() == recorded_name,
            same_format: recorded_format == Some(image.format),
            same_size: image.virtual_size == Some(overlay_size),
            recognised: false,
        })
        .collect();
    rank(&mut found, overlay_size);
    found
}

/// Puts the likeliest first; equal ones keep their order.
pub fn rank(candidates: &mut [Candidate], overlay_size: u64) {
    candidates.sort_by_key(|candidate| std::cmp::Reverse(candidate.score(overlay_size)));
}

/// The image at `path` and all that stand on it: on none of them can it stand in turn.
fn standing_on<'a>(path: &'a Path, folder: &'a FolderIndex) -> HashSet<&'a Path> {
    let mut above = HashSet::from([path]);
    let mut open = vec![path];
    while let Some(below) = open.pop() {
        let direct: Vec<&FolderImage> = folder.dependents(below);
        for image in direct {
            if above.insert(&image.path) {
                open.push(&image.path);
            }
        }
    }
    above
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn image(name: &str, format: Format, size: u64, backing: Option<&str>) -> FolderImage {
        let folder = Path::new("/nowhere");
        FolderImage {
            path: folder.join(name),
            format,
            virtual_size: Some(size),
            allocated_size: None,
            snapshots: 0,
            backing: backing.map(|name| FileReference {
                name: name.into(),
                format: None,
            }),
            backing_path: backing.map(|name| folder.join(name)),
        }
    }

    fn names(images: Vec<FolderImage>, recorded: Option<(&str, &str)>) -> Vec<String> {
        let recorded = recorded.map(|(name, format)| FileReference {
            name: name.to_owned(),
            format: Some(format.to_owned()),
        });
        let folder = FolderIndex { images };
        candidates(
            Path::new("/nowhere/top"),
            2 * GIB,
            recorded.as_ref(),
            &folder,
        )
        .into_iter()
        .filter_map(|found| found.path.file_name()?.to_str().map(str::to_owned))
        .collect()
    }

    #[test]
    fn the_name_counts_most_then_the_size_then_the_format() {
        let found = names(
            vec![
                image("a-longer", Format::Qcow2, 4 * GIB, None),
                image("b-shorter", Format::Raw, GIB, None),
                image("c-size", Format::Raw, 2 * GIB, None),
                image("d-size-and-format", Format::Qcow2, 2 * GIB, None),
                image("gone.qcow2", Format::Raw, 4 * GIB, None),
            ],
            Some(("../elsewhere/gone.qcow2", "qcow2")),
        );
        assert_eq!(
            found,
            [
                "gone.qcow2",
                "d-size-and-format",
                "c-size",
                "a-longer",
                "b-shorter"
            ]
        );
    }

    #[test]
    fn a_disk_that_makes_sense_is_likelier_than_a_name_alone() {
        let candidate = |name: &str, same_name, recognised| Candidate {
            path: name.into(),
            format: Format::Qcow2,
            virtual_size: Some(2 * GIB),
            same_name,
            same_format: true,
            same_size: !same_name,
            recognised,
        };
        let order = |mut found: Vec<Candidate>| {
            rank(&mut found, 2 * GIB);
            found[0].path.display().to_string()
        };
        let (named, other) = (
            candidate("named", true, false),
            candidate("other", false, true),
        );
        assert_eq!(order(vec![named.clone(), other.clone()]), "other");
        let (named, other) = (
            candidate("named", true, true),
            candidate("other", false, true),
        );
        assert_eq!(order(vec![other, named]), "named");
    }

    #[test]
    fn what_stands_on_it_is_none() {
        let found = names(
            vec![
                image("base", Format::Qcow2, GIB, None),
                image("over", Format::Qcow2, GIB, Some("top")),
                image("over-over", Format::Qcow2, GIB, Some("over")),
                image("strange", Format::Vmdk, GIB, None),
                image("top", Format::Qcow2, GIB, Some("gone")),
            ],
            None,
        );
        assert_eq!(found, ["base"]);
    }
}
