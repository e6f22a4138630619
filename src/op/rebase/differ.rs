//! Where two chains may read differently, by their maps alone.

use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use crate::control::{Control, Stop};
use crate::disk::{LayerExtent, LayerWalk};
use crate::error::Result;
use crate::image::{ExtentState, ImageDriver};
use crate::storage::FileId;
use crate::units::{MIB, align_down};

/// The images of a chain, and which file each is.
#[derive(Default)]
pub(super) struct Layers {
    pub(super) images: Vec<Arc<dyn ImageDriver>>,
    /// `None` where nobody can tell: that file is the same as no other.
    pub(super) files: Vec<Option<FileId>>,
}

/// Guest bytes that the overlay does not hold and that may differ.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Piece {
    /// From a multiple of the unit to another, or to the end of the disk.
    pub(super) range: Range<u64>,
    /// The old backing file may have data somewhere in it; otherwise all of it reads as zeroes.
    pub(super) old_has_data: bool,
    /// So may the new one.
    pub(super) new_has_data: bool,
}

/// Most bytes that are compared at once, and what makes a batch.
const PIECE: u64 = MIB;
/// Small pieces are handed over together: this many at most.
const PIECES: usize = 256;

/// Walks both chains side by side.
pub(super) struct Candidates<'a> {
    old: Side<'a>,
    new: Side<'a>,
    size: u64,
    unit: u64,
    control: &'a Control,
    batch: Vec<Piece>,
    batch_bytes: u64,
    /// The last piece, which neighbours may still join.
    open: Option<Piece>,
}

impl<'a> Candidates<'a> {
    /// `old` is the overlay with what it stands on, `new` what it will stand on.
    pub(super) fn new(old: &'a Layers, new: &'a Layers, unit: u64, control: &'a Control) -> Self {
        let size = old.images.first().map_or(0, |image| image.virtual_size());
        Self {
            old: Side::new(old, size),
            new: Side::new(new, size),
            size,
            unit,
            control,
            batch: Vec::new(),
            batch_bytes: 0,
            open: None,
        }
    }

    /// Sends batches of pieces in ascending order, without overlap.
    pub(super) fn send_all(
        mut self,
        send: &mut dyn FnMut(Vec<Piece>) -> ControlFlow<()>,
    ) -> Result<(), Stop> {
        let mut position = 0;
        while position < self.size {
            self.control.checkpoint()?;
            let old = self.old.at(position)?;
            let new = self.new.at(position)?;
            let end = old.end.min(new.end);
            match self.piece(position..end, &old, &new) {
                Some(piece) => {
                    if self.push(piece, send).is_break() {
                        return Ok(());
                    }
                }
                None => self.control.advance(end - position),
            }
            position = end;
        }
        if let Some(last) = self.open.take() {
            let _ = self.cut(&last, send);
        }
        let _ = send(self.batch);
        Ok(())
    }

    /// `None` where nothing has to be done, whatever the data.
    fn piece(&self, range: Range<u64>, old: &Decision, new: &Decision) -> Option<Piece> {
        let is_held = old.depth == 0 && !old.falls_through;
        let is_same_file = old.file.is_some() && old.file == new.file;
        let nobody_has_data = !old.has_data && !new.has_data;
        if is_held || nobody_has_data || (is_same_file && old.has_data && new.has_data) {
            return None;
        }
        // The bytes beside it in its unit are not held either, and are compared with it: whatever
        // they are, also where both chains have them from the same file.
        let start = align_down(range.start, self.unit);
        let end = range.end.next_multiple_of(self.unit).min(self.size);
        let has_others = (start..end) != range;
        Some(Piece {
            range: start..end,
            old_has_data: old.has_data || has_others,
            new_has_data: new.has_data || has_others,
        })
    }

    fn push(
        &mut self,
        mut piece: Piece,
        send: &mut dyn FnMut(Vec<Piece>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        if let Some(open) = &mut self.open {
            if piece.range.start <= open.range.end && piece.range.end - open.range.start <= PIECE {
                open.range.end = open.range.end.max(piece.range.end);
                open.old_has_data |= piece.old_has_data;
                open.new_has_data |= piece.new_has_data;
                return ControlFlow::Continue(());
            }
            // A unit that two pieces share goes with the first, which then needs all of both.
            if piece.range.start < open.range.end {
                open.old_has_data |= piece.old_has_data;
                open.new_has_data |= piece.new_has_data;
                piece.range.start = open.range.end;
            }
        }
        if piece.range.is_empty() {
            return ControlFlow::Continue(());
        }
        match self.open.replace(piece) {
            Some(before) => self.cut(&before, send),
            None => ControlFlow::Continue(()),
        }
    }

    /// Into pieces that fit a buffer.
    fn cut(
        &mut self,
        piece: &Piece,
        send: &mut dyn FnMut(Vec<Piece>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let longest = PIECE.max(self.unit);
        let mut start = piece.range.start;
        while start < piece.range.end {
            let end = piece.range.end.min(align_down(start, longest) + longest);
            self.batch.push(Piece {
                range: start..end,
                ..piece.clone()
            });
            self.batch_bytes += end - start;
            start = end;
            if self.batch_bytes >= PIECE || self.batch.len() >= PIECES {
                self.batch_bytes = 0;
                send(std::mem::take(&mut self.batch))?;
            }
        }
        ControlFlow::Continue(())
    }
}

/// What a chain says about a position.
#[derive(Clone, Debug)]
struct Decision {
    depth: usize,
    /// The file that decides; none where the chain does not reach.
    file: Option<FileId>,
    has_data: bool,
    /// The deciding layer holds nothing itself.
    falls_through: bool,
    /// How far this holds.
    end: u64,
}

/// One chain, asked at positions that only grow.
struct Side<'a> {
    walk: LayerWalk<'a>,
    files: &'a [Option<FileId>],
    current: Option<LayerExtent>,
    /// Where everything ends.
    size: u64,
}

impl<'a> Side<'a> {
    fn new(layers: &'a Layers, size: u64) -> Self {
        Self {
            walk: LayerWalk::new(&layers.images, 0..size),
            files: &layers.files,
            current: None,
            size,
        }
    }

    fn at(&mut self, position: u64) -> Result<Decision> {
        while self
            .current
            .as_ref()
            .is_none_or(|extent| extent.guest.end <= position)
        {
            match self.walk.next()? {
                Some(extent) => self.current = Some(extent),
                None => return Ok(self.behind_the_end()),
            }
        }
        Ok(match &self.current {
            Some(extent) => self.decision(extent),
            None => self.behind_the_end(),
        })
    }

    fn decision(&self, extent: &LayerExtent) -> Decision {
        let (has_data, falls_through) = match extent.state {
            ExtentState::Data { .. } | ExtentState::Compressed => (true, false),
            ExtentState::Zero { .. } => (false, false),
            ExtentState::Unallocated { .. } => (false, true),
        };
        Decision {
            depth: extent.depth,
            file: self.files.get(extent.depth).copied().flatten(),
            has_data,
            falls_through,
            end: extent.guest.end,
        }
    }

    fn behind_the_end(&self) -> Decision {
        Decision {
            depth: usize::MAX,
            file: None,
            has_data: false,
            falls_through: true,
            end: self.size,
        }
    }
}
