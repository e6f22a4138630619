//! The header: its fields, and the limits they must keep before anything else is read.
//!
//! Field names, offsets and meanings follow docs/interop/qcow2.rst of QEMU; the limits are QEMU's.

use crate::codec::Fields;
use crate::error::{Error, Result};
use crate::image::qcow2::extension::{self, Extension};
use crate::image::qcow2::feature;
use crate::image::qcow2::table::read_table;
use crate::storage::Storage;
use crate::units::MIB;

/// Largest L1 table, in bytes.
pub(super) const MAX_L1_BYTES: u64 = 32 * MIB;
/// Largest refcount table, in bytes.
pub(super) const MAX_REFCOUNT_TABLE_BYTES: u64 = 8 * MIB;
/// Most internal snapshots.
pub(super) const MAX_SNAPSHOTS: u32 = 65_536;
/// Longest backing file name, in bytes.
pub(super) const MAX_BACKING_NAME: u64 = 1023;
/// Smallest subcluster, in bytes.
pub(super) const MIN_SUBCLUSTER: u64 = 512;

const MAGIC: u32 = 0x5146_49fb;
const V2_LENGTH: u32 = 72;
const V3_LENGTH: u32 = 104;
/// What is read first: header, extensions and backing file name, as most images have them.
const FIRST_READ: u64 = 4096;

/// How compressed clusters are stored.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Compression {
    /// Raw deflate.
    #[default]
    Zlib,
    /// One Zstandard frame a cluster.
    Zstd,
}

impl Compression {
    /// The name in `qemu-img`'s `compression_type`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Zlib => "zlib",
            Self::Zstd => "zstd",
        }
    }
}

/// How the guest data is encrypted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Encryption {
    /// The legacy AES-CBC scheme.
    Aes,
    /// A LUKS header of its own, named by a header extension.
    Luks,
}

impl Encryption {
    /// The name in `qemu-img`'s `encrypt.format`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Aes => "aes",
            Self::Luks => "luks",
        }
    }
}

/// A header within all limits. Sizes and offsets are in bytes.
#[derive(Clone, Debug)]
pub(super) struct Header {
    pub(super) version: u32,
    pub(super) cluster_bits: u32,
    /// Virtual size: whole sectors, as QEMU reads the field.
    pub(super) size: u64,
    pub(super) encryption: Option<Encryption>,
    pub(super) l1_size: u32,
    pub(super) l1_table_offset: u64,
    pub(super) refcount_table_offset: u64,
    pub(super) refcount_table_clusters: u32,
    /// A refcount has `1 << refcount_order` bits.
    pub(super) refcount_order: u32,
    pub(super) nb_snapshots: u32,
    pub(super) snapshots_offset: u64,
    pub(super) incompatible_features: u64,
    pub(super) compatible_features: u64,
    pub(super) autoclear_features: u64,
    pub(super) compression: Compression,
    /// In file order, bit-exact.
    pub(super) extensions: Vec<Extension>,
    pub(super) backing_name: Option<String>,
}

impl Header {
    /// Reads and checks the header, its extensions and the backing file name; no table.
    pub(super) fn read(storage: &dyn Storage) -> Result<Self> {
        let file_size = storage.size()?;
        let mut start = vec![0; as_length(file_size.min(FIRST_READ))];
        storage.read_at(&mut start, 0)?;
        let fields = Fields::new(&start, 0);
        let raw = RawHeader::parse(&fields)?;
        raw.check_geometry()?;
        let cluster_size = 1 << raw.cluster_bits;

        let extensions_end = if raw.backing_file_offset == 0 {
            cluster_size
        } else {
            raw.backing_file_offset
        };
        let extensions = extension::read(
            storage,
            u64::from(raw.header_length)..extensions_end,
            &start,
        )?;
        feature::refuse_unknown(raw.incompatible_features, &extensions)?;
        let compression = raw.compression()?;
        raw.check_features()?;
        let encryption = raw.encryption(&extensions)?;
        raw.check_tables()?;
        let backing_name = raw.backing_name(storage)?;
        Ok(Self {
            version: raw.version,
            cluster_bits: raw.cluster_bits,
            size: raw.size,
            encryption,
            l1_size: raw.l1_size,
            l1_table_offset: raw.l1_table_offset,
            refcount_table_offset: raw.refcount_table_offset,
            refcount_table_clusters: raw.refcount_table_clusters,
            refcount_order: raw.refcount_order,
            nb_snapshots: raw.nb_snapshots,
            snapshots_offset: raw.snapshots_offset,
            incompatible_features: raw.incompatible_features,
            compatible_features: raw.compatible_features,
            autoclear_features: raw.autoclear_features,
            compression,
            extensions,
            backing_name,
        })
    }

    /// Bytes of a cluster.
    pub(super) fn cluster_size(&self) -> u64 {
        1 << self.cluster_bits
    }

    /// L2 entries have 32 subclusters each.
    pub(super) fn extended_l2(&self) -> bool {
        self.incompatible_features & feature::EXTENDED_L2 != 0
    }

    /// Entries that an L1 table needs for a disk of `size` bytes.
    pub(super) fn l1_entries_for(&self, size: u64) -> u64 {
        l1_entries_for(size, self.cluster_bits, self.incompatible_features)
    }

    /// Guest bytes that an L2 table maps.
    pub(super) fn table_reach(&self) -> u64 {
        let entry_bits = if self.extended_l2() { 4 } else { 3 };
        // At most 2^39.
        1 << (2 * self.cluster_bits - entry_bits)
    }

    /// Guest clusters are in another file.
    pub(super) fn has_data_file(&self) -> bool {
        self.incompatible_features & feature::DATA_FILE != 0
    }

    /// The multiples of which guest bytes move by another place of their L2 entries alone; `None`
    /// where they cannot: clusters of an external data file, raw or not, are where the guest sees
    /// them; QEMU takes anything else for damage.
    pub(super) fn moves_by(&self) -> Option<u64> {
        let has_entries = self.l1_size > 0 && !self.has_data_file() && self.encryption.is_none();
        has_entries.then(|| self.cluster_size())
    }

    /// The data of the first extension of this type.
    pub(super) fn extension(&self, kind: u32) -> Option<&[u8]> {
        self.extensions
            .iter()
            .find(|(found, _)| *found == kind)
            .map(|(_, data)| data.as_slice())
    }

    /// That extension as text.
    pub(super) fn extension_text(&self, kind: u32) -> Option<String> {
        self.extension(kind).map(text)
    }
}

/// Bytes of an image as text: up to the first NUL, as C programs read them, invalid UTF-8 replaced.
pub(super) fn text(bytes: &[u8]) -> String {
    let end = bytes
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// Checks where a table lies: at most `max` bytes, cluster-aligned, below 2^63. Whether the file
/// reaches that far shows when the table is read.
pub(super) fn check_table(
    what: &'static str,
    offset: u64,
    bytes: u64,
    max: u64,
    cluster_size: u64,
) -> Result<()> {
    if bytes > max {
        return Err(Error::corrupt(format!(
            "{what} too large: {bytes} bytes, at most {max} are allowed"
        )));
    }
    let fits = offset
        .checked_add(bytes)
        .is_some_and(|end| i64::try_from(end).is_ok());
    if !fits || !offset.is_multiple_of(cluster_size) {
        return Err(Error::corrupt(format!("{what} offset {offset:#x} invalid")));
    }
    Ok(())
}

/// Entries that an L1 table needs for a disk of `size` bytes.
pub(super) fn l1_entries_for(size: u64, cluster_bits: u32, incompatible_features: u64) -> u64 {
    let l2_entry_bits = if incompatible_features & feature::EXTENDED_L2 != 0 {
        4
    } else {
        3
    };
    // At most 2^39 bytes a table.
    size.div_ceil(1 << (2 * cluster_bits - l2_entry_bits))
}

fn as_length(bounded: u64) -> usize {
    usize::try_from(bounded).unwrap_or(usize::MAX)
}

/// The fields as they are on disk.
struct RawHeader {
    version: u32,
    backing_file_offset: u64,
    backing_file_size: u32,
    cluster_bits: u32,
    size: u64,
    crypt_method: u32,
    l1_size: u32,
    l1_table_offset: u64,
    refcount_table_offset: u64,
    refcount_table_clusters: u32,
    nb_snapshots: u32,
    snapshots_offset: u64,
    incompatible_features: u64,
    compatible_features: u64,
    autoclear_features: u64,
    refcount_order: u32,
    header_length: u32,
    compression_type: u8,
}

impl RawHeader {
    fn parse(fields: &Fields<'_>) -> Result<Self> {
        if fields.be32(0).ok() != Some(MAGIC) {
            return Err(Error::corrupt("not a qcow2 image")
                .with_field("magic")
                .with_offset(0));
        }
        let version = fields.be32(4)?;
        if !(2..=3).contains(&version) {
            return Err(
                Error::unsupported(format!("Unsupported qcow2 version {version}"))
                    .with_field("version")
                    .with_offset(4),
            );
        }
        fields.slice(0, V2_LENGTH as usize)?;
        let mut header = Self {
            version,
            backing_file_offset: fields.be64(8)?,
            backing_file_size: fields.be32(16)?,
            cluster_bits: fields.be32(20)?,
            size: fields.be64(24)? / 512 * 512,
            crypt_method: fields.be32(32)?,
            l1_size: fields.be32(36)?,
            l1_table_offset: fields.be64(40)?,
            refcount_table_offset: fields.be64(48)?,
            refcount_table_clusters: fields.be32(56)?,
            nb_snapshots: fields.be32(60)?,
            snapshots_offset: fields.be64(64)?,
            incompatible_features: 0,
            compatible_features: 0,
            autoclear_features: 0,
            refcount_order: 4,
            header_length: V2_LENGTH,
            compression_type: 0,
        };
        if version == 3 {
            fields.slice(0, V3_LENGTH as usize)?;
            header.incompatible_features = fields.be64(72)?;
            header.compatible_features = fields.be64(80)?;
            header.autoclear_features = fields.be64(88)?;
            header.refcount_order = fields.be32(96)?;
            header.header_length = fields.be32(100)?;
            if header.header_length > V3_LENGTH {
                header.compression_type = fields.u8(V3_LENGTH as usize)?;
            }
        }
        Ok(header)
    }

    fn cluster_size(&self) -> u64 {
        1 << self.cluster_bits
    }

    /// What must hold before the header extensions can be found.
    fn check_geometry(&self) -> Result<()> {
        if !(9..=21).contains(&self.cluster_bits) {
            return Err(Error::unsupported(format!(
                "Unsupported cluster size: 2^{}",
                self.cluster_bits
            ))
            .with_field("cluster_bits")
            .with_offset(20));
        }
        if self.version == 3 && self.header_length < V3_LENGTH {
            return Err(self.header_length_error("qcow2 header too short"));
        }
        if u64::from(self.header_length) > self.cluster_size() {
            return Err(self.header_length_error("qcow2 header exceeds cluster size"));
        }
        if self.backing_file_offset > self.cluster_size() {
            return Err(Error::corrupt(format!(
                "Invalid backing file offset {:#x}",
                self.backing_file_offset
            ))
            .with_field("backing_file_offset")
            .with_offset(8));
        }
        Ok(())
    }

    fn header_length_error(&self, message: &str) -> Error {
        Error::corrupt(format!("{message}: {} bytes", self.header_length))
            .with_field("header_length")
            .with_offset(100)
    }

    fn check_features(&self) -> Result<()> {
        let extended = self.incompatible_features & feature::EXTENDED_L2 != 0;
        if extended && self.cluster_size() / 32 < MIN_SUBCLUSTER {
            return Err(Error::unsupported(format!(
                "Unsupported subcluster size: {}",
                self.cluster_size() / 32
            ))
            .with_field("cluster_bits")
            .with_offset(20));
        }
        if self.refcount_order > 6 {
            return Err(Error::corrupt(
                "Reference count entry width too large; may not exceed 64 bits",
            )
            .with_field("refcount_order")
            .with_offset(96));
        }
        let data_file = self.incompatible_features & feature::DATA_FILE != 0;
        if self.autoclear_features & feature::DATA_FILE_RAW != 0 && !data_file {
            return Err(
                Error::corrupt("data-file-raw requires an external data file")
                    .with_field("autoclear_features")
                    .with_offset(88),
            );
        }
        Ok(())
    }

    fn compression(&self) -> Result<Compression> {
        let wrong = |message: String| {
            Error::corrupt(message)
                .with_field("compression_type")
                .with_offset(104)
        };
        let bit = self.incompatible_features & feature::COMPRESSION != 0;
        match (self.compression_type, bit) {
            (0, false) => Ok(Compression::Zlib),
            (1, true) => Ok(Compression::Zstd),
            (0, true) => Err(wrong(
                "compression type incompatible feature bit must not be set for zlib".into(),
            )),
            (1, false) => Err(wrong(
                "compression type incompatible feature bit must be set for zstd".into(),
            )),
            (other, _) => Err(
                Error::unsupported(format!("unknown compression type: {other}"))
                    .with_field("compression_type")
                    .with_offset(104),
            ),
        }
    }

    fn encryption(&self, extensions: &[Extension]) -> Result<Option<Encryption>> {
        let has_luks_header = extensions
            .iter()
            .any(|(kind, _)| *kind == extension::ENCRYPTION);
        match self.crypt_method {
            0 => Ok(None),
            1 => Ok(Some(Encryption::Aes)),
            2 if has_luks_header => Ok(Some(Encryption::Luks)),
            2 => Err(Error::corrupt("Missing CRYPTO header for crypt method 2")
                .with_field("crypt_method")
                .with_offset(32)),
            other => Err(
                Error::unsupported(format!("Unsupported encryption method {other}"))
                    .with_field("crypt_method")
                    .with_offset(32),
            ),
        }
    }

    fn check_tables(&self) -> Result<()> {
        let cluster_size = self.cluster_size();
        if self.refcount_table_clusters == 0 {
            return Err(
                Error::corrupt("Image does not contain a reference count table")
                    .with_field("refcount_table_clusters")
                    .with_offset(56),
            );
        }
        check_table(
            "Reference count table",
            self.refcount_table_offset,
            u64::from(self.refcount_table_clusters) << self.cluster_bits,
            MAX_REFCOUNT_TABLE_BYTES,
            cluster_size,
        )
        .map_err(|error| error.with_field("refcount_table_offset").with_offset(48))?;
        if self.nb_snapshots > MAX_SNAPSHOTS {
            return Err(Error::corrupt(format!(
                "Snapshot table too large: {} entries, at most {MAX_SNAPSHOTS} are allowed",
                self.nb_snapshots
            ))
            .with_field("nb_snapshots")
            .with_offset(60));
        }
        check_table(
            "Active L1 table",
            self.l1_table_offset,
            u64::from(self.l1_size) * 8,
            MAX_L1_BYTES,
            cluster_size,
        )
        .map_err(|error| error.with_field("l1_table_offset").with_offset(40))?;
        let needed = l1_entries_for(self.size, self.cluster_bits, self.incompatible_features);
        if u64::from(self.l1_size) < needed {
            return Err(Error::corrupt(format!(
                "L1 table is too small: {} entries for {} bytes",
                self.l1_size, self.size
            ))
            .with_field("l1_size")
            .with_offset(36));
        }
        Ok(())
    }

    fn backing_name(&self, storage: &dyn Storage) -> Result<Option<String>> {
        if self.backing_file_offset == 0 || self.backing_file_size == 0 {
            return Ok(None);
        }
        let room = self.cluster_size() - self.backing_file_offset;
        let length = u64::from(self.backing_file_size);
        if length > room.min(MAX_BACKING_NAME) {
            return Err(
                Error::corrupt(format!("Backing file name too long: {length} bytes"))
                    .with_field("backing_file_size")
                    .with_offset(16),
            );
        }
        let mut name = vec![0; as_length(length)];
        read_table(
            storage,
            &mut name,
            self.backing_file_offset,
            "backing file name",
        )?;
        let name = text(&name);
        Ok((!name.is_empty()).then_some(name))
    }
}
