//! What another size of the disk does, and doing it.

use std::sync::{Arc, OnceLock};

use platter::image::{Format, Preallocation};
use platter::job::Outcome;
use platter::op::plan::{Plan, SpaceNeeded, command_line};
use platter::op::resize::Resize;
use platter::op::resize_disk::DiskResize;
use platter::op::sample::Effort;
use platter::phrase::{Phrase, gettext_noop};
use platter::storage::FileStamp;
use platter::{Error, ErrorKind};

use crate::operation::{After, Draft, Operation};
use crate::subject::Subject;

/// What the form asks for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish {
    pub(super) size: u64,
    pub(super) preallocation: Preallocation,
}

pub(super) fn draft(subject: Subject, old_size: u64, wish: Wish) -> Draft {
    Draft::new(move |_| {
        let chain = subject.look()?;
        let request = Resize {
            size: wish.size,
            shrink: wish.size < old_size,
            preallocation: wish.preallocation,
        };
        let resize = DiskResize::new(&chain, request)?;
        let plan = plan(&subject, old_size, request, &resize);
        let grown_by = wish.size.saturating_sub(old_size);
        let effort = (wish.preallocation == Preallocation::Full)
            .then(|| Effort::of_zeroes(grown_by, &subject.path));
        let grown = Arc::default();
        let undo = (!request.shrink).then(|| shrink_back(&subject, old_size, request.size, &grown));
        let subject = subject.clone();
        let work = Box::new(move |control: &platter::Control| {
            let chain = subject.change(&[0])?;
            DiskResize::new(&chain, request)?.run(&chain, control)?;
            drop(chain);
            if let Ok(stamp) = FileStamp::of(&subject.path) {
                // A job runs once.
                let _ = grown.set(stamp);
            }
            Ok(Outcome {
                message: Some(
                    Phrase::new(gettext_noop("{name} now has {size}"))
                        .text("name", subject.name())
                        .size("size", request.size),
                ),
                ..Outcome::default()
            })
        });
        Ok(Operation {
            plan: Box::new(plan),
            work,
            after: After {
                undo,
                effort,
                ..After::default()
            },
        })
    })
}

/// Takes growing back, as long as the file is what growing made of it.
fn shrink_back(
    subject: &Subject,
    old_size: u64,
    size: u64,
    grown: &Arc<OnceLock<FileStamp>>,
) -> Draft {
    let (subject, grown) = (subject.clone(), Arc::clone(grown));
    let wish = Wish {
        size: old_size,
        preallocation: Preallocation::Off,
    };
    Draft::new(move |control| {
        if grown.get() != FileStamp::of(&subject.path).ok().as_ref() {
            let changed = "the image has been changed since";
            return Err(Error::new(ErrorKind::Refused, changed)
                .with_path(&subject.path)
                .into());
        }
        draft(subject.clone(), size, wish).draw_up(control)
    })
}

fn plan(subject: &Subject, old_size: u64, request: Resize, resize: &DiskResize) -> Plan {
    let name = subject.name();
    let confirm = if request.shrink {
        Phrase::new(gettext_noop("Shrink {name}")).text("name", &name)
    } else {
        Phrase::new(gettext_noop("Resize"))
    };
    let title = Phrase::new(gettext_noop("Resize {name}")).text("name", &name);
    let mut plan = Plan::new(title, confirm);
    let sized = |template| {
        Phrase::new(template)
            .size("size", request.size)
            .size("old", old_size)
    };
    plan.steps.push(sized(if request.shrink {
        gettext_noop("Cut the disk from {old} to {size}")
    } else {
        gettext_noop("Grow the disk from {old} to {size}")
    }));
    if resize.moves_backup() {
        let step = gettext_noop("Move the backup of the partition table to the new end");
        plan.steps.push(Phrase::new(step));
    }
    if request.shrink {
        let lost = gettext_noop("What lies behind {size} on the disk is lost.");
        plan.destroys.push(sized(lost));
    }
    plan.writes = vec![subject.path.clone()];
    plan.space = space(subject, old_size, request);
    plan.warnings = resize.warnings().to_vec();
    plan.by_hand = by_hand(subject, request, resize.moves_backup());
    plan.with_holders()
}

/// Growing costs nothing but tables, unless the space is prepared.
fn space(subject: &Subject, old_size: u64, request: Resize) -> Option<SpaceNeeded> {
    let grown = request.size.checked_sub(old_size)?;
    let bytes = match request.preallocation {
        Preallocation::Off | Preallocation::Metadata => 0,
        Preallocation::Falloc | Preallocation::Full => grown,
    };
    let is_raw = subject.format == Format::Raw;
    let all = bytes > 0 || request.preallocation == Preallocation::Metadata;
    Some(SpaceNeeded {
        at: subject.path.clone(),
        bytes,
        longest_file: if is_raw || all { request.size } else { 0 },
    })
}

fn by_hand(subject: &Subject, request: Resize, moves_backup: bool) -> Vec<String> {
    let size = request.size.to_string();
    let mut resize = vec!["qemu-img", "resize", "-f", subject.format.name()];
    if request.shrink {
        resize.push("--shrink");
    }
    let preallocation = match request.preallocation {
        Preallocation::Off => None,
        Preallocation::Metadata => Some("--preallocation=metadata"),
        Preallocation::Falloc => Some("--preallocation=falloc"),
        Preallocation::Full => Some("--preallocation=full"),
    };
    resize.extend(preallocation);
    let path = subject.path.to_string_lossy();
    resize.extend([path.as_ref(), &size]);
    let mut lines = vec![command_line(resize)];
    if moves_backup && subject.format == Format::Raw {
        lines.push(command_line(["sgdisk", "--move-second-header", &path]));
    } else if moves_backup {
        let format = format!("--format={}", subject.format.name());
        lines.push(command_line([
            "qemu-nbd",
            "--connect=/dev/nbd0",
            &format,
            &path,
        ]));
        lines.push(command_line([
            "sgdisk",
            "--move-second-header",
            "/dev/nbd0",
        ]));
        lines.push(command_line(["qemu-nbd", "--disconnect", "/dev/nbd0"]));
    }
    lines
}

#[cfg(test)]
mod tests {
    use platter::chain::OpenPolicy;

    use super::*;

    #[test]
    fn shrinking_is_destructive_and_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a b.raw");
        std::fs::write(&path, vec![0; 1 << 20]).unwrap();
        let subject = Subject {
            path,
            format: Format::Raw,
            policy: OpenPolicy::default(),
        };
        let wish = |size| Wish {
            size,
            preallocation: Preallocation::Off,
        };
        let control = platter::Control::new();
        let draw = |size| {
            let draft = draft(subject.clone(), 1 << 20, wish(size));
            draft.draw_up(&control).unwrap()
        };
        let shrink = draw(1 << 19).plan;
        assert!(shrink.is_destructive());
        assert_eq!(shrink.confirm.to_string(), "Shrink a b.raw");
        assert!(shrink.by_hand[0].contains("--shrink '/"), "{shrink:?}");

        let grow = draw(1 << 21);
        assert!(!grow.plan.is_destructive());
        let outcome = (grow.work)(&control).unwrap();
        assert_eq!(
            outcome.message.unwrap().to_string(),
            "a b.raw now has 2 MiB"
        );
        let length = || std::fs::metadata(&subject.path).unwrap().len();
        assert_eq!(length(), 1 << 21);
        let undo = grow.after.undo.unwrap();
        (undo.draw_up(&control).unwrap().work)(&control).unwrap();
        assert_eq!(length(), 1 << 20);
        std::fs::write(&subject.path, "changed by others").unwrap();
        assert!(undo.draw_up(&control).is_err());
    }
}
