//! `bitmap`: persistent dirty bitmaps.

use std::ffi::OsString;
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::sync::Arc;

use platter::chain::Chain;
use platter::image::{self, BitmapEdit, Format, ImageDriver, ImageWriter};
use platter::storage::Storage;
use platter::{Error, ErrorKind};

use crate::args::{Arg, Args, Opt};
use crate::help;
use crate::interrupt;
use crate::program::{Failure, Outcome, Program};
use crate::size;
use crate::source::{self, OpenOptions, Reach, Source};

const OPTIONS: &[Opt] = &[
    Opt::flag("help", Some('h')),
    Opt::value("format", Some('f')),
    Opt::flag("image-opts", None),
    Opt::flag("add", None),
    Opt::value("granularity", Some('g')),
    Opt::flag("remove", None),
    Opt::flag("clear", None),
    Opt::flag("enable", None),
    Opt::flag("disable", None),
    Opt::value("merge", None),
    Opt::value("source-file", Some('b')),
    Opt::value("source-format", Some('F')),
    Opt::value("object", None),
    Opt::flag("allow-outside", None),
];

/// Ranges that are merged at a time.
const BATCH: usize = 1 << 20;

/// One thing to do, in the order of the command line.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Action {
    Add,
    Remove,
    Clear,
    Enable,
    Disable,
    Merge(String),
}

impl Action {
    /// How messages call it.
    fn name(&self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Remove => "remove",
            Self::Clear => "clear",
            Self::Enable => "enable",
            Self::Disable => "disable",
            Self::Merge(_) => "merge",
        }
    }
}

/// The command line.
#[derive(Default)]
struct Request {
    actions: Vec<Action>,
    granularity: Option<u64>,
    format: Option<OsString>,
    source_file: Option<OsString>,
    source_format: Option<OsString>,
    open: OpenOptions,
    operands: Vec<OsString>,
}

/// Runs the verb.
pub(crate) fn run(program: &Program, arguments: Vec<OsString>) -> Outcome {
    let mut args = Args::new(format!("{} bitmap", program.argv0()), OPTIONS, arguments);
    let Some(request) = Request::parse(&mut args)? else {
        return help::of(program, "bitmap");
    };
    let [operand, name] = request.operands.as_slice() else {
        return Err(Failure::new("Expecting filename and bitmap name"));
    };
    let name = name.to_string_lossy().into_owned();
    source::check_format_options(request.format.is_some(), request.open.image_opts)?;
    let target = Source::new(operand, request.format.as_deref(), &request.open)?;
    let writable = OpenOptions {
        writable: vec![0],
        ..request.open.clone()
    };
    // A writer wants the external data file too.
    let chain = target.open(program, &writable, Reach::Data)?;
    let other = match &request.source_file {
        None => None,
        Some(file) => {
            let options = OpenOptions {
                allow_outside: request.open.allow_outside,
                ..OpenOptions::default()
            };
            let source = Source::new(file, request.source_format.as_deref(), &options)?;
            Some(source.open(program, &options, Reach::Headers)?)
        }
    };
    let control = interrupt::control();
    let writer = open_writer(&chain)?;
    for action in &request.actions {
        control.checkpoint().map_err(|_| Failure::interrupted())?;
        let done = match writer.as_deref() {
            Some(writer) => request.act(action, writer, &name, &chain, other.as_ref()),
            None => Err(without_bitmaps(action, &name)),
        };
        done.map_err(|error| {
            let action = action.name();
            Failure::new(format!(
                "Operation {action} on bitmap {name} failed: {}",
                words(&error, &name, target.filename())
            ))
        })?;
    }
    Ok(ExitCode::SUCCESS)
}

impl Request {
    fn parse(args: &mut Args) -> Result<Option<Self>, Failure> {
        let mut request = Self::default();
        while let Some(arg) = args.next()? {
            match arg {
                Arg::Option("help", _) => return Ok(None),
                Arg::Option("format", value) => request.format = Some(value),
                Arg::Option("image-opts", _) => request.open.image_opts = true,
                Arg::Option("add", _) => request.actions.push(Action::Add),
                Arg::Option("granularity", value) => {
                    let value = size::parse_as("granularity", &value.to_string_lossy());
                    request.granularity = Some(value.map_err(Failure::new)?);
                }
                Arg::Option("remove", _) => request.actions.push(Action::Remove),
                Arg::Option("clear", _) => request.actions.push(Action::Clear),
                Arg::Option("enable", _) => request.actions.push(Action::Enable),
                Arg::Option("disable", _) => request.actions.push(Action::Disable),
                Arg::Option("merge", value) => {
                    let source = value.to_string_lossy().into_owned();
                    request.actions.push(Action::Merge(source));
                }
                Arg::Option("source-file", value) => request.source_file = Some(value),
                Arg::Option("source-format", value) => request.source_format = Some(value),
                Arg::Option("object", value) => source::accept_object(&value)?,
                Arg::Option("allow-outside", _) => request.open.allow_outside = true,
                Arg::Option(..) => {}
                Arg::Operand(operand) => request.operands.push(operand),
            }
        }
        request.check()?;
        Ok(Some(request))
    }

    fn check(&self) -> Result<(), Failure> {
        let has_merge = self
            .actions
            .iter()
            .any(|action| matches!(action, Action::Merge(_)));
        let mistake = if self.actions.is_empty() {
            "Need at least one of --add, --remove, --clear, --enable, --disable, or --merge"
        } else if self.granularity.is_some_and(|bytes| bytes > 0)
            && !self.actions.contains(&Action::Add)
        {
            "granularity only supported with --add"
        } else if self.source_format.is_some() && self.source_file.is_none() {
            "-F only supported with -b"
        } else if self.source_file.is_some() && !has_merge {
            "Merge bitmap source file only supported with --merge"
        } else {
            return Ok(());
        };
        Err(Failure::new(mistake))
    }

    fn act(
        &self,
        action: &Action,
        writer: &dyn ImageWriter,
        name: &str,
        chain: &Chain,
        other: Option<&Chain>,
    ) -> Result<(), Error> {
        let edit = match action {
            Action::Add => BitmapEdit::Add {
                // What does not fit 32 bits is no granularity either.
                granularity: self
                    .granularity
                    .filter(|bytes| *bytes > 0)
                    .map(|bytes| u32::try_from(bytes).unwrap_or(u32::MAX)),
            },
            Action::Remove => BitmapEdit::Remove,
            Action::Clear => BitmapEdit::Clear,
            Action::Enable => BitmapEdit::Enable,
            Action::Disable => BitmapEdit::Disable,
            Action::Merge(source) => return merge(writer, name, source, chain, other),
        };
        writer.edit_bitmap(name, &edit)
    }
}

/// `None` for a format that has no bitmaps.
fn open_writer(chain: &Chain) -> Result<Option<Box<dyn ImageWriter>>, Failure> {
    match chain.active().image().map(|image| image.format()) {
        Some(Format::Qcow2) => Ok(Some(chain.writer_alone(0)?)),
        _ => Ok(None),
    }
}

fn without_bitmaps(action: &Action, name: &str) -> Error {
    match action {
        Action::Add => Error::unsupported("Operation not supported"),
        _ => Error::new(
            ErrorKind::NotFound,
            format!("Dirty bitmap '{name}' not found"),
        ),
    }
}

/// Sets in the bitmap `name` what is set in `source`, of another image or of the same.
fn merge(
    writer: &dyn ImageWriter,
    name: &str,
    source: &str,
    chain: &Chain,
    other: Option<&Chain>,
) -> Result<(), Error> {
    // The bitmap that is merged into must be there before anything is said of the other.
    writer.merge_into_bitmap(name, &[])?;
    let opened: Arc<dyn ImageDriver>;
    let from = match (other, &chain.active().writable) {
        (Some(other), _) => other.active().image().ok_or_else(not_open)?,
        (None, Some(link)) => {
            // As it is now, after the actions before this one.
            let file = Arc::clone(&link.file) as Arc<dyn Storage>;
            opened = Arc::from(image::open(file, writer.format())?);
            &opened
        }
        (None, None) => return Err(not_open()),
    };
    let is_itself = other.is_none() && source == name;
    let mut dirty = Vec::new();
    let mut outcome = Ok(());
    from.for_each_dirty(source, &mut |range| {
        if is_itself || from.virtual_size() != writer.virtual_size() {
            return ControlFlow::Break(());
        }
        dirty.push(range);
        if dirty.len() == BATCH {
            outcome = writer.merge_into_bitmap(name, &dirty);
            dirty.clear();
        }
        match outcome {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    })?;
    outcome?;
    if from.virtual_size() != writer.virtual_size() {
        return Err(Error::unsupported(format!(
            "Bitmaps are of different sizes (destination size is {}, source size is {}) and can't \
             be merged",
            writer.virtual_size(),
            from.virtual_size()
        )));
    }
    writer.merge_into_bitmap(name, &dirty)
}

fn not_open() -> Error {
    Error::new(ErrorKind::InvalidInput, "the image is not open")
}

/// What cannot be stored is said of the image; QEMU has a number for it.
fn words(error: &Error, name: &str, image: &str) -> String {
    match error.message() {
        "Operation not supported" => {
            format!("Can't store persistent bitmaps to {image}: Operation not supported")
        }
        message if message.starts_with("Bitmap '") || message.starts_with("Bitmaps are") => {
            message.to_owned()
        }
        message if error.kind() == ErrorKind::Unsupported => {
            format!("Can't make bitmap '{name}' persistent in '{image}': {message}")
        }
        message => message.to_owned(),
    }
}
