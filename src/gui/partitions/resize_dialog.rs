//! Place and size of a partition, as numbers that depend on each other.

use std::cell::Cell;
use std::ops::Range;
use std::rc::Rc;

use platter::op::edit::{Alignment, Draft};
use platter::plot::strip::Limits;
use relm4::adw::prelude::*;

use super::dialogs::{about, no_size};
use super::edit_dialog::{Asking, EditDialog, quietly};
use super::helpers::aligned;
use super::smallest::Smallest;
use super::target::{self, Target};
use crate::format;
use crate::i18n::{counted, fill, gettext};
use crate::size_input;

/// Shows the dialog.
pub(super) fn ask(asking: &Asking, draft: &Draft, smallest: &Smallest, target: &Target) {
    let range = target.partition.range.clone();
    let limits = target.limits.clone();
    let heading = about(&gettext("Resize or Move Partition {number}"), target);
    let body = target::reasons(draft, smallest, target);
    let dialog = EditDialog::new(asking, &heading, &body, &gettext("_Change"));
    let [before, size, after] = texts(&range, &limits.room);
    let rows = Rc::new([
        dialog.entry(&gettext("Free space before"), &before),
        dialog.entry(&gettext("Size"), &size),
        dialog.entry(&gettext("Free space after"), &after),
    ]);
    let units = Units {
        sector: draft.table.sector_size,
        room: limits.room.end - limits.room.start,
    };
    let hint = dialog.hint().clone();
    hint.set_visible(true);
    hint.set_label(&meaning(&range, &limits, &units));
    let wanted = Rc::new(Cell::new(Some((range.start, range.end))));
    let quiet = Rc::new(Cell::new(false));
    for (index, row) in rows.iter().enumerate() {
        let (rows, wanted, quiet) = (Rc::clone(&rows), Rc::clone(&wanted), Rc::clone(&quiet));
        let (range, limits, hint) = (range.clone(), limits.clone(), hint.clone());
        // The dialog has looked at the rows before they were brought in line.
        let look = dialog.look();
        row.connect_changed(move |_| {
            quietly(&quiet, || {
                let old = numbers(&range, &limits.room);
                let typed = [0, 1, 2].map(|row: usize| units.read(&rows[row].text(), old[row]));
                let now = placed(index, typed, &limits.room);
                wanted.set(now.clone().map(|now| (now.start, now.end)));
                if let Some(now) = now {
                    for (other, text) in texts(&now, &limits.room).into_iter().enumerate() {
                        if other != index && rows[other].text() != text {
                            rows[other].set_text(&text);
                        }
                    }
                    hint.set_label(&meaning(&now, &limits, &units));
                }
                look();
            });
        });
    }
    // What most people come for.
    rows[1].grab_focus();
    let (draft, target) = (draft.clone(), target.clone());
    dialog.run(move || {
        let (start, end) = wanted.get().ok_or_else(no_size)?;
        judge(&(start..end), &limits)?;
        Ok(target::edits(&draft, &target, &(start..end)))
    });
}

/// Why a place cannot be, where that can be said better than the table does.
fn judge(now: &Range<u64>, limits: &Limits) -> Result<(), Option<String>> {
    if now.end - now.start < limits.least {
        let text = gettext("It needs at least {size}.");
        let size = format::size(limits.least);
        return Err(Some(fill(&text, &[("size", &size)])));
    }
    let room = limits.room.end - limits.room.start;
    if now.end > limits.room.end && !limits.open_end {
        let text = gettext("There are only {size} from where it may begin.");
        let size = format::size(room);
        return Err(Some(fill(&text, &[("size", &size)])));
    }
    Ok(())
}

/// What words for a size mean here.
#[derive(Clone, Copy, Debug)]
struct Units {
    /// Bytes of a sector of this disk.
    sector: u64,
    /// Bytes of which a share is meant.
    room: u64,
}

impl Units {
    /// The bytes of `text`: `20G`, `2048s`, `50 %` of the room, or `+2G` and `-2G` from `old`.
    fn read(&self, text: &str, old: u64) -> Option<u64> {
        let text = text.trim().replace(['\u{a0}', '\u{202f}'], "");
        if let Some(more) = text.strip_prefix('+') {
            return old.checked_add(self.plain(more)?);
        }
        if let Some(less) = text.strip_prefix(['-', '−']) {
            return old.checked_sub(self.plain(less)?);
        }
        self.plain(&text)
    }

    fn plain(&self, text: &str) -> Option<u64> {
        let text = text.trim();
        let bytes = if let Some(percent) = text.strip_suffix('%') {
            let percent: f64 = percent.trim().replace(',', ".").parse().ok()?;
            share(self.room, percent)?
        } else if let Some(sectors) = text.strip_suffix(['s', 'S']) {
            let sectors: u64 = sectors.trim().parse().ok()?;
            sectors.checked_mul(self.sector)?
        } else {
            size_input::parse(text)?
        };
        bytes.checked_next_multiple_of(self.sector.max(1))
    }
}

fn share(of: u64, percent: f64) -> Option<u64> {
    if !(0.0..=1e6).contains(&percent) {
        return None;
    }
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "of hundredths of a percent, no fraction counts"
    )]
    let hundredths = (percent * 100.0).round() as u64;
    u64::try_from(u128::from(of) * u128::from(hundredths) / 10_000).ok()
}

/// Free space before, size, and free space after.
fn numbers(range: &Range<u64>, room: &Range<u64>) -> [u64; 3] {
    [
        range.start.saturating_sub(room.start),
        range.end - range.start,
        room.end.saturating_sub(range.end),
    ]
}

fn texts(range: &Range<u64>, room: &Range<u64>) -> [String; 3] {
    numbers(range, room).map(size_input::text)
}

/// The same in sectors and as a share of the room, and where it begins.
fn meaning(range: &Range<u64>, limits: &Limits, units: &Units) -> String {
    let sector = units.sector.max(1);
    let size = range.end - range.start;
    let count = counted("{n} sector", "{n} sectors", size / sector, &[]);
    let begins = fill(
        &gettext("from sector {n}"),
        &[("n", &format::number(range.start / sector))],
    );
    let share = fill(
        &gettext("{percent} of the room"),
        &[("percent", &format::percent(size, units.room))],
    );
    let alignment = aligned(Alignment::of(range.start, units.sector));
    // Where another partition or an extended one ends the room, no disk makes it larger.
    let more = range.end.checked_sub(limits.room.end);
    let growth = more.filter(|more| *more > 0 && limits.open_end);
    let growth = growth.map(|more| {
        let size = format::size(more);
        fill(&gettext("the disk grows by {size}"), &[("size", &size)])
    });
    let parts = [count, begins, share, alignment].into_iter();
    parts.chain(growth).collect::<Vec<_>>().join(" · ")
}

/// The place that the three numbers mean, of which the one of row `changed` was typed last: another
/// size leaves the start, another space before moves it, another space after moves the end.
fn placed(changed: usize, typed: [Option<u64>; 3], room: &Range<u64>) -> Option<Range<u64>> {
    let [before, size, after] = typed;
    let range = match changed {
        0 | 1 => {
            let start = room.start.checked_add(before?)?;
            start..start.checked_add(size?)?
        }
        _ => {
            let start = room.start.checked_add(before?)?;
            start..room.end.checked_sub(after?)?
        }
    };
    (range.start < range.end).then_some(range)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_that_was_typed_last_counts() {
        let room = 100..1000;
        let some = |before, size, after| [Some(before), Some(size), Some(after)];
        assert_eq!(placed(1, some(0, 500, 7), &room), Some(100..600));
        assert_eq!(placed(0, some(50, 500, 7), &room), Some(150..650));
        assert_eq!(placed(2, some(50, 500, 100), &room), Some(150..900));
        assert_eq!(placed(2, some(50, 500, 900), &room), None);
        assert_eq!(placed(1, [Some(0), None, Some(0)], &room), None);
    }

    #[test]
    fn sizes_are_sectors_shares_and_differences() {
        const GIB: u64 = 1 << 30;
        let units = Units {
            sector: 4096,
            room: 10 * GIB,
        };
        for (text, bytes) in [
            ("2048s", 8 << 20),
            ("50 %", 5 * GIB),
            ("12,5%", GIB + GIB / 4),
            ("+2G", 3 * GIB),
            ("-512M", GIB / 2),
            ("+10 %", 2 * GIB),
            ("+1s", GIB + 4096),
            ("1000", 4096),
            ("0", 0),
        ] {
            assert_eq!(units.read(text, GIB), Some(bytes), "{text}");
        }
        for text in [
            "",
            "%",
            "-2G",
            "s",
            "1.5s",
            "-1 %x",
            "inf %",
            "18446744073709551615s",
        ] {
            assert_eq!(units.read(text, GIB), None, "{text}");
        }
    }
}
