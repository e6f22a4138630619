//! Asking where to save map, plot or extents, and saying how it went.

use std::path::{Path, PathBuf};

use platter::Stop;
use relm4::gtk::{self, gio, prelude::*};
use relm4::prelude::*;

use super::export::{Export, ExportKind};
use super::{MapCommand, MapInput, MapPane};
use crate::describe;
use crate::format;
use crate::i18n::{fill, gettext};
use crate::menu;
use crate::pane::{ErrorReport, PaneOutput};

/// Prefix of the pane's actions.
const GROUP: &str = "map";

/// The entries of the Export… button.
pub(super) fn menu() -> gio::Menu {
    let items = ExportKind::ALL.map(|(kind, action)| (kind.title(), action));
    menu::sections(GROUP, &[&items[..2], &items[2..4], &items[4..]])
}

/// The actions behind the entries.
pub(super) fn install_actions(
    model: &MapPane,
    root: &impl IsA<gtk::Widget>,
    sender: &ComponentSender<MapPane>,
) {
    let group = gio::SimpleActionGroup::new();
    for (kind, name) in ExportKind::ALL {
        let action = if kind == ExportKind::DifferencesCsv {
            model.save_differences.clone()
        } else {
            gio::SimpleAction::new(name, None)
        };
        let input = sender.input_sender().clone();
        action.connect_activate(move |_, _| input.emit(MapInput::Export(kind)));
        group.add_action(&action);
    }
    root.insert_action_group(GROUP, Some(&group));
}

/// Says that a file was saved, or why it was not.
pub(super) fn tell_result(
    kind: ExportKind,
    path: &Path,
    result: Result<(), Stop>,
    sender: &ComponentSender<MapPane>,
) {
    let name = format::file_name(path);
    let output = match result {
        Ok(()) => PaneOutput::Toast(fill(&gettext("Saved {name}"), &[("name", &name)])),
        Err(Stop::Cancelled) => return,
        Err(Stop::Failed(error)) => PaneOutput::Error(ErrorReport {
            heading: fill(&gettext("{name} could not be saved"), &[("name", &name)]),
            body: describe::error_sentence(&error),
            details: format!("{kind:?}: {}", describe::error_details(&error)),
        }),
    };
    // The window outlives its panes.
    let _ = sender.output(output);
}

impl MapPane {
    pub(super) fn choose_file(
        &mut self,
        kind: ExportKind,
        root: &impl IsA<gtk::Widget>,
        sender: &ComponentSender<Self>,
    ) {
        let Some(document) = &self.document else {
            return;
        };
        let window = root.as_ref().root().and_downcast::<gtk::Window>();
        let dialog = gtk::FileChooserNative::new(
            Some(&kind.title().replace('…', "")),
            window.as_ref(),
            gtk::FileChooserAction::Save,
            Some(&gettext("_Save")),
            Some(&gettext("_Cancel")),
        );
        dialog.set_modal(true);
        dialog.set_current_name(&kind.file_name(&document.path));
        let input = sender.input_sender().clone();
        dialog.connect_response(move |dialog, response| {
            if response == gtk::ResponseType::Accept
                && let Some(path) = dialog.file().and_then(|file| file.path())
            {
                input.emit(MapInput::ExportTo(kind, path));
            }
        });
        dialog.show();
        self.file_dialog = Some(dialog);
    }

    pub(super) fn export(
        &mut self,
        kind: ExportKind,
        path: PathBuf,
        sender: &ComponentSender<Self>,
    ) {
        self.file_dialog = None;
        let (Some(document), Some(subject), Some(layout)) =
            (&self.document, &self.subject, &self.layout)
        else {
            return;
        };
        let export = Export {
            kind,
            subject: subject.clone(),
            layout: layout.clone(),
            compared: self.compared(),
            contents: document.contents.clone(),
            palette: self.theme.palette(),
            plot_look: self.plot_look(1),
            title: format::file_name(&document.path),
        };
        let output = sender.command_sender().clone();
        self.background.run(move || {
            let result = export.write(&path);
            output.emit(MapCommand::Exported(kind, path, result));
        });
    }
}
