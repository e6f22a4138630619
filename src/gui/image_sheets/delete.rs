//! An image goes to the desktop's trash, from where it can be had back.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use platter::job::Outcome;
use platter::op::flatten;
use platter::op::plan::{Plan, SpaceNeeded, command_line};
use platter::op::sample::Effort;
use platter::op::warning::{Warning, of_changed_base};
use platter::phrase::{Phrase, gettext_noop};
use platter::{Control, Error, ErrorKind, Stop};

use super::commit::{by_hand_before, steps_before};
use crate::operation::{After, Draft, Operation};
use crate::subject::Subject;
use crate::trash::{self, Trashed};

/// With `keeps_others`, images that stand on this one are flattened first.
pub(super) fn draft(subject: Subject, keeps_others: bool) -> Draft {
    Draft::new(move |control| {
        let others = if keeps_others {
            flatten::dependents(&subject.path, &[])?
        } else {
            Vec::new()
        };
        let plan = plan(&subject, &others, control)?;
        // What others take from it is copied.
        let chain = subject.look().ok().filter(|_| !others.is_empty());
        let effort = chain.and_then(|chain| Effort::of_copy(&chain, &plan));
        let trashed = Arc::default();
        let undo = put_back(subject.clone(), Arc::clone(&trashed));
        let subject = subject.clone();
        let work = Box::new(move |control: &Control| {
            flatten::flatten_all(&others, &subject.policy, control)?;
            if let Some(place) = trash::trash(&subject.path)? {
                // A job runs once.
                let _ = trashed.set(place);
            }
            let said =
                Phrase::new(gettext_noop("Moved {name} to the trash")).text("name", subject.name());
            Ok(Outcome {
                message: Some(said),
                ..Outcome::default()
            })
        });
        Ok(Operation {
            plan: Box::new(plan),
            work,
            after: After {
                undo: Some(undo),
                effort,
                ..After::default()
            },
        })
    })
}

/// Takes the image out of the trash again.
fn put_back(subject: Subject, trashed: Arc<OnceLock<Trashed>>) -> Draft {
    Draft::new(move |_| {
        let Some(place) = trashed.get().cloned() else {
            let unknown = "where the trash keeps it was not found; the file manager can restore it";
            return Err(Error::new(ErrorKind::Unsupported, unknown)
                .with_path(&subject.path)
                .into());
        };
        let named = |template| Phrase::new(template).text("name", subject.name());
        let mut plan = Plan::new(
            named(gettext_noop("Put {name} back")),
            Phrase::new(gettext_noop("Put Back")),
        );
        plan.writes = vec![subject.path.clone()];
        let outcome = Outcome {
            message: Some(named(gettext_noop("{name} is back from the trash"))),
            made: Some(subject.path.clone()),
            ..Outcome::default()
        };
        Ok(Operation {
            plan: Box::new(plan),
            work: Box::new(move |_| {
                place.put_back()?;
                Ok(outcome)
            }),
            after: After {
                opens: true,
                ..After::default()
            },
        })
    })
}

fn plan(subject: &Subject, others: &[PathBuf], control: &Control) -> Result<Plan, Stop> {
    let named = |template| Phrase::new(template).text("name", subject.name());
    let mut plan = Plan::new(
        named(gettext_noop("Move {name} to the trash")),
        named(gettext_noop("Move {name} to Trash")),
    );
    plan.steps = steps_before(others);
    plan.steps
        .extend((!others.is_empty()).then(|| plan.title.clone()));
    plan.destroys = vec![match of_changed_base(&subject.path, &[]) {
        Some(Warning::SharedBase { dependents, .. }) if others.is_empty() => {
            let lost = gettext_noop(
                "Images stand on {name} and cannot be read without it: {count} in the folders around it.",
            );
            named(lost).count("count", dependents.len() as u64)
        }
        _ => named(gettext_noop("{name} is gone from its folder.")),
    }];
    plan.writes = vec![subject.path.clone()];
    plan.writes.extend_from_slice(others);
    if let Some(first) = others.first() {
        plan.space = Some(SpaceNeeded {
            at: first.clone(),
            bytes: flatten::bytes_needed_by_all(others, &subject.policy, control)?,
            longest_file: 0,
        });
    }
    plan.by_hand = by_hand_before(others);
    plan.by_hand.push(command_line([
        "gio".as_ref(),
        "trash".as_ref(),
        subject.path.as_os_str(),
    ]));
    Ok(plan.with_holders())
}
