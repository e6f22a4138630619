//! Carrying out a draft on a trial disk: the tools work there, and the checkers have the last word
//! before anything is real.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use crate::control::{Control, Stop};
use crate::disk::{Changes, TrialDisk};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::FsKind;
use crate::fs::change::{
    self as fs_change, Action, Capability, Change as FsChange, Place, capability,
};
use crate::op::edit::draft::{Change, Draft};
use crate::op::edit::kept::{self, Kept};
use crate::op::edit::order::order;
use crate::op::edit::used;
use crate::phrase::{Phrase, Value, gettext_noop};
use crate::storage::{FileStorage, HostSpace, Move, Storage, WritableStorage, WritableWindow};
use crate::table::{self, Role, TableKind};
use crate::units::ByteSize;

/// What was done on the trial disk.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Tools that ran, as command lines without the file.
    pub commands: Vec<String>,
    /// What a careful person would like to know.
    pub notes: Vec<Phrase>,
    /// Bytes that move when it is made real.
    pub bytes_moved: u64,
    /// For that nothing is copied.
    pub is_moved_in_place: bool,
    /// Bytes that are written then.
    pub bytes_written: u64,
}

/// A draft that was tried.
#[derive(Debug)]
pub struct Trial {
    disk: Arc<TrialDisk>,
    draft: Draft,
    report: Report,
    kept: Kept,
}

impl Trial {
    /// Tries a draft of the disk `base`, which is only read. Scratch files go to `folder`.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] when a tool or a checker refuses; I/O errors.
    pub fn run(
        base: Arc<dyn Storage>,
        draft: Draft,
        folder: &Path,
        control: &Control,
    ) -> Result<Self, Stop> {
        // Without a name it is gone with this process, however that ends.
        let storage = FileStorage::unnamed(folder)?;
        let disk = Arc::new(TrialDisk::new(base, Arc::new(storage))?);
        let mut run = Run {
            disk: &disk,
            draft: &draft,
            place: Place::new(folder),
            control,
            report: Report::default(),
        };
        run.report.notes = draft.notes.clone();
        run.all()?;
        let mut report = run.report;
        report.bytes_written = disk.bytes_to_write()?;
        let free = HostSpace::of(folder).map_or(0, |space| space.free);
        let kept = kept::find(&disk, free)?;
        if kept.left_out > 0 {
            let note = gettext_noop(
                "undoing will not bring back {size} that lie where partitions go or the disk is cut off: that is too much to be kept",
            );
            report
                .notes
                .push(Phrase::new(note).size("size", kept.left_out));
        }
        Ok(Self {
            disk,
            draft,
            report,
            kept,
        })
    }

    /// The disk as it will be.
    #[must_use]
    pub fn disk(&self) -> &Arc<TrialDisk> {
        &self.disk
    }

    /// What was tried.
    #[must_use]
    pub fn draft(&self) -> &Draft {
        &self.draft
    }

    /// How it went.
    #[must_use]
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// What has to be kept for undoing.
    pub(super) fn kept(&self) -> &Kept {
        &self.kept
    }

    /// Tells the changes, as [`TrialDisk::tell`].
    pub(super) fn tell(&self, changes: &mut dyn Changes) -> Result<()> {
        self.disk.tell(changes)
    }
}

struct Run<'a> {
    disk: &'a Arc<TrialDisk>,
    draft: &'a Draft,
    place: Place,
    control: &'a Control,
    report: Report,
}

impl Run<'_> {
    /// Shrinking comes before moving and moving before growing, so that nothing is where something
    /// else still has to go.
    fn all(&mut self) -> Result<(), Stop> {
        let draft = self.draft;
        let size = draft.table.disk_size;
        if size > draft.size_before() {
            self.disk.set_len(size)?;
        }
        for change in &draft.changes {
            self.before_moving(change)?;
        }
        self.move_all()?;
        if size < draft.size_before() {
            self.disk.set_len(size)?;
        }
        for change in &draft.changes {
            self.after_moving(change)?;
        }
        self.note_boot_loader()?;
        if draft.table.kind != TableKind::None {
            table::write(&draft.table, self.disk.as_ref())?;
        }
        for change in &draft.changes {
            self.check(change)?;
        }
        Ok(())
    }

    /// A GPT lies where boot loaders for an MBR are wont to be.
    fn note_boot_loader(&mut self) -> Result<()> {
        let table = &self.draft.table;
        let becomes_gpt =
            table.kind == TableKind::Gpt && self.draft.kind_before() == TableKind::Mbr;
        let first = table.sector_size;
        let end = table.usable.start.min(self.draft.size_before());
        if !becomes_gpt || end <= first {
            return Ok(());
        }
        let mut sectors = vec![0; usize::try_from(end - first).unwrap_or(0)];
        self.disk.read_at(&mut sectors, first)?;
        if sectors.iter().any(|byte| *byte != 0) {
            let note = gettext_noop(
                "sectors 1 to {last} hold something, a boot loader as a rule, which the GPT takes the place of: install the boot loader anew",
            );
            let note = Phrase::new(note).count("last", end / first - 1);
            self.report.notes.push(note);
        }
        Ok(())
    }

    fn window(&self, range: &Range<u64>) -> Result<WritableWindow> {
        let disk = Arc::clone(self.disk) as Arc<dyn WritableStorage>;
        WritableWindow::new(disk, range.clone())
    }

    fn change(&mut self, range: &Range<u64>, fs: FsKind, what: &FsChange) -> Result<(), Stop> {
        let window = Arc::new(self.window(range)?) as Arc<dyn WritableStorage>;
        let outcome = fs_change::change(&window, fs, what, &self.place, self.control)?;
        self.report.commands.extend(outcome.commands);
        Ok(())
    }

    fn before_moving(&mut self, change: &Change) -> Result<(), Stop> {
        let (Some(before), Some(after), Some(fs)) = (&change.before, &change.after, change.fs)
        else {
            return Ok(());
        };
        if change.make.is_some() {
            return Ok(());
        }
        if change.repair {
            self.change(before, fs, &FsChange::Repair)?;
        }
        if length(after) < length(before) {
            self.change(before, fs, &FsChange::Shrink(length(after)))?;
        }
        Ok(())
    }

    fn move_all(&mut self) -> Result<()> {
        let wanted = self.draft.moves();
        if self.draft.moves_in_place(self.disk.base().moves_by()) {
            self.report.bytes_moved = wanted.iter().map(|one| one.length).sum();
            self.report.is_moved_in_place = true;
            return self.disk.remap(&wanted);
        }
        let mut staying = Vec::new();
        for change in &self.draft.changes {
            let (Some(before), Some(after), Some(length)) =
                (&change.before, &change.after, change.kept())
            else {
                continue;
            };
            if change.is_extended() {
                // Its sectors describe the logical ones: no place to wait, before or afterwards.
                staying.extend([before.clone(), after.clone()]);
            } else if change.make.is_none() && before.start == after.start {
                staying.push(before.start..before.start + length);
            }
        }
        let usable = &self.draft.table.usable;
        let disk = usable.start..usable.end.min(self.disk.size()?);
        let ordered = order(&wanted, &staying, disk).ok_or_else(|| {
            let needed = wanted.iter().map(|step| step.length).min().unwrap_or(0);
            Error::unsupported(format!(
                "partitions change places with each other, and there is no free space of {} to \
                 move one of them out of the way",
                ByteSize(needed)
            ))
        })?;
        for step in ordered {
            for part in self.parts(&step)? {
                let length = length(&part);
                let (from, to) = (step.from + part.start, step.to + part.start);
                self.disk.move_bytes(from, to, length)?;
                self.report.bytes_moved += length;
            }
        }
        Ok(())
    }

    /// What of a move is copied, in an order in which nothing is overwritten that has not moved.
    fn parts(&self, step: &Move) -> Result<Vec<Range<u64>>> {
        // By its place before: where it waits for others it moves as a whole.
        let is_it = |change: &&Change| {
            let start = change.before.as_ref().map(|before| before.start);
            start == Some(step.from) && !change.is_extended()
        };
        let fs = self.draft.changes.iter().find(is_it).and_then(|it| it.fs);
        let window = self.window(&step.source())?;
        let mut parts = used::parts(&window, step.length, fs);
        if step.to > step.from {
            parts.reverse();
        }
        Ok(parts)
    }

    fn after_moving(&mut self, change: &Change) -> Result<(), Stop> {
        let Some(after) = &change.after else {
            return Ok(());
        };
        if let Some(copied) = &change.copied {
            copied.copy(
                self.disk.base(),
                change.fs,
                &self.window(after)?,
                self.control,
            )?;
        }
        if let Some((fs, label)) = &change.make {
            let (kind, label) = (*fs, label.clone());
            self.change(after, kind, &FsChange::Make { kind, label })?;
        } else if let Some(fs) = change.fs {
            self.follow(change, after, fs)?;
        }
        let fs = change.make.as_ref().map(|(fs, _)| *fs).or(change.fs);
        if let (Some(fs), Some(label)) = (fs, &change.label) {
            self.change(after, fs, &FsChange::Label(label.clone()))?;
        }
        if let (Some(fs), Some(wanted)) = (fs, &change.new_uuid) {
            self.change(after, fs, &FsChange::Uuid(wanted.clone()))?;
        }
        Ok(())
    }

    /// The file system follows its partition.
    fn follow(&mut self, change: &Change, after: &Range<u64>, fs: FsKind) -> Result<(), Stop> {
        let old = change
            .before
            .as_ref()
            .map(|before| (Some(before.start), length(before)));
        let copied = change.copied.as_ref().map(|copied| (None, copied.length()));
        let Some((start, old)) = old.or(copied) else {
            return Ok(());
        };
        if start != Some(after.start) {
            let sector_size = self.draft.table.sector_size;
            fs_change::moved(&self.window(after)?, fs, after.start, sector_size)?;
        }
        if length(after) <= old {
            return Ok(());
        }
        match capability(fs, Action::Grow) {
            Capability::Native | Capability::Tool { .. } => {
                match self.change(after, fs, &FsChange::Grow) {
                    // Not this one: the partition grows without it, as with a kind that never grows.
                    Err(Stop::Failed(error)) if error.kind() == ErrorKind::Unsupported => {
                        let why = Value::Text(error.message().to_owned());
                        self.note_small(change, fs, why);
                        Ok(())
                    }
                    done => done,
                }
            }
            Capability::Never(why) => {
                self.note_small(change, fs, Value::Phrase(Phrase::new(why)));
                Ok(())
            }
            Capability::Missing { program, package } => {
                let why = gettext_noop("the program '{program}' (package '{package}') is needed");
                let why = Phrase::new(why)
                    .text("program", program)
                    .text("package", package);
                self.note_small(change, fs, Value::Phrase(why));
                Ok(())
            }
        }
    }

    fn note_small(&mut self, change: &Change, fs: FsKind, why: Value) {
        let number = change.number_before.unwrap_or(0);
        let size = change.before.as_ref().map_or(0, length);
        let note = gettext_noop("the {fs} of partition {number} stays at {size}: {reason}");
        let note = Phrase::new(note)
            .text("fs", fs.title())
            .count("number", number.into())
            .size("size", size)
            .with("reason", why);
        self.report.notes.push(note);
    }

    /// Whoever was touched must be clean. What only moves, and is not even copied, is as it was: to
    /// have it checked would take longer than everything else.
    fn check(&mut self, change: &Change) -> Result<(), Stop> {
        let Some(after) = &change.after else {
            return Ok(());
        };
        let fs = change.make.as_ref().map(|(fs, _)| *fs).or(change.fs);
        let is_changed = match &change.before {
            Some(before) if self.report.is_moved_in_place => length(before) != length(after),
            before => before.as_ref() != Some(after),
        };
        let touched = is_changed
            || change.make.is_some()
            || change.label.is_some()
            || change.new_uuid.is_some()
            || change.repair
            || change.check;
        let Some(fs) = fs.filter(|_| touched) else {
            return Ok(());
        };
        let checker = capability(fs, Action::Check);
        if !matches!(checker, Capability::Native | Capability::Tool { .. }) {
            return Ok(());
        }
        let window = Arc::new(self.window(after)?) as Arc<dyn Storage>;
        let outcome = fs_change::check(&window, fs, &self.place, self.control)
            .map_err(|stop| self.not_clean(change, stop))?;
        self.report.commands.extend(outcome.commands);
        Ok(())
    }

    fn not_clean(&self, change: &Change, stop: Stop) -> Stop {
        match stop {
            Stop::Failed(error) if error.kind() == ErrorKind::Refused => {
                let name = change.number_before.map_or_else(
                    || "the new partition".to_owned(),
                    |number| format!("partition {number}"),
                );
                Error::new(
                    ErrorKind::Refused,
                    format!(
                        "{name} is not clean, so nothing was changed: {}",
                        error.message()
                    ),
                )
                .into()
            }
            other => other,
        }
    }
}

impl Change {
    pub(super) fn is_extended(&self) -> bool {
        self.role() == Role::Extended
    }
}

fn length(range: &Range<u64>) -> u64 {
    range.end - range.start
}
