//! `check -r`: references and refcounts made to agree.
//!
//! What is found, said and counted is what `qemu-img check -r` finds, says and counts, except that
//! it gives up where the refcount table itself is damaged. The order of writes keeps data safe
//! wherever it stops: entries that refer to nothing useful go first, then refcounts up, then flags
//! that allow too much, then refcounts down, then flags that are missing; a flush between each. A
//! new refcount structure is written beside the old one, and one write of the header switches.
//! Guest data is never written.

mod entries;
pub(super) mod metadata;
mod order;
mod rebuild;
mod refcounts;
pub(super) mod target;
#[cfg(test)]
mod tests;

use std::ops::Range;

use crate::control::{Control, Stop};
use crate::image::check::{CheckReport, Finding};
use crate::image::qcow2::check::copied::{self, FlagRepair};
use crate::image::qcow2::check::findings::Tally;
use crate::image::qcow2::check::refcounts::{Keep, compare, note_overflows};
use crate::image::qcow2::check::tables::{L2Reference, for_each_l1_entry};
use crate::image::qcow2::check::{Pass, Structures, Subject, WINDOW, check_in_windows};
use crate::image::qcow2::entry::OFFSET_MASK;
use crate::image::qcow2::header::Header;
use crate::image::writer::{Repair, RepairReport, SaveMetadata};
use crate::storage::WritableStorage;

pub(in crate::image::qcow2) use order::change_refcount_order;

use metadata::Metadata;
use rebuild::NewTable;
use refcounts::{Round, mend};
use target::Target;

/// L1 entries that are held at a time: 64 MiB of them.
const MAX_REFERENCES: usize = 4 << 20;

/// Checks the image in `storage` and mends what `repair` says; durable on return. `header` is that
/// of the file, and no longer is when this returns. `save` hears what may be overwritten before
/// anything is.
///
/// # Errors
/// As [`super::check`]; I/O errors, after which the image is as good as before or better.
pub(in crate::image::qcow2) fn repair(
    header: &Header,
    storage: &dyn WritableStorage,
    repair: Repair,
    save: &SaveMetadata<'_>,
    control: &Control,
) -> Result<RepairReport, Stop> {
    repair_in_windows(header, storage, repair, save, control, WINDOW)
}

fn repair_in_windows(
    header: &Header,
    storage: &dyn WritableStorage,
    repair: Repair,
    save: &SaveMetadata<'_>,
    control: &Control,
    window: u64,
) -> Result<RepairReport, Stop> {
    let mut subject = Subject::new(header, storage, control)?;
    subject.repair = Some(repair);
    let image = Image::read(&subject, window)?;
    let mut report = RepairReport {
        before: subject.report(image.found.all(), image.highest),
        ..RepairReport::default()
    };
    report.note(image.found.clone());
    if image.found.needs_rebuild && repair == Repair::Leaks {
        report.needs_rebuild = true;
        report.after = report.before.clone();
        return Ok(report);
    }
    let target = Target::new(storage, header, save, image.overwritten()?);
    image.clear_entries(&target)?;
    let fixed = if image.found.needs_rebuild {
        image.rebuild(&target, control, &mut report)?
    } else {
        image.mend(&target, repair, &mut report)?
    };
    report.corruptions_fixed = fixed.corruptions_fixed;
    report.leaks_fixed = fixed.leaks_fixed;
    let flags = fixed.flags_fixed + fixed.flags_wrong;
    report.before.corruptions += flags;
    target.finish(false)?;
    let mended = Header::read(storage)?;
    report.after = check_in_windows(&mended, storage, control, window)?;
    target.finish(report.after.is_sound())?;
    Ok(report)
}

impl RepairReport {
    fn note(&mut self, tally: Tally) {
        self.steps.extend(tally.into_findings());
    }
}

/// What was mended.
#[derive(Debug, Default)]
struct Fixed {
    corruptions_fixed: u64,
    leaks_fixed: u64,
    /// Flags among the corruptions that were.
    flags_fixed: u64,
    /// Flags that are still wrong.
    flags_wrong: u64,
}

impl Fixed {
    fn add_flags(&mut self, flags: &Tally) {
        self.corruptions_fixed += flags.corruptions_fixed;
        self.flags_fixed += flags.corruptions_fixed;
        self.flags_wrong += flags.corruptions;
    }
}

/// An image whose references are counted.
struct Image<'s> {
    subject: &'s Subject<'s>,
    structures: Structures,
    window: u64,
    /// The only pass, when one is enough: it is used again and again.
    whole: Option<Pass<'s>>,
    /// What counting and comparing found.
    found: Tally,
    /// Highest cluster in use.
    highest: u64,
    /// A flag may be wrong.
    may_have_wrong_flags: bool,
}

impl<'s> Image<'s> {
    /// Counts and compares.
    fn read(subject: &'s Subject<'s>, window: u64) -> Result<Self, Stop> {
        let mut found = Tally::default();
        let structures = Structures::read(subject, &mut found)?;
        let mut whole = None;
        let mut highest = 0;
        let mut may_have_wrong_flags = false;
        structures.for_each_pass(subject, window, &mut |pass, counted| {
            found.merge(counted);
            let compared = compare(&pass, &structures.refcounts, Keep::References, &mut found)?;
            highest = highest.max(compared.highest);
            may_have_wrong_flags |= !compared.all_single || pass.has_uncopied();
            if pass.is_last && pass.counts.window().start == 0 {
                whole = Some(pass);
            }
            Ok(())
        })?;
        may_have_wrong_flags |= found.corruptions + found.corruptions_fixed > 0;
        Ok(Self {
            subject,
            structures,
            window,
            whole,
            found,
            highest,
            may_have_wrong_flags,
        })
    }

    /// Visits the passes again, in the order of their windows.
    fn for_each_pass(
        &self,
        visit: &mut dyn FnMut(&Pass<'s>) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        if let Some(pass) = &self.whole {
            return visit(pass);
        }
        self.structures
            .for_each_pass(self.subject, self.window, &mut |pass, _| visit(&pass))
    }

    /// Mends L2 entries, as far as that can be done.
    fn clear_entries(&self, target: &Target<'_>) -> Result<(), Stop> {
        if self.found.corruptions_fixed == 0 {
            return Ok(());
        }
        let references = self.references()?;
        let metadata = self.metadata(&references);
        self.for_each_pass(&mut |pass| entries::clear(pass, &references, &metadata, target))?;
        target.flush()?;
        Ok(())
    }

    /// Mends refcounts and flags in place.
    fn mend(
        &self,
        target: &Target<'_>,
        repair: Repair,
        report: &mut RepairReport,
    ) -> Result<Fixed, Stop> {
        let all = repair == Repair::All;
        let mut refcounts = Tally::default();
        if self.found.corruptions + self.found.leaks > 0 {
            let raise = Round {
                raises: all,
                lowers: false,
                punches: false,
                says: true,
            };
            self.refcounts(target, raise, &mut refcounts)?;
            target.flush()?;
        }
        let structural = self
            .found
            .corruptions
            .saturating_sub(refcounts.corruptions + refcounts.corruptions_fixed);
        let lower = Round {
            raises: false,
            lowers: true,
            // Where references could not be followed, what looks free may be somebody's last hope.
            punches: structural == 0,
            says: false,
        };
        let leaks = refcounts.leaks_fixed;
        let remain = structural + refcounts.corruptions + self.found.check_errors;
        let mut fixed = Fixed {
            corruptions_fixed: self.found.corruptions_fixed + refcounts.corruptions_fixed,
            leaks_fixed: leaks,
            ..Fixed::default()
        };
        report.note(refcounts);
        let mut silent = Tally::default();
        let mut flags = Tally::default();
        if all {
            self.flags(target, FlagRound::CLEAR, &mut flags)?;
            target.flush()?;
        }
        if leaks > 0 {
            self.refcounts(target, lower, &mut silent)?;
            target.flush()?;
        }
        if all {
            self.flags(target, FlagRound::SET, &mut silent)?;
        } else {
            self.flags_by_disk(target, remain == 0, &mut flags)?;
        }
        fixed.add_flags(&flags);
        report.note(flags);
        Ok(fixed)
    }

    /// Writes new refcount structures, and gives the old ones back.
    fn rebuild(
        &self,
        target: &Target<'_>,
        control: &Control,
        report: &mut RepairReport,
    ) -> Result<Fixed, Stop> {
        report.steps.push(Finding {
            corruption: true,
            host: None,
            message: "Rebuilding refcount structure".into(),
        });
        let order = self.subject.header.refcount_order;
        let geometry = rebuild::Geometry::new(self.subject, order);
        let table = rebuild::write(&geometry, target.storage()?, &|visit| {
            self.for_each_pass(&mut |pass| visit(&pass.counts))
        })?;
        let header = self.switch(target, table)?;

        let subject = Subject::new(&header, self.subject.storage, control)?;
        let image = Image::read_counts(&subject, self.window)?;
        let left = image.found.corruptions;
        report.note(image.found.clone());
        let lower = Round {
            raises: false,
            lowers: true,
            punches: left == 0,
            says: true,
        };
        let mut old = Tally::default();
        image.refcounts(target, lower, &mut old)?;
        report.note(old);
        target.flush()?;
        let mut fixed = Fixed {
            corruptions_fixed: self.found.corruptions_fixed
                + self.found.corruptions.saturating_sub(left),
            leaks_fixed: self.found.leaks,
            ..Fixed::default()
        };
        let mut flags = Tally::default();
        let mut silent = Tally::default();
        image.flags(target, FlagRound::CLEAR, &mut flags)?;
        image.flags(target, FlagRound::SET, &mut silent)?;
        fixed.add_flags(&flags);
        report.note(flags);
        Ok(fixed)
    }

    /// Counts without comparing.
    fn read_counts(subject: &'s Subject<'s>, window: u64) -> Result<Self, Stop> {
        let mut found = Tally::default();
        let structures = Structures::read(subject, &mut found)?;
        let mut whole = None;
        structures.for_each_pass(subject, window, &mut |pass, counted| {
            found.merge(counted);
            note_overflows(&pass, &structures.refcounts, &mut found);
            if pass.is_last && pass.counts.window().start == 0 {
                whole = Some(pass);
            }
            Ok(())
        })?;
        Ok(Self {
            subject,
            structures,
            window,
            whole,
            found,
            highest: 0,
            may_have_wrong_flags: true,
        })
    }

    /// Makes the header point to `table`.
    fn switch(&self, target: &Target<'_>, table: NewTable) -> Result<Header, Stop> {
        let storage = target.storage()?;
        storage.flush()?;
        rebuild::switch(storage, self.subject.header, table)?;
        storage.flush()?;
        Ok(Header::read(storage)?)
    }

    fn refcounts(&self, target: &Target<'_>, round: Round, tally: &mut Tally) -> Result<(), Stop> {
        self.for_each_pass(&mut |pass| {
            let window = pass.counts.window();
            let control = self.subject.control;
            control.enter("mending refcounts", window.end - window.start);
            mend(pass, &self.structures.refcounts, target, round, tally)
        })
    }

    /// Goes through the flags, by what the refcounts should be.
    fn flags(&self, target: &Target<'_>, round: FlagRound, tally: &mut Tally) -> Result<(), Stop> {
        if !self.may_have_wrong_flags {
            return Ok(());
        }
        let references = self.references()?;
        let metadata = self.metadata(&references);
        let repair = FlagRepair {
            target,
            metadata: &metadata,
            references: &references,
            clears: round.clears,
            sets: round.sets,
            says: round.says,
            counts_are_final: true,
        };
        self.for_each_pass(&mut |pass| {
            let structures = &self.structures;
            let active = &structures.l1_tables[0];
            self.subject.control.enter("mending flags", active.entries);
            copied::check(pass, active, &structures.refcounts, tally, Some(&repair))
        })
    }

    /// Goes through the flags, by what the refcounts on disk are. The counts are gone afterwards.
    fn flags_by_disk(
        &self,
        target: &Target<'_>,
        mends: bool,
        tally: &mut Tally,
    ) -> Result<(), Stop> {
        if !self.may_have_wrong_flags {
            return Ok(());
        }
        let references = self.references()?;
        let metadata = self.metadata(&references);
        let repair = FlagRepair {
            target,
            metadata: &metadata,
            references: &references,
            clears: true,
            sets: true,
            says: true,
            counts_are_final: false,
        };
        self.for_each_pass(&mut |pass| {
            let refcounts = &self.structures.refcounts;
            compare(pass, refcounts, Keep::DiskSingles, &mut Tally::default())?;
            let active = &self.structures.l1_tables[0];
            copied::check(pass, active, refcounts, tally, mends.then_some(&repair))
        })
    }

    /// What may be overwritten: everything but guest data, and without the L2 tables when it is
    /// known that all their entries and flags are right.
    fn overwritten(&self) -> Result<Vec<Range<u64>>, Stop> {
        let references = self.references()?;
        let metadata = self.metadata(&references);
        let with_tables = self.found.needs_rebuild || self.may_have_wrong_flags;
        let tables: &[L2Reference] = if with_tables { &references } else { &[] };
        Ok(metadata.with_tables(tables, self.subject.cluster_bits))
    }

    fn metadata(&self, references: &[L2Reference]) -> Metadata {
        Metadata::new(self.subject, &self.structures, references)
    }

    /// All L1 entries, sorted by where their tables are. None of an image with absurdly many: its
    /// tables are left as they are.
    fn references(&self) -> Result<Vec<L2Reference>, Stop> {
        let mut references = Vec::new();
        for table in &self.structures.l1_tables {
            for_each_l1_entry(self.subject, table, &mut |index, entry| {
                let offset = entry & OFFSET_MASK;
                if offset != 0 && references.len() <= MAX_REFERENCES {
                    references.push(L2Reference::new(offset, table.number, index));
                }
                Ok(())
            })?;
        }
        if references.len() > MAX_REFERENCES {
            references.clear();
        }
        references.sort_unstable();
        Ok(references)
    }
}

/// Which flags are written in a round, and whether it speaks for both.
#[derive(Clone, Copy, Debug)]
struct FlagRound {
    clears: bool,
    sets: bool,
    says: bool,
}

impl FlagRound {
    /// Before refcounts are lowered.
    const CLEAR: Self = Self {
        clears: true,
        sets: false,
        says: true,
    };
    /// After that.
    const SET: Self = Self {
        clears: false,
        sets: true,
        says: false,
    };
}

impl Tally {
    /// As found, nothing mended yet.
    fn all(&self) -> Self {
        let mut all = self.clone();
        all.corruptions += std::mem::take(&mut all.corruptions_fixed);
        all.leaks += std::mem::take(&mut all.leaks_fixed);
        all
    }
}

impl CheckReport {
    /// Nothing endangers data.
    fn is_sound(&self) -> bool {
        self.corruptions == 0 && self.check_errors == 0
    }
}
