//! What is read: the guest disks of one or several chains, one after the other, seen as one disk.

use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use crate::chain::{Chain, MapDetail};
use crate::disk::Disk;
use crate::error::{Error, ErrorKind, Result};
use crate::image::{FormatDetails, ImageDriver, Qcow2Options};
use crate::storage::{FileId, Storage};

/// Disks are whole sectors.
const SECTOR: u64 = 512;

/// The disks of several chains, joined end to end, or a part of that.
pub(super) struct Source<'a> {
    parts: Vec<Part<'a>>,
    /// Of the whole, in bytes.
    size: u64,
    /// What is read of the whole; behind it are zeroes up to the next sector.
    window: Option<Range<u64>>,
    /// From this depth on, the (only) chain is what the target will stand on.
    base_depth: Option<usize>,
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
    /// Reads as the target's backing file does.
    Base,
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
    /// [`ErrorKind::InvalidInput`] without any chain; as [`Chain::settled_disk`].
    pub(super) fn new(chains: &'a [Chain]) -> Result<Self> {
        if chains.is_empty() {
            return Err(Error::new(ErrorKind::InvalidInput, "there is no source"));
        }
        let mut parts = Vec::new();
        let mut start = 0_u64;
        for chain in chains {
            let disk = chain.settled_disk()?;
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
        Ok(Self {
            parts,
            size: start,
            window: None,
            base_depth: None,
        })
    }

    /// Only these bytes are wanted. Where a cluster of the source begins and ends does not matter
    /// any more then.
    pub(super) fn set_window(&mut self, window: Range<u64>) {
        let end = window.end.min(self.size);
        self.window = Some(window.start.min(end)..end);
    }

    /// Says what the target will stand on, so that what the source has from there is left out.
    pub(super) fn set_base(&mut self, base: &Chain) {
        let [part] = self.parts.as_slice() else {
            return;
        };
        let files = |chain: &Chain| -> Vec<_> {
            let links = chain.links().iter();
            links
                .map(|link| link.path.as_deref().and_then(|path| FileId::of(path).ok()))
                .collect()
        };
        let (files, base) = (files(part.chain), files(base));
        self.base_depth = (0..files.len())
            .find(|&depth| files[depth..] == base && files[depth..].iter().all(Option::is_some));
    }

    /// Whether all compressed clusters can be copied into such an image as they are.
    pub(super) fn is_stored_as(&self, image: &Qcow2Options) -> bool {
        let is_alike = |layer: &Arc<dyn ImageDriver>| match &layer.info().details {
            FormatDetails::Qcow2(details) => {
                details.compression == image.compression.name()
                    && layer.info().cluster_size == Some(image.cluster_size)
            }
            _ => true,
        };
        let layers = self.layers();
        !layers.is_empty() && layers.iter().all(is_alike)
    }

    /// Bytes of all that is wanted.
    pub(super) fn size(&self) -> u64 {
        match &self.window {
            Some(window) => (window.end - window.start).next_multiple_of(SECTOR),
            None => self.size,
        }
    }

    /// Fills `buf` from `offset`; the range must lie inside.
    pub(super) fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        let Some(window) = &self.window else {
            return self.read_whole_at(buf, offset);
        };
        let at = window.start.saturating_add(offset).min(window.end);
        let there = usize::try_from(window.end - at).unwrap_or(usize::MAX);
        let (head, tail) = buf.split_at_mut(there.min(buf.len()));
        tail.fill(0);
        self.read_whole_at(head, at)
    }

    fn read_whole_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
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
        let Some(window) = self.window.clone() else {
            return self.for_each_run_of_whole(visit);
        };
        let mut stopped = false;
        self.for_each_run_of_whole(&mut |run| {
            let start = run.range.start.max(window.start);
            let end = run.range.end.min(window.end);
            if start >= end {
                return if start < window.end {
                    ControlFlow::Continue(())
                } else {
                    ControlFlow::Break(())
                };
            }
            let state = match run.state {
                // Its clusters are somewhere else in the target.
                RunState::Compressed { .. } => RunState::Data,
                other => other,
            };
            let flow = visit(SourceRun {
                range: start - window.start..end - window.start,
                state,
            });
            stopped = flow.is_break();
            flow
        })?;
        let length = window.end - window.start;
        if !stopped && length < self.size() {
            let _ = visit(SourceRun {
                range: length..self.size(),
                state: RunState::Zero,
            });
        }
        Ok(())
    }

    fn for_each_run_of_whole(
        &self,
        visit: &mut dyn FnMut(SourceRun) -> ControlFlow<()>,
    ) -> Result<()> {
        for part in &self.parts {
            let length = part.range.end - part.range.start;
            let mut stopped = false;
            part.chain
                .for_each_map_entry(0..length, MapDetail::HostHoles, &mut |entry| {
                    let is_base = self.base_depth.is_some_and(|depth| entry.depth >= depth);
                    let state = match (entry.zero, entry.compressed) {
                        _ if is_base => RunState::Base,
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

    /// The layers of the only chain; none when there are several chains or a part is wanted.
    pub(super) fn layers(&self) -> &[Arc<dyn ImageDriver>] {
        match self.parts.as_slice() {
            [part] if self.window.is_none() => part.disk.layers(),
            _ => &[],
        }
    }
}
