//! A record of the master file table: fixups, attributes, run lists.

use std::ops::Range;

use crate::codec::Fields;
use crate::error::Result;

/// Attributes looked through in a record, and runs in a list.
const MAX_ATTRIBUTES: usize = 256;
const MAX_RUNS: usize = 1 << 16;
/// A record guards every stretch of this size by a check value in its last two bytes.
const STRIDE: usize = 512;

/// A record whose check values matched.
pub(super) struct Record {
    bytes: Vec<u8>,
}

/// The value of an attribute.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Attribute {
    /// In the record itself.
    Resident(Vec<u8>),
    /// Cluster ranges of the volume that hold it, in order. A sparse run ends the list.
    Runs(Vec<Range<u64>>),
}

impl Record {
    /// Undoes the fixups; `None` when it is no record or a torn one.
    pub(super) fn new(mut bytes: Vec<u8>) -> Option<Self> {
        let fields = Fields::new(&bytes, 0);
        if fields.slice(0, 4).ok()? != b"FILE" {
            return None;
        }
        let at = usize::from(fields.le16(4).ok()?);
        let count = usize::from(fields.le16(6).ok()?);
        let fixups = fields.slice(at, count.checked_mul(2)?).ok()?.to_vec();
        let (check, originals) = fixups.split_at_checked(2)?;
        if originals.len() / 2 != bytes.len() / STRIDE {
            return None;
        }
        for (stretch, original) in bytes
            .chunks_exact_mut(STRIDE)
            .zip(originals.chunks_exact(2))
        {
            let tail = stretch.get_mut(STRIDE - 2..)?;
            if tail != check {
                return None;
            }
            tail.copy_from_slice(original);
        }
        Some(Self { bytes })
    }

    /// The first unnamed attribute of `kind`; `None` also when it is damaged.
    pub(super) fn attribute(&self, kind: u32) -> Option<Attribute> {
        self.find(kind).ok().flatten()
    }

    fn find(&self, kind: u32) -> Result<Option<Attribute>> {
        let record = Fields::new(&self.bytes, 0);
        let mut at = usize::from(record.le16(20)?);
        for _ in 0..MAX_ATTRIBUTES {
            let found = record.le32(at)?;
            if found == u32::MAX {
                break;
            }
            let length = usize::try_from(record.le32(at + 4)?).unwrap_or(usize::MAX);
            let attribute = record.slice(at, length)?;
            if length < 24 {
                break;
            }
            if found == kind && attribute[9] == 0 {
                return value(attribute).map(Some);
            }
            at += length;
        }
        Ok(None)
    }
}

fn value(attribute: &[u8]) -> Result<Attribute> {
    let fields = Fields::new(attribute, 0);
    if fields.u8(8)? == 0 {
        let length = usize::try_from(fields.le32(16)?).unwrap_or(usize::MAX);
        let at = usize::from(fields.le16(20)?);
        return Ok(Attribute::Resident(fields.slice(at, length)?.to_vec()));
    }
    let at = usize::from(fields.le16(32)?);
    let list = attribute.get(at..).unwrap_or_default();
    Ok(Attribute::Runs(runs(list)))
}

/// Decodes a run list: each run a byte with the widths of two numbers, its length and its distance
/// from the run before. What makes no sense ends the list.
fn runs(mut list: &[u8]) -> Vec<Range<u64>> {
    let mut runs = Vec::new();
    let mut start = 0_i64;
    while let Some((widths, rest)) = list.split_first()
        && *widths != 0
        && runs.len() < MAX_RUNS
    {
        let (length_width, start_width) = (usize::from(widths & 0xf), usize::from(widths >> 4));
        if !(1..=8).contains(&length_width) || !(1..=8).contains(&start_width) {
            break;
        }
        let Some((numbers, rest)) = rest.split_at_checked(length_width + start_width) else {
            break;
        };
        let (length, distance) = numbers.split_at(length_width);
        let next = start
            .checked_add(signed(distance))
            .filter(|next| *next >= 0);
        let end = next.and_then(|next| next.checked_add(signed(length)));
        let (Some(next), Some(end)) = (next, end) else {
            break;
        };
        if end <= next {
            break;
        }
        runs.push(next.cast_unsigned()..end.cast_unsigned());
        start = next;
        list = rest;
    }
    runs
}

/// A little-endian number of 1 to 8 bytes with a sign.
fn signed(bytes: &[u8]) -> i64 {
    let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
    let mut all = [if negative { 0xff } else { 0 }; 8];
    all[..bytes.len()].copy_from_slice(bytes);
    i64::from_le_bytes(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_lists_count_from_run_to_run() {
        let list = [0x21, 0x18, 0x34, 0x56, 0x11, 0x10, 0xfc, 0x00, 0x99];
        assert_eq!(runs(&list), [0x5634..0x564c, 0x5630..0x5640]);
    }

    #[test]
    fn hostile_run_lists_end() {
        for list in [
            &[][..],
            &[0x11],
            &[0x11, 0x01],
            &[0xff, 1, 2, 3],
            &[0x11, 0x00, 0x05],
            &[0x11, 0x05, 0x85],
            &[0x01, 0x05],
            &[0x18, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 0x05],
        ] {
            assert_eq!(runs(list), [], "{list:x?}");
        }
    }

    #[test]
    fn torn_records_are_refused() {
        let mut bytes = vec![0; 1024];
        bytes[..4].copy_from_slice(b"FILE");
        bytes[4] = 48;
        bytes[6] = 3;
        bytes[48..54].copy_from_slice(&[7, 7, 1, 2, 3, 4]);
        bytes[20] = 56;
        bytes[56..60].fill(0xff);
        for end in [512, 1024] {
            bytes[end - 2..end].copy_from_slice(&[7, 7]);
        }
        let record = Record::new(bytes.clone()).unwrap();
        assert_eq!(record.bytes[510..512], [1, 2]);
        assert_eq!(record.bytes[1022..], [3, 4]);
        assert_eq!(record.attribute(DATA), None);
        bytes[1022] = 8;
        assert!(Record::new(bytes).is_none());
    }

    const DATA: u32 = 0x80;
}
