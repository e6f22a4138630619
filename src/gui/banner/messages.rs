//! What the banner is told, and tells.

use std::rc::Rc;

use platter::chain::OpenPolicy;

use crate::session::Document;

/// To the banner.
#[derive(Debug)]
pub(crate) enum BannerInput {
    /// The selected image.
    Show(Rc<Document>),
}

/// From the banner.
#[derive(Debug)]
#[allow(dead_code, reason = "until its actions land")]
pub(crate) enum BannerOutput {
    /// Read the image again, with other files allowed or located.
    PolicyChanged(OpenPolicy),
    /// Read the image again.
    ReloadRequested,
}
