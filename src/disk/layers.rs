//! The extents of several layers, merged: which layer decides about which guest bytes.

use std::collections::VecDeque;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::image::{Extent, ExtentState, ImageDriver};

/// A run of guest bytes and what the layer that decides about them says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct LayerExtent {
    /// The guest bytes.
    pub(crate) guest: Range<u64>,
    /// The layer that decides: the first that holds them, else the last that reaches them.
    pub(crate) depth: usize,
    /// What it holds.
    pub(crate) state: ExtentState,
}

/// How many extents of all layers together are held at a time.
const HELD: usize = 64 << 10;

/// Visits `range` (cut to the size of the first layer) in guest order, without gap or overlap,
/// until the visitor breaks. Neighbours may be alike. Memory does not grow with the range.
///
/// # Errors
/// As [`ImageDriver::for_each_extent`] of any layer.
pub(crate) fn for_each_layer_extent(
    layers: &[Arc<dyn ImageDriver>],
    range: Range<u64>,
    visit: &mut dyn FnMut(LayerExtent) -> ControlFlow<()>,
) -> Result<()> {
    if let [only] = layers {
        return only.for_each_extent(range, &mut |extent| {
            visit(LayerExtent {
                guest: extent.guest,
                depth: 0,
                state: extent.state,
            })
        });
    }
    let mut walk = LayerWalk::new(layers, range);
    while let Some(extent) = walk.next()? {
        if visit(extent).is_break() {
            break;
        }
    }
    Ok(())
}

/// As [`for_each_layer_extent`], one extent after the other for whoever asks, so that two walks
/// can go side by side.
pub(crate) struct LayerWalk<'a> {
    cursors: Vec<Cursor<'a>>,
    position: u64,
    end: u64,
}

impl<'a> LayerWalk<'a> {
    /// Over `range`, cut to the size of the first layer; without layers over nothing.
    pub(crate) fn new(layers: &'a [Arc<dyn ImageDriver>], range: Range<u64>) -> Self {
        let held = HELD / layers.len().max(1);
        let cursors: Vec<_> = layers
            .iter()
            .map(|layer| Cursor::new(layer.as_ref(), range.end, held))
            .collect();
        Self {
            end: cursors.first().map_or(0, |cursor| cursor.end),
            cursors,
            position: range.start,
        }
    }

    /// The next extent; `None` at the end.
    ///
    /// # Errors
    /// As [`ImageDriver::for_each_extent`] of any layer.
    pub(crate) fn next(&mut self) -> Result<Option<LayerExtent>> {
        if self.position >= self.end {
            return Ok(None);
        }
        let extent = decide(&mut self.cursors, self.position, self.end)?;
        self.position = extent.guest.end;
        Ok(Some(extent))
    }
}

/// The longest run from `position` on that one layer decides about in one way.
fn decide(cursors: &mut [Cursor<'_>], position: u64, end: u64) -> Result<LayerExtent> {
    let mut decided = LayerExtent {
        guest: position..end,
        depth: 0,
        state: ExtentState::Unallocated { host: None },
    };
    for (depth, cursor) in cursors.iter_mut().enumerate() {
        // Behind the end of a shorter backing file, the overlay has the last word.
        if position >= cursor.end {
            break;
        }
        let extent = cursor.at(position)?;
        decided.guest.end = decided.guest.end.min(extent.guest.end);
        decided.depth = depth;
        decided.state = skipped(extent.state, position - extent.guest.start)?;
        if !matches!(decided.state, ExtentState::Unallocated { .. }) {
            break;
        }
    }
    Ok(decided)
}

/// The state `bytes` further into an extent.
fn skipped(state: ExtentState, bytes: u64) -> Result<ExtentState> {
    let skip = |host: crate::units::HostOffset| {
        host.checked_add(bytes)
            .ok_or_else(|| Error::corrupt("an extent passes the largest host offset"))
    };
    Ok(match state {
        ExtentState::Unallocated { host } => ExtentState::Unallocated {
            host: host.map(skip).transpose()?,
        },
        ExtentState::Zero { host } => ExtentState::Zero {
            host: host.map(skip).transpose()?,
        },
        ExtentState::Data { host } => ExtentState::Data { host: skip(host)? },
        ExtentState::Compressed => ExtentState::Compressed,
    })
}

/// Pulls extents out of a driver, which pushes them: some thousand at a time.
struct Cursor<'a> {
    layer: &'a dyn ImageDriver,
    /// Where the layer, or what is asked of it, ends.
    end: u64,
    held: VecDeque<Extent>,
    capacity: usize,
}

impl<'a> Cursor<'a> {
    fn new(layer: &'a dyn ImageDriver, end: u64, capacity: usize) -> Self {
        Self {
            layer,
            end: end.min(layer.virtual_size()),
            held: VecDeque::new(),
            capacity,
        }
    }

    /// The extent that covers `position`, which lies before the end and not before the position of
    /// the last call.
    fn at(&mut self, position: u64) -> Result<Extent> {
        while self
            .held
            .front()
            .is_some_and(|extent| extent.guest.end <= position)
        {
            self.held.pop_front();
        }
        if self.held.is_empty() {
            let (held, capacity) = (&mut self.held, self.capacity);
            self.layer
                .for_each_extent(position..self.end, &mut |extent| {
                    held.push_back(extent);
                    if held.len() < capacity {
                        ControlFlow::Continue(())
                    } else {
                        ControlFlow::Break(())
                    }
                })?;
        }
        match self.held.front() {
            Some(extent) if extent.guest.contains(&position) => Ok(extent.clone()),
            _ => Err(Error::corrupt(format!(
                "no extent for guest offset {position:#x}"
            ))),
        }
    }
}
