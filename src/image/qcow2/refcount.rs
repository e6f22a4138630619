//! How often a host cluster is referenced: one refcount at a time, for a curious reader. The check
//! streams the blocks instead.

use crate::error::{Error, Result};
use crate::image::qcow2::header::Header;
use crate::image::qcow2::table::{read_entries, read_table};
use crate::storage::Storage;
use crate::units::HostOffset;

/// Bits of a refcount table entry that are the offset of a refcount block.
const BLOCK_OFFSET_MASK: u64 = 0xffff_ffff_ffff_fe00;

/// The refcount of the host cluster at `host`. What no table reaches is 0.
pub(super) fn refcount(storage: &dyn Storage, header: &Header, host: HostOffset) -> Result<u64> {
    let cluster = host.0 >> header.cluster_bits;
    let per_block = (header.cluster_size() * 8) >> header.refcount_order;
    let table_index = cluster / per_block;
    let table_entries = u64::from(header.refcount_table_clusters) * header.cluster_size() / 8;
    if table_index >= table_entries {
        return Ok(0);
    }
    let entry = read_entries(storage, header.refcount_table_offset + table_index * 8, 1)
        .map_err(|error| error.with_field("refcount table"))?[0];
    let block = entry & BLOCK_OFFSET_MASK;
    if block == 0 {
        return Ok(0);
    }
    if !block.is_multiple_of(header.cluster_size()) {
        return Err(Error::corrupt(format!(
            "Refblock offset {block:#x} unaligned (reftable index: {table_index:#x})"
        ))
        .with_field("refcount table"));
    }
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
