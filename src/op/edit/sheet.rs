//! What a user is told of edits: each in a sentence with what it costs, and the plan of all.

use std::ops::Range;
use std::path::Path;

use crate::fs::FsKind;
use crate::fs::change::{Action, Capability, Identifier, capability};
use crate::image::Format;
use crate::inspect::Contents;
use crate::op::edit::{Change, CopySource, Draft, Edit, Refused, by_hand, fold};
use crate::op::plan::{Plan, SpaceNeeded, command_line, name_of};
use crate::op::warning::of_changed_base;
use crate::phrase::{Phrase, gettext_noop};
use crate::table::{TableKind, type_name};
use crate::units::MIB;

/// What tables and tools write beside what the file systems hold, at most.
const OVERHEAD: u64 = 64 * MIB;

/// One edit in words.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Step {
    /// What it does: "Grow partition 3 from 30 GiB to 38.5 GiB".
    pub what: Phrase,
    /// What that costs, or what follows.
    pub note: Option<Phrase>,
}

/// Each of `edits` in words. Those that cannot be made any more are left out.
#[must_use]
pub fn steps(contents: &Contents, edits: &[Edit]) -> Vec<Step> {
    (0..edits.len())
        .filter_map(|index| {
            let before = fold(contents, &edits[..index]).ok()?;
            let after = fold(contents, &edits[..=index]).ok()?;
            Some(step(&edits[index], contents, &before, &after))
        })
        .collect()
}

/// What applying `edits` to the image at `path` will do.
///
/// # Errors
/// Why it cannot be done.
pub fn sheet(
    path: &Path,
    format: Format,
    contents: &Contents,
    edits: &[Edit],
) -> Result<Plan, Refused> {
    let draft = fold(contents, edits)?;
    let name = name_of(path);
    let title = Phrase::new(gettext_noop("Apply {count} changes to {name}"))
        .count("count", edits.len() as u64)
        .text("name", &name);
    let mut plan = Plan::new(title, confirm(contents, &draft));
    let steps = steps(contents, edits).into_iter();
    (plan.steps, plan.costs) = steps.map(|step| (step.what, step.note)).unzip();
    let lost = |change| lost(contents, change);
    plan.destroys = draft.changes.iter().filter_map(lost).collect();
    plan.can_be_undone = true;
    // Overlays hold what they changed, over blocks that are elsewhere by then.
    plan.warnings = of_changed_base(path, &[]).into_iter().collect();
    if plan.destroys.is_empty() && plan.changes_others() {
        plan.confirm = Phrase::new(gettext_noop("Apply to {name}")).text("name", &name);
    }
    plan.notes.clone_from(&draft.notes);
    plan.writes = vec![path.to_path_buf()];
    plan.space = Some(space(path, format, contents, &draft));
    plan.by_hand = by_hand(path, format, &draft);
    let mut twin = vec![
        "platter-img".to_owned(),
        "edit".to_owned(),
        "--yes".to_owned(),
    ];
    for edit in edits {
        twin.extend(["--op".to_owned(), edit.to_string()]);
    }
    twin.push(path.to_string_lossy().into_owned());
    plan.by_hand.insert(0, format!("# {}", command_line(twin)));
    Ok(plan.with_holders())
}

/// What trying `edits` on a private copy will do.
///
/// # Errors
/// Why it cannot be done.
pub fn trial_sheet(
    path: &Path,
    format: Format,
    contents: &Contents,
    edits: &[Edit],
) -> Result<Plan, Refused> {
    let whole = sheet(path, format, contents, edits)?;
    let title = Phrase::new(gettext_noop("Try {count} changes of {name}"))
        .count("count", edits.len() as u64)
        .text("name", name_of(path));
    let mut plan = Plan::new(title, Phrase::new(gettext_noop("Try")));
    plan.steps = whole.steps;
    plan.notes = whole.notes;
    let check = gettext_noop("Check what came out, and throw it away: the image is only read");
    plan.steps.push(Phrase::new(check));
    plan.reads = vec![path.to_path_buf()];
    plan.space = whole.space;
    Ok(plan)
}

/// What destroys names its object on the button.
fn confirm(contents: &Contents, draft: &Draft) -> Phrase {
    let lost: Vec<&Change> = draft
        .changes
        .iter()
        .filter(|change| lost(contents, change).is_some())
        .collect();
    let number = |change: &Change| u64::from(change.number_before.unwrap_or(0));
    match lost.as_slice() {
        [] => Phrase::new(gettext_noop("Apply")),
        [one] if one.after.is_none() => {
            Phrase::new(gettext_noop("Delete Partition {number}")).count("number", number(one))
        }
        [one] => {
            Phrase::new(gettext_noop("Format Partition {number}")).count("number", number(one))
        }
        many => {
            Phrase::new(gettext_noop("Lose {count} Partitions")).count("count", many.len() as u64)
        }
    }
}

fn lost(contents: &Contents, change: &Change) -> Option<Phrase> {
    let number = u64::from(change.number_before?);
    let known = change.before.as_ref().and_then(|range| {
        let mut volumes = contents.volumes.iter();
        let volume = volumes.find(|known| known.range == *range)?;
        volume.file_system.as_ref()
    });
    let label = known.and_then(|known| known.label.as_ref());
    let template = match (&change.after, &change.make, label) {
        (None, _, None) => gettext_noop("Partition {number} and what is in it is gone."),
        (None, _, Some(_)) => {
            gettext_noop("Partition {number} “{label}” and what is in it is gone.")
        }
        (Some(_), Some(_), None) => {
            gettext_noop("What is in partition {number} is gone: it is formatted.")
        }
        (Some(_), Some(_), Some(_)) => {
            gettext_noop("What is in partition {number} “{label}” is gone: it is formatted.")
        }
        (Some(_), None, _) => return None,
    };
    let phrase = Phrase::new(template).count("number", number);
    Some(match label {
        Some(label) => phrase.text("label", label),
        None => phrase,
    })
}

/// What the tools work on is copied; what moves by less than its length goes through the journal.
fn space(path: &Path, format: Format, contents: &Contents, draft: &Draft) -> SpaceNeeded {
    let worked_on = draft.changes.iter().filter(|change| {
        change.kept().is_some()
            && (change.before.as_ref().map(length) != change.after.as_ref().map(length)
                || change.label.is_some()
                || change.new_uuid.is_some()
                || change.repair
                || change.check)
    });
    let used = worked_on.filter_map(|change| {
        let range = change.before.as_ref()?;
        let volume = contents
            .volumes
            .iter()
            .find(|known| known.range == *range)?;
        Some(volume.file_system.as_ref()?.usage?.used)
    });
    let size = draft.table.disk_size;
    let is_raw = format == Format::Raw;
    SpaceNeeded {
        at: path.to_path_buf(),
        bytes: used.sum::<u64>().saturating_add(OVERHEAD),
        longest_file: if is_raw { size } else { 0 },
    }
}

fn step(edit: &Edit, contents: &Contents, before: &Draft, after: &Draft) -> Step {
    let plain = |what| Step { what, note: None };
    let table_only = |what| Step {
        what,
        note: Some(Phrase::new(gettext_noop("table only, nothing moves"))),
    };
    match edit {
        Edit::ResizeDisk(_) => resize_disk(before, after),
        Edit::NewTable(kind) => plain(
            Phrase::new(gettext_noop("Make a new, empty partition table ({kind})"))
                .text("kind", table_name(*kind)),
        ),
        Edit::Create { fs, .. } => create(*fs, before, after),
        Edit::Delete(number) => plain(about(gettext_noop("Delete partition {number}"), *number)),
        Edit::Move(number, _) => shift(*number, contents, before, after),
        Edit::Resize(number, _) => resize(*number, before, after),
        Edit::Format { number, fs, .. } => plain(
            about(gettext_noop("Format partition {number} with {fs}"), *number)
                .text("fs", fs.title()),
        ),
        Edit::Label(number, label) => plain(
            about(
                gettext_noop("Label the file system of partition {number} “{label}”"),
                *number,
            )
            .text("label", label),
        ),
        Edit::Name(number, name) => table_only(
            about(gettext_noop("Name partition {number} “{name}”"), *number).text("name", name),
        ),
        Edit::Type(number, kind) => table_only(
            about(
                gettext_noop("Make partition {number} one for {type}"),
                *number,
            )
            .text("type", type_name(*kind).unwrap_or("?")),
        ),
        Edit::PartitionUuid(number, uuid) => table_only(
            about(
                gettext_noop("Give partition {number} the UUID {uuid}"),
                *number,
            )
            .text("uuid", uuid.to_string()),
        ),
        Edit::FsUuid(number, Identifier::Random) => plain(about(
            gettext_noop("Give the file system of partition {number} a new UUID"),
            *number,
        )),
        Edit::FsUuid(number, Identifier::Exactly(id)) => plain(
            about(
                gettext_noop("Give the file system of partition {number} the UUID {uuid}"),
                *number,
            )
            .text("uuid", id),
        ),
        Edit::Attributes(number, _) => table_only(about(
            gettext_noop("Set the attributes of partition {number}"),
            *number,
        )),
        Edit::Active(number, true) => {
            table_only(about(gettext_noop("Boot from partition {number}"), *number))
        }
        Edit::Active(number, false) => table_only(about(
            gettext_noop("Do not boot from partition {number}"),
            *number,
        )),
        Edit::Check(number) => plain(about(
            gettext_noop("Check the file system of partition {number}"),
            *number,
        )),
        Edit::Repair(number) => plain(about(
            gettext_noop("Repair the file system of partition {number}"),
            *number,
        )),
        Edit::RepairGpt => table_only(Phrase::new(gettext_noop(
            "Write both copies of the partition table anew",
        ))),
        Edit::ConvertTable(kind) => table_only(
            Phrase::new(gettext_noop("Convert the partition table to {kind}"))
                .text("kind", table_name(*kind)),
        ),
        Edit::Import { file, .. } => plain(
            Phrase::new(gettext_noop(
                "Replace the partition table with that of {file}",
            ))
            .text("file", name_of(file)),
        ),
        Edit::Copy { source, .. } => copy(source, before, after),
    }
}

fn about(template: &'static str, number: u32) -> Phrase {
    Phrase::new(template).count("number", u64::from(number))
}

fn table_name(kind: TableKind) -> &'static str {
    match kind {
        TableKind::Gpt => "GPT",
        TableKind::Mbr | TableKind::None => "MBR",
    }
}

fn resize_disk(before: &Draft, after: &Draft) -> Step {
    let (old, new) = (before.table.disk_size, after.table.disk_size);
    let template = if new < old {
        gettext_noop("Cut the disk from {old} to {new}")
    } else {
        gettext_noop("Grow the disk from {old} to {new}")
    };
    let note = gettext_noop("takes room only when it is written");
    Step {
        what: Phrase::new(template).size("old", old).size("new", new),
        note: (new > old).then(|| Phrase::new(note)),
    }
}

fn create(fs: Option<FsKind>, before: &Draft, after: &Draft) -> Step {
    let made = after.table.partitions.iter().find(|partition| {
        let known = before.table.partitions.iter();
        !known
            .map(|known| &known.range)
            .any(|range| *range == partition.range)
    });
    let size = made.map_or(0, |partition| length(&partition.range));
    let what = match fs {
        Some(fs) => {
            Phrase::new(gettext_noop("Make a partition of {size} with {fs}")).text("fs", fs.title())
        }
        None => Phrase::new(gettext_noop("Make an empty partition of {size}")),
    };
    Step {
        what: what.size("size", size),
        note: None,
    }
}

fn copy(source: &CopySource, before: &Draft, after: &Draft) -> Step {
    let what = match source {
        CopySource::Here(number) => about(gettext_noop("Copy partition {number}"), *number),
        CopySource::Other(other) => about(
            gettext_noop("Copy partition {number} of {image}"),
            other.number,
        )
        .text("image", name_of(&other.image)),
    };
    let copied = after.changes.get(before.changes.len());
    let range = copied.and_then(|change| change.after.as_ref());
    Step {
        what,
        note: Some(
            Phrase::new(gettext_noop("copies up to {size}")).size("size", range.map_or(0, length)),
        ),
    }
}

fn shift(number: u32, contents: &Contents, before: &Draft, after: &Draft) -> Step {
    let (old, new) = places(number, before, after);
    let template = if new.start < old.start {
        gettext_noop("Move partition {number} left by {distance}")
    } else {
        gettext_noop("Move partition {number} right by {distance}")
    };
    Step {
        what: about(template, number).size("distance", old.start.abs_diff(new.start)),
        note: Some(if after.moves_in_place(contents.moves_by) {
            Phrase::new(gettext_noop("nothing is copied"))
        } else {
            cost_of_move(number, contents, before)
        }),
    }
}

/// Free space is not copied, and neither is what is not there yet.
fn cost_of_move(number: u32, contents: &Contents, before: &Draft) -> Phrase {
    let change = before
        .changes
        .iter()
        .find(|change| change.number_before == Some(number) && change.make.is_none());
    let Some(range) = change.and_then(|change| change.before.as_ref()) else {
        return Phrase::new(gettext_noop("table only, nothing moves"));
    };
    let mut volumes = contents.volumes.iter();
    let used = volumes
        .find(|known| known.range == *range)
        .and_then(|known| {
            let usage = known.file_system.as_ref()?.usage?;
            Some(usage.used)
        });
    Phrase::new(gettext_noop("copies up to {size}")).size("size", used.unwrap_or(length(range)))
}

fn resize(number: u32, before: &Draft, after: &Draft) -> Step {
    let (old, new) = places(number, before, after);
    let grows = length(&new) > length(&old);
    let template = if grows {
        gettext_noop("Grow partition {number} from {old} to {new}")
    } else {
        gettext_noop("Shrink partition {number} from {old} to {new}")
    };
    let action = if grows { Action::Grow } else { Action::Shrink };
    let fs = before
        .changes
        .iter()
        .find(|change| change.number_before == Some(number) && change.make.is_none())
        .and_then(|change| change.fs);
    let note = fs.map_or_else(
        || Phrase::new(gettext_noop("table only, nothing moves")),
        |fs| following(fs, action),
    );
    Step {
        what: about(template, number)
            .size("old", length(&old))
            .size("new", length(&new)),
        note: Some(note),
    }
}

/// Whether a file system goes with its partition, and why not.
fn following(fs: FsKind, action: Action) -> Phrase {
    let phrase = match capability(fs, action) {
        Capability::Native | Capability::Tool { .. } => {
            Phrase::new(gettext_noop("its {fs} follows"))
        }
        Capability::Missing { package, .. } => Phrase::new(gettext_noop(
            "its {fs} stays as it is: the package {package} is not installed",
        ))
        .text("package", package),
        Capability::Never(reason) => Phrase::new(gettext_noop("its {fs} stays as it is: {reason}"))
            .phrase("reason", Phrase::new(reason)),
    };
    phrase.text("fs", fs.title())
}

fn places(number: u32, before: &Draft, after: &Draft) -> (Range<u64>, Range<u64>) {
    let old = before.place(number).unwrap_or(0..0);
    let new = after.place(number).unwrap_or_else(|| old.clone());
    (old, new)
}

fn length(range: &Range<u64>) -> u64 {
    range.end - range.start
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Control;
    use crate::image::Qcow2Options;
    use crate::op::create::{NewImage, create, overlay};
    use crate::op::edit::fixture::two_ext4;

    fn edits(texts: &[&str]) -> Vec<Edit> {
        let parse = |text: &&str| Edit::parse(text, TableKind::Mbr).unwrap();
        texts.iter().map(parse).collect()
    }

    #[test]
    fn each_edit_is_a_sentence_with_its_numbers() {
        let edits = edits(&[
            "resize-disk +2G",
            "move 2 +1024M",
            "resize 1 max",
            "delete 2",
        ]);
        let said: Vec<String> = steps(&two_ext4(), &edits)
            .into_iter()
            .map(|step| step.what.to_string())
            .collect();
        assert_eq!(
            said,
            [
                "Grow the disk from 966 MiB to 2.94 GiB",
                "Move partition 2 right by 1 GiB",
                "Grow partition 1 from 500 MiB to 1.49 GiB",
                "Delete partition 2",
            ]
        );
    }

    #[test]
    fn what_is_not_copied_is_said() {
        let mut contents = two_ext4();
        let edits = edits(&["resize-disk +2G", "move 2 +1024M", "move 2 1600M"]);
        let note = |contents: &Contents, index: usize| {
            let steps = steps(contents, &edits);
            steps[index].note.as_ref().map(ToString::to_string)
        };
        assert_eq!(note(&contents, 1).unwrap(), "copies up to 250 MiB");
        contents.moves_by = Some(64 << 10);
        assert_eq!(note(&contents, 1).unwrap(), "nothing is copied");
        contents.moves_by = Some(2048 * MIB);
        assert_eq!(note(&contents, 1).unwrap(), "copies up to 250 MiB");
    }

    #[test]
    fn what_is_lost_names_its_object() {
        let plan = |texts: &[&str]| {
            let path = Path::new("/vm/a.raw");
            sheet(path, Format::Raw, &two_ext4(), &edits(texts)).unwrap()
        };
        assert!(!plan(&["resize 2 300M"]).is_destructive());
        let delete = plan(&["delete 2"]);
        assert_eq!(delete.confirm.to_string(), "Delete Partition 2");
        assert_eq!(delete.destroys.len(), 1);
        let format = plan(&["format 1 ext4 new"]);
        assert_eq!(format.confirm.to_string(), "Format Partition 1");
        assert_eq!(
            plan(&["new-table gpt"]).confirm.to_string(),
            "Lose 2 Partitions"
        );
        let twin = &plan(&["label 1 two words"]).by_hand[0];
        assert_eq!(
            twin,
            "# platter-img edit --yes --op 'label 1 two words' /vm/a.raw"
        );
    }

    #[test]
    fn who_has_overlays_names_the_image() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().join("base.qcow2");
        let top = folder.path().join("top.qcow2");
        let options = Qcow2Options {
            size: MIB,
            ..Qcow2Options::default()
        };
        let control = Control::new();
        create(&base, &NewImage::Qcow2(options), &control).unwrap();
        let options = overlay(&top, "base.qcow2", Some(Format::Qcow2)).unwrap();
        create(&top, &NewImage::Qcow2(options), &control).unwrap();
        let plan = |path: &Path| {
            let edits = edits(&["resize 2 300M"]);
            sheet(path, Format::Qcow2, &two_ext4(), &edits).unwrap()
        };
        assert!(plan(&base).is_destructive());
        assert_eq!(plan(&base).confirm.to_string(), "Apply to base.qcow2");
        assert!(!plan(&top).is_destructive());
        assert_eq!(plan(&top).confirm.to_string(), "Apply");
    }

    #[test]
    fn a_trial_reads_only() {
        let path = Path::new("/vm/a.raw");
        let plan = trial_sheet(path, Format::Raw, &two_ext4(), &edits(&["delete 2"])).unwrap();
        assert!(!plan.is_destructive() && plan.writes.is_empty());
        assert_eq!(plan.steps.len(), 2);
    }
}
