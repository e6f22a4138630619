//! Where borders go that an edit leaves open.

use std::fmt;
use std::str::FromStr;

use super::Draft;
use crate::error::{Error, ErrorKind};
use crate::units::{KIB, MIB};

/// Sectors of a track of the invented geometry.
const TRACK: u64 = 63;

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

impl fmt::Display for Alignment {
    /// As it is parsed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mib => "1M",
            Self::FourKib => "4K",
            Self::Cylinder => "cylinder",
            Self::Sector => "none",
        })
    }
}

impl Alignment {
    /// All of them, the best first.
    pub const ALL: [Self; 4] = [Self::Mib, Self::FourKib, Self::Cylinder, Self::Sector];

    /// The best that a partition has which begins at this byte. On a cylinder is also what begins a
    /// track behind one, as DOS placed the first partition and logical ones.
    #[must_use]
    pub fn of(start: u64, sector_size: u64) -> Self {
        let track = TRACK.saturating_mul(sector_size);
        let is_on = |alignment: Self| {
            let step = alignment.step(sector_size);
            let behind_track = start.checked_sub(track);
            start.is_multiple_of(step)
                || alignment == Self::Cylinder
                    && behind_track.is_some_and(|start| start.is_multiple_of(step))
        };
        let known = Self::ALL.into_iter();
        known
            .into_iter()
            .find(|it| is_on(*it))
            .unwrap_or(Self::Sector)
    }

    /// The distance of two aligned bytes on a disk with sectors of so many bytes.
    #[must_use]
    pub fn step(self, sector_size: u64) -> u64 {
        let step = match self {
            Self::Mib => MIB,
            Self::FourKib => 4 * KIB,
            Self::Cylinder => 255 * TRACK * sector_size,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_alignment_counts() {
        const CYLINDER: u64 = 255 * 63 * 512;
        for (start, expected) in [
            (MIB, Alignment::Mib),
            (MIB + 4096, Alignment::FourKib),
            (63 * 512, Alignment::Cylinder),
            (CYLINDER, Alignment::Cylinder),
            (3 * CYLINDER + 63 * 512, Alignment::Cylinder),
            (64 * 512 + 512, Alignment::Sector),
            // A whole MiB and a cylinder at once.
            (2048 * CYLINDER, Alignment::Mib),
        ] {
            assert_eq!(Alignment::of(start, 512), expected, "{start}");
        }
        for alignment in Alignment::ALL {
            assert_eq!(
                alignment.to_string().parse::<Alignment>().unwrap(),
                alignment
            );
        }
        assert_eq!(Alignment::of(0, 0), Alignment::Mib);
    }
}
