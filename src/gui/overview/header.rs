//! The head of the overview: what the image is, in one glance.

use platter::chain::Link;
use platter::inspect::Contents;
use platter::table::TableKind;

use super::groups;
use crate::describe;
use crate::facts::Tone;
use crate::format;
use crate::i18n::{counted, fill, gettext};
use crate::session::Document;

/// A short word about the image, coloured.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Pill {
    pub(super) text: String,
    pub(super) tone: Tone,
}

/// What the head shows.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Header {
    /// On the badge.
    pub(super) badge: &'static str,
    /// The file's name.
    pub(super) name: String,
    /// Folder, what it stands on, what is in it.
    pub(super) line: String,
    pub(super) pills: Vec<Pill>,
}

pub(super) fn header(document: &Document) -> Header {
    let mut parts = vec![format::folder(&document.path)];
    let link = document.active();
    let info = link.and_then(Link::info);
    if let Some(backing) = info.and_then(|info| info.backing.as_ref()) {
        let name = backing_name(document, &backing.name);
        parts.push(fill(&gettext("overlay of {name}"), &[("name", &name)]));
    }
    parts.extend(document.contents.as_deref().map(contents_phrase));
    Header {
        badge: info.map_or("", |info| describe::format_label(info.format)),
        name: format::file_name(&document.path),
        line: parts.join(" · "),
        pills: link.map(|link| pills(document, link)).unwrap_or_default(),
    }
}

/// The backing file's own name where it was found, else as the image writes it.
fn backing_name(document: &Document, written: &str) -> String {
    let path = document
        .full_chain()
        .and_then(|chain| chain.links().get(1)?.path.as_deref());
    match path {
        Some(path) => format::file_name(path),
        None => written.rsplit('/').next().unwrap_or(written).to_owned(),
    }
}

/// "GPT, 3 partitions", or the file system on the whole disk.
fn contents_phrase(contents: &Contents) -> String {
    if contents.table.kind != TableKind::None {
        let count = contents.table.partitions.len() as u64;
        return fill(
            // Translators: for example "GPT, 3 partitions".
            &gettext("{table}, {partitions}"),
            &[
                ("table", &describe::table_name(contents.table.kind)),
                (
                    "partitions",
                    &counted("{n} partition", "{n} partitions", count, &[]),
                ),
            ],
        );
    }
    let whole = contents
        .volumes
        .first()
        .and_then(|volume| volume.file_system.as_ref());
    match whole {
        Some(found) => fill(
            &gettext("{name} on the whole disk"),
            &[("name", &describe::fs_name(found.kind))],
        ),
        None => gettext("no partition table"),
    }
}

fn pills(document: &Document, link: &Link) -> Vec<Pill> {
    let pill = |text: String, tone| Pill { text, tone };
    let mut pills = Vec::new();
    let Some(info) = link.info() else {
        return pills;
    };
    if !link.holders.is_empty() || link.unstable {
        pills.push(pill(gettext("In use"), Tone::Warning));
    }
    if info.corrupt {
        pills.push(pill(gettext("Corrupt"), Tone::Bad));
    } else if info.dirty {
        pills.push(pill(gettext("Dirty"), Tone::Warning));
    }
    let broken = document
        .full_chain()
        .and_then(|chain| chain.first_problem());
    if broken.is_some_and(|(index, _)| index > 0) {
        pills.push(pill(gettext("Incomplete"), Tone::Bad));
    }
    if pills.is_empty() && groups::is_clean(document, info) {
        pills.push(pill(gettext("Clean"), Tone::Good));
    }
    if info.encryption.is_some() {
        pills.push(pill(gettext("Encrypted"), Tone::Neutral));
    }
    if !info.snapshots.is_empty() {
        let count = info.snapshots.len() as u64;
        let text = counted("{n} snapshot", "{n} snapshots", count, &[]);
        pills.push(pill(text, Tone::Neutral));
    }
    pills
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk_layout::fixture::{mbr_disk, superfloppy};

    #[test]
    fn contents_are_said_in_a_phrase() {
        assert_eq!(contents_phrase(&mbr_disk()), "MBR, 3 partitions");
        assert_eq!(contents_phrase(&superfloppy()), "FAT16 on the whole disk");
        let mut empty = superfloppy();
        empty.volumes.clear();
        assert_eq!(contents_phrase(&empty), "no partition table");
    }
}
