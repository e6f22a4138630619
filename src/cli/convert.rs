//! `convert`: a disk written anew, in the same or another format.

mod request;

use std::error::Error as _;
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use platter::chain::Chain;
use platter::image::{Format, Preallocation};
use platter::op::convert::{
    ConvertOptions, ConvertStop, NewImage, NewTarget, Notice, Step, convert_to_new,
};
use platter::op::warning::{Warning, of_copy, of_target};
use platter::{Control, Error, ErrorKind, Stop};

use crate::args::Args;
use crate::create_options::CreateOptions;
use crate::help;
use crate::output::print;
use crate::program::{Failure, Outcome, Program, eprint_line, system_words};
use crate::progress::with_progress;
use crate::source::{self, Reach, Source};
use crate::warning;

use request::Request;

/// Runs the verb.
pub(crate) fn run(program: &Program, arguments: Vec<OsString>) -> Outcome {
    let command = format!("{} convert", program.argv0());
    let mut args = Args::new(command, request::OPTIONS, arguments);
    let Some(request) = Request::parse(&mut args)? else {
        return help::of(program, "convert");
    };
    let converted = request.convert(program);
    if request.progress && !request.quiet {
        print("\n")?;
    }
    converted.map(|()| ExitCode::SUCCESS)
}

impl Request {
    fn convert(&self, program: &Program) -> Result<(), Failure> {
        let chains = self.open_sources(program)?;
        let image = self.new_image()?;
        self.check_target_cache()?;
        warning::warn(program, || self.warnings(&chains));
        let path = Path::new(&self.target);
        let target = NewTarget {
            path,
            replace: true,
            image,
        };
        let notice = |notice| say(program, self.quiet, &notice);
        let options = ConvertOptions {
            threads: self.threads,
            sparse: self.sparse,
            rate: self.rate,
            salvage: self.salvage,
            notice: &notice,
        };
        let control = Control::new();
        let convert = || convert_to_new(&chains, &target, &options, &control);
        let converted = if self.progress && !self.quiet {
            with_progress(&control, convert)?
        } else {
            convert()
        };
        converted.map_err(|stop| self.failure(program, stop))
    }

    fn open_sources(&self, program: &Program) -> Result<Vec<Chain>, Failure> {
        source::check_format_options(self.source_format.is_some(), self.open.image_opts)?;
        // The snapshot is looked for when all images are open.
        let mut open = self.open.clone();
        open.snapshot = None;
        let mut chains = Vec::new();
        for operand in &self.sources {
            let source = Source::new(operand, self.source_format.as_deref(), &open)?;
            chains.push(source.open(program, &open, Reach::Data)?);
        }
        if self.open.snapshot.is_none() {
            return Ok(chains);
        }
        let [operand] = self.sources.as_slice() else {
            return Err(Failure::new(
                "No support for concatenating multiple snapshot",
            ));
        };
        let source = Source::new(operand, self.source_format.as_deref(), &self.open)?;
        Ok(vec![source.open(program, &self.open, Reach::Data)?])
    }

    fn new_image(&self) -> Result<NewImage, Failure> {
        let name = self
            .target_format
            .as_deref()
            .unwrap_or_default()
            .to_string_lossy();
        let Some(format) = Format::from_name(&name) else {
            return Err(Failure::new(format!("Unknown file format '{name}'")));
        };
        let options = CreateOptions::parse(self.options.as_deref().unwrap_or(""), format)?;
        match format {
            Format::Raw => {
                let preallocation = match options.text("preallocation") {
                    None | Some("off") => Preallocation::Off,
                    Some("falloc") => Preallocation::Falloc,
                    Some("full") => Preallocation::Full,
                    Some(other) => {
                        return Err(
                            self.cannot_create(&format!("Unsupported preallocation mode: {other}"))
                        );
                    }
                };
                Ok(NewImage::Raw { preallocation })
            }
            other => Err(Failure::new(format!(
                "Format driver '{other}' does not support image creation"
            ))),
        }
    }

    fn warnings(&self, chains: &[Chain]) -> Vec<Warning> {
        let mut warnings: Vec<_> = of_target(Path::new(&self.target)).into_iter().collect();
        for chain in chains {
            let active = chain.active();
            if let (Some(path), Some(info)) = (&active.path, active.info()) {
                warnings.extend(of_copy(path, info, false, self.bitmaps));
            }
        }
        warnings
    }

    fn cannot_create(&self, reason: &str) -> Failure {
        let target = self.target.to_string_lossy();
        let format = self
            .target_format
            .as_deref()
            .unwrap_or_default()
            .to_string_lossy();
        Failure::new(format!(
            "{target}: error while converting {format}: {reason}"
        ))
    }

    fn failure(&self, program: &Program, stop: ConvertStop) -> Failure {
        let error = match stop.stop {
            Stop::Cancelled => return Failure::new("cancelled"),
            Stop::Failed(error) => error,
        };
        match stop.step {
            Step::Prepare => {
                let target = self.target.to_string_lossy();
                self.cannot_create(&match error.kind() {
                    ErrorKind::Locked => source::lock_reason(error.message(), &target, program),
                    _ if Path::new(&self.target).is_dir() => {
                        format!("Could not create '{target}': Is a directory")
                    }
                    _ => format!("Could not create '{target}': {}", words(&error)),
                })
            }
            Step::Map => Failure::new(format!(
                "error while reading block status: {}",
                words(&error)
            )),
            Step::Read(offset) => Failure::new(format!(
                "error while reading at byte {offset}: {}",
                words(&error)
            )),
            Step::Write(offset) => Failure::new(format!(
                "error while writing at byte {offset}: {}",
                words(&error)
            )),
            Step::Finish => Failure::new(error.to_string()),
        }
    }
}

/// Why, in the C library's words where it was a system call that failed.
fn words(error: &Error) -> String {
    let cause = error.source().and_then(|cause| cause.downcast_ref());
    cause.map_or_else(|| error.to_string(), system_words)
}

fn say(program: &Program, quiet: bool, notice: &Notice) {
    if quiet {
        return;
    }
    let name = program.name();
    match notice {
        Notice::Unreadable { offset, error } => eprint_line(format_args!(
            "{name}: warning: error while reading offset {offset}: {}",
            words(error)
        )),
        other => eprint_line(format_args!("{name}: warning: {other:?}")),
    }
}
