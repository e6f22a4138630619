//! What an image has beside its guest disk, taken over to the new one: dirty bitmaps and internal
//! snapshots. Done when the new image holds the disk.

use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use crate::chain::Chain;
use crate::control::{Control, Stop};
use crate::disk::Disk;
use crate::error::{Error, ErrorKind, Result};
use crate::image::{
    self, BitmapEdit, Format, FormatDetails, ImageWriter, Preallocation, SnapshotSelector, VmState,
    WritableFiles,
};
use crate::op::convert::Notice;
use crate::op::difference::differences;
use crate::storage::{Storage, WindowStorage};
use crate::units::{GuestOffset, MIB};

/// What a new image gets beside the disk. Each only QCOW2 images have, and only one source can
/// give it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Keep {
    /// Internal snapshots, see [`copy_snapshots`].
    pub snapshots: bool,
    /// Dirty bitmaps, see [`copy_bitmaps`].
    pub bitmaps: bool,
    /// Bitmaps that were not saved properly are left out, and told to the notice, instead of
    /// ending the work.
    pub skip_broken_bitmaps: bool,
}

impl Keep {
    /// Takes over from `source` what is wanted, into the image in `files`.
    pub(super) fn write(
        self,
        source: &Chain,
        files: WritableFiles,
        notice: &dyn Fn(Notice),
        control: &Control,
    ) -> Result<(), Stop> {
        if !self.snapshots && !self.bitmaps {
            return Ok(());
        }
        let target = image::open_writable(files, Format::Qcow2)?;
        if self.snapshots {
            copy_snapshots(source, target.as_ref(), control)?;
        }
        if self.bitmaps {
            let mut skipped = |name: &str| {
                notice(Notice::BrokenBitmap {
                    name: name.to_owned(),
                });
            };
            let skip: Option<&mut dyn FnMut(&str)> = match self.skip_broken_bitmaps {
                true => Some(&mut skipped),
                false => None,
            };
            copy_bitmaps(source, target.as_ref(), skip)?;
        }
        Ok(())
    }
}

/// Ranges of a bitmap that travel together.
const BATCH: usize = 4096;
/// Bytes that are copied at a time.
const PIECE: u64 = MIB;

/// Copies all dirty bitmaps of the active layer of `source`, those apart that were not saved
/// properly: `skip_broken` hears their names, or, without it, they are an error. Durable on return.
///
/// # Errors
/// [`ErrorKind::Unsupported`] for a damaged bitmap; as [`ImageWriter::edit_bitmap`].
pub fn copy_bitmaps(
    source: &Chain,
    target: &dyn ImageWriter,
    mut skip_broken: Option<&mut dyn FnMut(&str)>,
) -> Result<()> {
    let image = source.active().image().ok_or_else(not_open)?;
    let FormatDetails::Qcow2(details) = &image.info().details else {
        return Ok(());
    };
    let mut whole = Vec::new();
    for bitmap in &details.bitmaps {
        match (&mut skip_broken, bitmap.in_use) {
            (_, false) => whole.push(bitmap),
            (Some(skipped), true) => skipped(&bitmap.name),
            (None, true) => {
                return Err(Error::unsupported(format!(
                    "Cannot copy inconsistent bitmap '{}'",
                    bitmap.name
                )));
            }
        }
    }
    for bitmap in whole {
        let granularity = u32::try_from(bitmap.granularity).ok();
        target.edit_bitmap(&bitmap.name, &BitmapEdit::Add { granularity })?;
        let mut batch: Vec<Range<u64>> = Vec::new();
        let mut outcome = Ok(());
        image.for_each_dirty(&bitmap.name, &mut |range| {
            batch.push(range);
            if batch.len() == BATCH {
                outcome = target.merge_into_bitmap(&bitmap.name, &batch);
                batch.clear();
            }
            match outcome {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            }
        })?;
        outcome?;
        target.merge_into_bitmap(&bitmap.name, &batch)?;
        if !bitmap.auto {
            target.edit_bitmap(&bitmap.name, &BitmapEdit::Disable)?;
        }
    }
    Ok(())
}

/// Takes each internal snapshot of the active layer of `source` over to `target`, which holds the
/// disk as it is now: the target is brought to the state of one after the other by writing what
/// differs, its size with it, and back. Names, ids and times stay, and the saved state of a machine.
/// Durable on return.
///
/// # Errors
/// [`ErrorKind::Unsupported`] for a snapshot of another size where the target is of version 2 or
/// stands on a longer backing file; I/O errors.
pub fn copy_snapshots(
    source: &Chain,
    target: &dyn ImageWriter,
    control: &Control,
) -> Result<(), Stop> {
    let image = source.active().image().ok_or_else(not_open)?;
    let now = source.disk()?;
    let below = source.disk_below(0)?;
    let below = below.as_ref().map_or(&[][..], Disk::layers);
    let mut state = now.clone();
    for snapshot in &image.info().snapshots {
        let selector = SnapshotSelector::Id(snapshot.id.clone());
        let view = image.snapshot_view(&selector)?;
        let layers = std::iter::once(view).chain(below.iter().map(Arc::clone));
        let next = Disk::new(layers.collect())?;
        bring_to(target, &state, &next, control)?;
        let vm_state = match image.vm_state(&selector)? {
            Some(VmState { view, range }) => {
                let disk = Arc::new(Disk::new(vec![view])?);
                Some(WindowStorage::new(disk, range)?)
            }
            None => None,
        };
        let vm_state = vm_state.as_ref().map(|window| window as &dyn Storage);
        target.keep_snapshot(snapshot, vm_state, control)?;
        state = next;
    }
    bring_to(target, &state, &now, control)?;
    Ok(target.flush()?)
}

/// Gives the target the size of the other state of the disk and writes what differs, so that it
/// goes from one to the other.
fn bring_to(
    target: &dyn ImageWriter,
    from: &Disk,
    to: &Disk,
    control: &Control,
) -> Result<(), Stop> {
    let size = to.size()?;
    if target.virtual_size() != size {
        target.resize(size, true, Preallocation::Off, control)?;
    }
    let mut buf = Vec::new();
    for range in differences(from, to, control)?.ranges() {
        let range = range.start..range.end.min(size);
        let mut at = range.start;
        while at < range.end {
            control.checkpoint()?;
            let length = (range.end - at).min(PIECE);
            buf.resize(usize::try_from(length).unwrap_or(0), 0);
            to.read_at(&mut buf, at)?;
            if buf.iter().all(|byte| *byte == 0) {
                target.write_zeroes(at..at + length, true)?;
            } else {
                target.write_at(&buf, GuestOffset(at))?;
            }
            at += length;
        }
    }
    Ok(())
}

fn not_open() -> Error {
    Error::new(ErrorKind::InvalidInput, "the image is not open")
}
