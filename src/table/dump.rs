//! Tables as text, in the form that `sfdisk --dump` writes and `sfdisk` reads.

use std::fmt::Write as _;
use std::ops::Range;

use uuid::Uuid;

use super::{NewPartition, PartitionTable, PartitionType, Role, TableKind, gpt};
use crate::error::{Error, ErrorKind, Result};

/// Longest text that is read.
const MAX_TEXT: usize = 1 << 20;
/// Attribute bits of a GPT that have names in such a text.
const ATTRIBUTES: [(u32, &str); 3] = [
    (0, "RequiredPartition"),
    (1, "NoBlockIOProtocol"),
    (2, "LegacyBIOSBootable"),
];

impl PartitionTable {
    /// The table as `sfdisk --dump` writes it. `device` is the name that stands before each
    /// partition's number. Empty without a table.
    #[must_use]
    pub fn dump(&self, device: &str) -> String {
        let label = match self.kind {
            TableKind::Gpt => "gpt",
            TableKind::Mbr => "dos",
            TableKind::None => return String::new(),
        };
        let size = self.sector_size;
        let mut text = format!("label: {label}\n");
        if let Some(id) = &self.id {
            let _ = writeln!(text, "label-id: {}", id_text(self.kind, id));
        }
        let _ = writeln!(text, "device: {device}\nunit: sectors");
        if self.kind == TableKind::Gpt {
            let (first, last) = (self.usable.start / size, self.usable.end / size);
            let _ = writeln!(text, "first-lba: {first}\nlast-lba: {}", last.max(1) - 1);
            if self.entries != gpt::USUAL_ENTRIES {
                let _ = writeln!(text, "table-length: {}", self.entries);
            }
        }
        let _ = writeln!(text, "sector-size: {size}\n");
        let digit = device.ends_with(|last: char| last.is_ascii_digit());
        let infix = if digit { "p" } else { "" };
        let mut partitions: Vec<_> = self.partitions.iter().collect();
        partitions.sort_by_key(|partition| partition.number);
        for partition in partitions {
            let range = &partition.range;
            let _ = write!(
                text,
                "{device}{infix}{} : start={:>12}, size={:>12}, type=",
                partition.number,
                range.start / size,
                (range.end - range.start) / size
            );
            match partition.kind {
                PartitionType::Gpt(kind) => text.push_str(&upper(&kind.to_string())),
                PartitionType::Mbr(code) => drop(write!(text, "{code:x}")),
            }
            if self.kind == TableKind::Gpt {
                write_gpt_fields(&mut text, partition);
            } else if partition.active {
                text.push_str(", bootable");
            }
            text.push('\n');
        }
        text
    }

    /// The table that such a text describes, for a disk of `disk_size` bytes with sectors of
    /// `sector_size`. What the text leaves open is filled in: `draw` makes identifiers. Nothing of
    /// the text is believed unchecked.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] with the line that cannot be, or why the table cannot.
    pub fn from_dump(
        text: &str,
        disk_size: u64,
        sector_size: u64,
        draw: &mut dyn FnMut() -> Uuid,
    ) -> Result<Self> {
        if text.len() > MAX_TEXT {
            return Err(invalid(0, "the text is longer than 1 MiB"));
        }
        let mut header = Header::default();
        let mut entries = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if !header.take(line, sector_size, number)? {
                entries.push((number, Entry::parse(line, number)?));
            }
        }
        let mut table = header.table(disk_size, sector_size, draw)?;
        // What contains others comes first.
        entries.sort_by_key(|(_, entry): &(usize, Entry)| match entry.role(&table) {
            Role::Extended => 0,
            Role::Primary => 1,
            Role::Logical => 2,
        });
        for (line, entry) in entries {
            let added = table.add_entry(&entry, draw);
            added.map_err(|why| invalid(line, why))?;
        }
        Ok(table)
    }

    fn add_entry(&mut self, entry: &Entry, draw: &mut dyn FnMut() -> Uuid) -> Result<(), String> {
        let size = self.sector_size;
        let range = entry.range(self, size)?;
        let kind = entry.kind(self.kind)?;
        let role = entry.role(self);
        let new = NewPartition {
            range: range.clone(),
            kind,
            role,
            name: entry.name.clone().filter(|_| self.kind == TableKind::Gpt),
            uuid: (self.kind == TableKind::Gpt).then(|| entry.uuid.unwrap_or_else(&mut *draw)),
        };
        let refused = |refusal: super::Refusal| refusal.to_string();
        let mut number = self.add(new).map_err(refused)?;
        if let Some(wanted) = entry.number.filter(|_| role != Role::Logical) {
            number = self.renumber(number, wanted)?;
        }
        if entry.attributes != 0 {
            self.set_attributes(number, entry.attributes)
                .map_err(refused)?;
        }
        if entry.bootable && role == Role::Primary {
            self.set_active(number, true).map_err(refused)?;
        }
        Ok(())
    }

    /// Gives the partition that was just added the number that the text gives it.
    fn renumber(&mut self, number: u32, wanted: u32) -> Result<u32, String> {
        if number == wanted {
            return Ok(number);
        }
        let most = match self.kind {
            TableKind::Gpt => self.entries,
            TableKind::Mbr | TableKind::None => 4,
        };
        if wanted == 0 || wanted > most {
            return Err(format!(
                "a partition of this table has a number up to {most}"
            ));
        }
        if self.partition(wanted).is_some() {
            return Err(format!("there is a partition {wanted} already"));
        }
        for partition in &mut self.partitions {
            if partition.number == number {
                partition.number = wanted;
            }
        }
        self.put_in_order();
        Ok(wanted)
    }
}

/// The lines in front of the partitions.
#[derive(Default)]
struct Header {
    kind: Option<TableKind>,
    id: Option<String>,
    entries: Option<u32>,
}

impl Header {
    /// Takes a line of the head; false for one that describes a partition.
    fn take(&mut self, line: &str, sector_size: u64, number: usize) -> Result<bool> {
        let Some((word, value)) = line.split_once(':') else {
            return Ok(false);
        };
        let value = value.trim();
        match word.trim() {
            "label" => {
                self.kind = Some(match value {
                    "gpt" => TableKind::Gpt,
                    "dos" | "mbr" => TableKind::Mbr,
                    _ => return Err(invalid(number, format!("'{value}' is no kind of table"))),
                });
            }
            "label-id" => self.id = Some(value.to_owned()),
            "table-length" => {
                let length = value
                    .parse()
                    .ok()
                    .filter(|length| (1..=1024).contains(length));
                let wrong = || invalid(number, "a GPT has 1 to 1024 entries here");
                self.entries = Some(length.ok_or_else(wrong)?);
            }
            "unit" if value != "sectors" => {
                return Err(invalid(number, "the unit has to be sectors"));
            }
            "sector-size" if value != sector_size.to_string() => {
                let why = format!("the text is for sectors of {value} bytes, not {sector_size}");
                return Err(invalid(number, why));
            }
            "unit" | "sector-size" | "device" | "first-lba" | "last-lba" | "grain" => {}
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn table(
        &self,
        disk_size: u64,
        sector_size: u64,
        draw: &mut dyn FnMut() -> Uuid,
    ) -> Result<PartitionTable> {
        let refused = |refusal: super::Refusal| invalid(0, refusal.to_string());
        let wrong = || invalid(0, "its label-id makes no sense");
        match self.kind {
            Some(TableKind::Gpt) => {
                let id = match &self.id {
                    Some(id) => Uuid::parse_str(id).map_err(|_| wrong())?,
                    None => draw(),
                };
                let entries = self.entries.unwrap_or(gpt::USUAL_ENTRIES);
                PartitionTable::new_gpt_of(disk_size, sector_size, id, entries).map_err(refused)
            }
            Some(TableKind::Mbr) => {
                let id = match &self.id {
                    Some(id) => id
                        .strip_prefix("0x")
                        .and_then(|digits| u32::from_str_radix(digits, 16).ok())
                        .ok_or_else(wrong)?,
                    None => draw().as_fields().0.max(1),
                };
                PartitionTable::new_mbr(disk_size, sector_size, id).map_err(refused)
            }
            Some(TableKind::None) | None => Err(invalid(
                0,
                "the text does not say which kind of table (label: gpt)",
            )),
        }
    }
}

/// A line that describes a partition.
#[derive(Default)]
struct Entry {
    number: Option<u32>,
    /// In sectors.
    start: Option<u64>,
    size: Option<u64>,
    kind: String,
    uuid: Option<Uuid>,
    name: Option<String>,
    attributes: u64,
    bootable: bool,
}

impl Entry {
    fn parse(line: &str, number: usize) -> Result<Self> {
        let mut entry = Self::default();
        // The name of a device may hold colons itself; fields have equals signs.
        let fields = match line.split_once(" : ") {
            Some((device, fields)) if !device.contains('=') => {
                let digits = device.trim_end();
                let digits = &digits[digits.trim_end_matches(|c: char| c.is_ascii_digit()).len()..];
                entry.number = digits.parse().ok();
                fields
            }
            _ => line,
        };
        for field in split_fields(fields) {
            entry
                .take(field.trim())
                .map_err(|why| invalid(number, why))?;
        }
        Ok(entry)
    }

    fn take(&mut self, field: &str) -> Result<(), String> {
        let (word, value) = field.split_once('=').unwrap_or((field, ""));
        let value = value.trim();
        let sectors = |value: &str| {
            let parsed = value.parse::<u64>();
            parsed.map_err(|_| format!("'{value}' is no number of sectors"))
        };
        match word.trim() {
            "start" => self.start = Some(sectors(value)?),
            "size" if value != "+" => self.size = Some(sectors(value)?),
            "size" | "" => {}
            "type" | "Id" => self.kind = value.to_owned(),
            "uuid" => {
                let uuid = Uuid::parse_str(value);
                self.uuid = Some(uuid.map_err(|_| format!("'{value}' is no UUID"))?);
            }
            "name" => self.name = Some(unescaped(value.trim_matches('"'))),
            "attrs" => self.attributes = attribute_bits(value.trim_matches('"'))?,
            "bootable" => self.bootable = true,
            other => return Err(format!("'{other}' is not known")),
        }
        Ok(())
    }

    /// Where nothing is said, a partition begins at the next free whole MiB, and reaches as far as
    /// it can.
    fn range(&self, table: &PartitionTable, size: u64) -> Result<Range<u64>, String> {
        let too_far = || "the disk is not that large".to_owned();
        let start = self.start.ok_or("a partition needs its start")?;
        let start = start.checked_mul(size).ok_or_else(too_far)?;
        let end = match self.size {
            Some(sectors) => sectors
                .checked_mul(size)
                .and_then(|length| length.checked_add(start)),
            None => table
                .partitions
                .iter()
                .map(|other| other.range.start)
                .filter(|other| *other > start)
                .chain([table.usable.end])
                .min(),
        };
        Ok(start..end.ok_or_else(too_far)?)
    }

    fn kind(&self, table: TableKind) -> Result<PartitionType, String> {
        const LINUX: Uuid = uuid::uuid!("0fc63daf-8483-4772-8e79-3d69d8477de4");
        let wrong = || format!("'{}' is no type of a partition of this table", self.kind);
        match table {
            TableKind::Gpt if self.kind.is_empty() => Ok(PartitionType::Gpt(LINUX)),
            TableKind::Gpt => Uuid::parse_str(&self.kind)
                .map(PartitionType::Gpt)
                .map_err(|_| wrong()),
            TableKind::Mbr | TableKind::None if self.kind.is_empty() => {
                Ok(PartitionType::Mbr(0x83))
            }
            TableKind::Mbr | TableKind::None => u8::from_str_radix(&self.kind, 16)
                .map(PartitionType::Mbr)
                .map_err(|_| wrong()),
        }
    }

    /// In an MBR, numbers from 5 on are those of logical partitions.
    fn role(&self, table: &PartitionTable) -> Role {
        if table.kind != TableKind::Mbr {
            return Role::Primary;
        }
        if matches!(
            self.kind.to_ascii_lowercase().as_str(),
            "5" | "05" | "f" | "0f" | "85"
        ) {
            return Role::Extended;
        }
        if self.number.is_some_and(|number| number > 4) {
            return Role::Logical;
        }
        Role::Primary
    }
}

/// The parts between commas that are in no quotes.
fn split_fields(text: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    text.split(move |c| {
        quoted ^= c == '"';
        c == ',' && !quoted
    })
}

/// What has a meaning to the program that reads it back stands as `\\x22`.
fn escaped(name: &str) -> String {
    let mut text = String::new();
    for c in name.chars() {
        if matches!(c, '"' | '\\' | '`' | '$') || c.is_control() {
            let mut bytes = [0; 4];
            for byte in c.encode_utf8(&mut bytes).bytes() {
                let _ = write!(text, "\\x{byte:02x}");
            }
        } else {
            text.push(c);
        }
    }
    text
}

fn unescaped(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\\x") {
        bytes.extend_from_slice(before.as_bytes());
        let code = after
            .get(..2)
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match code {
            Some(code) => {
                bytes.push(code);
                rest = &after[2..];
            }
            None => {
                bytes.extend_from_slice(b"\\x");
                rest = after;
            }
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8_lossy(&bytes).into_owned()
}

fn write_gpt_fields(text: &mut String, partition: &super::Partition) {
    if let Some(uuid) = &partition.uuid {
        let _ = write!(text, ", uuid={}", upper(uuid));
    }
    if let Some(name) = &partition.name {
        let _ = write!(text, ", name=\"{}\"", escaped(name));
    }
    if partition.attributes != 0 {
        let _ = write!(
            text,
            ", attrs=\"{}\"",
            attribute_words(partition.attributes)
        );
    }
}

fn attribute_words(attributes: u64) -> String {
    let named = ATTRIBUTES
        .iter()
        .filter(|(bit, _)| attributes >> bit & 1 != 0)
        .map(|(_, name)| (*name).to_owned());
    let others: Vec<String> = (3..64)
        .filter(|bit| attributes >> bit & 1 != 0)
        .map(|bit| bit.to_string())
        .collect();
    let others = (!others.is_empty()).then(|| format!("GUID:{}", others.join(",")));
    named.chain(others).collect::<Vec<_>>().join(" ")
}

fn attribute_bits(text: &str) -> Result<u64, String> {
    let mut bits = 0;
    for word in text.split([' ', ',']).filter(|word| !word.is_empty()) {
        let named = ATTRIBUTES.iter().find(|(_, name)| *name == word);
        let number = word.strip_prefix("GUID:").unwrap_or(word);
        let bit = named
            .map(|(bit, _)| *bit)
            .or_else(|| number.parse().ok().filter(|bit| *bit < 64));
        bits |= 1 << bit.ok_or_else(|| format!("'{word}' is no attribute"))?;
    }
    Ok(bits)
}

fn id_text(kind: TableKind, id: &str) -> String {
    if kind == TableKind::Gpt {
        upper(id)
    } else {
        id.to_owned()
    }
}

fn upper(text: &str) -> String {
    text.to_ascii_uppercase()
}

fn invalid(line: usize, why: impl AsRef<str>) -> Error {
    let why = why.as_ref();
    let message = match line {
        0 => why.to_owned(),
        _ => format!("line {line}: {why}"),
    };
    Error::new(ErrorKind::InvalidInput, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::GIB;

    fn read(text: &str) -> Result<PartitionTable> {
        let mut next = 0;
        let mut draw = || {
            next += 1;
            Uuid::from_u128(next)
        };
        PartitionTable::from_dump(text, GIB, 512, &mut draw)
    }

    #[test]
    fn what_was_written_is_read_back() {
        let text = "label: gpt\nlabel-id: 00000000-0000-0000-0000-000000000007\nsector-size: 512\n\n\
            x3 : start=2048, size=100, name=\"a, \\x22b\\x22 \\x5c\", attrs=\"LegacyBIOSBootable GUID:60,63\"\n\
            x1 : start=4096, size=100, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B\n";
        let table = read(text).unwrap();
        let names: Vec<_> = table
            .partitions
            .iter()
            .map(|one| (one.number, one.name.as_deref(), one.attributes))
            .collect();
        let bits = 1 << 2 | 1 << 60 | 1 << 63;
        assert_eq!(names, [(3, Some("a, \"b\" \\"), bits), (1, None, 0)]);
        let again = read(&table.dump("/dev/x")).unwrap();
        assert_eq!(again.dump("/dev/x"), table.dump("/dev/x"));
        assert_eq!(again.id, table.id);
    }

    #[test]
    fn logical_partitions_are_known_by_their_number() {
        let table = read(
            "label: dos\nx1 : start=2048, size=2048, type=c, bootable\n\
             x5 : start=8192, size=100, type=83\nx2 : start=6144, size=20480, type=5\n",
        )
        .unwrap();
        let roles: Vec<_> = table.partitions.iter().map(|one| one.role).collect();
        assert_eq!(roles, [Role::Primary, Role::Extended, Role::Logical]);
        assert!(table.partitions[0].active);
    }

    #[test]
    fn hostile_text_is_refused_with_its_line() {
        for (text, why) in [
            ("", "which kind of table"),
            ("start=1", "which kind of table"),
            ("label: bsd", "line 1: 'bsd'"),
            ("label: gpt\nstart=1,size=1", "partitions can only lie"),
            (
                "label: gpt\nstart=18446744073709551615,size=1",
                "not that large",
            ),
            ("label: gpt\nsize=1", "needs its start"),
            ("label: gpt\nstart=2048,size=0", "line 2"),
            (
                "label: gpt\nstart=2048,size=8\nstart=2050,size=1",
                "line 3: it would overlap",
            ),
            (
                "label: gpt\nx1 : start=2048,size=8\nx1 : start=4096,size=1",
                "partition 1 already",
            ),
            ("label: gpt\nx999 : start=2048,size=8", "number up to 128"),
            (
                "label: gpt\nstart=2048,size=8,attrs=\"GUID:64\"",
                "no attribute",
            ),
            (
                "label: gpt\nstart=2048,size=8,evil=1",
                "'evil' is not known",
            ),
            ("label: gpt\ntable-length: 4000000000", "1 to 1024"),
            ("label: dos\nlabel-id: 0xZZ", "label-id"),
            ("label: gpt\nunit: cylinders", "has to be sectors"),
            ("label: gpt\nsector-size: 4096", "not 512"),
            (
                "label: dos\nx5 : start=2048,size=8",
                "needs an extended one",
            ),
            ("label: gpt\nx1 : start=2048, size=8, name=\"\\xff\\x\"", ""),
        ] {
            match read(text) {
                Err(error) => assert!(error.to_string().contains(why), "{text}: {error}"),
                Ok(_) => assert!(why.is_empty(), "{text}"),
            }
        }
        assert!(read(&"#".repeat(MAX_TEXT + 1)).is_err());
    }
}
