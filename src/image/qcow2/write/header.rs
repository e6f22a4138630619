//! The header cluster, changed field by field. What is not understood in it stays, bit by bit.

use std::ops::Range;

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
    /// [`Self::fields`]. Version 2 has neither feature bits nor other refcounts than of 16 bits:
    /// the caller has seen to that.
    ///
    /// The first sector comes last and by itself, when what lies behind it is durable: it switches
    /// from the old header to the new one, because what the old one leads to was left alone. Only
    /// where there is no room for that (extensions that move beyond the first sector, as with a
    /// new name of a data file) it is one write, which a crash may tear.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Unsupported`] when it does not fit a cluster (nothing is written then);
    /// I/O errors.
    pub(super) fn rewrite(&mut self, storage: &dyn WritableStorage) -> Result<()> {
        if self.rewrite_by_switch(storage)? {
            return Ok(());
        }
        self.bytes = self.assemble()?;
        storage.write_at(&self.bytes, 0)
    }

    /// As [`Self::rewrite`], but where the first sector alone cannot switch, nothing is written and
    /// the answer is `false`.
    ///
    /// # Errors
    /// As there.
    pub(super) fn rewrite_by_switch(&mut self, storage: &dyn WritableStorage) -> Result<bool> {
        let bytes = self.assemble()?;
        // What the old first sector leads to: extensions, backing file name.
        let in_use = [0..self.extensions_end(), self.name_range()];
        let changes = |range: &Range<usize>| {
            let behind = range.start.max(SECTOR)..range.end.max(range.start.max(SECTOR));
            self.bytes[behind.clone()] != bytes[behind]
        };
        if in_use.iter().any(changes) {
            return Ok(false);
        }
        let before = std::mem::replace(&mut self.bytes, bytes);
        if before[SECTOR..] != self.bytes[SECTOR..] {
            storage.write_at(&self.bytes[SECTOR..], SECTOR as u64)?;
            storage.flush()?;
        }
        storage.write_at(&self.bytes[..SECTOR], 0)?;
        Ok(true)
    }

    /// Where the backing file name is on disk; empty without one.
    fn name_range(&self) -> Range<usize> {
        let length = BigEndian::read_u32(&self.bytes[16..]);
        let start = usize::try_from(BigEndian::read_u64(&self.bytes[8..])).unwrap_or(0);
        let end = start.saturating_add(usize::try_from(length).unwrap_or(0));
        // Checked when it was read.
        start.min(self.bytes.len())..end.min(self.bytes.len())
    }

    /// Where the extensions end on disk, the mark of their end included.
    fn extensions_end(&self) -> usize {
        let mut at = self.length_on_disk();
        while let Some(head) = self.bytes.get(at..at.saturating_add(8)) {
            at += 8;
            if BigEndian::read_u32(head) == 0 {
                break;
            }
            let length = usize::try_from(BigEndian::read_u32(&head[4..])).unwrap_or(usize::MAX);
            at = at.saturating_add(length.saturating_add(7) / 8 * 8);
        }
        at.min(self.bytes.len())
    }

    /// Bytes of the fields.
    fn length_on_disk(&self) -> usize {
        match BigEndian::read_u32(&self.bytes[4..]) {
            0..=2 => V2_LENGTH,
            // Checked when it was read.
            _ => usize::try_from(BigEndian::read_u32(&self.bytes[100..])).unwrap_or(V3_LENGTH),
        }
    }

    /// Where a name of `length` bytes goes: behind the extensions, which end at `from`, and not
    /// over the one that is there, if there is room.
    fn place_name(&self, from: usize, length: usize) -> usize {
        let old = self.name_range();
        let overlaps = from < old.end && old.start < from + length && old.end > SECTOR;
        match overlaps && old.end + length <= self.bytes.len() {
            true => old.end,
            false => from,
        }
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
        let old_length = self.length_on_disk();
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
        if bytes.len() + name.len() > self.bytes.len() {
            return Err(Error::unsupported(format!(
                "the header would take {} bytes, but a cluster has {}",
                bytes.len() + name.len(),
                self.bytes.len()
            )));
        }
        let mut name_at = 0;
        let extensions_end = bytes.len();
        // What nothing leads to any more stays: the old header may still be the one that counts.
        bytes.resize(extensions_end.max(SECTOR), 0);
        bytes.extend_from_slice(&self.bytes[bytes.len()..]);
        if !name.is_empty() {
            name_at = self.place_name(extensions_end, name.len());
            bytes[name_at..name_at + name.len()].copy_from_slice(name.as_bytes());
        }
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

    /// Whatever is lost of what was not flushed, the name is the old one or the new one.
    #[test]
    fn another_name_comes_whole_or_not_at_all() {
        use crate::storage::{CrashPlan, WriteLog};

        let memory = image();
        let mut header = HeaderCluster::read(&memory).unwrap();
        let names = ["a", "bb", "ccc"].map(|name| name.repeat(600 / name.len()));
        let mut feature_table = (0x6803_f857, vec![0x55; 336]);
        feature_table.1[0] = 9;
        header.fields.extensions.push(feature_table);
        for name in &names {
            let log = WriteLog::new();
            let storage = log.storage(memory.to_vec());
            let before = header.fields.backing_name.replace(name.clone());
            header.rewrite(storage.as_ref()).unwrap();
            storage.flush().unwrap();
            for crash in log.crashes(CrashPlan::default()) {
                let state = MemoryStorage::new(crash.files[0].to_vec());
                let found = HeaderCluster::read(&state).unwrap().fields.backing_name;
                assert!(found == before || found.as_ref() == Some(name), "{found:?}");
            }
            memory.write_at(&storage.to_vec(), 0).unwrap();
            header = HeaderCluster::read(&memory).unwrap();
            assert_eq!(header.fields.backing_name.as_ref(), Some(name));
        }
        header.fields.backing_name = None;
        header.rewrite(&memory).unwrap();
        assert_eq!(
            HeaderCluster::read(&memory).unwrap().fields.backing_name,
            None
        );
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
