//! The one state of the image that the user should know of before anything else, as a strip above
//! the panes.

mod dialogs;
mod helpers;
mod messages;

use std::path::PathBuf;
use std::rc::Rc;

use platter::chain::OpenPolicy;
use relm4::gtk::prelude::*;
use relm4::prelude::*;
use relm4::{ComponentSender, gtk};

pub(crate) use messages::{BannerInput, BannerOutput};

use crate::facts::Tone;
use crate::image_operation::ImageOperation;
use crate::image_sheets;
use crate::session::Document;
use helpers::{Action, Notice, notice};

/// The banner's model.
#[derive(Default)]
pub(crate) struct Banner {
    document: Option<Rc<Document>>,
    /// What it says; kept while it slides away.
    notice: Notice,
    revealed: bool,
    /// The file dialog while it is open: it is no widget, nobody else keeps it.
    file_dialog: Option<gtk::FileChooserNative>,
}

#[relm4::component(pub(crate))]
impl Component for Banner {
    type Init = ();
    type Input = BannerInput;
    type Output = BannerOutput;
    type CommandOutput = ();

    view! {
        gtk::Revealer {
            #[watch]
            set_reveal_child: model.revealed,

            gtk::Box {
                set_spacing: 12,
                #[watch]
                set_css_classes: &["banner", tone_class(model.notice.tone)],

                gtk::Image {
                    set_valign: gtk::Align::Center,
                    #[watch]
                    set_icon_name: Some(tone_icon(model.notice.tone)),
                },
                gtk::Label {
                    set_hexpand: true,
                    set_xalign: 0.0,
                    set_wrap: true,
                    set_wrap_mode: gtk::pango::WrapMode::WordChar,
                    #[watch]
                    set_label: &model.notice.sentence,
                },
                gtk::Button {
                    set_valign: gtk::Align::Center,
                    set_use_underline: true,
                    #[watch]
                    set_visible: model.notice.action.is_some(),
                    #[watch]
                    set_label: &model.notice.action.as_ref().map(Action::label).unwrap_or_default(),
                    connect_clicked => BannerInput::ActionClicked,
                },
                gtk::Button {
                    set_valign: gtk::Align::Center,
                    set_use_underline: true,
                    #[watch]
                    set_visible: model.notice.other.is_some(),
                    #[watch]
                    set_label: &model.notice.other.as_ref().map(Action::label).unwrap_or_default(),
                    connect_clicked => BannerInput::OtherClicked,
                },
            },
        }
    }

    fn init(
        (): Self::Init,
        root: Self::Root,
        sender: ComponentSender<Self>,
    ) -> ComponentParts<Self> {
        let model = Self::default();
        let widgets = view_output!();
        ComponentParts { model, widgets }
    }

    fn update(&mut self, message: Self::Input, sender: ComponentSender<Self>, root: &Self::Root) {
        match message {
            BannerInput::Show(document) => self.show(document),
            BannerInput::ActionClicked => self.act(self.notice.action.clone(), root, &sender),
            BannerInput::OtherClicked => self.act(self.notice.other.clone(), root, &sender),
            BannerInput::LocateRequested(path) => {
                self.file_dialog = Some(dialogs::ask_where(path, root, &sender));
            }
            BannerInput::Allowed(path) => {
                self.reopen(|policy| policy.granted.push(path), &sender);
            }
            BannerInput::Located { meant, chosen } => {
                self.reopen(|policy| locate(policy, meant, chosen), &sender);
            }
        }
    }
}

impl Banner {
    fn show(&mut self, document: Rc<Document>) {
        let notice = notice(&document);
        self.revealed = notice.is_some();
        if let Some(notice) = notice {
            self.notice = notice;
        }
        self.document = Some(document);
    }

    fn act(
        &mut self,
        action: Option<Action>,
        root: &gtk::Revealer,
        sender: &ComponentSender<Self>,
    ) {
        match action {
            Some(Action::Check) => self.operate(ImageOperation::Check, sender),
            Some(Action::Relink) => self.operate(ImageOperation::Rebase, sender),
            Some(Action::EndEdit { rollback }) => {
                let document = self.document.as_deref();
                let request =
                    document.and_then(|document| image_sheets::resume_request(document, rollback));
                if let Some(request) = request {
                    sender.output_sender().emit(BannerOutput::Operate(request));
                }
            }
            Some(Action::Allow { path, reason }) => {
                dialogs::ask_to_allow(&path, &reason, root, sender);
            }
            Some(Action::Locate(path)) => {
                self.file_dialog = Some(dialogs::ask_where(path, root, sender));
            }
            Some(Action::Reload) => sender.output_sender().emit(BannerOutput::ReloadRequested),
            None => {}
        }
    }

    fn operate(&self, operation: ImageOperation, sender: &ComponentSender<Self>) {
        let document = self.document.as_ref();
        if let Some(request) = document.and_then(|document| operation.of_document(document, &[])) {
            sender.output_sender().emit(BannerOutput::Operate(request));
        }
    }

    fn reopen(&self, change: impl FnOnce(&mut OpenPolicy), sender: &ComponentSender<Self>) {
        if let Some(document) = &self.document {
            let mut policy = document.policy.clone();
            change(&mut policy);
            sender
                .output_sender()
                .emit(BannerOutput::PolicyChanged(policy));
        }
    }
}

/// What was said before of the same file does not hold any more. The user chose the file: that is
/// permission as well.
fn locate(policy: &mut OpenPolicy, meant: PathBuf, chosen: PathBuf) {
    policy.located.retain(|(known, _)| *known != meant);
    policy.granted.push(chosen.clone());
    policy.located.push((meant, chosen));
}

fn tone_class(tone: Tone) -> &'static str {
    match tone {
        Tone::Neutral | Tone::Good => "tells",
        Tone::Warning => "warns",
        Tone::Bad => "alarms",
    }
}

fn tone_icon(tone: Tone) -> &'static str {
    match tone {
        Tone::Neutral | Tone::Good => "dialog-information-symbolic",
        Tone::Warning => "dialog-warning-symbolic",
        Tone::Bad => "dialog-error-symbolic",
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_last_place_named_counts() {
        let mut policy = OpenPolicy::default();
        locate(&mut policy, "/a".into(), "/b".into());
        locate(&mut policy, "/a".into(), "/c".into());
        assert_eq!(policy.located, [("/a".into(), "/c".into())]);
        assert!(policy.granted.iter().any(|path| path == Path::new("/c")));
    }
}
