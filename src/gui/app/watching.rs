//! Images that other programs change: they are read again by themselves.
//!
//! The files of each open chain are watched. A change is looked at when it has settled, and only
//! counts when the files are others than those that were read: reading them, and what a job of ours
//! did and is read anyway, wake nobody. An image that another program holds for writing changes all
//! the time; its banner offers to read it again instead.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use platter::storage::FileStamp;
use relm4::ComponentSender;
use relm4::gtk::{gio, glib, prelude::*};

use super::{App, AppCommand, AppInput, AppWidgets};
use crate::session::{Document, DocumentId};

/// How long after a change it is looked at: programs write in many steps.
const SETTLING: Duration = Duration::from_millis(400);

/// The files of a chain as they were; `None` for what was not there.
pub(crate) type Stamps = Vec<Option<FileStamp>>;

/// Which images are watched.
#[derive(Default)]
pub(super) struct Watching(HashMap<DocumentId, Watch>);

struct Watch {
    files: Vec<PathBuf>,
    /// They tell as long as they live.
    _monitors: Vec<gio::FileMonitor>,
    known: Stamps,
    /// A look is due.
    due: bool,
}

impl Watching {
    pub(super) fn forget(&mut self, id: DocumentId) {
        self.0.remove(&id);
    }

    /// Takes note of the files as they are. Answers what they were and are, where that differs.
    fn take(&mut self, id: DocumentId, stamps: Stamps) -> Option<(Stamps, Stamps)> {
        let watch = self.0.get_mut(&id)?;
        let before = std::mem::replace(&mut watch.known, stamps.clone());
        (before != stamps).then_some((before, stamps))
    }
}

/// The files as they are. Blocks.
fn stamps(files: &[PathBuf]) -> Stamps {
    let stamp = |path: &PathBuf| FileStamp::of(path).ok();
    files.iter().map(stamp).collect()
}

/// The files of a document, and what they were when they were read.
fn files_of(document: &Document) -> (Vec<PathBuf>, Stamps) {
    let Some(chain) = document.full_chain() else {
        let failure = document.failure.as_deref();
        let stamp = failure.and_then(|failure| failure.stamp);
        return (vec![document.path.clone()], vec![stamp]);
    };
    let below = chain.links().iter().skip(1);
    let below = below.filter_map(|link| Some((link.path.clone()?, link.stamp)));
    let own = (document.path.clone(), chain.active().stamp);
    std::iter::once(own).chain(below).unzip()
}

/// Whether a file came, went, or is another one.
fn are_other_files(before: &Stamps, now: &Stamps) -> bool {
    let id = |stamp: &Option<FileStamp>| stamp.map(|stamp| stamp.id);
    before.len() != now.len() || before.iter().zip(now).any(|(one, two)| id(one) != id(two))
}

impl App {
    /// Watches the files of a document, from the moment that its chain is known.
    pub(super) fn watch(&mut self, document: &Document, sender: &ComponentSender<Self>) {
        let id = document.id;
        let (files, stamps) = files_of(document);
        let watched = self.watching.0.get_mut(&id);
        if let Some(watch) = watched.filter(|watch| watch.files == files) {
            watch.known = stamps;
        } else {
            let monitors = files.iter().filter_map(|path| monitor(path, id, sender));
            let watch = Watch {
                _monitors: monitors.collect(),
                files: files.clone(),
                known: stamps,
                due: false,
            };
            self.watching.0.insert(id, watch);
        }
        // What changed while they were read told nobody.
        self.look_at_files(id, files, sender);
    }

    /// A file of the document has changed: looks when it has settled.
    pub(super) fn file_changed(&mut self, id: DocumentId, sender: &ComponentSender<Self>) {
        let Some(watch) = self.watching.0.get_mut(&id) else {
            return;
        };
        if !std::mem::replace(&mut watch.due, true) {
            let input = sender.input_sender().clone();
            glib::timeout_add_local_once(SETTLING, move || {
                // The window may be gone by now.
                let _ = input.send(AppInput::FilesSettled(id));
            });
        }
    }

    pub(super) fn files_settled(&mut self, id: DocumentId, sender: &ComponentSender<Self>) {
        if let Some(watch) = self.watching.0.get_mut(&id) {
            watch.due = false;
            let files = watch.files.clone();
            self.look_at_files(id, files, sender);
        }
    }

    fn look_at_files(&self, id: DocumentId, files: Vec<PathBuf>, sender: &ComponentSender<Self>) {
        let output = sender.command_sender().clone();
        self.background.run(move || {
            // The window may be gone by now.
            let _ = output.send(AppCommand::FilesSeen(id, stamps(&files)));
        });
    }

    /// Reads the image again when its files are not those that were read.
    pub(super) fn files_seen(
        &mut self,
        id: DocumentId,
        stamps: Stamps,
        widgets: &AppWidgets,
        sender: &ComponentSender<Self>,
    ) {
        let Some((before, now)) = self.watching.take(id, stamps) else {
            return;
        };
        let documents = self.session.documents();
        let Some(document) = documents.iter().find(|document| document.id == id) else {
            return;
        };
        // What a job of ours changes is read when it is over.
        if document.busy.is_some() {
            return;
        }
        let link = document.active();
        let is_held = link.is_some_and(|link| link.unstable || !link.holders.is_empty());
        if is_held && !are_other_files(&before, &now) {
            return;
        }
        let policy = document.policy.clone();
        self.stop_opening(id);
        if let Some(document) = self.session.reopen(id, policy) {
            self.read(&document, sender);
            self.show_session(widgets);
        }
    }
}

/// Where a file cannot be watched, it is not.
fn monitor(
    path: &PathBuf,
    id: DocumentId,
    sender: &ComponentSender<App>,
) -> Option<gio::FileMonitor> {
    let file = gio::File::for_path(path);
    let flags = gio::FileMonitorFlags::WATCH_MOVES;
    let monitor = file.monitor_file(flags, gio::Cancellable::NONE).ok()?;
    let input = sender.input_sender().clone();
    monitor.connect_changed(move |_, _, _, _| {
        // The window may be gone by now.
        let _ = input.send(AppInput::FileChanged(id));
    });
    Some(monitor)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_that_was_written_to_is_the_same_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.raw");
        let files = [path.clone()];
        assert_eq!(stamps(&files), [None]);
        fs::write(&path, "1").unwrap();
        let first = stamps(&files);
        fs::write(&path, "22").unwrap();
        let second = stamps(&files);
        assert_ne!(first, second);
        assert!(!are_other_files(&first, &second));
        let other = folder.path().join("b.raw");
        fs::write(&other, "22").unwrap();
        fs::rename(&other, &path).unwrap();
        assert!(are_other_files(&second, &stamps(&files)));
        fs::remove_file(&path).unwrap();
        assert!(are_other_files(&second, &stamps(&files)));
    }

    #[test]
    fn what_was_read_is_no_change_and_anything_else_is() {
        let mut watching = Watching::default();
        let mut session = crate::session::Session::default();
        session.open(std::path::Path::new("/a"));
        let id = session.selected().unwrap().id;
        watching.0.insert(
            id,
            Watch {
                files: vec!["/a".into()],
                _monitors: Vec::new(),
                known: vec![None],
                due: false,
            },
        );
        assert!(watching.take(id, vec![None]).is_none());
        let there = FileStamp::of(std::path::Path::new("/")).ok();
        assert!(watching.take(id, vec![there]).is_some());
        assert!(watching.take(id, vec![there]).is_none());
        watching.forget(id);
        assert!(watching.take(id, vec![None]).is_none());
    }
}
