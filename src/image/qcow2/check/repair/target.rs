//! Where a repair writes.

use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::control::Stop;
use crate::error::Result;
use crate::image::qcow2::feature;
use crate::image::qcow2::header::Header;
use crate::image::writer::SaveMetadata;
use crate::storage::WritableStorage;

/// Where the incompatible features are in the header.
const INCOMPATIBLE_AT: u64 = 72;

/// The file of an image that is mended. Before the first write it is marked dirty, if its version
/// has a mark: whoever opens it after a crash knows that refcounts and flags may disagree.
pub(in crate::image::qcow2::check) struct Target<'a> {
    storage: &'a dyn WritableStorage,
    version: u32,
    save: &'a SaveMetadata<'a>,
    /// What `save` is told.
    overwritten: Vec<Range<u64>>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// As they were found.
    found: u64,
    /// As they are.
    features: u64,
    /// The metadata was saved, which comes before the first write of all.
    saved: bool,
    /// The image is marked dirty, if it can be.
    prepared: bool,
    /// Something was written since the last flush.
    unflushed: bool,
}

impl<'a> Target<'a> {
    /// `save` is called with `overwritten` before the first write.
    pub(super) fn new(
        storage: &'a dyn WritableStorage,
        header: &Header,
        save: &'a SaveMetadata<'a>,
        overwritten: Vec<Range<u64>>,
    ) -> Self {
        Self {
            storage,
            save,
            overwritten,
            version: header.version,
            state: Mutex::new(State {
                found: header.incompatible_features,
                features: header.incompatible_features,
                saved: false,
                prepared: header.version < 3 || header.incompatible_features & feature::DIRTY != 0,
                unflushed: false,
            }),
        }
    }

    /// The storage, for a write; marks it dirty.
    pub(super) fn storage(&self) -> Result<&'a dyn WritableStorage> {
        let mut state = self.lock();
        self.save(&mut state)?;
        if !state.prepared {
            self.set_features(&mut state, |features| features | feature::DIRTY)?;
            state.prepared = true;
        }
        state.unflushed = true;
        Ok(self.storage)
    }

    /// Writes `bytes` at `offset`.
    pub(in crate::image::qcow2::check) fn write(&self, bytes: &[u8], offset: u64) -> Result<()> {
        self.storage()?.write_at(bytes, offset)
    }

    /// Writes what `change` makes of the table of `bytes` at `offset`: no more than from the first
    /// to the last byte that changes.
    pub(in crate::image::qcow2::check) fn rewrite(
        &self,
        offset: u64,
        bytes: &[u8],
        change: impl FnOnce(&mut [u8]),
    ) -> Result<()> {
        let mut changed = bytes.to_vec();
        change(&mut changed);
        let differs = |(old, new): (&u8, &u8)| old != new;
        let Some(first) = bytes.iter().zip(&changed).position(differs) else {
            return Ok(());
        };
        let last = bytes.iter().zip(&changed).rposition(differs);
        let end = last.map_or(first, |last| last + 1);
        self.write(&changed[first..end], offset + first as u64)
    }

    /// Makes what was written durable; nothing when nothing was written.
    pub(super) fn flush(&self) -> Result<()> {
        let mut state = self.lock();
        if std::mem::take(&mut state.unflushed) {
            self.storage.flush()?;
        }
        Ok(())
    }

    /// Takes back the mark that was made, and of a sound image all that say it might not be one.
    /// Durable on return.
    pub(super) fn finish(&self, is_sound: bool) -> Result<()> {
        self.flush()?;
        let mut state = self.lock();
        let mut features = state.found;
        if is_sound {
            features &= !(feature::DIRTY | feature::CORRUPT);
        }
        if self.version >= 3 && features != state.features {
            self.set_features(&mut state, |_| features)?;
        }
        Ok(())
    }

    fn save(&self, state: &mut State) -> Result<()> {
        if !state.saved {
            (self.save)(&self.overwritten)?;
            state.saved = true;
        }
        Ok(())
    }

    fn set_features(&self, state: &mut State, change: impl FnOnce(u64) -> u64) -> Result<()> {
        self.save(state)?;
        state.features = change(state.features);
        self.storage
            .write_at(&state.features.to_be_bytes(), INCOMPATIBLE_AT)?;
        self.storage.flush()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The first thing that went wrong on any thread.
#[derive(Debug, Default)]
pub(in crate::image::qcow2::check) struct Failure(Mutex<Option<Stop>>);

impl Failure {
    /// Keeps the error of `result`, if it is the first.
    pub(in crate::image::qcow2::check) fn note(&self, result: Result<()>) {
        if let Err(error) = result {
            self.0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .get_or_insert(Stop::Failed(error));
        }
    }

    /// What was kept.
    pub(in crate::image::qcow2::check) fn into_result(self) -> Result<(), Stop> {
        let kept = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        kept.map_or(Ok(()), Err)
    }
}
