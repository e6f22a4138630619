//! Giving the guest disk of an image another size.

use crate::chain::Chain;
use crate::control::{Control, Stop};
use crate::error::{Error, ErrorKind, Result};
use crate::image::Preallocation;
use crate::op::warning::{self, Warning};

/// What is asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Resize {
    /// The new size in bytes.
    pub size: u64,
    /// Less than now is meant, with what lies behind it lost.
    pub shrink: bool,
    /// How the space of a new part is prepared.
    pub preallocation: Preallocation,
}

/// A resize of the active layer of a chain, which was opened for change.
#[derive(Debug)]
pub struct ResizePlan<'a> {
    chain: &'a Chain,
    request: Resize,
    old_size: u64,
}

impl<'a> ResizePlan<'a> {
    /// Looks at what is asked for; changes nothing.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for a size of 0, for less than now without
    /// [`Resize::shrink`], and for a preallocation of nothing.
    pub fn new(chain: &'a Chain, request: Resize) -> Result<Self> {
        let Some(info) = chain.active().info() else {
            return Err(Error::new(ErrorKind::InvalidInput, "the image is not open"));
        };
        let old_size = info.virtual_size;
        let refuse = |message: String| Err(Error::new(ErrorKind::InvalidInput, message));
        let Resize {
            size,
            shrink,
            preallocation,
        } = request;
        if size == 0 {
            return refuse("a disk cannot have 0 bytes".to_owned());
        }
        if size < old_size && !shrink {
            return refuse(format!(
                "{size} bytes are less than the {old_size} there are"
            ));
        }
        if size <= old_size && preallocation != Preallocation::Off {
            return refuse("preallocation can only be used for growing images".to_owned());
        }
        Ok(Self {
            chain,
            request,
            old_size,
        })
    }

    /// The size now, in bytes.
    #[must_use]
    pub fn old_size(&self) -> u64 {
        self.old_size
    }

    /// What the new size does to partitions and file systems of the disk. A disk that cannot be
    /// read has nothing to warn of.
    #[must_use]
    pub fn warnings(&self) -> Vec<Warning> {
        self.chain
            .disk()
            .and_then(|disk| warning::of_resize(&disk, self.request.size))
            .unwrap_or_default()
    }

    /// Does it; durable on return. A crash leaves the disk with its old or its new size.
    ///
    /// # Errors
    /// As [`crate::image::ImageWriter::resize`].
    pub fn run(&self, control: &Control) -> Result<(), Stop> {
        let Resize {
            size,
            shrink,
            preallocation,
        } = self.request;
        self.chain
            .writer(0)?
            .resize(size, shrink, preallocation, control)
    }
}
