//! What is known of the bytes under one cell: read off the main thread, said in translated words.

use std::ops::{ControlFlow, Range};
use std::path::PathBuf;

use platter::chain::{Chain, MapDetail, MapEntry};
use platter::image::ClusterPlace;
use platter::inspect::Contents;
use platter::plot::cell::{Class, Share};
use platter::units::GuestOffset;

use super::helpers::class_name;
use crate::describe;
use crate::format;
use crate::i18n::{counted, fill, gettext};

/// The facts of a cell.
#[derive(Debug, Default)]
pub(crate) struct Details {
    pub(super) guest: Range<u64>,
    pub(super) share: Share,
    /// How many of them differ from another disk; `None` when none was compared.
    pub(super) differs: Option<u64>,
    /// Runs that the layers treat alike.
    pub(super) extents: u64,
    /// The first of them with content or, if there is none, the first.
    pub(super) entry: Option<MapEntry>,
    /// The file of the layer that decides about `entry`.
    pub(super) file: Option<PathBuf>,
    pub(super) layers: usize,
    pub(super) cluster_size: Option<u64>,
    /// Where that layer maps it.
    pub(super) place: Option<ClusterPlace>,
    /// Partitions that the cell meets.
    pub(super) partitions: Vec<String>,
    /// What is in them.
    pub(super) file_systems: Vec<String>,
    /// Why the rest is missing.
    pub(super) problem: Option<String>,
}

impl Details {
    /// Looks at `guest` in all layers. Gives up, with what is known by then, when `superseded`.
    pub(super) fn read(
        chain: &Chain,
        contents: Option<&Contents>,
        guest: Range<u64>,
        superseded: &dyn Fn() -> bool,
    ) -> Self {
        let mut details = Self {
            guest: guest.clone(),
            layers: chain.links().len(),
            ..Self::default()
        };
        let visited = chain.for_each_map_entry(guest, MapDetail::Tables, &mut |entry| {
            details.count(entry);
            if details.extents.is_multiple_of(4096) && superseded() {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        details.problem = visited.err().map(|error| error.to_string());
        details.locate(chain);
        if let Some(contents) = contents {
            details.find_volumes(contents);
        }
        details
    }

    /// Caption and value of each line.
    pub(super) fn rows(&self) -> Vec<(String, String)> {
        let mut rows = vec![(gettext("Guest"), self.guest_text())];
        let shares = self.share.classes().map(|class| {
            let values = [
                ("class", class_name(class)),
                ("size", format::size(self.share.of(class))),
            ];
            // Translators: a kind of content and how much of it, as in "Zero 64 KiB".
            fill(
                &gettext("{class} {size}"),
                &values.each_ref().map(|(key, value)| (*key, value.as_str())),
            )
        });
        let shares: Vec<_> = shares.collect();
        if !shares.is_empty() {
            rows.push((gettext("Content"), shares.join("\n")));
        }
        if let Some(bytes) = self.differs {
            let text = if bytes == 0 {
                gettext("No")
            } else {
                format::size(bytes)
            };
            rows.push((gettext("Differs"), text));
        }
        if self.extents > 1 {
            let extents = counted("{n} extent", "{n} extents", self.extents, &[]);
            rows.push((gettext("In"), extents));
        }
        rows.extend(self.host_row());
        rows.extend(self.layer_row());
        if !self.partitions.is_empty() {
            rows.push((gettext("Partition"), self.partitions.join("\n")));
        }
        if !self.file_systems.is_empty() {
            rows.push((gettext("File system"), self.file_systems.join("\n")));
        }
        rows.extend(self.table_rows());
        if let Some(problem) = &self.problem {
            rows.push((gettext("Problem"), problem.clone()));
        }
        rows
    }

    /// What the card is about: a cluster by its number, or a stretch of the disk.
    pub(super) fn heading(&self) -> String {
        let length = self.guest.end - self.guest.start;
        let cluster = self
            .cluster_size
            .filter(|size| *size > 0 && length <= *size);
        match cluster {
            Some(size) => fill(
                &gettext("Cluster {number}"),
                &[("number", &hex(self.guest.start / size))],
            ),
            None => fill(
                // Translators: a stretch of the disk and its length.
                &gettext("{size} at {offset}"),
                &[
                    ("size", &format::size(length)),
                    ("offset", &format::size(self.guest.start)),
                ],
            ),
        }
    }

    /// All of it in one sentence each, for a screen reader.
    pub(super) fn spoken(&self) -> String {
        let mut text = self.heading();
        for (caption, value) in self.rows() {
            text.push_str(". ");
            text.push_str(&caption);
            text.push_str(": ");
            text.push_str(&value.replace('\n', ", "));
        }
        text
    }

    fn count(&mut self, entry: MapEntry) {
        let class = Class::of(&entry);
        self.share.add(class, entry.guest.end - entry.guest.start);
        self.extents += 1;
        let known = self.entry.as_ref().map(Class::of);
        if known.is_none_or(|known| !known.is_stored() && class.is_stored()) {
            self.entry = Some(entry);
        }
    }

    fn locate(&mut self, chain: &Chain) {
        let Some(entry) = &self.entry else { return };
        // Of what no layer holds, the active layer's tables say so.
        let depth = if entry.present { entry.depth } else { 0 };
        let Some(link) = chain.links().get(depth) else {
            return;
        };
        let Some(image) = link.image() else { return };
        self.cluster_size = image.info().cluster_size;
        if entry.present {
            self.file.clone_from(&link.path);
        }
        match image.locate(GuestOffset(entry.guest.start)) {
            Ok(place) => self.place = place,
            Err(error) => self.problem = Some(error.to_string()),
        }
    }

    fn find_volumes(&mut self, contents: &Contents) {
        /// More names would not be read.
        const MOST: usize = 3;
        let volumes = contents.volumes.iter().filter(|volume| {
            volume.range.start < self.guest.end && self.guest.start < volume.range.end
        });
        for volume in volumes.take(MOST) {
            let partition = volume.partition;
            let partition = partition.and_then(|index| contents.table.partitions.get(index));
            if let Some(partition) = partition {
                let number = format::number(u64::from(partition.number));
                self.partitions.push(match &partition.name {
                    Some(name) if !name.is_empty() => format!("{number} “{name}”"),
                    _ => number,
                });
            }
            if let Some(file_system) = &volume.file_system {
                let kind = describe::fs_name(file_system.kind);
                self.file_systems.push(match &file_system.label {
                    Some(label) => format!("{kind} “{label}”"),
                    None => kind,
                });
            }
        }
    }

    fn guest_text(&self) -> String {
        fill(
            // Translators: where something starts and ends.
            &gettext("{start} to {end}"),
            &[
                ("start", &hex(self.guest.start)),
                ("end", &hex(self.guest.end)),
            ],
        )
    }

    fn host_row(&self) -> Option<(String, String)> {
        let entry = self.entry.as_ref().filter(|entry| entry.present)?;
        let file = self.file.as_deref().map(format::file_name)?;
        let host = entry.host.or(self.place.as_ref().and_then(|p| p.host));
        let text = match host {
            Some(host) => fill(
                &gettext("{offset} in {file}"),
                &[("offset", &hex(host.0)), ("file", &file)],
            ),
            // Of zeroes there is nothing to store.
            None => gettext("Not stored"),
        };
        Some((gettext("Host"), text))
    }

    fn layer_row(&self) -> Option<(String, String)> {
        let entry = self.entry.as_ref().filter(|entry| entry.present)?;
        let text = match entry.depth {
            0 => gettext("This image"),
            1 if self.layers == 2 => gettext("Backing file"),
            depth => fill(
                // Translators: which of the backing files below the image.
                &gettext("Backing file {n} of {count}"),
                &[
                    ("n", &depth.to_string()),
                    ("count", &(self.layers.saturating_sub(1)).to_string()),
                ],
            ),
        };
        Some((gettext("Layer"), text))
    }

    fn table_rows(&self) -> Vec<(String, String)> {
        let Some(place) = &self.place else {
            return Vec::new();
        };
        let mut rows = vec![(
            gettext("L1/L2"),
            // An isolate: the order of the two does not follow the direction of the text.
            format!(
                "\u{2066}{} / {}\u{2069}",
                format::number(place.l1_index),
                format::number(place.l2_index)
            ),
        )];
        if let Some(refcount) = place.refcount {
            rows.push((gettext("Refcount"), format::number(refcount)));
        }
        rows
    }
}

fn hex(value: u64) -> String {
    format!("{value:#x}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use platter::units::HostOffset;

    fn entry(guest: Range<u64>, depth: usize, present: bool, data: bool) -> MapEntry {
        MapEntry {
            guest,
            depth,
            present,
            zero: !data,
            data,
            compressed: false,
            host: data.then_some(HostOffset(0x5_0000)),
        }
    }

    fn value(details: &Details, caption: &str) -> Option<String> {
        let mut rows = details.rows().into_iter();
        rows.find(|row| row.0 == caption).map(|row| row.1)
    }

    #[test]
    fn what_is_stored_is_shown_rather_than_what_comes_first() {
        let mut details = Details {
            guest: 0..0x4_0000,
            layers: 3,
            file: Some("/vm/base.qcow2".into()),
            ..Details::default()
        };
        details.count(entry(0..0x1_0000, 0, false, false));
        details.count(entry(0x1_0000..0x2_0000, 2, true, true));
        details.count(entry(0x2_0000..0x4_0000, 0, true, false));
        assert_eq!(
            value(&details, "Host").as_deref(),
            Some("0x50000 in base.qcow2")
        );
        assert_eq!(
            value(&details, "Layer").as_deref(),
            Some("Backing file 2 of 2")
        );
        assert_eq!(value(&details, "In").as_deref(), Some("3 extents"));
        assert!(value(&details, "Content").unwrap().contains('\n'));
        assert_eq!(details.heading().replace('\u{a0}', " "), "256 KiB at 0 B");
    }

    #[test]
    fn what_nobody_holds_has_no_host() {
        let mut details = Details {
            guest: 0x1_0000..0x2_0000,
            layers: 1,
            cluster_size: Some(0x1_0000),
            ..Details::default()
        };
        details.count(entry(0x1_0000..0x2_0000, 0, false, false));
        assert_eq!(value(&details, "Host"), None);
        assert_eq!(value(&details, "Layer"), None);
        assert_eq!(details.heading(), "Cluster 0x1");
        assert!(details.spoken().contains("Guest: 0x10000 to 0x20000"));
    }
}
