//! What can be done with internal snapshots.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use platter::chain::{Chain, ChainOptions};
use platter::image::{FormatDetails, Qcow2Options, Snapshot, SnapshotSelector};
use platter::job::Outcome;
use platter::op::convert::{ConvertOptions, NewTarget, convert_to_new};
use platter::op::create::NewImage;
use platter::op::plan::{Plan, SpaceNeeded, command_line, name_of};
use platter::op::sample::Effort;
use platter::op::snapshot::{SnapshotChange, change};
use platter::op::warning;
use platter::phrase::{Phrase, gettext_noop};
use platter::{Control, Error, ErrorKind, Result, Stop};

use crate::operation::{After, Draft, Operation};
use crate::subject::Subject;

/// Takes a snapshot; taken back by deleting it.
pub(super) fn take(subject: Subject, name: String) -> Draft {
    Draft::new(move |_| {
        let title = Phrase::new(gettext_noop("Take snapshot {snapshot} of {name}"));
        let mut plan = Plan::new(
            about(title, &subject, &name),
            Phrase::new(gettext_noop("Take Snapshot")),
        );
        plan.writes = vec![subject.path.clone()];
        plan.by_hand = vec![by_hand(&subject, "-c", &name)];
        let taken = Id::default();
        let undo = delete_taken(subject.clone(), name.clone(), taken.clone());
        let (subject, name) = (subject.clone(), name.clone());
        let work = Box::new(move |control: &Control| {
            let wish = SnapshotChange::Create { name: name.clone() };
            let chain = subject.change(&[0])?;
            taken.set(change(&chain, &wish, control)?);
            let said = Phrase::new(gettext_noop("Took snapshot {snapshot} of {name}"));
            Ok(said_of(said, &subject, &name))
        });
        Ok(Operation {
            plan: Box::new(plan.with_holders()),
            work,
            after: After {
                undo: Some(undo),
                ..After::default()
            },
        })
    })
}

/// Sets the disk back to a snapshot, after taking one called `safety` of the disk as it is: that is
/// also the way back.
pub(super) fn apply(subject: Subject, snapshot: Snapshot, safety: String) -> Draft {
    Draft::new(move |_| {
        let snapshot = still_there(&subject, &snapshot)?;
        refuse_recording(&subject)?;
        let title = Phrase::new(gettext_noop("Set {name} back to snapshot {snapshot}"));
        let mut plan = Plan::new(
            about(title, &subject, &snapshot.name),
            Phrase::new(gettext_noop("Set Back")),
        );
        plan.steps = vec![
            Phrase::new(gettext_noop(
                "Take snapshot {snapshot} of the disk as it is now",
            ))
            .text("snapshot", &safety),
            Phrase::new(gettext_noop("Set the disk back to {snapshot}"))
                .text("snapshot", &snapshot.name),
        ];
        plan.warnings = warning::of_changed_base(&subject.path, &[])
            .into_iter()
            .collect();
        if plan.changes_others() {
            let named = Phrase::new(gettext_noop("Set {name} Back"));
            plan.confirm = named.text("name", subject.name());
        }
        plan.writes = vec![subject.path.clone()];
        plan.by_hand = vec![
            by_hand(&subject, "-c", &safety),
            by_hand(&subject, "-a", &snapshot.id),
        ];
        let taken = Id::default();
        let undo = apply_taken(subject.clone(), safety.clone(), taken.clone());
        let (subject, safety) = (subject.clone(), safety.clone());
        let work = Box::new(move |control: &Control| {
            let chain = subject.change(&[0])?;
            let take = SnapshotChange::Create {
                name: safety.clone(),
            };
            taken.set(change(&chain, &take, control)?);
            drop(chain);
            let back = SnapshotChange::Apply(SnapshotSelector::Id(snapshot.id.clone()));
            if let Err(stop) = change(&subject.change(&[0])?, &back, control) {
                give_up(&subject, &taken);
                return Err(stop);
            }
            let said = Phrase::new(gettext_noop("{name} is back at snapshot {snapshot}"));
            Ok(said_of(said, &subject, &snapshot.name))
        });
        Ok(Operation {
            plan: Box::new(plan.with_holders()),
            work,
            after: After {
                undo: Some(undo),
                ..After::default()
            },
        })
    })
}

/// Deletes a snapshot.
pub(super) fn delete(subject: Subject, snapshot: Snapshot) -> Draft {
    Draft::new(move |_| {
        let snapshot = still_there(&subject, &snapshot)?;
        let title = Phrase::new(gettext_noop("Delete snapshot {snapshot} of {name}"));
        let mut plan = Plan::new(
            about(title, &subject, &snapshot.name),
            Phrase::new(gettext_noop("Delete {snapshot}")).text("snapshot", &snapshot.name),
        );
        let lost = gettext_noop("The disk as it was in {snapshot} is lost.");
        plan.destroys = vec![Phrase::new(lost).text("snapshot", &snapshot.name)];
        if snapshot.vm_state_size > 0 {
            let state = gettext_noop("The saved state of the running machine ({size}) is lost.");
            plan.destroys
                .push(Phrase::new(state).size("size", snapshot.vm_state_size));
        }
        plan.writes = vec![subject.path.clone()];
        plan.by_hand = vec![by_hand(&subject, "-d", &snapshot.id)];
        let subject = subject.clone();
        let work = Box::new(move |control: &Control| {
            let wish = SnapshotChange::Delete(SnapshotSelector::Id(snapshot.id.clone()));
            change(&subject.change(&[0])?, &wish, control)?;
            let said = Phrase::new(gettext_noop("Deleted snapshot {snapshot} of {name}"));
            Ok(said_of(said, &subject, &snapshot.name))
        });
        Ok(Operation {
            plan: Box::new(plan.with_holders()),
            work,
            after: After::default(),
        })
    })
}

/// Gives a snapshot another name; taken back by giving the old one.
pub(super) fn rename(subject: Subject, snapshot: Snapshot, name: String) -> Draft {
    Draft::new(move |_| {
        still_there(&subject, &snapshot)?;
        let title = Phrase::new(gettext_noop("Rename snapshot {snapshot} of {name}"));
        let mut plan = Plan::new(
            about(title, &subject, &snapshot.name),
            Phrase::new(gettext_noop("Rename")),
        );
        plan.writes = vec![subject.path.clone()];
        let renamed = Snapshot {
            name: name.clone(),
            ..snapshot.clone()
        };
        let undo = rename_back(subject.clone(), renamed, snapshot.name.clone());
        let (subject, id, name) = (subject.clone(), snapshot.id.clone(), name.clone());
        let work = Box::new(move |control: &Control| {
            let wish = SnapshotChange::Rename {
                snapshot: SnapshotSelector::Id(id.clone()),
                name: name.clone(),
            };
            change(&subject.change(&[0])?, &wish, control)?;
            let said = Phrase::new(gettext_noop("The snapshot is now called {snapshot}"));
            Ok(said_of(said, &subject, &name))
        });
        Ok(Operation {
            plan: Box::new(plan.with_holders()),
            work,
            after: After {
                undo: Some(undo),
                ..After::default()
            },
        })
    })
}

/// Writes the disk as it was in a snapshot into a new image that stands alone.
pub(super) fn export(subject: Subject, snapshot: Snapshot, target: PathBuf) -> Draft {
    Draft::new(move |_| {
        let snapshot = still_there(&subject, &snapshot)?;
        let title = Phrase::new(gettext_noop("Export snapshot {snapshot} of {name}"));
        let mut plan = Plan::new(
            about(title, &subject, &snapshot.name),
            Phrase::new(gettext_noop("Export")),
        );
        plan.steps = vec![
            Phrase::new(gettext_noop("Write the disk of {snapshot} to {target}"))
                .text("snapshot", &snapshot.name)
                .text("target", name_of(&target)),
        ];
        plan.reads = vec![subject.path.clone()];
        plan.writes = vec![target.clone()];
        plan.warnings = warning::of_target(&target).into_iter().collect();
        plan.space = Some(SpaceNeeded {
            at: target.clone(),
            bytes: snapshot.virtual_size,
            longest_file: 0,
        });
        plan.by_hand = vec![export_by_hand(&subject, &snapshot, &target)];
        let options = ChainOptions {
            observe: true,
            ..of_snapshot(&subject, &snapshot)
        };
        let effort = Effort::of_copy(&Chain::open(&subject.path, &options)?, &plan);
        let (subject, target) = (subject.clone(), target.clone());
        let work =
            Box::new(move |control: &Control| export_now(&subject, &snapshot, &target, control));
        Ok(Operation {
            plan: Box::new(plan),
            work,
            after: After {
                opens: true,
                effort,
                ..After::default()
            },
        })
    })
}

/// How the disk is opened as it was at a snapshot.
fn of_snapshot(subject: &Subject, snapshot: &Snapshot) -> ChainOptions {
    ChainOptions {
        snapshot: Some(SnapshotSelector::Id(snapshot.id.clone())),
        ..subject.options()
    }
}

fn export_now(
    subject: &Subject,
    snapshot: &Snapshot,
    target: &Path,
    control: &Control,
) -> Result<Outcome, Stop> {
    let source = Chain::open(&subject.path, &of_snapshot(subject, snapshot))?;
    let new = NewTarget {
        path: target,
        // The user was told what is there, and the file dialog asked as well.
        replace: true,
        nocow: false,
        image: NewImage::Qcow2(Qcow2Options::default()),
        data_file: None,
        base: None,
    };
    convert_to_new(&[source], &new, &ConvertOptions::default(), control)?;
    let said = Phrase::new(gettext_noop("Wrote snapshot {snapshot} to {target}"))
        .text("target", name_of(target));
    Ok(Outcome {
        made: Some(target.to_path_buf()),
        ..said_of(said, subject, &snapshot.name)
    })
}

/// The id of a snapshot that is yet to be taken.
#[derive(Clone, Default)]
struct Id(Arc<Mutex<Option<String>>>);

impl Id {
    fn set(&self, id: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = id;
    }

    fn of(&self, subject: &Subject) -> Result<Snapshot> {
        let id = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = snapshots(subject)?;
        let taken = known
            .into_iter()
            .find(|known| Some(&known.id) == id.as_ref());
        taken.ok_or_else(gone)
    }
}

/// Deletes the safety snapshot of a disk that stays as it is. Should that fail, there is a
/// snapshot too many, and the failure before is what matters.
fn give_up(subject: &Subject, taken: &Id) {
    if let (Ok(safety), Ok(chain)) = (taken.of(subject), subject.change(&[0])) {
        let wish = SnapshotChange::Delete(SnapshotSelector::Id(safety.id));
        let _ = change(&chain, &wish, &Control::new());
    }
}

fn delete_taken(subject: Subject, name: String, taken: Id) -> Draft {
    Draft::new(move |control| {
        let mut snapshot = taken.of(&subject)?;
        snapshot.name.clone_from(&name);
        delete(subject.clone(), snapshot).draw_up(control)
    })
}

/// Back to the safety snapshot, which is given up then.
fn apply_taken(subject: Subject, safety: String, taken: Id) -> Draft {
    Draft::new(move |_| {
        let snapshot = taken.of(&subject)?;
        let title = Phrase::new(gettext_noop("Set {name} back to snapshot {snapshot}"));
        let mut plan = Plan::new(
            about(title, &subject, &safety),
            Phrase::new(gettext_noop("Set Back")),
        );
        plan.writes = vec![subject.path.clone()];
        let subject = subject.clone();
        let work = Box::new(move |control: &Control| {
            let id = SnapshotSelector::Id(snapshot.id.clone());
            let back = SnapshotChange::Apply(id.clone());
            change(&subject.change(&[0])?, &back, control)?;
            change(&subject.change(&[0])?, &SnapshotChange::Delete(id), control)?;
            let said = Phrase::new(gettext_noop("{name} is as it was before"));
            Ok(said_of(said, &subject, &snapshot.name))
        });
        Ok(Operation {
            plan: Box::new(plan),
            work,
            after: After::default(),
        })
    })
}

/// Not [`rename`] itself, whose own way back would be without end.
fn rename_back(subject: Subject, snapshot: Snapshot, name: String) -> Draft {
    Draft::new(move |control| {
        rename(subject.clone(), snapshot.clone(), name.clone()).draw_up(control)
    })
}

/// The snapshot as it is now.
fn still_there(subject: &Subject, snapshot: &Snapshot) -> Result<Snapshot> {
    let known = snapshots(subject)?;
    known
        .into_iter()
        .find(|known| known.id == snapshot.id && known.date == snapshot.date)
        .ok_or_else(gone)
}

fn snapshots(subject: &Subject) -> Result<Vec<Snapshot>> {
    let chain = subject.look()?;
    let info = chain.active().info();
    Ok(info.map(|info| info.snapshots.clone()).unwrap_or_default())
}

/// A bitmap that records changes would not know of this one.
fn refuse_recording(subject: &Subject) -> Result<()> {
    let chain = subject.look()?;
    let Some(FormatDetails::Qcow2(details)) = chain.active().info().map(|info| &info.details)
    else {
        return Ok(());
    };
    match details.bitmaps.iter().find(|bitmap| bitmap.auto) {
        None => Ok(()),
        Some(bitmap) => Err(Error::new(
            ErrorKind::Unsupported,
            format!(
                "the dirty bitmap '{}' records changes and would be wrong afterwards",
                bitmap.name
            ),
        )),
    }
}

fn gone() -> Error {
    Error::new(
        ErrorKind::InvalidInput,
        "there is no such snapshot any more",
    )
}

fn about(title: Phrase, subject: &Subject, snapshot: &str) -> Phrase {
    title
        .text("name", subject.name())
        .text("snapshot", snapshot)
}

fn said_of(said: Phrase, subject: &Subject, snapshot: &str) -> Outcome {
    Outcome {
        message: Some(about(said, subject, snapshot)),
        ..Outcome::default()
    }
}

fn by_hand(subject: &Subject, verb: &str, snapshot: &str) -> String {
    let path = subject.path.to_string_lossy();
    command_line(["qemu-img", "snapshot", verb, snapshot, &path])
}

fn export_by_hand(subject: &Subject, snapshot: &Snapshot, target: &Path) -> String {
    let (path, target) = (subject.path.to_string_lossy(), target.to_string_lossy());
    let which = format!("snapshot.id={}", snapshot.id);
    let format = subject.format.name();
    command_line([
        "qemu-img", "convert", "-f", format, "-l", &which, "-O", "qcow2", &path, &target,
    ])
}

#[cfg(test)]
mod tests {
    use platter::chain::OpenPolicy;
    use platter::image::Format;
    use platter::op::create::create;

    use super::*;

    fn image(folder: &Path) -> Subject {
        let path = folder.join("disk.qcow2");
        let options = Qcow2Options {
            size: 16 << 20,
            ..Qcow2Options::default()
        };
        create(&path, &NewImage::Qcow2(options), &Control::new()).unwrap();
        Subject {
            path,
            format: Format::Qcow2,
            policy: OpenPolicy::default(),
        }
    }

    /// Draws up and runs a draft; what takes it back.
    fn run(draft: &Draft) -> Option<Draft> {
        let control = Control::new();
        let operation = draft.draw_up(&control).unwrap();
        (operation.work)(&control).unwrap();
        operation.after.undo
    }

    fn names(subject: &Subject) -> Vec<String> {
        let all = snapshots(subject).unwrap();
        all.into_iter().map(|snapshot| snapshot.name).collect()
    }

    #[test]
    fn what_can_be_taken_back_is_taken_back() {
        let folder = tempfile::tempdir().unwrap();
        let subject = image(folder.path());
        let undo = run(&take(subject.clone(), "one".to_owned())).unwrap();
        assert_eq!(names(&subject), ["one"]);
        run(&undo);
        assert!(names(&subject).is_empty());
        assert!(undo.draw_up(&Control::new()).is_err(), "only once");

        run(&take(subject.clone(), "two".to_owned()));
        let two = snapshots(&subject).unwrap().remove(0);
        let undo = run(&rename(subject.clone(), two.clone(), "three".to_owned())).unwrap();
        assert_eq!(names(&subject), ["three"]);
        run(&undo);
        assert_eq!(names(&subject), ["two"]);

        let undo = run(&apply(subject.clone(), two.clone(), "safety".to_owned())).unwrap();
        assert_eq!(names(&subject), ["two", "safety"]);
        run(&undo);
        assert_eq!(names(&subject), ["two"]);

        let plan = delete(subject.clone(), two.clone())
            .draw_up(&Control::new())
            .unwrap()
            .plan;
        assert!(plan.is_destructive());
        assert_eq!(plan.confirm.to_string(), "Delete two");
        let target = folder.path().join("two.qcow2");
        run(&export(subject.clone(), two.clone(), target.clone()));
        assert!(target.exists());
        run(&delete(subject.clone(), two.clone()));
        assert!(names(&subject).is_empty());
        assert!(delete(subject, two).draw_up(&Control::new()).is_err());
    }
}
