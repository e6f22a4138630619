//! From the fields to a draft.

use platter::image::{Format, Preallocation};
use relm4::adw::prelude::*;
use relm4::{ComponentSender, gtk};

use super::draft::{Wish, draft};
use super::{ResizeForm, ResizeFormWidgets, ResizeInit};
use crate::format;
use crate::i18n::{fill, gettext};
use crate::operation::FormOutput;
use crate::size_input;

impl ResizeForm {
    pub(super) fn new(init: ResizeInit) -> Self {
        Self {
            subject: init.subject,
            document: init.document,
            old_size: init.old_size,
        }
    }

    /// What the size is now, and how small it can get and why.
    pub(super) fn limits(&self) -> String {
        let now = fill(
            &gettext("The disk has {size} now."),
            &[("size", &format::size(self.old_size))],
        );
        let table = self
            .document
            .contents
            .as_deref()
            .map(|contents| &contents.table);
        let least = table.map_or(0, platter::table::PartitionTable::minimum_disk_size);
        let last = table.and_then(|table| {
            let by_end = |partition: &&platter::table::Partition| partition.range.end;
            table.partitions.iter().max_by_key(by_end)
        });
        let Some(last) = last else { return now };
        let least = fill(
            &gettext("It needs at least {size}: partition {number} ends at {end}."),
            &[
                ("size", &format::size(least)),
                ("number", &last.number.to_string()),
                ("end", &format::size(last.range.end)),
            ],
        );
        format!("{now} {least}")
    }

    /// The choices of the format.
    pub(super) fn fill(&self, widgets: &ResizeFormWidgets) {
        let titles: Vec<String> = self.preparations().into_iter().map(|(_, it)| it).collect();
        let titles: Vec<&str> = titles.iter().map(String::as_str).collect();
        widgets
            .space
            .set_model(Some(&gtk::StringList::new(&titles)));
    }

    pub(super) fn propose(&self, widgets: &ResizeFormWidgets, sender: &ComponentSender<Self>) {
        let size = size_input::size(&widgets.size.text(), self.old_size);
        widgets
            .space
            .set_sensitive(size.is_some_and(|size| size > self.old_size));
        let output = match size {
            None => {
                widgets.size.add_css_class("error");
                FormOutput::Incomplete(Some(gettext("Type a size such as 20G, +2G or 150 %.")))
            }
            Some(size) => {
                widgets.size.remove_css_class("error");
                if size == self.old_size {
                    FormOutput::Incomplete(None)
                } else {
                    FormOutput::Ready(self.draft(size, widgets))
                }
            }
        };
        // A form without its window has nobody to tell.
        let _ = sender.output(output);
    }

    fn draft(&self, size: u64, widgets: &ResizeFormWidgets) -> crate::operation::Draft {
        let chosen = widgets.space.selected() as usize;
        let preallocation = self
            .preparations()
            .get(chosen)
            .filter(|_| size > self.old_size)
            .map_or(Preallocation::Off, |(preallocation, _)| *preallocation);
        let wish = Wish {
            size,
            preallocation,
        };
        draft(self.subject.clone(), self.old_size, wish)
    }

    fn preparations(&self) -> Vec<(Preallocation, String)> {
        let mut all = vec![
            (
                Preallocation::Off,
                gettext("Takes room only when it is written"),
            ),
            (Preallocation::Falloc, gettext("Reserved on the host")),
            (Preallocation::Full, gettext("Written with zeroes")),
        ];
        if self.subject.format != Format::Raw {
            let tables = (
                Preallocation::Metadata,
                gettext("Only the tables are prepared"),
            );
            all.insert(1, tables);
        }
        all
    }
}
