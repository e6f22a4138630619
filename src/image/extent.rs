//! Extents: runs of guest bytes that one image treats alike.

use std::ops::Range;

use crate::units::HostOffset;

/// What one image (not its backing files) holds for a run of guest bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ExtentState {
    /// Nothing: the backing file decides, or it reads as zeroes. `host` where there is room for it
    /// already: an unallocated subcluster of an allocated cluster (QCOW2's extended L2 entries).
    Unallocated {
        /// Host offset of that room.
        host: Option<HostOffset>,
    },
    /// Reads as zeroes whatever the backing file holds. `host` where clusters stay preallocated.
    Zero {
        /// Host offset of the preallocated clusters.
        host: Option<HostOffset>,
    },
    /// Stored as it is, contiguously from `host` on (in the external data file if there is one).
    Data {
        /// Host offset of the first byte.
        host: HostOffset,
    },
    /// Stored compressed.
    Compressed,
}

/// A run of guest bytes with one state.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Extent {
    /// The guest bytes.
    pub guest: Range<u64>,
    /// What the image holds for them.
    pub state: ExtentState,
}

impl Extent {
    /// Whether `next` continues this extent: adjacent in the guest, same state, and adjacent on
    /// the host where the state has a place there.
    #[must_use]
    pub fn continues_with(&self, next: &Self) -> bool {
        if self.guest.end != next.guest.start {
            return false;
        }
        let length = self.guest.end - self.guest.start;
        let adjacent = |a: HostOffset, b: HostOffset| a.checked_add(length) == Some(b);
        match (self.state, next.state) {
            (ExtentState::Unallocated { host: None }, ExtentState::Unallocated { host: None })
            | (ExtentState::Compressed, ExtentState::Compressed)
            | (ExtentState::Zero { host: None }, ExtentState::Zero { host: None }) => true,
            (
                ExtentState::Unallocated { host: Some(a) },
                ExtentState::Unallocated { host: Some(b) },
            )
            | (ExtentState::Zero { host: Some(a) }, ExtentState::Zero { host: Some(b) })
            | (ExtentState::Data { host: a }, ExtentState::Data { host: b }) => adjacent(a, b),
            _ => false,
        }
    }
}
