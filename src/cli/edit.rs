//! `edit`, `undo`, `resume`: partitions, with disk and file systems following.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{IsTerminal as _, Read as _, stdin};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use platter::chain::Chain;
use platter::fs::change::Place;
use platter::inspect::Contents;
use platter::op::edit::{
    self, Alignment, Change, CopySource, Cost, Draft, Edit, OtherPartition, Trial, Unfinished, cost,
};
use platter::op::warning::of_changed_base;
use platter::storage::Storage;
use platter::table::TableKind;
use platter::units::ByteSize;
use platter::{Control, Error, Stop};
use serde_json::json;

use crate::args::{Arg, Args, Opt};
use crate::help;
use crate::interrupt;
use crate::output::{OutputFormat, for_terminal, print, print_json};
use crate::program::{Failure, Outcome, Program};
use crate::source::{OpenOptions, Reach, Source};
use crate::warning::warn;

const EDIT: &[Opt] = &[
    Opt::flag("help", Some('h')),
    Opt::value("format", Some('f')),
    Opt::value("op", None),
    Opt::value("align", None),
    Opt::flag("dry-run", Some('n')),
    Opt::flag("try", None),
    Opt::flag("yes", Some('y')),
    Opt::value("output", None),
    Opt::flag("allow-outside", None),
];

/// Bytes of a table in text form that are read; what is longer is refused further on.
const LONGEST_TEXT: u64 = (1 << 20) + 1;

const AFTERWARDS: &[Opt] = &[
    Opt::flag("help", Some('h')),
    Opt::value("format", Some('f')),
    Opt::flag("rollback", None),
    Opt::flag("discard", None),
    Opt::flag("allow-outside", None),
];

/// How far an edit goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Extent {
    /// Only says what would be done.
    DryRun,
    /// Does it on a private copy, and says how that went.
    Try,
    /// Does it.
    Apply,
}

/// Runs the verb `edit`.
pub(crate) fn run(program: &Program, arguments: Vec<OsString>) -> Outcome {
    let mut args = Args::new(format!("{} edit", program.argv0()), EDIT, arguments);
    let mut open = OpenOptions {
        writable: vec![0],
        ..OpenOptions::default()
    };
    let (mut format, mut output) = (None, OutputFormat::Human);
    let (mut extent, mut yes) = (Extent::Apply, false);
    let (mut ops, mut operands) = (Vec::new(), Vec::new());
    let mut alignment = Alignment::default();
    while let Some(arg) = args.next()? {
        match arg {
            Arg::Option("help", _) => return help::of(program, "edit"),
            Arg::Option("align", value) => {
                alignment = value.to_string_lossy().parse().map_err(Failure::from)?;
            }
            Arg::Option("format", value) => format = Some(value),
            Arg::Option("op", value) => ops.push(value.to_string_lossy().into_owned()),
            Arg::Option("dry-run", _) => extent = Extent::DryRun,
            Arg::Option("try", _) => extent = Extent::Try,
            Arg::Option("yes", _) => yes = true,
            Arg::Option("output", value) => output = OutputFormat::parse(&value, &args)?,
            Arg::Option("allow-outside", _) => open.allow_outside = true,
            Arg::Option(..) => {}
            Arg::Operand(operand) => operands.push(operand),
        }
    }
    let [operand] = operands.as_slice() else {
        return Err(args.usage("Expecting one image file name"));
    };
    if ops.is_empty() {
        return Err(args.usage("Expecting at least one --op"));
    }
    if extent != Extent::Apply {
        open.writable.clear();
    }
    let chain = open_chain(program, operand, format.as_deref(), &open)?;
    let image = image_path(&chain)?;
    if edit::unfinished(&image)? == Some(Unfinished::Interrupted) {
        return Err(Failure::new(format!(
            "An edit of '{}' was interrupted. Run '{} resume' first, with --rollback to take it \
             back.",
            image.display(),
            program.argv0()
        )));
    }
    let disk: Arc<dyn Storage> = Arc::new(chain.disk()?);
    let contents = Contents::read(&disk)?;
    let mut draft = Draft::new(&contents);
    draft.alignment = alignment;
    let mut reader = Reader {
        program,
        open: &open,
        disk: &disk,
        folder: folder_of(&image),
    };
    reader.make_all(&mut draft, &ops)?;
    let cost = cost(&contents, &draft);
    if extent == Extent::DryRun {
        return say(output, &draft, cost, None);
    }
    warn(program, || of_changed_base(&image, &[]));
    if extent == Extent::Apply && !yes {
        say(OutputFormat::Human, &draft, cost, None)?;
        confirm()?;
    }
    let control = interrupt::control();
    let trial = Trial::run(disk, draft, folder_of(&image), &control).map_err(failure)?;
    if extent == Extent::Apply {
        edit::apply(&chain, &trial, &control).map_err(failure)?;
    }
    say(output, trial.draft(), cost, Some(&trial))
}

/// Runs the verb `undo`.
pub(crate) fn undo(program: &Program, arguments: Vec<OsString>) -> Outcome {
    let Some((operand, format, open, flags)) = afterwards(program, "undo", arguments)? else {
        return help::of(program, "undo");
    };
    if flags.discard {
        edit::discard_undo(Path::new(&operand))?;
        print("Undo data discarded.\n")?;
        return Ok(ExitCode::SUCCESS);
    }
    let chain = open_chain(program, &operand, format.as_deref(), &open)?;
    edit::undo(&chain, &interrupt::control()).map_err(failure)?;
    print("The last edit was undone.\n")?;
    Ok(ExitCode::SUCCESS)
}

/// Runs the verb `resume`.
pub(crate) fn resume(program: &Program, arguments: Vec<OsString>) -> Outcome {
    let Some((operand, format, open, flags)) = afterwards(program, "resume", arguments)? else {
        return help::of(program, "resume");
    };
    let chain = open_chain(program, &operand, format.as_deref(), &open)?;
    edit::resume(&chain, flags.rollback, &interrupt::control()).map_err(failure)?;
    print(if flags.rollback {
        "The interrupted edit was taken back.\n"
    } else {
        "The interrupted edit was finished.\n"
    })?;
    Ok(ExitCode::SUCCESS)
}

#[derive(Default)]
struct Flags {
    rollback: bool,
    discard: bool,
}

type Afterwards = (OsString, Option<OsString>, OpenOptions, Flags);

fn afterwards(
    program: &Program,
    verb: &str,
    arguments: Vec<OsString>,
) -> Result<Option<Afterwards>, Failure> {
    let mut args = Args::new(format!("{} {verb}", program.argv0()), AFTERWARDS, arguments);
    let mut open = OpenOptions {
        writable: vec![0],
        ..OpenOptions::default()
    };
    let (mut format, mut flags) = (None, Flags::default());
    let mut operands = Vec::new();
    while let Some(arg) = args.next()? {
        match arg {
            Arg::Option("help", _) => return Ok(None),
            Arg::Option("format", value) => format = Some(value),
            Arg::Option("rollback", _) if verb == "resume" => flags.rollback = true,
            Arg::Option("discard", _) if verb == "undo" => flags.discard = true,
            Arg::Option("allow-outside", _) => open.allow_outside = true,
            Arg::Option(name, _) => return Err(args.usage(format!("'{verb}' has no --{name}"))),
            Arg::Operand(operand) => operands.push(operand),
        }
    }
    match operands.pop() {
        Some(operand) if operands.is_empty() => Ok(Some((operand, format, open, flags))),
        _ => Err(args.usage("Expecting one image file name")),
    }
}

fn open_chain(
    program: &Program,
    operand: &OsStr,
    format: Option<&OsStr>,
    open: &OpenOptions,
) -> Result<Chain, Failure> {
    Source::new(operand, format, open)?.open(program, open, Reach::Data)
}

fn image_path(chain: &Chain) -> Result<PathBuf, Failure> {
    let path = chain.active().path.clone();
    path.ok_or_else(|| Failure::new("The image has no file"))
}

/// Scratch files and the journal are beside the image: there is room for the one, there should be
/// for the other.
fn folder_of(image: &Path) -> &Path {
    match image.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Makes edits of their texts, and reads the other files that those name.
struct Reader<'a> {
    program: &'a Program,
    open: &'a OpenOptions,
    disk: &'a Arc<dyn Storage>,
    folder: &'a Path,
}

impl Reader<'_> {
    fn make_all(&mut self, draft: &mut Draft, ops: &[String]) -> Result<(), Failure> {
        // Nothing is changed yet: a signal may end the program here, and while it waits for an
        // answer.
        let control = Control::new();
        let (disk, place) = (self.disk, Place::new(self.folder));
        let mut minimum = |partition: &Change| -> Result<u64, String> {
            edit::smallest(disk, partition, &place, &control)
                .map(|least| least.bytes)
                .map_err(|stop| stop.to_string())
        };
        for op in ops {
            let kind = match draft.table.kind {
                TableKind::Gpt => TableKind::Gpt,
                TableKind::Mbr | TableKind::None => TableKind::Mbr,
            };
            let edit = self.edit(op, kind)?;
            draft
                .edit(&edit, &mut minimum)
                .map_err(|why| refused(op, &why))?;
        }
        Ok(())
    }

    fn edit(&self, op: &str, kind: TableKind) -> Result<Edit, Failure> {
        let words: Vec<&str> = op.trim().splitn(4, ' ').collect();
        match words.as_slice() {
            ["import", file @ ..] if !file.is_empty() => self.import(op, &file.join(" ")),
            ["copy", number, start, image] => {
                // The same words without the image are a copy within this one.
                let here = Edit::parse(&format!("copy {number} {start}"), kind);
                let here = here.map_err(|error| refused(op, &error))?;
                self.copy(op, &here, image.trim())
            }
            _ => Edit::parse(op, kind).map_err(|error| refused(op, &error)),
        }
    }

    fn import(&self, op: &str, file: &str) -> Result<Edit, Failure> {
        let mut text = String::new();
        File::open(file)
            .and_then(|file| file.take(LONGEST_TEXT).read_to_string(&mut text))
            .map_err(|error| refused(op, &format!("cannot read '{file}': {error}")))?;
        Ok(Edit::Import {
            file: PathBuf::from(file),
            text,
        })
    }

    fn copy(&self, op: &str, here: &Edit, image: &str) -> Result<Edit, Failure> {
        let Edit::Copy { source, start } = here else {
            return Err(refused(op, &"expecting a partition, a place and an image"));
        };
        let open = OpenOptions {
            allow_outside: self.open.allow_outside,
            ..OpenOptions::default()
        };
        let chain = open_chain(self.program, OsStr::new(image), None, &open)?;
        let disk: Arc<dyn Storage> = Arc::new(chain.settled_disk()?);
        let other = OtherPartition::open(image, &disk, source.number());
        Ok(Edit::Copy {
            source: CopySource::Other(other.map_err(|error| refused(op, &error))?),
            start: *start,
        })
    }
}

fn refused(op: &str, why: &dyn std::fmt::Display) -> Failure {
    Failure::new(format!("Cannot '{op}': {why}"))
}

fn confirm() -> Result<(), Failure> {
    if !stdin().is_terminal() {
        return Err(Failure::new(
            "Nothing was changed: add --yes to apply this without being asked",
        ));
    }
    print("Apply? [y/N] ")?;
    let mut answer = String::new();
    stdin().read_line(&mut answer)?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(Failure::new("Nothing was changed")),
    }
}

fn say(output: OutputFormat, draft: &Draft, cost: Cost, trial: Option<&Trial>) -> Outcome {
    let report = trial.map(Trial::report);
    let notes = report.map_or(&draft.notes, |report| &report.notes);
    let said: Vec<String> = notes.iter().map(ToString::to_string).collect();
    if output.is_json() {
        print_json(&json!({
            "steps": draft.describe(),
            "size": draft.table.disk_size,
            "commands": report.map(|report| &report.commands),
            "notes": said,
            "estimate": {
                "bytes-moved": cost.moved,
                "bytes-remapped": cost.remapped,
                "bytes-copied": cost.copied,
                "seconds": cost.seconds(),
            },
            "bytes-moved": report.map(|report| report.bytes_moved),
            "moved-in-place": report.map(|report| report.is_moved_in_place),
            "bytes-written": report.map(|report| report.bytes_written),
        }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut text = String::new();
    for (step, words) in (1..).zip(draft.describe()) {
        let _ = writeln!(text, "{step}. {}", for_terminal(&words));
    }
    if report.is_none() {
        if cost.remapped > 0 {
            let moved = ByteSize(cost.remapped);
            let _ = writeln!(text, "Moves {moved} without copying.");
        }
        let _ = writeln!(
            text,
            "Moves up to {}, copies up to {}, about {} s.",
            ByteSize(cost.moved),
            ByteSize(cost.copied),
            cost.seconds()
        );
    }
    if let Some(report) = report {
        let _ = writeln!(
            text,
            "Moved {}{}, wrote {}.",
            ByteSize(report.bytes_moved),
            if report.is_moved_in_place {
                " without copying"
            } else {
                ""
            },
            ByteSize(report.bytes_written)
        );
    }
    for note in &said {
        let _ = writeln!(text, "Note: {}", for_terminal(note));
    }
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn failure(stop: Stop) -> Failure {
    match stop {
        Stop::Cancelled => Failure::interrupted(),
        Stop::Failed(error) => with_causes(&error),
    }
}

fn with_causes(error: &Error) -> Failure {
    let cause = std::error::Error::source(error);
    Failure::new(cause.map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}")))
}
