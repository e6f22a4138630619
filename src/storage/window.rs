//! A sub-range of another storage: a partition, a header's neighbourhood.

use std::ops::{ControlFlow, Range};
use std::path::Path;
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::storage::{Run, Storage, WritableStorage, check_bounds};

/// `range` of another storage, addressed from 0.
#[derive(Clone, Debug)]
pub struct WindowStorage {
    inner: Arc<dyn Storage>,
    range: Range<u64>,
}

impl WindowStorage {
    /// The window `range` of `inner`.
    ///
    /// # Errors
    /// [`ErrorKind::OutOfBounds`] when `range` is not inside `inner`.
    pub fn new(inner: Arc<dyn Storage>, range: Range<u64>) -> Result<Self> {
        let size = inner.size()?;
        if range.start > range.end || range.end > size {
            return Err(Error::new(
                ErrorKind::OutOfBounds,
                format!(
                    "{:#x}..{:#x} is not inside {size:#x} bytes",
                    range.start, range.end
                ),
            ));
        }
        Ok(Self { inner, range })
    }
}

impl Storage for WindowStorage {
    fn size(&self) -> Result<u64> {
        Ok(self.range.end - self.range.start)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        check_bounds(buf.len(), offset, self.range.end - self.range.start)?;
        self.inner.read_at(buf, self.range.start + offset)
    }

    fn for_each_run(
        &self,
        range: Range<u64>,
        visit: &mut dyn FnMut(Run) -> ControlFlow<()>,
    ) -> Result<()> {
        let start = self
            .range
            .start
            .saturating_add(range.start)
            .min(self.range.end);
        let end = self
            .range
            .start
            .saturating_add(range.end)
            .min(self.range.end);
        self.inner.for_each_run(start..end, &mut |run| {
            let base = self.range.start;
            visit(Run {
                range: run.range.start - base..run.range.end - base,
                hole: run.hole,
            })
        })
    }

    fn path(&self) -> Option<&Path> {
        self.inner.path()
    }
}

/// As [`WindowStorage`], for writing too. Its length is fixed.
#[derive(Clone, Debug)]
pub struct WritableWindow {
    inner: Arc<dyn WritableStorage>,
    window: WindowStorage,
}

impl WritableWindow {
    /// The window `range` of `inner`.
    ///
    /// # Errors
    /// As [`WindowStorage::new`].
    pub fn new(inner: Arc<dyn WritableStorage>, range: Range<u64>) -> Result<Self> {
        let window = WindowStorage::new(Arc::clone(&inner) as Arc<dyn Storage>, range)?;
        Ok(Self { inner, window })
    }

    /// The range in the inner storage, which must not pass the end of the window.
    fn shifted(&self, range: &Range<u64>) -> Result<Range<u64>> {
        let window = &self.window.range;
        let length = window.end - window.start;
        if range.start > range.end || range.end > length {
            return Err(Error::new(
                ErrorKind::OutOfBounds,
                format!("a write passes the end at {length:#x}"),
            )
            .with_offset(range.start));
        }
        Ok(window.start + range.start..window.start + range.end)
    }
}

impl Storage for WritableWindow {
    fn size(&self) -> Result<u64> {
        self.window.size()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        self.window.read_at(buf, offset)
    }

    fn for_each_run(
        &self,
        range: Range<u64>,
        visit: &mut dyn FnMut(Run) -> ControlFlow<()>,
    ) -> Result<()> {
        self.window.for_each_run(range, visit)
    }

    fn path(&self) -> Option<&Path> {
        self.window.path()
    }
}

impl WritableStorage for WritableWindow {
    fn write_at(&self, buf: &[u8], offset: u64) -> Result<()> {
        let end = offset.saturating_add(buf.len() as u64);
        self.inner
            .write_at(buf, self.shifted(&(offset..end))?.start)
    }

    fn write_zeroes(&self, range: Range<u64>) -> Result<()> {
        self.inner.write_zeroes(self.shifted(&range)?)
    }

    fn punch_hole(&self, range: Range<u64>) -> Result<()> {
        let length = self.size()?;
        let range = range.start.min(length)..range.end.min(length);
        self.inner.punch_hole(self.shifted(&range)?)
    }

    fn allocate(&self, range: Range<u64>) -> Result<()> {
        self.inner.allocate(self.shifted(&range)?)
    }

    fn set_len(&self, length: u64) -> Result<()> {
        if length == self.size()? {
            return Ok(());
        }
        Err(Error::unsupported("a part of a disk has a fixed length"))
    }

    fn flush(&self) -> Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::MemoryStorage;

    #[test]
    fn reads_shifted_and_refuses_the_outside() {
        let memory: Arc<dyn Storage> = Arc::new(MemoryStorage::new((0..100).collect()));
        let window = WindowStorage::new(Arc::clone(&memory), 10..20).unwrap();
        let mut buf = [0; 3];
        window.read_at(&mut buf, 7).unwrap();
        assert_eq!(buf, [17, 18, 19]);
        assert_eq!(
            window.read_at(&mut buf, 8).unwrap_err().kind(),
            ErrorKind::OutOfBounds
        );
        window.read_padded_at(&mut buf, 8).unwrap();
        assert_eq!(buf, [18, 19, 0]);
        assert!(WindowStorage::new(memory, 90..101).is_err());
    }

    #[test]
    fn writes_stay_inside() {
        let memory = Arc::new(MemoryStorage::new(vec![9; 16]));
        let window = WritableWindow::new(Arc::clone(&memory) as _, 4..12).unwrap();
        window.write_at(&[1, 2], 6).unwrap();
        window.punch_hole(0..u64::MAX).unwrap();
        window.write_at(&[3], 0).unwrap();
        for (bytes, offset) in [(&[0; 2][..], 7), (&[0], u64::MAX)] {
            let error = window.write_at(bytes, offset).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::OutOfBounds);
        }
        assert!(window.write_zeroes(4..9).is_err());
        assert!(window.set_len(9).is_err());
        assert_eq!(
            memory.to_vec(),
            [9, 9, 9, 9, 3, 0, 0, 0, 0, 0, 0, 0, 9, 9, 9, 9]
        );
    }
}
