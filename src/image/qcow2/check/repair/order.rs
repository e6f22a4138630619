//! The same refcounts in another width.

use crate::control::{Control, Stop};
use crate::error::{Error, Result};
use crate::image::qcow2::check::counts::{Counts, PAGE};
use crate::image::qcow2::check::refcounts::{RefcountTable, decode};
use crate::image::qcow2::check::repair::rebuild::{self, Geometry};
use crate::image::qcow2::check::{BUDGET, MAX_CLUSTERS, Subject, WINDOW};
use crate::image::qcow2::header::Header;
use crate::storage::WritableStorage;

/// Writes the refcounts of the image in `storage` anew, `1 << order` bits each, behind the end of
/// the file, and makes the header point to them. Durable on return; the old structure is still
/// counted. `header` is that of the file, and no longer is when this returns. A crash costs
/// nothing: what is new is not counted before the header leads to it.
///
/// # Errors
/// [`crate::ErrorKind::Unsupported`] for a refcount that does not fit, or a table that would be
/// too large; [`crate::ErrorKind::Corrupt`] for a damaged refcount table; I/O errors.
pub(in crate::image::qcow2) fn change_refcount_order(
    header: &Header,
    storage: &dyn WritableStorage,
    order: u32,
    control: &Control,
) -> Result<(), Stop> {
    let subject = Subject::new(header, storage, control)?;
    let table = RefcountTable::read(&subject)?;
    // What is counted may lie behind the end of the file.
    let clusters = subject.file_clusters().max(table.counted_clusters());
    if clusters > MAX_CLUSTERS {
        return Err(Error::corrupt("the refcount table counts too many clusters").into());
    }
    let geometry = Geometry::behind(&subject, clusters, order);
    let windows = |visit: &mut dyn FnMut(&Counts) -> Result<(), Stop>| {
        for start in (0..=clusters).step_by(STEP) {
            let end = (start + WINDOW).min(clusters + 1);
            visit(&load(&subject, &table, start..end, order)?)?;
        }
        Ok(())
    };
    control.enter("writing refcounts", 2 * clusters);
    let new = rebuild::write(&geometry, storage, &windows)?;
    storage.flush()?;
    rebuild::switch(storage, header, new)?;
    storage.flush()?;
    Ok(())
}

/// [`WINDOW`], as an iterator takes it.
const STEP: usize = 1 << 28;
const _: () = assert!(STEP as u64 == WINDOW);

/// The refcounts on disk of some clusters.
fn load(
    subject: &Subject<'_>,
    table: &RefcountTable,
    window: std::ops::Range<u64>,
    order: u32,
) -> Result<Counts, Stop> {
    let counts = Counts::new(window.clone(), window.end, BUDGET);
    let max = u64::MAX >> (64 - (1 << order));
    let mut bytes = Vec::new();
    let step = PAGE * 64;
    let mut at = window.start;
    while at < window.end {
        subject.control.checkpoint()?;
        let clusters = at..window.end.min(at + step);
        if !table.load(subject, &clusters, &mut bytes)?.is_empty() {
            return Err(Error::corrupt("Image is corrupt (unaligned refblock offset)").into());
        }
        // Refcounts of one are by far the most, and follow each other.
        let mut run = at..at;
        for cluster in clusters.clone() {
            let refcount = decode(&bytes, table.order, cluster - at);
            if refcount == 1 && run.end == cluster {
                run.end += 1;
                continue;
            }
            counts.add(std::mem::replace(&mut run, cluster + 1..cluster + 1), 1);
            if refcount > max {
                return Err(does_not_fit(cluster << subject.cluster_bits, refcount, order).into());
            }
            if refcount > 0 {
                let count = u32::try_from(refcount).unwrap_or(u32::MAX);
                counts.add(cluster..cluster + 1, count);
            }
        }
        counts.add(run, 1);
        subject.control.advance(clusters.end - at);
        at = clusters.end;
    }
    Ok(counts)
}

fn does_not_fit(host: u64, refcount: u64, order: u32) -> Error {
    Error::unsupported(format!(
        "Cannot decrease refcount entry width to {} bits: Cluster at offset {host:#x} has a \
         refcount of {refcount}",
        1 << order
    ))
}
