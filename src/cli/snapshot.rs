//! `snapshot`: the internal snapshots of an image.

use std::ffi::OsString;
use std::process::ExitCode;

use platter::image::{Format, ImageInfo, SnapshotSelector};
use platter::op::snapshot::{SnapshotChange, change};
use platter::{ErrorKind, Stop};
use rustix::io::Errno;
use serde_json::Value;

use crate::args::{Arg, Args, Opt};
use crate::help;
use crate::interrupt;
use crate::output::print;
use crate::program::{Failure, Outcome, Program, system_cause, system_words};
use crate::snapshot_list;
use crate::source::{self, OpenOptions, Reach, Source};

const OPTIONS: &[Opt] = &[
    Opt::flag("help", Some('h')),
    Opt::value("format", Some('f')),
    Opt::flag("image-opts", None),
    Opt::flag("list", Some('l')),
    Opt::value("create", Some('c')),
    Opt::value("apply", Some('a')),
    Opt::value("delete", Some('d')),
    Opt::flag("force-share", Some('U')),
    Opt::flag("quiet", Some('q')),
    Opt::value("object", None),
    Opt::flag("allow-outside", None),
];

/// What is asked for.
enum Action {
    List,
    Create(String),
    Apply(String),
    Delete(String),
}

/// Runs the verb.
pub(crate) fn run(program: &Program, arguments: Vec<OsString>) -> Outcome {
    let mut args = Args::new(format!("{} snapshot", program.argv0()), OPTIONS, arguments);
    let mut open = OpenOptions::default();
    let (mut format, mut action) = (None, None);
    let mut operands = Vec::new();
    while let Some(arg) = args.next()? {
        let asked = match arg {
            Arg::Option("help", _) => return help::of(program, "snapshot"),
            Arg::Option("list", _) => Action::List,
            Arg::Option("create", name) => Action::Create(text(&name)),
            Arg::Option("apply", name) => Action::Apply(text(&name)),
            Arg::Option("delete", name) => Action::Delete(text(&name)),
            other => {
                match other {
                    Arg::Option("format", value) => format = Some(value),
                    Arg::Option("image-opts", _) => open.image_opts = true,
                    Arg::Option("force-share", _) => open.force_share = true,
                    Arg::Option("object", value) => source::accept_object(&value)?,
                    Arg::Option("allow-outside", _) => open.allow_outside = true,
                    Arg::Option(..) => {}
                    Arg::Operand(operand) => operands.push(operand),
                }
                continue;
            }
        };
        if action.replace(asked).is_some() {
            return Err(args.usage("Cannot mix '-l', '-a', '-c', '-d'"));
        }
    }
    let [operand] = operands.as_slice() else {
        return Err(args.usage("Expecting one image file name"));
    };
    source::check_format_options(format.is_some(), open.image_opts)?;
    let source = Source::new(operand, format.as_deref(), &open)?;
    match action.unwrap_or(Action::List) {
        Action::List => list(program, &source, &open)?,
        action => {
            open.writable = vec![0];
            change_image(program, &source, &open, &action)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn text(name: &OsString) -> String {
    name.to_string_lossy().into_owned()
}

fn list(program: &Program, source: &Source, open: &OpenOptions) -> Result<(), Failure> {
    let chain = source.open(program, open, Reach::Data)?;
    let info = chain.active().info();
    let snapshots: Vec<Value> = info
        .map(|info| info.snapshots.iter().map(snapshot_list::json).collect())
        .unwrap_or_default();
    if !snapshots.is_empty() {
        print(&snapshot_list::human(&snapshots))?;
    }
    Ok(())
}

fn change_image(
    program: &Program,
    source: &Source,
    open: &OpenOptions,
    action: &Action,
) -> Result<(), Failure> {
    let chain = source.open(program, open, Reach::Data)?;
    let info = chain
        .active()
        .info()
        .ok_or_else(|| Failure::new("The image is not open"))?;
    let (what, name, change_asked) = match action {
        Action::List => return Ok(()),
        Action::Create(name) => (
            "create",
            name,
            SnapshotChange::Create { name: name.clone() },
        ),
        Action::Apply(name) => {
            let selector = SnapshotSelector::Any(name.clone());
            ("apply", name, SnapshotChange::Apply(selector))
        }
        Action::Delete(name) => {
            // By name only, as the other program does; an id could mean another one's name.
            let selector = SnapshotSelector::Name(name.clone());
            ("delete", name, SnapshotChange::Delete(selector))
        }
    };
    match change(&chain, &change_asked, &interrupt::control()) {
        Ok(_) => Ok(()),
        Err(Stop::Cancelled) => Err(Failure::interrupted()),
        Err(stop) => {
            let reason = reason(action, info, &stop);
            Err(Failure::new(format!(
                "Could not {what} snapshot '{name}': {reason}"
            )))
        }
    }
}

/// Why it could not be done, in the words of `qemu-img` where it has some.
fn reason(action: &Action, info: &ImageInfo, stop: &Stop) -> String {
    let Stop::Failed(error) = stop else {
        return stop.to_string();
    };
    let is_raw = info.format == Format::Raw;
    let words = match (error.kind(), error.field(), action) {
        (ErrorKind::NotFound, _, Action::Delete(_)) => return "snapshot not found".into(),
        (ErrorKind::Unsupported, _, Action::Delete(_)) if is_raw => {
            return "snapshot not found".into();
        }
        (ErrorKind::Unsupported, _, Action::Apply(_)) if is_raw => {
            return "Block driver does not support snapshots".into();
        }
        (ErrorKind::Unsupported, Some("bitmaps"), _) => return error.message().into(),
        (ErrorKind::NotFound, ..) => system_words(&Errno::NOENT.into()),
        (ErrorKind::Unsupported, Some("refcount"), _) => system_words(&Errno::INVAL.into()),
        (ErrorKind::Unsupported, ..) => system_words(&Errno::NOTSUP.into()),
        _ => system_cause(error).unwrap_or_else(|| error.to_string()),
    };
    match action {
        Action::Apply(_) => format!("Failed to load snapshot: {words}"),
        _ => words,
    }
}
