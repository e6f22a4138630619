//! The header cluster, changed field by field. What is not understood in it stays, bit by bit.

use byteorder::{BigEndian, ByteOrder};

use crate::error::{Error, Result};
use crate::image::qcow2::feature;
use crate::image::qcow2::header::Header;
use crate::storage::{Storage, WritableStorage};

/// Fixed fields are in the first sector: one write of it is all or nothing.
const SECTOR: usize = 512;
/// Autoclear features that are kept right here.
const KNOWN_AUTOCLEAR: u64 = feature::BITMAPS | feature::DATA_FILE_RAW;
const V2_LENGTH: usize = 72;
/// Header length that is written when there was none: up to the compression type, padded.
const V3_LENGTH: usize = 112;

/// The header cluster: its fields, and its bytes as they are on disk.
#[derive(Debug)]
pub(super) struct HeaderCluster {
    /// Change fields here, then call [`Self::write_fields`] or, for extensions, backing name and
    /// version, [`Self::rewrite`].
    pub(super) fields: Header,
    bytes: Vec<u8>,
}

impl HeaderCluster {
    /// Reads the header cluster. A file that ends within it is lengthened when it is written.
    pub(super) fn read(storage: &dyn Storage) -> Result<Self> {
        let fields = Header::read(storage)?;
        // At most 2 MiB.
        let length = usize::try_from(fields.cluster_size()).unwrap_or(usize::MAX);
        let mut bytes = vec![0; length];
        storage.read_padded_at(&mut bytes, 0)?;
        Ok(Self { fields, bytes })
    }

    /// Writes the fixed fields (sizes, table places, counts, feature bits) in one write of one
    /// sector. Not durable before the next flush of the storage.
    ///
    /// # Errors
    /// I/O errors.
    pub(super) fn write_fields(&mut self, storage: &dyn WritableStorage) -> Result<()> {
        self.encode();
        storage.write_at(&self.bytes[..SECTOR], 0)
    }

    /// Writes all of the header anew, with the extensions and the backing file name of
    /// [`Self::fields`], in one write. Version 2 has neither feature bits nor other refcounts than
    /// of 16 bits: the caller has seen to that.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Unsupported`] when it does not fit a cluster (nothing is written then);
    /// I/O errors.
    pub(super) fn rewrite(&mut self, storage: &dyn WritableStorage) -> Result<()> {
        let bytes = self.assemble()?;
        self.bytes = bytes;
        storage.write_at(&self.bytes, 0)
    }

    /// Whether the image says that it was not closed well.
    pub(super) fn is_dirty(&self) -> bool {
        self.fields.incompatible_features & feature::DIRTY != 0
    }

    /// Puts the fields into the bytes.
    fn encode(&mut self) {
        let (fields, bytes) = (&self.fields, &mut self.bytes);
        BigEndian::write_u32(&mut bytes[4..], fields.version);
        if BigEndian::read_u64(&bytes[24..]) / 512 * 512 != fields.size {
            BigEndian::write_u64(&mut bytes[24..], fields.size);
        }
        BigEndian::write_u32(&mut bytes[36..], fields.l1_size);
        BigEndian::write_u64(&mut bytes[40..], fields.l1_table_offset);
        BigEndian::write_u64(&mut bytes[48..], fields.refcount_table_offset);
        BigEndian::write_u32(&mut bytes[56..], fields.refcount_table_clusters);
        BigEndian::write_u32(&mut bytes[60..], fields.nb_snapshots);
        BigEndian::write_u64(&mut bytes[64..], fields.snapshots_offset);
        if fields.version >= 3 {
            BigEndian::write_u64(&mut bytes[72..], fields.incompatible_features);
            BigEndian::write_u64(&mut bytes[80..], fields.compatible_features);
            BigEndian::write_u64(&mut bytes[88..], fields.autoclear_features);
            BigEndian::write_u32(&mut bytes[96..], fields.refcount_order);
        }
    }

    fn assemble(&self) -> Result<Vec<u8>> {
        let was = BigEndian::read_u32(&self.bytes[4..]);
        let old_length = if was >= 3 {
            // Checked when it was read.
            usize::try_from(BigEndian::read_u32(&self.bytes[100..])).unwrap_or(V3_LENGTH)
        } else {
            V2_LENGTH
        };
        let length = match self.fields.version {
            0..=2 => V2_LENGTH,
            _ => old_length.max(V3_LENGTH),
        };
        let mut bytes = self.bytes[..old_length.min(length)].to_vec();
        bytes.resize(length, 0);
        for (kind, data) in &self.fields.extensions {
            let data_length = u32::try_from(data.len()).unwrap_or(u32::MAX);
            bytes.extend_from_slice(&kind.to_be_bytes());
            bytes.extend_from_slice(&data_length.to_be_bytes());
            bytes.extend_from_slice(data);
            bytes.resize(bytes.len().next_multiple_of(8), 0);
        }
        bytes.extend_from_slice(&[0; 8]);
        let name = self.fields.backing_name.as_deref().unwrap_or_default();
        let name_at = if name.is_empty() { 0 } else { bytes.len() };
        bytes.extend_from_slice(name.as_bytes());
        if bytes.len() > self.bytes.len() {
            return Err(Error::unsupported(format!(
                "the header would take {} bytes, but a cluster has {}",
                bytes.len(),
                self.bytes.len()
            )));
        }
        bytes.resize(self.bytes.len(), 0);
        BigEndian::write_u64(&mut bytes[8..], name_at as u64);
        // A name that fits a cluster fits 32 bits.
        BigEndian::write_u32(&mut bytes[16..], u32::try_from(name.len()).unwrap_or(0));
        let mut header = Self {
            fields: self.fields.clone(),
            bytes,
        };
        header.encode();
        if header.fields.version >= 3 {
            let length = u32::try_from(length).unwrap_or(u32::MAX);
            BigEndian::write_u32(&mut header.bytes[100..], length);
        }
        Ok(header.bytes)
    }

    /// Clears the autoclear features that nobody here keeps right; whether there were any.
    pub(super) fn clear_unknown_autoclear(&mut self) -> bool {
        let before = self.fields.autoclear_features;
        self.fields.autoclear_features &= KNOWN_AUTOCLEAR;
        self.fields.autoclear_features != before
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::qcow2::extension;
    use crate::storage::MemoryStorage;

    fn image() -> MemoryStorage {
        let mut bytes = vec![0; 4096];
        for (at, value) in [
            (0, 0x5146_49fb_u32),
            (4, 3),
            (20, 12),
            (28, 1 << 20),
            (36, 1),
            (44, 4096 * 3),
            (52, 4096),
            (56, 1),
            (92, 0xf0),
            (96, 4),
            (100, 136),
            (136, 0xdead_beef),
            (140, 3),
            (144, 0x6162_6300),
        ] {
            BigEndian::write_u32(&mut bytes[at..], value);
        }
        bytes[120..136].fill(0x77);
        MemoryStorage::new(bytes)
    }

    #[test]
    fn keeps_what_it_does_not_know() {
        let memory = image();
        let before = memory.to_vec();
        let mut header = HeaderCluster::read(&memory).unwrap();
        header.write_fields(&memory).unwrap();
        assert!(memory.to_vec() == before);
        assert!(header.clear_unknown_autoclear());
        assert!(!header.clear_unknown_autoclear());
        header.fields.backing_name = Some("base.qcow2".into());
        header
            .fields
            .extensions
            .push((extension::BACKING_FORMAT, b"qcow2".to_vec()));
        header.rewrite(&memory).unwrap();
        let again = HeaderCluster::read(&memory).unwrap();
        assert_eq!(again.fields.backing_name.as_deref(), Some("base.qcow2"));
        assert_eq!(
            again.fields.extensions,
            [
                (0xdead_beef, b"abc".to_vec()),
                (extension::BACKING_FORMAT, b"qcow2".to_vec())
            ]
        );
        assert_eq!(again.fields.autoclear_features, 0);
        assert_eq!(again.bytes[104..136], before[104..136]);
        let full = memory.to_vec();
        header.fields.backing_name = Some("x".repeat(4000));
        assert!(header.rewrite(&memory).is_err());
        assert!(memory.to_vec() == full);
    }

    #[test]
    fn changes_the_version_both_ways() {
        let memory = image();
        let mut header = HeaderCluster::read(&memory).unwrap();
        header.fields.autoclear_features = 0;
        header.fields.version = 2;
        header.rewrite(&memory).unwrap();
        let mut two = HeaderCluster::read(&memory).unwrap();
        assert_eq!(two.fields.version, 2);
        assert_eq!(two.fields.extensions, [(0xdead_beef, b"abc".to_vec())]);
        two.fields.version = 3;
        two.rewrite(&memory).unwrap();
        let three = HeaderCluster::read(&memory).unwrap();
        assert_eq!((three.fields.version, three.fields.refcount_order), (3, 4));
        assert_eq!(three.fields.extensions.len(), 1);
    }
}
