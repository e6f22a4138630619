//! The boxed lists of the overview.

use std::path::Path;

use platter::chain::{Chain, FolderIndex, Link, LinkProblem};
use platter::image::{Bitmap, FormatDetails, ImageInfo, Qcow2Details, Snapshot};
use platter::inspect::Contents;

use crate::describe;
use crate::facts::{Fact, FactGroup, Tone};
use crate::format;
use crate::i18n::{counted, fill, gettext};
use crate::session::{Document, Stage};

/// The lists of the left column, then those of the right one. Each place keeps its list, so that
/// what is shown stays while more is learnt.
pub(super) fn groups(document: &Document) -> [Vec<FactGroup>; 2] {
    let Some((link, info)) = document
        .active()
        .and_then(|link| Some((link, link.info()?)))
    else {
        return [Vec::new(), Vec::new()];
    };
    let left = vec![format_group(link, info)];
    let right = vec![
        health_group(document, info),
        layers_group(document),
        snapshots_group(&info.snapshots),
        bitmaps_group(info),
    ];
    [left, right]
}

fn format_group(link: &Link, info: &ImageInfo) -> FactGroup {
    let mut facts = vec![
        Fact::new(gettext("Format"), format_value(info)),
        Fact::size(gettext("Virtual size"), info.virtual_size),
    ];
    facts.extend(
        link.file_size
            .map(|bytes| Fact::size(gettext("File size"), bytes)),
    );
    let allocated = link.allocated_size;
    facts.extend(allocated.map(|bytes| Fact::size(gettext("Allocated on the host"), bytes)));
    facts.extend(
        info.cluster_size
            .map(|bytes| Fact::size(gettext("Cluster size"), bytes)),
    );
    let FormatDetails::Qcow2(details) = &info.details else {
        return FactGroup::new(gettext("Format"), facts);
    };
    facts.extend([
        Fact::new(gettext("Compression"), details.compression),
        Fact::new(
            gettext("Refcount width"),
            counted("{n} bit", "{n} bits", details.refcount_bits.into(), &[]),
        ),
        Fact::new(gettext("Lazy refcounts"), yes_or_no(details.lazy_refcounts)),
        Fact::new(
            gettext("Subclusters"),
            if details.extended_l2 {
                gettext("32 a cluster")
            } else {
                gettext("none")
            },
        ),
        Fact::new(
            gettext("Encryption"),
            info.encryption.clone().unwrap_or_else(|| gettext("none")),
        ),
    ]);
    facts.extend(reference_facts(info, details));
    FactGroup {
        title: gettext("Format"),
        facts,
        more: Some((gettext("Header"), header_facts(details))),
    }
}

fn format_value(info: &ImageInfo) -> String {
    let name = describe::format_name(info.format);
    match &info.details {
        FormatDetails::Qcow2(details) => {
            let compat = if details.version < 3 { "0.10" } else { "1.1" };
            fill(
                // Translators: for example "QCOW2, compat 1.1"; "compat" is the option's name.
                &gettext("{format}, compat {version}"),
                &[("format", &name), ("version", compat)],
            )
        }
        _ => name,
    }
}

fn reference_facts(info: &ImageInfo, details: &Qcow2Details) -> Vec<Fact> {
    let mut facts = Vec::new();
    if let Some(data) = &info.data_file {
        let fact = Fact::new(gettext("Data file"), &data.name);
        facts.push(if details.data_file_raw {
            fact.subtitle(gettext("A raw image by itself"))
        } else {
            fact
        });
    }
    if let Some(backing) = &info.backing {
        let fact = Fact::new(gettext("Backing file"), &backing.name);
        facts.push(match &backing.format {
            Some(format) => fact.subtitle(fill(
                &gettext("Format as recorded: {format}"),
                &[("format", format)],
            )),
            None => fact.subtitle(gettext(
                "No format recorded: it is guessed from the content",
            )),
        });
    }
    facts
}

/// For people who know the layout of the header.
fn header_facts(details: &Qcow2Details) -> Vec<Fact> {
    let offset = |offset: platter::units::HostOffset| offset.to_string();
    let bits = |bits: u64| format!("{bits:#x}");
    let mut facts = vec![
        Fact::new(gettext("Version"), details.version.to_string()),
        Fact::new(
            gettext("L1 entries"),
            format::number(details.l1_size.into()),
        )
        .copying(details.l1_size.to_string()),
        Fact::new(gettext("L1 table at"), offset(details.l1_table_offset)),
        Fact::new(
            gettext("Refcount table at"),
            offset(details.refcount_table_offset),
        ),
        Fact::new(
            gettext("Refcount table clusters"),
            format::number(details.refcount_table_clusters.into()),
        ),
        Fact::new(
            gettext("Incompatible features"),
            bits(details.incompatible_features),
        ),
        Fact::new(
            gettext("Compatible features"),
            bits(details.compatible_features),
        ),
        Fact::new(
            gettext("Autoclear features"),
            bits(details.autoclear_features),
        ),
    ];
    facts.extend(details.extensions.iter().map(|(kind, data)| {
        Fact::new(gettext("Header extension"), format!("{kind:#010x}")).subtitle(counted(
            "{n} byte",
            "{n} bytes",
            data.len() as u64,
            &[],
        ))
    }));
    facts
}

fn layers_group(document: &Document) -> FactGroup {
    let Some(chain) = document.full_chain() else {
        return FactGroup::default();
    };
    let folder = document.folder.as_deref();
    let facts = chain
        .links()
        .iter()
        .enumerate()
        .map(|(index, link)| layer_fact(chain, index, link, folder))
        .collect();
    FactGroup::new(gettext("Layers"), facts)
}

fn layer_fact(chain: &Chain, index: usize, link: &Link, folder: Option<&FolderIndex>) -> Fact {
    let written = link
        .reference
        .as_ref()
        .map(|reference| reference.name.as_str());
    let title = match (&link.path, written) {
        (Some(path), _) => format::file_name(path),
        (None, Some(written)) => written.to_owned(),
        (None, None) => gettext("unnamed"),
    };
    let mut notes = Vec::new();
    if index == 0 {
        notes.push(gettext("active layer"));
    } else if let Some(path) = &link.path {
        notes.push(gettext("backing file"));
        let above = chain.links()[index - 1].path.as_deref();
        notes.extend(folder.and_then(|folder| others(folder, path, above)));
    }
    let problem = link.problem();
    notes.extend(problem.map(describe::link_problem));
    let value = link.allocated_size.map(format::size).unwrap_or_default();
    let mut fact = Fact::new(title, value)
        .subtitle(notes.join(" · "))
        .tone(problem.map_or(Tone::Neutral, problem_tone));
    if let Some(path) = &link.path {
        fact = fact
            .copying(path.display().to_string())
            .tooltip(path.display().to_string());
        if index > 0 && link.image().is_some() {
            fact = fact.opening(path);
        }
    }
    fact
}

fn problem_tone(problem: &LinkProblem) -> Tone {
    match problem {
        LinkProblem::NotAllowed(_) | LinkProblem::Remote(_) | LinkProblem::Encrypted(_) => {
            Tone::Warning
        }
        _ => Tone::Bad,
    }
}

/// How many images of the folder stand on `backing`, besides the one this is about.
fn others(folder: &FolderIndex, backing: &Path, above: Option<&Path>) -> Option<String> {
    let count = folder
        .dependents(backing)
        .iter()
        .filter(|image| Some(image.path.as_path()) != above)
        .count() as u64;
    (count > 0).then(|| {
        counted(
            "also used by {n} other",
            "also used by {n} others",
            count,
            &[],
        )
    })
}

fn snapshots_group(snapshots: &[Snapshot]) -> FactGroup {
    let facts = snapshots.iter().map(snapshot_fact).collect();
    FactGroup::new(gettext("Snapshots"), facts)
}

fn snapshot_fact(snapshot: &Snapshot) -> Fact {
    let title = if snapshot.name.is_empty() {
        fill(&gettext("Snapshot {id}"), &[("id", &snapshot.id)])
    } else {
        snapshot.name.clone()
    };
    let mut notes = vec![fill(&gettext("id {id}"), &[("id", &snapshot.id)])];
    if snapshot.vm_state_size > 0 {
        let size = format::size(snapshot.vm_state_size);
        notes.push(fill(&gettext("with {size} of memory"), &[("size", &size)]));
    }
    let disk = format::size(snapshot.virtual_size);
    notes.push(fill(&gettext("{size} disk"), &[("size", &disk)]));
    notes.extend(snapshot.damage.clone());
    let copied = title.clone();
    Fact::new(title, format::date(snapshot.date))
        .subtitle(notes.join(" · "))
        .copying(copied)
        .tone(
            snapshot
                .damage
                .as_ref()
                .map_or(Tone::Neutral, |_| Tone::Bad),
        )
}

fn bitmaps_group(info: &ImageInfo) -> FactGroup {
    let FormatDetails::Qcow2(details) = &info.details else {
        return FactGroup::default();
    };
    let mut facts: Vec<Fact> = details.bitmaps.iter().map(bitmap_fact).collect();
    facts.extend(details.bitmaps_damage.as_ref().map(|damage| {
        Fact::new(gettext("Bitmaps cannot be read"), "")
            .subtitle(damage)
            .tone(Tone::Bad)
    }));
    FactGroup::new(gettext("Dirty Bitmaps"), facts)
}

fn bitmap_fact(bitmap: &Bitmap) -> Fact {
    let granularity = format::size(bitmap.granularity);
    let mut notes = vec![fill(&gettext("{size} a bit"), &[("size", &granularity)])];
    if bitmap.in_use {
        notes.push(gettext("was not saved: cannot be trusted"));
    }
    let value = if bitmap.auto {
        gettext("recording")
    } else {
        gettext("not recording")
    };
    Fact::new(&bitmap.name, value)
        .subtitle(notes.join(" · "))
        .copying(&bitmap.name)
        .tone(if bitmap.in_use {
            Tone::Warning
        } else {
            Tone::Neutral
        })
}

/// Everything was read, and nothing is odd.
pub(super) fn is_clean(document: &Document, info: &ImageInfo) -> bool {
    document.stage == Stage::Contents && findings(document, info).is_empty()
}

fn health_group(document: &Document, info: &ImageInfo) -> FactGroup {
    let mut facts = findings(document, info);
    if facts.is_empty() && document.stage == Stage::Contents {
        facts.push(
            Fact::new(gettext("No problems found"), "")
                .subtitle(gettext(
                    "Header, partition table and file system superblocks were read",
                ))
                .tone(Tone::Good),
        );
    }
    FactGroup::new(gettext("Health"), facts)
}

fn findings(document: &Document, info: &ImageInfo) -> Vec<Fact> {
    let mut facts = Vec::new();
    if info.corrupt {
        facts.push(
            Fact::new(gettext("Marked as corrupt"), "")
                .subtitle(gettext("The program that wrote it last found damage in it"))
                .tone(Tone::Bad),
        );
    }
    if info.dirty {
        facts.push(
            Fact::new(gettext("Not closed properly"), "")
                .subtitle(gettext("Refcounts may be stale until it is repaired"))
                .tone(Tone::Warning),
        );
    }
    if let Some(contents) = &document.contents {
        facts.extend(content_findings(contents));
    }
    if let Some(error) = &document.contents_error {
        facts.push(
            Fact::new(gettext("The guest disk cannot be read"), "")
                .subtitle(error.message())
                .copying(describe::error_details(error))
                .tone(Tone::Bad),
        );
    }
    facts
}

fn content_findings(contents: &Contents) -> Vec<Fact> {
    let table = contents.table.damage.iter().map(|damage| {
        let message = describe::sentence(&damage.message);
        Fact::new(gettext("Partition table"), "")
            .subtitle(&message)
            .copying(&message)
            .tone(if damage.serious {
                Tone::Bad
            } else {
                Tone::Warning
            })
    });
    let volumes = contents.volumes.iter().flat_map(|volume| {
        let title = volume_title(contents, volume.partition);
        let notes = volume.file_system.iter().flat_map(|found| &found.notes);
        notes
            .map(|note| (note, Tone::Warning))
            .chain(volume.error.iter().map(|error| (error, Tone::Bad)))
            .map(|(text, tone)| {
                Fact::new(&title, "")
                    .subtitle(text)
                    .copying(text)
                    .tone(tone)
            })
            .collect::<Vec<_>>()
    });
    table.chain(volumes).collect()
}

fn volume_title(contents: &Contents, partition: Option<usize>) -> String {
    match partition.and_then(|index| contents.table.partitions.get(index)) {
        Some(partition) => {
            let number = partition.number.to_string();
            fill(&gettext("Partition {number}"), &[("number", &number)])
        }
        None => gettext("File system"),
    }
}

fn yes_or_no(value: bool) -> String {
    if value { gettext("yes") } else { gettext("no") }
}

#[cfg(test)]
mod tests;
