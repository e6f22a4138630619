//! The entries of a GPT, and what their attribute bits mean.

use std::collections::HashMap;
use std::ops::Range;

use uuid::{Uuid, uuid};

use super::header::{Copy, guid};
use crate::codec::{Fields, utf16le};
use crate::error::Result;
use crate::phrase::{Phrase, gettext_noop};
use crate::table::damage::Findings;
use crate::table::{Partition, PartitionType, Role, types};

/// The attribute that marks what legacy boot code starts.
pub(in crate::table) const LEGACY_BOOT: u64 = 1 << 2;

/// The partitions of a copy, in the order of the array. Entries that make no sense are reported
/// and left out.
pub(super) fn partitions(
    copy: &Copy,
    sector_size: u64,
    findings: &mut Findings,
) -> Result<Vec<Partition>> {
    let size = usize::try_from(copy.header.entry_size).unwrap_or(128);
    let array_at = copy.header.entries_at.saturating_mul(sector_size);
    let mut partitions = Vec::new();
    for (index, entry) in copy.array.chunks_exact(size).enumerate() {
        let at = array_at.saturating_add((index * size) as u64);
        let number = u32::try_from(index + 1).unwrap_or(u32::MAX);
        let fields = Fields::new(entry, at);
        let kind = guid(fields, 0)?;
        if kind.is_nil() {
            continue;
        }
        let (first, last) = (fields.le64(32)?, fields.le64(40)?);
        let Some(range) = bytes(first, last, sector_size) else {
            let message = Phrase::new(gettext_noop(
                "partition {number} claims sectors {first} to {last}: left out",
            ))
            .count("number", u64::from(number))
            .text("first", first.to_string())
            .text("last", last.to_string());
            findings.serious(at, message);
            continue;
        };
        judge_place(copy, number, first, last, at, findings);
        let attributes = fields.le64(48)?;
        partitions.push(Partition {
            number,
            range,
            kind: PartitionType::Gpt(kind),
            type_name: types::gpt_name(kind)
                .map_or_else(|| format!("unknown ({kind})"), str::to_owned),
            name: utf16le(fields.slice(56, 72)?),
            uuid: Some(guid(fields, 16)?.to_string()),
            attributes,
            active: attributes & LEGACY_BOOT != 0,
            role: Role::Primary,
        });
    }
    judge_guids(&partitions, array_at, findings);
    Ok(partitions)
}

/// The bytes of sectors `first` to `last`, the latter included.
fn bytes(first: u64, last: u64, sector_size: u64) -> Option<Range<u64>> {
    if last < first {
        return None;
    }
    let start = first.checked_mul(sector_size)?;
    let end = last.checked_add(1)?.checked_mul(sector_size)?;
    Some(start..end)
}

fn judge_place(copy: &Copy, number: u32, first: u64, last: u64, at: u64, findings: &mut Findings) {
    let header = &copy.header;
    if first < header.first_usable || last > header.last_usable {
        let message = Phrase::new(gettext_noop("partition {number} (sectors {first} to {last}) is not within the usable sectors {least} to {most}")).count("number", u64::from(number)).text("first", first.to_string()).text("last", last.to_string()).text("least", header.first_usable.to_string()).text("most", header.last_usable.to_string());
        findings.serious(at, message);
    }
}

/// A cloned partition keeps its GUID; Linux then mounts whichever it finds first.
fn judge_guids(partitions: &[Partition], array_at: u64, findings: &mut Findings) {
    let mut owners: HashMap<&str, u32> = HashMap::new();
    for partition in partitions {
        let Some(uuid) = partition.uuid.as_deref() else {
            continue;
        };
        if let Some(owner) = owners.insert(uuid, partition.number) {
            let message = Phrase::new(gettext_noop(
                "partitions {first} and {second} have the same GUID {guid}",
            ))
            .count("first", u64::from(owner))
            .count("second", u64::from(partition.number))
            .text("guid", uuid);
            findings.note(array_at, message);
        }
    }
}

const BASIC_DATA: Uuid = uuid!("ebd0a0a2-b9e5-4433-87c0-68b6b72699c7");
const CHROMEOS_KERNEL: Uuid = uuid!("fe3a2a5d-4f32-41a7-b725-accc3285a309");

/// The bits of the UEFI specification, then those the type defines for itself (48 to 63).
pub(in crate::table) fn describe_attributes(kind: Uuid, attributes: u64) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = attributes;
    if kind == CHROMEOS_KERNEL {
        let field = |shift: u32, mask: u64| (attributes >> shift) & mask;
        words.push(format!("priority {}", field(48, 15)));
        words.push(format!("{} boot tries left", field(52, 15)));
        if field(56, 1) != 0 {
            words.push("booted successfully".to_owned());
        }
        rest &= !(0x1ff << 48);
    }
    for bit in 0..64 {
        if rest & (1 << bit) == 0 {
            continue;
        }
        let word = match bit {
            0 => "required",
            1 => "no block io",
            2 => "legacy boot",
            59 if kind != BASIC_DATA => "grow file system",
            60 => "read-only",
            61 if kind == BASIC_DATA => "shadow copy",
            62 if kind == BASIC_DATA => "hidden",
            63 => "no automount",
            _ => {
                words.push(format!("bit {bit}"));
                continue;
            }
        };
        words.push(word.to_owned());
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_in_words() {
        let linux = uuid!("0fc63daf-8483-4772-8e79-3d69d8477de4");
        assert_eq!(describe_attributes(linux, 0), Vec::<String>::new());
        assert_eq!(
            describe_attributes(linux, 7 | 1 << 60 | 1 << 63 | 1 << 50),
            [
                "required",
                "no block io",
                "legacy boot",
                "bit 50",
                "read-only",
                "no automount"
            ]
        );
        assert_eq!(
            describe_attributes(BASIC_DATA, 3 << 61),
            ["shadow copy", "hidden"]
        );
        assert_eq!(
            describe_attributes(CHROMEOS_KERNEL, 0x0115 << 48),
            ["priority 5", "1 boot tries left", "booted successfully"]
        );
    }

    #[test]
    fn ranges_refuse_to_wrap() {
        assert_eq!(bytes(2, 3, 512), Some(1024..2048));
        assert_eq!(bytes(3, 2, 512), None);
        assert_eq!(bytes(0, u64::MAX, 512), None);
        assert_eq!(bytes(1, u64::MAX / 512, 512), None);
    }
}
