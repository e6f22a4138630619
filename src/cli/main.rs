//! `platter-img`: the engine without a window.
//!
//! Grammar, output, messages and exit codes of `qemu-img` for the verbs that it has too, so that
//! scripts written for it run unchanged; our own verbs beside them. Called as `qemu-img` (a link
//! of that name) it is a drop-in.

mod amend;
mod args;
mod bitmap;
mod chain;
mod check;
mod command;
mod commit;
mod compare;
mod convert;
mod create;
mod create_options;
mod date;
mod dd;
mod disk;
mod edit;
mod filesystems;
mod help;
mod info;
mod interrupt;
mod map;
mod measure;
mod output;
mod partitions;
mod program;
mod progress;
mod rebase;
mod resize;
mod size;
mod snapshot;
mod snapshot_list;
mod source;
mod table;
mod warning;
mod words;

use std::process::ExitCode;

use crate::program::Program;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    let program = Program::new(&arguments.next().unwrap_or_default());
    match command::run(&program, arguments.collect()) {
        Ok(code) => code,
        Err(failure) => failure.report(&program),
    }
}
