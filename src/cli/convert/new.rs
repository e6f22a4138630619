//! The image that `convert` makes.

use std::ffi::OsStr;
use std::path::PathBuf;

use platter::chain::Chain;
use platter::image::Format;
use platter::op::convert::NewTarget;
use platter::op::create::NewImage;

use crate::convert::request::Request;
use crate::convert::virtual_size;
use crate::create::path_of;
use crate::create_options::CreateOptions;
use crate::program::{Failure, Program};
use crate::source::{OpenOptions, Reach, Source, name_beside};

/// A new image with all that is opened for it.
pub(super) struct New {
    pub(super) path: PathBuf,
    pub(super) data_file: Option<PathBuf>,
    image: NewImage,
    nocow: bool,
    base: Option<Chain>,
}

impl New {
    pub(super) fn prepare(
        request: &Request,
        program: &Program,
        sources: &[Chain],
        options: &CreateOptions,
    ) -> Result<Self, Failure> {
        let cannot = |reason: String| request.cannot_create(&reason);
        let path = path_of(&request.target).map_err(Failure::new)?;
        options.check_extent_size_hint().map_err(cannot)?;
        let size = sources.iter().map(virtual_size).sum();
        let image = match Format::from_name(&request.format_name()) {
            Some(Format::Qcow2) => {
                let image = options.qcow2(size).map_err(cannot)?;
                image
                    .check()
                    .map_err(|error| cannot(error.message().to_owned()))?;
                NewImage::Qcow2(image)
            }
            _ => {
                let (size, preallocation) = options.raw(size).map_err(cannot)?;
                NewImage::Raw {
                    size,
                    preallocation,
                }
            }
        };
        let data_file = options.text("data_file").map(OsStr::new);
        Ok(Self {
            data_file: data_file.map(path_of).transpose().map_err(Failure::new)?,
            image,
            nocow: options.nocow().map_err(cannot)?,
            base: open_base(request, program, options)?,
            path,
        })
    }

    pub(super) fn as_target(&self) -> NewTarget<'_> {
        NewTarget {
            path: &self.path,
            replace: true,
            nocow: self.nocow,
            image: self.image.clone(),
            data_file: self.data_file.as_deref(),
            base: self.base.as_ref(),
        }
    }
}

/// The backing file is looked into, so that only what differs from it is written.
fn open_base(
    request: &Request,
    program: &Program,
    options: &CreateOptions,
) -> Result<Option<Chain>, Failure> {
    let Some(backing) = options.text("backing_file") else {
        return Ok(None);
    };
    let target = request.target.to_string_lossy();
    let open = OpenOptions {
        force_share: request.open.force_share,
        allow_outside: request.open.allow_outside,
        ..OpenOptions::default()
    };
    let beside = name_beside(&target, backing);
    let format = options.text("backing_fmt").map(OsStr::new);
    let opened = Source::new(beside.as_ref(), format, &open)
        .and_then(|source| source.open(program, &open, Reach::Data));
    opened.map(Some).map_err(|failure| {
        let text = failure.to_string();
        let shown = format!("Could not open '{beside}': ");
        let reason = text.strip_prefix(&shown).unwrap_or(&text);
        Failure::new(format!(
            "Could not open '{target}': Could not open backing file: {reason}"
        ))
    })
}
