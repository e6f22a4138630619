//! Header extensions: a list of typed blobs between the header and the backing file name.

use std::ops::Range;

use crate::codec::Fields;
use crate::error::{Error, Result};
use crate::storage::Storage;

/// Type and data, bit-exact.
pub(super) type Extension = (u32, Vec<u8>);

/// Format name of the backing file.
pub(super) const BACKING_FORMAT: u32 = 0xe279_2aca;
/// Names of feature bits.
pub(super) const FEATURE_NAMES: u32 = 0x6803_f857;
/// Where the LUKS header is.
pub(super) const ENCRYPTION: u32 = 0x0537_be77;
/// Where the bitmap directory is.
pub(super) const BITMAPS: u32 = 0x2385_2875;
/// File name of the external data file.
pub(super) const DATA_FILE: u32 = 0x4441_5441;

/// Closes the list.
pub(super) const END: u32 = 0;
/// Longest name of a backing format that QEMU takes.
const MAX_BACKING_FORMAT: usize = 15;

/// Reads the extensions in `area` of the file, of which `start` are the first bytes. An area that
/// ends without an end marker is as good as one with it.
pub(super) fn read(
    storage: &dyn Storage,
    area: Range<u64>,
    start: &[u8],
) -> Result<Vec<Extension>> {
    if let Some(extensions) = parse(start, &area)? {
        return Ok(extensions);
    }
    // Rare: more than the first read brought. The area is at most a cluster, 2 MiB.
    let mut whole = vec![0; usize::try_from(area.end).unwrap_or(usize::MAX)];
    storage.read_padded_at(&mut whole, 0)?;
    parse(&whole, &area)?
        .ok_or_else(|| Error::corrupt("header extensions do not end").with_offset(area.start))
}

/// The extensions in `area`; `None` when `bytes` end before they do.
fn parse(bytes: &[u8], area: &Range<u64>) -> Result<Option<Vec<Extension>>> {
    let fields = Fields::new(bytes, 0);
    let mut extensions = Vec::new();
    let mut at = area.start;
    while at < area.end {
        let Ok(head) = usize::try_from(at) else {
            return Ok(None);
        };
        let (Ok(kind), Ok(length)) = (fields.be32(head), fields.be32(head + 4)) else {
            return Ok(None);
        };
        if kind == END {
            break;
        }
        let data_at = at + 8;
        if u64::from(length) > area.end.saturating_sub(data_at) {
            return Err(Error::corrupt(format!(
                "Header extension too large: {length} bytes of type {kind:#010x}"
            ))
            .with_offset(at));
        }
        if kind == BACKING_FORMAT && length as usize > MAX_BACKING_FORMAT {
            return Err(
                Error::corrupt(format!("backing format name too long: {length} bytes"))
                    .with_offset(at),
            );
        }
        let Ok(data) = fields.slice(head + 8, length as usize) else {
            return Ok(None);
        };
        extensions.push((kind, data.to_vec()));
        at = data_at + u64::from(length).next_multiple_of(8);
    }
    Ok(Some(extensions))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::MemoryStorage;

    fn extension(kind: u32, data: &[u8]) -> Vec<u8> {
        let mut bytes = kind.to_be_bytes().to_vec();
        bytes.extend_from_slice(&u32::try_from(data.len()).unwrap().to_be_bytes());
        bytes.extend_from_slice(data);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes
    }

    #[test]
    fn keeps_unknown_types_and_exact_lengths() {
        let mut bytes = extension(0xdead_beef, b"odd");
        bytes.extend(extension(DATA_FILE, b"x.raw"));
        bytes.extend([0; 8]);
        let found = parse(&bytes, &(0..512)).unwrap().unwrap();
        assert_eq!(
            found,
            [
                (0xdead_beef, b"odd".to_vec()),
                (DATA_FILE, b"x.raw".to_vec())
            ]
        );
    }

    #[test]
    fn reads_on_when_the_first_bytes_do_not_hold_them_all() {
        let mut bytes = extension(1, &[7; 5000]);
        bytes.extend([0; 8]);
        let start = bytes[..4096].to_vec();
        let storage = MemoryStorage::new(bytes);
        let found = read(&storage, 0..65536, &start).unwrap();
        assert_eq!(found, [(1, vec![7; 5000])]);
    }

    #[test]
    fn refuses_what_passes_the_area() {
        let bytes = extension(1, &[0; 32]);
        assert!(parse(&bytes, &(0..32)).is_err());
        assert!(parse(&extension(BACKING_FORMAT, &[b'a'; 16]), &(0..512)).is_err());
        // The area may end exactly behind an extension, without an end marker.
        assert_eq!(parse(&bytes, &(0..40)).unwrap().unwrap().len(), 1);
    }
}
