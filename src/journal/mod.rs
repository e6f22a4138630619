//! A change of a disk that survives a crash: it can be resumed, taken back, and undone when it is
//! done.
//!
//! The journal is a file beside the image. Before the first change it holds, durably, all steps
//! and every byte that will be written; before bytes are replaced it gets those that are there. So
//! whatever moment a crash picks, the next one to open the image goes on ([`Journal::forward`]) or
//! back ([`Journal::back`]), and both end in exactly the new or the old state. Bytes that move are
//! not written twice where the distance allows it (`shift`).
//!
//! | file | is |
//! |---|---|
//! | `record` | how far the change is: two alternating sectors with a checksum |
//! | `steps` | what the change consists of |
//! | `build` | making a journal |
//! | `run` | going on, and going back |
//! | `shift` | moving bytes to an overlapping place |

mod build;
mod record;
mod run;
mod shift;
mod steps;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use build::JournalBuilder;
pub use record::Identity;

use crate::error::Result;
use crate::storage::WritableStorage;

use record::Record;
use steps::Step;

/// How far a change is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Progress {
    /// Nothing was changed, or all was taken back.
    Old,
    /// Some of it was done: the disk is of no use before it is resumed or taken back.
    Between,
    /// It is done, and can be undone.
    New,
}

/// A change on its way, or done.
#[derive(Debug)]
pub struct Journal {
    storage: Arc<dyn WritableStorage>,
    record: Record,
    steps: Vec<Step>,
}

impl Journal {
    /// The journal in `storage`; `None` when there is none, or it was never finished: then nothing
    /// was changed yet.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Corrupt`] when the steps do not have the checksum that the record says;
    /// I/O errors.
    pub fn load(storage: Arc<dyn WritableStorage>) -> Result<Option<Self>> {
        let Some(record) = record::load(storage.as_ref())? else {
            return Ok(None);
        };
        let steps = steps::load(storage.as_ref(), &record)?;
        Ok(Some(Self {
            storage,
            record,
            steps,
        }))
    }

    /// How far it is.
    #[must_use]
    pub fn progress(&self) -> Progress {
        let position = &self.record.position;
        if position.step == 0 && position.done == 0 && position.hot.is_none() {
            Progress::Old
        } else if position.step == self.steps.len() as u64 {
            Progress::New
        } else {
            Progress::Between
        }
    }

    /// The image it belongs to, as it was before.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.record.identity
    }

    /// Writes the record once more, so that the journal is younger than the last change it made.
    ///
    /// # Errors
    /// I/O errors.
    pub fn seal(&mut self) -> Result<()> {
        record::save(self.storage.as_ref(), &mut self.record)
    }

    /// Bytes that going on will move or write.
    #[must_use]
    pub fn bytes_left(&self) -> u64 {
        let next = usize::try_from(self.record.position.step).unwrap_or(usize::MAX);
        let left = self.steps.iter().skip(next).map(Step::bytes);
        left.sum::<u64>().saturating_sub(self.record.position.done)
    }
}
