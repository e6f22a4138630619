//! A new image, written in one pass: every byte of metadata once, in big pieces, the header last.
//!
//! The layout is QEMU's as long as nothing is preallocated: header, refcount table, refcount
//! blocks, L1 table. Preallocated L2 tables follow side by side, and then the guest's clusters in
//! order; QEMU strews its L2 tables between these, which costs it several flushes for each.

mod layout;
mod refcounts;
#[cfg(test)]
mod tests;

use crate::control::{Control, Stop};
use crate::error::{Error, ErrorKind, Result};
use crate::image::info::FileReference;
use crate::image::qcow2::header::{
    Compression, Header, MAX_BACKING_NAME, MAX_L1_BYTES, MIN_SUBCLUSTER, l1_entries_for,
};
use crate::image::qcow2::{extension, feature};
use crate::image::writer::{Before, Preallocation};
use crate::storage::WritableStorage;

pub use refcounts::{RefcountLayout, Refcounts};

use layout::Layout;

/// What a disk writes whole or not at all.
const SECTOR: usize = 512;

/// With smaller clusters the feature name table is left out, as QEMU does.
const MIN_CLUSTER_FOR_NAMES: u64 = 8192;

const NEEDS_VERSION_3: &str =
    "only supported with compatibility level 1.1 and above (use version=v3 or greater)";

/// What a new image shall be. The default is QEMU's.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Qcow2Options {
    /// The virtual size in bytes: a multiple of 512.
    pub size: u64,
    /// 2 (`compat=0.10`) or 3 (`compat=1.1`).
    pub version: u32,
    /// Bytes of a cluster: a power of two from 512 to 2 MiB; with `extended_l2` from 16 KiB.
    pub cluster_size: u64,
    /// Bits of a refcount: 1, 2, 4 … 64. Version 2 has 16.
    pub refcount_bits: u32,
    /// Refcounts may lag behind while the image is open.
    pub lazy_refcounts: bool,
    /// L2 entries have 32 subclusters each.
    pub extended_l2: bool,
    /// How clusters will be compressed.
    pub compression: Compression,
    /// The backing file. Its name is written down as it is.
    pub backing: Option<FileReference>,
    /// The name of the external data file, written down as it is.
    pub data_file: Option<String>,
    /// The data file is to be a raw image of the guest disk by itself.
    pub data_file_raw: bool,
    /// How the guest's space is prepared.
    pub preallocation: Preallocation,
}

impl Default for Qcow2Options {
    fn default() -> Self {
        Self {
            size: 0,
            version: 3,
            cluster_size: 64 << 10,
            refcount_bits: 16,
            lazy_refcounts: false,
            extended_l2: false,
            compression: Compression::Zlib,
            backing: None,
            data_file: None,
            data_file_raw: false,
            preallocation: Preallocation::Off,
        }
    }
}

/// Where the tables of a new image are, in bytes of the file.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Qcow2Tables {
    /// The L1 table, with as many entries as [`Qcow2Options::l1_entries`] says.
    pub l1_table_offset: u64,
    /// The refcount table.
    pub refcount_table_offset: u64,
    /// Its clusters.
    pub refcount_table_clusters: u32,
    /// Internal snapshots.
    pub nb_snapshots: u32,
    /// Their table.
    pub snapshots_offset: u64,
}

/// Writes an image without guest data to `storage`, and prepares `data_file` where the options
/// name one. Nothing is durable before the storages are flushed.
///
/// # Errors
/// As [`Qcow2Options::check`]; [`ErrorKind::InvalidInput`] when `data_file` is missing; I/O errors.
pub fn create_qcow2(
    storage: &dyn WritableStorage,
    data_file: Option<&dyn WritableStorage>,
    before: Before,
    options: &Qcow2Options,
    control: &Control,
) -> Result<(), Stop> {
    options.check()?;
    let data_file = match (&options.data_file, data_file) {
        (None, _) => None,
        (Some(_), Some(data_file)) => Some(data_file),
        (Some(_), None) => return Err(invalid("the external data file is not open").into()),
    };
    let layout = Layout::new(options)?;
    let header = options.header(&layout.tables())?;
    layout.write(storage, data_file, before, control)?;
    Ok(write_header(storage, &header, before)?)
}

/// Makes what a device holds no image any more, whichever of its tables are written over next.
pub(super) fn clear_old(storage: &dyn WritableStorage, cluster_size: u64) -> Result<()> {
    storage.write_zeroes(0..SECTOR as u64)?;
    storage.flush()?;
    storage.write_zeroes(SECTOR as u64..cluster_size)
}

/// Writes the header, when everything else is written. A device becomes an image with its first
/// sector, and what that leads to is durable by then; a new file has no name yet.
pub(super) fn write_header(
    storage: &dyn WritableStorage,
    header: &[u8],
    before: Before,
) -> Result<()> {
    if before == Before::Nothing {
        return storage.write_at(header, 0);
    }
    let (first, rest) = header.split_at(header.len().min(SECTOR));
    storage.write_at(rest, SECTOR as u64)?;
    storage.flush()?;
    storage.write_at(first, 0)
}

impl Qcow2Options {
    /// Whether QCOW2 has such images; with QEMU's words where it has not, and the first of several
    /// mistakes in QEMU's order.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] naming the option.
    pub fn check(&self) -> Result<()> {
        if !(2..=3).contains(&self.version) {
            return Err(invalid(format!("there is no version {}", self.version)));
        }
        self.check_clusters()?;
        if self.backing.is_some() && self.preallocation != Preallocation::Off && !self.extended_l2 {
            return Err(invalid(
                "Backing file and preallocation can only be used at the same time if extended_l2 \
                 is on",
            ));
        }
        self.check_refcounts()?;
        self.check_files()?;
        if self.version < 3 && self.compression != Compression::Zlib {
            return Err(invalid(format!(
                "Non-zlib compression type is {NEEDS_VERSION_3}"
            )));
        }
        if !self.size.is_multiple_of(512) {
            return Err(invalid(format!(
                "the size {} is not a multiple of 512",
                self.size
            )));
        }
        if self.l1_entries() > MAX_L1_BYTES / 8 {
            return Err(invalid(
                "The image size is too large for file format 'qcow2' (try using a larger cluster \
                 size)",
            ));
        }
        Ok(())
    }

    /// Entries of the L1 table for this size: at most 2^22 when [`Self::check`] is content.
    #[must_use]
    pub fn l1_entries(&self) -> u64 {
        l1_entries_for(self.size, self.cluster_bits(), self.incompatible_features())
    }

    /// Bytes of an L2 entry.
    #[must_use]
    pub fn l2_entry_size(&self) -> u64 {
        if self.extended_l2 { 16 } else { 8 }
    }

    /// How much is preallocated in fact: a raw data file must be mapped from the start.
    #[must_use]
    pub fn effective_preallocation(&self) -> Preallocation {
        match self.preallocation {
            Preallocation::Off if self.data_file_raw => Preallocation::Metadata,
            other => other,
        }
    }

    /// The header of an image with these options and tables, to be written at offset 0.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] when the names do not fit into the first cluster.
    pub fn header(&self, tables: &Qcow2Tables) -> Result<Vec<u8>> {
        let flag = |set: bool, bit: u64| if set { bit } else { 0 };
        let l1_size = u32::try_from(self.l1_entries()).map_err(|_| invalid("L1 too large"))?;
        let header = Header {
            version: self.version,
            cluster_bits: self.cluster_bits(),
            size: self.size,
            encryption: None,
            l1_size,
            l1_table_offset: tables.l1_table_offset,
            refcount_table_offset: tables.refcount_table_offset,
            refcount_table_clusters: tables.refcount_table_clusters,
            refcount_order: self.refcount_bits.trailing_zeros(),
            nb_snapshots: tables.nb_snapshots,
            snapshots_offset: tables.snapshots_offset,
            incompatible_features: self.incompatible_features(),
            compatible_features: flag(self.lazy_refcounts, feature::LAZY_REFCOUNTS),
            autoclear_features: flag(self.data_file_raw, feature::DATA_FILE_RAW),
            compression: self.compression,
            extensions: self.extensions(),
            backing_name: self.backing.as_ref().map(|backing| backing.name.clone()),
        };
        header.encode()
    }

    fn check_clusters(&self) -> Result<()> {
        let size = self.cluster_size;
        if self.extended_l2 && self.version < 3 {
            return Err(invalid(format!(
                "Extended L2 entries are {NEEDS_VERSION_3}"
            )));
        }
        if !size.is_power_of_two() || !(512..=2 << 20).contains(&size) {
            return Err(invalid(
                "Cluster size must be a power of two between 512 and 2048k",
            ));
        }
        let smallest = MIN_SUBCLUSTER * 32;
        if self.extended_l2 && size < smallest {
            return Err(invalid(format!(
                "Extended L2 entries are only supported with cluster sizes of at least {smallest} \
                 bytes"
            )));
        }
        Ok(())
    }

    fn check_refcounts(&self) -> Result<()> {
        if self.version < 3 && self.lazy_refcounts {
            return Err(invalid(format!("Lazy refcounts {NEEDS_VERSION_3}")));
        }
        if !self.refcount_bits.is_power_of_two() || self.refcount_bits > 64 {
            return Err(invalid(
                "Refcount width must be a power of two and may not exceed 64 bits",
            ));
        }
        if self.version < 3 && self.refcount_bits != 16 {
            return Err(invalid(
                "Different refcount widths than 16 bits require compatibility level 1.1 or above \
                 (use version=v3 or greater)",
            ));
        }
        Ok(())
    }

    fn check_files(&self) -> Result<()> {
        if self.data_file_raw && self.data_file.is_none() {
            return Err(invalid("data-file-raw requires data-file"));
        }
        if self.data_file_raw && self.backing.is_some() {
            return Err(invalid(
                "Backing file and data-file-raw cannot be used at the same time",
            ));
        }
        if self.version < 3 && self.data_file.is_some() {
            return Err(invalid(format!(
                "External data files are {NEEDS_VERSION_3}"
            )));
        }
        let name = self.backing.as_ref().map(|backing| backing.name.len());
        match name {
            Some(length) if length == 0 || length as u64 > MAX_BACKING_NAME => Err(invalid(
                format!("a backing file name has 1 to {MAX_BACKING_NAME} bytes, not {length}"),
            )
            .with_field("backing_file_size")),
            _ => Ok(()),
        }
    }

    fn cluster_bits(&self) -> u32 {
        self.cluster_size.trailing_zeros()
    }

    fn incompatible_features(&self) -> u64 {
        let mut features = 0;
        if self.data_file.is_some() {
            features |= feature::DATA_FILE;
        }
        if self.compression != Compression::Zlib {
            features |= feature::COMPRESSION;
        }
        if self.extended_l2 {
            features |= feature::EXTENDED_L2;
        }
        features
    }

    /// In QEMU's order.
    fn extensions(&self) -> Vec<extension::Extension> {
        let mut extensions = Vec::new();
        let format = self.backing.as_ref().and_then(|file| file.format.as_ref());
        if let Some(format) = format {
            extensions.push((extension::BACKING_FORMAT, format.clone().into_bytes()));
        }
        if let Some(name) = &self.data_file {
            extensions.push((extension::DATA_FILE, name.clone().into_bytes()));
        }
        if self.version >= 3 && self.cluster_size >= MIN_CLUSTER_FOR_NAMES {
            extensions.push((extension::FEATURE_NAMES, feature::name_table()));
        }
        extensions
    }
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidInput, message)
}
