//! Which files an image may make us open.

use std::path::{Path, PathBuf};

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
        let _ = (image, target);
        Decision::Ask("not decided yet".into())
    }
}
