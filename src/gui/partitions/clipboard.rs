//! Partitions on the clipboard. Only named there: whoever pastes one reads it from its image, as it
//! is on the disk then.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use platter::Error;
use platter::chain::OpenPolicy;
use platter::image::Format;
use platter::op::edit::{CopySource, Edit, OtherPartition};
use platter::storage::Storage;
use relm4::ComponentSender;
use relm4::gtk::{self, gdk, gio, glib, prelude::*};

use super::{Partitions, PartitionsCommand, PartitionsInput, target};
use crate::describe;
use crate::disk_layout::{Stretch, StretchKind};
use crate::format;
use crate::i18n::{fill, gettext};
use crate::pane::{ErrorReport, PaneOutput};
use crate::session::DocumentId;
use crate::subject::Subject;

/// What the clipboard calls it.
const MIME: &str = "application/x-platter-partition";
/// Longest name of a partition that is read, in bytes.
const LONGEST: usize = 64 << 10;

/// A partition on the clipboard.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Clip {
    image: PathBuf,
    format: Format,
    /// On the disk as it is.
    number: u32,
}

impl Clip {
    /// Three lines: number, format and image.
    fn encode(&self) -> String {
        let image = gio::File::for_path(&self.image).uri();
        format!("{}\n{}\n{image}\n", self.number, self.format.name())
    }

    /// Anybody can put anything there.
    fn decode(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let number = lines.next()?.parse().ok()?;
        let format = Format::from_name(lines.next()?)?;
        let uri = lines.next().filter(|uri| uri.starts_with("file://"))?;
        Some(Self {
            image: gio::File::for_uri(uri).path()?,
            format,
            number,
        })
    }
}

impl Partitions {
    /// Puts the selected partition on the clipboard.
    pub(super) fn copy(&mut self, root: &gtk::Stack, sender: &ComponentSender<Self>) {
        let subject = self.document.as_deref().and_then(Subject::of);
        let (Some(subject), Some(number)) = (subject, self.number_on_disk()) else {
            return;
        };
        let clip = Clip {
            image: subject.path.clone(),
            format: subject.format,
            number,
        };
        let bytes = glib::Bytes::from_owned(clip.encode().into_bytes());
        let words = fill(
            &gettext("Partition {number} of {image}"),
            &[
                ("number", &number.to_string()),
                ("image", &subject.path.to_string_lossy()),
            ],
        );
        let all = gdk::ContentProvider::new_union(&[
            gdk::ContentProvider::for_bytes(MIME, &bytes),
            gdk::ContentProvider::for_value(&words.to_value()),
        ]);
        if root.clipboard().set_content(Some(&all)).is_ok() {
            self.copied = Some(subject);
            let text = gettext("Copied. Paste it into free space, of another image too.");
            sender.output_sender().emit(PaneOutput::Toast(text));
        }
    }

    /// The number that the selected partition has on the disk as it is.
    pub(super) fn number_on_disk(&self) -> Option<u32> {
        let target = self.target()?;
        self.draft
            .as_ref()?
            .change_of(&target.partition)?
            .number_before
    }

    /// Asks the clipboard for a partition.
    pub(super) fn ask_clipboard(root: &gtk::Stack, sender: &ComponentSender<Self>) {
        let clipboard = root.clipboard();
        let (input, output) = (
            sender.input_sender().clone(),
            sender.output_sender().clone(),
        );
        relm4::spawn_local(async move {
            match read(&clipboard).await {
                Some(clip) => input.emit(PartitionsInput::Paste(clip)),
                None => {
                    let text = gettext("There is no partition on the clipboard.");
                    output.emit(PaneOutput::Toast(text));
                }
            }
        });
    }

    /// A copy of a partition in free space: that which is selected, or else the smallest that it
    /// fits in.
    pub(super) fn paste(&self, clip: &Clip, sender: &ComponentSender<Self>) {
        let Some(document) = &self.document else {
            return;
        };
        if clip.image == document.path {
            let contents = document.contents.as_ref();
            let known = contents.and_then(|contents| contents.table.partition(clip.number));
            let length = known.map_or(0, |partition| partition.range.end - partition.range.start);
            self.paste_source(CopySource::Here(clip.number), length, sender);
            return;
        }
        let known = self.copied.as_ref().filter(|it| it.path == clip.image);
        let subject = known.cloned().unwrap_or_else(|| Subject {
            path: clip.image.clone(),
            format: clip.format,
            policy: OpenPolicy::default(),
        });
        let (id, number) = (document.id, clip.number);
        let output = sender.command_sender().clone();
        self.background.run(move || {
            let opened = open(&subject, number).map_err(|error| unreadable(&subject, &error));
            output.emit(PartitionsCommand::Copied(id, opened));
        });
    }

    /// The other image was opened, unless the user has gone to another one meanwhile.
    pub(super) fn paste_other(
        &self,
        id: DocumentId,
        opened: Result<OtherPartition, ErrorReport>,
        sender: &ComponentSender<Self>,
    ) {
        if self
            .document
            .as_ref()
            .is_none_or(|document| document.id != id)
        {
            return;
        }
        match opened {
            Ok(other) => {
                let length = other.length;
                self.paste_source(CopySource::Other(other), length, sender);
            }
            Err(report) => sender.output_sender().emit(PaneOutput::Error(report)),
        }
    }

    fn paste_source(&self, source: CopySource, length: u64, sender: &ComponentSender<Self>) {
        let Some(draft) = &self.draft else { return };
        let selected = self.selected.and_then(|row| self.stretches.get(row));
        let is_free = |stretch: &Stretch| matches!(stretch.kind, StretchKind::Free { .. });
        let places: Vec<Range<u64>> = match selected.filter(|stretch| is_free(stretch)) {
            Some(stretch) => vec![stretch.range.clone()],
            None => {
                let free = self.stretches.iter().filter(|stretch| is_free(stretch));
                free.map(|stretch| stretch.range.clone()).collect()
            }
        };
        match place(&places, length, target::step(draft)) {
            Ok(start) => Self::push(vec![Edit::Copy { source, start }], sender),
            Err(room) => {
                let text =
                    gettext("The partition has {size}, and only {room} are free in one piece.");
                let sizes = [("size", format::size(length)), ("room", format::size(room))];
                let sizes = sizes.each_ref().map(|(name, size)| (*name, size.as_str()));
                let text = fill(&text, &sizes);
                sender.output_sender().emit(PaneOutput::Toast(text));
            }
        }
    }
}

/// The first aligned byte of the smallest place that has room for `length` bytes; else how much
/// room the largest has.
fn place(places: &[Range<u64>], length: u64, step: u64) -> Result<u64, u64> {
    let aligned = places.iter().filter_map(|place| {
        let start = place.start.checked_next_multiple_of(step)?;
        Some((place.end.checked_sub(start)?, start))
    });
    let aligned: Vec<(u64, u64)> = aligned.collect();
    let fitting = aligned.iter().filter(|(room, _)| *room >= length);
    let largest = aligned.iter().map(|(room, _)| *room).max();
    let found = fitting.min().map(|(_, start)| *start);
    found.ok_or(largest.unwrap_or(0))
}

async fn read(clipboard: &gdk::Clipboard) -> Option<Clip> {
    let priority = glib::Priority::DEFAULT;
    let (stream, _) = clipboard.read_future(&[MIME], priority).await.ok()?;
    let mut text = Vec::new();
    loop {
        let bytes = stream.read_bytes_future(LONGEST, priority).await.ok()?;
        if bytes.is_empty() {
            break;
        }
        text.extend_from_slice(&bytes);
        if text.len() > LONGEST {
            return None;
        }
    }
    Clip::decode(std::str::from_utf8(&text).ok()?)
}

fn open(subject: &Subject, number: u32) -> Result<OtherPartition, Error> {
    let disk: Arc<dyn Storage> = Arc::new(subject.look()?.disk()?);
    OtherPartition::open(&subject.path, &disk, number)
}

fn unreadable(subject: &Subject, error: &Error) -> ErrorReport {
    let name = format::file_name(Path::new(&subject.path));
    ErrorReport {
        heading: fill(
            &gettext("“{name}” Cannot Be Copied From"),
            &[("name", &name)],
        ),
        body: describe::operation_error(error),
        details: describe::error_details(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn what_is_on_the_clipboard_is_read_back() {
        let clip = Clip {
            image: "/vm/a b;é.qcow2".into(),
            format: Format::Qcow2,
            number: 3,
        };
        assert_eq!(Clip::decode(&clip.encode()), Some(clip));
        for wrong in [
            "",
            "3",
            "3\nqcow2",
            "x\nraw\nfile:///a",
            "3\nraw\nhttp://a/b",
            "3\nzzz\nfile:///a",
        ] {
            assert_eq!(Clip::decode(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_smallest_place_with_room_is_taken() {
        let places = [10 * MIB + 512..100 * MIB, 200 * MIB..230 * MIB, 5..6];
        assert_eq!(place(&places, 20 * MIB, MIB), Ok(200 * MIB));
        assert_eq!(place(&places, 80 * MIB, MIB), Ok(11 * MIB));
        assert_eq!(place(&places, 90 * MIB, MIB), Err(89 * MIB));
        assert_eq!(place(&[], 1, MIB), Err(0));
    }
}
