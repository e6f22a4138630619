//! What persistent dirty bitmaps occupy.

use byteorder::{BigEndian, ByteOrder};

use crate::control::Stop;
use crate::image::qcow2::bitmap::{self, Directory};
use crate::image::qcow2::check::Pass;
use crate::image::qcow2::check::findings::{Place, Section, Tally};

const OFFSET_MASK: u64 = 0x00ff_ffff_ffff_fe00;
const RESERVED: u64 = 0xff00_0000_0000_01fe;
/// "All bits are one", in an entry without a cluster.
const ALL_ONES: u64 = 1;

/// Counts the directory, the tables it names and the clusters those name.
pub(super) fn count(pass: &Pass<'_>, tally: &mut Tally) -> Result<(), Stop> {
    let subject = pass.subject;
    let mut minor = 0;
    let mut place = || {
        minor += 1;
        Place::new(Section::Structures, 2, minor)
    };
    let directory = match Directory::find(subject.header) {
        Ok(None) => return Ok(()),
        Ok(Some(directory)) => directory,
        Err(error) => {
            tally.corruption(place(), None, || format!("ERROR bitmap directory: {error}"));
            return Ok(());
        }
    };
    pass.reference(tally, place(), directory.offset, directory.size);
    let bitmaps = match bitmap::read(subject.storage, subject.header) {
        Ok(bitmaps) => bitmaps,
        Err(error) => {
            tally.corruption(place(), Some(directory.offset), || {
                format!("ERROR bitmap directory: {error}")
            });
            return Ok(());
        }
    };
    for bitmap in bitmaps {
        let bytes = u64::from(bitmap.table_size) * 8;
        pass.reference(tally, place(), bitmap.table_offset, bytes);
        let end = bitmap.table_offset.saturating_add(bytes);
        subject.for_each_chunk(bitmap.table_offset..end, 8, &mut |_, chunk| {
            for entry in chunk.chunks_exact(8).map(BigEndian::read_u64) {
                let offset = entry & OFFSET_MASK;
                if is_wrong(entry, subject.cluster_size()) {
                    tally.corruption(place(), Some(offset), || {
                        format!(
                            "ERROR bitmap '{}' has a wrong table entry: {entry:x}",
                            bitmap.facts.name
                        )
                    });
                } else if offset != 0 {
                    pass.reference(tally, place(), offset, subject.cluster_size());
                }
            }
            Ok(())
        })?;
    }
    Ok(())
}

fn is_wrong(entry: u64, cluster_size: u64) -> bool {
    let offset = entry & OFFSET_MASK;
    entry & RESERVED != 0
        || !offset.is_multiple_of(cluster_size)
        || (offset != 0 && entry & ALL_ONES != 0)
}
