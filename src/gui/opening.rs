//! Opening an image in stages, off the main thread: what is known early is shown early.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use platter::chain::{Chain, ChainOptions, FolderIndex, OpenPolicy};
use platter::inspect::Contents;
use platter::op::edit;
use platter::storage::{FileStamp, FileStorage, LockMode, Storage};
use platter::{Control, Error, Stop};

use crate::session::{Fact, Failure};

/// What to open, and how.
#[derive(Clone, Debug)]
pub(crate) struct Opening {
    /// The active layer.
    pub(crate) path: PathBuf,
    /// Which other files may be opened with it.
    pub(crate) policy: OpenPolicy,
    /// Cancelled when nobody waits for the facts any more.
    pub(crate) control: Control,
}

impl Opening {
    /// Header, then chain, then contents, each handed to `emit` as soon as it is known.
    pub(crate) fn read_image(&self, emit: impl Fn(Fact)) {
        let stamp = FileStamp::of(&self.path).ok();
        match self.read_stages(&emit) {
            Ok(()) | Err(Stop::Cancelled) => {}
            Err(Stop::Failed(error)) => {
                emit(Fact::Failed(Arc::new(self.explain(error, stamp))));
            }
        }
    }

    /// The images of the folder. A folder that cannot be listed has none to show.
    pub(crate) fn read_folder(&self, emit: impl Fn(Fact)) {
        let folder = match self.path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        if let Ok(index) = FolderIndex::read(folder, &self.control) {
            emit(Fact::Folder(Arc::new(index)));
        }
    }

    fn read_stages(&self, emit: &impl Fn(Fact)) -> Result<(), Stop> {
        let header = Chain::open(&self.path, &self.options(true))?;
        emit(Fact::Header(Arc::new(header)));
        // A journal that cannot be read, or is another file's, is no way back for this one.
        emit(Fact::Unfinished(
            edit::unfinished(&self.path).ok().flatten(),
        ));
        self.control.checkpoint()?;

        let chain = Arc::new(Chain::open(&self.path, &self.options(false))?);
        emit(Fact::Chain(Arc::clone(&chain)));
        self.control.checkpoint()?;

        let contents = chain.disk().and_then(|disk| {
            let disk: Arc<dyn Storage> = Arc::new(disk);
            Contents::read(&disk)
        });
        emit(Fact::Contents(contents.map(Arc::new).map_err(Arc::new)));
        Ok(())
    }

    fn options(&self, active_only: bool) -> ChainOptions {
        ChainOptions {
            policy: self.policy.clone(),
            active_only,
            // Whoever looks at an image must not keep its VM, or our own jobs, from changing it.
            observe: true,
            ..ChainOptions::default()
        }
    }

    /// What the content looks like explains best why it cannot be opened.
    fn explain(&self, error: Error, stamp: Option<FileStamp>) -> Failure {
        let format = FileStorage::open(&self.path, LockMode::Peek)
            .and_then(|storage| platter::image::probe(&storage))
            .map(|probe| probe.format);
        Failure {
            error,
            format: format.ok(),
            stamp,
        }
    }
}
