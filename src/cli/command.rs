//! The options before the verb, and the verb.

use std::ffi::OsString;

use crate::args::{Arg, Args, Opt};
use crate::help;
use crate::program::{Failure, Outcome, Program};

const OPTIONS: &[Opt] = &[
    Opt::flag("help", Some('h')),
    Opt::flag("version", Some('V')),
    Opt::value("trace", Some('T')),
];

/// Runs the command that `arguments` ask for.
pub(crate) fn run(program: &Program, arguments: Vec<OsString>) -> Outcome {
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
