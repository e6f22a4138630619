//! Edits as text: what `platter-img edit --op` takes, and what the window shows as "the same on a
//! command line".

use std::fmt;
use std::str::FromStr;

use uuid::{Uuid, uuid};

use crate::error::{Error, ErrorKind};
use crate::fs::FsKind;
use crate::fs::change::Identifier;
use crate::op::edit::{Amount, CopySource, Edit};
use crate::table::{PartitionType, Role, TableKind};
use crate::units::ByteSize;

/// Names for partition types: of a GPT, and of an MBR.
const TYPES: &[(&str, Uuid, u8)] = &[
    ("linux", uuid!("0fc63daf-8483-4772-8e79-3d69d8477de4"), 0x83),
    ("swap", uuid!("0657fd6d-a4ab-43c4-84e5-0933c84b4f4f"), 0x82),
    ("efi", uuid!("c12a7328-f81f-11d2-ba4b-00a0c93ec93b"), 0xef),
    ("basic", uuid!("ebd0a0a2-b9e5-4433-87c0-68b6b72699c7"), 0x07),
    ("fat", uuid!("ebd0a0a2-b9e5-4433-87c0-68b6b72699c7"), 0x0c),
    ("lvm", uuid!("e6d6d379-f507-44c2-a23c-238f2a3df928"), 0x8e),
    ("raid", uuid!("a19d880f-05fc-4d3b-a006-743f0f84911e"), 0xfd),
    ("bios", uuid!("21686148-6449-6e6f-744e-656564454649"), 0xef),
    ("home", uuid!("933ac7e1-2eb4-4f13-b844-0e14e2aef915"), 0x83),
];

/// File systems that can be made, by name.
const FILE_SYSTEMS: &[(&str, FsKind)] = &[
    ("ext2", FsKind::Ext2),
    ("ext3", FsKind::Ext3),
    ("ext4", FsKind::Ext4),
    ("fat12", FsKind::Fat12),
    ("fat16", FsKind::Fat16),
    ("fat32", FsKind::Fat32),
    ("ntfs", FsKind::Ntfs),
    ("exfat", FsKind::ExFat),
    ("xfs", FsKind::Xfs),
    ("btrfs", FsKind::Btrfs),
    ("swap", FsKind::Swap),
];

/// The file systems that can be made, where their programs are installed.
pub fn known_file_systems() -> impl Iterator<Item = FsKind> {
    FILE_SYSTEMS.iter().map(|(_, kind)| *kind)
}

impl Edit {
    /// Parses an edit of a disk with a table of this kind, which says what a type is.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`], saying what was expected.
    pub fn parse(text: &str, table: TableKind) -> Result<Self, Error> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let number = |word: &str| number(word);
        Ok(match words.as_slice() {
            ["resize-disk", amount] => Self::ResizeDisk(amount.parse()?),
            ["new-table", "gpt"] => Self::NewTable(TableKind::Gpt),
            ["new-table", "mbr"] => Self::NewTable(TableKind::Mbr),
            ["create", rest @ ..] => create(rest, Role::Primary, table)?,
            ["create-logical", rest @ ..] => create(rest, Role::Logical, table)?,
            ["create-extended", start, end] => Self::Create {
                start: size(start)?,
                end: end.parse()?,
                kind: Some(PartitionType::Mbr(0x05)),
                role: Role::Extended,
                fs: None,
                label: None,
            },
            ["delete", n] => Self::Delete(number(n)?),
            ["move", n, amount] => Self::Move(number(n)?, amount.parse()?),
            ["resize", n, amount] => Self::Resize(number(n)?, amount.parse()?),
            ["format", n, fs, label @ ..] => Self::Format {
                number: number(n)?,
                fs: file_system(fs)?,
                label: joined(label),
            },
            ["label", n, label @ ..] => Self::Label(number(n)?, label.join(" ")),
            ["name", n, name @ ..] => Self::Name(number(n)?, name.join(" ")),
            ["type", n, kind] => Self::Type(number(n)?, parse_type(kind, table)?),
            ["partition-uuid", n, "random"] => Self::PartitionUuid(number(n)?, Uuid::new_v4()),
            ["partition-uuid", n, uuid] => Self::PartitionUuid(number(n)?, parse_uuid(uuid)?),
            ["uuid", n, "random"] => Self::FsUuid(number(n)?, Identifier::Random),
            ["uuid", n, id] => Self::FsUuid(number(n)?, Identifier::Exactly((*id).to_owned())),
            ["attributes", n, bits] => Self::Attributes(number(n)?, hexadecimal(bits)?),
            ["active", n, "on"] => Self::Active(number(n)?, true),
            ["active", n, "off"] => Self::Active(number(n)?, false),
            ["check", n] => Self::Check(number(n)?),
            ["repair", n] => Self::Repair(number(n)?),
            ["repair-gpt"] => Self::RepairGpt,
            ["convert-table", "gpt"] => Self::ConvertTable(TableKind::Gpt),
            ["convert-table", "mbr"] => Self::ConvertTable(TableKind::Mbr),
            ["copy", n, start] => Self::Copy {
                source: CopySource::Here(number(n)?),
                start: size(start)?,
            },
            ["import" | "copy", ..] => {
                return Err(invalid(
                    "what another file holds is read by whoever asks for it",
                ));
            }
            _ => return Err(invalid(format!("'{text}' is no edit of a disk"))),
        })
    }
}

fn create(words: &[&str], role: Role, table: TableKind) -> Result<Edit, Error> {
    let [start, end, rest @ ..] = words else {
        return Err(invalid("a new partition needs a start and an end"));
    };
    // The type may be left out where a file system is named: "create 1M max ext4".
    let (kind, rest) = match rest {
        [] => (None, rest),
        [first, ..] if file_system(first).is_ok() && *first != "swap" => (None, rest),
        [first, rest @ ..] => (Some(parse_type(first, table)?), rest),
    };
    let (fs, label) = match rest {
        [] => (None, None),
        [fs, label @ ..] => (Some(file_system(fs)?), joined(label)),
    };
    Ok(Edit::Create {
        start: size(start)?,
        end: end.parse()?,
        kind,
        role,
        fs,
        label,
    })
}

/// The type that goes with a file system, or with nothing in particular.
pub(super) fn usual_type(fs: Option<FsKind>, table: TableKind) -> PartitionType {
    let name = match fs {
        Some(FsKind::Swap) => "swap",
        Some(FsKind::Fat12 | FsKind::Fat16 | FsKind::Fat32) => "fat",
        Some(FsKind::Ntfs | FsKind::ExFat) => "basic",
        _ => "linux",
    };
    type_named(name, table).unwrap_or(PartitionType::Mbr(0x83))
}

fn type_named(name: &str, table: TableKind) -> Option<PartitionType> {
    let (_, guid, code) = TYPES.iter().find(|(known, ..)| *known == name)?;
    Some(match table {
        TableKind::Gpt => PartitionType::Gpt(*guid),
        TableKind::Mbr | TableKind::None => PartitionType::Mbr(*code),
    })
}

/// The type that `word` means in a table of this kind: a name that edits know, a GUID, or a
/// hexadecimal number.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] for any other word.
pub fn parse_type(word: &str, table: TableKind) -> Result<PartitionType, Error> {
    if let Some(kind) = type_named(word, table) {
        return Ok(kind);
    }
    match table {
        TableKind::Gpt => parse_uuid(word).map(PartitionType::Gpt),
        TableKind::Mbr | TableKind::None => {
            let code = hexadecimal(word)?;
            u8::try_from(code)
                .map(PartitionType::Mbr)
                .map_err(|_| invalid(format!("'{word}' is no partition type")))
        }
    }
}

fn file_system(word: &str) -> Result<FsKind, Error> {
    FILE_SYSTEMS
        .iter()
        .find(|(name, _)| *name == word)
        .map(|(_, kind)| *kind)
        .ok_or_else(|| invalid(format!("'{word}' is no file system that can be made")))
}

fn parse_uuid(word: &str) -> Result<Uuid, Error> {
    Uuid::parse_str(word).map_err(|_| invalid(format!("'{word}' is neither a name nor a UUID")))
}

fn number(word: &str) -> Result<u32, Error> {
    word.parse()
        .map_err(|_| invalid(format!("'{word}' is no partition number")))
}

fn hexadecimal(word: &str) -> Result<u64, Error> {
    let digits = word.strip_prefix("0x").unwrap_or(word);
    u64::from_str_radix(digits, 16)
        .map_err(|_| invalid(format!("'{word}' is no hexadecimal number")))
}

fn size(word: &str) -> Result<u64, Error> {
    ByteSize::parse(word).map(|size| size.0)
}

fn joined(words: &[&str]) -> Option<String> {
    (!words.is_empty()).then(|| words.join(" "))
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidInput, message)
}

impl FromStr for Amount {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Ok(match text {
            "max" => Self::Max,
            "min" => Self::Min,
            _ => match text.as_bytes().first() {
                Some(b'+') => Self::More(size(&text[1..])?),
                Some(b'-') => Self::Less(size(&text[1..])?),
                _ => Self::Exactly(size(text)?),
            },
        })
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exactly(bytes) => f.write_str(&exactly(*bytes)),
            Self::More(bytes) => write!(f, "+{}", exactly(*bytes)),
            Self::Less(bytes) => write!(f, "-{}", exactly(*bytes)),
            Self::Max => f.write_str("max"),
            Self::Min => f.write_str("min"),
        }
    }
}

/// A size in the largest unit that leaves no fraction: what is parsed back is the same.
fn exactly(bytes: u64) -> String {
    let units = [
        (1 << 40, "T"),
        (1 << 30, "G"),
        (1 << 20, "M"),
        (1 << 10, "K"),
    ];
    let whole = units
        .into_iter()
        .find(|(unit, _)| bytes > 0 && bytes.is_multiple_of(*unit));
    whole.map_or_else(
        || bytes.to_string(),
        |(unit, suffix)| format!("{}{suffix}", bytes / unit),
    )
}

impl fmt::Display for Edit {
    /// The edit as [`Edit::parse`] takes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ResizeDisk(amount) => write!(f, "resize-disk {amount}"),
            Self::NewTable(TableKind::Gpt) => f.write_str("new-table gpt"),
            Self::NewTable(_) => f.write_str("new-table mbr"),
            Self::Create { .. } => self.write_creation(f),
            Self::Delete(n) => write!(f, "delete {n}"),
            Self::Move(n, amount) => write!(f, "move {n} {amount}"),
            Self::Resize(n, amount) => write!(f, "resize {n} {amount}"),
            Self::Format { number, fs, label } => {
                write!(f, "format {number} {}", fs.name())?;
                write_words(f, label.as_deref())
            }
            Self::Label(n, label) => {
                write!(f, "label {n}")?;
                write_words(f, Some(label))
            }
            Self::Name(n, name) => {
                write!(f, "name {n}")?;
                write_words(f, Some(name))
            }
            Self::Type(n, kind) => write!(f, "type {n} {}", type_word(*kind)),
            Self::PartitionUuid(n, uuid) => write!(f, "partition-uuid {n} {uuid}"),
            Self::FsUuid(n, Identifier::Random) => write!(f, "uuid {n} random"),
            Self::FsUuid(n, Identifier::Exactly(id)) => write!(f, "uuid {n} {id}"),
            Self::Attributes(n, bits) => write!(f, "attributes {n} {bits:#x}"),
            Self::Active(n, true) => write!(f, "active {n} on"),
            Self::Active(n, false) => write!(f, "active {n} off"),
            Self::Check(n) => write!(f, "check {n}"),
            Self::Repair(n) => write!(f, "repair {n}"),
            Self::RepairGpt => f.write_str("repair-gpt"),
            Self::ConvertTable(TableKind::Gpt) => f.write_str("convert-table gpt"),
            Self::ConvertTable(_) => f.write_str("convert-table mbr"),
            Self::Import { file, .. } => write!(f, "import {}", file.display()),
            Self::Copy { source, start } => {
                write!(f, "copy {} {}", source.number(), exactly(*start))?;
                match source {
                    CopySource::Here(_) => Ok(()),
                    CopySource::Other(other) => write!(f, " {}", other.image.display()),
                }
            }
        }
    }
}

impl Edit {
    fn write_creation(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Create {
            start,
            end,
            kind,
            role,
            fs,
            label,
        } = self
        else {
            return Ok(());
        };
        f.write_str(match role {
            Role::Primary => "create",
            Role::Extended => "create-extended",
            Role::Logical => "create-logical",
        })?;
        write!(f, " {} {end}", exactly(*start))?;
        if *role == Role::Extended {
            return Ok(());
        }
        match (kind, fs) {
            (Some(kind), _) => write!(f, " {}", type_word(*kind))?,
            // The word alone would be taken for the type.
            (None, Some(FsKind::Swap)) => f.write_str(" swap")?,
            (None, _) => {}
        }
        if let Some(fs) = fs {
            write!(f, " {}", fs.name())?;
            write_words(f, label.as_deref())?;
        }
        Ok(())
    }
}

fn write_words(f: &mut fmt::Formatter<'_>, words: Option<&str>) -> fmt::Result {
    match words {
        Some(words) if !words.is_empty() => write!(f, " {words}"),
        _ => Ok(()),
    }
}

/// The name of a type where it has one, else its code.
fn type_word(kind: PartitionType) -> String {
    let named = TYPES.iter().find(|(_, guid, code)| match kind {
        PartitionType::Gpt(kind) => kind == *guid,
        PartitionType::Mbr(kind) => kind == *code,
    });
    match (named, kind) {
        (Some((name, ..)), _) => (*name).to_owned(),
        (None, PartitionType::Gpt(guid)) => guid.to_string(),
        (None, PartitionType::Mbr(code)) => format!("{code:#04x}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_the_command_line() {
        let parse = |text| Edit::parse(text, TableKind::Gpt).unwrap();
        assert_eq!(
            parse("resize-disk +2G"),
            Edit::ResizeDisk(Amount::More(2 << 30))
        );
        assert_eq!(parse("move 2 -1024M"), Edit::Move(2, Amount::Less(1 << 30)));
        assert_eq!(parse("resize 1 max"), Edit::Resize(1, Amount::Max));
        assert_eq!(
            parse("label 1 two words"),
            Edit::Label(1, "two words".into())
        );
        assert_eq!(parse("label 1"), Edit::Label(1, String::new()));
        let Edit::Create {
            start,
            end,
            kind,
            fs,
            label,
            ..
        } = parse("create 1M +10G linux ext4 data")
        else {
            panic!("no creation");
        };
        assert_eq!((start, end), (1 << 20, Amount::More(10 << 30)));
        assert_eq!(kind, Some(PartitionType::Gpt(TYPES[0].1)));
        assert_eq!((fs, label.as_deref()), (Some(FsKind::Ext4), Some("data")));
        let Edit::Create { kind, fs, .. } = parse("create 1M max ntfs") else {
            panic!("no creation");
        };
        assert_eq!((kind, fs), (None, Some(FsKind::Ntfs)));
        assert_eq!(
            Edit::parse("type 3 efi", TableKind::Mbr).unwrap(),
            Edit::Type(3, PartitionType::Mbr(0xef))
        );
        assert_eq!(
            Edit::parse("type 3 0x27", TableKind::Mbr).unwrap(),
            Edit::Type(3, PartitionType::Mbr(0x27))
        );
    }

    #[test]
    fn what_is_written_is_parsed_back() {
        for text in [
            "resize-disk +2G",
            "new-table gpt",
            "new-table mbr",
            "create 1M +10G linux ext4 data and more",
            "create 1536K max ntfs",
            "create-logical 1G 2G swap swap",
            "create-extended 1G max",
            "delete 4",
            "move 2 +1G",
            "resize 1 max",
            "resize 3 1000000",
            "format 2 fat32 EFI",
            "label 1 two words",
            "label 1",
            "name 1 root",
            "type 2 efi",
            "type 2 0x27",
            "partition-uuid 1 0fc63daf-8483-4772-8e79-3d69d8477de4",
            "uuid 1 random",
            "uuid 1 1234-ABCD",
            "attributes 1 0x4",
            "active 1 on",
            "check 3",
            "repair 3",
            "repair-gpt",
        ] {
            let edit = Edit::parse(text, TableKind::Mbr).unwrap_or_else(|_| {
                panic!("{text} is not parsed");
            });
            assert_eq!(edit.to_string(), text);
        }
        let logical = Edit::parse("create-extended 1M max", TableKind::Mbr).unwrap();
        assert_eq!(logical.to_string(), "create-extended 1M max");
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "destroy 1",
            "move 1",
            "move x 1M",
            "resize 1 tiny",
            "create 1M",
            "format 1 zfs",
            "type 1 0x83",
            "active 1 maybe",
        ] {
            assert!(Edit::parse(text, TableKind::Gpt).is_err(), "{text}");
        }
    }
}
