//! A sub-range of another storage: a partition, a header's neighbourhood.

use std::ops::{ControlFlow, Range};
use std::path::Path;
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::storage::{Run, Storage, check_bounds};

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
}
