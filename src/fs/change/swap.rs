//! Swap areas: a header of one page, and nothing else worth keeping. As mkswap writes it.

use uuid::Uuid;

use crate::error::{Error, ErrorKind, Result};
use crate::fs::FsKind;
use crate::fs::change::{Change, Outcome, check_label};
use crate::storage::WritableStorage;

/// The page size of the machines that disks move between.
const PAGE: usize = 4096;
/// Ten pages: what mkswap asks for.
pub(super) const MINIMUM: u64 = 10 * PAGE as u64;

const VERSION: usize = 1024;
const LAST_PAGE: usize = 1028;
const UUID: usize = 1036;
const LABEL: usize = 1052;
pub(super) const LABEL_BYTES: usize = 16;
const SIGNATURE: &[u8; 10] = b"SWAPSPACE2";

/// Makes the change. Growing and shrinking keep label and identifier.
pub(super) fn change(partition: &dyn WritableStorage, change: &Change) -> Result<Outcome> {
    let mut page = [0; PAGE];
    let size = match change {
        Change::Shrink(to) => (*to).min(partition.size()?),
        _ => partition.size()?,
    };
    if size < MINIMUM {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            format!("a swap area has at least {MINIMUM} bytes"),
        ));
    }
    if matches!(change, Change::Make { .. }) {
        page[VERSION..VERSION + 4].copy_from_slice(&1_u32.to_le_bytes());
        page[UUID..UUID + 16].copy_from_slice(&random_uuid());
        page[PAGE - SIGNATURE.len()..].copy_from_slice(SIGNATURE);
    } else {
        partition.read_at(&mut page, 0)?;
        if page[PAGE - SIGNATURE.len()..] != *SIGNATURE {
            return Err(Error::unsupported(
                "this swap area has another page size than 4 KiB",
            ));
        }
    }
    match change {
        Change::Make {
            label: Some(label), ..
        }
        | Change::Label(label) => put_label(&mut page, label)?,
        Change::Uuid(wanted) => {
            let uuid = Uuid::parse_str(&wanted.text(FsKind::Swap)?).unwrap_or_default();
            page[UUID..UUID + 16].copy_from_slice(uuid.as_bytes());
        }
        Change::Make { .. } | Change::Grow | Change::Shrink(_) | Change::Repair => {}
    }
    if !matches!(change, Change::Label(_) | Change::Uuid(_)) {
        let last = u32::try_from(size / PAGE as u64 - 1).unwrap_or(u32::MAX);
        page[LAST_PAGE..LAST_PAGE + 4].copy_from_slice(&last.to_le_bytes());
    }
    if matches!(change, Change::Make { .. }) {
        // Signatures of what was here before lie further on.
        partition.punch_hole(0..size.min(1 << 20))?;
    }
    partition.write_at(&page, 0)?;
    Ok(Outcome::default())
}

fn put_label(page: &mut [u8; PAGE], label: &str) -> Result<()> {
    let bytes = check_label(FsKind::Swap, label)?.as_bytes();
    page[LABEL..LABEL + LABEL_BYTES].fill(0);
    page[LABEL..LABEL + bytes.len()].copy_from_slice(bytes);
    Ok(())
}

fn random_uuid() -> [u8; 16] {
    *Uuid::new_v4().as_bytes()
}
