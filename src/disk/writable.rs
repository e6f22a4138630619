//! The guest disk of an image that is open for change, as a storage like any other: what partition
//! tables and file systems are written through.

use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use super::part;
use crate::control::{Control, Stop};
use crate::error::{Error, ErrorKind, Result};
use crate::image::{ExtentState, ImageWriter, Preallocation};
use crate::storage::{Joiner, Move, Run, Storage, WritableStorage, check_bounds};
use crate::units::GuestOffset;

/// What the guest would see and write. Its length is the virtual size.
#[derive(Clone, Debug)]
pub struct WritableDisk {
    image: Arc<dyn ImageWriter>,
    /// The disk below the image.
    backing: Option<Arc<dyn Storage>>,
}

impl WritableDisk {
    /// The disk of `image`, which stands on `backing`.
    #[must_use]
    pub fn new(image: Arc<dyn ImageWriter>, backing: Option<Arc<dyn Storage>>) -> Self {
        Self { image, backing }
    }

    /// The image that is written to.
    #[must_use]
    pub fn image(&self) -> &Arc<dyn ImageWriter> {
        &self.image
    }
}

impl Storage for WritableDisk {
    fn size(&self) -> Result<u64> {
        Ok(self.image.virtual_size())
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        check_bounds(buf.len(), offset, self.image.virtual_size())?;
        let mut missing = Vec::new();
        self.image.read_at(buf, GuestOffset(offset), &mut missing)?;
        for range in missing {
            let part = part(buf, offset, &range)?;
            match &self.backing {
                Some(backing) => backing.read_padded_at(part, range.start)?,
                None => part.fill(0),
            }
        }
        Ok(())
    }

    /// What the image calls zeroes is a hole; what only the backing file may hold is data.
    fn for_each_run(
        &self,
        range: Range<u64>,
        visit: &mut dyn FnMut(Run) -> ControlFlow<()>,
    ) -> Result<()> {
        let mut joiner = Joiner::new(visit);
        self.image.for_each_extent(range, &mut |extent| {
            let hole = match extent.state {
                ExtentState::Data { .. } | ExtentState::Compressed => false,
                ExtentState::Zero { .. } => true,
                ExtentState::Unallocated { .. } => self.backing.is_none(),
            };
            joiner.push(extent.guest, hole)
        })?;
        joiner.finish();
        Ok(())
    }

    fn moves_by(&self) -> Option<u64> {
        self.image.moves_by()
    }
}

impl WritableStorage for WritableDisk {
    fn write_at(&self, buf: &[u8], offset: u64) -> Result<()> {
        self.image.write_at(buf, GuestOffset(offset))
    }

    fn write_zeroes(&self, range: Range<u64>) -> Result<()> {
        self.image.write_zeroes(range, false)
    }

    fn punch_hole(&self, range: Range<u64>) -> Result<()> {
        let end = range.end.min(self.image.virtual_size());
        if range.start >= end {
            return Ok(());
        }
        self.image.write_zeroes(range.start..end, true)
    }

    /// A guest cannot reserve space.
    fn allocate(&self, _range: Range<u64>) -> Result<()> {
        Err(Error::unsupported("a guest disk cannot reserve space"))
    }

    fn share_within(&self, range: Range<u64>, offset: u64) -> Result<bool> {
        self.image.share_within(range, offset)
    }

    fn layout_mark(&self) -> Option<u64> {
        self.image.layout_mark()
    }

    fn remap(&self, moves: &[Move], control: &Control) -> Result<(), Stop> {
        self.image.remap(moves, control)
    }

    /// Grows or cuts the disk, see [`ImageWriter::resize`].
    fn set_len(&self, length: u64) -> Result<()> {
        let resized = self
            .image
            .resize(length, true, Preallocation::Off, &Control::new());
        resized.map_err(|stop| match stop {
            Stop::Failed(error) => error,
            Stop::Cancelled => Error::new(ErrorKind::Io, "cancelled"),
        })
    }

    fn flush(&self) -> Result<()> {
        self.image.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::{Format, WritableFiles, open_writable};
    use crate::storage::MemoryStorage;
    use crate::table::{self, PartitionTable};
    use uuid::Uuid;

    #[test]
    fn a_partition_table_is_written_through_an_image() {
        const SIZE: u64 = 1 << 20;
        let memory = Arc::new(MemoryStorage::new(vec![0; 1 << 20]));
        let files = WritableFiles {
            storage: Arc::clone(&memory) as _,
            data_file: None,
            backing: None,
        };
        let image = Arc::from(open_writable(files, Format::Raw).unwrap());
        let disk = WritableDisk::new(image, None);
        let wanted = PartitionTable::new_gpt(SIZE, 512, Uuid::from_u128(5)).unwrap();
        table::write(&wanted, &disk).unwrap();
        assert_eq!(table::read(memory.as_ref()).unwrap().damage, []);
        disk.set_len(2 * SIZE).unwrap();
        assert_eq!(table::read(&disk).unwrap().damage.len(), 1);
        disk.punch_hole(512..u64::MAX).unwrap();
        assert!(memory.to_vec()[512..].iter().all(|byte| *byte == 0));
    }
}
