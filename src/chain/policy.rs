//! Which files an image may make us open.

use std::fs::{self, Metadata};
use std::os::unix::fs::FileTypeExt;
use std::path::{Component, Path, PathBuf};

use crate::chain::name::normalise;
use crate::image::{self, Format};
use crate::storage::{FileStorage, LockMode};

/// What to do with a file that an image names.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Decision {
    /// Open it.
    Allow,
    /// Not without the user's word; why.
    Ask(String),
    /// Never; why.
    Deny(String),
}

/// The rules. The default follows a regular file in the image's folder tree, and one anywhere that
/// is itself a recognised disk image; everything else is asked for.
///
/// All of it is about the file that a path leads to in the end: symbolic links and `..` are
/// followed first. Only regular files are ever allowed, whatever was granted. Hidden folders are
/// no part of a tree (an image in a home folder has no business with `.ssh`), and neither is
/// everything: an image in `/` has no tree.
#[derive(Clone, Debug, Default)]
pub struct OpenPolicy {
    /// Follow regular files anywhere (`--allow-outside`).
    pub allow_outside: bool,
    /// Files that the user allowed by name, and folders that the user granted with all in them.
    pub granted: Vec<PathBuf>,
    /// Where the user says a file is that an image names otherwise: (path that is meant by the
    /// name, path to open instead).
    pub located: Vec<(PathBuf, PathBuf)>,
}

impl OpenPolicy {
    /// Decides about `target`, named by the image at `image`.
    #[must_use]
    pub fn decide(&self, image: &Path, target: &Path) -> Decision {
        self.decide_for(image, target, true)
    }

    /// As [`Self::decide`]. An image of which nobody but its content says that it is one
    /// (`is_vouched_for` is false) may be a raw disk whose guest wrote an image's header into it;
    /// it does not get at other images of the host that way.
    pub(super) fn decide_for(&self, image: &Path, target: &Path, is_vouched_for: bool) -> Decision {
        let metadata = match fs::metadata(target) {
            Ok(metadata) => metadata,
            Err(error) => return Decision::Ask(format!("it cannot be looked at: {error}")),
        };
        if let Some(what) = special_file(&metadata) {
            return Decision::Deny(format!(
                "it is {what}; an image does not decide to open those"
            ));
        }
        if self.allow_outside || self.is_granted(target) || is_in_tree(image, target) {
            return Decision::Allow;
        }
        if !is_vouched_for {
            return Decision::Ask(
                "it is outside the folder of the image, which may be a raw disk made to look like \
                 an image"
                    .into(),
            );
        }
        if is_disk_image(target) {
            return Decision::Allow;
        }
        Decision::Ask("it is outside the folder of the image and is not a disk image itself".into())
    }

    /// The file to open for `meant`, a normal path, by the user's word.
    pub(super) fn locate(&self, meant: &Path) -> Option<&Path> {
        self.located
            .iter()
            .find(|(name, _)| name == meant || normalise(name) == meant)
            .map(|(_, instead)| instead.as_path())
    }

    fn is_granted(&self, target: &Path) -> bool {
        let Ok(target) = fs::canonicalize(target) else {
            return false;
        };
        // Both are canonical, so whole components are compared and `..` cannot lead out again.
        self.granted
            .iter()
            .filter_map(|granted| fs::canonicalize(granted).ok())
            .any(|granted| target.starts_with(granted))
    }
}

fn special_file(metadata: &Metadata) -> Option<&'static str> {
    let kind = metadata.file_type();
    if kind.is_file() {
        None
    } else if kind.is_block_device() || kind.is_char_device() {
        Some("a device")
    } else if kind.is_dir() {
        Some("a folder")
    } else if kind.is_fifo() {
        Some("a FIFO")
    } else {
        Some("a special file")
    }
}

fn is_in_tree(image: &Path, target: &Path) -> bool {
    let folder = match image.parent() {
        Some(folder) if folder.as_os_str().is_empty() => Path::new("."),
        Some(folder) => folder,
        None => return false,
    };
    let (Ok(folder), Ok(target)) = (fs::canonicalize(folder), fs::canonicalize(target)) else {
        return false;
    };
    let Ok(inside) = target.strip_prefix(&folder) else {
        return false;
    };
    let is_hidden = |part: Component<'_>| part.as_os_str().as_encoded_bytes().starts_with(b".");
    let folders = inside.parent().unwrap_or(Path::new(""));
    folder.parent().is_some() && !folders.components().any(is_hidden)
}

/// Reads a few sectors, takes no lock. A file that cannot be read is none.
fn is_disk_image(path: &Path) -> bool {
    FileStorage::open(path, LockMode::Peek)
        .and_then(|storage| image::probe(&storage))
        .is_ok_and(|probe| probe.format != Format::Raw)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// `vm/overlay` and, inside and outside `vm`, plain files and files that look like images.
    fn house() -> (tempfile::TempDir, PathBuf) {
        let house = tempfile::tempdir().unwrap();
        let root = house.path();
        for folder in ["vm/sub/.hidden", "srv"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        for plain in [
            "vm/plain",
            "vm/sub/plain",
            "vm/sub/.hidden/plain",
            "srv/plain",
        ] {
            fs::write(root.join(plain), [7; 4096]).unwrap();
        }
        let header = [b"QFI\xfb\0\0\0\x03".as_slice(), &[0; 4088]].concat();
        for image in ["vm/overlay", "srv/image", "vm/sub/.hidden/image"] {
            fs::write(root.join(image), &header).unwrap();
        }
        symlink("../srv/plain", root.join("vm/to-plain")).unwrap();
        symlink("../srv/image", root.join("vm/to-image")).unwrap();
        symlink("sub/plain", root.join("vm/to-inside")).unwrap();
        symlink("/dev/null", root.join("vm/to-device")).unwrap();
        symlink("loop", root.join("vm/loop")).unwrap();
        let root = root.to_path_buf();
        (house, root)
    }

    #[derive(Debug, Eq, PartialEq)]
    enum Answer {
        Allow,
        Ask,
        Deny,
    }

    fn answer(decision: &Decision) -> Answer {
        match decision {
            Decision::Allow => Answer::Allow,
            Decision::Ask(_) => Answer::Ask,
            Decision::Deny(_) => Answer::Deny,
        }
    }

    #[test]
    fn the_default_follows_the_tree_and_images() {
        let (_house, root) = house();
        let policy = OpenPolicy::default();
        let image = root.join("vm/overlay");
        // Target, for an image that is known to be one, for one that only looks like one.
        for (target, known, probed) in [
            ("vm/plain", Answer::Allow, Answer::Allow),
            ("vm/sub/../plain", Answer::Allow, Answer::Allow),
            ("vm/sub/plain", Answer::Allow, Answer::Allow),
            ("vm/to-inside", Answer::Allow, Answer::Allow),
            ("vm/sub/.hidden/plain", Answer::Ask, Answer::Ask),
            ("vm/sub/.hidden/image", Answer::Allow, Answer::Ask),
            ("vm/../srv/plain", Answer::Ask, Answer::Ask),
            ("vm/to-plain", Answer::Ask, Answer::Ask),
            ("vm/to-image", Answer::Allow, Answer::Ask),
            ("srv/image", Answer::Allow, Answer::Ask),
            ("vm/missing", Answer::Ask, Answer::Ask),
            ("vm/loop", Answer::Ask, Answer::Ask),
            ("vm/sub", Answer::Deny, Answer::Deny),
            ("vm/to-device", Answer::Deny, Answer::Deny),
            ("/dev/zero", Answer::Deny, Answer::Deny),
            ("/etc/passwd", Answer::Ask, Answer::Ask),
        ] {
            let target = root.join(target);
            let name = target.display();
            assert_eq!(answer(&policy.decide(&image, &target)), known, "{name}");
            let decision = policy.decide_for(&image, &target, false);
            assert_eq!(answer(&decision), probed, "{name}, probed");
        }
    }

    #[test]
    fn the_root_folder_is_no_tree() {
        let decision =
            OpenPolicy::default().decide(Path::new("/x.qcow2"), Path::new("/etc/passwd"));
        assert_eq!(answer(&decision), Answer::Ask);
    }

    #[test]
    fn the_users_word_covers_files_and_folders_but_no_devices() {
        let (_house, root) = house();
        let image = root.join("vm/overlay");
        let granted = |path: &str| OpenPolicy {
            granted: vec![root.join(path)],
            ..OpenPolicy::default()
        };
        for (grant, target, expected) in [
            ("srv/plain", "srv/plain", Answer::Allow),
            ("srv/plain", "vm/to-plain", Answer::Allow),
            ("vm/to-plain", "srv/plain", Answer::Allow),
            ("srv", "srv/plain", Answer::Allow),
            ("sr", "srv/plain", Answer::Ask),
            ("srv/image", "srv/plain", Answer::Ask),
            ("/dev", "/dev/null", Answer::Deny),
        ] {
            let decision = granted(grant).decide(&image, &root.join(target));
            assert_eq!(answer(&decision), expected, "{grant} for {target}");
        }
        let anywhere = OpenPolicy {
            allow_outside: true,
            ..OpenPolicy::default()
        };
        let decide = |target: &str| answer(&anywhere.decide(&image, Path::new(target)));
        assert_eq!(decide("/etc/passwd"), Answer::Allow);
        assert_eq!(decide("/dev/null"), Answer::Deny);
    }
}
