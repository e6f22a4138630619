//! How much space the image takes, seen from the guest, from the host and from the files in it.

use platter::chain::Link;

use crate::format;
use crate::i18n::{counted, fill, gettext};
use crate::session::{Document, Stage};

/// One bar.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct SpaceBar {
    /// Style class of its colour.
    pub(super) class: &'static str,
    pub(super) title: String,
    /// "14.2 GiB", or why there is no number.
    pub(super) value: String,
    /// Of the longest bar.
    pub(super) fraction: f64,
    pub(super) tooltip: String,
}

/// What the card shows.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Space {
    pub(super) bars: Vec<SpaceBar>,
    /// A sentence below them.
    pub(super) note: Option<String>,
}

/// The numbers, as far as they are known.
#[derive(Clone, Copy, Debug, Default)]
struct Sizes {
    virtual_size: u64,
    allocated: Option<u64>,
    /// Of all backing files together.
    backing: u64,
    backing_files: u64,
    used: Option<u64>,
    /// Nobody looks for the used bytes any more.
    settled: bool,
}

pub(super) fn space(document: &Document) -> Space {
    let link = document.active();
    let Some((link, info)) = link.and_then(|link| Some((link, link.info()?))) else {
        return Space::default();
    };
    let backing = document
        .full_chain()
        .map(|chain| &chain.links()[1..])
        .unwrap_or_default();
    let known = |link: &Link| link.allocated_size;
    bars(Sizes {
        virtual_size: info.virtual_size,
        allocated: link.allocated_size,
        backing: backing
            .iter()
            .filter_map(known)
            .fold(0, u64::saturating_add),
        backing_files: backing.iter().filter_map(known).count() as u64,
        used: document
            .contents
            .as_ref()
            .and_then(|contents| contents.used()),
        settled: document.stage == Stage::Contents,
    })
}

fn bars(sizes: Sizes) -> Space {
    let longest = sizes.virtual_size.max(sizes.allocated.unwrap_or(0)).max(1);
    let bar = |class, title, bytes: Option<u64>, unknown: String| SpaceBar {
        class,
        title,
        value: bytes.map_or(unknown, format::size),
        fraction: fraction(bytes.unwrap_or(0), longest),
        tooltip: bytes.map(format::exact_bytes).unwrap_or_default(),
    };
    let unknown = gettext("unknown");
    let used_unknown = if sizes.settled {
        unknown.clone()
    } else {
        gettext("reading…")
    };
    Space {
        bars: vec![
            bar(
                "virtual",
                gettext("Virtual size"),
                Some(sizes.virtual_size),
                unknown.clone(),
            ),
            bar("host", gettext("On the host"), sizes.allocated, unknown),
            bar("files", gettext("Used by files"), sizes.used, used_unknown),
        ],
        note: backing_note(&sizes),
    }
}

fn backing_note(sizes: &Sizes) -> Option<String> {
    if sizes.backing_files == 0 {
        return None;
    }
    let size = format::size(sizes.backing);
    let files = counted(
        "{n} backing file",
        "{n} backing files",
        sizes.backing_files,
        &[],
    );
    Some(fill(
        // Translators: {files} is for example "2 backing files".
        &gettext("{size} more in {files}"),
        &[("size", &size), ("files", &files)],
    ))
}

#[allow(clippy::cast_precision_loss, reason = "the length of a bar")]
fn fraction(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn bars_share_one_scale() {
        let space = bars(Sizes {
            virtual_size: 4 * GIB,
            allocated: Some(GIB),
            used: Some(2 * GIB),
            backing: GIB,
            backing_files: 2,
            settled: true,
        });
        let fractions: Vec<f64> = space.bars.iter().map(|bar| bar.fraction).collect();
        assert_eq!(fractions, [1.0, 0.25, 0.5]);
        assert!(space.note.unwrap().contains("2 backing files"));
    }

    #[test]
    fn an_image_can_be_larger_than_its_disk() {
        let space = bars(Sizes {
            virtual_size: GIB,
            allocated: Some(2 * GIB),
            ..Sizes::default()
        });
        assert!((space.bars[0].fraction - 0.5).abs() < f64::EPSILON);
        assert!((space.bars[1].fraction - 1.0).abs() < f64::EPSILON);
        assert_eq!(space.bars[2].value, "reading…");
        assert_eq!(space.note, None);
    }
}
