//! `dd`: a part of a disk as a new image.

use std::ffi::{OsStr, OsString};
use std::ops::Range;
use std::path::Path;
use std::process::ExitCode;

use platter::chain::Chain;
use platter::image::{Format, Preallocation, Qcow2Options};
use platter::op::convert::{ConvertOptions, ConvertStop, NewTarget, convert_part_to_new};
use platter::op::create::NewImage;
use platter::op::warning::of_target;
use platter::{ErrorKind, Stop};

use crate::args::{Arg, Args, Opt};
use crate::help;
use crate::interrupt;
use crate::program::{Failure, Outcome, Program, eprint_line, system_cause};
use crate::size;
use crate::source::{self, OpenOptions, Reach, Source, lock_reason};
use crate::warning::warn;

const OPTIONS: &[Opt] = &[
    Opt::flag("help", Some('h')),
    Opt::value("format", Some('f')),
    Opt::flag("image-opts", None),
    Opt::value("output-format", Some('O')),
    Opt::flag("force-share", Some('U')),
    Opt::value("object", None),
    Opt::flag("allow-outside", None),
];

/// Runs the verb.
pub(crate) fn run(program: &Program, arguments: Vec<OsString>) -> Outcome {
    let mut args = Args::new(format!("{} dd", program.argv0()), OPTIONS, arguments);
    let Some(request) = Request::parse(&mut args)? else {
        return help::of(program, "dd");
    };
    request.copy(program)?;
    Ok(ExitCode::SUCCESS)
}

struct Request {
    format: Option<OsString>,
    output_format: String,
    open: OpenOptions,
    block: u64,
    count: Option<u64>,
    skip: u64,
    input: Option<String>,
    output: Option<String>,
}

impl Request {
    /// `None` when help is asked for.
    fn parse(args: &mut Args) -> Result<Option<Self>, Failure> {
        let mut request = Self {
            format: None,
            output_format: Format::Raw.name().into(),
            open: OpenOptions::default(),
            block: 512,
            count: None,
            skip: 0,
            input: None,
            output: None,
        };
        let mut operands = Vec::new();
        while let Some(arg) = args.next()? {
            match arg {
                Arg::Option("help", _) => return Ok(None),
                Arg::Option("format", value) => request.format = Some(value),
                Arg::Option("image-opts", _) => request.open.image_opts = true,
                Arg::Option("output-format", value) => {
                    request.output_format = value.to_string_lossy().into_owned();
                }
                Arg::Option("force-share", _) => request.open.force_share = true,
                Arg::Option("object", value) => source::accept_object(&value)?,
                Arg::Option("allow-outside", _) => request.open.allow_outside = true,
                Arg::Option(..) => {}
                Arg::Operand(operand) => operands.push(operand),
            }
        }
        for operand in operands {
            request.take(&operand)?;
        }
        Ok(Some(request))
    }

    /// An operand like `bs=4k`.
    fn take(&mut self, operand: &OsStr) -> Result<(), Failure> {
        let text = operand.to_string_lossy();
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (text.as_ref(), None),
        };
        match (name, value) {
            ("if", Some(value)) => self.input = Some(value.to_owned()),
            ("of", Some(value)) => self.output = Some(value.to_owned()),
            ("bs", Some(value)) => self.block = block_size(value)?,
            ("count", Some(value)) => self.count = Some(plain_number(name, value)?),
            ("skip", Some(value)) => self.skip = plain_number(name, value)?,
            _ => return Err(Failure::new(format!("unrecognized operand {name}"))),
        }
        Ok(())
    }

    fn copy(&self, program: &Program) -> Result<(), Failure> {
        let (Some(input), Some(output)) = (&self.input, &self.output) else {
            return Err(Failure::new("Must specify both input and output files"));
        };
        source::check_format_options(self.format.is_some(), self.open.image_opts)?;
        let source = Source::new(input.as_ref(), self.format.as_deref(), &self.open)?;
        let chain = source.open(program, &self.open, Reach::Data)?;
        let image = self.new_image()?;
        let window = self.window(&chain);
        warn(program, || of_target(Path::new(output)));
        let behind_end = window.is_none();
        let target = NewTarget {
            path: Path::new(output),
            replace: true,
            nocow: false,
            image,
            data_file: None,
            base: None,
        };
        let copied = convert_part_to_new(
            &chain,
            window.unwrap_or(0..0),
            &target,
            &ConvertOptions::default(),
            &interrupt::control(),
        );
        copied.map_err(|stop| failure(program, output, stop))?;
        if behind_end {
            let name = program.name();
            eprint_line(format_args!(
                "{name}: {input}: cannot skip to specified offset"
            ));
        }
        Ok(())
    }

    fn new_image(&self) -> Result<NewImage, Failure> {
        let name = &self.output_format;
        match Format::from_name(name) {
            None => Err(Failure::new("Unknown file format")),
            Some(Format::Raw) => Ok(NewImage::Raw {
                size: 0,
                preallocation: Preallocation::Off,
            }),
            Some(Format::Qcow2) => Ok(NewImage::Qcow2(Qcow2Options::default())),
            Some(Format::Bochs | Format::Cloop | Format::Dmg) => Err(Failure::new(format!(
                "Format driver '{name}' does not support image creation"
            ))),
            Some(_) => Err(Failure::new(format!(
                "creating {name} images is not supported yet"
            ))),
        }
    }

    /// The bytes that are copied; `None` when they would begin behind the end.
    fn window(&self, chain: &Chain) -> Option<Range<u64>> {
        let info = chain.active().info();
        let size = info.map_or(0, |info| info.virtual_size);
        let counted = self.count.and_then(|count| count.checked_mul(self.block));
        let end = counted.map_or(size, |counted| counted.min(size));
        let start = self.skip.checked_mul(self.block)?;
        (start <= end).then_some(start..end)
    }
}

fn failure(program: &Program, output: &str, stop: ConvertStop) -> Failure {
    let error = match stop.stop {
        Stop::Cancelled => return Failure::interrupted(),
        Stop::Failed(error) => error,
    };
    let words = system_cause(&error);
    let is_folder = Path::new(output).is_dir();
    let reason = match (error.kind(), words) {
        (ErrorKind::Locked, _) => lock_reason(error.message(), output, program),
        _ if is_folder => format!("Could not create '{output}': Is a directory"),
        (_, Some(words)) if error.offset().is_none() => {
            format!("Could not create '{output}': {words}")
        }
        (_, Some(words)) => return Failure::new(format!("{error}: {words}")),
        (_, None) => error.to_string(),
    };
    Failure::new(format!(
        "{output}: error while creating output image: {reason}"
    ))
}

/// From 1 to 2^31 - 1.
fn block_size(text: &str) -> Result<u64, Failure> {
    const MOST: u64 = i32::MAX as u64;
    match size::parse(text) {
        Ok(bytes) if (1..=MOST).contains(&bytes) => Ok(bytes),
        Ok(_) | Err(size::SizeError::OutOfRange) => Err(Failure::new(format!(
            "Invalid bs specified. Must be between 1 and {MOST}."
        ))),
        Err(size::SizeError::Invalid) => {
            Err(Failure::new(format!("Invalid bs specified: '{text}'.")))
        }
    }
}

/// A number without a suffix.
fn plain_number(what: &str, text: &str) -> Result<u64, Failure> {
    let is_hexadecimal = text.starts_with("0x") || text.starts_with("0X");
    if !is_hexadecimal && text.ends_with(|last: char| !last.is_ascii_digit()) {
        return Err(Failure::new(format!("Invalid {what} specified: '{text}'.")));
    }
    size::parse_as(what, text).map_err(Failure::new)
}
