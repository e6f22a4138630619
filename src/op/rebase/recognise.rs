//! What the disk of an overlay shows when it stands on another file: the best hint whether that is
//! the right one. Only looked at; nothing is written.

use std::path::Path;
use std::sync::Arc;

use crate::chain::FolderIndex;
use crate::chain::{Candidate, Chain, ChainOptions, candidates, rank};
use crate::control::{Control, Stop};
use crate::inspect::Contents;
use crate::storage::Storage;
use crate::table::TableKind;

/// What was recognised on a disk.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Recognised {
    /// The partition table.
    pub table: TableKind,
    /// How many file systems.
    pub file_systems: usize,
}

/// Candidates that [`likely_backing_files`] attaches on trial.
const TRIED: usize = 8;

/// What the disk of `overlay` shows when it stands on `backing`, whatever its header names;
/// `None` when nothing is recognised, or it cannot be read.
#[must_use]
pub fn recognised(overlay: &Path, options: &ChainOptions, backing: &Path) -> Option<Recognised> {
    let mut options = ChainOptions {
        observe: true,
        ..options.clone()
    };
    let meant = Chain::open(overlay, &options).ok()?;
    let meant = meant.links().get(1)?.path.clone()?;
    options.policy.located.retain(|(known, _)| *known != meant);
    options.policy.located.push((meant, backing.to_owned()));
    options.policy.granted.push(backing.to_owned());
    let chain = Chain::open(overlay, &options).ok()?;
    let disk: Arc<dyn Storage> = Arc::new(chain.disk().ok()?);
    let contents = Contents::read(&disk).ok()?;
    let known = contents.volumes.iter();
    let known = known.filter(|volume| volume.file_system.is_some());
    let found = Recognised {
        table: contents.table.kind,
        file_systems: known.count(),
    };
    (found.table != TableKind::None || found.file_systems > 0).then_some(found)
}

/// The images in the folder of `overlay` that it can stand on, the likeliest first. Those that
/// look likeliest are attached on trial, and count more where something is recognised then.
///
/// # Errors
/// When the folder cannot be listed, or on cancel.
pub fn likely_backing_files(
    overlay: &Path,
    options: &ChainOptions,
    control: &Control,
) -> Result<Vec<Candidate>, Stop> {
    let folder = overlay.parent().unwrap_or(overlay);
    let index = FolderIndex::read(folder, control)?;
    let header = Chain::open(
        overlay,
        &ChainOptions {
            observe: true,
            active_only: true,
            headers_only: true,
            ..options.clone()
        },
    )?;
    let info = header.active().info();
    let size = info.map_or(0, |info| info.virtual_size);
    let recorded = info.and_then(|info| info.backing.as_ref());
    let mut found = candidates(overlay, size, recorded, &index);
    for candidate in found.iter_mut().take(TRIED) {
        control.checkpoint()?;
        candidate.recognised = recognised(overlay, options, &candidate.path).is_some();
    }
    rank(&mut found, size);
    Ok(found)
}
