//! Edits of the partitions: applying those that wait, trying them, and what comes after.

use std::path::Path;
use std::sync::Arc;

use platter::inspect::Contents;
use platter::job::Outcome;
use platter::op::edit::{self, Edit, Refused, Report, Trial, Unfinished};
use platter::op::plan::{Plan, command_line};
use platter::phrase::{Phrase, gettext_noop};
use platter::storage::Storage;
use platter::{Control, Error, ErrorKind, Stop};

use super::tried::{self, Tried};
use crate::describe;
use crate::operation::{After, Draft, Operation};
use crate::subject::Subject;

/// Makes `edits` real.
pub(super) fn apply(subject: Subject, edits: Vec<Edit>) -> Draft {
    // As long as the sheet is open: what it has tried is not tried again.
    let tried = Tried::default();
    Draft::new(move |_| {
        let disk: Arc<dyn Storage> = Arc::new(subject.look()?.disk()?);
        let contents = Contents::read(&disk)?;
        let plan =
            edit::sheet(&subject.path, subject.format, &contents, &edits).map_err(refused)?;
        let after = After {
            undo: Some(undo(subject.clone())),
            trial: Some(trial(subject.clone(), edits.clone(), tried.clone())),
            applies_edits: true,
            ..After::default()
        };
        let (subject, edits, tried) = (subject.clone(), edits.clone(), tried.clone());
        let work = Box::new(move |control: &Control| {
            let chain = subject.change(&[0])?;
            let trial = match tried.take(&chain) {
                Some(trial) => trial,
                None => try_on(Arc::new(chain.disk()?), &subject, &edits, control)?,
            };
            edit::apply(&chain, &trial, control)?;
            let message = Phrase::new(gettext_noop("Changed the partitions of {name}"));
            Ok(Outcome {
                notes: notes(trial.report()).collect(),
                ..said(message.text("name", subject.name()))
            })
        });
        Ok(Operation {
            plan: Box::new(plan),
            work,
            after,
        })
    })
}

/// Makes `edits` on a private copy, has it checked, and throws it away.
fn trial(subject: Subject, edits: Vec<Edit>, tried: Tried) -> Draft {
    Draft::new(move |_| {
        let disk: Arc<dyn Storage> = Arc::new(subject.look()?.disk()?);
        let contents = Contents::read(&disk)?;
        let plan =
            edit::trial_sheet(&subject.path, subject.format, &contents, &edits).map_err(refused)?;
        let (subject, edits, tried) = (subject.clone(), edits.clone(), tried.clone());
        let work = Box::new(move |control: &Control| {
            let chain = subject.look()?;
            let before = tried::prints(&chain);
            let trial = try_on(Arc::new(chain.disk()?), &subject, &edits, control)?;
            let outcome = found_out(trial.report());
            tried.keep(before, trial);
            Ok(outcome)
        });
        Ok(Operation {
            plan: Box::new(plan),
            work,
            after: After::default(),
        })
    })
}

/// Takes the last edit back.
pub(super) fn undo(subject: Subject) -> Draft {
    Draft::new(move |_| {
        if edit::unfinished(&subject.path)? != Some(Unfinished::Undoable) {
            let nothing = "there is nothing to undo, or the image was changed since";
            return Err(Error::new(ErrorKind::Refused, nothing).into());
        }
        let titles = [
            gettext_noop("Undo the last change of the partitions of {name}"),
            gettext_noop("Undo"),
            gettext_noop("Undid the last change of the partitions of {name}"),
        ];
        Ok(ending(&subject, titles, &["undo"], |subject, control| {
            edit::undo(&subject.change(&[0])?, control)
        }))
    })
}

/// Gives up what undoing the last edit takes.
pub(super) fn discard_undo(subject: Subject) -> Draft {
    Draft::new(move |_| {
        let titles = [
            gettext_noop("Give up undoing the last change of {name}"),
            gettext_noop("Give Up Undoing"),
            gettext_noop("The last change of the partitions of {name} stays"),
        ];
        let verb = ["undo", "--discard"];
        let mut operation = ending(&subject, titles, &verb, |subject, _| {
            Ok(edit::discard_undo(&subject.path)?)
        });
        // What waits is about the same disk as before.
        operation.after.applies_edits = false;
        let lost = gettext_noop("The last change of the partitions cannot be undone any more.");
        operation.plan.destroys = vec![Phrase::new(lost)];
        Ok(operation)
    })
}

/// Ends an edit that was interrupted.
pub(super) fn resume(subject: Subject, rollback: bool) -> Draft {
    Draft::new(move |_| {
        let titles = if rollback {
            [
                gettext_noop("Take the interrupted change of {name} back"),
                gettext_noop("Take Back"),
                gettext_noop("The partitions of {name} are as they were before"),
            ]
        } else {
            [
                gettext_noop("Finish the interrupted change of {name}"),
                gettext_noop("Finish"),
                gettext_noop("The change of the partitions of {name} is finished"),
            ]
        };
        let verb: &[&str] = if rollback {
            &["resume", "--rollback"]
        } else {
            &["resume"]
        };
        Ok(ending(&subject, titles, verb, move |subject, control| {
            edit::resume(&subject.change(&[0])?, rollback, control)
        }))
    })
}

/// An operation on what an edit has left beside the image: its title, its button, what is said
/// when it is done; the verb of the command line.
fn ending(
    subject: &Subject,
    titles: [&'static str; 3],
    verb: &[&str],
    run: impl FnOnce(&Subject, &Control) -> Result<(), Stop> + Send + 'static,
) -> Operation {
    let named = |template| Phrase::new(template).text("name", subject.name());
    let [title, confirm, done] = titles.map(named);
    let mut plan = Plan::new(title, confirm);
    plan.writes = vec![subject.path.clone()];
    let path = subject.path.to_string_lossy();
    let words = ["platter-img"].into_iter().chain(verb.iter().copied());
    plan.by_hand = vec![command_line(words.chain([path.as_ref()]))];
    let subject = subject.clone();
    Operation {
        plan: Box::new(plan.with_holders()),
        work: Box::new(move |control: &Control| {
            run(&subject, control)?;
            Ok(said(done))
        }),
        after: After {
            applies_edits: true,
            ..After::default()
        },
    }
}

fn try_on(
    disk: Arc<dyn Storage>,
    subject: &Subject,
    edits: &[Edit],
    control: &Control,
) -> Result<Trial, Stop> {
    let draft = edit::fold(&Contents::read(&disk)?, edits).map_err(refused)?;
    let folder = subject.path.parent().unwrap_or(Path::new("."));
    Trial::run(disk, draft, folder, control)
}

#[allow(clippy::needless_pass_by_value, reason = "what map_err hands over")]
fn refused(why: Refused) -> Error {
    Error::new(ErrorKind::Refused, why.to_string())
}

/// What a trial tells: how much would be done, and which tools were content.
fn found_out(report: &Report) -> Outcome {
    let message = Phrase::new(gettext_noop(
        "{moved} would move and {written} would be written. The image was only read.",
    ))
    .size("moved", report.bytes_moved)
    .size("written", report.bytes_written);
    Outcome {
        message: Some(message),
        notes: report
            .commands
            .iter()
            .cloned()
            .chain(notes(report))
            .collect(),
        made: None,
    }
}

/// What a careful person would like to know of a trial, or of what was made of it.
fn notes(report: &Report) -> impl Iterator<Item = String> {
    report.notes.iter().map(describe::sentence)
}

fn said(message: Phrase) -> Outcome {
    Outcome {
        message: Some(message),
        ..Outcome::default()
    }
}

#[cfg(test)]
mod tests {
    use platter::chain::OpenPolicy;
    use platter::image::Format;
    use platter::table::TableKind;

    use super::*;

    /// A disk of 64 MiB with an MBR and an empty partition.
    fn subject(folder: &Path) -> Subject {
        let path = folder.join("a.raw");
        let mut sector = vec![0_u8; 512];
        sector[450] = 0x83;
        sector[454..458].copy_from_slice(&2048_u32.to_le_bytes());
        sector[458..462].copy_from_slice(&20480_u32.to_le_bytes());
        sector[510..512].copy_from_slice(&[0x55, 0xaa]);
        let file = std::fs::File::create(&path).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, &sector, 0).unwrap();
        file.set_len(64 << 20).unwrap();
        Subject {
            path,
            format: Format::Raw,
            policy: OpenPolicy::default(),
        }
    }

    fn run(draft: &Draft) -> Result<String, Stop> {
        let operation = draft.draw_up(&Control::new())?;
        let outcome = (operation.work)(&Control::new())?;
        Ok(outcome
            .message
            .map(|said| said.to_string())
            .unwrap_or_default())
    }

    #[test]
    fn edits_are_tried_applied_and_undone() {
        let folder = tempfile::tempdir().unwrap();
        let subject = subject(folder.path());
        let edits: Vec<Edit> = ["resize-disk 96M", "resize 1 20M", "format 1 swap"]
            .iter()
            .map(|text| Edit::parse(text, TableKind::Mbr).unwrap())
            .collect();
        let before = std::fs::read(&subject.path).unwrap();

        let tried = run(&trial(subject.clone(), edits.clone(), Tried::default())).unwrap();
        assert!(tried.ends_with("The image was only read."), "{tried}");
        assert!(std::fs::read(&subject.path).unwrap() == before);

        let draft = apply(subject.clone(), edits);
        let operation = draft.draw_up(&Control::new()).unwrap();
        assert!(operation.plan.is_destructive());
        assert!(operation.after.applies_edits);
        (operation.work)(&Control::new()).unwrap();
        assert_eq!(std::fs::metadata(&subject.path).unwrap().len(), 96 << 20);

        run(&operation.after.undo.unwrap()).unwrap();
        assert!(std::fs::read(&subject.path).unwrap() == before);
        assert!(undo(subject).draw_up(&Control::new()).is_err());
    }

    #[test]
    fn what_was_tried_is_kept_while_nothing_changes() {
        let folder = tempfile::tempdir().unwrap();
        let subject = subject(folder.path());
        let edits = vec![Edit::parse("format 1 swap", TableKind::Mbr).unwrap()];
        let file = std::fs::File::options()
            .write(true)
            .open(&subject.path)
            .unwrap();
        let hour = std::time::Duration::from_secs(3600);
        let long_ago = std::time::SystemTime::now() - hour;
        let try_it = || {
            let tried = Tried::default();
            run(&trial(subject.clone(), edits.clone(), tried.clone())).unwrap();
            tried
        };
        // Who has written just now may do so again in the same moment.
        assert!(try_it().take(&subject.look().unwrap()).is_none());
        file.set_modified(long_ago).unwrap();
        let tried = try_it();
        assert!(tried.take(&subject.look().unwrap()).is_some());
        assert!(tried.take(&subject.look().unwrap()).is_none());
        // A write that puts the time back is a change all the same.
        let tried = try_it();
        std::os::unix::fs::FileExt::write_all_at(&file, b"x", 1 << 20).unwrap();
        file.set_modified(long_ago).unwrap();
        assert!(tried.take(&subject.look().unwrap()).is_none());
    }
}
