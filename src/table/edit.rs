//! Pure edits of a partition table: what it would look like afterwards, or why it cannot be.
//! Nothing is read and nothing is written; [`super::encode()`] makes bytes of the result.

use std::fmt;
use std::ops::Range;

use uuid::Uuid;

use super::{Partition, PartitionTable, PartitionType, Role, TableKind, gpt, sort, types};
use crate::units::ByteSize;

/// Why a table cannot be edited that way.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Refusal {
    /// There is no partition of this number.
    NoSuchPartition(u32),
    /// The disk has no table, or not the kind that knows this property.
    WrongTable(&'static str),
    /// The range is empty or not made of whole sectors of this many bytes.
    NotSectors(u64),
    /// The range leaves the bytes that partitions may use.
    Outside {
        /// Those bytes.
        usable: Range<u64>,
    },
    /// Another partition is in the way.
    Overlaps {
        /// Its number.
        other: u32,
        /// Bytes that both would cover.
        by: u64,
    },
    /// The table has no entry left; this is how many it has.
    Full(u32),
    /// A logical partition must lie inside the extended one, behind a sector that describes it.
    NoRoomInExtended,
    /// There is an extended partition already, or none where one is needed.
    Extended(&'static str),
    /// An extended partition must keep what it contains.
    NotEmpty(u32),
    /// A partition name has at most 36 UTF-16 units; this one has so many.
    NameTooLong(usize),
    /// Another partition has this identifier.
    SameId(u32),
    /// The disk would be too small: it needs so many bytes for partitions and table.
    DiskTooSmall(u64),
    /// The other kind of table could not hold this.
    WouldLose(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchPartition(number) => write!(f, "there is no partition {number}"),
            Self::WrongTable(what) => f.write_str(what),
            Self::NotSectors(size) => write!(f, "a partition is made of sectors of {size} bytes"),
            Self::Outside { usable } => write!(
                f,
                "partitions can only lie between {:#x} and {:#x}",
                usable.start, usable.end
            ),
            Self::Overlaps { other, by } => {
                write!(f, "it would overlap partition {other} by {}", ByteSize(*by))
            }
            Self::Full(most) => write!(f, "the table holds at most {most} partitions"),
            Self::NoRoomInExtended => f.write_str(
                "a logical partition needs room inside the extended one, behind a free sector",
            ),
            Self::Extended(why) => f.write_str(why),
            Self::NotEmpty(inside) => write!(
                f,
                "the extended partition contains partition {inside}, which would be lost"
            ),
            Self::NameTooLong(units) => {
                write!(f, "a partition name has at most 36 characters, not {units}")
            }
            Self::SameId(other) => write!(f, "partition {other} has this identifier already"),
            Self::DiskTooSmall(least) => write!(
                f,
                "partitions and table need a disk of at least {} ({least} bytes)",
                ByteSize(*least)
            ),
            Self::WouldLose(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for Refusal {}

/// What a new partition shall be.
#[derive(Clone, Debug)]
pub struct NewPartition {
    /// The bytes it covers: whole sectors.
    pub range: Range<u64>,
    /// Its type, of the table's kind.
    pub kind: PartitionType,
    /// Its place in an MBR; `Primary` in a GPT.
    pub role: Role,
    /// Its GPT name.
    pub name: Option<String>,
    /// Its GPT identifier, which the caller makes; nothing here draws random numbers.
    pub uuid: Option<Uuid>,
}

/// Units of a GPT partition name.
const NAME_UNITS: usize = 36;

impl PartitionTable {
    /// A GPT without partitions.
    ///
    /// # Errors
    /// [`Refusal::DiskTooSmall`] for a disk that cannot hold the two copies and one sector.
    pub fn new_gpt(disk_size: u64, sector_size: u64, disk: Uuid) -> Result<Self, Refusal> {
        Self::new_gpt_of(disk_size, sector_size, disk, gpt::USUAL_ENTRIES)
    }

    /// A GPT with room for so many partitions.
    pub(super) fn new_gpt_of(
        disk_size: u64,
        sector_size: u64,
        disk: Uuid,
        entries: u32,
    ) -> Result<Self, Refusal> {
        let head = 2 * sector_size + gpt::array_bytes(entries, sector_size);
        let mut table = Self {
            kind: TableKind::Gpt,
            sector_size,
            disk_size,
            id: Some(disk.to_string()),
            partitions: Vec::new(),
            usable: head..head,
            entries,
            damage: Vec::new(),
        };
        table.resize_disk(disk_size)?;
        Ok(table)
    }

    /// An MBR without partitions. `signature` should be random and not 0.
    ///
    /// # Errors
    /// [`Refusal::DiskTooSmall`] for a disk of less than two sectors.
    pub fn new_mbr(disk_size: u64, sector_size: u64, signature: u32) -> Result<Self, Refusal> {
        let mut table = Self {
            kind: TableKind::Mbr,
            sector_size,
            disk_size,
            id: Some(format!("0x{signature:08x}")),
            partitions: Vec::new(),
            usable: sector_size..sector_size,
            entries: 4,
            damage: Vec::new(),
        };
        table.resize_disk(disk_size)?;
        Ok(table)
    }

    /// The partition of this number.
    #[must_use]
    pub fn partition(&self, number: u32) -> Option<&Partition> {
        self.partitions
            .iter()
            .find(|partition| partition.number == number)
    }

    /// The smallest disk that holds all partitions and the table, in bytes; without a table 0.
    #[must_use]
    pub fn minimum_disk_size(&self) -> u64 {
        let last = self.partitions.iter().map(|partition| partition.range.end);
        let end = last.max().unwrap_or(0).max(self.usable.start);
        match self.kind {
            TableKind::None => 0,
            TableKind::Mbr => end,
            TableKind::Gpt => end.saturating_add(self.tail()),
        }
    }

    /// The disk has another size from now on: a GPT's backup moves to the new end.
    ///
    /// # Errors
    /// [`Refusal::DiskTooSmall`] when partitions would be cut.
    pub fn resize_disk(&mut self, disk_size: u64) -> Result<(), Refusal> {
        let least = self.minimum_disk_size();
        // A table alone is of no use: one sector at least must be left for a partition.
        let least = least.max(self.usable.start + self.sector_size);
        if self.kind != TableKind::None && disk_size < least {
            return Err(Refusal::DiskTooSmall(least));
        }
        let whole = disk_size / self.sector_size * self.sector_size;
        self.disk_size = disk_size;
        self.usable.end = match self.kind {
            TableKind::None => disk_size,
            TableKind::Mbr => whole.min(self.sector_size << 32),
            TableKind::Gpt => whole - self.tail(),
        };
        Ok(())
    }

    /// Adds a partition and answers its number: the lowest free one; logical ones are numbered
    /// from 5 in disk order, so others may get another number.
    ///
    /// # Errors
    /// A [`Refusal`], and nothing is changed.
    pub fn add(&mut self, new: NewPartition) -> Result<u32, Refusal> {
        let type_name = self.check_kind(new.kind)?;
        self.check_role(&new)?;
        self.check_range(&new.range, new.role, None)?;
        let uuid = match self.kind {
            TableKind::Gpt => new.uuid.map(|uuid| uuid.to_string()),
            TableKind::Mbr | TableKind::None => None,
        };
        let mut partition = Partition {
            number: self.free_number(new.role)?,
            range: new.range,
            kind: new.kind,
            type_name,
            name: None,
            uuid: None,
            attributes: 0,
            active: false,
            role: new.role,
        };
        if let Some(name) = new.name {
            partition.name = self.checked_name(&name)?;
        }
        if let Some(uuid) = uuid {
            self.check_uuid(&uuid, partition.number)?;
            partition.uuid = Some(uuid);
        }
        let start = partition.range.start;
        self.partitions.push(partition);
        self.put_in_order();
        let added = self.partitions.iter();
        let added = added.filter(|partition| partition.role == new.role);
        Ok(added
            .filter(|partition| partition.range.start == start)
            .map(|partition| partition.number)
            .next_back()
            .unwrap_or(0))
    }

    /// Removes a partition. Of an MBR, logical ones behind it get a lower number, as Linux counts.
    ///
    /// # Errors
    /// [`Refusal::NoSuchPartition`]; [`Refusal::NotEmpty`] for an extended one with content.
    pub fn remove(&mut self, number: u32) -> Result<(), Refusal> {
        let index = self.index_of(number)?;
        if self.partitions[index].role == Role::Extended
            && let Some(inside) = self.logical().next()
        {
            return Err(Refusal::NotEmpty(inside.number));
        }
        self.partitions.remove(index);
        self.put_in_order();
        Ok(())
    }

    /// Moves, grows or cuts a partition; its content is somebody else's business.
    ///
    /// # Errors
    /// A [`Refusal`], and nothing is changed.
    pub fn set_range(&mut self, number: u32, range: Range<u64>) -> Result<(), Refusal> {
        let index = self.index_of(number)?;
        let role = self.partitions[index].role;
        self.check_range(&range, role, Some(number))?;
        self.partitions[index].range = range;
        self.put_in_order();
        Ok(())
    }

    /// Gives a partition another type.
    ///
    /// # Errors
    /// [`Refusal::NoSuchPartition`], [`Refusal::WrongTable`]; [`Refusal::Extended`] where the type
    /// would make or unmake an extended partition.
    pub fn set_kind(&mut self, number: u32, kind: PartitionType) -> Result<(), Refusal> {
        let index = self.index_of(number)?;
        let type_name = self.check_kind(kind)?;
        if is_extended(kind) != (self.partitions[index].role == Role::Extended) {
            return Err(Refusal::Extended(
                "a partition cannot become an extended one, nor an extended one another",
            ));
        }
        let partition = &mut self.partitions[index];
        partition.kind = kind;
        partition.type_name = type_name;
        Ok(())
    }

    /// Names a partition of a GPT; an empty name is none.
    ///
    /// # Errors
    /// [`Refusal::NoSuchPartition`], [`Refusal::WrongTable`], [`Refusal::NameTooLong`].
    pub fn set_name(&mut self, number: u32, name: &str) -> Result<(), Refusal> {
        let index = self.index_of(number)?;
        self.partitions[index].name = self.checked_name(name)?;
        Ok(())
    }

    /// Gives a partition of a GPT another identifier.
    ///
    /// # Errors
    /// [`Refusal::NoSuchPartition`], [`Refusal::WrongTable`], [`Refusal::SameId`].
    pub fn set_uuid(&mut self, number: u32, uuid: Uuid) -> Result<(), Refusal> {
        let index = self.index_of(number)?;
        self.check_gpt("only partitions of a GPT have an identifier of their own")?;
        let uuid = uuid.to_string();
        self.check_uuid(&uuid, number)?;
        self.partitions[index].uuid = Some(uuid);
        Ok(())
    }

    /// Sets the attribute bits of a partition of a GPT.
    ///
    /// # Errors
    /// [`Refusal::NoSuchPartition`], [`Refusal::WrongTable`].
    pub fn set_attributes(&mut self, number: u32, attributes: u64) -> Result<(), Refusal> {
        let index = self.index_of(number)?;
        self.check_gpt("only partitions of a GPT have attributes")?;
        let partition = &mut self.partitions[index];
        partition.attributes = attributes;
        partition.active = attributes & gpt::LEGACY_BOOT != 0;
        Ok(())
    }

    /// Marks a partition as the one to boot from, or not. Of an MBR at most one primary is marked:
    /// the others lose the mark. In a GPT it is the "legacy boot" attribute.
    ///
    /// # Errors
    /// [`Refusal::NoSuchPartition`]; [`Refusal::Extended`] for what no boot code looks at.
    pub fn set_active(&mut self, number: u32, active: bool) -> Result<(), Refusal> {
        let index = self.index_of(number)?;
        if self.kind == TableKind::Gpt {
            let attributes = self.partitions[index].attributes & !gpt::LEGACY_BOOT;
            let bit = if active { gpt::LEGACY_BOOT } else { 0 };
            return self.set_attributes(number, attributes | bit);
        }
        if active && self.partitions[index].role != Role::Primary {
            return Err(Refusal::Extended("only a primary partition can be active"));
        }
        if active {
            for partition in &mut self.partitions {
                partition.active = false;
            }
        }
        self.partitions[index].active = active;
        Ok(())
    }

    /// Bytes of a GPT behind the usable ones: the array (as long as the one in front) and the
    /// header.
    fn tail(&self) -> u64 {
        gpt::array_bytes(self.entries, self.sector_size) + self.sector_size
    }

    fn index_of(&self, number: u32) -> Result<usize, Refusal> {
        self.partitions
            .iter()
            .position(|partition| partition.number == number)
            .ok_or(Refusal::NoSuchPartition(number))
    }

    fn extended(&self) -> Option<&Partition> {
        self.partitions
            .iter()
            .find(|partition| partition.role == Role::Extended)
    }

    fn logical(&self) -> impl Iterator<Item = &Partition> {
        self.partitions
            .iter()
            .filter(|partition| partition.role == Role::Logical)
    }

    fn check_gpt(&self, what: &'static str) -> Result<(), Refusal> {
        match self.kind {
            TableKind::Gpt => Ok(()),
            TableKind::Mbr | TableKind::None => Err(Refusal::WrongTable(what)),
        }
    }

    /// The name of a type that this table can hold.
    fn check_kind(&self, kind: PartitionType) -> Result<String, Refusal> {
        match (self.kind, kind) {
            (TableKind::Gpt, PartitionType::Gpt(guid)) if !guid.is_nil() => Ok(types::gpt_name(
                guid,
            )
            .map_or_else(|| format!("unknown ({guid})"), str::to_owned)),
            (TableKind::Mbr, PartitionType::Mbr(code)) if !matches!(code, 0 | 0xee) => {
                Ok(types::mbr_name(code)
                    .map_or_else(|| format!("unknown (0x{code:02x})"), str::to_owned))
            }
            (TableKind::None, _) => Err(Refusal::WrongTable("the disk has no partition table")),
            _ => Err(Refusal::WrongTable(
                "the type belongs to another kind of table",
            )),
        }
    }

    fn check_role(&self, new: &NewPartition) -> Result<(), Refusal> {
        if is_extended(new.kind) != (new.role == Role::Extended) {
            return Err(Refusal::Extended(
                "an extended partition needs its own type",
            ));
        }
        match (self.kind, new.role) {
            (_, Role::Primary) => Ok(()),
            (TableKind::Gpt | TableKind::None, _) => Err(Refusal::WrongTable(
                "only an MBR has extended and logical partitions",
            )),
            (TableKind::Mbr, Role::Extended) if self.extended().is_some() => {
                Err(Refusal::Extended("there is an extended partition already"))
            }
            (TableKind::Mbr, Role::Logical) if self.extended().is_none() => Err(Refusal::Extended(
                "a logical partition needs an extended one around it",
            )),
            (TableKind::Mbr, _) => Ok(()),
        }
    }

    /// Whether a partition of `role` may cover `range`; `own` is the one that is to be changed.
    fn check_range(&self, range: &Range<u64>, role: Role, own: Option<u32>) -> Result<(), Refusal> {
        let size = self.sector_size;
        let whole = range.start.is_multiple_of(size) && range.end.is_multiple_of(size);
        if range.start >= range.end || !whole {
            return Err(Refusal::NotSectors(size));
        }
        if range.start < self.usable.start || range.end > self.usable.end {
            return Err(Refusal::Outside {
                usable: self.usable.clone(),
            });
        }
        let others = self
            .partitions
            .iter()
            .filter(|other| Some(other.number) != own);
        for other in others {
            // Logical ones lie inside the extended one; all others beside each other.
            let beside = match (role, other.role) {
                (Role::Logical, Role::Extended) | (Role::Extended, Role::Logical) => false,
                (Role::Logical, role) => role == Role::Logical,
                (_, role) => role != Role::Logical,
            };
            let shared = range
                .end
                .min(other.range.end)
                .saturating_sub(range.start.max(other.range.start));
            if beside && shared > 0 {
                return Err(Refusal::Overlaps {
                    other: other.number,
                    by: shared,
                });
            }
        }
        match role {
            Role::Primary => Ok(()),
            Role::Logical => self.check_logical(range, own),
            Role::Extended => self.check_extended(range),
        }
    }

    /// Each logical partition is described by a sector of its own in front of it, the first by the
    /// first one of the extended partition.
    fn check_logical(&self, range: &Range<u64>, own: Option<u32>) -> Result<(), Refusal> {
        let Some(extended) = self.extended() else {
            return Err(Refusal::Extended(
                "a logical partition needs an extended one around it",
            ));
        };
        let others = self.logical().filter(|other| Some(other.number) != own);
        let mut all: Vec<_> = others.map(|other| other.range.clone()).collect();
        all.push(range.clone());
        all.sort_by_key(|range| range.start);
        let mut cursor = extended.range.start;
        for range in &all {
            if range.start < cursor + self.sector_size {
                return Err(Refusal::NoRoomInExtended);
            }
            cursor = range.end;
        }
        if cursor > extended.range.end {
            return Err(Refusal::NoRoomInExtended);
        }
        Ok(())
    }

    fn check_extended(&self, range: &Range<u64>) -> Result<(), Refusal> {
        let lost = self.logical().find(|logical| {
            logical.range.start < range.start + self.sector_size || logical.range.end > range.end
        });
        match lost {
            Some(logical) => Err(Refusal::NotEmpty(logical.number)),
            None => Ok(()),
        }
    }

    fn free_number(&self, role: Role) -> Result<u32, Refusal> {
        let most = match (self.kind, role) {
            (TableKind::Gpt, _) => self.entries,
            // The numbers of logical ones follow from their order.
            (_, Role::Logical) => return Ok(u32::MAX),
            _ => 4,
        };
        (1..=most)
            .find(|number| self.partition(*number).is_none())
            .ok_or(Refusal::Full(most))
    }

    fn checked_name(&self, name: &str) -> Result<Option<String>, Refusal> {
        self.check_gpt("only partitions of a GPT have names")?;
        let units = name.encode_utf16().count();
        if units > NAME_UNITS {
            return Err(Refusal::NameTooLong(units));
        }
        Ok((!name.is_empty()).then(|| name.to_owned()))
    }

    fn check_uuid(&self, uuid: &str, own: u32) -> Result<(), Refusal> {
        let same = self
            .partitions
            .iter()
            .find(|other| other.number != own && other.uuid.as_deref() == Some(uuid));
        same.map_or(Ok(()), |other| Err(Refusal::SameId(other.number)))
    }

    /// Sorts, numbers logical partitions as Linux does, and renews what follows from numbers.
    pub(super) fn put_in_order(&mut self) {
        sort(&mut self.partitions);
        if self.kind != TableKind::Mbr {
            return;
        }
        let mut next = 5;
        let signature = self.id.as_deref().and_then(|id| id.strip_prefix("0x"));
        for partition in &mut self.partitions {
            if partition.role == Role::Logical {
                partition.number = next;
                next += 1;
            }
            partition.uuid =
                signature.map(|signature| format!("{signature}-{:02x}", partition.number));
        }
    }
}

fn is_extended(kind: PartitionType) -> bool {
    matches!(kind, PartitionType::Mbr(0x05 | 0x0f | 0x85))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::{GIB, MIB};
    use uuid::uuid;

    const LINUX: PartitionType = PartitionType::Gpt(uuid!("0fc63daf-8483-4772-8e79-3d69d8477de4"));

    fn gpt_disk() -> PartitionTable {
        PartitionTable::new_gpt(GIB, 512, Uuid::from_u128(7)).unwrap()
    }

    fn new(range: Range<u64>, kind: PartitionType, role: Role) -> NewPartition {
        NewPartition {
            range,
            kind,
            role,
            name: None,
            uuid: None,
        }
    }

    #[test]
    fn a_new_gpt_has_the_usual_places() {
        let table = gpt_disk();
        assert_eq!(table.usable, 34 * 512..GIB - 33 * 512);
        assert_eq!(
            PartitionTable::new_gpt(GIB, 4096, Uuid::nil())
                .unwrap()
                .usable,
            6 * 4096..GIB - 5 * 4096
        );
        assert_eq!(
            PartitionTable::new_gpt(20_000, 512, Uuid::nil()).unwrap_err(),
            Refusal::DiskTooSmall(68 * 512 - 512)
        );
    }

    #[test]
    fn partitions_lie_beside_each_other() {
        let mut table = gpt_disk();
        assert_eq!(table.add(new(MIB..100 * MIB, LINUX, Role::Primary)), Ok(1));
        assert_eq!(
            table.add(new(200 * MIB..300 * MIB, LINUX, Role::Primary)),
            Ok(2)
        );
        assert_eq!(
            table.add(new(250 * MIB..350 * MIB, LINUX, Role::Primary)),
            Err(Refusal::Overlaps {
                other: 2,
                by: 50 * MIB
            })
        );
        assert_eq!(table.set_range(1, MIB..200 * MIB), Ok(()));
        assert!(matches!(
            table.set_range(2, 200 * MIB..GIB),
            Err(Refusal::Outside { .. })
        ));
        assert_eq!(table.set_range(2, 1..513), Err(Refusal::NotSectors(512)));
        assert_eq!(
            table.set_range(9, MIB..2 * MIB),
            Err(Refusal::NoSuchPartition(9))
        );
        assert_eq!(table.remove(1), Ok(()));
        assert_eq!(table.add(new(MIB..2 * MIB, LINUX, Role::Primary)), Ok(1));
        assert_eq!(table.minimum_disk_size(), 300 * MIB + 33 * 512);
        assert_eq!(
            table.resize_disk(200 * MIB),
            Err(Refusal::DiskTooSmall(300 * MIB + 33 * 512))
        );
        table.resize_disk(2 * GIB).unwrap();
        assert_eq!(table.usable.end, 2 * GIB - 33 * 512);
    }

    #[test]
    fn logical_partitions_are_numbered_in_disk_order() {
        let mut table = PartitionTable::new_mbr(GIB, 512, 0x1234_abcd).unwrap();
        let linux = PartitionType::Mbr(0x83);
        let inside = |start: u64, end: u64| new(start * MIB..end * MIB, linux, Role::Logical);
        assert!(matches!(
            table.add(inside(10, 20)),
            Err(Refusal::Extended(_))
        ));
        let extended = new(MIB..500 * MIB, PartitionType::Mbr(5), Role::Extended);
        assert_eq!(table.add(extended), Ok(1));
        assert_eq!(table.add(inside(100, 200)), Ok(5));
        assert_eq!(table.add(inside(2, 50)), Ok(5));
        assert_eq!(table.partition(6).unwrap().range, 100 * MIB..200 * MIB);
        assert_eq!(
            table.partition(6).unwrap().uuid.as_deref(),
            Some("1234abcd-06")
        );
        assert_eq!(table.add(inside(200, 300)), Err(Refusal::NoRoomInExtended));
        assert_eq!(table.add(inside(400, 501)), Err(Refusal::NoRoomInExtended));
        assert_eq!(table.remove(1), Err(Refusal::NotEmpty(5)));
        assert_eq!(
            table.set_range(1, MIB..150 * MIB),
            Err(Refusal::NotEmpty(6))
        );
        table.remove(5).unwrap();
        assert_eq!(table.partition(5).unwrap().range, 100 * MIB..200 * MIB);
    }

    #[test]
    fn properties_belong_to_their_kind_of_table() {
        let mut table = gpt_disk();
        table.add(new(MIB..2 * MIB, LINUX, Role::Primary)).unwrap();
        table
            .add(new(2 * MIB..3 * MIB, LINUX, Role::Primary))
            .unwrap();
        assert_eq!(
            table.set_name(1, &"x".repeat(37)),
            Err(Refusal::NameTooLong(37))
        );
        table.set_name(1, "root").unwrap();
        table.set_uuid(1, Uuid::from_u128(1)).unwrap();
        assert_eq!(
            table.set_uuid(2, Uuid::from_u128(1)),
            Err(Refusal::SameId(1))
        );
        table.set_active(1, true).unwrap();
        assert_eq!(table.partition(1).unwrap().attributes, 4);
        assert!(table.set_kind(1, PartitionType::Mbr(0x83)).is_err());

        let mut table = PartitionTable::new_mbr(GIB, 512, 1).unwrap();
        let linux = PartitionType::Mbr(0x83);
        for start in 1..5 {
            table
                .add(new(start * MIB..(start + 1) * MIB, linux, Role::Primary))
                .unwrap();
        }
        assert_eq!(
            table.add(new(9 * MIB..10 * MIB, linux, Role::Primary)),
            Err(Refusal::Full(4))
        );
        table.set_active(1, true).unwrap();
        table.set_active(2, true).unwrap();
        assert!(!table.partition(1).unwrap().active);
        assert!(table.set_name(1, "no").is_err());
        assert!(table.set_kind(1, PartitionType::Mbr(5)).is_err());
    }
}
