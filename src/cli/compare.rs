//! `compare`: whether two guest disks are equal.

use std::ffi::OsString;
use std::process::ExitCode;

use platter::chain::Chain;
use platter::op::compare::{CompareStop, Comparison, Difference, Side, Step, compare};
use platter::{Control, Stop};

use crate::args::{Arg, Args, Opt};
use crate::help;
use crate::output::print;
use crate::program::{Failure, Outcome, Program};
use crate::progress::{print_progress, with_progress};
use crate::source::{self, OpenOptions, Reach, Source};

const OPTIONS: &[Opt] = &[
    Opt::flag("help", Some('h')),
    Opt::value("a-format", Some('f')),
    Opt::value("b-format", Some('F')),
    Opt::value("cache", Some('T')),
    Opt::flag("progress", Some('p')),
    Opt::flag("quiet", Some('q')),
    Opt::flag("strict", Some('s')),
    Opt::value("object", None),
    Opt::flag("image-opts", None),
    Opt::flag("force-share", Some('U')),
    Opt::flag("allow-outside", None),
];

const DIFFERENT: u8 = 1;
const CANNOT_OPEN: u8 = 2;
const CANNOT_MAP: u8 = 3;
const CANNOT_READ: u8 = 4;

/// Runs the verb.
pub(crate) fn run(program: &Program, arguments: Vec<OsString>) -> Outcome {
    let mut args = Args::new(format!("{} compare", program.argv0()), OPTIONS, arguments);
    let mut open = OpenOptions::default();
    let (mut format_a, mut format_b, mut cache) = (None, None, None);
    let (mut progress, mut quiet, mut strict) = (false, false, false);
    let mut operands = Vec::new();
    while let Some(arg) = args.next()? {
        match arg {
            Arg::Option("help", _) => return help::of(program, "compare"),
            Arg::Option("a-format", value) => format_a = Some(value),
            Arg::Option("b-format", value) => format_b = Some(value),
            Arg::Option("cache", value) => cache = Some(value),
            Arg::Option("progress", _) => progress = true,
            Arg::Option("quiet", _) => quiet = true,
            Arg::Option("strict", _) => strict = true,
            Arg::Option("object", value) => {
                source::accept_object(&value).map_err(|failure| failure.with_code(CANNOT_OPEN))?;
            }
            Arg::Option("image-opts", _) => open.image_opts = true,
            Arg::Option("force-share", _) => open.force_share = true,
            Arg::Option("allow-outside", _) => open.allow_outside = true,
            Arg::Option(..) => {}
            Arg::Operand(operand) => operands.push(operand),
        }
    }
    let [a, b] = operands.as_slice() else {
        return Err(args.usage("Expecting two image file names"));
    };
    let has_format = format_a.is_some() || format_b.is_some();
    let pair = (|| {
        source::check_format_options(has_format, open.image_opts)?;
        source::check_cache_mode(cache.as_deref())?;
        let a = Source::new(a, format_a.as_deref(), &open)?;
        let chain_a = a.open(program, &open, Reach::Data)?;
        let b = Source::new(b, format_b.as_deref(), &open)?;
        let chain_b = b.open(program, &open, Reach::Data)?;
        Ok(Pair {
            names: [a, b].map(|source| source.filename().to_owned()),
            chains: [chain_a, chain_b],
        })
    })();
    if pair.is_err() && progress && !quiet {
        print("\n")?;
    }
    let pair = pair.map_err(|failure: Failure| failure.with_code(CANNOT_OPEN))?;
    let outcome = pair.compare(strict, progress && !quiet);
    if !quiet {
        let mut text = outcome.as_ref().map_or_else(|_| String::new(), human);
        if progress {
            text.push('\n');
        }
        print(&text)?;
    }
    let comparison = outcome?;
    Ok(match comparison.difference {
        None => ExitCode::SUCCESS,
        Some(_) => ExitCode::from(DIFFERENT),
    })
}

struct Pair {
    names: [String; 2],
    chains: [Chain; 2],
}

impl Pair {
    fn compare(&self, strict: bool, progress: bool) -> Result<Comparison, Failure> {
        let [a, b] = &self.chains;
        let control = Control::new();
        let compare = || compare(a, b, strict, &control);
        let compared = if progress {
            print_progress(0.0)?;
            with_progress(&control, compare)?
        } else {
            compare()
        };
        compared.map_err(|stop| self.failure(stop))
    }

    fn failure(&self, stop: CompareStop) -> Failure {
        let [first, second] = &self.names;
        let name = match stop.side {
            Side::First => first,
            Side::Second => second,
        };
        let reason = match stop.stop {
            Stop::Failed(error) => error.to_string(),
            Stop::Cancelled => "cancelled".into(),
        };
        match stop.step {
            Step::Open => {
                Failure::new(format!("Could not open '{name}': {reason}")).with_code(CANNOT_OPEN)
            }
            Step::Map => Failure::new(format!("Sector allocation test failed for {name}"))
                .with_code(CANNOT_MAP),
            Step::Read(offset) => Failure::new(format!(
                "Error while reading offset {offset} of {name}: {reason}"
            ))
            .with_code(CANNOT_READ),
        }
    }
}

fn human(comparison: &Comparison) -> String {
    let mut text = String::new();
    if comparison.sizes_differ && comparison.difference != Some(Difference::Size) {
        text.push_str("Warning: Image size mismatch!\n");
    }
    text += &match comparison.difference {
        None => "Images are identical.\n".to_owned(),
        Some(Difference::Size) => "Strict mode: Image size mismatch!\n".to_owned(),
        Some(Difference::Status(offset)) => {
            format!("Strict mode: Offset {offset} block status mismatch!\n")
        }
        Some(Difference::Content(offset)) => format!("Content mismatch at offset {offset}!\n"),
    };
    text
}
