//! Making overlays stand on their own: alone, and before what they stand on is changed or goes.

use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};

use crate::chain::{Chain, ChainOptions, MapDetail, OpenPolicy};
use crate::control::{Control, Stop};
use crate::error::{Error, ErrorKind, Result};
use crate::op::rebase::RebasePlan;
use crate::op::warning::{Warning, of_changed_base};

/// Bytes that the active layer of `chain` will hold more when it stands on its own, at most: the
/// data that it takes from the layers below.
///
/// # Errors
/// When a link is not open or a table is damaged, or on cancel.
pub fn bytes_needed(chain: &Chain, control: &Control) -> Result<u64, Stop> {
    bytes_of_layers(chain, 1..usize::MAX, control)
}

/// Bytes of data that the disk of `chain` takes from the layers at these depths (0 is the active
/// one).
///
/// # Errors
/// As [`bytes_needed`].
pub fn bytes_of_layers(
    chain: &Chain,
    depths: Range<usize>,
    control: &Control,
) -> Result<u64, Stop> {
    let info = chain.active().info();
    let size = info.map_or(0, |info| info.virtual_size);
    let (mut needed, mut cancelled) = (0_u64, false);
    chain.for_each_map_entry(0..size, MapDetail::Tables, &mut |entry| {
        if control.checkpoint().is_err() {
            cancelled = true;
            return ControlFlow::Break(());
        }
        if depths.contains(&entry.depth) && entry.data {
            needed = needed.saturating_add(entry.guest.end - entry.guest.start);
        }
        ControlFlow::Continue(())
    })?;
    if cancelled {
        return Err(Stop::Cancelled);
    }
    Ok(needed)
}

/// Gives the active layer of `chain`, opened for change, all that it takes from others.
///
/// # Errors
/// As [`RebasePlan::new`] and [`RebasePlan::run`].
pub fn flatten(chain: &Chain, control: &Control) -> Result<(), Stop> {
    RebasePlan::new(chain, None, false)?.run(control)
}

/// The images that stand directly on `base`, in its folder and those of `own`, except for `own`.
/// Those that stand on them in turn read the same, once these do.
///
/// # Errors
/// [`ErrorKind::Refused`] when it could not be found out in time: then nothing may be assumed.
pub fn dependents(base: &Path, own: &[&Path]) -> Result<Vec<PathBuf>> {
    let all = match of_changed_base(base, own) {
        None => return Ok(Vec::new()),
        Some(Warning::SharedBase { dependents, .. }) => dependents,
        Some(_) => {
            let unknown = "whether other images stand on it was not found out in time";
            return Err(Error::new(ErrorKind::Refused, unknown).with_path(base));
        }
    };
    let base = std::fs::canonicalize(base).unwrap_or_else(|_| base.to_owned());
    let stands_on_it = |path: &PathBuf| {
        let header = ChainOptions {
            observe: true,
            headers_only: true,
            ..ChainOptions::default()
        };
        let chain = Chain::open(path, &header).ok();
        let below = chain
            .as_ref()
            .and_then(|chain| chain.links().get(1)?.path.clone());
        below.is_none_or(|below| std::fs::canonicalize(below).is_ok_and(|below| below == base))
    };
    Ok(all.into_iter().filter(stands_on_it).collect())
}

/// Flattens the images at `paths`, one after the other. Each is durable before the next; a stop in
/// between leaves every one of them reading as before.
///
/// # Errors
/// As [`Chain::open`] and [`flatten`].
pub fn flatten_all(paths: &[PathBuf], policy: &OpenPolicy, control: &Control) -> Result<(), Stop> {
    for path in paths {
        let options = ChainOptions {
            policy: policy.clone(),
            writable: vec![0],
            ..ChainOptions::default()
        };
        flatten(&Chain::open(path, &options)?, control)?;
    }
    Ok(())
}

/// What [`flatten_all`] will write, at most, in bytes.
///
/// # Errors
/// As [`bytes_needed`].
pub fn bytes_needed_by_all(
    paths: &[PathBuf],
    policy: &OpenPolicy,
    control: &Control,
) -> Result<u64, Stop> {
    let mut needed = 0_u64;
    for path in paths {
        let options = ChainOptions {
            policy: policy.clone(),
            observe: true,
            ..ChainOptions::default()
        };
        let chain = Chain::open(path, &options)?;
        needed = needed.saturating_add(bytes_needed(&chain, control)?);
    }
    Ok(needed)
}
