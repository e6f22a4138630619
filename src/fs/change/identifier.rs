//! Identifiers of file systems: what each kind can have, and drawing one.

use uuid::Uuid;

use crate::error::{Error, ErrorKind, Result};
use crate::fs::FsKind;

/// The identifier that a file system gets.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Identifier {
    /// One drawn at random.
    Random,
    /// This one, in the form of [`crate::fs::FileSystem::uuid`].
    Exactly(String),
}

impl Identifier {
    /// The text of it in the form that `kind` has; a random one is drawn now.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`], saying what an identifier of `kind` looks like.
    pub fn text(&self, kind: FsKind) -> Result<String> {
        let Self::Exactly(text) = self else {
            return Ok(form(kind, Uuid::new_v4()));
        };
        let wrong = || {
            let what = match digits(kind) {
                Some(8) => "eight hexadecimal digits, as in 1234-ABCD",
                Some(_) => "sixteen hexadecimal digits",
                None => "a UUID",
            };
            let message = format!(
                "'{text}' is no identifier of {}, which is {what}",
                kind.name()
            );
            Error::new(ErrorKind::InvalidInput, message)
        };
        let text = text.trim();
        let Some(length) = digits(kind) else {
            let uuid = Uuid::parse_str(text).ok().filter(|uuid| !uuid.is_nil());
            return uuid.map(|uuid| form(kind, uuid)).ok_or_else(wrong);
        };
        let plain = match text.split_once('-') {
            Some((high, low)) if high.len() * 2 == length => format!("{high}{low}"),
            _ => text.to_owned(),
        };
        let is_right = plain.len() == length && plain.bytes().all(|c| c.is_ascii_hexdigit());
        let value = u64::from_str_radix(&plain, 16).ok().filter(|_| is_right);
        value.map(|value| short(length, value)).ok_or_else(wrong)
    }
}

/// The number of an identifier in the form of FAT, exFAT or NTFS.
pub(super) fn number(text: &str) -> u64 {
    u64::from_str_radix(&text.replace('-', ""), 16).unwrap_or(0)
}

/// How many digits the identifier of `kind` has, where it is no UUID.
fn digits(kind: FsKind) -> Option<usize> {
    match kind {
        FsKind::Fat12 | FsKind::Fat16 | FsKind::Fat32 | FsKind::ExFat => Some(8),
        FsKind::Ntfs => Some(16),
        _ => None,
    }
}

fn form(kind: FsKind, uuid: Uuid) -> String {
    match digits(kind) {
        Some(length) => short(length, uuid.as_u64_pair().0),
        None => uuid.to_string(),
    }
}

fn short(length: usize, value: u64) -> String {
    if length == 8 {
        format!("{:04X}-{:04X}", value >> 16 & 0xffff, value & 0xffff)
    } else {
        format!("{value:016X}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(kind: FsKind, text: &str) -> Result<String> {
        Identifier::Exactly(text.to_owned()).text(kind)
    }

    #[test]
    fn each_kind_has_its_form() {
        assert_eq!(text(FsKind::Fat32, " 1234-abcd").unwrap(), "1234-ABCD");
        assert_eq!(text(FsKind::ExFat, "1234abcd").unwrap(), "1234-ABCD");
        assert_eq!(
            text(FsKind::Ntfs, "0123456789abcdef").unwrap(),
            "0123456789ABCDEF"
        );
        let uuid = "0FC63DAF-8483-4772-8E79-3D69D8477DE4";
        assert_eq!(text(FsKind::Ext4, uuid).unwrap(), uuid.to_lowercase());
        for (kind, wrong) in [
            (FsKind::Fat16, "1234-abc"),
            (FsKind::Fat16, "+234-abcd"),
            (FsKind::Fat16, "12345-678"),
            (FsKind::Fat12, uuid),
            (FsKind::Ntfs, "1234-ABCD"),
            (FsKind::Xfs, "1234-ABCD"),
            (FsKind::Btrfs, "00000000-0000-0000-0000-000000000000"),
            (FsKind::Swap, ""),
        ] {
            assert!(text(kind, wrong).is_err(), "{kind:?} {wrong}");
        }
    }

    #[test]
    fn random_ones_are_right_and_differ() {
        for kind in [FsKind::Fat12, FsKind::Ntfs, FsKind::Ext4, FsKind::ExFat] {
            let drawn = [(); 2].map(|()| Identifier::Random.text(kind).unwrap());
            assert_ne!(drawn[0], drawn[1]);
            assert_eq!(text(kind, &drawn[0]).unwrap(), drawn[0]);
        }
    }
}
