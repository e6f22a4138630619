//! `resize`: another size for the guest disk.

use std::ffi::{OsStr, OsString};
use std::process::ExitCode;

use platter::chain::Chain;
use platter::image::{Format, Preallocation};
use platter::op::resize::{Resize, ResizePlan};
use platter::{ErrorKind, Stop};

use crate::args::{Arg, Args, Opt};
use crate::help;
use crate::interrupt;
use crate::output::print;
use crate::program::{Failure, Outcome, Program, system_cause};
use crate::size;
use crate::source::{self, OpenOptions, Reach, Source};
use crate::warning::warn;

const OPTIONS: &[Opt] = &[
    Opt::flag("help", Some('h')),
    Opt::value("format", Some('f')),
    Opt::flag("image-opts", None),
    Opt::value("preallocation", None),
    Opt::flag("shrink", None),
    Opt::flag("quiet", Some('q')),
    Opt::value("object", None),
    Opt::flag("allow-outside", None),
];

/// Runs the verb.
pub(crate) fn run(program: &Program, arguments: Vec<OsString>) -> Outcome {
    let mut args = Args::new(format!("{} resize", program.argv0()), OPTIONS, arguments);
    let mut open = OpenOptions {
        writable: vec![0],
        ..OpenOptions::default()
    };
    let (mut format, mut preallocation) = (None, Preallocation::Off);
    let (mut shrink, mut quiet) = (false, false);
    let mut operands = Vec::new();
    while let Some(arg) = args.next()? {
        match arg {
            Arg::Option("help", _) => return help::of(program, "resize"),
            Arg::Option("format", value) => format = Some(value),
            Arg::Option("image-opts", _) => open.image_opts = true,
            Arg::Option("preallocation", value) => preallocation = parse_preallocation(&value)?,
            Arg::Option("shrink", _) => shrink = true,
            Arg::Option("quiet", _) => quiet = true,
            Arg::Option("object", value) => source::accept_object(&value)?,
            Arg::Option("allow-outside", _) => open.allow_outside = true,
            Arg::Option(..) => {}
            Arg::Operand(operand) => {
                operands.push(operand);
                // Right behind the image's name, a negative size is no option.
                operands.extend(args.next_as_is(|next| operands.len() == 1 && is_negative(next)));
            }
        }
    }
    let (operand, size) = match operands.as_slice() {
        [operand, size] => (operand, size),
        [] | [_] => return Err(args.usage("Expecting image file name and size")),
        _ => return Err(args.usage("Extra argument(s) in command line")),
    };
    source::check_format_options(format.is_some(), open.image_opts)?;
    let size = NewSize::parse(&size.to_string_lossy())?;
    let source = Source::new(operand, format.as_deref(), &open)?;
    let chain = source.open(program, &open, Reach::Data)?;
    let request = request(&chain, size, shrink, preallocation)?;
    let plan = ResizePlan::new(&chain, request)?;
    warn(program, || plan.warnings());
    plan.run(&interrupt::control())
        .map_err(|stop| failure(&chain, stop))?;
    if !quiet {
        print("Image resized.\n")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A size on the command line.
#[derive(Clone, Copy, Debug)]
enum NewSize {
    Absolute(u64),
    More(u64),
    Less(u64),
}

impl NewSize {
    fn parse(text: &str) -> Result<Self, Failure> {
        let bytes = |text| size::parse_option("size", text).map_err(Failure::new);
        Ok(match text.as_bytes().first() {
            Some(b'+') => Self::More(bytes(&text[1..])?),
            Some(b'-') => Self::Less(bytes(&text[1..])?),
            _ => Self::Absolute(bytes(text)?),
        })
    }

    /// The size for a disk of `current` bytes; as QEMU computes it, in 64 bits with a sign.
    fn for_disk_of(self, current: u64) -> Option<u64> {
        let sum = match self {
            Self::Absolute(bytes) => bytes,
            Self::More(bytes) => current.wrapping_add(bytes),
            Self::Less(bytes) => current.wrapping_sub(bytes),
        };
        (1..=i64::MAX as u64).contains(&sum).then_some(sum)
    }
}

/// A size like "-1G", which looks like an option.
fn is_negative(argument: &OsStr) -> bool {
    let bytes = argument.as_encoded_bytes();
    bytes.len() > 1 && bytes[0] == b'-' && bytes[1].is_ascii_digit()
}

fn parse_preallocation(name: &OsStr) -> Result<Preallocation, Failure> {
    Ok(match name.to_str() {
        Some("off") => Preallocation::Off,
        Some("metadata") => Preallocation::Metadata,
        Some("falloc") => Preallocation::Falloc,
        Some("full") => Preallocation::Full,
        _ => {
            let name = name.to_string_lossy();
            return Err(Failure::new(format!("Invalid preallocation mode '{name}'")));
        }
    })
}

/// What is to be done, if the sizes allow it.
fn request(
    chain: &Chain,
    size: NewSize,
    shrink: bool,
    preallocation: Preallocation,
) -> Result<Resize, Failure> {
    let info = chain.active().info();
    let current = info.map_or(0, |info| info.virtual_size);
    let size = size
        .for_disk_of(current)
        .ok_or_else(|| Failure::new("New image size must be positive"))?;
    if size <= current && preallocation != Preallocation::Off {
        return Err(Failure::new(
            "Preallocation can only be used for growing images",
        ));
    }
    if size < current && !shrink {
        return Err(
            Failure::new("Use the --shrink option to perform a shrink operation.").and_then_say(
                "warning: Shrinking an image will delete all data beyond the shrunken image's end. \
                 Before performing such an operation, make sure there is no important data there."
                    .to_owned(),
            ),
        );
    }
    Ok(Resize {
        size,
        shrink,
        preallocation,
    })
}

fn failure(chain: &Chain, stop: Stop) -> Failure {
    let error = match stop {
        Stop::Cancelled => return Failure::interrupted(),
        Stop::Failed(error) => error,
    };
    let is_raw = chain.active().image().map(|image| image.format()) == Some(Format::Raw);
    match system_cause(&error) {
        Some(words) if is_raw => Failure::new(format!("Could not resize file: {words}")),
        Some(words) => Failure::new(format!("{error}: {words}")),
        None if is_raw && error.kind() == ErrorKind::Unsupported => {
            Failure::new("Unsupported preallocation mode: metadata")
        }
        None => Failure::new(error.message()),
    }
}
