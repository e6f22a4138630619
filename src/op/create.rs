//! New images: `qemu-img create`.
//!
//! A new file appears whole under its name or not at all, and takes the place of another only on
//! request. A block device is written where it is.

mod target;
#[cfg(test)]
mod tests;

use std::path::Path;

use crate::chain::{Chain, ChainOptions, OpenPolicy, Target as Named, resolve};
use crate::control::{Control, Stop};
use crate::error::{Error, ErrorKind, Result};
use crate::image::{FileReference, Format, Preallocation, Qcow2Options, create_qcow2, create_raw};
use crate::storage::FileId;

pub(in crate::op) use target::Target;

/// What is made.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum NewImage {
    /// The guest disk byte for byte.
    Raw {
        /// Its size in bytes.
        size: u64,
        /// How its space is prepared; there is no metadata.
        preallocation: Preallocation,
    },
    /// QCOW2.
    Qcow2(Qcow2Options),
}

/// A new image on its way. Dropped before [`Self::write`] ends, it leaves nothing behind (but on
/// block devices).
#[derive(Debug)]
pub struct Creation {
    target: Target,
    data_file: Option<Target>,
    nocow: bool,
}

impl Creation {
    /// Begins an image that will be called `path`. A file of that name stays as it is until the
    /// new one is complete. With `nocow` the host file system (btrfs) shall write the new file in
    /// place; others ignore it.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] when there is something of that name and `replace` is not set,
    /// [`ErrorKind::Locked`] when somebody uses it; and as `open(2)`.
    pub fn begin(path: &Path, replace: bool, nocow: bool) -> Result<Self> {
        Ok(Self {
            target: Target::begin(path, replace, nocow)?,
            data_file: None,
            nocow,
        })
    }

    /// Begins the external data file of the image. What its name in the image is, the options say.
    ///
    /// # Errors
    /// As [`Self::begin`].
    pub fn add_data_file(&mut self, path: &Path, replace: bool) -> Result<()> {
        self.data_file = Some(Target::begin(path, replace, self.nocow)?);
        Ok(())
    }

    /// Refuses a backing file that stands on what is about to be replaced, image or data file.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`].
    pub fn check_backing(&self, backing: &Chain) -> Result<()> {
        let targets = [Some(&self.target), self.data_file.as_ref()];
        let replaced: Vec<FileId> = targets
            .into_iter()
            .flatten()
            .filter_map(Target::replaced)
            .collect();
        let mut paths = backing
            .links()
            .iter()
            .filter_map(|link| link.path.as_deref());
        match paths.find(|path| FileId::of(path).is_ok_and(|id| replaced.contains(&id))) {
            None => Ok(()),
            Some(path) => Err(Error::new(
                ErrorKind::InvalidInput,
                "the backing file stands on the file that would be replaced",
            )
            .with_path(path)),
        }
    }

    /// Writes the image, makes it durable and gives it its name.
    ///
    /// # Errors
    /// As [`create_qcow2`]; I/O errors (a full disk too) naming file, offset and operation.
    pub fn write(self, image: &NewImage, control: &Control) -> Result<(), Stop> {
        let Self {
            target, data_file, ..
        } = self;
        let before = target.before();
        match image {
            NewImage::Raw {
                size,
                preallocation,
            } => create_raw(target.file(), before, *size, *preallocation, control)?,
            NewImage::Qcow2(options) => {
                let data_file = data_file.as_ref().map(|data| data.file() as _);
                create_qcow2(target.file(), data_file, before, options, control)?;
            }
        }
        // An image without its data file is of no use, the other way round it may be.
        if let Some(data_file) = data_file {
            data_file.finish()?;
        }
        Ok(target.finish()?)
    }
}

/// Makes an image that needs no second file, and replaces nothing.
///
/// # Errors
/// As [`Creation`].
pub fn create(path: &Path, image: &NewImage, control: &Control) -> Result<(), Stop> {
    Creation::begin(path, false, false)?.write(image, control)
}

/// Options of an image at `path` that stands on the file which `name` means there, as large as
/// that. The format of the backing file is written down, so that its content can never make it
/// another one; without `format` it is found by the content as it is now.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] when the name means no local file, and as [`Chain::open`].
pub fn overlay(path: &Path, name: &str, format: Option<Format>) -> Result<Qcow2Options> {
    let Named::File { path: backing, .. } = resolve(name, path) else {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            format!("'{name}' is no local file"),
        ));
    };
    let chain = Chain::open(
        &backing,
        &ChainOptions {
            format,
            // The user names the file; what that names is asked for when it is read.
            policy: OpenPolicy::default(),
            force_share: true,
            headers_only: true,
            active_only: true,
            ..ChainOptions::default()
        },
    )?;
    let Some(info) = chain.active().info() else {
        return Err(
            Error::new(ErrorKind::InvalidInput, "cannot be a backing file").with_path(backing),
        );
    };
    Ok(Qcow2Options {
        size: info.virtual_size,
        backing: Some(FileReference {
            name: name.to_owned(),
            format: Some(info.format.name().to_owned()),
        }),
        ..Qcow2Options::default()
    })
}
