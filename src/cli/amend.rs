//! `amend`: other options for an image that is there.

use std::ffi::OsString;
use std::process::ExitCode;

use platter::chain::Chain;
use platter::image::{Amendment, Format, FormatDetails, ImageInfo, ImageWriter, Preallocation};
use platter::{Control, Stop};

use crate::args::{Arg, Args, Opt};
use crate::create_options::CreateOptions;
use crate::help;
use crate::interrupt;
use crate::output::print;
use crate::program::{Failure, Outcome, Program};
use crate::progress::{print_progress, watched};
use crate::source::{self, OpenOptions, Reach, Source, split_commas};

const OPTIONS: &[Opt] = &[
    Opt::flag("help", Some('h')),
    Opt::flag("quiet", Some('q')),
    Opt::flag("progress", Some('p')),
    Opt::value("format", Some('f')),
    Opt::value("cache", Some('t')),
    Opt::value("options", Some('o')),
    Opt::flag("image-opts", None),
    Opt::flag("force", None),
    Opt::value("object", None),
    Opt::flag("allow-outside", None),
];

/// Options of an encrypted image.
const ENCRYPTION: [&str; 5] = [
    "encrypt.iter-time",
    "encrypt.keyslot",
    "encrypt.new-secret",
    "encrypt.old-secret",
    "encrypt.state",
];
/// What `create` takes for the file, not for the image.
const OF_THE_FILE: [&str; 2] = ["nocow", "extent_size_hint"];
const AMENDABLE: [&str; 8] = [
    "backing_file",
    "backing_fmt",
    "compat",
    "data_file",
    "data_file_raw",
    "lazy_refcounts",
    "refcount_bits",
    "size",
];

/// What `-o help` prints of QCOW2.
const QCOW2_HELP: &str = "\
Amend options for 'qcow2':
  backing_file=<str>     - File name of a base image
  backing_fmt=<str>      - Image format of the base image
  compat=<str>           - Compatibility level (v2 [0.10] or v3 [1.1])
  data_file=<str>        - File name of an external data file
  data_file_raw=<bool (on/off)> - The external data file must stay valid as a raw image
  encrypt.iter-time=<num> - Time to spend in PBKDF in milliseconds
  encrypt.keyslot=<num>  - Select a single keyslot to modify explicitly
  encrypt.new-secret=<str> - New secret to set in the matching keyslots. Empty string to erase
  encrypt.old-secret=<str> - Select all keyslots that match this password
  encrypt.state=<str>    - Select new state of affected keyslots (active/inactive)
  lazy_refcounts=<bool (on/off)> - Postpone refcount updates
  refcount_bits=<num>    - Width of a reference count entry in bits
  size=<size>            - Virtual disk size
";

/// Runs the verb.
pub(crate) fn run(program: &Program, arguments: Vec<OsString>) -> Outcome {
    let mut args = Args::new(format!("{} amend", program.argv0()), OPTIONS, arguments);
    let mut open = OpenOptions {
        writable: vec![0],
        ..OpenOptions::default()
    };
    let (mut format, mut cache) = (None, None);
    let (mut quiet, mut progress) = (false, false);
    let mut list = String::new();
    let mut operands = Vec::new();
    while let Some(arg) = args.next()? {
        match arg {
            Arg::Option("help", _) => return help::of(program, "amend"),
            Arg::Option("quiet", _) => quiet = true,
            Arg::Option("progress", _) => progress = true,
            Arg::Option("format", value) => format = Some(value),
            Arg::Option("cache", value) => cache = Some(value),
            Arg::Option("options", value) => add_to_list(&mut list, &value.to_string_lossy())?,
            Arg::Option("image-opts", _) => open.image_opts = true,
            Arg::Option("object", value) => source::accept_object(&value)?,
            Arg::Option("allow-outside", _) => open.allow_outside = true,
            // Nothing of what we change is unsafe.
            Arg::Option(..) => {}
            Arg::Operand(operand) => operands.push(operand),
        }
    }
    if list.is_empty() {
        return Err(args.usage("Must specify options (-o)"));
    }
    source::check_format_options(format.is_some(), open.image_opts)?;
    let asks_for_help = CreateOptions::asks_for_help(&list);
    if let (true, Some(format)) = (asks_for_help, &format) {
        return list_options(&format.to_string_lossy());
    }
    let [operand] = operands.as_slice() else {
        return Err(Failure::new("Expecting one image file name"));
    };
    source::check_cache_option(cache.as_deref())?;
    let shows_progress = progress && !quiet;
    let outcome = (|| {
        let source = Source::new(operand, format.as_deref(), &open)?;
        let chain = source.open(program, &open, Reach::Data)?;
        if asks_for_help {
            return list_options(chain_format(&chain).name()).map(drop);
        }
        amend(&chain, &list, shows_progress)
    })();
    if shows_progress {
        print("\n")?;
    }
    outcome.map(|()| ExitCode::SUCCESS)
}

fn add_to_list(list: &mut String, more: &str) -> Result<(), Failure> {
    if !CreateOptions::is_valid_list(more) {
        return Err(Failure::new(format!("Invalid option list: {more}")));
    }
    if !list.is_empty() {
        list.push(',');
    }
    list.push_str(more);
    Ok(())
}

fn list_options(format: &str) -> Outcome {
    match Format::from_name(format) {
        Some(Format::Qcow2) => print(QCOW2_HELP)?,
        Some(_) => return Err(not_amendable(format)),
        None => return Err(Failure::new(format!("Unknown file format '{format}'"))),
    }
    Ok(ExitCode::SUCCESS)
}

fn not_amendable(format: &str) -> Failure {
    Failure::new(format!(
        "Format driver '{format}' does not support option amendment"
    ))
}

fn chain_format(chain: &Chain) -> Format {
    let image = chain.active().image();
    image.map_or(Format::Raw, |image| image.format())
}

fn amend(chain: &Chain, list: &str, shows_progress: bool) -> Result<(), Failure> {
    let format = chain_format(chain);
    if format != Format::Qcow2 {
        return Err(not_amendable(format.name()));
    }
    let Some(info) = chain.active().info() else {
        return Err(Failure::new("The image is not open"));
    };
    let request = Request::parse(list, info)?;
    let writer = chain.writer(0)?;
    let control = interrupt::control();
    if shows_progress {
        print_progress(0.0)?;
    }
    let amended = watched(shows_progress, &control, || {
        request.run(writer.as_ref(), &control)
    });
    amended?.map_err(|stop| match stop {
        Stop::Cancelled => Failure::interrupted(),
        Stop::Failed(error) => Failure::new(error.message()),
    })
}

/// What is to be changed.
struct Request {
    amendment: Amendment,
    size: Option<u64>,
    /// To an older version: then the size must change before it does.
    downgrades: bool,
}

impl Request {
    fn parse(list: &str, info: &ImageInfo) -> Result<Self, Failure> {
        let options = parse_options(list)?;
        let refuse = |message: &str| Err(Failure::new(message));
        let text = |name| options.text(name);
        let version = match text("compat") {
            None => None,
            Some("0.10" | "v2") => Some(2),
            Some("1.1" | "v3") => Some(3),
            Some(other) => return refuse(&format!("Unknown compatibility level {other}")),
        };
        let refcount_bits = options.number("refcount_bits")?;
        let refcount_bits = refcount_bits.map(|bits| u32::try_from(bits).unwrap_or(0));
        let current = info.backing.as_ref();
        let wished = (text("backing_file"), text("backing_fmt"));
        let is_other = wished.0 != current.map(|file| file.name.as_str())
            || wished.1 != current.and_then(|file| file.format.as_deref());
        if wished != (None, None) && is_other {
            return refuse("Cannot amend the backing file\nYou can use 'qemu-img rebase' instead.");
        }
        let old_version = match &info.details {
            FormatDetails::Qcow2(details) => details.version,
            _ => 3,
        };
        Ok(Self {
            amendment: Amendment {
                version,
                lazy_refcounts: options.flag("lazy_refcounts")?,
                refcount_bits,
                backing: None,
                data_file: text("data_file").map(str::to_owned),
                data_file_raw: options.flag("data_file_raw")?,
            },
            size: options.size("size")?.filter(|size| *size > 0),
            downgrades: version.is_some_and(|version| version < old_version),
        })
    }

    fn run(&self, writer: &dyn ImageWriter, control: &Control) -> Result<(), Stop> {
        if self.downgrades {
            self.resize(writer, control)?;
            return writer.amend(&self.amendment, control);
        }
        writer.amend(&self.amendment, control)?;
        self.resize(writer, control)
    }

    fn resize(&self, writer: &dyn ImageWriter, control: &Control) -> Result<(), Stop> {
        match self.size {
            Some(size) if size != writer.virtual_size() => {
                writer.resize(size, true, Preallocation::Off, control)
            }
            _ => Ok(()),
        }
    }
}

/// The options in `list`, all of which can be amended.
fn parse_options(list: &str) -> Result<CreateOptions, Failure> {
    let mut checked = String::new();
    for part in split_commas(list) {
        let name = part.split_once('=').map_or(part.as_str(), |(name, _)| name);
        let positive = name.strip_prefix("no").unwrap_or(name);
        if ENCRYPTION.contains(&name) {
            return Err(Failure::new(
                "Can't amend encryption options - encryption not present",
            ));
        }
        let part = part.replace(',', ",,");
        let known = CreateOptions::read(&part, Format::Qcow2);
        if !AMENDABLE.contains(&name) && !AMENDABLE.contains(&positive) {
            let hint = match known {
                Ok(_) if !OF_THE_FILE.contains(&name) => {
                    "\nThis option is only supported for image creation"
                }
                _ => "",
            };
            return Err(Failure::new(format!("Invalid parameter '{name}'{hint}")));
        }
        known.map_err(Failure::new)?;
        if !checked.is_empty() {
            checked.push(',');
        }
        checked.push_str(&part);
    }
    CreateOptions::read(&checked, Format::Qcow2).map_err(Failure::new)
}
