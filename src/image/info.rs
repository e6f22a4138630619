//! What the header of an image says, in one shape for every format.

use std::fmt;
use std::time::Duration;

use crate::units::HostOffset;

/// A disk image format. Displays as the name that `qemu-img` uses.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Format {
    /// Bochs "growing" images.
    Bochs,
    /// Compressed loop images.
    Cloop,
    /// Apple UDIF.
    Dmg,
    /// A LUKS container around a raw disk.
    Luks,
    /// Parallels, both magics.
    Parallels,
    /// QCOW version 1.
    Qcow1,
    /// QCOW versions 2 and 3.
    Qcow2,
    /// QEMU enhanced disk.
    Qed,
    /// The guest disk byte for byte.
    Raw,
    /// VirtualBox.
    Vdi,
    /// Virtual PC ("vpc"): fixed, dynamic, differencing.
    Vhd,
    /// Hyper-V.
    Vhdx,
    /// VMware, all subformats.
    Vmdk,
}

impl Format {
    /// Every format, in the order of the names.
    pub const ALL: [Self; 13] = [
        Self::Bochs,
        Self::Cloop,
        Self::Dmg,
        Self::Luks,
        Self::Parallels,
        Self::Qcow1,
        Self::Qcow2,
        Self::Qed,
        Self::Raw,
        Self::Vdi,
        Self::Vhd,
        Self::Vhdx,
        Self::Vmdk,
    ];

    /// The name in `qemu-img`'s `-f` and in backing format fields.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Bochs => "bochs",
            Self::Cloop => "cloop",
            Self::Dmg => "dmg",
            Self::Luks => "luks",
            Self::Parallels => "parallels",
            Self::Qcow1 => "qcow",
            Self::Qcow2 => "qcow2",
            Self::Qed => "qed",
            Self::Raw => "raw",
            Self::Vdi => "vdi",
            Self::Vhd => "vpc",
            Self::Vhdx => "vhdx",
            Self::Vmdk => "vmdk",
        }
    }

    /// The format of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }

    /// Whether this version can read the guest disk of such an image.
    #[must_use]
    pub fn is_readable(self) -> bool {
        matches!(self, Self::Raw | Self::Qcow2)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Another file that an image names: a claim of the image, not yet something anyone may open.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FileReference {
    /// The bytes of the image, as text (invalid UTF-8 replaced), uninterpreted.
    pub name: String,
    /// The format that the image says it has. For backing files.
    pub format: Option<String>,
}

/// An internal snapshot.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Snapshot {
    /// Unique id, a decimal number by custom.
    pub id: String,
    /// The user's name for it.
    pub name: String,
    /// Bytes of VM state saved with it; 0 for disk only.
    pub vm_state_size: u64,
    /// When it was taken, since 1970-01-01 UTC.
    pub date: Duration,
    /// How long the guest had been running.
    pub vm_clock: Duration,
    /// Instruction count of a recorded run; `None` when absent (all ones on disk).
    pub icount: Option<u64>,
    /// The guest disk's size at that time.
    pub virtual_size: u64,
    /// Why this entry cannot be read as a disk, if so; the others stay usable.
    pub damage: Option<String>,
}

/// A persistent dirty bitmap.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Bitmap {
    /// Its name.
    pub name: String,
    /// Guest bytes a bit stands for.
    pub granularity: u64,
    /// It was not saved properly: its content must not be trusted.
    pub in_use: bool,
    /// It records writes as soon as the image is opened for writing.
    pub auto: bool,
}

/// The facts of one image, from its header and the small tables that hang on it.
#[derive(Clone, Debug)]
pub struct ImageInfo {
    /// The format.
    pub format: Format,
    /// What the guest sees, in bytes.
    pub virtual_size: u64,
    /// Allocation unit in bytes; `None` for raw.
    pub cluster_size: Option<u64>,
    /// "aes", "luks"…: the guest data is encrypted and cannot be read yet.
    pub encryption: Option<String>,
    /// The backing file named in the header.
    pub backing: Option<FileReference>,
    /// The external data file named in the header.
    pub data_file: Option<FileReference>,
    /// Not closed properly; tables may be stale until repaired.
    pub dirty: bool,
    /// Marked as damaged by the last program that wrote it.
    pub corrupt: bool,
    /// Internal snapshots in table order.
    pub snapshots: Vec<Snapshot>,
    /// What only one format has.
    pub details: FormatDetails,
}

/// Why an image with [`ImageInfo::has_unfinished_edit`] is not changed, and nothing made of its disk.
pub(crate) const UNFINISHED_EDIT: &str =
    "an edit of its partitions is unfinished: finish it or take it back first";

impl ImageInfo {
    /// See [`Qcow2Details::unfinished_edit`]; `false` for formats without such a mark.
    #[must_use]
    pub fn has_unfinished_edit(&self) -> bool {
        match &self.details {
            FormatDetails::Qcow2(details) => details.unfinished_edit,
            FormatDetails::None => false,
        }
    }
}

/// What only one format has.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum FormatDetails {
    /// Nothing more.
    None,
    /// QCOW2.
    Qcow2(Box<Qcow2Details>),
}

/// QCOW2's own facts. Field names follow docs/interop/qcow2.rst of QEMU.
#[derive(Clone, Debug)]
pub struct Qcow2Details {
    /// 2 ("compat 0.10") or 3 ("compat 1.1").
    pub version: u32,
    /// "zlib" or "zstd".
    pub compression: &'static str,
    /// Refcounts may lag behind while the image is open.
    pub lazy_refcounts: bool,
    /// Bits of a refcount, 1 to 64.
    pub refcount_bits: u32,
    /// L2 entries have 32 subclusters.
    pub extended_l2: bool,
    /// The data file is a raw image of the guest disk by itself.
    pub data_file_raw: bool,
    /// An edit of the partitions is unfinished ([`crate::image::ImageWriter::guard_edit`]): the disk
    /// is of no use before it is finished or taken back.
    pub unfinished_edit: bool,
    /// The raw bits, for showing and for keeping.
    pub incompatible_features: u64,
    /// As above.
    pub compatible_features: u64,
    /// As above.
    pub autoclear_features: u64,
    /// L1 entries of the active layer.
    pub l1_size: u32,
    /// Where the L1 table is.
    pub l1_table_offset: HostOffset,
    /// Where the refcount table is.
    pub refcount_table_offset: HostOffset,
    /// Clusters of the refcount table.
    pub refcount_table_clusters: u32,
    /// Persistent bitmaps. Empty, with `bitmaps_damage` set, when their directory is damaged.
    pub bitmaps: Vec<Bitmap>,
    /// Why the bitmap directory cannot be read, if so.
    pub bitmaps_damage: Option<String>,
    /// Every header extension in file order, bit-exact: type and data.
    pub extensions: Vec<(u32, Vec<u8>)>,
}
