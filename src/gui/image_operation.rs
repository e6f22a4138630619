//! What can be done to an image as a whole: the entries of its menu, and of the menus of the nodes
//! of the chain.

use std::rc::Rc;

use crate::compare;
use crate::convert;
use crate::image_sheets;
use crate::new_image;
use crate::operation::Request;
use crate::rebase;
use crate::resize;
use crate::session::Document;
use crate::subject::Subject;

/// An operation on one image.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum ImageOperation {
    /// Look whether its metadata is consistent, and repair it.
    Check,
    /// Write what it holds into its backing file.
    Commit,
    /// Show where its disk differs from another one.
    Compare,
    /// Copy the disk into another format.
    Convert,
    /// Move it to the trash.
    Delete,
    /// Make it stand on its own.
    Flatten,
    /// Make an image that stands on it.
    Overlay,
    /// Put it on another backing file.
    Rebase,
    /// Give the disk another size.
    Resize,
}

impl ImageOperation {
    /// All, with the names of their actions.
    pub(crate) const ALL: [(Self, &str); 9] = [
        (Self::Check, "check-image"),
        (Self::Commit, "commit-image"),
        (Self::Compare, "compare-image"),
        (Self::Convert, "convert-image"),
        (Self::Delete, "delete-image"),
        (Self::Flatten, "flatten-image"),
        (Self::Overlay, "new-overlay"),
        (Self::Rebase, "rebase-image"),
        (Self::Resize, "resize-disk"),
    ];

    /// What the window is asked for to do it to an open image.
    /// `open` are the images that are open.
    pub(crate) fn of_document(
        self,
        document: &Rc<Document>,
        open: &[Rc<Document>],
    ) -> Option<Request> {
        match self {
            Self::Resize => resize::request(document),
            _ => self.of_file(Subject::of(document)?, open),
        }
    }

    /// What the window is asked for to do it to an image that need not be one of those `open`.
    pub(crate) fn of_file(self, subject: Subject, open: &[Rc<Document>]) -> Option<Request> {
        match self {
            Self::Check => Some(image_sheets::check_request(subject)),
            Self::Commit => Some(image_sheets::commit_request(subject)),
            Self::Compare => Some(compare::request(subject, open)),
            Self::Convert => convert::request(subject),
            Self::Delete => Some(image_sheets::delete_request(subject)),
            Self::Flatten => Some(image_sheets::flatten_request(subject)),
            Self::Overlay => new_image::overlay_request(&subject),
            Self::Rebase => Some(rebase::request(subject)),
            // Its limits are read from the disk, which is known of open images only.
            Self::Resize => None,
        }
    }
}
