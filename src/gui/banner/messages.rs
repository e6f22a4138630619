//! What the banner is told, and tells.

use std::path::PathBuf;
use std::rc::Rc;

use platter::chain::OpenPolicy;

use crate::operation::Request;
use crate::session::Document;

/// To the banner.
#[derive(Debug)]
pub(crate) enum BannerInput {
    /// The selected image.
    Show(Rc<Document>),
    /// Its button was clicked.
    ActionClicked,
    /// Its other button was clicked.
    OtherClicked,
    /// The user asks, elsewhere, to say where a missing file is.
    LocateRequested(PathBuf),
    /// The user allowed the file to be opened.
    Allowed(PathBuf),
    /// The user says where a missing file is.
    Located {
        /// What the image means.
        meant: PathBuf,
        /// What is to be opened.
        chosen: PathBuf,
    },
}

/// From the banner.
#[derive(Debug)]
pub(crate) enum BannerOutput {
    /// Read the image again, with other files allowed or located.
    PolicyChanged(OpenPolicy),
    /// Read the image again.
    ReloadRequested,
    /// Do this.
    Operate(Request),
}
