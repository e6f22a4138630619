//! What another backing file means for an overlay, and giving it that one.

use std::path::{Component, Path, PathBuf};

use platter::chain::{Chain, ChainOptions};
use platter::image::{FileReference, Format, ImageInfo};
use platter::job::Outcome;
use platter::op::flatten;
use platter::op::plan::{Plan, SpaceNeeded, command_line, name_of};
use platter::op::rebase::{self, NewBacking, RebasePlan, check_reference, relink};
use platter::op::sample::Effort;
use platter::op::warning::{self, Warning};
use platter::phrase::{Phrase, gettext_noop};
use platter::table::TableKind;
use platter::{Control, Error, ErrorKind, Result, Stop};

use crate::operation::{After, Draft, Operation};
use crate::subject::Subject;

/// What the form asks for.
#[derive(Clone, Debug)]
pub(super) struct Wish {
    /// The file to stand on.
    pub(super) backing: PathBuf,
    pub(super) format: Format,
    /// The header names it from the overlay's folder.
    pub(super) relative: bool,
    /// What the disk holds stays; else only the name in the header changes.
    pub(super) keep: bool,
}

pub(super) fn draft(subject: Subject, wish: Wish) -> Draft {
    Draft::new(move |control| {
        let (plan, effort) = if wish.keep {
            plan_to_keep(&subject, &wish, control)?
        } else {
            (plan_to_relink(&subject, &wish)?, None)
        };
        let after = After {
            effort,
            undo: if wish.keep {
                None
            } else {
                link_back(&subject)?
            },
            ..After::default()
        };
        let (subject, wish) = (subject.clone(), wish.clone());
        let work = Box::new(move |control: &Control| {
            run(&subject, &wish, control)?;
            let said = Phrase::new(gettext_noop("{name} stands on {base} now"))
                .text("name", subject.name())
                .text("base", name_of(&wish.backing));
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

/// Writes the link that is in the header now, as it is again.
fn link_back(subject: &Subject) -> Result<Option<Draft>> {
    let header = subject.look_at_headers()?;
    let before = header.active().info().and_then(|info| info.backing.clone());
    let Some(before) = before else {
        return Ok(None);
    };
    let subject = subject.clone();
    Ok(Some(Draft::new(move |_| {
        let about = |template| {
            Phrase::new(template)
                .text("name", subject.name())
                .text("base", &before.name)
        };
        let mut plan = Plan::new(
            about(gettext_noop("Let {name} stand on {base} again")),
            Phrase::new(gettext_noop("Undo")),
        );
        plan.writes = vec![subject.path.clone()];
        let said = about(gettext_noop("{name} stands on {base} again"));
        let (subject, before) = (subject.clone(), before.clone());
        Ok(Operation {
            plan: Box::new(plan),
            work: Box::new(move |control| {
                relink(&subject.change_header()?, Some(before), control)?;
                Ok(Outcome {
                    message: Some(said),
                    ..Outcome::default()
                })
            }),
            after: After::default(),
        })
    })))
}

fn run(subject: &Subject, wish: &Wish, control: &Control) -> Result<(), Stop> {
    let reference = reference(subject, wish);
    if !wish.keep {
        return relink(&subject.change_header()?, Some(reference), control);
    }
    let chain = subject.change(&[0])?;
    let other;
    let (new, depth) = match chain.find_meant(&reference.name) {
        Some(depth) => (&chain, depth),
        None => {
            other = open(subject, wish, false)?;
            (&other, 0)
        }
    };
    let new = NewBacking {
        reference,
        chain: new,
        depth,
    };
    RebasePlan::new(&chain, Some(new), false)?.run(control)
}

/// The chain of the file to stand on.
fn open(subject: &Subject, wish: &Wish, observe: bool) -> Result<Chain> {
    let options = ChainOptions {
        format: Some(wish.format),
        policy: subject.policy.clone(),
        observe,
        ..ChainOptions::default()
    };
    Chain::open(&wish.backing, &options)
}

fn plan_to_keep(
    subject: &Subject,
    wish: &Wish,
    control: &Control,
) -> Result<(Plan, Option<Effort>), Stop> {
    let chain = subject.look()?;
    let other = open(subject, wish, true)?;
    refuse_cycle(subject, &other)?;
    let new = NewBacking {
        reference: reference(subject, wish),
        chain: &other,
        depth: 0,
    };
    let warnings = RebasePlan::new(&chain, Some(new), false)?.warnings();
    let mut plan = plan(subject, wish);
    let about = |template| {
        Phrase::new(template)
            .text("name", subject.name())
            .text("base", name_of(&wish.backing))
    };
    plan.steps = vec![
        about(gettext_noop("Copy what {base} does not have into {name}")),
        about(gettext_noop(
            "Let {name} stand on {base}; its disk reads the same",
        )),
    ];
    plan.reads = files(&chain).chain(files(&other)).collect();
    plan.reads.retain(|path| *path != subject.path);
    plan.warnings = warnings;
    let reference = reference(subject, wish);
    // What lies below a file that it stands on already is not copied.
    let shared = chain.find_meant(&reference.name).unwrap_or(usize::MAX);
    plan.space = Some(SpaceNeeded {
        at: subject.path.clone(),
        bytes: flatten::bytes_of_layers(&chain, 1..shared, control)?,
        longest_file: 0,
    });
    let effort = Effort::of_copy(&chain, &plan);
    Ok((plan.with_holders(), effort))
}

/// The disk will read as what is there now, for better or worse: what can be recognised of it is
/// said, and where nothing can, that is what is lost.
fn plan_to_relink(subject: &Subject, wish: &Wish) -> Result<Plan> {
    let header = subject.look_at_headers()?;
    let info = header.active().info().ok_or_else(|| not_open(subject))?;
    let reference = reference(subject, wish);
    check_reference(info, Some(&reference))?;
    let other = open(subject, wish, true)?;
    refuse_cycle(subject, &other)?;
    let mut plan = plan(subject, wish);
    plan.steps = vec![
        Phrase::new(gettext_noop(
            "Write {reference} into the header of {name}, and nothing else",
        ))
        .text("reference", &reference.name)
        .text("name", subject.name()),
    ];
    match recognised(subject, wish) {
        Some(found) => plan.steps.push(found),
        None => plan.destroys.push(
            Phrase::new(gettext_noop(
                "On {base}, nothing is recognised on the disk: it may be the wrong file.",
            ))
            .text("base", name_of(&wish.backing)),
        ),
    }
    plan.warnings = warnings(subject, info);
    plan.reads = files(&other).collect();
    Ok(plan.with_holders())
}

/// What else reads differently when the disk does.
fn warnings(subject: &Subject, info: &ImageInfo) -> Vec<Warning> {
    let snapshots = warning::of_changed_backing(&subject.path, info);
    let overlays = warning::of_changed_base(&subject.path, &[]);
    snapshots.into_iter().chain(overlays).collect()
}

fn plan(subject: &Subject, wish: &Wish) -> Plan {
    let about = |template| {
        Phrase::new(template)
            .text("name", subject.name())
            .text("base", name_of(&wish.backing))
    };
    let mut plan = Plan::new(
        about(gettext_noop("Put {name} on {base}")),
        about(gettext_noop("Stand on {base}")),
    );
    plan.writes = vec![subject.path.clone()];
    plan.by_hand = vec![by_hand(subject, wish)];
    plan
}

/// What the disk shows when it stands on the new file.
fn recognised(subject: &Subject, wish: &Wish) -> Option<Phrase> {
    let found = rebase::recognised(&subject.path, &subject.options(), &wish.backing)?;
    let template = match found.table {
        TableKind::None => gettext_noop("The disk then shows {count} file systems"),
        TableKind::Gpt | TableKind::Mbr => {
            gettext_noop("The disk then shows {count} file systems ({table})")
        }
    };
    let table = match found.table {
        TableKind::Gpt => "GPT",
        TableKind::Mbr | TableKind::None => "MBR",
    };
    let said = Phrase::new(template).count("count", found.file_systems as u64);
    Some(said.text("table", table))
}

/// The name of the backing file goes out of the header, and what it held off the disk.
pub(super) fn forget(subject: Subject) -> Draft {
    Draft::new(move |_| {
        let header = subject.look_at_headers()?;
        let info = header.active().info().ok_or_else(|| not_open(&subject))?;
        let about = |template| Phrase::new(template).text("name", subject.name());
        let mut plan = Plan::new(
            about(gettext_noop("Let {name} forget its backing file")),
            about(gettext_noop("Let {name} Forget It")),
        );
        plan.destroys = vec![about(gettext_noop(
            "What {name} does not hold itself reads as zeroes then.",
        ))];
        plan.writes = vec![subject.path.clone()];
        plan.warnings = warnings(&subject, info);
        let (path, format) = (subject.path.to_string_lossy(), subject.format.name());
        plan.by_hand = vec![command_line([
            "qemu-img", "rebase", "-f", format, "-u", "-b", "", &path,
        ])];
        let subject = subject.clone();
        let work = Box::new(move |control: &Control| {
            relink(&subject.change_header()?, None, control)?;
            let said = Phrase::new(gettext_noop("{name} names no backing file any more"));
            Ok(Outcome {
                message: Some(said.text("name", subject.name())),
                ..Outcome::default()
            })
        });
        Ok(Operation {
            plan: Box::new(plan.with_holders()),
            work,
            after: After::default(),
        })
    })
}

fn refuse_cycle(subject: &Subject, other: &Chain) -> Result<()> {
    let own = std::fs::canonicalize(&subject.path).ok();
    let stands_on_it =
        files(other).any(|path| own.is_some() && std::fs::canonicalize(path).ok() == own);
    if stands_on_it {
        let cycle = "that image stands on this one itself";
        return Err(Error::new(ErrorKind::InvalidInput, cycle).with_path(&subject.path));
    }
    Ok(())
}

fn files(chain: &Chain) -> impl Iterator<Item = PathBuf> {
    chain.links().iter().filter_map(|link| link.path.clone())
}

fn reference(subject: &Subject, wish: &Wish) -> FileReference {
    let name = if wish.relative {
        let folder = subject.path.parent().unwrap_or(Path::new("/"));
        relative(folder, &wish.backing)
    } else {
        wish.backing.clone()
    };
    FileReference {
        name: name.to_string_lossy().into_owned(),
        format: Some(wish.format.name().to_owned()),
    }
}

/// The way from a folder to a file, both absolute.
fn relative(folder: &Path, file: &Path) -> PathBuf {
    let (from, to): (Vec<Component<'_>>, Vec<Component<'_>>) =
        (folder.components().collect(), file.components().collect());
    let common = from
        .iter()
        .zip(&to)
        .take_while(|(one, other)| one == other)
        .count();
    let up = from[common..].iter().map(|_| Component::ParentDir);
    up.chain(to[common..].iter().copied()).collect()
}

fn by_hand(subject: &Subject, wish: &Wish) -> String {
    let reference = reference(subject, wish);
    let path = subject.path.to_string_lossy();
    let mut words = vec!["qemu-img", "rebase", "-f", subject.format.name()];
    if !wish.keep {
        words.push("-u");
    }
    words.extend(["-F", wish.format.name(), "-b", &reference.name, &path]);
    command_line(words)
}

fn not_open(subject: &Subject) -> Error {
    Error::new(ErrorKind::InvalidInput, "the image is not open").with_path(&subject.path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_from_the_overlay_to_its_backing_file() {
        let way = |folder: &str, file: &str| {
            relative(Path::new(folder), Path::new(file))
                .display()
                .to_string()
        };
        assert_eq!(way("/vm", "/vm/base.qcow2"), "base.qcow2");
        assert_eq!(way("/vm/web", "/vm/base.qcow2"), "../base.qcow2");
        assert_eq!(way("/vm/web", "/srv/b/base.raw"), "../../srv/b/base.raw");
        assert_eq!(way("/", "/base.raw"), "base.raw");
    }
}
