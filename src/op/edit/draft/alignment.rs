//! Where borders go that an edit leaves open.

use std::str::FromStr;

use super::Draft;
use crate::error::{Error, ErrorKind};
use crate::units::{KIB, MIB};

/// Of what borders are multiples, where an edit does not name the byte.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Alignment {
    /// 1 MiB, as all current tools have it: right for every disk.
    #[default]
    Mib,
    /// 4 KiB: the least that file systems and current disks want.
    FourKib,
    /// A cylinder of the invented geometry (255 heads, 63 sectors), as DOS had it.
    Cylinder,
    /// A sector.
    Sector,
}

impl FromStr for Alignment {
    type Err = Error;

    /// `1M`, `4K`, `cylinder` or `none`.
    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "1M" => Ok(Self::Mib),
            "4K" => Ok(Self::FourKib),
            "cylinder" => Ok(Self::Cylinder),
            "none" => Ok(Self::Sector),
            _ => Err(Error::new(
                ErrorKind::InvalidInput,
                format!("'{text}' is no alignment: 1M, 4K, cylinder or none"),
            )),
        }
    }
}

impl Alignment {
    /// The distance of two aligned bytes on a disk with sectors of so many bytes.
    #[must_use]
    pub fn step(self, sector_size: u64) -> u64 {
        let step = match self {
            Self::Mib => MIB,
            Self::FourKib => 4 * KIB,
            Self::Cylinder => 255 * 63 * sector_size,
            Self::Sector => sector_size,
        };
        step.max(sector_size).max(1)
    }
}

impl Draft {
    /// The distance of two aligned bytes.
    pub(super) fn step(&self) -> u64 {
        self.alignment.step(self.table.sector_size)
    }

    /// The shortest length of at least `least` bytes that is whole steps.
    pub(super) fn aligned_length(&self, least: u64) -> Option<u64> {
        least.checked_next_multiple_of(self.step())
    }
}
