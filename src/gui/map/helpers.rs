//! What the map says in words, and small arithmetic of the pane.

use std::ops::Range;

use platter::chain::Chain;
use platter::inspect::Contents;
use platter::plot::cell::Class;
use platter::plot::layout::Layout;
use platter::plot::summary::Totals;

use crate::describe;
use crate::format;
use crate::i18n::{fill, gettext};

/// The name of a class in the legend.
pub(super) fn class_name(class: Class) -> String {
    match class {
        Class::Data => gettext("Data in this layer"),
        Class::Backing => gettext("Data in backing layers"),
        Class::Compressed => gettext("Compressed"),
        Class::Zero => gettext("Zero"),
        Class::Unallocated => gettext("Unallocated"),
    }
}

/// Which backing file holds how much, a line each, where there is more than one.
pub(super) fn layer_texts(chain: &Chain, data_by_depth: &[u64]) -> Vec<String> {
    /// More layers would push the rest out of sight.
    const MOST: usize = 6;
    let links = chain.links().iter().zip(data_by_depth).skip(1);
    let layers = links.filter(|(_, bytes)| **bytes > 0).map(|(link, bytes)| {
        let name = link.path.as_deref().map(format::file_name);
        let values = [
            ("name", name.unwrap_or_default()),
            ("size", format::size(*bytes)),
        ];
        fill(
            // Translators: a backing file and how much of the disk it holds.
            &gettext("{name}: {size}"),
            &values.each_ref().map(|(key, value)| (*key, value.as_str())),
        )
    });
    let mut layers: Vec<_> = layers.collect();
    if layers.len() > MOST {
        layers.truncate(MOST);
        layers.push("…".to_owned());
    }
    if chain.links().len() > 2 {
        layers
    } else {
        Vec::new()
    }
}

/// The whole map in a sentence or two, for a screen reader.
pub(super) fn summary_text(totals: &Totals) -> String {
    let share = &totals.share;
    let mut text = fill(
        // Translators: how much of the disk is stored anywhere.
        &gettext("{percent} allocated"),
        &[("percent", &format::percent(share.stored(), share.total()))],
    );
    for class in share.classes() {
        let name = class_name(class);
        let size = format::size(share.of(class));
        text.push_str(", ");
        text.push_str(&name);
        text.push(' ');
        text.push_str(&size);
    }
    text
}

/// "1 cell = 4 MiB".
pub(super) fn scale_text(layout: &Layout) -> String {
    fill(
        // Translators: the scale of the map.
        &gettext("1 cell = {size}"),
        &[("size", &format::size(layout.cell_bytes()))],
    )
}

/// "allocated per 256 MiB".
pub(super) fn plot_title(step: u64) -> String {
    fill(
        // Translators: what the plot beneath the map shows, per step of the disk.
        &gettext("Allocated per {size}"),
        &[("size", &format::size(step))],
    )
}

/// The name of a band of the arrangement by partition.
pub(super) fn band_name(band: &Range<u64>, contents: Option<&Contents>) -> String {
    let size = format::size(band.end - band.start);
    let partitions = contents.map_or(&[][..], |contents| &contents.table.partitions);
    let partition = partitions.iter().enumerate().find(|(_, partition)| {
        partition.range.start <= band.start && band.start < partition.range.end
    });
    let Some((index, partition)) = partition else {
        return fill(&gettext("Unpartitioned, {size}"), &[("size", &size)]);
    };
    let volumes = contents.map_or(&[][..], |contents| &contents.volumes);
    let file_system = volumes
        .iter()
        .find(|volume| volume.partition == Some(index))
        .and_then(|volume| volume.file_system.as_ref());
    let name = partition.name.clone().filter(|name| !name.is_empty());
    let label = name.or_else(|| file_system.and_then(|found| found.label.clone()));
    let mut text = format::number(u64::from(partition.number));
    if let Some(label) = label {
        text = format!("{text} “{label}”");
    }
    if let Some(found) = file_system {
        text = format!("{text}, {}", describe::fs_name(found.kind));
    }
    format!("{text}, {size}")
}

/// The parts of a strip's width (0 to 1, from the left) that show `ranges` of a disk.
pub(super) fn strip_frames(ranges: &[Range<u64>], size: u64, mirrored: bool) -> Vec<Range<f64>> {
    /// Frames nearer than this to one another are one.
    const NEAR: f64 = 0.006;
    let mut frames: Vec<Range<f64>> = Vec::new();
    for range in ranges {
        let (start, end) = (ratio(range.start, size), ratio(range.end, size));
        match frames.last_mut() {
            Some(last) if start - last.end < NEAR => last.end = end,
            _ => frames.push(start..end),
        }
    }
    if mirrored {
        let flipped = frames
            .iter()
            .rev()
            .map(|part| 1.0 - part.end..1.0 - part.start);
        return flipped.collect();
    }
    frames
}

/// The guest byte at a part of a strip's width.
pub(super) fn byte_at(part: f64, size: u64, mirrored: bool) -> u64 {
    let part = part.clamp(0.0, 1.0);
    let part = if mirrored { 1.0 - part } else { part };
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "a pixel is not finer than 53 bits"
    )]
    let byte = (part * size as f64) as u64;
    byte.min(size.saturating_sub(1))
}

#[allow(
    clippy::cast_precision_loss,
    reason = "a pixel is not finer than 53 bits"
)]
fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use platter::plot::cell::Share;

    #[test]
    fn the_summary_names_what_there_is() {
        let mut share = Share::only(Class::Data, 37 << 20);
        share.add(Class::Unallocated, 63 << 20);
        let totals = Totals {
            share,
            data_by_depth: vec![37 << 20],
        };
        let text = summary_text(&totals).replace('\u{a0}', " ");
        assert_eq!(
            text,
            "37 % allocated, Data in this layer 37 MiB, Unallocated 63 MiB"
        );
    }

    #[test]
    fn frames_that_touch_are_one_and_can_be_mirrored() {
        let ranges = [0..100, 101..200, 500..600];
        assert_eq!(strip_frames(&ranges, 1000, false), [0.0..0.2, 0.5..0.6]);
        assert_eq!(strip_frames(&ranges, 1000, true), [0.4..0.5, 0.8..1.0]);
    }

    #[test]
    fn the_strip_is_hit_where_it_shows() {
        assert_eq!(byte_at(0.0, 1000, false), 0);
        assert_eq!(byte_at(1.0, 1000, false), 999);
        assert_eq!(byte_at(0.25, 1000, true), 750);
        assert_eq!(byte_at(7.0, 0, true), 0);
    }
}
