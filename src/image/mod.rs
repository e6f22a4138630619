//! Disk image formats: what a guest offset means in one file.
//!
//! A driver knows one file (and an external data file that it was handed); backing files are the
//! business of [`crate::chain`]. `registry` is the only place that names all formats.

pub mod check;
pub mod driver;
pub mod extent;
pub mod info;
pub mod luks;
pub mod probe;
mod qcow2;
mod raw;
mod registry;
pub mod writer;

pub use check::{CheckReport, Finding};
pub use driver::{ClusterPlace, ImageDriver, SnapshotSelector, StoredCluster, VmState};
pub use extent::{Extent, ExtentState};
pub use info::{Bitmap, FileReference, Format, FormatDetails, ImageInfo, Qcow2Details, Snapshot};
pub use probe::{Probe, probe};
pub use qcow2::{
    ClusterCompressor, Compression, Filled, Qcow2Builder, Qcow2Options, Qcow2Tables,
    RefcountLayout, Refcounts, create_qcow2,
};
pub use raw::create_raw;
pub use registry::{WritableFiles, open, open_in_edit, open_writable, repair};
pub use writer::{
    Amendment, Before, BitmapEdit, ImageWriter, Preallocation, Repair, RepairReport, SaveMetadata,
};
