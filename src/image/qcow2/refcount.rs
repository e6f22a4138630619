//! How often host clusters are referenced, as far as reading needs to know. The check streams all
//! refcounts in its own way.

use crate::error::{Error, ErrorKind, Result};
use crate::image::qcow2::header::Header;
use crate::image::qcow2::table::{read_entries, read_table};
use crate::storage::Storage;
use crate::units::HostOffset;

/// Bits of a refcount table entry that are the offset of a refcount block.
const BLOCK_OFFSET_MASK: u64 = 0xffff_ffff_ffff_fe00;

/// The refcount of the host cluster at `host`. What no table reaches is 0.
pub(super) fn refcount(storage: &dyn Storage, header: &Header, host: HostOffset) -> Result<u64> {
    let cluster = host.0 >> header.cluster_bits;
    let per_block = refcounts_per_block(header);
    let table_index = cluster / per_block;
    if table_index >= table_entries(header) {
        return Ok(0);
    }
    let entry = read_entries(storage, header.refcount_table_offset + table_index * 8, 1)
        .map_err(|error| error.with_field("refcount table"))?[0];
    let Some(block) = block_offset(entry, table_index, header)? else {
        return Ok(0);
    };
    let first_bit = (cluster % per_block) << header.refcount_order;
    let mut bytes = [0; 8];
    let width = (1_usize << header.refcount_order).div_ceil(8);
    read_table(
        storage,
        &mut bytes[8 - width..],
        block + first_bit / 8,
        "refcount block",
    )?;
    let value = u64::from_be_bytes(bytes);
    // Narrower than a byte, refcounts fill each byte from its low end.
    let bits = 1_u32 << header.refcount_order;
    let mask = u64::MAX >> (64 - bits);
    Ok(if bits < 8 {
        (value >> (first_bit % 8)) & mask
    } else {
        value
    })
}

/// Whether the file has far more clusters in use than the host has allocated for it, by QEMU's
/// rule (`qcow2_detect_metadata_preallocation`). Stops counting as soon as that is sure.
pub(super) fn has_preallocated_metadata(storage: &dyn Storage, header: &Header) -> Result<bool> {
    let Some(allocated) = storage.allocated()? else {
        return Ok(false);
    };
    let allocated = allocated >> header.cluster_bits;
    let threshold = (allocated.saturating_mul(10) / 9).max(allocated + 2);
    let file_clusters = storage.size()?.div_ceil(header.cluster_size());
    if file_clusters < threshold {
        return Ok(false);
    }
    match count_used_clusters(storage, header, file_clusters, threshold) {
        Ok(used) => Ok(used >= threshold),
        // Refcounts that make no sense tell nothing.
        Err(error) if error.kind() == ErrorKind::Corrupt => Ok(false),
        Err(error) => Err(error),
    }
}

/// Counts the first `clusters` clusters that have a refcount, and stops at `enough`.
fn count_used_clusters(
    storage: &dyn Storage,
    header: &Header,
    clusters: u64,
    enough: u64,
) -> Result<u64> {
    let per_block = refcounts_per_block(header);
    let blocks = clusters.div_ceil(per_block).min(table_entries(header));
    // At most the 8 MiB of the largest refcount table.
    let count = u32::try_from(blocks).unwrap_or(u32::MAX);
    let table = read_entries(storage, header.refcount_table_offset, count)?;
    let mut block = vec![0; usize::try_from(header.cluster_size()).unwrap_or(usize::MAX)];
    let mut used = 0;
    for (entry, index) in table.iter().zip(0..) {
        let Some(offset) = block_offset(*entry, index, header)? else {
            continue;
        };
        read_table(storage, &mut block, offset, "refcount block")?;
        let first = index * per_block;
        used += count_nonzero(&block, header.refcount_order, clusters - first);
        if used >= enough {
            break;
        }
    }
    Ok(used)
}

/// How many of the first `limit` refcounts of a block are not 0.
fn count_nonzero(block: &[u8], order: u32, limit: u64) -> u64 {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let count = if order >= 3 {
        let width = 1 << (order - 3);
        block
            .chunks_exact(width)
            .take(limit)
            .filter(|refcount| refcount.iter().any(|byte| *byte != 0))
            .count()
    } else {
        let bits = 1_u32 << order;
        let mask = u8::MAX >> (8 - bits);
        block
            .iter()
            .flat_map(|byte| (0..8 / bits).map(move |at| (byte >> (at * bits)) & mask))
            .take(limit)
            .filter(|refcount| *refcount != 0)
            .count()
    };
    count as u64
}

fn refcounts_per_block(header: &Header) -> u64 {
    (header.cluster_size() * 8) >> header.refcount_order
}

fn table_entries(header: &Header) -> u64 {
    u64::from(header.refcount_table_clusters) * header.cluster_size() / 8
}

/// Where a refcount table entry says its block is; `None` when it has none.
fn block_offset(entry: u64, index: u64, header: &Header) -> Result<Option<u64>> {
    let offset = entry & BLOCK_OFFSET_MASK;
    if !offset.is_multiple_of(header.cluster_size()) {
        return Err(Error::corrupt(format!(
            "Refblock offset {offset:#x} unaligned (reftable index: {index:#x})"
        ))
        .with_offset(header.refcount_table_offset + index * 8)
        .with_field("refcount table"));
    }
    Ok((offset != 0).then_some(offset))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_refcounts_of_every_width() {
        let block = [0b0000_0101, 0, 1, 0, 0, 0, 0, 0x80];
        for (order, limit, count) in [
            (0, u64::MAX, 4),
            (0, 2, 1),
            (1, u64::MAX, 4),
            (2, u64::MAX, 3),
            (3, u64::MAX, 3),
            (3, 7, 2),
            (4, u64::MAX, 3),
            (5, u64::MAX, 2),
            (6, u64::MAX, 1),
        ] {
            assert_eq!(
                count_nonzero(&block, order, limit),
                count,
                "{order} {limit}"
            );
        }
    }
}
