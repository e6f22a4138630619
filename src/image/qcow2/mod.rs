//! QCOW2 versions 2 and 3; after docs/interop/qcow2.rst of QEMU.
//!
//! | file | is |
//! |---|---|
//! | `header`, `extension`, `feature` | the header and its limits |
//! | `snapshot`, `bitmap` | the small tables that hang on it |
//! | `table` | L1 tables, and where things lie |
//! | `entry` | what L2 entries mean, run by run |
//! | `walk` | all extents, streaming the L2 tables |
//! | `cache`, `read`, `compressed` | guest data |
//! | `refcount` | how often a cluster is referenced |
//! | `write` | everything that changes an image |
//! | `create`, `build` | new images, empty or with their content |
//! | `compressor` | compressing clusters |
//! | `check` | whether references and refcounts agree |
//! | `encode` | the header as bytes |

mod bitmap;
mod build;
mod cache;
mod check;
mod compress;
mod compressed;
mod compressor;
mod create;
mod encode;
mod entry;
mod extension;
mod feature;
mod header;
mod read;
mod refcount;
mod snapshot;
mod stream;
mod table;
#[cfg(test)]
#[allow(clippy::cast_possible_truncation, reason = "small images")]
mod tests;
mod walk;
mod write;

use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use crate::control::{Control, Stop};
use crate::error::{Error, ErrorKind, Result};
use crate::image::check::CheckReport;
use crate::image::driver::{
    ClusterPlace, ImageDriver, SnapshotSelector, StoredCluster, VmState, check_range,
};
use crate::image::extent::Extent;
use crate::image::info::{FileReference, Format, FormatDetails, ImageInfo, Qcow2Details};
use crate::image::writer::{Repair, RepairReport, SaveMetadata};
use crate::storage::{Storage, WritableStorage};
use crate::units::{GuestOffset, HostOffset};

pub use build::{Filled, Qcow2Builder};
pub use compressor::ClusterCompressor;
pub use create::{Qcow2Options, Qcow2Tables, RefcountLayout, Refcounts, create_qcow2};
pub use header::Compression;

use cache::BlockCache;
use entry::L2Format;
use header::Header;
use snapshot::SnapshotEntry;
use table::L1Table;
pub(super) use write::Qcow2Writer;

/// L2 tables that are kept: with clusters of 64 KiB, those of 256 GiB.
const TABLE_CACHE_BYTES: usize = 32 << 20;
/// Decompressed clusters that are kept for reads of parts of a cluster.
const DECOMPRESSED_CACHE_BYTES: usize = 4 << 20;

/// A QCOW2 image, seen as its active layer or as one of its snapshots.
#[derive(Debug)]
pub(super) struct Qcow2 {
    file: Arc<ImageFile>,
    l2: L2Format,
    l1: L1Table,
    info: ImageInfo,
    /// The external data file, once attached.
    data_file: Option<Arc<dyn Storage>>,
}

/// What the active layer and the snapshots share.
#[derive(Debug)]
struct ImageFile {
    storage: Arc<dyn Storage>,
    header: Header,
    snapshots: Vec<SnapshotEntry>,
    /// Slices of L2 tables by host offset.
    tables: BlockCache,
    /// Decompressed clusters by L2 entry.
    decompressed: BlockCache,
}

/// Checks the image in `storage` and mends what `repair` says; nobody may have it open.
pub(super) fn repair(
    storage: &dyn WritableStorage,
    repair: Repair,
    save: &SaveMetadata<'_>,
    control: &Control,
) -> std::result::Result<RepairReport, Stop> {
    let header = Header::read(storage)?;
    check::repair(&header, storage, repair, save, control)
}

/// Repairs the image in `storage` if it says that it was not closed well, as the format asks of
/// whoever opens it for change. One that is marked corrupt is left alone.
///
/// # Errors
/// As [`repair`]; [`crate::ErrorKind::Corrupt`] when something is left that it cannot mend.
pub(super) fn repair_unclosed(storage: &dyn WritableStorage) -> Result<()> {
    let header = Header::read(storage)?;
    let needs = |feature| header.incompatible_features & feature != 0;
    if !needs(feature::DIRTY) || needs(feature::CORRUPT) {
        return Ok(());
    }
    match check::repair(&header, storage, Repair::All, &|_| Ok(()), &Control::new()) {
        Ok(report) if report.after.corruptions == 0 && report.after.check_errors == 0 => Ok(()),
        Ok(report) => Err(Error::corrupt(format!(
            "it was not closed well, and a repair left {} errors",
            report.after.corruptions + report.after.check_errors
        ))),
        Err(Stop::Failed(error)) => Err(error),
        Err(Stop::Cancelled) => Err(Error::unsupported("the repair was cancelled")),
    }
}

impl Qcow2 {
    pub(super) fn open(storage: Arc<dyn Storage>) -> Result<Self> {
        let header = Header::read(storage.as_ref())?;
        let snapshots = snapshot::read(storage.as_ref(), &header)?;
        let info = info(storage.as_ref(), &header, &snapshots);
        let l1 = L1Table::new(
            header.l1_table_offset,
            header.l1_size,
            header.cluster_size(),
        );
        Ok(Self {
            l2: L2Format::new(&header),
            file: Arc::new(ImageFile {
                storage,
                header,
                snapshots,
                tables: BlockCache::new(TABLE_CACHE_BYTES),
                decompressed: BlockCache::new(DECOMPRESSED_CACHE_BYTES),
            }),
            l1,
            info,
            data_file: None,
        })
    }

    fn open_snapshot(&self, entry: &SnapshotEntry) -> Result<Self> {
        if let Some(damage) = &entry.facts.damage {
            return Err(Error::corrupt(format!(
                "snapshot '{}': {damage}",
                entry.facts.name
            )));
        }
        let mut info = self.info.clone();
        info.virtual_size = entry.facts.virtual_size / 512 * 512;
        if let FormatDetails::Qcow2(details) = &mut info.details {
            details.l1_size = entry.l1_size;
            details.l1_table_offset = HostOffset(entry.l1_table_offset);
        }
        Ok(Self {
            file: Arc::clone(&self.file),
            l2: self.l2,
            l1: L1Table::new(entry.l1_table_offset, entry.l1_size, self.l2.cluster_size()),
            info,
            data_file: self.data_file.clone(),
        })
    }

    /// Where the guest's clusters are.
    fn data(&self) -> Result<&dyn Storage> {
        match &self.data_file {
            Some(data) => Ok(data.as_ref()),
            None if self.file.header.has_data_file() => Err(Error::new(
                ErrorKind::InvalidInput,
                "the external data file is not open",
            )),
            None => Ok(self.file.storage.as_ref()),
        }
    }

    /// Names the file in `error`.
    fn name(&self, error: Error) -> Error {
        match self.file.storage.path() {
            Some(path) => error.with_path(path),
            None => error,
        }
    }
}

impl ImageDriver for Qcow2 {
    fn info(&self) -> &ImageInfo {
        &self.info
    }

    fn storage(&self) -> &Arc<dyn Storage> {
        &self.file.storage
    }

    fn data_storage(&self) -> &Arc<dyn Storage> {
        self.data_file.as_ref().unwrap_or(&self.file.storage)
    }

    fn attach_data_file(&mut self, data: Arc<dyn Storage>) -> Result<()> {
        if !self.file.header.has_data_file() {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "the image has no external data file",
            ));
        }
        self.data_file = Some(data);
        Ok(())
    }

    fn snapshot_view(&self, selector: &SnapshotSelector) -> Result<Arc<dyn ImageDriver>> {
        let entry = snapshot::find(&self.file.snapshots, selector)
            .ok_or_else(|| Error::new(ErrorKind::NotFound, "no such snapshot"))?;
        let view = self
            .open_snapshot(entry)
            .map_err(|error| self.name(error))?;
        Ok(Arc::new(view))
    }

    fn vm_state(&self, selector: &SnapshotSelector) -> Result<Option<VmState>> {
        let entry = snapshot::find(&self.file.snapshots, selector)
            .ok_or_else(|| Error::new(ErrorKind::NotFound, "no such snapshot"))?;
        if entry.facts.vm_state_size == 0 {
            return Ok(None);
        }
        let opened = self.open_snapshot(entry).and_then(|mut view| {
            // It begins with the first L2 table that has nothing of the disk.
            let reach = self.file.header.table_reach();
            let start = view.info.virtual_size.div_ceil(reach).saturating_mul(reach);
            let end = start.saturating_add(entry.facts.vm_state_size);
            if end > reach.saturating_mul(u64::from(entry.l1_size)) {
                return Err(Error::corrupt(format!(
                    "snapshot '{}': {} bytes of machine state are more than its L1 table maps",
                    entry.facts.name, entry.facts.vm_state_size
                )));
            }
            view.info.virtual_size = end;
            Ok(VmState {
                view: Arc::new(view),
                range: start..end,
            })
        });
        opened.map(Some).map_err(|error| self.name(error))
    }

    fn for_each_extent(
        &self,
        range: Range<u64>,
        visit: &mut dyn FnMut(Extent) -> ControlFlow<()>,
    ) -> Result<()> {
        self.walk(range, visit).map_err(|error| self.name(error))
    }

    fn read_at(
        &self,
        buf: &mut [u8],
        offset: GuestOffset,
        missing: &mut Vec<Range<u64>>,
    ) -> Result<()> {
        check_range(buf.len(), offset, self.info.virtual_size)
            .and_then(|()| self.read(buf, offset, missing))
            .map_err(|error| self.name(error))
    }

    fn moves_by(&self) -> Option<u64> {
        self.file.header.moves_by()
    }

    fn has_preallocated_metadata(&self) -> Result<bool> {
        let storage = self.file.storage.as_ref();
        refcount::has_preallocated_metadata(storage, &self.file.header)
            .map_err(|error| self.name(error))
    }

    fn for_each_stored_cluster(
        &self,
        range: Range<u64>,
        visit: &mut dyn FnMut(StoredCluster) -> ControlFlow<()>,
    ) -> Result<()> {
        self.stored_clusters(range, visit)
            .map_err(|error| self.name(error))
    }

    fn locate(&self, offset: GuestOffset) -> Result<Option<ClusterPlace>> {
        self.place_of(offset).map_err(|error| self.name(error))
    }

    fn for_each_dirty(
        &self,
        name: &str,
        visit: &mut dyn FnMut(Range<u64>) -> ControlFlow<()>,
    ) -> Result<()> {
        let (storage, header) = (self.file.storage.as_ref(), &self.file.header);
        let visited = bitmap::find(storage, header, name).and_then(|entry| {
            entry.check_usable()?;
            bitmap::for_each_dirty(storage, header, &entry, visit)
        });
        visited.map_err(|error| self.name(error))
    }

    fn check(&self, control: &Control) -> std::result::Result<CheckReport, Stop> {
        check::check(&self.file.header, self.file.storage.as_ref(), control).map_err(|stop| {
            match stop {
                Stop::Cancelled => Stop::Cancelled,
                Stop::Failed(error) => Stop::Failed(self.name(error)),
            }
        })
    }
}

/// The facts of the active layer.
fn info(storage: &dyn Storage, header: &Header, snapshots: &[SnapshotEntry]) -> ImageInfo {
    let (bitmaps, bitmaps_damage) = match bitmap::read(storage, header) {
        Ok(entries) => (entries.into_iter().map(|entry| entry.facts).collect(), None),
        Err(error) => (Vec::new(), Some(error.to_string())),
    };
    let has = |features: u64, bit: u64| features & bit != 0;
    let details = Qcow2Details {
        version: header.version,
        compression: header.compression.name(),
        lazy_refcounts: has(header.compatible_features, feature::LAZY_REFCOUNTS),
        refcount_bits: 1 << header.refcount_order,
        extended_l2: header.extended_l2(),
        data_file_raw: has(header.autoclear_features, feature::DATA_FILE_RAW),
        unfinished_edit: has(header.incompatible_features, feature::UNFINISHED_EDIT),
        incompatible_features: header.incompatible_features,
        compatible_features: header.compatible_features,
        autoclear_features: header.autoclear_features,
        l1_size: header.l1_size,
        l1_table_offset: HostOffset(header.l1_table_offset),
        refcount_table_offset: HostOffset(header.refcount_table_offset),
        refcount_table_clusters: header.refcount_table_clusters,
        bitmaps,
        bitmaps_damage,
        extensions: header.extensions.clone(),
    };
    ImageInfo {
        format: Format::Qcow2,
        virtual_size: header.size,
        cluster_size: Some(header.cluster_size()),
        encryption: header.encryption.map(|method| method.name().to_owned()),
        backing: header.backing_name.clone().map(|name| FileReference {
            name,
            format: header.extension_text(extension::BACKING_FORMAT),
        }),
        data_file: header.has_data_file().then(|| FileReference {
            name: header
                .extension_text(extension::DATA_FILE)
                .unwrap_or_default(),
            format: None,
        }),
        dirty: has(header.incompatible_features, feature::DIRTY),
        corrupt: has(header.incompatible_features, feature::CORRUPT),
        snapshots: snapshots.iter().map(|entry| entry.facts.clone()).collect(),
        details: FormatDetails::Qcow2(Box::new(details)),
    }
}
