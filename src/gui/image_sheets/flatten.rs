//! An overlay gets all that it takes from others, and stands on its own.

use platter::Control;
use platter::chain::Chain;
use platter::job::Outcome;
use platter::op::flatten;
use platter::op::plan::{Plan, SpaceNeeded, command_line, name_of};
use platter::op::rebase::RebasePlan;
use platter::op::sample::Effort;
use platter::phrase::{Phrase, gettext_noop};
use platter::{Error, ErrorKind, Stop};

use crate::operation::{After, Draft, Operation};
use crate::subject::Subject;

pub(super) fn draft(subject: Subject) -> Draft {
    Draft::new(move |control| {
        let chain = subject.look()?;
        let plan = plan(&subject, &chain, control)?;
        let after = After {
            effort: Effort::of_copy(&chain, &plan),
            ..After::default()
        };
        let subject = subject.clone();
        let work = Box::new(move |control: &Control| {
            flatten::flatten(&subject.change(&[0])?, control)?;
            let said = Phrase::new(gettext_noop("{name} stands on its own now"))
                .text("name", subject.name());
            Ok(Outcome {
                message: Some(said),
                ..Outcome::default()
            })
        });
        Ok(Operation {
            plan: Box::new(plan),
            work,
            after,
        })
    })
}

fn plan(subject: &Subject, chain: &Chain, control: &Control) -> Result<Plan, Stop> {
    let below: Vec<_> = chain.links()[1..]
        .iter()
        .filter_map(|it| it.path.clone())
        .collect();
    if chain.links().len() < 2 {
        let nothing = "the image stands on its own already";
        return Err(Error::new(ErrorKind::InvalidInput, nothing).into());
    }
    let warnings = RebasePlan::new(chain, None, false)?.warnings();
    let needed = flatten::bytes_needed(chain, control)?;
    let about = |template| Phrase::new(template).text("name", subject.name());
    let mut plan = Plan::new(
        about(gettext_noop("Flatten {name}")),
        Phrase::new(gettext_noop("Flatten")),
    );
    let last = below.first().map(|path| name_of(path)).unwrap_or_default();
    plan.steps = vec![
        about(gettext_noop(
            "Copy up to {size} from what {name} stands on into it",
        ))
        .size("size", needed),
        about(gettext_noop(
            "Let {name} stand on its own, no longer on {base}",
        ))
        .text("base", last),
    ];
    plan.reads = below;
    plan.writes = vec![subject.path.clone()];
    plan.space = Some(SpaceNeeded {
        at: subject.path.clone(),
        bytes: needed,
        longest_file: 0,
    });
    plan.warnings = warnings;
    let path = subject.path.to_string_lossy();
    let format = subject.format.name();
    plan.by_hand = vec![command_line([
        "qemu-img", "rebase", "-f", format, "-b", "", &path,
    ])];
    Ok(plan.with_holders())
}
