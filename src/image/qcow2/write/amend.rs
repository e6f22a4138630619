//! Changing properties of the header.

use crate::control::Stop;
use crate::error::{Error, ErrorKind, Result};
use crate::image::info::FileReference;
use crate::image::qcow2::write::{Qcow2Writer, State};
use crate::image::qcow2::{extension, feature};
use crate::image::writer::{Amendment, ImageWriter};

impl Qcow2Writer {
    /// As [`ImageWriter::amend`].
    pub(super) fn amend_header(&self, amendment: &Amendment) -> Result<(), Stop> {
        let others = Amendment {
            backing: None,
            ..amendment.clone()
        };
        if others != Amendment::default() {
            return Err(self.lacks("changing these properties").into());
        }
        if let Some(backing) = &amendment.backing {
            let mut state = self.exclusive().map_err(|error| self.name(error))?;
            state
                .change_backing(backing.as_ref())
                .map_err(|error| self.name(error))?;
        }
        Ok(())
    }
}

impl State {
    /// Writes another backing file, or none, into the header; durable on return. What was read
    /// from the old one so far stays where it is.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for a name that does not fit the header's cluster, and for an
    /// image that can stand on nothing; nothing has changed then. As [`State::checkpoint`].
    fn change_backing(&mut self, backing: Option<&FileReference>) -> Result<()> {
        let is_raw_outside = self.header.fields.autoclear_features & feature::DATA_FILE_RAW != 0;
        if is_raw_outside && backing.is_some() {
            let message = "an image whose data file is raw cannot have a backing file";
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        self.checkpoint()?;
        let before = self.header.fields.clone();
        let fields = &mut self.header.fields;
        fields.backing_name = backing.map(|backing| backing.name.clone());
        fields
            .extensions
            .retain(|(kind, _)| *kind != extension::BACKING_FORMAT);
        if let Some(format) = backing.and_then(|backing| backing.format.as_ref()) {
            let format = (extension::BACKING_FORMAT, format.as_bytes().to_vec());
            fields.extensions.insert(0, format);
        }
        self.rewrite_header().map_err(|error| {
            if error.kind() != ErrorKind::Unsupported {
                return error;
            }
            self.header.fields = before;
            Error::new(ErrorKind::InvalidInput, error.message()).with_field("backing_file_size")
        })
    }
}
