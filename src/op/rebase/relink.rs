//! The name of the backing file in the header, without a look at any data: `qemu-img rebase -u`.

use crate::chain::Chain;
use crate::control::{Control, Stop};
use crate::error::{Error, ErrorKind, Result};
use crate::image::{Amendment, FileReference, Format, FormatDetails, ImageInfo, ImageWriter};

/// Longest name that a header holds (QCOW2's and QEMU's limit), in bytes.
const LONGEST_NAME: usize = 1023;

/// Whether an image can name this backing file.
///
/// # Errors
/// [`ErrorKind::Unsupported`] for a format without backing files; [`ErrorKind::InvalidInput`] for
/// a reference without format, a name that is too long, and an image whose external data file is
/// raw by itself, which can stand on nothing.
pub fn check_reference(info: &ImageInfo, reference: Option<&FileReference>) -> Result<()> {
    let invalid = |message: String| Err(Error::new(ErrorKind::InvalidInput, message));
    if info.format != Format::Qcow2 {
        return Err(Error::unsupported(format!(
            "{} images have no backing file",
            info.format
        )));
    }
    let Some(reference) = reference else {
        return Ok(());
    };
    if reference.format.is_none() {
        return invalid("backing format must be specified".to_owned());
    }
    if reference.name.len() > LONGEST_NAME {
        return invalid(format!(
            "the name of the backing file has {} bytes, more than {LONGEST_NAME}",
            reference.name.len()
        ));
    }
    match &info.details {
        FormatDetails::Qcow2(details) if details.data_file_raw => {
            invalid("an image whose data file is raw cannot have a backing file".to_owned())
        }
        _ => Ok(()),
    }
}

/// Writes another backing file, or none, into the header of the active layer, which was opened for
/// change: for a file that was moved. The content of the disk is whatever comes out of it.
///
/// # Errors
/// As [`check_reference`] and [`ImageWriter::amend`].
pub fn relink(
    chain: &Chain,
    reference: Option<FileReference>,
    control: &Control,
) -> Result<(), Stop> {
    if let Some(info) = chain.active().info() {
        check_reference(info, reference.as_ref())?;
    }
    let writer = chain.writer_alone(0)?;
    change(writer.as_ref(), reference, control)
}

/// The change of the header; durable on return.
pub(super) fn change(
    writer: &dyn ImageWriter,
    reference: Option<FileReference>,
    control: &Control,
) -> Result<(), Stop> {
    let amendment = Amendment {
        backing: Some(reference),
        ..Amendment::default()
    };
    writer.amend(&amendment, control)
}
