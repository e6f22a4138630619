//! An image goes to the desktop's trash, from where it can be had back.

use platter::job::Outcome;
use platter::op::plan::{Plan, command_line};
use platter::op::warning::{Warning, of_changed_base};
use platter::phrase::{Phrase, gettext_noop};
use platter::{Control, Error, ErrorKind};
use relm4::gtk::{gio, prelude::FileExt};

use crate::operation::{After, Draft, Operation};
use crate::subject::Subject;

pub(super) fn draft(subject: Subject) -> Draft {
    Draft::new(move |_| {
        let plan = plan(&subject);
        let subject = subject.clone();
        let work = Box::new(move |_: &Control| {
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

fn plan(subject: &Subject) -> Plan {
    let named = |template| Phrase::new(template).text("name", subject.name());
    let mut plan = Plan::new(
        named(gettext_noop("Move {name} to the trash")),
        named(gettext_noop("Move {name} to Trash")),
    );
    plan.destroys = vec![match of_changed_base(&subject.path, &[]) {
        Some(Warning::SharedBase { dependents, .. }) => {
            let lost = gettext_noop(
                "Images stand on {name} and cannot be read without it: {count} in the folders around it.",
            );
            named(lost).count("count", dependents.len() as u64)
        }
        _ => named(gettext_noop("{name} is gone from its folder.")),
    }];
    plan.writes = vec![subject.path.clone()];
    plan.by_hand = vec![command_line([
        "gio".as_ref(),
        "trash".as_ref(),
        subject.path.as_os_str(),
    ])];
    plan.with_holders()
}
