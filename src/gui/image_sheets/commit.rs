//! What an overlay holds goes into what it stands on.

use platter::chain::Chain;
use platter::job::Outcome;
use platter::op::commit::{Commit, CommitPlan};
use platter::op::plan::{Plan, SpaceNeeded, command_line, name_of};
use platter::phrase::{Phrase, gettext_noop};
use platter::{Control, Error, ErrorKind, Result};

use crate::operation::{After, Draft, Operation};
use crate::subject::Subject;

const REQUEST: Commit = Commit {
    base: 1,
    keep_top: false,
    rate: 0,
};

pub(super) fn draft(subject: Subject) -> Draft {
    Draft::new(move |_| {
        let chain = subject.look()?;
        let plan = plan(&subject, &chain)?;
        let subject = subject.clone();
        let work = Box::new(move |control: &Control| {
            let chain = subject.change(&[0, 1])?;
            CommitPlan::new(&chain, REQUEST)?.run(control)?;
            let said = Phrase::new(gettext_noop("Committed {name}; it is empty now"))
                .text("name", subject.name());
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

fn plan(subject: &Subject, chain: &Chain) -> Result<Plan> {
    let warnings = CommitPlan::new(chain, REQUEST)?.warnings();
    let base = chain.links().get(1).and_then(|link| link.path.clone());
    let base =
        base.ok_or_else(|| Error::new(ErrorKind::InvalidInput, "the image has no backing file"))?;
    let about = |template| {
        Phrase::new(template)
            .text("name", subject.name())
            .text("base", name_of(&base))
    };
    let mut plan = Plan::new(
        about(gettext_noop("Commit {name} into {base}")),
        about(gettext_noop("Commit into {base}")),
    );
    plan.steps = vec![
        about(gettext_noop("Write what {name} holds into {base}")),
        about(gettext_noop("Empty {name}, which reads the same as before")),
    ];
    plan.destroys = vec![about(gettext_noop(
        "What {base} held alone is overwritten.",
    ))];
    plan.reads = chain
        .links()
        .iter()
        .skip(2)
        .filter_map(|link| link.path.clone())
        .collect();
    plan.writes = vec![subject.path.clone(), base.clone()];
    plan.space = Some(SpaceNeeded {
        at: base,
        bytes: chain.active().allocated_size.unwrap_or_default(),
        longest_file: 0,
    });
    plan.warnings = warnings;
    let path = subject.path.to_string_lossy();
    let format = subject.format.name();
    plan.by_hand = vec![command_line(["qemu-img", "commit", "-f", format, &path])];
    Ok(plan.with_holders())
}
