//! GUID partition table: two copies, the better one is read, and what is wrong with both is said.

mod encode;
mod entries;
mod header;

use std::ops::Range;

use header::{Copy, Found};

use super::damage::Findings;
use super::mbr::{BootSector, Entry};
use super::{Partition, PartitionTable, TableKind, sort};
use crate::error::Result;
use crate::phrase::{Phrase, gettext_noop};
use crate::storage::Storage;
use crate::units::KIB;

pub(super) use encode::{USUAL_ENTRIES, array_bytes, encode, wipe};
pub(super) use entries::{LEGACY_BOOT, describe_attributes};

/// The header does not say how long sectors are; its place does.
const SECTOR_SIZES: [u64; 2] = [512, 4096];

/// Both copies of the table, as far as they are there.
#[derive(Debug)]
pub(super) struct Copies {
    sector_size: u64,
    primary: Found,
    backup: Found,
    /// The sector of `backup`, or where it should be.
    backup_at: u64,
}

impl Copies {
    /// Looks at the places where the headers stand, for both sector sizes.
    pub(super) fn find(disk: &dyn Storage, disk_size: u64) -> Result<Option<Self>> {
        let mut best: Option<Self> = None;
        for sector_size in SECTOR_SIZES {
            let copies = Self::read(disk, disk_size, sector_size)?;
            if copies.rank() > best.as_ref().map_or(0, Self::rank) {
                best = Some(copies);
            }
        }
        Ok(best)
    }

    /// At least one copy whose checksums match.
    pub(super) fn any_good(&self) -> bool {
        self.primary.good().is_some() || self.backup.good().is_some()
    }

    fn read(disk: &dyn Storage, disk_size: u64, sector_size: u64) -> Result<Self> {
        let last = (disk_size / sector_size).saturating_sub(1);
        let primary = header::read(disk, disk_size, sector_size, 1)?;
        // The primary knows where its backup is, which matters after the disk has grown.
        let named = primary.copy().map(|copy| copy.header.alternate);
        let mut backup = Found::Nothing;
        let mut backup_at = last;
        for sector in named.filter(|sector| *sector > 1).into_iter().chain([last]) {
            if !backup.is_nothing() || sector <= 1 {
                continue;
            }
            backup = header::read(disk, disk_size, sector_size, sector)?;
            backup_at = sector;
        }
        Ok(Self {
            sector_size,
            primary,
            backup,
            backup_at,
        })
    }

    /// The bytes of both copies: headers and arrays.
    pub(super) fn places(&self, disk_size: u64) -> Vec<Range<u64>> {
        let size = self.sector_size;
        let mut places = Vec::new();
        for (found, sector) in [(&self.primary, 1), (&self.backup, self.backup_at)] {
            if found.is_nothing() {
                continue;
            }
            let header = sector.saturating_mul(size);
            places.push(header..header.saturating_add(size));
            if let Some(copy) = found.copy() {
                let array = copy.header.entries_at.saturating_mul(size);
                let length = (copy.array.len() as u64).next_multiple_of(size);
                places.push(array..array.saturating_add(length));
            }
        }
        places.retain(|range| range.end <= disk_size);
        places
    }

    fn rank(&self) -> u8 {
        let of = |found: &Found, good, usable, unusable| match found {
            Found::Copy(copy) if copy.fault.is_none() => good,
            Found::Copy(_) => usable,
            Found::Unusable(_) => unusable,
            Found::Nothing => 0,
        };
        of(&self.primary, 6, 4, 2).max(of(&self.backup, 5, 3, 1))
    }

    /// The copy to read partitions from, and whether it is the primary one.
    fn best(&self) -> Option<(&Copy, bool)> {
        let good = |found: &'_ Found| found.good().is_some();
        match (self.primary.copy(), self.backup.copy()) {
            (Some(primary), _) if good(&self.primary) => Some((primary, true)),
            (_, Some(backup)) if good(&self.backup) => Some((backup, false)),
            (Some(primary), _) => Some((primary, true)),
            (None, Some(backup)) => Some((backup, false)),
            (None, None) => None,
        }
    }
}

/// Whether what was found makes this a GPT disk. Linux and firmware want a protective MBR. Without
/// one, a good primary counts unless the first sector holds something else; a good backup only if
/// the beginning of the disk was wiped (else it is a leftover of earlier days).
pub(super) fn counts(
    disk: &dyn Storage,
    disk_size: u64,
    boot: &BootSector,
    copies: Option<&Copies>,
) -> Result<bool> {
    if boot.signed && boot.protective().is_some() {
        return Ok(true);
    }
    let Some(copies) = copies else {
        return Ok(false);
    };
    if boot.has_partitions(disk_size) || boot.is_file_system {
        return Ok(false);
    }
    if copies.primary.good().is_some() {
        return Ok(true);
    }
    match copies.backup.good() {
        Some(backup) => is_wiped(disk, disk_size, backup, copies.sector_size),
        None => Ok(false),
    }
}

/// Nothing but zeroes before the first usable sector, as far as superblocks lie (128 KiB).
fn is_wiped(disk: &dyn Storage, disk_size: u64, backup: &Copy, sector_size: u64) -> Result<bool> {
    let usable = backup.header.first_usable.saturating_mul(sector_size);
    let length = usable.min(128 * KIB).min(disk_size);
    let mut head = vec![0; usize::try_from(length).unwrap_or(0)];
    disk.read_at(&mut head, 0)?;
    Ok(head.iter().all(|byte| *byte == 0))
}

/// The table of a disk of which [`counts`] said that it is a GPT one.
pub(super) fn read(
    disk_size: u64,
    boot: &BootSector,
    copies: Option<&Copies>,
) -> Result<PartitionTable> {
    let mut findings = Findings::default();
    let sector_size = copies.map_or(512, |copies| copies.sector_size);
    let mut table = PartitionTable {
        kind: TableKind::Gpt,
        sector_size,
        disk_size,
        id: None,
        partitions: Vec::new(),
        usable: 0..0,
        entries: copies
            .and_then(Copies::best)
            .map_or(0, |(copy, _)| copy.header.entry_count),
        damage: Vec::new(),
    };
    if let Some(copies) = copies {
        judge_copies(copies, disk_size, &mut findings);
    }
    if let Some((copy, _)) = copies.and_then(Copies::best) {
        let header = &copy.header;
        table.id = Some(header.disk.to_string());
        table.partitions = entries::partitions(copy, sector_size, &mut findings)?;
        let start = header.first_usable.saturating_mul(sector_size);
        let end = header.last_usable.saturating_add(1);
        let end = end.saturating_mul(sector_size).min(disk_size);
        table.usable = start.min(end)..end;
    } else {
        findings.serious(
            sector_size,
            Phrase::new(gettext_noop("the MBR announces a GPT, but neither its primary nor its backup copy can be read: the partitions are lost")),
        );
    }
    sort(&mut table.partitions);
    findings.judge_ranges(&table.partitions, disk_size);
    judge_protective(boot, &table, copies, &mut findings);
    table.damage = findings.finish();
    Ok(table)
}

fn judge_copies(copies: &Copies, disk_size: u64, findings: &mut Findings) {
    let sector_size = copies.sector_size;
    let backup_offset = copies.backup_at.saturating_mul(sector_size);
    let used = copies.best().map(|(_, is_primary)| is_primary);
    let primary_fault = match (&copies.primary, copies.primary.fault()) {
        (Found::Nothing, _) => Some(Phrase::new(gettext_noop("primary GPT is missing"))),
        (_, Some(why)) => Some(
            Phrase::new(gettext_noop("primary GPT is damaged: {reason}"))
                .phrase("reason", why.clone()),
        ),
        (_, None) => None,
    };
    let backup_is_good = copies.backup.good().is_some();
    if let Some(fault) = primary_fault {
        match used {
            Some(true) => {
                findings.serious(sector_size, used_all_the_same(fault));
            }
            Some(false) if backup_is_good => {
                let message = Phrase::new(gettext_noop("{finding}; the backup is used"));
                findings.note(sector_size, message.phrase("finding", fault));
            }
            _ => findings.serious(sector_size, fault),
        }
    }
    let displaced = judge_backup_place(copies, disk_size, findings);
    match (&copies.backup, copies.backup.fault()) {
        (Found::Nothing, _) if displaced => {}
        (Found::Nothing, _) => findings.note(
            backup_offset,
            Phrase::new(gettext_noop("backup GPT is missing")),
        ),
        (_, Some(why)) => {
            let message = Phrase::new(gettext_noop("backup GPT is damaged: {reason}"))
                .phrase("reason", why.clone());
            if used == Some(false) {
                findings.serious(backup_offset, used_all_the_same(message));
            } else {
                findings.note(backup_offset, message);
            }
        }
        (_, None) => {}
    }
    judge_difference(copies, backup_offset, findings);
}

fn used_all_the_same(finding: Phrase) -> Phrase {
    Phrase::new(gettext_noop("{finding}; it is used all the same")).phrase("finding", finding)
}

/// Says it when the backup is not in the last sector. True if the disk does not reach it.
fn judge_backup_place(copies: &Copies, disk_size: u64, findings: &mut Findings) -> bool {
    let sector_size = copies.sector_size;
    let last = (disk_size / sector_size).saturating_sub(1);
    let Some(copy) = copies.primary.copy() else {
        return false;
    };
    let named = copy.header.alternate;
    if named > last {
        let missing = (named - last).saturating_mul(sector_size);
        let message = Phrase::new(gettext_noop(
            "the disk is {size} too short for its GPT: its end with the backup GPT was cut off",
        ))
        .size("size", missing);
        findings.serious(last.saturating_mul(sector_size), message);
        return true;
    }
    if named > 1 && named < last && copies.backup_at == named {
        let message = Phrase::new(gettext_noop(
            "backup GPT is not at the end of the disk: the disk has grown by {size}",
        ));
        findings.note(
            named * sector_size,
            message.size("size", (last - named) * sector_size),
        );
    } else if named <= 1 {
        let message = Phrase::new(gettext_noop(
            "primary GPT names sector {sector} as the place of its backup",
        ));
        findings.note(sector_size, message.text("sector", named.to_string()));
    }
    false
}

fn judge_difference(copies: &Copies, backup_offset: u64, findings: &mut Findings) {
    let (Some(primary), Some(backup)) = (copies.primary.good(), copies.backup.good()) else {
        return;
    };
    let (first, second) = (&primary.header, &backup.header);
    if second.alternate != 1 {
        let message = Phrase::new(gettext_noop(
            "backup GPT names sector {sector} as the place of the primary instead of 1",
        ));
        findings.note(
            backup_offset,
            message.text("sector", second.alternate.to_string()),
        );
    }
    let difference = if first.disk != second.disk {
        Phrase::new(gettext_noop("another disk GUID"))
    } else if primary.array != backup.array {
        Phrase::new(gettext_noop("other partitions"))
    } else if (first.first_usable, first.last_usable) != (second.first_usable, second.last_usable) {
        Phrase::new(gettext_noop("other usable sectors"))
    } else {
        return;
    };
    let message = Phrase::new(gettext_noop(
        "backup GPT differs from the primary: it has {difference}",
    ));
    findings.note(backup_offset, message.phrase("difference", difference));
}

fn judge_protective(
    boot: &BootSector,
    table: &PartitionTable,
    copies: Option<&Copies>,
    findings: &mut Findings,
) {
    let Some(protective) = boot.protective() else {
        findings.note(
            446,
            Phrase::new(gettext_noop(
                "protective MBR is missing: Linux and firmware do not see this GPT",
            )),
        );
        return;
    };
    if !boot.signed {
        findings.note(
            510,
            Phrase::new(gettext_noop("protective MBR has lost its signature 55 AA: Linux and firmware do not see this GPT")),
        );
    }
    let hybrid: Vec<Entry> = boot.ordinary().collect();
    if !hybrid.is_empty() {
        judge_hybrid(&hybrid, table, findings);
        return;
    }
    if protective.start != 1 {
        let message = Phrase::new(gettext_noop(
            "protective MBR begins at sector {sector} instead of 1: Linux does not see this GPT",
        ));
        findings.note(446, message.text("sector", protective.start.to_string()));
    }
    judge_protective_size(protective, table, copies, findings);
}

fn judge_protective_size(
    protective: Entry,
    table: &PartitionTable,
    copies: Option<&Copies>,
    findings: &mut Findings,
) {
    let sectors = table.disk_size / table.sector_size;
    let covered = u64::from(protective.start) + u64::from(protective.sectors);
    // The largest number is written for disks of any size by several tools.
    if protective.sectors == u32::MAX || covered == sectors {
        return;
    }
    let message = Phrase::new(gettext_noop(
        "protective MBR covers {covered} of a {size} disk",
    ))
    .size("covered", covered.saturating_mul(table.sector_size))
    .size("size", table.disk_size);
    // A resized disk has been told already, by the place of the backup; this follows from it.
    let explained = copies
        .and_then(|copies| copies.primary.copy())
        .is_some_and(|primary| primary.header.alternate.checked_add(1) == Some(covered));
    if !explained {
        findings.note(446, message);
    }
}

fn judge_hybrid(hybrid: &[Entry], table: &PartitionTable, findings: &mut Findings) {
    let slots: Vec<String> = hybrid.iter().map(|entry| entry.slot.to_string()).collect();
    let message = Phrase::new(gettext_noop(
        "hybrid MBR: entry {entries} shows partitions to programs that do not know GPT",
    ));
    findings.note(446, message.text("entries", slots.join(", ")));
    for entry in hybrid {
        let start = u64::from(entry.start) * table.sector_size;
        let end = start + u64::from(entry.sectors) * table.sector_size;
        let matches = |partition: &Partition| partition.range == (start..end);
        if !table.partitions.iter().any(matches) {
            let last = u64::from(entry.start) + u64::from(entry.sectors.max(1)) - 1;
            let message = Phrase::new(gettext_noop(
                "hybrid MBR entry {number} (sectors {first} to {last}) is no partition of the GPT",
            ))
            .count("number", u64::from(entry.slot))
            .text("first", entry.start.to_string())
            .text("last", last.to_string());
            findings.note(446, message);
        }
    }
}
