//! The one model of the window: which images are open, what is known of each, which is selected.
//! Only `app` changes it; everyone else is shown [`Document`]s.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use platter::Error;
use platter::chain::{Chain, FolderIndex, Link, OpenPolicy};
use platter::image::Format;
use platter::inspect::Contents;
use platter::op::edit::{Pending, Refused, Unfinished, preview};
use platter::storage::FileStamp;

use crate::comparison::Comparison;

/// Names an open image for the life of the window.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct DocumentId(u64);

/// How much of an image is known. Each stage includes those before.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Stage {
    /// Nothing yet, or nothing at all when [`Document::failure`] is set.
    Opening,
    /// The facts of the header: [`Document::chain`] has only the active layer.
    Header,
    /// The whole chain.
    Chain,
    /// Partition table and file systems, or [`Document::contents_error`].
    Contents,
}

/// Why an image could not be opened at all.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The engine's words.
    pub(crate) error: Error,
    /// What the content looks like, where it could be asked.
    pub(crate) format: Option<Format>,
    /// What the file was before it was tried; `None` where there was none.
    pub(crate) stamp: Option<FileStamp>,
}

/// An open image: a snapshot of what is known of it. Cheap to clone; replaced, never changed.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    /// Its name in the session.
    pub(crate) id: DocumentId,
    /// The active layer, absolute.
    pub(crate) path: PathBuf,
    /// Counts the times it was opened: what an earlier opening still finds is dropped.
    pub(crate) generation: u64,
    /// Which other files the user allowed or located.
    pub(crate) policy: OpenPolicy,
    /// What is known by now.
    pub(crate) stage: Stage,
    /// From [`Stage::Header`] on.
    pub(crate) chain: Option<Arc<Chain>>,
    /// At [`Stage::Contents`], unless the guest disk cannot be read.
    pub(crate) contents: Option<Arc<Contents>>,
    /// Why the guest disk cannot be read.
    pub(crate) contents_error: Option<Arc<Error>>,
    /// The images in the same folder; arrives on its own, at any stage.
    pub(crate) folder: Option<Arc<FolderIndex>>,
    /// Why the image could not be opened.
    pub(crate) failure: Option<Arc<Failure>>,
    /// The job of ours that is changing a file of the chain.
    pub(crate) busy: Option<Rc<str>>,
    /// Edits of its partitions that are not applied yet.
    pub(crate) pending: Rc<Pending>,
    /// The disk as it will be with those; `None` without.
    pub(crate) preview: Option<Arc<Contents>>,
    /// What an earlier edit of its partitions has left beside the image.
    pub(crate) unfinished: Option<Unfinished>,
    /// Where its disk, as it was read, differs from another one.
    pub(crate) compared: Option<Arc<Comparison>>,
}

/// A change of the edits that wait for a disk.
#[derive(Clone, Debug)]
pub(crate) enum EditRequest {
    /// More of them, taken back together.
    Push(Vec<platter::op::edit::Edit>),
    /// Take the last step back.
    Undo,
    /// Make it again.
    Redo,
    /// Give all of them up.
    Discard,
}

impl Document {
    /// The link of the file itself.
    pub(crate) fn active(&self) -> Option<&Link> {
        self.chain.as_deref().map(Chain::active)
    }

    /// The whole chain, once it has been followed.
    pub(crate) fn full_chain(&self) -> Option<&Arc<Chain>> {
        self.chain.as_ref().filter(|_| self.stage >= Stage::Chain)
    }

    fn new(id: DocumentId, path: PathBuf, generation: u64, policy: OpenPolicy) -> Self {
        Self {
            id,
            path,
            generation,
            policy,
            stage: Stage::Opening,
            chain: None,
            contents: None,
            contents_error: None,
            folder: None,
            failure: None,
            busy: None,
            pending: Rc::default(),
            preview: None,
            unfinished: None,
            compared: None,
        }
    }

    /// What is on the disk once its pending edits are applied.
    pub(crate) fn contents_to_show(&self) -> Option<&Arc<Contents>> {
        self.preview.as_ref().or(self.contents.as_ref())
    }

    /// Draws the preview anew.
    fn look_ahead(&mut self) {
        self.preview = self.contents.as_ref().and_then(|contents| {
            if self.pending.is_empty() {
                return None;
            }
            let draft = self.pending.draft(contents).ok()?;
            Some(Arc::new(preview(contents, &draft)))
        });
    }

    /// Whether `path` is a file of its chain, under whatever name.
    pub(crate) fn uses(&self, path: &Path) -> bool {
        let links = self.chain.iter().flat_map(|chain| chain.links());
        let mut files = links.filter_map(|link| link.path.as_deref());
        same_file(&self.path, path) || files.any(|file| same_file(file, path))
    }

    fn learn(&mut self, fact: Fact) {
        match fact {
            Fact::Header(chain) => {
                self.chain = Some(chain);
                self.stage = Stage::Header;
            }
            Fact::Chain(chain) => {
                self.chain = Some(chain);
                self.stage = Stage::Chain;
            }
            Fact::Contents(Ok(contents)) => {
                if !self.pending.is_empty() {
                    Rc::make_mut(&mut self.pending).keep_possible(&contents);
                }
                self.contents = Some(contents);
                self.stage = Stage::Contents;
                self.look_ahead();
            }
            Fact::Unfinished(unfinished) => self.unfinished = unfinished,
            Fact::Contents(Err(error)) => {
                self.contents_error = Some(error);
                self.stage = Stage::Contents;
            }
            Fact::Folder(folder) => self.folder = Some(folder),
            Fact::Failed(failure) => {
                self.failure = Some(failure);
                self.stage = Stage::Opening;
            }
        }
    }
}

/// Something learnt of an image off the main thread.
#[derive(Debug)]
pub(crate) enum Fact {
    /// The chain with only its active layer.
    Header(Arc<Chain>),
    /// The chain.
    Chain(Arc<Chain>),
    /// What is on the guest disk, or why it cannot be read.
    Contents(Result<Arc<Contents>, Arc<Error>>),
    /// The images of the folder.
    Folder(Arc<FolderIndex>),
    /// What an earlier edit of the partitions has left.
    Unfinished(Option<Unfinished>),
    /// It cannot be opened.
    Failed(Arc<Failure>),
}

/// The answer of [`Session::open`].
#[derive(Debug)]
pub(crate) enum Opened {
    /// It is to be read.
    New(Rc<Document>),
    /// It was open already, and is selected now.
    Already,
}

/// The open images, in the order of opening.
#[derive(Debug, Default)]
pub(crate) struct Session {
    documents: Vec<Rc<Document>>,
    selected: Option<DocumentId>,
    next: u64,
}

impl Session {
    /// Adds `path` and selects it; a file that is open already, under whatever name, is only
    /// selected.
    pub(crate) fn open(&mut self, path: &Path) -> Opened {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
        if let Some(known) = self
            .documents
            .iter()
            .find(|known| same_file(&known.path, &path))
        {
            self.selected = Some(known.id);
            return Opened::Already;
        }
        let id = DocumentId(self.take_number());
        let document = Rc::new(Document::new(
            id,
            path,
            self.take_number(),
            OpenPolicy::default(),
        ));
        self.documents.push(Rc::clone(&document));
        self.selected = Some(id);
        Opened::New(document)
    }

    /// Forgets all that is known of an image, to read it again under `policy`.
    pub(crate) fn reopen(&mut self, id: DocumentId, policy: OpenPolicy) -> Option<Rc<Document>> {
        let generation = self.take_number();
        let slot = self
            .documents
            .iter_mut()
            .find(|document| document.id == id)?;
        let mut document = Document::new(id, slot.path.clone(), generation, policy);
        // What waits stays, as far as the disk still is what it was.
        document.pending = Rc::clone(&slot.pending);
        *slot = Rc::new(document);
        Some(Rc::clone(slot))
    }

    /// Changes the edits that wait for the selected disk.
    ///
    /// # Errors
    /// Why they cannot be made; nothing is changed then.
    pub(crate) fn edit_selected(&mut self, request: &EditRequest) -> Result<(), Refused> {
        let selected = self.selected;
        let slot = self.documents.iter_mut().find(|it| Some(it.id) == selected);
        let Some((slot, contents)) = slot.and_then(|slot| {
            let contents = slot.contents.clone()?;
            Some((slot, contents))
        }) else {
            return Ok(());
        };
        let mut document = Document::clone(slot);
        let pending = Rc::make_mut(&mut document.pending);
        match request {
            EditRequest::Push(edits) => pending.push(&contents, edits)?,
            EditRequest::Undo => {
                pending.undo();
            }
            EditRequest::Redo => {
                pending.redo();
            }
            EditRequest::Discard => pending.discard(),
        }
        document.look_ahead();
        *slot = Rc::new(document);
        Ok(())
    }

    /// The edits that waited for the image at `path` are applied.
    pub(crate) fn forget_edits(&mut self, path: &Path) {
        for slot in &mut self.documents {
            if same_file(&slot.path, path) {
                let mut document = Document::clone(slot);
                document.pending = Rc::default();
                document.preview = None;
                *slot = Rc::new(document);
            }
        }
    }

    /// Keeps what a comparison of an open image has found.
    pub(crate) fn take_comparison(&mut self, compared: &Arc<Comparison>) {
        for slot in &mut self.documents {
            if same_file(&slot.path, &compared.subject) {
                let mut document = Document::clone(slot);
                document.compared = Some(Arc::clone(compared));
                *slot = Rc::new(document);
            }
        }
    }

    /// Forgets where the selected disk differs from another one.
    pub(crate) fn forget_comparison(&mut self) {
        let selected = self.selected;
        let slot = self.documents.iter_mut().find(|it| Some(it.id) == selected);
        if let Some(slot) = slot {
            let mut document = Document::clone(slot);
            document.compared = None;
            *slot = Rc::new(document);
        }
    }

    /// Closes an image; its neighbour is selected if it was.
    pub(crate) fn close(&mut self, id: DocumentId) {
        let Some(index) = self.index(id) else { return };
        self.documents.remove(index);
        if self.selected == Some(id) {
            let neighbour = self.documents.get(index).or(self.documents.last());
            self.selected = neighbour.map(|document| document.id);
        }
    }

    /// Selects an image, if it is still open.
    pub(crate) fn select(&mut self, id: DocumentId) {
        if self.index(id).is_some() {
            self.selected = Some(id);
        }
    }

    /// Selects the image `step` places further on, around the end.
    pub(crate) fn select_next(&mut self, step: isize) {
        let Some(index) = self.selected.and_then(|id| self.index(id)) else {
            return;
        };
        let count = self.documents.len();
        let index = index.checked_add_signed(step).unwrap_or(count - 1) % count;
        self.selected = self.documents.get(index).map(|document| document.id);
    }

    /// Takes in what was learnt by an opening; `None` when that image was closed or opened anew
    /// since.
    pub(crate) fn learn(
        &mut self,
        id: DocumentId,
        generation: u64,
        fact: Fact,
    ) -> Option<Rc<Document>> {
        let slot = self
            .documents
            .iter_mut()
            .find(|document| document.id == id && document.generation == generation)?;
        let mut document = Document::clone(slot);
        document.learn(fact);
        *slot = Rc::new(document);
        Some(Rc::clone(slot))
    }

    /// Marks the images that stand on a file which a job changes, and only those.
    pub(crate) fn mark_busy(&mut self, writing: &[(Rc<str>, Vec<PathBuf>)]) {
        for slot in &mut self.documents {
            let job = writing
                .iter()
                .find(|(_, files)| files.iter().any(|file| slot.uses(file)));
            let busy = job.map(|(title, _)| Rc::clone(title));
            if slot.busy != busy {
                let mut document = Document::clone(slot);
                document.busy = busy;
                *slot = Rc::new(document);
            }
        }
    }

    /// All images.
    pub(crate) fn documents(&self) -> &[Rc<Document>] {
        &self.documents
    }

    /// The selected image. There is one as long as any is open.
    pub(crate) fn selected(&self) -> Option<&Rc<Document>> {
        let id = self.selected?;
        self.documents.iter().find(|document| document.id == id)
    }

    fn index(&self, id: DocumentId) -> Option<usize> {
        self.documents.iter().position(|document| document.id == id)
    }

    fn take_number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

/// Whether two paths name one file: by device and inode, because links have many names.
fn same_file(one: &Path, other: &Path) -> bool {
    if one == other {
        return true;
    }
    let identity = |path: &Path| std::fs::metadata(path).map(|meta| (meta.dev(), meta.ino()));
    matches!((identity(one), identity(other)), (Ok(one), Ok(other)) if one == other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed() -> Fact {
        Fact::Failed(Arc::new(Failure {
            error: Error::corrupt("no"),
            format: None,
            stamp: None,
        }))
    }

    fn opened(session: &mut Session, path: &str) -> Rc<Document> {
        match session.open(Path::new(path)) {
            Opened::New(document) => document,
            Opened::Already => panic!("{path} is open already"),
        }
    }

    #[test]
    fn one_file_is_open_once_whatever_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.raw");
        let link = dir.path().join("b.raw");
        std::fs::write(&file, "x").unwrap();
        std::fs::hard_link(&file, &link).unwrap();
        let mut session = Session::default();
        let id = match session.open(&file) {
            Opened::New(document) => document.id,
            Opened::Already => panic!("nothing is open yet"),
        };
        opened(&mut session, "/nowhere/c.raw");
        assert!(matches!(session.open(&link), Opened::Already));
        assert_eq!(session.selected().unwrap().id, id);
        assert_eq!(session.documents().len(), 2);
    }

    #[test]
    fn closing_selects_the_neighbour() {
        let mut session = Session::default();
        let ids: Vec<_> = ["/1", "/2", "/3"]
            .map(|path| opened(&mut session, path).id)
            .into();
        session.select(ids[1]);
        session.close(ids[1]);
        assert_eq!(session.selected().unwrap().id, ids[2]);
        session.close(ids[2]);
        assert_eq!(session.selected().unwrap().id, ids[0]);
        session.close(ids[0]);
        assert!(session.selected().is_none());
    }

    #[test]
    fn edits_wait_with_their_image_also_when_it_is_read_again() {
        let mut session = Session::default();
        let document = opened(&mut session, "/1");
        let contents = Arc::new(crate::disk_layout::fixture::mbr_disk());
        let fact = || Fact::Contents(Ok(Arc::clone(&contents)));
        session.learn(document.id, document.generation, fact());
        let edit = platter::op::edit::Edit::parse("label 1 new", platter::table::TableKind::Mbr);
        let push = EditRequest::Push(vec![edit.unwrap()]);
        session.edit_selected(&push).unwrap();
        let label = |session: &Session| {
            let shown = session
                .selected()?
                .contents_to_show()?
                .volumes
                .first()?
                .clone();
            shown.file_system?.label
        };
        assert_eq!(label(&session).as_deref(), Some("new"));
        let again = session.reopen(document.id, OpenPolicy::default()).unwrap();
        assert_eq!(again.pending.edits().len(), 1);
        session.learn(again.id, again.generation, fact());
        assert_eq!(label(&session).as_deref(), Some("new"));
        session.edit_selected(&EditRequest::Undo).unwrap();
        assert_eq!(label(&session).as_deref(), Some("root"));
        session.edit_selected(&EditRequest::Redo).unwrap();
        session.forget_edits(Path::new("/1"));
        assert!(session.selected().unwrap().preview.is_none());
    }

    #[test]
    fn next_goes_around() {
        let mut session = Session::default();
        session.select_next(1);
        let ids: Vec<_> = ["/1", "/2"]
            .map(|path| opened(&mut session, path).id)
            .into();
        session.select_next(1);
        assert_eq!(session.selected().unwrap().id, ids[0]);
        session.select_next(-1);
        assert_eq!(session.selected().unwrap().id, ids[1]);
    }

    #[test]
    fn what_an_earlier_opening_finds_is_dropped() {
        let mut session = Session::default();
        let first = opened(&mut session, "/1");
        let second = session.reopen(first.id, OpenPolicy::default()).unwrap();
        assert!(
            session
                .learn(first.id, first.generation, failed())
                .is_none()
        );
        let shown = session
            .learn(first.id, second.generation, failed())
            .unwrap();
        assert!(shown.failure.is_some());
        session.close(first.id);
        assert!(
            session
                .learn(first.id, second.generation, failed())
                .is_none()
        );
    }
}
