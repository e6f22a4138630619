//! The image that an operation is about: what is needed of a document to open it again elsewhere.

use std::path::PathBuf;

use platter::Result;
use platter::chain::{Chain, ChainOptions, OpenPolicy};
use platter::image::Format;
use platter::op::plan;

use crate::session::Document;

/// An image, as the user was shown it.
#[derive(Clone, Debug)]
pub(crate) struct Subject {
    pub(crate) path: PathBuf,
    /// It stays what it was shown as, whatever its content looks like by now.
    pub(crate) format: Format,
    pub(crate) policy: OpenPolicy,
}

impl Subject {
    /// The image of a document, once its header is known.
    pub(crate) fn of(document: &Document) -> Option<Self> {
        Some(Self {
            path: document.path.clone(),
            format: document.active()?.info()?.format,
            policy: document.policy.clone(),
        })
    }

    /// The file's name.
    pub(crate) fn name(&self) -> String {
        plan::name_of(&self.path)
    }

    /// Opens the chain to look at it, in nobody's way.
    ///
    /// # Errors
    /// As [`Chain::open`].
    pub(crate) fn look(&self) -> Result<Chain> {
        let options = ChainOptions {
            observe: true,
            ..self.options()
        };
        Chain::open(&self.path, &options)
    }

    /// Opens the image without what it stands on, to look at its tables.
    ///
    /// # Errors
    /// As [`Chain::open`].
    pub(crate) fn look_at_headers(&self) -> Result<Chain> {
        let options = ChainOptions {
            observe: true,
            active_only: true,
            headers_only: true,
            ..self.options()
        };
        Chain::open(&self.path, &options)
    }

    /// Opens the image without what it stands on, to change its tables.
    ///
    /// # Errors
    /// As [`Chain::open`].
    pub(crate) fn change_header(&self) -> Result<Chain> {
        let options = ChainOptions {
            active_only: true,
            headers_only: true,
            writable: vec![0],
            ..self.options()
        };
        Chain::open(&self.path, &options)
    }

    /// Opens the chain to change the links at these depths.
    ///
    /// # Errors
    /// As [`Chain::open`].
    pub(crate) fn change(&self, depths: &[usize]) -> Result<Chain> {
        let options = ChainOptions {
            writable: depths.to_vec(),
            ..self.options()
        };
        Chain::open(&self.path, &options)
    }

    /// How the image is opened; an operation adds what it needs.
    pub(crate) fn options(&self) -> ChainOptions {
        ChainOptions {
            format: Some(self.format),
            policy: self.policy.clone(),
            ..ChainOptions::default()
        }
    }
}
