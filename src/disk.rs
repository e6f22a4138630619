//! A chain seen as one guest disk.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::image::ImageDriver;
use crate::storage::Storage;

/// The guest disk: reads fall through the layers, the active one first. Bytes that a shorter
/// backing file does not reach read as zeroes.
#[derive(Clone, Debug)]
pub struct Disk {
    layers: Arc<[Arc<dyn ImageDriver>]>,
}

impl Disk {
    /// The disk of these layers, the active one first.
    ///
    /// # Errors
    /// [`crate::ErrorKind::InvalidInput`] without any layer.
    pub fn new(layers: Vec<Arc<dyn ImageDriver>>) -> Result<Self> {
        if layers.is_empty() {
            return Err(Error::new(
                crate::ErrorKind::InvalidInput,
                "a disk needs a layer",
            ));
        }
        Ok(Self {
            layers: layers.into(),
        })
    }
}

impl Storage for Disk {
    fn size(&self) -> Result<u64> {
        Ok(self.layers[0].virtual_size())
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        let _ = (buf, offset);
        Err(Error::unsupported("disks are not readable yet"))
    }
}
