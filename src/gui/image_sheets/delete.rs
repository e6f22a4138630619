//! An image goes to the desktop's trash, from where it can be had back.

use std::path::PathBuf;

use platter::job::Outcome;
use platter::op::flatten;
use platter::op::plan::{Plan, SpaceNeeded, command_line};
use platter::op::warning::{Warning, of_changed_base};
use platter::phrase::{Phrase, gettext_noop};
use platter::{Control, Error, ErrorKind, Stop};
use relm4::gtk::{gio, prelude::FileExt};

use super::commit::{by_hand_before, steps_before};
use crate::operation::{After, Draft, Operation};
use crate::subject::Subject;

/// With `keeps_others`, images that stand on this one are flattened first.
pub(super) fn draft(subject: Subject, keeps_others: bool) -> Draft {
    Draft::new(move |control| {
        let others = if keeps_others {
            flatten::dependents(&subject.path, &[])?
        } else {
            Vec::new()
        };
        let plan = plan(&subject, &others, control)?;
        let subject = subject.clone();
        let work = Box::new(move |control: &Control| {
            flatten::flatten_all(&others, &subject.policy, control)?;
            gio::File::for_path(&subject.path)
                .trash(gio::Cancellable::NONE)
                .map_err(|error| {
                    Error::new(ErrorKind::Io, error.message().to_owned()).with_path(&subject.path)
                })?;
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
            after: After::default(),
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
