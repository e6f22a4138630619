//! Backing chains: an image, the files it stands on, and who may open them.
//!
//! Names inside an image are claims. They are parsed as QEMU does, shown, and opened only under an
//! [`OpenPolicy`]. A link that cannot be followed is a fact of the chain, never its failure.

mod candidates;
mod find;
mod folder;
pub mod graph;
mod holes;
mod map;
mod name;
mod open;
mod policy;

use std::error::Error as _;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use candidates::{Candidate, candidates, rank};
pub use folder::{FolderImage, FolderIndex};
pub use map::{MapDetail, MapEntry};
pub use name::{Target, resolve};
pub use policy::{Decision, OpenPolicy};

use crate::disk::Disk;
use crate::error::{Error, ErrorKind, Result};
use crate::image::info::UNFINISHED_EDIT;
use crate::image::{
    self, FileReference, Format, ImageDriver, ImageInfo, ImageWriter, SnapshotSelector,
    WritableFiles,
};
#[cfg(doc)]
use crate::storage::LockMode;
use crate::storage::{FileStamp, FileStorage, MemoryStorage, Storage, WritableStorage};

/// How a chain is opened.
#[derive(Clone, Debug, Default)]
pub struct ChainOptions {
    /// Format of the active layer; probed when absent.
    pub format: Option<Format>,
    /// Which files the images may name.
    pub policy: OpenPolicy,
    /// Read although another process may be writing, taking no locks (`qemu-img -U`).
    pub force_share: bool,
    /// Note who may be writing, but hold no locks: what is read may change later, and nobody is
    /// kept from changing it.
    pub observe: bool,
    /// The guest disk as of this internal snapshot of the active layer.
    pub snapshot: Option<SnapshotSelector>,
    /// Do not follow backing files: the chain has one link.
    pub active_only: bool,
    /// Depths of the links (0 is the active layer) that are to be changed: their files are opened
    /// for writing with the locks of [`LockMode::Write`]. A conflict on one of them breaks the link.
    pub writable: Vec<usize>,
    /// Read headers only, as `qemu-img info`: external data files are not opened (so guest data
    /// cannot be read), and other readers need not leave the contents alone.
    pub headers_only: bool,
}

/// One file of a chain.
#[derive(Debug)]
pub struct Link {
    /// How its overlay names it; `None` for the active layer.
    pub reference: Option<FileReference>,
    /// The local file that is meant, as far as the name means one.
    pub path: Option<PathBuf>,
    /// What the file was before anything was read of it, also where it was not opened in the end.
    pub stamp: Option<FileStamp>,
    /// Length of the file in bytes, where it could be asked.
    pub file_size: Option<u64>,
    /// Bytes allocated on the host, where it could be asked; with those of the data file.
    pub allocated_size: Option<u64>,
    /// Who else uses the file, in words ("qemu-system-x86_64, pid 4711, writing").
    pub holders: Vec<String>,
    /// Another process holds or has opened it for writing: what is read may change under us.
    pub unstable: bool,
    /// Why it was opened without locks, in words, when another process's locks were in the way.
    /// A program that must not read such images (as `qemu-img` without `-U`) ends with this.
    pub lock_conflict: Option<String>,
    /// The file where it was opened for change ([`ChainOptions::writable`]).
    pub writable: Option<WritableLink>,
    /// The image, or what is wrong.
    pub state: LinkState,
}

/// The files of a link that may be changed.
#[derive(Clone, Debug)]
pub struct WritableLink {
    /// The image file.
    pub file: Arc<FileStorage>,
    /// Its external data file, if it has one that could be opened.
    pub data_file: Option<Arc<FileStorage>>,
}

/// Whether a link could be opened.
#[derive(Debug)]
pub enum LinkState {
    /// Yes.
    Open(Arc<dyn ImageDriver>),
    /// The header was read, but the guest data cannot be (encrypted, data file not allowed or
    /// missing).
    HeaderOnly(Arc<dyn ImageDriver>, LinkProblem),
    /// No.
    Broken(LinkProblem),
}

/// What is wrong with a link.
#[derive(Debug)]
pub enum LinkProblem {
    /// There is no such file.
    Missing,
    /// It is a link further up: the chain would never end.
    Cyclic,
    /// The chain is longer than [`Chain::MAX_LINKS`].
    TooDeep,
    /// The file is not what its overlay says it is.
    WrongFormat {
        /// The overlay's claim.
        claimed: Format,
        /// What the content looks like.
        found: Format,
    },
    /// The policy asks for the user's word first; the reason in words.
    NotAllowed(String),
    /// The name means a network or pseudo protocol; those are never followed from inside an image.
    Remote(String),
    /// The guest data is encrypted ("aes", "luks").
    Encrypted(String),
    /// The format or a feature is not supported, or the file is damaged or unreadable.
    Unreadable(Error),
}

impl Link {
    /// The opened image, also when only its header could be used.
    #[must_use]
    pub fn image(&self) -> Option<&Arc<dyn ImageDriver>> {
        match &self.state {
            LinkState::Open(image) | LinkState::HeaderOnly(image, _) => Some(image),
            LinkState::Broken(_) => None,
        }
    }

    /// The header's facts.
    #[must_use]
    pub fn info(&self) -> Option<&ImageInfo> {
        self.image().map(|image| image.info())
    }

    /// What is wrong with it.
    #[must_use]
    pub fn problem(&self) -> Option<&LinkProblem> {
        match &self.state {
            LinkState::Open(_) => None,
            LinkState::HeaderOnly(_, problem) | LinkState::Broken(problem) => Some(problem),
        }
    }
}

/// An image and what it stands on, the active layer first. Never empty.
#[derive(Debug)]
pub struct Chain {
    links: Vec<Link>,
}

impl Chain {
    /// Longest chain that is followed (libvirt's figure).
    pub const MAX_LINKS: usize = 200;

    /// Opens `path` and follows its backing files under the options' policy.
    ///
    /// # Errors
    /// When the active layer itself cannot be opened. Anything wrong further down is in
    /// [`Chain::links`].
    pub fn open(path: &Path, options: &ChainOptions) -> Result<Self> {
        let links = open::open(path, options).map_err(|error| error.with_path(path))?;
        Ok(Self { links })
    }

    /// The links, the active layer first.
    #[must_use]
    pub fn links(&self) -> &[Link] {
        &self.links
    }

    /// The active layer.
    #[must_use]
    pub fn active(&self) -> &Link {
        &self.links[0]
    }

    /// The first link that is not open, with its index.
    #[must_use]
    pub fn first_problem(&self) -> Option<(usize, &LinkProblem)> {
        self.links
            .iter()
            .enumerate()
            .find_map(|(index, link)| Some((index, link.problem()?)))
    }

    /// The chain as one guest disk.
    ///
    /// # Errors
    /// When a link is not open, naming it and the reason.
    pub fn disk(&self) -> Result<Disk> {
        Disk::new(self.layers()?)
    }

    /// As [`Self::disk`], for who makes something of what the disk holds: not of one whose partitions
    /// are half edited.
    ///
    /// # Errors
    /// As [`Self::disk`]; [`ErrorKind::Refused`] for a link whose edit is unfinished.
    pub fn settled_disk(&self) -> Result<Disk> {
        self.check_settled(0)?;
        self.disk()
    }

    /// Refuses links from `depth` on whose partitions are half edited.
    fn check_settled(&self, depth: usize) -> Result<()> {
        let is_half = |link: &&Link| link.info().is_some_and(ImageInfo::has_unfinished_edit);
        let Some(link) = self.links.iter().skip(depth).find(is_half) else {
            return Ok(());
        };
        let error = Error::new(ErrorKind::Refused, UNFINISHED_EDIT);
        Err(match &link.path {
            Some(path) => error.with_path(path),
            None => error,
        })
    }

    /// The guest disk below the link at `depth`; `None` for the last link.
    ///
    /// # Errors
    /// As [`Self::disk`], for the links below.
    pub fn disk_below(&self, depth: usize) -> Result<Option<Disk>> {
        let below = self.links.get(depth + 1..).unwrap_or_default();
        if below.is_empty() {
            return Ok(None);
        }
        let layers: Result<Vec<_>> = below.iter().map(Link::layer).collect();
        Disk::new(layers?).map(Some)
    }

    /// The image of a link that was opened for change ([`ChainOptions::writable`]), with the disk
    /// below it. The chain must stay open as long as the writer is used: it holds the locks of the
    /// links below.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] when it was not; as [`image::open_writable`] and
    /// [`Self::disk_below`]; [`ErrorKind::Refused`] on a link whose edit is unfinished.
    pub fn writer(&self, depth: usize) -> Result<Box<dyn ImageWriter>> {
        self.check_settled(depth + 1)?;
        let backing = self.storage_below(depth)?;
        self.writer_on(depth, backing, image::open_writable)
    }

    /// As [`Self::writer`], for an image that is about to get another backing file: what it does
    /// not hold is no zeroes then, so that it holds all zeroes that are written to it, also where
    /// it has no backing file yet.
    ///
    /// # Errors
    /// As [`Self::writer`].
    pub fn writer_before_backing(&self, depth: usize) -> Result<Box<dyn ImageWriter>> {
        self.check_settled(depth + 1)?;
        let empty_disk = || Arc::new(MemoryStorage::new(Vec::new())) as Arc<dyn Storage>;
        let backing = self.storage_below(depth)?.unwrap_or_else(empty_disk);
        self.writer_on(depth, Some(backing), image::open_writable)
    }

    /// As [`Self::writer`], also for an image whose partitions are half edited: for who finishes
    /// that or takes it back.
    ///
    /// # Errors
    /// As [`Self::writer`].
    pub fn writer_in_edit(&self, depth: usize) -> Result<Box<dyn ImageWriter>> {
        let backing = self.storage_below(depth)?;
        self.writer_on(depth, backing, image::open_in_edit)
    }

    /// As [`Self::writer`], for changes that never read what lies below, with a chain that need
    /// not be whole.
    ///
    /// # Errors
    /// As [`Self::writer`].
    pub fn writer_alone(&self, depth: usize) -> Result<Box<dyn ImageWriter>> {
        self.writer_on(depth, None, image::open_writable)
    }

    fn storage_below(&self, depth: usize) -> Result<Option<Arc<dyn Storage>>> {
        let below = self.disk_below(depth)?;
        Ok(below.map(|disk| Arc::new(disk) as Arc<dyn Storage>))
    }

    fn writer_on(
        &self,
        depth: usize,
        backing: Option<Arc<dyn Storage>>,
        open: fn(WritableFiles, Format) -> Result<Box<dyn ImageWriter>>,
    ) -> Result<Box<dyn ImageWriter>> {
        let link = self.links.get(depth);
        let opened = link.and_then(|link| Some((link.image()?, link.writable.as_ref()?)));
        let Some((image, writable)) = opened else {
            return Err(Error::new(ErrorKind::InvalidInput, "not opened for change"));
        };
        let files = WritableFiles {
            storage: Arc::clone(&writable.file) as Arc<dyn WritableStorage>,
            data_file: writable.data_file.clone().map(|file| file as _),
            backing,
        };
        open(files, image.format())
    }

    /// The images of all links.
    fn layers(&self) -> Result<Vec<Arc<dyn ImageDriver>>> {
        self.links.iter().map(Link::layer).collect()
    }
}

impl Link {
    fn layer(&self) -> Result<Arc<dyn ImageDriver>> {
        match &self.state {
            LinkState::Open(image) => Ok(Arc::clone(image)),
            LinkState::HeaderOnly(_, problem) | LinkState::Broken(problem) => {
                Err(self.error(problem))
            }
        }
    }

    /// What is wrong with it, as the reason why the disk cannot be read.
    fn error(&self, problem: &LinkProblem) -> Error {
        let kind = match problem {
            LinkProblem::Missing => ErrorKind::NotFound,
            LinkProblem::Cyclic | LinkProblem::TooDeep | LinkProblem::WrongFormat { .. } => {
                ErrorKind::Corrupt
            }
            LinkProblem::NotAllowed(_) | LinkProblem::Remote(_) => ErrorKind::Refused,
            LinkProblem::Encrypted(_) => ErrorKind::Unsupported,
            LinkProblem::Unreadable(error) => error.kind(),
        };
        let error = Error::new(kind, problem.to_string());
        match (&self.path, &self.reference) {
            (Some(path), _) => error.with_path(path),
            (None, Some(reference)) => error.with_path(&reference.name),
            (None, None) => error,
        }
    }
}

impl fmt::Display for LinkProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("there is no such file"),
            Self::Cyclic => f.write_str("the chain comes back to this file and never ends"),
            Self::TooDeep => write!(f, "the chain is longer than {} files", Chain::MAX_LINKS),
            Self::WrongFormat { claimed, found } => {
                write!(
                    f,
                    "the overlay says it is {claimed}, but it looks like {found}"
                )
            }
            Self::NotAllowed(reason) => write!(f, "not followed: {reason}"),
            Self::Remote(protocol) => {
                write!(f, "not followed: '{protocol}' is no local file")
            }
            Self::Encrypted(method) => write!(f, "the guest data is encrypted ({method})"),
            Self::Unreadable(error) => {
                f.write_str(error.message())?;
                error
                    .source()
                    .map_or(Ok(()), |cause| write!(f, ": {cause}"))
            }
        }
    }
}
