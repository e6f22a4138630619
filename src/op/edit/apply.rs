//! Making a trial real, going on after a crash, and undoing.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::chain::Chain;
use crate::control::{Control, Stop};
use crate::disk::{Changes, WritableDisk};
use crate::error::{Error, ErrorKind, Result};
use crate::image::{self as images, Format, FormatDetails, Repair, WritableFiles};
use crate::journal::{Identity, Journal, JournalBuilder, Progress};
use crate::op::edit::place;
use crate::op::edit::trial::Trial;
use crate::storage::{FileId, FileStorage, LockMode, Move, Storage};
use crate::table::{self, TableKind};

/// What an earlier edit has left beside an image.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Unfinished {
    /// It was interrupted: it must be resumed or rolled back before the disk is of any use.
    Interrupted,
    /// It is done and can be undone.
    Undoable,
    /// It is done, but the image was changed since: undoing would destroy that.
    ChangedSince,
}

/// What an earlier edit has left beside `image`; `None` when nothing.
///
/// # Errors
/// When there is a journal that cannot be read, or does not belong to this image.
pub fn unfinished(image: &Path) -> Result<Option<Unfinished>> {
    let journal = load(image)?;
    if is_guarded(image) {
        return Ok(Some(Unfinished::Interrupted));
    }
    let Some(journal) = journal else {
        return Ok(None);
    };
    Ok(match journal.progress() {
        Progress::Old => None,
        Progress::Between => Some(Unfinished::Interrupted),
        Progress::New if is_unchanged(image)? => Some(Unfinished::Undoable),
        Progress::New => Some(Unfinished::ChangedSince),
    })
}

/// Makes a trial real on the image of `chain`, whose active layer was opened for change and has
/// not changed since the trial. What an earlier edit left for undoing is discarded. A cancel and a
/// failure run back.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] when an earlier edit is unfinished; I/O errors. Should running back
/// fail as well, the error is that one, and the image can be resumed or rolled back later.
pub fn apply(chain: &Chain, trial: &Trial, control: &Control) -> Result<(), Stop> {
    let image = image_of(chain)?;
    if unfinished(&image)? == Some(Unfinished::Interrupted) {
        return Err(interrupted(&image).into());
    }
    let backing = backing_of(chain)?;
    judge_cut(chain, trial, backing.as_deref())?;
    place::remove(&image)?;
    let disk = WritableDisk::new(Arc::from(chain.writer(0)?), backing);
    let mut journal = write_journal(&image, trial).inspect_err(|_| {
        // Nothing has been changed yet.
        let _ = place::remove(&image);
    })?;
    let guarded = disk.image().guard_edit(true).map_err(Stop::from);
    if let Err(stop) = guarded.and_then(|_| journal.forward(&disk, control)) {
        // Where going back fails as well, the journal stays, for when the cause is gone.
        go_back(&mut journal, &disk, &Control::new(), true)?;
        drop(journal);
        place::remove(&image)?;
        return Err(stop);
    }
    disk.image().guard_edit(false)?;
    drop(disk);
    Ok(journal.seal()?)
}

/// Version 2 cannot grow where its backing file would show: what is cut off there would not come back.
fn judge_cut(chain: &Chain, trial: &Trial, backing: Option<&dyn Storage>) -> Result<()> {
    let (before, after) = (trial.draft().size_before(), trial.disk().size()?);
    let details = chain.active().info().map(|info| &info.details);
    let is_old = matches!(details, Some(FormatDetails::Qcow2(it)) if it.version < 3);
    let below = backing.map_or(Ok(0), Storage::size)?;
    if is_old && after < before && below > after {
        return Err(Error::unsupported(
            "the disk cannot be made smaller than the backing file of a version 2 image: that could \
             not be undone",
        ));
    }
    Ok(())
}

/// Ends an edit that was interrupted: goes on, or back.
///
/// # Errors
/// [`ErrorKind::NotFound`] when there is none; I/O errors.
pub fn resume(chain: &Chain, rollback: bool, control: &Control) -> Result<(), Stop> {
    let image = image_of(chain)?;
    let mut journal = load(&image)?.ok_or_else(|| match is_guarded(&image) {
        true => without_journal(&image),
        false => nothing(&image, "interrupted"),
    })?;
    let disk = disk_of(chain)?;
    if rollback {
        go_back(&mut journal, &disk, control, true)?;
        drop(journal);
        return Ok(place::remove(&image)?);
    }
    disk.image().guard_edit(true)?;
    journal.forward(&disk, control)?;
    give_leaks_back(&disk);
    disk.image().guard_edit(false)?;
    drop(disk);
    Ok(journal.seal()?)
}

/// Undoes the last edit of the image.
///
/// # Errors
/// [`ErrorKind::NotFound`] when there is nothing to undo; [`ErrorKind::Refused`] when the image was
/// changed since; I/O errors.
pub fn undo(chain: &Chain, control: &Control) -> Result<(), Stop> {
    let image = image_of(chain)?;
    let journal = load(&image)?.filter(|journal| journal.progress() == Progress::New);
    let mut journal = journal.ok_or_else(|| nothing(&image, "to undo"))?;
    if !is_unchanged(&image)? {
        return Err(Error::new(
            ErrorKind::Refused,
            "the image was changed since the edit; undoing it would destroy that",
        )
        .with_path(&image)
        .into());
    }
    if is_guarded(&image) {
        return Err(interrupted(&image).into());
    }
    let disk = disk_of(chain)?;
    go_back(&mut journal, &disk, control, false)?;
    drop((disk, journal));
    Ok(place::remove(&image)?)
}

/// Gives up the possibility to undo. Of an unfinished edit whose journal is gone there is nothing
/// else to do: then the disk can be used again as it is.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] while an edit is unfinished; as `unlink(2)`.
pub fn discard_undo(image: &Path) -> Result<()> {
    match unfinished(image)? {
        Some(Unfinished::Interrupted) if load(image)?.is_none() => {
            let files = WritableFiles {
                storage: Arc::new(FileStorage::open(image, LockMode::Write)?),
                data_file: None,
                backing: None,
            };
            let writer = images::open_in_edit(files, Format::Qcow2)?;
            writer.guard_edit(false)?;
            place::remove(image)
        }
        Some(Unfinished::Interrupted) => Err(interrupted(image)),
        _ => place::remove(image),
    }
}

/// Takes a change back, whatever of it was done, `after_failure` or not; nobody else can use the
/// image until that is over.
fn go_back(
    journal: &mut Journal,
    disk: &WritableDisk,
    control: &Control,
    after_failure: bool,
) -> Result<(), Stop> {
    disk.image().guard_edit(true)?;
    journal.back(disk, control)?;
    if after_failure {
        give_leaks_back(disk);
    }
    Ok(disk.image().guard_edit(false).map(drop)?)
}

/// A crash or a failure may have left space that nothing refers to.
fn give_leaks_back(disk: &WritableDisk) {
    if disk.image().format() == Format::Qcow2 {
        // It does no harm: no reason to leave the edit unfinished.
        let _ = disk.image().repair(Repair::Leaks, &Control::new());
    }
}

/// Whether the image itself says that an edit is unfinished. One that cannot be read says nothing.
fn is_guarded(image: &Path) -> bool {
    let guarded = || -> Result<bool> {
        let storage = FileStorage::open(image, LockMode::Peek)?;
        if images::probe(&storage)?.format != Format::Qcow2 {
            return Ok(false);
        }
        let opened = images::open(Arc::new(storage), Format::Qcow2)?;
        Ok(opened.info().has_unfinished_edit())
    };
    guarded().unwrap_or(false)
}

fn image_of(chain: &Chain) -> Result<PathBuf> {
    let path = chain.active().path.clone();
    path.ok_or_else(|| Error::new(ErrorKind::InvalidInput, "the image has no file"))
}

/// The disk, also of an image whose edit is unfinished.
fn disk_of(chain: &Chain) -> Result<WritableDisk> {
    let writer = Arc::from(chain.writer_in_edit(0)?);
    Ok(WritableDisk::new(writer, backing_of(chain)?))
}

fn backing_of(chain: &Chain) -> Result<Option<Arc<dyn Storage>>> {
    let backing = chain.disk_below(0)?;
    Ok(backing.map(|disk| Arc::new(disk) as Arc<dyn Storage>))
}

fn load(image: &Path) -> Result<Option<Journal>> {
    let Some(storage) = place::open(image)? else {
        return Ok(None);
    };
    let Some(journal) = Journal::load(storage)? else {
        return Ok(None);
    };
    let id = FileId::of(image).map_err(|error| Error::io("cannot open", error).with_path(image))?;
    let identity = journal.identity();
    if (identity.device, identity.inode) != (id.device, id.inode) {
        return Err(Error::new(
            ErrorKind::Refused,
            "the journal beside it belongs to another file",
        )
        .with_path(image));
    }
    Ok(Some(journal))
}

/// Nobody has written to the image after the edit was done.
fn is_unchanged(image: &Path) -> Result<bool> {
    let modified = |path: &Path| {
        std::fs::metadata(path)
            .and_then(|metadata| metadata.modified())
            .map_err(|error| Error::io("cannot ask when it was changed", error).with_path(path))
    };
    Ok(modified(image)? <= modified(&place::journal_path(image))?)
}

fn interrupted(image: &Path) -> Error {
    Error::new(
        ErrorKind::InvalidInput,
        "an edit of this image was interrupted: resume it or roll it back first",
    )
    .with_path(image)
}

fn without_journal(image: &Path) -> Error {
    Error::new(
        ErrorKind::NotFound,
        format!(
            "an edit of this image is unfinished, and its journal {} is gone; 'platter-img undo \
             --discard' makes the disk usable as it is",
            place::journal_path(image).display()
        ),
    )
    .with_path(image)
}

fn nothing(image: &Path, what: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("there is nothing {what}")).with_path(image)
}

struct ToJournal<'a>(&'a mut JournalBuilder);

impl Changes for ToJournal<'_> {
    fn remap(&mut self, moves: &[Move]) {
        self.0.remap(moves);
    }

    fn move_bytes(&mut self, from: u64, to: u64, length: u64) {
        self.0.move_bytes(from, to, length);
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.0.write(offset, bytes)
    }
}

fn write_journal(image: &Path, trial: &Trial) -> Result<Journal> {
    let id = FileId::of(image).map_err(|error| Error::io("cannot open", error).with_path(image))?;
    let (before, after) = (trial.draft().size_before(), trial.disk().size()?);
    let identity = Identity {
        device: id.device,
        inode: id.inode,
        size: before,
    };
    let mut builder = JournalBuilder::new(place::create(image)?, identity)?;
    if after > before {
        builder.set_length(before, after);
    }
    let guarded = write_guard(&mut builder, trial, before.max(after))?;
    for (range, zeroes) in &trial.kept().pieces {
        builder.keep(range, *zeroes);
    }
    trial.tell(&mut ToJournal(&mut builder))?;
    builder.next_step();
    for range in guarded {
        let end = range.end.min(after);
        if range.start < end {
            let mut bytes = vec![0; usize::try_from(end - range.start).unwrap_or(0)];
            trial.disk().read_at(&mut bytes, range.start)?;
            builder.write(range.start, &bytes)?;
        }
    }
    if after < before {
        builder.set_length(before, after);
    }
    builder.finish()
}

/// While the edit is unfinished the disk has one partition of a type that nobody mounts or boots,
/// and no GPT that would say otherwise. Answers what was covered with that.
fn write_guard(builder: &mut JournalBuilder, trial: &Trial, size: u64) -> Result<Vec<Range<u64>>> {
    const NO_FILE_SYSTEM: u8 = 0xda;
    let after = &trial.draft().table;
    let mut sector = [0; 512];
    let sectors = u32::try_from(size / 512 - 1).unwrap_or(u32::MAX);
    sector[446 + 4] = NO_FILE_SYSTEM;
    sector[446 + 8..446 + 12].copy_from_slice(&1_u32.to_le_bytes());
    sector[446 + 12..446 + 16].copy_from_slice(&sectors.to_le_bytes());
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    builder.write(0, &sector)?;
    // What moves may go where the old table is; going back finds it in the journal.
    let mut guarded = table::places(trial.disk().base().as_ref())?;
    let draft = trial.draft();
    // A copy that a partition lies on is that partition's by now.
    guarded.retain(|range| !draft.changes.iter().any(|change| change.holds(range)));
    if draft.kind_before() == TableKind::Gpt || after.kind == TableKind::Gpt {
        let size = after.sector_size;
        let mut ends = vec![draft.size_before(), after.disk_size];
        ends.dedup();
        let headers = ends.iter().map(|end| end / size * size - size);
        for at in [size].into_iter().chain(headers) {
            if !guarded.iter().any(|range| range.contains(&at)) {
                guarded.push(at..at + size);
            }
        }
    }
    for range in &guarded {
        let length = usize::try_from(range.end - range.start).unwrap_or(0);
        builder.write(range.start, &vec![0; length])?;
    }
    guarded.push(0..512);
    builder.next_step();
    Ok(guarded)
}
