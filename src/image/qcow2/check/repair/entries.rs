//! L2 entries that can only be given up: those that read as zeroes anyway, but keep a cluster at an
//! offset where no cluster can be.

use byteorder::{BigEndian, ByteOrder};

use crate::control::Stop;
use crate::image::qcow2::check::Pass;
use crate::image::qcow2::check::entries::{EntryKind, SUBCLUSTERS_ALLOCATED};
use crate::image::qcow2::check::repair::metadata::Metadata;
use crate::image::qcow2::check::repair::target::{Failure, Target};
use crate::image::qcow2::check::tables::{L2Reference, for_each_table};
use crate::image::qcow2::entry::{OFFSET_MASK, ZERO};

/// Makes such entries plain zero clusters. `references` are all L1 entries, sorted.
pub(super) fn clear(
    pass: &Pass<'_>,
    references: &[L2Reference],
    metadata: &Metadata,
    target: &Target<'_>,
) -> Result<(), Stop> {
    let subject = pass.subject;
    let failure = Failure::default();
    for_each_table(pass, references, &|owners, bytes, _| {
        let offset = owners[0].offset;
        if metadata.allows_table(offset, subject.cluster_bits) {
            failure.note(target.rewrite(offset, bytes, |table| {
                for entry in table.chunks_exact_mut(subject.entry_length()) {
                    clear_entry(entry, subject.cluster_size(), subject.data_file);
                }
            }));
        }
    })?;
    failure.into_result()
}

fn clear_entry(bytes: &mut [u8], cluster_size: u64, data_file: bool) {
    let entry = BigEndian::read_u64(bytes);
    let bitmap = bytes.get(8..).filter(|bytes| !bytes.is_empty());
    let bitmap = bitmap.map(BigEndian::read_u64);
    let kind = EntryKind::of(entry, bitmap.is_some(), data_file);
    if !kind.has_cluster() || (entry & OFFSET_MASK).is_multiple_of(cluster_size) {
        return;
    }
    match bitmap {
        Some(bitmap) if bitmap & SUBCLUSTERS_ALLOCATED == 0 => BigEndian::write_u64(bytes, 0),
        None if entry & ZERO != 0 => BigEndian::write_u64(bytes, ZERO),
        _ => {}
    }
}
