//! A new raw image.

use crate::control::{Control, Stop};
use crate::error::{Error, ErrorKind, Result};
use crate::image::raw::write::prepare;
use crate::image::writer::{Before, Preallocation};
use crate::storage::WritableStorage;

/// What must not be taken for something else at the start of a device that becomes a raw image.
const HEAD: u64 = 512;

/// Makes `storage` a disk of `size` bytes. Nothing is durable before it is flushed. The content of
/// a device stays, but for its first sector (as QEMU has it), unless everything is written anew.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] when the device is shorter; [`ErrorKind::Unsupported`] for
/// preallocated metadata; I/O errors.
pub fn create_raw(
    storage: &dyn WritableStorage,
    before: Before,
    size: u64,
    preallocation: Preallocation,
    control: &Control,
) -> Result<(), Stop> {
    if preallocation == Preallocation::Metadata {
        return Err(Error::unsupported("raw images have no metadata to preallocate").into());
    }
    match before {
        // Also before all of it is written: what cannot be so long fails at once.
        Before::Nothing => storage.set_len(size)?,
        Before::Old => {
            let length = storage.size()?;
            if length < size {
                return Err(Error::new(
                    ErrorKind::InvalidInput,
                    format!("the device has {length} bytes, not {size}"),
                )
                .into());
            }
            storage.write_zeroes(0..size.min(HEAD))?;
        }
    }
    prepare(storage, 0..size, preallocation, control)
}
