//! An image file as the engine's storage, with a count of what was read from it.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use platter::storage::Storage;
use platter::{Error, Result};

/// A raw file, opened for reading, that counts bytes and calls.
#[derive(Debug)]
pub(crate) struct CountingFile {
    file: File,
    bytes: AtomicU64,
    reads: AtomicU64,
}

impl CountingFile {
    /// Opens `path`.
    ///
    /// # Panics
    /// When that fails.
    pub(crate) fn open(path: &Path) -> Arc<Self> {
        Arc::new(Self {
            file: File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())),
            bytes: AtomicU64::new(0),
            reads: AtomicU64::new(0),
        })
    }

    /// Bytes read so far.
    pub(crate) fn bytes_read(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Calls of `read_at` so far.
    pub(crate) fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }
}

impl Storage for CountingFile {
    fn size(&self) -> Result<u64> {
        self.file
            .metadata()
            .map(|metadata| metadata.len())
            .map_err(|error| Error::io("cannot stat", error))
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        self.bytes.fetch_add(buf.len() as u64, Ordering::Relaxed);
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.file
            .read_exact_at(buf, offset)
            .map_err(|error| Error::io("cannot read", error).with_offset(offset))
    }
}
