//! `platter-img`: the engine without a window.
//!
//! Grammar, output, messages and exit codes of `qemu-img` for the verbs that it has too, so that
//! scripts written for it run unchanged; our own verbs beside them. Called as `qemu-img` (a link
//! of that name) it is a drop-in.

mod args;
mod check;
mod compare;
mod create_options;
mod date;
mod help;
mod info;
mod map;
mod measure;
mod output;
mod program;
mod size;
mod source;
mod words;

use std::process::ExitCode;

use crate::args::{Arg, Args, Opt};
use crate::program::{Failure, Outcome, Program};

const OPTIONS: &[Opt] = &[
    Opt::flag("help", Some('h')),
    Opt::flag("version", Some('V')),
    Opt::value("trace", Some('T')),
];

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    let program = Program::new(&arguments.next().unwrap_or_default());
    match run(&program, arguments.collect()) {
        Ok(code) => code,
        Err(failure) => failure.report(&program),
    }
}

fn run(program: &Program, arguments: Vec<std::ffi::OsString>) -> Outcome {
    let mut args = Args::new(program.argv0(), OPTIONS, arguments);
    let name = loop {
        match args.next()? {
            Some(Arg::Option("help", _)) => return help::general(program),
            Some(Arg::Option("version", _)) => return help::version(program),
            // Tracing is a matter of the other program: accepted, because it changes no result.
            Some(Arg::Option(..)) => {}
            Some(Arg::Operand(name)) => break name,
            None => return Err(Failure::usage(program.argv0(), "Not enough arguments")),
        }
    };
    let name = name.to_string_lossy();
    let Some(verb) = help::verb(&name) else {
        let message = format!("Command not found: {name}");
        return Err(Failure::usage(program.argv0(), message));
    };
    (verb.run)(program, args.rest())
}
