//! Warnings on stderr, for what `qemu-img` does without a word.

use platter::op::warning::Warning;

use crate::output::for_terminal;
use crate::program::{Program, eprint_line};

/// Says what `find` finds, before the work begins. Whoever called us `qemu-img` expects its
/// silence: then nothing is looked for.
pub(crate) fn warn<I>(program: &Program, find: impl FnOnce() -> I)
where
    I: IntoIterator<Item = Warning>,
{
    if program.is_drop_in() {
        return;
    }
    for warning in find() {
        let sentence = warning.to_string();
        eprint_line(format_args!("warning: {}", for_terminal(&sentence)));
    }
}
