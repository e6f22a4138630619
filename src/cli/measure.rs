//! `measure`: how big a new image would be.

use std::ffi::{OsStr, OsString};
use std::process::ExitCode;

use platter::image::Format;
use platter::op::measure::{MeasureTarget, Measurement, Qcow2Layout, measure_chain, measure_size};
use platter::{Control, Stop};
use serde_json::{Map, Value};

use crate::args::{Arg, Args, Opt};
use crate::create_options::CreateOptions;
use crate::help;
use crate::output::{OutputFormat, print, print_json};
use crate::program::{Failure, Outcome, Program};
use crate::size;
use crate::source::{self, OpenOptions, Reach, Source};

const OPTIONS: &[Opt] = &[
    Opt::flag("help", Some('h')),
    Opt::value("format", Some('f')),
    Opt::flag("image-opts", None),
    Opt::value("options", Some('o')),
    Opt::value("target-format", Some('O')),
    Opt::value("snapshot", Some('l')),
    Opt::value("object", None),
    Opt::value("output", None),
    Opt::value("size", None),
    Opt::flag("force-share", Some('U')),
    Opt::flag("allow-outside", None),
];

/// Runs the verb.
pub(crate) fn run(program: &Program, arguments: Vec<OsString>) -> Outcome {
    let mut args = Args::new(format!("{} measure", program.argv0()), OPTIONS, arguments);
    let Some(request) = Request::parse(&mut args)? else {
        return help::of(program, "measure");
    };
    let measured = request.measure(program)?;
    match request.output {
        OutputFormat::Human => print(&human(&measured))?,
        OutputFormat::Json => print_json(&json(&measured))?,
    }
    Ok(ExitCode::SUCCESS)
}

struct Request {
    source: Option<(OsString, Option<OsString>)>,
    open: OpenOptions,
    size: u64,
    target: OsString,
    options: Option<String>,
    output: OutputFormat,
}

impl Request {
    /// `None` when help is asked for.
    fn parse(args: &mut Args) -> Result<Option<Self>, Failure> {
        let mut request = Self {
            source: None,
            open: OpenOptions::default(),
            size: 0,
            target: "raw".into(),
            options: None,
            output: OutputFormat::Human,
        };
        let (mut format, mut size) = (None, None);
        let mut operands = Vec::new();
        while let Some(arg) = args.next()? {
            match arg {
                Arg::Option("help", _) => return Ok(None),
                Arg::Option("format", value) => format = Some(value),
                Arg::Option("image-opts", _) => request.open.image_opts = true,
                Arg::Option("options", value) => request.add_options(&value)?,
                Arg::Option("target-format", value) => request.target = value,
                Arg::Option("snapshot", value) => {
                    request.open.snapshot = Some(source::snapshot(&value)?);
                }
                Arg::Option("object", value) => source::accept_object(&value)?,
                Arg::Option("output", value) => request.output = OutputFormat::parse(&value, args)?,
                Arg::Option("size", value) => {
                    let text = value.to_string_lossy();
                    let parsed = size::parse_as("image size", &text);
                    size = Some(parsed.map_err(Failure::new)?);
                }
                Arg::Option("force-share", _) => request.open.force_share = true,
                Arg::Option("allow-outside", _) => request.open.allow_outside = true,
                Arg::Option(..) => {}
                Arg::Operand(operand) => operands.push(operand),
            }
        }
        request.finish(operands, format, size).map(Some)
    }

    fn finish(
        mut self,
        operands: Vec<OsString>,
        format: Option<OsString>,
        size: Option<u64>,
    ) -> Result<Self, Failure> {
        if operands.len() > 1 {
            return Err(Failure::new("At most one filename argument is allowed."));
        }
        let operand = operands.into_iter().next();
        if operand.is_none()
            && (self.open.image_opts || format.is_some() || self.open.snapshot.is_some())
        {
            return Err(Failure::new(
                "--image-opts, -f, and -l require a filename argument.",
            ));
        }
        source::check_format_options(format.is_some(), self.open.image_opts)?;
        match (operand, size) {
            (None, None) => {
                return Err(Failure::new(
                    "Either --size N or one filename must be specified.",
                ));
            }
            (Some(_), Some(_)) => {
                return Err(Failure::new(
                    "--size N cannot be used together with a filename.",
                ));
            }
            (operand, size) => {
                self.source = operand.map(|operand| (operand, format));
                self.size = size.unwrap_or(0);
            }
        }
        Ok(self)
    }

    /// Several `-o` add up.
    fn add_options(&mut self, value: &OsStr) -> Result<(), Failure> {
        let value = value.to_string_lossy();
        if !CreateOptions::is_valid_list(&value) {
            return Err(Failure::new(format!("Invalid option list: {value}")));
        }
        match &mut self.options {
            Some(options) => {
                options.push(',');
                options.push_str(&value);
            }
            none => *none = Some(value.into_owned()),
        }
        Ok(())
    }

    fn measure(&self, program: &Program) -> Result<Measurement, Failure> {
        let chain = match &self.source {
            None => None,
            Some((operand, format)) => {
                let source = Source::new(operand, format.as_deref(), &self.open)?;
                Some(source.open(program, &self.open, Reach::Data)?)
            }
        };
        let target = self.target()?;
        match chain {
            None => Ok(measure_size(self.size, &target).map_err(message_of)?),
            Some(chain) => {
                measure_chain(&chain, &target, &Control::new()).map_err(|stop| match stop {
                    Stop::Failed(error) => message_of(error),
                    Stop::Cancelled => Failure::new("cancelled"),
                })
            }
        }
    }

    fn target(&self) -> Result<MeasureTarget, Failure> {
        let name = self.target.to_string_lossy();
        let options = self.options.as_deref().unwrap_or("");
        match Format::from_name(&name) {
            Some(Format::Raw) => {
                CreateOptions::parse(options, Format::Raw)?;
                Ok(MeasureTarget::Raw)
            }
            Some(Format::Qcow2) => {
                let options = CreateOptions::parse(options, Format::Qcow2)?;
                Ok(MeasureTarget::Qcow2(layout(&options)?))
            }
            Some(format) => Err(Failure::new(format!(
                "Block driver '{format}' does not support size measurement"
            ))),
            None => Err(Failure::new(format!("Unknown file format '{name}'"))),
        }
    }
}

/// The layout that creation options ask for.
fn layout(options: &CreateOptions) -> Result<Qcow2Layout, Failure> {
    let mut layout = Qcow2Layout::default();
    if options.text("encrypt.format") == Some("luks") {
        return Err(Failure::new(
            "measuring encrypted images is not supported yet",
        ));
    }
    layout.extended_l2 = options.flag("extended_l2")?.unwrap_or(false);
    if let Some(size) = options.size("cluster_size")? {
        if !size.is_power_of_two() || !(512..=2 << 20).contains(&size) {
            return Err(Failure::new(
                "Cluster size must be a power of two between 512 and 2048k",
            ));
        }
        layout.cluster_size = size;
    }
    if layout.extended_l2 && layout.cluster_size < 16 << 10 {
        return Err(Failure::new(
            "Extended L2 entries are only supported with cluster sizes of at least 16384 bytes",
        ));
    }
    layout.version = match options.text("compat") {
        None | Some("1.1") => 3,
        Some("0.10") => 2,
        Some(other) => {
            return Err(Failure::new(format!(
                "Invalid compatibility level: '{other}'"
            )));
        }
    };
    if let Some(bits) = options.number("refcount_bits")? {
        layout.refcount_bits = u32::try_from(bits)
            .ok()
            .filter(|bits| bits.is_power_of_two() && *bits <= 64)
            .ok_or_else(|| {
                Failure::new("Refcount width must be a power of two and may not exceed 64 bits")
            })?;
    }
    if layout.version < 3 && layout.refcount_bits != 16 {
        return Err(Failure::new(
            "Different refcount widths than 16 bits require compatibility level 1.1 or above \
             (use compat=1.1 or greater)",
        ));
    }
    layout.preallocate_data = match options.text("preallocation") {
        None | Some("off" | "metadata") => false,
        Some("falloc" | "full") => true,
        Some(other) => return Err(Failure::new(format!("invalid parameter value: {other}"))),
    };
    layout.has_backing = options.text("backing_file").is_some();
    Ok(layout)
}

fn human(measured: &Measurement) -> String {
    let Measurement {
        required,
        fully_allocated,
        bitmaps,
    } = measured;
    let mut text = format!("required size: {required}\nfully allocated size: {fully_allocated}\n");
    if let Some(bitmaps) = bitmaps {
        text += &format!("bitmaps size: {bitmaps}\n");
    }
    text
}

fn json(measured: &Measurement) -> Value {
    let mut document = Map::new();
    if let Some(bitmaps) = measured.bitmaps {
        document.insert("bitmaps".into(), bitmaps.into());
    }
    document.insert("required".into(), measured.required.into());
    document.insert("fully-allocated".into(), measured.fully_allocated.into());
    document.into()
}

/// What cannot be measured is said without a file name.
fn message_of(error: platter::Error) -> Failure {
    if error.path().is_none() {
        Failure::new(error.message())
    } else {
        error.into()
    }
}
