//! One copy of a GPT: header and entry array, checked as the UEFI specification asks.

use uuid::Uuid;

use crate::codec::Fields;
use crate::error::Result;
use crate::phrase::{Phrase, gettext_noop};
use crate::storage::Storage;

/// Smallest header; larger ones only add reserved bytes.
const HEADER_SIZE: u32 = 92;
/// The entry array is at least 16 KiB by the specification; this is 8192 entries.
const MAX_ARRAY: u64 = 1 << 20;
const MAX_ENTRY: u32 = 4096;

/// The fields of a GPT header. Sector numbers are not checked against the disk.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Header {
    pub(super) alternate: u64,
    pub(super) first_usable: u64,
    pub(super) last_usable: u64,
    pub(super) disk: Uuid,
    pub(super) entries_at: u64,
    pub(super) entry_count: u32,
    pub(super) entry_size: u32,
    entries_crc: u32,
}

/// A header with its array.
#[derive(Clone, Debug)]
pub(in crate::table) struct Copy {
    pub(super) header: Header,
    /// The entries, `entry_size` bytes each.
    pub(super) array: Vec<u8>,
    /// A checksum that does not match, in words. The copy may still be the best there is.
    pub(super) fault: Option<Phrase>,
}

/// What stands where a copy should be.
#[derive(Clone, Debug)]
pub(super) enum Found {
    /// A copy, right or nearly so.
    Copy(Copy),
    /// A header too damaged to be used, and why.
    Unusable(Phrase),
    /// No header, or no such sector.
    Nothing,
}

impl Found {
    /// The copy, if all its checksums match.
    pub(super) fn good(&self) -> Option<&Copy> {
        self.copy().filter(|copy| copy.fault.is_none())
    }

    pub(super) fn copy(&self) -> Option<&Copy> {
        match self {
            Self::Copy(copy) => Some(copy),
            Self::Unusable(_) | Self::Nothing => None,
        }
    }

    /// What is wrong with it; `None` for a good copy and for nothing at all.
    pub(super) fn fault(&self) -> Option<&Phrase> {
        match self {
            Self::Copy(copy) => copy.fault.as_ref(),
            Self::Unusable(why) => Some(why),
            Self::Nothing => None,
        }
    }

    pub(super) fn is_nothing(&self) -> bool {
        matches!(self, Self::Nothing)
    }
}

/// Reads the copy whose header stands in `sector`.
pub(super) fn read(
    disk: &dyn Storage,
    disk_size: u64,
    sector_size: u64,
    sector: u64,
) -> Result<Found> {
    let sectors = disk_size / sector_size;
    if sector == 0 || sector >= sectors {
        return Ok(Found::Nothing);
    }
    let mut bytes = vec![0; usize::try_from(sector_size).unwrap_or(512)];
    disk.read_at(&mut bytes, sector * sector_size)?;
    let (header, fault) = match parse(&bytes, sector, sectors)? {
        Parsed::Nothing => return Ok(Found::Nothing),
        Parsed::Unusable(why) => return Ok(Found::Unusable(why)),
        Parsed::Header(header, fault) => (header, fault),
    };
    let length = u64::from(header.entry_count) * u64::from(header.entry_size);
    if length > MAX_ARRAY {
        let why = Phrase::new(gettext_noop(
            "it claims {number} entries of {size} bytes, more than the limit of {limit} bytes",
        ))
        .text("number", header.entry_count.to_string())
        .text("size", header.entry_size.to_string())
        .text("limit", MAX_ARRAY.to_string());
        return Ok(Found::Unusable(why));
    }
    let inside = header
        .entries_at
        .checked_mul(sector_size)
        .and_then(|start| start.checked_add(length))
        .is_some_and(|end| end <= disk_size);
    if !inside {
        let why = Phrase::new(gettext_noop(
            "its entries in sector {sector} lie outside the disk",
        ))
        .text("sector", header.entries_at.to_string());
        return Ok(Found::Unusable(why));
    }
    let mut array = vec![0; usize::try_from(length).unwrap_or(0)];
    disk.read_at(&mut array, header.entries_at * sector_size)?;
    let crc = crc32fast::hash(&array);
    let fault = fault.or_else(|| {
        (crc != header.entries_crc).then(|| {
            Phrase::new(gettext_noop(
                "checksum of its entries is {found} instead of {stored}",
            ))
            .text("found", format!("{crc:#010x}"))
            .text("stored", format!("{:#010x}", header.entries_crc))
        })
    });
    Ok(Found::Copy(Copy {
        header,
        array,
        fault,
    }))
}

enum Parsed {
    Nothing,
    Unusable(Phrase),
    Header(Header, Option<Phrase>),
}

fn parse(bytes: &[u8], sector: u64, sectors: u64) -> Result<Parsed> {
    let fields = Fields::new(bytes, 0);
    if fields.slice(0, 8)? != b"EFI PART" {
        return Ok(Parsed::Nothing);
    }
    let header_size = fields.le32(12)?;
    let length = usize::try_from(header_size).unwrap_or(usize::MAX);
    if header_size < HEADER_SIZE || length > bytes.len() {
        let why = Phrase::new(gettext_noop(
            "header size {size} is not within {least} to {most}",
        ))
        .text("size", header_size.to_string())
        .text("least", HEADER_SIZE.to_string())
        .text("most", bytes.len().to_string());
        return Ok(Parsed::Unusable(why));
    }
    let header = Header {
        alternate: fields.le64(32)?,
        first_usable: fields.le64(40)?,
        last_usable: fields.le64(48)?,
        disk: guid(fields, 56)?,
        entries_at: fields.le64(72)?,
        entry_count: fields.le32(80)?,
        entry_size: fields.le32(84)?,
        entries_crc: fields.le32(88)?,
    };
    if let Some(why) = contradiction(&header, fields.le64(24)?, sector, sectors) {
        return Ok(Parsed::Unusable(why));
    }
    let stored = fields.le32(16)?;
    let mut covered = fields.slice(0, length)?.to_vec();
    covered[16..20].fill(0);
    let crc = crc32fast::hash(&covered);
    let fault = (crc != stored).then(|| {
        Phrase::new(gettext_noop(
            "checksum of its header is {found} instead of {stored}",
        ))
        .text("found", format!("{crc:#010x}"))
        .text("stored", format!("{stored:#010x}"))
    });
    Ok(Parsed::Header(header, fault))
}

fn contradiction(header: &Header, own: u64, sector: u64, sectors: u64) -> Option<Phrase> {
    let entry_size = header.entry_size;
    if own != sector {
        return Some(
            Phrase::new(gettext_noop(
                "its header says it belongs in sector {own}, not {sector}",
            ))
            .text("own", own.to_string())
            .text("sector", sector.to_string()),
        );
    }
    if !(128..=MAX_ENTRY).contains(&entry_size) || !entry_size.is_power_of_two() {
        return Some(
            Phrase::new(gettext_noop("entry size {size} is not 128, 256, … 4096"))
                .text("size", entry_size.to_string()),
        );
    }
    if header.entries_at < 2 {
        return Some(
            Phrase::new(gettext_noop(
                "its entries in sector {sector} lie on the header or the MBR",
            ))
            .text("sector", header.entries_at.to_string()),
        );
    }
    if header.first_usable > header.last_usable || header.first_usable >= sectors {
        return Some(
            Phrase::new(gettext_noop(
                "its usable sectors {first} to {last} make no sense",
            ))
            .text("first", header.first_usable.to_string())
            .text("last", header.last_usable.to_string()),
        );
    }
    None
}

/// The GUID at `at`, in the mixed byte order of the specification.
pub(super) fn guid(fields: Fields<'_>, at: usize) -> Result<Uuid> {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(fields.slice(at, 16)?);
    Ok(Uuid::from_bytes_le(bytes))
}
