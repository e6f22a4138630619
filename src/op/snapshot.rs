//! Changing the internal snapshots of an image.

use crate::chain::Chain;
use crate::control::{Control, Stop};
use crate::image::SnapshotSelector;

/// One change.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SnapshotChange {
    /// Takes a snapshot of the disk as it is now.
    Create {
        /// What it is called. Several may be called the same.
        name: String,
    },
    /// Sets the disk back to a snapshot.
    Apply(SnapshotSelector),
    /// Deletes a snapshot.
    Delete(SnapshotSelector),
    /// Gives a snapshot another name.
    Rename {
        /// Which.
        snapshot: SnapshotSelector,
        /// What it is called from now on.
        name: String,
    },
}

/// Changes the active layer of a chain, which was opened for change; durable on return. Answers
/// the id of a snapshot that was taken.
///
/// # Errors
/// As [`crate::image::ImageWriter::create_snapshot`] and its siblings.
pub fn change(
    chain: &Chain,
    change: &SnapshotChange,
    control: &Control,
) -> Result<Option<String>, Stop> {
    let writer = chain.writer(0)?;
    match change {
        SnapshotChange::Create { name } => return writer.create_snapshot(name, control).map(Some),
        SnapshotChange::Apply(snapshot) => writer.apply_snapshot(snapshot, control)?,
        SnapshotChange::Delete(snapshot) => writer.delete_snapshot(snapshot, control)?,
        SnapshotChange::Rename { snapshot, name } => writer.rename_snapshot(snapshot, name)?,
    }
    Ok(None)
}
