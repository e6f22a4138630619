//! Whether a file is still what it was.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::FileId;

/// What a file was at some moment. Another stamp: it was written to, or it is another file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FileStamp {
    /// Which file.
    pub id: FileId,
    /// Its length in bytes.
    pub length: u64,
    /// Seconds and nanoseconds of the last write.
    modified: (i64, i64),
}

impl FileStamp {
    /// The file that `path` leads to, as it is now; symbolic links are followed.
    ///
    /// # Errors
    /// As `stat(2)`.
    pub fn of(path: &Path) -> io::Result<Self> {
        Ok(Self::from(&std::fs::metadata(path)?))
    }

    /// When it was last written to, in seconds since 1970.
    #[must_use]
    pub fn modified_seconds(&self) -> i64 {
        self.modified.0
    }
}

impl From<&Metadata> for FileStamp {
    fn from(metadata: &Metadata) -> Self {
        Self {
            id: FileId::from(metadata),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }
}
