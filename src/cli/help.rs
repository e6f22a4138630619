//! The verbs, and what they say about themselves.

use std::ffi::OsString;
use std::process::ExitCode;

use crate::output::print;
use crate::program::{Failure, Outcome, Program};

/// Something that the program can do.
pub(crate) struct Verb {
    /// How it is called.
    pub(crate) name: &'static str,
    /// Does it.
    pub(crate) run: fn(&Program, Vec<OsString>) -> Outcome,
    summary: &'static str,
    /// Usage and options.
    text: &'static str,
}

const VERBS: &[Verb] = &[
    Verb {
        name: "help",
        run: of_argument,
        summary: "Explain a verb",
        text: "help [VERB]\n",
    },
    Verb {
        name: "amend",
        run: crate::amend::run,
        summary: "Change options of an image",
        text: include_str!("help/amend.txt"),
    },
    Verb {
        name: "bitmap",
        run: crate::bitmap::run,
        summary: "Add, change and remove dirty bitmaps",
        text: include_str!("help/bitmap.txt"),
    },
    Verb {
        name: "chain",
        run: crate::chain::run,
        summary: "Show what an image stands on, and its relatives in the folder",
        text: include_str!("help/chain.txt"),
    },
    Verb {
        name: "check",
        run: crate::check::run,
        summary: "Check whether the metadata of an image is consistent",
        text: include_str!("help/check.txt"),
    },
    Verb {
        name: "commit",
        run: crate::commit::run,
        summary: "Write what an overlay holds into its backing file",
        text: include_str!("help/commit.txt"),
    },
    Verb {
        name: "compare",
        run: crate::compare::run,
        summary: "Compare the guest disks of two images",
        text: include_str!("help/compare.txt"),
    },
    Verb {
        name: "convert",
        run: crate::convert::run,
        summary: "Write a disk anew, in the same or another format",
        text: include_str!("help/convert.txt"),
    },
    Verb {
        name: "create",
        run: crate::create::run,
        summary: "Make a new image",
        text: include_str!("help/create.txt"),
    },
    Verb {
        name: "dd",
        run: crate::dd::run,
        summary: "Copy a part of a disk into a new image",
        text: include_str!("help/dd.txt"),
    },
    Verb {
        name: "edit",
        run: crate::edit::run,
        summary: "Change partitions; file systems and the disk follow",
        text: include_str!("help/edit.txt"),
    },
    Verb {
        name: "filesystems",
        run: crate::filesystems::run,
        summary: "Show what the volumes of the guest disk contain",
        text: include_str!("help/filesystems.txt"),
    },
    Verb {
        name: "info",
        run: crate::info::run,
        summary: "Say what the header of an image says",
        text: include_str!("help/info.txt"),
    },
    Verb {
        name: "map",
        run: crate::map::run,
        summary: "Say which bytes of the guest disk are where",
        text: include_str!("help/map.txt"),
    },
    Verb {
        name: "measure",
        run: crate::measure::run,
        summary: "Say how big a new image would be",
        text: include_str!("help/measure.txt"),
    },
    Verb {
        name: "partitions",
        run: crate::partitions::run,
        summary: "Show the partition table of the guest disk",
        text: include_str!("help/partitions.txt"),
    },
    Verb {
        name: "rebase",
        run: crate::rebase::run,
        summary: "Put an overlay on another backing file, or on none",
        text: include_str!("help/rebase.txt"),
    },
    Verb {
        name: "resize",
        run: crate::resize::run,
        summary: "Give the guest disk another size",
        text: include_str!("help/resize.txt"),
    },
    Verb {
        name: "resume",
        run: crate::edit::resume,
        summary: "Finish an edit that was interrupted, or take it back",
        text: include_str!("help/resume.txt"),
    },
    Verb {
        name: "snapshot",
        run: crate::snapshot::run,
        summary: "List, create, apply and delete internal snapshots",
        text: include_str!("help/snapshot.txt"),
    },
    Verb {
        name: "undo",
        run: crate::edit::undo,
        summary: "Take the last edit of an image back",
        text: include_str!("help/undo.txt"),
    },
];

/// The verb of that name.
pub(crate) fn verb(name: &str) -> Option<&'static Verb> {
    VERBS.iter().find(|verb| verb.name == name)
}

/// The program's help.
pub(crate) fn general(program: &Program) -> Outcome {
    let mut text = version_line(program);
    text += "Looks into virtual disk images and changes them.\n\nUsage:\n\n  ";
    text += program.name();
    text += " VERB [OPTIONS] IMAGE\n\nVerbs:\n\n";
    for verb in VERBS {
        text += &format!("  {:<12}  {}\n", verb.name, verb.summary);
    }
    text += "\nOptions:\n\n  -h, --help     Show this help, or with a verb before it that verb's\n  \
             -V, --version  Show the version\n";
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// The version.
pub(crate) fn version(program: &Program) -> Outcome {
    print(&version_line(program))?;
    Ok(ExitCode::SUCCESS)
}

/// A verb's help.
pub(crate) fn of(program: &Program, name: &str) -> Outcome {
    let Some(verb) = verb(name) else {
        let message = format!("Command not found: {name}");
        return Err(Failure::usage(program.argv0(), message));
    };
    let Verb { summary, text, .. } = verb;
    let name = program.name();
    let text = text.replace(env!("CARGO_BIN_NAME"), name);
    print(&format!("{summary}.\n\nUsage:\n\n  {name} {text}"))?;
    Ok(ExitCode::SUCCESS)
}

fn of_argument(program: &Program, arguments: Vec<OsString>) -> Outcome {
    match arguments.into_iter().next() {
        Some(name) => of(program, &name.to_string_lossy()),
        None => general(program),
    }
}

fn version_line(program: &Program) -> String {
    format!(
        "{} (Platter) version {}\n",
        program.name(),
        env!("CARGO_PKG_VERSION")
    )
}
