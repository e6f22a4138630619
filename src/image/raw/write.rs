//! Changing a raw image.

use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use crate::control::{Control, Stop};
use crate::error::{Error, ErrorKind, Result};
use crate::image::driver::{ImageDriver, check_range};
use crate::image::extent::Extent;
use crate::image::info::Format;
use crate::image::raw::Raw;
use crate::image::writer::{ImageWriter, Preallocation};
use crate::storage::{Storage, WritableStorage};
use crate::units::{GuestOffset, MIB};

/// Zeroes are written in pieces of this many bytes, with a look at the control between them.
const PIECE: u64 = 64 * MIB;

/// A raw image opened for change.
#[derive(Debug)]
pub(in crate::image) struct RawWriter {
    storage: Arc<dyn WritableStorage>,
}

impl RawWriter {
    pub(in crate::image) fn open(storage: Arc<dyn WritableStorage>) -> Result<Self> {
        Raw::open(Arc::clone(&storage) as Arc<dyn Storage>)?;
        Ok(Self { storage })
    }

    /// The image as it is now; a raw image has no state but its bytes.
    fn reader(&self) -> Result<Raw> {
        Raw::open(Arc::clone(&self.storage) as Arc<dyn Storage>)
    }

    fn check_inside(&self, range: &Range<u64>) -> Result<()> {
        let length = range.end.saturating_sub(range.start);
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        check_range(length, GuestOffset(range.start), self.virtual_size())
    }
}

impl ImageWriter for RawWriter {
    fn format(&self) -> Format {
        Format::Raw
    }

    fn virtual_size(&self) -> u64 {
        self.reader().map_or(0, |raw| raw.virtual_size())
    }

    fn read_at(
        &self,
        buf: &mut [u8],
        offset: GuestOffset,
        missing: &mut Vec<Range<u64>>,
    ) -> Result<()> {
        self.reader()?.read_at(buf, offset, missing)
    }

    fn for_each_extent(
        &self,
        range: Range<u64>,
        visit: &mut dyn FnMut(Extent) -> ControlFlow<()>,
    ) -> Result<()> {
        self.reader()?.for_each_extent(range, visit)
    }

    fn write_at(&self, buf: &[u8], offset: GuestOffset) -> Result<()> {
        check_range(buf.len(), offset, self.virtual_size())?;
        self.storage.write_at(buf, offset.0)
    }

    fn write_zeroes(&self, range: Range<u64>, discard: bool) -> Result<()> {
        self.check_inside(&range)?;
        if discard {
            self.storage.punch_hole(range)
        } else {
            self.storage.write_zeroes(range)
        }
    }

    fn discard(&self, range: Range<u64>, _reveal_backing: bool) -> Result<()> {
        self.check_inside(&range)?;
        self.storage.punch_hole(range)
    }

    fn share_within(&self, range: Range<u64>, offset: u64) -> Result<bool> {
        let length = range.end.saturating_sub(range.start);
        self.check_inside(&range)?;
        self.check_inside(&(offset..offset.saturating_add(length)))?;
        let itself: &dyn Storage = self.storage.as_ref();
        Ok(self.storage.shares_with(itself) && self.storage.copy_from(itself, range, offset)?)
    }

    fn start_flush(&self) {
        self.storage.start_flush();
    }

    fn flush(&self) -> Result<()> {
        self.storage.flush()
    }

    fn resize(
        &self,
        size: u64,
        shrink: bool,
        preallocation: Preallocation,
        control: &Control,
    ) -> Result<(), Stop> {
        let before = self.storage.size()?;
        if size < before && !shrink {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!("{size} bytes are less than the {before} there are"),
            )
            .into());
        }
        if preallocation != Preallocation::Off && size < before {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "preallocation can only be used for growing images",
            )
            .into());
        }
        self.storage.set_len(size)?;
        if size > before
            && let Err(stop) = prepare(self.storage.as_ref(), before..size, preallocation, control)
        {
            // What was not there before holds nothing that could be lost.
            self.storage.set_len(before)?;
            return Err(stop);
        }
        Ok(self.storage.flush()?)
    }
}

/// Prepares the space of a range that reads as zeroes.
pub(super) fn prepare(
    storage: &dyn WritableStorage,
    range: Range<u64>,
    how: Preallocation,
    control: &Control,
) -> Result<(), Stop> {
    match how {
        Preallocation::Off => {}
        Preallocation::Metadata => {
            return Err(Error::unsupported("raw images have no metadata to preallocate").into());
        }
        Preallocation::Falloc => storage.allocate(range)?,
        Preallocation::Full => {
            control.enter("writing zeroes", range.end - range.start);
            let zeroes = vec![0; usize::try_from(MIB).unwrap_or(0)];
            for start in (range.start..range.end).step_by(zeroes.len()) {
                if (start - range.start).is_multiple_of(PIECE) {
                    control.checkpoint()?;
                }
                let length = zeroes
                    .len()
                    .min(usize::try_from(range.end - start).unwrap_or(usize::MAX));
                storage.write_at(&zeroes[..length], start)?;
                control.advance(length as u64);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::MemoryStorage;

    #[test]
    fn writes_inside_and_resizes() {
        let memory = Arc::new(MemoryStorage::new(vec![9; 4096]));
        let raw = RawWriter::open(Arc::clone(&memory) as _).unwrap();
        raw.write_at(&[1; 512], GuestOffset(512)).unwrap();
        raw.write_zeroes(1024..2048, false).unwrap();
        assert!(raw.write_at(&[1; 512], GuestOffset(4000)).is_err());
        let control = Control::new();
        assert!(
            raw.resize(1024, false, Preallocation::Off, &control)
                .is_err()
        );
        raw.resize(8192, false, Preallocation::Full, &control)
            .unwrap();
        assert_eq!(raw.virtual_size(), 8192);
        raw.resize(1536, true, Preallocation::Off, &control)
            .unwrap();
        let bytes = memory.to_vec();
        assert_eq!(bytes.len(), 1536);
        assert_eq!((bytes[0], bytes[512], bytes[1024]), (9, 1, 0));
        control.cancel();
        let stop = raw.resize(1 << 20, false, Preallocation::Full, &control);
        assert!(matches!(stop, Err(Stop::Cancelled)));
        assert_eq!(raw.virtual_size(), 1536);
    }
}
