//! How small partitions can be made: asked off the main thread, and only where that copies no more
//! than a few MiB.

use std::collections::HashMap;
use std::sync::Arc;

use platter::Control;
use platter::chain::Chain;
use platter::fs::change::{Action, Capability, Minimum, Place, capability, minimum_cost};
use platter::op::edit::{Change, Draft, smallest};
use platter::storage::Storage;
use relm4::Sender;

use super::messages::PartitionsCommand;
use crate::background::Background;
use crate::session::{Document, DocumentId};

/// Names one reading of one image.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct SmallestKey {
    id: DocumentId,
    generation: u64,
}

/// What is known of the selected image.
#[derive(Debug, Default)]
pub(super) struct Smallest {
    key: Option<SmallestKey>,
    known: HashMap<u32, Minimum>,
    asking: Control,
}

impl Smallest {
    /// Asks for the partitions of `document`, unless that has been done.
    pub(super) fn ask(
        &mut self,
        document: &Document,
        background: &Background,
        output: &Sender<PartitionsCommand>,
    ) {
        let key = SmallestKey {
            id: document.id,
            generation: document.generation,
        };
        let (Some(chain), Some(contents)) = (document.full_chain(), &document.contents) else {
            return;
        };
        if self.key == Some(key) {
            return;
        }
        self.asking.cancel();
        *self = Self {
            key: Some(key),
            ..Self::default()
        };
        let mut changes: Vec<Change> = Draft::new(contents)
            .changes
            .into_iter()
            .filter(is_worth_asking)
            .collect();
        // What is known at once does not wait for what takes a while.
        changes.sort_by_key(|change| change.fs.and_then(minimum_cost));
        if changes.is_empty() {
            return;
        }
        let (chain, control, output) = (Arc::clone(chain), self.asking.clone(), output.clone());
        background.run(move || ask_all(&chain, &changes, key, &control, &output));
    }

    /// Nobody looks at the image any more.
    pub(super) fn forget(&mut self) {
        self.asking.cancel();
        *self = Self::default();
    }

    /// Takes an answer in; answers whether it is news of the selected image.
    pub(super) fn take(&mut self, key: SmallestKey, number: u32, least: Minimum) -> bool {
        let is_news = self.key == Some(key);
        if is_news {
            self.known.insert(number, least);
        }
        is_news
    }

    /// How small this partition can be made, and why not smaller, as far as that is known by now.
    pub(super) fn of(&self, change: &Change) -> Option<&Minimum> {
        if change.make.is_some() {
            return None;
        }
        self.known.get(&change.number_before?)
    }
}

fn is_worth_asking(change: &Change) -> bool {
    change.fs.is_some_and(|fs| {
        minimum_cost(fs).is_some()
            && matches!(
                capability(fs, Action::Shrink),
                Capability::Native | Capability::Tool { .. }
            )
    })
}

/// Who looks at an image writes nothing beside it: scratch files are temporary ones.
fn ask_all(
    chain: &Chain,
    changes: &[Change],
    key: SmallestKey,
    control: &Control,
    output: &Sender<PartitionsCommand>,
) {
    let Ok(disk) = chain.disk() else { return };
    let disk: Arc<dyn Storage> = Arc::new(disk);
    let place = Place::new(std::env::temp_dir()).without_copies();
    for change in changes {
        // What cannot be found out is found out by the trial.
        if let (Some(number), Ok(least)) = (
            change.number_before,
            smallest(&disk, change, &place, control),
        ) {
            output.emit(PartitionsCommand::Smallest { key, number, least });
        }
    }
}
