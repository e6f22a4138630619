//! Showing the list, and asking for what is chosen.

use std::path::PathBuf;
use std::rc::Rc;

use platter::image::{ImageInfo, Snapshot};
use relm4::adw::prelude::*;
use relm4::gtk::gio;
use relm4::{ComponentSender, gtk};

use super::messages::Deed;
use super::row::SnapshotRow;
use super::{Snapshots, SnapshotsInput, SnapshotsWidgets, draft, helpers};
use crate::i18n::{fill, gettext};
use crate::name_form::{NameForm, NameInit};
use crate::operation::{Ask, Draft, Request, form};
use crate::pane::{PaneInput, PaneOutput};
use crate::session::Document;
use crate::subject::Subject;

impl Snapshots {
    pub(super) fn take(
        &mut self,
        input: PaneInput,
        widgets: &SnapshotsWidgets,
        root: &gtk::Stack,
        sender: &ComponentSender<Self>,
    ) {
        match input {
            PaneInput::Show(document) => self.show(&document, widgets, root, sender),
            PaneInput::Clear => self.document = None,
            PaneInput::Visible(_) | PaneInput::Reveal(_) => {}
        }
    }

    /// A form for the name of a new snapshot.
    pub(super) fn ask_for_name(&self, sender: &ComponentSender<Self>) {
        let Some((subject, info)) = self.subject() else {
            return;
        };
        let name = helpers::free_name(&gettext("snapshot"), &info.snapshots);
        let about = subject.name();
        let draft = move |name: &str| {
            valid(name)?;
            Ok(draft::take(subject.clone(), name.to_owned()))
        };
        let heading = gettext("Take Snapshot");
        self.request(heading, about, name_form(name, draft), sender);
    }

    pub(super) fn ask(
        &mut self,
        deed: Deed,
        id: &str,
        root: &gtk::Stack,
        sender: &ComponentSender<Self>,
    ) {
        let Some((subject, info)) = self.subject() else {
            return;
        };
        let known = info.snapshots.iter().find(|snapshot| snapshot.id == id);
        let Some(snapshot) = known.cloned() else {
            return;
        };
        let about = subject.name();
        match deed {
            Deed::Apply => {
                let wanted = fill(
                    // Translators: the name of a snapshot: no spaces, please.
                    &gettext("before-{snapshot}"),
                    &[("snapshot", &helpers::title(&snapshot))],
                );
                let safety = helpers::free_name(&wanted, &info.snapshots);
                let ask = Ask::Sheet(draft::apply(subject, snapshot, safety));
                self.request(gettext("Set Disk Back"), about, ask, sender);
            }
            Deed::Delete => {
                let ask = Ask::Sheet(draft::delete(subject, snapshot));
                self.request(gettext("Delete Snapshot"), about, ask, sender);
            }
            Deed::Export => self.choose_target(&snapshot, root, sender),
            Deed::Rename => {
                let old = snapshot.name.clone();
                let draft = move |name: &str| {
                    valid(name)?;
                    if name == snapshot.name {
                        return Err(None);
                    }
                    let (subject, snapshot) = (subject.clone(), snapshot.clone());
                    Ok(draft::rename(subject, snapshot, name.to_owned()))
                };
                let ask = name_form(old, draft);
                self.request(gettext("Rename Snapshot"), about, ask, sender);
            }
        }
    }

    pub(super) fn export(&mut self, id: &str, path: PathBuf, sender: &ComponentSender<Self>) {
        self.file_dialog = None;
        let Some((subject, info)) = self.subject() else {
            return;
        };
        if let Some(snapshot) = info.snapshots.iter().find(|known| known.id == id) {
            let about = subject.name();
            let ask = Ask::Sheet(draft::export(subject, snapshot.clone(), path));
            self.request(gettext("Export Snapshot"), about, ask, sender);
        }
    }

    fn show(
        &mut self,
        document: &Rc<Document>,
        widgets: &SnapshotsWidgets,
        root: &gtk::Stack,
        sender: &ComponentSender<Self>,
    ) {
        self.document = Some(Rc::clone(document));
        let Some(info) = document.active().and_then(|link| link.info()) else {
            // What was shown before stays until the header has been read.
            return;
        };
        let busy = document.busy.is_some();
        if info.snapshots.is_empty() {
            widgets.show_none(info, busy);
            root.set_visible_child_name("status");
        } else {
            self.show_rows(info, widgets, sender);
            for row in &self.rows {
                row.set_busy(busy);
            }
            root.set_visible_child_name("list");
        }
    }

    fn show_rows(
        &mut self,
        info: &ImageInfo,
        widgets: &SnapshotsWidgets,
        sender: &ComponentSender<Self>,
    ) {
        let size = info.virtual_size;
        let same = self.rows.len() == info.snapshots.len()
            && self
                .rows
                .iter()
                .zip(&info.snapshots)
                .all(|(row, snapshot)| row.shows(snapshot, size));
        if same {
            return;
        }
        for row in self.rows.drain(..) {
            widgets.group.remove(row.root());
        }
        for snapshot in &info.snapshots {
            let input = sender.input_sender().clone();
            let row = SnapshotRow::new(snapshot, size, move |message| input.emit(message));
            widgets.group.add(row.root());
            self.rows.push(row);
        }
    }

    fn choose_target(
        &mut self,
        snapshot: &Snapshot,
        root: &gtk::Stack,
        sender: &ComponentSender<Self>,
    ) {
        let window = root.root().and_downcast::<gtk::Window>();
        let dialog = gtk::FileChooserNative::new(
            Some(&gettext("Export Snapshot")),
            window.as_ref(),
            gtk::FileChooserAction::Save,
            Some(&gettext("_Export")),
            Some(&gettext("_Cancel")),
        );
        dialog.set_modal(true);
        let name = helpers::title(snapshot).replace('/', "-");
        dialog.set_current_name(&format!("{name}.qcow2"));
        let folder = self.document.as_deref().and_then(|it| it.path.parent());
        if let Some(folder) = folder {
            // Not being able to start there is no reason not to start.
            let _ = dialog.set_current_folder(Some(&gio::File::for_path(folder)));
        }
        let (input, id) = (sender.input_sender().clone(), snapshot.id.clone());
        dialog.connect_response(move |dialog, response| {
            let chosen = dialog.file().and_then(|file| file.path());
            if let Some(path) = chosen.filter(|_| response == gtk::ResponseType::Accept) {
                input.emit(SnapshotsInput::ExportTo(id.clone(), path));
            }
        });
        dialog.show();
        self.file_dialog = Some(dialog);
    }

    /// The image, unless a job is changing it.
    fn subject(&self) -> Option<(Subject, &ImageInfo)> {
        let document = self.document.as_deref()?;
        let info = document.active()?.info()?;
        let subject = Subject::of(document)?;
        document.busy.is_none().then_some((subject, info))
    }

    fn request(&self, heading: String, about: String, ask: Ask, sender: &ComponentSender<Self>) {
        let request = Request {
            heading,
            about,
            ask,
        };
        // The window outlives its panes.
        let _ = sender.output(PaneOutput::Operate(request));
    }
}

impl SnapshotsWidgets {
    fn show_none(&self, info: &ImageInfo, busy: bool) {
        let obstacle = helpers::obstacle(info);
        self.status.set_title(&gettext("No Snapshots"));
        let description = obstacle.clone().unwrap_or_else(|| {
            gettext(
                "A snapshot keeps the disk as it is now inside the image, to go back to it later.",
            )
        });
        self.status.set_description(Some(&description));
        self.first.set_visible(obstacle.is_none());
        self.first.set_sensitive(!busy);
    }
}

fn name_form(name: String, draft: impl Fn(&str) -> Result<Draft, Option<String>> + 'static) -> Ask {
    Ask::Form(form::<NameForm>(NameInit {
        title: gettext("Name"),
        name,
        draft: Box::new(draft),
    }))
}

/// Longer names do not fit into the table.
fn valid(name: &str) -> Result<(), Option<String>> {
    const LONGEST: usize = 255;
    match name.len() {
        0 => Err(None),
        1..=LONGEST => Ok(()),
        _ => Err(Some(gettext("The name is too long."))),
    }
}
