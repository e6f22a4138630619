//! What a comparison of two disks has found, as the window keeps it.

use std::path::PathBuf;

use platter::op::difference::Differences;

/// Where the disk of an image differs from another one.
#[derive(Debug)]
pub(crate) struct Comparison {
    /// The image.
    pub(crate) subject: PathBuf,
    /// The one it was compared with.
    pub(crate) other: PathBuf,
    /// Where.
    pub(crate) found: Differences,
}
