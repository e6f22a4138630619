//! Whether the log of XFS is empty: the last record in it says that the file system was unmounted.

use super::damaged;
use crate::codec::Fields;
use crate::error::Result;
use crate::storage::Storage;

/// The unit of the log, whatever the sector size.
const BASIC_BLOCK: u64 = 512;
/// First word of a record's header.
const RECORD: u32 = 0xfeed_babe;
/// What one header describes at most; longer records have more of them.
const PER_HEADER: u32 = 32 << 10;
/// Most blocks from a record's header to its end: 256 KiB and its headers.
const LONGEST_RECORD: u64 = 512 + 8;
/// In the flags of an operation: the file system was unmounted.
const UNMOUNT: u8 = 0x20;

/// The log: `blocks` basic blocks from `start` (bytes) on.
pub(super) struct Log<'a> {
    pub(super) partition: &'a dyn Storage,
    pub(super) start: u64,
    pub(super) blocks: u64,
}

impl Log<'_> {
    /// # Errors
    /// [`crate::ErrorKind::Refused`] when something in it has to be replayed; I/O errors.
    pub(super) fn must_be_empty(&self) -> Result<()> {
        if self.blocks == 0 {
            return Err(damaged("its log has no length"));
        }
        let head = self.head()?;
        // Behind the head of a log that has gone round are older records, and the newest before.
        for back in 1..=LONGEST_RECORD.min(self.blocks) {
            let at = (head + self.blocks - back) % self.blocks;
            let header = self.block(at)?;
            let header = Fields::new(&header, self.offset(at));
            if header.be32(0)? != RECORD {
                continue;
            }
            let headers = match header.be32(8)? {
                2 => u64::from(header.be32(320)?.div_ceil(PER_HEADER).max(1)),
                _ => 1,
            };
            let body = u64::from(header.be32(12)?).div_ceil(BASIC_BLOCK);
            let operation = self.block((at + headers) % self.blocks)?;
            let ends_here = headers + body == back;
            let is_unmount = header.be32(40)? == 1 && operation[9] & UNMOUNT != 0;
            if ends_here && is_unmount {
                return Ok(());
            }
            break;
        }
        Err(damaged(
            "it was not unmounted cleanly, and its log has to be replayed by mounting it",
        ))
    }

    /// The block behind the newest: where the number of the round goes down. Blocks that were never
    /// written are of round 0.
    fn head(&self) -> Result<u64> {
        let first = self.round(0)?;
        if self.round(self.blocks - 1)? == first {
            return Ok(0);
        }
        // The first block of another round than the first one.
        let (mut low, mut high) = (0, self.blocks - 1);
        while high - low > 1 {
            let middle = low.midpoint(high);
            if self.round(middle)? == first {
                low = middle;
            } else {
                high = middle;
            }
        }
        Ok(high)
    }

    /// In which round through the log a block was written.
    fn round(&self, index: u64) -> Result<u32> {
        let block = self.block(index)?;
        let block = Fields::new(&block, self.offset(index));
        let first = block.be32(0)?;
        if first == RECORD {
            block.be32(4)
        } else {
            Ok(first)
        }
    }

    fn block(&self, index: u64) -> Result<Vec<u8>> {
        let mut block = vec![0; 512];
        self.partition.read_at(&mut block, self.offset(index))?;
        Ok(block)
    }

    fn offset(&self, index: u64) -> u64 {
        self.start + index * BASIC_BLOCK
    }
}
