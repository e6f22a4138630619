//! `commit`: what an overlay holds is written into a file it stands on.

use std::ffi::{OsStr, OsString};
use std::process::ExitCode;

use platter::chain::Chain;
use platter::op::commit::{Commit, CommitPlan};
use platter::{Error, ErrorKind, Stop};

use crate::args::{Arg, Args, Opt};
use crate::help;
use crate::interrupt;
use crate::output::print;
use crate::program::{Failure, Outcome, Program, system_cause, with_cause};
use crate::progress::{print_progress, watched};
use crate::size;
use crate::source::{self, OpenOptions, Reach, Source};
use crate::warning::warn;

const OPTIONS: &[Opt] = &[
    Opt::flag("help", Some('h')),
    Opt::flag("quiet", Some('q')),
    Opt::flag("progress", Some('p')),
    Opt::value("format", Some('f')),
    Opt::flag("image-opts", None),
    Opt::value("cache", Some('t')),
    Opt::flag("drop", Some('d')),
    Opt::value("base", Some('b')),
    Opt::value("rate", Some('r')),
    Opt::value("object", None),
    Opt::flag("allow-outside", None),
];

/// Runs the verb.
pub(crate) fn run(program: &Program, arguments: Vec<OsString>) -> Outcome {
    let mut args = Args::new(format!("{} commit", program.argv0()), OPTIONS, arguments);
    let mut open = OpenOptions {
        writable: vec![0],
        ..OpenOptions::default()
    };
    let (mut format, mut cache, mut base, mut rate) = (None, None, None, 0);
    let (mut keep_top, mut progress, mut quiet) = (false, false, false);
    let mut operands = Vec::new();
    while let Some(arg) = args.next()? {
        match arg {
            Arg::Option("help", _) => return help::of(program, "commit"),
            Arg::Option("quiet", _) => quiet = true,
            Arg::Option("progress", _) => progress = true,
            Arg::Option("format", value) => format = Some(value),
            Arg::Option("image-opts", _) => open.image_opts = true,
            Arg::Option("cache", value) => cache = Some(value),
            Arg::Option("drop", _) => keep_top = true,
            Arg::Option("base", value) => base = Some(value.to_string_lossy().into_owned()),
            Arg::Option("rate", value) => rate = parse_rate(&value)?,
            Arg::Option("object", value) => source::accept_object(&value)?,
            Arg::Option("allow-outside", _) => open.allow_outside = true,
            Arg::Option(..) => {}
            Arg::Operand(operand) => operands.push(operand),
        }
    }
    let [operand] = operands.as_slice() else {
        return Err(args.usage("Expecting one image file name"));
    };
    source::check_cache_option(cache.as_deref())?;
    source::check_format_options(format.is_some(), open.image_opts)?;
    let source = Source::new(operand, format.as_deref(), &open)?;
    let progress = progress && !quiet;
    if base.is_none() {
        open.writable.push(1);
    }
    let chain = source.open(program, &open, Reach::Data)?;
    if progress {
        print_progress(0.0)?;
    }
    let outcome = (|| {
        let (chain, depth) = match base.as_deref() {
            Some(name) => open_base(program, &source, chain, &mut open, name)?,
            None if chain.links().len() > 1 => (chain, 1),
            None => return Err(Failure::new("Image does not have a backing file")),
        };
        let request = Commit {
            base: depth,
            // Only to the direct backing file without a word about it, the top is emptied.
            keep_top: keep_top || base.is_some(),
            rate,
        };
        let plan =
            CommitPlan::new(&chain, request).map_err(|error| job_failure(program, &error))?;
        warn(program, || plan.warnings());
        run_plan(program, &plan, progress)
    })();
    if progress {
        print("\n")?;
    }
    outcome?;
    if !quiet {
        print("Image committed.\n")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// `-r`.
fn parse_rate(value: &OsStr) -> Result<u64, Failure> {
    size::parse_as("rate limit", &value.to_string_lossy()).map_err(Failure::new)
}

/// Opens the image again, and for change also the file of its chain that gets the data; the depth
/// of that file.
fn open_base(
    program: &Program,
    source: &Source,
    chain: Chain,
    open: &mut OpenOptions,
    name: &str,
) -> Result<(Chain, usize), Failure> {
    let find = |chain: &Chain| {
        chain.find_backing(name).ok_or_else(|| {
            Failure::new(format!(
                "Did not find '{name}' in the backing chain of '{}'",
                source.filename()
            ))
        })
    };
    let depth = find(&chain)?;
    drop(chain);
    open.writable.push(depth);
    let chain = source.open(program, open, Reach::Data)?;
    // Nothing was locked in between.
    if find(&chain)? != depth {
        return Err(Failure::new(format!(
            "The backing chain of '{}' has changed",
            source.filename()
        )));
    }
    Ok((chain, depth))
}

fn run_plan(program: &Program, plan: &CommitPlan<'_>, progress: bool) -> Result<(), Failure> {
    let control = interrupt::control();
    watched(progress, &control, || plan.run(&control))?.map_err(|stop| match stop {
        Stop::Cancelled => Failure::interrupted(),
        Stop::Failed(error) => job_failure(program, &error),
    })
}

/// The other program knows the system's word for it, and not where it happened.
fn job_failure(program: &Program, error: &Error) -> Failure {
    let reason = match system_cause(error) {
        Some(words) if program.is_drop_in() => words,
        None if program.is_drop_in() && error.kind() == ErrorKind::Refused => {
            "Operation not permitted".to_owned()
        }
        _ => with_cause(error),
    };
    Failure::new(format!("Block job failed: {reason}"))
}
