//! Options of a new image as the engine takes them, with the complaints of QEMU's option visitor.

use platter::image::{Compression, FileReference, Format, Preallocation, Qcow2Options};

use super::{CreateOptions, flag_of, number_of};
use crate::size;

/// Names that QEMU takes for the format of a backing file: its block drivers.
const DRIVERS: [&str; 47] = [
    "blkdebug",
    "blklogwrites",
    "blkreplay",
    "blkverify",
    "bochs",
    "cloop",
    "compress",
    "copy-before-write",
    "copy-on-read",
    "dmg",
    "file",
    "ftp",
    "ftps",
    "gluster",
    "host_cdrom",
    "host_device",
    "http",
    "https",
    "io_uring",
    "iscsi",
    "luks",
    "nbd",
    "nfs",
    "null-aio",
    "null-co",
    "nvme",
    "nvme-io_uring",
    "parallels",
    "preallocate",
    "qcow",
    "qcow2",
    "qed",
    "quorum",
    "raw",
    "rbd",
    "replication",
    "snapshot-access",
    "ssh",
    "throttle",
    "vdi",
    "vhdx",
    "virtio-blk-vfio-pci",
    "virtio-blk-vhost-user",
    "virtio-blk-vhost-vdpa",
    "vmdk",
    "vpc",
    "vvfat",
];

const SECTOR: u64 = 512;

impl CreateOptions {
    /// A QCOW2 image of `size` bytes, rounded up to sectors. What contradicts itself is found by
    /// [`Qcow2Options::check`].
    pub(crate) fn qcow2(&self, size: u64) -> Result<Qcow2Options, String> {
        self.refuse_encryption()?;
        let mut options = Qcow2Options {
            size: self.rounded(size)?,
            data_file: self.text("data_file").map(str::to_owned),
            data_file_raw: self.is_on("data_file_raw")?,
            extended_l2: self.is_on("extended_l2")?,
            lazy_refcounts: self.is_on("lazy_refcounts")?,
            ..Qcow2Options::default()
        };
        options.version = match self.text("compat") {
            None | Some("1.1" | "v3") => 3,
            Some("0.10" | "v2") => 2,
            Some(other) => return Err(not_accepted("version", other)),
        };
        let format = self.text("backing_fmt");
        if let Some(format) = format.filter(|format| !DRIVERS.contains(format)) {
            return Err(not_accepted("backing-fmt", format));
        }
        options.backing = self.text("backing_file").map(|name| FileReference {
            name: name.to_owned(),
            format: format.map(str::to_owned),
        });
        if let Some(text) = self.text("cluster_size") {
            options.cluster_size = size::parse_option("cluster_size", text)?;
        }
        options.preallocation = match self.text("preallocation") {
            None | Some("off") => Preallocation::Off,
            Some("metadata") => Preallocation::Metadata,
            Some("falloc") => Preallocation::Falloc,
            Some("full") => Preallocation::Full,
            Some(other) => return Err(not_accepted("preallocation", other)),
        };
        if let Some(text) = self.text("refcount_bits") {
            let bits = number_of("refcount_bits", text)?;
            // What does not fit is refused with the other widths that do not exist.
            options.refcount_bits = u32::try_from(bits).unwrap_or(0);
        }
        options.compression = match self.text("compression_type") {
            None | Some("zlib") => Compression::Zlib,
            Some("zstd") => Compression::Zstd,
            Some(other) => return Err(not_accepted("compression-type", other)),
        };
        if format.is_some() && options.backing.is_none() {
            return Err("Backing format cannot be used without backing file".into());
        }
        Ok(options)
    }

    /// Size in bytes, rounded up to sectors, and preallocation of a raw image.
    pub(crate) fn raw(&self, size: u64) -> Result<(u64, Preallocation), String> {
        let preallocation = match self.text("preallocation") {
            None | Some("off") => Preallocation::Off,
            Some("falloc") => Preallocation::Falloc,
            Some("full") => Preallocation::Full,
            Some("metadata") => return Err("Unsupported preallocation mode: metadata".into()),
            Some(other) => return Err(format!("invalid parameter value: {other}")),
        };
        Ok((self.rounded(size)?, preallocation))
    }

    /// Whether the file shall not be copied on write by its host file system.
    pub(crate) fn nocow(&self) -> Result<bool, String> {
        self.is_on("nocow")
    }

    /// The extent size hint is looked at but not passed on: our files are written in big pieces.
    pub(crate) fn check_extent_size_hint(&self) -> Result<(), String> {
        match self.text("extent_size_hint") {
            Some(text) if size::parse_option("extent_size_hint", text)? > u64::from(u32::MAX) => {
                Err("Extent size hint is too large".into())
            }
            _ => Ok(()),
        }
    }

    fn is_on(&self, name: &str) -> Result<bool, String> {
        self.text(name)
            .map_or(Ok(false), |text| flag_of(name, text))
    }

    /// `size` in whole sectors. QEMU's sizes have a sign, and it meets this limit in two ways.
    fn rounded(&self, size: u64) -> Result<u64, String> {
        let rounded = size.checked_next_multiple_of(SECTOR);
        let rounded = rounded.filter(|size| i64::try_from(*size).is_ok());
        rounded.ok_or_else(|| match self.format {
            Format::Raw => "Could not resize file: Invalid argument".into(),
            _ => "Could not resize image: Image size cannot be negative".into(),
        })
    }

    fn refuse_encryption(&self) -> Result<(), String> {
        if self.text("encrypt.format").is_none() && !self.is_on("encryption")? {
            return Ok(());
        }
        Err(if self.text("encrypt.key-secret").is_none() {
            "Parameter 'encrypt.key-secret' is required for cipher".into()
        } else {
            "creating encrypted images is not supported yet".into()
        })
    }
}

fn not_accepted(name: &str, value: &str) -> String {
    format!("Parameter '{name}' does not accept value '{value}'")
}
