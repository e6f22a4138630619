//! What a new image is to be, and making it.

use std::path::{Path, PathBuf};

use platter::image::{Compression, Format, Preallocation, Qcow2Options};
use platter::job::Outcome;
use platter::op::create::{NewImage, create, overlay};
use platter::op::plan::{Plan, SpaceNeeded, command_line, name_of};
use platter::op::sample::Effort;
use platter::phrase::{Phrase, gettext_noop};
use platter::{Control, Error, ErrorKind, Result};

use crate::operation::{After, Draft, Operation};

/// What the form asks for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Wish {
    pub(super) path: PathBuf,
    /// Raw or QCOW2.
    pub(super) format: Format,
    /// In bytes; that of the backing file without one.
    pub(super) size: Option<u64>,
    pub(super) backing: Option<PathBuf>,
    pub(super) preallocation: Preallocation,
    pub(super) cluster_size: u64,
    pub(super) compression: Compression,
    pub(super) subclusters: bool,
}

pub(super) fn draft(wish: Wish) -> Draft {
    Draft::new(move |_| {
        if wish.path.symlink_metadata().is_ok() {
            let taken = "there is a file of this name already";
            return Err(Error::new(ErrorKind::InvalidInput, taken)
                .with_path(&wish.path)
                .into());
        }
        let image = image(&wish)?;
        let plan = plan(&wish, &image);
        let effort = plan
            .space
            .as_ref()
            .filter(|_| wish.preallocation == Preallocation::Full)
            .map(|space| Effort::of_zeroes(space.bytes, &wish.path));
        let path = wish.path.clone();
        let work = Box::new(move |control: &Control| {
            create(&path, &image, control)?;
            let said = Phrase::new(gettext_noop("Made {name}")).text("name", name_of(&path));
            Ok(Outcome {
                message: Some(said),
                made: Some(path),
                ..Outcome::default()
            })
        });
        Ok(Operation {
            plan: Box::new(plan),
            work,
            after: After {
                opens: true,
                effort,
                ..After::default()
            },
        })
    })
}

fn image(wish: &Wish) -> Result<NewImage> {
    let no_size = || Error::new(ErrorKind::InvalidInput, "a disk cannot have 0 bytes");
    if wish.format == Format::Raw {
        return Ok(NewImage::Raw {
            size: wish.size.ok_or_else(no_size)?,
            preallocation: wish.preallocation,
        });
    }
    let base = match &wish.backing {
        Some(backing) => overlay(&wish.path, &backing_name(&wish.path, backing), None)?,
        None => Qcow2Options::default(),
    };
    let options = Qcow2Options {
        size: wish.size.unwrap_or(base.size),
        cluster_size: wish.cluster_size,
        compression: wish.compression,
        extended_l2: wish.subclusters,
        preallocation: wish.preallocation,
        ..base
    };
    if options.size == 0 {
        return Err(no_size());
    }
    options.check()?;
    Ok(NewImage::Qcow2(options))
}

/// A backing file beside the image is named without its folder, so that both can move together.
fn backing_name(path: &Path, backing: &Path) -> String {
    if path.parent() == backing.parent() {
        name_of(backing)
    } else {
        backing.to_string_lossy().into_owned()
    }
}

fn plan(wish: &Wish, image: &NewImage) -> Plan {
    let name = name_of(&wish.path);
    let mut plan = Plan::new(
        Phrase::new(gettext_noop("Make {name}")).text("name", &name),
        Phrase::new(gettext_noop("Create")),
    );
    let size = match image {
        NewImage::Raw { size, .. } => *size,
        NewImage::Qcow2(options) => options.size,
    };
    let reserves = matches!(
        wish.preallocation,
        Preallocation::Falloc | Preallocation::Full
    );
    let whole = reserves || wish.preallocation == Preallocation::Metadata;
    plan.space = Some(SpaceNeeded {
        at: wish.path.clone(),
        bytes: if reserves { size } else { 0 },
        longest_file: if whole || wish.format == Format::Raw {
            size
        } else {
            0
        },
    });
    plan.reads = wish.backing.iter().cloned().collect();
    plan.writes = vec![wish.path.clone()];
    plan.by_hand = vec![by_hand(wish, image, size)];
    plan
}

fn by_hand(wish: &Wish, image: &NewImage, size: u64) -> String {
    let mut words = vec!["qemu-img".to_owned(), "create".to_owned()];
    let mut add = |parts: &[&str]| words.extend(parts.iter().map(|part| (*part).to_owned()));
    add(&["-f", wish.format.name()]);
    let mut options = Vec::new();
    if let NewImage::Qcow2(qcow2) = image {
        if let Some(backing) = &qcow2.backing {
            add(&["-b", &backing.name]);
            add(&["-F", backing.format.as_deref().unwrap_or("raw")]);
        }
        let usual = Qcow2Options::default();
        if qcow2.cluster_size != usual.cluster_size {
            options.push(format!("cluster_size={}", qcow2.cluster_size));
        }
        if qcow2.compression == Compression::Zstd {
            options.push("compression_type=zstd".to_owned());
        }
        if qcow2.extended_l2 {
            options.push("extended_l2=on".to_owned());
        }
    }
    match wish.preallocation {
        Preallocation::Off => {}
        Preallocation::Metadata => options.push("preallocation=metadata".to_owned()),
        Preallocation::Falloc => options.push("preallocation=falloc".to_owned()),
        Preallocation::Full => options.push("preallocation=full".to_owned()),
    }
    if !options.is_empty() {
        add(&["-o", &options.join(",")]);
    }
    add(&[&wish.path.to_string_lossy()]);
    if wish.size.is_some() {
        add(&[&size.to_string()]);
    }
    command_line(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(path: PathBuf) -> Wish {
        Wish {
            path,
            format: Format::Qcow2,
            size: Some(1 << 30),
            backing: None,
            preallocation: Preallocation::Off,
            cluster_size: 64 << 10,
            compression: Compression::Zlib,
            subclusters: false,
        }
    }

    fn make(wish: &Wish) -> Box<Plan> {
        let control = Control::new();
        let operation = draft(wish.clone()).draw_up(&control).unwrap();
        (operation.work)(&control).unwrap();
        operation.plan
    }

    #[test]
    fn an_overlay_names_what_is_beside_it_and_has_its_size() {
        let folder = tempfile::tempdir().unwrap();
        let base = wish(folder.path().join("base.qcow2"));
        make(&base);
        assert!(draft(base.clone()).draw_up(&Control::new()).is_err());
        let over = Wish {
            backing: Some(base.path.clone()),
            size: None,
            ..wish(folder.path().join("over.qcow2"))
        };
        let plan = make(&over);
        let path = over.path.to_string_lossy();
        assert_eq!(
            plan.by_hand,
            [format!(
                "qemu-img create -f qcow2 -b base.qcow2 -F qcow2 {path}"
            )]
        );
        assert_eq!(plan.reads, [base.path]);
    }

    #[test]
    fn a_raw_file_is_as_long_as_its_disk() {
        let folder = tempfile::tempdir().unwrap();
        let raw = Wish {
            format: Format::Raw,
            preallocation: Preallocation::Falloc,
            size: Some(1 << 20),
            ..wish(folder.path().join("a.raw"))
        };
        let plan = make(&raw);
        let space = plan.space.unwrap();
        assert_eq!((space.bytes, space.longest_file), (1 << 20, 1 << 20));
        assert_eq!(std::fs::metadata(&raw.path).unwrap().len(), 1 << 20);
        assert!(plan.by_hand[0].contains("-o preallocation=falloc"));
    }
}
