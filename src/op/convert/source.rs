//! What is read: the guest disks of one or several chains, one after the other, seen as one disk.

use std::ops::{ControlFlow, Range};

use crate::chain::{Chain, MapDetail};
use crate::disk::Disk;
use crate::error::{Error, ErrorKind, Result};
use crate::storage::Storage;

/// The disks of several chains, joined end to end.
pub(super) struct Source<'a> {
    parts: Vec<Part<'a>>,
    size: u64,
}

struct Part<'a> {
    chain: &'a Chain,
    disk: Disk,
    /// Where it lies in the whole.
    range: Range<u64>,
}

/// A run of the source's bytes that are stored in one way.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct SourceRun {
    pub(super) range: Range<u64>,
    pub(super) state: RunState,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum RunState {
    /// Reads as zeroes; nothing has to be read for that.
    Zero,
    Data,
    /// Compressed clusters of the layer at this depth of the (only) chain.
    Compressed {
        depth: usize,
    },
}

impl<'a> Source<'a> {
    /// # Errors
    /// [`ErrorKind::InvalidInput`] without any chain; when a link is not open.
    pub(super) fn new(chains: &'a [Chain]) -> Result<Self> {
        if chains.is_empty() {
            return Err(Error::new(ErrorKind::InvalidInput, "there is no source"));
        }
        let mut parts = Vec::new();
        let mut start = 0_u64;
        for chain in chains {
            let disk = chain.disk()?;
            let end = start
                .checked_add(disk.size()?)
                .filter(|end| i64::try_from(*end).is_ok())
                .ok_or_else(|| {
                    Error::new(
                        ErrorKind::InvalidInput,
                        "the sources together pass 2^63 bytes",
                    )
                })?;
            parts.push(Part {
                chain,
                disk,
                range: start..end,
            });
            start = end;
        }
        Ok(Self { parts, size: start })
    }

    /// Bytes of all disks together.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Fills `buf` from `offset`; the range must lie inside.
    pub(super) fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        let mut rest = buf;
        let mut at = offset;
        for part in &self.parts {
            if rest.is_empty() {
                break;
            }
            if !part.range.contains(&at) {
                continue;
            }
            let here = usize::try_from(part.range.end - at).unwrap_or(usize::MAX);
            let (head, tail) = rest.split_at_mut(here.min(rest.len()));
            part.disk.read_at(head, at - part.range.start)?;
            at += head.len() as u64;
            rest = tail;
        }
        Ok(())
    }

    /// Visits all runs in order, without gap, until the visitor breaks. Neighbours may be alike.
    pub(super) fn for_each_run(
        &self,
        visit: &mut dyn FnMut(SourceRun) -> ControlFlow<()>,
    ) -> Result<()> {
        for part in &self.parts {
            let length = part.range.end - part.range.start;
            let mut stopped = false;
            part.chain
                .for_each_map_entry(0..length, MapDetail::HostHoles, &mut |entry| {
                    let state = match (entry.zero, entry.compressed) {
                        (true, _) => RunState::Zero,
                        (false, true) => RunState::Compressed { depth: entry.depth },
                        (false, false) => RunState::Data,
                    };
                    let start = part.range.start;
                    let flow = visit(SourceRun {
                        range: start + entry.guest.start..start + entry.guest.end,
                        state,
                    });
                    stopped = flow.is_break();
                    flow
                })?;
            if stopped {
                break;
            }
        }
        Ok(())
    }
}
