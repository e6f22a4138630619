//! `create`: a new image.

use std::error::Error as _;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use platter::chain::Chain;
use platter::image::Format;
use platter::op::create::{Creation, NewImage};
use platter::op::warning::of_target;
use platter::{Error, ErrorKind, Stop};
use rustix::io::Errno;

use crate::args::{Arg, Args, Opt};
use crate::create_options::{self, CreateOptions};
use crate::help;
use crate::interrupt;
use crate::output::print;
use crate::program::{Failure, Outcome, Program, system_words};
use crate::size;
use crate::source::{self, OpenOptions, Source, lock_reason, name_beside, protocol};
use crate::warning::warn;

const OPTIONS: &[Opt] = &[
    Opt::flag("help", Some('h')),
    Opt::flag("quiet", Some('q')),
    Opt::value("format", Some('f')),
    Opt::value("options", Some('o')),
    Opt::value("backing", Some('b')),
    Opt::value("backing-format", Some('F')),
    Opt::flag("backing-unsafe", Some('u')),
    Opt::value("object", None),
    Opt::flag("allow-outside", None),
];

/// Runs the verb.
pub(crate) fn run(program: &Program, arguments: Vec<OsString>) -> Outcome {
    let mut args = Args::new(format!("{} create", program.argv0()), OPTIONS, arguments);
    let Some(request) = Request::parse(&mut args)? else {
        return help::of(program, "create");
    };
    if CreateOptions::asks_for_help(&request.options) {
        return request.list_options();
    }
    let Some(target) = &request.target else {
        return Err(args.usage("Expecting image file name"));
    };
    let name = target.to_string_lossy().into_owned();
    request
        .create(program, target, &name)
        .map_err(|reason| match interrupt::came() {
            true => Failure::interrupted(),
            false => Failure::new(format!("{name}: {reason}")),
        })?;
    Ok(ExitCode::SUCCESS)
}

struct Request {
    quiet: bool,
    format: String,
    options: String,
    backing: Option<String>,
    backing_format: Option<String>,
    backing_unopened: bool,
    target: Option<OsString>,
    size: Option<u64>,
    open: OpenOptions,
}

impl Request {
    /// `None` when help is asked for.
    fn parse(args: &mut Args) -> Result<Option<Self>, Failure> {
        let mut request = Self {
            quiet: false,
            format: Format::Raw.name().into(),
            options: String::new(),
            backing: None,
            backing_format: None,
            backing_unopened: false,
            target: None,
            size: None,
            open: OpenOptions::default(),
        };
        let mut operands = Vec::new();
        while let Some(arg) = args.next()? {
            match arg {
                Arg::Option("help", _) => return Ok(None),
                Arg::Option("quiet", _) => request.quiet = true,
                Arg::Option("format", value) => request.format = text(&value),
                Arg::Option("options", value) => request.add_options(&text(&value))?,
                Arg::Option("backing", value) => request.backing = Some(text(&value)),
                Arg::Option("backing-format", value) => request.backing_format = Some(text(&value)),
                Arg::Option("backing-unsafe", _) => request.backing_unopened = true,
                Arg::Option("object", value) => source::accept_object(&value)?,
                Arg::Option("allow-outside", _) => request.open.allow_outside = true,
                Arg::Option(..) => {}
                Arg::Operand(operand) => operands.push(operand),
            }
        }
        let mut operands = operands.into_iter();
        request.target = operands.next();
        if CreateOptions::asks_for_help(&request.options) {
            return Ok(Some(request));
        }
        if let Some(size) = operands.next() {
            let size = size::parse_as("image size", &size.to_string_lossy());
            request.size = Some(size.map_err(Failure::new)?);
        }
        if let Some(extra) = operands.next() {
            let extra = extra.to_string_lossy();
            return Err(args.usage(format!("Unexpected argument: {extra}")));
        }
        Ok(Some(request))
    }

    /// Several `-o` add up.
    fn add_options(&mut self, list: &str) -> Result<(), Failure> {
        if !CreateOptions::is_valid_list(list) {
            return Err(Failure::new(format!("Invalid option list: {list}")));
        }
        if !self.options.is_empty() {
            self.options.push(',');
        }
        self.options.push_str(list);
        Ok(())
    }

    fn list_options(&self) -> Outcome {
        let format = self.known_format().map_err(Failure::new)?;
        if let Some(target) = &self.target {
            path_of(target).map_err(Failure::new)?;
        }
        print(&create_options::help(format, self.target.is_some()))?;
        Ok(ExitCode::SUCCESS)
    }

    fn known_format(&self) -> Result<Format, String> {
        let name = &self.format;
        match Format::from_name(name) {
            None => Err(format!("Unknown file format '{name}'")),
            Some(format @ (Format::Raw | Format::Qcow2)) => Ok(format),
            Some(Format::Bochs | Format::Cloop | Format::Dmg) => Err(format!(
                "Format driver '{name}' does not support image creation"
            )),
            Some(_) => Err(format!("creating {name} images is not supported yet")),
        }
    }

    /// Makes the image; why not, in the words that follow the target's name.
    fn create(&self, program: &Program, target: &OsStr, name: &str) -> Result<(), String> {
        let format = self.known_format()?;
        let path = path_of(target)?;
        let mut options = CreateOptions::read(&self.options, format)?;
        self.complete(&mut options)?;
        let backing = self.check_backing(program, &options, name)?;
        let size = match (options.text("size"), &backing) {
            (Some(size), _) => size::parse_option("size", size)?,
            (None, Some(backing)) => {
                let info = backing.active().info();
                let size = info.map_or(0, |info| info.virtual_size);
                options.set("size", &size.to_string())?;
                size
            }
            (None, None) => return Err("Image creation needs a size parameter".into()),
        };
        if !self.quiet {
            let shown = options.shown();
            let line = format!("Formatting '{name}', fmt={format}{shown}\n");
            print(&line).map_err(|error| Failure::from(error).to_string())?;
        }
        let work = Work {
            program,
            name,
            path: &path,
            options: &options,
        };
        work.run(format, size, backing.as_ref())
    }

    /// Adds what has options of its own to the list.
    fn complete(&self, options: &mut CreateOptions) -> Result<(), String> {
        let format = &self.format;
        if let Some(size) = self.size {
            if options.text("size").is_some() {
                return Err("The image size must be specified only once".into());
            }
            options.set("size", &size.to_string())?;
        }
        if let Some(backing) = &self.backing {
            options
                .set("backing_file", backing)
                .map_err(|_| format!("Backing file not supported for file format '{format}'"))?;
        }
        if let Some(backing_format) = &self.backing_format {
            options.set("backing_fmt", backing_format).map_err(|_| {
                format!("Backing file format not supported for file format '{format}'")
            })?;
        }
        Ok(())
    }

    /// Opens the backing file unless that is not wanted.
    fn check_backing(
        &self,
        program: &Program,
        options: &CreateOptions,
        name: &str,
    ) -> Result<Option<Chain>, String> {
        const NO_FORMAT: &str = "Backing file specified without backing format";
        let Some(backing) = options.text("backing_file") else {
            return Ok(None);
        };
        if backing.is_empty() {
            return Err("Expected backing file name, got empty string".into());
        }
        if backing == name {
            return Err(
                "Error: Trying to create an image with the same filename as the backing file"
                    .into(),
            );
        }
        let format = options.text("backing_fmt");
        if self.backing_unopened {
            return match format {
                Some(_) => Ok(None),
                None => Err(NO_FORMAT.into()),
            };
        }
        let beside = name_beside(name, backing);
        let chain =
            Source::open_as_backing(beside.as_ref(), format.map(OsStr::new), program, &self.open)
                .map_err(|reason| format!("{reason}\nCould not open backing image."))?;
        match format {
            Some(_) => Ok(Some(chain)),
            None => {
                let detected = chain
                    .active()
                    .info()
                    .map_or(Format::Raw, |info| info.format);
                Err(format!("{NO_FORMAT}\nDetected format of {detected}."))
            }
        }
    }
}

/// A request that makes sense so far.
struct Work<'a> {
    program: &'a Program,
    name: &'a str,
    path: &'a Path,
    options: &'a CreateOptions,
}

impl Work<'_> {
    fn run(&self, format: Format, size: u64, backing: Option<&Chain>) -> Result<(), String> {
        let Self { options, name, .. } = self;
        warn(self.program, || of_target(self.path));
        options.check_extent_size_hint()?;
        let nocow = options.nocow()?;
        let mut creation = Creation::begin(self.path, true, nocow)
            .map_err(|error| self.cannot_create(name, &error))?;
        let image = match format {
            Format::Qcow2 => {
                if let Some(data_file) = options.text("data_file") {
                    // As QEMU does, from the current folder, whatever folder the image is in.
                    let path = path_of(data_file.as_ref())?;
                    warn(self.program, || of_target(&path));
                    creation
                        .add_data_file(&path, true)
                        .map_err(|error| self.cannot_create(data_file, &error))?;
                }
                NewImage::Qcow2(options.qcow2(size)?)
            }
            _ => {
                let (size, preallocation) = options.raw(size)?;
                NewImage::Raw {
                    size,
                    preallocation,
                }
            }
        };
        if let Some(backing) = backing {
            creation
                .check_backing(backing)
                .map_err(|error| error.to_string())?;
        }
        creation
            .write(&image, &interrupt::control())
            .map_err(|stop| match stop {
                Stop::Cancelled => "cancelled".into(),
                Stop::Failed(error) => self.cannot_write(&error, format, size),
            })
    }

    fn cannot_create(&self, name: &str, error: &Error) -> String {
        if error.kind() == ErrorKind::Locked {
            return lock_reason(error.message(), name, self.program);
        }
        let is_folder = error.path().is_some_and(Path::is_dir);
        let words = match cause(error) {
            Some(cause) => system_words(cause),
            None if is_folder => system_words(&Errno::ISDIR.into()),
            None if name.is_empty() => system_words(&Errno::NOENT.into()),
            None => error.to_string(),
        };
        format!("Could not create '{name}': {words}")
    }

    /// What the format has not is said as it is; what the host could not do, with file, place and
    /// cause.
    fn cannot_write(&self, error: &Error, format: Format, size: u64) -> String {
        match cause(error) {
            // Not in the middle of it, as at a limit of the process, but as a whole.
            Some(cause)
                if cause.raw_os_error() == Some(libc::EFBIG)
                    && error.offset().is_some_and(|offset| offset >= size) =>
            {
                let hint = match format {
                    Format::Qcow2 => " (try using a larger cluster size)",
                    _ => "",
                };
                format!("The image size is too large for file format '{format}'{hint}")
            }
            Some(cause) => format!("{error}: {}", system_words(cause)),
            None => self.not_so(error),
        }
    }

    /// A backing file name that QEMU's own limits refuse late is refused in the words of these.
    fn not_so(&self, error: &Error) -> String {
        let refused = match error.field() {
            Some("backing_file_size") => Errno::INVAL,
            Some("backing_file_offset") => Errno::NOSPC,
            _ => return error.message().to_owned(),
        };
        let text = |name| self.options.text(name).unwrap_or_default();
        format!(
            "Could not assign backing file '{}' with format '{}': {}",
            text("backing_file"),
            text("backing_fmt"),
            system_words(&refused.into())
        )
    }
}

fn cause(error: &Error) -> Option<&io::Error> {
    error.source().and_then(|cause| cause.downcast_ref())
}

/// The file that a target's name means.
pub(crate) fn path_of(name: &OsStr) -> Result<PathBuf, String> {
    let text = name.to_string_lossy();
    match protocol(&text) {
        None => Ok(PathBuf::from(name)),
        Some("file") => Ok(PathBuf::from(&text["file:".len()..])),
        Some(protocol) => Err(format!("Unknown protocol '{protocol}'")),
    }
}

fn text(value: &OsStr) -> String {
    value.to_string_lossy().into_owned()
}
