//! What forms of new images offer.

use platter::image::{Compression, Format, Preallocation};

use relm4::adw::prelude::*;
use relm4::{adw, gtk};

use crate::format;
use crate::i18n::gettext;

/// The formats that can be made.
pub(crate) const FORMATS: [Format; 2] = [Format::Qcow2, Format::Raw];

/// Sizes of clusters in bytes, and the index of the usual one.
const CLUSTER_SIZES: [u64; 6] = [4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 2 << 20];
const USUAL_CLUSTER_SIZE: u32 = 2;

/// How clusters can be compressed.
const COMPRESSIONS: [(Compression, &str); 2] =
    [(Compression::Zlib, "zlib"), (Compression::Zstd, "zstd")];

/// What an image is for decides format and preparation, until the user changes those.
pub(crate) const PURPOSES: [(Format, Preallocation); 4] = [
    (Format::Qcow2, Preallocation::Off),
    (Format::Qcow2, Preallocation::Metadata),
    (Format::Raw, Preallocation::Off),
    (Format::Raw, Preallocation::Falloc),
];

/// In the order of [`PURPOSES`].
pub(crate) fn purposes() -> [String; 4] {
    [
        gettext("Virtual machine, grows as it is used"),
        gettext("Virtual machine, steady speed"),
        gettext("Other programs, takes room as it is used"),
        gettext("Other programs, all room reserved"),
    ]
}

/// In the order of [`FORMATS`].
pub(crate) fn formats() -> [String; 2] {
    [
        gettext("QCOW2: snapshots, overlays, compression"),
        gettext("Raw: understood by everything"),
    ]
}

/// How the disk's space can be prepared.
pub(crate) const SPACES: [Preallocation; 4] = [
    Preallocation::Off,
    Preallocation::Metadata,
    Preallocation::Falloc,
    Preallocation::Full,
];

/// In the order of [`SPACES`].
fn spaces() -> [String; 4] {
    [
        gettext("Takes room only when it is written"),
        gettext("Only the tables are prepared"),
        gettext("Reserved on the host"),
        gettext("Written with zeroes"),
    ]
}

/// The rows that say how a new image is laid out.
#[derive(Debug)]
pub(crate) struct LayoutRows {
    pub(crate) space: adw::ComboRow,
    pub(crate) cluster: adw::ComboRow,
    pub(crate) compression: adw::ComboRow,
}

impl LayoutRows {
    /// The usual layout.
    pub(crate) fn new() -> Self {
        let row = |title: &str, titles: &[String], selected| {
            adw::ComboRow::builder()
                .title(title)
                .model(&list(titles))
                .selected(selected)
                .build()
        };
        let sizes = CLUSTER_SIZES.map(format::size);
        let compressions = COMPRESSIONS.map(|(_, name)| name.to_owned());
        Self {
            space: row(&gettext("Space"), &spaces(), 0),
            cluster: row(&gettext("Cluster size"), &sizes, USUAL_CLUSTER_SIZE),
            compression: row(&gettext("Compression"), &compressions, 0),
        }
    }

    /// Greys what an image of this format does not have.
    pub(crate) fn follow(&self, format: Format) {
        for only_qcow2 in [&self.cluster, &self.compression] {
            only_qcow2.set_sensitive(format == Format::Qcow2);
        }
    }

    /// In bytes.
    pub(crate) fn cluster_size(&self) -> u64 {
        chosen(&self.cluster, &CLUSTER_SIZES).unwrap_or(64 << 10)
    }

    pub(crate) fn compression(&self) -> Compression {
        chosen(&self.compression, &COMPRESSIONS).map_or_else(Compression::default, |(it, _)| it)
    }

    /// A raw image has no tables to prepare.
    pub(crate) fn preallocation(&self, format: Format) -> Preallocation {
        let space = chosen(&self.space, &SPACES).unwrap_or(Preallocation::Off);
        if format == Format::Raw && space == Preallocation::Metadata {
            Preallocation::Off
        } else {
            space
        }
    }
}

/// The choices of a row.
pub(crate) fn list(titles: &[String]) -> gtk::StringList {
    let titles: Vec<&str> = titles.iter().map(String::as_str).collect();
    gtk::StringList::new(&titles)
}

/// The choice that is selected in a row whose choices are these.
pub(crate) fn chosen<T: Clone>(row: &adw::ComboRow, choices: &[T]) -> Option<T> {
    choices.get(usize::try_from(row.selected()).ok()?).cloned()
}
