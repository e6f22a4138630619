//! Making, resizing, checking and naming file systems.
//!
//! The trusted tools do the work where there are any; they never see the disk. They get a window on
//! one partition (`window`), or where the host has none for us, a copy of what the partition holds
//! (`scratch`). What they change stays there until they are done, and comes back then. So a tool
//! that fails, or does what it should not, has changed nothing. `resize2fs` with an offset, for
//! one, cuts the disk behind its partition off.
//!
//! | file | is |
//! |---|---|
//! | `capability` | which change is possible for which file system, and what it needs |
//! | `tool` | running a tool: no shell, no input, bounded |
//! | `private` | the file that it works on, and where |
//! | `window`, `overlay`, `changed` | one that FUSE serves, what changes in it, and where |
//! | `mount` | how the kernel comes to ask for that, and leaves no trace |
//! | `scratch` | one that is a copy |
//! | `bring_back` | what both ways back have in common |
//! | `commands` | how each tool is called, and what it says |
//! | `identifier` | what the identifier of each file system looks like |
//! | `swap` | swap areas, which need no tool |
//!
//! What else needs no tool is with its file system: FAT is resized and gets its serial number by
//! [`crate::fs`]' own code, and so is the one number changed that makes btrfs larger, the groups
//! made that XFS grows by, and the extents counted that a physical volume of LVM gets.

mod bring_back;
mod capability;
mod changed;
mod commands;
mod identifier;
mod mount;
mod overlay;
mod private;
mod scratch;
mod swap;
mod tool;
mod window;

use std::sync::Arc;

pub use capability::{Action, Capability, Packages, capability, packages};
pub use commands::check_label;
pub use identifier::Identifier;
pub use private::Place;

use crate::control::{Control, Stop};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::{FsKind, btrfs, fat, lvm, ntfs, xfs};
use crate::phrase::{Phrase, gettext_noop};
use crate::storage::{Storage, WritableStorage};
use crate::units::MIB;

use private::Private;

/// A change of the file system in one partition.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Change {
    /// A new, empty one; whatever was there is lost.
    Make {
        /// Which.
        kind: FsKind,
        /// What it is called.
        label: Option<String>,
    },
    /// Makes it as large as its partition.
    Grow,
    /// Makes it at most as large as this many bytes.
    Shrink(u64),
    /// Repairs what can be repaired without asking.
    Repair,
    /// Gives it another name; an empty one is none.
    Label(String),
    /// Gives it another identifier.
    Uuid(Identifier),
}

/// What became of a change, or of a check.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Outcome {
    /// The tools that ran, as command lines without the file.
    pub commands: Vec<String>,
    /// What they said, bounded.
    pub said: String,
    /// They worked in a window on the partition, not on a copy.
    pub had_window: bool,
}

/// Changes the file system of kind `kind` (of [`Change::Make`]: whatever) in `partition`, with
/// tools that work in `place`.
///
/// # Errors
/// [`ErrorKind::Unsupported`] when that is not possible, with the reason; [`ErrorKind::NotFound`]
/// when the tool is not installed, naming its package; [`ErrorKind::Refused`] when the tool refused
/// or found damage, with what it said. Nothing is changed then. I/O errors.
pub fn change(
    partition: &Arc<dyn WritableStorage>,
    kind: FsKind,
    change: &Change,
    place: &Place,
    control: &Control,
) -> Result<Outcome, Stop> {
    let (kind, action) = match change {
        Change::Make { kind, .. } => (*kind, Action::Make),
        Change::Grow => (kind, Action::Grow),
        Change::Shrink(_) => (kind, Action::Shrink),
        Change::Repair => (kind, Action::Repair),
        Change::Label(_) => (kind, Action::Label),
        Change::Uuid(_) => (kind, Action::Uuid),
    };
    if kind == FsKind::Ntfs && action != Action::Make {
        let resizes = matches!(action, Action::Grow | Action::Shrink);
        judge_ntfs(partition.as_ref(), resizes)?;
    }
    match capability(kind, action) {
        Capability::Native => native(partition.as_ref(), kind, change, control),
        Capability::Tool { .. } => {
            let commands = commands::of_change(kind, change, partition.size()?)?;
            let content = match change {
                Change::Make { .. } => scratch::Content::None,
                _ => scratch::Content::Of(kind),
            };
            let readable = Arc::clone(partition) as Arc<dyn Storage>;
            let file = Private::new(&readable, content, place, control)?;
            let outcome = commands::run_all(&commands, &file, control)?;
            file.bring_back(partition.as_ref(), control)?;
            Ok(outcome)
        }
        Capability::Missing { program, package } => Err(missing(program, package).into()),
        Capability::Never(reason) => Err(Error::unsupported(reason).into()),
    }
}

fn native(
    partition: &dyn WritableStorage,
    kind: FsKind,
    change: &Change,
    control: &Control,
) -> Result<Outcome, Stop> {
    let size = partition.size()?;
    match (kind, change) {
        (FsKind::Fat12 | FsKind::Fat16 | FsKind::Fat32, Change::Grow) => {
            fat::resize(partition, size, control)?;
        }
        (FsKind::Fat12 | FsKind::Fat16 | FsKind::Fat32, Change::Shrink(to)) => {
            fat::resize(partition, size.min(*to), control)?;
        }
        (FsKind::Fat12 | FsKind::Fat16 | FsKind::Fat32, Change::Uuid(wanted)) => {
            let serial = identifier::number(&wanted.text(kind)?);
            fat::set_serial(partition, u32::try_from(serial).unwrap_or(0))?;
        }
        (FsKind::Btrfs, Change::Grow) => btrfs::grow(partition)?,
        (FsKind::Xfs, Change::Grow) => xfs::grow(partition)?,
        (FsKind::Lvm2, Change::Grow) => lvm::grow(partition)?,
        _ => return Ok(swap::change(partition, change)?),
    }
    Ok(Outcome::default())
}

/// Windows keeps in memory, or in its hibernation file, what it will write when it goes on.
fn judge_ntfs(partition: &dyn Storage, resizes: bool) -> Result<()> {
    match ntfs::unfit(partition, resizes)? {
        Some(why) => Err(Error::new(ErrorKind::Refused, why)),
        None => Ok(()),
    }
}

/// Checks the file system without changing it: an error that carries what the tool said when
/// it is not clean.
///
/// # Errors
/// As [`change`].
pub fn check(
    partition: &Arc<dyn Storage>,
    kind: FsKind,
    place: &Place,
    control: &Control,
) -> Result<Outcome, Stop> {
    match capability(kind, Action::Check) {
        Capability::Native => {
            if kind == FsKind::Lvm2 {
                lvm::check(partition.as_ref())?;
            }
            Ok(Outcome::default())
        }
        Capability::Tool { .. } => {
            let content = scratch::Content::Of(kind);
            let file = Private::new(partition, content, place, control)?;
            Ok(commands::run_all(
                &commands::of_check(kind),
                &file,
                control,
            )?)
        }
        Capability::Missing { program, package } => Err(missing(program, package).into()),
        Capability::Never(reason) => Err(Error::unsupported(reason).into()),
    }
}

/// How small a file system can be made, and why not smaller.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Minimum {
    /// Bytes.
    pub bytes: u64,
    /// What keeps it from being smaller, as a sentence.
    pub reason: Phrase,
}

/// The fewest bytes that the file system can be made to fit in; see [`minimum`].
///
/// # Errors
/// As [`change`].
pub fn minimum_size(
    partition: &Arc<dyn Storage>,
    kind: FsKind,
    place: &Place,
    control: &Control,
) -> Result<u64, Stop> {
    Ok(minimum(partition, kind, place, control)?.bytes)
}

/// The fewest bytes that the file system can be made to fit in, by what its tool says, and the
/// reason. It can be called from any thread; [`minimum_cost`] says what it reads.
///
/// # Errors
/// As [`change`]; so there is none for an NTFS on which Windows has to go on first.
pub fn minimum(
    partition: &Arc<dyn Storage>,
    kind: FsKind,
    place: &Place,
    control: &Control,
) -> Result<Minimum, Stop> {
    let files = |bytes| Minimum {
        bytes,
        reason: Phrase::new(gettext_noop("its files and structures fill {size}"))
            .size("size", bytes),
    };
    if kind == FsKind::Ntfs {
        judge_ntfs(partition.as_ref(), true)?;
    }
    match capability(kind, Action::Shrink) {
        Capability::Native if kind == FsKind::Swap => Ok(Minimum {
            bytes: swap::MINIMUM,
            reason: Phrase::new(gettext_noop("swap has at least ten pages")),
        }),
        Capability::Native => {
            let least = fat::least(partition.as_ref(), control)?;
            if !least.by_type {
                return Ok(files(least.size));
            }
            let reason = gettext_noop("below {size}, it would be taken for another type of FAT");
            Ok(Minimum {
                bytes: least.size,
                reason: Phrase::new(reason).size("size", least.size),
            })
        }
        Capability::Tool { .. } => {
            let content = if reads_head_only(kind, partition.as_ref())? {
                // Superblock and group descriptors, twice as much as those of 1 KiB blocks take.
                scratch::Content::Head(4 * MIB + partition.size()? / 65536)
            } else {
                scratch::Content::Of(kind)
            };
            let file = Private::new(partition, content, place, control)?;
            let bytes = commands::minimum_size(kind, &file, control)?;
            Ok(files(bytes))
        }
        Capability::Missing { program, package } => Err(missing(program, package).into()),
        Capability::Never(reason) => Err(Error::unsupported(reason).into()),
    }
}

/// What it takes to ask for the [`minimum`] of a file system.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum MinimumCost {
    /// It reads little of what says where files are, and copies no more than a few MiB of it.
    Low,
    /// It reads all that says where files are, which may be a GiB, and copies nothing with
    /// [`Place::without_copies`].
    AllMetadata,
}

/// What it takes to ask how small file systems of this kind can be made, however large they are.
/// `None` for those that cannot be made smaller.
#[must_use]
pub fn minimum_cost(kind: FsKind) -> Option<MinimumCost> {
    use FsKind::{Ext2, Ext3, Ext4, Fat12, Fat16, Fat32, Ntfs, Swap};
    match kind {
        Ext2 | Ext3 | Ext4 | Fat12 | Fat16 | Fat32 | Swap => Some(MinimumCost::Low),
        Ntfs => Some(MinimumCost::AllMetadata),
        _ => None,
    }
}

/// `resize2fs -P` counts with superblock and group descriptors, which lie at the beginning unless
/// the feature meta_bg spreads them.
fn reads_head_only(kind: FsKind, partition: &dyn Storage) -> Result<bool> {
    const META_BG: u32 = 0x10;
    let mut incompatible = [0; 4];
    if !matches!(kind, FsKind::Ext2 | FsKind::Ext3 | FsKind::Ext4) || partition.size()? < 2048 {
        return Ok(false);
    }
    partition.read_at(&mut incompatible, 1024 + 0x60)?;
    Ok(u32::from_le_bytes(incompatible) & META_BG == 0)
}

/// Mends what a file system knows of its own place after its partition has moved to byte offset
/// `start` of the disk: the "hidden sectors" of FAT and NTFS boot sectors, which boot code adds up.
///
/// # Errors
/// [`ErrorKind::Refused`] for an NTFS on which Windows is hibernated; I/O errors.
pub fn moved(
    partition: &dyn WritableStorage,
    kind: FsKind,
    start: u64,
    sector_size: u64,
) -> Result<()> {
    const HIDDEN_SECTORS: u64 = 28;
    if kind == FsKind::Ntfs {
        judge_ntfs(partition, false)?;
    }
    let backup = match kind {
        FsKind::Fat12 | FsKind::Fat16 => None,
        FsKind::Fat32 => Some(6 * sector_size),
        FsKind::Ntfs => partition.size()?.checked_sub(sector_size),
        _ => return Ok(()),
    };
    // The field has 32 bits; behind 2 TiB nothing boots that way.
    let sectors = u32::try_from(start / sector_size).unwrap_or(u32::MAX);
    for boot in [Some(0), backup].into_iter().flatten() {
        let mut sector = [0; 512];
        partition.read_at(&mut sector, boot)?;
        if sector[510..] == [0x55, 0xaa] {
            partition.write_at(&sectors.to_le_bytes(), boot + HIDDEN_SECTORS)?;
        }
    }
    Ok(())
}

fn missing(program: &str, package: &str) -> Error {
    Error::new(
        ErrorKind::NotFound,
        format!("the program '{program}' is needed for this; it is in the package '{package}'"),
    )
}
