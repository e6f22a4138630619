//! The one error type of the engine: a small stable kind, where it happened, and what caused it.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// The result of an engine call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, coarse enough to match on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A field of an image contradicts the format, the file or another field.
    Corrupt,
    /// The caller asked for something that makes no sense (a bad size, an unknown option).
    InvalidInput,
    /// The host failed a read or another system call.
    Io,
    /// Another process uses the file in a way that excludes ours.
    Locked,
    /// There is no such file, snapshot or partition.
    NotFound,
    /// An address lies outside the file or the guest disk.
    OutOfBounds,
    /// The host forbids it.
    PermissionDenied,
    /// Policy forbids it: an image named a file that nobody allowed it to open.
    Refused,
    /// The format or a feature of it is recognised but not supported.
    Unsupported,
}

/// An engine error.
///
/// [`fmt::Display`] prints the message with file, offset and field; the cause is only in
/// [`StdError::source`], so that printing a whole chain (`{:#}` of anyhow) repeats nothing.
pub struct Error {
    inner: Box<Inner>,
}

struct Inner {
    kind: ErrorKind,
    message: String,
    path: Option<PathBuf>,
    offset: Option<u64>,
    field: Option<&'static str>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error of `kind`; `message` is lower case, without a final stop.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            inner: Box::new(Inner {
                kind,
                message: message.into(),
                path: None,
                offset: None,
                field: None,
                source: None,
            }),
        }
    }

    /// A damaged image.
    #[must_use]
    pub fn corrupt(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Corrupt, message)
    }

    /// A recognised format or feature that is not supported.
    #[must_use]
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unsupported, message)
    }

    /// A system call that failed while doing `message`; the kind follows from `source`.
    #[must_use]
    pub fn io(message: impl Into<String>, source: io::Error) -> Self {
        let kind = match source.kind() {
            io::ErrorKind::NotFound => ErrorKind::NotFound,
            io::ErrorKind::PermissionDenied => ErrorKind::PermissionDenied,
            _ => ErrorKind::Io,
        };
        Self::new(kind, message).with_source(source)
    }

    /// Names the file; an error that already names one keeps it.
    #[must_use]
    pub fn with_path(mut self, path: impl AsRef<Path>) -> Self {
        self.inner
            .path
            .get_or_insert_with(|| path.as_ref().to_path_buf());
        self
    }

    /// Names the byte offset in the file; an error that already has one keeps it.
    #[must_use]
    pub fn with_offset(mut self, offset: u64) -> Self {
        self.inner.offset.get_or_insert(offset);
        self
    }

    /// Names the on-disk field, in the words of the format's specification.
    #[must_use]
    pub fn with_field(mut self, field: &'static str) -> Self {
        self.inner.field.get_or_insert(field);
        self
    }

    /// Adds the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.inner.source = Some(source.into());
        self
    }

    /// The kind, to match on.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.inner.kind
    }

    /// The bare message, without file, offset and field.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.inner.message
    }

    /// The file it is about.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.inner.path.as_deref()
    }

    /// The byte offset in that file.
    #[must_use]
    pub fn offset(&self) -> Option<u64> {
        self.inner.offset
    }

    /// The on-disk field.
    #[must_use]
    pub fn field(&self) -> Option<&'static str> {
        self.inner.field
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(path) = &self.inner.path {
            write!(f, "{}: ", path.display())?;
        }
        f.write_str(&self.inner.message)?;
        match (self.inner.field, self.inner.offset) {
            (Some(field), Some(offset)) => write!(f, " ({field} at offset {offset:#x})"),
            (Some(field), None) => write!(f, " ({field})"),
            (None, Some(offset)) => write!(f, " (at offset {offset:#x})"),
            (None, None) => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.inner.kind)?;
        if let Some(source) = &self.inner.source {
            write!(f, ": {source}")?;
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.inner.source.as_deref().map(|source| source as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_names_file_field_and_offset_once() {
        let error = Error::corrupt("cluster size is 2^40")
            .with_path("/vm/a.qcow2")
            .with_offset(20)
            .with_field("cluster_bits")
            .with_path("/ignored");
        assert_eq!(
            error.to_string(),
            "/vm/a.qcow2: cluster size is 2^40 (cluster_bits at offset 0x14)"
        );
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    }

    #[test]
    fn kind_follows_the_system_error() {
        let error = Error::io("cannot open", io::Error::from(io::ErrorKind::NotFound));
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.source().is_some());
    }
}
