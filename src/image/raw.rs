//! Raw images: the guest disk byte for byte.

mod create;
mod write;

use std::ops::{ControlFlow, Range};
use std::sync::Arc;

pub use create::create_raw;
pub(super) use write::RawWriter;

use crate::error::{Error, ErrorKind, Result};
use crate::image::driver::{ImageDriver, SnapshotSelector, check_range};
use crate::image::extent::{Extent, ExtentState};
use crate::image::info::{Format, FormatDetails, ImageInfo};
use crate::storage::Storage;
use crate::units::{GuestOffset, HostOffset};

/// Guests see whole sectors of this many bytes; the missing part of the last one reads as zeroes.
const SECTOR: u64 = 512;

/// A raw image.
#[derive(Debug)]
pub(super) struct Raw {
    info: ImageInfo,
    storage: Arc<dyn Storage>,
}

impl Raw {
    pub(super) fn open(storage: Arc<dyn Storage>) -> Result<Self> {
        let size = storage.size()?;
        let virtual_size = size
            .checked_next_multiple_of(SECTOR)
            .filter(|size| i64::try_from(*size).is_ok())
            .ok_or_else(|| Error::unsupported(format!("{size} bytes are too many for a disk")))?;
        let info = ImageInfo {
            format: Format::Raw,
            virtual_size,
            cluster_size: None,
            encryption: None,
            backing: None,
            data_file: None,
            dirty: false,
            corrupt: false,
            snapshots: Vec::new(),
            details: FormatDetails::None,
        };
        Ok(Self { info, storage })
    }
}

impl ImageDriver for Raw {
    fn info(&self) -> &ImageInfo {
        &self.info
    }

    fn storage(&self) -> &Arc<dyn Storage> {
        &self.storage
    }

    fn attach_data_file(&mut self, _data: Arc<dyn Storage>) -> Result<()> {
        Err(Error::new(
            ErrorKind::InvalidInput,
            "raw images have no external data file",
        ))
    }

    fn snapshot_view(&self, _snapshot: &SnapshotSelector) -> Result<Arc<dyn ImageDriver>> {
        Err(Error::new(
            ErrorKind::NotFound,
            "raw images have no internal snapshots",
        ))
    }

    fn for_each_extent(
        &self,
        range: Range<u64>,
        visit: &mut dyn FnMut(Extent) -> ControlFlow<()>,
    ) -> Result<()> {
        let end = range.end.min(self.info.virtual_size);
        let extent = |guest: Range<u64>, hole| {
            let host = HostOffset(guest.start);
            let state = if hole {
                ExtentState::Zero { host: Some(host) }
            } else {
                ExtentState::Data { host }
            };
            Extent { guest, state }
        };
        // The rest of the last sector is a hole, and so is what follows one at the end of the file.
        let mut last: Option<Extent> = None;
        let mut position = range.start;
        let mut stopped = false;
        self.storage.for_each_run(range.start..end, &mut |run| {
            position = run.range.end;
            let next = extent(run.range, run.hole);
            let flow = last
                .replace(next)
                .map_or(ControlFlow::Continue(()), &mut *visit);
            stopped = flow.is_break();
            flow
        })?;
        if stopped {
            return Ok(());
        }
        let rest = (position < end).then(|| extent(position..end, true));
        let rest = match (&mut last, rest) {
            (Some(last), Some(rest)) if last.continues_with(&rest) => {
                last.guest.end = end;
                None
            }
            (_, rest) => rest,
        };
        for extent in last.into_iter().chain(rest) {
            if visit(extent).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn read_at(
        &self,
        buf: &mut [u8],
        offset: GuestOffset,
        _missing: &mut Vec<Range<u64>>,
    ) -> Result<()> {
        check_range(buf.len(), offset, self.info.virtual_size)?;
        self.storage.read_padded_at(buf, offset.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::MemoryStorage;

    #[test]
    fn a_cut_sector_is_filled_up_with_zeroes() {
        let image = Raw::open(Arc::new(MemoryStorage::new(vec![7; 1000]))).unwrap();
        assert_eq!(image.virtual_size(), 1024);
        let mut missing = Vec::new();
        let mut buf = [1; 30];
        image
            .read_at(&mut buf, GuestOffset(994), &mut missing)
            .unwrap();
        assert_eq!(buf[..6], [7; 6]);
        assert_eq!(buf[6..], [0; 24]);
        assert!(missing.is_empty());
        assert!(
            image
                .read_at(&mut buf, GuestOffset(995), &mut missing)
                .is_err()
        );
    }

    #[test]
    fn the_cut_sector_ends_in_a_hole() {
        let image = Raw::open(Arc::new(MemoryStorage::new(vec![7; 1000]))).unwrap();
        let mut extents = Vec::new();
        image
            .for_each_extent(512..u64::MAX, &mut |extent| {
                extents.push((extent.guest, extent.state));
                ControlFlow::Continue(())
            })
            .unwrap();
        let host = HostOffset(512);
        let tail = Some(HostOffset(1000));
        assert_eq!(
            extents,
            [
                (512..1000, ExtentState::Data { host }),
                (1000..1024, ExtentState::Zero { host: tail })
            ]
        );
    }
}
