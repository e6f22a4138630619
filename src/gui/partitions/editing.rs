//! Editing: from what the user does with strip, buttons and menus to edits that wait.

use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use platter::inspect::Contents;
use platter::op::edit::{Edit, Unfinished, steps};
use platter::table::{Role, TableKind};
use relm4::ComponentSender;
use relm4::gtk::{self, prelude::*};

use super::actions::Deed;
use super::edit_dialog::Asking;
use super::properties::{self, Inside};
use super::target::{self, Target};
use super::{Partitions, dialogs, resize_dialog};
use crate::disk_layout::{self, Stretch, StretchKind};
use crate::i18n::{fill, gettext};
use crate::image_sheets;
use crate::operation::Request;
use crate::pane::PaneOutput;
use crate::session::{Document, EditRequest};
use crate::widgets::strip_editor::{EditorSegment, StripOutput};

/// Where what is selected lies, to find it again after an edit.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// The number that edits call the partition by.
    number: Option<u32>,
    range: Range<u64>,
}

impl Partitions {
    /// Sends edits to those that wait.
    pub(super) fn push(edits: Vec<Edit>, sender: &ComponentSender<Self>) {
        if !edits.is_empty() {
            let push = EditRequest::Push(edits);
            sender.output_sender().emit(PaneOutput::Edit(push));
        }
    }

    /// Shows the edits that wait for `document`.
    pub(super) fn show_pending(&mut self, document: &Document) {
        let Some(contents) = &document.contents else {
            return;
        };
        let pending = &document.pending;
        self.draft = pending.draft(contents).ok();
        if let Some(draft) = &mut self.draft {
            draft.alignment = self.alignment;
        }
        self.pending
            .show(steps(contents, pending.edits()), pending.can_redo());
        self.enable_actions();
    }

    /// The segments of the strip, and how each may lie.
    pub(super) fn segments(&self, contents: &Contents) -> Vec<EditorSegment> {
        let in_strip: Vec<&Stretch> = self
            .stretches
            .iter()
            .filter(|it| it.is_in_strip())
            .collect();
        disk_layout::segments(&self.stretches)
            .into_iter()
            .zip(in_strip)
            .map(|(look, stretch)| EditorSegment {
                look,
                range: stretch.range.clone(),
                limits: self
                    .draft
                    .as_ref()
                    .and_then(|draft| target::target(contents, draft, &self.smallest, stretch))
                    .map(|target| target.limits),
            })
            .collect()
    }

    pub(super) fn take_strip(&mut self, output: StripOutput, sender: &ComponentSender<Self>) {
        match output {
            StripOutput::Selected(segment) => self.select_segment(segment),
            StripOutput::Changed(segment, range) => {
                self.select_segment(segment);
                self.change(&range, sender);
            }
            StripOutput::MenuRequested(segment, place) => {
                self.select_segment(segment);
                let (x, y) = place;
                self.menu.popup(&self.strip.bar_widget(), x, y);
            }
        }
    }

    /// The selected partition gets these bytes. Where it passes the end of the disk, the strip has
    /// said so, and the disk grows in the same step.
    fn change(&self, range: &Range<u64>, sender: &ComponentSender<Self>) {
        let (Some(target), Some(draft)) = (self.target(), &self.draft) else {
            return;
        };
        Self::push(target::edits(draft, &target, range), sender);
    }

    /// Does what a button, a menu or a key asks for.
    pub(super) fn act(&mut self, deed: Deed, root: &gtk::Stack, sender: &ComponentSender<Self>) {
        match deed {
            Deed::Undo => Self::request(EditRequest::Undo, sender),
            Deed::Redo => Self::request(EditRequest::Redo, sender),
            Deed::Discard => Self::request(EditRequest::Discard, sender),
            Deed::Apply => self.operate(image_sheets::edits_request, sender),
            Deed::UndoApplied => self.operate(image_sheets::undo_edit_request, sender),
            Deed::DiscardUndo => self.operate(image_sheets::discard_undo_request, sender),
            Deed::NewGpt => Self::push(vec![Edit::NewTable(TableKind::Gpt)], sender),
            Deed::NewMbr => Self::push(vec![Edit::NewTable(TableKind::Mbr)], sender),
            Deed::ToGpt => Self::push(vec![Edit::ConvertTable(TableKind::Gpt)], sender),
            Deed::ToMbr => Self::push(vec![Edit::ConvertTable(TableKind::Mbr)], sender),
            Deed::RepairGpt => Self::push(vec![Edit::RepairGpt], sender),
            Deed::Copy => self.copy(root, sender),
            Deed::Paste => Self::ask_clipboard(root, sender),
            Deed::Export => self.export_table(root, sender),
            Deed::Import => self.import_table(root, sender),
            Deed::New | Deed::GrowDisk => self.ask_of_disk(deed, root, sender),
            _ => self.act_on_partition(deed, root, sender),
        }
    }

    fn act_on_partition(&self, deed: Deed, root: &gtk::Stack, sender: &ComponentSender<Self>) {
        let (Some(target), Some(draft), Some(asking)) =
            (self.target(), &self.draft, self.asking(root, sender))
        else {
            return;
        };
        let number = target.number;
        match deed {
            Deed::Delete => Self::push(vec![Edit::Delete(number)], sender),
            Deed::Resize => resize_dialog::ask(&asking, draft, &self.smallest, &target),
            Deed::Format => dialogs::format(&asking, &target),
            Deed::Label => {
                let label = self.inside().map(|inside| inside.label);
                dialogs::label(&asking, &target, &label.unwrap_or_default());
            }
            Deed::Properties => properties::ask(&asking, draft, &target, self.inside()),
            Deed::Check => Self::push(vec![Edit::Check(number)], sender),
            Deed::Repair => Self::push(vec![Edit::Repair(number)], sender),
            _ => {}
        }
    }

    fn ask_of_disk(&self, deed: Deed, root: &gtk::Stack, sender: &ComponentSender<Self>) {
        let (Some(draft), Some(asking)) = (&self.draft, self.asking(root, sender)) else {
            return;
        };
        if deed == Deed::GrowDisk {
            dialogs::grow_disk(&asking, draft);
        } else if let Some((free, logical)) = self.free() {
            dialogs::new_partition(&asking, draft, &free, logical);
        }
    }

    fn request(request: EditRequest, sender: &ComponentSender<Self>) {
        sender.output_sender().emit(PaneOutput::Edit(request));
    }

    fn operate(
        &self,
        request: impl Fn(&Rc<Document>) -> Option<Request>,
        sender: &ComponentSender<Self>,
    ) {
        if let Some(request) = self.document.as_ref().and_then(request) {
            sender.output_sender().emit(PaneOutput::Operate(request));
        }
    }

    fn asking(&self, root: &gtk::Stack, sender: &ComponentSender<Self>) -> Option<Asking> {
        let document = self.document.as_ref()?;
        Some(Asking {
            window: root.root().and_downcast(),
            contents: Arc::clone(document.contents.as_ref()?),
            pending: Rc::clone(&document.pending),
            input: sender.input_sender().clone(),
        })
    }

    /// The selected partition.
    pub(super) fn target(&self) -> Option<Target> {
        let stretch = self.stretches.get(self.selected?)?;
        target::target(
            self.contents.as_ref()?,
            self.draft.as_ref()?,
            &self.smallest,
            stretch,
        )
    }

    /// What is in the selected partition.
    fn inside(&self) -> Option<Inside> {
        let stretch = self.stretches.get(self.selected?)?;
        let StretchKind::Partition(index) = stretch.kind else {
            return None;
        };
        let volume = disk_layout::volume_of(self.contents.as_ref()?, Some(index))?;
        let found = volume.file_system.as_ref()?;
        Some(Inside {
            kind: found.kind,
            label: found.label.clone().unwrap_or_default(),
            uuid: found.uuid.clone().unwrap_or_default(),
        })
    }

    /// The free space that is selected, or else the largest; whether it is for logical partitions.
    fn free(&self) -> Option<(Range<u64>, bool)> {
        let free = |stretch: &Stretch| match stretch.kind {
            StretchKind::Free { logical } => Some((stretch.range.clone(), logical)),
            _ => None,
        };
        let selected = self.selected.and_then(|row| self.stretches.get(row));
        selected.and_then(free).or_else(|| {
            let all = self.stretches.iter().filter_map(free);
            all.max_by_key(|(range, _)| range.end - range.start)
        })
    }

    /// Where what is selected lies.
    pub(super) fn selected_place(&self) -> Option<Place> {
        let stretch = self.stretches.get(self.selected?)?;
        Some(Place {
            number: self.target().map(|target| target.number),
            range: stretch.range.clone(),
        })
    }

    /// What is now where `place` was: the same partition, or what lies at its start.
    pub(super) fn nearest(&self, place: &Place) -> usize {
        let (Some(contents), Some(draft)) = (&self.contents, &self.draft) else {
            return 0;
        };
        let same = place.number.and_then(|number| {
            self.stretches.iter().position(|stretch| {
                target::target(contents, draft, &self.smallest, stretch)
                    .is_some_and(|it| it.number == number)
            })
        });
        let there = |start: u64| {
            self.stretches.iter().rposition(|stretch| {
                !matches!(stretch.kind, StretchKind::Extended(_)) && stretch.range.contains(&start)
            })
        };
        same.or_else(|| there(place.range.start))
            .or_else(|| there(place.range.end.saturating_sub(1)))
            .unwrap_or(0)
    }

    /// What can be done with what is selected.
    pub(super) fn enable_actions(&self) {
        self.actions.enable(|deed| self.can(deed));
    }

    /// Whether it can be done now; the reason why not, where it is worth a word.
    fn can(&self, deed: Deed) -> Result<(), Option<String>> {
        let (Some(document), Some(contents)) = (&self.document, &self.contents) else {
            return Err(None);
        };
        let is_idle = document.busy.is_none()
            && document.unfinished != Some(Unfinished::Interrupted)
            && document.contents.is_some();
        let when = |possible: bool| possible.then_some(()).ok_or(None);
        when(is_idle)?;
        match deed {
            Deed::Undo => when(document.pending.can_undo()),
            Deed::Redo => when(document.pending.can_redo()),
            Deed::Discard | Deed::Apply => when(!document.pending.is_empty()),
            Deed::UndoApplied => when(document.unfinished == Some(Unfinished::Undoable)),
            Deed::DiscardUndo => when(document.unfinished.is_some()),
            Deed::New if !target::has_table(contents) => Err(Some(gettext(
                "The disk has no partition table: make a new one first.",
            ))),
            Deed::New => match self.free() {
                Some(_) => Ok(()),
                None => Err(Some(gettext("No space is unallocated."))),
            },
            Deed::Copy => match self.number_on_disk() {
                Some(_) => Ok(()),
                None => Err(Some(gettext("It is not on the disk yet."))),
            },
            Deed::Paste => when(target::has_table(contents) && self.free().is_some()),
            Deed::GrowDisk | Deed::NewGpt | Deed::NewMbr | Deed::Import => Ok(()),
            Deed::RepairGpt | Deed::ToMbr => when(contents.table.kind == TableKind::Gpt),
            Deed::ToGpt => when(contents.table.kind == TableKind::Mbr),
            Deed::Export => when(target::has_table(contents)),
            _ => match self.target() {
                Some(target) => self.can_with(deed, &target),
                None => Err(Some(gettext("No partition is selected."))),
            },
        }
    }

    fn can_with(&self, deed: Deed, target: &Target) -> Result<(), Option<String>> {
        let number = target.number;
        let edit = match deed {
            Deed::Label => Edit::Label(number, "x".to_owned()),
            Deed::Check => Edit::Check(number),
            Deed::Repair => Edit::Repair(number),
            Deed::Delete => Edit::Delete(number),
            Deed::Format if target.partition.role == Role::Extended => {
                let why = gettext("An extended partition only holds others.");
                return Err(Some(why));
            }
            _ => return Ok(()),
        };
        let (Some(document), true) = (&self.document, self.contents.is_some()) else {
            return Err(None);
        };
        let read = document.contents.as_ref().ok_or(None)?;
        let mut pending = platter::op::edit::Pending::clone(&document.pending);
        pending.push(read, &[edit]).map_err(|why| {
            let text = gettext("It cannot be done: {reason}.");
            Some(fill(&text, &[("reason", &why.to_string())]))
        })
    }
}
