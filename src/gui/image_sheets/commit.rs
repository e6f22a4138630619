//! What an overlay holds goes into what it stands on.

use std::path::PathBuf;

use platter::chain::Chain;
use platter::job::Outcome;
use platter::op::commit::{Commit, CommitPlan};
use platter::op::flatten;
use platter::op::plan::{Plan, SpaceNeeded, command_line, name_of};
use platter::op::sample::Effort;
use platter::op::warning::Warning;
use platter::phrase::{Phrase, gettext_noop};
use platter::{Control, Error, ErrorKind, Result, Stop};

use crate::operation::{After, Draft, Operation};
use crate::subject::Subject;

const REQUEST: Commit = Commit {
    base: 1,
    keep_top: false,
    rate: 0,
};

/// With `keeps_others`, other images that stand on the same file are flattened first, so that they
/// read the same afterwards.
pub(super) fn draft(subject: Subject, keeps_others: bool) -> Draft {
    Draft::new(move |control| {
        let chain = subject.look()?;
        let others = if keeps_others {
            others_on_base(&subject, &chain)?
        } else {
            Vec::new()
        };
        let plan = plan(&subject, &chain, &others, control)?;
        let after = After {
            effort: Effort::of_copy(&chain, &plan),
            ..After::default()
        };
        let subject = subject.clone();
        let work = Box::new(move |control: &Control| {
            flatten::flatten_all(&others, &subject.policy, control)?;
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
            after,
        })
    })
}

fn base_of(chain: &Chain) -> Result<PathBuf> {
    let base = chain.links().get(1).and_then(|link| link.path.clone());
    base.ok_or_else(|| Error::new(ErrorKind::InvalidInput, "the image has no backing file"))
}

fn others_on_base(subject: &Subject, chain: &Chain) -> Result<Vec<PathBuf>> {
    flatten::dependents(&base_of(chain)?, &[&subject.path])
}

fn plan(
    subject: &Subject,
    chain: &Chain,
    others: &[PathBuf],
    control: &Control,
) -> Result<Plan, Stop> {
    let mut warnings = CommitPlan::new(chain, REQUEST)?.warnings();
    if !others.is_empty() {
        warnings.retain(|warning| !matches!(warning, Warning::SharedBase { .. }));
    }
    let base = base_of(chain)?;
    let about = |template| {
        Phrase::new(template)
            .text("name", subject.name())
            .text("base", name_of(&base))
    };
    let mut plan = Plan::new(
        about(gettext_noop("Commit {name} into {base}")),
        about(gettext_noop("Commit into {base}")),
    );
    plan.steps = steps_before(others);
    plan.steps.extend([
        about(gettext_noop("Write what {name} holds into {base}")),
        about(gettext_noop("Empty {name}, which reads the same as before")),
    ]);
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
    plan.writes.extend_from_slice(others);
    let own = chain.active().allocated_size.unwrap_or_default();
    let of_others = flatten::bytes_needed_by_all(others, &subject.policy, control)?;
    plan.space = Some(SpaceNeeded {
        at: base,
        bytes: own.saturating_add(of_others),
        longest_file: 0,
    });
    plan.warnings = warnings;
    let path = subject.path.to_string_lossy();
    let format = subject.format.name();
    plan.by_hand = by_hand_before(others);
    let commit = command_line(["qemu-img", "commit", "-f", format, &path]);
    plan.by_hand.push(commit);
    Ok(plan.with_holders())
}

/// What is done to other images first, in words.
pub(super) fn steps_before(others: &[PathBuf]) -> Vec<Phrase> {
    let template = gettext_noop("Let {name} stand on its own first, so that it reads the same");
    let step = |path: &PathBuf| Phrase::new(template).text("name", name_of(path));
    others.iter().map(step).collect()
}

/// What is done to other images first, by hand.
pub(super) fn by_hand_before(others: &[PathBuf]) -> Vec<String> {
    others
        .iter()
        .map(|path| command_line(["qemu-img", "rebase", "-b", "", &path.to_string_lossy()]))
        .collect()
}
