//! How small a partition can be made.

use std::sync::Arc;

use crate::control::{Control, Stop};
use crate::error::Error;
use crate::fs::change::{self, Minimum, Place};
use crate::op::edit::Change;
use crate::storage::{Storage, WindowStorage};

/// The fewest bytes, and why no fewer, that what partition `change` of `disk` holds now can be made to
/// fit in. Tools work in `place`; [`change::minimum_cost`] says what that takes.
///
/// # Errors
/// As [`change::minimum`]; [`crate::ErrorKind::Unsupported`] when nothing is there that could
/// be made smaller.
pub fn smallest(
    disk: &Arc<dyn Storage>,
    change: &Change,
    place: &Place,
    control: &Control,
) -> Result<Minimum, Stop> {
    let (Some(before), Some(fs)) = (&change.before, change.fs) else {
        return Err(Error::unsupported("its content has no smallest size").into());
    };
    let window = WindowStorage::new(Arc::clone(disk), before.clone())?;
    let window = Arc::new(window) as Arc<dyn Storage>;
    change::minimum(&window, fs, place, control)
}
