//! The header as bytes: fields, extensions, backing file name, in the order in which QEMU has them.

use crate::error::{Error, ErrorKind, Result};
use crate::image::qcow2::extension;
use crate::image::qcow2::header::{Compression, Encryption, Header};

const MAGIC: u32 = 0x5146_49fb;
/// Length of a version 3 header with the compression type, padded to 8 bytes.
const V3_LENGTH: u32 = 112;

impl Header {
    /// What stands at the start of the file. At most a cluster.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] when extensions and names do not fit into a cluster.
    pub(super) fn encode(&self) -> Result<Vec<u8>> {
        let mut bytes = self.encode_fields();
        for (kind, data) in &self.extensions {
            let Ok(length) = u32::try_from(data.len()) else {
                return Err(self.too_long());
            };
            put32(&mut bytes, *kind);
            put32(&mut bytes, length);
            bytes.extend_from_slice(data);
            bytes.resize(bytes.len().next_multiple_of(8), 0);
        }
        put32(&mut bytes, extension::END);
        put32(&mut bytes, 0);
        if let Some(name) = &self.backing_name {
            let (Ok(offset), Ok(length)) = (u64::try_from(bytes.len()), u32::try_from(name.len()))
            else {
                return Err(self.too_long());
            };
            bytes[8..16].copy_from_slice(&offset.to_be_bytes());
            bytes[16..20].copy_from_slice(&length.to_be_bytes());
            bytes.extend_from_slice(name.as_bytes());
        }
        if bytes.len() as u64 > self.cluster_size() {
            return Err(self.too_long());
        }
        Ok(bytes)
    }

    fn encode_fields(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(1024);
        put32(&mut bytes, MAGIC);
        put32(&mut bytes, self.version);
        // Where the backing file name is: filled in when that is known.
        put64(&mut bytes, 0);
        put32(&mut bytes, 0);
        put32(&mut bytes, self.cluster_bits);
        put64(&mut bytes, self.size);
        put32(&mut bytes, self.crypt_method());
        put32(&mut bytes, self.l1_size);
        put64(&mut bytes, self.l1_table_offset);
        put64(&mut bytes, self.refcount_table_offset);
        put32(&mut bytes, self.refcount_table_clusters);
        put32(&mut bytes, self.nb_snapshots);
        put64(&mut bytes, self.snapshots_offset);
        if self.version >= 3 {
            put64(&mut bytes, self.incompatible_features);
            put64(&mut bytes, self.compatible_features);
            put64(&mut bytes, self.autoclear_features);
            put32(&mut bytes, self.refcount_order);
            put32(&mut bytes, V3_LENGTH);
            bytes.push(u8::from(self.compression == Compression::Zstd));
            bytes.resize(V3_LENGTH as usize, 0);
        }
        bytes
    }

    fn crypt_method(&self) -> u32 {
        match self.encryption {
            None => 0,
            Some(Encryption::Aes) => 1,
            Some(Encryption::Luks) => 2,
        }
    }

    fn too_long(&self) -> Error {
        Error::new(
            ErrorKind::InvalidInput,
            format!(
                "header extensions and file names do not fit into a cluster of {} bytes",
                self.cluster_size()
            ),
        )
        .with_field("backing_file_offset")
    }
}

fn put32(bytes: &mut Vec<u8>, value: u32) {
    bytes.extend_from_slice(&value.to_be_bytes());
}

fn put64(bytes: &mut Vec<u8>, value: u64) {
    bytes.extend_from_slice(&value.to_be_bytes());
}
