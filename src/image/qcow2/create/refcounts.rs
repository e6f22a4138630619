//! The refcount structures of a file that is written in one pass: a table and its blocks, side by
//! side, with room for themselves.

use crate::control::{Control, Stop};
use crate::error::{Error, ErrorKind, Result};
use crate::image::qcow2::header::MAX_REFCOUNT_TABLE_BYTES;
use crate::storage::WritableStorage;

/// Refcount blocks are written in pieces of about this many bytes.
const PIECE: u64 = 4 << 20;

/// Where the refcount structures of a new file are: the table first, then all blocks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RefcountLayout {
    cluster_size: u64,
    order: u32,
    first: u64,
    table_clusters: u64,
    blocks: u64,
    clusters: u64,
}

/// How often each cluster of the file is referenced.
pub enum Refcounts<'a> {
    /// Once.
    Ones,
    /// As the function says for a cluster's index. It is called once for each, in order, also for
    /// the clusters of the refcount structures.
    Each(&'a mut dyn FnMut(u64) -> Result<u64>),
}

impl RefcountLayout {
    /// Structures that begin at cluster `first`, in a file that has `behind` clusters more after
    /// them.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] when the table would be larger than QEMU reads (8 MiB).
    pub fn new(cluster_size: u64, refcount_bits: u32, first: u64, behind: u64) -> Result<Self> {
        let per_block = cluster_size * 8 / u64::from(refcount_bits);
        let others = first.checked_add(behind).ok_or_else(too_large)?;
        let mut layout = Self {
            cluster_size,
            order: refcount_bits.trailing_zeros(),
            first,
            table_clusters: 0,
            blocks: 0,
            clusters: 0,
        };
        // Each round adds what the round before did not count; a block holds many, so it ends.
        loop {
            let own = layout.blocks + layout.table_clusters;
            layout.clusters = others.checked_add(own).ok_or_else(too_large)?;
            let blocks = layout.clusters.div_ceil(per_block);
            let table_bytes = blocks.checked_mul(8).ok_or_else(too_large)?;
            layout.blocks = blocks;
            layout.table_clusters = table_bytes.div_ceil(cluster_size);
            if layout.table_clusters * cluster_size > MAX_REFCOUNT_TABLE_BYTES {
                return Err(too_large());
            }
            if layout.blocks + layout.table_clusters == own {
                return Ok(layout);
            }
        }
    }

    /// Host offset of the table.
    #[must_use]
    pub fn table_offset(&self) -> u64 {
        self.first * self.cluster_size
    }

    /// Clusters of the table: at most 16384.
    #[must_use]
    pub fn table_clusters(&self) -> u32 {
        u32::try_from(self.table_clusters).unwrap_or(u32::MAX)
    }

    /// The first cluster behind the structures.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.first + self.table_clusters + self.blocks
    }

    /// Clusters of the whole file.
    #[must_use]
    pub fn clusters(&self) -> u64 {
        self.clusters
    }

    /// Writes table and blocks, each byte once.
    ///
    /// # Errors
    /// I/O errors; [`ErrorKind::InvalidInput`] for a refcount that is too big for its bits.
    pub fn write(
        &self,
        storage: &dyn WritableStorage,
        mut refcounts: Refcounts<'_>,
        control: &Control,
    ) -> Result<(), Stop> {
        let first_block = self.first + self.table_clusters;
        let mut table: Vec<u8> = (first_block..first_block + self.blocks)
            .flat_map(|block| (block * self.cluster_size).to_be_bytes())
            .collect();
        table.resize(as_length(self.table_clusters * self.cluster_size), 0);
        storage.write_at(&table, self.table_offset())?;
        drop(table);

        let blocks_in_piece = (PIECE / self.cluster_size).max(1);
        let per_block = (self.cluster_size * 8) >> self.order;
        let full = self.block_of_ones(per_block);
        let mut piece = Vec::new();
        for block in (0..self.blocks).step_by(as_length(blocks_in_piece)) {
            control.checkpoint()?;
            let count = blocks_in_piece.min(self.blocks - block);
            let in_file = self.clusters - block * per_block;
            match &mut refcounts {
                Refcounts::Ones if in_file >= count * per_block => {
                    if piece.len() as u64 != count * self.cluster_size {
                        piece = full.repeat(as_length(count));
                    }
                }
                Refcounts::Ones => {
                    piece = full.repeat(as_length(count - 1));
                    piece.extend(self.block_of_ones(in_file - (count - 1) * per_block));
                }
                Refcounts::Each(of) => {
                    piece.clear();
                    piece.resize(as_length(count * self.cluster_size), 0);
                    for index in 0..in_file.min(count * per_block) {
                        let value = of(block * per_block + index)?;
                        self.put(&mut piece, as_length(index), value)?;
                    }
                }
            }
            storage.write_at(&piece, (first_block + block) * self.cluster_size)?;
            control.advance(piece.len() as u64);
        }
        Ok(())
    }

    /// A block whose first `count` refcounts are 1.
    fn block_of_ones(&self, count: u64) -> Vec<u8> {
        let mut block = vec![0; as_length(self.cluster_size)];
        for index in 0..as_length(count) {
            // The value 1 fits every width.
            let _ = self.put(&mut block, index, 1);
        }
        block
    }

    /// Sets the refcount at `index` of a block that was zero there.
    fn put(&self, block: &mut [u8], index: usize, value: u64) -> Result<()> {
        let bits = 1_u32 << self.order;
        if bits < 64 && value >> bits != 0 {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!("a refcount of {value} does not fit into {bits} bits"),
            ));
        }
        if self.order >= 3 {
            let width = 1 << (self.order - 3);
            let at = index * width;
            block[at..at + width].copy_from_slice(&value.to_be_bytes()[8 - width..]);
        } else {
            // Narrower than a byte, refcounts fill each byte from its low end.
            let in_byte = 8 >> self.order;
            let shift = (index % in_byte) << self.order;
            block[index / in_byte] |= value.to_be_bytes()[7] << shift;
        }
        Ok(())
    }
}

fn too_large() -> Error {
    Error::new(
        ErrorKind::InvalidInput,
        "the refcount table would be larger than 8 MiB (try using a larger cluster size)",
    )
}

fn as_length(bounded: u64) -> usize {
    usize::try_from(bounded).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::MemoryStorage;

    fn written(layout: &RefcountLayout, refcounts: Refcounts<'_>) -> Vec<u8> {
        let memory = MemoryStorage::new(Vec::new());
        layout.write(&memory, refcounts, &Control::new()).unwrap();
        memory.to_vec()
    }

    #[test]
    fn covers_itself_and_all_others() {
        for bits in [1, 2, 4, 8, 16, 32, 64] {
            for (first, behind) in [(1, 0), (1, 1), (300, 5000), (7, 123_456)] {
                let layout = RefcountLayout::new(512, bits, first, behind).unwrap();
                let per_block = 512 * 8 / u64::from(bits);
                assert_eq!(layout.clusters(), layout.end() + behind);
                assert_eq!(layout.blocks, layout.clusters().div_ceil(per_block));
                assert_eq!(layout.table_clusters, (layout.blocks * 8).div_ceil(512));
                let ones = written(&layout, Refcounts::Ones);
                let each = written(&layout, Refcounts::Each(&mut |_| Ok(1)));
                assert!(ones == each, "{bits} {first} {behind}");
                let table_end = as_length((first + layout.table_clusters) * 512);
                let set: u32 = ones[table_end..].iter().map(|byte| byte.count_ones()).sum();
                assert_eq!(u64::from(set), layout.clusters());
            }
        }
    }

    #[test]
    fn refuses_tables_and_counts_beyond_the_format() {
        assert!(RefcountLayout::new(512, 64, 1, 1 << 40).is_err());
        assert!(RefcountLayout::new(512, 64, u64::MAX, 1).is_err());
        let layout = RefcountLayout::new(512, 2, 1, 8).unwrap();
        let memory = MemoryStorage::new(Vec::new());
        let result = layout.write(&memory, Refcounts::Each(&mut |_| Ok(4)), &Control::new());
        assert!(result.is_err());
    }
}
