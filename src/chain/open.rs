//! Opening a chain: link after link, each under the policy and its locks.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::chain::name::{self, Target};
use crate::chain::policy::Decision;
use crate::chain::{Chain, ChainOptions, Link, LinkProblem, LinkState, WritableLink};
use crate::error::{Error, ErrorKind, Result};
use crate::image::{self, FileReference, Format, ImageDriver};
use crate::storage::{FileId, FileStamp, FileStorage, LockMode, Storage, holders};

/// All links, the active layer first.
///
/// # Errors
/// As [`Chain::open`].
pub(super) fn open(path: &Path, options: &ChainOptions) -> Result<Vec<Link>> {
    let mut opener = Opener {
        options,
        seen: Vec::new(),
        links: Vec::new(),
    };
    let mut next = opener.open_active(path)?;
    while let Some(named) = next {
        next = opener.follow(&named);
    }
    Ok(opener.links)
}

/// A backing file that the last link names.
struct Named {
    reference: FileReference,
    /// The image that names it.
    by: PathBuf,
    /// Somebody other than that image's own content says what format it has.
    is_vouched_for: bool,
}

struct Opener<'a> {
    options: &'a ChainOptions,
    /// The files of the links so far. Names tell nothing: there are symbolic and hard links.
    seen: Vec<FileId>,
    links: Vec<Link>,
}

impl Opener<'_> {
    fn open_active(&mut self, path: &Path) -> Result<Option<Named>> {
        let file = OpenFile::open(path, self.options, 0)?;
        self.seen.push(file.storage.id());
        let format = match self.options.format {
            Some(format) => format,
            None => image::probe(file.storage.as_ref())?.format,
        };
        let is_vouched_for = self.options.format.is_some() || !is_named_like_raw(path);
        let mut link = file.link(None, path);
        let driver = image::open(file.storage, format)?;
        self.finish(&mut link, driver, is_vouched_for);
        if let Some(snapshot) = &self.options.snapshot {
            link.state = match link.state {
                LinkState::Open(image) => LinkState::Open(image.snapshot_view(snapshot)?),
                LinkState::HeaderOnly(image, problem) => {
                    LinkState::HeaderOnly(image.snapshot_view(snapshot)?, problem)
                }
                broken @ LinkState::Broken(_) => broken,
            };
        }
        Ok(self.push(link, is_vouched_for))
    }

    /// Adds the link that is named, and says what it names in turn.
    fn follow(&mut self, named: &Named) -> Option<Named> {
        let mut link = Link::broken(named.reference.clone(), LinkProblem::TooDeep);
        let mut is_vouched_for = named.is_vouched_for;
        if self.links.len() < Chain::MAX_LINKS {
            match self.open_named(named, &mut link) {
                Ok(claimed) => is_vouched_for &= claimed,
                Err(problem) => link.state = LinkState::Broken(problem),
            }
        }
        self.push(link, is_vouched_for)
    }

    /// Fills in `link`. The answer is whether its format was claimed by its overlay.
    fn open_named(&mut self, named: &Named, link: &mut Link) -> Result<bool, LinkProblem> {
        let (path, stated) = match name::resolve(&named.reference.name, &named.by) {
            Target::File { path, format } => (name::normalise(&path), format),
            Target::Remote { protocol } => return Err(LinkProblem::Remote(protocol)),
            Target::Unusable(reason) => return Err(LinkProblem::NotAllowed(reason)),
        };
        link.point_at(&path);
        let path = self.permit(&path, &named.by, named.is_vouched_for)?;
        link.point_at(&path);

        let file = OpenFile::open(&path, self.options, self.links.len()).map_err(problem_of)?;
        self.seen.push(file.storage.id());
        *link = file.link(Some(named.reference.clone()), &path);

        let claim = named.reference.format.as_deref().or(stated.as_deref());
        let format = format_of(file.storage.as_ref(), claim)?;
        let claimed = claim.is_some();
        let driver = image::open(file.storage, format).map_err(LinkProblem::Unreadable)?;
        self.finish(link, driver, named.is_vouched_for && claimed);
        Ok(claimed)
    }

    /// The file to open for `path`, which the image `by` names; it is not open yet.
    fn permit(&self, path: &Path, by: &Path, is_vouched_for: bool) -> Result<PathBuf, LinkProblem> {
        let located = self.options.policy.locate(path);
        let target = located.unwrap_or(path);
        let id = FileId::of(target).map_err(|error| problem_of_io(error, target))?;
        if self.seen.contains(&id) {
            return Err(LinkProblem::Cyclic);
        }
        if located.is_none() {
            let policy = &self.options.policy;
            match policy.decide_for(by, target, is_vouched_for) {
                Decision::Allow => {}
                Decision::Ask(reason) | Decision::Deny(reason) => {
                    return Err(LinkProblem::NotAllowed(reason));
                }
            }
        }
        Ok(target.to_path_buf())
    }

    /// Attaches the data file and sets the state of an opened image.
    fn finish(&mut self, link: &mut Link, mut driver: Box<dyn ImageDriver>, is_vouched_for: bool) {
        let data_file = driver.info().data_file.clone();
        let problem = match (data_file, &driver.info().encryption) {
            (_, Some(method)) => Some(LinkProblem::Encrypted(method.clone())),
            (Some(data_file), None) if !self.options.headers_only => self
                .attach(link, driver.as_mut(), &data_file, is_vouched_for)
                .err(),
            _ => None,
        };
        let image = Arc::from(driver);
        link.state = match problem {
            None => LinkState::Open(image),
            Some(problem) => LinkState::HeaderOnly(image, problem),
        };
    }

    fn attach(
        &mut self,
        link: &mut Link,
        driver: &mut dyn ImageDriver,
        data_file: &FileReference,
        is_vouched_for: bool,
    ) -> Result<(), LinkProblem> {
        let by = link.path.clone().unwrap_or_default();
        let path = match name::resolve(&data_file.name, &by) {
            Target::File { path, format: None } => name::normalise(&path),
            Target::File { .. } => {
                return Err(LinkProblem::NotAllowed("a data file has no format".into()));
            }
            Target::Remote { protocol } => return Err(LinkProblem::Remote(protocol)),
            Target::Unusable(reason) => return Err(LinkProblem::NotAllowed(reason)),
        };
        let path = self.permit(&path, &by, is_vouched_for)?;
        let file = OpenFile::open(&path, self.options, self.links.len()).map_err(problem_of)?;
        self.seen.push(file.storage.id());
        link.unstable |= file.unstable;
        for holder in file.holders {
            if !link.holders.contains(&holder) {
                link.holders.push(holder);
            }
        }
        if let (Some(sum), Ok(Some(more))) = (link.allocated_size, file.storage.allocated()) {
            link.allocated_size = sum.checked_add(more);
        }
        if let Some(writable) = &mut link.writable {
            writable.data_file = Some(Arc::clone(&file.storage));
        }
        driver
            .attach_data_file(file.storage)
            .map_err(LinkProblem::Unreadable)
    }

    /// Keeps `link` and says what it names.
    fn push(&mut self, link: Link, is_vouched_for: bool) -> Option<Named> {
        let reference = link.info().and_then(|info| info.backing.clone());
        let by = link.path.clone();
        self.links.push(link);
        if self.options.active_only {
            return None;
        }
        Some(Named {
            reference: reference?,
            by: by?,
            is_vouched_for,
        })
    }
}

/// A file with its locks, or without them when somebody else's are in the way.
struct OpenFile {
    storage: Arc<FileStorage>,
    holders: Vec<String>,
    unstable: bool,
    lock_conflict: Option<Error>,
    is_writable: bool,
}

impl OpenFile {
    /// Opens a file of the link at `depth`.
    fn open(path: &Path, options: &ChainOptions, depth: usize) -> Result<Self> {
        let is_writable = options.writable.contains(&depth);
        let lock = match (is_writable, options.force_share, options.headers_only) {
            (true, ..) => LockMode::Write,
            (false, true, _) => LockMode::Peek,
            (false, false, _) if options.observe => LockMode::Observe,
            (false, false, true) => LockMode::HeaderOnly,
            (false, false, false) => LockMode::Read,
        };
        let (storage, lock_conflict) = match FileStorage::open(path, lock) {
            Ok(storage) => (storage, None),
            Err(error) if error.kind() == ErrorKind::Locked && !is_writable => {
                (FileStorage::open(path, LockMode::Peek)?, Some(error))
            }
            Err(error) => return Err(error),
        };
        // Our own description counts as a writer too.
        let unstable =
            lock_conflict.is_some() || (!is_writable && storage.has_writers() == Some(true));
        let holders = if unstable {
            let found = holders(storage.id());
            found.iter().map(ToString::to_string).collect()
        } else {
            Vec::new()
        };
        Ok(Self {
            storage: Arc::new(storage),
            holders,
            unstable,
            lock_conflict,
            is_writable,
        })
    }

    /// The facts of the file, without an image yet.
    fn link(&self, reference: Option<FileReference>, path: &Path) -> Link {
        Link {
            reference,
            path: Some(path.to_path_buf()),
            stamp: self.storage.stamp().ok(),
            file_size: self.storage.size().ok(),
            allocated_size: self.storage.allocated().ok().flatten(),
            holders: self.holders.clone(),
            unstable: self.unstable,
            lock_conflict: self.lock_conflict.as_ref().map(Error::to_string),
            writable: self.is_writable.then(|| WritableLink {
                file: Arc::clone(&self.storage),
                data_file: None,
            }),
            state: LinkState::Broken(LinkProblem::Missing),
        }
    }
}

impl Link {
    /// The file that is meant, whether it will be opened or not.
    fn point_at(&mut self, path: &Path) {
        self.path = Some(path.to_path_buf());
        self.stamp = FileStamp::of(path).ok();
    }

    fn broken(reference: FileReference, problem: LinkProblem) -> Self {
        Self {
            reference: Some(reference),
            path: None,
            stamp: None,
            file_size: None,
            allocated_size: None,
            holders: Vec::new(),
            unstable: false,
            lock_conflict: None,
            writable: None,
            state: LinkState::Broken(problem),
        }
    }
}

/// The format to open a backing file as. What its overlay says holds: a file that is said to be raw
/// is raw, whatever a guest wrote into it. Only without a claim the content decides.
fn format_of(storage: &dyn Storage, claim: Option<&str>) -> Result<Format, LinkProblem> {
    let claimed = match claim {
        None => None,
        // The names of the drivers below a format: the bytes themselves.
        Some("raw" | "file" | "host_device") => return Ok(Format::Raw),
        Some(name) => Some(Format::from_name(name).ok_or_else(|| {
            LinkProblem::Unreadable(Error::unsupported(format!(
                "its overlay calls it '{name}', which is no known format"
            )))
        })?),
    };
    let found = image::probe(storage).map_err(LinkProblem::Unreadable)?;
    match claimed {
        Some(claimed) if claimed != found.format => Err(LinkProblem::WrongFormat {
            claimed,
            found: found.format,
        }),
        _ => Ok(found.format),
    }
}

/// Names that people give to raw disks. When such a file looks like an image, its guest may have
/// made it so.
fn is_named_like_raw(path: &Path) -> bool {
    const EXTENSIONS: [&str; 6] = ["bin", "dd", "img", "iso", "raw", "ima"];
    path.extension()
        .and_then(|extension| extension.to_str())
        .is_some_and(|extension| EXTENSIONS.contains(&extension.to_ascii_lowercase().as_str()))
}

fn problem_of(error: Error) -> LinkProblem {
    match error.kind() {
        ErrorKind::NotFound => LinkProblem::Missing,
        _ => LinkProblem::Unreadable(error),
    }
}

fn problem_of_io(error: io::Error, path: &Path) -> LinkProblem {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => LinkProblem::Missing,
        _ => LinkProblem::Unreadable(Error::io("cannot open", error).with_path(path)),
    }
}
