//! The differences of two disks as a table for other programs.

use std::io::{self, Write};
use std::ops::Range;

use super::Differences;
use crate::error::Error;
use crate::inspect::Contents;
use crate::table::Role;

impl Differences {
    /// Writes a line for each range: where it begins, its length in bytes, and the number of the
    /// partition that it is in, if any. A range that reaches over the border of a partition has a
    /// line on each side of it.
    ///
    /// # Errors
    /// When writing fails.
    pub fn write_csv(
        &self,
        contents: Option<&Contents>,
        output: &mut dyn Write,
    ) -> Result<(), Error> {
        let failed = |error: io::Error| Error::io("writing the differences", error);
        writeln!(output, "guest offset,length,partition").map_err(failed)?;
        let regions = regions(contents);
        for range in self.ranges() {
            for (part, partition) in cut(range, &regions) {
                write!(output, "{},{},", part.start, part.end - part.start).map_err(failed)?;
                if let Some(number) = partition {
                    write!(output, "{number}").map_err(failed)?;
                }
                writeln!(output).map_err(failed)?;
            }
        }
        output.flush().map_err(failed)
    }
}

/// A stretch of the disk, and the partition there.
type Region = (Range<u64>, Option<u32>);

/// The disk from border to border of its partitions, up to the last one.
fn regions(contents: Option<&Contents>) -> Vec<Region> {
    let partitions = contents.map_or(&[][..], |contents| &contents.table.partitions);
    let partitions = partitions.iter().filter(|it| it.role != Role::Extended);
    let partitions: Vec<_> = partitions.collect();
    let ends = partitions
        .iter()
        .flat_map(|it| [it.range.start, it.range.end]);
    let mut borders: Vec<u64> = ends.chain([0]).collect();
    borders.sort_unstable();
    borders.dedup();
    let region = |pair: &[u64]| {
        let (start, end) = (pair[0], pair[1]);
        let owner = partitions.iter().find(|it| it.range.contains(&start));
        (start..end, owner.map(|it| it.number))
    };
    borders.windows(2).map(region).collect()
}

/// The parts of `range` that lie in different regions.
fn cut(range: Range<u64>, regions: &[Region]) -> impl Iterator<Item = Region> + '_ {
    let mut at = range.start;
    std::iter::from_fn(move || {
        if at >= range.end {
            return None;
        }
        let index = regions.partition_point(|(region, _)| region.end <= at);
        let (end, owner) = regions
            .get(index)
            .map_or((range.end, None), |(region, owner)| (region.end, *owner));
        let part = at..end.min(range.end);
        at = part.end;
        Some((part, owner))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_cut_at_the_borders_of_partitions() {
        let regions = [(0..100, None), (100..200, Some(1)), (200..300, Some(5))];
        let cuts: Vec<_> = cut(50..350, &regions).collect();
        let expected = [
            (50..100, None),
            (100..200, Some(1)),
            (200..300, Some(5)),
            (300..350, None),
        ];
        assert_eq!(cuts, expected);
        assert_eq!(cut(7..9, &[]).collect::<Vec<_>>(), [(7..9, None)]);
    }

    #[test]
    fn without_a_table_there_is_a_line_a_range() {
        let found = Differences::new(4096, 20_000, vec![0b1_0110]);
        let mut text = Vec::new();
        found.write_csv(None, &mut text).unwrap();
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "guest offset,length,partition\n4096,8192,\n16384,3616,\n"
        );
    }
}
