//! What an image has beside its guest disk, taken over to the new one: dirty bitmaps and internal
//! snapshots. Done when the new image holds the disk.

use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use crate::chain::Chain;
use crate::control::{Control, Stop};
use crate::disk::Disk;
use crate::error::{Error, ErrorKind, Result};
use crate::image::{BitmapEdit, FormatDetails, ImageWriter, SnapshotSelector};
use crate::op::difference::differences;
use crate::storage::Storage;
use crate::units::{GuestOffset, MIB};

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
/// differs, and back. Names stay; the time is that of the copy, and the state of a running machine
/// is not kept. Durable on return.
///
/// # Errors
/// [`ErrorKind::Unsupported`] for a snapshot of another size than the disk; I/O errors.
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
        let view = image.snapshot_view(&SnapshotSelector::Id(snapshot.id.clone()))?;
        if view.virtual_size() != target.virtual_size() {
            return Err(Error::unsupported(format!(
                "snapshot '{}' has another size than the disk and cannot be kept",
                snapshot.name
            ))
            .into());
        }
        let layers = std::iter::once(view).chain(below.iter().map(Arc::clone));
        let next = Disk::new(layers.collect())?;
        bring_to(target, &state, &next, control)?;
        target.create_snapshot(&snapshot.name, control)?;
        state = next;
    }
    bring_to(target, &state, &now, control)?;
    Ok(target.flush()?)
}

/// Writes what differs between two states of the disk, so that the target goes from one to the
/// other.
fn bring_to(
    target: &dyn ImageWriter,
    from: &Disk,
    to: &Disk,
    control: &Control,
) -> Result<(), Stop> {
    let mut buf = Vec::new();
    for range in differences(from, to, control)?.ranges {
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
