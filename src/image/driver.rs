//! The interface every image format implements.

use std::fmt::Debug;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use crate::control::{Control, Stop};
use crate::error::{Error, ErrorKind, Result};
use crate::image::check::CheckReport;
use crate::image::extent::Extent;
use crate::image::info::{Format, ImageInfo};
use crate::storage::Storage;
use crate::units::{GuestOffset, HostOffset};

/// Names an internal snapshot.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SnapshotSelector {
    /// By id.
    Id(String),
    /// By name.
    Name(String),
    /// By id, else by name: how command lines name them.
    Any(String),
}

/// Where the mapping of a guest offset stands, for a curious reader.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ClusterPlace {
    /// Guest offset divided by the cluster size.
    pub cluster: u64,
    /// Index in the L1 table.
    pub l1_index: u64,
    /// Index in the L2 table.
    pub l2_index: u64,
    /// Where the cluster lies; `None` when it lies nowhere. For a compressed cluster the start of
    /// its data.
    pub host: Option<HostOffset>,
    /// How often the host cluster is referenced, where the format counts.
    pub refcount: Option<u64>,
}

/// A compressed cluster as it is stored.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct StoredCluster {
    /// Guest offset: a multiple of the cluster size.
    pub guest: u64,
    /// Where its data begins.
    pub host: HostOffset,
    /// Bytes up to the end of the last 512-byte sector that the data reaches into.
    pub length: u64,
}

impl StoredCluster {
    /// The byte behind it.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.host.0 + self.length
    }
}

/// Where the saved state of a machine is.
#[derive(Clone, Debug)]
pub struct VmState {
    /// What holds it, behind the end of the disk: nothing below this layer matters.
    pub view: Arc<dyn ImageDriver>,
    /// Which of its bytes.
    pub range: Range<u64>,
}

/// One opened image file. All methods take `&self` and may be called from several threads.
pub trait ImageDriver: Debug + Send + Sync {
    /// The facts of the header.
    fn info(&self) -> &ImageInfo;

    /// The file itself.
    fn storage(&self) -> &Arc<dyn Storage>;

    /// Where [`crate::image::ExtentState::Data`] points into: the file itself, or the external
    /// data file once it is attached.
    fn data_storage(&self) -> &Arc<dyn Storage> {
        self.storage()
    }

    /// Hands over the external data file that [`ImageInfo::data_file`] names.
    ///
    /// # Errors
    /// [`crate::ErrorKind::InvalidInput`] when the image has none.
    fn attach_data_file(&mut self, data: Arc<dyn Storage>) -> Result<()>;

    /// The guest disk as it was when a snapshot was taken. Shares caches with this driver where it
    /// can.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`] when there is no such snapshot,
    /// [`crate::ErrorKind::Corrupt`] when its tables are damaged.
    fn snapshot_view(&self, snapshot: &SnapshotSelector) -> Result<Arc<dyn ImageDriver>>;

    /// The state of the machine that was saved with a snapshot; `None` when there is none, and for
    /// formats that know none.
    ///
    /// # Errors
    /// As [`Self::snapshot_view`].
    fn vm_state(&self, snapshot: &SnapshotSelector) -> Result<Option<VmState>> {
        let _ = snapshot;
        Ok(None)
    }

    /// Visits the extents of `range` in guest order, without gap or overlap, each as long as the
    /// format lets it be and cut to `range` (which is cut to the virtual size), until the visitor
    /// breaks. Tables are streamed: memory does not grow with the range. A format without tables
    /// reports holes of its file as [`crate::image::ExtentState::Zero`] with a host offset.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Corrupt`] for a damaged table entry, naming it.
    fn for_each_extent(
        &self,
        range: Range<u64>,
        visit: &mut dyn FnMut(Extent) -> ControlFlow<()>,
    ) -> Result<()>;

    /// Fills the parts of `buf` that this image holds (data, compressed, zero) and appends the
    /// guest ranges that it does not hold to `missing`, in order, leaving those bytes of `buf`
    /// untouched. The range must lie inside the virtual size.
    ///
    /// # Errors
    /// As [`Self::for_each_extent`]; [`crate::ErrorKind::Unsupported`] for encrypted data.
    fn read_at(
        &self,
        buf: &mut [u8],
        offset: GuestOffset,
        missing: &mut Vec<Range<u64>>,
    ) -> Result<()>;

    /// Whether much of what the tables call data lies in holes of the data storage, because the
    /// clusters were allocated without being written (`preallocation=metadata`). Only then does
    /// `qemu-img map` look for holes; a driver answers by the same rule as QEMU's.
    ///
    /// # Errors
    /// When the tables that tell cannot be read.
    fn has_preallocated_metadata(&self) -> Result<bool> {
        Ok(false)
    }

    /// Visits the compressed clusters of `range` as they are stored, in guest order, until the
    /// visitor breaks; everything else is passed over. A format without any visits none.
    ///
    /// # Errors
    /// As [`Self::for_each_extent`].
    fn for_each_stored_cluster(
        &self,
        range: Range<u64>,
        visit: &mut dyn FnMut(StoredCluster) -> ControlFlow<()>,
    ) -> Result<()> {
        let _ = (range, visit);
        Ok(())
    }

    /// Where a guest offset is mapped; `None` for a format without tables.
    ///
    /// # Errors
    /// As [`Self::for_each_extent`].
    fn locate(&self, offset: GuestOffset) -> Result<Option<ClusterPlace>> {
        let _ = offset;
        Ok(None)
    }

    /// Visits the ranges of guest bytes that the dirty bitmap `name` calls dirty, ascending and
    /// apart, each a multiple of its granularity but for the end of the disk, until the visitor
    /// breaks.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`] when there is no such bitmap,
    /// [`crate::ErrorKind::Unsupported`] for one that was not saved properly.
    fn for_each_dirty(
        &self,
        name: &str,
        visit: &mut dyn FnMut(Range<u64>) -> ControlFlow<()>,
    ) -> Result<()> {
        let _ = visit;
        let message = format!("Dirty bitmap '{name}' not found");
        Err(Error::new(ErrorKind::NotFound, message))
    }

    /// Opened for change, the image moves guest bytes by multiples of this distance without
    /// copying them ([`crate::image::ImageWriter::remap`]); `None` where it cannot.
    fn moves_by(&self) -> Option<u64> {
        None
    }

    /// Checks the metadata without writing anything.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Unsupported`] when the format has no check; I/O errors. Damage is a
    /// finding of the report, not an error.
    fn check(&self, control: &Control) -> std::result::Result<CheckReport, Stop> {
        let _ = control;
        let format = self.info().format;
        Err(Error::unsupported(format!("{format} images cannot be checked")).into())
    }

    /// The format, for short.
    fn format(&self) -> Format {
        self.info().format
    }

    /// The virtual size in bytes, for short.
    fn virtual_size(&self) -> u64 {
        self.info().virtual_size
    }
}

/// The check every driver makes before it reads.
pub(super) fn check_range(length: usize, offset: GuestOffset, virtual_size: u64) -> Result<()> {
    match offset.checked_add(length as u64) {
        Some(end) if end.0 <= virtual_size => Ok(()),
        _ => Err(Error::new(
            ErrorKind::OutOfBounds,
            format!(
                "read of {length} bytes at guest offset {offset} passes the end of the disk at \
                 {virtual_size:#x}"
            ),
        )),
    }
}
