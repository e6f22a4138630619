//! The header of a LUKS version 1 container, which QCOW2 keeps inside the image (LUKS On-Disk Format
//! Specification 1.2.3). Facts for showing; nothing is unlocked.

use crate::codec::Fields;
use crate::error::{Error, Result};
use crate::storage::Storage;
use crate::units::HostOffset;

const MAGIC: &[u8] = b"LUKS\xba\xbe";
const HEADER_BYTES: usize = 592;
const SECTOR: u64 = 512;

const SLOTS: usize = 8;
const FIRST_SLOT: usize = 208;
const SLOT_BYTES: usize = 48;
const ACTIVE: u32 = 0x00ac_71f3;

/// What the header says. Names are those of the header.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LuksHeader {
    /// "aes", "serpent"…
    pub cipher: String,
    /// Key length in bits; half of the key material in XTS mode, which needs two keys.
    pub key_bits: u32,
    /// "xts", "cbc"…
    pub cipher_mode: String,
    /// How initialisation vectors are made: "plain64", "essiv"…
    pub iv_generator: String,
    /// The hash of that, where it needs one ("sha256" of "essiv:sha256").
    pub iv_hash: Option<String>,
    /// The hash of the key derivation.
    pub hash: String,
    /// Where the encrypted data begins, in bytes from the header.
    pub payload_offset: u64,
    /// Rounds of the key derivation for the digest of the master key.
    pub master_key_iterations: u32,
    /// Of the container.
    pub uuid: String,
    /// The eight key slots.
    pub slots: Vec<LuksSlot>,
}

/// A place for the master key, encrypted with one passphrase.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LuksSlot {
    /// In use.
    pub active: bool,
    /// Rounds of the key derivation.
    pub iterations: u32,
    /// Where its key material is, in bytes from the header.
    pub key_offset: u64,
    /// Anti-forensic stripes of the key material.
    pub stripes: u32,
}

impl LuksHeader {
    /// Reads the header at `offset` of `storage`.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Corrupt`] when there is none; what reading the storage may fail with.
    pub fn read(storage: &dyn Storage, offset: HostOffset) -> Result<Self> {
        let mut bytes = [0; HEADER_BYTES];
        storage.read_at(&mut bytes, offset.0)?;
        let fields = Fields::new(&bytes, offset.0);
        if fields.slice(0, MAGIC.len())? != MAGIC || fields.be16(6)? != 1 {
            return Err(Error::corrupt("not a LUKS version 1 header")
                .with_offset(offset.0)
                .with_field("magic"));
        }
        let mode = text(&fields, 40, 32)?;
        let (cipher_mode, iv) = mode.split_once('-').unwrap_or((&mode, ""));
        let (iv_generator, iv_hash) = iv
            .split_once(':')
            .map_or((iv, None), |(iv, hash)| (iv, Some(hash.to_owned())));
        let key_bits = fields.be32(108)?.saturating_mul(8);
        let slots = (0..SLOTS).map(|slot| LuksSlot::read(&fields, FIRST_SLOT + slot * SLOT_BYTES));
        Ok(Self {
            cipher: text(&fields, 8, 32)?,
            key_bits: if cipher_mode == "xts" {
                key_bits / 2
            } else {
                key_bits
            },
            cipher_mode: cipher_mode.to_owned(),
            iv_generator: iv_generator.to_owned(),
            iv_hash,
            hash: text(&fields, 72, 32)?,
            payload_offset: u64::from(fields.be32(104)?) * SECTOR,
            master_key_iterations: fields.be32(164)?,
            uuid: text(&fields, 168, 40)?,
            slots: slots.collect::<Result<_>>()?,
        })
    }
}

impl LuksSlot {
    fn read(fields: &Fields<'_>, at: usize) -> Result<Self> {
        Ok(Self {
            active: fields.be32(at)? == ACTIVE,
            iterations: fields.be32(at + 4)?,
            key_offset: u64::from(fields.be32(at + 40)?) * SECTOR,
            stripes: fields.be32(at + 44)?,
        })
    }
}

/// Text that ends at the first zero byte.
fn text(fields: &Fields<'_>, at: usize, length: usize) -> Result<String> {
    let bytes = fields.slice(at, length)?;
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(length);
    Ok(String::from_utf8_lossy(&bytes[..end]).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::MemoryStorage;

    fn header() -> Vec<u8> {
        let mut bytes = vec![0; 4096];
        bytes[..8].copy_from_slice(b"LUKS\xba\xbe\0\x01");
        bytes[8..11].copy_from_slice(b"aes");
        bytes[40..56].copy_from_slice(b"cbc-essiv:sha256");
        bytes[72..76].copy_from_slice(b"sha1");
        bytes[104..108].copy_from_slice(&1032_u32.to_be_bytes());
        bytes[108..112].copy_from_slice(&16_u32.to_be_bytes());
        bytes[208..212].copy_from_slice(&ACTIVE.to_be_bytes());
        bytes[248..252].copy_from_slice(&8_u32.to_be_bytes());
        bytes
    }

    #[test]
    fn reads_cipher_and_slots() {
        let storage = MemoryStorage::new([vec![0; 512], header()].concat());
        let header = LuksHeader::read(&storage, HostOffset(512)).unwrap();
        assert_eq!(header.cipher, "aes");
        assert_eq!(header.key_bits, 128);
        assert_eq!(header.cipher_mode, "cbc");
        assert_eq!(header.iv_generator, "essiv");
        assert_eq!(header.iv_hash.as_deref(), Some("sha256"));
        assert_eq!(header.payload_offset, 528_384);
        assert_eq!(header.slots.len(), 8);
        assert!(header.slots[0].active && !header.slots[1].active);
        assert_eq!(header.slots[0].key_offset, 4096);
    }

    #[test]
    fn refuses_what_is_none_or_cut_off() {
        let storage = MemoryStorage::new(header());
        for offset in [1, 3800, u64::MAX] {
            assert!(LuksHeader::read(&storage, HostOffset(offset)).is_err());
        }
    }
}
