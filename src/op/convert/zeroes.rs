//! Finding the zeroes in what was read.

use std::ops::Range;

use crate::control::{Control, Stop};
use crate::storage::WritableStorage;

/// Written, and compared with.
static ZEROES: [u8; 1 << 20] = [0; 1 << 20];

/// Bytes that are compared at a time: they stay in the innermost cache.
const COMPARED: usize = 4096;

/// Writes zeroes, and does not merely reserve them.
///
/// # Errors
/// I/O errors, and on cancel: there may be terabytes of them.
pub(super) fn write(
    storage: &dyn WritableStorage,
    range: Range<u64>,
    control: &Control,
) -> Result<(), Stop> {
    let mut at = range.start;
    while at < range.end {
        control.checkpoint()?;
        let rest = usize::try_from(range.end - at).unwrap_or(usize::MAX);
        let length = rest.min(ZEROES.len());
        storage.write_at(&ZEROES[..length], at)?;
        at += length as u64;
    }
    Ok(())
}

/// Whether all of `bytes` are zero.
pub(super) fn is_zero(bytes: &[u8]) -> bool {
    bytes
        .chunks(COMPARED)
        .all(|chunk| chunk == &ZEROES[..chunk.len()])
}

/// Visits the parts of `bytes` that have to be written, in order: what is left without the runs of
/// zeroes that are at least `sparse` bytes long. Runs begin and end at multiples of the largest
/// power of two that is not above `sparse`, counted from the start of `bytes`. With a `sparse` of
/// 0 everything has to be written.
///
/// # Errors
/// The first error of `visit`.
pub(super) fn for_each_data<E>(
    bytes: &[u8],
    sparse: usize,
    mut visit: impl FnMut(Range<usize>) -> Result<(), E>,
) -> Result<(), E> {
    if sparse == 0 {
        return visit(0..bytes.len());
    }
    let block = 1 << sparse.ilog2();
    // The data that is not visited yet, and the zeroes behind it.
    let mut data = 0..0;
    for start in (0..bytes.len()).step_by(block) {
        let end = bytes.len().min(start + block);
        if is_zero(&bytes[start..end]) {
            continue;
        }
        // Zeroes at the start of the bytes may go on before it.
        let is_long = start - data.end >= sparse || data.is_empty();
        if is_long {
            if !data.is_empty() {
                visit(data)?;
            }
            data = start..end;
        } else {
            data.end = end;
        }
    }
    if data.is_empty() { Ok(()) } else { visit(data) }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn found(bytes: &[u8], sparse: usize) -> Vec<Range<usize>> {
        let mut ranges = Vec::new();
        let result: Result<(), Infallible> = for_each_data(bytes, sparse, |range| {
            ranges.push(range);
            Ok(())
        });
        result.unwrap();
        ranges
    }

    #[test]
    fn short_zeroes_are_written_and_long_ones_are_not() {
        let mut bytes = vec![0; 100];
        for at in [20, 33, 34, 77] {
            bytes[at] = 1;
        }
        assert_eq!(found(&bytes, 8), [16..24, 32..40, 72..80]);
        assert_eq!(found(&bytes, 4), [20..24, 32..36, 76..80]);
        assert_eq!(found(&bytes, 48), [0..96]);
        assert_eq!(found(&bytes, 0), [0..100]);
        assert_eq!(found(&[0; 99], 8), []);
        bytes[99] = 1;
        assert_eq!(found(&bytes, 8), [16..24, 32..40, 72..80, 96..100]);
        assert!(is_zero(&bytes[35..77]));
        assert!(!is_zero(&bytes[35..78]));
    }
}
