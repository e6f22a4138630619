//! What a copy of a disk in another format is to be, and making it.

use std::path::PathBuf;
use std::sync::Arc;

use platter::Control;
use platter::chain::Chain;
use platter::image::{Compression, Format, Preallocation, Qcow2Options};
use platter::job::Outcome;
use platter::op::convert::{ConvertOptions, Keep, NewTarget, convert_to_new};
use platter::op::create::NewImage;
use platter::op::measure::{MeasureTarget, Qcow2Layout, measure_chain};
use platter::op::plan::{Plan, SpaceNeeded, command_line, name_of};
use platter::op::sample::Effort;
use platter::op::warning;
use platter::phrase::{Phrase, gettext_noop};
use platter::{Error, ErrorKind, Stop};

use crate::operation::{After, Draft, Operation};
use crate::subject::Subject;

/// What the form asks for.
#[derive(Clone, Debug)]
pub(super) struct Wish {
    pub(super) target: PathBuf,
    /// Raw or QCOW2.
    pub(super) format: Format,
    pub(super) compress: bool,
    /// Of a QCOW2 target, in bytes.
    pub(super) cluster_size: u64,
    /// How a QCOW2 target is compressed.
    pub(super) compression: Compression,
    /// How the space of the target is prepared.
    pub(super) preallocation: Preallocation,
    /// The new image is read again and compared before it gets its name.
    pub(super) verify: bool,
    /// Internal snapshots are taken over.
    pub(super) snapshots: bool,
    /// What uses the disk that is copied, in words, where that is a device.
    pub(super) used_by: Vec<String>,
}

pub(super) fn draft(subject: Subject, wish: Wish) -> Draft {
    Draft::new(move |control| {
        if wish.target.symlink_metadata().is_ok() {
            let taken = "there is a file of this name already";
            return Err(Error::new(ErrorKind::InvalidInput, taken)
                .with_path(&wish.target)
                .into());
        }
        let chain = subject.look()?;
        // Says which file is missing, if one is.
        let disk = chain.disk()?;
        let plan = plan(&subject, &wish, &chain, control)?;
        let (subject, wish) = (subject.clone(), wish.clone());
        let after = After {
            opens: true,
            effort: plan.space.as_ref().map(|space| Effort {
                sources: vec![Arc::new(disk)],
                bytes: space.bytes,
                compression: wish
                    .compress
                    .then_some((wish.compression, wish.cluster_size)),
                target: Some(wish.target.clone()),
            }),
            ..After::default()
        };
        Ok(Operation {
            plan: Box::new(plan),
            work: Box::new(move |control| run(&subject, &wish, control)),
            after,
        })
    })
}

fn run(subject: &Subject, wish: &Wish, control: &Control) -> Result<Outcome, Stop> {
    let source = Chain::open(&subject.path, &subject.options())?;
    let target = NewTarget {
        path: &wish.target,
        replace: false,
        nocow: false,
        image: match wish.format {
            Format::Raw => NewImage::Raw {
                size: source
                    .disk()
                    .and_then(|disk| platter::storage::Storage::size(&disk))?,
                preallocation: wish.preallocation,
            },
            _ => NewImage::Qcow2(Qcow2Options {
                cluster_size: wish.cluster_size,
                compression: wish.compression,
                preallocation: wish.preallocation,
                ..Qcow2Options::default()
            }),
        },
        data_file: None,
        base: None,
    };
    let options = ConvertOptions {
        compress: wish.compress,
        verify: wish.verify,
        keep: Keep {
            snapshots: wish.snapshots,
            ..Keep::default()
        },
        ..ConvertOptions::default()
    };
    convert_to_new(&[source], &target, &options, control)?;
    let made = name_of(&wish.target);
    Ok(Outcome {
        message: Some(Phrase::new(gettext_noop("Made {name}")).text("name", made)),
        made: Some(wish.target.clone()),
        ..Outcome::default()
    })
}

fn plan(subject: &Subject, wish: &Wish, chain: &Chain, control: &Control) -> Result<Plan, Stop> {
    let title = Phrase::new(gettext_noop("Convert {name} to {target}"))
        .text("name", subject.name())
        .text("target", name_of(&wish.target));
    let mut plan = Plan::new(title, Phrase::new(gettext_noop("Convert")));
    let files = chain.links().iter().filter_map(|link| link.path.clone());
    plan.reads = files.collect();
    plan.writes = vec![wish.target.clone()];
    if let Some(info) = chain.active().info() {
        plan.warnings = warning::of_copy(&subject.path, info, wish.snapshots, false);
        let layout = MeasureTarget::Qcow2(Qcow2Layout {
            cluster_size: wish.cluster_size,
            preallocate_data: matches!(
                wish.preallocation,
                Preallocation::Falloc | Preallocation::Full
            ),
            ..Qcow2Layout::default()
        });
        plan.space = Some(SpaceNeeded {
            at: wish.target.clone(),
            bytes: measure_chain(chain, &layout, control)?
                .required
                .saturating_add(of_snapshots(chain, wish)),
            longest_file: match wish.format {
                Format::Raw => info.virtual_size,
                _ => 0,
            },
        });
    }
    plan.by_hand = vec![by_hand(subject, wish)];
    plan.holders.clone_from(&wish.used_by);
    Ok(plan)
}

/// What snapshots hold beside the disk, in bytes at most: no more than the whole image does.
fn of_snapshots(chain: &Chain, wish: &Wish) -> u64 {
    let active = chain.active();
    let has_some = active.info().is_some_and(|info| !info.snapshots.is_empty());
    active
        .allocated_size
        .filter(|_| wish.snapshots && has_some)
        .unwrap_or(0)
}

fn by_hand(subject: &Subject, wish: &Wish) -> String {
    let mut words = vec!["qemu-img", "convert", "-f", subject.format.name()];
    words.extend(["-O", wish.format.name()]);
    if wish.compress {
        words.push("-c");
    }
    let usual = Qcow2Options::default();
    let mut options = Vec::new();
    if wish.format == Format::Qcow2 {
        if wish.cluster_size != usual.cluster_size {
            options.push(format!("cluster_size={}", wish.cluster_size));
        }
        if wish.compression != usual.compression {
            options.push("compression_type=zstd".to_owned());
        }
    }
    let preallocation = match wish.preallocation {
        Preallocation::Off => None,
        Preallocation::Metadata => Some("metadata"),
        Preallocation::Falloc => Some("falloc"),
        Preallocation::Full => Some("full"),
    };
    options.extend(preallocation.map(|how| format!("preallocation={how}")));
    let options = options.join(",");
    if !options.is_empty() {
        words.extend(["-o", &options]);
    }
    let (path, target) = (
        subject.path.to_string_lossy(),
        wish.target.to_string_lossy(),
    );
    words.extend([path.as_ref(), target.as_ref()]);
    command_line(words)
}

#[cfg(test)]
mod tests {
    use platter::chain::OpenPolicy;

    use super::*;

    fn wish() -> Wish {
        Wish {
            target: PathBuf::new(),
            format: Format::Raw,
            compress: false,
            cluster_size: 64 << 10,
            compression: Compression::Zlib,
            preallocation: Preallocation::Off,
            verify: false,
            snapshots: false,
            used_by: Vec::new(),
        }
    }

    #[test]
    fn a_disk_is_the_same_in_another_format_and_no_file_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.raw");
        let mut bytes = vec![7; 300_032];
        bytes[4096..70_000].fill(0);
        std::fs::write(&path, &bytes).unwrap();
        let subject = |path: PathBuf, format| Subject {
            path,
            format,
            policy: OpenPolicy::default(),
        };
        let control = Control::new();
        let go = |from: Subject, wish: &Wish| {
            let operation = draft(from, wish.clone()).draw_up(&control).unwrap();
            (operation.work)(&control).unwrap();
            operation.plan
        };
        let there = Wish {
            target: folder.path().join("b.qcow2"),
            format: Format::Qcow2,
            compress: true,
            cluster_size: 4096,
            compression: Compression::Zstd,
            verify: true,
            ..wish()
        };
        let plan = go(subject(path.clone(), Format::Raw), &there);
        assert!(plan.by_hand[0].starts_with(
            "qemu-img convert -f raw -O qcow2 -c -o cluster_size=4096,compression_type=zstd /"
        ));
        assert_eq!(plan.reads, std::slice::from_ref(&path));
        let back = Wish {
            target: folder.path().join("c.raw"),
            ..wish()
        };
        go(subject(there.target.clone(), Format::Qcow2), &back);
        assert_eq!(std::fs::read(&back.target).unwrap(), bytes);
        let again = draft(subject(path, Format::Raw), back).draw_up(&control);
        assert!(again.is_err());
    }
}
